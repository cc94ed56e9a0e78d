"""Features of several depths: what a network's blocks say of a photo, beside its last layer, in one pass.

Early layers are general and late ones specific to what the network has learned (Yosinski et al. 2014); a last layer
that sees all of them chooses (Evci et al. 2022).
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from regraft.errors import ModelError
from regraft.networks.hook_points import Depth
from regraft.networks.tracing import hooked

_running = threading.RLock()  # hooks of one thread's pass must not hear another's


class DepthFeatures(nn.Module):
    """A network with the means of some of its maps before its own features: (b, 3, h, w) -> (b, units of all + d).

    Shares its tensors with the network.
    """

    def __init__(self, network: nn.Module, depths: Sequence[Depth]) -> None:
        super().__init__()
        self.network = network
        self.depths = list(depths)
        self.training = network.training  # the network stays as it is

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (b, units of all + d) of images (b, 3, h, w)."""
        with means_of_maps(self.network, self.depths) as means:
            features: torch.Tensor = self.network(images)
        return torch.cat([*means, features], dim=1)


@contextmanager
def means_of_maps(network: nn.Module, depths: Sequence[Depth]) -> Iterator[list[torch.Tensor]]:
    """Collect the means (b, units) of maps, in the order of `depths`, while the network runs once in the context.

    Only one thread at a time may be in it: the hooks of one would hear what another runs.
    """
    found: list[torch.Tensor] = []
    heard: dict[int, torch.Tensor] = {}

    def receive(number: int, activation: torch.Tensor) -> None:
        heard[number] = _mean(depths[number], activation)

    alone = contextlib.nullcontext() if torch.compiler.is_compiling() else _running  # an export has one thread
    with alone, hooked(network, [depth.hook_point for depth in depths], receive):
        yield found
        missing = [depth.hook_point.module for number, depth in enumerate(depths) if number not in heard]
        if missing:
            raise ModelError(f"the network never runs {', '.join(missing)}. The file belongs to another; fit it again.")
        found += [heard[number] for number in range(len(depths))]


def _mean(depth: Depth, activation: torch.Tensor) -> torch.Tensor:
    """Return the mean (b, units) over all places of a map.

    Raises:
        ModelError: there is no such map.
    """
    tokens, ndim = depth.hook_point.layout == "b n c", activation.ndim
    if ndim == (3 if tokens else 4):
        places = {"b n c": (1,), "b h w c": (1, 2)}.get(depth.hook_point.layout, (2, 3))
        found = (activation[:, depth.hook_point.skipped :] if tokens else activation).mean(dim=places)
        if found.shape[1] == depth.units:
            return found
    raise ModelError(
        f"{depth.hook_point.module} gives no map of {depth.units} units: the shape of its {depth.hook_point.side} is "
        f"{tuple(activation.shape)}. The file belongs to another network; fit it again."
    )
