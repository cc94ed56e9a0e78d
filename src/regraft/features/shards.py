"""What is computed goes into the cache while the pass goes on: a run that was killed loses little of it."""

import time

import numpy as np

from regraft.cache import keep_limit
from regraft.errors import OutputError
from regraft.features.store import FeatureStore
from regraft.features.views import PartStores
from regraft.progress import Observer

_IMAGES_PER_SHARD = 512
_SECONDS_PER_SHARD = 15.0  # what a killed run loses at most


class ShardWriter:
    """Collects vectors and writes a shard now and then; without a store, or on a full disk, it writes nothing.

    The cache is held to `limit` bytes after each shard: a run that is stopped leaves no more behind than one that ends.
    """

    def __init__(self, store: FeatureStore | PartStores | None, limit: int, observer: Observer) -> None:
        self._store = store
        self._limit = limit
        self._observer = observer
        self._keys: list[bytes] = []
        self._vectors: list[np.ndarray] = []
        self._last = time.monotonic()

    def add(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """Take the vectors (b, d) of b content keys."""
        self._keys += keys
        self._vectors.append(vectors)
        if len(self._keys) >= _IMAGES_PER_SHARD or time.monotonic() - self._last > _SECONDS_PER_SHARD:
            self.flush()

    def close(self) -> None:
        """Write the rest: Ctrl-C too keeps what was computed."""
        self.flush()

    def flush(self) -> None:
        """Write what was collected."""
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
