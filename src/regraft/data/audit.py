"""What is wrong with the photos, found before anything is trained. Nothing is ever deleted or replaced."""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from regraft.data.images import UnreadableImageError, look_at
from regraft.data.samples import Samples, together
from regraft.data.sources import Source
from regraft.errors import DataError, shortlist
from regraft.files import MAX_FILE_BYTES
from regraft.runtime import cpu_count
from regraft.watchdog import watched

MAX_UNREADABLE = 0.10  # beyond this share something is wrong with the folder, not with single files


@dataclass(frozen=True)
class Audit:
    """What one look at every file found.

    Attributes:
        keys: (n,) content keys, 32 bytes each; b"" where the file could not be read.
        unreadable: reasons by position.
    """

    keys: tuple[bytes, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)


def inspect(
    sources: tuple[Source, ...],
    *,
    max_file_size: int = MAX_FILE_BYTES,
    on_progress: Callable[[int], object] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Read every file once: its content key and whether its header opens. Decodes no pixel.

    Args:
        sources: n images.
        max_file_size: in bytes; a larger file counts as unreadable.
        on_progress: called with the number of images done since the last call.
        say: hears where no file has been read for long.
    """
    keys: list[bytes] = []
    unreadable: dict[int, str] = {}
    look = functools.partial(_look_at, limit=max_file_size)
    # hashing releases the lock, reading waits for the disk
    with watched("looking at the photos", say) as alive, ThreadPoolExecutor(cpu_count() * 2) as pool:
        for position, (key, reason) in enumerate(pool.map(look, sources)):
            keys.append(key)
            if reason:
                unreadable[position] = reason
            alive()
            if on_progress:
                on_progress(1)
    return Audit(tuple(keys), unreadable)


def check_unreadable(samples: Samples, unreadable: Mapping[int, str]) -> None:
    """Raise `DataError`, naming the files, if more than `MAX_UNREADABLE` of `samples` cannot be read."""
    if len(unreadable) > MAX_UNREADABLE * len(samples):
        raise DataError(
            f"{samples.where}: {len(unreadable):,} of {len(samples):,} images cannot be read, more than "
            f"{MAX_UNREADABLE:.0%}:\n{shortlist(unreadable_lines(samples.sources, unreadable))}\n"
            "Replace or remove these files; regraft changes none of them."
        )


def unreadable_lines(sources: tuple[Source, ...], unreadable: Mapping[int, str]) -> list[str]:
    """Return "file: reason" for every unreadable image, in order."""
    return [f"{sources[position]}: {unreadable[position]}" for position in sorted(unreadable)]


def check_contradictions(samples: Samples, keys: tuple[bytes, ...]) -> None:
    """Raise `DataError` if one image (equal bytes) stands under two classes, naming every such image."""
    check_contradictions_between([samples], [keys])


def check_contradictions_between(parts: Sequence[Samples], keys: Sequence[tuple[bytes, ...]]) -> None:
    """Raise `DataError` if one image stands under two classes in `parts` together, naming every such image.

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
    """Return, for each image (equal bytes) that stands under two classes, its positions in `parts` together.

    Args:
        parts: samples of the same classes.
        keys: their content keys.
    """
    labels = [int(label) for part in parts for label in part.labels]
    by_key = _positions_by_key(tuple(key for part in keys for key in part)).values()
    return [positions for positions in by_key if len({labels[p] for p in positions}) > 1]


def contradiction_lines(parts: Sequence[Samples], found: Sequence[Sequence[int]]) -> list[str]:
    """Return "file (class) = file (class)" for each of what `contradictions` found."""
    sources = [source for part in parts for source in part.sources]
    labels = [part.classes[label] for part in parts for label in part.labels]
    return [" = ".join(f"{sources[p]} ({labels[p]})" for p in positions) for positions in found]


def joined_groups(samples: Samples, keys: tuple[bytes, ...]) -> np.ndarray | None:
    """Return groups (n,) that also keep equal images on one side of a split, or None where nothing is to be kept.

    Two images share a group if they shared one before or have equal content, directly or through others.
    """
    duplicates = [positions for positions in _positions_by_key(keys).values() if len(positions) > 1]
    if not duplicates:
        return samples.groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(samples)
    links = [(positions[0], other) for positions in duplicates for other in positions[1:]]
    if samples.groups is not None:
        first_of_group: dict[int, int] = {}
        links += [(first_of_group.setdefault(int(g), i), i) for i, g in enumerate(samples.groups)]
    rows, columns = np.array(links).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def known_to(
    learned: tuple[Samples, tuple[bytes, ...]], part: tuple[Samples, tuple[bytes, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return two (n,) masks of n photos: which are among those learned from, and which others are of their groups.

    Args:
        learned: samples that are learned from, and their content keys.
        part: n others with the same classes, and theirs.
    """
    known = set(learned[1])
    copies = np.array([key in known for key in part[1]], dtype=bool)
    groups = joined_groups(together([learned[0], part[0]]), learned[1] + part[1])
    if groups is None:
        return copies, np.zeros_like(copies)
    count = len(learned[0])
    return copies, np.isin(groups[count:], groups[:count]) & ~copies


def without(samples: Samples, positions: Mapping[int, str] | set[int]) -> tuple[Samples, np.ndarray]:
    """Return `samples` less `positions`, and the (n,) mask of what was kept."""
    keep = np.ones(len(samples), dtype=bool)
    keep[sorted(positions)] = False
    return samples.select(keep), keep


def _positions_by_key(keys: tuple[bytes, ...]) -> dict[bytes, list[int]]:
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key:
            by_key[key].append(position)
    return by_key


def _look_at(source: Source, *, limit: int) -> tuple[bytes, str]:
    try:
        return look_at(source, limit=limit), ""
    except UnreadableImageError as error:
        return b"", str(error)
