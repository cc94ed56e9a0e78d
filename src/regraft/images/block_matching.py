"""How well the details of two small pictures agree, where one may be a part of the other or covered in parts."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from regraft.runtime import cpu_count

EVERY_ORIENTATION = tuple((mirrored, quarter) for mirrored in (False, True) for quarter in range(4))
UPRIGHT = ((False, 0), (True, 0))
_BLOCK = 16  # pixels
_SLACK = 1  # pixels that a block may lie beside where the others say
_SCALES = (1.0, 0.9, 0.8)  # sides of one picture, of the other's: further ones are found up to 5 % beside these
_COARSEST, _FINEST = 12, 40  # DCT indices: coarser details are alike in photos of one kind, finer ones are noise
_AT_A_TIME = 32  # pairs
_LEAST = 1e-3  # of a norm: what is flat agrees with nothing
_CUBIC = -0.75  # the slope at 1 of the cubic that pictures are enlarged by


def agreement(
    pictures: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    orientations: Sequence[tuple[bool, int]] = EVERY_ORIENTATION,
) -> np.ndarray:
    """Return (p,) numbers, 1 for the same details, near 0 for others, in the position in which they agree best.

    A picture is divided into blocks. Those half of them that have most detail are looked for in the other picture by
    the normalised cross-correlation (Lewis 1995), all at the same displacement; the median over them counts, so that a
    caption over a part does no harm. Either picture may be a part of the other.

    Args:
        pictures: (n, s, s) luminances of any number type, s a multiple of 16.
        first: (p,) positions.
        second: (p,) positions of the pictures that they are compared with.
        orientations: of the second picture: whether it is mirrored, and quarter turns.
    """

    def best_of(start: int) -> np.ndarray:
        a, b = (pictures[places[start : start + _AT_A_TIME]].astype(np.float32) for places in (first, second))
        found = [_part_of(a, b, scale, orientations) for scale in _SCALES]
        found += [_part_of(b, a, scale, orientations) for scale in _SCALES if scale < 1]
        return np.asarray(np.max(found, axis=0))

    starts = range(0, len(first), _AT_A_TIME)
    with ThreadPoolExecutor(cpu_count()) as pool:
        return np.concatenate([np.empty(0, dtype=np.float32), *pool.map(best_of, starts)])


def enlarged(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return (n, side, side) of pictures (n, s, s), by cubic convolution (Keys 1981) with a slope of -0.75."""
    if side == pictures.shape[1]:
        return pictures
    weights = _cubic_weights(pictures.shape[1], side)
    return np.asarray(weights @ pictures @ weights.T)


@lru_cache
def _cubic_weights(side: int, new: int) -> np.ndarray:
    """Return (new, side) float32 weights of the pixels of a line in one of `new` pixels; edges are repeated."""
    centres = (np.arange(new) + 0.5) * side / new - 0.5
    near = np.floor(centres).astype(np.int64)[:, None] + np.arange(-1, 3)
    t = np.abs(centres[:, None] - near)
    inner = ((_CUBIC + 2) * t - (_CUBIC + 3)) * t**2 + 1
    outer = _CUBIC * (((t - 5) * t + 8) * t - 4)
    found = np.zeros((new, side))
    np.add.at(found, (np.arange(new)[:, None], near.clip(0, side - 1)), np.where(t <= 1, inner, outer))
    return found.astype(np.float32)


