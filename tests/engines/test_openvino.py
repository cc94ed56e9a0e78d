"""The OpenVINO engine: PyTorch's outputs, the module left unchanged, and nothing reported to anybody."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_telemetry
import pytest
import torch
from tests.marks import some_slow
from torch import nn

from regraft.engines import openvino as converted
from regraft.engines.openvino import MODEL_FILE, OpenVinoEngine, convert, load, save
from regraft.engines.pytorch import TorchEngine
from regraft.errors import EngineError, OutputError
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.networks.cutting import cut_before

CPU = torch.device("cpu")
Local = Callable[..., str]
Pixels = Callable[..., np.ndarray]
# architecture, height and width: those with a fixed grid of patches take their own size alone
NETWORKS = {
    "test_resnet": (96, 64),
    "test_efficientnet": (64, 96),
    "test_efficientnet_ln": (64, 64),
    "test_convnext": (64, 96),
    "test_byobnet": (96, 64),
    "test_vit": (160, 160),
    "test_vit_relpos": (160, 160),
    "test_mambaout": (96, 64),
}
SLOW_TO_CONVERT = ("test_vit", "test_convnext", "test_vit_relpos", "test_mambaout")
SMALL = Preprocess(24, 32, 1.0, "squash", "bicubic", (0.1, 0.4, 0.7), (0.2, 0.5, 0.9))


class Made(nn.Module):
    """A convolution, and `body` applied to its output."""

    def __init__(self, body: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Dropout(0.5))
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(self.layer(images))


def pooled(values: torch.Tensor) -> torch.Tensor:
    return values.mean((2, 3))


def refuse(_: torch.Tensor) -> torch.Tensor:
    raise ValueError("this network cannot be traced\nand says so")


def singular(values: torch.Tensor) -> torch.Tensor:
    """Apply an operation that OpenVINO lacks."""
    return torch.linalg.svdvals(values.flatten(2))


def one_by_one(values: torch.Tensor) -> torch.Tensor:
    """Compute what fixes the batch size when it is traced."""
    return torch.stack([values[number].mean((1, 2)) for number in range(len(values))])


@pytest.fixture
def network(local: Local) -> Callable[[str], Backbone]:
    """Return a function that loads a network whose channels are normalised each in its own way."""

    def make(architecture: str) -> Backbone:
        backbone = load_backbone(local(architecture))
        height, width = NETWORKS[architecture]
        backbone.preprocess = replace(backbone.preprocess, height=height, width=width, mean=SMALL.mean, std=SMALL.std)
        return backbone

    return make


@pytest.fixture
def tiny() -> nn.Module:
    torch.manual_seed(0)
    return Made(pooled).eval()


def engine_of(module: nn.Module, preprocess: Preprocess, precision: str = "float32") -> OpenVinoEngine:
    return OpenVinoEngine(convert(module, preprocess), preprocess, precision)


def check_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that float32 outputs (b, ...) are the same but for rounding, and can be told apart."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (found, expected))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() >= 0.9999
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale)
    if len(expected) > 1:
        assert np.abs(expected[0] - expected[1]).max() > 1e-3 * scale


# --- outputs ---


@pytest.mark.parametrize(
    "architecture",
    some_slow(NETWORKS, SLOW_TO_CONVERT),
)
def test_features_are_pytorchs(network: Callable[[str], Backbone], pixels: Pixels, architecture: str) -> None:
    backbone = network(architecture)
    engine, reference = engine_of(backbone.module, backbone.preprocess), TorchEngine(backbone, CPU)
    for count in (1, 7, 8, 9, 33):
        images = pixels(count, *NETWORKS[architecture], seed=count)
        check_equal(engine.features(images), reference.features(images))


def test_features_by_hand(pixels: Pixels) -> None:
    """A network that gives the mean of each channel gives (mean of pixels / 255 - mean) / std."""

    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    images = pixels(9, 24, 32)
    expected = (images.astype(np.float64).mean(axis=(1, 2)) / 255 - SMALL.mean) / SMALL.std
    np.testing.assert_allclose(engine_of(Mean(), SMALL).features(images), expected, rtol=0, atol=1e-5)


def test_height_and_width_are_not_mixed_up(pixels: Pixels) -> None:
    class Columns(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, 0, 1, :]  # a row, (b, w)

    images = pixels(3, 24, 32)
    expected = (images[:, 1, :, 0] / 255.0 - SMALL.mean[0]) / SMALL.std[0]
    np.testing.assert_allclose(engine_of(Columns(), SMALL).features(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_activations_at_a_cut_are_pytorchs(
    network: Callable[[str], Backbone], pixels: Pixels, architecture: str
) -> None:
    backbone = network(architecture)
    height, width = NETWORKS[architecture]
    cut = backbone.stages()[-2].name
    trunk, _ = cut_before(backbone.module, cut, (3, height, width))
    engine, images = engine_of(trunk, backbone.preprocess), pixels(9, height, width)
    reference = TorchEngine(backbone, CPU, trunk)
    found, expected = engine.activations(images), reference.activations(images)
    assert found.ndim > 2
    check_equal(found.numpy(), expected.numpy())
    assert engine.output_shape() == reference.output_shape() == tuple(expected.shape[1:])


@pytest.mark.skipif("bfloat16" not in converted.usable_precisions(), reason="the processor has no bfloat16")
def test_bfloat16_is_close_and_not_the_same(network: Callable[[str], Backbone], pixels: Pixels) -> None:
    """bfloat16 has 8 bits of mantissa: each rounding errs by up to 2 ** -9, and some tens of layers add up."""
    backbone, images = network("test_resnet"), pixels(9, 96, 64)
    model = convert(backbone.module, backbone.preprocess)
    exact = OpenVinoEngine(model, backbone.preprocess, "float32").features(images)
    found = OpenVinoEngine(model, backbone.preprocess, "bfloat16").features(images)
    assert found.dtype == np.float32
    error = np.abs(found - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 0.1


def test_pixels_may_have_any_strides(tiny: nn.Module, pixels: Pixels) -> None:
    engine, images = engine_of(tiny, SMALL), pixels(9, 24, 32)
    expected = engine.features(images)
    reversed_ = images[::-1, ::-1]
    assert np.array_equal(engine.features(reversed_[:, ::-1])[::-1], expected)
    before = images.copy()
    engine.features(images)
    assert np.array_equal(images, before)


def test_many_batches_in_flight_at_once(tiny: nn.Module, pixels: Pixels) -> None:
    engine = engine_of(tiny, SMALL)
    batches = [pixels(count, 24, 32, seed=count) for count in (9, 1, 17, 8, 3)]
    expected = [TorchEngine(backbone_of(tiny), CPU).features(batch) for batch in batches]
    waiting = [engine.start(batch) for batch in batches]
    for number in (3, 0, 4, 1, 2):  # in whatever order they are asked for
        check_equal(waiting[number](), expected[number])


def test_several_threads_may_use_an_engine(tiny: nn.Module, pixels: Pixels) -> None:
    engine, images = engine_of(tiny, SMALL), [pixels(9, 24, 32, seed=seed) for seed in range(4)]
    expected = [engine.features(batch) for batch in images]
    wrong: list[int] = []

    def work(place: int) -> None:
        wrong.extend(place for _ in range(10) if not np.array_equal(engine.features(images[place]), expected[place]))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_engine_has_a_name_and_its_preprocessing(tiny: nn.Module) -> None:
    engine = engine_of(tiny, SMALL)
    assert (engine.name, engine.preprocess) == ("openvino-cpu-float32", SMALL)


def test_threads_end_with_the_engine(tiny: nn.Module, pixels: Pixels) -> None:
    engine = engine_of(tiny, SMALL)
    engine.features(pixels(9, 24, 32))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("openvino")]
    assert threads
    del engine
    gc.collect()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def backbone_of(module: nn.Module) -> Backbone:
    return Backbone(module, None, SMALL, 5, "made by hand")  # type: ignore[arg-type]


# --- the module is left unchanged ---


def test_further_training_does_not_change_the_converted_network(tiny: nn.Module, pixels: Pixels) -> None:
    engine, images = engine_of(tiny, SMALL), pixels(9, 24, 32)
    before = engine.features(images)
    with torch.no_grad():
        for tensor in (*tiny.parameters(), *tiny.buffers()):
            tensor.add_(1)
    assert np.array_equal(engine.features(images), before)
    assert not np.allclose(engine_of(tiny, SMALL).features(images), before)


@pytest.mark.parametrize("body", [pooled, refuse, singular])
def test_the_module_is_left_unchanged(body: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Weights, modes, hooks and attributes; dropout and batch statistics are in training mode, one part is not."""
    module = Made(body).train()
    module.layer[1].eval()
    called: list[str] = []
    handle = module.layer.register_forward_hook(lambda *_: called.append("hook"))
    for parameter in module.layer[1].parameters():
        parameter.requires_grad_(False)

    def state() -> Any:
        parts = list(module.modules())
        return (
            [part.training for part in parts],
            [sorted(vars(part)) for part in parts],
            [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in parts],
            [(tensor.requires_grad, tensor.grad, tensor._version) for tensor in module.parameters()],
            [(id(tensor), tensor.tolist()) for tensor in module.state_dict(keep_vars=True).values()],
        )

    before = state()
    if body is pooled:
        convert(module, SMALL)
    else:
        with pytest.raises(EngineError):
            convert(module, SMALL)
    assert state() == before
    assert called
    handle.remove()


