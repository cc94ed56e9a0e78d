"""One pass over all photos: what excites each unit most, and what each stage knows of the photos."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch

from regraft.attribution.deconvnet import TIE_BREAK
from regraft.attribution.feature_maps import StageMap, find_stage_maps
from regraft.engines.pytorch import TorchEngine
from regraft.images.loading import load_batches
from regraft.images.sources import Source
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import HookPoint
from regraft.networks.tracing import hooked
from regraft.progress import Observer, progress

STRONGEST = 9  # photos that are kept for each unit, as Zeiler & Fergus show them
MOST_POOLED = 2000  # photos whose pooled activations are kept: the memory must not grow with the photos


@dataclass(eq=False)
class StageUnits:
    """The c units of a stage over n photos.

    Attributes:
        place: where they are.
        activations: (c, k) each unit's strongest activations, one of a photo, strongest first; k at most 9.
        photos: (c, k) positions of these photos; -1 where there were fewer photos.
        sums: (classes, c) of each photo's strongest activation, by class.
        squares: (c,) sums of their squares.
    """

    place: StageMap
    activations: torch.Tensor
    photos: torch.Tensor
    sums: torch.Tensor
    squares: torch.Tensor
    _means: torch.Tensor = field(init=False)  # (c, k) of the same photos

    def __post_init__(self) -> None:
        self._means = torch.zeros_like(self.activations)

    def add(self, peaks: torch.Tensor, means: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor) -> None:
        """Take in the strongest and the mean activations (b, c) of photos at `positions` (b,) of `labels` (b,).

        Of photos whose peaks are equal (all at the cap of ReLU6) those with the larger mean come first.
        """
        activations = torch.cat([self.activations, peaks.T], dim=1)
        averages = torch.cat([self._means, means.T], dim=1)
        photos = torch.cat([self.photos, positions.expand(len(self.photos), -1)], dim=1)
        order = (activations + TIE_BREAK * averages).topk(STRONGEST, dim=1).indices
        self.activations, self._means = activations.gather(1, order), averages.gather(1, order)
        self.photos = photos.gather(1, order)
        exact = peaks.cpu().double()  # there: not every accelerator has such numbers
        self.sums.index_add_(0, labels.cpu(), exact)
        self.squares += exact.square().sum(dim=0)


@dataclass(eq=False)
class TopActivations:
    """What one pass found.

    Attributes:
        stages: the units of each stage that has a map, by its name.
        pooled: by stage, (m, units) mean activation over places of the photos at `sampled`; the last stage's are the
            network's features.
        sampled: (m,) positions of these photos.
        counts: (classes,) how many photos of each class could be read.
        unreadable: reasons by position.
    """

    stages: dict[str, StageUnits]
    pooled: dict[str, np.ndarray]
    sampled: np.ndarray
    counts: np.ndarray
    unreadable: dict[int, str] = field(default_factory=dict)


def stage_maps_of(backbone: Backbone) -> list[StageMap]:
    """Return where each stage of `backbone` that has a map is read."""
    shape = (3, backbone.preprocess.height, backbone.preprocess.width)
    return find_stage_maps(backbone.module, backbone.stages(), shape)


def find_top_activations(
    backbone: Backbone,
    sources: Sequence[Source],
    labels: np.ndarray,
    *,
    classes: int,
    sampled: np.ndarray,
    device: torch.device,
    batch_size: int = 32,
    task: str = "units",
    observer: Observer | None = None,
) -> TopActivations:
    """Run all photos through the network once, and keep what every unit answers to most.

    Memory does not grow with the photos.

    Args:
        backbone: the network.
        sources: n photos.
        labels: (n,) their classes, from 0 to `classes` - 1.
        classes: how many there are.
        sampled: (m,) positions, ascending, of the photos whose pooled activations are kept.
        device: where it runs.
        batch_size: photos at a time.
        task: what the progress is called.
        observer: hears the progress.
    """
    observer = observer or Observer()
    engine = TorchEngine(backbone, device)
    stages = backbone.stages()
    places = stage_maps_of(backbone)
    reading = _BatchReader(places, [stage.name for stage in stages], classes, device)
    found = TopActivations({}, {}, sampled, np.bincount(labels, minlength=classes))
    pooled: dict[str, list[np.ndarray]] = {}
    wanted = np.zeros(len(sources), dtype=bool)
    wanted[sampled] = True
    batches = load_batches(sources, backbone.preprocess, batch_size=batch_size)
    hearing = hooked(backbone.module, reading.hook_points, reading.hear)
    with progress(observer, task, len(sources)) as advance, closing(batches), hearing:
        for batch in batches:
            found.unreadable.update(batch.unreadable)
            if len(batch.positions):
                vectors = engine.features(batch.pixels)
                means = reading.take(batch.positions, labels[batch.positions])
                chosen = wanted[batch.positions]
                for name, values in {**means, stages[-1].name: vectors}.items():
                    pooled.setdefault(name, []).append(values[chosen])
            advance(len(batch.positions) + len(batch.unreadable))
    found.stages = {units.place.stage: units for units in reading.units}
    found.pooled = {stage.name: np.concatenate(pooled[stage.name]) for stage in stages if stage.name in pooled}
    found.sampled = sampled[~np.isin(sampled, list(found.unreadable))]
    found.counts -= np.bincount(labels[list(found.unreadable)], minlength=classes)
    return found


class _BatchReader:
    """The activations at the hook points during one batch, and the units that they are added to."""

    def __init__(self, places: Sequence[StageMap], names: Sequence[str], classes: int, device: torch.device) -> None:
        self.hook_points: list[HookPoint] = [place.hook_point for place in places]
        self._names = names
        self._maps: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.units = [
            StageUnits(
                place,
                torch.full((place.units, STRONGEST), -torch.inf, device=device),
                torch.full((place.units, STRONGEST), -1, device=device),
                torch.zeros(classes, place.units, dtype=torch.float64),
                torch.zeros(place.units, dtype=torch.float64),
            )
            for place in places
        ]

    def hear(self, number: int, activation: torch.Tensor) -> None:
        """Keep the strongest and the mean activation of each unit, (b, c) both, while the network goes on."""
        found = self.hook_points[number].as_map(activation)
        self._maps.setdefault(number, []).append((found.amax(dim=(2, 3)), found.mean(dim=(2, 3))))

    def take(self, positions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Hand the batch's activations to the units; return the means (b, c) by stage."""
        means = {}
        for number, heard in self._maps.items():
            peaks, mean = _last_rows(heard, len(positions))
            units = self.units[number]
            device = units.photos.device
            units.add(peaks, mean, torch.from_numpy(positions).to(device), torch.from_numpy(labels).to(device))
            means[units.place.stage] = mean.float().cpu().numpy()
        self._maps.clear()
        return means


