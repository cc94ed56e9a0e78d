"""The PyTorch engine: precisions, outputs that can be trained on, and batches split where memory is short."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from regraft.engines.pytorch import DTYPES, TorchEngine
from regraft.errors import TrainingError
from regraft.networks.backbones import build_untrained, load_backbone

CPU = torch.device("cpu")
Pixels = Callable[..., np.ndarray]


@pytest.mark.parametrize("precision", sorted(DTYPES))
def test_precisions_have_names_and_give_float32(tiny_network: str, pixels: Pixels, precision: str) -> None:
    """bfloat16 has 8 bits of mantissa and float16 11: the features are near float32's, and not the same."""
    images = pixels(3, 32, 32)
    exact = TorchEngine(load_backbone(tiny_network), CPU).features(images)
    engine = TorchEngine(load_backbone(tiny_network), CPU, precision=precision)
    found = engine.features(images)
    assert engine.name == f"torch-cpu-{precision}"
    assert found.dtype == np.float32
    assert engine.activations(images).dtype == torch.float32
    error = np.abs(found - exact).max() / np.abs(exact).max()
    assert (error == 0) == (precision == "float32")
    assert error < {"float32": 1e-9, "float16": 0.02, "bfloat16": 0.15}[precision]


def test_the_network_itself_stays_in_float32(tiny_network: str, pixels: Pixels) -> None:
    backbone = load_backbone(tiny_network)
    before = backbone.fingerprint()
    TorchEngine(backbone, CPU, precision="bfloat16").features(pixels(2, 32, 32))
    assert backbone.fingerprint() == before
    assert {parameter.dtype for parameter in backbone.module.parameters()} == {torch.float32}


def test_activations_can_be_trained_on(tiny_network: str, pixels: Pixels) -> None:
    activations = TorchEngine(load_backbone(tiny_network), CPU).activations(pixels(2, 32, 32))
    assert not activations.is_inference()
    weight = torch.ones(activations.shape[1], requires_grad=True)
    (activations @ weight).sum().backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, activations.sum(dim=0))


def test_started_features_are_the_features(tiny_network: str, pixels: Pixels) -> None:
    engine, images = TorchEngine(load_backbone(tiny_network), CPU), pixels(3, 32, 32)
    assert np.array_equal(engine.start(images)(), engine.features(images))
    assert engine.output_shape() == engine.features(images).shape[1:]
    assert engine.ahead == 1  # on the CPU nothing runs beside its caller


def test_the_engine_halves_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    engine = TorchEngine(build_untrained("test_resnet"), CPU)
    side = engine.preprocess.height
    pixels = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    expected = engine.features(pixels)
    forward = type(engine._module).forward

    def small(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return forward(self, images)  # type: ignore[no-any-return, operator]

    monkeypatch.setattr(type(engine._module), "forward", small)
    assert np.allclose(engine.features(pixels), expected, atol=1e-5)
    assert np.allclose(engine.activations(pixels).numpy(), expected, atol=1e-5)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(type(engine._module), "forward", full)
    with pytest.raises(
        TrainingError, match=r"cpu has no memory for running the network on a single photo. Use device='cpu'"
    ):
        engine.features(pixels)
