"""Reviewed labels applied to what folders and tables say."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.data.columns import Columns
from regraft.data.dataset import open_datasets
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples
from regraft.data.photo_list import list_photos
from regraft.data.samples import Samples
from regraft.errors import DataError
from regraft.progress import Observer

Write = Callable[..., Path]


def labels_of(samples: Samples) -> dict[str, str]:
    """Return the class of each photo by its name, as the last folder and the file have it."""
    names = ["/".join(Path(str(source)).parts[-2:]) for source in samples.sources]
    return dict(zip(names, (samples.classes[label] for label in samples.labels), strict=True))


def corrected(data: Path, text: str, *, at: Path | None = None, **how: object) -> dict[str, Samples]:
    file = at or data.parent / "reviewed.csv"
    file.write_text(text)
    columns = how.pop("columns", None)
    return LabelOptions(file).apply(find_samples(data, columns, **how), data, columns)  # type: ignore[arg-type]


@pytest.fixture
def pets(write: Write) -> Path:
    return write("pets", "cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/2.png", "dog/3.png")


def test_without_a_table_nothing_changes(pets: Path) -> None:
    splits = find_samples(pets)
    assert LabelOptions().apply(splits, pets) == splits


def test_labels_change_photos_go_and_come_and_one_line_says_so(write: Write, pets: Path) -> None:
    more = write("more", "owl.png")
    text = f"file,label\npets/cat/1.png,dog\ncat/2.png,\n{more / 'owl.png'},owl\npets/dog/1.png,dog\n"
    train = corrected(pets, text)["train"]
    assert labels_of(train) == {
        "cat/1.png": "dog",
        "cat/3.png": "cat",
        "dog/1.png": "dog",
        "dog/2.png": "dog",
        "dog/3.png": "dog",
        "more/owl.png": "owl",
    }
    assert train.classes == ("cat", "dog", "owl")
    assert train.notes == (
        "labels: reviewed.csv changes 1 label, leaves out 1 photo, adds 1",
        "labels: new classes, with their photos: owl (1)",
    )


def test_rows_without_a_label_get_one_and_stay_in_their_split_and_group(write: Write) -> None:
    """Else they are an error; where a table says nothing of them, either, they are left out, which is said."""
    folder = write("set", *(f"{number}.png" for number in range(7)))
    rows = ("cat,p1,train", "dog,p2,train", ",p1,train", ",p2,val", "cat,p3,val", ",p4,train", ",p5,test")
    data, columns = folder / "x.csv", Columns(group="patient")
    data.write_text("image,label,patient,split\n" + "".join(f"{n}.png,{row}\n" for n, row in enumerate(rows)))
    with pytest.raises(DataError, match="have no value in the label column"):
        LabelOptions().find(data, columns)
    table = folder / "reviewed.csv"
    table.write_text("image,label\n2.png,dog\n3.png,owl\n6.png,owl\n")
    found = LabelOptions(table).find(data, columns)
    assert labels_of(found["train"]) == {"set/0.png": "cat", "set/1.png": "dog", "set/2.png": "dog"}
    assert labels_of(found["validation"]) == {"set/3.png": "owl", "set/4.png": "cat"}
    assert found["train"].names_of_groups() == ["p1", "p2", "p1"]
    assert found["validation"].names_of_groups() == ["p2", "p3"]
    assert "labels: 1 photo without a label, there or in reviewed.csv, left out" in found["train"].notes


def test_photos_that_have_labels_in_the_table_alone(write: Write) -> None:
    folder = write("loose", "a.png", "b.png", "c.png")
    table = folder.parent / "reviewed.csv"
    table.write_text("image,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(DataError, match="file names carry no label"):
        LabelOptions().find(folder)
    assert labels_of(LabelOptions(table).find(folder)["train"]) == {"loose/a.png": "cat", "loose/b.png": "dog"}
    (folder / "photos.csv").write_text("image,patient\na.png,p1\nb.png,p1\nc.png,p2\n")
    found = LabelOptions(table).find(folder / "photos.csv", Columns(group="patient"))["train"]
    assert labels_of(found) == {"loose/a.png": "cat", "loose/b.png": "dog"}
    assert found.names_of_groups() == ["p1", "p1"]


def test_other_labels_are_other_photos_to_a_run(pets: Path) -> None:
    """What identifies an unfinished run is the digest of photos and labels."""
    tables = ["file,label\n", "file,label\ncat/1.png,dog\n", "file,label\ncat/2.png,dog\n", "file,label\ncat/1.png,\n"]
    digests = [open_datasets([corrected(pets, text)["train"]], Observer())[0].digest() for text in tables]
    assert len(set(digests)) == 4
    assert digests[0] == open_datasets([find_samples(pets)["train"]], Observer())[0].digest()


def test_a_class_without_photos_is_gone_and_what_is_said_already_changes_nothing(pets: Path) -> None:
    renamed = corrected(pets, "file,label\n" + "".join(f"cat/{k}.png,lynx\n" for k in "123"))["train"]
    assert renamed.classes == ("dog", "lynx")
    assert corrected(pets, "file,label\ncat/1.png,cat\n")["train"].notes == ("labels: reviewed.csv changes nothing",)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_photos_are_known_by_where_they_lie(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the table's folder, the data's, from /, through a link, with backslashes, or from where one stands."""
    (pets.parent / "link").symlink_to(pets)
    below = pets.parent / "reviews"
    below.mkdir()
    monkeypatch.chdir(pets.parent)
    text = (
        "file,label\n../pets/cat/1.png,owl\ncat/2.png,owl\n../link/cat/3.png,owl\ndog\\1.png,owl\npets/dog/2.png,owl\n"
    )
    found = corrected(pets, f"{text}{pets / 'dog' / '3.png'},owl\n", at=below / "labels.csv")["train"]
    assert found.counts() == {"owl": 6}
    assert found.notes[0] == "labels: labels.csv changes 6 labels"


