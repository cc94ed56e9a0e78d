"""One pass over all photos, against brute force over all activations; and which units tell the classes apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway
from tests.fixtures.learning import Listener
from torch import nn

from regraft.attribution.feature_maps import StageMap, find_stage_maps
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.explain.top_activations import (
    StageUnits,
    TopActivations,
    _last_rows,
    discriminability,
    discriminative_units,
    find_top_activations,
    stage_maps_of,
)
from regraft.images.decoding import decode
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.networks.hook_points import HookPoint
from regraft.networks.outline import Stage

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def backbone(tiny_network: str) -> Backbone:
    found = load_backbone(tiny_network)
    generator = torch.Generator().manual_seed(0)
    for part in found.module.modules():  # as trained networks have them: units that differ, and some that are dead
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.bias.data.normal_(0, 0.3, generator=generator)
    return found


@pytest.fixture
def samples(photos: Callable[..., Path]) -> Samples:
    return find_samples(photos(red=15, green=14, grey=12))["train"]


def activations(backbone: Backbone, samples: Samples, **options: object) -> TopActivations:
    given = {"sampled": np.arange(len(samples)), "batch_size": 16, "device": CPU, **options}
    return find_top_activations(backbone, samples.sources, samples.labels, classes=len(samples.classes), **given)


def brute_force(backbone: Backbone, samples: Samples) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return all activations (n, c, h, w) by stage and the features (n, d), one photo at a time."""
    maps: dict[str, list[np.ndarray]] = {}
    prepare = backbone.preprocess

    def hook_of(stage: str) -> Callable[..., None]:
        return lambda _module, inputs: maps.setdefault(stage, []).append(inputs[0].numpy().copy())

    handles = [
        backbone.module.get_submodule(place.hook_point.module).register_forward_pre_hook(hook_of(place.stage))
        for place in stage_maps_of(backbone)
    ]
    vectors = []
    for source in samples.sources:
        pixels = decode(source, prepare)
        values = (pixels / 255.0 - np.array(prepare.mean)) / np.array(prepare.std)
        with torch.no_grad():
            vectors.append(backbone.module(torch.from_numpy(values).float().permute(2, 0, 1)[None]).numpy())
    for handle in handles:
        handle.remove()
    return {stage: np.concatenate(found) for stage, found in maps.items()}, np.concatenate(vectors)


