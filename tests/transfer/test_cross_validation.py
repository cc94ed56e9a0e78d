"""Cross-validation: each fold is answered by what was trained without it, within the time, and calibrated by others."""

import numpy as np
import pytest
from scipy.special import softmax
from tests.transfer.scripted import DATASET, FOLDS, FROZEN, LABELS, TOP, N, Scripted, logits_of, right

from regraft.evaluation.calibration import fit_temperature
from regraft.transfer.budget import Clock, OverBudgetError, Pace
from regraft.transfer.cross_validation import CrossValidation, cross_validate, some_of_each
from regraft.transfer.trainers import HeldOutLogits


def test_smaller_sizes_are_part_of_larger_ones() -> None:
    photos = np.flatnonzero(FOLDS != 0)
    small, large = (some_of_each(DATASET, photos, size=size, seed=0) for size in (5, 20))
    assert np.bincount(LABELS[small]).tolist() == [5, 5]
    assert np.bincount(LABELS[large]).tolist() == [20, 20]
    assert set(small) <= set(large) <= set(photos)
    assert np.array_equal(some_of_each(DATASET, photos, size=None, seed=0), photos)
    assert len(some_of_each(DATASET, photos, size=10**6, seed=0)) == len(photos)


def test_every_photo_is_answered_by_what_was_trained_without_its_fold() -> None:
    trainer = Scripted(FROZEN, right(1.0, 1.0, 0))
    outcome = cross_validate(trainer, DATASET, FOLDS, clock=Clock(float("inf")))
    assert outcome.folds == 5
    assert outcome.answered.all()
    assert (outcome.seconds, outcome.images) == (5.0, 4 * N)
    folds = [sorted(set(FOLDS[train])) for train in trainer.trained_on]
    assert folds == [[f for f in range(5) if f != k] for k in range(5)]


def test_when_the_time_is_over_fewer_folds_are_answered_or_none() -> None:
    trainer = Scripted(FROZEN, right(1.0, 1.0, 0))
    outcome = cross_validate(trainer, DATASET, FOLDS, clock=Clock(0.0), partial=True)
    assert outcome.folds == 1
    assert np.array_equal(outcome.answered, FOLDS == 0)
    slow = Scripted(TOP, right(1.0, 1.0, 0), forecast=99.0)
    with pytest.raises(OverBudgetError):
        cross_validate(slow, DATASET, FOLDS, clock=Clock(0.0), partial=True)


def test_what_came_back_at_once_is_subtracted_from_the_clock(now: list[float]) -> None:
    """Of two parts of 100 s the first spent 40, of which 30 in a process that was killed."""
    whole = Clock(100.0)
    part = whole.share(2)

    class Replayed(Scripted):
        def predict_held_out(
            self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
        ) -> HeldOutLogits:
            now[0] += 2.0
            found = super().predict_held_out(train, held_out, name=name, pace=pace)
            return HeldOutLogits(found.logits, 1.0, 8.0, 1)

    outcome = cross_validate(Replayed(TOP, right(1.0, 1.0, 0)), DATASET, FOLDS, clock=part)
    assert outcome.folds == 5
    assert (part.left(), whole.left()) == (10.0, 60.0)
    short = Clock(20.0)
    outcome = cross_validate(Replayed(TOP, right(1.0, 1.0, 0)), DATASET, FOLDS, clock=short, partial=True)
    assert outcome.folds == 2  # after which 4 s are left, and a fold takes 8


def test_a_fold_s_temperature_is_that_of_the_other_folds() -> None:
    """What a fold's own labels say has no part in it."""
    level = right(1.0, 1.0, 0)
    outcome = cross_validate(Scripted(TOP, level, temperature=None), DATASET, FOLDS, clock=Clock(float("inf")))
    logits = logits_of(level)
    for fold in range(5):
        rest = fold != FOLDS
        expected = softmax(logits[~rest] / fit_temperature(logits[rest], LABELS[rest]), axis=1)
        assert np.allclose(outcome.probabilities[~rest], expected, atol=1e-6)
    assert outcome.temperature == pytest.approx(fit_temperature(logits, LABELS), rel=1e-6)
    assert cross_validate(Scripted(TOP, level), DATASET, FOLDS, clock=Clock(float("inf"))).temperature is None


def test_one_fold_alone_keeps_its_logits_and_says_that_they_are_not_calibrated() -> None:
    """There is no other fold to set the temperature by; what a training set its own needs none."""
    level = right(1.0, 1.0, 0)

    def outcome(temperature: float | None, seconds: float) -> CrossValidation:
        trainer = Scripted(TOP, level, temperature=temperature)
        return cross_validate(trainer, DATASET, FOLDS, clock=Clock(seconds), partial=True)

    alone = outcome(None, 0.0)
    answered = FOLDS == 0
    assert np.allclose(alone.probabilities[answered, LABELS[answered]], level[answered])
    assert not alone.calibrated
    assert outcome(1.0, 0.0).calibrated
    assert outcome(None, float("inf")).calibrated


def test_the_one_fold_without_a_temperature_takes_that_of_the_others_logits() -> None:
    """Logits ten times too large in all folds; only fold 2 could not hold photos out to find that by itself."""
    level = right(1.0, 1.0, 0)

    class Once(Scripted):
        def predict_held_out(
            self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Pace | None = None
        ) -> HeldOutLogits:
            found = super().predict_held_out(train, held_out, name=name, pace=pace)
            temperature = None if name.startswith("fold 3") else 10.0
            return HeldOutLogits(10 * found.logits, temperature, 1.0, len(train))

    outcome = cross_validate(Once(TOP, level), DATASET, FOLDS, clock=Clock(float("inf")))
    logits = logits_of(level)
    rest = FOLDS != 2
    expected = softmax(10 * logits[~rest] / fit_temperature(10 * logits[rest], LABELS[rest]), axis=1)
    assert np.allclose(outcome.probabilities[~rest], expected, atol=1e-6)
