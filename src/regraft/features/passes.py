"""A pass over photos: pixels through an engine, in this process or in the workers of a cluster."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from regraft.engines.engine import Engine, run_ahead
from regraft.errors import WeightsError
from regraft.images.loading import load_batches
from regraft.images.sources import Source
from regraft.ray_workers import PHOTOS_OF_A_PART, STARTING_SECONDS, RayWorkers


@dataclass(frozen=True, eq=False)
class PassResult:
    """What a pass made of some photos.

    Attributes:
        rows: the m photos that were run, by their positions.
        vectors: (m, d) float32.
        unreadable: reasons by position.
        flat: positions of photos with next to no contrast.
    """

    rows: Sequence[int]
    vectors: np.ndarray
    unreadable: Mapping[int, str]
    flat: Sequence[int] = ()

    def moved(self, by: int) -> "PassResult":
        """Return the same of photos that stand `by` further on."""
        unreadable = {row + by: reason for row, reason in self.unreadable.items()}
        return PassResult([row + by for row in self.rows], self.vectors, unreadable, [row + by for row in self.flat])


class PhotoPass(Protocol):
    """Runs photos, a part of them after the other."""

    def __call__(self, sources: Sequence[Source]) -> Generator[PassResult]:
        """Yield what is made of n photos; positions are among these."""


@dataclass(frozen=True, eq=False)
class EnginePass:
    """Runs photos through an engine, here.

    Attributes:
        engine: (b, h, w, 3) pixels to (b, d) vectors.
        dimension: d.
        batch_size: images per step.
        draw: as of `load_batches`.
        resizer: likewise.
    """

    engine: Engine
    dimension: int
    batch_size: int
    draw: Callable[[int, Source], np.ndarray] | None = None
    resizer: str | None = None

    def __call__(self, sources: Sequence[Source]) -> Generator[PassResult]:
        """Yield what the engine makes of n photos, batch by batch.

        Raises:
            WeightsError: values that are not finite, or others than there should be.
        """
        batches = load_batches(
            sources, self.engine.preprocess, batch_size=self.batch_size, draw=self.draw, resizer=self.resizer
        )
        # whatever ends the pass ends the threads that decode, and what the engine has queued
        with closing(batches), closing(run_ahead(self.engine, batches)) as results:
            for batch, vectors in results:
                rows = batch.positions.tolist()
                if rows:
                    _check_vectors(vectors, [sources[row] for row in rows], self.dimension)
                yield PassResult(rows, vectors, batch.unreadable, batch.flat)


@dataclass(frozen=True, eq=False)
class ClusterPass:
    """Runs photos in the workers of a cluster, part by part.

    Attributes:
        workers: that do it.
        there: makes the pass of a worker, in it.
        device: "cuda" for workers that have a GPU each.
        batch_size: photos per step of that pass: a part is whole batches, the same that one process would run.
        say: hears what is done where.
    """

    workers: RayWorkers
    there: Callable[[], PhotoPass]
    device: str
    batch_size: int
    say: Callable[[str], None]

    def __call__(self, sources: Sequence[Source]) -> Generator[PassResult]:
        """Yield what the workers make of n photos, in the order in which they come."""
        size = max(1, PHOTOS_OF_A_PART // self.batch_size) * self.batch_size
        parts = [sources[start : start + size] for start in range(0, len(sources), size)]
        with closing(self.workers.map(_PartWork(self.there), parts, device=self.device, say=self.say)) as results:
            for number, found in results:
                for one in found:
                    yield one.moved(number * size)


def patience_of(run_photos: PhotoPass) -> float | None:
    """Return how many seconds a pass may go without a result; None for the usual time."""
    return STARTING_SECONDS if isinstance(run_photos, ClusterPass) else None


@dataclass(frozen=True, eq=False)
class PassThere:
    """Makes the pass of a worker of one that is the same everywhere."""

    run_photos: PhotoPass

    def __call__(self) -> PhotoPass:
        """Return it."""
        return self.run_photos


class _PartWork:
    """What a worker does with each part of the photos: it makes its pass once."""

    def __init__(self, make: Callable[[], PhotoPass]) -> None:
        self._make = make
        self._pass: PhotoPass | None = None

    def __call__(self, sources: Sequence[Source]) -> list[PassResult]:
        if self._pass is None:
            self._pass = self._make()
        return list(self._pass(sources))


def _check_vectors(vectors: np.ndarray, sources: Sequence[Source], dimension: int) -> None:
    if vectors.shape != (len(sources), dimension):
        raise WeightsError(
            f"the network gives values of shape {vectors.shape} for {len(sources):,} photos, and not {dimension:,} for "
            "each. Its file is damaged; fit it again, or use another."
        )
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise WeightsError(
            f"the network gives values that are not finite (NaN or infinite), first for {sources[broken[0]]}. "
            "Its weights are damaged or do not belong to it; use others."
        )
