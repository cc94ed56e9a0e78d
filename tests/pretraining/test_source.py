"""The photos of a source: which are for training, which for validation, and which are left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.data.layouts import find_samples
from regraft.errors import DataError
from regraft.pretraining.source import open_source
from regraft.progress import Observer

Photos = Callable[..., Path]


def test_a_tenth_is_held_out_for_validation(photos: Photos) -> None:
    samples = find_samples(photos(red=30, blue=30))
    source = open_source(samples, 0, Observer())
    assert len(source.validation) == 6
    assert sorted([*source.train, *source.validation]) == list(range(60))
    assert np.bincount(source.dataset.samples.labels[source.validation]).tolist() == [3, 3]


def test_a_validation_folder_is_used_instead(photos: Photos) -> None:
    folder = photos("all/train", red=12, blue=12).parent
    photos("all/val", first_seed=500, red=5, blue=4)
    copy = folder / "val" / "red" / "copy.jpg"
    copy.write_bytes((folder / "train" / "red" / "0.jpg").read_bytes())
    source = open_source(find_samples(folder), 0, Observer())
    assert len(source.train) == 24
    assert len(source.validation) == 9  # the copy of a training photo is left out
    assert str(source.dataset.samples.sources[source.validation[0]]).startswith(str(folder / "val"))


def test_copies_stand_on_one_side(photos: Photos) -> None:
    folder = photos(red=20, blue=20)
    for number in range(20):
        (folder / "red" / f"copy{number}.jpg").write_bytes((folder / "red" / f"{number}.jpg").read_bytes())
    source = open_source(find_samples(folder), 0, Observer())
    learned = {source.dataset.keys[position] for position in source.train}
    assert not learned & {source.dataset.keys[position] for position in source.validation}


def test_nothing_to_learn_from(photos: Photos) -> None:
    with pytest.raises(DataError, match="there is nothing to train on"):
        open_source({"validation": find_samples(photos(red=4, blue=4))["train"]}, 0, Observer())


def test_validation_photos_that_are_all_training_photos(photos: Photos) -> None:
    folder = photos("all/train", red=3, blue=3).parent
    photos("all/val", red=3, blue=3)
    with pytest.raises(DataError, match=r"/val: every photo of it is also a training photo, so none can evaluate"):
        open_source(find_samples(folder), 0, Observer())


def test_images_under_two_classes_are_left_out_and_named(photos: Photos, listener: Any) -> None:
    folder = photos(red=100, blue=100)
    (folder / "blue" / "red.jpg").write_bytes((folder / "red" / "7.jpg").read_bytes())
    source = open_source(find_samples(folder), 0, listener)
    assert len(source.dataset.samples) == 199
    assert not [one for one in source.dataset.samples.sources if str(one).endswith(("blue/red.jpg", "red/7.jpg"))]
    (said,) = listener.said
    assert said.startswith("1 images stand under more than one class and are left out:")
    assert "red.jpg (blue)" in said
    for number in range(8, 12):
        (folder / "blue" / f"red{number}.jpg").write_bytes((folder / "red" / f"{number}.jpg").read_bytes())
    with pytest.raises(DataError, match="5 images stand under more than one class"):  # 10 of 205 photos
        open_source(find_samples(folder), 0, listener)


def test_unreadable_photos_are_named_and_left_out(photos: Photos, listener: Any) -> None:
    folder = photos(red=20, blue=20)
    (folder / "red" / "3.jpg").write_bytes(b"no photo")
    cut = folder / "blue" / "7.jpg"  # its header is sound
    cut.write_bytes(cut.read_bytes()[:-300])
    source = open_source(find_samples(folder), 0, listener)
    assert len(source.dataset.samples) == 38
    for name in ("3.jpg", "7.jpg"):
        assert any(name in said for said in listener.said)


def test_small_classes_say_what_share_is_held_out(photos: Photos) -> None:
    """Of 4 + 4 photos, 2 are held out: a quarter, however large the share of a large source."""
    source = open_source(find_samples(photos(red=4, blue=4)), 0, Observer())
    assert len(source.validation) == 2
    assert source.note == "25% of the photos, which take no part in training"
