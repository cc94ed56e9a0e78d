"""Deconvnet pictures: what in a photo excites one unit of a network, projected back to the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from regraft.attribution.backward_rules import DECONVNET, GUIDED, BackwardRules
from regraft.attribution.linearity import backward_path
from regraft.errors import DataError, ModelError, OptionError
from regraft.networks.hook_points import HookPoint
from regraft.networks.tracing import as_hook_point, evaluating, run_to

TIE_BREAK = 1e-5  # of what decides between equal activations
_TOLERANCE = 1e-3  # relative, between a run under `BackwardRules` and a plain one


@dataclass(frozen=True, eq=False)
class Projection:
    """What excites a unit.

    Attributes:
        pixels: (b, 3, h, w), for an activation of 1 at `positions`.
        positions: (b, 2) row and column in the stage's map.
        activations: (b,) of the unit there.
        method: how the signal went back, in words, with what had to be generalised.
        switches: how many max-poolings it passed.
    """

    pixels: torch.Tensor
    positions: torch.Tensor
    activations: torch.Tensor
    method: str
    switches: int


def deconvnet(
    module: nn.Module,
    stage: str | HookPoint,
    images: torch.Tensor,
    unit: int | Sequence[int],
    *,
    position: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Project a unit's activation back to the pixels (Zeiler & Fergus 2013, section 2.1).

    Max-pooling puts the signal back where the maximum was, every rectifier rectifies it, every filter is transposed.
    ReLU, ReLU6 and clamp(min=0) are treated as in the paper; `attribution.backward_rules` has the rules for other
    functions. The picture shows which pattern excites the unit, not why the network answered as it did (Nie et al.
    2018).

    Args:
        module: a network; it is run in eval mode, and left in the modes it had, without any hook.
        stage: a submodule's name; its output is (b, c, h', w').
        images: (b, 3, h, w), normalised as the network wants them; not changed.
        unit: which of the c channels: one for all images, or one for each.
        position: row and column in the map; None takes the strongest place in each image.

    Returns:
        (b, 3, h, w), for a unit's activation of 1: negative values are dark where the pattern is.

    Raises:
        ModelError: no such stage, no map there, or a function on the way that there is no rule for.
        OptionError: no such unit or position.
        DataError: images of another shape.
    """
    return project(module, stage, images, unit, position=position).pixels


def guided_backprop(
    module: nn.Module,
    stage: str | HookPoint,
    images: torch.Tensor,
    unit: int | Sequence[int],
    *,
    position: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Project a unit's activation back by guided backpropagation (Springenberg et al. 2015).

    As `deconvnet`, but the signal passes a rectifier only where the photo's activation did, too.
    """
    return project(module, stage, images, unit, position=position, rule=GUIDED).pixels


def project(
    module: nn.Module,
    stage: str | HookPoint,
    images: torch.Tensor,
    unit: int | Sequence[int],
    *,
    position: tuple[int, int] | None = None,
    rule: str = DECONVNET,
) -> Projection:
    """Project as `deconvnet` or `guided_backprop` does, by `rule`; return also where and how."""
    hook_point = as_hook_point(module, stage)
    _check_images(images)
    with evaluating(module), torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        with BackwardRules(rule) as rules:
            activation = run_to(module, hook_point, leaf.clone())  # its first step may be in place
        where = f"{hook_point.module} ({hook_point.side})"
        with torch.no_grad():
            plain = run_to(module, hook_point, images[:1].clone())
        if not torch.allclose(
            plain, activation[:1].detach(), rtol=_TOLERANCE, atol=_TOLERANCE * float(plain.abs().max())
        ):
            raise ModelError(
                f"no deconvnet picture can be drawn of {where}: the network changes its activations in place in a way "
                "that cannot be followed. Choose an earlier stage."
            )
        path = backward_path(leaf, activation, where=where)
        if not path.rectifiers:
            raise ModelError(
                f"{where}: no rectifier stands before it, so there is nothing that a deconvnet would do. Its pattern "
                "is its filter; or choose a later stage."
            )
        found = hook_point.as_map(activation)
        units = _units(unit, len(images), found.shape[1])
        places = _positions(found, units, position)
        chosen = found[torch.arange(len(images)), units, places[:, 0], places[:, 1]]
        (pixels,) = torch.autograd.grad(chosen.sum(), leaf)
    return Projection(pixels, places, chosen.detach(), rules.description(), path.switches)


def strongest_places(maps: torch.Tensor) -> torch.Tensor:
    """Return (b,) where maps (b, h, w) are largest, counted row by row.

    Of places that are equal (all at the cap of ReLU6) the one with the most around it.
    """
    around = functional.avg_pool2d(maps[:, None].float(), 3, stride=1, padding=1)[:, 0]
    return (maps + TIE_BREAK * around).flatten(1).argmax(dim=1)


def _check_images(images: torch.Tensor) -> None:
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        got = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise DataError(f"images must be a tensor of shape (b, 3, h, w), b from 1. Got {got}.")


def _units(unit: int | Sequence[int], count: int, channels: int) -> torch.Tensor:
    units = torch.as_tensor(unit).expand(count) if isinstance(unit, int) else torch.as_tensor(list(unit))
    if units.shape != (count,) or not ((units >= 0) & (units < channels)).all():
        raise OptionError(
            f"unit must be a number from 0 to {channels - 1}, or one for each of the {count} images. Got {unit!r}."
        )
    return units


def _positions(found: torch.Tensor, units: torch.Tensor, position: tuple[int, int] | None) -> torch.Tensor:
    """Return (b, 2) rows and columns: `position`, or where each image's unit is strongest."""
    count, _, height, width = found.shape
    if position is None:
        best = strongest_places(found.detach()[torch.arange(count), units]).cpu()
        return torch.stack([best // width, best % width], dim=1)
    row, column = position
    if not (0 <= row < height and 0 <= column < width):
        raise OptionError(f"position must lie in the map of {height} x {width} places, from (0, 0). Got {position}.")
    return torch.tensor([position]).expand(count, 2)
