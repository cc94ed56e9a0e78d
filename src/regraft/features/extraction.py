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
from regraft.engines.engine import Engine
from regraft.engines.graphs import foreign_graph
from regraft.engines.kinds import AUTO, ENGINE_KINDS, WORTH_CONVERTING, kind_of
from regraft.engines.selection import LazyEngine, choose_engine
from regraft.engines.workload import CheckPhotos, EngineChoice, SharedChoice, Workload, features_of, machine
from regraft.errors import EngineError, option
from regraft.features.network_pass import NetworkThere, check_photos, network_pass
from regraft.features.passes import PhotoPass, patience_of
from regraft.features.shards import ShardWriter
from regraft.features.store import FeatureStore
from regraft.features.views import PartStores, view_fields
from regraft.images.decoding import READING
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
        earlier: the engine that was chosen when the classifier was made, or the one that binds this process.
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
        self._check: CheckPhotos | None = None  # that it was chosen by
        self._chosen_for = 0  # photos

    def choose(
        self,
        sources: Sequence[Source],
        keys: Sequence[bytes],
        labels: np.ndarray | None = None,
        *,
        photos: int | None = None,
    ) -> Engine:
        """Return the engine that is kept: the first call chooses it, and where none is named the first for many photos.

        Args:
            sources: n images: all that it will run, for the choice depends on them.
            keys: their content keys; b"" for what is known to be unreadable.
            labels: (n,) classes, where they are known: engines are compared on photos of all of them.
            photos: how many there are in all, where these are a share of them.

        Raises:
            OptionError: the engine that was asked for does not exist or cannot run here.
            EngineError: it does not give this network's features.
        """
        count = sum(map(bool, keys)) if photos is None else photos
        with self._choosing:
            if self._engine is None or self._chooses_anew(self._engine, count):
                self._engine, self._chosen_for = self._choose(sources, keys, labels, count), count
            return self._engine

    def _chooses_anew(self, engine: Engine, photos: int) -> bool:
        """Tell whether to choose anew: for many photos after few, or what is named, which no photo could judge."""
        if self.compute.engine == AUTO:
            return self._chosen_for < WORTH_CONVERTING <= photos
        return ENGINE_KINDS[self.compute.engine].engine_name(self.compute.processor) != engine.name

    def _choose(
        self, sources: Sequence[Source], keys: Sequence[bytes], labels: np.ndarray | None, count: int
    ) -> Engine:
        compute, say = self.compute, self._observer.say
        self._check = check_photos(sources, keys, self.backbone.preprocess, labels)
        workload = Workload(
            self.backbone,
            compute.processor,
            count,
            self._check,
            keep=compute.cache,
            say=say,
            earlier=self._earlier,
        )
        with watched("choosing what runs the network", say, patience=_PATIENCE):
            engine = choose_engine(workload, compute.engine)
        if compute.cache and not isinstance(engine, LazyEngine):
            keep_limit(compute.cache_bytes)  # a network may have been converted and put there
        return engine

    @property
    def choice(self) -> SharedChoice:
        """Return the engine that is kept, for all processes that work for this one.

        Raises:
            EngineError: it is not the one that is named: no photo was there to compare that on.
        """
        with self._choosing:
            assert self._engine is not None  # `choose` comes first
            assert self._check is not None
            if isinstance(self._earlier, SharedChoice):
                return self._earlier
            if self.compute.engine != AUTO and self._chooses_anew(self._engine, 0):
                raise EngineError(
                    f"{option('engine', self.compute.engine)} cannot be compared with the reference: none of the first "
                    f"photos can be read. Leave {option('engine')} out, or these photos."
                )
            here = self.compute.processor
            return SharedChoice(kind_of(self._engine.name, here).name, machine(here), self._check)

    def extract(
        self,
        sources: Sequence[Source],
        keys: Sequence[bytes],
        labels: np.ndarray | None = None,
        *,
        photos: int | None = None,
    ) -> Features:
        """Return the features of `sources` (n), from the cache where they are in it. See `extract` and `choose`."""
        return self.extract_parts(sources, keys, labels, photos=photos)[PLAIN]

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
        engine = self.choose(sources, keys, labels)
        features = extract(
            sources,
            keys,
            self.backbone,
            engine,
            parts=parts,
            cache_limit=self.compute.cache_bytes if self.compute.cache else None,
            batch_size=self.compute.batch_size,
            observer=self._observer,
            photos=photos,
            cluster=self.compute,
            choice=None if self.compute.workers is None else self.choice,
        )
        if features.flat and not self.backbone.preprocess.ranges:  # else they were named with their values
            self._observer.say(flat_in_words([sources[place] for place in features.flat]))
        each = np.split(features.values, len(parts), axis=1)
        return {part: replace(features, values=values) for part, values in zip(parts, each, strict=True)}


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
    cluster: Compute | None = None,
    choice: SharedChoice | None = None,
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
        photos: how many there are in all, where these are a share of them; None for n.
        cluster: whose workers run what is not in the cache; None where `engine` does.
        choice: of `engine`, for these workers.

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
        run_photos: PhotoPass = network_pass(
            engine, wanted, width=backbone.width, resizer=resizer, batch_size=batch_size
        )
        if cluster is not None and choice is not None and cluster.workers is not None:
            network = backbone.for_another_process()
            there = NetworkThere(network, cluster.for_workers(), choice, count, tuple(wanted), resizer)
            run_photos = there.pass_by(cluster.workers, observer.say)
        return compute_once(
            [sources[row] for row in rows],
            [keys[row] for row in rows],
            run_photos,
            store,
            dimension=len(wanted) * backbone.width,
            cache_limit=cache_limit,
            observer=observer,
            title=f"features{'' if tuple(wanted) == (PLAIN,) else f' of {parts_in_words(wanted)}'} ({engine.name})",
            engine_name=engine.name,
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
    run_photos: PhotoPass,
    store: FeatureStore | PartStores | None,
    *,
    dimension: int,
    cache_limit: int | None,
    observer: Observer,
    title: str,
    engine_name: str,
) -> Features:
    """Return what `run_photos` makes of `sources`, from `store` where it is in it. See `extract`.

    Args:
        sources: n images.
        keys: their content keys; b"" for images that are passed over.
        run_photos: makes (m, d) vectors of photos.
        store: where the vectors are kept; None keeps none.
        dimension: d.
        cache_limit: bytes that the cache may hold, where there is a store.
        observer: hears the progress.
        title: of the progress.
        engine_name: of the engine that runs the photos.
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
    computed, residency = 0, matrices.Residency(values)
    if missing:
        order = list(missing.values())
        with (
            progress(observer, title, len(order), patience=patience_of(run_photos)) as advance,
            closing(ShardWriter(store, cache_limit or 0, observer)) as writer,
            closing(run_photos([sources[places[0]] for places in order])) as results,
        ):
            for part in results:
                for row, reason in part.unreadable.items():
                    unreadable.update(dict.fromkeys(order[row], reason))
                flat += [place for row in part.flat for place in order[row]]
                for row, vector in zip(part.rows, part.vectors, strict=True):
                    values[order[row]] = vector
                residency.add(part.vectors.nbytes)
                if part.rows:
                    writer.add([keys[order[row][0]] for row in part.rows], part.vectors)
                computed += len(part.rows)
                advance(len(part.rows) + len(part.unreadable))
    matrices.release(values)
    return Features(values, engine_name, unreadable, computed, time.monotonic() - started, tuple(sorted(flat)))


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
