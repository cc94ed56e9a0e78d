"""Features of photos: one pass through the network, streamed, and never twice for the same photo."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from regraft.cache import keep_limit, size_limit
from regraft.data.decoding import READING
from regraft.data.loading import BATCH_SIZE, load_batches
from regraft.data.preprocess import Preprocess
from regraft.data.sources import Source
from regraft.engines.engine import Engine, run_ahead
from regraft.engines.selection import LazyEngine, choose_engine
from regraft.engines.workload import CHECKED_PHOTOS, POOLED, CheckPhotos, EngineChoice, Workload
from regraft.errors import OutputError, WeightsError
from regraft.features.store import FeatureStore
from regraft.files import sha256
from regraft.networks.backbones import Backbone
from regraft.progress import Observer, progress
from regraft.runtime import pick_device
from regraft.transfer.settings import Settings
from regraft.watchdog import watched

_IMAGES_PER_SHARD = 512
_PATIENCE = 600.0  # seconds: large networks are converted for minutes
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

    def close(self) -> None:
        """Write the rest: Ctrl-C too keeps what was computed."""
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


def engine_for(
    backbone: Backbone,
    sources: Sequence[Source],
    keys: Sequence[bytes],
    settings: Settings,
    observer: Observer,
    *,
    labels: np.ndarray | None = None,
    earlier: EngineChoice | None = None,
) -> Engine:
    """Return the engine that `settings` name, or the fastest that is right, to run `sources` through `backbone`.

    Args:
        backbone: the network.
        sources: n images: all that it will run, for the choice depends on them.
        keys: their content keys; b"" for what is known to be unreadable.
        settings: engine, device and cache.
        observer: hears what was found.
        labels: (n,) classes, where they are known: engines are compared on photos of all of them.
        earlier: what was chosen when the classifier was made.

    Raises:
        OptionError: it does not exist or cannot run here.
        EngineError: it does not give this network's features.
    """
    task = Workload(
        backbone,
        pick_device(settings.device),
        sum(map(bool, keys)),
        check_photos(sources, keys, backbone.preprocess, labels),
        keep=settings.cache,
        say=observer.say,
        earlier=earlier,
    )
    with watched("choosing what runs the network", observer.say, patience=_PATIENCE):
        engine = choose_engine(task, settings.engine)
    if settings.cache and not isinstance(engine, LazyEngine):
        keep_limit(size_limit())  # a network may have been converted and put there
    return engine


def features_of(
    sources: Sequence[Source],
    keys: Sequence[bytes],
    backbone: Backbone,
    settings: Settings,
    observer: Observer,
    *,
    labels: np.ndarray | None = None,
    earlier: EngineChoice | None = None,
) -> Extraction:
    """Return the features of `sources` as `settings` say: engine, cache and batches. See `engine_for`, `extract`."""
    return extract(
        sources,
        keys,
        backbone,
        engine_for(backbone, sources, keys, settings, observer, labels=labels, earlier=earlier),
        cache=settings.cache,
        batch_size=settings.batch_size,
        observer=observer,
    )


def check_photos(
    sources: Sequence[Source], keys: Sequence[bytes], preprocess: Preprocess, labels: np.ndarray | None = None
) -> CheckPhotos:
    """Return the photos that engines are compared on: of each class in turn those whose content keys come first.

    They depend on what the photos show alone, not on their order or their names.

    Args:
        sources: n images.
        keys: their content keys; b"" for what is known to be unreadable.
        preprocess: what they are brought to.
        labels: (n,) classes; None where they are not known.
    """
    kinds = np.zeros(len(keys), dtype=np.int64) if labels is None else labels
    chosen: dict[bytes, int] = {key: place for place, key in enumerate(keys) if key}  # each content once
    turns: dict[int, int] = {}
    ranked = []
    for key in sorted(chosen):
        kind = int(kinds[chosen[key]])
        ranked.append((turns.setdefault(kind, 0), key))
        turns[kind] += 1
    drawn = [key for _, key in sorted(ranked)]

    def read() -> np.ndarray:
        found = [np.empty((0, preprocess.height, preprocess.width, 3), dtype=np.uint8)]
        for start in range(0, len(drawn), CHECKED_PHOTOS):  # further ones only where some cannot be read
            part = [sources[chosen[key]] for key in drawn[start : start + CHECKED_PHOTOS]]
            with closing(load_batches(part, preprocess, batch_size=CHECKED_PHOTOS)) as batches:
                found += [batch.pixels for batch in batches]
            if sum(map(len, found)) >= CHECKED_PHOTOS:
                break
        return np.concatenate(found)[:CHECKED_PHOTOS]

    return CheckPhotos(sha256(b"".join(drawn[:CHECKED_PHOTOS])).hex()[:24], read)


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
    store = FeatureStore(_about(backbone, engine), backbone.features, observer.say) if cache else None
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
    photos = load_batches([sources[places[0]] for _, places in order], engine.preprocess, batch_size=batch_size)
    with (
        progress(observer, f"features ({engine.name})", len(order)) as advance,
        closing(writer),
        closing(photos),  # whatever ends the pass ends the threads that decode, and what the engine has not begun
        closing(run_ahead(engine, photos)) as computed,
    ):
        for batch, vectors in computed:
            for row, reason in batch.unreadable.items():
                result.unreadable.update(dict.fromkeys(order[row][1], reason))
            if len(batch.positions):
                _check_finite(vectors, [sources[order[row][1][0]] for row in batch.positions])
                for row, vector in zip(batch.positions, vectors, strict=True):
                    result.features[order[row][1]] = vector
                writer.add([order[row][0] for row in batch.positions], vectors)
            result.computed += len(batch.positions)
            advance(len(batch.positions) + len(batch.unreadable))


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
