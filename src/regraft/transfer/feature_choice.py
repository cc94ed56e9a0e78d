"""What a last layer makes of each choice of features, on photos that it did not learn from."""

from dataclasses import replace

import numpy as np

from regraft.classifier.record import FeatureTrial, FitRecord
from regraft.data.dataset import Dataset
from regraft.evaluation.intervals import Mean
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.paired_tests import fold_widening, mean_test, right_answers_test
from regraft.networks.hook_points import ALL, LAST, LATE
from regraft.transfer.experiment import Experiment

_IN_WORDS = {LAST: "the last layer's alone", LATE: "late depths too", ALL: "all depths"}


def try_features(experiment: Experiment) -> tuple[FeatureTrial, ...]:
    """Return what each choice of features gives against the choice that was made; nothing where there was none.

    Out-of-fold, or on the validation photos. Each fold's own choice was made without it, so that the differences
    judge the choosing, too. Of many photos all heads, that of the choice too, learned from the sample that the choice
    was made on.
    """
    if len(experiment.choices) == 1:
        return ()
    dataset, features = experiment.dataset, experiment.features.values
    everything = np.arange(len(dataset))
    if experiment.validation is not None and experiment.validation_features is not None:
        evaluated, values = experiment.validation, experiment.validation_features.values
        folds, parts = None, [(everything, np.arange(len(evaluated)))]
    else:
        folds = experiment.folds()
        evaluated, values = dataset, features
        parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    shape = (len(evaluated), len(dataset.classes))
    chosen, each = np.empty(shape), {name: np.empty(shape) for name in experiment.choices}
    for learn, held_out in parts:
        for name, head in experiment.heads.of_each_choice(learn).items():
            each[name][held_out] = head.probabilities(values, held_out)
        chosen[held_out] = each[experiment.heads.of(learn).choice][held_out]
    compared = experiment.heads.compared
    sample = compared if compared < len(dataset) else None
    trials = [_trial(name, found, chosen, evaluated, folds) for name, found in each.items()]
    return tuple(replace(trial, learned_from=sample) for trial in trials)


def _trial(
    name: str, found: np.ndarray, chosen: np.ndarray, dataset: Dataset, folds: np.ndarray | None
) -> FeatureTrial:
    """Return what probabilities (n, c) come to against those of the choice; differences as `right_answers_test`'s."""
    labels, groups = dataset.labels, dataset.groups
    losses = photo_log_loss(labels, found)
    right, right_chosen = found.argmax(axis=1) == labels, chosen.argmax(axis=1) == labels
    accuracy, _ = right_answers_test(right, right_chosen, groups, folds)
    loss, _ = mean_test(losses - photo_log_loss(labels, chosen), groups, widening=fold_widening(folds))
    if np.array_equal(found, chosen):  # it is the choice itself: no estimate
        accuracy = Mean(0.0, 0.0, 0.0)
    return FeatureTrial(
        features=name,
        accuracy=float(right.mean()),
        log_loss=float(losses.mean()),
        accuracy_difference=accuracy.value,
        accuracy_interval=_interval(accuracy),
        log_loss_difference=loss.value,
        log_loss_interval=_interval(loss),
    )


def _interval(mean: Mean) -> tuple[float, float] | None:
    return (mean.low, mean.high) if np.isfinite([mean.low, mean.high]).all() else None


def features_in_words(record: FitRecord) -> str:
    """Return a sentence on which features were taken, and what the others would have given; "" without a choice."""
    trials = record.features_tried
    if not trials:
        return ""
    stages = f" (from {record.stages[0]} on)" if record.stages else ""
    others = [f"{_IN_WORDS[trial.features]}: {_points(trial)}" for trial in trials if trial.features != record.features]
    sample = trials[0].learned_from
    compared = "" if sample is None else f" (compared on a sample of {sample:,} photos)"
    anew = "; the choice is made anew for each fold, which costs it a little"
    beaten = any(trial.log_loss_difference < 0 for trial in trials)
    return f"features: {_IN_WORDS[record.features]}{stages}; {'; '.join(others)}{compared}{anew if beaten else ''}"


def _points(trial: FeatureTrial) -> str:
    """Return what a choice loses or gains against the one that was made."""
    accuracy = f"{100 * trial.accuracy_difference:+.1f} points"
    if trial.accuracy_interval is not None:
        accuracy += " [{:+.1f}, {:+.1f}]".format(*(100 * bound for bound in trial.accuracy_interval))
    loss = f"log loss {trial.log_loss_difference:+.3f}"
    if trial.log_loss_interval is not None:
        loss += " [{:+.3f}, {:+.3f}]".format(*trial.log_loss_interval)
    return f"{accuracy}, {loss}"
