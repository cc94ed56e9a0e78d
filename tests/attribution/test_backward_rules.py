"""Backward rules: every rectifier is found, other functions are generalised, gates and norms are held."""

from collections.abc import Callable

import pytest
import torch
from tests.attribution.toys import at, filled, toy, toy_image
from torch import nn
from torch.nn import functional

from regraft.attribution.backward_rules import GUIDED
from regraft.attribution.deconvnet import deconvnet, project


class Functional(nn.Module):
    """The toy with functions and methods in place of modules."""

    def __init__(self, rectify: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, _, _, self.second, _ = toy(nn.ReLU)
        self.end = nn.Identity()
        self.rectify = rectify

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.end(
            self.rectify(self.second(functional.max_pool2d(self.rectify(self.first(images)), 2)))
        )
        return found


def in_place(given: torch.Tensor) -> torch.Tensor:
    given.relu_()  # its result is not used
    return given


@pytest.mark.parametrize(
    "rectify",
    [
        functional.relu,
        torch.relu,
        torch.Tensor.relu,
        in_place,
        lambda x: functional.relu(x, True),
        lambda x: x.clamp(min=0),
        lambda x: functional.hardtanh(x, 0.0, 6.0),
        functional.relu6,
    ],
)
def test_rectifiers_that_are_no_modules_are_found(rectify: Callable[[torch.Tensor], torch.Tensor]) -> None:
    network = Functional(rectify)
    assert torch.equal(deconvnet(network, "end", toy_image(), 1)[0, 0], at(r1c0=2, r1c3=1, r2c2=3))


# y = w2 f(w1 x) at one pixel with w1 = 1 and w2 = 2: the signal 1 becomes 2, is not negative, and passes the soft gate
# f(x) / x in a guided picture, but not in a deconvnet
@pytest.mark.parametrize(
    ("activation", "name", "gate"),
    [
        (nn.SiLU, "SiLU", torch.sigmoid(torch.tensor(1.5))),
        (nn.GELU, "GELU", torch.distributions.Normal(0, 1).cdf(torch.tensor(1.5))),
        (nn.Hardswish, "Hardswish", torch.tensor((1.5 + 3) / 6)),
        (nn.Mish, "Mish", torch.tanh(torch.log(1 + torch.exp(torch.tensor(1.5))))),
        (nn.LeakyReLU, "LeakyReLU", torch.tensor(1.0)),
    ],
)
def test_other_activations_are_generalised_and_named(
    activation: Callable[[], nn.Module], name: str, gate: torch.Tensor
) -> None:
    network = nn.Sequential(
        filled(nn.Conv2d(3, 1, 1, bias=False), [1, 0, 0]), activation(), filled(nn.Conv2d(1, 2, 1, bias=False), 2, -2)
    )
    image = torch.tensor([1.5, 0, 0]).reshape(1, 3, 1, 1)
    plain, guided = project(network, "2", image, 0), project(network, "2", image, 0, rule=GUIDED)
    assert plain.pixels.flatten().tolist() == [2, 0, 0]
    assert plain.method == f"deconvnet, generalised: {name} taken as a rectifier with a soft gate"
    torch.testing.assert_close(guided.pixels.flatten(), 2 * gate * torch.tensor([1.0, 0, 0]))
    assert guided.method.startswith("guided backpropagation, generalised: ")
    assert deconvnet(network, "2", image, 1).abs().sum() == 0  # a negative signal stops at the rectifier


class Gated(nn.Module):
    """A rectified map, multiplied by a sigmoid of its mean, as in squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = filled(nn.Conv2d(3, 1, 1, bias=False), [1, 0, 0])
        self.end = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = functional.relu(self.filter(images))
        gated: torch.Tensor = self.end(found * found.mean((2, 3), keepdim=True).sigmoid())
        return gated


def test_gates_are_held() -> None:
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0] = torch.tensor([[1.0, 2], [3, 6]])
    found = project(Gated(), "end", image, 0)
    expected = torch.zeros(2, 2)
    expected[1, 1] = torch.sigmoid(torch.tensor(3.0))  # the mean; without holding it, all four pixels would get a part
    torch.testing.assert_close(found.pixels[0, 0], expected)
    assert found.method == "deconvnet, generalised: multiplying gates held at what they are for the photo"
    assert found.positions.tolist() == [[1, 1]]
    torch.testing.assert_close(found.activations, 6 * torch.sigmoid(torch.tensor([3.0])))


@pytest.mark.parametrize(
    ("norm", "name"), [(nn.GroupNorm(2, 4), "group norm"), (nn.LayerNorm([4, 3, 3]), "layer norm")]
)
def test_norms_are_held(norm: nn.Module, name: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    first = nn.Conv2d(3, 4, 1, bias=False)
    network = nn.Sequential(first, norm, nn.ReLU())
    image = torch.randn(1, 3, 3, 3)
    found = project(network, "2", image, 1, position=(2, 0))
    before = first(image).detach()
    if name == "group norm":
        part = before[0, :2]  # unit 1 is of the first of two groups
        slope = norm.weight[1] / torch.sqrt(part.var(correction=0) + norm.eps)  # type: ignore[index, operator]
    else:
        slope = norm.weight[1, 2, 0] / torch.sqrt(before.var(correction=0) + norm.eps)  # type: ignore[index, operator]
    torch.testing.assert_close(found.pixels[0, :, 2, 0], slope.detach() * first.weight[1, :, 0, 0].detach())
    assert f"mean and deviation of {name} held" in found.method
