"""The choice of an engine: the fastest that is right, on verdicts that are kept; and what is refused, in words."""

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from regraft.cache import cache_folder, engines_folder
from regraft.data.preprocess import Preprocess
from regraft.engines import openvino as converted
from regraft.engines import selection
from regraft.engines.engine import Engine, TorchEngine
from regraft.engines.selection import (
    AUTO,
    CHECKED_PHOTOS,
    ENGINES,
    REFERENCE,
    WORTH_CONVERTING,
    Agreement,
    CheckPhotos,
    Deferred,
    EngineChoice,
    Workload,
    check_engine,
    choice_of,
    choose_engine,
    machine,
)
from regraft.errors import EngineError, OptionError
from regraft.networks.backbones import Backbone, load_backbone
from regraft.networks.cutting import cut_before

CPU = torch.device("cpu")
MANY = WORTH_CONVERTING
Pixels = Callable[..., np.ndarray]
NAMES = {precision: f"openvino-cpu-{precision}" for precision in ("bfloat16", "float32")}


class Fake(Engine):
    """Stands for OpenVINO: the reference's two features, turned by an angle whose cosine is `OFF`."""

    def __init__(self, model: Backbone, preprocess: Preprocess, precision: str) -> None:
        self.preprocess, self.name = preprocess, NAMES[precision]
        self._reference, self._cosine = TorchEngine(model, CPU), OFF[precision]

    def activations(self, pixels: np.ndarray) -> torch.Tensor:
        if isinstance(self._cosine, Exception):
            raise self._cosine
        x, y = self._reference.activations(pixels).double().T
        cosine, sine = self._cosine, math.sqrt(1 - self._cosine**2)
        return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=1).float()


OFF: dict[str, Any] = {}


class Plane(nn.Module):
    """(b, 3, h, w) -> (b, 2): all that can be wrong with the direction of two features is an angle."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images).abs().mean((2, 3))


class Workshop:
    """Makes tasks on one network, and counts what is done for them."""

    def __init__(self, backbone: Backbone, pixels: np.ndarray) -> None:
        self.backbone, self.pixels = backbone, pixels
        self.said: list[str] = []
        self.done: list[str] = []

    def task(self, photos: int = MANY, *, checked: str = "these", **options: Any) -> Workload:
        def read() -> np.ndarray:
            self.done.append("photos")
            return self.pixels

        backbone, check = options.pop("backbone", self.backbone), CheckPhotos(checked, read)
        return Workload(backbone, options.pop("device", CPU), photos, check, say=self.said.append, **options)

    def choose(self, wanted: str = AUTO, *, exact: bool = False, **options: Any) -> str:
        return choose_engine(self.task(**options), wanted, exact=exact).name


@pytest.fixture
def workshop(tiny_network: str, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Return a workshop in which OpenVINO is `Fake`, on a processor that has bfloat16 and whose engines are exact."""
    backbone = load_backbone(tiny_network)
    torch.manual_seed(0)
    backbone.module, backbone.features = Plane().eval(), 2
    made = Workshop(backbone, pixels(CHECKED_PHOTOS, 32, 32))
    OFF.update(bfloat16=1.0, float32=1.0)

    def convert(*_: object) -> Backbone:
        made.done.append("converted")
        return backbone

    def save(_: object, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_text("weights")

    def load(folder: Path, say: object) -> Backbone | None:
        made.done.append("loaded")
        return backbone if (folder / "model.bin").exists() else None

    monkeypatch.setattr(converted, "usable_precisions", lambda: ("bfloat16", "float32"))
    monkeypatch.setattr(converted, "OpenVinoEngine", Fake)
    monkeypatch.setattr(converted, "convert", convert)
    monkeypatch.setattr(converted, "save", save)
    monkeypatch.setattr(converted, "load", load)
    return made


# --- how outputs agree ---


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize(
    ("found", "expected", "cosine"),
    [
        ([3, 4], [3, 4], 1.0),
        ([30, 40], [3, 4], 1.0),  # the length does not matter
        ([4, 3], [3, 4], 24 / 25),
        ([-3, -4], [3, 4], -1.0),
        ([1, 0], [0, 1], 0.0),
        ([1, 1], [1, 0], 1 / math.sqrt(2)),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [3, 4], -1.0),
        ([3, 4], [0, 0], -1.0),
        ([math.nan, 1], [3, 4], -1.0),
        ([math.nan, math.nan], [0, 0], -1.0),
        ([math.inf, 1], [3, 4], -1.0),
        ([math.inf, 1], [0, 0], -1.0),
        ([-math.inf, 1], [math.inf, 1], -1.0),
        ([1e38, 1e38], [3e38, 3e38], 1.0),  # squares that float32 could not hold
        ([1e-30, 0], [1, 0], 1.0),
    ],
)
def test_agreement_by_hand(found: list[float], expected: list[float], cosine: float) -> None:
    agreement = Agreement.of(vectors(found), vectors(expected))
    assert agreement.photos == 1
    assert agreement.mean == agreement.lowest == pytest.approx(cosine, abs=1e-12)


