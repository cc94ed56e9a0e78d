"""What is taken: the cheapest that nothing is proven better than; judged by folds that had no part in the choice."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from regraft.errors import ModelError
from regraft.evaluation.calibration import fit_temperature
from regraft.heads.probe import Labelled
from regraft.progress import Observer
from regraft.training import checkpoints as checkpoint
from regraft.training.checkpoints import nowhere
from regraft.transfer import auto as choose_module
from regraft.transfer import cross_validation as comparison
from regraft.transfer.auto import Choice, cheapest, choose
from regraft.transfer.cross_validation import Clock, KeptClock, Outcome, cross_validate, some_of_each
from regraft.transfer.strategies import Answers, Candidate, OverBudgetError, Pace

FROZEN, TOP, WHOLE = Candidate("frozen"), Candidate("top"), Candidate("whole")
N = 200
LABELS = np.arange(N) % 2
FOLDS = np.arange(N) // 2 % 5
NOISE = np.random.default_rng(0).normal(size=(3, N))


class Scripted:
    """Answers with given probabilities of the true class, at a given cost."""

    def __init__(
        self, candidate: Candidate, right: np.ndarray, *, forecast: float = 0.0, temperature: float | None = 1.0
    ) -> None:
        self.candidate = candidate
        self._temperature = temperature
        self._right, self._forecast = right, forecast
        self.taught: list[np.ndarray] = []

    def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
        if self._forecast:
            raise OverBudgetError(self._forecast)
        self.taught.append(learn)
        probabilities = np.empty((len(judge), 2))
        probabilities[np.arange(len(judge)), LABELS[judge]] = self._right[judge]
        probabilities[np.arange(len(judge)), 1 - LABELS[judge]] = 1 - self._right[judge]
        return Answers(np.log(probabilities), self._temperature, 1.0, len(learn))


def right(level: float, spread: float, row: int) -> np.ndarray:
    """Return (n,) probabilities of the true class."""
    return 1 / (1 + np.exp(-(level + spread * NOISE[row])))


Run = Callable[..., Choice]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(
        methods: Mapping[Candidate, Scripted],
        *,
        budget: float = 600,
        taken_up: checkpoint.Run | None = None,
        observer: Observer | None = None,
    ) -> Choice:
        monkeypatch.setattr(choose_module, "method_of", lambda candidate, _: methods[candidate])
        data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
        material = SimpleNamespace(data=data, seed=0, observer=observer or Observer(), run=taken_up or nowhere())
        return choose(material, FOLDS, budget=budget)  # type: ignore[arg-type]

    return go


def test_more_training_that_gains_nothing_is_not_taken(run: Run) -> None:
    same = right(1.0, 2.0, 0)
    choice = run({FROZEN: Scripted(FROZEN, same), TOP: Scripted(TOP, same), WHOLE: Scripted(WHOLE, same)})
    assert choice.candidate == FROZEN
    assert [row["strategy"] for row in choice.tried] == ["frozen", "top", "whole"]
    assert choice.tried[1]["gain"] == 0
    assert choice.reason.startswith("training more of the network is not proven to help (top: log loss +0.000")


def test_a_proven_gain_is_taken_and_the_cheapest_of_equals(run: Run) -> None:
    poor, good = right(0.5, 1.0, 0), right(2.5, 1.0, 0)
    choice = run({FROZEN: Scripted(FROZEN, poor), TOP: Scripted(TOP, good), WHOLE: Scripted(WHOLE, good)})
    assert choice.candidate == TOP
    losses = [-np.log(poor), -np.log(good)]
    assert choice.tried[1]["gain"] == pytest.approx((losses[0] - losses[1]).mean())
    low, high = choice.tried[1]["gain_interval"]
    half = 1.95996 * (losses[0] - losses[1]).std(ddof=1) / np.sqrt(N)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)
    assert "training top is proven to help" in choice.reason


def test_a_network_that_cannot_be_cut_keeps_its_last_layer(run: Run) -> None:
    class Uncut(Scripted):
        def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
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
    assert choice.reason.endswith("; training whole would take longer than --budget")


class Slow(Scripted):
    """Takes time for each fold, on a clock of its own, and hears nothing of the pace."""

    def __init__(self, candidate: Candidate, right: np.ndarray, now: list[float], seconds: float) -> None:
        super().__init__(candidate, right)
        self._now, self._each = now, seconds

    def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
        self._now[0] += self._each
        found = super().answer(learn, judge, name=name, pace=pace)
        return Answers(found.logits, found.temperature, self._each, found.images)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which passes by what is added to it."""
    time = [0.0]
    monkeypatch.setattr(comparison.time, "monotonic", lambda: time[0])
    return time


