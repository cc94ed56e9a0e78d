"""Receptive fields: which pixels a unit can see at all, measured on the network itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from regraft.attribution.backward_rules import CAPPED, GATES, NORMS, RELU, SOFT
from regraft.attribution.feature_maps import StageMap
from regraft.networks.tracing import evaluating, run_to

_CONVOLUTIONS = {functional.conv1d, functional.conv2d, functional.linear}
_POOLINGS = {functional.max_pool2d, torch.max_pool2d}
_POINTWISE = {*RELU, *CAPPED, *SOFT, *NORMS, functional.elu}


@dataclass(frozen=True)
class _Axis:
    first_end: int  # of the field of place 0
    last_start: int  # of the field of the last place
    stride: int
    places: int
    pixels: int

    def range(self, place: int) -> tuple[int, int]:
        start = self.last_start - self.stride * (self.places - 1 - place)
        return max(start, 0), min(self.first_end + self.stride * place, self.pixels)


@dataclass(frozen=True)
class ReceptiveField:
    """Which part of an image the units of a stage see, by their place in its map.

    Attributes:
        rows: of the image, by the map's rows.
        columns: of the image, by the map's columns.
    """

    rows: _Axis
    columns: _Axis

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return left, upper, right, lower in pixels, as Pillow's crop takes them, cut to the image."""
        (upper, lower), (left, right) = self.rows.range(row), self.columns.range(column)
        return left, upper, right, lower


def receptive_field(module: nn.Module, place: StageMap, input_shape: tuple[int, int, int]) -> ReceptiveField:
    """Measure the receptive field of the units at `place`: filters as wide as they are, whatever their weights.

    A signal is sent back from the first two, two middle and the last two places; every filter passes it to all that it
    covers, and pooling to its whole window. Gates that look at the whole image (squeeze and excitation) are left out.
    Where the fields do not follow one rule, or reach everywhere (attention), they are the whole image.

    Args:
        module: (b, 3, h, w) -> any; it is left as it was.
        place: where the units are.
        input_shape: (3, h, w).
    """
    rows, columns = _places(place.height), _places(place.width)
    count = len(rows)
    parameter = next(module.parameters())
    images = torch.zeros(count, *input_shape, device=parameter.device, dtype=parameter.dtype, requires_grad=True)
    with evaluating(module), torch.enable_grad():
        with _ReachMode():
            found = place.hook_point.as_map(run_to(module, place.hook_point, images.clone()))
        chosen = torch.stack([found[k, :, rows[k], columns[k]].sum() for k in range(count)])
        (reached,) = torch.autograd.grad(chosen.sum(), images)
    lit = reached.ne(0).any(dim=1).cpu()  # (count, h, w)
    down, across = _axis(lit.any(dim=2), rows, place.height), _axis(lit.any(dim=1), columns, place.width)
    if down is None or across is None:
        return ReceptiveField(_whole(place.height, input_shape[1]), _whole(place.width, input_shape[2]))
    return ReceptiveField(down, across)


def _places(count: int) -> list[int]:
    """Return the first two, two in the middle, and the last two of `count` places."""
    return [0, min(1, count - 1), count // 2, min(count // 2 + 1, count - 1), max(count - 2, 0), count - 1]


def _whole(places: int, pixels: int) -> _Axis:
    return _Axis(first_end=pixels, last_start=0, stride=0, places=places, pixels=pixels)


def _axis(lit: torch.Tensor, where: list[int], places: int) -> _Axis | None:
    """Return the rule that (6, pixels) booleans, of the places `where`, follow; None where it does not hold for all.

    It does not for windows of attention, which jump.
    """
    pixels = lit.shape[1]
    if not lit.any(dim=1).all():
        return None
    starts = [int(row.nonzero().min()) for row in lit]
    ends = [int(row.nonzero().max()) + 1 for row in lit]
    if ends[1] < pixels:  # not cut off by the image's edge
        stride = ends[1] - ends[0]
    elif starts[-2] > 0:
        stride = starts[-1] - starts[-2]
    else:
        stride = pixels  # all but the first end where the image ends, all but the last begin where it begins
    axis = _Axis(ends[0], starts[-1], stride, places, pixels)
    measured = list(zip(starts, ends, strict=True))
    return axis if [axis.range(place) for place in where] == measured else None


class _ReachMode(TorchFunctionMode):
    """While it is entered, a signal that goes back reaches all inputs that a function depends on."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        given = args[0] if args else kwargs.pop("input", None)
        if not (isinstance(given, torch.Tensor) and given.requires_grad):
            return func(*args, **kwargs)
        if func in _POINTWISE:
            return _Mark.apply(given)
        if func in GATES:
            return func(given.detach(), *args[1:], **kwargs)
        if func in _POOLINGS:
            return _pooled(given, *args[1:], **kwargs)
        if func in _CONVOLUTIONS:
            weight = torch.ones_like(args[1] if len(args) > 1 else kwargs.pop("weight"), requires_grad=False)
            return func(given, weight.detach(), None, *args[3:], **{k: v for k, v in kwargs.items() if k != "bias"})
        return func(given, *args[1:], **kwargs)


class _Mark(torch.autograd.Function):
    """Gives ones, which a product passes on; sends back 1 where any signal comes: it neither fades nor overflows."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return torch.ones_like(given)

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> Any:  # noqa: ARG004
        return signals[0].ne(0).to(signals[0].dtype)


def _pooled(
    given: torch.Tensor, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, **more: Any
) -> Any:
    """Return the mean over the windows of a max-pooling (of dilation 1, as those of networks are)."""
    del dilation
    return functional.avg_pool2d(given, size, stride or size, padding, ceil_mode=bool(more.get("ceil_mode", False)))
