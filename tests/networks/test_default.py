"""Which network is taken when none is named, and the small one that is always there."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

import regraft
from regraft.errors import OptionError
from regraft.networks.backbones import build_untrained, load_backbone
from regraft.networks.default import STRONG, default_network
from regraft.networks.pocket import POCKET, pocket_folder


def test_without_a_connection_the_pocket_network_is_taken_at_once(offline: None) -> None:
    started = time.monotonic()
    name, said = default_network()
    assert name == POCKET
    assert time.monotonic() - started < 5
    assert said == (
        f"network: pocket, the small one inside regraft, for {STRONG} cannot be downloaded (no network: "
        "huggingface.co is not found). With a connection, or a network of your own (--model), expect a better "
        "classifier."
    )


def test_a_strong_network_that_is_here_is_taken_without_asking(tmp_path: Path, offline: None) -> None:
    root = tmp_path / "hub" / f"models--timm--{STRONG}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    (root / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (root / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(b"as it was downloaded")
    assert default_network() == (STRONG, f"network: {STRONG}, as no other is named")


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


def test_the_estimator_takes_the_pocket_network_and_warns(photos: Callable[..., Path], offline: None) -> None:
    folder = photos(red=8, blue=8)
    with pytest.warns(UserWarning, match="network: pocket, the small one inside regraft") as caught:
        estimator = regraft.TransferClassifier(seed=0).fit(folder)
    assert caught[0].filename == __file__  # the line that calls it
    assert estimator.model is None  # as scikit-learn's clone wants it
    assert list(estimator.predict([folder / "red" / "0.jpg"])) == ["red"]


def test_weights_without_their_network_are_refused(photos: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=re.escape("weights= is a file of one network: name it with model=.")):
        regraft.TransferClassifier(weights=tmp_path / "w.pth").fit(photos(red=8, blue=8))
