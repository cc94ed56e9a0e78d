"""What the tests of engines share."""

from pathlib import Path

import pytest
import torch
from tests.engines.workshop import COSINES, FakeOpenVino, Pixels, Plane, Workshop

from regraft.engines import openvino
from regraft.engines.workload import CHECKED_PHOTOS
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone


@pytest.fixture
def workshop(tiny_network: str, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Return a workshop in which OpenVINO is `FakeOpenVino`, exact, on a processor that has bfloat16."""
    backbone = load_backbone(tiny_network)
    torch.manual_seed(0)
    backbone.module, backbone.features = Plane().eval(), 2
    made = Workshop(backbone, pixels(CHECKED_PHOTOS, 32, 32))
    COSINES.update(bfloat16=1.0, float32=1.0)

    def convert(*_: object) -> Backbone:
        made.done.append("converted")
        return backbone

    def save(_: object, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_text("weights")

    def load(folder: Path, say: object) -> Backbone | None:
        made.done.append("loaded")
        return backbone if (folder / "model.bin").exists() else None

    monkeypatch.setattr(openvino, "usable_precisions", lambda: ("bfloat16", "float32"))
    monkeypatch.setattr(openvino, "OpenVinoEngine", FakeOpenVino)
    monkeypatch.setattr(openvino, "convert", convert)
    monkeypatch.setattr(openvino, "save", save)
    monkeypatch.setattr(openvino, "load", load)
    return made
