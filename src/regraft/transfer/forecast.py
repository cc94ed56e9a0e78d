"""How long a fit will take: an estimate, from a trial of a few photos on this machine."""

import functools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regraft.engines.compute import Compute
from regraft.engines.speed import Speeds, seconds_of
from regraft.files import sha256
from regraft.images.loading import load_batches
from regraft.images.sources import Source
from regraft.networks.backbone import Backbone
from regraft.networks.plan import Plan
from regraft.training.optimizers import OPTIMIZERS
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate

if TYPE_CHECKING:
    import torch

    from regraft.networks.cutting import Top

_IMAGES, _IMAGES_OF_ACCELERATOR = 4, 32  # in a step of the trial; to few an accelerator gives as long as to many
_DECODED = 32  # photos
_ENOUGH, _RUNS = 0.4, 8  # seconds, and how often at most, that one thing is timed


@dataclass(frozen=True)
class Forecast:
    """Seconds that one candidate takes, once there are features.

    Attributes:
        views: of the activations of all photos' views, once for all trainings.
        folds: of the trainings that evaluate it; 0 where other photos do.
        final: of the training on all photos.
    """

    views: float
    folds: float
    final: float

    @property
    def seconds(self) -> float:
        """Return them all together."""
        return self.trying + self.final

    @property
    def trying(self) -> float:
        """Return how long it takes to find out how good it is."""
        return self.views + self.folds


class Trial:
    """Times a few photos, and a few blank images in a network whose weights do not matter.

    What was timed while nothing else ran is kept in the cache.

    Attributes:
        device: where.
        images: in a step of the trial.
        busy: whether other programs kept the machine busy when it began.

    Args:
        backbone: the network.
        sources: the photos; those that cannot be read take no time.
        settings: how it is trained.
        compute: where.
        photo: seconds of a view from a photo's file to its features, where a pass over them has shown it.
    """

    def __init__(
        self,
        backbone: Backbone,
        sources: Sequence[Source],
        settings: FitSettings,
        compute: Compute,
        *,
        photo: float | None = None,
    ) -> None:
        import torch

        from regraft.training.distributed import accelerator

        self._backbone, self._sources, self._settings, self._compute = backbone, sources, settings, compute
        self._accelerator = accelerator(compute.torch_device, settings.precision)
        self.device, preprocess = compute.torch_device, backbone.preprocess
        most = _IMAGES if self.device.type == "cpu" else _IMAGES_OF_ACCELERATOR
        self.images = min(settings.schedule.batch_size, most)
        self._module = backbone.module.to(self.device)
        self._blank = torch.zeros(self.images, 3, preprocess.height, preprocess.width, device=self.device)
        self._speeds, self._known = Speeds(self.device, keep=compute.cache), photo
        self.busy = self._speeds.busy

    def features(self, photos: int) -> float:
        """Return the seconds of the features of so many photos, which all candidates need."""
        passes = self._settings.passes
        return photos * (self._photo + passes * self._forward if self._known is None else passes * self._known)

    def forecast(self, candidate: Candidate, plan: Plan, *, photos: int, folds: int) -> Forecast:
        """Return the seconds of `candidate`, once there are features.

        Args:
            candidate: what is trained.
            plan: of it.
            photos: that are learned from.
            folds: of the trainings that evaluate it; 0 where other photos do.

        Raises:
            ModelError: the network cannot be cut there.
        """
        if plan.cut is None:
            return Forecast(0.0, 0.0, 0.0)
        schedule, kind = self._settings.schedule, candidate.kind
        view, step = self._view(plan), self._update(plan)
        once = 0.0
        if kind.keeps_views and self._compute.cache_bytes and plan.cut != plan.stages[0]:
            once = photos * schedule.views * view
        else:
            step += view

        def training(count: int) -> float:
            return schedule.epochs_for(count, kind.epochs) * count * step

        evaluated = folds * training(photos - photos // folds) if folds else 0.0
        return Forecast(once, evaluated, training(photos))

    @functools.cached_property
    def _photo(self) -> float:
        """Return seconds of a photo from its file to pixels."""
        return _decoding(self._backbone, self._sources)

    @functools.cached_property
    def _forward(self) -> float:
        """Return seconds of an image through the network."""
        return self._remembered(["forward"], lambda: self._time(lambda: self._run(self._module)))

    def _view(self, plan: Plan) -> float:
        """Return seconds of a photo from its file to the cut."""
        if plan.cut == plan.stages[0]:
            return self._photo
        if self._known is not None:  # by the engine that runs what is frozen, which may be several times as fast
            return self._known
        return self._photo + self._remembered(["forward", plan.cut], lambda: self._time_trunk(plan))

    def _time_trunk(self, plan: Plan) -> float:
        trunk, _ = self._cut(plan)
        return self._time(lambda: self._run(trunk))

    def _update(self, plan: Plan) -> float:
        """Return seconds of an image in an update of what is behind the cut."""
        schedule, learned = self._settings.schedule, plan.names("trained", "low-rank")
        about = [schedule.optimizer, schedule.batch_size, self._accelerator.precision, plan.cut, plan.lora, *learned]
        return self._remembered(["update", *about], lambda: self._time_update(plan))

    def _time_update(self, plan: Plan) -> float:
        import torch

        from regraft.engines.microbatches import MicroBatches
        from regraft.networks.freezing import apply_plan

        schedule = self._settings.schedule
        trunk, top = self._cut(plan)
        self._accelerator.prepare(top)
        apply_plan(top.network, plan)
        learned = [parameter for parameter in top.network.parameters() if parameter.requires_grad]
        activations = self._run(trunk).float()
        idle = torch.zeros(1, requires_grad=True)  # where adapters are trained, which are not added here
        optimizer = OPTIMIZERS[schedule.optimizer].build([{"params": learned or [idle]}], 0.0)
        split = MicroBatches(self.device, "training on", least=2 if plan.names("statistics") else 1)

        def backward(parts: list[slice]) -> None:
            for rows in parts:
                with self._accelerator.autocast():
                    loss = top(activations[rows]).float().square().mean()
                if loss.requires_grad:
                    loss.backward()

        gradient = self._time(lambda: split(self.images, backward))
        return gradient + self._time(optimizer.step) * self.images / schedule.batch_size

    def _cut(self, plan: Plan) -> "tuple[torch.nn.Module, Top]":
        from regraft.networks.cutting import cut_before

        assert plan.cut is not None  # of fine-tuning
        _, *shape = self._blank.shape
        return cut_before(self._module, plan.cut, (shape[0], shape[1], shape[2]))

    def _run(self, module: "torch.nn.Module") -> "torch.Tensor":
        import torch

        with torch.no_grad(), self._accelerator.autocast():
            found: torch.Tensor = module(self._blank)
        return found

    def _time(self, work: Callable[[], object]) -> float:
        """Return seconds of an image in `work`, which is done to all images of the trial."""
        return seconds_of(work, self.device, enough=_ENOUGH, runs=_RUNS) / self.images

    def _remembered(self, about: Sequence[object], measure: Callable[[], float]) -> float:
        """Return the seconds of an image that are known of this network and `about`; if none are, `measure` does."""
        recipe = self._backbone.recipe
        named = [recipe.architecture, sorted(recipe.arguments.items()), *self._blank.shape, *about]
        name = sha256(json.dumps(named, default=str).encode()).hex()[:24]
        return 1 / self._speeds.timed(name, lambda: 1 / measure())


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
