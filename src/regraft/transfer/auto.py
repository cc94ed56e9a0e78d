"""`auto`: how much of the network is worth training, decided on held-out photos and within a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.classifier.record import Attempt, OverBudget
from regraft.data.dataset import Dataset
from regraft.errors import ModelError, option
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.paired_tests import SIGNIFICANCE, fold_widening, mean_test
from regraft.evaluation.proportions import interval_of, proportion_of
from regraft.options import Duration
from regraft.progress import Observer
from regraft.transfer.auto_plan import AutoPlan, over_budget_in_words, plan_auto
from regraft.transfer.budget import Clock, OverBudgetError, PersistentClock
from regraft.transfer.cross_validation import CrossValidation, cross_validate
from regraft.transfer.experiment import Experiment
from regraft.transfer.fold_workers import answer_by_workers
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
        over_budget: what was not tried, or not to its end, in order of cost.
        temperature: of its out-of-fold logits; None if its training sets its own.
        reason: one sentence on what was gained and why no more was tried.
    """

    candidate: Candidate
    probabilities: np.ndarray
    tried: list[Attempt]
    over_budget: list[OverBudget]
    temperature: float | None
    reason: str


def choose(experiment: Experiment, folds: np.ndarray, *, budget: float) -> Choice:
    """Try the last layer first, then more of the network in order of cost, on held-out folds (n,).

    Two candidates are compared by the mean difference of their log losses, photo by photo; one is proven worse where
    the interval of that (of independent groups, where there are groups) lies above 0: see `cheapest`.

    Args:
        experiment: what is learned from.
        folds: (n,) fold numbers.
        budget: seconds for all candidates but the first, and for all processes of a run that is killed and resumed.
    """
    dataset = experiment.dataset
    search = _Search(experiment, folds, budget)
    search.run()
    outcomes = search.outcomes
    losses = {c: photo_log_loss(dataset.labels, outcome.probabilities) for c, outcome in outcomes.items()}
    groups = dataset.groups
    chosen = cheapest(losses, groups, folds)
    probabilities = np.empty_like(outcomes[chosen].probabilities)
    for fold in np.unique(folds):
        rest, held_out = folds != fold, folds == fold
        without = cheapest(
            {c: loss[rest] for c, loss in losses.items()}, None if groups is None else groups[rest], folds[rest]
        )
        probabilities[held_out] = outcomes[without].probabilities[held_out]
    return Choice(
        candidate=chosen,
        probabilities=probabilities,
        tried=[*_attempts(outcomes, losses, groups, folds), *search.stopped],
        over_budget=search.over_budget,
        temperature=outcomes[chosen].temperature,
        reason=_reason(chosen, losses, groups, folds, search.stop),
    )


class _Search:
    """Tries candidates in order of cost, the first in any case and the others within a budget.

    Attributes:
        outcomes: of what was tried to its end, in order of cost.
        stopped: what was begun and would not have ended in time.
        over_budget: what was not tried, or not to its end, in order of cost.
        stop: why no more was tried.

    Args:
        experiment: what is learned from.
        folds: (n,) fold numbers.
        budget: seconds.
    """

    def __init__(self, experiment: Experiment, folds: np.ndarray, budget: float) -> None:
        self._experiment, self._folds, self._budget = experiment, folds, budget
        self.outcomes: dict[Candidate, CrossValidation] = {}
        self.stopped: list[Attempt] = []
        self.over_budget: list[OverBudget] = []
        self.stop = "every strategy was tried"

    def run(self) -> None:
        """Try them."""
        dataset = self._experiment.dataset
        first, *others = auto_candidates()
        self.outcomes[first] = self._cross_validate(first, Clock(float("inf")))
        right = self.outcomes[first].probabilities.argmax(axis=1) == dataset.labels
        wrong = int((~right).sum())
        if wrong < PROVABLE:
            self.stop = (
                f"the last layer alone errs on {wrong} photo{'' if wrong == 1 else 's'}: too few to prove a gain"
            )
        elif not self._budget:
            self.stop = f"{option('budget', Duration(0))} lets nothing more be tried"
        else:
            self._experiment.observer.say(f"the last layer alone: {_accuracy(right, dataset)}")
            self._try_more(others)

    def _try_more(self, candidates: Sequence[Candidate]) -> None:
        plan = plan_auto(candidates, self._experiment, self._folds, budget=self._budget)
        _announce(plan, self._experiment.observer)
        clock = PersistentClock(self._budget, self._experiment.run, ["auto", "clock"])
        over, late, failed = set(plan.skipped), [], ""
        for place, candidate in enumerate(candidates):
            name = str(candidate)
            if name in over:
                continue
            began = clock.mark(f"{name} begins")
            try:
                self.outcomes[candidate] = self._try_in_time(candidate, clock)
            except ModelError as error:  # a network that cannot be cut; its last layer can be trained all the same
                failed = f"{candidate} cannot be tried: {error}"
                break
            except OverBudgetError as error:
                left = [name, *(str(one) for one in candidates[place + 1 :] if str(one) in plan.seconds)]
                if not error.args:  # not begun
                    late = [one for one in left if one not in over]
                    break
                spent = clock.mark(f"{name} ends") - began
                plan = plan.with_seconds(name, max(plan.seconds.get(name, 0.0), spent + error.args[0]))
                self._note_stopped(plan.over_budget(name), spent)
                over |= set(left)  # they cost more
                break
            plan = plan.with_seconds(name, clock.mark(f"{name} ends") - began)
        self.over_budget = [plan.over_budget(name) for name in plan.seconds if name in over or name in late]
        too_long = _too_long([str(one) for one in candidates if str(one) in over])
        self.stop = "; ".join(filter(None, [too_long, _too_late(late), failed])) or self.stop

    def _try_in_time(self, candidate: Candidate, clock: Clock) -> CrossValidation:
        """Return what a candidate came to; that it is over the budget stands when a run is resumed."""
        run, verdict = self._experiment.run, ["auto", str(candidate)]
        saved = run.load(verdict)
        if saved is not None:  # reached before the run was killed, however fast the rest comes back
            raise OverBudgetError(*saved.about["needed"])
        try:
            return self._cross_validate(candidate, clock)
        except OverBudgetError as error:
            run.save(verdict, {}, {"needed": list(error.args)})
            raise

    def _cross_validate(self, candidate: Candidate, clock: Clock) -> CrossValidation:
        experiment = self._experiment
        return cross_validate(
            trainer_of(candidate, experiment),
            experiment.dataset,
            self._folds,
            clock=clock,
            seed=experiment.seed,
            observer=experiment.observer,
            ahead=answer_by_workers(experiment, candidate, self._folds, clock),
        )

    def _note_stopped(self, over: OverBudget, spent: float) -> None:
        self.stopped.append(Attempt(over.strategy, None, None, None, round(spent, 3), stopped=True))
        self._experiment.observer.say(f"auto: {over_budget_in_words(over, stopped=True)}")


