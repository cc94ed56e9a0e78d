"""Features of several views of a photo: run together, kept apart, so that each is computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regraft.engines.engine import Engine
from regraft.features.store import FeatureStore
from regraft.images.decoding import decode_views
from regraft.images.sources import Source
from regraft.images.tta import PARTS, PLAIN


class ViewsEngine(Engine):
    """Runs all views of `parts`: (b, k, h, w, 3) pixels -> (b, parts * d) mean features of each part.

    Args:
        engine: runs the network.
        parts: names in `tta.PARTS`, of k views in all.
        resizer: what resizes, see `images.resizing`.

    Attributes:
        count: k.
    """

    def __init__(self, engine: Engine, parts: Sequence[str], resizer: str) -> None:
        self._engine, self._parts, self._resizer = engine, tuple(parts), resizer
        self.preprocess, self.name, self.ahead = engine.preprocess, engine.name, engine.ahead
        self.count = sum(PARTS[part].count for part in parts)

    def draw(self, _: int, source: Source) -> np.ndarray:
        """Return the pixels (k, h, w, 3) of an image. See `load_batches`."""
        return decode_views(source, self.preprocess, self._parts, resizer=self._resizer)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, parts * d) float32 features of (b, k, h, w, 3) uint8 pixels."""
        return self.start(pixels)()

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on (b, k, h, w, 3) uint8 pixels; return a function that waits for their features (b, parts * d)."""
        wait = self._engine.start(pixels.reshape(-1, *pixels.shape[2:]))

        def features() -> np.ndarray:
            vectors = wait().reshape(len(pixels), self.count, -1)
            ends = np.cumsum([PARTS[part].count for part in self._parts])
            return np.concatenate([one.mean(axis=1) for one in np.split(vectors, ends[:-1], axis=1)], axis=1)

        return features

    def drop(self) -> None:
        """Cancel what was started and has not begun to run."""
        self._engine.drop()


class PartStores:
    """The stores of several parts as one, for what is known to be in none of them.

    Args:
        stores: of each part, (n, d).
        dimension: of all of them together.
    """

    def __init__(self, stores: Sequence[FeatureStore], dimension: int) -> None:
        self._stores, self._dimension = stores, dimension

    def read(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return zeros, and that nothing was found."""
        return np.zeros((len(keys), self._dimension), dtype=np.float32), np.zeros(len(keys), dtype=bool)

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Add (n, parts * d) float32 vectors.

        Raises:
            OutputError: they cannot be written.
        """
        for store, part in zip(self._stores, np.split(vectors, len(self._stores), axis=1), strict=True):
            store.write(keys, part)


def view_fields(part: str) -> dict[str, Any]:
    """Return what tells the features of a part from those of others in the cache; nothing for the photo itself."""
    share = PARTS[part].share
    return {} if part == PLAIN else {"view": part if share is None else f"{part} of {share}"}
