"""Addresses that are asked what paths are asked, and the layouts of data sets in a store."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.fixtures.stores import Proxy

from regraft.data.audit import inspect
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples, split_names
from regraft.data.photo_list import list_photos
from regraft.data.photos import find_photos
from regraft.data.samples import Samples
from regraft.errors import DataError, StorageError
from regraft.files import UnusableFileError, sha256
from regraft.images import sources
from regraft.images.reading import read_image
from regraft.images.source_files import reader_threads
from regraft.images.sources import as_sources, content_key
from regraft.storage.locations import RemotePath, absolute_name, local_path, location, open_file, read_file, read_part
from regraft.storage.store import Store

Photos = Callable[..., Path]
Copy = Callable[[Path, str], str]


# --- names ---


def test_an_address_is_a_path() -> None:
    path = location("s3://pets/train/cat/1.jpg")
    assert isinstance(path, RemotePath)
    assert (str(path), path.name, path.suffix) == ("s3://pets/train/cat/1.jpg", "1.jpg", ".jpg")
    assert str(path.parent.parent / "dog") == "s3://pets/train/dog"
    assert str(path.relative_to(location("s3://pets/train"))) == "cat/1.jpg"
    assert path == RemotePath("s3://pets/train", "cat", "1.jpg")
    assert len({path, RemotePath("s3://pets/train/cat/1.jpg")}) == 1
    assert pickle.loads(pickle.dumps(path)) == path
    assert os.fspath(path) == "s3://pets/train/cat/1.jpg"


def test_what_pathlib_made_of_an_address_is_one() -> None:
    assert str(location(Path("s3://pets/train/"))) == "s3://pets/train"
    assert str(location("S3://pets")) == "s3://pets"


def test_paths_of_this_machine_stay_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert location("~/pets") == Path("/home/someone/pets")
    assert location("pets") == Path("pets")
    assert location("odd:/name") == Path("odd:/name")
    assert location("C:/pets") == Path("C:/pets")
    assert location("file:///tmp/my%20pets") == Path("/tmp/my pets")


def test_dots_do_not_lead_out_of_a_bucket() -> None:
    assert str(RemotePath("s3://pets/a/../../../other/b").normal()) == "s3://pets/other/b"


def test_names_that_hold_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_name(location("s3://pets/1.jpg")) == "s3://pets/1.jpg"
    assert absolute_name(Path("1.jpg")) == str(tmp_path / "1.jpg")


def test_what_must_be_local_says_so() -> None:
    with pytest.raises(DataError, match=r"^review must lie on this machine\. Got s3://pets\. Name a file or folder"):
        local_path("s3://pets", "review")


# --- files ---


def test_files_are_read_whole_and_in_parts(tmp_path: Path, memory: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 40
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(data)
    path = location(memory(tmp_path / "in", "files")) / "a.bin"
    assert read_file(path) == data
    assert read_part(path, 1000, 300) == data[1000:1300]
    with open_file(path) as stream:
        assert stream.seek(-10, io.SEEK_END) == len(data) - 10
        assert stream.read() == data[-10:]
        assert stream.seek(5) == 5
        assert stream.read(3) == data[5:8]
    with pytest.raises(UnusableFileError, match=r"10\.2 kB, and at most 1 kB are read"):
        read_file(path, limit=1000)
    with pytest.raises(FileNotFoundError, match="not there"):
        open_file(path.parent / "b.bin")
    with pytest.raises(UnusableFileError, match="not a file but a folder"):
        open_file(path.parent)
    monkeypatch.setattr("regraft.storage.locations.PIECE", 1000)
    monkeypatch.setattr("regraft.storage.contents.PIECE", 1000)
    assert read_file(path) == data
    assert read_part(path, 999, 2002) == data[999:3001]
    with pytest.raises(OSError, match="its archive ends before it does"):
        read_part(path, len(data) - 5, 10)


def test_a_large_photo_is_laid_on_disk_and_read_from_there(
    tmp_path: Path, photos: Photos, memory: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("pets", red=1)
    monkeypatch.setattr(sources, "_MAX_READ_AT_ONCE", 100)
    monkeypatch.setattr(sources, "PIECE", 333)
    path = location(memory(folder, "pets")) / "red" / "0.jpg"
    with sources.open_encoded(path) as stream:
        assert not isinstance(stream, io.BytesIO)
        assert stream.fileno() >= 0
        assert stream.read() == (folder / "red" / "0.jpg").read_bytes()
    assert read_image(path).tobytes() == read_image(folder / "red" / "0.jpg").tobytes()


# --- layouts ---


def same(remote: Samples, local: Samples, url: str, folder: Path) -> None:
    """Check that samples are the same but for where they lie."""
    assert [str(one) for one in remote.sources] == [str(one).replace(str(folder), url) for one in local.sources]
    assert remote.classes == local.classes
    assert remote.labels.tolist() == local.labels.tolist()
    assert remote.names_of_groups() == local.names_of_groups()
    assert remote.notes == tuple(note.replace(str(folder), url) for note in local.notes)
    assert remote.where == local.where.replace(str(folder), url)
    assert remote.name == local.name
    assert inspect(remote.sources) == inspect(local.sources)


def test_class_folders(photos: Photos, memory: Copy) -> None:
    folder = photos("pets", red=2, green=1, blue=1)
    photos("pets/red", grey=1)  # deeper
    photos("pets/.hidden", grey=2)
    photos("pets/empty", grey=0)
    (folder / "note.txt").write_text("x")
    (folder / "empty").mkdir()
    (folder / "empty" / "x.txt").write_text("x")
    url = memory(folder, "pets")
    same(find_samples(url)["train"], find_samples(folder)["train"], url, folder)
    assert "2 images in memory://pets are passed over as hidden" in " ".join(find_samples(url)["train"].notes)


def test_splits(photos: Photos, memory: Copy) -> None:
    folder = photos("pets/train", red=2, blue=2).parent
    photos("pets/val", first_seed=9, red=1, blue=1)
    photos("pets/test", first_seed=19, red=1, blue=1)
    url = memory(folder, "pets")
    assert split_names(url) == ("train", "validation", "test")
    remote, local = find_samples(url), find_samples(folder)
    assert list(remote) == list(local) == ["train", "validation"]
    for split, part in remote.items():
        same(part, local[split], url, folder)
    listed = list_photos(url)
    assert (str(listed), listed.labels) == (
        str(list_photos(folder)).replace(str(folder), url),
        list_photos(folder).labels,
    )


def test_flat_names(photos: Photos, memory: Copy) -> None:
    folder = photos("pets", red=2, blue=2)
    for path in list(folder.rglob("*.jpg")):
        path.rename(folder / f"{path.parent.name}.{path.name}")
    for name in ("red", "blue"):
        (folder / name).rmdir()
    url = memory(folder, "pets")
    same(find_samples(url)["train"], find_samples(folder)["train"], url, folder)


def test_a_table_beside_its_images(photos: Photos, memory: Copy) -> None:
    folder = photos("pets", red=2, blue=2)
    rows = [("red/0.jpg", "r"), ("RED\\1.JPG", "r"), ("/data/blue/0.jpg", "b"), ("blue/1.jpg", "b")]
    pd.DataFrame(rows, columns=["image", "label"]).to_csv(folder / "labels.csv", index=False)
    url = memory(folder, "pets")
    same(find_samples(f"{url}/labels.csv")["train"], find_samples(folder / "labels.csv")["train"], url, folder)
    elsewhere = folder.parent / "elsewhere.csv"
    elsewhere.write_text(f"image,label\nred/0.jpg,r\n{url}/blue/0.jpg,b\n")
    found = find_samples(elsewhere, Columns(image_root=Path(url)))["train"]
    assert [*map(str, found.sources)] == [f"{url}/red/0.jpg", f"{url}/blue/0.jpg"]


@pytest.mark.parametrize("cell", ["memory://other/1.jpg", "../other/1.jpg", "s3://pets/red/0.jpg", "nowhere.jpg"])
def test_a_table_names_no_file_of_another_place(photos: Photos, memory: Copy, cell: str) -> None:
    folder = photos("pets", red=1)
    memory(photos("other", red=1) / "red", "other")
    url = memory(folder, "pets")
    table = folder.parent / "labels.csv"
    table.write_text(f"image,label\n{cell},r\n")
    with pytest.raises(DataError, match=f"1 of 1 rows name no image file below {url}"):
        find_samples(table, Columns(image_root=Path(url)))


def parquet(folder: Path, file: Path, names: list[str]) -> None:
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in map(folder.joinpath, names)]
    table = pd.DataFrame({"image": images, "label": [name.split("/")[0] for name in names]})
    table.to_parquet(file, row_group_size=2)


def test_parquet_shards(photos: Photos, memory: Copy, tmp_path: Path) -> None:
    folder = photos("pets", red=3, blue=3)
    shards = tmp_path / "shards"
    shards.mkdir()
    parquet(folder, shards / "train-00000-of-00002.parquet", ["red/0.jpg", "blue/0.jpg", "red/1.jpg"])
    parquet(folder, shards / "train-00001-of-00002.parquet", ["blue/1.jpg"])
    parquet(folder, shards / "test-00000-of-00001.parquet", ["red/2.jpg", "blue/2.jpg"])
    url = memory(shards, "shards")
    same(find_samples(url)["train"], find_samples(shards)["train"], url, shards)
    assert split_names(url) == ("train", "test")
    assert len(find_photos([url])) == 6


def test_of_a_parquet_file_its_end_and_a_row_group_are_read(
    memory: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    images = [os.urandom(200_000) for _ in range(40)]
    pd.DataFrame({"image": images, "label": ["a"] * 40}).to_parquet(shards / "a.parquet", row_group_size=2)
    url = memory(shards, "shards")
    read: list[int] = []
    read_part = Store.read_part

    def counted(self: Store, name: str, start: int, end: int, *, size: int) -> bytes:
        read.append(max(end - start, 0))
        return read_part(self, name, start, end, size=size)

    monkeypatch.setattr(Store, "read_part", counted)
    found = find_samples(f"{url}/a.parquet")["train"]
    assert [content_key(source) for source in found.sources[20:22]] == [sha256(image) for image in images[20:22]]
    assert sum(read) < 0.5 * (shards / "a.parquet").stat().st_size


def test_labels_that_are_corrected(photos: Photos, memory: Copy, tmp_path: Path) -> None:
    folder = photos("pets", red=3, blue=3)
    url = memory(folder, "pets")
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label\n{url}/red/0.jpg,blue\nred/1.jpg,\n")
    found = LabelOptions(table).find(url)["train"]
    assert found.counts() == {"blue": 4, "red": 1}
    assert found.notes[-1] == "labels: labels.csv changes 1 label, leaves out 1 photo"


def test_patterns_and_single_photos(photos: Photos, memory: Copy) -> None:
    url = memory(photos("pets", red=11, blue=1), "pets")
    names = [f"{url}/red/{number}.jpg" for number in range(11)]
    assert [*map(str, find_photos([f"{url}/red/*.jpg"]))] == names
    assert [*map(str, find_photos([names[3], f"{url}/blue"]))] == [names[3], f"{url}/blue/0.jpg"]
    with pytest.raises(DataError, match=f"no image found for: {url}/green"):
        find_photos([f"{url}/green"])


def test_what_is_not_there_is_told_as_of_a_folder(memory: Copy, photos: Photos) -> None:
    url = memory(photos("pets", red=1), "pets")
    with pytest.raises(DataError, match=r"memory://pets/nowhere does not exist\. Name a folder of photos, a \.csv "):
        find_samples(f"{url}/nowhere")
    with pytest.raises(DataError, match=f"{url}/red/0.jpg is one photo. Name the folder that it lies in"):
        find_samples(f"{url}/red/0.jpg")


def test_the_first_photos_stay_in_memory_until_nobody_asks(
    photos: Photos, memory: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = memory(photos("pets", red=3), "pets")
    found = [location(url) / "red" / f"{number}.jpg" for number in range(3)]
    assert all(isinstance(path, RemotePath) for path in found)
    largest = max(len(read_file(path)) for path in found)
    monkeypatch.setattr(sources, "FETCHED_IN_MEMORY", 2 * largest)
    asked: list[str] = []
    read = Store.read

    def counted(self: Store, name: str) -> bytes:
        asked.append(name[-5])
        return read(self, name)

    monkeypatch.setattr(Store, "read", counted)
    for _ in range(2):
        inspect(tuple(found[:2]))
        inspect(tuple(found[2:]))
    assert sorted(asked) == ["0", "1", "2", "2"]
    monkeypatch.setattr(sources, "_SECONDS_KEPT", 0.0)
    inspect(tuple(found[2:]))
    inspect(tuple(found[2:]))
    assert asked.count("2") == 3


def test_stores_are_read_by_more_threads(tmp_path: Path) -> None:
    remote, local = RemotePath("s3://pets/1.jpg"), tmp_path / "1.jpg"
    assert reader_threads([local, local], 4) == 4
    assert reader_threads([local, remote], 4) == 16
    assert reader_threads([sources.ArchiveMember(remote, 0, 1, "1.jpg")], 4) == 16
    assert reader_threads([remote], 64) == 64


def test_images_of_a_list(photos: Photos, memory: Copy) -> None:
    folder = photos("pets", red=1)
    url = memory(folder, "pets")
    (found,) = as_sources([f"{url}/red/0.jpg"])
    assert found == RemotePath(f"{url}/red/0.jpg")


# --- a web server ---


def test_single_files_and_tables_of_a_web_server(web: tuple[Path, Proxy], photos: Photos) -> None:
    folder, proxy = web
    photos("web", red=2, blue=1)
    (folder / "labels.csv").write_text("image,label\nred/0.jpg,r\nred/1.jpg,r\nblue/0.jpg,b\nblue/9.jpg,b\n")
    found = find_samples(f"{proxy.url}/labels.csv")["train"]
    assert [*map(str, found.sources)][:2] == [f"{proxy.url}/red/0.jpg", f"{proxy.url}/red/1.jpg"]
    looked = inspect(found.sources)
    assert looked.keys[:3] == inspect(tuple(folder / name for name in ("red/0.jpg", "red/1.jpg", "blue/0.jpg"))).keys
    assert looked.unreadable == {3: "the file is gone"}
    assert find_photos([f"{proxy.url}/red/0.jpg"]) == [RemotePath(f"{proxy.url}/red/0.jpg")]


def test_a_cell_is_the_name_of_a_file_of_a_web_server(web: tuple[Path, Proxy], photos: Photos) -> None:
    """An address would have %20 stand for a space: the label would go to the other photo."""
    folder, proxy = web
    made = photos("web", red=5) / "red"
    names = ("a%20b.jpg", "a b.jpg", "#1.jpg", "what?.jpg")
    for number, name in enumerate(names):
        (made / f"{number}.jpg").rename(made / name)
    (folder / "labels.csv").write_text("image,label\n" + "".join(f"red/{name},{name}\n" for name in names))
    found = find_samples(f"{proxy.url}/labels.csv")["train"]
    assert [found.classes[label] for label in found.labels] == list(names)
    looked = inspect(found.sources)
    assert not looked.unreadable
    assert looked.keys == inspect(tuple(made / name for name in names)).keys


@pytest.mark.parametrize("name", ["none.tar", "none.parquet", "none.csv"])
def test_a_table_that_a_web_server_does_not_have_is_no_photo(web: tuple[Path, Proxy], name: str) -> None:
    url = f"{web[1].url}/{name}"
    with pytest.raises(
        DataError, match=rf"^no image found for: {url}\. Name image files, .* tables, or quoted globs\.$"
    ):
        find_photos([url])


def test_a_table_of_a_web_server_names_no_file_elsewhere(web: tuple[Path, Proxy]) -> None:
    folder, proxy = web
    (folder / "in").mkdir()
    (folder / "in" / "labels.csv").write_text("image,label\n../a.jpg,r\nhttp://example.org/b.jpg,r\n,r\n")
    with pytest.raises(DataError) as caught:
        find_samples(f"{proxy.url}/in/labels.csv")
    message = str(caught.value)
    assert "line 2: '../a.jpg' leads out of it\n" in message
    assert "line 3: 'http://example.org/b.jpg' leads out of it\n" in message
    assert "line 4: '' names nothing\n" in message


def test_a_web_server_has_no_folders(web: tuple[Path, Proxy], photos: Photos) -> None:
    _, proxy = web
    photos("web", red=2)
    with pytest.raises((DataError, StorageError)) as caught:
        find_samples(f"{proxy.url}/red")
    assert "\n" not in str(caught.value)
