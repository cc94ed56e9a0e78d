"""The choice of an engine: the fastest that is right, on stored verdicts; and what is refused, in words."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.engines.workshop import COSINES, CPU, MANY, Pixels, Workshop

from regraft.cache import cache_folder, engines_folder
from regraft.engines import openvino
from regraft.engines.kinds import ENGINE_KINDS, REFERENCE, engine_names
from regraft.engines.pytorch import TorchEngine
from regraft.engines.selection import LazyEngine, check_engine, choice_of, choose_engine
from regraft.engines.workload import CHECKED_PHOTOS, EngineChoice, machine
from regraft.errors import EngineError, OptionError
from regraft.networks.backbones import load_backbone
from regraft.networks.cutting import cut_before

# --- the choice ---


@pytest.mark.parametrize(
    ("bfloat16", "float32", "chosen"),
    [
        (1.0, 1.0, "openvino-cpu-bfloat16"),
        (0.9901, 1.0, "openvino-cpu-bfloat16"),
        (0.9899, 1.0, "openvino-cpu-float32"),
        (0.5, 0.99991, "openvino-cpu-float32"),
        (0.5, 0.99989, "torch-cpu-float32"),
        (-1.0, 0.0, "torch-cpu-float32"),
        (math.nan, math.nan, "torch-cpu-float32"),
    ],
)
def test_the_fastest_that_is_right(workshop: Workshop, bfloat16: float, float32: float, chosen: str) -> None:
    COSINES.update(bfloat16=bfloat16, float32=float32)
    for _ in range(2):  # checked, then by the stored verdict
        assert workshop.choose() == chosen


def test_the_choice_is_reported(workshop: Workshop) -> None:
    COSINES.update(bfloat16=0.6, float32=1.0)
    workshop.choose()
    on = "cosine to torch-float32 on 16 photos"
    assert workshop.said == [
        f"openvino-bfloat16 is not used ({on}: mean 0.6000, lowest 0.6000; at least 0.99 is needed)",
        f"engine: openvino-cpu-float32 ({on}: mean 1.0000, lowest 1.0000)",
    ]


# --- the same choice, whatever ran before ---


def test_a_verdict_is_of_these_photos(workshop: Workshop) -> None:
    """Photos that came first do not decide for others."""
    COSINES.update(bfloat16=0.5, float32=1.0)
    assert workshop.choose(checked="dark ones") == "openvino-cpu-float32"
    COSINES.update(bfloat16=1.0)
    assert workshop.choose(checked="bright ones") == "openvino-cpu-bfloat16"
    COSINES.update(bfloat16=math.nan)  # nothing is compared again
    assert workshop.choose(checked="dark ones") == "openvino-cpu-float32"
    assert workshop.choose(checked="bright ones") == "openvino-cpu-bfloat16"


@pytest.mark.parametrize(("photos", "chosen"), [(MANY - 1, "torch-cpu-float32"), (MANY, "openvino-cpu-bfloat16")])
def test_networks_are_not_converted_for_a_few_photos(workshop: Workshop, photos: int, chosen: str) -> None:
    assert workshop.choose(photos=photos) == chosen
    assert ("converted" in workshop.done) == (photos == MANY)


def test_a_few_photos_get_the_same_engine_whatever_the_cache_holds(workshop: Workshop) -> None:
    assert workshop.choose(photos=1) == "torch-cpu-float32"
    workshop.choose()
    assert workshop.choose(photos=1) == "torch-cpu-float32"


@pytest.mark.parametrize("photos", [1, MANY])
def test_an_earlier_choice_on_such_a_machine_holds(workshop: Workshop, photos: int) -> None:
    earlier = EngineChoice("openvino-float32", machine(CPU))
    engine = choose_engine(workshop.workload(photos=photos, earlier=earlier))
    assert (engine.name, workshop.done) == ("openvino-cpu-float32", [])  # nothing is compared, nor built yet
    assert engine.features(workshop.pixels).shape == (16, 2)
    assert (
        choose_engine(workshop.workload(earlier=earlier), "torch-float32").name == "torch-cpu-float32"
    )  # as it is named
    cut = workshop.workload(photos=1, earlier=earlier)
    assert choose_engine(cut, exact=True).name == "torch-cpu-float32"  # that choice was for all of the network


def test_an_earlier_choice_of_openvino_holds_whichever_pytorch_there_is(workshop: Workshop) -> None:
    there = re.sub(r"torch [^,]*", "torch none", machine(CPU))
    assert there != machine(CPU)
    found = [choose_engine(workshop.workload(photos=1, earlier=EngineChoice(kind, there))).name for kind in CHOICES]
    assert found == ["openvino-cpu-float32", "torch-cpu-float32"]
    assert workshop.done == []  # nothing was compared for the former


def test_an_earlier_choice_holds_where_it_is_named_too(workshop: Workshop) -> None:
    """What "auto" takes is not refused to who asks for it by its name."""
    COSINES.update(bfloat16=0.5)
    earlier = EngineChoice("openvino-bfloat16", machine(CPU))
    assert workshop.choose("openvino-bfloat16", earlier=earlier) == "openvino-cpu-bfloat16"
    assert workshop.done == []
    with pytest.raises(EngineError, match=r"mean 0\.5000.* is needed\. Leave engine out\.$"):
        workshop.choose("openvino-bfloat16", earlier=replace(earlier, machine="another"))


CHOICES = ("openvino-float32", "torch-bfloat16")  # the latter was another PyTorch's


@pytest.mark.parametrize("photos", [1, MANY])
def test_an_earlier_choice_elsewhere_does_not(workshop: Workshop, photos: int) -> None:
    earlier = EngineChoice("openvino-float32", machine(CPU).replace("torch", "another torch"))
    assert workshop.choose(photos=photos, earlier=earlier) == workshop.choose(photos=photos)


@pytest.mark.parametrize(
    ("name", "photos", "expected"),
    [
        ("openvino-cpu-bfloat16", MANY, "openvino-bfloat16"),
        ("torch-cpu-float32", MANY, "torch-float32"),  # the others were tried, and failed
        ("torch-cpu-float32", MANY - 1, None),  # none was tried
    ],
)
def test_the_choice_for_later_runs(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str, photos: int, expected: str | None
) -> None:
    engine = ENGINE_KINDS[REFERENCE].build(workshop.workload())
    monkeypatch.setattr(engine, "name", name)
    found = choice_of(engine, CPU, photos)
    assert found == (expected and EngineChoice(expected, machine(CPU)))


def test_exact_is_float32(workshop: Workshop) -> None:
    assert workshop.choose(exact=True) == "openvino-cpu-float32"
    COSINES.update(float32=0.999)
    assert workshop.choose(exact=True, cut="layer3") == "torch-cpu-float32"


def test_a_processor_without_bfloat16(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "usable_precisions", lambda: ("float32",))
    assert workshop.choose() == "openvino-cpu-float32"


def test_a_machine_without_openvino(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "usable_precisions", lambda: ())
    assert workshop.choose() == "torch-cpu-float32"
    assert workshop.done == workshop.said == []


def test_where_nothing_can_be_read_nothing_is_converted(workshop: Workshop) -> None:
    workshop.pixels = workshop.pixels[:0]
    for wanted in engine_names():
        if wanted != "torch-float16":
            assert workshop.choose(wanted) == "torch-cpu-float32"
    assert "converted" not in workshop.done
    assert not engines_folder().exists()


# --- engines that are named ---


@pytest.mark.parametrize("wanted", ["torch-float32", "torch-bfloat16", "openvino-float32", "openvino-bfloat16"])
@pytest.mark.parametrize("photos", [1, 1000])
def test_a_named_engine_is_used(workshop: Workshop, wanted: str, photos: int) -> None:
    for _ in range(2):
        library, _, precision = wanted.partition("-")
        assert workshop.choose(wanted, photos=photos) == f"{library}-cpu-{precision}"


def test_the_reference_is_compared_with_nothing(workshop: Workshop) -> None:
    assert workshop.choose(REFERENCE) == "torch-cpu-float32"
    assert workshop.done == []
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    ("wanted", "cosine", "least"), [("openvino-float32", 0.98, 0.9999), ("openvino-bfloat16", 0.98, 0.99)]
)
def test_a_wrong_engine_that_is_named_is_refused(workshop: Workshop, wanted: str, cosine: float, least: float) -> None:
    COSINES.update(bfloat16=cosine, float32=cosine)
    of = "for each photo" if wanted == "openvino-float32" else "on average"
    for _ in range(2):  # found, then known
        with pytest.raises(EngineError) as caught:
            workshop.choose(wanted)
        assert str(caught.value) == (
            f"engine={wanted!r} does not give this network's features: cosine to torch-float32 on 16 photos: "
            f"mean 0.9800, lowest 0.9800, and at least {least} {of} is needed. Leave engine out."
        )


@pytest.mark.parametrize("fails", ["converting", "running"])
def test_a_network_that_openvino_cannot_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    error = EngineError("OpenVINO cannot run this network (why). Use engine='torch-float32'.")
    if fails == "converting":

        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr(openvino, "convert", refuse)
    else:
        COSINES.update(bfloat16=error, float32=error)
    assert workshop.choose() == "torch-cpu-float32"
    assert workshop.said == [f"openvino-{precision} is not used: {error}" for precision in ("bfloat16", "float32")]
    for wanted in ("openvino-float32", "openvino-bfloat16"):
        with pytest.raises(EngineError) as caught:
            workshop.choose(wanted)
        assert caught.value is error


@pytest.mark.parametrize(
    ("wanted", "machine", "message"),
    [
        (
            "nonsense",
            ("cpu", ("bfloat16", "float32")),
            "engine must be one of auto, torch-float32, torch-bfloat16, torch-float16, openvino-float32, "
            "openvino-bfloat16. Got 'nonsense'.",
        ),
        (
            "openvino-flaot32",
            ("cpu", ("bfloat16", "float32")),
            "engine must be one of auto, torch-float32, torch-bfloat16, torch-float16, openvino-float32, "
            "openvino-bfloat16. Got 'openvino-flaot32'. Did you mean 'openvino-float32' or 'openvino-bfloat16'?",
        ),
        (
            "openvino-float32",
            ("cuda", ("bfloat16", "float32")),
            "engine='openvino-float32' runs on the CPU, and device is cuda. Add device='cpu'.",
        ),
        (
            "openvino-bfloat16",
            ("cpu", ("float32",)),
            "engine='openvino-bfloat16' needs a processor that computes in bfloat16. OpenVINO runs here in: float32.",
        ),
        (
            "openvino-float32",
            ("cpu", ()),
            "engine='openvino-float32' needs OpenVINO, which does not run on this machine.",
        ),
        (
            "torch-float16",
            ("cpu", ("bfloat16", "float32")),
            "engine='torch-float16' needs a GPU. On the CPU use torch-bfloat16, or leave it out.",
        ),
    ],
)
def test_refusals(
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    machine: tuple[str, tuple[str, ...]],
    message: str,
) -> None:
    device, able = machine
    monkeypatch.setattr(openvino, "usable_precisions", lambda: able)
    for refuse in (
        lambda: check_engine(wanted, torch.device(device)),
        lambda: workshop.choose(wanted, device=torch.device(device)),
    ):
        with pytest.raises(OptionError) as caught:
            refuse()
        assert str(caught.value) == message
    assert workshop.done == []


@pytest.mark.parametrize("wanted", [None, 3, ["auto"]])
def test_an_engine_that_is_no_text_is_refused(wanted: Any) -> None:
    with pytest.raises(OptionError, match=r"^engine must be one of auto, "):
        check_engine(wanted, CPU)


# --- the cache ---


def test_without_cache_nothing_is_kept_or_read(workshop: Workshop) -> None:
    workshop.choose()
    before = {path: path.read_bytes() for path in engines_folder().rglob("*.*")}
    workshop.done.clear()
    assert workshop.choose(keep=False) == "openvino-cpu-bfloat16"
    assert workshop.done == ["photos", "converted"]  # checked anew: nothing was looked up
    assert {path: path.read_bytes() for path in engines_folder().rglob("*.*")} == before


def test_without_cache_nothing_is_left_on_disk(workshop: Workshop) -> None:
    workshop.choose(keep=False)
    assert not cache_folder().exists()


# --- with OpenVINO itself ---


def test_openvino_itself(tiny_network: str, pixels: Pixels) -> None:
    backbone = load_backbone(tiny_network)
    bench = Workshop(backbone, pixels(CHECKED_PHOTOS, 32, 32))
    expected = TorchEngine(load_backbone(tiny_network), CPU).features(bench.pixels)
    for _ in range(2):
        engine = choose_engine(bench.workload(), "openvino-float32")
        np.testing.assert_allclose(engine.features(bench.pixels), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert isinstance(engine, LazyEngine)
    assert bench.done == ["photos"]
    (said,) = bench.said
    assert said.startswith("engine: openvino-cpu-float32 (cosine to torch-float32 on 16 photos: mean 1.0000")


def test_openvino_itself_on_a_damaged_file(tiny_network: str, pixels: Pixels) -> None:
    """Zeros in the kept weights: the verdict is known, so nothing but the file itself can tell."""
    bench = Workshop(load_backbone(tiny_network), pixels(CHECKED_PHOTOS, 32, 32))
    expected = choose_engine(bench.workload(), "openvino-float32").features(bench.pixels)
    (weights,) = engines_folder().rglob("*.bin")
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[:2000] + bytes(4000) + data[6000:])
    assert np.array_equal(choose_engine(bench.workload(), "openvino-float32").features(bench.pixels), expected)
    assert weights.read_bytes() == data


@pytest.mark.slow
def test_a_trunk_is_converted_and_not_the_whole_network(tiny_network: str, pixels: Pixels) -> None:
    backbone = load_backbone(tiny_network)
    cut = backbone.stages()[-2].name
    trunk, _ = cut_before(backbone.module, cut, (3, 32, 32))
    bench = Workshop(backbone, pixels(CHECKED_PHOTOS, 32, 32))
    whole = choose_engine(bench.workload(), "openvino-float32")
    expected = TorchEngine(backbone, CPU, trunk).activations(bench.pixels)
    for _ in range(2):
        engine = choose_engine(bench.workload(module=trunk, cut=cut), exact=True)
        assert engine.name == "openvino-cpu-float32"
        found = engine.activations(bench.pixels)
        assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        assert engine.output_shape() == tuple(expected.shape[1:])
    assert whole.output_shape() == (backbone.features,)


def test_a_file_in_the_place_of_the_cache(
    tiny_network: str, pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file"))
    bench = Workshop(load_backbone(tiny_network), pixels(CHECKED_PHOTOS, 32, 32))
    engine = choose_engine(bench.workload(), "openvino-float32")
    assert engine.name == "openvino-cpu-float32"
    (first, second) = bench.said
    assert first.startswith("the converted network is not kept: ")
    assert "could not be written: Not a directory." in first
    assert second.startswith("engine: openvino-cpu-float32 (")
    expected = TorchEngine(bench.backbone, CPU).features(bench.pixels)
    np.testing.assert_allclose(engine.features(bench.pixels), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
