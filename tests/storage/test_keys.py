"""Keys that are no usual paths: each object is listed, and read as itself and as no other."""

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.fixtures.stores import Bucket, Proxy

from regraft.data.folders import scan
from regraft.data.layouts import find_samples
from regraft.errors import StorageError
from regraft.files import sha256
from regraft.images import sources
from regraft.images.sources import content_key
from regraft.storage import opening
from regraft.storage.addresses import place_of
from regraft.storage.locations import RemotePath, is_file, location, read_file
from regraft.storage.store import Store

Photos = Callable[..., Path]

KEYS = [
    "a/b.jpg",
    "a//b.jpg",
    "a///b.jpg",
    "a/./b.jpg",
    "a/../b.jpg",
    "b.jpg",
    "/b.jpg",
    "//b.jpg",
    "./b.jpg",
    "/a/b.jpg",
    "./a/b.jpg",
    "a/.",
    "a b/c d.jpg",
    " a/ b.jpg ",
    "ü/é.jpg",
    "u\u0308/e\u0301.jpg",  # the same to the eye
    "a/#b.jpg",
    "a/?b.jpg",
    "a/x%2Fy.jpg",
    "a/x/y.jpg",
    "a/b.jpg.",
    "a./b.jpg",
    "a/b\\c.jpg",
    "a/*.jpg",
    "a/[b].jpg",
    "a/b\tc\r.jpg",
    "a/empty.jpg",
    f"long/{'x' * 1000}.jpg",
]


class Files:
    """A file system of fsspec that lists what it is given, and refuses to read from some buckets."""

    def __init__(self, names: list[str], refused: tuple[str, ...] = ()) -> None:
        self.names, self.refused = names, refused
        self.read: list[str] = []

    def invalidate_cache(self) -> None:
        """Do nothing."""

    def find(self, path: str, *, detail: bool) -> dict[str, dict[str, Any]]:
        assert detail
        return {name: {"name": name, "type": "file", "size": 1} for name in self.names if name.startswith(f"{path}/")}

    def cat_file(self, path: str) -> bytes:
        self.read.append(path)
        if path.split("/", maxsplit=1)[0] in self.refused:
            raise PermissionError("hunter2")
        if path not in self.names:
            raise FileNotFoundError
        return path.encode()

    def _strip_protocol(self, url: str) -> str:
        return url.partition("://")[2]


# --- every object, as itself ---


