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

from regraft.attribution.held import NORMS, norm_held

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
        if func in _SUMS_IN_PLACE and given._is_view():
            return torch.add(*args, **kwargs)  # autograd would hide the sum behind the view
        result = self._replaced(func, given, args, kwargs)
        if result is None:
            return func(*args, **kwargs)
        if _is_in_place(func, args, kwargs) and not given._is_view():
            return given.copy_(result)  # whoever holds it sees it changed, as without this mode
        return result

    def _replaced(
        self, func: Callable[..., Any], given: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        """Return what stands for a call of `func`; None where it is called as it is."""
        result = None
        if func in NORMS:
            result = norm_held(func, given, args, kwargs)
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
        rectified: torch.Tensor = _Rectified.apply(given, [output], gate, shut)
        return rectified

    def said(self) -> str:
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
    """Tell whether one number goes to each unit, or to each place: else it may be a Swish written by hand."""
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
