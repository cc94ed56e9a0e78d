"""The engine against the plain network, the classifier against sums by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.classifier.classifier import Classifier, short_keys
from regraft.engines.pytorch import TorchEngine
from regraft.errors import WeightsError
from regraft.heads.linear import LinearHead
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone

ARCHITECTURES = ["test_resnet", "test_efficientnet", "test_vit"]
CPU = torch.device("cpu")
Local = Callable[..., str]
Pixels = Callable[..., np.ndarray]


@pytest.fixture
def tilted(local: Local) -> Callable[[str], str]:
    """Return a function that makes a network whose channels are normalised by numbers of their own."""

    def make(architecture: str) -> str:
        model = local(architecture)
        file = Path(model.removeprefix("local-dir:")) / "config.json"
        config = json.loads(file.read_text())
        config["pretrained_cfg"] |= {"mean": [0.1, 0.4, 0.7], "std": [0.2, 0.5, 0.9]}
        file.write_text(json.dumps(config))
        return model

    return make


def plain_features(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    """Return the features without the engine: (value / 255 - mean) / std in contiguous channels, image by image."""
    normalised = (pixels.astype(np.float64) / 255 - [0.1, 0.4, 0.7]) / [0.2, 0.5, 0.9]
    batch = torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))).float()
    with torch.no_grad():
        return torch.cat([backbone.module(image[None]) for image in batch]).numpy()


# --- engine ---


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_the_plain_networks(tilted: Callable[[str], str], pixels: Pixels, architecture: str) -> None:
    model, images = tilted(architecture), pixels(4, 160, 160)
    expected = plain_features(load_backbone(model), images)
    found = TorchEngine(load_backbone(model), CPU).features(images)
    scale = np.abs(expected).max()
    assert 1e-2 < scale < 1e3
    assert np.abs(expected[0] - expected[1]).max() > 0.02 * scale  # the images can be told apart
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(scale, 1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_do_not_depend_on_the_batch(local: Local, pixels: Pixels, architecture: str) -> None:
    engine, images = TorchEngine(load_backbone(local(architecture)), CPU), pixels(5, 160, 160)
    whole = engine.features(images)
    alone = engine.features(images[3:4])
    assert alone.shape == (1, whole.shape[1])
    tolerance = {"rtol": 0, "atol": 1e-5 * max(np.abs(whole).max(), 1)}
    np.testing.assert_allclose(alone[0], whole[3], **tolerance)
    np.testing.assert_allclose(engine.features(images[::-1].copy())[::-1], whole, **tolerance)
    assert np.array_equal(engine.features(images), whole)  # a second run gives the same


def test_images_need_not_be_square(local: Local, pixels: Pixels) -> None:
    model, images = local("test_resnet"), pixels(2, 96, 64)
    found = TorchEngine(load_backbone(model), CPU).features(images)
    turned = TorchEngine(load_backbone(model), CPU).features(images.transpose(0, 2, 1, 3).copy())
    assert found.shape == turned.shape == (2, 96)
    assert not np.allclose(found, turned)  # height and width are not mixed up


def test_engine_puts_a_network_in_training_back_into_eval_mode(local: Local, pixels: Pixels) -> None:
    images = pixels(2, 64, 64)
    model = local("test_resnet")
    backbone = load_backbone(model)
    backbone.module.train()
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    engine = TorchEngine(backbone, CPU)
    found = engine.features(images)
    assert not any(module.training for module in backbone.module.modules())
    assert np.array_equal(found, TorchEngine(load_backbone(model), CPU).features(images))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.module.state_dict().items())


def test_engine_records_no_gradients(local: Local, pixels: Pixels) -> None:
    backbone = load_backbone(local("test_resnet"))
    outputs: list[torch.Tensor] = []
    backbone.module.register_forward_hook(lambda _, __, output: outputs.append(output))
    TorchEngine(backbone, CPU).features(pixels(1, 64, 64))
    (output,) = outputs
    assert not output.requires_grad
    assert output.is_inference()
    assert next(backbone.module.parameters()).requires_grad  # it could have


def test_engine_leaves_the_pixels(local: Local, pixels: Pixels) -> None:
    images = pixels(2, 64, 64)
    before = images.copy()
    TorchEngine(load_backbone(local("test_resnet")), CPU).features(images)
    assert np.array_equal(images, before)


def test_engine_has_a_name_and_the_networks_preprocessing(local: Local) -> None:
    backbone = load_backbone(local("test_efficientnet"))
    engine = TorchEngine(backbone, CPU)
    assert engine.name == "torch-cpu-float32"
    assert engine.preprocess == backbone.preprocess


# --- classifier ---


@pytest.fixture
def by_hand(classifier: Callable[..., Classifier]) -> Classifier:
    """Return a classifier of three classes of two features, at temperature 2."""
    made = classifier()
    weight = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], np.float32)
    made.head, made.temperature = LinearHead(weight, np.array([0.0, 1.0, -1.0], np.float32), 1.0), 2.0
    return made


def test_logits_by_hand(by_hand: Classifier) -> None:
    features = np.array([[3.0, 1.0], [0.0, 0.0]], np.float32)
    # W x + b = (3, 2 + 1, -3 + 1 - 1) and (0, 1, -1), then divided by 2
    assert by_hand.logits(features).tolist() == [[1.5, 1.5, -1.5], [0.0, 0.5, -0.5]]


def test_probabilities_by_hand(by_hand: Classifier) -> None:
    found = by_hand.probabilities(np.array([[3.0, 1.0], [0.0, 0.0]], np.float32))
    e = np.exp
    first = np.array([e(1.5), e(1.5), e(-1.5)]) / (2 * e(1.5) + e(-1.5))
    second = np.array([1, e(0.5), e(-0.5)]) / (1 + e(0.5) + e(-0.5))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [first, second], rtol=1e-12)


def test_temperature_softens_without_changing_the_order(by_hand: Classifier) -> None:
    features = np.array([[0.2, 0.9]], np.float32)
    sharp = by_hand.probabilities(features)
    by_hand.temperature = 20.0
    soft = by_hand.probabilities(features)
    assert soft.max() < sharp.max()
    assert soft.argsort().tolist() == sharp.argsort().tolist()


def test_large_logits_give_probabilities(by_hand: Classifier) -> None:
    found = by_hand.probabilities(np.array([[5000.0, 0.0]], np.float32))
    assert found.tolist() == [[1.0, 0.0, 0.0]]


def test_features_too_large_for_the_last_layer_are_an_error(by_hand: Classifier) -> None:
    """3e38 times 2 is more than float32 holds, 3.4e38."""
    with pytest.raises(WeightsError, match=r"^the last layer gives values that are not finite"):
        by_hand.probabilities(np.full((1, 2), 3e38, dtype=np.float32))


def test_no_photos_give_no_probabilities(by_hand: Classifier) -> None:
    assert by_hand.probabilities(np.empty((0, 2), np.float32)).shape == (0, 3)


def test_short_keys_are_the_first_8_bytes_most_significant_first() -> None:
    keys = [bytes([0, 0, 0, 0, 0, 0, 1, 2]) + b"x" * 24, b"\xff" * 32, bytes([1]) + bytes(31)]
    found = short_keys(keys)
    assert found.dtype == np.uint64
    assert found.dtype.isnative
    assert found.tolist() == [1 * 256 + 2, 2**64 - 1, 2**56]
    assert short_keys([]).shape == (0,)


def test_was_seen(classifier: Callable[..., Classifier]) -> None:
    made = classifier()  # seen: 1 and 2**64 - 1 in training, 5 in validation
    keys = [number.to_bytes(8, "big") + b"z" * 24 for number in (5, 1, 2, 2**64 - 1, 2**64 - 2)]
    assert made.was_seen(keys, "training").tolist() == [False, True, False, True, False]
    assert made.was_seen(keys, "validation").tolist() == [True, False, False, False, False]
    assert made.was_seen(keys, "testing").tolist() == [False] * 5
    assert made.was_seen([], "training").tolist() == []
    unreadable = [b"", keys[1], b"", keys[2]]  # which keep their places
    assert made.was_seen(unreadable, "training").tolist() == [False, True, False, False]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_module_answers_as_engine_head_and_temperature_do(
    classifier: Callable[..., Classifier], pixels: Callable[..., np.ndarray], architecture: str
) -> None:
    made = classifier(architecture)
    preprocess = made.backbone.preprocess
    images = pixels(3, preprocess.height, preprocess.width)
    engine = TorchEngine(made.backbone, torch.device("cpu"))
    module = made.as_module()
    assert not any(part.training for part in module.modules())
    with torch.no_grad():
        found = module(torch.from_numpy(images)).numpy()
    assert found.shape == (3, 3)
    assert np.allclose(found, made.probabilities(engine.features(images)), atol=1e-6)
