"""Parts: each written once, those that are there stay, and a folder of other things is not written into."""

import json
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.test_shards import table_of
from tests.data.test_tar_table import write_tar
from tests.fixtures.rays import WorkersHere
from tests.fixtures.stores import Bucket

from regraft.cluster import parts
from regraft.cluster.parts import ABOUT, Part, digest_of, write_parts
from regraft.cluster.shards import Shard, find_shards
from regraft.data.audit import inspect
from regraft.data.photo_list import list_photos
from regraft.engines.compute import Compute
from regraft.engines.workload import EngineChoice
from regraft.errors import ClusterError, DataError, OutputError, StorageError
from regraft.images.reasons import may_pass
from regraft.options import Bytes
from regraft.progress import Observer
from regraft.ray_workers import Nodes
from regraft.storage.locations import Location, location, read_file, write_file

Photos = Callable[..., Path]


class Names:
    """Writes the names of a shard's photos, the second of which is unreadable; dies at a first one that is `deadly`."""

    suffix = ".txt"
    engines = "by hand"

    def __init__(self, what: str = "names", deadly: str = "", why: str = "it is damaged") -> None:
        self._what, self.deadly, self.why = what, deadly, why

    def digest(self) -> str:
        return self._what

    def run(self, shard: Shard) -> tuple[bytes, int, list[tuple[str, str]], str]:
        names = [str(source) for source in shard.photos().sources]
        if names[0] == self.deadly:
            raise DataError("it died")
        return "\n".join(names).encode(), len(names), [(names[1], self.why)], "by hand"


class Heard(Observer):
    def __init__(self) -> None:
        self.done = 0
        self.total = 0

    def begin(self, task: str, total: int) -> None:
        self.total = total

    def advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def found(photos: Photos) -> list[Shard]:
    """Return the shards of three folders."""
    return find_shards([photos(f"of-{number}", red=2) for number in range(3)])


def contents(out: Location) -> dict[str, str]:
    return {path.name: read_file(path).decode() for path in out.iterdir() if path.is_file()}


def write(job: Names, found: list[Shard], out: Location, observer: Observer | None = None) -> list[Part]:
    return write_parts(job, found, out, WorkersHere(), device="cpu", observer=observer or Observer())


def test_each_shard_becomes_a_part(found: list[Shard], tmp_path: Path) -> None:
    heard = Heard()
    parts = write(Names(), found, tmp_path / "out", heard)
    assert [part.name for part in parts] == [f"part-{number:06d}.txt" for number in range(3)]
    assert {name: text.splitlines() for name, text in contents(tmp_path / "out").items()} == {
        part.name: [str(source) for source in shard.photos().sources] for part, shard in zip(parts, found, strict=True)
    }
    lost = ((str(found[2].photos().sources[1]), "it is damaged"),)
    assert parts[2] == Part("part-000002.txt", 2, lost, "by hand", size=0)  # its size is not compared
    assert [part.size for part in parts] == [(tmp_path / "out" / part.name).stat().st_size for part in parts]
    assert (heard.done, heard.total) == (6, 6)


def test_what_is_left_out_of_a_shard_is_said(tmp_path: Path, photos: Photos) -> None:
    """Also by a command that finds all parts there."""
    folder = photos("pets", red=2)
    members = {f"{photo.stem}.jpg": photo.read_bytes() for photo in sorted(folder.rglob("*.jpg"))}
    (tmp_path / "shards").mkdir()
    file = write_tar(tmp_path / "shards" / "a.tar", {**members, "9.txt": b"no photo"})
    said: list[str] = []
    heard = Observer()
    heard.say = said.append  # type: ignore[method-assign]
    shards = find_shards([tmp_path / "shards"])
    for _ in range(2):
        (part,) = write(Names(), shards, tmp_path / "out", heard)
        assert part.photos == 2
        assert said.count(f"{file}: 1 of 3 samples have no image: left out") == 1
        said.clear()


