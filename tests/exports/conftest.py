"""What the tests of exports share: classifiers of all kinds around tiny networks, and photos to compare them on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import write_network
from tests.fixtures.networks import edit_config

from regraft.classifier.classifier import Classifier
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.features.depths import find_depths
from regraft.heads.linear import LinearHead
from regraft.networks.backbones import load_backbone

KINDS = ("plain", "depths", "last of the depths", "joined", "flip", "crops", "decision", "padded")


@pytest.fixture(scope="session")
def larger_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a network of 48 x 40 pixels, whose photos are padded."""
    network = f"local-dir:{write_network(tmp_path_factory.mktemp('larger'), seed=2)}"
    changes = {"input_size": [3, 48, 40], "crop_mode": "border", "interpolation": "bilinear"}
    return edit_config(network, pretrained_cfg=changes)


@pytest.fixture
def make(tiny_network: str, larger_network: str) -> Callable[[str], Classifier]:
    """Return a function that makes a classifier of three classes, of one of `KINDS`."""

    def made(kind: str = "plain") -> Classifier:
        backbone = load_backbone(larger_network if kind == "padded" else tiny_network)
        networks, firsts = [backbone], (0,)
        if "depths" in kind:
            networks = [backbone.with_depths(find_depths(backbone))]
            firsts = (1,) if kind.startswith("last") else (0,)
        if kind == "joined":
            networks, firsts = [backbone, load_backbone(larger_network)], (0, 0)
        skipped = sum(depth.units for depth in networks[0].depths[: firsts[0]])
        width = sum(network.width for network in networks) - skipped
        weight = np.random.default_rng(0).normal(0, 4, (3, width)).astype(np.float32)
        found = Classifier(
            backbone=networks[0],
            head=LinearHead(weight, np.array([0.1, 0.0, -0.1], dtype=np.float32), 0.01),
            classes=("Kätzchen", "dog", "7"),
            temperature=1.7,
            model="one + other" if kind == "joined" else tiny_network,
            strategy="frozen",
            joined=tuple(networks[1:]),
            first_depths=firsts,
            tta=kind if kind in ("flip", "crops") else "none",
        )
        rule = Decision(ThresholdRule(1, 0.2), "threshold 0.2 for dog")
        return replace(found, decision=rule) if kind == "decision" else found

    return made


@pytest.fixture
def several(tmp_path: Path) -> list[Path]:
    """Return photos of several sizes: a JPEG, one that EXIF turns, one that is decoded at half its size, a PNG."""
    generator = np.random.default_rng(5)
    found = []
    for name, size in (
        ("a.jpg", (61, 47)),
        ("turned.jpg", (40, 90)),
        ("large.jpg", (316, 236)),
        ("small.png", (20, 23)),
    ):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        exif = Image.Exif()
        if name == "turned.jpg":
            exif[0x0112] = 6
        coarse.resize(size, Image.Resampling.BICUBIC).save(tmp_path / name, exif=exif)
        found.append(tmp_path / name)
    return found
