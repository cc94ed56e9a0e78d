"""One part file for each shard of photos, written by the worker that made it: each exactly once, whatever dies.

Beside the parts lies a folder `_regraft`, which readers of tables pass over: `plan.json` says what is written here, and
`part-000000.json`, which is written after its part, that this part is whole. A part that was written by a worker that
ended before it could say so is written again, and is the same.
"""

import json
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from natsort import natsorted

from regraft.cluster.shards import Shard
from regraft.cluster.shared_photos import check_seen, unseen
from regraft.data.tar_table import notes_on
from regraft.engines.compute import Compute
from regraft.engines.workload import EngineChoice
from regraft.errors import OutputError, first_few, option, printable
from regraft.files import UnusableFileError, sha256
from regraft.images.decoding import READING
from regraft.images.reasons import GONE, NO_PERMISSION, may_pass
from regraft.images.source_files import file_of
from regraft.images.sources import EncodedImage, Pixels, open_encoded
from regraft.progress import Observer, progress
from regraft.ray_workers import STARTING_SECONDS, RayWorkers
from regraft.storage.locations import Location, RemotePath, read_file, write_file
from regraft.watchdog import watched

ABOUT = "_regraft"
_SECONDS_BETWEEN = 15.0  # two lines that say how far it is
_PLAN = "plan.json"
_WAITS = (0.0, 0.5, 1.0, 2.0)  # seconds until a plan that another command writes at this moment is there
_READ_ONLY = ("http", "https", "hf", "memory")  # or not seen by other processes


@dataclass(frozen=True)
class Part:
    """What is known of a part that was written.

    Attributes:
        name: of the file.
        photos: how many rows it has.
        unreadable: [name, reason] of photos that could not be read.
        engine: what ran the network.
        size: bytes of the file.
        host: the machine that wrote it.
        notes: what was left out of its shard, in words.
    """

    name: str
    photos: int
    unreadable: tuple[tuple[str, str], ...]
    engine: str
    size: int = field(compare=False)
    host: str = field(default="", compare=False)
    notes: tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether no photo was lost to what may be over by now: a store that did not answer, a file that was away."""
        return not any(may_pass(reason) for _, reason in self.unreadable)


class ShardJob(Protocol):
    """What is done with each shard. It is pickled once for each worker, and keeps there what it builds."""

    @property
    def suffix(self) -> str:
        """Return the ending of part files, with its dot."""

    @property
    def engines(self) -> str:
        """Return what runs the networks, in words."""

    def digest(self) -> str:
        """Return what changes when the parts would be others."""

    def run(self, shard: Shard) -> tuple[bytes, int, list[tuple[str, str]], str]:
        """Return the part, its number of rows, photos that cannot be read with the reasons, and the engine."""


def engines_of(choices: Sequence[EngineChoice]) -> str:
    """Return the names of the engines that run a job's networks."""
    return " + ".join(choice.engine for choice in choices)


def digest_of(compute: Compute, choices: Sequence[EngineChoice], *about: object) -> str:
    """Return what changes when a job would make other parts of the same shards.

    Args:
        compute: how the workers read photos and run the networks. Batches and the cache change no more than the last
            digits, and are not in it: what did not fit into the memory may go on with smaller ones.
        choices: what runs each network.
        about: all else that the parts depend on.
    """
    said = (compute.processor.type, engines_of(choices), compute.max_file_size, compute.value_range, READING)
    return sha256("\0".join(map(str, (*said, *about))).encode("utf-8", "surrogatepass")).hex()


