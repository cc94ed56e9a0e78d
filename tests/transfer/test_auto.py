"""What is taken: the cheapest that nothing is proven better than; evaluated on folds that had no part in the choice."""

import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import binomtest
from tests.fixtures.learning import dataset_of
from tests.transfer import scripted
from tests.transfer.scripted import DATASET, FOLDS, FROZEN, LABELS, NOISE, TOP, WHOLE, N, Scripted, Slow, right

from regraft.classifier.record import Attempt, OverBudget
from regraft.engines.compute import Compute
from regraft.errors import ModelError
from regraft.progress import Observer
from regraft.training import checkpoints
from regraft.transfer import auto
from regraft.transfer.auto import Choice, cheapest, choose
from regraft.transfer.auto_plan import AutoPlan
from regraft.transfer.budget import Pace
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import HeldOutLogits

Run = Callable[..., Choice]
Reopen = Callable[[], checkpoints.Run]
ESTIMATES = {"top": 100.0, "whole": 200.0}  # seconds


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(
        trainers: Mapping[Candidate, Scripted],
        *,
        budget: float = 600,
        estimates: Mapping[str, float] = ESTIMATES,
        busy: bool = False,
        resumed: checkpoints.Run | None = None,
        observer: Observer | None = None,
    ) -> Choice:
        monkeypatch.setattr(auto, "trainer_of", lambda candidate, _: trainers[candidate])
        monkeypatch.setattr(auto, "plan_auto", lambda *_, budget: AutoPlan(estimates, budget, busy))
        run = resumed or checkpoints.nowhere()
        experiment = SimpleNamespace(
            dataset=DATASET, seed=0, observer=observer or Observer(), run=run, compute=Compute()
        )
        return choose(experiment, FOLDS, budget=budget)  # type: ignore[arg-type]

    return go


def test_more_training_that_gains_nothing_is_not_taken(run: Run) -> None:
    same = right(1.0, 2.0, 0)
    choice = run({FROZEN: Scripted(FROZEN, same), TOP: Scripted(TOP, same), WHOLE: Scripted(WHOLE, same)})
    assert choice.candidate == FROZEN
    assert [row.strategy for row in choice.tried] == ["frozen", "top", "whole"]
    assert choice.tried[1].gain == 0
    assert choice.reason.startswith("training more of the network is not proven to help (top: log loss +0.000")


def test_a_proven_gain_is_taken_and_the_cheapest_of_equals(run: Run) -> None:
    poor, good = right(0.5, 1.0, 0), right(2.5, 1.0, 0)
    choice = run({FROZEN: Scripted(FROZEN, poor), TOP: Scripted(TOP, good), WHOLE: Scripted(WHOLE, good)})
    assert choice.candidate == TOP
    losses = [-np.log(poor), -np.log(good)]
    assert choice.tried[1].gain == pytest.approx((losses[0] - losses[1]).mean())
    low, high = choice.tried[1].gain_interval
    # Student's quantile of N - 1, and of k folds 1 + k / (k - 1) times the variance (Nadeau and Bengio 2003)
    k = len(np.unique(FOLDS))
    half = stdtrit(N - 1, 0.975) * (losses[0] - losses[1]).std(ddof=1) * np.sqrt((1 + k / (k - 1)) / N)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)
    assert "training top is proven to help" in choice.reason


def test_a_network_that_cannot_be_cut_keeps_its_last_layer(run: Run) -> None:
    class Uncut(Scripted):
        def predict_held_out(
            self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
        ) -> HeldOutLogits:
            raise ModelError("xcit cannot be cut before blocks.2.")

    poor = right(0.5, 1.0, 0)
    choice = run({FROZEN: Scripted(FROZEN, poor), TOP: Uncut(TOP, poor), WHOLE: Scripted(WHOLE, poor)})
    assert choice.candidate == FROZEN
    assert choice.reason == "the last layer alone is trained; top cannot be tried: xcit cannot be cut before blocks.2."
    with pytest.raises(ModelError, match="cannot be cut"):
        run({FROZEN: Uncut(FROZEN, poor)})


