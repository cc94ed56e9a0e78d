"""Normalisations with their mean and deviation held, so that they are linear: batch, layer and group norm."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

NORMS: dict[Callable[..., Any], str] = {
    functional.batch_norm: "batch norm",
    functional.layer_norm: "layer norm",
    functional.group_norm: "group norm",
}
_NAMES: dict[Callable[..., Any], tuple[str, ...]] = {
    functional.batch_norm: ("input", "mean", "variance", "weight", "bias", "training", "momentum", "eps"),
    functional.layer_norm: ("input", "shape", "weight", "bias", "eps"),
    functional.group_norm: ("input", "groups", "weight", "bias", "eps"),
}
_RENAMED = {"running_mean": "mean", "running_var": "variance", "normalized_shape": "shape", "num_groups": "groups"}


def norm_held(
    func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor | None:
    """Return what `func`, one of `NORMS`, gives; a signal on its way back is scaled, and no more.

    Batch norm is held by itself in eval mode; in training mode there is nothing to hold, and None is returned.
    """
    renamed = {_RENAMED.get(name, name): value for name, value in kwargs.items()}
    told = (
        {"weight": None, "bias": None, "training": False, "eps": 1e-5}
        | dict(zip(_NAMES[func], args, strict=False))
        | renamed
    )
    if func is functional.batch_norm and (told["training"] or told.get("mean") is None):
        return None
    with torch.no_grad():
        detached = given.detach()
        arguments = {"input": detached} if "input" in kwargs else {}
        output = func(*((detached, *args[1:]) if args else ()), **{**kwargs, **arguments})
        scale = _SCALES[func](detached, told)
    scaled: torch.Tensor = _Scaled.apply(given, [output], scale)
    return scaled


def _batch_scale(given: torch.Tensor, told: dict[str, Any]) -> torch.Tensor:
    return _with_weight(_by_channel((told["variance"] + told["eps"]).rsqrt(), given), told, given)


def _layer_scale(given: torch.Tensor, told: dict[str, Any]) -> torch.Tensor:
    axes = tuple(range(-len(told["shape"]), 0))
    variance = torch.var(given, dim=axes, correction=0, keepdim=True)
    scale = (variance + told["eps"]).rsqrt()
    weighted: torch.Tensor = scale if told["weight"] is None else scale * told["weight"]
    return weighted


def _group_scale(given: torch.Tensor, told: dict[str, Any]) -> torch.Tensor:
    grouped = given.reshape(len(given), told["groups"], -1)
    variance = torch.var(grouped, dim=2, correction=0).repeat_interleave(given.shape[1] // told["groups"], dim=1)
    scale = (variance + told["eps"]).rsqrt().reshape(*given.shape[:2], *[1] * (given.ndim - 2))
    return _with_weight(scale, told, given)


def _with_weight(scale: torch.Tensor, told: dict[str, Any], given: torch.Tensor) -> torch.Tensor:
    return scale if told["weight"] is None else scale * _by_channel(told["weight"], given)


def _by_channel(values: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    return values.reshape(1, -1, *[1] * (given.ndim - 2))


_SCALES: dict[Callable[..., Any], Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]] = {
    functional.batch_norm: _batch_scale,
    functional.layer_norm: _layer_scale,
    functional.group_norm: _group_scale,
}


class _Scaled(torch.autograd.Function):
    """Gives `output`; sends the signal back times `scale`, for which autograd's own batch norm takes far longer."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, output: list[torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
        del given
        ctx.scale = scale
        return output[0]  # in a list, or autograd takes it for an input that is handed on

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> Any:
        return signals[0] * ctx.scale, None, None
