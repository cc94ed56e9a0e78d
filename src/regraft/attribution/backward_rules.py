"""How a signal goes back through a network: by the rules of a deconvnet, or of guided backpropagation.

On the way back, convolutions transpose, max-pooling puts a value where the maximum was, and batch norm in eval mode
scales: all of that is what a gradient does. Only non-linear functions are treated otherwise:

    ReLU, ReLU6                 deconvnet: max(signal, 0) (Zeiler & Fergus 2013, section 2.1);
                                guided: max(signal, 0) where the function's input was above 0 (Springenberg et al.
                                2015); at the cap of ReLU6 too, since a unit there is excited all the same
    SiLU, GELU, Hardswish ...   the same, generalised: such a function f(x) = x g(x) has a soft gate g(x) = f(x) / x in
                                place of the ReLU's of 0 and 1; guided: max(signal, 0) g(x)
    gates                       sigmoids, and lengths of vectors, that activations are multiplied by: held at what they
                                are for this photo (squeeze and excitation, response normalisation)
    layer and group norm        mean and deviation held at what they are for this photo, as those of batch norm are

What is none of these, and not linear, is refused: `linearity` looks at the signal's path, operation by operation.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

DECONVNET, GUIDED = "deconvnet", "guided backpropagation"
_SMALL = 1e-4  # below it f(x) / x is taken as its limit
_GATE = "gate"

RELU = {functional.relu, functional.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
CAPPED = {functional.relu6, functional.hardtanh, functional.hardtanh_}
_CLAMP = {torch.clamp, torch.clamp_, torch.Tensor.clamp, torch.Tensor.clamp_}
# name, and the limit of f(x) / x at 0
SOFT: dict[Callable[..., Any], tuple[str, float]] = {
    functional.silu: ("SiLU", 0.5),
    functional.gelu: ("GELU", 0.5),
    functional.hardswish: ("Hardswish", 0.5),
    functional.mish: ("Mish", 0.6),
    functional.leaky_relu: ("LeakyReLU", 1.0),
}
_SIGMOIDS = {torch.sigmoid, torch.sigmoid_, torch.Tensor.sigmoid, torch.Tensor.sigmoid_, functional.sigmoid}
_LENGTHS = {torch.Tensor.norm, torch.norm, torch.linalg.vector_norm}
GATES = {*_SIGMOIDS, functional.hardsigmoid, *_LENGTHS}
_SUMS_IN_PLACE = {torch.Tensor.__iadd__, torch.Tensor.add_}
NORMS: dict[Callable[..., Any], str] = {
    functional.batch_norm: "batch norm",
    functional.layer_norm: "layer norm",
    functional.group_norm: "group norm",
}
_NORM_ARGUMENTS: dict[Callable[..., Any], tuple[str, ...]] = {
    functional.batch_norm: ("input", "mean", "variance", "weight", "bias", "training", "momentum", "eps"),
    functional.layer_norm: ("input", "shape", "weight", "bias", "eps"),
    functional.group_norm: ("input", "groups", "weight", "bias", "eps"),
}
_RENAMED = {"running_mean": "mean", "running_var": "variance", "normalized_shape": "shape", "num_groups": "groups"}
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


class BackwardRules(TorchFunctionMode):
    """While it is entered, non-linear functions have the backward pass of a deconvnet, or of guided backpropagation.

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
        """Call `func`, or what replaces it."""
        kwargs = dict(kwargs or {})
        given = args[0] if args else kwargs.get("input")
        if not (isinstance(given, torch.Tensor) and given.requires_grad):
            return func(*args, **kwargs)
        if func in _SUMS_IN_PLACE and given._is_view():
            return torch.add(*args, **kwargs)  # autograd would hide the sum behind the view
        result = self._replaced(func, given, args, kwargs)
        if result is None:
            return func(*args, **kwargs)
        if _is_in_place(func, args, kwargs) and not given._is_view():
            return given.copy_(result)  # every reference to it sees the change, as without this mode
        return result

    def _replaced(
        self, func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        """Return the result of a call of `func` with another backward pass; None where `func` keeps its own."""
        result = None
        if func in NORMS:
            result = _fixed_norm(func, given, args, kwargs)
            self.found[NORMS[func]] += result is not None
        elif func in GATES and (func in _LENGTHS or _is_gate(given)):
            self.found[_GATE] += 1
            result = _gate(func, given.detach(), args, kwargs)
        elif (known := _rectifier(func, given.detach(), args, kwargs)) is not None:
            name, output, limit = known
            result = self._rectified(name, given, output, limit)
        return result

    def _rectified(self, name: str, given: torch.Tensor, output: torch.Tensor, limit: float) -> torch.Tensor:
        self.found[name] += 1
        gate = shut = None
        if self.rule == GUIDED:
            detached = given.detach()
            if name.startswith("ReLU"):
                shut = detached <= 0  # not at ReLU6's cap: a unit there is excited all the same
            else:
                gate = torch.where(detached.abs() < _SMALL, limit, output / detached)
        rectified: torch.Tensor = _Rectifier.apply(given, [output], gate, shut)
        return rectified

    def description(self) -> str:
        """Return the method in words, with what had to be generalised."""
        soft = [name for name, _ in SOFT.values() if self.found[name]]
        parts = []
        if soft:
            parts.append(f"{' and '.join(soft)} taken as a rectifier with a soft gate")
        if self.found[_GATE]:
            parts.append("multiplying gates held at what they are for the photo")
        norms = [name for func, name in NORMS.items() if self.found[name] and func is not functional.batch_norm]
        if norms:
            parts.append(f"mean and deviation of {' and '.join(norms)} held at what they are for the photo")
        return self.rule if not parts else f"{self.rule}, generalised: {'; '.join(parts)}"


class _Rectifier(torch.autograd.Function):
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


def _rectifier(
    func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, torch.Tensor, float] | None:
    """Return the name, output, and limit of f(x) / x at 0, of a function that is known; None of any other."""
    if func in RELU or (func in _CLAMP and _is_relu(args, kwargs)):
        return "ReLU", given.clamp(min=0), 0.0
    if func in CAPPED:
        top = _ceiling(func, args, kwargs)
        return None if top is None else ("ReLU6" if top == 6 else f"ReLU{top:g}", given.clamp(0, top), 0.0)
    if func in SOFT:
        name, limit = SOFT[func]
        settings = {key: value for key, value in kwargs.items() if key not in ("input", "inplace")}
        slope = args[1:2] if func is functional.leaky_relu else ()
        return name, func(given, *slope, **settings), limit
    return None


def _is_gate(given: torch.Tensor) -> bool:
    """Tell whether there is one value for each unit, or for each place: else it may be a Swish written by hand."""
    units, *places = given.shape[1:]
    return units == 1 or all(size == 1 for size in places)


def _gate(func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    if func in _LENGTHS:
        length: torch.Tensor = func(given, *args[1:], **{key: v for key, v in kwargs.items() if key != "input"})
        return length
    return torch.sigmoid(given) if func in _SIGMOIDS else functional.hardsigmoid(given)


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


def _fixed_norm(
    func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor | None:
    """Return the output of `func`, one of `NORMS`, whose backward pass scales the signal, and no more.

    Mean and deviation of batch norm are fixed in eval mode; in training mode None is returned.
    """
    renamed = {_RENAMED.get(name, name): value for name, value in kwargs.items()}
    settings = (
        {"weight": None, "bias": None, "training": False, "eps": 1e-5}
        | dict(zip(_NORM_ARGUMENTS[func], args, strict=False))
        | renamed
    )
    if func is functional.batch_norm and (settings["training"] or settings.get("mean") is None):
        return None
    with torch.no_grad():
        detached = given.detach()
        arguments = {"input": detached} if "input" in kwargs else {}
        output = func(*((detached, *args[1:]) if args else ()), **{**kwargs, **arguments})
        scale = _SCALES[func](detached, settings)
    scaled: torch.Tensor = _Scale.apply(given, [output], scale)
    return scaled


def _batch_scale(given: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    return _with_weight(_by_channel((settings["variance"] + settings["eps"]).rsqrt(), given), settings, given)


def _layer_scale(given: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    axes = tuple(range(-len(settings["shape"]), 0))
    variance = torch.var(given, dim=axes, correction=0, keepdim=True)
    scale = (variance + settings["eps"]).rsqrt()
    weighted: torch.Tensor = scale if settings["weight"] is None else scale * settings["weight"]
    return weighted


def _group_scale(given: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    grouped = given.reshape(len(given), settings["groups"], -1)
    variance = torch.var(grouped, dim=2, correction=0).repeat_interleave(given.shape[1] // settings["groups"], dim=1)
    scale = (variance + settings["eps"]).rsqrt().reshape(*given.shape[:2], *[1] * (given.ndim - 2))
    return _with_weight(scale, settings, given)


def _with_weight(scale: torch.Tensor, settings: dict[str, Any], given: torch.Tensor) -> torch.Tensor:
    return scale if settings["weight"] is None else scale * _by_channel(settings["weight"], given)


def _by_channel(values: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    return values.reshape(1, -1, *[1] * (given.ndim - 2))


_SCALES: dict[Callable[..., Any], Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]] = {
    functional.batch_norm: _batch_scale,
    functional.layer_norm: _layer_scale,
    functional.group_norm: _group_scale,
}


class _Scale(torch.autograd.Function):
    """Gives `output`; sends the signal back times `scale`, for which autograd's own batch norm takes far longer."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, output: list[torch.Tensor], scale: torch.Tensor) -> torch.Tensor:
        del given
        ctx.scale = scale
        return output[0]  # in a list, or autograd takes it for an input that is handed on

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> Any:
        return signals[0] * ctx.scale, None, None
