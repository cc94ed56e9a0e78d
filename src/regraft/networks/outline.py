"""What is known of a network without building it: its stages, its tensors, and where its depths are read."""

from collections.abc import Mapping
from dataclasses import dataclass

from regraft.networks.hook_points import Depth


@dataclass(frozen=True)
class Stage:
    """One part of a network. A cut lies before each stage.

    Attributes:
        name: the module whose input is the activation at the cut before this stage, e.g. "layer3" or "blocks.5".
        tensors: the names of its parameters and buffers. Every tensor of a network is in exactly one stage.
        parameters: how many it has, scalars counted one by one.
        output: shape of its output for one image, e.g. (1024, 14, 14); (d,) for the last stage.
    """

    name: str
    tensors: tuple[str, ...]
    parameters: int
    output: tuple[int, ...]


@dataclass(frozen=True)
class TensorOutline:
    """A parameter or buffer, without its numbers.

    Attributes:
        kind: "parameter" or "buffer".
        size: how many scalars it holds.
        sha256: of a buffer that is not saved, whose numbers are nowhere else; "" of others.
    """

    kind: str
    size: int
    sha256: str = ""


@dataclass(frozen=True)
class Outline:
    """What is known of a network without building it.

    Attributes:
        stages: from pixels to features.
        tensors: of every parameter and buffer, by name.
        depths: where the features of all depths are read.
    """

    stages: tuple[Stage, ...]
    tensors: Mapping[str, TensorOutline]
    depths: tuple[Depth, ...]
