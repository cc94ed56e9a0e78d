"""A teacher: a larger network's outputs for the views that a student is trained on, computed once and kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from regraft.classifier.bundle import read_description
from regraft.classifier.classifier import Classifier, check_one_network
from regraft.classifier.named import load_named
from regraft.data.dataset import Dataset
from regraft.engines.selection import choose_engine
from regraft.engines.workload import Workload
from regraft.errors import OptionError, option, shortlist
from regraft.evaluation.calibration import fit_temperature
from regraft.features.activations import Views, ViewSet, cache_views
from regraft.features.joint import check_same_engines
from regraft.features.network_pass import check_photos
from regraft.files import is_file
from regraft.heads.linear import LinearHead, linear_of
from regraft.heads.probe import UNCHOSEN_STRENGTH
from regraft.heads.search import LEARNED, fit_head, select_heads
from regraft.images.decoding import READING
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone
from regraft.networks.names import own_name, without_folders
from regraft.networks.registry import check_model_name, check_side
from regraft.networks.tracing import check_takes
from regraft.options import number
from regraft.pretraining.source import SourceSplit
from regraft.processes import ALONE, ProcessGroup
from regraft.progress import Observer
from regraft.runtime import Device

_FOLDS = 5  # one of which is held out to choose the strength of a fitted head
_FAR = 4.0  # standard deviations: features are clipped there


@dataclass(frozen=True)
class DistillationSettings:
    """Which teacher, and how the student learns from it.

    Attributes:
        model: name of a network, or a file that `regraft fit` wrote for the same classes.
        temperature: divides the logits of teacher and student.
        size: of the teacher's images in pixels; None for its own.
    """

    model: str
    temperature: float = 2.0
    size: int | None = None

    def check(self) -> None:
        """Raise `OptionError` for a value outside what is allowed, `BundleError` for a file that is no classifier.

        Of a file its description is read, no tensor.
        """
        if not number(self.temperature, 0.1, 100):
            raise OptionError(f"{option('temperature')} must be a number from 0.1 to 100. Got {self.temperature!r}.")
        check_side(self.size, option("DistillationSettings.size"))
        if not self.is_file:
            check_model_name(self.model)
        elif not is_file(Path(self.model)):
            named = option("DistillationSettings.model", self.model)
            raise OptionError(f"{named} does not exist. Name a file that `regraft fit` wrote.")
        else:
            about = read_description(Path(self.model))
            joined = about.get("joined")
            check_one_network("A teacher", 1 + len(joined) if isinstance(joined, list) else 1, about.get("model", ""))

    @property
    def is_file(self) -> bool:
        """Whether the teacher is a file that `regraft fit` wrote."""
        return self.model.endswith(".safetensors")


@dataclass(frozen=True, eq=False)
class TeacherModel:
    """A teacher before it has run.

    Attributes:
        name: as the user named it, without folders.
        backbone: its network.
        classifier: that `regraft fit` made for these classes, None for a network alone.
    """

    name: str
    backbone: Backbone
    classifier: Classifier | None

    @property
    def licence(self) -> str:
        """Return the licence that its weights say they have."""
        return str(self.backbone.recipe.settings.get("license") or "not stated in its configuration")

    def without_seen(self, source: SourceSplit) -> SourceSplit:
        """Return `source` without the validation photos that the teacher was trained on.

        What it says of the training photos could carry them over to the student.

        Raises:
            OptionError: none is left.
        """
        if self.classifier is None:
            return source
        seen = self.classifier.was_seen([source.dataset.keys[position] for position in source.validation], "training")
        if seen.all():
            raise OptionError(
                f"{option('DistillationSettings.model', self.name)} was trained on every photo that the student is to "
                "be validated on. Lay photos aside in a validation folder before the teacher is trained, or name its "
                "network to distil its features."
            )
        note = source.note + (f", nor in that of the teacher ({seen.sum():,} left out)" if seen.any() else "")
        return replace(source, validation=source.validation[~seen], note=note)

    def fingerprint(self) -> str:
        """Return a short hash of the network, and a checksum of the head."""
        own = "" if self.head is None else f" and its head {self.head.weight.sum():.9g}"
        return f"{self.backbone.fingerprint()[:12]}{own}"

    @property
    def head(self) -> LinearHead | None:
        """Return its own head for these classes, if it has one.

        Raises:
            OptionError: it is not linear.
        """
        return None if self.classifier is None else linear_of(self.classifier.head, "a teacher")


def load_teacher(distillation: DistillationSettings, classes: Sequence[str]) -> TeacherModel:
    """Return the teacher that `distillation` names.

    Raises:
        OptionError: a classifier of other classes, or with a head that is not linear.
        ModelError, WeightsError, BundleError: it cannot be loaded.
    """
    name = without_folders(own_name(distillation.model))
    classifier = load_named(distillation.model)
    if isinstance(classifier, Backbone):
        return TeacherModel(name, classifier, None)
    if set(classifier.classes) != set(classes):
        differing = sorted(set(classifier.classes) ^ set(classes))
        named = option("DistillationSettings.model", distillation.model)
        raise OptionError(
            f"{named} was trained on other classes than the photos have. {len(differing):,} are on one side only:\n"
            f"{shortlist(differing)}\nName a network ({option('DistillationSettings.model', 'resnet50')}) to distil "
            "its features."
        )
    linear_of(classifier.head, "a teacher")
    classifier.check_single("A teacher")
    return TeacherModel(name, classifier.backbone.with_depths(classifier.depths), classifier)


class CachedTeacher:
    """Features and logits of a teacher, from cached features of the views.

    Attributes:
        features: t, how many features it has.

    Args:
        views: pooled features (t,) of every view of the training photos.
        rows: (n,) position of each photo among these.
        head: features to logits.
        temperature: that calibrates its logits.
        centre: (t,) means of the features.
        scale: (t,) their standard deviations.
    """

    def __init__(
        self,
        views: Views,
        rows: np.ndarray,
        head: LinearHead,
        temperature: float,
        *,
        centre: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self.features = len(centre)
        self._views, self._rows = views, rows
        self._weight = torch.from_numpy(head.weight / temperature)
        self._bias = torch.from_numpy(head.bias / temperature)
        self._centre, self._scale = torch.from_numpy(centre), torch.from_numpy(scale)

    def of(self, pairs: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return standardised features (b, t) and logits (b, c) of views, given as pairs of photo and view."""
        (values,) = self._views.stream([[(int(self._rows[photo]), view) for photo, view in pairs]])
        values = values.float().cpu()
        return ((values - self._centre) / self._scale).clamp(-_FAR, _FAR), values @ self._weight.T + self._bias


