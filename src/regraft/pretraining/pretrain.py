"""Pretraining: a whole network is trained on a large source, for other tasks to start from.

It is fine-tuning from a cut before the first layer (`training.finetuner`), on photos that are read anew each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regraft.data.dataset import joined_groups
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.engines.pytorch import TorchEngine
from regraft.errors import OptionError, option
from regraft.evaluation.report import Report
from regraft.features.activations import FRESH, ComputedViews, ViewSet
from regraft.features.extraction import Features, extract
from regraft.features.shares import in_shares
from regraft.heads.linear import CalibratedHead, LinearHead
from regraft.images.augment import Augmentation
from regraft.networks.backbone import Backbone
from regraft.networks.cutting import cut_before
from regraft.networks.names import without_folders
from regraft.networks.plan import Plan
from regraft.pretraining.source import SourceSplit, open_source
from regraft.pretraining.teacher import DistillationSettings, TeacherModel, cache_teacher_outputs, load_teacher
from regraft.pretraining.timm_export import halved
from regraft.processes import ProcessGroup
from regraft.progress import Observer
from regraft.training.checkpoints import Run
from regraft.training.distributed import Accelerator, accelerator
from regraft.training.finetuner import Finetuner, TrainingRecord
from regraft.training.loop import run_training
from regraft.training.losses import DistillationLoss, LabelLoss
from regraft.training.schedule import Schedule
from regraft.transfer.experiment import plan_of
from regraft.transfer.process_checks import check_batch_size
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import STRATEGIES, Candidate

_LEARNING_RATE = STRATEGIES["scratch"].learning_rate


@dataclass(frozen=True, eq=False)
class PretrainingResult:
    """A network that was trained on a source.

    Attributes:
        backbone: the network, as its file will be read.
        head: its last layer.
        report: on the validation photos.
        curve: records of the epochs.
        source: the photos.
        teacher: that it was distilled from, if there was one.
        arguments: all that it depends on, in JSON types by the names that the user knows.
        seconds: of training, also before it was resumed.
        images: photos in all, each counted as often as it was seen.
        run: its checkpoints.
        writes: whether this process is the one that writes the result.
    """

    backbone: Backbone
    head: LinearHead
    report: Report
    curve: list[TrainingRecord]
    source: SourceSplit
    teacher: TeacherModel | None
    arguments: dict[str, Any]
    seconds: float
    images: int
    run: Run
    writes: bool


def pretrain(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    *,
    settings: FitSettings,
    compute: Compute,
    distillation: DistillationSettings | None = None,
    half: bool = False,
    observer: Observer | None = None,
    folder: Path | None = None,
) -> PretrainingResult:
    """Train a whole network on `splits["train"]` and evaluate it on validation photos.

    These are `splits["validation"]`, or a tenth of the photos, at most 10,000. They choose nothing: training goes to
    its end, and the mean of the last weights is kept.

    Args:
        splits: samples by split.
        load: returns the network to start from; called after the photos were checked.
        settings: the strategy is not used.
        compute: device, and the engine that runs the teacher.
        distillation: from a teacher; None to train on labels alone.
        half: round the weights to float16 before they are evaluated.
        observer: hears of findings and progress; in several processes only that of the first.
        folder: where checkpoints go.

    Raises:
        DataError: the photos cannot be used.
        OptionError: a setting that is not allowed.
        ResumeError: in `folder` lies a run that was started with other arguments or photos.
        TrainingError: a loss that is not finite, or too little memory.
    """
    compute = compute.together()
    processes = compute.processes
    using = accelerator(compute.torch_device, settings.precision, processes)
    observer = observer if observer is not None and processes.writes else Observer()
    _check(settings, compute, distillation, processes)
    source = open_source(splits, settings.seed, observer, compute)
    with processes.first_process_first():  # it downloads what the others then find
        backbone = load().with_ranges(source.dataset.ranges)
        teacher = None if distillation is None else load_teacher(distillation, source.dataset.classes)
    source = source if teacher is None else teacher.without_seen(source)
    plan = plan_of(Candidate("whole"), backbone, settings.schedule)
    arguments = _arguments(source, backbone, settings.training_arguments(compute), distillation, teacher)
    arguments |= {option("lr"): settings.schedule.learning_rate(_LEARNING_RATE), option("half"): half}
    arguments_of_run = arguments | {"processes": processes.count}
    run = Run(folder, arguments_of_run, restart=settings.restart, observer=observer, processes=processes)
    augmentation = Augmentation(settings.schedule.augment, settings.seed, settings.schedule.crop_area)
    view_set = ViewSet(source.dataset.samples.sources, source.dataset.keys, augmentation)
    setup = _Setup(source, backbone, view_set, settings, compute, observer, using)
    objective = setup.objective(teacher, distillation)
    finetuner = setup.finetuner(plan, objective, run, fresh=teacher is None)
    run_training(finetuner, "pretraining", observer)
    seconds = finetuner.seconds
    state, head = finetuner.finish()
    result = backbone.with_tensors(state, f"trained by regraft on {len(source.train):,} photos")
    if half:
        result, head = _rounded(result, head)
    report = setup.evaluate(result, head)
    return PretrainingResult(
        result, head, report, finetuner.curve, source, teacher, arguments, seconds, finetuner.images, run,
        processes.writes,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Setup:
    """What teacher, training and evaluation share."""

    source: SourceSplit
    backbone: Backbone
    view_set: ViewSet
    settings: FitSettings
    compute: Compute
    observer: Observer
    accelerator: Accelerator

    def objective(self, teacher: TeacherModel | None, distillation: DistillationSettings | None) -> LabelLoss:
        """Return the objective of training."""
        dataset, schedule, settings = self.source.dataset, self.settings.schedule, self.settings
        if teacher is None or distillation is None:
            return LabelLoss(dataset.labels, len(dataset.classes), smoothing=schedule.label_smoothing)
        cached = cache_teacher_outputs(
            teacher,
            self.view_set,
            dataset,
            self.source.train,
            distillation=distillation,
            student=self.backbone.preprocess,
            views=schedule.views,
            limit=self.compute.cache_bytes,
            seed=settings.seed,
            engine_name=self.compute.engine,
            device=self.accelerator.device,
            observer=self.observer,
            processes=self.accelerator.processes,
        )
        return DistillationLoss(
            dataset.labels,
            len(dataset.classes),
            smoothing=schedule.label_smoothing,
            teacher=cached,
            features=self.backbone.features,
            temperature=distillation.temperature,
            seed=settings.seed,
        )

    def finetuner(self, plan: Plan, objective: LabelLoss, run: Run, *, fresh: bool) -> Finetuner:
        """Return the training of the whole network; with `fresh`, of views that never come twice."""
        backbone, schedule, source = self.backbone, self.settings.schedule, self.source
        preprocess = backbone.preprocess
        assert plan.cut is not None
        assert schedule.epochs is not None
        backbone.module.to(self.accelerator.device)
        trunk, top = cut_before(backbone.module, plan.cut, (3, preprocess.height, preprocess.width))
        engine = TorchEngine(backbone, self.accelerator.device, trunk)
        return Finetuner(
            top,
            LinearHead.zeros(len(source.dataset.classes), backbone.features),
            plan,
            schedule,
            activations=ComputedViews(self.view_set, engine, count=FRESH if fresh else schedule.views),
            objective=objective,
            train=source.train,
            validation=source.validation,
            rate=schedule.learning_rate(_LEARNING_RATE),
            epochs=schedule.epochs,
            accelerator=self.accelerator,
            seed=self.settings.seed,
            run=run,
            job="pretraining",
        )

    def evaluate(self, network: Backbone, head: LinearHead) -> Report:
        """Return the report on the validation photos of the network as it will be read."""
        dataset = self.source.dataset.select(self.source.validation)
        engine = TorchEngine(network, self.accelerator.device)
        sources, keys, size = dataset.samples.sources, dataset.keys, self.compute.batch_size

        def extract_some(own: list[int]) -> dict[str, Features]:
            some = [sources[place] for place in own], [keys[place] for place in own]
            found = extract(*some, network, engine, batch_size=size, observer=self.observer, photos=len(keys))
            return {"": found}

        features = in_shares(keys, self.accelerator.processes, extract_some, batch_size=size)[""]
        return Report.from_probabilities(
            CalibratedHead(head, 1.0).probabilities(features.values),
            dataset.labels,
            dataset.classes,
            estimate="validation",
            groups=joined_groups(dataset.samples, dataset.keys),  # copies of training photos make no groups here
            seed=self.settings.seed,
        )


def _rounded(backbone: Backbone, head: LinearHead) -> tuple[Backbone, LinearHead]:
    """Return both as they are read back from float16."""
    state = {name: halved(tensor).to(tensor.dtype) for name, tensor in backbone.module.state_dict().items()}
    weight, bias = (halved(torch.from_numpy(one)).float().numpy() for one in (head.weight, head.bias))
    return backbone.with_tensors(state, backbone.source), LinearHead(weight, bias, head.strength)


def _check(
    settings: FitSettings, compute: Compute, distillation: DistillationSettings | None, processes: ProcessGroup
) -> None:
    schedule = settings.schedule
    settings.check_training(compute)
    compute.check()
    if distillation is not None:
        distillation.check()
        if not compute.cache:
            raise OptionError(
                f"{option('DistillationSettings.model')} needs the cache: the teacher's outputs are computed once for "
                f"each view. Leave {option('cache', False)} out."
            )
    if schedule.patience is not None:
        raise OptionError(
            f"{option('patience')} is not for pretraining: it would choose by the validation photos. Leave it out."
        )
    check_batch_size(schedule, processes)


def _arguments(
    source: SourceSplit,
    backbone: Backbone,
    training: dict[str, Any],
    distillation: DistillationSettings | None,
    teacher: TeacherModel | None,
) -> dict[str, Any]:
    """Return what the weights depend on, by the names that the user knows, in JSON types.

    Args:
        source: the photos.
        backbone: where training starts.
        training: of the settings.
        distillation: from a teacher.
        teacher: the teacher.
    """
    fixed = [option(name) for name in ("strategy", "train_from", "train_only", "lora", "patience")]
    found = {name: value for name, value in training.items() if name not in (*fixed, option("cache", False))}
    if teacher is None or distillation is None:
        del found[option("views")]
    else:
        found |= {
            option("DistillationSettings.model"): f"{teacher.name}, {teacher.fingerprint()}",
            option("temperature"): distillation.temperature,
            option("DistillationSettings.size"): distillation.size,
        }
    return {
        "photos": source.dataset.digest(),
        "photos learned from": len(source.train),
        "network": backbone.recipe.architecture,
        "weights at the start": f"{without_folders(backbone.source)}, {backbone.fingerprint()[:12]}",
        "preprocessing": backbone.preprocess.to_json(),
        "model arguments": backbone.recipe.arguments,
        **found,
    }


def pretraining_schedule(*, distilling: bool) -> Schedule:
    """Return defaults that are right for most sources.

    With a teacher, photos are not mixed or erased: its outputs are those of the views as they are.
    """
    labels = {"label_smoothing": 0.1, "mixup": 0.2, "cutmix": 1.0}
    return Schedule(
        epochs=100,
        weight_decay=0.05,
        batch_size=128,
        warm_up=0.05,
        clip=5.0,
        views=4,
        augment=("flip", "crop", "colour") if distilling else ("flip", "crop", "randaugment", "erase"),
        crop_area=0.35 if distilling else 0.25,
        batch_norm="trained",
        **({} if distilling else labels),  # type: ignore[arg-type]
    )