@pytest.fixture
def odd(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return a bucket of odd keys, each object of which holds its key, but one that is empty; listed in pages of 5."""
    for key in KEYS:
        bucket.put(quote(key), b"" if key == "a/empty.jpg" else key.encode())
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    return bucket


def contents(paths: list[RemotePath]) -> dict[str, bytes]:
    return {str(path).removeprefix("s3://pets/"): read_file(path) for path in paths}


EXPECTED = {key: b"" if key == "a/empty.jpg" else key.encode() for key in KEYS}


def test_each_object_is_listed_and_read_as_itself(odd: Bucket) -> None:
    found = [folder / name for folder, _, names in RemotePath("s3://pets").walk() for name in names]
    assert contents(found) == EXPECTED
    assert odd.proxy.asked("list-type") == -(-len(KEYS) // 5)
    assert all(is_file(path) for path in found)


@pytest.mark.slow
@pytest.mark.usefixtures("odd")
def test_each_object_is_found_folder_by_folder() -> None:
    """As when a listing of all has grown old."""

    def below(folder: RemotePath) -> list[RemotePath]:
        here = [*folder.iterdir()]
        return [path for one in here for path in (below(one) if one.is_dir() else [one])]

    assert contents(below(RemotePath("s3://pets"))) == EXPECTED


@pytest.mark.usefixtures("odd")
def test_a_folder_holds_what_lies_below_it() -> None:
    for folder in ("a", "/a", "./a", "a b", "u\u0308"):
        found = scan(location(f"s3://pets/{folder}"))
        got = {str(path).removeprefix("s3://pets/") for path in (*found.images, *found.others, *found.hidden)}
        assert got == {key for key in KEYS if key.startswith(f"{folder}/")}


@pytest.mark.slow
@pytest.mark.usefixtures("odd")
def test_each_object_is_read_by_its_address() -> None:
    named = [RemotePath(f"s3://pets/{key}") for key in KEYS]
    assert contents(named) == EXPECTED
    assert contents(pickle.loads(pickle.dumps(named))) == EXPECTED


@pytest.mark.parametrize("key", KEYS)
def test_an_address_is_kept_to_the_letter(key: str) -> None:
    url = f"s3://pets/{key}"
    path = location(url)
    assert str(path) == url
    assert path == RemotePath("s3://pets") / path.relative_to(RemotePath("s3://pets"))
    assert f"{path.parent}/{path.name}" == url
    assert pickle.loads(pickle.dumps(path)) == path


def test_names_of_parts_that_have_none() -> None:
    path = RemotePath("s3://pets//cat/./1.jpg")
    assert path.parts == ("s3:", "pets", "/cat", "./1.jpg")
    assert (path.name, path.stem, path.suffix, path.parent.name) == ("./1.jpg", "./1", ".jpg", "/cat")
    assert path != RemotePath("s3://pets/cat/1.jpg")


def test_a_class_folder_behind_two_slashes(bucket: Bucket, photos: Photos) -> None:
    folder = photos("pets", red=2, blue=1)
    bucket.upload(folder, "train")
    bucket.put("train//red/2.jpg", (folder / "red" / "1.jpg").read_bytes() + b" ")
    bucket.put("train/red//3.jpg", (folder / "red" / "1.jpg").read_bytes() + b"  ")
    found = find_samples("s3://pets/train", splits=("train",))["train"]
    assert found.counts() == {"/red": 1, "blue": 1, "red": 3}


def test_a_web_server_is_asked_for_the_address_that_was_named(web: tuple[Path, Proxy]) -> None:
    folder, proxy = web
    (folder / "in").mkdir()
    (folder / "in" / "a.jpg").write_bytes(b"a")
    for path in ("in/a.jpg", "in//a.jpg"):
        assert read_file(location(f"{proxy.url}/{path}")) == b"a"
        assert proxy.seen[-1] == ("GET", f"/{path}")


@pytest.mark.parametrize("name", ["a b.jpg", "ü%.jpg", "100%25.jpg"])
def test_a_web_server_is_asked_for_names_as_people_write_them(web: tuple[Path, Proxy], name: str) -> None:
    folder, proxy = web
    (folder / name.replace("%25", "%")).write_bytes(b"a")
    assert read_file(location(f"{proxy.url}/{name}")) == b"a"


def test_a_name_that_its_client_takes_for_a_version_is_not_read_as_another(bucket: Bucket) -> None:
    bucket.put("a.jpg", b"another")
    bucket.put(quote("a.jpg?versionId=1"), b"this")
    found = [folder / name for folder, _, names in RemotePath("s3://pets").walk() for name in names]
    assert [*map(str, found)] == ["s3://pets/a.jpg", "s3://pets/a.jpg?versionId=1"]
    with pytest.raises(
        OSError, match=r"^its name holds \?versionId=, by which its client reads another object\. Rename it$"
    ):
        read_file(found[1])


# --- objects that have a folder's name ---

FOLDERS = ["pets/in/cat", "pets/in/cat/1.jpg", "pets/in/cat/", "pets/in/dog/1.jpg", "pets/in/"]


@pytest.mark.parametrize("order", [*itertools.permutations(FOLDERS[:4])])
def test_a_folder_counts_where_a_file_has_its_name(order: tuple[str, ...]) -> None:
    store = Store("s3", Files([*order, FOLDERS[4]]), frozenset())
    store.list_below("s3://pets/in")
    assert {name: entry.is_folder for name, entry in store.listing("s3://pets/in").items()} == {
        "cat": True,
        "dog": True,
    }
    assert [*store.listing("s3://pets/in/cat")] == ["1.jpg"]


def test_markers_of_folders_hide_no_photo(bucket: Bucket, photos: Photos) -> None:
    url = bucket.upload(photos("pets", red=2, blue=1), "in")
    for marker in ("in", "in/", "in/red", "in/red/", "in/green"):
        bucket.put(marker, b"")
    assert find_samples(url, splits=("train",))["train"].counts() == {"blue": 1, "red": 2}


def test_a_marker_that_is_named_is_a_folder(bucket: Bucket) -> None:
    bucket.put("in/cat", b"")
    bucket.put("in/cat/1.jpg", b"1")
    bucket.put("in/empty.jpg", b"")
    assert RemotePath("s3://pets/in/cat").is_dir()
    assert RemotePath("s3://pets/in/empty.jpg").is_file()


# --- buckets that are gone ---


def fail(store: Store, url: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(OSError, match=r"^no permission \(403\)$"):
            store.read(url)


def test_a_bucket_that_is_gone_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.storage.outages.GONE_AFTER", 3)
    files = Files(["good/1.jpg"], refused=("bad",))
    store = Store("s3", files, frozenset())
    fail(store, "s3://bad/1.jpg", 2)
    said = (
        r"^the store of s3://bad refuses access: 3 reads in a row failed, each after all attempts, the last of "
        r"s3://bad/2.jpg \(no permission \(403\)\)\. Credentials come from"
    )
    with pytest.raises(StorageError, match=said):
        store.read("s3://bad/2.jpg")
    with pytest.raises(StorageError, match=said):  # the address that failed, not the one that was not asked for
        store.read("s3://bad/3.jpg")
    assert "bad/3.jpg" not in files.read
    assert store.read("s3://good/1.jpg") == b"good/1.jpg"
    with pytest.raises(StorageError, match=said):
        store.read("s3://bad/3.jpg")


def test_a_bucket_that_is_gone_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.storage.outages.GONE_AFTER", 2)
    now = [100.0]
    monkeypatch.setattr("regraft.storage.outages.time.monotonic", lambda: now[0])
    files = Files(["bad/1.jpg"], refused=("bad",))
    store = Store("s3", files, frozenset())
    fail(store, "s3://bad/1.jpg", 1)
    for later, asked in ((0, 2), (14, 2), (2, 3), (1, 3), (15, 4)):  # one read every 15 seconds
        now[0] += later
        with pytest.raises(StorageError, match="refuses access"):
            store.read("s3://bad/1.jpg")
        assert len(files.read) == asked
    files.refused = ()
    with pytest.raises(StorageError):
        store.read("s3://bad/1.jpg")
    now[0] += 15
    assert [store.read("s3://bad/1.jpg") for _ in range(2)] == [b"bad/1.jpg"] * 2
    files.refused = ("bad",)
    fail(store, "s3://bad/1.jpg", 1)  # counted anew


def test_what_is_not_there_shows_that_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.storage.outages.GONE_AFTER", 2)
    files = Files([])
    store = Store("s3", files, frozenset())
    for _ in range(3):
        files.refused = ("bad",)
        fail(store, "s3://bad/1.jpg", 1)
        files.refused = ()
        with pytest.raises(FileNotFoundError, match="it is not there"):
            store.read("s3://bad/2.jpg")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://pets/cat/1.jpg", "s3://pets"),
        ("http://example.org:8080/1.jpg", "http://example.org:8080"),
        ("hf://datasets/owner/name@main/a.jpg", "hf://datasets/owner/name"),
        ("hf://owner/name/a.jpg", "hf://owner/name"),
        (
            "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/pets/cat/1.jpg",
            "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/pets",
        ),
    ],
)
def test_where_an_address_lies(url: str, place: str) -> None:
    assert place_of(url) == place


# --- workers of other processes ---


def test_a_photo_that_was_listed_elsewhere_is_asked_for_once(
    bucket: Bucket, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("pets", red=2)
    found = find_samples(bucket.upload(folder, "train"), splits=("train",))["train"]
    sent = pickle.dumps(found.sources)
    monkeypatch.setattr(opening, "_stores", {})
    monkeypatch.setattr(sources, "_fetched", sources._Fetched())
    again = pickle.dumps(pickle.loads(sent))  # as a worker hands them on that has opened no store
    bucket.proxy.seen.clear()
    for _ in range(2):
        keys = [content_key(source) for source in pickle.loads(again)]
        assert keys == [sha256((folder / "red" / f"{number}.jpg").read_bytes()) for number in range(2)]
    assert [method for method, _ in bucket.proxy.seen] == ["GET", "GET"]
