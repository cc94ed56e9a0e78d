"""What stores on loopback answer, spoilt in every way: what is asked again, and how it ends in words."""

import errno
import logging
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.fixtures.stores import Bucket, Faults, Proxy

from regraft.cluster.shards import find_shards
from regraft.data.audit import inspect
from regraft.data.layouts import find_samples
from regraft.data.photo_list import list_photos
from regraft.errors import StorageError
from regraft.images.loading import load_batches
from regraft.images.preprocess import Preprocess
from regraft.images.reading import UnreadableImageError, look_at, read_image
from regraft.storage import failures, opening, outages, store
from regraft.storage.failures import NoPartsError, failure_to_create, may_pass, trouble_of
from regraft.storage.locations import RemotePath, location, read_file, read_part, write_file

Photos = Callable[..., Path]
SMALL = Preprocess(32, 32, 1.0, "center", "bilinear", (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no answer longer than a fraction of a second."""
    monkeypatch.setattr(opening, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(opening, "_CONNECT_SECONDS", 0.3)


# --- what is read ---


def test_a_bucket_is_read_as_a_folder_is(bucket: Bucket, photos: Photos) -> None:
    """Each photo is asked for once, by one request, and all are listed by one."""
    folder = photos("pets", red=3, blue=4)
    url = bucket.upload(folder, "photos")
    remote, local = find_samples(url)["train"], find_samples(folder)["train"]
    assert [str(one) for one in remote.sources] == [str(one).replace(str(folder), url) for one in local.sources]
    assert inspect(remote.sources) == inspect(local.sources)
    (mine,), (theirs,) = (list(load_batches(part.sources, SMALL)) for part in (remote, local))
    assert (mine.pixels == theirs.pixels).all()
    assert bucket.proxy.asked(r"\.jpg") == 7
    assert bucket.proxy.asked(r"\.jpg", "HEAD") == 0
    assert bucket.proxy.asked(r"list-type.*delimiter=&") == 1
    assert bucket.proxy.asked(r"list-type") == 3  # is it there, are there tables in it, and all below


def test_a_file_that_is_to_be_new_replaces_none(bucket: Bucket) -> None:
    file = location(f"s3://{bucket.name}/plan.json")
    write_file(file, b"first", new=True)
    with pytest.raises(FileExistsError):
        write_file(file, b"second", new=True)
    assert read_file(file) == b"first"
    write_file(file, b"third")
    assert read_file(file) == b"third"


@pytest.mark.parametrize(
    ("status", "means"),
    [(412, FileExistsError), (409, FileExistsError), (501, NotImplementedError), (400, NotImplementedError)],
)
def test_why_a_file_that_is_to_be_new_was_not_written(status: int, means: type[Exception]) -> None:
    """s3fs gives the answer of a store as the cause of an error of its own."""
    answer = ClientError({"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")
    error = OSError(errno.EINVAL, "it failed")
    error.__cause__ = answer
    assert isinstance(failure_to_create(error), means)
    busy = ClientError({"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject")
    assert failure_to_create(busy) is None


@pytest.mark.parametrize("name", ["", "/pets", "/pets/", "/*.jpg", "/train.parquet", "/cats/*/1.jpg", "/a.tar"])
def test_a_bucket_that_is_not_there(bucket: Bucket, name: str) -> None:
    """It is not taken for a folder without photos: the name is a wrong one."""
    assert bucket.name != "nobody"
    message = (
        rf"^s3://nobody{re.escape(name.rstrip('/'))}: there is no s3://nobody\. Check its name, or make it first\.$"
    )
    with pytest.raises(StorageError, match=message):
        list_photos(f"s3://nobody{name}")
    with pytest.raises(StorageError, match=message):
        find_shards([f"s3://nobody{name}"])
    with pytest.raises(StorageError, match=message):
        find_samples(f"s3://nobody{name}")


def test_a_photo_for_which_there_is_no_room_is_read_twice(
    bucket: Bucket, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_samples(bucket.upload(photos("pets", red=2, blue=2), "train"))["train"]
    monkeypatch.setattr("regraft.images.sources.FETCHED_IN_MEMORY", 0)
    inspect(found.sources)
    list(load_batches(found.sources, SMALL))
    assert bucket.proxy.asked(r"\.jpg") == 8


def test_names_that_addresses_escape(bucket: Bucket, photos: Photos) -> None:
    data = (photos("pets", red=1) / "red" / "0.jpg").read_bytes()
    for name in ("a%20b/1%202.jpg", "a%20b/%C3%BC%23%25.jpg", "a%20b/%3F%2B%5B1%5D.jpg"):
        bucket.put(f"odd/{name}", data)
    found = find_samples("s3://pets/odd", splits=("train",))["train"]
    assert {source.name for source in found.sources if isinstance(source, RemotePath)} == {
        "1 2.jpg",
        "ü#%.jpg",
        "?+[1].jpg",
    }
    assert not inspect(found.sources).unreadable


# --- what fails for a while ---


@pytest.mark.parametrize(
    "fault", ["cut", *(pytest.param(one, marks=pytest.mark.slow) for one in ("503", "500", "drop"))]
)
def test_what_fails_twice_is_asked_a_third_time(bucket: Bucket, photos: Photos, fault: str) -> None:
    folder = photos("pets", red=2, blue=1)
    url = bucket.upload(folder, "train")
    bucket.proxy.fault = Faults(fault, r"\.jpg", times=2 if fault == "cut" else 1)
    found = inspect(find_samples(url)["train"].sources)
    assert not found.unreadable
    assert found == inspect(find_samples(folder)["train"].sources)
    assert bucket.proxy.asked(r"\.jpg") == 3 * (3 if fault == "cut" else 2)


@pytest.mark.parametrize("fault", ["503", "cut", "drop"])
def test_a_web_server_is_asked_again_too(web: tuple[Path, Proxy], photos: Photos, fault: str) -> None:
    folder, proxy = web
    photos("web", red=1)
    proxy.fault = Faults(fault, r"\.jpg", times=2)
    assert read_file(location(f"{proxy.url}/red/0.jpg")) == (folder / "red" / "0.jpg").read_bytes()
    assert proxy.asked(r"\.jpg") == 3


@pytest.mark.slow
def test_listings_are_asked_for_again(bucket: Bucket, photos: Photos) -> None:
    url = bucket.upload(photos("pets", red=1, blue=1), "train")
    bucket.proxy.fault = Faults("cut", r"list-type", times=1)
    assert find_samples(url)["train"].counts() == {"blue": 1, "red": 1}


# --- photos that cannot be read ---


@pytest.mark.slow
def test_a_photo_that_still_fails_is_named_with_its_reason(bucket: Bucket, photos: Photos) -> None:
    url = bucket.upload(photos("pets", red=4, blue=4), "train")
    faults = {"red/0.jpg": "cut", "red/1.jpg": "403", "red/3.jpg": "404"}
    bucket.proxy.fault = lambda method, path: faults.get("/".join(path.split("/")[-2:])) if method == "GET" else None
    samples = find_samples(url)["train"]
    reasons = {4: "the connection broke off at every attempt", 5: "no permission (403)", 7: "the file is gone"}
    assert inspect(samples.sources).unreadable == reasons
    assert str(samples.sources[5]) == f"{url}/red/1.jpg"
    with pytest.raises(UnreadableImageError) as caught:
        read_image(samples.sources[5])
    assert str(caught.value) == reasons[5]


@pytest.mark.slow
def test_a_photo_that_a_busy_store_refuses_is_named(bucket: Bucket, photos: Photos) -> None:
    samples = find_samples(bucket.upload(photos("pets", red=2, blue=2), "train"))["train"]
    bucket.proxy.fault = Faults("503", r"red/1\.jpg", times=99)
    assert inspect(samples.sources).unreadable == {3: "it answered 503 at every attempt"}
    assert bucket.proxy.asked(r"red/1\.jpg") == 3


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_a_photo_whose_answer_stalls_is_named(bucket: Bucket, photos: Photos) -> None:
    url = bucket.upload(photos("pets", red=2, blue=2), "train")
    samples = find_samples(url)["train"]
    bucket.proxy.fault = Faults("slow", r"red/1\.jpg", times=99)
    assert inspect(samples.sources).unreadable == {3: "no answer in time at every attempt"}


@pytest.mark.slow
@pytest.mark.parametrize("store_kind", ["bucket", "web"])
def test_an_answer_that_drips_ends_in_time(
    store_kind: str, request: pytest.FixtureRequest, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes before the client loses its patience, but all of them take minutes."""
    monkeypatch.setattr(store, "_REQUEST_SECONDS", 0.5)
    place = request.getfixturevalue(store_kind)
    if isinstance(place, Bucket):
        proxy, url = place.proxy, place.upload(photos("pets", red=1), "train")
    else:
        proxy, url = place[1], place[1].url
        photos("web", red=1)
    proxy.fault = Faults("drip", r"red/0\.jpg", times=99)
    started = time.monotonic()
    with pytest.raises(OSError, match=r"^no answer in time at every attempt$"):
        read_file(location(f"{url}/red/0.jpg"))
    assert time.monotonic() - started < 20


# --- a store that is gone ---


@pytest.mark.slow
def test_a_store_that_goes_away_ends_all_soon(bucket: Bucket, photos: Photos) -> None:
    url = bucket.upload(photos("pets", red=30, blue=30), "train")
    samples = find_samples(url)["train"]
    bucket.proxy.fault = lambda *_: "503"
    with pytest.raises(StorageError) as caught:
        inspect(samples.sources)
    message = str(caught.value)
    assert message.startswith("the store of s3://pets does not answer: ")
    assert "reads in a row failed, each after all attempts, the last of s3://pets/train/" in message
    assert message.endswith(
        "Check the connection and the address, and AWS_ENDPOINT_URL where the store is not the usual one. Then run the "
        "same command again: what was computed is kept."
    )
    assert bucket.proxy.asked(r"\.jpg") <= 3 * (outages.GONE_AFTER + 16)  # those that other threads had begun


@pytest.mark.slow
def test_a_store_that_refuses_in_the_middle_ends_all_soon(bucket: Bucket, photos: Photos) -> None:
    """A token that has expired."""
    samples = find_samples(bucket.upload(photos("pets", red=30, blue=30), "train"))["train"]
    bucket.proxy.fault = lambda *_: "403"
    with pytest.raises(StorageError, match=r"^the store of s3://pets refuses access: .* \(no permission \(403\)\)"):
        list(load_batches(samples.sources, SMALL))


@pytest.mark.slow
def test_an_answer_forgives_the_failures_before_it(bucket: Bucket, photos: Photos) -> None:
    samples = find_samples(bucket.upload(photos("pets", red=20, blue=20), "train"))["train"]
    bucket.proxy.fault = Faults("403", r"/[02468]\.jpg|/1[02468]\.jpg", times=99)
    failed = 0
    for source in samples.sources:
        try:
            look_at(source)
        except UnreadableImageError:
            failed += 1
    assert failed == 20


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_stores", "impatient")
def test_a_store_that_nobody_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://someone:hunter2@127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        with pytest.raises(StorageError) as caught:
            find_samples("s3://pets/train")
    assert str(caught.value) == (
        "s3://pets/train: the store of s3://pets does not answer: no connection at every attempt. Check the connection "
        "and the address, and AWS_ENDPOINT_URL where the store is not the usual one."
    )


# --- places that are not there, or not for everybody ---


@pytest.mark.slow
def test_no_permission(bucket: Bucket) -> None:
    bucket.proxy.fault = lambda *_: "403"
    with pytest.raises(StorageError) as caught:
        find_samples("s3://pets/train")
    assert str(caught.value) == (
        "s3://pets/train: the store of s3://pets refuses access: no permission (403). Credentials come from the "
        "environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or ~/.aws; FSSPEC_S3_ANON=true for a "
        "public bucket."
    )


def test_no_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match=r"refuses access: there are no credentials for it\. Credentials come from"):
        find_samples("s3://pets/train")


@pytest.mark.usefixtures("fresh_stores")
def test_no_such_kind_of_store() -> None:
    with pytest.raises(StorageError) as caught:
        find_samples("carrier-pigeon://pets")
    assert str(caught.value) == (
        "carrier-pigeon:// is no kind of address that can be read. Allowed are s3://, s3a://, gs://, gcs://, hf://, "
        "http://, https://, memory:// and files."
    )


# --- what clients say is not repeated ---


def test_words_of_clients_are_not_repeated() -> None:
    class EndpointConnectionError(Exception):
        pass

    found = trouble_of(EndpointConnectionError("http://user:hunter2@host"))
    assert (found.kind, found.words) == (failures.SILENT, "no connection at every attempt")
    assert trouble_of(ValueError("hunter2")).words == "its client failed (ValueError)"
    caused = ConnectionResetError("hunter2")
    caused.__cause__ = TimeoutError("hunter2")
    assert trouble_of(caused).words == "no answer in time at every attempt"


@pytest.mark.usefixtures("memory")
def test_warnings_of_clients_are_not_printed() -> None:
    """Python prints those of a logger alone that has no handler."""
    opening.store_of("memory://pets")
    for name in ("botocore", "aiobotocore", "s3fs", "gcsfs", "aiohttp"):
        assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger(name).handlers)


