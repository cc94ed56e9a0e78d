"""Photos as small pictures inside a page."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from regraft.images.formats import decoders
from regraft.images.reading import UnreadableImageError, read_image
from regraft.images.sources import Source
from regraft.images.value_range import Ranges
from regraft.photo_audit.photos import AuditPhotos
from regraft.plots.images import as_data
from regraft.runtime import cpu_count

WIDTH, HEIGHT = 160, 112  # pixels that a thumbnail fits into
_QUALITY = 80  # of the JPEG


@dataclass(frozen=True)
class Thumbnail:
    """A photo made small.

    Attributes:
        uri: a "data:" address; "" where there is no picture.
        reason: why there is none.
    """

    uri: str
    reason: str = ""


def thumbnails(photos: AuditPhotos, positions: Sequence[int]) -> dict[int, Thumbnail]:
    """Return the thumbnails of the photos at `positions`, by position; each is decoded once.

    No more photos are in memory than there are processors.
    """
    asked = list(dict.fromkeys(positions))
    found = {place: Thumbnail("", photos.unreadable[place]) for place in asked if place in photos.unreadable}
    left = [place for place in asked if place not in found]
    decoders()  # they are loaded before there are threads
    with ThreadPoolExecutor(cpu_count()) as pool:
        pictures = pool.map(lambda place: _thumbnail(photos.sources[place], photos.ranges), left)
        return found | dict(zip(left, pictures, strict=True))


def _thumbnail(source: Source, ranges: Ranges) -> Thumbnail:
    try:
        image = read_image(source, min_side=HEIGHT, ranges=ranges)
    except UnreadableImageError as error:
        return Thumbnail("", str(error))
    image.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return Thumbnail(as_data(image, quality=_QUALITY))
