"""Where a network looks: by hand, equal to captum's Grad-CAM, and nothing is left behind."""

import copy

import numpy as np
import pytest
import timm
import torch
from captum.attr import LayerAttribution, LayerGradCam, Occlusion
from torch import nn

from regraft.attribution.cam import grad_cam, occlusion
from regraft.errors import ModelError, OptionError
from regraft.networks.hook_points import HookPoint


def state(module: nn.Module) -> list[object]:
    """Return what a user would see changed: modes, hooks, what is trained, gradients, numbers."""
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()]
    parameters = [(parameter.requires_grad, parameter.grad) for parameter in module.parameters()]
    numbers = {name: tensor.tolist() for name, tensor in module.state_dict().items()}
    return [[part.training for part in module.modules()], hooks, parameters, numbers]


def toy() -> nn.Sequential:
    """Return a network on 2 x 2 pixels: two units that are red and green, a rectifier, two logits."""
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])
        module[0].bias.zero_()
        # of each unit's four places
        module[3].weight.copy_(torch.tensor([[1.0, 2, 3, -2, -1, 0, -1, 0], [0, 0, 0, 0, 0, 0, 0, 4]]))
    return module


@pytest.fixture
def image() -> torch.Tensor:
    red, green = torch.tensor([[2.0, 1], [-3, 4]]), torch.tensor([[1.0, 6], [2, -5]])
    return torch.stack([red, green, torch.zeros(2, 2)])[None]


def test_grad_cam_by_hand(image: torch.Tensor) -> None:
    # behind the rectifier: red 2 1 0 4, green 1 6 2 0. Logit 0 has mean slopes (1 + 2 + 3 - 2) / 4 = 1 of red and
    # -2 / 4 = -0.5 of green: 2 - 0.5, 1 - 3, 0 - 1, 4. What is below 0 is cut off.
    found = grad_cam(toy(), "1", image, 0)
    assert found.tolist() == [[[[1.5, 0], [0, 4]]]]


def test_grad_cam_before_a_rectifier_by_hand(image: torch.Tensor) -> None:
    # red -3 and green -5 pass nothing: the slopes are (1 + 2 - 2) / 4 = 0.25 and -2 / 4 = -0.5, of 2 1 -3 4 and
    # 1 6 2 -5. The rectifier, which works in place, does not change what was there before it.
    found = grad_cam(toy(), "0", image, 0)
    assert found.tolist() == [[[[0, 0], [0, 3.5]]]]
    assert grad_cam(toy(), HookPoint("1", "input"), image, 0).tolist() == found.tolist()


def test_each_image_has_its_own_class(image: torch.Tensor) -> None:
    # logit 1 has no slope but at green's last place, where it is 4 / 4 = 1
    found = grad_cam(toy(), "1", image.repeat(2, 1, 1, 1), torch.tensor([0, 1], dtype=torch.int32))
    assert found[0, 0].tolist() == [[1.5, 0], [0, 4]]
    assert found[1, 0].tolist() == [[1, 6], [2, 0]]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=7)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):  # so that maps are neither all alike nor all above 0
            nn.init.normal_(part.running_mean, 0, 0.2)
            nn.init.uniform_(part.weight, 0.5, 1.0)
            nn.init.normal_(part.bias, 0, 0.2)
    return network.eval()