def test_a_photo_of_the_test_split_stays_there(write: Write) -> None:
    data = write(
        "pets", *(f"{split}/{pet}/{k}.png" for split in ("train", "val", "test") for pet in "ab" for k in "12")
    )
    text = "file,label\ntrain/a/1.png,b\nval/a/1.png,b\ntest/a/1.png,b\ntest/a/2.png,\n"
    splits = corrected(data, text)
    assert [part.counts() for part in splits.values()] == [{"a": 1, "b": 3}, {"a": 1, "b": 3}]
    said = (
        "labels: reviewed.csv changes 2 labels",
        "labels: 2 rows of reviewed.csv passed over: photos of a split that nothing is learned from here",
    )
    assert splits["train"].notes == said
    alone = corrected(data, text, splits=("train",))  # as a comparison reads it: validation photos stay, too
    assert alone["train"].counts() == {"a": 1, "b": 3}
    assert alone["train"].notes[1].startswith("labels: 3 rows of reviewed.csv passed over")
    part = corrected(data / "train", f"file,label\n{data}/train/a/1.png,b\n{data}/test/a/1.png,b\n")["train"]
    assert part.counts() == {"a": 1, "b": 3}
    assert part.notes[1].startswith("labels: 1 row of reviewed.csv passed over")


def test_a_table_with_splits(write: Write) -> None:
    folder = write("pets", *(f"{name}.png" for name in "abcdef"))
    rows = ("a.png,x,train", "b.png,y,train", "c.png,x,val", "d.png,y,val", "e.png,x,test", "f.png,y,test")
    (folder / "pets.csv").write_text("\n".join(("image,label,split", *rows)))
    splits = corrected(folder / "pets.csv", "image,label\na.png,y\nc.png,y\ne.png,y\n", at=folder / "new.csv")
    assert [part.counts() for part in splits.values()] == [{"y": 2}, {"y": 2}]
    assert any("1 row of new.csv passed over" in note for note in splits["train"].notes)


def test_photos_inside_parquet_by_table_and_name(parquet: Write, png: Callable[[int], bytes]) -> None:
    images = [{"bytes": png(k), "path": f"p/{k}.png"} for k in range(4)]
    file = parquet("pets.parquet", images, ["cat", "cat", "dog", "dog"])
    train = find_samples(file)["train"]
    found = corrected(file, f"file,label\n{train.sources[0]},dog\npets.parquet:p/3.png,\n")["train"]
    assert found.counts() == {"cat": 1, "dog": 2}
    twice = parquet("twice.parquet", [{"bytes": png(k), "path": "same.png"} for k in range(2)], ["cat", "dog"])
    with pytest.raises(DataError, match=r"line 2: 'twice\.parquet:same\.png' fits several photos"):
        corrected(twice, "file,label\ntwice.parquet:same.png,dog\n")