def test_what_is_taken_without_a_proven_gain_of_its_own_is_not_called_proven(run: Run) -> None:
    """Whole gains 0.02 on every photo, which is proven; top gains as much on average, by 0.35 more or less."""
    poor = right(-0.5, 0.1, 0)
    uneven = poor * np.exp(0.02 + np.where(np.arange(N) % 4 < 2, 0.35, -0.35))
    even = poor * np.exp(0.02 + 0.002 * NOISE[1])
    choice = run({FROZEN: Scripted(FROZEN, poor), TOP: Scripted(TOP, uneven), WHOLE: Scripted(WHOLE, even)})
    assert choice.candidate == TOP
    assert choice.reason.startswith("training top is the cheapest that nothing is proven better than (top: log loss -0")


def test_what_does_not_fit_into_the_budget_is_named_and_ends_the_search(run: Run) -> None:
    poor, good = right(0.5, 1.0, 0), right(2.5, 1.0, 0)
    slow = Scripted(WHOLE, good, forecast=1500.0)
    choice = run({FROZEN: Scripted(FROZEN, poor), TOP: Scripted(TOP, good), WHOLE: slow})
    assert choice.candidate == TOP
    assert choice.reason.endswith("; training whole would take longer than budget")
    assert [(one.strategy, one.stopped) for one in choice.tried] == [("frozen", False), ("top", False), ("whole", True)]
    assert choice.tried[2] == Attempt("whole", None, None, None, 0.0, stopped=True)


def test_no_fold_begins_when_the_time_is_over(run: Run, now: list[float]) -> None:
    """Three folds of 250 s are begun within 600 s; five would be 1250 s."""
    poor = right(0.5, 1.0, 0)
    frozen, top = Slow(FROZEN, poor, now, 1000.0), Slow(TOP, poor, now, 250.0)
    choice = run({FROZEN: frozen, TOP: top, WHOLE: Scripted(WHOLE, poor)})
    assert (len(frozen.trained_on), len(top.trained_on)) == (5, 3)  # the last layer has all the time
    assert choice.tried[1:] == [Attempt("top", None, None, None, 750.0, stopped=True)]
    assert choice.reason == "the last layer alone is trained; training top and whole would take longer than budget"
    # of 1250 s, and of these and 200 more, a tenth more is 1375 and 1595: 25 and 30 minutes
    assert choice.over_budget == [OverBudget("top", 1250.0, "budget=1500"), OverBudget("whole", 200.0, "budget=1800")]


def test_what_is_left_when_the_time_is_over_is_not_begun(run: Run, now: list[float], listener: Any) -> None:
    """Top takes 500 s of 450, as its last fold began within them."""
    poor = right(0.5, 1.0, 0)
    whole = Slow(WHOLE, poor, now, 1.0)
    trainers = {FROZEN: Slow(FROZEN, poor, now, 1.0), TOP: Slow(TOP, poor, now, 100.0), WHOLE: whole}
    choice = run(trainers, budget=450, observer=listener)
    assert not whole.trained_on
    assert [row.strategy for row in choice.tried] == ["frozen", "top"]
    assert choice.reason.endswith("; budget ran out before whole was tried")
    # what top took counts, and not the 100 s that it was said to take: 1.1 x (500 + 200) s are 770, 15 minutes
    assert choice.over_budget == [OverBudget("whole", 200.0, "budget=900")]


def test_what_is_clearly_too_long_is_not_begun(run: Run, listener: Any) -> None:
    poor, good = right(0.5, 1.0, 0), right(2.5, 1.0, 0)
    whole = Scripted(WHOLE, good)
    trainers = {FROZEN: Scripted(FROZEN, poor), TOP: Scripted(TOP, good), WHOLE: whole}
    choice = run(trainers, estimates={"top": 200.0, "whole": 2400.0}, observer=listener)
    assert not whole.trained_on
    assert choice.candidate == TOP
    assert [row.strategy for row in choice.tried] == ["frozen", "top"]
    assert choice.reason.endswith("; training whole would take longer than budget")
    (over,) = choice.over_budget
    assert (over.strategy, over.seconds) == ("whole", 2400.0)
    assert listener.said[1] == (
        "auto: next top (about 3.3 min), to see whether training more of the network is better; whole would take about "
        "40 min: skipped, budget=3000 lets it"
    )


def test_where_all_is_too_long_nothing_more_is_begun(run: Run, listener: Any) -> None:
    poor = right(0.5, 1.0, 0)
    trainers = {c: Scripted(c, poor) for c in (FROZEN, TOP, WHOLE)}
    choice = run(trainers, estimates={"top": 1000.0, "whole": 9000.0}, observer=listener)
    assert [len(trainers[c].trained_on) for c in (FROZEN, TOP, WHOLE)] == [5, 0, 0]
    assert choice.reason == "the last layer alone is trained; training top and whole would take longer than budget"
    assert listener.said[1] == (
        "auto: top would take about 17 min: skipped, budget=1200 lets it; whole would take about 2.5 h: skipped, "
        "budget=12600 lets it"  # 1.1 x 10000 s are a little more than three hours
    )


