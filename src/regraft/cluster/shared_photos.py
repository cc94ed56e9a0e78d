"""Photos that every worker must see as the process sees them that starts it."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regraft.data.samples import Samples
from regraft.errors import DataError, printable
from regraft.images.source_files import file_of
from regraft.images.sources import Source
from regraft.processes import ProcessGroup


@dataclass(frozen=True, eq=False)
class SharedPhotos:
    """Photos for workers.

    Attributes:
        splits: samples by split.
        absent: by split, the positions of local files that the process that starts the workers does not see either: a
            table may list such.
    """

    splits: Mapping[str, Samples]
    absent: Mapping[str, frozenset[int]]

    @classmethod
    def of(cls, splits: Mapping[str, Samples]) -> "SharedPhotos":
        """Return these photos, as this process sees them."""
        absent = {split: np.flatnonzero([_is_gone(s) for s in part.sources]) for split, part in splits.items()}
        return cls(dict(splits), {split: frozenset(places.tolist()) for split, places in absent.items()})

    def check(self, processes: ProcessGroup) -> None:
        """Raise `DataError` where this worker lacks one of the files that it is to look at.

        Args:
            processes: all workers, which divide the photos.
        """
        for split, samples in self.splits.items():
            check_seen(processes.own(range(len(samples))), samples.sources, self.absent[split])


def check_seen(places: Sequence[int], sources: Sequence[Source], absent: frozenset[int]) -> None:
    """Raise `DataError` where this worker lacks a local file that the process that started it has.

    Args:
        places: in `sources`, of those that this worker is to look at first.
        sources: the photos.
        absent: places of those that the process that started it does not see either.
    """
    for place in places:
        file = file_of(sources[place])
        if isinstance(file, Path) and place not in absent and not file.exists():
            raise unseen(file, socket.gethostname())


def unseen(photo: object, host: str) -> DataError:
    """Return what to say of a photo that the worker on a machine does not see."""
    return DataError(
        f"{printable(photo)} is there for the process that was started, and not for its worker on {printable(host)}. "
        "Every machine of the Ray cluster must see the photos under the same names: put them on a file system that all "
        "share, or into a store (s3://...)."
    )


def _is_gone(source: Source) -> bool:
    file = file_of(source)
    return isinstance(file, Path) and not file.exists()
