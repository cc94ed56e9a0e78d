"""Which places in a network the features are read at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import Depth
from regraft.runtime import is_installed

if TYPE_CHECKING:
    import torch

    from regraft.attribution.feature_maps import StageMap

_LARGEST, _LARGE = 1 / 4, 1 / 8  # sides of maps, of the image's
_MOST_UNITS = 4096  # of all depths together: heads on more are slow, and gain nothing that was seen
_EQUAL = 1e-3  # relative


def find_depths(backbone: Backbone) -> tuple[Depth, ...]:
    """Return the places whose maps are to be parts of the features, from pixels on; none where it has no maps.

    They are the outputs of the network's blocks. Reading a large map would slow the whole pass down: of those with more
    than an eighth of the image's sides the last of each size is taken, and none with more than a quarter. Where all
    have more than `_MOST_UNITS` numbers, every second, third ... of each size is taken, the last one first. Runs the
    network on a few images of noise, which takes PyTorch: without it a converted network has the depths that it has.
    """
    if backbone.outline is not None:
        return backbone.outline.depths
    if backbone.graph is not None and not is_installed("torch"):  # it gives those that it was converted with
        return backbone.depths
    from regraft.attribution.feature_maps import find_stage_maps  # here: PyTorch takes a second to import

    module, preprocess = backbone.module, backbone.preprocess
    maps = find_stage_maps(module, backbone.blocks(), (3, preprocess.height, preprocess.width))
    maps = [one for one in maps if one.height <= _LARGEST * preprocess.height]
    maps = _differing(backbone, maps)
    sizes = dict.fromkeys(one.height for one in maps)
    step, found = 1, maps
    while True:
        found = [one for size in sizes for one in _every(step, maps, size, large=size > _LARGE * preprocess.height)]
        if sum(one.units for one in found) <= _MOST_UNITS or len(found) == len(sizes):
            return tuple(Depth(one.stage, one.hook_point, one.units) for one in found)
        step += 1


def _every(step: int, maps: "Sequence[StageMap]", size: int, *, large: bool) -> "list[StageMap]":
    """Return every `step`th of the maps of one size, the last one always; of large ones that alone."""
    own = [one for one in maps if one.height == size]
    return own[-1:] if large else own[::-step][::-1]


def _differing(backbone: Backbone, maps: "Sequence[StageMap]") -> "list[StageMap]":
    """Return the maps whose means are not the network's own features: those of its last map often are."""
    import torch

    from regraft.networks.depths import DepthFeatures

    preprocess, device = backbone.preprocess, next(backbone.module.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, preprocess.height, preprocess.width, generator=generator).to(device)
    depths = [Depth(one.stage, one.hook_point, one.units) for one in maps]
    with torch.no_grad():
        features = DepthFeatures(backbone.module, depths)(images)
    *means, own = torch.split(features, [*(depth.units for depth in depths), backbone.features], dim=1)
    return [one for one, mean in zip(maps, means, strict=True) if not _equal(mean, own)]


def _equal(a: "torch.Tensor", b: "torch.Tensor") -> bool:
    import torch

    return a.shape == b.shape and torch.allclose(a, b, rtol=_EQUAL, atol=_EQUAL * float(b.abs().max()))