def test_where_other_programs_run_the_plan_says_so(run: Run, listener: Any) -> None:
    poor = right(0.5, 1.0, 0)
    trainers = {c: Scripted(c, poor) for c in (FROZEN, TOP, WHOLE)}
    run(trainers, estimates={"top": 200.0}, busy=True, observer=listener)
    assert listener.said[1] == (
        "auto: next top (about 3.3 min), to see whether training more of the network is better; other programs keep "
        "this machine busy, and it takes longer while they do"
    )


def test_what_is_stopped_is_reported_with_what_would_let_it(run: Run, listener: Any) -> None:
    """The pace of whole shows that 1500 s are missing: not the 200 s of the estimate."""
    poor = right(0.5, 1.0, 0)
    slow = Scripted(WHOLE, poor, forecast=1500.0)
    choice = run({FROZEN: Scripted(FROZEN, poor), TOP: Scripted(TOP, poor), WHOLE: slow}, observer=listener)
    assert listener.said[-1] == "auto: whole was stopped: it would take about 25 min, budget=1800 lets it"
    assert choice.over_budget == [OverBudget("whole", 1500.0, "budget=1800")]


def test_without_a_budget_only_the_last_layer_is_tried(run: Run, now: list[float]) -> None:
    poor = right(0.5, 1.0, 0)
    top = Slow(TOP, poor, now, 1.0)
    choice = run({FROZEN: Slow(FROZEN, poor, now, 1.0), TOP: top, WHOLE: Scripted(WHOLE, poor)}, budget=0)
    assert not top.trained_on
    assert choice.reason == "the last layer alone is trained; budget=0 lets nothing more be tried"


def test_a_verdict_stands_when_the_run_is_resumed(run: Run, now: list[float], reopen: Reopen) -> None:
    """What would be taken now that its folds come back at once was too slow before the run was killed."""
    poor, good = right(0.5, 1.0, 0), right(2.5, 1.0, 0)
    slow = {FROZEN: Scripted(FROZEN, poor), TOP: Slow(TOP, good, now, 250.0), WHOLE: Scripted(WHOLE, good)}
    first = run(slow, resumed=reopen())
    quick = Scripted(TOP, good)
    again = run({**slow, TOP: quick}, resumed=reopen())
    assert not quick.trained_on
    assert (again.candidate, again.reason) == (first.candidate, first.reason)
    assert (again.tried[1:], again.over_budget) == (first.tried[1:], first.over_budget)
    assert first.reason.endswith("longer than budget")
    assert run({**slow, TOP: quick}).candidate == TOP


def test_seconds_of_a_killed_run_count(run: Run, now: list[float], reopen: Reopen) -> None:
    """Of 600 s a killed run has spent 400 in two folds, which come back at once; one more begins, and no other."""
    poor = right(0.5, 1.0, 0)

    class Killed(Slow):
        def predict_held_out(
            self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
        ) -> HeldOutLogits:
            if len(self.trained_on) == 2:
                raise KeyboardInterrupt
            return super().predict_held_out(train, held_out, name=name, pace=pace)

    class Resumed(Slow):
        def predict_held_out(
            self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
        ) -> HeldOutLogits:
            if len(self.trained_on) < 2:
                self.trained_on.append(train)
                return HeldOutLogits(np.zeros((len(held_out), 2)), 1.0, 200.0, 1)
            return super().predict_held_out(train, held_out, name=name, pace=pace)

    others = {FROZEN: Scripted(FROZEN, poor), WHOLE: Scripted(WHOLE, poor)}
    with pytest.raises(KeyboardInterrupt):
        run({**others, TOP: Killed(TOP, poor, now, 200.0)}, resumed=reopen())
    now[0] += 10_000.0  # nobody had time
    top = Resumed(TOP, poor, now, 200.0)
    choice = run({**others, TOP: top}, resumed=reopen())
    assert len(top.trained_on) == 3
    assert choice.reason.endswith("; training top and whole would take longer than budget")
    assert choice.tried[1].seconds == 600.0
    assert choice.over_budget[0].seconds == 1000.0  # 5 x 200 s


