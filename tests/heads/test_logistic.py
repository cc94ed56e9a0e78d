"""Regressions on several training sets at once, against autograd and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tests.heads.problems import of_scikit_learn, overlapping

from regraft.data.class_weights import ClassWeights
from regraft.heads.centred_rows import CentredRows
from regraft.heads.logistic import Regressions

GIVEN = ClassWeights((5.0, 0.5, 1.0, 1.0, 3.0))


def weights_of(class_weights: ClassWeights | None, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return (c,) weights: those given, or n / (c n_k)."""
    if class_weights is None:
        return np.ones(classes)
    return len(labels) / (classes * np.bincount(labels)) if class_weights.given is None else np.array(GIVEN.given)


def three_parts(
    n: int, d: int, classes: int, class_weights: ClassWeights | None = None
) -> tuple[Regressions, np.ndarray, np.ndarray, np.ndarray]:
    """Return regressions on three parts of three cells that lie far apart, features, labels and (parts, n) booleans.

    With weights one class is rare, and its share differs between the parts.
    """
    features, labels = overlapping(n, d, classes)
    if class_weights is not None:
        labels[(labels == 1) & (np.arange(n) // classes % 2 == 1) & (np.arange(n) < n // 3)] = 0
    cells = np.sort(np.arange(n) % 3)
    features += np.array([0, 30, -50], np.float32)[cells][:, None]
    members = np.array([[True, True, True], [True, False, True], [False, True, False]])
    rows = CentredRows(features, labels, cells)
    regressions = Regressions(rows, classes, members=members, class_weights=class_weights)
    return regressions, features, labels, members[:, cells]


@pytest.mark.parametrize(("n", "d"), [(120, 8), (45, 40), (30, 60)])  # more photos than features, both, fewer
@pytest.mark.parametrize(("classes", "class_weights"), [(2, None), (5, None), (2, ClassWeights()), (5, GIVEN)])
def test_loss_and_gradient_are_autograds_in_every_part(
    n: int, d: int, classes: int, class_weights: ClassWeights | None
) -> None:
    regressions, features, labels, parts = three_parts(n, d, classes, class_weights)
    generator = np.random.default_rng(1)
    layers = [(generator.normal(0, 0.1, (classes, d)), generator.normal(0, 1, classes)) for _ in parts]
    if classes == 2:
        layers = [(weight - weight[::-1], bias - bias[::-1]) for weight, bias in layers]  # one row describes both
    for number, (weight, bias) in enumerate(layers):
        regressions.start(number, (weight.astype(np.float32), bias.astype(np.float32)))
    points = {number: regressions.point(number) for number in range(3)}
    values = regressions.evaluate(points)
    for number, own in enumerate(parts):
        weight, bias = (torch.tensor(of, dtype=torch.float64) for of in regressions.layer(number))
        x, y = torch.tensor(features[own], dtype=torch.float64), torch.from_numpy(labels[own])
        own_weights = torch.tensor(weights_of(class_weights, labels[own], classes), dtype=torch.float64)
        logits = x @ weight.T + bias + own_weights.log()
        loss = torch.nn.functional.cross_entropy(logits, y, weight=own_weights)  # a mean by weight
        assert values[number].loss == pytest.approx(loss.item(), rel=1e-4)  # offsets of 50 cost float32 two digits
        # along any direction, the change of the loss by differences of the loss itself
        way = generator.normal(0, 1, points[number].shape).astype(np.float32)
        way /= np.linalg.norm(way)
        ahead, behind = (
            regressions.evaluate({number: points[number] + sign * np.float32(0.02) * way})[number].loss
            for sign in (1, -1)
        )
        assert (ahead - behind) / 0.04 == pytest.approx(
            float(np.vdot(values[number].gradient, way)), rel=0.02, abs=2e-3
        )


@pytest.mark.parametrize(("n", "d"), [(120, 8), (45, 40), (30, 60)])
@pytest.mark.parametrize(("classes", "class_weights"), [(2, None), (5, None), (2, ClassWeights()), (5, GIVEN)])
def test_parts_are_scikit_learns_one_by_one(n: int, d: int, classes: int, class_weights: ClassWeights | None) -> None:
    regressions, features, labels, parts = three_parts(n, d, classes, class_weights)
    regressions.solve({0: 0.1, 1: 0.03, 2: 1.0}, 1e-8)
    for number, (own, strength) in enumerate(zip(parts, (0.1, 0.03, 1.0), strict=True)):
        weight, bias = regressions.layer(number)
        found = softmax(features[own].astype(np.float64) @ weight.T + bias, axis=1)
        weights = weights_of(class_weights, labels[own], classes)
        expected = of_scikit_learn(features[own], labels[own], strength, weights)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("class_weights", [None, GIVEN])
def test_a_layer_that_is_started_from_is_where_it_starts(class_weights: ClassWeights | None) -> None:
    regressions, _, _, _ = three_parts(120, 8, 5, class_weights)
    regressions.solve({0: 0.1}, 1e-6)
    weight, bias = regressions.layer(0)
    regressions.start(1, (weight, bias))
    again = regressions.layer(1)
    np.testing.assert_allclose(again[0], weight, rtol=0, atol=1e-5)
    np.testing.assert_allclose(again[1], bias, rtol=0, atol=1e-3)


def test_large_logits_do_not_overflow() -> None:
    regressions, _, _, _ = three_parts(60, 3, 3)
    value = regressions.evaluate({0: np.full((3, 4), 1e3, np.float32) * np.array([[1], [-1], [0]], np.float32)})[0]
    assert np.isfinite(value.loss)
    assert np.isfinite(value.gradient).all()