def test_a_network_in_training_is_converted_as_it_evaluates(pixels: Pixels) -> None:
    module, images = Made(pooled).train(), pixels(9, 24, 32)
    found = engine_of(module, SMALL).features(images)
    check_equal(found, TorchEngine(backbone_of(module), CPU).features(images))


def test_gradients_flow_after_converting(tiny: nn.Module) -> None:
    convert(tiny, SMALL)
    tiny(torch.ones(2, 3, 24, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in tiny.parameters())


# --- networks that cannot be converted ---


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (refuse, "this network cannot be traced"),
        (singular, "No conversion rule found for operations: aten::linalg_svdvals"),
    ],
)
def test_an_unsupported_operation_is_named(body: Callable[[torch.Tensor], torch.Tensor], reason: str) -> None:
    with pytest.raises(EngineError) as caught:
        convert(Made(body), SMALL)
    assert str(caught.value) == f"OpenVINO cannot run this network ({reason}). Use engine='torch-float32'."


def test_without_pytorch_the_remedy_begins_with_installing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "is_installed", lambda _: False)
    assert str(converted._failed(RuntimeError("why"))) == (
        "OpenVINO failed on this network: why. Install PyTorch (pip install 'regraft[train]'), and use "
        "engine='torch-float32'."
    )


def test_a_batch_size_fixed_by_tracing_is_an_error(pixels: Pixels) -> None:
    engine = engine_of(Made(one_by_one), SMALL)
    with pytest.raises(EngineError) as caught:
        engine.features(pixels(8, 24, 32))
    assert str(caught.value) == (
        "OpenVINO failed on this network: it returns 2 outputs for 8 images. Use engine='torch-float32'."
    )


