"""Vectors of any number of photos, in blocks that memory holds: what `embed` writes and `similar` compares."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.data.audit import inspect_shares
from regraft.engines.compute import Compute
from regraft.engines.workload import EngineChoice, SharedChoice
from regraft.features.depth_choices import columns_from, first_depths
from regraft.features.depths import find_depths
from regraft.features.extraction import FeatureExtractor
from regraft.images.headers import Header
from regraft.images.sources import Source
from regraft.images.value_range import choose_ranges
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import LAST
from regraft.progress import Observer

_BLOCK_BYTES = 1 << 25  # of the features of all depths of a block's photos, which are extracted together
_LEAST = 512  # photos of a block


@dataclass(frozen=True, eq=False)
class OpenPhotos:
    """n photos that were looked at.

    Attributes:
        sources: the photos.
        keys: their content keys; b"" for those that cannot be opened.
        unreadable: reasons by position, for these.
        headers: what the others' headers say, None for these.
        total: how many photos these are of, which decides what resizes them; None for n.
    """

    sources: tuple[Source, ...]
    keys: tuple[bytes, ...]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    headers: tuple[Header | None, ...] = ()
    total: int | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.sources)


@dataclass(frozen=True, eq=False)
class VectorBlock:
    """The vectors of some photos, one after the other in a list.

    Attributes:
        positions: (m,) in the list, of those that can be read.
        vectors: (m, d) float32.
        unreadable: reasons by position in the list, for the others of the block.
        computed: how many went through the network; the others came from the cache.
    """

    positions: np.ndarray
    vectors: np.ndarray
    unreadable: Mapping[int, str]
    computed: int


class Embedder:
    """Makes vectors of photos by one network. Whatever shapes the vectors is decided here.

    Args:
        backbone: the network.
        compute: device, engine, batch size and cache.
        observer: hears findings and progress.
        earlier: the engine that was chosen when the network was trained further, or the one that binds this process.
        features: of which depths: "last", "late" or "all". All are computed, so that these and `fit` share the cache.

    Raises:
        OptionError: a value of `compute` that is not allowed.
    """

    def __init__(
        self,
        backbone: Backbone,
        compute: Compute | None = None,
        observer: Observer | None = None,
        *,
        earlier: EngineChoice | None = None,
        features: str = LAST,
    ) -> None:
        self.compute, self.observer = compute or Compute(), observer or Observer()
        self.compute.check()
        self._backbone, self._earlier = backbone.with_depths(backbone.depths or find_depths(backbone)), earlier
        self._features = features
        self._columns = columns_from([self._backbone], first_depths([self._backbone])[features])
        self.engine = ""  # what runs the network, once it is chosen
        self._pass = _OnePass(self.observer)
        self._extractor = self._new_extractor()

    @property
    def backbone(self) -> Backbone:
        """Return the network, with the values of black and white of the photos that were opened last."""
        return self._backbone

    @property
    def dimension(self) -> int:
        """Return d, the length of a vector."""
        columns = self._columns
        return len(range(self._backbone.width)[columns]) if isinstance(columns, slice) else len(columns)

    def about(self, model: str) -> dict[str, Any]:
        """Return what the vectors are made with, in JSON types, once photos were opened.

        Args:
            model: the network's name.
        """
        return {
            "model": model,
            "weights": self._backbone.fingerprint(),
            "engine": self.engine,
            "depths": self._features,
            "features": self.dimension,
        }

    def open(
        self, *parts: Sequence[Source], labels: Sequence[str | None] = (), photos: int | None = None
    ) -> list[OpenPhotos]:
        """Look at photos, and choose what runs the network on them: by the first part, the largest.

        Args:
            parts: photos whose vectors are to be comparable: black and white are the same values in all.
            labels: of the first part, as far as they are known; engines are compared on photos of all of them.
            photos: how many there are in all, where these are a share of them; None for those of the largest part.
        """
        compute, found = self.compute, []
        total = max(map(len, parts), default=0) if photos is None else photos
        deep = []
        for part in parts:
            seen = inspect_shares(
                tuple(part), workers=compute.workers, max_file_size=compute.max_file_size, say=self.observer.say
            )
            found.append(OpenPhotos(tuple(part), seen.keys, seen.unreadable, seen.headers, total))
            deep += [(part[place], extent) for place, extent in seen.extents.items()]
        ranges = choose_ranges(
            deep, given=compute.value_range, known=self._backbone.preprocess.ranges, say=self.observer.say
        )
        bound = isinstance(self._earlier, SharedChoice)  # then other photos choose no other engine
        if not bound or ranges != self._backbone.preprocess.ranges:
            self._backbone = self._backbone.with_ranges(ranges)
            self._extractor = self._new_extractor()
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        self.engine = self._extractor.choose(
            found[0].sources,
            found[0].keys,
            np.array([numbers[label] for label in labels]) if labels else None,
            photos=photos,
        ).name
        return found

    @property
    def choice(self) -> SharedChoice:
        """Return what was chosen for the photos that were opened, for all processes that work for this one."""
        return self._extractor.choice

    def blocks(self, photos: OpenPhotos) -> Iterator[VectorBlock]:
        """Yield the vectors of photos that `open` gave, in order: from the cache where they are in it.

        What is computed goes into the cache as the pass goes on: one that was stopped continues where it was.
        """
        total = len(photos) if photos.total is None else photos.total
        size = max(_LEAST, _BLOCK_BYTES // (4 * self._backbone.width))
        with self._pass.over(len(photos)):
            for start in range(0, len(photos), size):
                keys = photos.keys[start : start + size]
                found = self._extractor.extract(photos.sources[start : start + size], keys, photos=total)
                self.engine = found.engine
                lost = {place: photos.unreadable[start + place] for place, key in enumerate(keys) if not key}
                lost.update(found.unreadable)
                kept = np.delete(np.arange(len(keys)), sorted(lost))
                yield VectorBlock(
                    kept + start,
                    found.values[:, self._columns] if not lost else found.values[kept][:, self._columns],
                    {start + place: reason for place, reason in sorted(lost.items())},
                    found.computed,
                )

    def all_of(self, photos: OpenPhotos) -> VectorBlock:
        """Return the vectors of photos that `open` gave as one block."""
        found = list(self.blocks(photos))
        nothing = np.empty((0, self.dimension), dtype=np.float32)
        return VectorBlock(
            np.concatenate([np.empty(0, dtype=np.int64), *(block.positions for block in found)]),
            np.concatenate([nothing, *(block.vectors for block in found)]),
            {position: reason for block in found for position, reason in block.unreadable.items()},
            sum(block.computed for block in found),
        )

    def _new_extractor(self) -> FeatureExtractor:
        return FeatureExtractor(self._backbone, self.compute, self._pass, earlier=self._earlier)


class _OnePass(Observer):
    """Shows the passes over blocks of photos as one, which begins with the first photo that is not in the cache."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._total, self._begun = 0, False

    @contextmanager
    def over(self, total: int) -> Iterator[None]:
        """Show what passes in the block as one pass over `total` photos."""
        self._total, self._begun = total, False
        try:
            yield
            if self._begun:
                self._observer.complete()
        finally:
            if self._begun:
                self._observer.end()

    def say(self, text: str) -> None:
        self._observer.say(text)

    def begin(self, task: str, total: int) -> None:
        if not self._begun:
            self._begun = True
            self._observer.begin(task, max(self._total, total))

    def advance(self, count: int) -> None:
        self._observer.advance(count)
