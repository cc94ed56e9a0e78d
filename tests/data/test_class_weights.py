"""Weights of classes: what texts say, and the numbers by hand."""

import numpy as np
import pytest

from regraft.data.class_weights import ClassWeights, is_class_weight, pairs, text_of
from regraft.errors import OptionError, flags_in_messages


@pytest.mark.parametrize(
    ("text", "classes", "weights"),
    [
        ("malignant=5,benign=1", ("benign", "malignant"), (1.0, 5.0)),
        (" malignant = 2.5 ", ("benign", "malignant"), (1.0, 2.5)),  # who is not named counts 1
        ("a,b=3,c=d=0.5,1=2", ("1", "a,b", "c=d", "other"), (2.0, 3.0, 0.5, 1.0)),
        ("b=2,", ("a", "b"), (1.0, 2.0)),
    ],
)
def test_weights_by_name(text: str, classes: tuple[str, ...], weights: tuple[float, ...]) -> None:
    assert is_class_weight(text)
    found = ClassWeights.parse(text, classes)
    assert found.given == weights
    assert found.of(np.arange(len(classes))).tolist() == list(weights)  # whatever the counts


def test_balanced_classes_weigh_the_same() -> None:
    """60, 30 and 10 photos of three classes: 100 / (3 n_k)."""
    found = ClassWeights.parse("balanced", ("a", "b", "c")).of(np.array([60, 30, 10]))
    np.testing.assert_allclose(found, [5 / 9, 10 / 9, 10 / 3])
    np.testing.assert_allclose(found * [60, 30, 10], 100 / 3)


def test_a_class_without_photos_has_a_finite_weight() -> None:
    assert ClassWeights().of(np.array([4, 0])).tolist() == [0.5, 2.0]


def test_normalised_weights_have_a_mean_of_1_over_photos() -> None:
    """Three of a with weight 1, one of b with 5: their mean is 2."""
    assert ClassWeights((1.0, 5.0)).normalised(np.array([3, 1])).tolist() == [0.5, 2.5]


@pytest.mark.parametrize(
    "value", ["", "even", "a", "a=", "a=x", "a=0", "a=-1", "a=nan", "a=inf", "a=1e-7", "a=1e7", "=2", "a=1,b", 2, None]
)
def test_what_says_no_weights(value: object) -> None:
    assert not is_class_weight(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "malignent=5",
            "class_weight must name classes: benign, malignant. Got 'malignent'. Did you mean 'malignant'?",
        ),
        ("benign=5,benign=1", "class_weight must name a class once. Got 'benign' twice in 'benign=5,benign=1'."),
    ],
)
def test_names_that_are_no_classes(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        ClassWeights.parse(text, ("benign", "malignant"))
    assert str(caught.value) == message
    with pytest.raises(OptionError, match=r"^--class-weight must"), flags_in_messages({}):
        ClassWeights.parse(text, ("benign", "malignant"))


def test_weights_of_a_dict_are_said_as_text_or_not_at_all() -> None:
    for weights in ({"malignant": 5, "benign": 0.1}, {"a,b": 3, "c=d": 0.5}, {"1": np.float64(2.0)}):
        text = text_of(weights)
        assert text is not None
        assert pairs(text) == [(name, float(weight)) for name, weight in weights.items()]
    assert text_of({}) is None
    assert not is_class_weight(text_of({"a": -1}))
    assert not is_class_weight(text_of({"a": "much"}))
    with pytest.raises(OptionError, match=r"^class_weight cannot name classes like 'a=1,b'\. Rename them\.$"):
        text_of({"a=1,b": 3})