def test_a_failure_while_running_is_an_error(tiny: nn.Module, pixels: Pixels) -> None:
    engine = engine_of(tiny, SMALL)
    waiting = engine.start(pixels(3, 30, 30))  # another size than it was converted for
    with pytest.raises(EngineError, match=r"^OpenVINO failed on this network: .*\. Use engine='torch-float32'\.$"):
        waiting()
    check_equal(engine.features(pixels(3, 24, 32)), TorchEngine(backbone_of(tiny), CPU).features(pixels(3, 24, 32)))


def test_without_openvino_no_precision_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError("no module named openvino")

    monkeypatch.setattr(converted, "core", absent)
    assert converted.usable_precisions() == ()


@pytest.mark.parametrize(
    ("able", "expected"),
    [(["FP32", "BF16", "INT8"], ("bfloat16", "float32")), (["FP32", "INT8"], ("float32",))],
)
def test_bfloat16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, able: list[str], expected: tuple[str, ...]
) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return able

    monkeypatch.setattr(converted, "core", Core)
    assert converted.usable_precisions() == expected


# --- on disk ---


@pytest.fixture
def kept(tiny: nn.Module, tmp_path: Path) -> Path:
    """Return a folder with `tiny` in it."""
    save(convert(tiny, SMALL), tmp_path / "deep" / "kept")
    return tmp_path / "deep" / "kept"


def test_what_is_loaded_is_what_was_saved(tiny: nn.Module, kept: Path, pixels: Pixels) -> None:
    model, images = load(kept), pixels(9, 24, 32)
    assert model is not None
    found = OpenVinoEngine(model, SMALL, "float32").features(images)
    assert np.array_equal(found, engine_of(tiny, SMALL).features(images))
    assert sorted(path.name for path in kept.iterdir()) == ["model.bin", "model.sha256", "model.xml"]


def test_weights_are_kept_in_float32(tiny: nn.Module, kept: Path) -> None:
    """The convolution has 5 * 3 * 9 weights; in float16 the file would hold half as many bytes."""
    assert (kept / "model.bin").stat().st_size >= 4 * 5 * 3 * 9


