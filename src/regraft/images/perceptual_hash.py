"""What a photo shows, in 32 bytes that stay nearly the same when it is saved again, resized, mirrored or edited.

A photo is brought to 64 x 64 pixels. The signs of those of its cosine coefficients that describe details of middle size
are the hash (after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", whose DCT hash
takes the largest details, in which photos of one kind are alike). A mirrored or turned photo has the same coefficients
with other signs or in another order, so that all eight orientations are compared from one hash.
"""

import hashlib

import numpy as np
from PIL import Image

from regraft.images.preprocess import Preprocess

SIDE = 64  # pixels
THUMBNAIL = Preprocess(SIDE, SIDE, 1.0, "squash", "bilinear", (0.0,) * 3, (1.0,) * 3)
HASH_BYTES = 32
KEY_BYTES = 32
_LARGEST_DETAIL, _SMALLEST_DETAIL = 25, 324  # squared distances from the mean's coefficient: from 5 to 18
_LEAST_DETAIL = 1.0  # root mean square of the coefficients, of 255 grey levels: less is noise
_EVEN = 16  # of 255 levels that a margin's pixels may differ by: what JPEG leaves of one colour
_AT_A_TIME = 4096  # hashes, of which each bit takes a byte for a while
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def _coefficients() -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns (BITS,) of the coefficients, those of each parity together: see `PARITIES`."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = rows**2 + columns**2
    chosen = np.argwhere((distance >= _LARGEST_DETAIL) & (distance < _SMALLEST_DETAIL))
    order = np.lexsort((chosen[:, 1], chosen[:, 0], chosen[:, 1] % 2, chosen[:, 0] % 2))
    return chosen[order, 0], chosen[order, 1]


_ROWS, _COLUMNS = _coefficients()
BITS = len(_ROWS)
_parity = 2 * (_ROWS % 2) + _COLUMNS % 2
# the bits of even rows and even columns, even and odd, odd and even, odd and odd: a flip changes signs of two of these
PARITIES = tuple(slice(int(np.searchsorted(_parity, k)), int(np.searchsorted(_parity, k, "right"))) for k in range(4))
_place = {pair: place for place, pair in enumerate(zip(_ROWS.tolist(), _COLUMNS.tolist(), strict=True))}
# where each bit of the photo with rows and columns exchanged stands
TRANSPOSED = np.array([_place[column, row] for row, column in _place])


def picture_keys(thumbnails: np.ndarray) -> np.ndarray:
    """Return (b, 32) uint8 keys of (b, 64, 64, 3) uint8 pixels: equal for equal pixels, whatever the file."""
    keys = [hashlib.sha256(np.ascontiguousarray(one).tobytes()).digest() for one in thumbnails]
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


def grey(thumbnails: np.ndarray) -> np.ndarray:
    """Return (b, 64, 64) float32 luminances, 0 to 255, of (b, 64, 64, 3) uint8 pixels."""
    return np.asarray(thumbnails.astype(np.float32) @ LUMA)


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return (b, 32) uint8 hashes of (b, 64, 64, 3) uint8 pixels; all zero where a photo shows nothing."""
    from scipy.fft import dctn  # here, for one photo is answered in less time than it takes to import

    if not len(thumbnails):
        return np.empty((0, HASH_BYTES), dtype=np.uint8)
    found = dctn(grey(thumbnails), axes=(1, 2), norm="ortho")[:, _ROWS, _COLUMNS]
    bits = np.zeros((len(found), 8 * HASH_BYTES), dtype=bool)
    bits[:, :BITS] = found >= 0
    bits[np.sqrt((found**2).mean(axis=1)) < _LEAST_DETAIL] = False
    return np.packbits(bits, axis=1)


def hash_words(hashes: np.ndarray) -> np.ndarray:
    """Return (2, 4, n) uint64: the bits of (n, 32) hashes, those of each of the four `PARITIES` in one word.

    First as they are, then those of the photos with rows and columns exchanged. Zeros for photos that show nothing.
    """
    words = np.empty((2, len(PARITIES), len(hashes)), dtype=np.uint64)
    for start in range(0, len(hashes), _AT_A_TIME):
        bits = np.unpackbits(hashes[start : start + _AT_A_TIME], axis=1)[:, :BITS]
        found = np.zeros((2, len(PARITIES), len(bits), 64), dtype=np.uint8)
        for turned, own in enumerate((bits, bits[:, TRANSPOSED])):
            for parity, part in enumerate(PARITIES):
                found[turned, parity, :, : part.stop - part.start] = own[:, part]
        words[:, :, start : start + len(bits)] = np.packbits(found, axis=3).view(np.uint64)[..., 0]
    return words


def margin_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return (b, 32) uint8 hashes of (b, 64, 64, 3) pixels without margins of one colour; zeros where are none."""
    found = np.zeros((len(thumbnails), HASH_BYTES), dtype=np.uint8)
    for place, picture in enumerate(thumbnails):
        inner = _without_margins(picture)
        if inner is not None:
            found[place] = perceptual_hashes(inner[None])[0]
    return found


def _without_margins(picture: np.ndarray) -> np.ndarray | None:
    """Return (64, 64, 3) pixels inside of the margins of a picture; None without margins, or with nothing inside."""
    levels = picture.astype(np.float32)
    rows, columns = levels, levels.transpose(1, 0, 2)
    top, bottom, left, right = (_margin(lines) for lines in (rows, rows[::-1], columns, columns[::-1]))
    if not (top or bottom or left or right) or min(SIDE - top - bottom, SIDE - left - right) < SIDE / 2:
        return None
    box = (left, top, SIDE - right, SIDE - bottom)
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))


def _margin(lines: np.ndarray) -> float:
    """Return how many of (64, 64, 3) lines are a margin of one colour, with the share of a line that partly is."""
    means = lines.mean(axis=1)
    even = (np.ptp(lines, axis=1).max(axis=1) <= _EVEN) & (np.abs(means - means[0]).max(axis=1) <= _EVEN)
    count = SIDE if even.all() else int(np.argmin(even))
    if not 0 < count < SIDE - 1:
        return float(count)
    towards = means[0] - lines[count + 1]  # the partly covered line lies between the colour and the line after it
    share = float(((lines[count] - lines[count + 1]) * towards).sum() / max(float((towards**2).sum()), 1.0))
    return count + min(max(share, 0.0), 1.0)
