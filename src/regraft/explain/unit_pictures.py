"""Pictures of units: the image patches that excite each most, beside what a deconvnet projects back of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from regraft.attribution.backward_rules import DECONVNET
from regraft.attribution.deconvnet import project, strongest_places
from regraft.attribution.receptive_field import receptive_field
from regraft.engines.pytorch import TorchEngine
from regraft.errors import DataError, ModelError
from regraft.explain.top_activations import StageUnits
from regraft.images.loading import load_batches
from regraft.images.sources import Source
from regraft.networks.backbone import Backbone
from regraft.networks.tracing import run_to

_AT_A_TIME = 24  # projections
_TOLERANCE = 0.02  # relative, between a unit's activation in the pass over all photos and in its picture
_SCALE = 0.01  # of the stage's largest activation: units smaller than that differ by rounding alone


@dataclass(frozen=True, eq=False)
class UnitPicture:
    """What excites one unit.

    Attributes:
        unit: its number among the stage's channels.
        photos: positions of the photos, the strongest first; at most nine.
        activations: of the unit in these.
        patches: (h, w, 3) uint8, the part of each photo that the unit sees.
        projections: (3, h, w) float32 of the same part; none where no deconvnet picture can be drawn.
    """

    unit: int
    photos: list[int]
    activations: list[float]
    patches: list[np.ndarray]
    projections: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class StagePictures:
    """The pictures of one stage.

    Attributes:
        stage: its name.
        units: the pictures.
        side: of the receptive field in the middle of the map, in pixels: height, width; cut to the image.
        method: how the projections were made, in words.
        switches: how many max-poolings they passed.
        refusal: why there are none, or "".
    """

    stage: str
    units: list[UnitPicture]
    side: tuple[int, int]
    method: str
    switches: int
    refusal: str = ""


def draw_units(
    backbone: Backbone,
    units: StageUnits,
    chosen: Sequence[int],
    sources: Sequence[Source],
    *,
    device: torch.device,
    rule: str = DECONVNET,
    advance: Callable[[int], None] = lambda _: None,
) -> StagePictures:
    """Project the strongest activations of `chosen` units back to the pixels, and cut out what each unit sees.

    Args:
        backbone: the network.
        units: what one pass over all photos found (`find_top_activations`).
        chosen: numbers of units.
        sources: n photos, the same as of the pass.
        device: where it runs.
        rule: `backward_rules.DECONVNET` or `backward_rules.GUIDED`.
        advance: is called with the number of projections made since the last call.

    Raises:
        DataError: a photo that could be read before cannot be read any more.
    """
    place = units.place
    engine = TorchEngine(backbone, device)
    shape = (3, backbone.preprocess.height, backbone.preprocess.width)
    field = receptive_field(backbone.module, place, shape)
    pairs = [(unit, int(photo)) for unit in chosen for photo in units.photos[unit] if photo >= 0]
    pixels = read_pixels(sources, sorted({photo for _, photo in pairs}), engine)
    parts: dict[int, list[tuple[int, float, np.ndarray, np.ndarray | None]]] = {unit: [] for unit in chosen}
    method, refusal, switches = "", "", 0
    for start in range(0, len(pairs), _AT_A_TIME):
        some = pairs[start : start + _AT_A_TIME]
        images = np.stack([pixels[photo] for _, photo in some])
        batch = engine.normalised(images)
        try:
            found = project(backbone.module, place.hook_point, batch, [unit for unit, _ in some], rule=rule)
            method, switches = found.method, found.switches
            positions, activations = found.positions, found.activations
            projections: list[np.ndarray | None] = list(found.pixels.float().cpu().numpy())
        except ModelError as error:
            refusal = str(error)
            positions, activations = _strongest(backbone, units, batch, [unit for unit, _ in some])
            projections = [None] * len(some)
        _check_same(units, some, activations)
        for k, (unit, photo) in enumerate(some):
            left, upper, right, lower = field.box(int(positions[k, 0]), int(positions[k, 1]))
            whole = projections[k]
            cut = None if whole is None else whole[:, upper:lower, left:right]
            parts[unit].append((photo, float(activations[k]), images[k, upper:lower, left:right], cut))
        advance(len(some))
    left, upper, right, lower = field.box(place.height // 2, place.width // 2)
    pictures = [
        UnitPicture(
            unit,
            [photo for photo, _, _, _ in found],
            [activation for _, activation, _, _ in found],
            [patch for _, _, patch, _ in found],
            [cut for _, _, _, cut in found if cut is not None],
        )
        for unit, found in parts.items()
    ]
    return StagePictures(place.stage, pictures, (lower - upper, right - left), method, switches, refusal)


def read_pixels(sources: Sequence[Source], photos: Sequence[int], engine: TorchEngine) -> dict[int, np.ndarray]:
    """Return (h, w, 3) uint8 of the photos at positions `photos`, as the network gets them, by position.

    Raises:
        DataError: a photo that could be read before cannot be read any more.
    """
    found: dict[int, np.ndarray] = {}
    for batch in load_batches([sources[photo] for photo in photos], engine.preprocess):
        for place, reason in batch.unreadable.items():
            raise DataError(f"{sources[photos[place]]} could be read before, and cannot be read now: {reason}.")
        found |= {photos[int(p)]: image for p, image in zip(batch.positions, batch.pixels, strict=True)}
    return found


def _strongest(
    backbone: Backbone, units: StageUnits, batch: torch.Tensor, chosen: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each image's unit is strongest, (b, 2), and how strong, (b,)."""
    hook_point = units.place.hook_point
    with torch.no_grad():
        found = hook_point.as_map(run_to(backbone.module, hook_point, batch))[torch.arange(len(chosen)), chosen]
    best = strongest_places(found).cpu()
    return torch.stack([best // units.place.width, best % units.place.width], dim=1), found.amax(dim=(1, 2))


def _check_same(units: StageUnits, pairs: Sequence[tuple[int, int]], activations: torch.Tensor) -> None:
    """Raise unless the units answer as they did in the pass over all photos."""
    known = units.activations[units.photos >= 0].abs()
    scale = _SCALE * float(known.max())
    for (unit, photo), activation in zip(pairs, activations.tolist(), strict=True):
        column = units.photos[unit].tolist().index(photo)
        before = float(units.activations[unit, column])
        size = float(units.activations[unit][units.photos[unit] >= 0].abs().max())
        if abs(before - activation) > _TOLERANCE * max(size, scale):
            raise DataError(
                f"unit {unit} of {units.place.stage} answered {before:.4g} to a photo before, and {activation:.4g} "
                "now: the photo has changed meanwhile. Run the same command again."
            )
