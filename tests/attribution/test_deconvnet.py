"""Deconvnet pictures: equal to values by hand and to captum, on every kind of network, or refused."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from captum.attr import Deconvolution, GuidedBackprop
from tests.attribution.toys import at, filled, toy, toy_image
from torch import nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

import regraft
from regraft.attribution.deconvnet import deconvnet, guided_backprop, project, strongest_places
from regraft.errors import DataError, ModelError, OptionError
from regraft.networks.hook_points import HookPoint
from regraft.networks.tracing import run_to

SIDE = 96


@pytest.fixture
def image() -> torch.Tensor:
    return toy_image()


# The red values pass the first filter as they are. Of each 2 x 2 window the largest are 3 at (1, 0), 5 at (1, 3),
# 7 at (3, 1) and 2 at (2, 2). Unit 0 comes to 3 - 10 + 3.5 + 2 = -1.5, unit 1 to 6 + 5 - 7 + 6 = 10.
@pytest.mark.parametrize("rectifier", [nn.ReLU, lambda: nn.ReLU(inplace=True)])
def test_a_deconvnet_by_hand(image: torch.Tensor, rectifier: Callable[[], nn.Module]) -> None:
    found = deconvnet(toy(rectifier), "4", image, 1)
    red = at(r1c0=2, r1c3=1, r2c2=3)  # the -1 that goes to (3, 1) is rectified on its way
    assert torch.equal(found, torch.stack([red, 0.5 * red, 0 * red])[None])


def test_a_deconvnet_ignores_what_the_rectifier_did_to_the_photo(image: torch.Tensor) -> None:
    found = deconvnet(toy(nn.ReLU), "4", image, 0)  # unit 0 is silent here; its pattern is shown all the same
    assert torch.equal(found[0, 0], at(r1c0=1, r3c1=0.5, r2c2=1))


def test_guided_backpropagation_by_hand(image: torch.Tensor) -> None:
    assert torch.equal(guided_backprop(toy(nn.ReLU), "4", image, 1)[0, 0], at(r1c0=2, r1c3=1, r2c2=3))
    assert torch.equal(guided_backprop(toy(nn.ReLU), "4", image, 0), torch.zeros(1, 3, 4, 4))  # silent: nothing passes


def test_max_pooling_puts_the_signal_where_this_photo_has_its_maximum(image: torch.Tensor) -> None:
    image[0, 0, 0, 0] = 9  # instead of the 3 below it
    assert torch.equal(deconvnet(toy(nn.ReLU), "4", image, 1)[0, 0], at(r0c0=2, r1c3=1, r2c2=3))


def test_a_deconvnet_passes_the_cap_of_relu6(image: torch.Tensor) -> None:
    capped = deconvnet(toy(nn.ReLU6), "4", image, 1)  # 7 at (3, 1) is cut off, but its window's maximum all the same
    assert torch.equal(capped[0, 0], at(r1c0=2, r1c3=1, r2c2=3))
    assert torch.equal(guided_backprop(toy(nn.ReLU6), "4", image, 1), capped)  # unit 1 is at the cap: 6, not 10


class Up(nn.Module):
    """A network up to a stage, for captum."""

    def __init__(self, network: nn.Module, stage: str) -> None:
        super().__init__()
        self.network, self.stage = network, stage

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the stage's activation."""
        return run_to(self.network, HookPoint(self.stage), images)


NETWORKS: dict[str, tuple[dict[str, object], list[str]]] = {
    "vgg16": ({"mlp_ratio": 0.02}, ["features.9", "features.30"]),
    "resnet50": ({}, ["layer1", "layer4"]),
    "inception_v3": ({}, ["Mixed_5d", "Mixed_7c"]),
    "mnasnet_100": ({}, ["blocks.3"]),  # depthwise filters, ReLU
}
LATE = ("layer4", "Mixed_7c")  # much of the network is gone back through


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        pytest.param(name, stage, marks=[pytest.mark.slow] if name == "vgg16" or stage in LATE else [])
        for name, (_, stages) in NETWORKS.items()
        for stage in stages
    ],
)
def test_equal_to_captum(name: str, stage: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0, **NETWORKS[name][0]).eval()
    reference = copy.deepcopy(network)
    for part in reference.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False  # captum's hooks cannot be on it otherwise
    images = torch.randn(2, 3, SIDE, SIDE)
    activation = run_to(network, HookPoint(stage), images)
    unit = int(activation.amax((0, 2, 3)).argmax())
    best = int(activation[0, unit].argmax())
    row, column = divmod(best, activation.shape[3])
    for ours, theirs in ((deconvnet, Deconvolution), (guided_backprop, GuidedBackprop)):
        found = ours(network, stage, images, unit, position=(row, column))
        with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
            expected = theirs(Up(reference, stage)).attribute(
                images.clone().requires_grad_(), target=(unit, row, column)
            )
        assert expected[0].abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    strongest = deconvnet(network, stage, images[:1], unit)
    there = deconvnet(network, stage, images[:1], unit, position=(row, column))
    torch.testing.assert_close(strongest, there, rtol=1e-5, atol=1e-5 * float(there.abs().max()))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("mobilenetv2_050", "blocks.5"),
        ("efficientnet_b0", "blocks.3"),
        ("convnext_atto", "stages.2"),
        pytest.param("convnextv2_atto", "stages.1", marks=pytest.mark.slow),
        pytest.param("regnety_002", "s3", marks=pytest.mark.slow),
        pytest.param("densenet121", "features.denseblock2", marks=pytest.mark.slow),
        ("mobilenetv3_small_050", "blocks.3"),
        ("ghostnet_100", "blocks.4"),
        pytest.param("nf_resnet26", "stages.1", marks=pytest.mark.slow),
        pytest.param("res2net50_14w_8s", "layer2", marks=pytest.mark.slow),
        pytest.param("cspdarknet53", "stages.2", marks=pytest.mark.slow),
        ("repvgg_a0", "stages.2"),
    ],
)
def test_convolutional_networks_have_pictures(name: str, stage: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0)
    images = torch.randn(2, 3, SIDE, SIDE)
    found = project(network, stage, images, [0, 1])
    assert found.pixels.shape == images.shape
    assert torch.isfinite(found.pixels).all()
    assert found.pixels.abs().amax((1, 2, 3)).gt(0).all()
    network.eval()
    with torch.no_grad():  # the photo's own activation is not changed by the way that is looked at
        plain = run_to(network, HookPoint(stage), images)
    rows = torch.arange(2)
    peaks = plain[rows, rows, found.positions[:, 0], found.positions[:, 1]]
    torch.testing.assert_close(found.activations, peaks, rtol=1e-4, atol=1e-5)