def cache_teacher_outputs(
    teacher: TeacherModel,
    view_set: ViewSet,
    dataset: Dataset,
    train: np.ndarray,
    *,
    distillation: DistillationSettings,
    student: Preprocess,
    views: int,
    limit: int,
    seed: int,
    engine_name: str,
    device: torch.device,
    observer: Observer,
    processes: ProcessGroup = ALONE,
) -> CachedTeacher:
    """Run the teacher on `views` views of the photos at `train`, and fit a head if it has none.

    Args:
        teacher: the teacher.
        view_set: n photos.
        dataset: their labels, groups and classes.
        train: (m,) positions of the training photos; no others are used.
        distillation: how the student learns from it.
        student: preprocessing of the student: the teacher sees the same part of each photo.
        views: of each photo.
        limit: bytes that the cache may hold.
        seed: of the fold that chooses the strength of its head.
        engine_name: what runs it, one of `engines.kinds.engine_names`.
        device: where it runs.
        observer: hears of the progress.
        processes: that learn from it together, and run it on a part of the views each.

    Raises:
        ModelError: the teacher cannot take images of this size.
        OptionError: its outputs do not fit into the cache.
    """
    own = teacher.backbone.preprocess
    height, width = (own.height, own.width) if distillation.size is None else (distillation.size, distillation.size)
    preprocess = replace(student, height=height, width=width, mean=own.mean, std=own.std)
    backbone = replace(teacher.backbone, preprocess=preprocess)
    named, size = option("DistillationSettings.model", teacher.name), option("DistillationSettings.size")
    problem = f"{named} cannot take images of {height} x {width} pixels: {{}}. Leave {size} out, or choose another."
    check_takes(backbone.module, height, width, problem)
    _check_room(len(train) * views * backbone.width, limit)
    selected = view_set.select(train)
    check = check_photos(selected.sources, selected.keys, preprocess, dataset.labels[train])
    workload = Workload(backbone, Device.of(device), len(train) * views, check, say=observer.say)
    with processes.first_process_first():  # the others find in the cache what it has converted and compared
        engine = choose_engine(workload, engine_name)
    check_same_engines([engine.name], processes)
    about = {
        "teacher": backbone.fingerprint(),
        "preprocess": preprocess.to_json(),
        "engine": engine.name,
        "views": [views, view_set.augmentation.area, *view_set.augmentation.kinds],
        "seed": view_set.augmentation.seed,
        "reading": READING,
    }
    cached = cache_views(selected, engine, about, count=views, limit=limit, observer=observer, processes=processes)
    positions = np.arange(len(train))
    batches = [[(int(position), 0) for position in part] for part in np.array_split(positions, -(-len(train) // 256))]
    features = np.concatenate([part.float().cpu().numpy() for part in cached.stream(batches)])
    learned = dataset.select(train)
    head, temperature = processes.first(lambda: _head_of(teacher, features, learned, seed, observer))
    scale = features.std(axis=0) + 1e-4  # a constant feature carries nothing
    rows = np.full(len(view_set.keys), -1)
    rows[train] = positions
    return CachedTeacher(cached, rows, head, temperature, centre=features.mean(axis=0), scale=scale)


def _check_room(values: int, limit: int) -> None:
    """Raise `OptionError` unless that many float16 `values` fit into the cache: else each epoch would compute them."""
    if 2 * values > limit:
        raise OptionError(
            f"the teacher's outputs would take {2 * values / 1e9:,.1f} GB, more than the cache may hold "
            f"({limit / 1e9:,.1f} GB). Raise {option('cache_limit')}, or lower {option('views')}."
        )


def _head_of(
    teacher: TeacherModel, features: np.ndarray, dataset: Dataset, seed: int, observer: Observer
) -> tuple[LinearHead, float]:
    """Return the teacher's head, in the order of the classes, and its temperature."""
    head = teacher.head
    if teacher.classifier is not None and head is not None:
        order = [teacher.classifier.classes.index(name) for name in dataset.classes]
        return LinearHead(head.weight[order], head.bias[order], head.strength), teacher.classifier.temperature
    observer.say("fitting the teacher's last layer")
    folds = dataset.possible_folds(_FOLDS, seed=seed)
    chosen = np.where(folds == 0, 0, LEARNED)
    if len(np.unique(dataset.labels[chosen == 0])) < 2:  # too few photos to hold out two classes
        return fit_head(features, dataset.labels, len(dataset.classes), strength=UNCHOSEN_STRENGTH), 1.0
    (found,) = select_heads(features, dataset.labels, len(dataset.classes), folds=[chosen])
    held_out = chosen == 0
    accuracy = np.mean(found.logits[held_out].argmax(axis=1) == dataset.labels[held_out])
    observer.say(f"teacher: {accuracy:.1%} right on a fifth of the photos, held out from its last layer")
    return found.head, fit_temperature(found.logits[held_out], dataset.labels[held_out])
