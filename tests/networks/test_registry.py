"""Networks by name: which there are, what a folder's config.json may say, and the network without a name."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tests.fixtures.networks import edit_config, folder_of

import regraft
from regraft.errors import ModelError, OptionError
from regraft.networks import hub
from regraft.networks.backbones import build_untrained, load_backbone
from regraft.networks.names import ALIASES, OFFLINE, POCKET, own_name
from regraft.networks.packaged import pocket_folder
from regraft.networks.registry import (
    HUB_WEIGHTS,
    INSTALLED,
    STRONG,
    check_model_name,
    check_side,
    default_network,
    find_recipe,
    is_network,
    network_names,
)

Local = Callable[..., str]
LIST_NAMES = "`regraft models PATTERN` lists the names."


def model_error(model: str) -> str:
    with pytest.raises(ModelError) as caught:
        load_backbone(model)
    return str(caught.value)


# --- names ---


@pytest.mark.parametrize(("wrong", "right"), [("resnet5O", "resnet50"), ("VGG-16", "vgg16"), ("resnet-18", "resnet18")])
def test_unknown_name_suggests_close_ones(wrong: str, right: str) -> None:
    message = model_error(wrong)
    assert message.startswith(f"There is no network named '{wrong}'. Did you mean '")
    assert f"'{right}'" in message
    assert message.endswith(f"? {LIST_NAMES}")


def test_unknown_name_without_close_ones() -> None:
    assert model_error("zzzzqqq") == f"There is no network named 'zzzzqqq'. {LIST_NAMES}"


@pytest.mark.parametrize(("name", "tag"), [("vgg16", "tv_in1k"), ("test_resnet", "r160_in1k")])
def test_unknown_tag_lists_the_tags(name: str, tag: str) -> None:
    assert model_error(f"{name}.nope") == f"{name} has no pretrained weights tagged 'nope'. Its tags: {tag}."


def test_every_tag_of_a_network_is_listed() -> None:
    tags = {name.partition(".")[2] for name in timm.list_pretrained("resnet18.*")}
    assert len(tags) > 3
    assert set(model_error("resnet18.x").partition("Its tags: ")[2].rstrip(".").split(", ")) == tags


def test_tag_of_a_network_without_any() -> None:
    assert model_error("coatnet_0_224.in1k") == (
        "coatnet_0_224 has no pretrained weights tagged 'in1k'. Its tags: none."
    )


def test_a_folder_without_its_prefix_gets_the_hint(
    tmp_path: Path, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(local())
    hint = f"A folder is written local-dir:{folder}, a hub model hf-hub:owner/name."
    assert model_error(str(folder)) == f"There is no network named '{folder}'. {hint} {LIST_NAMES}"
    monkeypatch.chdir(folder.parent)
    folder.rename("zzzzqqq")
    assert model_error("zzzzqqq") == (
        "There is no network named 'zzzzqqq'. A folder is written local-dir:zzzzqqq, a hub model hf-hub:owner/name. "
        f"{LIST_NAMES}"
    )


def test_a_hub_name_without_its_prefix_gets_the_hint() -> None:
    assert "a hub model hf-hub:owner/name. " in model_error("google/zzzzqqq")


@pytest.mark.parametrize("model", ["resnet50", "vgg16.tv_in1k", "hf-hub:owner/name", "hf_hub:owner/name"])
def test_possible_names_are_let_through_without_the_network(model: str, offline: None) -> None:
    check_model_name(model)  # a connection would raise


def test_is_network() -> None:
    assert is_network("resnet50")
    assert is_network("resnet50.anything")
    assert not is_network("resnet5O")
    assert not is_network("photos/cats")


def test_network_names() -> None:
    assert network_names("test_resn") == ["test_resnet.r160_in1k"]
    assert network_names("st_resn") == ["test_resnet.r160_in1k"]
    assert network_names("test_resnet", pretrained=False) == ["test_resnet"]
    assert network_names("zzzzqqq") == []
    assert set(network_names("vgg1*.tv_in1k")) == {f"vgg1{n}{bn}.tv_in1k" for n in (1, 3, 6, 9) for bn in ("", "_bn")}
    assert network_names("pock") == ["pocket"]
    assert network_names("efficientnet?lite0*") == ["efficientnet-lite0", "efficientnet_lite0.ra_in1k"]
    assert set(network_names()) == {*timm.list_pretrained(), "pocket", "efficientnet-lite0"}
    assert "coatnet_0_224" in network_names(pretrained=False)


# --- local folders ---


def test_local_folder_without_config(local: Local) -> None:
    model = local()
    (folder_of(model) / "config.json").unlink()
    assert model_error(model) == (
        f"{model}: {folder_of(model) / 'config.json'} does not exist. "
        "Name a folder with config.json and model.safetensors."
    )


@pytest.mark.parametrize("content", [b"", b"{broken", b"[1]", b"{}", b'{"num_classes": 5}', b"\xff\xfe\x00{"])
def test_local_folder_with_a_damaged_config(local: Local, content: bytes) -> None:
    model = local()
    file = folder_of(model) / "config.json"
    file.write_bytes(content)
    assert model_error(model).startswith(f"{model}: {file} is not in timm's format (")


def test_local_folder_of_an_unknown_architecture(local: Local) -> None:
    model = edit_config(local(), architecture="test_resnett")
    start = f"{model}: {folder_of(model) / 'config.json'} names an unknown architecture, 'test_resnett'. Did you mean "
    assert model_error(model).startswith(f"{start}'test_resnet'")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": 7}, r"names an unknown architecture, 7\."),
        ({"architecture": None}, r"names an unknown architecture, None\."),
        ({"model_args": [1]}, "is not in timm's format"),
        ({"pretrained_cfg": 3}, "is not in timm's format"),
        (
            {"pretrained_cfg": {"input_size": "big"}},
            r"input_size in .* must be \[3, height, width\] of at most 2048 pixels\. Got 'big'\.",
        ),
        ({"pretrained_cfg": {"input_size": [1, 64, 64]}}, r"input_size in .* Got \[1, 64, 64\]\."),
        ({"pretrained_cfg": {"mean": "big"}}, r"mean in .* must be three numbers\. Got 'big'\."),
        ({"pretrained_cfg": {"mean": [0.5]}}, r"mean in .* must be three numbers\. Got \[0\.5\]\."),
        ({"pretrained_cfg": {"std": [0.5, 0.5, 0]}}, r"std in .* must be three numbers above 0\."),
        ({"pretrained_cfg": {"crop_pct": 0}}, r"crop_pct in .* must be a number above 0, at most 2\. Got 0\."),
        (
            {"pretrained_cfg": {"interpolation": "weird"}},
            r"interpolation in .* must be one of .*bicubic.* Got 'weird'\.",
        ),
        ({"model_args": {"bogus": 1}}, r"test_resnet cannot be built with the arguments \{'bogus': 1\}"),
    ],
)
def test_config_with_wrong_contents(local: Callable[..., str], change: dict[str, Any], message: str) -> None:
    model = local("test_resnet")
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    config = json.loads(file.read_text())
    if isinstance(change.get("pretrained_cfg"), dict):
        change = {"pretrained_cfg": config["pretrained_cfg"] | change["pretrained_cfg"]}
    file.write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=message):
        load_backbone(model)


def test_a_setting_that_a_newer_timm_wrote_is_passed_over(local: Callable[..., str]) -> None:
    model = local("test_resnet")
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"]["bogus"] = 1
    file.write_text(json.dumps(config))
    assert load_backbone(model).features == build_untrained("test_resnet").features


# --- networks that are installed ---


def test_installed_networks_have_names_that_timm_does_not_know() -> None:
    for name in (*INSTALLED, *ALIASES):
        assert not is_network(name)
        check_model_name(name)
    assert own_name("offline") == OFFLINE == "efficientnet-lite0"
    assert own_name("resnet50") == "resnet50"
    assert find_recipe("offline") == find_recipe(OFFLINE)


@pytest.mark.parametrize(
    ("wrong", "right"), [("Pocket", "pocket"), ("Offline", "offline"), ("efficientnet-light0", "efficientnet-lite0")]
)
def test_a_slip_of_an_installed_network_is_recognised(wrong: str, right: str) -> None:
    assert f"Did you mean '{right}'" in model_error(wrong)


# --- the network without a name ---


@pytest.mark.parametrize("fetch", [True, False])
def test_without_a_connection_an_installed_network_is_taken_at_once(offline: None, fetch: bool) -> None:
    started = time.monotonic()
    name, said = default_network(fetch=fetch)
    assert name == OFFLINE
    assert time.monotonic() - started < 5
    assert said == (
        f"network: efficientnet-lite0, which is installed with regraft, for {STRONG} cannot be downloaded (no network: "
        "huggingface.co is not found). With a connection that one is taken, which has learned more classes; model "
        "names another."
    )


def test_whether_the_strong_network_can_be_had_is_asked_without_a_download(
    offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(hub, "check_reachable", lambda _: None)
    monkeypatch.setattr(hub, "file_exists", lambda *names: bool(asked.append(names)) or len(asked) == 2)
    assert default_network(fetch=False)[0] == STRONG
    assert asked == [(f"timm/{STRONG}", name) for name in HUB_WEIGHTS[:2]]
    monkeypatch.setattr(hub, "file_exists", lambda *_: False)
    name, said = default_network(fetch=False)
    assert name == OFFLINE
    assert f"(timm/{STRONG} has none of model.safetensors, open_clip_model.safetensors, pytorch_model.bin)" in said


def test_a_strong_network_that_is_here_is_taken_without_asking(tmp_path: Path, offline: None) -> None:
    root = tmp_path / "hub" / f"models--timm--{STRONG}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    (root / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (root / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(b"as it was downloaded")
    for fetch in (True, False):
        assert default_network(fetch=fetch) == (STRONG, f"network: {STRONG}, as no other is named")


def test_the_strong_network_is_one_of_timms_with_an_open_licence() -> None:
    config = timm.get_pretrained_cfg(STRONG)
    assert config is not None
    assert config.hf_hub_id == f"timm/{STRONG}"
    assert config.license == "apache-2.0"


def test_the_pocket_network_is_small_and_timm_reads_it() -> None:
    folder = pocket_folder()
    assert (folder / "model.safetensors").stat().st_size <= 10_000_000
    backbone = load_backbone(POCKET)
    assert 64 <= backbone.preprocess.height <= 128
    assert backbone.source == POCKET  # no path of this machine
    module = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    images = torch.randn(2, 3, backbone.preprocess.height, backbone.preprocess.width)
    with torch.no_grad():
        assert torch.allclose(module(images), backbone.module(images), atol=1e-5)
    untrained = build_untrained(POCKET)
    assert untrained.recipe.architecture == backbone.recipe.architecture
    assert untrained.fingerprint() != backbone.fingerprint()


def test_the_pocket_network_has_a_card() -> None:
    card = (pocket_folder() / "README.md").read_text()
    training = json.loads((pocket_folder() / "training.json").read_text())
    assert f"{training['accuracy']:.1%}" in card
    for told in ("Licence", "teacher", "Trials", "What it is for", str(training["arguments"]["--epochs"])):
        assert told in card
    assert len(training["classes"]) == 200
    assert "/" not in training["teacher"]["name"].removeprefix("local-dir:")  # no path of a machine


@pytest.mark.slow
def test_the_estimator_takes_an_installed_network_and_warns(photos: Callable[..., Path], offline: None) -> None:
    folder = photos(red=8, blue=8)
    with pytest.warns(UserWarning, match="network: efficientnet-lite0, which is installed with regraft") as caught:
        estimator = regraft.TransferClassifier(seed=0).fit(folder)
    assert caught[0].filename == __file__  # the line that calls it
    assert estimator.model is None  # as scikit-learn's clone wants it
    assert estimator.classifier_.model == OFFLINE
    assert list(estimator.predict([folder / "red" / "0.jpg"])) == ["red"]


def test_weights_without_their_network_are_refused(photos: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=re.escape("weights is a file of one network: name it with model.")):
        regraft.TransferClassifier(weights=tmp_path / "w.pth").fit(photos(red=8, blue=8))


@pytest.mark.parametrize("size", [15, 2049, 0, -1, 64.0, "64"])
def test_sides_that_no_network_is_made_for(size: Any) -> None:
    message = f"^size must be a number of pixels from 16 to 2048\\. Got {re.escape(repr(size))}\\.$"
    with pytest.raises(OptionError, match=message):
        check_side(size, "size")


def test_sides_that_networks_are_made_for() -> None:
    for size in (None, 16, 224, 2048):
        check_side(size, "size")
