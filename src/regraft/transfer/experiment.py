"""What every strategy learns from: the photos, their features, and their activations at any cut of the network."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from regraft.cache import size_limit
from regraft.data.audit import Audit, check_contradictions_between, joined_groups, known_to, without
from regraft.data.augment import Augmentation
from regraft.data.decoding import READING
from regraft.data.samples import Samples
from regraft.data.splits import stratified_folds
from regraft.engines.engine import Engine, TorchEngine
from regraft.engines.selection import AUTO, EngineChoice, Workload, choice_of, choose_engine
from regraft.errors import DataError, OptionError
from regraft.features.activations import NO_DISK, ComputedViews, Views, ViewSet, cache_views
from regraft.features.extraction import check_photos, engine_for
from regraft.features.photos import Photos, audit_samples, prepare
from regraft.heads.probe import OUTER_FOLDS, CalibratedHeads, Labelled
from regraft.networks.backbones import Backbone
from regraft.networks.cutting import Top, cut_before
from regraft.networks.freezing import fingerprints
from regraft.progress import Observer
from regraft.runtime import pick_device
from regraft.training.checkpoints import Run
from regraft.training.distributed import Accelerator, accelerator
from regraft.training.schedule import Schedule
from regraft.transfer.settings import Settings

_SCRATCH_SEED = 1  # of the random weights: the same for all folds, as the pretrained ones are


@dataclass(eq=False)
class Experiment:
    """n photos and a network, and what has been computed of them.

    Attributes:
        backbone: the pretrained network, on the device.
        photos: what was read, with its features.
        data: features, labels, groups and class names of these.
        accelerator: device and precision of training.
        schedule: how to train.
        seed: of folds, views and training.
        engine: what runs the frozen part, see `Settings`.
        out_of_fold: every photo is judged by what was learned without its fold.
        cache_limit: bytes that activations on disk may take; 0 keeps none.
        run: where checkpoints go.
        observer: hears the progress.
        probes: heads on the features as they are.
    """

    backbone: Backbone
    photos: Photos
    data: Labelled
    accelerator: Accelerator
    schedule: Schedule
    seed: int
    engine: str
    out_of_fold: bool
    cache_limit: int
    run: Run
    observer: Observer
    probes: CalibratedHeads = field(init=False)
    _prepared: dict[tuple[str, bool], tuple[Top, Views]] = field(default_factory=dict)
    _random: Backbone | None = None
    _hashes: dict[bool, dict[str, str]] = field(init=False)

    def network(self, *, scratch: bool) -> Backbone:
        """Return the pretrained network, or the same with random weights."""
        if not scratch:
            return self.backbone
        if self._random is None:
            self._random = self.backbone.at_random(_SCRATCH_SEED)
        return self._random

    def __post_init__(self) -> None:
        """Hash the network before anything is learned: the proof that what is frozen stayed rests on it."""
        self._hashes = {False: _hashes(self.backbone)}
        self.probes = CalibratedHeads(self.data, seed=self.seed, all_too=self.out_of_fold)

    def hashes(self, names: Sequence[str], *, scratch: bool = False) -> dict[str, str]:
        """Return the SHA-256 of the tensors `names` of `network`, as they were before all training."""
        if scratch not in self._hashes:
            self._hashes[scratch] = _hashes(self.network(scratch=scratch))
        return {name: self._hashes[scratch][name] for name in names}

    def at_cut(
        self, cut: str, *, scratch: bool = False, pace: Callable[[float], None] | None = None
    ) -> tuple[Top, Views]:
        """Return a top of the network to train, and the activations of all photos at its cut.

        Args:
            cut: the stage before which the network is cut.
            scratch: of the network with random weights.
            pace: hears the share that is done of what has to be computed first; what it raises ends that.

        Raises:
            ResumeError: a run that is taken up had activations of the other kind, cached or computed.
        """
        if (cut, scratch) not in self._prepared:
            network = self.network(scratch=scratch)
            top, activations = self._prepare(cut, network, pace)
            self._settle_engine(cut, network, activations)
            name = f"activations at {cut} (--no-cache, --cache-limit)"
            self.run.record_fact(_kind_at(cut, network), name, activations.kind)
            self._prepared[cut, scratch] = top, activations
        top, activations = self._prepared[cut, scratch]
        return copy.deepcopy(top), activations  # every training starts from the same weights

    def _settle_engine(self, cut: str, network: Backbone, activations: Views) -> None:
        """Refuse to take a run up with activations of another engine: these differ in the last digits."""
        self.run.record_fact(
            ["engine", *_kind_at(cut, network)], f"engine of what is frozen before {cut} (--engine)", activations.engine
        )

    def positions(self) -> np.ndarray:
        """Return (n,) positions of all photos."""
        return np.arange(len(self.data.labels))

    def _prepare(self, cut: str, backbone: Backbone, pace: Callable[[float], None] | None) -> tuple[Top, Views]:
        preprocess, schedule = backbone.preprocess, self.schedule
        backbone.module.to(self.accelerator.device)
        trunk, top = cut_before(backbone.module, cut, (3, preprocess.height, preprocess.width))
        engine = self._engine(backbone, cut, trunk)
        augmentation = Augmentation(schedule.augment, self.seed, schedule.crop_area)
        view_set = ViewSet(self.photos.samples.sources, self.photos.keys, augmentation)
        if self.run.fact(_kind_at(cut, backbone)) == NO_DISK:  # as it was: there may be room by now
            return top, ComputedViews(view_set, engine, kind=NO_DISK)
        if cut == backbone.stages()[0].name or not self.cache_limit:
            return top, ComputedViews(view_set, engine)
        about = {
            "network": backbone.fingerprint(),
            "cut": cut,
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
            limit=self.cache_limit,
            observer=self.observer,
            pace=pace,
        )

    def _engine(self, backbone: Backbone, cut: str, trunk: nn.Module) -> Engine:
        """Return what runs the trunk: in float32, for training begins at what it gives."""
        device, sources = self.accelerator.device, self.photos.samples.sources
        if cut == backbone.stages()[0].name:  # the photos themselves
            return TorchEngine(backbone, device, trunk)
        task = Workload(
            backbone,
            device,
            len(sources) * self.schedule.views,
            check_photos(sources, self.photos.keys, backbone.preprocess, self.data.labels),
            module=trunk,
            cut=cut,
            keep=bool(self.cache_limit),
            say=self.observer.say,
        )
        return choose_engine(task, self.engine, exact=True)

    def folds(self) -> np.ndarray:
        """Return (n,) numbers of the outer folds: each photo is judged by what was learned without its fold."""
        data = self.data
        return stratified_folds(data.labels, data.classes, count=OUTER_FOLDS, seed=self.seed, groups=data.groups)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The photos to learn from, those to judge by if there is such a split, and the network.

    Attributes:
        learned: photos to learn from.
        held_out: those to judge by, None where there are none.
        backbone: the pretrained network.
        engine_choice: what runs it, None where nothing was found of that.
    """

    learned: Photos
    held_out: Photos | None
    backbone: Backbone
    engine_choice: EngineChoice | None = None


