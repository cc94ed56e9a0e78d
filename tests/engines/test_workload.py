"""What is kept on disk is kept by network, preprocessing, cut and versions; what engines share is made once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.engines.workshop import Plane, Workshop

from regraft.errors import EngineError
from regraft.networks.backbone import Backbone


def retrained(backbone: Backbone) -> dict[str, Any]:
    other = replace(backbone, module=Plane().eval())
    return {"backbone": other}


def otherwise_prepared(backbone: Backbone) -> dict[str, Any]:
    return {"backbone": replace(backbone, preprocess=replace(backbone.preprocess, mean=(0.1, 0.2, 0.3)))}


def at_a_cut(_: Backbone) -> dict[str, Any]:
    return {"cut": "layer3"}


@pytest.mark.parametrize("other", [retrained, otherwise_prepared, at_a_cut])
def test_verdicts_are_not_shared(workshop: Workshop, other: Callable[[Backbone], dict[str, Any]]) -> None:
    workshop.choose()
    workshop.done.clear()
    options = other(workshop.backbone)
    assert workshop.workload(**options).folder != workshop.workload().folder
    workshop.choose(**options)
    assert sorted(workshop.done) == ["converted", "loaded", "photos"]


def test_the_folder_is_of_these_versions(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workshop.workload().folder
    assert workshop.workload().folder == folder
    monkeypatch.setattr("regraft.engines.workload.version", lambda _: "99")
    assert workshop.workload().folder != folder


def test_what_engines_share_is_made_once(workshop: Workshop) -> None:
    workload, made = workshop.workload(), []

    def make() -> object:
        made.append("network")
        return object()

    assert workload.shared("network", make) is workload.shared("network", make)
    assert workload.shared("another", make) is not workload.shared("network", make)
    assert workshop.workload().shared("network", make) is not workload.shared("network", make)
    assert len(made) == 3


def test_what_cannot_be_made_is_tried_once(workshop: Workshop) -> None:
    workload, tried = workshop.workload(), []

    def fail() -> object:
        tried.append("network")
        raise EngineError("an operation is missing")

    for _ in range(2):
        with pytest.raises(EngineError, match="an operation is missing"):
            workload.shared("network", fail)
    assert tried == ["network"]
