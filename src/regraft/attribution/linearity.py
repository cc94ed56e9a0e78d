"""The way of a signal from a unit back to the pixels, read from autograd's own graph, and checked to be linear."""

import re
from dataclasses import dataclass
from typing import Any

import torch

from regraft.errors import ModelError

RECTIFIED = "_RectifiedBackward"  # autograd's name for `rectify._Rectified`

# operations that are linear in what comes from the pixels, or choose among it (max-pooling); autograd's names
_LINEAR = set(
    re.findall(
        r"\w+",
        """AccumulateGrad Add AdaptiveAvgPool2D AdaptiveMaxPool2D Alias AsStrided AvgPool2D Cat Clone ConstantPadNd
        CopyBackwards Expand Flip Index MaxPool2DWithIndices Mean MkldnnMaxPool2D Neg
        Permute PixelShuffle PixelUnshuffle Rectified ReflectionPad2D Repeat ReplicationPad2D
        Reshape ReshapeAlias Roll Scaled Select Slice Split SplitWithSizes Squeeze Stack Sub Sum T ToCopy Transpose
        Unbind UnsafeSplit UnsafeView Unsqueeze UpsampleBicubic2D UpsampleBilinear2D UpsampleNearest2D View""",
    )
)
_IN_ONE_FACTOR = {"Addcmul", "Bmm", "Convolution", "CudnnConvolution", "Div", "MkldnnConvolution", "Mm", "Mul", "Mv"}
_SUMS_OF_PRODUCTS = {"Addmm", "Baddbmm"}  # a + b @ c: linear in a and one factor


@dataclass(frozen=True)
class Way:
    """What a signal passes on its way back.

    Attributes:
        rectifiers: how many.
        switches: how many max-poolings, which put the signal back where the maximum was.
    """

    rectifiers: int
    switches: int


def way_back(images: torch.Tensor, activation: torch.Tensor, *, where: str) -> Way:
    """Return what a signal passes on its way from `activation` back to `images`.

    Raises:
        ModelError: an operation on the way is neither linear nor a rectifier: what comes out at the pixels would be an
            ordinary gradient under another name.
    """
    order, depends = _graph(images, activation)
    strange: set[str] = set()
    rectifiers = switches = 0
    for node in order:
        if not depends[node]:
            continue
        rectifiers += node.name() == RECTIFIED
        switches += "MaxPool" in node.name()
        places = [place for place, (parent, _) in enumerate(node.next_functions) if parent and depends[parent]]
        name = _plain(node)
        if places and not _is_linear(name, places):
            strange.add(f"{name} of several activations" if name in _IN_ONE_FACTOR | _SUMS_OF_PRODUCTS else name)
    if strange:
        raise ModelError(
            f"no deconvnet picture can be drawn of {where}: there is no rule for what stands before it: "
            f"{', '.join(sorted(strange))} (as attention has, for example). There are rules for ReLU, ReLU6, "
            "LeakyReLU, SiLU, GELU, Hardswish, Mish, sigmoid gates, batch, layer and group norm, pooling, and all that "
            "is linear. Choose an earlier stage, or see where the network looks instead: Grad-CAM, occlusion."
        )
    return Way(rectifiers, switches)


def _is_linear(name: str, places: list[int]) -> bool:
    if name in _LINEAR:
        return True
    if name in _SUMS_OF_PRODUCTS:
        return not {1, 2} <= set(places)
    return name in _IN_ONE_FACTOR and (places == [0] if name == "Div" else len(places) == 1)


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
    """Return an operation's name as people say it: "Softmax" for SoftmaxBackward0."""
    name = str(node.name()).rpartition("::")[2].lstrip("_")
    return name if name == "CopyBackwards" else name.rstrip("0123456789").removesuffix("Backward")