def gather(
    splits: Mapping[str, Samples], load: Callable[[], Backbone], settings: Settings, observer: Observer
) -> Gathered:
    """Look at all photos, load the network, and run the photos through it. Mistakes are told before the network runs.

    Args:
        splits: "train", and "validation" if photos are to judge that take no part in learning.
        load: returns the network.
        settings: checked here.
        observer: hears findings and progress.

    Raises:
        DataError: the photos cannot be used.
        OptionError: a setting that is not allowed.
    """
    if "train" not in splits:
        raise DataError(
            f"there is nothing to learn from: no train split, only {', '.join(splits) or 'none at all'}. Name the "
            "folder or file of the training photos."
        )
    samples = splits["train"]
    samples.check_trainable()
    settings.check(samples.classes)
    wanted = [samples]
    if "validation" in splits:
        wanted.append(splits["validation"].aligned(samples.classes))
    audits = [audit_samples(part, settings, observer) for part in wanted]
    check_contradictions_between(wanted, [audit.keys for audit in audits])
    readable = [_readable(part, audit) for part, audit in zip(wanted, audits, strict=True)]
    if len(wanted) == 1:
        _check_folds(*readable[0], settings.seed)
    else:
        _check_judges(*readable)
    backbone = load()
    keys = [key for audit in audits for key in audit.keys]
    sources = [source for part in wanted for source in part.sources]
    labels = np.concatenate([part.labels for part in wanted])
    engine = engine_for(backbone, sources, keys, settings, observer, labels=labels)
    choice = choice_of(engine, pick_device(settings.device), sum(map(bool, keys))) if settings.engine == AUTO else None
    parts = [
        prepare(part, audit, backbone, engine, settings=settings, observer=observer)
        for part, audit in zip(wanted, audits, strict=True)
    ]
    learned = parts[0]
    learned.samples.check_trainable()  # again: what could not be read is gone
    held_out = _unseen(parts[1], learned, observer) if len(parts) > 1 else None
    return Gathered(learned, held_out, backbone, choice)


