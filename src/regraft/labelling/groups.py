"""Photos without labels, grouped by what a network sees in them: to begin from nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.csv_text import csv_text
from regraft.data.photo_list import PhotoList, none_readable
from regraft.data.table_checks import check_table_of, check_table_path
from regraft.errors import DataError, OptionError, option, printable
from regraft.features.embedding import Embedder
from regraft.files import atomic_write
from regraft.images.sources import Source
from regraft.images.value_range import Ranges
from regraft.labelling.clusters import choose_count, k_means, project
from regraft.storage.locations import absolute_name

_DIGITS = 6  # of figures that are written
_TEST = "test"
_TYPICAL = 3  # photos of a group that are named


@dataclass(frozen=True, eq=False)
class PhotoGroups:
    """n photos in k groups, the largest group first, in each the most typical photo first.

    Attributes:
        sources: the photos.
        numbers: (n,) of each one's group, from 1 to k.
        distances: (n,) from the centre of its group, in features of length 1 along their principal directions.
        criteria: the Bayesian information criterion by number of groups, where this was chosen; the lowest is the best.
        unreadable: photos that cannot be read, and are left out, each with the reason.
        of_test: photos of a test split, which are left out: they are for `evaluate` alone.
        ranges: the values of black and white in photos of more than 8 bits.
        computed: how many went through the network; the others came from the cache.
    """

    sources: tuple[Source, ...]
    numbers: np.ndarray
    distances: np.ndarray
    criteria: Mapping[int, float] = field(default_factory=dict)
    unreadable: tuple[tuple[Source, str], ...] = ()
    of_test: int = 0
    ranges: Ranges = ()
    computed: int = 0

    @property
    def count(self) -> int:
        """Return k."""
        return int(self.numbers.max())

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of each photo's group: "group-1"."""
        return tuple(f"group-{number}" for number in self.numbers.tolist())

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the names of the photos."""
        return tuple(map(str, self.sources))

    def __len__(self) -> int:
        """Return n."""
        return len(self.sources)

    def members(self) -> list[np.ndarray]:
        """Return the positions of each group's photos, the most typical first."""
        return [np.flatnonzero(self.numbers == number) for number in range(1, self.count + 1)]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        rows = zip(self.sources, self.names, self.distances.tolist(), strict=True)
        return {
            "groups": self.count,
            "of_test": self.of_test,
            "sizes": [len(members) for members in self.members()],
            "criteria": {str(count): round(value, 1) for count, value in self.criteria.items()},
            "photos": [
                {"file": str(source), "label": name, "distance": round(distance, _DIGITS)}
                for source, name, distance in rows
            ],
            "unreadable": [str(source) for source, _ in self.unreadable],
        }

    def __str__(self) -> str:
        """Return a line for each group: its name, how many photos it has, and the most typical ones."""
        names = [f"group-{number}" for number in range(1, self.count + 1)]
        sizes = [f"{len(members):,}" for members in self.members()]
        widths = [max(map(len, column)) for column in (names, sizes)]
        lines = []
        for name, size, members in zip(names, sizes, self.members(), strict=True):
            typical = ", ".join(printable(self.sources[place]) for place in members[:_TYPICAL].tolist())
            lines.append(f"{name:<{widths[0]}}  {size:>{widths[1]}}  {typical}")
        return "\n".join(lines)

    def write(self, path: str | Path) -> None:
        """Write a CSV table with the columns `file`, `label` (the group's name, to be replaced) and `distance`.

        Raises:
            OptionError: another ending, or photos that a table cannot name.
            OutputError: it cannot be written.
        """
        path = Path(path).expanduser()
        check_groups_file(path, self.sources, "the list")
        rows: list[Sequence[object]] = [["file", "label", "distance"]]
        for source, name, distance in zip(self.sources, self.names, self.distances.tolist(), strict=True):
            rows.append([absolute_name(source), name, f"{distance:.6f}"])
        with atomic_write(path) as temporary:
            temporary.write_text(csv_text(rows), encoding="utf-8", newline="")


def check_groups_file(path: Path, sources: Sequence[Source], where: str) -> None:
    """Raise `OptionError` where a table at `path` cannot name these photos, which are from `where`."""
    check_table_path(path, option("out"))
    otherwise = "Write them into files first, or leave it out: the groups are named all the same."
    check_table_of(sources, (), name=option("out"), where=where, otherwise=otherwise)


def group_photos(embedder: Embedder, photos: PhotoList, count: int | None = None) -> PhotoGroups:
    """Return photos grouped by k-means on the principal directions of their features, each brought to length 1.

    Args:
        embedder: makes the features.
        photos: whose labels are not looked at; those that cannot be read, and those of a test split, are left out.
        count: of groups; None to choose it, see `clusters.choose_count`.

    Raises:
        DataError: no photo can be read, or all are of a test split.
        OptionError: more groups than photos.
    """
    everything, photos = photos, photos.select([place for place, split in enumerate(photos.splits) if split != _TEST])
    if not len(photos):
        raise DataError(
            f"{everything.where}: all {len(everything):,} photos are of a test split, which nothing is learned from. "
            "Name other photos."
        )
    (opened,) = embedder.open(photos.sources)
    found = embedder.all_of(opened)
    readable, lost = photos.without(found.unreadable)
    if not readable:
        raise DataError(none_readable(photos, lost))
    if count is not None and count > len(readable):
        raise OptionError(
            f"{option('groups')} must be at most {len(readable):,}, the number of photos that can be read. "
            f"Got {count:,}."
        )
    points = project(found.vectors)
    criteria: dict[int, float] = {}
    if count is None:
        count, criteria = choose_count(points)
    clusters = k_means(points, count)
    members = sorted(filter(len, clusters.members()), key=lambda own: (-len(own), own[0]))
    ordered = [own[np.argsort(clusters.distances[own], kind="stable")] for own in members]
    order = np.concatenate(ordered)
    return PhotoGroups(
        tuple(readable.sources[place] for place in order.tolist()),
        np.repeat(np.arange(1, len(ordered) + 1), list(map(len, ordered))),
        clusters.distances[order],
        criteria,
        tuple(lost),
        len(everything) - len(photos),
        embedder.backbone.preprocess.ranges,
        found.computed,
    )


def notes_on(groups: PhotoGroups) -> Iterator[str]:
    """Yield in words which photos were left out, and how the number of groups was chosen, where it was."""
    if groups.of_test:
        yield f"left out, as part of a test split: {groups.of_test:,}"
    if groups.criteria:
        most = max(groups.criteria)
        yield (
            f"{groups.count} groups: the lowest Bayesian information criterion of 1 to {most} (another number: "
            f"{option('groups')})"
        )