def _last_rows(heard: list[tuple[torch.Tensor, torch.Tensor]], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Join what was heard last, `count` rows: a batch may come in parts, after a try for which memory was short."""
    first = len(heard)
    rows = 0
    while rows < count:
        first -= 1
        rows += len(heard[first][0])
    return torch.cat([peaks for peaks, _ in heard[first:]]), torch.cat([mean for _, mean in heard[first:]])


def discriminability(units: StageUnits, counts: np.ndarray) -> np.ndarray:
    """Return (c,) how well each unit tells the classes apart: the share of its variance between them (eta squared).

    Where there is one class only, the units that vary most in proportion to their size: the coefficient of variation.

    Args:
        units: what they answered.
        counts: (classes,) photos of each class.
    """
    sums, squares, n = units.sums.cpu().numpy(), units.squares.cpu().numpy(), counts.sum()
    mean = sums.sum(axis=0) / n
    total = np.maximum(squares - n * mean**2, 0)
    present = counts > 0
    if present.sum() < 2:
        return np.asarray(np.sqrt(total / n) / (np.abs(mean) + 1e-12))
    between = (sums[present] ** 2 / counts[present, None]).sum(axis=0) - n * mean**2
    return np.asarray(np.where(total > 0, between / np.where(total > 0, total, 1), 0.0))


def discriminative_units(units: StageUnits, counts: np.ndarray, wanted: int) -> list[int]:
    """Return the numbers of the `wanted` units that tell the classes apart best, the best first.

    A unit is a class's whose photos excite it most; no class has more than twice its share of the units as long as
    others have some left. Units that no photo excites are left out.
    """
    score = discriminability(units, counts)
    alive = (units.activations[:, 0] > 0).cpu().numpy()
    present = np.flatnonzero(counts > 0)
    means = units.sums.cpu().numpy()[present] / counts[present, None]
    owner = present[means.argmax(axis=0)]
    most = max(2, math.ceil(2 * wanted / len(present)))
    taken: dict[int, int] = {}
    first: list[int] = []
    later: list[int] = []
    for unit in np.argsort(-score, kind="stable"):
        if alive[unit]:
            taken[owner[unit]] = taken.get(owner[unit], 0) + 1
            (first if taken[owner[unit]] <= most else later).append(int(unit))
    return [*first, *later][:wanted]