def test_with_five_mistakes_nothing_more_is_tried(run: Run) -> None:
    almost = np.full(N, 0.9)
    almost[:5] = 0.1
    choice = run({FROZEN: Scripted(FROZEN, almost), TOP: Scripted(TOP, almost), WHOLE: Scripted(WHOLE, almost)})
    assert [row.strategy for row in choice.tried] == ["frozen"]
    assert "errs on 5 photos: too few to prove a gain" in choice.reason
    almost[5] = 0.1
    assert len(run({c: Scripted(c, almost) for c in (FROZEN, TOP, WHOLE)}).tried) == 3


def test_what_the_last_layer_gives_is_reported_before_more_is_tried(run: Run, listener: Any) -> None:
    """50 of 200 wrong; the score interval (Wilson 1927) of 150 of 200 is 68.6 to 80.5 %."""
    often = np.full(N, 0.9)
    often[:50] = 0.1
    trainers = {c: Scripted(c, often) for c in (FROZEN, TOP, WHOLE)}
    run(trainers, observer=listener)
    assert listener.said == [
        "the last layer alone: 75.0 % [68.6, 80.5] right, out-of-fold",
        "auto: next top (about 1.7 min), then whole (about 3.3 min), to see whether training more of the network is "
        "better",
    ]


def test_the_accuracy_of_uneven_classes_lies_in_its_own_interval(run: Run, listener: Any, monkeypatch: Any) -> None:
    """Of 180 photos 162 are right, of 20 others 2: 82 % of all; the mean of the recalls would be 50 %."""
    labels = (np.arange(N) >= 180).astype(int)
    monkeypatch.setattr(scripted, "LABELS", labels)
    monkeypatch.setattr(sys.modules[__name__], "DATASET", dataset_of(labels, classes=("a", "b")))
    often = np.full(N, 0.9)
    often[:18] = often[180:198] = 0.1
    run({c: Scripted(c, often) for c in (FROZEN, TOP, WHOLE)}, observer=listener)
    low, high = 100 * np.array(binomtest(164, N).proportion_ci(method="wilson"))
    assert listener.said[0] == f"the last layer alone: 82.0 % [{low:.1f}, {high:.1f}] right, out-of-fold"


def test_a_fold_has_no_say_in_what_answers_it(run: Run) -> None:
    """Top is better in fold 0 alone: with it the gain is proven, and without it, in evaluating fold 0, it is not."""
    frozen = right(1.0, 0.3, 0)
    top = frozen.copy()
    top[FOLDS == 0] = 0.999
    trainers = {FROZEN: Scripted(FROZEN, frozen), TOP: Scripted(TOP, top), WHOLE: Scripted(WHOLE, frozen, forecast=1e4)}
    wrong = frozen < 0.5
    assert wrong.sum() < 6  # so that the search would end: make six wrong in both
    frozen[10:16], top[10:16] = 0.4, 0.4
    choice = run(trainers)
    assert choice.candidate == TOP
    rows = np.arange(N)
    said = choice.probabilities[rows, LABELS]
    assert np.allclose(said[FOLDS == 0], frozen[FOLDS == 0])  # not the 0.999 that the choice rests on
    assert np.allclose(said[FOLDS != 0], top[FOLDS != 0])


def test_of_many_equal_candidates_the_cheapest_is_taken_in_nineteen_of_twenty_cases() -> None:
    """Eight candidates, alike in all, 300 samples: at 95 % each, seven others would make it one of seven."""
    generator, taken = np.random.default_rng(0), 0
    candidates = [Candidate("top", train_from=f"stage {number}") for number in range(8)]
    for _ in range(300):
        shared = generator.exponential(size=100)
        losses = {candidate: shared + generator.normal(0, 0.1, 100) for candidate in candidates}
        taken += cheapest(losses, None) != candidates[0]
    assert taken <= 15


def test_groups_count_as_one() -> None:
    """Gains of -0.5 and 1 in turn have mean 0.25, and deviation 0.75 (0.79 of ten): ten standard errors of 0.25
    reach below 0, two hundred of 0.053 do not.
    """
    gain = np.repeat(np.tile([-0.5, 1.0], 5), 20)
    losses = {FROZEN: np.full(N, 1.0), TOP: 1.0 - gain}
    assert cheapest(losses, None) == TOP
    assert cheapest(losses, np.repeat(np.arange(10), 20)) == FROZEN
