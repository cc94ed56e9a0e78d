"""Features of several depths: where they are read, what they are, and which of them a choice has."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.marks import some_slow
from torch import nn

from regraft.engines.openvino import OpenVinoEngine, convert
from regraft.engines.pytorch import TorchEngine
from regraft.errors import ModelError
from regraft.features.depth_choices import columns_from, distinct, first_depths
from regraft.features.depths import find_depths
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.cutting import cut_before
from regraft.networks.depths import DepthFeatures
from regraft.networks.hook_points import Depth, HookPoint

SIZE = 64
# seven families: their blocks whose maps have at most an eighth of the image's sides, and the last at a quarter
FAMILIES = {
    "test_resnet": ["layer1", "layer2", "layer3"],
    "test_efficientnet": ["blocks.1", "blocks.2", "blocks.3"],
    "test_convnext": None,
    "test_vit": None,
    "vgg11": None,
    "inception_v3": None,
    "mobilenetv2_035": None,
}
SIDES = {"inception_v3": 128, "test_vit": None}


@pytest.fixture(scope="module")
def network() -> Callable[[str], Backbone]:
    """Return a function that builds a network, with all its depths, once."""
    built: dict[str, Backbone] = {}

    def build(name: str) -> Backbone:
        if name not in built:
            torch.manual_seed(0)
            arguments = {"mlp_ratio": 0.02} if name.startswith("vgg") else {}
            backbone = build_untrained(name, size=SIDES.get(name, SIZE), arguments=arguments)
            with torch.no_grad():
                for part in backbone.module.modules():
                    if isinstance(part, nn.BatchNorm2d):  # timm's last ones of a block begin at 0: blocks do nothing
                        part.weight.uniform_(0.5, 1.5)
            built[name] = backbone.with_depths(find_depths(backbone))
        return built[name]

    return build


def images_for(backbone: Backbone, count: int = 2) -> torch.Tensor:
    preprocess = backbone.preprocess
    return torch.randn(count, 3, preprocess.height, preprocess.width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", FAMILIES)
def test_features_of_all_depths_end_with_the_networks_own(name: str, network: Callable[[str], Backbone]) -> None:
    backbone = network(name)
    images = images_for(backbone)
    with torch.no_grad():
        found, own = backbone.feature_module(images), backbone.module(images)
    assert found.shape == (2, backbone.width)
    assert backbone.width == sum(depth.units for depth in backbone.depths) + backbone.features
    assert torch.equal(found[:, -backbone.features :], own)
    assert len(backbone.depths) >= 2
    if FAMILIES[name] is not None:
        assert [depth.stage for depth in backbone.depths] == FAMILIES[name]
    assert not backbone.module._forward_hooks


def test_they_are_the_means_of_what_the_layers_give(network: Callable[[str], Backbone]) -> None:
    """By hand: the layers of a ResNet, one after the other."""
    backbone = network("test_resnet")
    images = images_for(backbone)
    module = backbone.module
    with torch.no_grad():
        map_ = module.maxpool(module.act1(module.bn1(module.conv1(images))))  # type: ignore[operator]
        means = []
        for layer in (module.layer1, module.layer2, module.layer3):
            map_ = layer(map_)  # type: ignore[operator]
            means.append(map_.flatten(2).mean(dim=2))
        found = backbone.feature_module(images)
    assert torch.allclose(found[:, : -backbone.features], torch.cat(means, dim=1), atol=1e-6)


def test_class_tokens_are_left_out(network: Callable[[str], Backbone]) -> None:
    backbone = network("test_vit")
    images = images_for(backbone)
    with torch.no_grad():
        _, tokens = backbone.module.forward_intermediates(images, indices=[2], output_fmt="NLC", norm=False)
        found = backbone.feature_module(images)
    names = [depth.stage for depth in backbone.depths]
    start = sum(depth.units for depth in backbone.depths[: names.index("blocks.2")])
    assert torch.allclose(found[:, start : start + 64], tokens[0].mean(dim=1), atol=1e-6)


def test_where_there_are_too_many_numbers_every_few_are_taken_and_the_last_of_each_size_stays() -> None:
    """Without its last block, whose mean are its features, a ResNet-50 has 256 + 4 * 512 + 6 * 1024 + 2 * 2048."""
    torch.manual_seed(0)
    backbone = build_untrained("resnet50", size=SIZE)
    with torch.no_grad():
        for part in backbone.module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
    found = find_depths(backbone)
    assert sum(depth.units for depth in found) <= 4096
    assert {"layer1.2", "layer2.3", "layer3.5"} <= {depth.stage for depth in found}
    assert "layer4.2" not in {depth.stage for depth in found}


@pytest.mark.parametrize("name", some_slow(FAMILIES, {"vgg11", "inception_v3"}))
def test_every_cut_gives_the_same_features(name: str, network: Callable[[str], Backbone]) -> None:
    backbone = network(name)
    images, preprocess = images_for(backbone), backbone.preprocess
    stages = [stage.name for stage in backbone.stages()]
    with torch.no_grad():
        expected = backbone.feature_module(images)
        for cut in {stages[0], stages[len(stages) // 2], stages[-1]}:
            trunk, top = cut_before(
                backbone.module, cut, (3, preprocess.height, preprocess.width), depths=backbone.depths
            )
            assert torch.allclose(top(trunk(images)), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_what_is_behind_a_cut_learns_through_all_its_depths(network: Callable[[str], Backbone]) -> None:
    backbone = network("test_resnet")
    trunk, top = cut_before(backbone.module, "layer2", (3, SIZE, SIZE), depths=backbone.depths)
    with torch.no_grad():
        activations = trunk(images_for(backbone))
    top.first = backbone.depths[0].units  # type: ignore[assignment]
    features = top(activations)
    assert features.shape == (2, backbone.width - backbone.depths[0].units)
    features[:, : backbone.depths[1].units].sum().backward()  # of layer2
    learned = {name for name, p in top.network.named_parameters() if _moves(p)}  # type: ignore[union-attr]
    assert {name.split(".")[0] for name in learned} == {"layer2"}


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_engines_agree(name: str, network: Callable[[str], Backbone]) -> None:
    backbone = network(name)
    side = backbone.preprocess.height
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    engine = OpenVinoEngine(convert(backbone.feature_module, backbone.preprocess), backbone.preprocess, "float32")
    expected = TorchEngine(backbone, torch.device("cpu")).features(pixels)
    assert np.allclose(engine.features(pixels), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def made_up(units: list[int], features: int) -> Backbone:
    depths = [Depth(f"block{n}", HookPoint(f"block{n}"), count) for n, count in enumerate(units)]
    return Backbone(nn.Identity(), None, None, features, "", tuple(depths))  # type: ignore[arg-type]


def test_late_is_the_last_third() -> None:
    first = made_up([1, 2, 3, 4, 5, 6, 7], 10)
    assert first_depths([first]) == {"last": (7,), "late": (4,), "all": (0,)}
    assert columns_from([first], (4,)) == slice(1 + 2 + 3 + 4, None)
    assert first_depths([made_up([5], 10)]) == {"last": (1,), "late": (0,), "all": (0,)}


@pytest.mark.parametrize(
    ("counts", "names"),
    [
        ([7], ["last", "late", "all"]),
        ([1], ["last", "late"]),  # the late ones are all
        ([0], ["last"]),
        ([0, 1], ["last", "late"]),
        ([2, 1], ["last", "late", "all"]),
    ],
)
def test_choices_that_come_to_the_same_are_there_once(counts: list[int], names: list[str]) -> None:
    assert list(distinct(first_depths([made_up([3] * count, 10) for count in counts]))) == names


def test_columns_of_two_networks_side_by_side() -> None:
    first, second = made_up([2, 3], 4), made_up([1], 2)
    assert first_depths([first, second]) == {"last": (2, 1), "late": (1, 0), "all": (0, 0)}
    assert columns_from([first, second], (2, 1)).tolist() == [5, 6, 7, 8, 10, 11]  # type: ignore[union-attr]
    assert columns_from([first, second], (1, 0)).tolist() == [*range(2, 9), 9, 10, 11]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (Depth("layer2", HookPoint("layer2"), 7), "layer2 gives no map of 7 units: the shape of its output is "),
        (Depth("layer2", HookPoint("layer2", layout="b n c"), 48), "layer2 gives no map of 48 units"),
        (Depth("fc", HookPoint("layer1.0.downsample.9"), 4), None),
    ],
)
def test_places_of_another_network(depth: Depth, expected: str | None, network: Callable[[str], Backbone]) -> None:
    backbone = network("test_resnet")
    if expected is None:
        with pytest.raises(AttributeError):  # a bundle's names are checked when it is read
            DepthFeatures(backbone.module, [depth])(images_for(backbone))
        return
    with pytest.raises(ModelError, match=expected):
        DepthFeatures(backbone.module, [depth])(images_for(backbone))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in backbone.module.modules())


def _moves(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())
