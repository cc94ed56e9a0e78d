"""What makes features of photos that do not exist, in blocks, as `features.embedding.Embedder` does."""

from collections.abc import Collection, Iterator

import numpy as np

from regraft.features.embedding import OpenPhotos, VectorBlock
from regraft.photo_audit.held_out import PhotoFeatures
from regraft.photo_audit.photos import AuditPhotos


class MadeEmbedder:
    """Gives row k of `vectors` for the photo k.jpg.

    Args:
        vectors: (n, d).
        damaged: photos that turn out to be unreadable when they are decoded.
        block: photos of a block.
    """

    def __init__(self, vectors: np.ndarray, *, damaged: Collection[int] = (), block: int = 16) -> None:
        self._vectors, self._damaged, self._block = vectors.astype(np.float32), set(damaged), block
        self.passes, self.dimension = 0, vectors.shape[1]

    def blocks(self, photos: OpenPhotos) -> Iterator[VectorBlock]:
        self.passes += 1
        for start in range(0, len(photos), self._block):
            places = range(start, min(start + self._block, len(photos)))
            numbers = {place: int(photos.sources[place].stem) for place in places}  # type: ignore[union-attr]
            lost = {p: "unreadable" for p, k in numbers.items() if k in self._damaged or not photos.keys[p]}
            kept = [place for place in places if place not in lost]
            yield VectorBlock(np.array(kept, dtype=int), self._vectors[[numbers[p] for p in kept]], lost, 0)

    def all_of(self, photos: OpenPhotos) -> VectorBlock:
        found = list(self.blocks(photos))
        return VectorBlock(
            np.concatenate([np.empty(0, dtype=int), *(one.positions for one in found)]),
            np.concatenate([np.empty((0, self._vectors.shape[1]), "f4"), *(one.vectors for one in found)]),
            {place: reason for one in found for place, reason in one.unreadable.items()},
            0,
        )


def features_of(photos: AuditPhotos, embedder: MadeEmbedder) -> PhotoFeatures:
    opened = OpenPhotos(photos.sources, photos.keys, photos.unreadable, photos.headers)
    return PhotoFeatures(embedder, opened, photos.labels)  # type: ignore[arg-type]
