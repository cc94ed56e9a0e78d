"""The table of engines: what is tried where; and a stand-in row, which every part that knows engines takes up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engines.workshop import COSINES, CPU, FakeOpenVino, Workshop

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.engines.engine import Engine
from regraft.engines.kinds import (
    BFLOAT16,
    ENGINE_KINDS,
    FLOAT32,
    EngineKind,
    candidates,
    engine_help,
    engine_names,
)
from regraft.engines.selection import LazyEngine, check_engine, choice_of, choose_engine
from regraft.engines.workload import EngineChoice, Workload, machine
from regraft.errors import BundleError, EngineError, OptionError
from regraft.heads.linear import LinearHead
from regraft.networks.backbones import load_backbone


def test_names_are_in_the_order_of_the_help() -> None:
    assert engine_names() == (
        "auto",
        "torch-float32",
        "torch-bfloat16",
        "torch-float16",
        "openvino-float32",
        "openvino-bfloat16",
    )
    assert engine_help() == (
        "What runs the network where nothing is trained: auto (the fastest that is right), torch-float32, "
        "torch-bfloat16, torch-float16, openvino-float32 or openvino-bfloat16."
    )


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", ["openvino-bfloat16", "openvino-float32"]),
        ("mps", []),
    ],
)
@pytest.mark.usefixtures("workshop")
def test_what_is_tried(device: str, expected: list[str]) -> None:
    assert [kind.name for kind in candidates(torch.device(device))] == expected
    exact = [engine for engine in expected if engine.endswith("float32")]
    assert [kind.name for kind in candidates(torch.device(device), exact=True)] == exact


@pytest.mark.parametrize(("able", "expected"), [(True, "torch-bfloat16"), (False, "torch-float16")])
def test_what_is_tried_on_a_gpu(monkeypatch: pytest.MonkeyPatch, able: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able and not including_emulation)
    assert [kind.name for kind in candidates(torch.device("cuda"))] == [expected]
    assert candidates(torch.device("cuda"), exact=True) == []


# --- a row is all that an engine needs ---


class StandIn(FakeOpenVino):
    """Another library: as wrong as the stand-in for OpenVINO."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload.backbone, workload.backbone.preprocess, "float32")
        self.name = "standin-cpu-float32"


@contextmanager
def added(kind: EngineKind) -> Iterator[None]:
    ENGINE_KINDS[kind.name] = kind
    try:
        yield
    finally:
        del ENGINE_KINDS[kind.name]


Built = list[Workload]


@pytest.fixture
def built() -> Built:
    """Return the workloads that the stand-in is built for."""
    return []


@pytest.fixture
def kind(built: Built) -> Iterator[EngineKind]:
    """Have a row that is tried first on CPUs, for 50 photos or more."""

    def build(workload: Workload) -> Engine:
        built.append(workload)
        return StandIn(workload)

    def obstacle(device: torch.device) -> str | None:
        return None if device.type == "cpu" else "has no driver here."

    def first(device: torch.device) -> int | None:
        return -1 if device.type == "cpu" else None

    row = EngineKind("standin", FLOAT32, build, obstacle=obstacle, preference=first, worth_from=50)
    with added(row):
        yield row


@pytest.mark.usefixtures("kind")
def test_a_new_engine_is_offered() -> None:
    assert engine_names()[-1] == "standin-float32"
    assert engine_help().endswith("openvino-bfloat16 or standin-float32.")
    check_engine("standin-float32", CPU)
    with pytest.raises(OptionError, match=r"openvino-bfloat16, standin-float32\. Got 'standin'\. Did you mean"):
        check_engine("standin", CPU)
    with pytest.raises(OptionError, match=r"^engine='standin-float32' has no driver here\.$"):
        check_engine("standin-float32", torch.device("cuda"))


@pytest.mark.usefixtures("kind")
def test_a_new_engine_is_chosen_where_it_is_preferred_and_right(workshop: Workshop, built: Built) -> None:
    assert workshop.choose(photos=49) == "torch-cpu-float32"
    assert built == []
    assert workshop.choose(photos=50) == "standin-cpu-float32"
    assert workshop.said == [
        "engine: standin-cpu-float32 (cosine to torch-float32 on 16 photos: mean 1.0000, lowest 1.0000)"
    ]
    assert workshop.done == ["photos"]  # OpenVINO is not even tried
    engine = choose_engine(workshop.workload(), exact=True)  # by the stored verdict
    assert isinstance(engine, LazyEngine)
    assert len(built) == 1
    assert engine.features(workshop.pixels).shape == (16, 2)
    assert len(built) == 2


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("cosine", [0.9998, -1.0])
def test_a_new_engine_that_disagrees_is_refused(workshop: Workshop, cosine: float) -> None:
    COSINES.update(float32=cosine)
    for _ in range(2):  # found, then known
        assert workshop.choose() == "openvino-cpu-bfloat16"
        assert workshop.said[0].startswith("standin-float32 is not used")
        with pytest.raises(EngineError, match=r"^engine='standin-float32' does not give this network's features: "):
            workshop.choose("standin-float32")


def test_a_new_engine_in_a_lower_precision_needs_less_and_trains_nothing(workshop: Workshop, kind: EngineKind) -> None:
    COSINES.update(float32=0.9901)
    with added(replace(kind, precision=BFLOAT16, preference=lambda _: -2)):
        assert workshop.choose() == "standin-cpu-float32"  # as the stand-in calls itself
        assert workshop.said[0].startswith(
            "engine: standin-cpu-float32 (cosine to torch-float32 on 16 photos: mean 0.99"
        )
        COSINES.update(float32=1.0)
        exact = choose_engine(workshop.workload(checked="others"), "standin-bfloat16", exact=True)
        assert exact.name == "standin-cpu-float32"
        assert ENGINE_KINDS["standin-float32"] is kind


def test_without_an_exact_engine_of_its_library_the_reference_prepares_training(
    workshop: Workshop, kind: EngineKind
) -> None:
    with added(replace(kind, library="another", precision=BFLOAT16)):
        assert choose_engine(workshop.workload(), "another-bfloat16", exact=True).name == "torch-cpu-float32"


@pytest.mark.usefixtures("kind")
def test_a_new_engine_is_a_choice_for_later_runs(workshop: Workshop, built: Built) -> None:
    engine = choose_engine(workshop.workload())
    choice = choice_of(engine, CPU, 128)
    assert choice == EngineChoice("standin-float32", machine(CPU))
    assert choice_of(engine, CPU, 127) is None  # of OpenVINO nothing is known
    built.clear()
    later = choose_engine(workshop.workload(photos=1, checked="others", earlier=choice))
    assert (later.name, built) == ("standin-cpu-float32", [])


def test_a_bundle_names_a_new_engine(tiny_network: str, tmp_path: Path, kind: EngineKind) -> None:
    backbone = load_backbone(tiny_network)
    head = LinearHead(np.ones((2, backbone.features), np.float32), np.zeros(2, np.float32), 1.0)
    choice = EngineChoice(kind.name, "a machine")
    made = Classifier(backbone, head, ("a", "b"), 1.0, "tiny", "frozen", engine_choice=choice)
    save_bundle(made, tmp_path / "model.safetensors")
    assert load_bundle(tmp_path / "model.safetensors").engine_choice == choice
    del ENGINE_KINDS[kind.name]
    try:
        with pytest.raises(BundleError, match=r"engine must be one of torch-float32, .* Got 'standin-float32'"):
            load_bundle(tmp_path / "model.safetensors")
    finally:
        ENGINE_KINDS[kind.name] = kind
