"""What is wrong with the photos, found before anything is trained. Nothing is ever deleted or replaced."""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.samples import Samples
from regraft.errors import DataError, shortlist
from regraft.files import MAX_FILE_BYTES
from regraft.images.headers import Header
from regraft.images.reading import MAX_PIXELS, UnreadableImageError, look_at
from regraft.images.source_files import file_of, reader_threads
from regraft.images.sources import Source
from regraft.images.value_range import Extent
from regraft.processes import ALONE, ProcessGroup
from regraft.ray_workers import PHOTOS_OF_A_PART, STARTING_SECONDS, RayWorkers
from regraft.runtime import cpu_count
from regraft.watchdog import watched

MAX_UNREADABLE = 0.10  # beyond this share something is wrong with the folder, not with single files


@dataclass(frozen=True)
class Inspection:
    """What one look at n files found.

    Attributes:
        keys: (n,) content keys, 32 bytes each; b"" where the file could not be read.
        unreadable: reasons by position.
        extents: between which values photos of more than 8 bits are, by position.
        headers: (n,) what the headers say, None where the file could not be read; () where nobody has asked.
    """

    keys: tuple[bytes, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    extents: Mapping[int, Extent] = field(default_factory=dict)
    headers: tuple[Header | None, ...] = ()


_Look = Callable[[Sequence[Source]], Inspection]


def inspect(
    sources: tuple[Source, ...],
    *,
    max_file_size: int = MAX_FILE_BYTES,
    max_pixels: int = MAX_PIXELS,
    on_progress: Callable[[int], object] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Inspection:
    """Read every file once: its content key and whether its header opens. Decodes photos of more than 8 bits alone.

    Args:
        sources: n images.
        max_file_size: in bytes; a larger file counts as unreadable.
        max_pixels: of an image; a larger one counts as unreadable.
        on_progress: called with the number of images done since the last call.
        say: hears where no file has been read for long.
    """
    keys: list[bytes] = []
    unreadable: dict[int, str] = {}
    extents: dict[int, Extent] = {}
    headers: list[Header | None] = []
    look = functools.partial(_look_at, limit=max_file_size, max_pixels=max_pixels)
    threads = reader_threads(sources, cpu_count() * 2)
    # hashing releases the lock, reading waits for the disk
    with watched("looking at the photos", say) as alive, ThreadPoolExecutor(threads) as pool:
        for position, (key, reason, extent, header) in enumerate(pool.map(look, sources)):
            keys.append(key)
            headers.append(header)
            if reason:
                unreadable[position] = reason
            if extent is not None:
                extents[position] = extent
            alive()
            if on_progress:
                on_progress(1)
    return Inspection(tuple(keys), unreadable, extents, tuple(headers))


def inspect_shares(
    sources: tuple[Source, ...],
    processes: ProcessGroup = ALONE,
    workers: RayWorkers | None = None,
    *,
    max_file_size: int,
    max_pixels: int = MAX_PIXELS,
    say: Callable[[str], None],
) -> Inspection:
    """Return what `inspect` finds, each process having looked at its own files only.

    Args:
        sources: n images.
        processes: that each look at a part of them, and tell the others what they found.
        workers: of a cluster that look at them instead; None where no other process does.
        max_file_size: as of `inspect`.
        max_pixels: likewise.
        say: likewise.

    Raises:
        DataError: a worker does not see files that this process sees.
    """
    if workers is not None:
        return _inspect_there(sources, workers, max_file_size=max_file_size, max_pixels=max_pixels, say=say)
    own = inspect(tuple(processes.own(sources)), max_file_size=max_file_size, max_pixels=max_pixels, say=say)
    if processes.count == 1:
        return own
    parts = processes.gather((own.unreadable, own.extents))

    def placed(which: int) -> dict[int, Any]:
        found = {k * processes.count + rank: v for rank, part in enumerate(parts) for k, v in part[which].items()}
        return dict(sorted(found.items()))

    keys, headers = processes.gather_own(own.keys), processes.gather_own(own.headers)
    return Inspection(tuple(keys), placed(0), placed(1), tuple(headers))


def _inspect_there(
    sources: tuple[Source, ...],
    workers: RayWorkers,
    *,
    max_file_size: int,
    max_pixels: int,
    say: Callable[[str], None],
) -> Inspection:
    """Return what `inspect` finds, done by the workers of a cluster."""
    look: _Look = functools.partial(_look_there, max_file_size=max_file_size, max_pixels=max_pixels)
    parts = [sources[start : start + PHOTOS_OF_A_PART] for start in range(0, len(sources), PHOTOS_OF_A_PART)]
    found: dict[int, Inspection] = {}
    with watched("looking at the photos", say, patience=STARTING_SECONDS) as alive:
        for number, part in workers.map(look, parts, say=say):
            alive()
            found[number] = part
            _check_seen(parts[number], part, look)
    return _joined([found[number] for number in range(len(parts))])


def _look_there(part: Sequence[Source], *, max_file_size: int, max_pixels: int) -> Inspection:
    return inspect(tuple(part), max_file_size=max_file_size, max_pixels=max_pixels)


def _check_seen(sources: Sequence[Source], found: Inspection, look: _Look) -> None:
    """Raise `DataError` where a worker could not read local files that this process can read."""
    lost = [place for place in found.unreadable if isinstance(file_of(sources[place]), Path)]
    here = look([sources[place] for place in lost])
    for place, key in zip(lost, here.keys, strict=True):
        if key:
            raise DataError(
                f"{sources[place]} can be read by this process, and not by a worker of the Ray cluster "
                f"({found.unreadable[place]}). Every machine of it must see the photos under the same names: put them "
                "on a file system that all share, or into a store (s3://...)."
            )


def _joined(parts: Sequence[Inspection]) -> Inspection:
    """Return what was found of images that stand one part after the other."""
    starts = np.cumsum([0, *(len(part.keys) for part in parts)]).tolist()

    def placed(each: Sequence[Mapping[int, Any]]) -> dict[int, Any]:
        return {start + place: v for start, own in zip(starts, each, strict=False) for place, v in own.items()}

    return Inspection(
        tuple(key for part in parts for key in part.keys),
        placed([part.unreadable for part in parts]),
        placed([part.extents for part in parts]),
        tuple(header for part in parts for header in part.headers),
    )


def check_unreadable(samples: Samples, unreadable: Mapping[int, str]) -> None:
    """Raise `DataError`, naming the files, if more than `MAX_UNREADABLE` of `samples` cannot be read."""
    check_share_unreadable(samples.where, unreadable_lines(samples.sources, unreadable), len(samples))


def check_share_unreadable(where: str, lines: Sequence[str], count: int) -> None:
    """Raise `DataError` if more than `MAX_UNREADABLE` of `count` images cannot be read, "file: reason" in `lines`."""
    if len(lines) > MAX_UNREADABLE * count:
        raise DataError(
            f"{where}: {len(lines):,} of {count:,} images cannot be read, more than {MAX_UNREADABLE:.0%}:\n"
            f"{shortlist(lines)}\nReplace or remove these files; regraft changes none of them."
        )


def unreadable_lines(sources: tuple[Source, ...], unreadable: Mapping[int, str]) -> list[str]:
    """Return "file: reason" for every unreadable image, in order."""
    return [f"{sources[position]}: {unreadable[position]}" for position in sorted(unreadable)]


def check_contradictions(parts: Sequence[Samples], keys: Sequence[tuple[bytes, ...]]) -> None:
    """Raise `DataError` if one image (equal keys) stands under two classes in `parts` together, naming every such one.

    Args:
        parts: samples of the same classes.
        keys: their content keys.
    """
    found = contradictions(parts, keys)
    if found:
        raise DataError(
            f"{' and '.join(part.where for part in parts)}: {len(found):,} images stand under more than one class:\n"
            f"{shortlist(contradiction_lines(parts, found))}\nKeep each under its right class only."
        )


def contradictions(parts: Sequence[Samples], keys: Sequence[tuple[bytes, ...]]) -> list[list[int]]:
    """Return, for each image (equal keys) that stands under two classes, its positions in `parts` together.

    Args:
        parts: samples of the same classes.
        keys: their content keys.
    """
    labels = [int(label) for part in parts for label in part.labels]
    by_key = positions_by_key(tuple(key for part in keys for key in part)).values()
    return [positions for positions in by_key if len({labels[p] for p in positions}) > 1]


def contradiction_lines(parts: Sequence[Samples], found: Sequence[Sequence[int]]) -> list[str]:
    """Return "file (class) = file (class)" for each of what `contradictions` found."""
    sources = [source for part in parts for source in part.sources]
    labels = [part.classes[label] for part in parts for label in part.labels]
    return [" = ".join(f"{sources[p]} ({labels[p]})" for p in positions) for positions in found]


def positions_by_key(keys: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Return where each key stands in `keys`, without b""."""
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key:
            by_key[key].append(position)
    return by_key


def _look_at(source: Source, *, limit: int, max_pixels: int) -> tuple[bytes, str, Extent | None, Header | None]:
    try:
        key, extent, header = look_at(source, limit=limit, max_pixels=max_pixels)
    except UnreadableImageError as error:
        return b"", str(error), None, None
    return key, "", extent, header
