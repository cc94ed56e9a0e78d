"""How far a network carries: what a new last layer makes of each stage, and how far training moved each stage."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
import torch

from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS
from regraft.errors import option
from regraft.evaluation.intervals import Interval, Mean
from regraft.evaluation.paired_tests import SIGNIFICANCE, holm, right_answers_test
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.explain.words import points_in_words, value_in_words
from regraft.networks.backbone import Backbone
from regraft.progress import Observer, progress
from regraft.transfer.budget import Clock
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.trainers import LinearProbe

SIZES = (5, 10, 20, 50, 100, 200, 500, 1000)  # photos of each class, on the learning curve
_PATIENCE = 1800.0  # seconds: the heads of one stage of many photos take minutes
_FEW_MISTAKES = 9  # with fewer, no later stage could be proven better: 8 won and none lost have p > 0.05


@dataclass(frozen=True, eq=False)
class DepthPoint:
    """What a new last layer makes of one stage's pooled activations.

    Attributes:
        stage: the stage's name.
        right: (n,) booleans: which photos were answered rightly by a layer that learned without their fold.
        accuracy: share of these.
        interval: 95 %, None where nothing is known of it (one group).
    """

    stage: str
    right: np.ndarray
    accuracy: float
    interval: Interval | None


def answered_rightly(
    features: np.ndarray, dataset: Dataset, sizes: Sequence[int | None], *, seed: int, advance: Callable[[int], None]
) -> list[np.ndarray]:
    """Return, for each size, (n,) booleans: which photos a last layer answers rightly that learned without their fold.

    Args:
        features: (n, d).
        dataset: n photos.
        sizes: photos of each class that are learned from; None for all.
        seed: of folds and of the choice of photos; a larger size holds every smaller one's.
        advance: hears how many photos were answered since its last call.
    """
    probe, folds = LinearProbe(features, dataset, seed=seed), dataset.folds(OUTER_FOLDS, seed=seed)
    found = []
    for size in sizes:
        outcome = cross_validate(probe, dataset, folds, clock=Clock(float("inf")), size=size, seed=seed)
        found.append(np.asarray(outcome.probabilities.argmax(axis=1) == dataset.labels))
        advance(len(dataset))
    return found


def accuracy_by_depth(
    stages: Mapping[str, np.ndarray], dataset: Dataset, *, seed: int, task: str, observer: Observer | None = None
) -> list[DepthPoint]:
    """Evaluate a linear probe on every stage by the same folds (Zeiler & Fergus 2013, table 7; Yosinski et al. 2014).

    Args:
        stages: each stage's pooled activations (n, units), from pixels on.
        dataset: n photos.
        seed: of the folds.
        task: what the progress is called.
        observer: hears the progress.
    """
    observer = observer or Observer()
    points = []
    with progress(observer, task, len(stages) * len(dataset), patience=_PATIENCE) as advance:
        for stage, features in stages.items():
            (right,) = answered_rightly(features, dataset, [None], seed=seed, advance=advance)
            points.append(DepthPoint(stage, right, float(right.mean()), _interval(right, dataset)))
    return points


@dataclass(frozen=True)
class LearningCurve:
    """How accurate a last layer is that learned from so many photos of each class.

    Attributes:
        points: photos of each class, accuracy, and its 95 % interval; the last of all that a fold leaves.
        gain: accuracy at the last point less that at the one before, photo by photo; None of a single point.
        rises: whether the last step is proven to gain, see `right_answers_test`.
    """

    points: list[tuple[int, float, Interval | None]]
    gain: Mean | None = None
    rises: bool = False


def accuracy_by_size(
    features: np.ndarray, dataset: Dataset, *, seed: int, observer: Observer | None = None
) -> LearningCurve:
    """Return how accurate a last layer is that learned from so many photos of each class.

    Every size is evaluated on all photos; the last size is all that a fold leaves of the largest class.

    Args:
        features: (n, d).
        dataset: n photos.
        seed: of the folds and of the choice of photos.
        observer: hears the progress.
    """
    observer = observer or Observer()
    folds = dataset.folds(OUTER_FOLDS, seed=seed)
    learnable = round(int(np.bincount(dataset.labels).max()) * (1 - 1 / len(np.unique(folds))))
    sizes = [*(size for size in SIZES if size < 0.75 * learnable), None]
    total = len(sizes) * len(dataset)
    with progress(observer, "learning curve of the last layer", total, patience=_PATIENCE) as advance:
        rights = answered_rightly(features, dataset, sizes, seed=seed, advance=advance)
    points = [
        (learnable if size is None else size, float(right.mean()), _interval(right, dataset))
        for size, right in zip(sizes, rights, strict=True)
    ]
    if len(points) < 2:
        return LearningCurve(points)
    before, last = rights[-2:]
    gain, p_value = right_answers_test(last, before, dataset.groups, folds, seed=seed)
    return LearningCurve(points, gain, _proven(gain, p_value))


def _interval(right: np.ndarray, dataset: Dataset) -> Interval | None:
    return interval_of(proportion_of(right, dataset.groups))


@dataclass(frozen=True)
class DepthAdvice:
    """Up to where depth helps.

    Attributes:
        stage: the first stage that no later one is proven better than.
        falls: whether the last stage is proven worse than that one.
        advice: one sentence on what that means for what to train.
    """

    stage: str
    falls: bool
    advice: str


def advise_by_depth(
    points: Sequence[DepthPoint],
    groups: np.ndarray | None,
    folds: np.ndarray | None = None,
    *,
    random: Sequence[DepthPoint] = (),
    auto: str = "",
    trained: Collection[str] = (),
    majority: float = 0.0,
) -> DepthAdvice:
    """Return up to which stage depth is proven to help.

    Two stages are compared photo by photo, see `right_answers_test`. The p-values of all pairs are corrected (Holm
    1979): where no stage differs, the chance that any is called better is at most 5 %.

    Args:
        points: of `accuracy_by_depth`, from pixels on.
        groups: (n,) what is not independent, or None.
        folds: (n,) numbers of what was answered by the same last layer; None where one answered all.
        random: the same of random weights: pretraining helps where its best stage is proven better than their best.
        auto: what "auto" found when it tried to train more, in sentences: they stand instead of the advice to try.
        trained: the stages that it tried to train.
        majority: the share of the largest class: where no stage does better, accuracies tell nothing of stages.
    """
    comparison = _Comparison.of(points, groups, folds)
    chance = max(random, key=lambda point: point.accuracy, default=None)
    most = max(points, key=lambda point: point.accuracy)
    if most.interval is not None and most.interval[0] <= majority:
        advice = (
            f"How far pretraining carries cannot be told by how many photos come out right: {_shown(most)}, and "
            f"{100 * majority:.1f} % if the largest class is always answered."
        )
    elif chance is not None and not _proven(*right_answers_test(most.right, chance.right, groups, folds)):
        advice = (
            f"Pretraining is not proven to help with these photos: {_shown(most)}, and with random weights "
            f"{_shown(chance)}. More photos may prove it; if not, look whether labels belong to their photos, or take "
            "a network that was pretrained on photos more like these."
        )
    elif comparison.falls:
        advice = _where_it_falls(comparison, auto, trained)
    elif comparison.best is comparison.last:
        advice = (
            f"Depth helps up to the last stage ({_shown(comparison.last)}): no earlier stage is as good, and "
            "nothing suggests that these photos differ from those that the network was pretrained on. A new last layer "
            "is the right start."
        )
    else:
        advice = _where_it_rests(comparison, auto)
    return DepthAdvice(comparison.best.stage, comparison.falls, advice)


@dataclass(frozen=True)
class _Comparison:
    """The first stage that no later one is proven better than, beside the last one.

    Attributes:
        best: that stage.
        following: the name of the stage behind it; "" behind the last one.
        last: the last stage.
        fall: its accuracy less that of `best`.
        falls: whether that is proven.
        pairs: how many pairs of stages were compared.
    """

    best: DepthPoint
    following: str
    last: DepthPoint
    fall: Mean
    falls: bool
    pairs: int

    @classmethod
    def of(cls, points: Sequence[DepthPoint], groups: np.ndarray | None, folds: np.ndarray | None) -> Self:
        """Compare stages, from pixels on."""
        pairs = list(combinations(range(len(points)), 2))
        tests = [right_answers_test(points[k].right, points[j].right, groups, folds) for j, k in pairs]
        corrected = holm([p_value for _, p_value in tests])
        gains = {pair: gain for pair, (gain, _) in zip(pairs, tests, strict=True)}
        proven = {
            pair
            for pair, p_value in zip(pairs, corrected, strict=True)
            if p_value is not None and p_value <= SIGNIFICANCE
        }
        place = next(j for j in range(len(points)) if not any(gains[pair].value > 0 for pair in proven if pair[0] == j))
        best, last, ends = points[place], points[-1], (place, len(points) - 1)
        if best is last:
            return cls(best, "", last, Mean(0.0, 0.0, 0.0), False, len(pairs))
        return cls(best, points[place + 1].stage, last, gains[ends], ends in proven, len(pairs))

    @property
    def shown(self) -> str:
        """Return the accuracies of both."""
        return f"{_shown(self.best)}, {_shown(self.last)}"


def _where_it_falls(found: _Comparison, auto: str, trained: Collection[str]) -> str:
    """Return the advice where the last stage is proven worse than an earlier one."""
    advice = (
        f"From {found.following} on, these photos stop looking like those that the network was pretrained on "
        f"({found.shown}; difference {_said(found.fall)})"
    )
    if found.following not in trained:
        start = f"{option('strategy', 'top')} {option('train_from', found.following)}"
        advice += f": the stages from there on are worth training, {start}"
    return advice + (f". {auto}" if auto else ".")


def _where_it_rests(found: _Comparison, auto: str) -> str:
    """Return the advice where later stages are proven neither better nor worse."""
    best = found.best
    if int((~best.right).sum()) < _FEW_MISTAKES:
        advice = (
            f"After {best.stage} nearly every photo is answered rightly ({found.shown}), which leaves later stages no "
            "room to prove anything: a new last layer does nearly all. "
        )
        return advice + (auto or "`regraft compare` tells whether more training does the rest.")
    doubt = (
        f", which is no proof among {found.pairs} pairs of stages" if found.fall.low > 0 or found.fall.high < 0 else ""
    )
    advice = (
        f"After {best.stage}, no later stage is proven to add anything ({found.shown}; difference "
        f"{_said(found.fall)}{doubt}), and none is proven to lose: {len(best.right):,} photos do not settle from which "
        "stage on they differ from the pretraining ones. A new last layer is a sound start"
    )
    test = f"; {option('strategy', 'auto')} tests whether training the stages from {found.following} on helps."
    return advice + (f". {auto}" if auto else test)


def _proven(gain: Mean, p_value: float | None) -> bool:
    return p_value is not None and gain.value > 0 and p_value <= SIGNIFICANCE


def _shown(point: DepthPoint) -> str:
    return f"{value_in_words(point.accuracy, share=True)} after {point.stage}"


def _said(mean: Mean) -> str:
    """Return a difference in points with its interval, where one is known."""
    if not np.isfinite(mean.low):
        return points_in_words(mean.value)
    return f"{points_in_words(mean.value)} [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]"


def movement(before: Backbone, after: Backbone) -> dict[str, float]:
    """Return, by stage, how far training moved the weights: ||after - before|| / ||before||, over its parameters."""
    start, end = dict(before.module.named_parameters()), dict(after.module.named_parameters())
    found = {}
    for stage in after.stages():
        names = [name for name in stage.tensors if name in end and name in start]
        moved = sum(float((end[n].detach().cpu() - start[n].detach().cpu()).double().square().sum()) for n in names)
        size = sum(float(start[n].detach().cpu().double().square().sum()) for n in names)
        found[stage.name] = float(np.sqrt(moved / size)) if size else 0.0
    return found


def same_shape(before: Backbone, after: Backbone) -> bool:
    """Tell whether two networks have the same tensors, so that one can be what the other was trained from."""
    one, other = before.module.state_dict(), after.module.state_dict()
    return one.keys() == other.keys() and all(torch.Size(one[n].shape) == other[n].shape for n in one)
