"""What is taken: the cheapest that nothing is proven better than; judged by folds that had no part in the choice."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax

from regraft.errors import ModelError
from regraft.judge.calibration import fit_temperature
from regraft.learn import choose as choose_module
from regraft.learn import comparison
from regraft.learn.checkpoint import nowhere
from regraft.learn.choose import Choice, cheapest, choose
from regraft.learn.comparison import Clock, cross_validate, some_of_each
from regraft.learn.methods import Answers, Candidate, OverBudgetError, Pace
from regraft.learn.observer import Observer
from regraft.learn.probe import Labelled

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
    def go(methods: Mapping[Candidate, Scripted]) -> Choice:
        monkeypatch.setattr(choose_module, "method_of", lambda candidate, _: methods[candidate])
        data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
        return choose(SimpleNamespace(data=data, seed=0, observer=Observer(), run=nowhere()), FOLDS, budget=600)  # type: ignore[arg-type]

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
    assert choice.reason.endswith("; training whole would take about 25 min, beyond --budget")


def test_with_five_mistakes_nothing_more_is_tried(run: Run) -> None:
    almost = np.full(N, 0.9)
    almost[:5] = 0.1
    choice = run({FROZEN: Scripted(FROZEN, almost), TOP: Scripted(TOP, almost), WHOLE: Scripted(WHOLE, almost)})
    assert [row["strategy"] for row in choice.tried] == ["frozen"]
    assert "errs on 5 photos: too few to prove a gain by" in choice.reason
    almost[5] = 0.1
    assert len(run({c: Scripted(c, almost) for c in (FROZEN, TOP, WHOLE)}).tried) == 3


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


def test_one_fold_alone_keeps_its_logits_as_they_are() -> None:
    data = Labelled(np.zeros((N, 1), dtype=np.float32), LABELS, None, ("a", "b"))
    level = right(1.0, 1.0, 0)
    method = Scripted(TOP, level, temperature=None)
    outcome = cross_validate(method, data, FOLDS, clock=Clock(0.0), partial=True)
    judged = FOLDS == 0
    assert np.allclose(outcome.probabilities[judged, LABELS[judged]], level[judged])


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