def _announce(plan: AutoPlan, observer: Observer) -> None:
    """Say what is tried next, how long it takes, and what is skipped."""
    tried, skipped = plan.tried_in_words, plan.skipped_in_words
    next_ = f"next {tried}, to see whether training more of the network is better" if tried else ""
    busy = "other programs keep this machine busy, and it takes longer while they do" if plan.busy else ""
    if next_ or skipped:
        observer.say(f"auto: {'; '.join(filter(None, [next_, skipped, busy]))}")


def _too_long(names: Sequence[str]) -> str:
    """Return why `names` were not tried, or not to their end. How long it would take differs from run to run."""
    return f"training {' and '.join(names)} would take longer than {option('budget')}" if names else ""


def _too_late(names: Sequence[str]) -> str:
    """Return why `names` were not begun."""
    verb = "was" if len(names) == 1 else "were"
    return f"{option('budget')} ran out before {' and '.join(names)} {verb} tried" if names else ""


def _accuracy(right: np.ndarray, dataset: Dataset) -> str:
    interval = interval_of(proportion_of(right, dataset.groups))
    bounds = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    return f"{100 * np.mean(right):.1f} %{bounds} right, out-of-fold"


def cheapest(
    losses: Mapping[Candidate, np.ndarray], groups: np.ndarray | None, folds: np.ndarray | None = None
) -> Candidate:
    """Return the first candidate, in order of cost, that no other is proven better than.

    It is tested against each of k - 1 others, each at 5 % / (k - 1) (Bonferroni): so the chance that a costlier one is
    taken than the cheapest of the best is at most 5 %, however many there are.

    Args:
        losses: (n,) log loss of each photo, by candidate.
        groups: (n,) what is not independent, or None.
        folds: (n,) numbers of what was answered by the same classifier; None where one answered all.
    """
    order = list(losses)
    for candidate in order:
        others = [other for other in order if other != candidate]
        if not any(_proven_better(losses, (other, candidate), groups, folds) for other in others):
            return candidate
    return min(order, key=lambda candidate: float(losses[candidate].mean()))


def _proven_better(
    losses: Mapping[Candidate, np.ndarray],
    pair: tuple[Candidate, Candidate],
    groups: np.ndarray | None,
    folds: np.ndarray | None,
) -> bool:
    """Tell whether the first of a pair is proven better than the second, as one of all comparisons of that."""
    better, worse = pair
    p_value = mean_test(losses[worse] - losses[better], groups, widening=fold_widening(folds))[1]
    gain = float(np.mean(losses[worse] - losses[better]))
    return p_value is not None and gain > 0 and p_value <= SIGNIFICANCE / (len(losses) - 1)


def _attempts(
    outcomes: Mapping[Candidate, CrossValidation],
    losses: Mapping[Candidate, np.ndarray],
    groups: np.ndarray | None,
    folds: np.ndarray,
) -> list[Attempt]:
    base = next(iter(losses.values()))
    found = []
    for candidate, outcome in outcomes.items():
        gain, _ = mean_test(base - losses[candidate], groups, widening=fold_widening(folds))
        interval = (gain.low, gain.high) if np.isfinite([gain.low, gain.high]).all() else None
        log_loss = float(losses[candidate].mean())
        found.append(Attempt(str(candidate), log_loss, gain.value, interval, round(outcome.seconds, 3)))
    return found


def _reason(
    chosen: Candidate,
    losses: Mapping[Candidate, np.ndarray],
    groups: np.ndarray | None,
    folds: np.ndarray,
    stop: str,
) -> str:
    base, *others = losses
    parts = []
    for other in others:
        worse, _ = mean_test(losses[other] - losses[base], groups, widening=fold_widening(folds))
        parts.append(f"{other}: log loss {worse.value:+.3f} [{worse.low:+.3f}, {worse.high:+.3f}]")
    proven = chosen != base and _proven_better(losses, (chosen, base), groups, folds)
    taken = {
        "frozen": "training more of the network is not proven to help" if others else "the last layer alone is trained",
    }.get(
        chosen.strategy,
        f"training {chosen} is " + ("proven to help" if proven else "the cheapest that nothing is proven better than"),
    )
    return f"{taken}" + (f" ({'; '.join(parts)} against the last layer alone)" if parts else "") + f"; {stop}"
