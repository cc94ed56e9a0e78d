"""Mixing: both halves of a batch, photos and targets, in the same shares."""

import numpy as np
import pytest
import torch

from regraft.errors import OptionError
from regraft.processes import ProcessGroup
from regraft.training.mixup import draw_mix

SHAPE = (6, 3, 20, 30)
EVERY = slice(0, 6)


def batch() -> torch.Tensor:
    """Return six photos, each of one value: its position."""
    return torch.arange(6.0).reshape(6, 1, 1, 1).expand(SHAPE).contiguous()


def mixed_batches(**kinds: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return photos and one-hot targets of 200 mixed batches."""
    found = []
    for seed in range(200):
        mix = draw_mix(SHAPE, generator=np.random.default_rng(seed), **{"mixup": 0.0, "cutmix": 0.0, **kinds})
        found.append((mix.activations(batch(), EVERY), mix.targets(torch.eye(6), EVERY)))
    return found


def test_nothing_is_mixed_unless_asked_for() -> None:
    for photos, targets in mixed_batches():
        assert torch.equal(photos, batch())
        assert torch.equal(targets, torch.eye(6))


def test_mixup_blends_in_the_share_of_the_labels() -> None:
    for photos, targets in mixed_batches(mixup=0.4):
        expected = targets @ torch.arange(6.0)  # of a photo that is its position everywhere
        assert torch.allclose(photos, expected.reshape(6, 1, 1, 1).expand(SHAPE), atol=1e-5)


def test_cutmix_puts_in_a_box_of_the_area_that_the_labels_have() -> None:
    boxed = 0
    for photos, targets in mixed_batches(cutmix=1.0):
        for position in range(6):
            photo, target = photos[position], targets[position]
            for other in range(6):
                assert float((photo == other).float().mean()) == pytest.approx(float(target[other]), abs=1e-6)
            changed = (photo[0] != position).nonzero()
            if len(changed):
                boxed += 1
                (top, left), (bottom, right) = changed.min(dim=0).values, changed.max(dim=0).values
                assert len(changed) == (bottom - top + 1) * (right - left + 1)  # one box, and nothing outside it
    assert boxed > 500


def test_areas_of_boxes_follow_the_beta_distribution() -> None:
    """Beta(1, 1) is uniform: boxes that lie inside have half of the area on average, those cut off at an edge less.

    Along each side of length 1, a box of side s around a uniform middle keeps s - s^2/4; with s^2 uniform, the mean
    area is the integral of (s - s^2/4)^2 2 s ds = 2 (1/4 - 1/10 + 1/96) = 0.3208.
    """
    shares = [
        float((photos[0] != 0).float().mean()) for photos, targets in mixed_batches(cutmix=1.0) if targets[0, 0] < 1
    ]
    every = sum(shares) / 200
    assert every == pytest.approx(0.3208, abs=0.06)  # three standard errors of 200 draws of standard deviation 0.25


def test_with_both_each_comes_about_as_often() -> None:
    found = [(photos.frac() > 0).any() for photos, _ in mixed_batches(mixup=1.0, cutmix=1.0)]
    assert 70 <= sum(map(bool, found)) <= 130


def test_rows_are_mixed_as_the_whole_batch_is() -> None:
    mix = draw_mix(SHAPE, mixup=0.0, cutmix=1.0, generator=np.random.default_rng(5))
    whole = mix.activations(batch(), EVERY)
    assert torch.equal(torch.cat([mix.activations(batch(), slice(0, 2)), mix.activations(batch(), slice(2, 6))]), whole)


def test_what_has_no_places_is_blended_in_the_share_of_the_box() -> None:
    """Two numbers of a photo before its map, as means of earlier maps are."""
    maps = batch()
    means = torch.arange(2 * len(maps), dtype=torch.float32).reshape(-1, 2)
    alone = draw_mix(SHAPE, mixup=0.0, cutmix=1.0, generator=np.random.default_rng(5))
    flat = torch.cat([means, maps.flatten(1)], dim=1)
    generator = np.random.default_rng(5)
    mix = draw_mix(tuple(flat.shape), mixup=0.0, cutmix=1.0, generator=generator, map_shape=SHAPE[1:])
    assert mix.other is not None
    found = mix.activations(flat, EVERY)
    assert torch.equal(found[:, 2:].reshape(SHAPE), alone.activations(maps, EVERY))
    assert mix.share == alone.share
    assert 0 < mix.share < 1
    assert torch.allclose(found[:, :2], mix.share * means + (1 - mix.share) * means[mix.other])


@pytest.mark.parametrize("kinds", [{"mixup": 0.4, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}])
@pytest.mark.parametrize("photos", [5, 6])
def test_processes_that_share_a_batch_mix_as_one(photos: int, kinds: dict[str, float]) -> None:
    def mixed(part: list[int]) -> torch.Tensor:
        own = torch.arange(float(photos)).reshape(photos, 1, 1, 1).expand(photos, 3, 20, 30)[part]
        mix = draw_mix(tuple(own.shape), generator=np.random.default_rng(3), **kinds)
        return mix.activations(own, slice(0, len(part)))

    whole = mixed(list(range(photos)))
    for rank in (0, 1):
        part = ProcessGroup(rank, 2).own_mirrored(range(photos))
        assert torch.equal(mixed(part), whole[part])


def test_boxes_need_maps() -> None:
    with pytest.raises(OptionError, match=r"cutmix needs maps at the cut, and there each photo is 49 x 64 numbers"):
        draw_mix((8, 49, 64), mixup=0.0, cutmix=1.0, generator=np.random.default_rng(0))