def material_of(gathered: Gathered, settings: Settings, run: Run, observer: Observer) -> Experiment:
    """Return what strategies learn from."""
    using = accelerator(pick_device(settings.device), settings.precision)
    if using.processes.count > 1:
        raise OptionError(
            f"this runs in one process, on one device. Got {using.processes.count} processes. Start it without "
            "torchrun or accelerate launch; `regraft pretrain` is what trains on several."
        )
    learned = gathered.learned
    data = Labelled(
        features=learned.features,
        labels=learned.samples.labels,
        groups=joined_groups(learned.samples, learned.keys),
        classes=learned.samples.classes,
    )
    return Experiment(
        backbone=gathered.backbone,
        photos=learned,
        data=data,
        accelerator=using,
        schedule=settings.schedule,
        seed=settings.seed,
        engine=settings.engine,
        out_of_fold=gathered.held_out is None,
        cache_limit=size_limit() if settings.cache else 0,
        run=run,
        observer=observer,
    )


def open_run(folder: Path | None, gathered: Mapping[str, Gathered], settings: Settings, observer: Observer) -> Run:
    """Return the run in `folder`, whose arguments are the settings, the networks and the photos.

    Args:
        folder: where checkpoints lie, None to keep none.
        gathered: photos and network, by the network's name.
        settings: how to train.
        observer: hears that work is taken up.

    Raises:
        ResumeError: what lies there was started differently.
    """
    arguments = settings.training_arguments()
    for model, found in gathered.items():
        arguments |= {"photos": digest(found.learned.samples, found.learned.keys)}
        held_out = found.held_out and digest(found.held_out.samples, found.held_out.keys)
        arguments |= {"validation photos": held_out}
        arguments |= {f"engine of {model} (--engine)": found.learned.extraction.engine}
        arguments |= {f"--model {model}": found.backbone.fingerprint()[:12]}
        arguments |= {f"preprocessing of {model}": found.backbone.preprocess.to_json()}
    return Run(folder, arguments, restart=settings.restart, observer=observer)


def digest(samples: Samples, keys: Sequence[bytes]) -> str:
    """Return how many photos and classes there are, and a digest of photos, labels and groups."""
    groups = joined_groups(samples, tuple(keys))
    found = hashlib.sha256(samples.labels.tobytes() + b"".join(keys))
    found.update(b"" if groups is None else groups.astype(np.int64).tobytes())
    return f"{len(keys):,} photos, {len(samples.classes):,} classes, {found.hexdigest()[:12]}"


def _hashes(backbone: Backbone) -> dict[str, str]:
    module = backbone.module
    return fingerprints(module, [name for name, _ in [*module.named_parameters(), *module.named_buffers()]])


def _kind_at(cut: str, backbone: Backbone) -> list[str]:
    """Return the name, in a run, of the kind of activations at `cut`."""
    return ["kind of activations", cut, backbone.fingerprint()]


Known = tuple[Samples, tuple[bytes, ...]]  # photos and their content keys


def _readable(samples: Samples, audit: Audit) -> Known:
    return without(samples, audit.unreadable)[0], tuple(key for key in audit.keys if key)


def _check_folds(samples: Samples, keys: tuple[bytes, ...], seed: int) -> None:
    samples.check_trainable()
    groups = joined_groups(samples, keys)
    stratified_folds(samples.labels, samples.classes, count=OUTER_FOLDS, seed=seed, groups=groups)


def _check_judges(learned: Known, part: Known) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `part`, (n,) masks, are learned from and which are of groups that are; the others must judge."""
    copies, related = known_to(learned, part)
    samples = part[0]
    instead = "the validation folder: the figures are then out-of-fold."
    if (copies | related).all():
        group = " or of a group that training has too" if related.any() else ""
        raise DataError(
            f"{samples.where}: every validation photo is also a training photo{group}, so they cannot judge. "
            f"Remove {'what training has' if group else 'the copies'}, or {instead}"
        )
    counts = samples.select(~(copies | related)).counts()
    absent = [name for name, count in counts.items() if not count]
    if len(absent) == len(counts) - 1:
        besides = " besides those that training has" if (copies | related).any() else ""
        raise DataError(
            f"{samples.where} has photos of one class only{besides}; there are none of: {', '.join(absent[:20])}. A "
            f"classifier cannot be judged by one class. Add photos of the others, or remove {instead}"
        )
    return copies, related


def _unseen(part: Photos, learned: Photos, observer: Observer) -> Photos:
    copies, related = _check_judges((learned.samples, learned.keys), (part.samples, part.keys))
    fresh = part.keep(~copies, "are also training photos", observer)
    return fresh.keep(~related[~copies], "are of groups that training has too", observer)
