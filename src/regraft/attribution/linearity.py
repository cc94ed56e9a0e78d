"""The path of a signal from a unit back to the pixels, read from autograd's own graph, and checked to be linear."""

from dataclasses import dataclass
from typing import Any

import torch

from regraft.errors import ModelError

_RECTIFIER = "_RectifierBackward"  # autograd's name for `backward_rules._Rectifier`

# operations that are linear in what comes from the pixels, or choose among it (max-pooling); autograd's names
_LINEAR = {
    "AccumulateGrad",
    "AdaptiveAvgPool2D",
    "AdaptiveMaxPool2D",
    "Add",
    "Alias",
    "AsStrided",
    "AvgPool2D",
    "Cat",
    "Clone",
    "ConstantPadNd",
    "CopyBackwards",
    "Expand",
    "Flip",
    "Index",
    "MaxPool2DWithIndices",
    "Mean",
    "MkldnnMaxPool2D",
    "Neg",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "Rectifier",
    "ReflectionPad2D",
    "Repeat",
    "ReplicationPad2D",
    "Reshape",
    "ReshapeAlias",
    "Roll",
    "Scale",
    "Select",
    "Slice",
    "Split",
    "SplitWithSizes",
    "Squeeze",
    "Stack",
    "Sub",
    "Sum",
    "T",
    "ToCopy",
    "Transpose",
    "Unbind",
    "UnsafeSplit",
    "UnsafeView",
    "Unsqueeze",
    "UpsampleBicubic2D",
    "UpsampleBilinear2D",
    "UpsampleNearest2D",
    "View",
}
_IN_ONE_FACTOR = {"Addcmul", "Bmm", "Convolution", "CudnnConvolution", "Div", "MkldnnConvolution", "Mm", "Mul", "Mv"}
_SUMS_OF_PRODUCTS = {"Addmm", "Baddbmm"}  # a + b @ c: linear in a and one factor


@dataclass(frozen=True)
class BackwardPath:
    """What a signal passes from a unit back to the pixels.

    Attributes:
        rectifiers: how many.
        switches: how many max-poolings, which put the signal back where the maximum was.
    """

    rectifiers: int
    switches: int


def backward_path(images: torch.Tensor, activation: torch.Tensor, *, where: str) -> BackwardPath:
    """Return what a signal passes from `activation` back to `images`.

    Raises:
        ModelError: an operation on the path is neither linear nor a rectifier: what comes out at the pixels would be an
            ordinary gradient under another name.
    """
    order, depends = _graph(images, activation)
    refused: set[str] = set()
    rectifiers = switches = 0
    for node in order:
        if not depends[node]:
            continue
        rectifiers += node.name() == _RECTIFIER
        switches += "MaxPool" in node.name()
        inputs = [index for index, (parent, _) in enumerate(node.next_functions) if parent and depends[parent]]
        name = _plain(node)
        if inputs and not _is_linear(name, inputs):
            refused.add(f"{name} of several activations" if name in _IN_ONE_FACTOR | _SUMS_OF_PRODUCTS else name)
    if refused:
        raise ModelError(
            f"no deconvnet picture can be drawn of {where}: there is no rule for what stands before it: "
            f"{', '.join(sorted(refused))} (as attention has, for example). There are rules for ReLU, ReLU6, "
            "LeakyReLU, SiLU, GELU, Hardswish, Mish, sigmoid gates, batch, layer and group norm, pooling, and all that "
            "is linear. Choose an earlier stage, or see where the network looks instead: Grad-CAM, occlusion."
        )
    return BackwardPath(rectifiers, switches)


def _is_linear(name: str, inputs: list[int]) -> bool:
    """Tell whether an operation is linear in those of its inputs that depend on the pixels, by their positions."""
    if name in _LINEAR:
        return True
    if name in _SUMS_OF_PRODUCTS:
        return not {1, 2} <= set(inputs)
    return name in _IN_ONE_FACTOR and (inputs == [0] if name == "Div" else len(inputs) == 1)


def _graph(images: torch.Tensor, activation: torch.Tensor) -> tuple[list[Any], dict[Any, bool]]:
    """Return autograd's nodes behind `activation`, inputs first, and which of them depend on `images`."""
    order: list[Any] = []
    depends: dict[Any, bool] = {}
    pending: list[tuple[Any, bool]] = [(activation.grad_fn, False)] if activation.grad_fn is not None else []
    while pending:
        node, expanded = pending.pop()
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if expanded:
            depends[node] = getattr(node, "variable", None) is images or any(depends[parent] for parent in parents)
            order.append(node)
        elif node not in depends:
            depends[node] = False
            pending.append((node, True))
            pending += [(parent, False) for parent in parents if parent not in depends]
    return order, depends


def _plain(node: Any) -> str:
    """Return an operation's short name: "Softmax" for SoftmaxBackward0."""
    name = str(node.name()).rpartition("::")[2].lstrip("_")
    return name if name == "CopyBackwards" else name.rstrip("0123456789").removesuffix("Backward")
