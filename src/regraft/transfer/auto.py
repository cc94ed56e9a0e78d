"""`auto`: how much of the network is worth training, decided by held-out photos and within a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.errors import ModelError
from regraft.evaluation.intervals import Mean, mean_interval
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.proportions import interval_of, share_of
from regraft.heads.probe import Labelled
from regraft.progress import Observer
from regraft.transfer.cross_validation import Clock, KeptClock, Outcome, cross_validate
from regraft.transfer.experiment import Experiment
from regraft.transfer.strategies import Candidate, OverBudgetError, method_of

CANDIDATES = (Candidate("frozen"), Candidate("top"), Candidate("whole"))  # in order of cost
PROVABLE = 6  # mistakes: of five, even five gains out of five are chance in one of 16 cases (sign test, two-sided)


@dataclass(frozen=True, eq=False)
class Choice:
    """What was tried and what is taken.

    Attributes:
        candidate: the cheapest one that is not proven worse than another.
        probabilities: (n, c) out-of-fold; each fold is answered by what is chosen without looking at it, so that
            these judge the whole procedure.
        tried: in order of cost: strategy, log loss, its gain over the last layer alone with interval, seconds.
        temperature: of its out-of-fold logits; None if its training sets its own.
        reason: one sentence on what was gained and why no more was tried.
    """

    candidate: Candidate
    probabilities: np.ndarray
    tried: list[dict[str, Any]]
    temperature: float | None
    reason: str


def choose(material: Experiment, folds: np.ndarray, *, budget: float) -> Choice:
    """Try the last layer first, then more of the network in order of cost, on held-out folds (n,).

    Two candidates are compared by the mean difference of their log losses, photo by photo; one is proven worse where
    the 95 % interval of that (of independent groups, where there are groups) lies above 0.

    Args:
        material: what is learned from.
        folds: (n,) fold numbers.
        budget: seconds for all candidates but the first, and for all processes of a run that is killed and taken up.
    """
    data, run = material.data, material.run
    clock = Clock(float("inf"))
    outcomes: dict[Candidate, Outcome] = {}
    stop = "all that there is was tried"
    for candidate in CANDIDATES:
        first = not outcomes
        verdict = run.fact(["auto", str(candidate)])
        if verdict is not None:  # reached before the run was killed; it stands, however fast the rest comes back
            stop = verdict
            break
        try:
            method = method_of(candidate, material)
            outcomes[candidate] = cross_validate(method, data, folds, clock=clock, seed=material.seed)
        except ModelError as error:  # a network that cannot be cut; its last layer can be trained all the same
            if first:
                raise
            stop = f"{candidate} cannot be tried: {error}"
            break
        except OverBudgetError as error:
            stop = _over(candidate, error, material.observer)
            run.record_fact(["auto", str(candidate)], f"--budget for {candidate}", stop)
            break
        if first:
            clock = KeptClock(budget, run, ["auto", "clock"])
            right = outcomes[candidate].probabilities.argmax(axis=1) == data.labels
            wrong = int((~right).sum())
            if wrong < PROVABLE:
                stop = f"the last layer alone errs on {wrong} photos: too few to prove a gain by"
                break
            if budget:
                material.observer.say(
                    f"the last layer alone: {_accuracy(right, data)}. Now more of the network is trained, for up to "
                    f"{budget / 60:.3g} minutes (--budget), to see whether that is better."
                )
    losses = {c: photo_log_loss(data.labels, outcome.probabilities) for c, outcome in outcomes.items()}
    groups = data.groups
    chosen = cheapest(losses, groups)
    probabilities = np.empty_like(outcomes[chosen].probabilities)
    for fold in np.unique(folds):
        rest, judged = folds != fold, folds == fold
        without = cheapest({c: loss[rest] for c, loss in losses.items()}, None if groups is None else groups[rest])
        probabilities[judged] = outcomes[without].probabilities[judged]
    return Choice(
        candidate=chosen,
        probabilities=probabilities,
        tried=_table(outcomes, losses, groups),
        temperature=outcomes[chosen].temperature,
        reason=_reason(chosen, losses, groups, stop),
    )


def _accuracy(right: np.ndarray, data: Labelled) -> str:
    interval = interval_of(share_of(right, data.groups, labels=data.labels))
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


def _table(
    outcomes: Mapping[Candidate, Outcome], losses: Mapping[Candidate, np.ndarray], groups: np.ndarray | None
) -> list[dict[str, Any]]:
    base = next(iter(losses.values()))
    rows = []
    for candidate, outcome in outcomes.items():
        gain = mean_interval(base - losses[candidate], groups=groups)
        rows.append(
            {
                "strategy": str(candidate),
                "log_loss": float(losses[candidate].mean()),
                "gain": gain.value,
                "gain_interval": _bounds(gain),
                "seconds": round(outcome.seconds, 3),
            }
        )
    return rows


def _bounds(mean: Mean) -> list[float] | None:
    return [mean.low, mean.high] if np.isfinite([mean.low, mean.high]).all() else None


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
        return f"--budget is over before {candidate} is tried"
    observer.say(f"auto: training {candidate} would take about {_minutes(error.args[0])}")
    return f"training {candidate} would take longer than --budget"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
