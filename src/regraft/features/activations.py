"""Activations at a cut: the frozen trunk runs once for each view of a photo, and its outputs are kept on disk."""

import contextlib
import hashlib
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regraft.cache import VIEWS_SUFFIX, CacheSharers, features_folder, keep_limit
from regraft.engines.engine import Engine
from regraft.errors import DataError, option
from regraft.features.store import CHECK_BYTES
from regraft.files import TEMPORARY_SUFFIX, is_file, move_over, open_regular, remove, sha256
from regraft.images.augment import Augmentation
from regraft.images.decoding import decode, decode_view
from regraft.images.loading import load_batches
from regraft.images.preprocess import Preprocess
from regraft.images.reading import read_image
from regraft.images.resizing import TORCHVISION, prepare
from regraft.images.sources import Source
from regraft.processes import ALONE, ProcessGroup
from regraft.progress import Observer, progress

FRESH = 1 << 16  # views of a photo that is decoded anew each time: in practice no view is repeated
# Kinds of activations, recorded in unfinished runs: float16 of few views; float32 of ever new views, by design or for
# lack of space on the disk.
CACHED, COMPUTED, NO_DISK = "cached", "computed", "computed, for the disk had no room"
_FORMAT = 2  # of files of activations; part of their names
_BATCH = 32  # views per step through the trunk
_FLUSH_EVERY = 512  # views
_CHUNK = 1 << 20  # bytes that are verified together when a file is opened

Pair = tuple[int, int]  # a photo's position and a view's number: 0 is the photo itself, those below of `images.tta`


@dataclass(frozen=True, eq=False)
class ViewSet:
    """n photos, each in many views.

    Attributes:
        sources: where each photo comes from.
        keys: n content keys, the random seeds of the views.
        augmentation: how views differ.
    """

    sources: Sequence[Source]
    keys: Sequence[bytes]
    augmentation: Augmentation

    def select(self, photos: np.ndarray) -> "ViewSet":
        """Return the views of the photos at positions `photos` (m,)."""
        sources, keys = [self.sources[int(photo)] for photo in photos], [self.keys[int(photo)] for photo in photos]
        return ViewSet(sources, keys, self.augmentation)

    def pixels(self, pairs: Sequence[Pair], preprocess: Preprocess, *, batch_size: int) -> Iterator[np.ndarray]:
        """Yield (b, h, w, 3) uint8 of `pairs` of photo and view, in order, decoded ahead by threads.

        Raises:
            DataError: a photo that could be read before cannot be read any more.
        """
        min_side = self.augmentation.min_side(preprocess)

        def draw(place: int, source: Source) -> np.ndarray:
            photo, number = pairs[place]
            if number < 0:
                return decode_view(source, preprocess, number, resizer=TORCHVISION)
            if number == 0 or not self.augmentation.kinds:
                return decode(source, preprocess, resizer=TORCHVISION)  # as in evaluation
            image = read_image(source, min_side=min_side, ranges=preprocess.ranges)
            return self.augmentation.view(image, preprocess, key=self.keys[photo], number=number)

        prepare(TORCHVISION)
        sources = [self.sources[photo] for photo, _ in pairs]
        for batch in load_batches(sources, preprocess, batch_size=batch_size, draw=draw):
            for place, reason in batch.unreadable.items():
                raise DataError(f"{sources[place]} could be read before, and cannot be read now: {reason}.")
            yield batch.pixels


class ComputedViews:
    """Activations that are computed on demand: before the first layer, or too large to keep.

    Attributes:
        count: views of each photo.
        kind: `COMPUTED`, or `NO_DISK` where they should have been kept.
        engine: the name of the engine that runs the trunk.
    """

    def __init__(self, view_set: ViewSet, engine: Engine, *, count: int = FRESH, kind: str = COMPUTED) -> None:
        self.count = count
        self.kind = kind
        self.engine = engine.name
        self._view_set = view_set
        self._engine = engine

    def stream(self, batches: Sequence[Sequence[Pair]]) -> Iterator[torch.Tensor]:
        """Yield (b, ...) float32 activations for each batch of pairs of photo and view."""
        if not batches:
            return
        size = len(batches[0])  # the last one may be smaller, or larger by one
        equal = len(batches) - (len(batches[-1]) > size)
        for part in (batches[:equal], batches[equal:]):
            pairs = [pair for batch in part for pair in batch]
            size = max(map(len, part), default=size)
            for pixels in self._view_set.pixels(pairs, self._engine.preprocess, batch_size=size):
                yield self._engine.activations(pixels)


