"""The pass of one network over photos, as each worker of a cluster makes it for itself."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.engines.selection import choose_engine
from regraft.engines.workload import CHECKED_PHOTOS, CheckPhotos, SharedChoice, Workload
from regraft.features.passes import ClusterPass, EnginePass
from regraft.features.views import ViewsEngine
from regraft.files import sha256
from regraft.images.loading import load_batches
from regraft.images.preprocess import Preprocess
from regraft.images.sources import Source
from regraft.images.tta import PARTS, PLAIN
from regraft.networks.backbone import Backbone
from regraft.ray_workers import RayWorkers


def network_pass(engine: Engine, parts: Sequence[str], *, width: int, resizer: str, batch_size: int) -> EnginePass:
    """Return the pass of a network's engine: (m, parts * width) mean features of the views of each part.

    Args:
        engine: runs the network.
        parts: of the views, names in `tta.PARTS`.
        width: d of the network.
        resizer: what resizes, see `images.resizing`.
        batch_size: views per step.
    """
    dimension = len(parts) * width
    if tuple(parts) == (PLAIN,):
        return EnginePass(engine, dimension, batch_size, resizer=resizer)
    views = ViewsEngine(engine, parts, resizer)
    return EnginePass(views, dimension, photos_of_batch(parts, batch_size), draw=views.draw, resizer=resizer)


def photos_of_batch(parts: Sequence[str], batch_size: int) -> int:
    """Return how many photos are run together, each in the views of all parts: `batch_size` views, or one photo's.

    >>> photos_of_batch((PLAIN,), 32), photos_of_batch(("plain", "corners"), 32), photos_of_batch(("corners",), 3)
    (32, 6, 1)
    """
    return max(batch_size // sum(PARTS[part].count for part in parts), 1)


@dataclass(frozen=True, eq=False)
class NetworkThere:
    """What a worker of a cluster is told, so that it runs a network as the process that gives the work would.

    Attributes:
        backbone: the network.
        compute: device, batch size and cache.
        choice: the engine of all workers.
        photos: how many there are in all.
        parts: of the views, names in `tta.PARTS`.
        resizer: what resizes.
    """

    backbone: Backbone
    compute: Compute
    choice: SharedChoice
    photos: int
    parts: tuple[str, ...]
    resizer: str

    def pass_by(self, workers: RayWorkers, say: Callable[[str], None]) -> ClusterPass:
        """Return the pass that workers do together."""
        size = photos_of_batch(self.parts, self.compute.batch_size)
        return ClusterPass(workers, self, self.compute.processor.type, size, say)

    def __call__(self) -> EnginePass:
        """Return the pass of this worker.

        Raises:
            EngineError: the chosen engine does not give the network's features on this machine, which is of another
                kind.
        """
        workload = Workload(
            self.backbone,
            self.compute.processor,
            self.photos,
            self.choice.check,
            keep=self.compute.cache,
            earlier=self.choice,
        )
        engine = choose_engine(workload)
        return network_pass(
            engine,
            self.parts,
            width=self.backbone.width,
            resizer=self.resizer,
            batch_size=self.compute.batch_size,
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
