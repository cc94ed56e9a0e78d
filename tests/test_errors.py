"""Hints in messages."""

import pytest

from regraft.errors import did_you_mean, shortlist


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet5O", " Did you mean 'resnet50'?"),
        ("RESNET50", " Did you mean 'resnet50'?"),
        ("vgg", " Did you mean 'VGG16'?"),
        ("something else", ""),
        ("", ""),
    ],
)
def test_did_you_mean(name: str, hint: str) -> None:
    assert did_you_mean(name, ["resnet50", "VGG16", "convnext"]) == hint


def test_did_you_mean_names_three_at_most_the_closest_first() -> None:
    candidates = ["label_10", "label_2", "labels", "label", "unlike"]
    assert did_you_mean("label", candidates) == " Did you mean 'label' or 'labels' or 'label_2'?"


def test_did_you_mean_of_nothing() -> None:
    assert did_you_mean("resnet50", []) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, ""),
        (1, "  0"),
        (2, "  0\n  1"),
        (3, "  0\n  1\n  and 1 more"),
        (2002, "  0\n  1\n  and 2,000 more"),
    ],
)
def test_shortlist(count: int, text: str) -> None:
    assert shortlist(range(count), shown=2) == text


def test_shortlist_shows_twenty() -> None:
    assert shortlist(range(20)).count("\n") == 19
    assert shortlist(range(21)).endswith("\n  19\n  and 1 more")
