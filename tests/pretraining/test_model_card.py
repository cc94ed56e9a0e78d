"""The card of a pretrained network: how sure its chart is."""

import numpy as np
import pytest

from regraft.evaluation.report import Report
from regraft.pretraining.model_card import _independent


def report(right: list[bool], groups: np.ndarray | None) -> Report:
    labels = np.arange(len(right)) % 2
    answers = np.where(right, labels, 1 - labels)
    return Report.from_probabilities(
        np.eye(2)[answers] * 0.8 + 0.1, labels, ("a", "b"), estimate="validation", groups=groups
    )


def test_photos_by_themselves_count_as_they_are() -> None:
    assert _independent(report([True, True, True, False] * 10, None)) == pytest.approx(40)


def test_photos_of_one_group_count_less() -> None:
    """Of four photos that are right or wrong together, each tells a quarter; Student's quantile takes a little more."""
    right = [number % 4 > 0 for number in range(40) for _ in range(4)]
    assert 30 < _independent(report(right, np.arange(160) // 4)) <= 40


def test_one_group_tells_nothing() -> None:
    assert _independent(report([True, False] * 10, np.zeros(20, dtype=int))) == 0
