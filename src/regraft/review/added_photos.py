"""Photos that people add while they review: kept in a folder beside the data, as they were sent."""

import re
from collections.abc import Container
from pathlib import Path

from regraft.errors import OptionError, OutputError, printable
from regraft.files import atomic_write, write_failure
from regraft.images.formats import IMAGE_SUFFIXES, PHOTO_FORMATS
from regraft.images.reading import UnreadableImageError, look_at, read_image
from regraft.images.sources import EncodedImage, content_key

_GLANCE = 32  # pixels of a side that a photo is decoded to, to see whether it can be
_LONGEST = 80  # characters of a name without its ending
_MOST_OF_NAME = 10_000  # photos of one name


def keep_photo(image: EncodedImage, folder: Path, *, known: Container[bytes]) -> tuple[bytes, Path | None]:
    """Write a photo into a folder, which is made where there is none, and return its content key and its path.

    Args:
        image: as it was sent.
        folder: for it.
        known: keys of photos that are there already; for one of these the path is None, and nothing is written.

    Raises:
        OptionError: it cannot be read.
        OutputError: it cannot be written.
    """
    try:
        key, _, header = look_at(image)
        if key in known:
            return key, None
        read_image(image, min_side=_GLANCE)
    except UnreadableImageError as error:
        raise OptionError(f"{printable(image.name)}: {error}.") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _free_path(folder, image.name, PHOTO_FORMATS.get(header.format, (".jpg",))[0], key)
    except OSError as error:
        raise write_failure(folder, error) from None
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_bytes(image.data)
    return key, path


def _free_path(folder: Path, name: str, suffix: str, key: bytes) -> Path:
    """Return where no file lies, or one of this content."""
    plain = re.split(r"[/\\]", name)[-1]
    stem, dot, ending = plain.rpartition(".")
    suffix = f".{ending.lower()}" if dot and f".{ending.lower()}" in IMAGE_SUFFIXES else suffix
    stem = re.sub(r"[^\w.-]+", "_", stem if dot else plain).strip("._-")[:_LONGEST] or "photo"
    for number in range(1, _MOST_OF_NAME):
        path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
        if not path.exists() or content_key(path) == key:
            return path
    raise OutputError(f"{printable(folder)} has too many photos of the name {stem}{suffix}. Rename yours.")