def write_parts(
    job: ShardJob, shards: Sequence[Shard], out: Location, workers: RayWorkers, *, device: str, observer: Observer
) -> list[Part]:
    """Have workers write a part for each shard into a folder; those that are there already stay.

    Those that lack photos for what may be over by now are written again.

    Args:
        job: makes the parts.
        shards: of the photos.
        out: the folder, which all workers see: of a file system that they share, or of a store.
        workers: of a cluster.
        device: "cuda" for workers that have a GPU each.
        observer: hears the progress.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
        ClusterError, DataError: as of the workers.
        DataError: a worker did not see a photo that this process sees.
    """
    digests = [shard.digest() for shard in shards]
    plan = {"digest": sha256("".join([job.digest(), *digests]).encode()).hex(), "parts": len(shards)}
    plan["engines"] = job.engines
    workers.connect()  # first: a plan that nobody worked at would refuse other options
    first = shards[0].first_file() if shards else None
    if isinstance(first, Path):
        workers.check_see(first, "photos")
    _begin(out, plan, {f"{_part_name(number)}{job.suffix}" for number in range(len(shards))})
    if isinstance(out, Path):
        workers.check_see(out / ABOUT / _PLAN, option("out"))
    work = _PartWork(job, out)
    found: list[Part] = []
    units = [[(number, shard)] for number, shard in enumerate(shards)]
    counts = [shard.rows for shard in shards]
    total = None if None in counts else sum(filter(None, counts))
    with _counted(total, len(units), observer) as advance:
        for number, part in workers.map(work, units, device=device, say=observer.say):
            _check_seen(shards[number], part)
            for line in part.notes:
                observer.say(printable(line))
            found.append(part)
            advance(counts[number] or part.photos)
    return sorted(found, key=lambda part: part.name)


@contextmanager
def _counted(photos: int | None, parts: int, observer: Observer) -> Iterator[Callable[[int], None]]:
    """Show a pass over so many photos; where nobody knows how many there are, say now and then how far it is."""
    if photos is not None:
        with progress(observer, "photos of all parts", photos, patience=STARTING_SECONDS) as advance:
            yield advance
        return
    done, seen, said = 0, 0, time.monotonic()
    with watched("writing parts", observer.say, patience=STARTING_SECONDS) as alive:

        def count(of_part: int) -> None:
            nonlocal done, seen, said
            alive()
            done, seen = done + 1, seen + of_part
            if time.monotonic() - said > _SECONDS_BETWEEN or done == parts:
                said = time.monotonic()
                observer.say(f"{done:,} of {parts:,} parts, {seen:,} photos")

        yield count


def _part_name(number: int) -> str:
    return f"part-{number:06d}"


def _check_alone(out: Location, parts: Collection[str]) -> None:
    """Raise `OutputError` where other files than parts are there: what reads the folder as a table reads them, too."""
    others = natsorted({entry.name for entry in out.iterdir() if not entry.name.startswith((".", "_"))} - set(parts))
    if others:
        raise OutputError(
            f"{option('out')} {printable(out)} holds files beside its parts, which would be read with them: "
            f"{first_few(list(map(printable, others)), 3)}. Move them elsewhere, and run the same command again."
        )