Folder = Callable[[], checkpoint.Run]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return what opens the same run again, as the next process does."""
    return lambda: checkpoint.Run(tmp_path / "run", {}, restart=False, observer=Observer())


def test_no_fold_begins_when_the_time_is_over(run: Run, now: list[float]) -> None:
    """Three folds of 250 s are begun within 600 s; five would be 1250 s."""
    poor = right(0.5, 1.0, 0)
    frozen, top = Slow(FROZEN, poor, now, 1000.0), Slow(TOP, poor, now, 250.0)
    choice = run({FROZEN: frozen, TOP: top, WHOLE: Scripted(WHOLE, poor)})
    assert (len(frozen.taught), len(top.taught)) == (5, 3)  # the last layer has all the time
    assert [row["strategy"] for row in choice.tried] == ["frozen"]
    assert choice.reason.endswith("; training top would take longer than --budget")


def test_without_a_budget_only_the_last_layer_is_tried(run: Run, now: list[float]) -> None:
    poor = right(0.5, 1.0, 0)
    top = Slow(TOP, poor, now, 1.0)
    choice = run({FROZEN: Slow(FROZEN, poor, now, 1.0), TOP: top, WHOLE: Scripted(WHOLE, poor)}, budget=0)
    assert not top.taught
    assert choice.reason == "the last layer alone is trained; --budget is over before top is tried"


def test_a_verdict_stands_when_the_run_is_taken_up(run: Run, now: list[float], folder: Folder) -> None:
    """What would be taken now that its folds come back at once was too slow before the run was killed."""
    poor, good = right(0.5, 1.0, 0), right(2.5, 1.0, 0)
    slow = {FROZEN: Scripted(FROZEN, poor), TOP: Slow(TOP, good, now, 250.0), WHOLE: Scripted(WHOLE, good)}
    first = run(slow, taken_up=folder())
    quick = Scripted(TOP, good)
    again = run({**slow, TOP: quick}, taken_up=folder())
    assert not quick.taught
    assert (again.candidate, again.reason) == (first.candidate, first.reason)
    assert first.reason.endswith("longer than --budget")
    assert run({**slow, TOP: quick}).candidate == TOP


def test_seconds_of_a_killed_run_count(run: Run, now: list[float], folder: Folder) -> None:
    """Of 600 s a killed run has spent 400 in two folds, which come back at once; one more begins, and no other."""
    poor = right(0.5, 1.0, 0)

    class Killed(Slow):
        def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
            if len(self.taught) == 2:
                raise KeyboardInterrupt
            return super().answer(learn, judge, name=name, pace=pace)

    class TakenUp(Slow):
        def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
            if len(self.taught) < 2:
                self.taught.append(learn)
                return Answers(np.zeros((len(judge), 2)), 1.0, 200.0, 1)
            return super().answer(learn, judge, name=name, pace=pace)

    others = {FROZEN: Scripted(FROZEN, poor), WHOLE: Scripted(WHOLE, poor)}
    with pytest.raises(KeyboardInterrupt):
        run({**others, TOP: Killed(TOP, poor, now, 200.0)}, taken_up=folder())
    now[0] += 10_000.0  # nobody had time
    top = TakenUp(TOP, poor, now, 200.0)
    choice = run({**others, TOP: top}, taken_up=folder())
    assert len(top.taught) == 3
    assert choice.reason.endswith("; training top would take longer than --budget")  # 5 x 200 s


def test_what_has_begun_in_time_may_be_taken_up_after_it(now: list[float], folder: Folder) -> None:
    clock = KeptClock(100.0, folder(), "clock")
    assert clock.lets_begin("fold 1")
    now[0] += 101.0
    assert not clock.lets_begin("fold 2")
    clock.note()
    clock = KeptClock(100.0, folder(), "clock")
    assert clock.left() == -1.0
    assert clock.lets_begin("fold 1")
    assert not clock.lets_begin("fold 2")


def test_what_came_back_at_once_is_taken_off_the_clock(now: list[float]) -> None:
    """Of two parts of 100 s the first spent 40, of which 30 in a process that was killed."""
    whole = Clock(100.0)
    part = whole.share(2)
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))

    class Replayed(Scripted):
        def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
            now[0] += 2.0
            found = super().answer(learn, judge, name=name, pace=pace)
            return Answers(found.logits, 1.0, 8.0, 1)

    outcome = cross_validate(Replayed(TOP, right(1.0, 1.0, 0)), data, FOLDS, clock=part)
    assert outcome.folds == 5
    assert (part.left(), whole.left()) == (10.0, 60.0)
    short = Clock(20.0)
    outcome = cross_validate(Replayed(TOP, right(1.0, 1.0, 0)), data, FOLDS, clock=short, partial=True)
    assert outcome.folds == 2  # after which 4 s are left, and a fold takes 8


def test_what_is_done_once_has_a_forecast_of_its_own(now: list[float]) -> None:
    """A tenth in ten seconds: ninety more for the pass over the views, whatever number of trainings follows."""

    def hear(clock: Clock) -> None:
        pace = comparison._forecast(clock, 5)
        pace(0.0, once=True)
        now[0] += 10.0
        pace(0.1, once=True)

    hear(Clock(101.0))
    with pytest.raises(OverBudgetError) as caught:
        hear(Clock(99.0))
    assert caught.value.args[0] == pytest.approx(100.0)


def test_with_five_mistakes_nothing_more_is_tried(run: Run) -> None:
    almost = np.full(N, 0.9)
    almost[:5] = 0.1
    choice = run({FROZEN: Scripted(FROZEN, almost), TOP: Scripted(TOP, almost), WHOLE: Scripted(WHOLE, almost)})
    assert [row["strategy"] for row in choice.tried] == ["frozen"]
    assert "errs on 5 photos: too few to prove a gain by" in choice.reason
    almost[5] = 0.1
    assert len(run({c: Scripted(c, almost) for c in (FROZEN, TOP, WHOLE)}).tried) == 3


def test_what_the_last_layer_gives_is_told_before_more_is_tried(run: Run, listener: Any) -> None:
    """50 of 200 wrong; the score interval (Wilson 1927) of 150 of 200 is 68.6 to 80.5 %."""
    often = np.full(N, 0.9)
    often[:50] = 0.1
    methods = {c: Scripted(c, often) for c in (FROZEN, TOP, WHOLE)}
    run(methods, observer=listener)
    assert listener.said == [
        "the last layer alone: 75.0 % [68.6, 80.5] right, out-of-fold. Now more of the network is trained, for up to "
        "10 minutes (--budget), to see whether that is better."
    ]


def test_a_fold_has_no_say_in_what_answers_for_it(run: Run) -> None:
    """Top is better in fold 0 alone: with it the gain is proven, and without it, where fold 0 is judged, it is not."""
    frozen = right(1.0, 0.3, 0)
    top = frozen.copy()
    top[FOLDS == 0] = 0.999
    methods = {FROZEN: Scripted(FROZEN, frozen), TOP: Scripted(TOP, top), WHOLE: Scripted(WHOLE, frozen, forecast=1e4)}
    wrong = frozen < 0.5
    assert wrong.sum() < 6  # so that the search would end: make six wrong in both
    frozen[10:16], top[10:16] = 0.4, 0.4
    choice = run(methods)
    assert choice.candidate == TOP
    rows = np.arange(N)
    said = choice.probabilities[rows, LABELS]
    assert np.allclose(said[FOLDS == 0], frozen[FOLDS == 0])  # not the 0.999 that the choice rests on
    assert np.allclose(said[FOLDS != 0], top[FOLDS != 0])


def test_groups_count_as_one() -> None:
    """Gains of -0.5 and 1 in turn have mean 0.25, and deviation 0.75 (0.79 of ten): ten standard errors of 0.25
    reach below 0, two hundred of 0.053 do not.
    """
    gain = np.repeat(np.tile([-0.5, 1.0], 5), 20)
    losses = {FROZEN: np.full(N, 1.0), TOP: 1.0 - gain}
    assert cheapest(losses, None) == TOP
    assert cheapest(losses, np.repeat(np.arange(10), 20)) == FROZEN


def test_smaller_sizes_are_part_of_larger_ones() -> None:
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    photos = np.flatnonzero(FOLDS != 0)
    small, large = (some_of_each(data, photos, size=size, seed=0) for size in (5, 20))
    assert np.bincount(LABELS[small]).tolist() == [5, 5]
    assert np.bincount(LABELS[large]).tolist() == [20, 20]
    assert set(small) <= set(large) <= set(photos)
    assert np.array_equal(some_of_each(data, photos, size=None, seed=0), photos)
    assert len(some_of_each(data, photos, size=10**6, seed=0)) == len(photos)


def test_every_photo_is_answered_for_by_what_learned_without_its_fold() -> None:
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    method = Scripted(FROZEN, right(1.0, 1.0, 0))
    outcome = cross_validate(method, data, FOLDS, clock=Clock(float("inf")))
    assert outcome.folds == 5
    assert outcome.judged.all()
    assert (outcome.seconds, outcome.images) == (5.0, 4 * N)
    assert [sorted(set(FOLDS[learn])) for learn in method.taught] == [[f for f in range(5) if f != k] for k in range(5)]


def test_when_the_time_is_over_fewer_folds_are_judged_or_none() -> None:
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    method = Scripted(FROZEN, right(1.0, 1.0, 0))
    outcome = cross_validate(method, data, FOLDS, clock=Clock(0.0), partial=True)
    assert outcome.folds == 1
    assert np.array_equal(outcome.judged, FOLDS == 0)
    with pytest.raises(OverBudgetError):
        cross_validate(Scripted(TOP, right(1.0, 1.0, 0), forecast=99.0), data, FOLDS, clock=Clock(0.0), partial=True)


def test_a_fold_s_temperature_is_that_of_the_other_folds() -> None:
    """What a fold's own labels say has no part in it."""
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    level = right(1.0, 1.0, 0)
    outcome = cross_validate(Scripted(TOP, level, temperature=None), data, FOLDS, clock=Clock(float("inf")))
    logits = np.empty((N, 2))
    logits[np.arange(N), LABELS], logits[np.arange(N), 1 - LABELS] = np.log(level), np.log(1 - level)
    for fold in range(5):
        rest = fold != FOLDS
        expected = softmax(logits[~rest] / fit_temperature(logits[rest], LABELS[rest]), axis=1)
        assert np.allclose(outcome.probabilities[~rest], expected, atol=1e-6)
    assert outcome.temperature == pytest.approx(fit_temperature(logits, LABELS), rel=1e-6)
    assert cross_validate(Scripted(TOP, level), data, FOLDS, clock=Clock(float("inf"))).temperature is None


