"""How often the intervals of the figures hold the truth, by simulation: of 95 % intervals it should be 93 to 99 %.

The truth is known without further photos: scores are normal, so that accuracy, area under the ROC curve and average
precision follow from a formula, also those of each head that was fitted, and log loss from a quadrature.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.special import expit, ndtr, ndtri

from benchmarks.chart import Bar, Group, draw
from benchmarks.record import Record, progress
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.data.splits import OUTER_FOLDS
from regraft.evaluation.bounded_mean import bounded_mean
from regraft.evaluation.figures import figures_of
from regraft.evaluation.goals import photos_needed
from regraft.evaluation.intervals import Interval, mean_interval
from regraft.evaluation.metrics import Predictions
from regraft.evaluation.operating_points import operating_points
from regraft.heads.linear import CalibratedHead, LinearHead
from regraft.heads.probe import CalibratedHeads

SAMPLES, RESAMPLES = 400, 200
WIDTH = 20  # features
LOWEST, HIGHEST = 93.0, 99.0  # %
_MARGIN, _SLOPE = 1.0, 1.5  # of the made-up answers in groups: 84 % are right
_TOLERANCE = 1e-9

Drawn = dict[str, tuple[float, float, Interval | None]]  # by figure: its value, the truth, the interval


# --- calibration error ---

CONFIDENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # of the answers: how many of them are right
    "calibrated": lambda confidence: confidence,
    "overconfident": lambda confidence: expit(np.log(confidence / (1 - confidence)) / 2),
    "underconfident": lambda confidence: expit(np.log(confidence / (1 - confidence)) * 2),
}


@cache
def true_calibration_error(kind: str, bins: int = 15) -> float:
    """Return the error of confidences that are uniform from 0.5 to 1."""
    confidence = 0.5 + (np.arange(300_000) + 0.5) / 600_000
    gaps = np.bincount((confidence * bins).astype(int), confidence - CONFIDENCES[kind](confidence))
    return float(np.abs(gaps).sum() / len(confidence))


def calibration(kind: str, n: int, groups: int, generator: np.random.Generator) -> Drawn:
    """Draw n answers with confidences from 0.5 to 1; in groups whether they are right correlates by 0.3."""
    group = np.arange(n) % groups if groups else None
    luck = generator.normal(size=n)
    if group is not None:
        luck = np.sqrt(0.3) * generator.normal(size=groups)[group] + np.sqrt(0.7) * luck
    confidence = generator.uniform(0.5, 1.0, n)
    correct = ndtr(luck) < CONFIDENCES[kind](confidence)
    probabilities = np.stack([1 - confidence, confidence], axis=1)
    truths = {"ece": true_calibration_error(kind)}
    return evaluated(Predictions(correct.astype(int), probabilities), truths, groups=group)


# --- groups ---


def sizes(kind: str, count: int) -> np.ndarray:
    """Return (count,) photos of each group, 10 on average."""
    n = 10 * count
    if kind == "equal":
        return np.full(count, 10)
    if kind == "halving":
        return np.asarray(np.maximum(n >> np.arange(1, count + 1), 1))
    first = n // {"one of half": 2, "one of a third": 3}[kind]
    return np.asarray([first, *[max(round((n - first) / (count - 1)), 1)] * (count - 1)])


def grouped(kind: str, count: int, correlation: float, generator: np.random.Generator) -> Drawn:
    """Draw answers whose margins are normal and correlate within groups; classes are mixed within groups."""
    group = np.repeat(np.arange(count), sizes(kind, count))
    margin = np.sqrt(correlation) * generator.normal(size=count)[group]
    margin += np.sqrt(1 - correlation) * generator.normal(size=len(group)) + _MARGIN
    labels = generator.integers(0, 2, len(group))
    second = expit(_SLOPE * np.where(labels == 1, margin, -margin))
    predictions = Predictions(labels, np.stack([1 - second, second], axis=1), 1)
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    log_loss = float(np.log1p(np.exp(-_SLOPE * (points + _MARGIN))) @ weights / weights.sum())
    accuracy, auc = float(ndtr(_MARGIN)), float(ndtr(np.sqrt(2) * _MARGIN))
    truths = {"accuracy": accuracy, "balanced_accuracy": accuracy, "auc": auc, "log_loss": log_loss}
    mean = mean_interval(margin, groups=group)  # as of differences between classifiers
    return evaluated(predictions, truths, groups=group) | {"mean": (mean.value, _MARGIN, (mean.low, mean.high))}


# --- distance in a tree ---

DISTANCES = {  # edges from answer to truth, and how often each comes
    "90 % right": {0: 0.9, 2: 0.06, 4: 0.04},
    "60 % right": {0: 0.6, 2: 0.2, 4: 0.15, 6: 0.05},
    "97 % right, mistakes far": {0: 0.97, 2: 0.01, 8: 0.02},
    "97 % right, mistakes near": {0: 0.97, 2: 0.028, 8: 0.002},
}


def tree_distance(kind: str, n: int, per_group: int, alike: float, generator: np.random.Generator) -> Drawn:
    """Draw distances of n answers; each is that of its group's first with probability `alike`."""
    edges, shares = np.array(list(DISTANCES[kind])), np.array(list(DISTANCES[kind].values()))
    shape = (n // per_group, per_group)
    first, own = (generator.choice(edges, size, p=shares) for size in ((shape[0], 1), shape))
    values = np.where(generator.random(shape) < alike, first, own).ravel().astype(float)
    groups = None if per_group == 1 else np.repeat(np.arange(shape[0]), per_group)
    found, largest = bounded_mean(values, float(edges[-1]), groups=groups), float(edges[-1])
    drawn: Drawn = {"distance": (found.value, float(edges @ shares), (found.low, found.high))}
    wrong = values > 0
    truth = float(edges @ shares / (1 - shares[0]))
    drawn["distance of mistakes"] = (truth, truth, None)
    if wrong.any():
        groups = None if groups is None else groups[wrong]
        mistakes = bounded_mean(values[wrong] - edges[1], largest - edges[1], groups=groups)
        interval = (edges[1] + mistakes.low, edges[1] + mistakes.high)
        drawn["distance of mistakes"] = (edges[1] + mistakes.value, truth, interval)
    return drawn


# --- out-of-fold ---


def out_of_fold(auc: float, n: int, positives: float, generator: np.random.Generator) -> Drawn:
    """Draw features of two classes, have each photo answered without its fold, and know the head of all photos.

    Args:
        auc: the best possible; 0.5 is noise.
        n: photos.
        positives: the share of the second class.
        generator: of the features.
    """
    labels = generator.permutation((np.arange(n) < round(n * positives)).astype(int))
    apart = np.zeros(WIDTH)
    apart[0] = np.sqrt(2) * ndtri(auc)
    features = (generator.normal(size=(n, WIDTH)) + labels[:, None] * apart).astype(np.float32)
    samples = Samples(tuple(Path(f"{number}.jpg") for number in range(n)), labels, ("a", "b"))
    dataset = Dataset(samples, tuple(generator.bytes(32) for _ in range(n)), np.arange(n))
    heads, folds = CalibratedHeads(features, dataset, seed=0, all_too=True), dataset.folds(OUTER_FOLDS, seed=0)
    probabilities = np.empty((n, 2))
    for fold in np.unique(folds):
        held_out = folds == fold
        probabilities[held_out] = heads.of(np.flatnonzero(~held_out)).probabilities(features[held_out])
    predictions = Predictions(labels, probabilities, 1, folds=folds)
    return evaluated(predictions, truths_of(heads.of(np.arange(n)), apart, positives))


def truths_of(head: CalibratedHead, apart: np.ndarray, positives: float) -> dict[str, float]:
    """Return the figures of a head on all photos that there could be: its score is normal in both classes."""
    assert isinstance(head.head, LinearHead)
    weight, bias = (np.asarray(one[1] - one[0], dtype=float) for one in (head.head.weight, head.head.bias))
    length = float(np.linalg.norm(weight)) or 1.0
    distance, cut = float(weight @ apart) / length, -float(bias) / length
    score = np.linspace(-9, 9 + abs(distance), 8001)
    true, false = ndtr(distance - score), ndtr(-score)
    precision = positives * true / np.maximum(positives * true + (1 - positives) * false, 1e-300)
    return {
        "accuracy": float((1 - positives) * ndtr(cut) + positives * ndtr(distance - cut)),
        "auc": float(ndtr(distance / np.sqrt(2))),
        "average_precision": float(-np.trapezoid(precision, true)),
    }


# --- operating points ---


def operating_point(positives: int, negatives: int, least: float, generator: np.random.Generator) -> Drawn:
    """Draw scores of two classes, 1.8 deviations apart, and choose the threshold for a sensitivity.

    The truth is what that threshold does to new photos, which differs from sample to sample.
    """
    apart, labels = 1.8, np.repeat([1, 0], [positives, negatives])
    scores = ndtr(generator.normal(size=len(labels)) + apart * labels - apart / 2)
    table = operating_points(labels, np.stack([1 - scores, scores], axis=1), ("other", "class"), 1)
    point = next(one for one in table.points if one.least_sensitivity == least)
    cut = float(ndtri(point.threshold)) + apart / 2
    sensitivity, specificity = float(1 - ndtr(cut - apart)), float(ndtr(cut))
    alarms = (positives * sensitivity + negatives * (1 - specificity)) / len(labels)
    return {
        "sensitivity": (point.sensitivity, sensitivity, point.sensitivity_interval),
        "specificity": (point.specificity, specificity, point.specificity_interval),
        "alarms": (point.alarms, alarms, point.alarms_interval),
    }


def point_cases() -> Iterator[tuple[str, str, Callable[[np.random.Generator], Drawn]]]:
    """Yield those of thresholds for a sensitivity."""
    for positives, negatives in ((40, 160), (250, 1250)):
        for least in (0.8, 0.9, 0.95, 0.99):
            if positives >= photos_needed(least):
                name = f"sensitivity >= {least:.0%}, {positives} and {negatives:,} photos"
                yield "operating points", name, partial(operating_point, positives, negatives, least)


# --- all of them ---


def evaluated(predictions: Predictions, truths: dict[str, float], groups: np.ndarray | None = None) -> Drawn:
    """Return the figures that have `truths` beside these, with intervals of fewer draws than usual."""
    values, found = figures_of(predictions, groups=groups, seed=0, resamples=RESAMPLES, only=truths)
    return {name: (values[name] or 0.0, truth, found[name]) for name, truth in truths.items()}


def cases() -> Iterator[tuple[str, str, Callable[[np.random.Generator], Drawn]]]:
    """Yield the chapter, the name, and what draws one sample of each case."""
    for kind in CONFIDENCES:
        for n in (20, 60, 200, 1000):
            yield "calibration error", f"{kind}, {n:,} photos", partial(calibration, kind, n, 0)
    for count in (5, 30):
        yield (
            "calibration error",
            f"calibrated, {count} groups of 10",
            partial(calibration, "calibrated", 10 * count, count),
        )
    for kind in ("equal", "one of a third", "one of half", "halving"):
        for count in (3, 5, 10, 30) if kind != "halving" else (3, 5, 10):
            yield "groups", f"{kind}, {count} groups", partial(grouped, kind, count, 0.3)
    for auc in (0.5, 0.9, 0.98):
        for n in (20, 40, 60, 100, 200, 400) if auc == 0.98 else (40, 100, 400):
            for share in (0.5,) if auc == 0.98 else (0.15, 0.5):
                kind = "noise" if auc == 0.5 else f"AUC at best {auc}"
                yield "out-of-fold", f"{kind}, {n} photos, {share:.0%} positive", partial(out_of_fold, auc, n, share)
    yield from tree_cases()
    yield from point_cases()


def tree_cases() -> Iterator[tuple[str, str, Callable[[np.random.Generator], Drawn]]]:
    """Yield those of distances in a tree."""
    for kind in DISTANCES:
        for n, per_group, alike in (
            *((n, 1, 0.0) for n in (20, 60, 200, 1000)),
            *((200, 5, 0.5), (1000, 10, 0.9)),
        ):
            name = f"{kind}, {n:,} photos" + (f" in groups of {per_group}, {alike:.0%} alike" if alike else "")
            yield "distance in a tree", name, partial(tree_distance, kind, n, per_group, alike)


def held(figures: Sequence[tuple[float, float, Interval | None]]) -> tuple[float | None, float]:
    """Return in percent how many of the intervals that there are hold the truth, and how many figures have none.

    A figure without an interval promises nothing: it neither holds nor misses. Without any the first is None.
    """
    known = [(truth, interval) for _, truth, interval in figures if interval is not None]
    without = 100 * (1 - len(known) / len(figures))
    if not known:
        return None, without
    return 100 * float(np.mean([a - _TOLERANCE <= truth <= b + _TOLERANCE for truth, (a, b) in known])), without


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (one round tells all)
    """Draw the samples of every case, from seeds that are the same for every version."""
    samples = 5 if quick else SAMPLES
    settings = {"samples": samples, "resamples": RESAMPLES, "features": WIDTH}
    record = Record("intervals", "How many of 100 intervals at 95 % hold the truth", settings)
    for number, (chapter, name, draw_one) in enumerate(cases()):
        drawn = [draw_one(np.random.default_rng([number, seed])) for seed in range(samples)]
        said = []
        for figure in drawn[0]:
            value, truth = np.mean([one[figure][:2] for one in drawn], axis=0)
            share, without = held([one[figure] for one in drawn])
            if share is not None:
                record.add(f"{chapter}: {name}", figure, "%", [share])
            if without:
                record.add(f"{chapter}: {name}", f"{figure}, without an interval", "% of samples", [without])
            record.add(f"{chapter}: {name}", f"{figure}, on average", "", [float(value)])
            record.add(f"{chapter}: {name}", f"{figure}, in truth", "", [float(truth)])
            holds = "no interval" if share is None else f"{share:.1f} %"
            missing = f", {without:.1f} % without" if without and share is not None else ""
            said.append(f"{figure} {holds}{missing} ({value:.3f} for {truth:.3f})")
        progress(f"{chapter}: {name}: {', '.join(said)}")
    record.notes = [note_of(record)]
    return record


def note_of(record: Record) -> str:
    """Return which cases are out of the range."""
    outside = [
        f"{one.of}, {one.by}: {one.median:.1f} %"
        for one in record.measurements
        if one.unit == "%" and not LOWEST <= one.median <= HIGHEST
    ]
    return f"outside of {LOWEST:.0f} to {HIGHEST:.0f} %: {'; '.join(outside) or 'none'}"


def picture(record: Record, path: Path) -> None:
    """Draw how many intervals of each figure hold: the median of a chapter's cases, the fewest and the most."""
    chapters: dict[str, dict[str, list[float]]] = {}
    for one in record.measurements:
        if one.unit == "%" and "without" not in one.by:
            chapter = one.of.partition(": ")[0]
            chapters.setdefault(chapter, {}).setdefault(one.by.replace("_", " "), []).append(one.median)
    groups = [
        Group(chapter, [_bar(figure, shares) for figure, shares in figures.items()])
        for chapter, figures in chapters.items()
    ]
    draw(path, "How many of 100 intervals hold the truth", [groups], footnote=record.footnote())


def _bar(figure: str, shares: list[float]) -> Bar:
    middle, low, high = float(np.median(shares)), min(shares), max(shares)
    good = low >= LOWEST and high <= HIGHEST
    return Bar(figure, middle, f"{middle:.1f} ({low:.1f} to {high:.1f})", "ours" if good else "other", (low, high))
