"""The description of a bundle: what older ones lack, and what does not fit."""

from typing import Any

import numpy as np
import pytest

from regraft.classifier.schema import Description
from regraft.evaluation.report import Report
from regraft.validation import convert

DESCRIPTION = {
    "format": 1,
    "classes": ["cat", "dog"],
    "label_type": "str",
    "model": "resnet50",
    "strategy": "frozen",
    "temperature": 1.5,
    "head_strength": 0.1,
    "architecture": "resnet50",
    "arguments": {},
    "settings": {},
    "preprocess": {
        "height": 224,
        "width": 224,
        "crop_pct": 0.95,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
    },
    "weights_source": "file",
    "numbers": {},
}
GROUP = {"name": "north", "photos": 3, "accuracy": 1.0, "accuracy_interval": [0.4, 1.0]}
TRIED = {"strategy": "top", "log_loss": 0.3, "gain": 0.1, "gain_interval": [0.0, 0.2]}


def report(*classes: str) -> dict[str, Any]:
    probabilities = np.eye(len(classes)) * 0.8 + 0.1
    return Report.from_probabilities(
        probabilities, np.arange(len(classes)), classes, estimate="test", resamples=5
    ).to_json()


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        report("cat", "dog"),
        {**report("cat", "dog"), "seed": 1, "tried": [TRIED, {**TRIED, "gain_interval": None}]},
        {"tried": [{**TRIED, "stopped": True}], "over_budget": [{"strategy": "top"}]},
        {"by_group": [GROUP], "group_column": "clinic"},
    ],
    ids=["no figures", "a report", "a choice", "a choice within a budget", "groups left out"],
)
def test_figures_are_kept_as_they_are(numbers: dict[str, Any]) -> None:
    assert convert({**DESCRIPTION, "numbers": numbers}, Description).numbers == numbers


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (report("cat", "fox"), "numbers must be of the same classes"),
        (report("dog", "cat"), "numbers must be of the same classes"),
        ({"confusion": [[1]]}, "missing required field `n`"),
        ({**report("cat", "dog"), "auc": 1.1}, r"`float` <= 1\.000001 - at `\$\.auc`"),
        ({"tried": [{**TRIED, "gain": "much"}]}, r"Expected `float \| null`, got `str` - at `\$\.tried\[0\]\.gain`"),
        ({"tried": [3]}, r"Expected `object`, got `int` - at `\$\.tried\[0\]`"),
        ({"tried": [{**TRIED, "stopped": 1}]}, r"Expected `bool`, got `int` - at `\$\.tried\[0\]\.stopped`"),
        ({"by_group": [{**GROUP, "accuracy": 1.5}]}, r"Expected `float` <= 1\.0 - at `\$\.by_group\[0\]\.accuracy`"),
        (
            {"by_group": [{**GROUP, "accuracy_interval": None}]},
            r"got `null` - at `\$\.by_group\[0\]\.accuracy_interval`",
        ),
        ({"over_budget": [{"strategy": 3}]}, r"Expected `str`, got `int` - at `\$\.over_budget\[0\]\.strategy`"),
    ],
)
def test_figures_that_do_not_fit(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert({**DESCRIPTION, "numbers": numbers}, Description)
