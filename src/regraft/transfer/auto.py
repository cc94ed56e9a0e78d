"""`auto`: how much of the network is worth training, decided on held-out photos and within a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from regraft.classifier.record import Attempt
from regraft.data.dataset import Dataset
from regraft.errors import ModelError, option
from regraft.evaluation.intervals import mean_interval
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.progress import Observer
from regraft.transfer.budget import Clock, OverBudgetError, PersistentClock
from regraft.transfer.cross_validation import CrossValidation, cross_validate
from regraft.transfer.experiment import Experiment
from regraft.transfer.strategies import Candidate, auto_candidates
from regraft.transfer.trainers import trainer_of

PROVABLE = 6  # mistakes: of five, even five gains out of five are chance in one of 16 cases (sign test, two-sided)


@dataclass(frozen=True, eq=False)
class Choice:
    """What was tried and what is taken.

    Attributes:
        candidate: the cheapest one that is not proven worse than another.
        probabilities: (n, c) out-of-fold; each fold is answered by what is chosen without looking at it, so that
            these evaluate the whole procedure.
        tried: in order of cost.
        temperature: of its out-of-fold logits; None if its training sets its own.
        reason: one sentence on what was gained and why no more was tried.
    """

    candidate: Candidate
    probabilities: np.ndarray
    tried: list[Attempt]
    temperature: float | None
    reason: str


def choose(experiment: Experiment, folds: np.ndarray, *, budget: float) -> Choice:
    """Try the last layer first, then more of the network in order of cost, on held-out folds (n,).

    Two candidates are compared by the mean difference of their log losses, photo by photo; one is proven worse where
    the 95 % interval of that (of independent groups, where there are groups) lies above 0.

    Args:
        experiment: what is learned from.
        folds: (n,) fold numbers.
        budget: seconds for all candidates but the first, and for all processes of a run that is killed and resumed.
    """
    dataset = experiment.dataset
    outcomes, stop = _try_all(experiment, folds, budget)
    losses = {c: photo_log_loss(dataset.labels, outcome.probabilities) for c, outcome in outcomes.items()}
    groups = dataset.groups
    chosen = cheapest(losses, groups)
    probabilities = np.empty_like(outcomes[chosen].probabilities)
    for fold in np.unique(folds):
        rest, held_out = folds != fold, folds == fold
        without = cheapest({c: loss[rest] for c, loss in losses.items()}, None if groups is None else groups[rest])
        probabilities[held_out] = outcomes[without].probabilities[held_out]
    return Choice(
        candidate=chosen,
        probabilities=probabilities,
        tried=_attempts(outcomes, losses, groups),
        temperature=outcomes[chosen].temperature,
        reason=_reason(chosen, losses, groups, stop),
    )


def _try_all(experiment: Experiment, folds: np.ndarray, budget: float) -> tuple[dict[Candidate, CrossValidation], str]:
    """Return what was tried, in order of cost, and why no more was."""
    dataset, run = experiment.dataset, experiment.run
    clock = Clock(float("inf"))
    outcomes: dict[Candidate, CrossValidation] = {}
    for candidate in auto_candidates():
        first = not outcomes
        verdict = run.fact(["auto", str(candidate)])
        if verdict is not None:  # reached before the run was killed; it stands, however fast the rest comes back
            return outcomes, verdict
        try:
            trainer = trainer_of(candidate, experiment)
            outcomes[candidate] = cross_validate(
                trainer, dataset, folds, clock=clock, seed=experiment.seed, observer=experiment.observer
            )
        except ModelError as error:  # a network that cannot be cut; its last layer can be trained all the same
            if first:
                raise
            return outcomes, f"{candidate} cannot be tried: {error}"
        except OverBudgetError as error:
            stop = _over(candidate, error, experiment.observer)
            run.record_fact(["auto", str(candidate)], f"{option('budget')} for {candidate}", stop)
            return outcomes, stop
        if first:
            clock = PersistentClock(budget, run, ["auto", "clock"])
            right = outcomes[candidate].probabilities.argmax(axis=1) == dataset.labels
            wrong = int((~right).sum())
            if wrong < PROVABLE:
                return outcomes, f"the last layer alone errs on {wrong} photos: too few to prove a gain"
            if budget:
                experiment.observer.say(
                    f"the last layer alone: {_accuracy(right, dataset)}. Now more of the network is trained, for up to "
                    f"{_in_words(budget)} ({option('budget')}), to see whether that is better."
                )
    return outcomes, "every strategy was tried"


def _accuracy(right: np.ndarray, dataset: Dataset) -> str:
    interval = interval_of(proportion_of(right, dataset.groups, labels=dataset.labels))
    bounds = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * np.mean(right):.1f} %{bounds} right, out-of-fold"


def cheapest(losses: Mapping[Candidate, np.ndarray], groups: np.ndarray | None) -> Candidate:
    """Return the first candidate, in order of cost, that no other is proven better than.

    Args:
        losses: (n,) log loss of each photo, by candidate.
        groups: (n,) what is not independent, or None.
    """
    order = list(losses)
    for candidate in order:
        gains = [
            mean_interval(losses[candidate] - losses[other], groups=groups) for other in order if other != candidate
        ]
        if all(gain.low <= 0 for gain in gains):
            return candidate
    return min(order, key=lambda candidate: float(losses[candidate].mean()))


def _attempts(
    outcomes: Mapping[Candidate, CrossValidation], losses: Mapping[Candidate, np.ndarray], groups: np.ndarray | None
) -> list[Attempt]:
    base = next(iter(losses.values()))
    found = []
    for candidate, outcome in outcomes.items():
        gain = mean_interval(base - losses[candidate], groups=groups)
        interval = (gain.low, gain.high) if np.isfinite([gain.low, gain.high]).all() else None
        log_loss = float(losses[candidate].mean())
        found.append(Attempt(str(candidate), log_loss, gain.value, interval, round(outcome.seconds, 3)))
    return found


def _reason(chosen: Candidate, losses: Mapping[Candidate, np.ndarray], groups: np.ndarray | None, stop: str) -> str:
    base, *others = losses
    parts = []
    for other in others:
        worse = mean_interval(losses[other] - losses[base], groups=groups)
        parts.append(f"{other}: log loss {worse.value:+.3f} [{worse.low:+.3f}, {worse.high:+.3f}]")
    proven = chosen != base and mean_interval(losses[base] - losses[chosen], groups=groups).low > 0
    taken = {
        "frozen": "training more of the network is not proven to help" if others else "the last layer alone is trained",
    }.get(
        chosen.strategy,
        f"training {chosen} is " + ("proven to help" if proven else "the cheapest that nothing is proven better than"),
    )
    return f"{taken}" + (f" ({'; '.join(parts)} against the last layer alone)" if parts else "") + f"; {stop}"


def _over(candidate: Candidate, error: OverBudgetError, observer: Observer) -> str:
    """Return why a candidate is not tried. How long it would take differs from run to run, and is said alone."""
    if not error.args:
        return f"{option('budget')} ran out before {candidate} was tried"
    observer.say(f"auto: training {candidate} would take about {_minutes(error.args[0])}")
    return f"training {candidate} would take longer than {option('budget')}"


def _in_words(seconds: float) -> str:
    """Return a budget as one would say it.

    >>> _in_words(600), _in_words(60), _in_words(10), _in_words(90), _in_words(86400)
    ('10 minutes', '1 minute', '10 seconds', '90 seconds', '24 hours')
    """
    size, unit = (1, "second") if seconds < 120 and seconds != 60 else (60, "minute")
    if seconds >= 7200:
        size, unit = 3600, "hour"
    count = f"{seconds / size:.3g}"
    return f"{count} {unit}" + ("" if count == "1" else "s")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