def test_a_row_of_two_labels_is_one_photo_once_it_is_corrected(write: Write) -> None:
    folder = write("pets", "a.png", "b.png", "c.png")
    (folder / "pets.csv").write_text("image,label\na.png,cat\na.png,dog\nb.png,cat\nc.png,dog\n")
    found = corrected(folder / "pets.csv", "image,label\na.png,dog\n")["train"]
    assert found.counts() == {"cat": 1, "dog": 2}


def test_groups_are_kept_and_an_added_photo_is_in_none(write: Write) -> None:
    folder = write("pets", "a.png", "b.png", "c.png", "d.png", "e.png")
    (folder / "pets.csv").write_text("image,label,owner\na.png,cat,1\nb.png,cat,2\nc.png,dog,1\nd.png,dog,NA\n")
    found = corrected(
        folder / "pets.csv", "image,label\na.png,\ne.png,dog\n", at=folder / "n.csv", columns=Columns(group="owner")
    )["train"]
    assert labels_of(found) == {"pets/b.png": "cat", "pets/c.png": "dog", "pets/d.png": "dog", "pets/e.png": "dog"}
    assert found.names_of_groups() == ["2", "1", None, None]
    assert found.groups is not None
    assert len(set(found.groups.tolist())) == 4
    assert found.notes[-1] == "labels: each photo that is added is taken as a group of its own ('owner')"


def test_rows_that_name_no_photo_or_several_are_all_named(write: Write, pets: Path) -> None:
    write("pets/cat", "cat/1.png")
    with pytest.raises(DataError) as caught:
        corrected(pets, "file,label\ncat/9.png,dog\n,dog\ncat/1.png,dog\n", at=pets / "cat" / "l.csv")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("l.csv (labels): 3 of 3 rows do not name one photo:")
    assert lines[1:3] == ["  line 2: 'cat/9.png' is missing", "  line 3: '' names nothing"]
    assert lines[3].startswith("  line 4: 'cat/1.png' fits several photos: ")
    assert lines[4] == (
        f"Name photos by paths from the table's folder, from {pets}, or from /; those inside a Parquet file as "
        "TABLE:NAME."
    )


def test_rows_that_contradict_each_other_and_rows_that_repeat(pets: Path) -> None:
    with pytest.raises(DataError) as caught:
        corrected(pets, "file,label\ncat/1.png,dog\npets/cat/1.png,\ndog/1.png,cat\ndog/1.png,cat\n")
    assert str(caught.value) == (
        f"{pets.parent / 'reviewed.csv'} (labels): rows contradict each other:\n"
        "  line 2 and line 3: 'pets/cat/1.png' is 'dog' and is left out\nKeep one row for each photo."
    )


def test_all_left_out_and_nothing_there_to_be_left_out(write: Write, pets: Path) -> None:
    everything = "".join(f"{pet}/{k}.png,\n" for pet in ("cat", "dog") for k in "123")
    with pytest.raises(DataError, match=r"reviewed\.csv \(labels\) leaves out all 6 photos of .*pets\. Keep some\."):
        corrected(pets, f"file,label\n{everything}")
    write("more", "x.png")
    notes = corrected(pets, "file,label\nmore/x.png,\n")["train"].notes
    assert notes[1] == "labels: 1 row of reviewed.csv passed over: not there to be left out"


def test_a_list_of_photos_with_and_without_labels(write: Write) -> None:
    data = write("pets", *(f"{split}/{pet}/{k}.png" for split in ("train", "test") for pet in "ab" for k in "12"))
    new = write("more", "x.png")
    (data.parent / "l.csv").write_text("file,label\ntrain/a/1.png,b\ntrain/a/2.png,\ntest/a/1.png,b\nmore/x.png,c\n")
    listed = list_photos(data)
    groups = [str(place) for place in range(len(listed))]
    found, names = LabelOptions(data.parent / "l.csv").apply_to_list(listed, groups, data)
    rows = {
        str(source): (label, split)
        for source, label, split in zip(found.sources, found.labels, found.splits, strict=True)
    }
    assert rows[str(data / "train/a/1.png")] == ("b", "train")
    assert rows[str(data / "test/a/1.png")] == ("a", "test")
    assert rows[str(new / "x.png")] == ("c", "train")
    assert str(data / "train/a/2.png") not in rows
    gone = next(place for place, source in enumerate(listed.sources) if source == data / "train/a/2.png")
    assert names == (*(name for place, name in enumerate(groups) if place != gone), None)
    assert found.notes[-2] == "labels: l.csv changes 1 label, leaves out 1 photo, adds 1"