def test_nothing_is_loaded_from_an_empty_folder(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    assert load(tmp_path / "nowhere") is None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda data: data[: len(data) // 2],
    "short by one": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "zeros in it": lambda data: data[:50] + bytes(100) + data[150:],  # of the same size: a hole after a power cut
    "another file": lambda _: b"hello",
    "no text": lambda _: b"\xff\xfe\xff",
}


@pytest.mark.parametrize("file", ["model.bin", "model.sha256", MODEL_FILE])
@pytest.mark.parametrize("damage", some_slow([*DAMAGES, "missing", "a folder"], list(DAMAGES)[3:]))
def test_damaged_files_are_as_if_absent(tiny: nn.Module, kept: Path, pixels: Pixels, file: str, damage: str) -> None:
    path = kept / file
    data = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(DAMAGES[damage](data))
    assert load(kept) is None
    if damage != "a folder":
        save(convert(tiny, SMALL), kept)
        assert load(kept) is not None


def test_loading_makes_the_weights_the_last_to_be_dropped(kept: Path) -> None:
    weights = kept / "model.bin"
    os.utime(weights, (1000, 1000))
    assert load(kept) is not None
    assert weights.stat().st_mtime > 1000


def test_a_full_disk_leaves_nothing(tiny: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any, path: Path, **__: object) -> None:
        path.with_suffix(".bin").write_bytes(b"half")
        raise RuntimeError("basic_ios::clear: iostream error")

    model = convert(tiny, SMALL)
    monkeypatch.setattr(openvino, "save_model", full)
    with pytest.raises(OutputError) as caught:
        save(model, tmp_path / "kept")
    assert (
        str(caught.value) == f"{tmp_path / 'kept' / MODEL_FILE} could not be written: basic_ios::clear: iostream error"
    )
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_file_in_the_place_of_the_folder(tiny: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"could not be written: Not a directory\. Nothing was left half-written"):
        save(convert(tiny, SMALL), tmp_path / "file" / "kept")


# --- nothing is reported to anybody ---


@pytest.fixture
def silent(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no telemetry object be made, and no connection."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something is reported to somebody")

    for name in ("__init__", "start_session", "send_event", "send_error"):
        monkeypatch.setattr(openvino_telemetry.Telemetry, name, forbidden)


@pytest.mark.usefixtures("silent")
def test_nothing_is_reported(tiny: nn.Module, tmp_path: Path, pixels: Pixels) -> None:
    running = set(threading.enumerate())
    model = convert(tiny, SMALL)
    save(model, tmp_path / "kept")
    loaded = load(tmp_path / "kept")
    for precision in converted.usable_precisions():
        assert OpenVinoEngine(loaded, SMALL, precision).features(pixels(9, 24, 32)).shape == (9, 5)
    with pytest.raises(EngineError):
        convert(Made(singular), SMALL)
    assert {thread.name.partition("_")[0] for thread in set(threading.enumerate()) - running} <= {"openvino"}


@pytest.mark.parametrize(
    ("first", "silent"),
    [("from regraft.engines.openvino import usable_precisions as f; f()", True), ("import openvino", False)],
)
def test_not_even_the_import_is_reported(first: str, silent: bool, tmp_path: Path) -> None:
    """OpenVINO by itself finds its telemetry; imported by regraft it takes its stub and leaves nothing in the home."""
    told = "import sys; from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__)"
    environment = {**os.environ, "HOME": str(tmp_path), "CI": "true"}  # the one that finds it reports nothing there
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{told}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=120,
    )
    assert done.stdout.endswith("telemetry_stub\n") == silent
    assert not silent or list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("silent")
def test_openvinos_own_converter_would_report(tiny: nn.Module) -> None:
    """The test above can fail."""
    with pytest.raises(Exception, match="something is reported to somebody"):
        openvino.convert_model(tiny, example_input=torch.zeros(2, 3, 24, 32))


def test_what_is_dropped_does_not_start(tiny: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C waits for the batches that are being worked on, not for those that wait."""
    engine = engine_of(tiny, SMALL)
    begun, go_on, infer = [], threading.Event(), engine._infer

    def slow(pixels: np.ndarray) -> np.ndarray:
        begun.append(len(pixels))
        go_on.wait(30)
        return infer(pixels)

    monkeypatch.setattr(engine, "_infer", slow)
    engine.start(np.zeros((8 * 50, 24, 32, 3), dtype=np.uint8))  # 50 parts
    engine.drop()
    go_on.set()
    engine._pool.shutdown(wait=True)
    assert len(begun) <= engine._pool._max_workers
