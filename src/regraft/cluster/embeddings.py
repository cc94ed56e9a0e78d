"""Vectors of any number of photos: a Parquet file for each shard, its rows keyed by what the photos' files hold."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from regraft.cluster.parts import digest_of, engines_of
from regraft.cluster.predictions import check_ranges_known
from regraft.cluster.shards import Shard
from regraft.engines.compute import Compute
from regraft.engines.workload import SharedChoice
from regraft.features.embedding import Embedder
from regraft.features.vector_files import open_vector_file
from regraft.networks.backbone import Backbone

_COLUMNS = "key path label split features"  # in the digest: parts with others are not mixed with these


class EmbeddingJob:
    """Makes the vectors of a shard. See `parts.ShardJob`.

    Args:
        backbone: the network.
        model: its name, for the file.
        compute: as of the process that gives the work.
        choice: what runs the network on all workers.
        features: of which depths: "last", "late" or "all".
        photos: how many there are in all shards, which decides what resizes them.
    """

    suffix = ".parquet"

    def __init__(
        self,
        backbone: Backbone,
        model: str,
        compute: Compute,
        *,
        choice: SharedChoice,
        features: str,
        photos: int,
    ) -> None:
        self._about = (model, backbone.fingerprint(), backbone.preprocess.to_json(), features, photos, _COLUMNS)
        self._backbone, self._model, self._features = backbone.for_another_process(), model, features
        self._compute, self._choice, self._photos = compute.for_workers(), choice, photos
        self._embedder: Embedder | None = None

    @property
    def engines(self) -> str:
        """Return what runs the network, in words."""
        return engines_of([self._choice])

    def digest(self) -> str:
        """Return what changes when the parts would be others."""
        return digest_of(self._compute, [self._choice], *self._about)

    def run(self, shard: Shard) -> tuple[bytes, int, list[tuple[str, str]], str]:
        """Return the part of a shard. See `parts.ShardJob`.

        Raises:
            DataError: photos of more than 8 bits whose black and white nobody has said: shards would differ.
        """
        if self._embedder is None:
            self._embedder = Embedder(self._backbone, self._compute, earlier=self._choice, features=self._features)
        embedder, photos = self._embedder, shard.photos()
        (opened,) = embedder.open(photos.sources, labels=photos.labels, photos=self._photos)
        known = self._backbone.preprocess.ranges
        check_ranges_known(shard, embedder.backbone.preprocess.ranges, known, self._compute)
        unreadable: dict[int, str] = {}
        written = 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "part.parquet"
            with open_vector_file(path, photos, embedder.about(self._model), keys=_named(opened.keys)) as file:
                for block in embedder.blocks(opened):
                    file.add(block.positions, block.vectors)
                    unreadable |= block.unreadable
                    written += len(block.positions)
            data = path.read_bytes()
        lost = [(str(photos.sources[place]), reason) for place, reason in sorted(unreadable.items())]
        return data, written, lost, embedder.engine


def _named(keys: Sequence[bytes]) -> list[str]:
    return [key.hex() for key in keys]