def test_an_unfinished_run_goes_on_and_writes_no_part_twice(found: list[Shard], tmp_path: Path) -> None:
    """The workers begin with the last: two parts are there when the first one ends its worker."""
    out, job = tmp_path / "out", Names(deadly=str(found[0].photos().sources[0]))
    with pytest.raises(DataError, match="it died"):
        write(job, found, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert sorted(before) == ["part-000001.txt", "part-000002.txt"]
    (out / ABOUT / "part-000001.json").unlink()  # its worker ended between the two: it is written again
    (out / ABOUT / "part-000002.json").write_text((out / ABOUT / "part-000002.json").read_text())
    job.deadly = ""
    parts = write(job, found, out)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert after["part-000002.txt"] == before["part-000002.txt"]
    assert after["part-000001.txt"] > before["part-000001.txt"]
    assert len(parts) == len(after) == 3
    assert sum(part.photos for part in parts) == 6
    (out / ABOUT / "part-000000.json").write_text("{")  # cut off
    assert write(job, found, out) == parts


@pytest.mark.parametrize(
    ("why", "kept"),
    [
        ("it is damaged", True),
        ("the file is cut off (truncated)", True),
        ("it answered 503 at every attempt", False),
        ("no permission (403)", False),
        ("there are no credentials for it", False),
        ("Input/output error", False),
        ("the file is gone", False),
    ],
)
def test_photos_lost_to_what_may_be_over_are_read_again(
    found: list[Shard], tmp_path: Path, why: str, kept: bool
) -> None:
    """The second photo of each part; where its file is gone here, too, it is a photo that cannot be read."""
    out = tmp_path / "out"
    for shard in found:
        Path(str(shard.photos().sources[1])).unlink()
    lost = write(Names(why=why), found, out)
    assert {part.unreadable[0][1] for part in lost} == {why}
    again = write(Names(why="another"), found, out)
    assert {part.unreadable[0][1] for part in again} == {why if kept else "another"}


def test_a_photo_that_a_worker_alone_does_not_see_ends_the_command(found: list[Shard], tmp_path: Path) -> None:
    name = str(found[2].photos().sources[1])
    message = f"^{re.escape(name)} is there for the process that was started, and not for its worker on "
    with pytest.raises(DataError, match=message + re.escape(socket.gethostname())):
        write(Names(why="the file is gone"), found, tmp_path / "out")
    parts = write(Names(), found, tmp_path / "out")  # they share the photos now
    assert {part.unreadable[0][1] for part in parts} == {"it is damaged"}


def test_a_table_that_a_worker_does_not_see_is_named(photos: Photos, tmp_path: Path) -> None:
    """It vanishes between its being listed and its being read: here both are one machine."""
    file = table_of(photos(red=2), tmp_path / "t.parquet", rows_of_a_group=2)

    class Elsewhere(WorkersHere):
        def map(self, *given: Any, **named: Any) -> Any:
            file.unlink()
            return super().map(*given, **named)

    shards = find_shards([file])
    with pytest.raises(
        DataError, match=r"t\.parquet is there for the process that was started, and not for its worker"
    ):
        write_parts(Names(), shards, tmp_path / "out", Elsewhere(), device="cpu", observer=Observer())


def test_a_digest_is_of_all_that_changes_answers() -> None:
    """Not of what is only a matter of memory and time."""
    plain = Compute(device="cpu", engine="torch-float32")
    here, there, other = (EngineChoice(*one) for one in (("a-b", "here"), ("a-b", "there"), ("a-c", "here")))
    others = [replace(plain, max_file_size=Bytes(1000)), replace(plain, value_range=(0, 4095))]
    digests = [digest_of(plain, [here], "a", 1), *(digest_of(one, [here], "a", 1) for one in others)]
    digests += [digest_of(plain, [here], "a", 2), digest_of(plain, [here], "b", 1)]
    digests += [digest_of(plain, choices, "a", 1) for choices in ([other], [here, here], [here, other], [other, here])]
    assert len(set(digests)) == len(digests)
    for same in (replace(plain, batch_size=1), replace(plain, cache=False), replace(plain, engine="auto")):
        assert digest_of(same, [here], "a", 1) == digests[0]
    assert digest_of(plain, [there], "a", 1) == digests[0]


def test_an_engine_that_is_another_than_before_is_named(found: list[Shard], tmp_path: Path) -> None:
    write(Names(), found, tmp_path / "out")
    job = Names("by another engine")
    job.engines = "by foot"
    with pytest.raises(
        OutputError,
        match=r"or other options\. by hand ran the network for them, and by foot was chosen now\. Choose",
    ):
        write(job, found, tmp_path / "out")


@pytest.mark.parametrize("changed", ["job", "photos"])
def test_parts_of_something_else_stay(found: list[Shard], tmp_path: Path, changed: str) -> None:
    write(Names(), found, tmp_path / "out")
    before = contents(tmp_path / "out")
    job, photos = (Names("others"), found) if changed == "job" else (Names(), found[:2])
    with pytest.raises(OutputError, match=r"out .* holds parts of other photos, or of another classifier .* remove it"):
        write(job, photos, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def at_the_same_moment(monkeypatch: pytest.MonkeyPatch, out: Location, plan: bytes) -> None:
    """Have another process write a plan between the moments when this one looks for it and when it writes its own."""

    def write_after(path: Location, data: bytes, *, new: bool = False) -> None:
        if new:
            monkeypatch.undo()
            write_file(out / ABOUT / "plan.json", plan)
        write_file(path, data, new=new)

    monkeypatch.setattr(parts, "write_file", write_after)


@pytest.mark.parametrize("place", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_of_commands_that_begin_at_the_same_moment_one_goes_on(
    found: list[Shard],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    place: str,
) -> None:
    root = tmp_path if place == "folder" else location(f"s3://{request.getfixturevalue('bucket').name}/parts")
    write(Names(), found, root / "before")
    plan = read_file(root / "before" / ABOUT / "plan.json")
    with monkeypatch.context() as patched:
        at_the_same_moment(patched, root / "out", plan)
        with pytest.raises(OutputError, match=r"out .* holds parts of other photos, or of another classifier"):
            write(Names("others"), found, root / "out")
    assert read_file(root / "out" / ABOUT / "plan.json") == plan
    with monkeypatch.context() as patched:  # the same command twice: both make the same parts
        at_the_same_moment(patched, root / "twice", plan)
        assert len(write(Names(), found, root / "twice")) == 3


def test_a_plan_that_is_being_written_is_waited_for(
    found: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Names(), found, tmp_path / "before")
    plan, waited = read_file(tmp_path / "before" / ABOUT / "plan.json"), []

    def refuse(*_: object, new: bool = False) -> None:
        raise FileExistsError

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 4:
            monkeypatch.undo()
            write_file(tmp_path / "out" / ABOUT / "plan.json", plan)

    monkeypatch.setattr(parts, "write_file", refuse)
    monkeypatch.setattr("regraft.cluster.parts.time.sleep", wait)
    assert len(write(Names(), found, tmp_path / "out")) == 3
    assert waited == [0.0, 0.5, 1.0, 2.0]


def test_a_plan_whose_place_stays_taken(found: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, new: bool = False) -> None:
        raise FileExistsError

    monkeypatch.setattr(parts, "write_file", refuse)
    monkeypatch.setattr(parts, "_WAITS", (0.0, 0.0))
    with pytest.raises(OutputError, match=r"plan\.json cannot be written: its place is taken, .* folder for out\.$"):
        write(Names(), found, tmp_path / "out")


def test_a_store_that_cannot_tell_new_files_from_others(
    found: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Location, data: bytes, *, new: bool = False) -> None:
        if new:
            raise NotImplementedError
        write_file(path, data)

    monkeypatch.setattr(parts, "write_file", refuse)
    assert len(write(Names(), found, tmp_path / "out")) == 3
    with pytest.raises(OutputError, match=r"holds parts of other photos"):
        write(Names("others"), found, tmp_path / "out")


def test_a_folder_of_other_files_is_left_alone(found: list[Shard], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"out .* holds other files\. Choose an empty folder"):
        write(Names(), found, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_nothing_is_written_where_no_cluster_answers(
    found: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the plan of parts that nobody began would refuse the same command with other options."""

    def gone(_: WorkersHere) -> Nodes:
        raise ClusterError("no cluster")

    with monkeypatch.context() as patched:
        patched.setattr(WorkersHere, "connect", gone)
        with pytest.raises(ClusterError):
            write(Names(), found, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(write(Names("others"), found, tmp_path / "out")) == 3


def test_files_beside_the_parts_are_named(found: list[Shard], tmp_path: Path) -> None:
    """They would be rows of the same table; what readers of tables pass over may stay."""
    out = tmp_path / "out"
    write(Names(), found, out)
    for name in ("part-000003.txt", "more.txt", "_SUCCESS", ".part-000000.txt.crc"):
        (out / name).write_text("mine")
    with pytest.raises(OutputError, match=r"files beside its parts, .*: more\.txt, part-000003\.txt\. Move them"):
        write(Names(), found, out)
    (out / "part-000003.txt").unlink()
    (out / "more.txt").unlink()
    assert len(write(Names(), found, out)) == 3


@pytest.mark.parametrize("damage", ["cut off", "longer", "gone"])
def test_a_part_that_is_not_as_it_was_written_is_written_again(found: list[Shard], tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    write(Names(), found, out)
    before, part = contents(out), out / "part-000001.txt"
    if damage == "gone":
        part.unlink()
    else:
        part.write_text(before[part.name][:-1] if damage == "cut off" else before[part.name] + "more")
    write(Names(), found, out)
    assert contents(out) == before


@pytest.mark.parametrize("text", ["", "garbage", "[]", "{}", "7"])
def test_a_damaged_plan_is_called_damaged(found: list[Shard], tmp_path: Path, text: str) -> None:
    write(Names(), found, tmp_path / "out")
    (tmp_path / "out" / ABOUT / "plan.json").write_text(text)
    with pytest.raises(OutputError, match=r"plan\.json is damaged: nobody knows .* Remove .*out, or choose another"):
        write(Names(), found, tmp_path / "out")


def test_parts_without_a_plan_are_called_parts(found: list[Shard], tmp_path: Path) -> None:
    write(Names(), found, tmp_path / "out")
    (tmp_path / "out" / ABOUT / "plan.json").unlink()
    with pytest.raises(OutputError, match=r"holds parts, and _regraft/plan\.json, which says of what, is missing"):
        write(Names(), found, tmp_path / "out")
    for path in [*(tmp_path / "out" / ABOUT).iterdir(), *(tmp_path / "out").glob("part-*")]:
        path.unlink()
    assert len(write(Names(), found, tmp_path / "out")) == 3  # a run that ended before it wrote anything


def test_parts_need_a_folder(found: list[Shard], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"^out .*out is a file\. Parts need a folder"):
        write(Names(), found, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.slow
def test_parts_in_a_bucket_that_is_not_there(found: list[Shard], bucket: Bucket) -> None:
    message = r"^s3://nobody/out\S*: there is no s3://nobody\. Check its name, or make it first\.$"
    with pytest.raises(StorageError, match=message):
        write(Names(), found, location("s3://nobody/out"))


@pytest.mark.parametrize("address", ["https://example.org/out", "hf://datasets/a/b/out", "memory://bucket/out"])
def test_where_nothing_can_be_written(found: list[Shard], address: str) -> None:
    with pytest.raises(OutputError, match=r"nothing is written there\. Allowed are folders, s3:// and gs://"):
        write(Names(), found, location(address))


@pytest.mark.slow
def test_parts_in_a_store(found: list[Shard], bucket: Bucket, tmp_path: Path) -> None:
    """The same as in a folder, with a store that refuses the first answer to each request."""
    out = location(f"s3://{bucket.name}/out")
    refused: set[str] = set()

    def refuse_once(method: str, path: str) -> str | None:
        if method != "PUT" or path in refused:
            return None
        refused.add(path)
        return "503"

    bucket.proxy.fault = refuse_once
    parts = write(Names(), found, out)
    write(Names(), found, tmp_path / "out")
    assert contents(out) == contents(tmp_path / "out")
    assert write(Names(), found, out) == parts
    assert sum(".txt" in path for path in refused) == 3


class Looks(Names):
    """Writes nothing but which photos cannot be read."""

    def run(self, shard: Shard) -> tuple[bytes, int, list[tuple[str, str]], str]:
        photos = shard.photos().sources
        lost = inspect(photos).unreadable
        return b"", len(photos), [(str(photos[place]), reason) for place, reason in lost.items()], "by hand"


@pytest.mark.slow
def test_photos_that_a_store_did_not_give_are_asked_for_again(photos: Photos, bucket: Bucket, tmp_path: Path) -> None:
    """Of a table, too, whose bytes PyArrow asks for: it repeats what was said to it."""
    folder = photos("pets", red=3)
    (folder / "red/1.jpg").write_bytes(b"no photo")
    damaged, busy = "not an image, or damaged at its start", "it answered 503 at every attempt"
    found = find_shards([bucket.upload(folder, "pets")])
    bucket.proxy.fault = lambda method, path: "503" if method == "GET" and "red/2.jpg" in path else None
    lost = write(Looks(), found, tmp_path / "out")[0].unreadable
    assert [reason for _, reason in lost] == [damaged, busy]
    bucket.proxy.fault = lambda *_: None
    assert [reason for _, reason in write(Looks(), found, tmp_path / "out")[0].unreadable] == [damaged]

    table_of(folder, tmp_path / "t.parquet", rows_of_a_group=1)
    bucket.put("tables/t.parquet", (tmp_path / "t.parquet").read_bytes())
    listed = list_photos(f"s3://{bucket.name}/tables/t.parquet").sources
    bucket.proxy.fault = lambda method, path: "503" if method == "GET" and "t.parquet" in path else None
    reason = inspect(listed[2:]).unreadable[0]
    assert (reason, may_pass(reason)) == (busy, True)


def test_the_plan_says_what_is_written(found: list[Shard], tmp_path: Path) -> None:
    write(Names(), found, tmp_path / "out")
    assert json.loads((tmp_path / "out" / ABOUT / "plan.json").read_text())["parts"] == 3