def _part_of(
    parts: np.ndarray, wholes: np.ndarray, scale: float, orientations: Sequence[tuple[bool, int]]
) -> np.ndarray:
    """Return (p,) agreements of pictures (p, s, s) with parts of others (p, s, s) that have `scale` of their sides."""
    from scipy.fft import (  # here, for one photo is answered in less time than it takes to import
        irfft2,
        next_fast_len,
        rfft2,
    )

    side = parts.shape[1]
    blocks, norms, places = _blocks_with_most_detail(_details(parts, side))
    padded = np.pad(_details(enlarged(wholes, round(side / scale)), side), ((0, 0), (_SLACK,) * 2, (_SLACK,) * 2))
    shifts = padded.shape[1] - side + 1
    width = _BLOCK + shifts - 1
    size = (next_fast_len(width, real=True),) * 2
    spectra = rfft2(blocks, size).conj()
    deviations = np.maximum(_deviations(padded), _LEAST)
    best = np.full(len(parts), -1.0, dtype=np.float32)
    for mirrored, quarter in orientations:
        others, lengths = (
            np.rot90(one[:, :, ::-1] if mirrored else one, quarter, (1, 2)) for one in (padded, deviations)
        )
        windows = rfft2(_around(others, width, places), size)
        products = irfft2(windows * spectra, size)[..., :shifts, :shifts]  # beyond, it wraps around
        found = products / (norms[..., None, None] * _around(lengths, shifts, places))
        np.maximum(best, _common_displacement(found), out=best)
    return best


def _common_displacement(correlations: np.ndarray) -> np.ndarray:
    """Return (p,) medians over blocks of (p, k, d, d) correlations, at the displacement (d, d) where they are best.

    Each block may lie `_SLACK` beside it. Of two medians the lower one counts.
    """
    near = correlations
    for _ in range(2):  # over rows, which go last, then over columns: few steps over large arrays
        near = sliding_window_view(near, near.shape[2] - 2 * _SLACK, 2).max(2)
    middle = (near.shape[1] - 1) // 2
    return np.asarray(np.partition(near, middle, axis=1)[:, middle].max((1, 2)))


def _details(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return (n, t, t) pictures without the details that are too coarse or too fine, in pixels as of `side`."""
    from scipy.fft import dctn, idctn  # here, for one photo is answered in less time than it takes to import

    found = dctn(pictures, axes=(1, 2), norm="ortho")
    rows, columns = np.mgrid[: pictures.shape[1], : pictures.shape[2]] * (side / pictures.shape[1])
    distance = np.hypot(rows, columns)
    found[:, (distance < _COARSEST) | (distance >= _FINEST)] = 0
    return np.asarray(idctn(found, axes=(1, 2), norm="ortho"), dtype=np.float32)


def _blocks_with_most_detail(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return half of the blocks: (p, k, 16, 16) without their means, (p, k) norms and (p, k) places."""
    count = pictures.shape[1] // _BLOCK
    tiles = pictures.reshape(-1, count, _BLOCK, count, _BLOCK).swapaxes(2, 3).reshape(-1, count**2, _BLOCK, _BLOCK)
    tiles = tiles - tiles.mean((2, 3), keepdims=True)
    norms = np.linalg.norm(tiles, axis=(2, 3))
    places = np.argsort(-norms, axis=1, kind="stable")[:, : count**2 // 2]
    rows = np.arange(len(pictures))[:, None]
    return tiles[rows, places], np.maximum(norms[rows, places], _LEAST), places


def _around(pictures: np.ndarray, width: int, places: np.ndarray) -> np.ndarray:
    """Return (p, k, width, width) windows of pictures (p, t, t), which begin where the blocks at `places` (p, k) do."""
    windows = sliding_window_view(pictures, (width, width), (1, 2))[:, ::_BLOCK, ::_BLOCK]
    return windows[np.arange(len(pictures))[:, None], *np.divmod(places, windows.shape[2])]


def _deviations(pictures: np.ndarray) -> np.ndarray:
    """Return (p, t - 15, t - 15) norms of all blocks of pictures (p, t, t), each without its mean."""
    sums, squares = (_box_sums(one) for one in (pictures, np.square(pictures, dtype=np.float64)))
    return np.sqrt(np.maximum(squares - sums**2 / _BLOCK**2, 0)).astype(np.float32)


def _box_sums(pictures: np.ndarray) -> np.ndarray:
    """Return (p, t - 15, t - 15) sums over all blocks of pictures (p, t, t) (Crow 1984: summed-area tables)."""
    table = np.pad(pictures.cumsum(1, dtype=np.float64).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    sums = table[:, _BLOCK:] - table[:, :-_BLOCK]
    return np.asarray(sums[:, :, _BLOCK:] - sums[:, :, :-_BLOCK])
