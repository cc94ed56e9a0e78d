"""What `auto` will try, how long that takes, and what it leaves out for its budget: known before it begins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from regraft.classifier.record import FitRecord, OverBudget
from regraft.engines.speed import Contention
from regraft.errors import ModelError, option
from regraft.networks.plan import Plan
from regraft.options import Duration
from regraft.transfer.experiment import Experiment, plan_of
from regraft.transfer.forecast import Forecast, Trial, seconds_in_words
from regraft.transfer.strategies import AUTO, Candidate

_BEYOND = 1.5  # times the budget: estimates are rough
_LONG = 60.0  # seconds of a pass that started an accelerator, which takes some
_MARGIN = 1.1  # of the budget that is named for an estimate
# seconds that budgets are rounded up to, each below a limit
_STEPS = ((120, 10), (600, 60), (7200, 300), (36_000, 1800), (math.inf, 3600))


@dataclass(frozen=True)
class AutoPlan:
    """How long each candidate takes, and so which of them are tried.

    Attributes:
        seconds: that it takes to try each, by name and in order of cost; without the last layer alone.
        budget: seconds for all of them.
        busy: whether other programs ran meanwhile: it takes longer while they do.
    """

    seconds: Mapping[str, float]
    budget: float
    busy: bool = False

    @classmethod
    def of(cls, forecasts: Mapping[Candidate, Forecast], budget: float, *, busy: bool = False) -> Self:
        """Return the plan that follows from `forecasts`, in order of cost."""
        costly = {str(one): forecast.trying for one, forecast in forecasts.items() if one.kind.trains_network}
        return cls(costly, budget, busy)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Return the names of what is not tried: with it, all would take longer than the budget by half or more.

        What exceeds the budget by less is begun, and stopped as soon as its pace shows that it does not fit.
        """
        found, total = [], 0.0
        for name, seconds in self.seconds.items():
            if total + seconds > _BEYOND * self.budget:
                found.append(name)
            else:
                total += seconds
        return tuple(found)

    def with_seconds(self, name: str, seconds: float) -> Self:
        """Return the same with what has become known of how long one candidate takes."""
        return replace(self, seconds={**self.seconds, name: seconds})

    def over_budget(self, name: str) -> OverBudget:
        """Return how long `name` takes, and which budget would let it and what is tried before it."""
        total = 0.0
        for other, seconds in self.seconds.items():
            total += seconds
            if other == name:
                break
        enough = option("budget", Duration(_rounded_up(_MARGIN * total)))
        return OverBudget(name, round(self.seconds[name], 1), enough)

    @property
    def tried_in_words(self) -> str:
        """Return "top (about 3.3 min), then whole (about 20 min)"; "" where nothing is tried."""
        skipped, total, parts = self.skipped, 0.0, []
        for name, seconds in self.seconds.items():
            if name not in skipped:
                total += seconds
                unsure = f", if {option('budget', Duration(self.budget))} lets it" if total > self.budget else ""
                parts.append(f"{name} ({seconds_in_words(seconds)}{unsure})")
        return ", then ".join(parts)

    @property
    def skipped_in_words(self) -> str:
        """Return "whole would take about 40 min: skipped, budget=3000 lets it"; "" where nothing is skipped."""
        over = {name: self.over_budget(name).budget for name in self.skipped}
        return "; ".join(
            f"{name} would take {seconds_in_words(self.seconds[name])}: skipped, {budget} lets it"
            for name, budget in over.items()
        )


def over_budget_in_words(over: OverBudget, *, stopped: bool = False) -> str:
    """Return "whole was skipped: it would take about 40 min, budget=3000 lets it"; or that it was stopped."""
    what = f"{over.strategy} was {'stopped' if stopped else 'skipped'}"
    if over.seconds is None:  # of a file
        return f"{what}: a larger {option('budget')} lets it"
    return f"{what}: it would take {seconds_in_words(over.seconds)}, {over.budget} lets it"


def left_out_in_words(record: FitRecord) -> str:
    """Return what "auto" skipped or stopped, and what would let it; "" where that is nothing."""
    stopped = {attempt.strategy for attempt in record.tried or () if attempt.stopped}
    return "; ".join(over_budget_in_words(one, stopped=one.strategy in stopped) for one in record.over_budget)


def auto_in_words(record: FitRecord | None) -> str:
    """Return what "auto" tried and took, what it left out and what would let that; "" where nothing was to be chosen.

    E.g. "auto tried frozen and top and took frozen; whole was skipped: it would take about 40 min, budget=3000 lets
    it."
    """
    if record is None or record.tried is None:
        return ""
    tried = [attempt.strategy for attempt in record.tried if not attempt.stopped]
    left_out = left_out_in_words(record)
    begin = f"{AUTO}: {(record.reason or '').removesuffix('.')}"
    if len(tried) > 1 or left_out:
        begin = f"{AUTO} tried {' and '.join(tried)} and took {record.strategy}"
    return f"{'; '.join(filter(None, [begin, left_out]))}."


def plan_auto(candidates: Sequence[Candidate], experiment: Experiment, folds: np.ndarray, *, budget: float) -> AutoPlan:
    """Return the plan for `candidates`, in order of cost; that of a run that is resumed stands.

    It is made by a trial of seconds; how fast photos are read is taken from the pass that gave the features, unless
    that was so short that most of it may have been the start of an accelerator.

    Args:
        candidates: that train more than the last layer.
        experiment: what is learned from.
        folds: (n,) fold numbers.
        budget: seconds for all of them.
    """
    run, job = experiment.run, ["auto", "plan"]
    saved = run.load(job)
    if saved is not None:
        return AutoPlan(saved.about, budget)
    features, sources = experiment.features, experiment.dataset.samples.sources
    views = features.computed * experiment.settings.passes
    known = 2 * features.computed >= len(sources)
    if experiment.compute.processor.type != "cpu":
        known &= features.seconds >= _LONG
    photo = features.seconds / views if known else None
    contention = Contention()
    trial = Trial(experiment.backbone, sources, experiment.settings, experiment.compute, photo=photo)
    plans = {one: plan_of(one, experiment.backbone, experiment.schedule) for one in candidates}
    forecasts = forecast_all(trial, plans, photos=len(sources), folds=len(np.unique(folds)))
    plan = AutoPlan.of(forecasts, budget, busy=contention.found)
    run.save(job, {}, plan.seconds)
    return plan


def forecast_all(
    trial: Trial, plans: Mapping[Candidate, Plan], *, photos: int, folds: int
) -> dict[Candidate, Forecast]:
    """Return the forecasts of candidates, up to one that the network cannot be cut for: `auto` ends there.

    Args:
        trial: on this machine.
        plans: of the candidates, in order of cost.
        photos: that are learned from.
        folds: on which candidates are compared.
    """
    found: dict[Candidate, Forecast] = {}
    for candidate, plan in plans.items():
        try:
            found[candidate] = trial.forecast(candidate, plan, photos=photos, folds=folds)
        except ModelError:
            break
    return found


def _rounded_up(seconds: float) -> float:
    """Return the next time that people would say.

    >>> [_rounded_up(seconds) for seconds in (1, 95, 121, 2860, 7300)]
    [10.0, 100.0, 180.0, 3000.0, 9000.0]
    """
    step = next(step for limit, step in _STEPS if seconds <= limit)
    return float(math.ceil(round(seconds / step, 6)) * step)
