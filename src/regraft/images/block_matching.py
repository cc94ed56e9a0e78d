"""How well the details of two small pictures agree, where one may be a part of the other or covered in parts."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch.nn import functional

EVERY_ORIENTATION = tuple((mirrored, quarter) for mirrored in (False, True) for quarter in range(4))
UPRIGHT = ((False, 0), (True, 0))
_BLOCK = 16  # pixels
_SLACK = 1  # pixels that a block may lie beside where the others say
_SCALES = (1.0, 0.9, 0.8)  # sides of one picture, of the other's: further ones are found up to 5 % beside these
_COARSEST, _FINEST = 12, 40  # DCT indices: coarser details are alike in photos of one kind, finer ones are noise
_AT_A_TIME = 32  # pairs
_LEAST = 1e-3  # of a norm: what is flat agrees with nothing


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
    best = np.full(len(first), -1.0, dtype=np.float32)
    for start in range(0, len(first), _AT_A_TIME):
        a, b = (pictures[places[start : start + _AT_A_TIME]].astype(np.float32) for places in (first, second))
        for scale in _SCALES:
            found = _part_of(a, b, scale, orientations)
            if scale < 1:
                found = torch.maximum(found, _part_of(b, a, scale, orientations))
            part = best[start : start + _AT_A_TIME]
            np.maximum(part, found.numpy(), out=part)
    return best


def _part_of(
    parts: np.ndarray, wholes: np.ndarray, scale: float, orientations: Sequence[tuple[bool, int]]
) -> torch.Tensor:
    """Return (p,) agreements of pictures (p, s, s) with parts of others (p, s, s) that have `scale` of their sides."""
    side = parts.shape[1]
    blocks, norms, places = _blocks_with_most_detail(_details(parts, side))
    details = _details(_enlarged(wholes, round(side / scale)), side)
    best = torch.full((len(parts),), -1.0)
    for mirrored, quarter in orientations:
        turned = (details.flip(2) if mirrored else details).rot90(quarter, (1, 2))
        best = torch.maximum(best, _common_displacement(blocks, norms, places, turned, side))
    return best


def _enlarged(pictures: np.ndarray, side: int) -> np.ndarray:
    if side == pictures.shape[1]:
        return pictures
    found = functional.interpolate(torch.from_numpy(pictures)[:, None], (side, side), mode="bicubic")
    return found[:, 0].numpy()


def _details(pictures: np.ndarray, side: int) -> torch.Tensor:
    """Return (n, t, t) pictures without the details that are too coarse or too fine, in pixels as of `side`."""
    found = dctn(pictures, axes=(1, 2), norm="ortho")
    rows, columns = np.mgrid[: pictures.shape[1], : pictures.shape[2]] * (side / pictures.shape[1])
    distance = np.hypot(rows, columns)
    found[:, (distance < _COARSEST) | (distance >= _FINEST)] = 0
    return torch.from_numpy(idctn(found, axes=(1, 2), norm="ortho").astype(np.float32))


def _blocks_with_most_detail(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return half of the blocks: (p, k, 16, 16) without their means, (p, k) norms and (p, k) places."""
    tiles = pictures.unfold(1, _BLOCK, _BLOCK).unfold(2, _BLOCK, _BLOCK).flatten(1, 2)
    tiles = tiles - tiles.mean((2, 3), keepdim=True)
    norms = tiles.square().sum((2, 3)).sqrt()
    places = norms.topk(tiles.shape[1] // 2, dim=1).indices
    index = places[:, :, None, None].expand(-1, -1, _BLOCK, _BLOCK)
    return tiles.gather(1, index), norms.gather(1, places), places


def _common_displacement(
    blocks: torch.Tensor, norms: torch.Tensor, places: torch.Tensor, others: torch.Tensor, side: int
) -> torch.Tensor:
    """Return (p,) medians over blocks (p, k, 16, 16) of correlations at the displacement where they are best.

    Args:
        blocks: of pictures.
        norms: (p, k).
        places: (p, k).
        others: (p, t, t), in which the picture's (side, side) pixels lie somewhere.
        side: of the picture.
    """
    padded = functional.pad(others, (_SLACK,) * 4)
    shifts = padded.shape[1] - side + 1
    width = _BLOCK + shifts - 1
    windows = _around(padded, width, places)
    spectrum = torch.fft.rfft2(windows) * torch.fft.rfft2(blocks, s=(width, width)).conj()
    products = torch.fft.irfft2(spectrum, s=(width, width))[..., :shifts, :shifts]  # beyond, it wraps around
    deviations = _around(_deviations(padded), shifts, places)
    found = products / (norms[..., None, None].clamp_min(_LEAST) * deviations.clamp_min(_LEAST))
    near = functional.max_pool2d(found, 2 * _SLACK + 1, 1)
    return near.median(1).values.flatten(1).amax(1)


def _around(pictures: torch.Tensor, width: int, places: torch.Tensor) -> torch.Tensor:
    """Return (p, k, width, width) windows of pictures (p, t, t), which begin where the blocks at `places` (p, k) do."""
    windows = pictures.unfold(1, width, _BLOCK).unfold(2, width, _BLOCK).flatten(1, 2)
    return windows.gather(1, places[:, :, None, None].expand(-1, -1, width, width))


def _deviations(pictures: torch.Tensor) -> torch.Tensor:
    """Return (p, t - 15, t - 15) norms of all blocks of pictures (p, t, t), each without its mean."""
    sums, squares = (_box_sums(one) for one in (pictures.double(), pictures.double().square()))
    return (squares - sums.square() / _BLOCK**2).clamp_min(0).sqrt().float()


def _box_sums(pictures: torch.Tensor) -> torch.Tensor:
    """Return (p, t - 15, t - 15) sums over all blocks of pictures (p, t, t) (Crow 1984: summed-area tables)."""
    table = functional.pad(pictures.cumsum(1).cumsum(2), (1, 0, 1, 0))
    return (
        table[:, _BLOCK:, _BLOCK:]
        - table[:, :-_BLOCK, _BLOCK:]
        - table[:, _BLOCK:, :-_BLOCK]
        + table[:, :-_BLOCK, :-_BLOCK]
    )
