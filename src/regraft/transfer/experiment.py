"""An experiment: a data set and a network, and what has been computed of them, each once."""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regraft.data.class_weights import ClassWeights
from regraft.data.dataset import Dataset
from regraft.data.group_folds import leave_groups_out
from regraft.data.splits import OUTER_FOLDS
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.engines.kinds import AUTO
from regraft.engines.selection import choose_engine
from regraft.engines.workload import EngineChoice, Workload, features_of
from regraft.errors import OptionError, option
from regraft.features.depth_choices import columns_from, distinct, first_depths
from regraft.features.extraction import Features
from regraft.features.joint import check_same_engines
from regraft.features.network_pass import check_photos
from regraft.heads.coordinates import CoordinateCache
from regraft.heads.head_choice import HeadChoice, choose_head
from regraft.heads.probe import CalibratedHeads
from regraft.heads.ray_shards import share_features
from regraft.images.augment import Augmentation
from regraft.images.decoding import READING
from regraft.images.tta import NONE
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import LAST
from regraft.networks.names import parts_of_name
from regraft.networks.plan import Plan, frozen_plan, stages_to_train
from regraft.progress import Observer
from regraft.runtime import Device
from regraft.training.checkpoints import Run, nowhere
from regraft.training.schedule import Schedule
from regraft.transfer.process_checks import training_accelerator
from regraft.transfer.settings import BY_GROUPS, FitSettings
from regraft.transfer.strategies import Candidate

if TYPE_CHECKING:
    from torch import nn

    from regraft.features.activations import Views
    from regraft.networks.cutting import Top
    from regraft.training.distributed import Accelerator

_RANDOM_SEED = 1  # of the random weights: the same for all folds, as the pretrained ones are


