"""The temperature against a minimum found another way and in closed form; reliability diagrams by hand."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from regraft.evaluation.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    Reliability,
    confidence_bins,
    expected_calibration_error,
    fit_temperature,
    reliability,
)

# --- temperature ---


def smoothed_loss(temperature: float, logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy, photo by photo, from targets 1 - 1/(n+2) and equal parts of the rest."""
    n, classes = logits.shape
    total = 0.0
    for row, label in zip(logits / temperature, labels, strict=True):
        log_sum = row.max() + math.log(np.exp(row - row.max()).sum())
        for position in range(classes):
            target = 1 - 1 / (n + 2) if position == label else 1 / (n + 2) / (classes - 1)
            total += target * (log_sum - row[position])
    return total / n


def example(n: int, classes: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (n, c) that point at the label, by and large, and labels (n,)."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    return sharpness * (generator.normal(size=(n, classes)) + np.eye(classes)[labels]), labels


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("n", [5, 60])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
def test_no_temperature_has_less_loss(classes: int, n: int, sharpness: float) -> None:
    logits, labels = example(n, classes, seed=classes + n, sharpness=sharpness)
    best = minimize_scalar(
        lambda inverse: smoothed_loss(1 / inverse, logits, labels),
        bounds=(1 / HIGHEST, 1 / LOWEST),
        method="bounded",
        options={"xatol": 1e-8},
    )
    found = fit_temperature(logits, labels)
    assert 1 / found == pytest.approx(best.x, rel=1e-4)
    assert smoothed_loss(found, logits, labels) <= best.fun + 1e-12


@pytest.mark.parametrize(("n", "correct"), [(1, 1), (10, 10), (10, 8), (1000, 900), (7, 4)])
def test_closed_form_of_two_classes(n: int, correct: int) -> None:
    """All logits (a, 0), a proportion s correct: 1 / (1 + exp(-a / t)) is s (1 - e) + (1 - s) e, e = 1 / (n + 2)."""
    logits = np.tile([3.0, 0.0], (n, 1))
    labels = np.array([0] * correct + [1] * (n - correct))
    proportion, smoothing = correct / n, 1 / (n + 2)
    target = proportion * (1 - smoothing) + (1 - proportion) * smoothing
    assert fit_temperature(logits, labels) == pytest.approx(3.0 / math.log(target / (1 - target)), rel=1e-9)


@pytest.mark.parametrize("factor", [0.25, 2.0, 5.0])
def test_logits_scaled_by_k_need_k_times_the_temperature(factor: float) -> None:
    logits, labels = example(80, 3, seed=1)
    once = fit_temperature(logits, labels)
    assert LOWEST < once * factor < HIGHEST
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor * once, rel=1e-9)


def test_a_constant_added_to_a_photos_logits_changes_nothing() -> None:
    logits, labels = example(80, 3, seed=2)
    shifted = logits + np.random.default_rng(0).normal(0, 50, (80, 1))
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-9)


def test_the_order_of_the_classes_does_not_count() -> None:
    logits, labels = example(80, 4, seed=3)
    order = np.array([2, 0, 3, 1])
    found = fit_temperature(logits[:, order], np.argsort(order)[labels])
    assert found == pytest.approx(fit_temperature(logits, labels), rel=1e-9)


def test_calibrated_logits_need_no_temperature() -> None:
    """Labels drawn from the logits' own probabilities: 1, within the noise of 20,000 photos."""
    generator = np.random.default_rng(4)
    logits = generator.normal(0, 2, (20_000, 3))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)  # the Gumbel trick: softmax draws
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.03)
    assert fit_temperature(4 * logits, labels) == pytest.approx(4.0, abs=0.12)


def test_misleading_logits_get_the_highest_temperature() -> None:
    logits, labels = example(50, 2, seed=5)
    assert fit_temperature(logits, 1 - labels) == HIGHEST