class CachedViews:
    """Activations in a memory-mapped float16 file, computed by the first pass over them.

    Attributes:
        count: views of each photo.
        kind: `CACHED`.
        engine: the name of the engine that ran the trunk.

    Args:
        values: (n * count, ...) float16.
        computed: gives the views that are not kept, those of answers, which are asked for once.
    """

    kind = CACHED

    def __init__(
        self, values: np.ndarray, *, count: int, engine: str = "", computed: ComputedViews | None = None
    ) -> None:
        self.count = count
        self.engine = engine
        self._values, self._computed = values, computed

    def stream(self, batches: Sequence[Sequence[Pair]]) -> Iterator[torch.Tensor]:
        """Yield (b, ...) float32 activations for each batch of pairs of photo and view."""
        if self._computed is not None and any(number < 0 for batch in batches for _, number in batch):
            yield from self._computed.stream(batches)
            return
        for batch in batches:
            rows = [photo * self.count + number for photo, number in batch]
            yield torch.from_numpy(self._values[rows]).float()


Views = CachedViews | ComputedViews


def cache_views(
    view_set: ViewSet,
    engine: Engine,
    about: dict[str, Any],
    *,
    count: int,
    limit: int,
    observer: Observer,
    pace: Callable[[float], None] | None = None,
    processes: ProcessGroup = ALONE,
) -> Views:
    """Return the activations of `count` views of each photo; those missing in the cache are computed and stored.

    Args:
        view_set: n photos.
        engine: runs the trunk.
        about: identifies the network, the cut and the views, in JSON types.
        count: views of each photo.
        limit: bytes that the cache may hold; larger activations are computed during training instead.
        observer: receives progress, damage, and why nothing is kept.
        pace: receives the share of the missing views that is done; if it raises, the pass ends and keeps what is done.
        processes: that train on them. Those of one machine compute a part each, into one file.
    """
    shape = (len(view_set.keys) * count, *engine.output_shape())
    size = 2 * math.prod(shape)
    if any(processes.gather(size > limit)):
        observer.say(
            f"the activations at the cut would take {size / 1e9:,.1f} GB, more than the cache may hold "
            f"({limit / 1e9:,.1f} GB): they are computed during training. A later cut, fewer {option('views')} or a "
            f"larger {option('cache_limit')} make it faster."
        )
        return ComputedViews(view_set, engine)
    sharers = CacheSharers.of(processes)
    described = json.dumps({**about, "format": _FORMAT}, sort_keys=True) + sharers.machine
    name = sha256(described.encode() + b"".join(view_set.keys)).hex()[:32]
    try:
        file = _open_file(features_folder() / f"{name}{VIEWS_SUFFIX}", shape, observer.say, processes, sharers.ranks)
    except OSError as error:
        reason = error.strerror or str(error)
        observer.say(f"activations are not kept on disk ({reason}); they are computed during training")
        return ComputedViews(view_set, engine, kind=NO_DISK)
    whole = True
    try:
        own = _own_batches(file.missing, processes.rank, sharers.ranks)
        _fill(file, own, view_set, engine, count=count, observer=observer, pace=pace)
    except OverflowError:
        whole = False
    if not all(processes.gather(whole)):
        observer.say("the activations at the cut are too large for float16; they are computed during training")
        return ComputedViews(view_set, engine)
    keep_limit(limit)
    return CachedViews(file.values, count=count, engine=engine.name, computed=ComputedViews(view_set, engine))


def _open_file(
    path: Path, shape: tuple[int, ...], say: Callable[[str], None], processes: ProcessGroup, sharers: tuple[int, ...]
) -> "_ViewFile":
    """Return the file of activations: made and verified by the first of those that share it, then opened by all.

    Raises:
        OSError: one of all processes cannot have it; then none has.
    """
    file: _ViewFile | None = None
    known: list[tuple[np.ndarray | None, str | None]] = []
    for first in (True, False):
        problem = next((found for _, found in known if found is not None), None)
        if problem is None and (processes.rank == sharers[0]) is first:
            try:
                file = _ViewFile(path, shape, say, missing=None if first else known[sharers[0]][0])
            except OSError as error:
                problem = error.strerror or str(error)
        known = processes.gather((None if file is None else file.missing, problem))
    problem = next((found for _, found in known if found is not None), None)
    if file is None or problem is not None:
        raise OSError(problem)
    return file


