"""The linear head, and a head with its temperature, by hand."""

import numpy as np
import pytest
from tests.heads.test_kinds import NearestNeighbours

from regraft.errors import OptionError
from regraft.heads import linear
from regraft.heads.linear import CalibratedHead, LinearHead, linear_of


def test_a_head_is_its_linear_layer() -> None:
    head = LinearHead(np.array([[1.0, 2.0], [0.0, -1.0]], np.float32), np.array([0.5, 0.25], np.float32), 1.0)
    assert head.logits(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist() == [[11.5, -3.75], [0.5, 0.25]]


def test_zeros_find_all_classes_equally_probable() -> None:
    head = LinearHead.zeros(4, 3)
    assert (head.classes, head.features, head.strength) == (4, 3, 0.0)
    assert head.weight.dtype == head.bias.dtype == np.float32
    assert CalibratedHead(head, 1.0).probabilities(np.ones((1, 3), np.float32)).tolist() == [[0.25] * 4]


def test_probabilities_by_hand() -> None:
    head = LinearHead(np.array([[2.0, 0.0], [0.0, 4.0]], np.float32), np.array([0.0, 2.0], np.float32), 1.0)
    found = CalibratedHead(head, 2.0).probabilities(np.array([[1.0, 0.0], [3.0, 1.0]], np.float32))
    # logits (2, 2) and (6, 6) over 2
    assert found.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    softer = CalibratedHead(head, 4.0).probabilities(np.array([[0.0, 0.5]], np.float32))
    np.testing.assert_allclose(softer, [[1 / (1 + np.e), np.e / (1 + np.e)]], rtol=1e-12)  # logits (0, 4) over 4


@pytest.mark.parametrize("together", [1, 3, 100])
def test_photos_are_answered_wherever_they_stand(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head sees the second column, times 1 and -1."""
    monkeypatch.setattr(linear, "_PHOTOS", together)
    head = CalibratedHead(
        LinearHead(np.array([[1.0], [-1.0]], np.float32), np.array([0.0, 1.0], np.float32), 1.0), 1.0, slice(1, 2)
    )
    features = np.array([[9.0, number] for number in range(7)], np.float32)
    assert head.logits(features).tolist() == [[number, 1.0 - number] for number in range(7)]
    assert head.logits(features, np.array([5, 0, 2, 2])).tolist() == [[5, -4], [0, 1], [2, -1], [2, -1]]
    assert head.logits(features[:0]).shape == head.probabilities(features, np.array([], dtype=np.int64)).shape == (0, 2)


def test_what_needs_a_linear_head_says_so() -> None:
    head = LinearHead.zeros(2, 3)
    assert linear_of(head, "fine-tuning") is head
    other = NearestNeighbours(np.eye(2, dtype=np.float32), np.array([0, 1]), 2)
    with pytest.raises(OptionError) as caught:
        linear_of(other, "fine-tuning")
    assert str(caught.value) == "fine-tuning needs a linear head. Got a classifier with a head of kind 'knn'."


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_state_without_an_array_is_an_error(missing: str) -> None:
    state = {name: array for name, array in LinearHead.zeros(2, 3).state().items() if name != missing}
    with pytest.raises(ValueError, match=f"^head.{missing} is missing$"):
        LinearHead.from_state(state, classes=2, strength=0.0)
