"""Does a goal hold on photos that were held back from the beginning?

Of the skin lesions a tenth (whole lesions) is held back, 20 times over. From the others a last layer is learned, and
the threshold for a sensitivity of 80, 90 and 95 % is chosen on its out-of-fold probabilities. What the nested figures
say is compared with what the classifier then does on the tenth.
"""

from pathlib import Path

import numpy as np

from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import SETS, experiment_of
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress
from regraft.classifier.full_report import Answers, decide
from regraft.data.dataset import Dataset
from regraft.data.splits import OUTER_FOLDS
from regraft.evaluation.decisions import answers_of
from regraft.evaluation.goals import DecisionRequest
from regraft.evaluation.intervals import mean_interval, wilson
from regraft.evaluation.ranking import Ranking
from regraft.features.depth_choices import columns_from
from regraft.heads.probe import CalibratedHeads

NETWORK, TENTHS, GOALS = "L0", 20, (0.8, 0.9, 0.95)
POSITIVE = 1  # malignant


def tenth_of(dataset: Dataset, seed: int) -> np.ndarray:
    """Return (n,) booleans: a tenth of the photos, whole groups."""
    groups = np.arange(len(dataset)) if dataset.groups is None else dataset.groups
    names = np.unique(groups)
    chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 10]
    return np.isin(groups, chosen)


def held_out(dataset: Dataset, features: np.ndarray, heads: CalibratedHeads) -> np.ndarray:
    """Return (n, c) out-of-fold probabilities."""
    folds = dataset.folds(OUTER_FOLDS, seed=0)
    found = np.empty((len(dataset), len(dataset.classes)))
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = heads.of(np.flatnonzero(~own)).probabilities(features[own])
    return found


def rates(labels: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """Return sensitivity and specificity."""
    positive = labels == POSITIVE
    return float((answers[positive] == POSITIVE).mean()), float((answers[~positive] != POSITIVE).mean())


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (the tenths are the rounds)
    """Hold back a tenth several times, and compare."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    photos, tenths = SETS["skin-lesions"], 2 if quick else TENTHS
    experiment = experiment_of(photos, (NETWORK,), root)
    whole, values = experiment.dataset, experiment.features.values
    choices = {name: columns_from(experiment.backbones, first) for name, first in experiment.choices.items()}
    said: dict[float, list[tuple[float, ...]]] = {goal: [] for goal in GOALS}
    areas = []
    for seed in range(tenths):
        away = tenth_of(whole, seed)
        dataset, features = whole.select(~away), values[~away]
        heads = CalibratedHeads(features, dataset, seed=0, all_too=True, choices=choices)
        probabilities = held_out(dataset, features, heads)
        new = heads.of(np.arange(len(dataset))).probabilities(values[away])
        truth = whole.labels[away]
        area = [
            Ranking(one == POSITIVE, p[:, POSITIVE]).auc() for one, p in ((dataset.labels, probabilities), (truth, new))
        ]
        areas.append(area)
        for goal in GOALS:
            request = DecisionRequest(goal=f"sensitivity>={goal} for {whole.classes[POSITIVE]}")
            found: Answers = decide(request, dataset, probabilities, shares=np.full(2, 0.5))
            nested, there = rates(dataset.labels, found.labels), rates(truth, answers_of(found.decision, new))
            said[goal].append((*nested, *there, float((truth == POSITIVE).sum())))
        progress(
            f"tenth {seed + 1} of {tenths}: goal 90 %, nested {said[0.9][-1][0]:.3f}, there {said[0.9][-1][2]:.3f}"
        )
    return _record(said, np.array(areas), tenths)


def _record(said: dict[float, list[tuple[float, ...]]], areas: np.ndarray, tenths: int) -> Record:
    record = Record(
        "decisions", "Does a goal hold on a tenth that was held back?", {"tenths": tenths, "network": NETWORK}
    )
    for goal, rows in said.items():
        table, name = np.array(rows), f"sensitivity >= {100 * goal:.0f} %"
        for place, by in enumerate(
            ("sensitivity, nested", "specificity, nested", "sensitivity, tenth", "specificity, tenth")
        ):
            record.add(name, by, "%", (100 * table[:, place]).tolist())
        caught, of = float(np.sum(table[:, 2] * table[:, 4])), float(table[:, 4].sum())
        low, high = wilson(caught, of)
        gaps = mean_interval(table[:, 2] - table[:, 0])
        bounds = f"{100 * caught / of:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        gap = f"{100 * gaps.value:+.1f} points [{100 * gaps.low:+.1f}, {100 * gaps.high:+.1f}]"
        record.notes.append(
            f"{name}: {bounds} of {of:.0f} malignant lesions of all tenths, which overlap; {gap} above nested"
        )
    record.add("AUC", "out-of-fold", "", areas[:, 0].tolist())
    record.add("AUC", "tenth", "", areas[:, 1].tolist())
    return record


def picture(record: Record, path: Path) -> None:
    """Draw the sensitivities, nested and on the tenths."""
    bars = [
        Bar(
            f"{one.of}, {one.by.partition(', ')[2]}",
            one.median,
            f"{one.median:.1f} %",
            "ours" if "tenth" in one.by else "other",
            (one.low, one.high),
        )
        for one in record.measurements
        if one.by.startswith("sensitivity")
    ]
    title = "Sensitivity at a goal, nested and on a tenth that was held back (medians, lowest and highest)"
    draw(path, title, [[Group("skin lesions, L0", bars)]], footnote=record.footnote())