def test_the_strongest_photos_are_those_of_brute_force(backbone: Backbone, samples: Samples) -> None:
    found = activations(backbone, samples)
    maps, _ = brute_force(backbone, samples)
    assert list(found.stages) == list(maps)
    assert len(maps) >= 5
    for stage, values in maps.items():
        peaks = values.max(axis=(2, 3))
        units = found.stages[stage]
        assert units.photos.shape == units.activations.shape == (peaks.shape[1], 9)
        np.testing.assert_allclose(units.activations, -np.sort(-peaks, axis=0)[:9].T, **CLOSE)
        for unit, photos in enumerate(units.photos.tolist()):
            assert len(set(photos)) == 9
            np.testing.assert_allclose(units.activations[unit], peaks[photos, unit], **CLOSE)
        by_class = np.stack([peaks[samples.labels == label].sum(axis=0) for label in range(3)])
        np.testing.assert_allclose(units.sums, by_class, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(units.squares, (peaks**2).sum(axis=0), rtol=1e-4, atol=1e-4)
    assert found.counts.tolist() == [14, 12, 15]  # green, grey, red
    assert found.unreadable == {}


def test_pooled_are_means_over_places_of_the_sampled_photos(backbone: Backbone, samples: Samples) -> None:
    sampled = np.array([0, 3, 15, 16, 17, 40])
    found = activations(backbone, samples, sampled=sampled)
    maps, features = brute_force(backbone, samples)
    names = [stage.name for stage in backbone.stages()]
    assert list(found.pooled) == names
    for stage in names[:-1]:
        np.testing.assert_allclose(found.pooled[stage], maps[stage][sampled].mean(axis=(2, 3)), **CLOSE)
    np.testing.assert_allclose(found.pooled[names[-1]], features[sampled], **CLOSE)
    assert found.sampled.tolist() == sampled.tolist()


def test_batches_do_not_matter(backbone: Backbone, samples: Samples) -> None:
    one, other = activations(backbone, samples, batch_size=41), activations(backbone, samples, batch_size=5)
    for stage, units in one.stages.items():
        torch.testing.assert_close(units.activations, other.stages[stage].activations, **CLOSE)
        torch.testing.assert_close(units.sums, other.stages[stage].sums, **CLOSE)
        np.testing.assert_allclose(one.pooled[stage], other.pooled[stage], **CLOSE)


def test_fewer_photos_than_nine(backbone: Backbone, photos: Callable[..., Path]) -> None:
    samples = find_samples(photos("few", red=2, blue=3))["train"]
    maps, _ = brute_force(backbone, samples)
    for stage, units in activations(backbone, samples).stages.items():
        peaks = maps[stage].max(axis=(2, 3))
        np.testing.assert_allclose(units.activations[:, :5], -np.sort(-peaks, axis=0).T, **CLOSE)
        assert np.sort(units.photos[:, :5], axis=1).tolist() == [[0, 1, 2, 3, 4]] * peaks.shape[1]
        assert (units.photos[:, 5:] == -1).all()
        assert (units.activations[:, 5:] == -torch.inf).all()


def test_a_photo_that_cannot_be_read_takes_no_part(backbone: Backbone, photos: Callable[..., Path]) -> None:
    folder = photos("broken", red=6, blue=9)
    (folder / "red" / "2.jpg").write_bytes(b"no photo")
    samples = find_samples(folder)["train"]
    broken = [str(source).endswith("red/2.jpg") for source in samples.sources].index(True)
    readable = np.flatnonzero(np.arange(15) != broken)
    listener = Listener()
    found = activations(backbone, samples, batch_size=4, observer=listener)
    maps, features = brute_force(backbone, samples.select(readable))
    assert list(found.unreadable) == [broken]
    assert found.sampled.tolist() == readable.tolist()
    assert found.counts.tolist() == [9, 5]  # blue, red
    np.testing.assert_allclose(list(found.pooled.values())[-1], features, **CLOSE)
    for stage, units in found.stages.items():
        assert broken not in units.photos
        peaks = maps[stage].max(axis=(2, 3))
        np.testing.assert_allclose(units.activations, -np.sort(-peaks, axis=0)[:9].T, **CLOSE)
    kinds, amounts = zip(*listener.heard, strict=True)
    assert (kinds[0], amounts[0][1], kinds[-1]) == ("begin", 15, "end")
    assert sum(amounts[1:-1]) == 15


def test_a_batch_that_came_in_parts_is_counted_once(backbone: Backbone, samples: Samples) -> None:
    """Memory is short behind the first stages: these have heard photos that come again in smaller parts."""
    plain = activations(backbone, samples)
    tried: list[int] = []  # 41 photos, 16 at a time: in quarters from the first on; of the last 9, one part is of three

    def short(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        tried.append(len(inputs[0]))
        if len(inputs[0]) > 5:
            raise torch.OutOfMemoryError

    handle = backbone.module.get_submodule(stage_maps_of(backbone)[-2].hook_point.module).register_forward_pre_hook(
        short
    )
    try:
        found = activations(backbone, samples)
    finally:
        handle.remove()
    assert [count for count in tried if count > 2] == [16, 8, *[4] * 8, 3]  # blank images are one or two
    for stage, units in plain.stages.items():
        torch.testing.assert_close(found.stages[stage].activations, units.activations, **CLOSE)
        torch.testing.assert_close(found.stages[stage].sums, units.sums, **CLOSE)
        torch.testing.assert_close(found.stages[stage].squares, units.squares, **CLOSE)
        np.testing.assert_allclose(found.pooled[stage], plain.pooled[stage], **CLOSE)


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [([4], 4, [0, 1, 2, 3]), ([4, 2, 2], 4, [4, 5, 6, 7]), ([4, 2, 1, 1, 2], 4, [6, 7, 8, 9]), ([3, 3], 3, [3, 4, 5])],
)
def test_what_was_heard_last_counts(rows: list[int], count: int, expected: list[int]) -> None:
    values = torch.arange(sum(rows)).reshape(-1, 1).split(rows)
    peaks, means = _last_rows([(part, -part) for part in values], count)
    assert peaks[:, 0].tolist() == expected
    assert means[:, 0].tolist() == [-value for value in expected]


def test_no_hook_stays_after_a_failure(backbone: Backbone, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()

    def breaks(_count: int) -> None:
        raise RuntimeError("interrupted")

    monkeypatch.setattr(listener, "advance", breaks)
    with pytest.raises(RuntimeError, match="interrupted"):
        activations(backbone, samples, observer=listener)
    assert listener.heard[-1] == ("end", None)
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.module.modules())


class _Positioned(nn.Module):
    """Adds a pattern of positions, the same for all photos, to the tokens of its first stage, as XCiT does."""

    num_prefix_tokens = 1  # that come later: 36 tokens less 1 are no square map

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Linear(4, 4)
        self.pattern, self.projection = nn.Parameter(torch.ones(1, 4, 6, 6)), nn.Conv2d(4, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = (self.first(images) + self.projection(self.pattern)).flatten(2).transpose(1, 2)
        return self.last(tokens).mean(dim=1)


def test_what_is_the_same_for_all_photos_is_no_map_of_theirs() -> None:
    stages = [Stage("first", (), 0, (36, 4)), Stage("last", (), 0, (4,))]
    found = find_stage_maps(_Positioned().eval(), stages, (3, 6, 6))
    assert found == [StageMap("first", HookPoint("first.1", "input"), 4, 6, 6)]


def made(
    peaks: object, labels: list[int], *, classes: int = 2, means: object = None, at_a_time: int = 99
) -> StageUnits:
    """Return the units of a stage that answered peaks (n, c) to photos of `labels`."""
    values = torch.tensor(peaks, dtype=torch.float32)
    averages = torch.zeros_like(values) if means is None else torch.tensor(means, dtype=torch.float32)
    count = values.shape[1]
    units = StageUnits(
        StageMap("stage", HookPoint("module"), count, 4, 4),
        torch.full((count, 9), -torch.inf),
        torch.full((count, 9), -1),
        torch.zeros(classes, count, dtype=torch.float64),
        torch.zeros(count, dtype=torch.float64),
    )
    for rows in torch.arange(len(values)).split(at_a_time):
        units.add(values[rows], averages[rows], rows, torch.tensor(labels)[rows])
    return units


@pytest.mark.parametrize("at_a_time", [1, 5, 12])
def test_of_equal_peaks_the_larger_mean_comes_first(at_a_time: int) -> None:
    means = [1.0, 3, 2, 5, 4, 0.5, 2.5, 3.5, 0.1, 4.5, 1.5, 0.2]
    units = made([[6.0]] * 12, [0] * 12, means=[[mean] for mean in means], at_a_time=at_a_time)
    assert units.photos.tolist() == [[3, 9, 4, 7, 1, 6, 2, 10, 0]]
    assert units.activations.tolist() == [[6.0] * 9]


def test_a_mean_decides_nothing_where_peaks_differ() -> None:
    units = made([[1.0], [0.5], [0.001]], [0, 0, 0], means=[[-9.0], [-1.0], [-8.0]])
    assert units.photos[0, :3].tolist() == [0, 1, 2]
    assert units.activations[0, :3].tolist() == pytest.approx([1.0, 0.5, 0.001], rel=1e-6)


def test_telling_is_eta_squared_of_a_one_way_anova() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [7, 12, 5])  # of class 2 there is no photo
    peaks = generator.normal(3, 1, (24, 6)) + labels[:, None] * np.array([0, 0.1, 0.3, 1, -2, 30])
    units = made(peaks, labels.tolist(), classes=4)
    found = discriminability(units, np.array([7, 12, 0, 5]))
    for unit, share in enumerate(found):
        groups = [peaks[labels == label, unit].astype(np.float32).astype(float) for label in (0, 1, 3)]
        f = f_oneway(*groups).statistic  # = (between / (3 - 1)) / (within / (24 - 3))
        assert share == pytest.approx(2 * f / (2 * f + 21), rel=1e-6)


def test_telling_by_hand() -> None:
    # unit 0 is sure; unit 1 knows nothing; unit 2: mean 1, variance sum 1 + 0 + 1 + 0 = 2, of which between the class
    # means 1.5 and 0.5 there is 4 * 0.25 = 1
    units = made([[1.0, 1, 2], [1, 0, 1], [0, 1, 0], [0, 0, 1]], [0, 0, 1, 1])
    assert discriminability(units, np.array([2, 2])).tolist() == pytest.approx([1, 0, 0.5])


@pytest.mark.parametrize("value", [0.0, 0.1, -3.3, 6.0, 1e6])
def test_a_unit_that_answers_the_same_to_all_tells_nothing(value: float) -> None:
    units = made([[value]] * 41, [0] * 14 + [1] * 27)
    assert discriminability(units, np.array([14, 27])).tolist() == [0]


def test_of_one_class_the_units_that_vary_most_come_first() -> None:
    # deviations 1 of mean 3, 1 of mean 1, 3 of mean 30, and 0
    units = made([[2.0, 0, 27, 5], [4, 2, 33, 5]], [1, 1])
    counts = np.array([0, 2])
    assert discriminability(units, counts).tolist() == pytest.approx([1 / 3, 1, 0.1, 0])
    assert discriminative_units(units, counts, 9) == [1, 0, 2, 3]


def test_the_most_telling_units_come_first_and_dead_ones_never() -> None:
    # shares of variance: 0 and 1 all, 2 none, 3 is dead, 4 half, 5 all but below 0 for every photo
    peaks = [[1.0, 0, 1, 0, 2, -1], [1, 0, 0, 0, 1, -1], [0, 1, 1, 0, 0, -2], [0, 1, 0, 0, 1, -2]]
    units = made(peaks, [0, 0, 1, 1])
    counts = np.array([2, 2])
    assert discriminative_units(units, counts, 3) == [0, 1, 4]
    assert discriminative_units(units, counts, 1) == [0]
    assert discriminative_units(units, counts, 99) == [0, 1, 4, 2]
    assert discriminative_units(made([[0.0]] * 4, [0, 0, 1, 1]), counts, 3) == []


def _spread(label: int, noise: float) -> list[float]:
    """Return a unit's peaks on six photos of classes 0 0 1 1 2 2: 1 for those of `label`, give or take `noise`."""
    return [1 + (-1) ** k * noise if k // 2 == label else 0.0 for k in range(6)]


def test_no_class_takes_more_than_twice_its_share() -> None:
    # the share falls as the noise grows: class 0 has the four best units
    units = [_spread(0, 0.0), _spread(0, 0.1), _spread(0, 0.2), _spread(0, 0.3), _spread(1, 0.4), _spread(2, 0.5)]
    found = made(np.transpose(units).tolist(), [0, 0, 1, 1, 2, 2], classes=3)
    counts = np.array([2, 2, 2])
    assert discriminative_units(found, counts, 3) == [0, 1, 4]  # at most 2 of 3 for one of three classes
    assert discriminative_units(found, counts, 4) == [0, 1, 2, 4]  # at most 3 of 4
    assert discriminative_units(found, counts, 6) == [0, 1, 2, 3, 4, 5]
    # others have none left
    alone = made(np.transpose(units[:4]).tolist(), [0, 0, 1, 1, 2, 2], classes=3)
    assert discriminative_units(alone, counts, 3) == [0, 1, 2]