def _fill(
    file: "_ViewFile",
    missing: np.ndarray,
    view_set: ViewSet,
    engine: Engine,
    *,
    count: int,
    observer: Observer,
    pace: Callable[[float], None] | None,
) -> None:
    """Compute the rows `missing` (m,) of a file.

    Raises:
        OverflowError: they are too large for float16.
    """
    if not len(missing):
        return
    pairs = [(int(row) // count, int(row) % count) for row in missing]
    start = flushed = 0
    with progress(observer, f"activations of {count} views", len(pairs)) as advance:
        try:
            for pixels in view_set.pixels(pairs, engine.preprocess, batch_size=_BATCH):
                rows = missing[start : start + len(pixels)]
                values = engine.activations(pixels).half()
                if not torch.isfinite(values).all():
                    raise OverflowError("the largest float16 is 65,504")
                file.values[rows] = values.cpu().numpy()
                start += len(pixels)
                if start - flushed >= _FLUSH_EVERY:
                    file.mark(missing[flushed:start])
                    flushed = start
                advance(len(pixels))
                if pace is not None:
                    pace(start / len(pairs))
        finally:
            file.mark(missing[flushed:start])  # what was computed survives Ctrl-C too


def _own_batches(missing: np.ndarray, rank: int, sharers: tuple[int, ...]) -> np.ndarray:
    """Return the rows that this process computes of those `missing` (n,), booleans: whole batches of a full pass.

    The last digits of an output depend on what else is in the batch, and resumed training needs the same activations.
    """
    batches = np.unique(np.flatnonzero(missing) // _BATCH)[sharers.index(rank) :: len(sharers)]
    found = (batches[:, None] * _BATCH + np.arange(_BATCH)).ravel()
    return found[found < len(missing)]


class _ViewFile:
    """(rows, ...) float16 values in a file, followed by a check of 8 bytes for each row: zeros until it is computed.

    Every row that has a check is verified when the file is opened.

    Attributes:
        values: (rows, ...) float16, mapped from the disk.
        missing: (rows,) booleans: which have to be computed.

    Args:
        path: of the file.
        shape: (rows, ...).
        say: reports damage.
        missing: where another process has verified the file.
    """

    missing: np.ndarray

    def __init__(
        self, path: Path, shape: tuple[int, ...], say: Callable[[str], None], *, missing: np.ndarray | None = None
    ) -> None:
        size = 2 * math.prod(shape)
        file_size = size + CHECK_BYTES * shape[0]
        if not (is_file(path) and path.stat().st_size == file_size):
            if os.path.lexists(path):
                remove(path)
                say(f"the activations in {path} are damaged: they are dropped and computed again")
            _reserve(path, file_size)
        with contextlib.suppress(OSError):
            os.utime(path)  # in use: the last to be dropped
        self._digest = sha256(path.name.encode())
        self.values = np.memmap(path, dtype=np.float16, mode="r+", shape=shape)
        self._checks = np.memmap(path, dtype=np.uint8, mode="r+", offset=size, shape=(shape[0], CHECK_BYTES))
        if missing is not None:
            self.missing = missing
            return
        marked: np.ndarray = np.any(self._checks, axis=1)
        self.missing = ~self._verify(path, marked)
        damaged = int((marked & self.missing).sum())
        if damaged:
            say(f"{damaged:,} of the activations in {path} are damaged: they are computed again")

    def mark(self, rows: np.ndarray) -> None:
        """Mark `rows` as computed, once they have reached the disk."""
        if len(rows):
            self.values.flush()
            self._checks[rows] = self._compute_checks(rows, (self.values[row].reshape(-1).data for row in rows))
            self._checks.flush()

    def _verify(self, path: Path, marked: np.ndarray) -> np.ndarray:
        """Return (rows,) booleans: which of the `marked` rows are as they were written."""
        intact = np.zeros(len(marked), dtype=bool)
        width = self.values[0].nbytes
        together = max(_CHUNK // width, 1)
        chunk = memoryview(bytearray(together * width))
        with open_regular(path) as stream:  # not the mapped values, which would fill the memory
            for start in range(0, len(marked), together):
                rows = start + np.flatnonzero(marked[start : start + together])
                if len(rows):
                    stream.seek(start * width)
                    stream.readinto(chunk)  # type: ignore[attr-defined]
                    parts = (chunk[width * place : width * (place + 1)] for place in (rows - start).tolist())
                    intact[rows] = (self._compute_checks(rows, parts) == self._checks[rows]).all(axis=1)
        return intact

    def _compute_checks(self, rows: np.ndarray, values: Iterable[memoryview]) -> np.ndarray:
        """Return (m, 8) uint8: the first bytes of the SHA-256 of file, row and its values."""
        found = []
        for row, value in zip(rows.tolist(), values, strict=True):
            digest = hashlib.sha256(self._digest + row.to_bytes(8, "little"))
            digest.update(value)
            found.append(digest.digest()[:CHECK_BYTES])
        return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, CHECK_BYTES)


def _reserve(path: Path, size: int) -> None:
    """Create a file of zeros with all its space allocated on the disk: writing into it cannot fail later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            else:
                for start in range(0, size, 1 << 20):
                    stream.write(bytes(min(1 << 20, size - start)))
        move_over(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
