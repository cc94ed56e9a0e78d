"""How far a network carries: what a new last layer makes of each stage, and how far training moved each stage."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binomtest

from regraft.evaluation.intervals import LEVEL, Interval, Mean, mean_interval
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.heads.probe import CalibratedHeads, Labelled
from regraft.networks.backbones import Backbone
from regraft.progress import Observer, progress
from regraft.transfer.cross_validation import Clock, cross_validate
from regraft.transfer.strategies import Answers, Candidate, Pace

SIZES = (5, 10, 20, 50, 100, 200, 500, 1000)  # photos of each class, on the learning curve
_PATIENCE = 1800.0  # seconds: the heads of one stage of many photos take minutes
_FEW_MISTAKES = 6  # with fewer, no later stage could be proven better (sign test)


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


class LastLayer:
    """A new last layer on given features, as a method that can be cross-validated."""

    candidate = Candidate("frozen")

    def __init__(self, data: Labelled, seed: int) -> None:
        self._data, self._seed = data, seed
        self._probes = CalibratedHeads(data, seed=seed)

    def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:  # noqa: ARG002
        """Learn from the photos at positions `learn` (m,) and answer for those at `judge` (k,)."""
        started = time.monotonic()
        probe = self._probes.of(learn)
        logits = probe.head.logits(self._data.features[judge])
        return Answers(logits, probe.temperature, time.monotonic() - started, len(learn))

    def right(self, folds: np.ndarray, size: int | None = None) -> np.ndarray:
        """Return (n,) booleans: which photos are answered rightly by what learned without their fold.

        Args:
            folds: (n,) fold numbers.
            size: photos of each class that are learned from; None for all.
        """
        clock = Clock(float("inf"))
        outcome = cross_validate(self, self._data, folds, clock=clock, size=size, seed=self._seed)
        return np.asarray(outcome.probabilities.argmax(axis=1) == self._data.labels)

    def interval(self, right: np.ndarray) -> Interval | None:
        """Return the 95 % interval of the share of `right` answers (n,)."""
        return interval_of(proportion_of(right, self._data.groups))


def accuracy_by_depth(
    stages: Mapping[str, Labelled], folds: np.ndarray, *, seed: int, task: str, observer: Observer | None = None
) -> list[DepthPoint]:
    """Judge a linear probe on every stage by the same folds (Zeiler & Fergus 2013, table 7; Yosinski et al. 2014).

    Args:
        stages: each stage's pooled activations (n, units) with labels, from pixels on.
        folds: (n,) fold numbers.
        seed: of the probes' own folds.
        task: what the progress is called.
        observer: hears the progress.
    """
    observer = observer or Observer()
    points = []
    with progress(observer, task, len(stages) * len(folds), patience=_PATIENCE) as advance:
        for stage, data in stages.items():
            last = LastLayer(data, seed)
            right = last.right(folds)
            points.append(DepthPoint(stage, right, float(right.mean()), last.interval(right)))
            advance(len(folds))
    return points


def accuracy_by_size(
    data: Labelled, folds: np.ndarray, *, seed: int, observer: Observer | None = None
) -> list[tuple[int, float, Interval | None]]:
    """Return how accurate a last layer is that learned from so many photos of each class, with intervals.

    Every size is judged by all photos; the last size is all that a fold leaves of the largest class.

    Args:
        data: features (n, d) with labels.
        folds: (n,) fold numbers.
        seed: of the choice of photos; a larger size holds every smaller one's.
        observer: hears the progress.
    """
    observer = observer or Observer()
    largest = int(np.bincount(data.labels).max())
    learnable = round(largest * (1 - 1 / len(np.unique(folds))))
    sizes = [size for size in SIZES if size < 0.75 * learnable]
    last = LastLayer(data, seed)
    found = []
    total = (len(sizes) + 1) * len(folds)
    with progress(observer, "learning curve of the last layer", total, patience=_PATIENCE) as advance:
        for size in [*sizes, None]:
            right = last.right(folds, size)
            found.append((learnable if size is None else size, float(right.mean()), last.interval(right)))
            advance(len(folds))
    return found


@dataclass(frozen=True)
class Carried:
    """Up to where depth helps.

    Attributes:
        stage: the first stage that no later one is proven better than.
        falls: whether the last stage is proven worse than that one.
        advice: one sentence on what that means for what to train.
    """

    stage: str
    falls: bool
    advice: str


def how_far(points: Sequence[DepthPoint], groups: np.ndarray | None, *, random: Sequence[DepthPoint] = ()) -> Carried:
    """Return up to which stage depth is proven to help.

    Two stages are compared photo by photo: by the mean difference of right answers with a 95 % interval (of groups,
    where there are groups) and, without groups, the sign test.

    Args:
        points: of `accuracy_by_depth`, from pixels on.
        groups: (n,) what is not independent, or None.
        random: the same of random weights: pretraining helps where its best stage is proven better than their best.
    """
    last = points[-1]
    place = next(k for k, point in enumerate(points) if not any(_proven(p, point, groups) for p in points[k + 1 :]))
    best = points[place]
    fall = _gain(last, best, groups)
    falls = _proven(best, last, groups)
    shown = f"{_percent(best)} after {best.stage}, {_percent(last)} after {last.stage}"
    chance = max(random, key=lambda point: point.accuracy, default=None)
    most = max(points, key=lambda point: point.accuracy)
    if chance is not None and not _proven(most, chance, groups):
        advice = (
            f"Pretraining is not proven to help with these photos: {_percent(most)} after {most.stage}, and with "
            f"random weights {_percent(chance)} after {chance.stage}. More photos may prove it; if not, look whether "
            "labels belong to their photos, or take a network that was pretrained on photos more like these."
        )
    elif falls:
        following = points[place + 1].stage
        advice = (
            f"From {following} on, these photos stop looking like those that the network was pretrained on ({shown}; "
            f"difference {_said(fall)}): the stages from there on are worth training, --strategy top "
            f"--train-from {following}."
        )
    elif best is last:
        advice = (
            f"Depth helps up to the last stage ({_percent(last)} after {last.stage}): no earlier stage is as good, and "
            "nothing shows these photos parting from those that the network was pretrained on. A new last layer is the "
            "right start."
        )
    elif int((~best.right).sum()) < _FEW_MISTAKES:
        advice = (
            f"After {best.stage} nearly all is known ({shown}), and there is no room for later stages to prove "
            "anything: a new last layer does nearly all. `regraft compare` tells whether more training brings the rest."
        )
    else:
        doubt = ", which the sign test does not bear out" if fall.low > 0 else ""
        gain = f"difference {_said(fall)}{doubt}"
        advice = (
            f"After {best.stage}, no later stage is proven to add anything ({shown}; {gain}), and "
            f"none is proven to lose: where these photos part from the pretraining ones is not settled by "
            f"{len(best.right):,} photos. A new last layer is a sound start; `--strategy auto` tries whether training "
            f"the stages from {points[place + 1].stage} on gains."
        )
    return Carried(best.stage, falls, advice)


def _proven(better: DepthPoint, worse: DepthPoint, groups: np.ndarray | None) -> bool:
    """Tell whether `better` answers more photos rightly: by the interval and, of single photos, by the sign test.

    The interval alone takes four photos won and none lost for proof; the sign test (exact, two-sided) asks for six.
    """
    if _gain(better, worse, groups).low <= 0:
        return False
    won, lost = int((better.right & ~worse.right).sum()), int((worse.right & ~better.right).sum())
    return groups is not None or float(binomtest(won, won + lost).pvalue) < 1 - LEVEL


def _gain(later: DepthPoint, earlier: DepthPoint, groups: np.ndarray | None) -> Mean:
    return mean_interval(later.right.astype(float) - earlier.right, groups=groups)


def _percent(point: DepthPoint) -> str:
    return f"{100 * point.accuracy:.1f} %"


def _said(mean: Mean) -> str:
    return f"{100 * mean.value:+.1f} points [{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]"


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