@pytest.mark.parametrize("stage", ["layer4", "layer3", "layer2.1.bn2", "bn1"])
def test_grad_cam_is_captums(resnet: nn.Module, stage: str) -> None:
    images = torch.randn(3, 3, 96, 80, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([6, 0, 3])
    theirs = copy.deepcopy(resnet)
    for part in theirs.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    expected = LayerGradCam(theirs, theirs.get_submodule(stage)).attribute(images, target, relu_attributions=True)
    expected = LayerAttribution.interpolate(expected, (96, 80), interpolate_mode="bilinear").detach()
    found = grad_cam(resnet, stage, images, target)
    assert found.shape == (3, 1, 96, 80)
    assert float(expected.max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.fixture
def linear() -> nn.Sequential:
    """Return two logits that are linear in 3 x 4 x 4 pixels."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        module[1].weight.copy_(torch.randint(-4, 5, (2, 48), generator=generator))
    return module


def falls(module: nn.Sequential, image: torch.Tensor, target: int) -> np.ndarray:
    """Return (4, 4): by how much a linear logit falls when one pixel is covered."""
    return (module[1].weight[target].reshape(3, 4, 4) * image).sum(dim=0).detach().numpy()


def test_a_linear_logit_falls_by_what_is_covered(linear: nn.Sequential) -> None:
    images = torch.randint(-3, 4, (2, 3, 4, 4), generator=torch.Generator().manual_seed(3)).float()
    found = occlusion(linear, images, torch.tensor([1, 0]), window=2, stride=2)
    assert found.shape == (2, 1, 4, 4)
    for k, target in enumerate((1, 0)):
        by_square = falls(linear, images[k], target).reshape(2, 2, 2, 2).sum(axis=(1, 3))
        np.testing.assert_allclose(found[k, 0], by_square.repeat(2, axis=0).repeat(2, axis=1), atol=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (2, None), (4, 3), (1, 1)])
def test_a_pixel_has_the_mean_of_the_squares_that_cover_it(
    linear: nn.Sequential, window: int, stride: int | None
) -> None:
    image = torch.randint(-3, 4, (3, 4, 4), generator=torch.Generator().manual_seed(4)).float()
    fall = falls(linear, image, 1)
    step = {None: 1}.get(stride, stride)  # half of a side of 2
    total, squares = np.zeros((4, 4)), np.zeros((4, 4))
    starts = [0, *range(step, 4 - window + step, step)]  # the last square may reach over the edge
    for row in starts:
        for column in starts:
            square = slice(row, row + window), slice(column, column + window)
            total[square] += fall[square].sum()
            squares[square] += 1
    found = occlusion(linear, image[None], 1, window=window, stride=stride)
    np.testing.assert_allclose(found[0, 0], total / squares, atol=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (20, 12), (40, 9)])
@pytest.mark.parametrize("count", [1, 3, pytest.param(17, marks=pytest.mark.slow)])
def test_occlusion_is_captums(resnet: nn.Module, window: int, stride: int, count: int) -> None:
    images = torch.randn(count, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    target = torch.arange(count) % 7
    with torch.no_grad():
        expected = Occlusion(resnet).attribute(
            images,
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            target=target,
            perturbations_per_eval=max(16 // count, 1),  # as many at a time as here: convolutions round by that
        )
    assert torch.equal(occlusion(resnet, images, target, window=window, stride=stride), expected[:, :1])
    assert float(expected.max()) > 0


def test_twenty_images_at_once_are_as_twenty_alone(linear: nn.Sequential) -> None:
    images = torch.randint(-3, 4, (20, 3, 4, 4), generator=torch.Generator().manual_seed(5)).float()
    found = occlusion(linear, images, 0, window=2)
    for k in (0, 7, 19):
        np.testing.assert_allclose(found[k], occlusion(linear, images[k : k + 1], 0, window=2)[0], atol=1e-4)


@pytest.mark.parametrize("target", [2, -1, 0.5, torch.tensor([0, 1, 0])])
def test_no_such_class(image: torch.Tensor, target: object) -> None:
    module, images = toy().train(), image.repeat(2, 1, 1, 1).requires_grad_()
    before = state(module)
    message = r"^target must be a class from 0 to 1, or one for each of the 2 images\. Got "
    with pytest.raises(OptionError, match=message):
        grad_cam(module, "1", images, target)
    with pytest.raises(OptionError, match=message):
        occlusion(module, images, target, window=1)
    assert state(module) == before
    assert images.grad is None


@pytest.mark.parametrize(("window", "stride"), [(3, 1), (0, 1), (2, 0), (1, 2)])
def test_a_square_that_does_not_fit(image: torch.Tensor, window: int, stride: int) -> None:
    message = rf"^window must be from 1 to 2 pixels, and stride from 1 to window\. Got {window} and {stride}\.$"
    with pytest.raises(OptionError, match=message):
        occlusion(toy(), image, 0, window=window, stride=stride)


class _Branched(nn.Module):
    """Logits from one branch; another runs beside it, and a third never."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.beside, self.never = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        self.last = nn.Linear(2, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.beside(images)
        return self.last(self.main(images).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("mian", r"^stage must name a module of the network, such as main, beside, never\. Got 'mian'\. Did you mean"),
        (
            "last",
            r"^the output of last is no map of units by place: its shape is \(1, 2\)\. Choose an earlier stage\.$",
        ),
        ("never", r"^the network never runs never\. Choose another stage\.$"),
    ],
)
def test_no_such_stage(image: torch.Tensor, stage: str, message: str) -> None:
    module = _Branched().train()
    module.beside.eval()
    before = state(module)
    with pytest.raises(ModelError, match=message):
        grad_cam(module, stage, image, 0)
    assert state(module) == before


def test_a_stage_that_no_logit_depends_on_speaks_for_nothing(image: torch.Tensor) -> None:
    module = _Branched()
    assert grad_cam(module, "beside", image, 0).tolist() == [[[[0, 0], [0, 0]]]]
    module.requires_grad_(False)
    assert grad_cam(module, "beside", image, 0).tolist() == [[[[0, 0], [0, 0]]]]


def test_nothing_is_left_behind(image: torch.Tensor) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.9), nn.Flatten(), nn.Linear(8, 2))
    module.train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    images = image.clone().requires_grad_()
    before = state(module)
    with torch.no_grad():  # as a user may have it
        first = grad_cam(module, "2", images, 0), occlusion(module, images, 0, window=1)
        second = grad_cam(module, "2", images, 0), occlusion(module, images, 0, window=1)
        assert not torch.is_grad_enabled()
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)  # no dropout
        assert not one.requires_grad
    assert state(module) == before
    assert images.grad is None
    assert torch.equal(images, image)


def test_nothing_is_left_behind_after_a_failure(image: torch.Tensor) -> None:
    def breaks(_module: nn.Module, _inputs: object) -> None:
        raise RuntimeError("out of memory")

    module, images = toy().train(), image.clone().requires_grad_()
    module[3].register_forward_pre_hook(breaks)
    before = state(module)
    with pytest.raises(RuntimeError, match="out of memory"):
        grad_cam(module, "1", images, 0)
    with pytest.raises(RuntimeError, match="out of memory"):
        occlusion(module, images, 0, window=1)
    assert state(module) == before
    assert images.grad is None
