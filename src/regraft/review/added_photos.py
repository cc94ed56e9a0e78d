"""Photos that people add while they review: kept in a folder beside the data, as they were sent."""

import re
from collections.abc import Container, Sequence
from pathlib import Path

from regraft.errors import OptionError, OutputError, printable
from regraft.files import atomic_write, is_file, write_failure
from regraft.images.formats import IMAGE_SUFFIXES, PHOTO_FORMATS
from regraft.images.reading import MAX_PIXELS, UnreadableImageError, look_at, read_image
from regraft.images.sources import EncodedImage, content_key

_GLANCE = 32  # pixels of a side that a photo is decoded to, to see whether it can be
_LONGEST = 80  # characters of a name without its ending
_LONGEST_BYTES = 160  # of the same: systems take 255, of which some are for what it is called while it is written
_DIGITS = (0, 8, 64)  # of its content's key, by which photos of one name differ


def keep_photo(
    image: EncodedImage,
    folder: Path,
    *,
    known: Container[bytes],
    tested: Container[bytes] = (),
    max_pixels: int = MAX_PIXELS,
) -> tuple[bytes, Path | None]:
    """Write a photo into a folder, which is made where there is none, and return its content key and its path.

    Args:
        image: as it was sent.
        folder: for it.
        known: keys of photos that are there already; for one of these the path is None, and nothing is written.
        tested: keys of photos of a test split.
        max_pixels: that it may have.

    Raises:
        OptionError: it cannot be read, or is of a test split; the reason alone, without its name.
        OutputError: it cannot be written.
    """
    try:
        key, _, header = look_at(image, max_pixels=max_pixels)
        if key in known:
            return key, None
        if key in tested:
            raise OptionError("it is a photo of the test split, of which nothing is learned.")
        read_image(image, min_side=_GLANCE)
    except UnreadableImageError as error:
        raise OptionError(f"{error}.") from None
    suffix = PHOTO_FORMATS.get(header.format, (".jpg",))[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return key, _written(image.data, key, [folder / name for name in _names(image.name, suffix, key)])
    except OSError as error:
        raise write_failure(folder, error) from None


def _names(name: str, suffix: str, key: bytes) -> list[str]:
    """Return names for a photo that was sent as `name`; the last is that of its content alone."""
    plain = re.split(r"[/\\]", name)[-1]
    stem, dot, ending = plain.rpartition(".")
    suffix = f".{ending.lower()}" if dot and f".{ending.lower()}" in IMAGE_SUFFIXES else suffix
    stem = re.sub(r"[^\w.-]+", "_", stem if dot else plain).strip("._-")[:_LONGEST]
    stem = stem.encode()[:_LONGEST_BYTES].decode(errors="ignore") or "photo"
    return [f"{stem}{'-' if digits else ''}{key.hex()[:digits]}{suffix}" for digits in _DIGITS]


def _written(data: bytes, key: bytes, paths: Sequence[Path]) -> Path:
    """Write what is nowhere of these paths to the first that nobody has, and return where it lies.

    Others may add photos of the same name at the same time: a name is taken before anything is written.

    Raises:
        OSError: it cannot be written.
    """
    for path in paths:
        try:
            path.open("xb").close()
        except FileExistsError:
            if is_file(path) and content_key(path) == key:
                return path
            continue
        try:
            with atomic_write(path) as temporary:
                temporary.write_bytes(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path
    raise OutputError(f"{printable(paths[-1])} is there, and holds something else. Move it away.")
