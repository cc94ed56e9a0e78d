"""What a report gathers: the stages and units that were asked for, mistakes by name, and all of it in JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.explain.explain import explain, first_filters
from regraft.explain.explanation import Explanation
from regraft.explain.subject import subject_of_network
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer

Explained = Callable[..., Explanation]


@pytest.mark.slow
def test_one_stage_and_its_units_can_be_asked_for(explained: Explained) -> None:
    found = explained(stages=("blocks.1",), units=3)
    assert [stage.stage for stage in found.stages] == ["blocks.1"]
    assert len(found.stages[0].units) == 3


@pytest.mark.slow
@pytest.mark.parametrize("label", [0, 1])
def test_photos_are_answered_by_the_rule_of_the_file(explained: Explained, label: int) -> None:
    """From a probability of 0 on, one class is always answered."""
    found = explained(units=0, decision=Decision(ThresholdRule(label, 0.0), "a threshold"))
    assert {one.now for one in found.examples} == {label}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ("blocks.9",)}, r"stages must be a stage with a map of units: conv_stem.*Got 'blocks\.9'"),
        ({"method": "gradient"}, r"method must be one of auto, deconvnet, guided\. Got 'gradient'"),
        ({"units": -1}, r"units must be 0 or more\. Got -1"),
        ({"units": 0, "stages": ("blocks.1",)}, r"stages goes with units of 1 or more\. Got units=0"),
    ],
)
def test_mistakes_are_named(explained: Explained, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        explained(**options)


@pytest.mark.slow
def test_what_was_found_in_json(explained: Explained) -> None:
    found = explained(units=2)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [stage["stage"] for stage in told["stages"]] == [stage.stage for stage in found.stages]
    unit = told["stages"][-1]["units"][0]
    assert len(unit["photos"]) == len(unit["classes"]) == len(unit["activations"]) == 9
    assert unit["activations"] == sorted(unit["activations"], reverse=True)
    assert all(Path(name).is_file() for name in unit["photos"])
    assert set(told["depth"]) == {"pretrained", "random weights"}
    assert told["depth"]["pretrained"][-1]["stage"] == list(found.moved or {"": 0})[-1] or told["carries_to"]


def test_photos_without_labels_and_of_one_class(tiny_network: str, photos: Callable[..., Path]) -> None:
    """Neither tells how far a network carries, and the page says why."""
    samples = find_samples(photos("one", red=3, blue=3))["train"]
    reds = samples.select(np.flatnonzero(samples.labels == samples.classes.index("red")))
    for chosen, labelled, note in (
        (
            samples,
            False,
            "The photos have no labels: units have no names, and how far the network carries is not shown.",
        ),
        (reds, True, "How far the network carries is not shown: all photos are of one class."),
    ):
        subject = subject_of_network(
            load_backbone(tiny_network),
            chosen,
            labelled=labelled,
            model=tiny_network,
            compute=Compute(device="cpu"),
            observer=Observer(),
        )
        found = explain(subject, stages=("blocks.1",), units=1, device=torch.device("cpu"))
        assert found.notes == [note]
        assert (found.depth, found.depth_advice, found.sizes, found.examples, found.moved) == ({}, None, None, [], {})


def test_photos_that_are_gone(tiny_network: str, photos: Callable[..., Path]) -> None:
    samples = find_samples(photos("gone", red=2, blue=2))["train"]
    subject = subject_of_network(
        load_backbone(tiny_network),
        samples,
        labelled=True,
        model=tiny_network,
        compute=Compute(device="cpu"),
        observer=Observer(),
    )
    for source in samples.sources:
        Path(str(source)).write_bytes(b"no photo any more")
    with pytest.raises(DataError, match=r"^not one of the 4 photos in .*gone can be read\.$"):
        explain(subject, units=1, device=torch.device("cpu"))


def test_the_first_filters_wider_than_a_pixel() -> None:
    narrow, wide = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 5, 3)
    found = first_filters(nn.Sequential(narrow, wide, nn.Conv2d(5, 2, 3)))
    assert found is not None
    assert np.array_equal(found, wide.weight.detach().numpy())
    assert first_filters(nn.Sequential(narrow, nn.Conv2d(4, 2, 3))) is None
