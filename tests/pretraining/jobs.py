"""A small pretraining, for the tests of this folder."""

from dataclasses import replace
from pathlib import Path

from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, reinitialised
from regraft.pretraining.pretrain import PretrainingResult, pretrain, pretraining_schedule
from regraft.pretraining.teacher import DistillationSettings
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

CPU = Compute(device="cpu")


def fresh() -> Backbone:
    return reinitialised(build_untrained("test_efficientnet", size=32), 0)


def schedule(*, distilling: bool = False, **more: object) -> Schedule:
    return replace(pretraining_schedule(distilling=distilling), **{"epochs": 2, "batch_size": 8, **more})  # type: ignore[arg-type]


def learn(folder: Path, *, distillation: DistillationSettings | None = None, **more: object) -> PretrainingResult:
    settings = FitSettings(strategy="whole", schedule=schedule(distilling=distillation is not None, **more))
    return pretrain(find_samples(folder), fresh, settings=settings, compute=CPU, distillation=distillation)
