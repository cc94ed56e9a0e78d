"""Where a network looks: Grad-CAM by the gradient, occlusion without it."""

import math

import torch
from torch import nn
from torch.nn import functional

from regraft.errors import ModelError, OptionError
from regraft.networks.hook_points import HookPoint
from regraft.networks.tracing import as_hook_point, evaluating, hooked

_COVERED_AT_A_TIME = 16  # images


def grad_cam(
    module: nn.Module, stage: str | HookPoint, images: torch.Tensor, target: int | torch.Tensor
) -> torch.Tensor:
    """Return where a stage's units speak for a class (Grad-CAM, Selvaraju et al. 2017, equations 1 and 2).

    Each unit's map is weighted by the mean of the logit's gradient over it; of the sum, what is above 0 counts.

    Args:
        module: (b, 3, h, w) -> (b, c) logits; it is run in eval mode and left as it was.
        stage: a submodule whose output is a map; usually the last before pooling.
        images: (b, 3, h, w), normalised as the network wants them.
        target: the class, one for all images or (b,).

    Returns:
        (b, 1, h, w), from 0 up, in units of the logit's first-order change; enlarged from the map, bilinear.

    Raises:
        ModelError: no such stage, or no map there.
        OptionError: no such class.
    """
    hook_point = as_hook_point(module, stage)
    leaves: list[torch.Tensor] = []

    def keep(_: int, activation: torch.Tensor) -> torch.Tensor:
        leaf = activation.detach().requires_grad_()
        leaves.append(leaf)
        return leaf.clone()  # what comes after may change it in place

    with evaluating(module), torch.enable_grad():
        with hooked(module, [hook_point], keep):
            logits = module(images)
        if not leaves:
            raise ModelError(f"the network never runs {hook_point.module}. Choose another stage.")
        chosen = logits.gather(1, _targets(target, logits)[:, None])
        # with 0 times the activation a stage that no logit depends on has a slope, of 0
        (gradient,) = torch.autograd.grad(chosen.sum() + 0 * leaves[0].sum(), leaves[0])
    maps, slopes = hook_point.as_map(leaves[0].detach()), hook_point.as_map(gradient)
    cam = (slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).clamp(min=0)
    return functional.interpolate(cam, size=images.shape[2:], mode="bilinear", align_corners=False)


def occlusion(
    module: nn.Module, images: torch.Tensor, target: int | torch.Tensor, *, window: int, stride: int | None = None
) -> torch.Tensor:
    """Return how much a class's logit falls when a square of the image is covered (Zeiler & Fergus 2013, section 4.2).

    No gradient takes part. The square has the mean colour, 0 of a normalised image. A pixel's value is the mean over
    the squares that cover it.

    Args:
        module: (b, 3, h, w) -> (b, c) logits; it is run in eval mode.
        images: (b, 3, h, w), normalised as the network wants them.
        target: the class, one for all images or (b,).
        window: side of the square in pixels.
        stride: by how many pixels it moves; default half its side.

    Returns:
        (b, 1, h, w): above 0 where the covered pixels spoke for the class.

    Raises:
        OptionError: no such class, or a square that does not fit.
    """
    height, width = images.shape[2:]
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= window <= min(height, width) or not 1 <= stride <= window:
        raise OptionError(
            f"window must be from 1 to {min(height, width)} pixels, and stride from 1 to window. Got {window} "
            f"and {stride}."
        )
    squares = [(row, column) for column in _starts(width, window, stride) for row in _starts(height, window, stride)]
    at_a_time = max(_COVERED_AT_A_TIME // len(images), 1)
    total, count = images.new_zeros(len(images), height, width), images.new_zeros(height, width)
    with evaluating(module), torch.no_grad():
        logits = module(images)
        targets = _targets(target, logits)[:, None]
        whole = logits.gather(1, targets)[:, 0]
        for first in range(0, len(squares), at_a_time):
            chosen = squares[first : first + at_a_time]
            masks = images.new_zeros(len(chosen), height, width)
            for mask, (row, column) in zip(masks, chosen, strict=True):
                mask[row : row + window, column : column + window] = 1
            covered = images * (1 - masks[:, None, None])  # (squares, b, 3, h, w)
            found = module(covered.flatten(0, 1)).gather(1, targets.repeat(len(chosen), 1))
            falls = whole - found.reshape(len(chosen), -1)
            total += (falls[:, :, None, None] * masks[:, None]).sum(dim=0)
            count += masks.sum(dim=0)
    return (total / count)[:, None]


def _starts(pixels: int, window: int, stride: int) -> list[int]:
    """Return where the windows begin along a side; the last may reach over the edge."""
    return [stride * k for k in range(math.ceil((pixels - window) / stride) + 1)]


def _targets(target: int | torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    count, classes = logits.shape
    targets = torch.as_tensor(target, device=logits.device)
    fits = targets.shape in ((), (count,)) and not targets.is_floating_point()
    if not fits or not ((targets >= 0) & (targets < classes)).all():
        raise OptionError(
            f"target must be a class from 0 to {classes - 1}, or one for each of the {count} images. Got {target!r}."
        )
    return targets.long().expand(count)
