"""Pictures of photos that are reviewed: small JPEGs of exactly what was looked at."""

import io
from functools import lru_cache

from PIL import Image

from regraft.images.reading import UnreadableImageError, errors_as_reasons, read_image
from regraft.images.sources import Source, content_key
from regraft.images.value_range import Ranges
from regraft.review.photos import ReviewPhoto

_KEPT, _KEPT_SIDE = 1000, 400  # pictures that are kept in memory, and pixels of a side of the largest of them
_QUALITY = 85  # of JPEG


def jpeg_of(photo: ReviewPhoto, side: int, ranges: Ranges) -> bytes:
    """Return a photo, upright, as a JPEG that fits into a square; of a photo with copies, the first that is there.

    Args:
        photo: what is shown.
        side: of the square, in pixels.
        ranges: the values of black and white where it has more than 8 bits.

    Raises:
        UnreadableImageError: it cannot be read any more, or its file holds something else by now: what people decide is
            about what was looked at.
    """
    make = _small_jpeg if side <= _KEPT_SIDE else _small_jpeg.__wrapped__
    first: UnreadableImageError | None = None
    for source in dict.fromkeys(photo.sources):
        try:
            return make(photo.key, source, side, ranges)
        except UnreadableImageError as error:
            first = first or error
    assert first is not None  # as a photo has a source
    raise first


@lru_cache(maxsize=_KEPT)
def _small_jpeg(key: bytes, source: Source, side: int, ranges: Ranges) -> bytes:
    with errors_as_reasons():
        if content_key(source) != key:
            raise UnreadableImageError("its file holds something else by now. Look at the photos again")
    image = read_image(source, min_side=side, ranges=ranges)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
