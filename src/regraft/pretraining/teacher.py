"""A teacher: what a larger network says of the views that a student is trained on, computed once and kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.data.decoding import READING
from regraft.data.preprocess import Preprocess
from regraft.engines.selection import Workload, choose_engine
from regraft.errors import OptionError, shortlist
from regraft.evaluation.calibration import fit_temperature
from regraft.features.activations import Views, ViewSet, cache_views
from regraft.features.extraction import check_photos
from regraft.files import is_file
from regraft.heads.probe import UNCHOSEN_STRENGTH, Labelled, inner_folds
from regraft.heads.search import LEARNED, Head, fit_head, select_heads
from regraft.networks.backbones import Backbone, load_backbone
from regraft.networks.registry import check_model_name, check_side
from regraft.networks.tracing import check_takes
from regraft.networks.weights import without_folders
from regraft.pretraining.source import SourceTask
from regraft.progress import Observer

_FOLDS = 5  # of which one chooses the strength of a teacher's own head
_FAR = 4.0  # standard deviations: a feature farther off counts as this far


@dataclass(frozen=True)
class DistillationSettings:
    """Which teacher, and how it teaches.

    Attributes:
        model: a network as `fit --model` names it, or a file that `fit --out` wrote for the same classes.
        temperature: by which the logits of both sides are divided.
        size: of its images in pixels; None for its own.
    """

    model: str
    temperature: float = 2.0
    size: int | None = None

    def check(self) -> None:
        """Raise `OptionError` for a value outside what is allowed."""
        if not (isinstance(self.temperature, (int, float)) and 0.1 <= self.temperature <= 100):
            raise OptionError(f"--temperature must be a number from 0.1 to 100. Got {self.temperature!r}.")
        check_side(self.size, "--teacher-size")
        if not self.is_file:
            check_model_name(self.model)
        elif not is_file(Path(self.model)):
            raise OptionError(f"--teacher {self.model} does not exist. Name a file that `regraft fit` wrote.")

    @property
    def is_file(self) -> bool:
        """Whether the teacher is a file that `fit --out` wrote."""
        return self.model.endswith(".safetensors")


@dataclass(frozen=True, eq=False)
class TeacherModel:
    """A teacher before it has seen anything: its network, and its own head where it brings one for these classes."""

    name: str
    backbone: Backbone
    classifier: Classifier | None

    @property
    def licence(self) -> str:
        """Return the licence that its weights say they have."""
        return str(self.backbone.recipe.settings.get("license") or "not stated in its configuration")

    def judged_by(self, source: SourceTask) -> SourceTask:
        """Return `source` without the judging photos that the teacher has learned from: it would tell the student.

        Raises:
            OptionError: none is left.
        """
        if self.classifier is None:
            return source
        told = self.classifier.was_seen([source.keys[position] for position in source.judge], "training")
        if told.all():
            raise OptionError(
                f"--teacher {self.name} has learned from every photo that is to judge the student. Lay photos aside in "
                "a validation folder before the teacher learns, or name its network to teach by its features."
            )
        judges = source.judges + (f", nor in that of the teacher ({told.sum():,} left out)" if told.any() else "")
        return replace(source, judge=source.judge[~told], judges=judges)

    def fingerprint(self) -> str:
        """Return a name of network and head."""
        own = "" if self.classifier is None else f" and its head {self.classifier.head.weight.sum():.9g}"
        return f"{self.backbone.fingerprint()[:12]}{own}"


def load_teacher(distillation: DistillationSettings, classes: Sequence[str]) -> TeacherModel:
    """Return the teacher that `distillation` names.

    Raises:
        OptionError: a classifier of other classes.
        ModelError, WeightsError, BundleError: it cannot be loaded.
    """
    name = without_folders(distillation.model)
    if not distillation.is_file:
        return TeacherModel(name, load_backbone(distillation.model), None)
    classifier = load_bundle(Path(distillation.model))
    if set(classifier.classes) != set(classes):
        differing = sorted(set(classifier.classes) ^ set(classes))
        raise OptionError(
            f"--teacher {distillation.model} knows other classes than the photos have. {len(differing):,} are on one "
            f"side only:\n{shortlist(differing)}\nName a network (--teacher resnet50) to teach by its features."
        )
    return TeacherModel(name, classifier.backbone, classifier)


class CachedTeacher:
    """Gives features and logits of views that were cached.

    Attributes:
        features: t, how many features it has.
    """

    def __init__(
        self, views: Views, rows: np.ndarray, head: Head, temperature: float, *, centre: np.ndarray, scale: np.ndarray
    ) -> None:
        """Teach by what lies in `views`.

        Args:
            views: pooled features (t,) of every view of the photos that are learned from.
            rows: (n,) where each photo stands among these.
            head: from features to logits.
            temperature: at which its probabilities are right.
            centre: (t,) means of the features.
            scale: (t,) their standard deviations.
        """
        self.features = len(centre)
        self._views, self._rows = views, rows
        self._weight, self._bias = (
            torch.from_numpy(head.weight / temperature),
            torch.from_numpy(head.bias / temperature),
        )
        self._centre, self._scale = torch.from_numpy(centre), torch.from_numpy(scale)

    def of(self, pairs: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return standardised features (b, t) and logits (b, c) of views, pairs of photo and number."""
        (values,) = self._views.stream([[(int(self._rows[photo]), number) for photo, number in pairs]])
        values = values.float().cpu()
        return ((values - self._centre) / self._scale).clamp(-_FAR, _FAR), values @ self._weight.T + self._bias


