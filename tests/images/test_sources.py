"""What Python users pass in, and when two images' contents are equal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.errors import DataError
from regraft.files import sha256
from regraft.images.reading import read_image
from regraft.images.sources import EncodedImage, Pixels, TableCell, as_sources, content_key

Write = Callable[..., Path]
PixelsOf = Callable[[int], np.ndarray]


def only(image: Any) -> Any:
    (source,) = as_sources([image])
    return source


def message_of(images: Any) -> str:
    with pytest.raises(DataError) as caught:
        as_sources(images)
    return str(caught.value)


# --- accepted ---


def test_paths_as_text_and_as_paths(write: Write) -> None:
    folder = write("set", "0.png", "1.png")
    assert as_sources([str(folder / "0.png"), folder / "1.png"]) == [folder / "0.png", folder / "1.png"]


def test_pil_images(pixels: PixelsOf) -> None:
    image = Image.fromarray(pixels(0))
    source = only(image)
    assert source.image is image
    assert str(source) == "image 0"


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_arrays_of_each_shape(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 255, np.uint8)
    array[..., :3] = 40  # opaque, where there is an alpha channel
    if len(shape) == 2:
        array[:] = 40
    image = read_image(only(array))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert (np.asarray(image) == 40).all()


def test_an_array_of_images_is_a_list_of_images(pixels: PixelsOf) -> None:
    batch = np.stack([pixels(0), pixels(1)])
    found = [np.asarray(read_image(source)) for source in as_sources(batch)]
    assert np.array_equal(np.stack(found), batch)


def test_arrays_that_do_not_lie_in_one_piece(pixels: PixelsOf) -> None:
    flipped = pixels(0)[::-1, ::2]
    assert np.array_equal(np.asarray(read_image(only(flipped))), flipped)


@pytest.mark.parametrize("kind", ["uint16", ">u2", "int16", "int32", "float16", "float32", "float64"])
def test_greys_of_more_than_8_bits(kind: str) -> None:
    """Values that need 8 bits: 0 to 255 stand as they are, whole numbers in every type."""
    greys = np.array([[0, 100], [254, 255]])
    assert np.asarray(read_image(only(greys.astype(kind))))[..., 0].tolist() == greys.tolist()


def test_sources_stay_as_they_are(pixels: PixelsOf) -> None:
    known = [Pixels(Image.fromarray(pixels(0)), "mine"), TableCell(Path("t.parquet"), "image", 0, 0, "row 0")]
    found = as_sources(known)
    assert [a is b for a, b in zip(found, known, strict=True)] == [True, True]


def test_names_count_all_images(write: Write, pixels: PixelsOf) -> None:
    folder = write("set", "0.png")
    assert [str(s) for s in as_sources([folder / "0.png", pixels(0)])] == [str(folder / "0.png"), "image 1"]


def test_nothing() -> None:
    assert as_sources([]) == []


# --- refused ---


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((4, 4, 3)), "float64 of shape (4, 4, 3)"),
        (np.zeros((4, 4), np.int64), "int64 of shape (4, 4)"),
        (np.zeros((4, 4, 1), np.uint8), "uint8 of shape (4, 4, 1)"),
        (np.zeros((4, 4, 2), np.uint8), "uint8 of shape (4, 4, 2)"),
        (np.zeros(4, np.uint8), "uint8 of shape (4,)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "uint8 of shape (1, 4, 4, 3)"),
        (np.zeros((4, 4), bool), "bool of shape (4, 4)"),
    ],
)
def test_arrays_of_another_type_or_shape(array: np.ndarray, got: str) -> None:
    assert message_of([array]) == (
        "image 0: an array must be uint8 of shape (h, w), (h, w, 3) or (h, w, 4), or greys of shape (h, w) in uint16, "
        f"int16, int32, float16, float32, float64. Got {got}. Scale the values to 0..255 and put channels last."
    )


@pytest.mark.parametrize(("thing", "kind"), [(7, "int"), (None, "NoneType"), (b"bytes", "bytes"), ([1], "list")])
def test_things_that_are_no_images(thing: object, kind: str, pixels: PixelsOf) -> None:
    assert message_of([pixels(0), thing]) == (f"image 1: allowed are a path, a PIL image or a uint8 array. Got {kind}.")


def test_missing_files_are_named(write: Write) -> None:
    folder = write("set", "0.png")
    message = message_of([folder / "0.png", folder / "gone.png", str(folder / "lost.png")])
    assert message == f"2 of 3 image files do not exist: {folder / 'gone.png'}, {folder / 'lost.png'}. Check the paths."


def test_a_folder_is_no_image_file(tmp_path: Path) -> None:
    assert message_of([tmp_path]) == f"1 of 1 image files do not exist: {tmp_path}. Check the paths."


def test_twenty_missing_files_are_named() -> None:
    message = message_of([f"gone/{number}.png" for number in range(25)])
    assert message.startswith("25 of 25 image files do not exist: ")
    assert message.count("gone") == 20


# --- content keys ---


def test_the_key_of_a_file_is_that_of_its_bytes(write: Write) -> None:
    folder = write("set", "0.png", "sub/1.png")
    copy = folder / "sub/copy.png"
    copy.write_bytes((folder / "0.png").read_bytes())
    assert content_key(copy) == content_key(folder / "0.png") == sha256(copy.read_bytes())
    assert content_key(folder / "sub/1.png") != content_key(copy)


def test_the_key_of_a_file_follows_its_content(write: Write) -> None:
    path = write("set", "0.png") / "0.png"
    before = content_key(path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert content_key(path) != before


def test_equal_arrays_and_images_have_equal_keys(pixels: PixelsOf) -> None:
    image = Image.fromarray(pixels(0))
    keys = {content_key(only(thing)) for thing in (pixels(0), pixels(0).copy(), image, image.copy())}
    assert len(keys) == 1
    assert len(keys.pop()) == 32


def test_one_pixel_makes_another_key(pixels: PixelsOf) -> None:
    changed = pixels(0)
    changed[3, 4, 1] ^= 1
    assert content_key(only(changed)) != content_key(only(pixels(0)))


def test_equal_bytes_of_another_shape_or_mode_have_another_key() -> None:
    flat = np.arange(48, dtype=np.uint8)
    shapes = [(4, 12), (12, 4), (4, 4, 3), (2, 8, 3), (3, 4, 4)]
    assert len({content_key(only(flat.reshape(shape))) for shape in shapes}) == 5


def test_orientation_counts(pixels: PixelsOf) -> None:
    keys = set()
    for orientation in (None, 1, 3, 6, 8):
        image = Image.fromarray(pixels(0))
        if orientation:
            image.getexif()[0x0112] = orientation
        keys.add(content_key(Pixels(image, "x")))
    assert len(keys) == 5


def test_palette_and_transparency_count() -> None:
    def image(*colours: int, transparency: int | None = None) -> Pixels:
        picture = Image.new("P", (2, 1))
        picture.putpalette(colours)
        picture.putdata([0, 1])
        if transparency is not None:
            picture.info["transparency"] = transparency
        return Pixels(picture, "x")

    red_blue, blue_red = (255, 0, 0, 0, 0, 255), (0, 0, 255, 255, 0, 0)
    assert content_key(image(*red_blue)) == content_key(image(*red_blue))
    different = [image(*red_blue), image(*blue_red), image(*red_blue, transparency=0), image(*red_blue, transparency=1)]
    assert len({content_key(picture) for picture in different}) == 4


def test_the_name_does_not_count(pixels: PixelsOf) -> None:
    assert content_key(Pixels(Image.fromarray(pixels(0)), "a")) == content_key(Pixels(Image.fromarray(pixels(0)), "b"))


def test_a_thing_that_holds_nothing() -> None:
    assert message_of(3) == "expected a list of images. Got int. Allowed are paths, PIL images or arrays."


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 4), (4, 0, 4)])
def test_arrays_without_pixels(shape: tuple[int, ...]) -> None:
    assert f"image 0: an array of shape {shape} holds no pixels." in message_of([np.zeros(shape, dtype=np.uint8)])


def test_a_text_too_long_for_a_path() -> None:
    assert "1 of 1 image files do not exist" in message_of(["a" * 5000])


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_is_no_list(kind: type) -> None:
    message = message_of(kind("photo.png"))
    assert message == "expected a list of images. Got one path, 'photo.png'. Put it into a list."


def test_a_table_that_was_written_again_is_read_again(
    parquet: Callable[..., Path], png: Callable[[int], bytes]
) -> None:
    for seed in (0, 1):
        file = parquet("x.parquet", [{"bytes": png(seed), "path": None}], ["a"])
        assert TableCell(file, "image", 0, 0, "row 0").open().read() == png(seed)


# --- encoded, in memory ---


@pytest.mark.parametrize("side", [40, 2400])  # of 17 MB, as a large file that decoders read piece by piece
def test_an_encoded_image_is_what_its_file_is(tmp_path: Path, side: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = tmp_path / "a.bmp"
    Image.fromarray(values).save(file)
    encoded = EncodedImage(file.read_bytes(), "upload.bmp")
    assert as_sources([encoded]) == [encoded]
    assert str(encoded) == "upload.bmp"
    assert "data" not in repr(encoded)
    assert content_key(encoded) == content_key(file)
    np.testing.assert_array_equal(
        np.asarray(read_image(encoded, min_side=20)), np.asarray(read_image(file, min_side=20))
    )


def test_an_encoded_image_has_the_limit_of_a_file() -> None:
    with pytest.raises(OSError, match=r"^2 kB, and at most 1 kB are read$"):
        EncodedImage(bytes(2000), "a").open(limit=1000)


def test_encoded_images_too_large_for_memory_are_opened_without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems that have none."""
    monkeypatch.delattr("os.memfd_create")
    data = bytes(range(256)) * 70_000
    with EncodedImage(data, "a").open() as stream:
        assert stream.fileno() >= 0
        assert stream.read() == data
