"""Features of photos: one pass through the network, streamed, and never twice for the same photo."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from regraft.data.decoding import READING
from regraft.data.loading import BATCH_SIZE, load_batches
from regraft.data.preprocess import Preprocess
from regraft.data.sources import Source
from regraft.errors import OutputError, WeightsError
from regraft.learn.observer import Observer
from regraft.learn.settings import Settings
from regraft.learn.store import FeatureStore, keep_limit, size_limit
from regraft.models.backbones import Backbone
from regraft.models.engines import Engine, run_ahead
from regraft.models.selection import CHECKED_PHOTOS, POOLED, Deferred, Task, choose_engine
from regraft.runtime import pick_device

_IMAGES_PER_SHARD = 512
_SECONDS_PER_SHARD = 15.0  # what a killed run loses at most


@dataclass
class Extraction:
    """The features of n photos.

    Attributes:
        features: (n, d) float32; rows of unreadable photos are zero.
        unreadable: reasons by position.
        computed: how many photos went through the network; the others came from the cache.
        seconds: of the whole extraction.
        engine: what ran the network.
    """

    features: np.ndarray
    unreadable: dict[int, str] = field(default_factory=dict)
    computed: int = 0
    seconds: float = 0.0
    engine: str = ""


class _Writer:
    """Collects vectors and writes a shard now and then; without a store, or on a full disk, it writes nothing.

    The cache is held to `limit` bytes after each shard: a run that is stopped leaves no more behind than one that ends.
    """

    def __init__(self, store: FeatureStore | None, limit: int, observer: Observer) -> None:
        self._store = store
        self._limit = limit
        self._observer = observer
        self._keys: list[bytes] = []
        self._vectors: list[np.ndarray] = []
        self._last = time.monotonic()

    def add(self, keys: list[bytes], vectors: np.ndarray) -> None:
        self._keys += keys
        self._vectors.append(vectors)
        if len(self._keys) >= _IMAGES_PER_SHARD or time.monotonic() - self._last > _SECONDS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        keys, vectors = self._keys, self._vectors
        self._keys, self._vectors, self._last = [], [], time.monotonic()
        if self._store is None or not keys:
            return
        try:
            self._store.write(keys, np.concatenate(vectors))
        except OutputError as error:  # the features are in memory: the work goes on without the cache
            self._store = None
            self._observer.say(f"the cache is not used any further: {error}")
        keep_limit(self._limit)


def engine_for(backbone: Backbone, sources: Sequence[Source], settings: Settings, observer: Observer) -> Engine:
    """Return the engine that `settings` name, or the fastest that is right, to run `sources` through `backbone`.

    Raises:
        OptionError: it does not exist or cannot run here.
        EngineError: it does not give this network's features.
    """
    task = Task(
        backbone,
        pick_device(settings.device),
        len(sources),
        lambda: first_pixels(sources, backbone.preprocess),
        keep=settings.cache,
        say=observer.say,
    )
    engine = choose_engine(task, settings.engine)
    if settings.cache and not isinstance(engine, Deferred):
        keep_limit()  # a network may have been converted and put there
    return engine


def features_of(
    sources: Sequence[Source], keys: Sequence[bytes], backbone: Backbone, settings: Settings, observer: Observer
) -> Extraction:
    """Return the features of `sources` as `settings` say: engine, cache and batches. See `extract`."""
    return extract(
        sources,
        keys,
        backbone,
        engine_for(backbone, sources, settings, observer),
        cache=settings.cache,
        batch_size=settings.batch_size,
        observer=observer,
    )


def first_pixels(sources: Sequence[Source], preprocess: Preprocess) -> np.ndarray:
    """Return (up to `CHECKED_PHOTOS`, h, w, 3) uint8: the first of `sources` that can be read."""
    found: list[np.ndarray] = []
    with closing(load_batches(sources, preprocess, batch_size=CHECKED_PHOTOS)) as batches:
        for batch in batches:
            found.append(batch.pixels)
            if sum(map(len, found)) >= CHECKED_PHOTOS:
                break
    blank = np.empty((0, preprocess.height, preprocess.width, 3), dtype=np.uint8)
    return np.concatenate([blank, *found])[:CHECKED_PHOTOS]


def extract(
    sources: Sequence[Source],
    keys: Sequence[bytes],
    backbone: Backbone,
    engine: Engine,
    *,
    cache: bool = True,
    batch_size: int = BATCH_SIZE,
    observer: Observer | None = None,
) -> Extraction:
    """Return the features of `sources`, from the cache where they are in it.

    What is computed goes into the cache as the pass goes on, so that a run that was killed continues where it
    stopped. Equal photos are computed once.

    Args:
        sources: n images.
        keys: their content keys; b"" for images that are known to be unreadable, which are passed over.
        backbone: names the network in the cache.
        engine: runs it.
        cache: False reads and writes no cache.
        batch_size: images per step.
        observer: hears the progress.

    Raises:
        WeightsError: the network gives values that are not finite.
    """
    observer = observer or Observer()
    started = time.monotonic()
    store = FeatureStore(_about(backbone, engine), backbone.features) if cache else None
    if store is None:
        features, found = np.zeros((len(keys), backbone.features), dtype=np.float32), np.zeros(len(keys), dtype=bool)
    else:
        features, found = store.read(keys)
    result = Extraction(features, engine=engine.name)
    wanted: dict[bytes, list[int]] = {}
    for position, key in enumerate(keys):
        if key and not found[position]:
            wanted.setdefault(key, []).append(position)
    if wanted:
        writer = _Writer(store, size_limit(), observer)  # a mistake in the limit is told before the work
        _compute(sources, wanted, engine, result, writer=writer, batch_size=batch_size, observer=observer)
    result.seconds = time.monotonic() - started
    return result


def _compute(
    sources: Sequence[Source],
    wanted: dict[bytes, list[int]],
    engine: Engine,
    result: Extraction,
    *,
    writer: _Writer,
    batch_size: int,
    observer: Observer,
) -> None:
    order = list(wanted.items())
    observer.begin(f"features ({engine.name})", len(order))
    photos = load_batches([sources[places[0]] for _, places in order], engine.preprocess, batch_size=batch_size)
    try:
        # whatever ends the pass ends the threads that decode, and what the engine has not begun
        with closing(photos), closing(run_ahead(engine, photos)) as computed:
            for batch, vectors in computed:
                for row, reason in batch.unreadable.items():
                    result.unreadable.update(dict.fromkeys(order[row][1], reason))
                if len(batch.positions):
                    _check_finite(vectors, [sources[order[row][1][0]] for row in batch.positions])
                    for row, vector in zip(batch.positions, vectors, strict=True):
                        result.features[order[row][1]] = vector
                    writer.add([order[row][0] for row in batch.positions], vectors)
                result.computed += len(batch.positions)
                observer.advance(len(batch.positions) + len(batch.unreadable))
    finally:
        writer.flush()  # Ctrl-C too keeps what was computed
        observer.end()


def _check_finite(vectors: np.ndarray, sources: Sequence[Source]) -> None:
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise WeightsError(
            f"the network gives values that are not finite (NaN or infinite), first for {sources[broken[0]]}. "
            "Its weights are damaged or do not belong to it; use others."
        )


def _about(backbone: Backbone, engine: Engine) -> dict[str, object]:
    return {
        "architecture": backbone.recipe.architecture,
        "weights": backbone.fingerprint(),
        "preprocess": backbone.preprocess.to_json(),
        "cut": POOLED,
        "engine": engine.name,
        "reading": READING,
    }
