"""Receptive fields: what units see, equal to the arithmetic of kernels, strides and paddings."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from regraft.attribution.feature_maps import StageMap, find_stage_maps
from regraft.attribution.receptive_field import receptive_field
from regraft.errors import ModelError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.hook_points import HookPoint

Step = tuple[int, int, int]  # kernel, stride, padding


def untrained(folder: Path, architecture: str, side: int, **arguments: object) -> Backbone:
    settings = {"input_size": [3, side, side], "num_classes": 10}
    config = {"architecture": architecture, "model_args": arguments, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    return build_untrained(f"local-dir:{folder}")


def by_hand(*steps: Step) -> tuple[int, int, int]:
    """Return how many pixels a unit sees, how far its neighbour's field is, and where that of place 0 begins."""
    reach, jump, start = 1, 1, 0
    for kernel, stride, padding in steps:
        start -= padding * jump
        reach += (kernel - 1) * jump
        jump *= stride
    return reach, jump, start


def spans(steps: list[Step], places: int, pixels: int) -> list[tuple[int, int]]:
    """Return from where to where each of `places` sees, cut to the image."""
    reach, jump, start = by_hand(*steps)
    return [(max(start + k * jump, 0), min(start + k * jump + reach, pixels)) for k in range(places)]


CONV, HALVE = (3, 1, 1), (2, 2, 0)
VGG16 = {
    "features.0": ([CONV], 3),
    "features.2": ([CONV, HALVE], 6),
    "features.5": ([CONV], 10),
    "features.7": ([CONV, HALVE], 16),
    "features.10": ([CONV], 24),
    "features.12": ([CONV], 32),
    "features.14": ([CONV, HALVE], 44),
}
# only the 3 x 3 convolutions of the bottlenecks widen the field; the first of a layer has its stride
RESNET50 = {
    "conv1": ([(7, 2, 3), (3, 2, 1)], 11),
    "layer1": ([CONV] * 3, 35),
    "layer2": ([(3, 2, 1), CONV, CONV, CONV], 91),
}