# --- threads and processes ---


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_opens_stores_of_its_own(bucket: Bucket, photos: Photos, tmp_path: Path) -> None:
    import subprocess
    import sys

    url = bucket.upload(photos("pets", red=1), "train")
    script = tmp_path / "forks.py"
    script.write_text(
        "import os, sys\n"
        "from regraft.storage.locations import location, read_file\n"
        "path = location(sys.argv[1]) / 'red' / '0.jpg'\n"
        "before = read_file(path)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if read_file(path) == before else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, script, url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- parts of archives ---


def test_neighbours_in_an_archive_are_read_at_once(bucket: Bucket) -> None:
    data = os.urandom(5000)
    bucket.put("a.bin", data)
    path = location("s3://pets/a.bin")
    assert b"".join(read_part(path, at, 100) for at in range(0, 5000, 100)) == data
    assert bucket.proxy.asked(r"a\.bin") == 1


@pytest.mark.usefixtures("fresh_stores")
def test_a_server_without_parts_gives_small_files_whole(
    web: tuple[Path, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own server is one."""
    folder, proxy = web
    data = os.urandom(5000)
    (folder / "a.bin").write_bytes(data)
    path = location(f"{proxy.url}/a.bin")
    monkeypatch.setattr("regraft.storage.locations.PIECE", 2000)
    assert read_file(path) == data
    monkeypatch.setattr(store, "_WHOLE", 4000)
    with pytest.raises(OSError, match=r"^its server gives files as a whole alone, and this one is too large for that$"):
        read_file(path)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (PermissionError(), True),
        (OSError(errno.EBUSY, "SlowDown"), True),
        (ValueError("what a client does not say"), True),
        (NoPartsError(), False),  # as it will be the next time
    ],
)
def test_what_another_time_may_not_go_wrong(error: Exception, passing: bool) -> None:
    assert may_pass(trouble_of(error).words) is passing
