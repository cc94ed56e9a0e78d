"""How long a fit will take: an estimate, from a trial of a few photos on this machine."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from regraft.data.splits import OUTER_FOLDS
from regraft.engines.compute import Compute
from regraft.engines.speed import seconds_of
from regraft.images.loading import load_batches
from regraft.images.sources import Source
from regraft.networks.backbones import Backbone
from regraft.networks.cutting import cut_before
from regraft.networks.freezing import Plan, apply_plan
from regraft.training.distributed import accelerator
from regraft.training.optimizers import OPTIMIZERS
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate

IMAGES = 4  # in a step of the trial
_DECODED = 32  # photos


@dataclass(frozen=True)
class Forecast:
    """Seconds that one candidate takes.

    Attributes:
        features: of all photos, once for all candidates.
        folds: of the trainings that evaluate it; 0 where other photos do.
        final: of the training on all photos.
    """

    features: float
    folds: float
    final: float

    @property
    def seconds(self) -> float:
        """Return them all together."""
        return self.features + self.folds + self.final


class Trial:
    """Times a few photos, and a few blank images in a network whose weights do not matter.

    Args:
        backbone: the network.
        sources: the photos; those that cannot be read take no time.
        settings: how it is trained.
        compute: where.
    """

    def __init__(self, backbone: Backbone, sources: Sequence[Source], settings: FitSettings, compute: Compute) -> None:
        self._backbone, self._settings, self._compute = backbone, settings, compute
        self._accelerator = accelerator(compute.torch_device, settings.precision)
        device, preprocess = compute.torch_device, backbone.preprocess
        self._module = backbone.module.to(device)
        self._images = torch.zeros(IMAGES, 3, preprocess.height, preprocess.width, device=device)
        self._photo = _decoding(backbone, sources)
        self._forward = self._timed(lambda: self._run(self._module)) / IMAGES

    def forecast(self, candidate: Candidate, plan: Plan, *, train: int, validation: int) -> Forecast:
        """Return the seconds of `candidate`.

        Args:
            candidate: what is trained.
            plan: of it.
            train: photos that are learned from.
            validation: photos that evaluate; 0 for cross-validation.
        """
        features = (train + validation) * (self._photo + self._forward)
        if plan.cut is None:
            return Forecast(features, 0.0, 0.0)
        schedule, kind = self._settings.schedule, candidate.kind
        before, step = self._training(plan)
        once = 0.0
        if kind.keeps_views and self._compute.cache_bytes and plan.cut != plan.stages[0]:
            once = train * schedule.views * (self._photo + before)
        else:
            step += self._photo + before

        def training(photos: int) -> float:
            return schedule.epochs_for(photos, kind.epochs) * photos * step

        folds = 0.0 if validation else OUTER_FOLDS * training(train - train // OUTER_FOLDS)
        return Forecast(features, folds, once + training(train))

    def _training(self, plan: Plan) -> tuple[float, float]:
        """Return seconds of an image before the cut, and in an update of what is behind it."""
        shape = tuple(self._images.shape[1:])
        assert plan.cut is not None
        trunk, top = cut_before(self._module, plan.cut, (shape[0], shape[1], shape[2]))
        self._accelerator.prepare(top)
        before = 0.0 if plan.cut == plan.stages[0] else self._timed(lambda: self._run(trunk)) / IMAGES
        apply_plan(top.network, plan)
        learned = [parameter for parameter in top.network.parameters() if parameter.requires_grad]
        activations = self._run(trunk).float()
        learned = learned or [torch.nn.Parameter(torch.zeros(1))]
        optimizer = OPTIMIZERS[self._settings.schedule.optimizer].build([{"params": learned}], 0.0)

        def gradient() -> None:
            with self._accelerator.autocast():
                loss = top(activations).float().square().mean()
            if loss.requires_grad:
                loss.backward()

        return before, self._timed(gradient) / IMAGES + self._timed(optimizer.step) / self._settings.schedule.batch_size

    def _run(self, module: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad(), self._accelerator.autocast():
            found: torch.Tensor = module(self._images)
        return found

    def _timed(self, work: Callable[[], object]) -> float:
        return seconds_of(work, self._images.device)


def _decoding(backbone: Backbone, sources: Sequence[Source]) -> float:
    """Return seconds of a photo from its file to pixels, by some of `sources` all over."""
    chosen = sources[:: max(len(sources) // _DECODED, 1)][:_DECODED]
    started, read = time.perf_counter(), 0
    with closing(load_batches(chosen, backbone.preprocess)) as batches:
        for batch in batches:
            read += len(batch.positions)
    return (time.perf_counter() - started) / read if read else 0.0


def seconds_in_words(seconds: float) -> str:
    """Return "about 40 s", "about 3.3 min", "about 2.5 h": no more digits than an estimate has.

    >>> seconds_in_words(0.3), seconds_in_words(43), seconds_in_words(200), seconds_in_words(9000)
    ('a few seconds', 'about 40 s', 'about 3.3 min', 'about 2.5 h')
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    if seconds < 90 * 60:
        return f"about {float(f'{seconds / 60:.2g}'):g} min"
    return f"about {float(f'{seconds / 3600:.2g}'):,g} h"
