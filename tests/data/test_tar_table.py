"""WebDataset's shards: which files are a sample, what says its label, and which files a name stands for."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.fixtures.stores import Bucket

from regraft.data.audit import inspect
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples, split_names
from regraft.data.photo_list import list_photos
from regraft.data.photos import find_photos
from regraft.data.tar_table import is_tar, notes_on, open_tar_table, tar_files
from regraft.errors import DataError
from regraft.images import sources
from regraft.images.reading import read_image
from regraft.images.sources import ArchiveMember, content_key
from regraft.storage.locations import location

Photos = Callable[..., Path]


def write_tar(file: Path, members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(file, "w", format=kind) as archive:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return file


@pytest.fixture
def photo(photos: Photos) -> Callable[[str, int], bytes]:
    """Return a function that makes the file of a photo of one colour: photo("red", 3)."""

    def read(colour: str, number: int) -> bytes:
        folder = photos("made", first_seed=number, **{colour: 1})
        return (folder / colour / "0.jpg").read_bytes()

    return read


Photo = Callable[[str, int], bytes]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_one_key_are_a_sample(tmp_path: Path, photo: Photo, kind: int) -> None:
    first, second = photo("red", 0), photo("blue", 1)
    long = "n" * 90 + "/" + "d" * 80 + "/0002"  # beyond the 100 characters of the first header
    members = {"a/0001.jpg": first, "a/0001.cls": b"red\n", f"{long}.cls": b"blue", f"{long}.jpeg": second}
    file = write_tar(tmp_path / "a.tar", members, kind)
    table = open_tar_table(file)
    assert list(table.columns) == ["image", "label", "jpg", "jpeg", "cls"]
    assert table.labels("label") == ["red", "blue"]
    cells = table.cells("image")
    assert [(cell.name, cell.size) for cell in cells] == [("a/0001.jpg", len(first)), (f"{long}.jpeg", len(second))]
    assert str(cells[0]) == f"{file}:a/0001.jpg"
    assert file.read_bytes()[cells[1].start :][: cells[1].size] == second
    with cells[1].open() as stream:
        assert stream.read() == second
    found = find_samples(file)["train"]
    assert found.counts() == {"blue": 1, "red": 1}
    assert found.sources == tuple(cells)


def test_the_key_ends_at_the_first_dot_of_the_name(tmp_path: Path, photo: Photo) -> None:
    members = {
        "v1.2/one.left.jpg": photo("red", 0),
        "v1.2/one.right.jpg": photo("blue", 1),
        "v1.2/one.cls": b"7",
        "._one.jpg": b"of a system",
        ".hidden.jpg": b"hidden",
        "no-ending": b"x",
    }
    table = open_tar_table(write_tar(tmp_path / "a.tar", members))
    assert len(table) == 1
    assert table.row_name(0) == "sample 'v1.2/one'"
    assert [cell.name for cell in table.cells("right.jpg")] == ["v1.2/one.right.jpg"]
    with pytest.raises(DataError, match=r"sample 'v1\.2/one' has several images: left\.jpg, right\.jpg\. Name the one"):
        table.cells("image")
    found = find_samples(tmp_path / "a.tar", Columns(image="left.jpg"))["train"]
    assert (found.classes, str(found.sources[0])) == (("7",), f"{tmp_path / 'a.tar'}:v1.2/one.left.jpg")


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        ({"cls": b"3", "json": b'{"label": "cat"}', "txt": b"a cat"}, "3"),
        ({"json": b'{"label": "cat"}', "txt": b"a cat on a mat"}, "cat"),
        ({"json": b'{"label": 4}'}, "4"),
        ({"json": b'{"category": "dog"}'}, "dog"),
        ({"txt": b" cat \n"}, "cat"),
        ({"cls": "K\u00e4fer".encode()}, "K\u00e4fer"),
    ],
)
def test_what_says_the_label(tmp_path: Path, photo: Photo, texts: dict[str, bytes], label: str) -> None:
    members = {"1.jpg": photo("red", 0), **{f"1.{name}": data for name, data in texts.items()}}
    assert find_samples(write_tar(tmp_path / "a.tar", members))["train"].classes == (label,)


def test_fields_of_json_are_columns(tmp_path: Path, photo: Photo) -> None:
    members: dict[str, bytes] = {}
    for number, (patient, split) in enumerate([("p1", "train"), ("p1", "train"), ("p2", "train"), ("p3", "test")]):
        fields = {"finding": "ab"[number % 2], "patient": patient, "split": split, "boxes": [1, 2], "age": 30 + number}
        members |= {f"{number}.jpg": photo("red", number), f"{number}.json": json.dumps(fields).encode()}
    file = write_tar(tmp_path / "a.tar", members)
    columns = Columns(label="finding", group="patient")
    assert split_names(file, columns) == ("train", "test")
    found = find_samples(file, columns)["train"]
    assert found.counts() == {"a": 2, "b": 1}
    assert found.names_of_groups() == ["p1", "p1", "p2"]
    assert list_photos(file, Columns(label="finding")).splits == ("train", "train", "train", "test")


def test_samples_without_an_image_are_left_out(tmp_path: Path, photo: Photo) -> None:
    file = write_tar(tmp_path / "a.tar", {"1.cls": b"a", "2.jpg": photo("red", 0), "2.cls": b"b", "3.npy": b"x"})
    found = find_samples(file)["train"]
    assert found.counts() == {"b": 1}
    assert f"{file}: 2 of 3 samples have no image: left out" in found.notes


def test_a_sample_without_a_label_is_an_error_or_to_be_answered(tmp_path: Path, photo: Photo) -> None:
    file = write_tar(tmp_path / "a.tar", {"1.jpg": photo("red", 0), "1.cls": b"a", "2.jpg": photo("red", 1)})
    with pytest.raises(DataError, match=r"1 of 2 rows have no value in the label column 'label':\n.*sample '2'"):
        find_samples(file)
    assert find_samples(file, unlabelled=True)["train"].labels.tolist() == [0, -1]
    assert [str(one) for one in find_photos([file])] == [f"{file}:1.jpg", f"{file}:2.jpg"]


def test_a_folder_of_shards_that_are_named_after_splits(tmp_path: Path, photo: Photo) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for place, name in enumerate(("train-0000", "train-0001", "val-0000")):
        members = {f"{place}.jpg": photo("red", place), f"{place}.cls": b"a" if place % 2 else b"b"}
        write_tar(folder / f"{name}.tar", members)
    assert split_names(folder) == ("train", "validation")
    found = find_samples(folder)
    assert found["train"].counts() == {"a": 1, "b": 1}
    assert len(found["validation"]) == 1
    assert len(find_photos([folder])) == 3
    write_tar(folder / "more.tar", {"9.jpg": photo("red", 9), "9.cls": b"a"})
    with pytest.raises(DataError, match=r"some \.tar files are named after a split and others are not: more\.tar"):
        find_samples(folder)


def test_braces_stand_for_shards(tmp_path: Path, photo: Photo) -> None:
    for place in range(9, 12):
        write_tar(tmp_path / f"s-{place:03}.tar", {f"{place}.jpg": photo("red", place), f"{place}.cls": b"a"})
    named = str(tmp_path / "s-{009..011}.tar")
    assert [path.name for path in tar_files(location(named))] == ["s-009.tar", "s-010.tar", "s-011.tar"]
    assert len(find_samples(named)["train"]) == len(find_photos([named])) == 3
    assert [path.name for path in tar_files(location(tmp_path / "s-{010,011}.tar"))] == ["s-010.tar", "s-011.tar"]
    with pytest.raises(DataError, match=r"names 4 files, of which 2 are not there: .*s-012\.tar, .*s-013\.tar\."):
        find_samples(tmp_path / "s-{010..013}.tar")
    with pytest.raises(DataError, match=r"names more than 100,000 files"):
        find_samples(tmp_path / "s-{000..999}-{000..999}.tar")


def test_archives_beside_photos_change_nothing(tmp_path: Path, photos: Photos, photo: Photo) -> None:
    folder = photos("pets", red=2, blue=2)
    write_tar(folder / "pets.tar", {"1.jpg": photo("red", 0), "1.cls": b"a"})
    assert not is_tar(folder)
    assert find_samples(folder)["train"].counts() == {"blue": 2, "red": 2}
    assert len(find_photos([folder])) == 4


@pytest.mark.parametrize("name", ["2.tar.gz", "2.tgz", "2.TAR.ZST"])
def test_compressed_shards_are_not_left_out_silently(tmp_path: Path, photo: Photo, name: str) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(folder / "1.tar", {"1.jpg": photo("red", 0), "1.cls": b"a"})
    (folder / f".{name}").write_bytes(b"half of a download")
    (folder / "1.json").write_bytes(b"what img2dataset says of a shard")
    assert len(find_photos([folder])) == 1
    (folder / name).write_bytes(b"x")
    for find in (find_samples, list_photos, lambda path: find_photos([path])):
        with pytest.raises(DataError, match=rf"has 1 \.tar file and 1 compressed, .*: {name}\. Make a \.tar of each"):
            find(folder)


@pytest.mark.parametrize("damage", ["none", "empty", "header", "middle", "claim", "cut", "zipped"])
def test_what_is_no_shard_of_samples(tmp_path: Path, photo: Photo, damage: str) -> None:
    file = write_tar(tmp_path / "pets.tar", {"a/1.txt": b"x"})
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "header":
        file.write_bytes(b"\x01" * 2000)
    elif damage == "cut":
        whole = write_tar(file, {"1.jpg": photo("red", 0), "1.cls": b"a" * 2000}).read_bytes()
        file.write_bytes(whole[: whole.index(b"a" * 2000) + 600])
    elif damage == "middle":
        whole = bytearray(
            write_tar(file, {"1.jpg": photo("red", 0), "1.cls": b"a", "2.jpg": photo("red", 1)}).read_bytes()
        )
        place = whole.index(b"2.jpg")
        whole[place : place + 5] = b"3.jpg"  # another name than the header's checksum says
        file.write_bytes(whole)
    elif damage == "claim":
        header = tarfile.TarInfo("long")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
        file.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"x" * 2000)
    elif damage == "zipped":
        with tarfile.open(file, "w:gz") as archive:
            archive.add(write_tar(tmp_path / "in.tar", {}))
    with pytest.raises(DataError) as caught:
        find_samples(file)
    message = str(caught.value)
    assert message.startswith(f"{file} ")
    assert message.endswith(
        "Expected are samples, files of one key as in key.jpg and key.cls. If it is an archive of folders, unpack it "
        f"(tar -xf {file}) and name what comes out."
    )


def test_archives_of_nothing_among_others_are_passed_over(tmp_path: Path, photo: Photo) -> None:
    """What writes shards leaves one where it was given no samples; columns that are named are asked of the others."""
    folder = tmp_path / "shards"
    folder.mkdir()
    fields = [{"finding": "ab"[number % 2], "patient": f"p{number}", "part": "train"} for number in range(4)]
    members = {f"{number}.json": json.dumps(about).encode() for number, about in enumerate(fields)}
    members |= {f"{number}.jpg": photo("red", number) for number in range(4)}
    write_tar(folder / "b.tar", dict(sorted(members.items())))
    for name in ("a", "c"):
        write_tar(folder / f"{name}.tar", {})
    columns = Columns(label="finding", group="patient", split="part")
    samples = find_samples(folder, columns)["train"]
    assert (samples.counts(), samples.names_of_groups()) == ({"a": 2, "b": 2}, ["p0", "p1", "p2", "p3"])
    assert list_photos(folder, columns).labels == ("a", "b", "a", "b")
    for named in (folder, folder / "*.tar"):
        assert find_photos([named]) == list(samples.sources)
    for find in (find_samples, list_photos, lambda path: find_photos([path])):
        with pytest.raises(DataError, match=r"a\.tar holds no image: it is empty\. Expected are samples, files of"):
            find(folder / "a.tar")
    with pytest.raises(DataError, match=r"^no image found for: .*a\.tar\. Name image files"):
        find_photos([folder / "a.tar", folder / "b.tar"])
    (folder / "b.tar").rename(folder / "train-0.tar")  # beside one that is named after a split, too
    assert split_names(folder, Columns(label="finding")) == ("train",)
    (folder / "c.tar").rename(folder / "val-0.tar")  # of a split that has no other
    with pytest.raises(DataError, match=r"val-0\.tar holds no image: it is empty"):
        find_samples(folder, Columns(label="finding"))


def test_archives_that_were_put_together_by_cat_are_refused(tmp_path: Path, photo: Photo) -> None:
    """What reads a .tar ends at the zeros behind the first one: half of the samples would be missing."""
    first, second = (
        write_tar(tmp_path / f"{name}.tar", {f"{name}.jpg": photo("red", 0), f"{name}.cls": b"a"}).read_bytes()
        for name in ("1", "2")
    )
    (tmp_path / "both.tar").write_bytes(first + second)
    end = first.rindex(b"a") // 512 * 512 + 512  # behind the block of the last file
    with pytest.raises(DataError, match=rf"both\.tar is not .*: it goes on behind its end at byte {end:,}, .*cat do"):
        find_samples(tmp_path / "both.tar")


def test_an_archive_without_its_end_may_have_been_cut(tmp_path: Path, photo: Photo) -> None:
    file = write_tar(tmp_path / "a.tar", {"1.jpg": photo("red", 0), "1.cls": b"a", "2.jpg": b"", "2.cls": b""})
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.index(b"2.jpg")])
    assert find_samples(file)["train"].notes == (
        f"{file} lacks the zeros that end a .tar file: if it was cut, samples are missing",
    )


def test_links_to_photos_are_counted(tmp_path: Path, photo: Photo) -> None:
    file = write_tar(tmp_path / "a.tar", {"1.jpg": photo("red", 0), "1.cls": b"a"})
    with tarfile.open(file, "a") as archive:
        for name, kind in (("2.JPG", tarfile.LNKTYPE), ("3.jpg", tarfile.SYMTYPE), ("3.cls", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "1.jpg"
            archive.addfile(link)
    found = find_samples(file)["train"]
    assert len(found.sources) == 1
    assert notes_on([file]) == list(found.notes)
    assert found.notes == (
        f"{file}: 2 photos left out, as links to other files, which are not followed. Pack the photos "
        "themselves in place of links",
    )


def test_an_archive_of_class_folders_has_no_labels(tmp_path: Path, photo: Photo) -> None:
    file = write_tar(tmp_path / "pets.tar", {"red/1.jpg": photo("red", 0), "blue/1.jpg": photo("blue", 1)})
    # it has no first line that could lack names, nor separators
    with pytest.raises(
        DataError, match=r"label_column is needed: .*columns are: image, jpg\. If .*\(tar -xf .*pets\.tar\)"
    ):
        find_samples(file)


def test_a_photo_of_a_shard_that_was_cut_is_named(tmp_path: Path, photo: Photo) -> None:
    data = photo("red", 0)
    file = write_tar(tmp_path / "a.tar", {"1.jpg": data})
    whole = file.read_bytes()
    start = whole.index(data)
    file.write_bytes(whole[: start + 50])
    assert inspect((ArchiveMember(file, start, len(data), "1.jpg"),)).unreadable == {
        0: "its archive ends before it does"
    }
    assert inspect((ArchiveMember(tmp_path / "gone.tar", 0, 9, "1.jpg"),)).unreadable == {0: "the file is gone"}
    assert (
        "and at most 1 kB are read"
        in inspect((ArchiveMember(file, 0, 5000, "1.jpg"),), max_file_size=1000).unreadable[0]
    )


def test_a_large_photo_of_a_shard(tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photo("red", 0)
    file = write_tar(tmp_path / "a.tar", {"0.txt": b"x", "1.jpg": data})
    (cell,) = open_tar_table(file).cells("image")
    monkeypatch.setattr(sources, "_MAX_READ_AT_ONCE", 100)
    monkeypatch.setattr(sources, "PIECE", 177)
    with cell.open() as stream:
        assert not isinstance(stream, io.BytesIO)
        assert stream.read() == data
    (tmp_path / "1.jpg").write_bytes(data)
    assert read_image(cell).tobytes() == read_image(tmp_path / "1.jpg").tobytes()
    assert content_key(cell) == content_key(tmp_path / "1.jpg")


def test_a_shard_that_changed_is_read_again(tmp_path: Path, photo: Photo) -> None:
    file = write_tar(tmp_path / "a.tar", {"1.jpg": photo("red", 0), "1.cls": b"a"})
    assert open_tar_table(file) is open_tar_table(file)
    write_tar(file, {"1.jpg": photo("red", 0), "1.cls": b"a", "2.jpg": photo("red", 1), "2.cls": b"b"})
    assert len(open_tar_table(file)) == 2


def test_shards_of_a_store(bucket: Bucket, tmp_path: Path, photo: Photo) -> None:
    """Each shard is asked for once, for its headers and its photos."""
    for shard in range(2):
        members: dict[str, bytes] = {}
        for number in range(3):
            key = f"{shard}{number}"
            members |= {
                f"{key}.jpg": photo("red", 10 * shard + number),
                f"{key}.cls": b"ab"[number % 2 : number % 2 + 1],
            }
        file = write_tar(tmp_path / f"train-{shard}.tar", members)
        bucket.put(f"shards/{file.name}", file.read_bytes())
    local = find_samples(tmp_path / "train-{0..1}.tar")["train"]
    for url in ("s3://pets/shards", "s3://pets/shards/train-{0..1}.tar"):
        remote = find_samples(url)["train"]
        assert remote.names() == local.names()
        assert [source.name for source in remote.sources] == [source.name for source in local.sources]
        assert inspect(remote.sources) == inspect(local.sources)
    assert bucket.proxy.asked(r"\.tar$") == 2