def test_a_first_step_in_place_changes_no_photo() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), filled(nn.Conv2d(3, 1, 1, bias=False), [1, 1, 0]), nn.ReLU())
    images = torch.tensor([[-1.0, 2, 3]]).reshape(1, 3, 1, 1)
    assert deconvnet(network, "2", images, 0).flatten().tolist() == [1, 1, 0]
    assert images.flatten().tolist() == [-1, 2, 3]


class Sly(nn.Module):
    """Changes a view in place, and goes on with what it is a view of."""

    def __init__(self) -> None:
        super().__init__()
        self.filter, self.end = nn.Conv2d(3, 4, 1), nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.filter(images)
        found[:, :2].relu_()
        ended: torch.Tensor = self.end(functional.relu(-found))
        return ended


def test_what_cannot_be_followed_is_refused() -> None:
    network = Sly()
    nn.init.constant_(network.filter.weight, -1.0)  # in place, -3 becomes 0; without it, 3 would come out
    with pytest.raises(ModelError, match="changes its activations in place in a way that cannot be followed"):
        deconvnet(network, "end", torch.ones(1, 3, 4, 4), 0)


def hooks_of(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules())


def fails_at(network: nn.Sequential) -> nn.Sequential:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    return nn.Sequential(*network[:3], Broken(), *network[3:])


@pytest.mark.parametrize("failure", ["", "unit", "stage", "network"])
def test_nothing_is_left_behind(image: torch.Tensor, failure: str) -> None:
    network = toy(lambda: nn.ReLU(inplace=True))
    network = fails_at(network) if failure == "network" else network
    network.train()
    network[0].eval()
    network[0].weight.requires_grad_(False)
    kept = image.clone()
    arguments = (
        "5" if failure == "network" else "9" if failure == "stage" else "4",
        image,
        7 if failure == "unit" else 0,
    )
    if failure:
        with pytest.raises((OptionError, ModelError, RuntimeError)):
            deconvnet(network, *arguments)
    else:
        deconvnet(network, *arguments)
    assert hooks_of(network) == 0
    assert [part.training for part in network][:2] == [False, True]
    assert [p.requires_grad for p in network.parameters()] == [False, True]
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(image, kept)
    assert image.grad is None
    assert not image.requires_grad
    assert _get_current_function_mode_stack() == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"stage": "5"}, ModelError, r"stage must name a module of the network, such as 0, 1, 2\. Got '5'"),
        ({"unit": 2}, OptionError, r"unit must be a number from 0 to 1, or one for each of the 1 images\. Got 2"),
        ({"unit": [0, 1]}, OptionError, r"Got \[0, 1\]"),
        (
            {"position": (1, 0)},
            OptionError,
            r"position must lie in the map of 1 x 1 places, from \(0, 0\)\. Got \(1, 0\)",
        ),
        ({"images": torch.zeros(3, 4, 4)}, DataError, r"tensor of shape \(b, 3, h, w\), b from 1\. Got \(3, 4, 4\)"),
        ({"images": [1]}, DataError, r"Got list"),
    ],
)
def test_mistakes_are_named(
    image: torch.Tensor, change: dict[str, object], error: type[Exception], message: str
) -> None:
    given = {"stage": "4", "images": image, "unit": 0, **change}
    with pytest.raises(error, match=message):
        deconvnet(toy(nn.ReLU), **given)  # type: ignore[arg-type]


def test_a_stage_without_a_map_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten())
    with pytest.raises(ModelError, match=r"the output of 2 is no map of units by place: its shape is \(1, 32\)"):
        deconvnet(network, "2", torch.randn(1, 3, 4, 4), 0)


def test_of_equal_places_the_one_with_most_around_it_is_taken() -> None:
    found = torch.zeros(1, 4, 4)
    found[0, 0, 0] = found[0, 2, 2] = 6
    found[0, 2, 3] = 1
    assert strongest_places(found).tolist() == [2 * 4 + 2]


def test_public_functions_need_nothing_else(image: torch.Tensor) -> None:
    assert torch.equal(regraft.deconvnet(toy(nn.ReLU), "4", image, 1), deconvnet(toy(nn.ReLU), "4", image, 1))
    assert regraft.guided_backprop is guided_backprop
