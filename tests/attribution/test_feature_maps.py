"""Which map each stage of a network has, and where it is read."""

import pytest
import torch
from torch import nn

from regraft.attribution.feature_maps import StageMap, find_stage_maps
from regraft.networks.backbones import build_untrained
from regraft.networks.hook_points import HookPoint
from regraft.networks.outline import Stage
from regraft.networks.tracing import run_to


def test_maps_of_resnet18() -> None:
    """By hand: the input of a layer is the last map of the one before; strides 2, 2, 1, 2, 2, 2 from 64 pixels."""
    backbone = build_untrained("resnet18", size=64)
    found = find_stage_maps(backbone.module, backbone.stages(), (3, 64, 64))
    assert [(one.stage, one.units, one.height, one.width) for one in found] == [
        ("conv1", 64, 16, 16),
        ("layer1", 64, 16, 16),
        ("layer2", 128, 8, 8),
        ("layer3", 256, 4, 4),
        ("layer4", 512, 2, 2),
    ]
    assert [one.hook_point for one in found[:4]] == [HookPoint(f"layer{k}", "input") for k in (1, 2, 3, 4)]
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last = run_to(backbone.module, found[-1].hook_point, images)
        assert torch.equal(last, run_to(backbone.module, HookPoint("layer4"), images))


SMALL_SWIN = {"window_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2]}


@pytest.mark.parametrize(
    ("name", "arguments", "layout", "skipped"),
    [("test_vit", {}, "b n c", 1), ("swin_tiny_patch4_window7_224", SMALL_SWIN, "b h w c", 0)],
)
def test_layouts_of_transformers(name: str, arguments: dict[str, object], layout: str, skipped: int) -> None:
    backbone = build_untrained(name, size=64, arguments=arguments)
    found = find_stage_maps(backbone.module, backbone.stages(), (3, 64, 64))
    assert {(one.hook_point.layout, one.hook_point.skipped) for one in found[1:]} == {(layout, skipped)}
    for one in found:
        with torch.no_grad():
            activation = run_to(backbone.module, one.hook_point, torch.zeros(2, 3, 64, 64))
        assert one.hook_point.as_map(activation).shape == (2, one.units, one.height, one.width)


class Positions(nn.Module):
    """A map that is the same for all images runs last in the first stage; after it there are no maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Linear(4, 4)
        self.embedding, self.projection = nn.Parameter(torch.ones(1, 4, 6, 6)), nn.Conv2d(4, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = (self.first(images) + self.projection(self.embedding)).flatten(2).transpose(1, 2)
        return self.last(tokens[:, :5]).mean(dim=1)  # 5 tokens are no square


def test_an_embedding_of_positions_is_no_map() -> None:
    module = Positions().train()
    stages = [Stage("first", (), 0, (36, 4)), Stage("last", (), 0, (4,))]
    found = find_stage_maps(module, stages, (3, 6, 6))
    assert found == [StageMap("first", HookPoint("first.1", "input"), 4, 6, 6)]
    assert not any(part._forward_pre_hooks for part in module.modules())
