"""Without a network: caches are used as they are, and otherwise the error names what can be done, at once."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from regraft.errors import WeightsError
from regraft.models.backbones import load_backbone
from regraft.models.weights import read_url

Local = Callable[..., str]


def folder_of(model: str) -> Path:
    return Path(model.removeprefix("local-dir:"))


@pytest.mark.parametrize("model", ["resnet50", "vgg16.tv_in1k", "hf-hub:owner/name", "hf_hub:owner/name@v2"])
def test_offline_names_the_three_ways_at_once(model: str, offline: None) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        load_backbone(model)
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert message.startswith(f"{model}: the pretrained weights are not on this machine and cannot be downloaded (")
    assert "(no network: huggingface.co is not found)" in message
    assert message.endswith(
        "There are three ways: (1) connect to the network once, after which they stay in the cache; (2) --weights "
        "FILE, a .safetensors file or torchvision / timm state dict of this network; (3) --model local-dir:FOLDER, a "
        "folder with config.json and model.safetensors."
    )


def put_into_hub_cache(tmp_path: Path, repository: str, *files: Path) -> None:
    """Lay files where huggingface_hub keeps them: a reference to a revision, and a snapshot of it."""
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    (root / "snapshots" / ("0" * 40)).mkdir(parents=True)
    for file in files:
        shutil.copy(file, root / "snapshots" / ("0" * 40))


def test_hub_network_comes_from_the_cache(tmp_path: Path, local: Local, offline: None) -> None:
    model = local(seed=3)
    put_into_hub_cache(tmp_path, "owner/name", folder_of(model) / "config.json", folder_of(model) / "model.safetensors")
    found = load_backbone("hf-hub:owner/name")
    assert found.fingerprint() == load_backbone(model).fingerprint()
    assert found.preprocess == load_backbone(model).preprocess


def test_timm_network_comes_from_the_cache(tmp_path: Path, offline: None) -> None:
    network = timm.create_model("test_resnet")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    put_into_hub_cache(tmp_path, "timm/test_resnet.r160_in1k", tmp_path / "model.safetensors")
    backbone = load_backbone("test_resnet")
    assert backbone.source == "hf-hub:timm/test_resnet.r160_in1k"
    assert torch.equal(backbone.module.state_dict()["conv1.0.weight"], network.state_dict()["conv1.0.weight"])
    assert load_backbone("test_resnet.r160_in1k").fingerprint() == backbone.fingerprint()


def test_network_without_published_weights(offline: None) -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone("coatnet_0_224")
    assert str(caught.value).startswith(
        "coatnet_0_224 has no published pretrained weights. Choose another network, or (2) --weights FILE, "
    )


def test_published_state_dict_comes_from_torch_hubs_cache(tmp_path: Path, offline: None) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {"module.a": torch.ones(2, dtype=torch.float16)}}, folder / "net.pth")
    state = read_url("net", "https://example.org/net.pth")
    assert list(state) == ["a"]
    assert state["a"].dtype == torch.float32
    assert state["a"].tolist() == [1.0, 1.0]


def test_published_state_dict_that_cannot_be_fetched(offline: None) -> None:
    with pytest.raises(WeightsError) as caught:
        read_url("net", "https://example.org/net.pth")
    message = str(caught.value)
    assert message.startswith("net: the pretrained weights are not on this machine and cannot be downloaded (")
    assert "Name or service not known" in message
    assert "(2) --weights FILE" in message
