"""Parts of one scene, found among photos whose features are near."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from tests.fixtures.scenes import scene

from regraft.data import scene_parts
from regraft.data.scene_parts import join_parts


def crops(scale: float) -> np.ndarray:
    """Return (20, 64, 64): ten pictures, and after them the same ten, of which 3 to 5 are cut out of the first."""
    whole = np.stack([np.asarray(scene(seed, 128).convert("L")) for seed in range(10)])
    other = np.stack([np.asarray(scene(seed + 50, 128).convert("L")) for seed in range(10)])
    side = round(128 * scale)
    found = [Image.fromarray(one).resize((64, 64), Image.Resampling.BOX) for one in whole]
    for place, one in enumerate(other):
        cut = Image.fromarray(whole[place][:side, 128 - side :]) if place in (3, 4, 5) else Image.fromarray(one)
        found.append(cut.resize((64, 64), Image.Resampling.BOX))
    return np.stack([np.asarray(one) for one in found]).astype(np.float32)


@pytest.mark.parametrize("scale", [0.95, 0.9, 0.8])
def test_photos_cut_out_of_others_are_joined_with_them(scale: float) -> None:
    """Their features are alike, which proves nothing: those of 0 and 10 are, too, and show other pictures."""
    pictures = crops(scale)
    features = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    for place in (0, 3, 4, 5):
        features[10 + place] = 3 * features[place] + 0.1
    numbers = join_parts([features], np.arange(20), lambda positions: pictures[positions])
    joined = {frozenset(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)}
    assert {names for names in joined if len(names) > 1} == {frozenset({3, 13}), frozenset({4, 14}), frozenset({5, 15})}


def test_pictures_that_are_mostly_alike_are_not_joined_for_their_parts() -> None:
    """A fixed camera: all show the same details but for a small thing that comes and goes."""
    rng = np.random.default_rng(0)
    pictures = np.stack([np.asarray(scene(0, 64).convert("L"))] * 12).astype(np.float32)
    for place in range(12):
        pictures[place, 4 * place : 4 * place + 5, 30:35] = 255.0
    features = rng.normal(size=(12, 30)).astype(np.float32)
    assert len(np.unique(join_parts([features], np.arange(12), lambda positions: pictures[positions]))) == 12
    two = join_parts([features[:2]], np.arange(2), lambda positions: pictures[positions])
    assert two[0] == two[1]  # a single pair says nothing about a set


def test_simple_drawings_are_not_joined_for_their_parts() -> None:
    """Handwritten digits: strokes of any two agree half of the time, so that near ones prove nothing."""
    images = load_digits().images[:80]
    pictures = np.stack([np.asarray(Image.fromarray((15.9 * one).astype(np.uint8)).resize((64, 64))) for one in images])
    numbers = join_parts(
        [images.reshape(80, -1).astype(np.float32)], np.arange(80), lambda positions: pictures[positions]
    )
    assert len(np.unique(numbers)) == 80


def test_what_was_joined_before_stays_joined() -> None:
    features = np.zeros((4, 3), dtype=np.float32)
    numbers = join_parts([features], np.array([7, 2, 7, 9]), lambda _: np.empty(0))
    assert (numbers[0] == numbers[2], len(np.unique(numbers))) == (True, 3)


def test_comparing_ends_where_none_of_many_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_parts, "_ASKED", 5)
    asked: list[int] = []

    def thumbnails(positions: np.ndarray) -> np.ndarray:
        asked.append(len(positions))
        return np.random.default_rng(len(asked)).normal(size=(len(positions), 64, 64)).astype(np.float32)

    features = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    join_parts([features], np.arange(40), thumbnails)
    assert len(asked) == 1


@pytest.mark.parametrize("cut", [(12, 12, 122, 122), (0, 10, 108, 118)])
def test_a_part_of_a_photo_is_found_under_a_frame_that_both_have(cut: tuple[int, int, int, int]) -> None:
    """The frames agree with each other alone: what they hold is of another size in each."""
    wholes = [scene(seed, 128).convert("L") for seed in range(12)]
    wholes[6] = wholes[2].crop(cut).resize((128, 128))
    framed = [ImageOps.expand(one, 5, 90).resize((64, 64), Image.Resampling.BOX) for one in wholes]
    pictures = np.stack([np.asarray(one) for one in framed]).astype(np.float32)
    features = np.random.default_rng(0).normal(size=(12, 30)).astype(np.float32)
    features[6] = 2 * features[2] + 0.05
    numbers = join_parts([features], np.arange(12), lambda positions: pictures[positions])
    assert (numbers[2] == numbers[6], len(np.unique(numbers))) == (True, 11)