def test_agreement_over_photos() -> None:
    """Cosines 1, 24 / 25 and 0: their mean is 49 / 75."""
    agreement = Agreement.of(vectors([3, 4], [4, 3], [1, 0]), vectors([3, 4], [3, 4], [0, 1]))
    assert (agreement.mean, agreement.lowest) == (pytest.approx(49 / 75), pytest.approx(0, abs=1e-12))
    assert agreement.photos == 3
    assert str(agreement) == "cosine to torch-float32 on 3 photos: mean 0.6533, lowest 0.0000"


def test_agreement_of_activations_is_that_of_all_their_values() -> None:
    found = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) - 5
    expected = found[:, ::-1]
    a, b = found.reshape(2, 12), expected.reshape(2, 12)
    by_hand = [row @ other / (row @ row) for row, other in zip(a, b, strict=True)]  # both have the same length
    agreement = Agreement.of(found, expected)
    assert (agreement.mean, agreement.lowest) == (pytest.approx(sum(by_hand) / 2), pytest.approx(min(by_hand)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_what_suffices(precision: str) -> None:
    """0.9999 for each photo in float32; 0.99 on average below it, where the lowest may be lower."""
    least = {"float32": 0.9999, "bfloat16": 0.99, "float16": 0.99}[precision]
    for engine in (f"openvino-{precision}", f"torch-{precision}"):
        assert Agreement(least, -1.0, 16).suffices(engine) == (precision != "float32")
        assert Agreement(1.0, least, 16).suffices(engine)
        assert Agreement(1.0, 1.0, 16).suffices(engine)
        assert Agreement(1.0 + 1e-12, 1.0, 16).suffices(engine)  # rounding
        for mean in (least - 1e-6, 0.0, -1.0, math.nan, math.inf, 1.5):
            assert not Agreement(mean, mean, 16).suffices(engine)


def test_one_photo_that_is_not_finite_fails_an_engine() -> None:
    found = np.ones((CHECKED_PHOTOS, 2), dtype=np.float32)
    expected = found.copy()
    found[3, 1] = np.inf
    agreement = Agreement.of(found, expected)
    assert agreement.mean == pytest.approx((15 - 1) / 16)
    assert not agreement.suffices("openvino-bfloat16")


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
    OFF.update(bfloat16=bfloat16, float32=float32)
    for _ in range(2):  # checked, then by the kept verdict
        assert workshop.choose() == chosen


def test_what_is_said_of_the_choice(workshop: Workshop) -> None:
    OFF.update(bfloat16=0.6, float32=1.0)
    workshop.choose()
    on = "cosine to torch-float32 on 16 photos"
    assert workshop.said == [
        f"openvino-bfloat16 is not used ({on}: mean 0.6000, lowest 0.6000; at least 0.99 is needed)",
        f"engine: openvino-cpu-float32 ({on}: mean 1.0000, lowest 1.0000)",
    ]


def test_a_verdict_is_used_again_without_running_anything(workshop: Workshop) -> None:
    assert workshop.choose() == "openvino-cpu-bfloat16"
    assert sorted(workshop.done) == ["converted", "loaded", "photos"]
    workshop.done.clear()
    workshop.said.clear()
    engine = choose_engine(workshop.task())
    assert (engine.name, workshop.done, workshop.said) == ("openvino-cpu-bfloat16", [], [])
    assert engine.preprocess == workshop.backbone.preprocess
    expected = TorchEngine(workshop.backbone, CPU).features(workshop.pixels)
    np.testing.assert_allclose(engine.features(workshop.pixels), expected, rtol=1e-5)
    np.testing.assert_allclose(engine.start(workshop.pixels)(), expected, rtol=1e-5)
    assert engine.output_shape() == (2,)
    assert workshop.done == ["loaded"]  # once, and from the cache


def test_a_network_that_was_dropped_from_the_cache_is_converted_again(workshop: Workshop) -> None:
    workshop.choose()
    (weights,) = engines_folder().rglob("*.bin")
    weights.unlink()
    workshop.done.clear()
    engine = choose_engine(workshop.task())
    assert engine.features(workshop.pixels).shape == (16, 2)
    assert workshop.done == ["loaded", "converted"]
    assert weights.exists()


def test_a_verdict_that_failed_is_kept_too(workshop: Workshop) -> None:
    OFF.update(bfloat16=0.5, float32=0.5)
    workshop.choose()
    workshop.done.clear()
    assert workshop.choose() == "torch-cpu-float32"
    assert workshop.done == []


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
    assert workshop.task(**options).folder != workshop.task().folder
    workshop.choose(**options)
    assert sorted(workshop.done) == ["converted", "loaded", "photos"]


def test_verdicts_are_of_these_versions(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workshop.task().folder
    assert workshop.task().folder == folder
    monkeypatch.setattr(torch, "__version__", "99")
    assert workshop.task().folder != folder


def rewritten(**changes: object) -> Callable[[Path], None]:
    """Return what changes fields of a verdict; its check stays what it was."""
    return lambda file: file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def written(text: str) -> Callable[[Path], None]:
    return lambda file: file.write_text(text)


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": written(""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-3]),
    "a list": written("[]"),
    "null": written("null"),
    "no fields": written("{}"),
    "a field missing": written('{"mean": 1.0}'),
    "text for a number": rewritten(mean="high"),
    "nothing for a number": rewritten(mean=None),
    "a list for a number": rewritten(lowest=[]),
    "infinite": rewritten(photos=math.inf),
    "another mean": rewritten(mean=0.5),
    "another lowest": rewritten(lowest=0.2),
    "other photos": rewritten(photos=15),
    "out of range": rewritten(mean=2.0),
    "no text": lambda file: file.write_bytes(b"\xff\x00" * 20),
    "deep": written("[" * 100_000),
    "long": lambda file: file.write_text(file.read_text() + " " * 10_000_000),
    "a pipe": replaced_by(os.mkfifo),
    "a folder": replaced_by(Path.mkdir),
    "a device": replaced_by(lambda file: file.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_verdict_is_made_anew(workshop: Workshop, damage: Callable[[Path], None]) -> None:
    OFF.update(bfloat16=0.995)
    workshop.choose()
    verdict = Path(str(workshop.task().folder)) / "openvino-cpu-bfloat16-these.json"
    whole = verdict.read_text()
    damage(verdict)
    workshop.done.clear()
    workshop.said.clear()
    assert workshop.choose() == "openvino-cpu-bfloat16"
    assert "photos" in workshop.done
    assert verdict.read_text() == whole
    said = f"the verdict on openvino-cpu-bfloat16 in {verdict} is damaged: the engine is checked again"
    assert workshop.said[0] == said


def test_the_verdict_on_another_engine_is_not_taken(workshop: Workshop) -> None:
    OFF.update(bfloat16=0.5, float32=1.0)
    assert workshop.choose() == "openvino-cpu-float32"
    folder = Path(str(workshop.task().folder))
    shutil.copy(folder / "openvino-cpu-float32-these.json", folder / "openvino-cpu-bfloat16-these.json")
    assert workshop.choose() == "openvino-cpu-float32"


# --- the same choice, whatever ran before ---


def test_a_verdict_is_of_these_photos(workshop: Workshop) -> None:
    """Photos that came first do not decide for others."""
    OFF.update(bfloat16=0.5, float32=1.0)
    assert workshop.choose(checked="dark ones") == "openvino-cpu-float32"
    OFF.update(bfloat16=1.0)
    assert workshop.choose(checked="bright ones") == "openvino-cpu-bfloat16"
    OFF.update(bfloat16=math.nan)  # nothing is compared again
    assert workshop.choose(checked="dark ones") == "openvino-cpu-float32"
    assert workshop.choose(checked="bright ones") == "openvino-cpu-bfloat16"


@pytest.mark.parametrize(("photos", "chosen"), [(MANY - 1, "torch-cpu-float32"), (MANY, "openvino-cpu-bfloat16")])
def test_networks_are_not_converted_for_a_few_photos(workshop: Workshop, photos: int, chosen: str) -> None:
    assert workshop.choose(photos=photos) == chosen
    assert ("converted" in workshop.done) == (photos == MANY)


def test_a_few_photos_are_run_alike_whatever_the_cache_holds(workshop: Workshop) -> None:
    assert workshop.choose(photos=1) == "torch-cpu-float32"
    workshop.choose()
    assert workshop.choose(photos=1) == "torch-cpu-float32"


@pytest.mark.parametrize("photos", [1, MANY])
def test_what_was_chosen_earlier_on_such_a_machine_is_taken(workshop: Workshop, photos: int) -> None:
    earlier = EngineChoice("openvino-float32", machine(CPU))
    engine = choose_engine(workshop.task(photos=photos, earlier=earlier))
    assert (engine.name, workshop.done) == ("openvino-cpu-float32", [])  # nothing is compared, nor built yet
    assert engine.features(workshop.pixels).shape == (16, 2)
    assert choose_engine(workshop.task(earlier=earlier), "torch-float32").name == "torch-cpu-float32"  # as it is named
    cut = workshop.task(photos=1, earlier=earlier)
    assert choose_engine(cut, exact=True).name == "torch-cpu-float32"  # that choice was for all of the network


@pytest.mark.parametrize("photos", [1, MANY])
def test_what_was_chosen_elsewhere_is_not(workshop: Workshop, photos: int) -> None:
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
    engine = workshop.task().build("torch-float32")
    monkeypatch.setattr(engine, "name", name)
    found = choice_of(engine, CPU, photos)
    assert found == (expected and EngineChoice(expected, machine(CPU)))


def test_exact_is_float32(workshop: Workshop) -> None:
    assert workshop.choose(exact=True) == "openvino-cpu-float32"
    OFF.update(float32=0.999)
    assert workshop.choose(exact=True, cut="layer3") == "torch-cpu-float32"


def test_a_processor_without_bfloat16(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "usable_precisions", lambda: ("float32",))
    assert workshop.choose() == "openvino-cpu-float32"


def test_a_machine_without_openvino(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "usable_precisions", lambda: ())
    assert workshop.choose() == "torch-cpu-float32"
    assert workshop.done == workshop.said == []


def test_where_nothing_can_be_read_nothing_is_converted(workshop: Workshop) -> None:
    workshop.pixels = workshop.pixels[:0]
    for wanted in ENGINES:
        if wanted != "torch-float16":
            assert workshop.choose(wanted) == "torch-cpu-float32"
    assert "converted" not in workshop.done
    assert not engines_folder().exists()


# --- engines that are asked for ---


@pytest.mark.parametrize("wanted", ["torch-float32", "torch-bfloat16", "openvino-float32", "openvino-bfloat16"])
@pytest.mark.parametrize("photos", [1, 1000])
def test_an_engine_that_is_asked_for_is_used(workshop: Workshop, wanted: str, photos: int) -> None:
    for _ in range(2):
        library, _, precision = wanted.partition("-")
        assert workshop.choose(wanted, photos=photos) == f"{library}-cpu-{precision}"


def test_the_reference_is_measured_by_nothing(workshop: Workshop) -> None:
    assert workshop.choose(REFERENCE) == "torch-cpu-float32"
    assert workshop.done == []
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    ("wanted", "cosine", "least"), [("openvino-float32", 0.98, 0.9999), ("openvino-bfloat16", 0.98, 0.99)]
)
def test_a_wrong_engine_that_is_asked_for_is_refused(
    workshop: Workshop, wanted: str, cosine: float, least: float
) -> None:
    OFF.update(bfloat16=cosine, float32=cosine)
    of = "of each" if wanted == "openvino-float32" else "on average"
    for _ in range(2):  # found, then known
        with pytest.raises(EngineError) as caught:
            workshop.choose(wanted)
        assert str(caught.value) == (
            f"--engine {wanted} does not give this network's features: cosine to torch-float32 on 16 photos: "
            f"mean 0.9800, lowest 0.9800, and at least {least} {of} is needed. Leave --engine out."
        )


@pytest.mark.parametrize("fails", ["converting", "running"])
def test_a_network_that_openvino_cannot_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    error = EngineError("OpenVINO cannot run this network (why). Use --engine torch-float32.")
    if fails == "converting":

        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr(converted, "convert", refuse)
    else:
        OFF.update(bfloat16=error, float32=error)
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
            "--engine must be one of: auto, torch-float32, torch-bfloat16, torch-float16, openvino-float32, "
            "openvino-bfloat16. Got 'nonsense'.",
        ),
        (
            "openvino-flaot32",
            ("cpu", ("bfloat16", "float32")),
            "--engine must be one of: auto, torch-float32, torch-bfloat16, torch-float16, openvino-float32, "
            "openvino-bfloat16. Got 'openvino-flaot32'. Did you mean 'openvino-float32' or 'openvino-bfloat16'?",
        ),
        (
            "openvino-float32",
            ("cuda", ("bfloat16", "float32")),
            "--engine openvino-float32 runs on the CPU, and --device is cuda. Add --device cpu.",
        ),
        (
            "openvino-bfloat16",
            ("cpu", ("float32",)),
            "--engine openvino-bfloat16: this processor cannot compute in bfloat16. OpenVINO runs here as: "
            "openvino-float32.",
        ),
        (
            "openvino-float32",
            ("cpu", ()),
            "--engine openvino-float32: this processor cannot compute in float32. OpenVINO runs here as: not at all.",
        ),
        (
            "torch-float16",
            ("cpu", ("bfloat16", "float32")),
            "--engine torch-float16 needs a GPU. On the CPU use torch-bfloat16, or leave it out.",
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
    monkeypatch.setattr(converted, "usable_precisions", lambda: able)
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
    with pytest.raises(OptionError, match=r"^--engine must be one of: auto, "):
        check_engine(wanted, CPU)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", ["openvino-bfloat16", "openvino-float32"]),
        ("mps", []),
    ],
)
def test_what_is_worth_trying(workshop: Workshop, device: str, expected: list[str]) -> None:
    assert selection._candidates(torch.device(device), exact=False) == expected
    exact = [engine for engine in expected if engine.endswith("float32")]
    assert selection._candidates(torch.device(device), exact=True) == exact


@pytest.mark.parametrize(("able", "expected"), [(True, "torch-bfloat16"), (False, "torch-float16")])
def test_what_is_worth_trying_on_a_gpu(monkeypatch: pytest.MonkeyPatch, able: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able and not including_emulation)
    assert selection._candidates(torch.device("cuda"), exact=False) == [expected]
    assert selection._candidates(torch.device("cuda"), exact=True) == []


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


def test_the_real_thing(tiny_network: str, pixels: Pixels) -> None:
    backbone = load_backbone(tiny_network)
    bench = Workshop(backbone, pixels(CHECKED_PHOTOS, 32, 32))
    expected = TorchEngine(load_backbone(tiny_network), CPU).features(bench.pixels)
    for _ in range(2):
        engine = choose_engine(bench.task(), "openvino-float32")
        np.testing.assert_allclose(engine.features(bench.pixels), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert isinstance(engine, Deferred)
    assert bench.done == ["photos"]
    (said,) = bench.said
    assert said.startswith("engine: openvino-cpu-float32 (cosine to torch-float32 on 16 photos: mean 1.0000")


def test_the_real_thing_damaged(tiny_network: str, pixels: Pixels) -> None:
    """Zeros in the kept weights: the verdict is known, so nothing but the file itself can tell."""
    bench = Workshop(load_backbone(tiny_network), pixels(CHECKED_PHOTOS, 32, 32))
    expected = choose_engine(bench.task(), "openvino-float32").features(bench.pixels)
    (weights,) = engines_folder().rglob("*.bin")
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[:2000] + bytes(4000) + data[6000:])
    assert np.array_equal(choose_engine(bench.task(), "openvino-float32").features(bench.pixels), expected)
    assert weights.read_bytes() == data


def test_a_trunk_is_converted_and_not_the_whole_network(tiny_network: str, pixels: Pixels) -> None:
    backbone = load_backbone(tiny_network)
    cut = backbone.stages()[-2].name
    trunk, _ = cut_before(backbone.module, cut, (3, 32, 32))
    bench = Workshop(backbone, pixels(CHECKED_PHOTOS, 32, 32))
    whole = choose_engine(bench.task(), "openvino-float32")
    expected = TorchEngine(backbone, CPU, trunk).activations(bench.pixels)
    for _ in range(2):
        engine = choose_engine(bench.task(module=trunk, cut=cut), exact=True)
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
    engine = choose_engine(bench.task(), "openvino-float32")
    assert engine.name == "openvino-cpu-float32"
    (first, second) = bench.said
    assert first.startswith("the converted network is not kept: ")
    assert "could not be written: Not a directory." in first
    assert second.startswith("engine: openvino-cpu-float32 (")
    expected = TorchEngine(bench.backbone, CPU).features(bench.pixels)
    np.testing.assert_allclose(engine.features(bench.pixels), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