@pytest.mark.parametrize(
    ("architecture", "side", "arguments", "stages"),
    [
        pytest.param("vgg16", 128, {"mlp_ratio": 0.02}, VGG16, marks=pytest.mark.slow),
        ("resnet50", 160, {}, RESNET50),
    ],
)
def test_networks_by_hand(
    tmp_path: Path,
    architecture: str,
    side: int,
    arguments: dict[str, object],
    stages: dict[str, tuple[list[Step], int]],
) -> None:
    backbone = untrained(tmp_path, architecture, side, **arguments)
    maps = find_stage_maps(backbone.module, backbone.stages(), (3, side, side))
    places = {one.stage: one for one in maps}
    assert list(places)[: len(stages)] == list(stages)
    steps: list[Step] = []
    for stage, (more, pixels) in stages.items():
        steps += more
        assert by_hand(*steps)[0] == pixels
        place = places[stage]
        field = receptive_field(backbone.module, place, (3, side, side))
        left, upper, right, lower = field.box(place.height // 2, place.width // 2)
        assert (right - left, lower - upper) == (pixels, pixels), stage
        expected = spans(steps, place.height, side)
        assert [field.box(k, 0)[1::2] for k in range(place.height)] == expected, stage
        assert [field.box(0, k)[::2] for k in range(place.width)] == expected, stage


def at(module: nn.Module, stage: str, shape: tuple[int, int]) -> StageMap:
    """Return the map that is the output of `stage`, for images of `shape`."""
    found: list[torch.Tensor] = []
    handle = module.get_submodule(stage).register_forward_hook(lambda _module, _inputs, output: found.append(output))
    with torch.no_grad():
        module(torch.zeros(1, 3, *shape))
    handle.remove()
    _, units, height, width = found[0].shape
    return StageMap(stage, HookPoint(stage), units, height, width)


def test_boxes_are_cut_to_the_image() -> None:
    """Rows and columns have kernels, strides and paddings of their own."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 2)),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(4, 2, 3, padding=1),
    )
    place = at(module, "3", (26, 20))
    assert (place.height, place.width) == (7, 10)
    field = receptive_field(module, place, (3, 26, 20))
    # rows: 3 pixels every 2 from -1; pooled 7 every 4 from -3; at last 15 every 4 from -7
    assert [field.box(k, 0)[1::2] for k in range(7)] == [
        (0, 8), (0, 12), (1, 16), (5, 20), (9, 24), (13, 26), (17, 26)
    ]  # fmt: skip
    # columns: 5 pixels from -2; pooled 7 every 2 from -3; at last 11 every 2 from -5
    assert [field.box(0, k)[::2] for k in range(10)] == spans([(5, 1, 2), (3, 2, 1), CONV], 10, 20)
    assert field.box(2, 0) == (0, 1, 6, 16)
    assert field.box(2, 9) == (13, 1, 20, 16)


class _Squeezed(nn.Module):
    """A convolution whose output is multiplied by a gate, or has a mean over all places added to it."""

    def __init__(self, gate: nn.Module | None) -> None:
        super().__init__()
        self.first, self.inner, self.outer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.gate, self.last = gate, nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.first(images))
        squeezed = self.outer(torch.relu(self.inner(found.mean(dim=(2, 3), keepdim=True))))
        return self.last(found + squeezed if self.gate is None else found * self.gate(squeezed))


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()])
def test_a_gate_that_looks_at_the_whole_image_is_left_out(gate: nn.Module) -> None:
    module = _Squeezed(gate)
    field = receptive_field(module, at(module, "last", (20, 20)), (3, 20, 20))
    assert field.box(10, 4) == (2, 8, 7, 13)  # two 3 x 3 filters: 5 pixels around column 4 and row 10


def test_a_mean_that_is_no_gate_sees_the_whole_image() -> None:
    module = _Squeezed(None)
    field = receptive_field(module, at(module, "last", (20, 18)), (3, 20, 18))
    assert {field.box(k, j) for k in range(20) for j in range(18)} == {(0, 0, 18, 20)}


@pytest.mark.parametrize("weight", [0.0, -1.0, 1e30])
def test_filters_are_as_wide_as_they_are_whatever_their_weights(weight: float) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.GELU(), nn.Conv2d(2, 2, 3), nn.ReLU6())
    for parameter in module.parameters():
        nn.init.constant_(parameter, weight)
    module.eval()
    field = receptive_field(module, at(module, "4", (12, 12)), (3, 12, 12))
    assert field.box(3, 5) == (5, 3, 10, 8)


def test_a_signal_neither_fades_nor_overflows_on_a_long_way() -> None:
    layers = [part for _ in range(60) for part in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    module = nn.Sequential(*layers)
    field = receptive_field(module, at(module, "119", (4, 300)), (3, 4, 300))
    assert field.box(1, 150) == (90, 0, 211, 4)  # 60 pixels to each side


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_field_larger_than_the_image_is_the_whole_image(places: int) -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 41, stride=4, padding=20))
    side = 4 * places - 3
    place = at(module, "0", (side, side))
    assert place.height == place.width == places
    field = receptive_field(module, place, (3, side, side))
    assert {field.box(k, j) for k in range(places) for j in range(places)} == {(0, 0, side, side)}


@pytest.mark.parametrize(("pixels", "expected"), [(5, [(0, 2), (3, 5)]), (8, [(0, 2), (3, 5), (6, 8)])])
def test_pixels_between_two_fields_are_in_neither(pixels: int, expected: list[tuple[int, int]]) -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 2, stride=3))
    field = receptive_field(module, at(module, "0", (pixels, pixels)), (3, pixels, pixels))
    assert [field.box(k, 0)[1::2] for k in range(len(expected))] == expected
    assert [field.box(0, k)[::2] for k in range(len(expected))] == expected


def test_two_places_that_each_see_one_edge() -> None:
    """The first field begins where the image begins, and the second ends where it ends."""
    module = nn.Sequential(nn.Conv2d(3, 1, 1, stride=4))
    field = receptive_field(module, at(module, "0", (5, 5)), (3, 5, 5))
    assert field.box(0, 0) == (0, 0, 1, 1)
    assert field.box(1, 1) == (4, 4, 5, 5)
    assert field.box(0, 1) == (4, 0, 5, 1)


class _Mixed(nn.Module):
    """Has parts in both modes, a frozen weight, a part that never runs, and a hook of its user."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True)
        self.unused = nn.Linear(1, 1)
        self.norm.eval()
        self.first.weight.requires_grad_(False)
        self.norm.register_forward_hook(lambda *_: None)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(images)))

    def state(self) -> list[object]:
        hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in self.modules()]
        parameters = [(parameter.requires_grad, parameter.grad) for parameter in self.parameters()]
        numbers = {name: tensor.tolist() for name, tensor in self.state_dict().items()}
        return [[part.training for part in self.modules()], hooks, parameters, numbers]


def test_the_network_is_left_as_it_was() -> None:
    module = _Mixed()
    before = module.state()
    field = receptive_field(module, StageMap("last", HookPoint("last"), 2, 4, 4), (3, 6, 6))
    assert field.box(1, 1) == (1, 1, 4, 4)
    assert module.state() == before
    with pytest.raises(ModelError, match=r"the network never runs unused\. Choose another stage\."):
        receptive_field(module, StageMap("unused", HookPoint("unused"), 2, 4, 4), (3, 6, 6))
    assert module.state() == before
    assert torch.is_grad_enabled()


class _Windows(nn.Module):
    """Each place sees all of its half of the image, as in windows of attention."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([half.mean((2, 3), keepdim=True).expand_as(half) for half in images.chunk(2, dim=3)], dim=3)


class _Product(nn.Module):
    """Two branches multiplied: one sees 1 pixel, the other 3."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 3, padding=1)
        self.end = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.end(torch.relu(self.narrow(images)) * torch.relu(self.wide(images)))
        return found


def test_fields_that_jump_are_the_whole_image() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), _Windows(), nn.Identity())
    field = receptive_field(network, StageMap("windows", HookPoint("2"), 2, 8, 8), (3, 8, 8))
    assert field.box(3, 1) == field.box(6, 6) == (0, 0, 8, 8)


def test_both_factors_of_a_product_are_seen() -> None:
    field = receptive_field(_Product(), StageMap("product", HookPoint("end"), 2, 8, 8), (3, 8, 8))
    assert field.box(4, 4) == (3, 3, 6, 6)
