"""How a file's answers are compared with the classifier's, from the bytes of photos on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.classifier.classifier import Classifier
from regraft.data.photo_list import PhotoList
from regraft.errors import DataError, ExportError
from regraft.exports.parity import Parity, Reference, check_batch, compare, decode_by_pillow, reference_of
from regraft.images.decoding import decode
from regraft.images.preprocess import Preprocess
from regraft.images.reading import UnreadableImageError
from regraft.progress import Observer

LEAST = (64, 64)


class Table:
    """A file that answers what it was told, photo by photo."""

    description = "{}"

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = iter(rows)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        assert (pixels.dtype, pixels.ndim) == (np.uint8, 4)
        return np.asarray(next(self.rows))[None]


def compared(several: list[Path], known: np.ndarray, found: np.ndarray) -> Parity:
    reference = Reference(PhotoList.unlabelled(several[: len(known)]), known)
    return compare(Table(found), reference, LEAST, Observer())


def test_differences_are_counted_by_hand(several: list[Path]) -> None:
    known = np.array([[0.9, 0.1], [0.4, 0.6], [0.5002, 0.4998]])
    found = np.array([[0.9004, 0.0996], [0.4, 0.6], [0.4998, 0.5002]])
    parity = compared(several, known, found)
    assert (parity.photos, parity.same, parity.differing) == (3, 2, (str(several[2]),))
    assert parity.largest == pytest.approx(4e-4)
    assert not parity.holds


@pytest.mark.parametrize(("difference", "holds"), [(0.0009, True), (0.0011, False)])
def test_a_difference_of_a_thousandth_is_allowed(several: list[Path], difference: float, holds: bool) -> None:
    parity = compared(several, np.array([[0.8, 0.2]]), np.array([[0.8 - difference, 0.2 + difference]]))
    assert parity.holds == holds
    assert parity.same == 1


def test_what_is_said_of_a_file_that_answers_otherwise() -> None:
    Parity(5, 5, 1e-3).check("onnx")
    with pytest.raises(ExportError) as caught:
        Parity(5, 4, 0.25, differing=("pets/a\x1b.jpg",)).check("onnx")
    assert str(caught.value) == (
        "the onnx file does not answer as the classifier does, and was removed: compared with the classifier on 5 "
        "photos, from their files on: the same answer for 4, largest difference of a probability 0.2; 0.001 is "
        "allowed, and no other answer. Write another format (to).\nother answers:\n  pets/a\\x1b.jpg"
    )


def test_made_photos_are_called_so() -> None:
    assert str(Parity(1, 1, 0.0, made=True)).startswith(
        "compared with the classifier on 1 made photo, from its file"[:50]
    )
    assert Parity(1, 1, 0.0, made=True).to_json()["made_photos"] is True


class Brightness:
    """A file that answers by the mean of each photo, or by that of all photos it is given together."""

    description = "{}"

    def __init__(self, *, mixes: bool) -> None:
        self.mixes = mixes

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        mean = pixels.mean(axis=(1, 2, 3)) / 255
        mean = np.full_like(mean, mean.mean()) if self.mixes else mean
        return np.stack([mean, 1 - mean], axis=1)


def test_photos_that_are_given_together_are_answered_as_one_by_one(tmp_path: Path) -> None:
    """51 / 255 = 0.2 and 153 / 255 = 0.6: a file that mixes them answers 0.4."""
    sources = []
    for name, size, value in (("a.png", (9, 8), 51), ("b.png", (7, 12), 153)):
        Image.new("RGB", size, (value,) * 3).save(tmp_path / name)
        sources.append(tmp_path / name)
    check_batch(Brightness(mixes=False), sources, LEAST, "onnx")
    check_batch(Brightness(mixes=True), sources[:1], LEAST, "onnx")  # the same twice
    with pytest.raises(ExportError) as caught:
        check_batch(Brightness(mixes=True), sources, LEAST, "onnx")
    assert str(caught.value) == (
        "the onnx file answers photos that are given together otherwise than one by one, and was removed: a "
        "probability differs by 0.2, and 0.001 is allowed. Write another format (to)."
    )


# --- photos as other programs read them ---


def test_a_photo_is_read_as_regraft_reads_it(several: list[Path]) -> None:
    """Turned, and at a reduced size: 316 x 236 pixels are decoded as 158 x 118, and resized from these."""
    for path, size in zip(several, ((47, 61), (40, 90), (118, 158), (23, 20)), strict=True):
        found = decode_by_pillow(path, LEAST)
        assert found is not None
        assert found.shape == (1, *size, 3)
        same = Preprocess(32, 32, 1.0, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
        assert np.array_equal(same.pixels(found[0]), decode(path, same))


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    found = decode_by_pillow(tmp_path / "clear.png", LEAST)
    assert found is not None
    assert (found == 255).all()


def test_more_than_8_bits_are_left_out(make: Callable[[str], Classifier], several: list[Path], tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    Image.fromarray(np.arange(4000, dtype=np.uint16).reshape(50, 80)).save(deep)
    assert decode_by_pillow(deep, LEAST) is None
    reference = reference_of(make("plain"), PhotoList.unlabelled([several[0], deep]), Observer())
    assert reference.sources == (several[0],)
    assert (reference.probabilities.shape, reference.deep) == ((1, 3), 1)


def test_unreadable_photos_are_left_out_and_none_is_an_error(
    make: Callable[[str], Classifier], several: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(several[0].read_bytes()[:200])
    with pytest.raises(UnreadableImageError):
        decode_by_pillow(broken, LEAST)
    assert reference_of(make("plain"), PhotoList.unlabelled([broken, several[1]]), Observer()).sources == (several[1],)
    message = (
        r"^check: photos that can be compared are needed, and none is\. Of 1 found none can be read and has 8 bits or "
        r"fewer\. Name others\.$"
    )
    with pytest.raises(DataError, match=message):
        reference_of(make("plain"), PhotoList.unlabelled([broken]), Observer())
