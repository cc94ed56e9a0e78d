"""How much faster training the last two stages on cached activations is than training the whole network.

Both take turns on random photos at batch 32.
"""

import functools
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.chart import Bar, Group, draw
from benchmarks.material import MOBILENET
from benchmarks.processes import Contender
from benchmarks.record import Record, progress, shown
from regraft.features.activations import CachedViews
from regraft.heads.linear import LinearHead
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.cutting import Top, cut_before
from regraft.networks.freezing import plan_training
from regraft.networks.plan import Plan
from regraft.training.checkpoints import nowhere
from regraft.training.distributed import accelerator
from regraft.training.finetuner import Finetuner
from regraft.training.losses import LabelLoss
from regraft.training.schedule import Schedule

BATCH = 32
CACHED, WHOLE = "top, on cached activations", "whole network"
UPDATES = {"top": 12, "whole": 3}


def cut_top(backbone: Backbone, strategy: str) -> tuple[Top, Plan, np.ndarray]:
    """Return what `strategy` trains of a network, the plan of it, and a batch of activations (32, ...) in float16."""
    side = (3, backbone.preprocess.height, backbone.preprocess.width)
    stages = [stage.name for stage in backbone.stages()]
    plan = plan_training(backbone, trained=stages[-2:] if strategy == "top" else stages)
    assert plan.cut is not None
    trunk, top = cut_before(backbone.module, plan.cut, side)
    with torch.no_grad():
        return top, plan, trunk(torch.randn(BATCH, *side)).half().numpy()


def finetuner(backbone: Backbone, strategy: str, batches: int) -> Finetuner:
    """Return a training of `batches` updates whose activations lie in memory, as those of a cached trunk do."""
    top, plan, one = cut_top(backbone, strategy)
    count = BATCH * batches
    nothing = np.array([], dtype=np.int64)
    return Finetuner(
        top,
        LinearHead(np.zeros((2, backbone.features), dtype=np.float32), np.zeros(2, dtype=np.float32), 0.0),
        plan,
        Schedule(batch_size=BATCH, views=1),
        activations=CachedViews(np.concatenate([one] * batches), count=1),
        objective=LabelLoss(np.arange(count) % 2, 2),
        train=np.arange(count),
        validation=nothing,
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


@functools.cache
def untrained(network: str) -> Backbone:
    """Return the network with random weights."""
    torch.manual_seed(0)
    return build_untrained(network)


def timed(network: str, strategy: str) -> float:
    """Return images/s of training by `strategy`."""
    return speed(untrained(network), strategy, UPDATES[strategy])


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (a round takes seconds)
    """Time both strategies in turn."""
    record = Record(
        "cached_trunk", "Training steps, images per second", {"rounds": rounds, "batch": BATCH, "updates": UPDATES}
    )
    found: dict[str, list[float]] = {"top": [], "whole": []}
    with Contender() as contender:
        for number in range(rounds):
            for strategy, values in found.items():
                values.append(contender(timed, MOBILENET, strategy))
                progress(f"cached_trunk: round {number + 1} of {rounds}: {strategy} {shown(values[-1])}/s")
    record.add(MOBILENET, CACHED, "images/s", found["top"])
    record.add(MOBILENET, WHOLE, "images/s", found["whole"])
    record.compare(MOBILENET, CACHED, WHOLE, "images/s")
    record.notes.append("top: the last two stages; what comes before them ran once, its output is read from memory")
    return record


def picture(record: Record, path: Path) -> None:
    """Draw both speeds."""
    bars = [
        Bar(one.by, one.median, one.text(), "ours" if one.by == CACHED else "other", (one.low, one.high))
        for one in record.measurements
    ]
    draw(path, "Fine-tuning on cached activations", [[Group(MOBILENET, bars)]], footnote=record.footnote())
