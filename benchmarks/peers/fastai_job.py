"""One frozen epoch with validation by fastai, as its quick start does it; then more until an accuracy is reached.

    python fastai_job.py NETWORK FOLDER OUT [--epochs 5] [--until 0.98] [--augment]

FOLDER holds `train/` and `valid/` of class folders; OUT is the file that the learner is exported to.
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)


def main() -> None:
    """Train and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--until", type=float, default=0.98)
    parser.add_argument("--augment", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    set_seed(0)
    batch = aug_transforms() if options.augment else None
    photos = ImageDataLoaders.from_folder(
        options.folder, train="train", valid="valid", item_tfms=Resize(224), batch_tfms=batch, num_workers=2
    )
    learner = vision_learner(photos, options.network, metrics=accuracy)
    epochs: list[dict[str, float]] = []
    while len(epochs) < options.epochs and not (epochs and epochs[-1]["accuracy"] >= options.until):
        with learner.no_bar():
            learner.fit_one_cycle(1)
        learner.export(options.out)
        now = {"inner": time.perf_counter() - started, "wall": time.time() - float(os.environ["BENCHMARK_STARTED"])}
        epochs.append({"accuracy": float(learner.recorder.values[-1][-1]), **now})
    told = {"epochs": epochs, "batch_size": photos.bs, "versions": {n: version(n) for n in ("fastai", "torch", "timm")}}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