def test_one_fold_alone_keeps_its_logits_and_says_that_they_are_not_calibrated() -> None:
    """There is no other fold to set the temperature by; what a training set its own needs none."""
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    level = right(1.0, 1.0, 0)

    def outcome(temperature: float | None, seconds: float) -> Outcome:
        method = Scripted(TOP, level, temperature=temperature)
        return cross_validate(method, data, FOLDS, clock=Clock(seconds), partial=True)

    alone = outcome(None, 0.0)
    judged = FOLDS == 0
    assert np.allclose(alone.probabilities[judged, LABELS[judged]], level[judged])
    assert not alone.calibrated
    assert outcome(1.0, 0.0).calibrated
    assert outcome(None, float("inf")).calibrated


def test_the_one_fold_without_a_temperature_takes_that_of_the_others_logits() -> None:
    """Logits ten times too large in all folds; only fold 2 could not hold photos out to find that by itself."""
    level = right(1.0, 1.0, 0)

    class Once(Scripted):
        def answer(self, learn: np.ndarray, judge: np.ndarray, *, name: str, pace: Pace | None = None) -> Answers:
            found = super().answer(learn, judge, name=name, pace=pace)
            temperature = None if name.startswith("fold 3") else 10.0
            return Answers(10 * found.logits, temperature, 1.0, len(learn))

    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    outcome = cross_validate(Once(TOP, level), data, FOLDS, clock=Clock(float("inf")))
    logits = np.zeros((N, 2))
    logits[np.arange(N), LABELS], logits[np.arange(N), 1 - LABELS] = np.log(level), np.log(1 - level)
    rest = FOLDS != 2
    expected = softmax(10 * logits[~rest] / fit_temperature(10 * logits[rest], LABELS[rest]), axis=1)
    assert np.allclose(outcome.probabilities[~rest], expected, atol=1e-6)


def test_the_forecast_is_of_the_pace_without_the_slow_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds for a tenth: ninety more for this training, and another hundred for the second."""
    now = [0.0]
    monkeypatch.setattr(comparison.time, "monotonic", lambda: now[0])

    def hear(clock: Clock, trainings: int) -> None:
        pace = comparison._forecast(clock, trainings)
        now[0] += 1000.0  # before the first step is done
        pace(0.1)
        now[0] += 10.0
        pace(0.2)

    hear(Clock(1000.0 + 10.0 + 181.0), 2)
    with pytest.raises(OverBudgetError) as caught:
        hear(Clock(1000.0 + 10.0 + 179.0), 2)
    assert caught.value.args[0] == pytest.approx(180.0 + 10.0)