def _begin(out: Location, plan: dict[str, object], parts: Collection[str]) -> None:
    """Write the plan, unless the same is there.

    Args:
        out: the folder.
        plan: what is written there.
        parts: the names of all part files.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    if isinstance(out, RemotePath) and out.parts[0][:-1] in _READ_ONLY:
        raise OutputError(
            f"{option('out')} {printable(out)}: nothing is written there. Allowed are folders, s3:// and gs://."
        )
    path, text = out / ABOUT / _PLAN, json.dumps(plan).encode()
    for wait in (*_WAITS, None):
        if _is_begun(out, plan):
            _check_alone(out, parts)
            return
        _check_empty(out)
        try:
            write_file(path, text, new=True)
            return
        except NotImplementedError:
            write_file(path, text)
            return
        except FileExistsError:  # of a command that began at the same moment
            if wait is not None:
                time.sleep(wait)
    raise OutputError(
        f"{printable(path)} cannot be written: its place is taken, by another command at this moment perhaps. Run the "
        f"same command again, or choose another folder for {option('out')}."
    )


def _check_empty(out: Location) -> None:
    """Raise `OutputError` where anything lies in a folder that has no plan."""
    there = {entry.name for entry in out.iterdir()} - {ABOUT} if out.is_dir() else set()
    if there and (out / ABOUT).is_dir():
        raise OutputError(
            f"{option('out')} {printable(out)} holds parts, and {ABOUT}/{_PLAN}, which says of what, is missing. "
            "Remove the folder, or choose another one."
        )
    if there:
        raise OutputError(f"{option('out')} {printable(out)} holds other files. Choose an empty folder, or a new one.")


def _is_begun(out: Location, plan: dict[str, object]) -> bool:
    """Tell whether this plan is there already.

    Raises:
        OutputError: another plan is there, or one that cannot be read.
    """
    path = out / ABOUT / _PLAN
    try:
        before: bytes | None = read_file(path)
    except FileNotFoundError:
        before = None
    except NotADirectoryError:
        raise OutputError(
            f"{option('out')} {printable(out)} is a file. Parts need a folder: choose an empty one, or a new one."
        ) from None
    except OSError as error:
        raise OutputError(f"{printable(path)} cannot be read: {error.strerror or error}.") from None
    known = _plan_of(before)
    if known is not None and all(known.get(name) == plan[name] for name in ("digest", "parts")):
        return True
    if before is not None and known is None:
        raise OutputError(
            f"{printable(path)} is damaged: nobody knows what the parts beside it are of. Remove {printable(out)}, or "
            "choose another folder."
        )
    if known is not None:
        now, ran = plan["engines"], known.get("engines", plan["engines"])
        engines = "" if ran == now else f" {printable(ran)} ran the network for them, and {now} was chosen now."
        raise OutputError(
            f"{option('out')} {printable(out)} holds parts of other photos, or of another classifier or other options."
            f"{engines} Choose another folder, or remove it; with the same ones an unfinished run goes on."
        )
    return False


def _plan_of(text: bytes | None) -> dict[str, object] | None:
    """Return what a plan says; None where there is none, or it is damaged."""
    try:
        found = None if text is None else json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "digest" in found else None


def _size(file: Location) -> int | None:
    """Return how many bytes a part has now; None where it is not there."""
    if isinstance(file, RemotePath):
        found = file.entry()
        return None if found is None else found.size
    try:
        return file.stat().st_size
    except OSError:
        return None


def _check_seen(shard: Shard, part: Part) -> None:
    """Raise `DataError` where a worker did not see a local file that this process sees."""
    lost = {name for name, reason in part.unreadable if reason in (GONE, NO_PERMISSION)}
    if not lost:
        return
    for source in shard.photos().sources:
        if str(source) not in lost or not isinstance(file_of(source), Path):
            continue
        assert not isinstance(source, EncodedImage | Pixels)  # they lie in no file
        try:
            open_encoded(source).close()
        except (OSError, UnusableFileError):
            continue
        raise unseen(source, part.host)


class _PartWork:
    """What a worker does with a shard."""

    def __init__(self, job: ShardJob, out: Location) -> None:
        self._job, self._out = job, out

    def __call__(self, unit: Sequence[tuple[int, Shard]]) -> Part:
        ((number, shard),) = unit
        name = _part_name(number)
        note, file = self._out / ABOUT / f"{name}.json", self._out / f"{name}{self._job.suffix}"
        try:
            about = json.loads(read_file(note))
            lists = {"unreadable": tuple(map(tuple, about["unreadable"])), "notes": tuple(about["notes"])}
            part = Part(**about | lists)
            if part.is_final and _size(file) == part.size:
                return part
        except (OSError, ValueError, KeyError, TypeError):  # it was not finished
            pass
        if shard.file is not None:
            check_seen([0], [shard.file], frozenset())
        data, photos, unreadable, engine = self._job.run(shard)
        notes = tuple(notes_on([] if shard.file is None else [shard.file]))
        part = Part(file.name, photos, tuple(unreadable), engine, len(data), socket.gethostname(), notes)
        write_file(file, data)
        write_file(note, json.dumps(asdict(part)).encode())
        return part
