"""How much faster training the last two stages on cached activations is than training the whole network.

    python benchmarks/cached_trunk.py [--network mobilenetv2_100] [--rounds 5]

Both are timed in turn in one run, on random photos at batch 32; printed are the medians and the spread of images/s.
"""

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version

import numpy as np
import torch

from regraft.learn.checkpoint import nowhere
from regraft.learn.finetune import Finetuner, Lesson, accelerator
from regraft.learn.schedule import Schedule
from regraft.learn.views import CachedViews
from regraft.models.backbones import Backbone, build_untrained
from regraft.models.cutting import cut_before
from regraft.models.freezing import plan_training
from regraft.models.heads import Head
from regraft.runtime import cpu_count

BATCH = 32


def finetuner(backbone: Backbone, strategy: str, batches: int) -> Finetuner:
    """Return a training of `batches` updates whose activations lie in memory, as those of a cached trunk do."""
    side = (3, backbone.preprocess.height, backbone.preprocess.width)
    plan = plan_training(backbone, strategy=strategy)
    assert plan.cut is not None
    trunk, top = cut_before(backbone.module, plan.cut, side)
    count = BATCH * batches
    with torch.no_grad():
        one = trunk(torch.randn(BATCH, *side)).half().numpy()
    activations = CachedViews(np.concatenate([one] * batches), count=1)
    nothing = np.array([], dtype=np.int64)
    return Finetuner(
        top,
        Head(np.zeros((2, backbone.features), dtype=np.float32), np.zeros(2, dtype=np.float32), 0.0),
        plan,
        Schedule(batch_size=BATCH, views=1),
        Lesson(activations, np.arange(count) % 2, np.arange(count), nothing),
        rate=1e-4,
        epochs=1,
        accelerator=accelerator(torch.device("cpu")),
        seed=0,
        run=nowhere(),
        job="benchmark",
    )


def speed(backbone: Backbone, strategy: str, batches: int) -> float:
    """Return images/s of `batches` updates, the first one left out."""
    images, started = 0, 0.0
    for record in finetuner(backbone, strategy, batches).train():
        if record.step == 1 and record.photos:
            started = time.perf_counter()
        elif record.photos:
            images += record.photos
            ended = time.perf_counter()
    return images / (ended - started)


def main() -> None:
    """Time both strategies in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="mobilenetv2_100")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    backbone = build_untrained(options.network)
    found: dict[str, list[float]] = {"top": [], "whole": []}
    for _ in range(options.rounds):
        found["top"].append(speed(backbone, "top", 12))
        found["whole"].append(speed(backbone, "whole", 3))
    medians = {name: statistics.median(values) for name, values in found.items()}
    told = {
        "network": options.network,
        "images_per_second": {name: round(value, 1) for name, value in medians.items()},
        "spread": {name: [round(min(values), 1), round(max(values), 1)] for name, values in found.items()},
        "ratio": round(medians["top"] / medians["whole"], 2),
        "processors": cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "torch": version("torch"),
    }
    print(json.dumps(told, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
