"""Peak memory of the vectors of many photos, on their way from the network through the cache into a file.

python -m benchmarks.embed_memory 100000 [--features last|late|all] [--ending parquet|npz]

Photos, keys and what the network gives are made up (efficientnet-lite0's widths; no file is read and no pixel run),
so that a minute shows what 100,000 photos take. Blocks, cache and file are regraft's own. Run each number of photos in
a process of its own: what is printed is the most that the process has held, above what it held before.
"""

import argparse
import hashlib
import os
import resource
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from regraft.data.photo_list import PhotoList
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.features import extraction, passes
from regraft.features.embedding import Embedder, OpenPhotos
from regraft.features.vector_files import open_vector_file
from regraft.images.loading import Batch
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.hook_points import DEPTHS, LAST
from regraft.networks.names import OFFLINE

_FIRST = 64  # photos of a first pass: what is allocated once is not counted


class MadeUpEngine(Engine):
    """Gives noise of a network's width."""

    def __init__(self, backbone: Backbone) -> None:
        self.name, self.preprocess = "made-up", backbone.preprocess
        self._width, self._random = backbone.width, np.random.default_rng(0)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, width) noise."""
        return self._random.random((len(pixels), self._width), dtype=np.float32)


def made_up_batches(sources: Sequence[Any], *_: object, batch_size: int = 32, **__: object) -> Generator[Batch]:
    """Yield batches of images of one pixel."""
    for start in range(0, len(sources), batch_size):
        positions = np.arange(start, min(start + batch_size, len(sources)))
        yield Batch(positions, np.zeros((len(positions), 1, 1, 3), dtype=np.uint8), {})


def embed(embedder: Embedder, count: int, file: Path, first: int) -> None:
    """Write the vectors of `count` photos that are made up, and whose keys begin with number `first`."""
    names = [Path(f"{number}.jpg") for number in range(count)]
    keys = tuple(hashlib.sha256(str(first + number).encode()).digest() for number in range(count))
    with open_vector_file(file, PhotoList.unlabelled(names), {"features": embedder.dimension}) as vectors:
        for block in embedder.blocks(OpenPhotos(tuple(names), keys)):
            vectors.add(block.positions, block.vectors)


def peak_megabytes() -> float:
    """Return the most memory that this process has held (Linux counts in units of 1,024 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Print the peaks before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=int)
    parser.add_argument("--features", choices=DEPTHS, default=LAST)
    parser.add_argument("--ending", choices=("parquet", "npz"), default="parquet")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REGRAFT_CACHE"] = folder
        embedder = Embedder(build_untrained(OFFLINE), Compute(engine="torch-float32"), features=given.features)
        engine = MadeUpEngine(embedder.backbone)
        passes.load_batches = made_up_batches  # type: ignore[attr-defined]
        extraction.choose_engine = lambda *_: engine  # type: ignore[attr-defined]
        embed(embedder, _FIRST, Path(folder) / f"first.{given.ending}", given.photos)
        before = psutil.Process().memory_info().rss / 1e6  # now: the highest so far may hold what is free again
        file = Path(folder) / f"features.{given.ending}"
        embed(embedder, given.photos, file, 0)
        after, size = peak_megabytes(), file.stat().st_size / 1e6
    print(
        f"{given.photos:,} photos x {embedder.dimension:,} of {embedder.backbone.width:,} features, {size:,.0f} MB: "
        f"{after - before:.0f} MB more than the {before:.0f} MB before"
    )


if __name__ == "__main__":
    main()