def test_uninformative_logits_get_the_highest_temperature() -> None:
    assert fit_temperature(np.zeros((6, 3)), np.array([0, 1, 2, 0, 1, 2])) == HIGHEST


def test_faint_logits_get_the_lowest_temperature() -> None:
    logits, labels = example(50, 2, seed=6, sharpness=1e-3)
    assert fit_temperature(logits, labels) == LOWEST


def test_a_few_correct_answers_do_not_make_overconfident() -> None:
    """Four photos, all correct: the mean probability of the truth becomes 1 - 1 / 6, not 1."""
    temperature = fit_temperature(np.tile([5.0, 0.0], (4, 1)), np.zeros(4, int))
    assert 1 / (1 + math.exp(-5 / temperature)) == pytest.approx(5 / 6)


def test_large_logits_and_single_precision() -> None:
    logits, labels = example(80, 3, seed=7)
    exact = fit_temperature(logits, labels)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(exact, rel=1e-5)
    assert fit_temperature(1e4 * logits, labels) == HIGHEST


# --- reliability diagrams ---


def two_classes(*confidences: float) -> np.ndarray:
    """Return probabilities of which class 0 is the answer."""
    first = np.array(confidences)
    return np.stack([first, 1 - first], axis=1)


def diagram_of(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS, weights: np.ndarray | None = None
) -> Reliability:
    correct = (probabilities.argmax(axis=1) == labels).astype(float)
    numbers = confidence_bins(probabilities, bins)
    return reliability(numbers, probabilities.max(axis=1), correct, bins=bins, weights=weights)


def test_calibration_error_by_hand() -> None:
    """Five bins of 0.2, each closed on its left.

    0.4 to 0.6: confidence 0.5, one of one correct: gap 0.5. 0.6 to 0.8: 0.675, one of two correct: gap 0.175.
    0.8 to 1: confidence 0.9, two of three correct: gap 0.2333.
    """
    labels = np.array([0, 0, 1, 0, 0, 1])
    diagram = diagram_of(labels, two_classes(0.5, 0.7, 0.65, 0.9, 0.8, 1.0), bins=5)
    nan = float("nan")
    assert diagram.count.tolist() == [0, 0, 1, 2, 3]
    assert diagram.confidence.tolist() == pytest.approx([nan, nan, 0.5, 0.675, 0.9], nan_ok=True)
    assert diagram.accuracy.tolist() == pytest.approx([nan, nan, 1, 1 / 2, 2 / 3], nan_ok=True)
    assert expected_calibration_error(diagram) == pytest.approx((0.5 + 2 * 0.175 + 0.7) / 6)


def test_calibration_error_with_weights_is_that_of_repeated_photos() -> None:
    labels = np.array([0, 1, 0, 1])
    probabilities = two_classes(0.55, 0.71, 0.93, 0.98)
    repeats = np.array([3, 1, 0, 2])
    weighted = diagram_of(labels, probabilities, weights=repeats.astype(float))
    repeated = diagram_of(np.repeat(labels, repeats), np.repeat(probabilities, repeats, axis=0))
    found = expected_calibration_error(weighted)
    assert found == pytest.approx(expected_calibration_error(repeated))
    assert found == pytest.approx((3 * 0.45 + 0.71 + 2 * 0.98) / 6)


def test_calibration_error_at_its_ends() -> None:
    """Three of four correct at 75 %: no error. Always certain and never correct: 1."""
    calibrated = diagram_of(np.array([0, 0, 0, 1]), two_classes(*[0.75] * 4))
    assert expected_calibration_error(calibrated) == pytest.approx(0.0, abs=1e-15)
    wrong = diagram_of(np.array([1, 1]), two_classes(1.0, 1.0))
    assert expected_calibration_error(wrong) == 1.0


def test_fifteen_bins() -> None:
    """Bin k is from k / 15: 0.5 is in 7, 0.6 in 9, 0.99 and 1 in the last."""
    assert confidence_bins(two_classes(0.5, 0.6, 0.99, 1.0)).tolist() == [7, 9, 14, 14]