def cache_teacher_outputs(
    teacher: TeacherModel,
    view_set: ViewSet,
    data: Labelled,
    learn: np.ndarray,
    *,
    distillation: DistillationSettings,
    student: Preprocess,
    views: int,
    limit: int,
    seed: int,
    engine_name: str,
    device: torch.device,
    observer: Observer,
) -> CachedTeacher:
    """Let the teacher look at `views` views of the photos at `learn`, and give it a head if it has none.

    Args:
        teacher: the teacher.
        view_set: n photos.
        data: their labels, groups and classes; features are not looked at.
        learn: (m,) positions of the photos that are learned from; no others have a say.
        distillation: how it teaches.
        student: what the student's images are brought to: the teacher sees the same part of each photo.
        views: of each photo.
        limit: bytes that the cache may take.
        seed: of the fold that chooses the strength of its head.
        engine_name: what runs it, one of `engines.selection.ENGINES`.
        device: where it runs.
        observer: hears the progress.

    Raises:
        ModelError: the teacher cannot look at images of this size.
        OptionError: the cache may not hold what it says.
    """
    own = teacher.backbone.preprocess
    height, width = (own.height, own.width) if distillation.size is None else (distillation.size, distillation.size)
    preprocess = replace(student, height=height, width=width, mean=own.mean, std=own.std)
    backbone = replace(teacher.backbone, preprocess=preprocess)
    problem = f"--teacher {teacher.name} cannot look at images of {height} x {width} pixels: {{}}. "
    check_takes(backbone.module, height, width, problem + "Leave --teacher-size out, or choose another.")
    _check_room(len(learn) * views * backbone.features, limit)
    taught = view_set.select(learn)
    check = check_photos(taught.sources, taught.keys, preprocess, data.labels[learn])
    task = Workload(backbone, device, len(learn) * views, check, say=observer.say)
    engine = choose_engine(task, engine_name)
    about = {
        "teacher": backbone.fingerprint(),
        "preprocess": preprocess.to_json(),
        "engine": engine.name,
        "views": [views, view_set.augmentation.area, *view_set.augmentation.kinds],
        "seed": view_set.augmentation.seed,
        "reading": READING,
    }
    found = cache_views(taught, engine, about, count=views, limit=limit, observer=observer)
    places = np.arange(len(learn))
    batches = [[(int(place), 0) for place in part] for part in np.array_split(places, -(-len(learn) // 256))]
    features = np.concatenate([part.float().cpu().numpy() for part in found.stream(batches)])
    head, temperature = _head(teacher, features, replace_features(data, learn, features), seed, observer)
    scale = features.std(axis=0) + 1e-4  # a feature that is always the same has nothing to teach
    rows = np.full(len(view_set.keys), -1)
    rows[learn] = places
    return CachedTeacher(found, rows, head, temperature, centre=features.mean(axis=0), scale=scale)


def _check_room(values: int, limit: int) -> None:
    """Raise `OptionError` unless the cache may hold so many `values`: else each would be computed at every epoch."""
    if 2 * values > limit:
        raise OptionError(
            f"what the teacher says would take {2 * values / 1e9:,.1f} GB, more than the cache may hold "
            f"({limit / 1e9:,.1f} GB). Raise --cache-limit, or take fewer --views."
        )


def replace_features(data: Labelled, learn: np.ndarray, features: np.ndarray) -> Labelled:
    """Return the photos at positions `learn` (m,) with these features (m, t)."""
    groups = None if data.groups is None else data.groups[learn]
    return Labelled(features, data.labels[learn], groups, data.classes)


def _head(
    teacher: TeacherModel, features: np.ndarray, data: Labelled, seed: int, observer: Observer
) -> tuple[Head, float]:
    """Return the teacher's head, in the order of the classes, and its temperature."""
    if teacher.classifier is not None:
        order = [teacher.classifier.classes.index(name) for name in data.classes]
        head = teacher.classifier.head
        return Head(head.weight[order], head.bias[order], head.strength), teacher.classifier.temperature
    observer.say("fitting the teacher's last layer")
    folds = inner_folds(data, count=_FOLDS, seed=seed)
    chosen = np.where(folds == 0, 0, LEARNED)
    if len(np.unique(data.labels[chosen == 0])) < 2:  # too few photos to hold out two classes
        return fit_head(features, data.labels, len(data.classes), strength=UNCHOSEN_STRENGTH), 1.0
    (found,) = select_heads(features, data.labels, len(data.classes), folds=[chosen])
    judged = chosen == 0
    right = np.mean(found.logits[judged].argmax(axis=1) == data.labels[judged])
    observer.say(f"teacher: {right:.1%} right on a fifth of the photos that its last layer did not learn from")
    return found.head, fit_temperature(found.logits[judged], data.labels[judged])
