"""Copies and near-duplicates of photos on disk: found, named, joined, and looked for once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.fixtures.scenes import scene

from regraft.data import bit_sampling
from regraft.data.dataset import Dataset, open_datasets
from regraft.data.layouts import find_samples
from regraft.data.near_duplicates import Pictures
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.features import pictures as module
from regraft.features.pictures import join_pictures, measures_of, number_photos, pictures_of, with_scenes_joined
from regraft.images.measures import MEASURES, measure
from regraft.progress import Detail, Observer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return class folders of ten photos each, all of other pictures."""
    for label, first in (("day", 0), ("night", 100)):
        (tmp_path / "data" / "train" / label).mkdir(parents=True)
        for number in range(10):
            save(scene(first + number), tmp_path / "data" / "train" / label / f"{number}.jpg")
    return tmp_path / "data"


def save(image: Image.Image, path: Path, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality) if path.suffix == ".jpg" else image.save(path)
    return path


def save_with_comment(photo: Path, path: Path) -> Path:
    """Write the same pixels in other bytes, as what edits a photo's tags does (ITU T.81, B.2.4.5)."""
    data = photo.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xfe\x00\x08edited" + data[2:])
    return path


def opened(folder: Path, observer: Observer, *, near: bool = True, compute: Compute | None = None) -> Dataset:
    (dataset,) = open_datasets(list(find_samples(folder).values()), observer)
    (found,) = join_pictures([dataset], compute or Compute(), observer, near=near)
    return found


def groups_of(dataset: Dataset) -> list[set[str]]:
    """Return the names of photos that share a group with others."""
    assert dataset.groups is not None
    names = [f"{Path(str(source)).parent.name}/{Path(str(source)).name}" for source in dataset.samples.sources]
    found = [{names[p] for p in np.flatnonzero(dataset.groups == group)} for group in np.unique(dataset.groups)]
    return [names for names in found if len(names) > 1]


def test_edited_photos_are_joined_and_named(folder: Path, listener: Any) -> None:
    train = folder / "train"
    original = Image.open(train / "day" / "3.jpg")
    save(original.resize((150, 100)), train / "day" / "small.jpg", quality=50)
    save(ImageOps.mirror(original), train / "day" / "turned.png")
    dataset = opened(train, listener)
    assert groups_of(dataset) == [{"day/3.jpg", "day/small.jpg", "day/turned.png"}]
    assert dataset.pictures is not None
    assert len(dataset) - len(np.unique(dataset.pictures.numbers)) == 2  # three photos of one picture
    (said,) = listener.said
    assert said.startswith(f"3 of 22 photos in {train} show the same picture as another of them: ")
    assert said.endswith(
        f"\n  {train / 'day' / '3.jpg'} = {train / 'day' / 'small.jpg'} = {train / 'day' / 'turned.png'}"
    )


def test_that_not_all_of_very_many_photos_are_compared_is_said(
    folder: Path, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bit_sampling, "MOST_PAIRS", 100)
    monkeypatch.setattr(bit_sampling, "_PAIRS_PER_PHOTO", 0)
    train = folder / "train"
    save(ImageOps.mirror(Image.open(train / "day" / "3.jpg")), train / "day" / "turned.png")
    assert groups_of(opened(train, listener)) == [{"day/3.jpg", "day/turned.png"}]
    (said,) = (text for _, text in listener.heard if isinstance(text, Detail))
    assert said.startswith("21 photos are too many to compare each with all: those whose perceptual hashes agree in ")


def test_without_copies_nothing_is_said_or_joined(folder: Path, listener: Any) -> None:
    dataset = opened(folder, listener)
    assert (dataset.groups, listener.said) == (None, [])
    assert dataset.pictures is not None
    assert len(np.unique(dataset.pictures.numbers)) == len(dataset)


def test_near_duplicates_may_be_ignored_but_not_equal_pixels(folder: Path, listener: Any) -> None:
    train = folder / "train"
    original = Image.open(train / "day" / "3.jpg")
    save(ImageOps.mirror(original), train / "day" / "turned.png")
    save_with_comment(train / "day" / "3.jpg", train / "day" / "same.jpg")
    assert groups_of(opened(train, listener, near=False)) == [{"day/3.jpg", "day/same.jpg"}]


def test_equal_pixels_under_two_classes_are_refused(folder: Path, listener: Any) -> None:
    train = folder / "train"
    save_with_comment(train / "day" / "3.jpg", train / "night" / "copy.jpg")
    with pytest.raises(DataError) as caught:
        opened(train, listener)
    assert str(caught.value) == (
        f"{train}: 1 images stand under more than one class:\n  {train / 'day' / '3.jpg'} (day) = "
        f"{train / 'night' / 'copy.jpg'} (night)\nKeep each under its right class only."
    )


def test_near_duplicates_under_two_classes_are_named(folder: Path, listener: Any) -> None:
    train = folder / "train"
    save(ImageOps.flip(Image.open(train / "day" / "3.jpg")), train / "night" / "turned.jpg")
    opened(train, listener)
    assert listener.said[1] == (
        "of these, 1 stand under more than one class. Look whether their labels are right:\n"
        f"  {train / 'day' / '3.jpg'} (day) = {train / 'night' / 'turned.jpg'} (night)"
    )