@dataclass(eq=False)
class Experiment:
    """n photos and a network, and what has been computed of them.

    Attributes:
        backbone: the pretrained network, with all depths that may be used.
        dataset: the photos that are learned from.
        features: of these.
        validation: photos that take no part in learning and evaluate the classifier; None where each photo is
            evaluated by what was learned without its fold.
        validation_features: of these.
        settings: how to train.
        compute: where to.
        observer: hears the progress.
        engine_choice: what ran the network, None where nothing was found of that.
        joined: further networks, whose features follow those of `backbone`.
        joined_choices: what ran these.
        run: where checkpoints go.
        tta: the views of a photo that features are the means of, a row of `images.tta.TTA`.
        other_views: by such rows, the features of further views that may be taken, and those of the validation photos.
        coordinates: what last layers have in common whatever the labels are; None keeps nothing of that.
    """

    backbone: Backbone
    dataset: Dataset
    features: Features
    validation: Dataset | None
    validation_features: Features | None
    settings: FitSettings
    compute: Compute
    observer: Observer
    engine_choice: EngineChoice | None = None
    joined: tuple[Backbone, ...] = ()
    joined_choices: tuple[EngineChoice | None, ...] = ()
    run: Run = field(default_factory=nowhere)
    tta: str = NONE
    other_views: Mapping[str, tuple[Features, Features | None]] = field(default_factory=dict)
    coordinates: CoordinateCache | None = None
    _cuts: "dict[tuple[str, bool], tuple[Top, Views]]" = field(default_factory=dict)
    _random: Backbone | None = None
    _hashes: dict[bool, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hash the networks before anything is learned: the proof that what is frozen stayed rests on it."""
        self._hashes[False] = {
            f"{prefix}{name}": digest
            for prefix, backbone in self.prefixes.items()
            for name, digest in backbone.tensor_hashes().items()
        }

    @property
    def schedule(self) -> Schedule:
        """Return how the network is trained further."""
        return self.settings.schedule

    @property
    def seed(self) -> int:
        """Return the seed of folds, views and training."""
        return self.settings.seed

    @functools.cached_property
    def accelerator(self) -> "Accelerator":
        """Return device and precision of training.

        Raises:
            OptionError: several processes were started, and do not work together.
        """
        return training_accelerator(self.settings, self.compute)

    @functools.cached_property
    def heads(self) -> CalibratedHeads:
        """Return last layers on the features as they are."""
        return CalibratedHeads(
            self.features.values,
            self.dataset,
            seed=self.seed,
            all_too=self.validation is None,
            choices={name: columns_from(self.backbones, first) for name, first in self.choices.items()},
            class_weights=self.class_weights,
            head=self.head_choice.head,
            cache=self.coordinates,
            processes=self.compute.processes,
            share=lambda features, labels: share_features(self.compute.workers, self.observer, features, labels),
        )

    @functools.cached_property
    def head_choice(self) -> HeadChoice:
        """Return how last layers are fitted on features, and why, where it is not as usual and nobody asked."""
        shown = [columns_from(self.backbones, first) for first in self.choices.values()]
        width = max(self.features.values[:0, columns].shape[1] for columns in shown)
        return choose_head(self.settings.head, len(self.dataset), width, len(self.dataset.classes))

    @property
    def class_weights(self) -> ClassWeights | None:
        """Return how much the photos of each class count in training; None where all count alike."""
        return self.settings.class_weights(self.dataset.classes)

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """Return all networks."""
        return (self.backbone, *self.joined)

    @property
    def prefixes(self) -> dict[str, Backbone]:
        """Return all networks by what stands before the names of their tensors: nothing, "network 2: " and so on."""
        return {f"network {number}: " if number > 1 else "": one for number, one in enumerate(self.backbones, 1)}

    @property
    def choices(self) -> dict[str, tuple[int, ...]]:
        """Return the features that a last layer may see, see `features.depths.first_depths`: one choice if it is named.

        Of networks without depths these are the last layer's alone, whatever is named.
        """
        found, wanted = first_depths(self.backbones), self.settings.features
        if wanted == AUTO:
            return distinct(found)
        return {LAST: found[LAST]} if found[wanted] == found[LAST] else {wanted: found[wanted]}

    def with_views(self, tta: str) -> "Experiment":
        """Return the same with features of other views."""
        features, validation_features = self.other_views[tta]
        return replace(
            self,
            tta=tta,
            features=features,
            validation_features=validation_features,
            other_views={},
            _cuts={},
            _hashes={},
        )

    def folds(self) -> np.ndarray:
        """Return (n,) numbers of the outer folds, see `outer_folds`."""
        return outer_folds(self.dataset, self.settings)

    def say_choices(self) -> None:
        """Say which groups are left out together, where folds are groups, and why the last layer is not as usual."""
        if self.head_choice.reason:
            self.observer.say(self.head_choice.reason)
        if self.settings.folds == BY_GROUPS:
            for note in leave_groups_out(self.dataset).notes:
                self.observer.say(note)

    def network(self, *, random_weights: bool) -> Backbone:
        """Return the pretrained network, or the same with random weights."""
        if not random_weights:
            return self.backbone
        if self._random is None:
            from regraft.networks.backbones import reinitialised

            self._random = reinitialised(self.backbone, _RANDOM_SEED)
        return self._random

    def hashes(self, names: tuple[str, ...], *, random_weights: bool = False) -> dict[str, str]:
        """Return the SHA-256 of the tensors `names` of `network`, as they were before all training."""
        if random_weights not in self._hashes:
            self._hashes[random_weights] = self.network(random_weights=random_weights).tensor_hashes()
        return {name: self._hashes[random_weights][name] for name in names}

    def at_cut(
        self, cut: str, *, random_weights: bool = False, pace: Callable[[float], None] | None = None
    ) -> "tuple[Top, Views]":
        """Return the part of the network behind a cut, to be trained, and the activations of all photos at the cut.

        Args:
            cut: the stage before which the network is cut.
            random_weights: of the network with random weights.
            pace: hears the share that is done of what has to be computed first; what it raises ends that.

        Raises:
            ResumeError: a run that is resumed had activations of the other kind, cached or computed.
        """
        if (cut, random_weights) not in self._cuts:
            network = self.network(random_weights=random_weights)
            top, activations = self._cut(cut, network, pace)
            kind = _kind_at(cut, network)
            engine = f"engine of what is frozen before {cut} ({option('engine')})"  # others differ in the last digits
            self.run.record_fact(["engine", *kind], engine, activations.engine)
            name = f"activations at {cut} ({option('cache', False)}, {option('cache_limit')})"
            self.run.record_fact(kind, name, activations.kind)
            self._cuts[cut, random_weights] = top, activations
        top, activations = self._cuts[cut, random_weights]
        return copy.deepcopy(top), activations  # every training starts from the same weights

    def _cut(self, cut: str, backbone: Backbone, pace: Callable[[float], None] | None) -> "tuple[Top, Views]":
        from regraft.features.activations import NO_DISK, ComputedViews, ViewSet, cache_views
        from regraft.networks.cutting import cut_before

        preprocess, schedule = backbone.preprocess, self.schedule
        backbone.module.to(self.accelerator.device)
        shape = (3, preprocess.height, preprocess.width)
        trunk, top = cut_before(backbone.module, cut, shape, depths=backbone.depths)
        processes = self.accelerator.processes
        with processes.first_process_first():  # the others find in the cache what it has converted and compared
            engine = self._engine(backbone, cut, trunk)
        check_same_engines([engine.name], processes)
        augmentation = Augmentation(schedule.augment, self.seed, schedule.crop_area)
        view_set = ViewSet(self.dataset.samples.sources, self.dataset.keys, augmentation)
        if self.run.fact(_kind_at(cut, backbone)) == NO_DISK:  # as it was: there may be room by now
            return top, ComputedViews(view_set, engine, kind=NO_DISK)
        limit = self.compute.cache_bytes
        if cut == backbone.stages()[0].name or not limit:
            return top, ComputedViews(view_set, engine)
        about = {
            "network": backbone.fingerprint(),
            "cut": cut,
            **({"features": features_of(backbone)} if backbone.depths else {}),
            "preprocess": preprocess.to_json(),
            "engine": engine.name,
            "reading": READING,
            "views": [schedule.views, schedule.crop_area, *schedule.augment],
            "seed": self.seed,
        }
        return top, cache_views(
            view_set,
            engine,
            about,
            count=schedule.views,
            limit=limit,
            observer=self.observer,
            pace=pace,
            processes=processes,
        )

    def _engine(self, backbone: Backbone, cut: str, trunk: "nn.Module") -> Engine:
        """Return what runs the trunk: in float32, for training begins at what it gives."""
        from regraft.engines.pytorch import TorchEngine

        device, sources = self.accelerator.device, self.dataset.samples.sources
        if cut == backbone.stages()[0].name:  # the photos themselves
            return TorchEngine(backbone, device, trunk)
        workload = Workload(
            backbone,
            Device.of(device),
            len(sources) * self.schedule.views,
            check_photos(sources, self.dataset.keys, backbone.preprocess, self.dataset.labels),
            module=trunk,
            cut=f"{features_of(backbone)} and {cut}" if backbone.depths else cut,
            keep=bool(self.compute.cache_bytes),
            say=self.observer.say,
        )
        return choose_engine(workload, self.compute.engine, exact=True)


def class_weights(settings: FitSettings, dataset: Dataset) -> np.ndarray | None:
    """Return the weights (c,) of the classes in training on all of `dataset`; None where all photos count alike."""
    weights = settings.class_weights(dataset.classes)
    return None if weights is None else weights.of(np.bincount(dataset.labels, minlength=len(dataset.classes)))


def outer_folds(dataset: Dataset, settings: FitSettings) -> np.ndarray:
    """Return (n,) numbers of the folds that evaluate: stratified ones, or the groups themselves.

    Raises:
        DataError: some class cannot be both learned from and held out, or groups that cannot be folds.
        OptionError: folds are to be groups, and there are none.
    """
    if settings.folds == BY_GROUPS:
        return leave_groups_out(dataset).folds
    return dataset.folds(OUTER_FOLDS, seed=settings.seed)


def plan_of(candidate: Candidate, backbone: Backbone, schedule: Schedule) -> Plan:
    """Return what training `candidate` by `schedule` does to every tensor of `backbone`.

    Raises:
        OptionError: a stage or adapters that it does not have, or updates of one photo for batch-norm statistics.
    """
    stages, kind = [stage.name for stage in backbone.stages()], candidate.kind
    named = {"train_from": candidate.train_from, "train_only": candidate.train_only}
    trained = stages_to_train(stages, kind.stages(stages), **named)
    if not trained:
        return frozen_plan(backbone, batch_norm=schedule.batch_norm or kind.batch_norm, lora=candidate.lora)
    from regraft.networks.freezing import plan_training

    plan = plan_training(
        backbone,
        trained=trained,
        parameters=kind.parameters,
        lr_decay=schedule.lr_decay,
        batch_norm=schedule.batch_norm or kind.batch_norm,
        lora=candidate.lora,
    )
    if plan.names("statistics") and schedule.batch_size == 1:
        raise OptionError(
            f"{option('Schedule.batch_size')} must be 2 or more where batch-norm statistics are trained "
            f"({option('strategy', 'scratch')}, {option('batch_norm', 'trained')}): one photo has none. Got 1."
        )
    return plan


def open_run(folder: Path | None, experiments: Mapping[str, Experiment]) -> Run:
    """Return the run in `folder` of these experiments, which keep their checkpoints there from now on.

    Its arguments are the settings, the networks and the photos.

    Args:
        folder: where checkpoints lie, None to keep none.
        experiments: by the network's name; of the same settings.

    Raises:
        ResumeError: what lies there was started differently.
    """
    first = next(iter(experiments.values()))
    arguments, processes = first.settings.training_arguments(first.compute), first.compute.processes
    if processes.count > 1:  # the last digits of sums depend on it
        arguments["processes"] = processes.count
    for model, experiment in experiments.items():
        arguments |= {"photos": experiment.dataset.digest()}
        arguments |= {"validation photos": experiment.validation and experiment.validation.digest()}
        arguments |= {f"engine of {model} ({option('engine')})": experiment.features.engine}
        names = parts_of_name(model, len(experiment.backbones))
        for name, backbone in zip(names, experiment.backbones, strict=True):
            arguments |= {option("model", name): backbone.fingerprint()[:12]}
            arguments |= {f"preprocessing of {name}": backbone.preprocess.to_json()}
    run = Run(folder, arguments, restart=first.settings.restart, observer=first.observer, processes=processes)
    for experiment in experiments.values():
        experiment.run = run
    return run


def _kind_at(cut: str, backbone: Backbone) -> list[str]:
    """Return the name, in a run, of the kind of activations at `cut`."""
    return ["kind of activations", cut, backbone.fingerprint()]
