"""Which views of a photo an answer is the mean of: the fewest that are not proven worse than more, out-of-fold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from regraft.classifier.record import FitRecord, ViewTrial
from regraft.errors import DataError
from regraft.evaluation.intervals import Mean
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.paired_tests import fold_widening, mean_test
from regraft.images.tta import NONE, TTA, tta_in_words
from regraft.transfer.auto import cheapest
from regraft.transfer.budget import Clock
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.experiment import Experiment
from regraft.transfer.strategies import AUTO, Candidate
from regraft.transfer.trainers import trainer_of


@dataclass(frozen=True, eq=False)
class ViewChoice:
    """Which views are taken, and what was tried.

    Attributes:
        experiment: with the features of these views.
        tried: all views, the fewest first; nothing where none could be tried.
        others: (n, c) out-of-fold probabilities of other views, in the folds that they would be taken for if these were
            not known; NaN elsewhere. None where nothing was tried.
    """

    experiment: Experiment
    tried: tuple[ViewTrial, ...] = ()
    others: np.ndarray | None = None

    def answer_folds(self, probabilities: np.ndarray) -> np.ndarray:
        """Return out-of-fold probabilities (n, c) of the views that are taken, those of `others` in their places."""
        return probabilities if self.others is None else np.where(np.isnan(self.others), probabilities, self.others)


def choose_views(experiment: Experiment) -> ViewChoice:
    """Compare the means over views by a new last layer, out-of-fold on the training photos. See `fewest_views`.

    Of a network that is trained further, or anew, the last layer of the pretrained one chooses, too. Out-of-fold
    figures judge the choosing: where a fold would have had other views, chosen without it, their last layer answers it.
    """
    dataset = experiment.dataset
    try:
        folds = experiment.folds()
    except DataError:
        if experiment.validation is None:
            raise
        experiment.observer.say(f"tta: {NONE}; photos are too few for folds, on which views are compared")
        return ViewChoice(experiment)
    experiments = {experiment.tta: experiment, **{tta: experiment.with_views(tta) for tta in experiment.other_views}}
    answers: dict[str, np.ndarray] = {}
    for tta, one in experiments.items():
        trainer = trainer_of(Candidate("frozen"), one)
        found = cross_validate(trainer, dataset, folds, clock=Clock(float("inf")), seed=experiment.seed)
        answers[tta] = found.probabilities
    labels, groups = dataset.labels, dataset.groups
    chosen = experiment.compute.processes.first(lambda: fewest_views(answers, labels, groups, folds))
    others = np.full((len(dataset), len(dataset.classes)), np.nan)
    for fold in np.unique(folds):
        rest, held_out = folds != fold, folds == fold
        known = {tta: found[rest] for tta, found in answers.items()}
        without = fewest_views(known, labels[rest], None if groups is None else groups[rest], folds[rest])
        if without != chosen:
            others[held_out] = answers[without][held_out]
    tried = tuple(_trial(tta, answers, labels, (groups, folds)) for tta in answers)
    experiment.observer.say(views_in_words(chosen, tried))
    return ViewChoice(experiments[chosen], tried, others)


def fewest_views(
    answers: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray | None, folds: np.ndarray | None
) -> str:
    """Return the views of least cost that none are proven better than, in log loss, of those as accurate as the first.

    Args:
        answers: (n, c) probabilities by views, the photo alone first, then in order of cost.
        labels: (n,) classes.
        groups: (n,) what is not independent, or None.
        folds: (n,) numbers of what was answered by the same classifier; None where one answered all.
    """
    right = {tta: int((found.argmax(axis=1) == labels).sum()) for tta, found in answers.items()}
    least = next(iter(right.values()))
    losses = {tta: photo_log_loss(labels, found) for tta, found in answers.items() if right[tta] >= least}
    return str(cheapest(cast("Any", losses), groups, folds))


def _trial(
    tta: str,
    answers: Mapping[str, np.ndarray],
    labels: np.ndarray,
    together: tuple[np.ndarray | None, np.ndarray],
) -> ViewTrial:
    groups, folds = together
    plain, found = next(iter(answers.values())), answers[tta]
    widening = fold_widening(folds)
    loss = photo_log_loss(labels, found)
    gain, _ = mean_test(photo_log_loss(labels, plain) - loss, groups, widening=widening)
    right = (found.argmax(axis=1) == labels).astype(float) - (plain.argmax(axis=1) == labels)
    accuracy, _ = mean_test(right, groups, widening=widening)
    own = found is not plain
    return ViewTrial(
        tta=tta,
        log_loss=float(loss.mean()),
        gain=gain.value,
        accuracy_gain=accuracy.value,
        gain_interval=_interval(gain) if own else None,
        accuracy_interval=_interval(accuracy) if own else None,
    )


def _interval(mean: Mean) -> tuple[float, float] | None:
    return (mean.low, mean.high) if np.isfinite([mean.low, mean.high]).all() else None


def views_in_words(tta: str, tried: tuple[ViewTrial, ...] = ()) -> str:
    """Return a line on the views that are taken, what they cost, and what they and others gain.

    E.g. "tta auto took none, the photo alone (no gain of more views is proven); against the photo alone flip (2
    passes): log loss -0.003 [-0.013, +0.007], +0.8 points".
    """
    passes = TTA[tta].count
    taken = f"{tta_in_words(tta)}; {passes} passes through the network" if tta != NONE else TTA[tta].words
    if not tried:
        return f"tta {tta}: answers are {taken}"
    why = "no gain of more views is proven" if tta == NONE else "proven better"
    gains = [_gain_in_words(trial) for trial in tried if trial.tta != NONE]
    return f"tta {AUTO} took {tta}, {taken} ({why}); against the photo alone {'; '.join(gains)}"


def _gain_in_words(trial: ViewTrial) -> str:
    interval = ""
    if trial.gain_interval is not None:
        low, high = trial.gain_interval
        interval = f" [{0.0 - high:+.3f}, {0.0 - low:+.3f}]"
    points = f"{100 * trial.accuracy_gain:+.1f} points"
    return f"{trial.tta} ({TTA[trial.tta].count} passes): log loss {0.0 - trial.gain:+.3f}{interval}, {points}"


def record_of_views(record: FitRecord) -> str:
    """Return what a record says of views, in a line; "" where answers are of the photo alone and nothing was tried."""
    return "" if record.tta == NONE and not record.views_tried else views_in_words(record.tta, record.views_tried)
