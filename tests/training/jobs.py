"""A small training, for the tests of this folder."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from regraft.heads.linear import LinearHead
from regraft.networks.backbone import Backbone
from regraft.networks.cutting import Top, Trunk, cut_before
from regraft.networks.freezing import plan_training
from regraft.networks.plan import Plan
from regraft.training.checkpoints import Run, nowhere
from regraft.training.distributed import Accelerator, accelerator
from regraft.training.finetuner import Finetuner
from regraft.training.losses import LabelLoss
from regraft.training.schedule import Schedule

CPU = accelerator(torch.device("cpu"), "fp32")
PLAIN = Schedule(batch_size=4, averaging=0, clip=0, warm_up=0.4, views=1, weight_decay=0.1, mixup=0)


class Remembered:
    """Activations of given images, and which were asked for."""

    count = 1

    def __init__(self, trunk: Trunk, images: torch.Tensor) -> None:
        with torch.no_grad():
            self.values = trunk(images)
        self.asked: list[list[int]] = []

    def stream(self, batches: Sequence[Sequence[tuple[int, int]]]) -> Iterator[torch.Tensor]:
        for batch in batches:
            self.asked.append([photo for photo, _ in batch])
            yield self.values[self.asked[-1]].clone()


LABELS = np.arange(20) % 3


def a_head(features: int) -> LinearHead:
    weight = np.random.default_rng(2).normal(0, 0.05, (3, features)).astype(np.float32)
    return LinearHead(weight, np.zeros(3, dtype=np.float32), 0.0)


def stages_of(backbone: Backbone) -> list[str]:
    return [stage.name for stage in backbone.stages()]


def top_stages(backbone: Backbone) -> list[str]:
    return stages_of(backbone)[-2:]


def top_plan(backbone: Backbone, **options: Any) -> Plan:
    """Return the plan that trains the last two stages."""
    return plan_training(backbone, trained=top_stages(backbone), **options)


def finetuner(
    network: Backbone,
    images: torch.Tensor,
    plan: Plan,
    schedule: Schedule,
    *,
    epochs: int = 1,
    rate: float = 0.05,
    tune: Sequence[int] = (),
    run: Run | None = None,
    labels: np.ndarray = LABELS,
    using: Accelerator = CPU,
) -> tuple[Finetuner, Top, Remembered]:
    assert plan.cut is not None
    trunk, top = cut_before(network.module, plan.cut, (3, 32, 32))
    activations = Remembered(trunk, images)
    learn = np.array([i for i in range(len(images)) if i not in tune])
    made = Finetuner(
        top,
        a_head(network.features),
        plan,
        schedule,
        activations=activations,
        objective=LabelLoss(labels, 3, smoothing=schedule.label_smoothing),
        train=learn,
        validation=np.array(tune, dtype=np.int64),
        rate=rate,
        epochs=epochs,
        accelerator=using,
        seed=0,
        run=run or nowhere(),
        job="test",
    )
    return made, top, activations
