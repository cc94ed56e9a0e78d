"""Features of photos: one pass through the network, streamed, and never twice for the same photo."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from regraft import matrices
from regraft.cache import features_folder, keep_limit
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine, run_ahead
from regraft.engines.graphs import foreign_graph
from regraft.engines.kinds import WORTH_CONVERTING
from regraft.engines.selection import LazyEngine, choose_engine
from regraft.engines.workload import CHECKED_PHOTOS, CheckPhotos, EngineChoice, Workload, features_of
from regraft.errors import WeightsError
from regraft.features.shards import ShardWriter
from regraft.features.store import FeatureStore
from regraft.features.views import PartStores, ViewsEngine, view_fields
from regraft.files import sha256
from regraft.images.decoding import READING
from regraft.images.loading import load_batches
from regraft.images.preprocess import Preprocess
from regraft.images.resizing import PILLOW, TORCHVISION, resizer_for
from regraft.images.sources import Source
from regraft.images.tta import PLAIN, parts_in_words
from regraft.images.value_range import flat_in_words
from regraft.networks.backbone import Backbone
from regraft.progress import Observer, progress
from regraft.runtime import BATCH_SIZE
from regraft.watchdog import watched

_PATIENCE = 600.0  # seconds: large networks are converted for minutes


@dataclass(frozen=True, eq=False)
class Features:
    """The pooled features of n photos.

    Attributes:
        values: (n, d) float32; rows of unreadable photos are zero. Of many photos they lie in a file that is mapped
            into memory (`matrices`).
        engine: the name of what ran the network.
        unreadable: reasons by position.
        computed: how many photos went through the network; the others came from the cache.
        seconds: of the whole extraction.
        flat: positions of photos with next to no contrast, among those that were computed.
    """

    values: np.ndarray
    engine: str = ""
    unreadable: Mapping[int, str] = field(default_factory=dict)
    computed: int = 0
    seconds: float = 0.0
    flat: tuple[int, ...] = ()

    def select(self, positions: np.ndarray) -> "Features":
        """Return the features of readable photos at `positions` (integers or booleans)."""
        return replace(self, values=self.values[positions], unreadable={}, flat=())

    def keep(self, positions: np.ndarray) -> "Features":
        """Return the features of readable photos at ascending `positions`, in the memory of these, which are lost."""
        return replace(self, values=matrices.keep_rows(self.values, positions), unreadable={}, flat=())


class FeatureExtractor:
    """Runs photos through one network. Keeps its engine: built once, and compared with the reference once.

    Args:
        backbone: the network.
        compute: device, engine, batch size and cache.
        observer: hears what was found, and the progress.
        earlier: the engine that was chosen when the classifier was made.
    """

    def __init__(
        self,
        backbone: Backbone,
        compute: Compute,
        observer: Observer | None = None,
        *,
        earlier: EngineChoice | None = None,
    ) -> None:
        self.backbone, self.compute, self._observer = backbone, compute, observer or Observer()
        self._earlier = earlier
        self._choosing = threading.Lock()
        self._engine: Engine | None = None
        self._chosen_for = 0  # photos

    def choose(self, sources: Sequence[Source], keys: Sequence[bytes], labels: np.ndarray | None = None) -> Engine:
        """Return the engine that is kept; the first call, and the first for many photos, choose it.

        Args:
            sources: n images: all that it will run, for the choice depends on them.
            keys: their content keys; b"" for what is known to be unreadable.
            labels: (n,) classes, where they are known: engines are compared on photos of all of them.

        Raises:
            OptionError: the engine that was asked for does not exist or cannot run here.
            EngineError: it does not give this network's features.
        """
        count = sum(map(bool, keys))
        with self._choosing:
            if self._engine is None or self._chosen_for < WORTH_CONVERTING <= count:
                self._engine, self._chosen_for = self._choose(sources, keys, labels, count), count
            return self._engine

    def _choose(
        self, sources: Sequence[Source], keys: Sequence[bytes], labels: np.ndarray | None, count: int
    ) -> Engine:
        compute, say = self.compute, self._observer.say
        workload = Workload(
            self.backbone,
            compute.processor,
            count,
            check_photos(sources, keys, self.backbone.preprocess, labels),
            keep=compute.cache,
            say=say,
            earlier=self._earlier,
        )
        with watched("choosing what runs the network", say, patience=_PATIENCE):
            engine = choose_engine(workload, compute.engine)
        if compute.cache and not isinstance(engine, LazyEngine):
            keep_limit(compute.cache_bytes)  # a network may have been converted and put there
        return engine

    def extract(self, sources: Sequence[Source], keys: Sequence[bytes], labels: np.ndarray | None = None) -> Features:
        """Return the features of `sources` (n), from the cache where they are in it. See `extract` and `choose`."""
        return self.extract_parts(sources, keys, labels)[PLAIN]

    def extract_parts(
        self,
        sources: Sequence[Source],
        keys: Sequence[bytes],
        labels: np.ndarray | None = None,
        *,
        parts: Sequence[str] = (PLAIN,),
        photos: int | None = None,
    ) -> dict[str, Features]:
        """Return the features of views of `sources` (n), by part of `tta.PARTS`: the means of its views.

        `photos` is as of `extract`.
        """
        features = extract(
            sources,
            keys,
            self.backbone,
            self.choose(sources, keys, labels),
            parts=parts,
            cache_limit=self.compute.cache_bytes if self.compute.cache else None,
            batch_size=self.compute.batch_size,
            observer=self._observer,
            photos=photos,
        )
        if features.flat and not self.backbone.preprocess.ranges:  # else they were named with their values
            self._observer.say(flat_in_words([sources[place] for place in features.flat]))
        each = np.split(features.values, len(parts), axis=1)
        return {part: replace(features, values=values) for part, values in zip(parts, each, strict=True)}


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
    parts: Sequence[str] = (PLAIN,),
    cache_limit: int | None = None,
    batch_size: int = BATCH_SIZE,
    observer: Observer | None = None,
    photos: int | None = None,
) -> Features:
    """Return the features of `sources`, from the cache where they are in it.

    What is computed goes into the cache as the pass goes on, so that a run that was killed continues where it
    stopped. Equal photos are computed once.

    Args:
        sources: n images.
        keys: their content keys; b"" for images that are known to be unreadable, which are passed over.
        backbone: names the network in the cache.
        engine: runs it.
        parts: of the views, names in `tta.PARTS`: values are (n, parts * d), the means of the views of each part. A
            photo is decoded once for all that are not in the cache.
        cache_limit: bytes that the cache may hold; None reads and writes no cache.
        batch_size: images per step.
        observer: hears the progress.
        photos: how many there are in all, where these are one process's share; None for n.

    Raises:
        WeightsError: the network gives values that are not finite, or others than its features.
    """
    observer = observer or Observer()
    # what answers without PyTorch resizes without it: an answer does not depend on how many photos are asked for
    count = len(keys) if photos is None else photos
    resizer = resizer_for(count) if backbone.current_graph is None else PILLOW
    stores = [
        None
        if cache_limit is None
        else FeatureStore(_about(backbone, engine, part, resizer), backbone.width, observer.say)
        for part in parts
    ]

    def run(rows: Sequence[int], wanted: Sequence[str], store: FeatureStore | PartStores | None) -> Features:
        views = ViewsEngine(engine, wanted, resizer)
        plain = tuple(wanted) == (PLAIN,)
        return compute_once(
            [sources[row] for row in rows],
            [keys[row] for row in rows],
            engine if plain else views,
            store,
            dimension=len(wanted) * backbone.width,
            cache_limit=cache_limit,
            batch_size=max(batch_size // views.count, 1),
            observer=observer,
            title=f"features{'' if plain else f' of {parts_in_words(wanted)}'} ({engine.name})",
            draw=None if plain else views.draw,
            resizer=resizer,
        )

    if len(parts) == 1:
        return run(range(len(keys)), parts, stores[0])
    return _of_parts(keys, parts, stores, run, width=backbone.width, engine_name=engine.name)


def _of_parts(
    keys: Sequence[bytes],
    parts: Sequence[str],
    stores: Sequence[FeatureStore | None],
    run: Callable[[Sequence[int], Sequence[str], PartStores | None], Features],
    *,
    width: int,
    engine_name: str,
) -> Features:
    """Return (n, parts * width) features: photos that lack the same parts in the cache are run together, for these."""
    started = time.monotonic()
    values = np.zeros((len(keys), len(parts), width), dtype=np.float32)
    lacking = np.repeat(np.array([bool(key) for key in keys], dtype=bool)[:, None], len(parts), axis=1)
    for place, store in enumerate(stores):
        if store is not None:
            values[:, place], found = store.read(keys)
            lacking[:, place] &= ~found
    unreadable: dict[int, str] = {}
    flat: list[int] = []
    computed = 0
    for pattern in np.unique(lacking[lacking.any(axis=1)], axis=0):
        rows, places = np.flatnonzero((lacking == pattern).all(axis=1)), np.flatnonzero(pattern).tolist()
        named = [store for place in places if (store := stores[place]) is not None]
        together = PartStores(named, len(places) * width) if named else None
        own = run(rows.tolist(), [parts[place] for place in places], together)
        values[rows[:, None], places] = own.values.reshape(len(rows), len(places), width)
        unreadable |= {int(rows[row]): reason for row, reason in own.unreadable.items()}
        flat += [int(rows[row]) for row in own.flat]
        computed += own.computed
    seconds = time.monotonic() - started
    return Features(
        values.reshape(len(keys), len(parts) * width), engine_name, unreadable, computed, seconds, tuple(sorted(flat))
    )


def compute_once(
    sources: Sequence[Source],
    keys: Sequence[bytes],
    engine: Engine,
    store: FeatureStore | PartStores | None,
    *,
    dimension: int,
    cache_limit: int | None,
    batch_size: int = BATCH_SIZE,
    observer: Observer,
    title: str,
    draw: Callable[[int, Source], np.ndarray] | None = None,
    resizer: str | None = None,
) -> Features:
    """Return what `engine` makes of `sources`, from `store` where it is in it. See `extract`.

    Args:
        sources: n images.
        keys: their content keys; b"" for images that are passed over.
        engine: (b, h, w, 3) pixels to (b, d) vectors.
        store: where the vectors are kept; None keeps none.
        dimension: d.
        cache_limit: bytes that the cache may hold, where there is a store.
        batch_size: images per step.
        observer: hears the progress.
        title: of the progress.
        draw: as of `load_batches`.
        resizer: likewise.
    """
    started = time.monotonic()
    if store is None:
        values = matrices.zeros(len(keys), dimension, features_folder())
        found = np.zeros(len(keys), dtype=bool)
    else:
        values, found = store.read(keys)
    missing: dict[bytes, list[int]] = {}
    for position, key in enumerate(keys):
        if key and not found[position]:
            missing.setdefault(key, []).append(position)
    unreadable: dict[int, str] = {}
    flat: list[int] = []
    computed = 0
    if missing:
        order = list(missing.values())
        firsts = [sources[places[0]] for places in order]
        batches = load_batches(firsts, engine.preprocess, batch_size=batch_size, draw=draw, resizer=resizer)
        with (
            progress(observer, title, len(order)) as advance,
            closing(ShardWriter(store, cache_limit or 0, observer)) as writer,
            closing(batches),  # whatever ends the pass ends the threads that decode, and what the engine has queued
            closing(run_ahead(engine, batches)) as results,
        ):
            for batch, vectors in results:
                for row, reason in batch.unreadable.items():
                    unreadable.update(dict.fromkeys(order[row], reason))
                flat += [place for row in batch.flat for place in order[row]]
                if len(batch.positions):
                    _check_vectors(vectors, [sources[order[row][0]] for row in batch.positions], dimension)
                    for row, vector in zip(batch.positions, vectors, strict=True):
                        values[order[row]] = vector
                    writer.add([keys[order[row][0]] for row in batch.positions], vectors)
                computed += len(batch.positions)
                advance(len(batch.positions) + len(batch.unreadable))
    matrices.release(values)
    return Features(values, engine.name, unreadable, computed, time.monotonic() - started, tuple(sorted(flat)))


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


def _about(backbone: Backbone, engine: Engine, part: str, resizer: str) -> dict[str, object]:
    return {
        "architecture": backbone.recipe.architecture,
        "weights": backbone.fingerprint(),
        "preprocess": backbone.preprocess.to_json(),
        "cut": features_of(backbone),
        "engine": engine.name,
        "reading": READING,
        **({} if resizer == TORCHVISION else {"resizer": resizer}),
        **({"graph": graph} if (graph := foreign_graph(backbone)) and engine.name.startswith("openvino") else {}),
        **view_fields(part),
    }
