"""Networks with their weights: what is built, what is refused, and what identifies one."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from tests.fixtures.networks import edit_config, folder_of
from torch import nn

from regraft.errors import ModelError, WeightsError
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone, tensor_bytes
from regraft.networks.backbones import build_untrained, load_backbone, rebuild_backbone
from regraft.networks.freezing import fingerprints
from regraft.networks.recipe import Recipe

Local = Callable[..., str]


def features_of(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return backbone.module(images)


def model_error(model: str) -> str:
    with pytest.raises(ModelError) as caught:
        load_backbone(model)
    return str(caught.value)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(5))


# --- local folders ---


def test_local_folder_without_weights(local: Local) -> None:
    model = local()
    (folder_of(model) / "model.safetensors").unlink()
    with pytest.raises(WeightsError) as caught:
        load_backbone(model)
    assert str(caught.value) == (
        f"{model}: expected model.safetensors in {folder_of(model)}. Weights files found: none."
    )


def test_local_folder_with_weights_of_another(local: Local) -> None:
    resnet, vit = local("test_resnet"), local("test_vit")
    shutil.copy(folder_of(vit) / "model.safetensors", folder_of(resnet))
    with pytest.raises(
        WeightsError, match=r"model\.safetensors holds weights of another architecture than test_resnet"
    ):
        load_backbone(resnet)


def test_local_folder_with_pytorch_weights(local: Local) -> None:
    model = local()
    expected = load_backbone(model).fingerprint()
    file = folder_of(model) / "model.safetensors"
    torch.save(load_file(file), folder_of(model) / "pytorch_model.bin")
    file.unlink()
    found = load_backbone(model)
    assert found.fingerprint() == expected
    assert found.source == str(folder_of(model) / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("architecture", "classifier", "features"),
    [("test_resnet", "fc", 96), ("test_efficientnet", "classifier", 256), ("test_vit", "head", 64)],
)
def test_every_tensor_but_the_classifiers_is_loaded(
    local: Local, images: torch.Tensor, architecture: str, classifier: str, features: int
) -> None:
    model = local(architecture)
    stored = load_file(folder_of(model) / "model.safetensors")
    backbone = load_backbone(model)
    state = backbone.module.state_dict()
    assert set(stored) - set(state) == {f"{classifier}.weight", f"{classifier}.bias"}
    assert all(torch.equal(tensor, stored[name]) for name, tensor in state.items())
    assert features_of(backbone, images).shape == (2, features)
    assert backbone.features == features
    assert backbone.recipe.architecture == architecture
    assert backbone.source == str(folder_of(model) / "model.safetensors")
    assert not any(module.training for module in backbone.module.modules())


def test_preprocess_is_the_networks_own(local: Local) -> None:
    own = {"input_size": [3, 96, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.7}
    model = edit_config(local(), pretrained_cfg={**own, "crop_mode": "squash", "interpolation": "nearest"})
    expected = Preprocess(96, 64, 0.7, "squash", interpolation="nearest", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert load_backbone(model).preprocess == expected
    assert build_untrained(model).preprocess == expected


def test_preprocess_that_cannot_be_repeated_is_settled(local: Local) -> None:
    model = edit_config(local(), pretrained_cfg={"interpolation": "random", "crop_mode": "tilted"})
    preprocess = load_backbone(model).preprocess
    assert (preprocess.interpolation, preprocess.crop_mode) == ("bilinear", "center")


def test_arguments_reach_the_network(local: Local) -> None:
    backbone = load_backbone(edit_config(local(), model_args={"output_stride": 8}))
    assert backbone.recipe.arguments == {"output_stride": 8}
    with torch.inference_mode():
        assert backbone.module.forward_features(torch.zeros(1, 3, 160, 160)).shape == (1, 96, 20, 20)  # 160 / 8


# --- a file of weights ---


@pytest.mark.parametrize("classes", [0, 1, 7])
def test_weights_with_any_number_of_classes(tmp_path: Path, images: torch.Tensor, classes: int) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("test_resnet", num_classes=classes).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    backbone = load_backbone("test_resnet", weights=tmp_path / "w.pth")
    whole.reset_classifier(0)
    with torch.inference_mode():
        expected = whole(images)
    assert expected.shape == (2, 96)
    assert expected.abs().max() > 0
    assert torch.equal(features_of(backbone, images), expected)
    assert backbone.source == str(tmp_path / "w.pth")


def test_weights_go_before_those_of_the_folder(local: Local) -> None:
    first, second = local(seed=1), local(seed=2)
    file = folder_of(second) / "model.safetensors"
    assert load_backbone(first, weights=file).fingerprint() == load_backbone(second).fingerprint()
    (folder_of(first) / "model.safetensors").unlink()  # not even looked at
    assert load_backbone(first, str(file)).fingerprint() == load_backbone(second).fingerprint()


# --- fingerprints ---


def test_fingerprint_is_equal_for_equal_networks(tmp_path: Path, local: Local) -> None:
    model = local()
    torch.save(load_file(folder_of(model) / "model.safetensors"), tmp_path / "same.pth")
    first = load_backbone(model)
    prints = {first.fingerprint(), load_backbone(model).fingerprint()}
    prints.add(load_backbone("test_resnet", tmp_path / "same.pth").fingerprint())
    first.module.to(memory_format=torch.channels_last)  # another order in memory, the same numbers
    prints.add(first.fingerprint())
    assert len(prints) == 1
    assert len(prints.pop()) == 64


@pytest.mark.parametrize("name", ["layer3.0.conv1.weight", "bn1.running_var", "bn1.num_batches_tracked"])
def test_fingerprint_differs_after_one_changed_number(local: Local, name: str) -> None:
    backbone = load_backbone(local())
    name = next(full for full in backbone.module.state_dict() if full.endswith(name))
    before = backbone.fingerprint()
    tensor = backbone.module.state_dict()[name].reshape(-1)
    kept = tensor[-1].clone()
    tensor[-1] += 1
    assert backbone.fingerprint() != before
    tensor[-1] = kept
    assert backbone.fingerprint() == before


def test_fingerprint_differs_when_two_tensors_change_places(local: Local) -> None:
    backbone = load_backbone(local())
    before = backbone.fingerprint()
    state = backbone.module.state_dict()
    mean, var = state["conv1.1.running_mean"].clone(), state["conv1.1.running_var"].clone()
    backbone.module.load_state_dict({**state, "conv1.1.running_mean": var, "conv1.1.running_var": mean})
    assert backbone.fingerprint() != before


def test_fingerprint_differs_for_the_same_numbers_in_another_shape(local: Local) -> None:
    backbone = load_backbone(local())
    linear, convolution = nn.Linear(2, 3), nn.Conv2d(2, 3, 1)
    convolution.load_state_dict({"weight": linear.weight.reshape(3, 2, 1, 1), "bias": linear.bias})
    assert replace(backbone, module=linear).fingerprint() != replace(backbone, module=convolution).fingerprint()


def test_fingerprint_differs_after_a_changed_argument(local: Local) -> None:
    model = local()
    plain = load_backbone(model)
    other = load_backbone(edit_config(model, model_args={"output_stride": 8}))
    again = load_backbone(edit_config(model, model_args={"output_stride": 16}))
    states = [backbone.module.state_dict() for backbone in (plain, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert len({plain.fingerprint(), other.fingerprint(), again.fingerprint()}) == 3


def test_fingerprint_differs_for_another_architecture_of_the_same_tensors(local: Local) -> None:
    backbone = load_backbone(local())
    renamed = replace(backbone, recipe=replace(backbone.recipe, architecture="test_resnet2"))
    assert renamed.fingerprint() != backbone.fingerprint()


def test_fingerprint_is_that_of_hashlib(local: Local) -> None:
    backbone = load_backbone(edit_config(local(), model_args={"output_stride": 8}))
    expected = hashlib.sha256(b"('test_resnet', [('output_stride', 8)])")
    for name, tensor in sorted(backbone.module.state_dict().items()):
        array = tensor.numpy()
        expected.update(f"{name} torch.{array.dtype} {array.shape}".encode() + array.tobytes())
    assert backbone.fingerprint() == expected.hexdigest()


def test_tensor_hashes_are_those_of_hashlib_with_buffers_that_are_not_saved(local: Local) -> None:
    backbone = load_backbone(local())
    fingerprint = backbone.fingerprint()
    backbone.module.register_buffer("grid", torch.arange(6.0).reshape(2, 3), persistent=False)
    tensors = [*backbone.module.named_parameters(), *backbone.module.named_buffers()]
    expected = {name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest() for name, tensor in tensors}
    assert backbone.tensor_hashes() == expected == fingerprints(backbone.module, list(expected))
    assert "grid" in expected
    assert backbone.fingerprint() == fingerprint


def test_tensors_are_hashed_once(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[torch.Tensor] = []

    def count(tensor: torch.Tensor) -> memoryview:
        hashed.append(tensor)
        return tensor_bytes(tensor)

    # there is nothing public between the tensors and hashlib that could be counted
    monkeypatch.setattr("regraft.networks.backbone.tensor_bytes", count)
    backbone = load_backbone(local())
    tensors = len(backbone.module.state_dict())
    hashes = backbone.tensor_hashes()
    for _ in range(3):
        backbone.fingerprint()
        assert backbone.tensor_hashes() == hashes
    assert len(hashed) == tensors
    replace(backbone).fingerprint()
    assert len(hashed) == 2 * tensors
    hashes.clear()
    assert len(backbone.tensor_hashes()) == tensors  # a copy was given


def test_weights_that_were_made_in_inference_mode_are_hashed_too(local: Local) -> None:
    model = local()
    with torch.inference_mode():
        found = load_backbone(model).fingerprint()
    assert found == load_backbone(model).fingerprint()


# --- untrained and rebuilt ---


def test_untrained_needs_no_weights(local: Local, images: torch.Tensor, offline: None) -> None:
    model = local("test_efficientnet")
    (folder_of(model) / "model.safetensors").unlink()
    for name in (model, "test_efficientnet", "test_efficientnet.r160_in1k"):
        backbone = build_untrained(name)
        assert backbone.source == "random weights"
        assert backbone.recipe.architecture == "test_efficientnet"
        assert not backbone.module.training
        assert features_of(backbone, images).shape == (2, 256) == (2, backbone.features)


def test_untrained_refuses_unknown_names() -> None:
    with pytest.raises(ModelError, match="There is no network named 'resnet5O'"):
        build_untrained("resnet5O")


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_vit"])
def test_rebuilt_network_is_the_same(local: Local, images: torch.Tensor, architecture: str, offline: None) -> None:
    backbone = load_backbone(edit_config(local(architecture), model_args={"in_chans": 3}))
    recipe = json.loads(json.dumps(vars(backbone.recipe)))  # as a bundle keeps it
    preprocess = replace(backbone.preprocess, crop_pct=0.5)
    rebuilt = rebuild_backbone(Recipe(**recipe), preprocess, backbone.module.state_dict())
    assert rebuilt.fingerprint() == backbone.fingerprint()
    assert torch.equal(features_of(rebuilt, images), features_of(backbone, images))
    assert rebuilt.preprocess == preprocess
    assert rebuilt.features == backbone.features
    assert not rebuilt.module.training


def test_rebuilding_what_timm_does_not_have(local: Local) -> None:
    backbone = load_backbone(local())
    recipe = replace(backbone.recipe, architecture="test_resnet_of_tomorrow")
    with pytest.raises(WeightsError) as caught:
        rebuild_backbone(recipe, backbone.preprocess, backbone.module.state_dict())
    assert str(caught.value) == (
        f"timm {timm.__version__} has no network 'test_resnet_of_tomorrow'. Update it: pip install -U timm"
    )


def test_rebuilding_with_a_tensor_missing(local: Local) -> None:
    backbone = load_backbone(local())
    state = backbone.module.state_dict()
    del state["conv1.3.weight"]
    with pytest.raises(
        WeightsError, match="the bundle holds weights of another architecture than test_resnet"
    ) as caught:
        rebuild_backbone(backbone.recipe, backbone.preprocess, state)
    assert "1 tensors missing:\n  conv1.3.weight\n" in str(caught.value)