def test_photos_are_looked_at_once(folder: Path, listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(folder, listener)
    monkeypatch.setattr(module, "perceptual_hashes", lambda _: pytest.fail("looked at again"))
    again = opened(folder, listener)
    assert first.pictures is not None
    assert again.pictures is not None
    assert np.array_equal(first.pictures.hashes, again.pictures.hashes)
    assert np.array_equal(first.pictures.keys, again.pictures.keys)


def test_damaged_photos_are_pictures_of_their_own(folder: Path, listener: Any) -> None:
    whole = (folder / "train" / "day" / "0.jpg").read_bytes()
    for name in ("8", "9"):
        (folder / "train" / "day" / f"{name}.jpg").write_bytes(whole[: len(whole) // 3])
    dataset = opened(folder, listener, compute=Compute(cache=False))
    assert dataset.pictures is not None
    assert dataset.groups is not None  # their bytes are equal
    assert not dataset.pictures.keys[8:10].any()
    assert groups_of(dataset) == [{"day/8.jpg", "day/9.jpg"}]


def test_mean_colours_come_with_the_look_at_the_photos(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    for label, colour in (("red", (255, 0, 0)), ("grey", (51, 51, 51))):
        for number in range(2):
            save(Image.new("RGB", (20 + number, 20), colour), folder / label / f"{number}.png")
    (dataset,) = open_datasets(list(find_samples(folder).values()), Observer())
    colours = module.mean_colours_of(dataset.samples.sources, dataset.keys, (), Compute(), Observer())
    red, grey = [0.299, 1.0, 1.0, 0.0, 0.0], [0.2, 0.0, 0.2, 0.2, 0.2]
    assert dataset.classes == ("grey", "red")
    assert colours == pytest.approx(np.array([grey, grey, red, red]), abs=1e-6)
    unread = module.mean_colours_of(dataset.samples.sources, (b"", *dataset.keys[1:]), (), Compute(), Observer())
    assert np.isnan(unread).all(axis=1).tolist() == [True, False, False, False]


def test_colours_stay_with_their_photos(folder: Path) -> None:
    dataset = opened(folder, Observer())
    pictures = dataset.pictures
    assert pictures is not None
    assert pictures.colours is not None
    assert pictures.colours.shape == (20, 5)
    part = dataset.select(np.array([4, 2])).pictures
    assert part is not None
    assert part.colours is not None
    assert part.colours.tolist() == pictures.colours[[4, 2]].tolist()
    assert Pictures.joined([part, part]).colours == pytest.approx(np.tile(pictures.colours[[4, 2]], (2, 1)))


# --- what an audit asks of any photos ---


def some_photos(folder: Path) -> list[Path]:
    """Return five photos: a picture, another, the first mirrored, one that is cut off, and a part of the second."""
    first, second = scene(0), scene(1)
    images = (first, second, ImageOps.mirror(first))
    found = [save(image, folder / f"{number}.jpg") for number, image in enumerate(images)]
    (folder / "3.jpg").write_bytes(found[1].read_bytes()[:900])
    return [*found, folder / "3.jpg", save(second.crop((51, 0, 256, 205)), folder / "4.jpg")]


KEYS = [bytes([number + 1]) * 32 for number in range(5)]


def test_pictures_of_photos_without_labels(tmp_path: Path) -> None:
    found = pictures_of(some_photos(tmp_path), KEYS, (), Compute(), Observer())
    assert found.numbers[0] == found.numbers[2]
    assert len(np.unique(found.numbers[[0, 1, 3]])) == 3
    assert not found.keys[3].any()
    assert found.keys[[0, 1, 2, 4]].any(axis=1).all()
    unread = pictures_of(some_photos(tmp_path), [KEYS[0], b"", KEYS[2], b"", KEYS[4]], (), Compute(), Observer())
    assert not unread.keys[[1, 3]].any()
    assert (number_photos(some_photos(tmp_path), KEYS, (), Compute(), Observer()) == found.numbers).all()


def test_measures_of_photos_and_which_cannot_be_decoded(tmp_path: Path, listener: Any) -> None:
    photos = some_photos(tmp_path)
    found = measures_of(photos, KEYS, (), Compute(), listener)
    assert found.values.shape == (5, len(MEASURES))
    assert list(found.unreadable) == [3]
    with Image.open(photos[1]) as image:
        expected = measure(np.asarray(image.convert("RGB").resize((256, 256)))[None])
    np.testing.assert_allclose(found.values[1], expected[0], atol=0.5)
    assert ("begin", ("measuring photos", 5)) in listener.heard
    again = type(listener)()
    np.testing.assert_array_equal(measures_of(photos, KEYS, (), Compute(), again).values[:3], found.values[:3])
    assert found.computed > measures_of(photos, KEYS, (), Compute(), again).computed  # the cache has them


def test_parts_of_a_scene_are_joined_where_features_are_alike(tmp_path: Path) -> None:
    photos = some_photos(tmp_path)
    before = pictures_of(photos, KEYS, (), Compute(), Observer())
    assert before.numbers[1] != before.numbers[4]
    features = np.eye(5, 8, dtype=np.float32)
    features[3], features[4] = 0, features[1] + 0.01 * features[2]
    after = with_scenes_joined(photos, KEYS, before, features, ranges=(), compute=Compute(), observer=Observer())
    numbers = after.numbers
    assert numbers[1] == numbers[4]
    assert numbers[0] == numbers[2]
    assert len(np.unique(numbers)) == 3
    np.testing.assert_array_equal(after.keys, before.keys)
    nothing = np.zeros((5, 4), dtype=np.float32)  # as where no photo can be read
    same = with_scenes_joined(photos, KEYS, before, nothing, ranges=(), compute=Compute(), observer=Observer())
    assert same.numbers.tolist() == before.numbers.tolist()
