"""A classifier as one module from decoded photos of any size to probabilities: what every format is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from regraft.classifier.classifier import Classifier
from regraft.classifier.module import NetworkWithHead
from regraft.exports.resizing import Crops, Geometry
from regraft.features.depth_choices import columns_from
from regraft.heads.linear import LinearHead, linear_of
from regraft.images.decoding import DETAIL, enlarge
from regraft.images.preprocess import Preprocess
from regraft.images.tta import PARTS, TTA, Place
from regraft.networks.backbone import Backbone

INPUT, OUTPUT = "pixels", "probabilities"
LAYOUT = "uint8, (b, h, w, 3): RGB, upright; b photos of one size, any h and w"
SINGLE_LAYOUT = "uint8, (1, h, w, 3): RGB, upright; one photo, any h and w"


@dataclass(frozen=True)
class _View:
    geometry: Geometry
    place: Place
    mirrored: bool


def views_of(preprocess: Preprocess, tta: str) -> tuple[_View, ...]:
    """Return the views whose mean is the answer, in the order of `tta.TTA`."""
    return tuple(
        _View(Geometry.of(enlarge(preprocess, part.share)), place, part.mirrored)
        for part in map(PARTS.__getitem__, TTA[tta].parts)
        for place in part.places
    )


def least_decoded(classifier: Classifier) -> tuple[int, int]:
    """Return the (height, width) that a JPEG must keep where it is decoded at a half, a quarter or an eighth.

    `images.decoding` does so, as no network then sees less; with other sizes its pixels would be others.
    """
    scaled = [view.geometry.scaled for one in classifier.backbones for view in views_of(one.preprocess, classifier.tta)]
    return DETAIL * max(high for high, _ in scaled), DETAIL * max(wide for _, wide in scaled)


class _Network(nn.Module):
    """The views of photos -> (b, c) mean logits, of one network."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, backbone: Backbone, head: LinearHead, *, first: int, views: tuple[_View, ...]) -> None:
        super().__init__()
        self.network = NetworkWithHead(backbone, head, first=first)
        self.views = views
        mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (backbone.preprocess.mean, backbone.preprocess.std))
        self.register_buffer("mean", 255 * mean, persistent=False)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)

    def forward(self, crops: Mapping[tuple[Geometry, Place], torch.Tensor]) -> torch.Tensor:
        shown = [crops[view.geometry, view.place] for view in self.views]
        shown = [crop.flip(3) if view.mirrored else crop for view, crop in zip(self.views, shown, strict=True)]
        images = (torch.cat(shown) - self.mean) * self.scale  # one after the other: the network is in the graph once
        logits: torch.Tensor = self.network(images)
        return logits.reshape(len(shown), -1, logits.shape[1]).mean(dim=0) if len(shown) > 1 else logits


class ClassifierGraph(nn.Module):
    """(b, h, w, 3) uint8 photos, upright RGB of one size, any b, h and w -> (b, c) calibrated probabilities.

    In eval mode; its tensors are the classifier's own. All of the evaluation transform is inside: resizing, crop,
    normalisation, and the views over which answers are averaged. The rule that answers (`Classifier.decision`) is not.

    Args:
        classifier: of one network or several.

    Raises:
        OptionError: its head is not linear.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        head = linear_of(classifier.head, "an export")
        backbones = classifier.backbones
        firsts = classifier.first_depths or (0,) * len(backbones)
        self.temperature = classifier.temperature
        networks: list[_Network] = []
        start = 0
        for place, (backbone, first) in enumerate(zip(backbones, firsts, strict=True)):
            columns = columns_from([backbone], [first])
            assert isinstance(columns, slice)  # of one network
            skipped = columns.start or 0
            end = start + backbone.width - skipped
            bias = head.bias if place == 0 else np.zeros_like(head.bias)
            own = LinearHead(np.ascontiguousarray(head.weight[:, start:end]), bias, head.strength)
            views = views_of(backbone.preprocess, classifier.tta)
            networks.append(_Network(backbone, own, first=skipped, views=views))
            start = end
        self.networks = nn.ModuleList(networks)
        self.crops = nn.ModuleList(Crops(geometry, places) for geometry, places in _needed(networks).items())
        for part in (self, self.networks, self.crops, *networks, *self.crops, *(one.network for one in networks)):
            part.training = False  # the networks themselves stay as they are

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (b, c) calibrated probabilities of photos (b, h, w, 3)."""
        crops = {
            (one.geometry, place): crop
            for one in self.crops
            for place, crop in zip(one.places, one(pixels), strict=True)  # type: ignore[arg-type]
        }
        logits = torch.stack([network(crops) for network in self.networks]).sum(dim=0)
        return torch.softmax(logits / self.temperature, dim=1)


def _needed(networks: Sequence[_Network]) -> dict[Geometry, tuple[Place, ...]]:
    """Return the crops that networks see, by how photos are resized for them: those that agree share them."""
    found: dict[Geometry, dict[Place, None]] = {}
    for network in networks:
        for view in network.views:
            found.setdefault(view.geometry, {})[view.place] = None
    return {geometry: tuple(places) for geometry, places in found.items()}
