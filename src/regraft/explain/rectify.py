"""What happens to a signal that goes back through a network: rectified, as a deconvnet does, or guided.

On the way back, convolutions transpose, max-pooling puts a value where the maximum was, and batch norm in eval mode
scales: all of that is what a gradient does. Only non-linear functions are treated otherwise:

    ReLU, ReLU6                 deconvnet: max(signal, 0) (Zeiler & Fergus 2013, section 2.1);
                                guided: max(signal, 0) where the function's input was above 0 (Springenberg et al.
                                2015); at the cap of ReLU6 too, since a unit there is excited all the same
    SiLU, GELU, Hardswish ...   the same, generalised: such a function f(x) = x g(x) has a soft gate g(x) = f(x) / x in
                                place of the ReLU's of 0 and 1; guided: max(signal, 0) g(x)
    gates                       sigmoids, and lengths of vectors, that activations are multiplied by: held at what they
                                are for this photo (squeeze and excitation, response normalisation)
    layer and group norm        mean and deviation held at what they are for this photo, as batch norm's are

What is none of these, and not linear, is refused: `wayback` looks at the signal's way, operation by operation.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

DECONVNET, GUIDED = "deconvnet", "guided backpropagation"
_SMALL = 1e-4  # below it f(x) / x is taken as its limit

_RELU = {functional.relu, functional.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
_RELU6 = {functional.relu6, functional.hardtanh, functional.hardtanh_}
_CLAMP = {torch.clamp, torch.clamp_, torch.Tensor.clamp, torch.Tensor.clamp_}
# name, and the limit of f(x) / x at 0
_SOFT: dict[Callable[..., Any], tuple[str, float]] = {
    functional.silu: ("SiLU", 0.5),
    functional.gelu: ("GELU", 0.5),
    functional.hardswish: ("Hardswish", 0.5),
    functional.mish: ("Mish", 0.6),
    functional.leaky_relu: ("LeakyReLU", 1.0),
}
_GATES = {
    torch.sigmoid,
    torch.sigmoid_,
    torch.Tensor.sigmoid,
    torch.Tensor.sigmoid_,
    functional.sigmoid,
    functional.hardsigmoid,
}
_NORMS = {functional.layer_norm: "layer norm", functional.group_norm: "group norm"}
_MAGNITUDES = {torch.Tensor.norm, torch.norm, torch.linalg.vector_norm}
# where a function has its argument `inplace`
_INPLACE_ARGUMENT: dict[Callable[..., Any], int] = {
    functional.relu: 1,
    functional.relu6: 1,
    functional.silu: 1,
    functional.hardswish: 1,
    functional.hardsigmoid: 1,
    functional.mish: 1,
    functional.leaky_relu: 2,
    functional.hardtanh: 3,
}


class Rectifying(TorchFunctionMode):
    """While it is entered, every non-linear function's way back is that of a deconvnet, or guided.

    It changes no module and registers no hook: functions are replaced as they are called, in-place ones and those that
    no module stands for included.

    Args:
        rule: `DECONVNET` or `GUIDED`.

    Attributes:
        found: how often each kind of function was met.
    """

    def __init__(self, rule: str = DECONVNET) -> None:
        super().__init__()
        self.rule = rule
        self.found: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, or what stands for it on the way back."""
        kwargs = dict(kwargs or {})
        given = args[0] if args else kwargs.get("input")
        if not (isinstance(given, torch.Tensor) and given.requires_grad):
            return func(*args, **kwargs)
        result = self._replaced(func, given, args, kwargs)
        if result is None:
            return func(*args, **kwargs)
        if _is_in_place(func, args, kwargs) and not given._is_view():
            return given.copy_(result)  # whoever holds it sees it changed, as without this mode
        return result

    def _replaced(
        self, func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        if func in _RELU or (func in _CLAMP and _is_relu(args, kwargs)):
            return self._rectified("ReLU", given, functional.relu(given.detach()))
        if func in _RELU6 and (top := _ceiling(func, args, kwargs)) is not None:
            return self._rectified("ReLU6" if top == 6 else f"ReLU{top:g}", given, given.detach().clamp(0, top))
        if func in _SOFT:
            name, limit = _SOFT[func]
            settings = {key: value for key, value in kwargs.items() if key not in ("input", "inplace")}
            slope = args[1:2] if func is functional.leaky_relu else ()
            return self._rectified(name, given, func(given.detach(), *slope, **settings), limit)
        if func in _GATES:
            self.found["gate"] += 1
            gate = functional.hardsigmoid if func is functional.hardsigmoid else torch.sigmoid
            return gate(given.detach())
        if func in _MAGNITUDES:
            self.found["gate"] += 1
            held: torch.Tensor = func(given.detach(), *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})
            return held
        if func is functional.batch_norm:
            return _batch_norm_held(given, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"})
        if func in _NORMS:
            self.found[_NORMS[func]] += 1
            return _norm_held(func, given, args, kwargs)
        return None

    def _rectified(self, name: str, given: torch.Tensor, output: torch.Tensor, limit: float = 0.0) -> torch.Tensor:
        self.found[name] += 1
        gate = shut = None
        if self.rule == GUIDED:
            detached = given.detach()
            if name.startswith("ReLU"):
                shut = detached <= 0  # not at ReLU6's cap: a unit there is excited all the same
            else:
                gate = torch.where(detached.abs() < _SMALL, limit, output / detached)
        rectified: torch.Tensor = _Rectified.apply(given, [output], gate, shut)
        return rectified

    def said(self) -> str:
        """Return the method in words, with what had to be generalised."""
        soft = [name for name, _ in _SOFT.values() if self.found[name]]
        parts = []
        if soft:
            parts.append(f"{' and '.join(soft)} taken as a rectifier with a soft gate")
        if self.found["gate"]:
            parts.append("multiplying gates held at what they are for the photo")
        norms = [name for name in _NORMS.values() if self.found[name]]
        if norms:
            parts.append(f"mean and deviation of {' and '.join(norms)} held at what they are for the photo")
        return self.rule if not parts else f"{self.rule}, generalised: {'; '.join(parts)}"


class _Rectified(torch.autograd.Function):
    """Gives `output`; sends back max(signal, 0), times the soft `gate`, and nothing where it is `shut`."""

    @staticmethod
    def forward(
        ctx: Any, given: torch.Tensor, output: list[torch.Tensor], gate: torch.Tensor | None, shut: torch.Tensor | None
    ) -> torch.Tensor:
        del given
        ctx.gate, ctx.shut = gate, shut
        return output[0]  # in a list, or autograd takes it for an input that is handed on

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> Any:
        signal = signals[0].clamp(min=0)
        if ctx.gate is not None:
            signal = signal * ctx.gate
        return (signal if ctx.shut is None else signal.masked_fill_(ctx.shut, 0)), None, None, None


class _Scaled(torch.autograd.Function):
    """Gives `output`; sends the signal back times `scale`."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, output: list[torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
        del given
        ctx.scale = scale
        return output[0]

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> Any:
        return signals[0] * ctx.scale, None, None


def _batch_norm_held(
    given: torch.Tensor,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor | None:
    """Return batch norm with its running statistics; its way back is a scale, for which autograd takes far longer."""
    if training or mean is None or variance is None:
        return None
    del momentum
    with torch.no_grad():
        output = functional.batch_norm(given.detach(), mean, variance, weight, bias, training=False, eps=eps)
        scale = (variance + eps).rsqrt()
        scale = (scale if weight is None else scale * weight).reshape(1, -1, *[1] * (given.ndim - 2))
    scaled: torch.Tensor = _Scaled.apply(given, [output], scale)
    return scaled


def _is_relu(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    return isinstance(low, (int, float)) and low == 0 and high is None


def _ceiling(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Return the value at which the function is cut off, None unless it begins at 0."""
    if func is functional.relu6:
        return 6.0
    low = kwargs.get("min_val", args[1] if len(args) > 1 else -1.0)
    high = kwargs.get("max_val", args[2] if len(args) > 2 else 1.0)
    return float(high) if low == 0 else None


def _is_in_place(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    place = _INPLACE_ARGUMENT.get(func)
    if place is None:
        return str(getattr(func, "__name__", "")).endswith("_")
    return bool(kwargs.get("inplace", args[place] if len(args) > place else False))


def _norm_held(
    func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """Return the norm of `given`, linear in it: with mean and deviation as constants."""
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    if func is functional.group_norm:
        names = ("input", "num_groups", "weight", "bias", "eps")
    told = {"weight": None, "bias": None, "eps": 1e-5} | dict(zip(names, args, strict=False)) | kwargs
    detached = given.detach()
    if func is functional.group_norm:
        grouped = detached.unflatten(1, (told["num_groups"], -1)).flatten(2)
        variance, mean = torch.var_mean(grouped, dim=2, correction=0)
        shape = (len(given), given.shape[1], *[1] * (given.ndim - 2))
        repeats = given.shape[1] // told["num_groups"]
        mean, variance = (t.repeat_interleave(repeats, dim=1).reshape(shape) for t in (mean, variance))
        affine = (1, -1, *[1] * (given.ndim - 2))
    else:
        axes = tuple(range(-len(told["normalized_shape"]), 0))
        variance, mean = torch.var_mean(detached, dim=axes, correction=0, keepdim=True)
        affine = tuple(told["normalized_shape"])
    held = (given - mean) * (variance + told["eps"]).rsqrt()
    if told["weight"] is not None:
        held = held * told["weight"].detach().reshape(affine)
    return held if told["bias"] is None else held + told["bias"].detach().reshape(affine)
