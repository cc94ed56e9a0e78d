"""The whole audit of folders with known faults, by the small network; and of what little can be said of."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.photo_audit.conftest import WRONG, Found, audited, classes, save, tinted

from regraft.data.columns import Columns
from regraft.data.findings import KINDS, SEVERITIES
from regraft.features.embedding import Embedder


def test_copies_and_what_stands_on_both_sides(faulty: Found) -> None:
    found = sorted(faulty.names("exact-duplicate"), key=sorted)
    assert found == [
        {"train/day/3.jpg", "val/day/copy.jpg"},
        {"train/day/5.jpg", "train/night/contradiction.jpg"},
    ]
    assert {one.across for one in faulty.audit.of("exact-duplicate")} == {("splits",), ("classes",)}
    assert {one.severity for one in faulty.audit.of("exact-duplicate")} == {"high"}
    assert faulty.names("near-duplicate") == [{"train/night/4.jpg", "test/night/mirrored.jpg"}]
    assert faulty.audit.of("near-duplicate")[0].across == ("splits",)


def test_wrong_labels_are_named_and_none_of_the_test_split(faulty: Found) -> None:
    named = [name for one in faulty.names("likely-mislabelled") for name in one]
    planted = {f"train/{label}/wrong{number}.jpg" for label in ("day", "night") for number in range(WRONG)}
    assert len(planted & set(named)) >= len(planted) - 1
    # the photo that stands under both classes looks like the other one indeed, and a black one like anything
    assert set(named) <= planted | {"train/night/contradiction.jpg", "val/day/dark.jpg"}
    found = faulty.audit.of("likely-mislabelled")
    given = [one.more["probability"] for one in found]
    assert given == sorted(given)
    assert {(one.more["label"], one.more["suggested"]) for one in found} == {("day", "night"), ("night", "day")}
    assert all(one.severity == "high" for one in found if one.more["probability_wrong"] >= 0.5)
    assert faulty.audit.labels is not None
    assert abs(faulty.audit.labels.expected(20) - len(found)) < 2


def test_damage_and_darkness(faulty: Found) -> None:
    assert faulty.names("unreadable") == [{"train/day/broken.jpg"}]
    assert faulty.names("dark") == [{"val/day/dark.jpg"}]
    assert faulty.names("odd-size") == []


def test_colours_are_named_as_a_shortcut_that_may_be_the_subject(faulty: Found) -> None:
    cues = {one.more["cue"]: one for one in faulty.audit.of("shortcut")}
    assert "mean colour" in cues
    assert cues["mean colour"].severity == "medium"
    assert not {"file format", "dimensions", "JPEG tables", "camera", "date"} & cues.keys()


def test_nothing_is_learned_from_the_test_split(faulty: Found) -> None:
    answers = faulty.audit.answers
    assert answers is not None
    splits = {faulty.audit.photos.splits[place] for place in answers.positions.tolist()}
    assert splits == {"train", "validation"}
    assert len(answers.positions) == 2 * (32 + 6) + 9  # six wrong, copy, contradiction, dark; not the broken one


def test_the_severest_come_first(faulty: Found) -> None:
    ranks = [SEVERITIES.index(one.severity) for one in faulty.audit.findings]
    assert ranks == sorted(ranks)
    assert {one.kind for one in faulty.audit.findings} <= KINDS.keys()


def test_json_is_plain_and_complete(faulty: Found) -> None:
    found = faulty.audit.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["images"] == len(faulty.audit.photos) == 96
    assert [one["kind"] for one in found["findings"]] == [one.kind for one in faulty.audit.findings]
    assert found["notes"] == []
    assert {one["kind"] for one in found["figures"]} == {"near-duplicate", "likely-mislabelled", "shortcut"}
    expected = found["mislabelled_expected"]
    assert expected["first"] == min(20, len(faulty.audit.of("likely-mislabelled")))
    assert 0.5 < expected["wrong"] <= expected["first"]
    assert {one["cue"] for one in found["cues"]} >= {"file size", "border", "mean colour"}


def test_lines_say_all_of_it(faulty: Found) -> None:
    text = str(faulty.audit)
    lines = text.splitlines()
    assert lines[0].startswith("96 photos; ")
    assert lines == [line for part in faulty.audit.lines() for line in [part]]
    for kind in {one.kind for one in faulty.audit.findings}:
        assert f"{kind}: " in text
    assert "likely wrong labels about" in text
    assert "What that changes" in text


@pytest.mark.slow
def test_the_same_seed_finds_the_same(faulty: Found, pocket: Embedder) -> None:
    again = audited(faulty.folder, pocket).audit
    assert again.to_json() == faulty.audit.to_json()


# --- what little can be said of ---


def only_note(found: Found) -> str:
    assert (found.audit.answers, found.audit.labels, found.audit.cues, found.audit.effects) == (None, None, (), ())
    (note,) = found.audit.notes
    start = "no labels, shortcuts or figures were looked at: "
    assert note.startswith(start)
    return note.removeprefix(start)


def test_photos_without_labels(tmp_path: Path, pocket: Embedder) -> None:
    for number in range(12):
        save(tinted(number, "day"), tmp_path / f"{number}.jpg")
    shutil.copy(tmp_path / "3.jpg", tmp_path / "again.jpg")
    found = audited(tmp_path, pocket)
    assert only_note(found) == "the photos have no labels"
    assert found.names("exact-duplicate") == [{"3.jpg", "again.jpg"}]


def test_one_class_and_few_photos(tmp_path: Path, pocket: Embedder) -> None:
    save(tinted(0, "day"), tmp_path / "one" / "day" / "0.jpg")
    save(tinted(1, "day"), tmp_path / "one" / "day" / "1.jpg")
    said = "fewer than two classes have two readable photos outside of the test split"
    assert only_note(audited(tmp_path / "one", pocket)) in (said, "the photos have no labels")
    few = audited(classes(tmp_path / "few", 3), pocket)
    assert only_note(few) == "6 labelled photos are too few"
    assert [one.kind for one in few.audit.findings] == ["imbalance"]
    save(tinted(0, "day"), tmp_path / "two" / "day" / "0.jpg")
    save(tinted(1, "night"), tmp_path / "two" / "night" / "1.jpg")
    assert only_note(audited(tmp_path / "two", pocket)) == said


def test_a_single_photo(tmp_path: Path, pocket: Embedder) -> None:
    save(tinted(0, "day"), tmp_path / "only.jpg")
    assert only_note(audited(tmp_path, pocket)) == "the photos have no labels"
    assert audited(tmp_path / "only.jpg", pocket).audit.findings == ()


@pytest.mark.parametrize("damaged", [5, 24])
def test_many_or_all_photos_are_damaged(tmp_path: Path, pocket: Embedder, damaged: int) -> None:
    paths = sorted(classes(tmp_path).rglob("*.jpg"))
    for number, path in enumerate(paths[:damaged]):
        path.write_bytes(b"" if number % 2 else path.read_bytes()[:400])  # one kind is seen when it is decoded
    found = audited(tmp_path, pocket)
    (one,) = found.audit.of("unreadable")
    assert (len(one.files), one.severity) == (damaged, "high")
    assert sorted(one.more["reasons"]) == [str(path) for path in paths[:damaged]]
    assert all(one.more["reasons"].values())
    assert (found.audit.answers is None) == (damaged == 24)
    assert json.dumps(found.audit.to_json(), allow_nan=False)


def test_one_photo_under_each_name(tmp_path: Path, pocket: Embedder) -> None:
    """Ten names of one photo in each class: nothing can be held out."""
    for label in ("day", "night"):
        first = save(tinted(0, label), tmp_path / label / "0.jpg")
        for number in range(1, 10):
            shutil.copy(first, tmp_path / label / f"{number}.jpg")
    found = audited(tmp_path, pocket)
    assert only_note(found).startswith("no class has photos of two groups")
    assert [len(one.files) for one in found.audit.of("exact-duplicate")] == [10, 10]


def test_a_picture_under_every_class(tmp_path: Path, pocket: Embedder) -> None:
    folder = classes(tmp_path, 8)
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(folder / "day" / name, folder / "night" / f"again{name}")
    found = audited(folder, pocket)
    assert sorted(one.across for one in found.audit.of("exact-duplicate")) == [("classes",), ("classes",)]
    assert found.audit.answers is not None


def test_named_groups_on_both_sides(tmp_path: Path, pocket: Embedder) -> None:
    folder = classes(tmp_path / "photos", 8)
    rows = ["image,label,split,patient"]
    for label in ("day", "night"):
        for number in range(8):
            split = "val" if number in (0, 4) else "train"
            rows.append(f"photos/{label}/{number}.jpg,{label},{split},p{number // 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    found = audited(tmp_path / "t.csv", pocket, Columns(group="patient"))
    leaks = {one.more["group"]: sorted(Path(file).stem for file in one.files) for one in found.audit.of("subject-leak")}
    assert leaks == {"p0": ["0", "0", "1", "1"], "p2": ["4", "4", "5", "5"]}
    assert found.audit.guess is None
    answers = found.audit.answers
    assert answers is not None
    groups = np.array([found.audit.photos.groups[place] for place in answers.positions.tolist()])
    assert all(len(set(answers.folds[groups == name].tolist())) == 1 for name in set(groups.tolist()))
    assert folder.is_dir()


def test_guessed_groups_on_both_sides(tmp_path: Path, pocket: Embedder) -> None:
    for offset, label in enumerate(("day", "night")):
        for number in range(24):
            split = "val" if number % 8 == 0 else "train"
            name = f"{label}_patient{10 * offset + number // 4:02d}_{number}.jpg"
            save(tinted(500 * offset + number, label), tmp_path / split / label / name)
    found = audited(tmp_path, pocket)
    leaks = found.audit.of("subject-leak")
    assert len(leaks) == 6  # the patients of the numbers 0, 8 and 16 of each class
    assert {one.severity for one in leaks} == {"medium"}
    assert all(one.more["guessed"] and len(one.files) == 4 for one in leaks)
    assert found.audit.guess is not None
    assert "fit with grouping='guessed'." in str(found.audit)
    assert [one.kind for one in found.audit.effects if one.kind == "subject-leak"] == ["subject-leak"]


def test_a_class_saved_with_other_jpeg_tables_is_named(tmp_path: Path, pocket: Embedder) -> None:
    for offset, (label, quality) in enumerate((("a", 60), ("b", 90))):
        for number in range(20):
            path = tmp_path / label / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.asarray(tinted(500 * offset + number, "day"))).save(path, quality=quality)
    found = audited(tmp_path, pocket)
    (one,) = [each for each in found.audit.of("shortcut") if each.more["cue"] == "JPEG tables"]
    assert one.severity == "high"
    assert one.more["balanced_accuracy"] == 1
    said = ("class a: all are JPEGs of quality 60, of the others none", "class b: all are JPEGs of quality 90")
    assert one.advice.startswith(said)


def test_labels_are_not_doubted_where_nothing_tells_classes_apart(tmp_path: Path, pocket: Embedder) -> None:
    for label in ("day", "night"):
        for place in range(12):
            save(tinted(place if label == "day" else 50 + place, "day"), tmp_path / label / f"{place}.jpg")
    found = audited(tmp_path, pocket)
    assert found.audit.labels is None
    assert found.audit.of("likely-mislabelled") == []
    assert any(note.startswith("no label is doubted") for note in found.audit.notes)


def test_a_guess_that_joins_what_photos_show_already_is_none(tmp_path: Path, pocket: Embedder) -> None:
    for label in ("day", "night"):
        for place in range(10):
            photo = tinted(place + (50 if label == "night" else 0), label)
            save(photo, tmp_path / label / f"{label}{place}_1.jpg")
            save(photo.resize((200, 200)), tmp_path / label / f"{label}{place}_2.jpg")
    found = audited(tmp_path, pocket)
    assert len(found.audit.of("near-duplicate")) == 20
    assert found.audit.guess is None
    assert "subject-leak" not in {one.kind for one in found.audit.effects}
