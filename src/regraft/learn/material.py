"""What every strategy learns from: the photos, their features, and their activations at any cut of the network."""

from dataclasses import dataclass, field

import numpy as np
from accelerate import Accelerator

from regraft.data.augment import Augmentation
from regraft.learn.checkpoint import Run
from regraft.learn.finetune import Activations, fresh_top
from regraft.learn.observer import Observer
from regraft.learn.photos import Photos
from regraft.learn.probe import Labelled
from regraft.learn.schedule import Schedule
from regraft.learn.views import ComputedViews, Photographs, cache_views
from regraft.models.backbones import Backbone
from regraft.models.cutting import Top, cut_before
from regraft.models.engines import TorchEngine

_SCRATCH_SEED = 1  # of the random weights: the same for all folds, as the pretrained ones are


@dataclass(eq=False)
class Material:
    """n photos and a network, and what has been computed of them.

    Attributes:
        backbone: the pretrained network, on the device.
        photos: what was read, with its features.
        data: features, labels, groups and class names of these.
        accelerator: device and precision of training.
        schedule: how to train.
        seed: of folds, views and training.
        cache_limit: bytes that activations on disk may take; 0 keeps none.
        run: where checkpoints go.
        observer: hears the progress.
    """

    backbone: Backbone
    photos: Photos
    data: Labelled
    accelerator: Accelerator
    schedule: Schedule
    seed: int
    cache_limit: int
    run: Run
    observer: Observer
    _prepared: dict[tuple[str, bool], tuple[Top, Activations]] = field(default_factory=dict)
    _random: Backbone | None = None

    def network(self, *, scratch: bool) -> Backbone:
        """Return the pretrained network, or the same with random weights."""
        if not scratch:
            return self.backbone
        if self._random is None:
            self._random = self.backbone.at_random(_SCRATCH_SEED)
        return self._random

    def at_cut(self, cut: str, *, scratch: bool = False) -> tuple[Top, Activations]:
        """Return a top of the network to train, and the activations of all photos at its cut."""
        if (cut, scratch) not in self._prepared:
            self._prepared[cut, scratch] = self._prepare(cut, self.network(scratch=scratch))
        top, activations = self._prepared[cut, scratch]
        return fresh_top(top), activations

    def positions(self) -> np.ndarray:
        """Return (n,) positions of all photos."""
        return np.arange(len(self.data.labels))

    def _prepare(self, cut: str, backbone: Backbone) -> tuple[Top, Activations]:
        preprocess, schedule = backbone.preprocess, self.schedule
        backbone.module.to(self.accelerator.device)
        trunk, top = cut_before(backbone.module, cut, (3, preprocess.height, preprocess.width))
        engine = TorchEngine(backbone, self.accelerator.device, trunk)
        augmentation = Augmentation(schedule.augment, self.seed)
        photographs = Photographs(self.photos.samples.sources, self.photos.keys, augmentation)
        if cut == backbone.stages()[0].name or not self.cache_limit:
            return top, ComputedViews(photographs, engine)
        about = {
            "network": backbone.fingerprint(),
            "cut": cut,
            "preprocess": preprocess.to_json(),
            "engine": engine.name,
            "views": [schedule.views, *schedule.augment],
            "seed": self.seed,
        }
        return top, cache_views(
            photographs, engine, about, count=schedule.views, limit=self.cache_limit, observer=self.observer
        )
