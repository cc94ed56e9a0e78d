"""How well the details of two small pictures agree, where one may be shifted, cut or covered in parts."""

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch.nn import functional

_BLOCK = 16  # pixels
_SHIFT = 7  # pixels that a block may have moved, in each direction
_FINEST, _COARSEST = 40, 12  # DCT indices: coarser details are alike in photos of one kind, finer ones are noise
_AT_A_TIME = 512  # pairs
_LEAST = 1e-3  # of a standard deviation: what is flat agrees with nothing


def agreement(pictures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (p,) numbers, 1 for the same details, near 0 for others, in the orientation in which they agree best.

    A picture is divided into blocks. Those half of them that have most detail are looked for in the other picture, near
    where they should be, by the normalised cross-correlation (Lewis 1995); the median of their best values counts, so
    that a caption over a part does no harm. The lesser of both directions is taken.

    Args:
        pictures: (n, s, s) luminances, s a multiple of 16.
        first: (p,) positions.
        second: (p,) positions of the pictures that they are compared with.
    """
    details = _details(pictures)
    parts = []
    for start in range(0, len(first), _AT_A_TIME):
        a, b = (details[places[start : start + _AT_A_TIME]] for places in (first, second))
        parts.append(torch.minimum(_found_in(a, b), _found_in(b, a)))
    return torch.cat([torch.empty(0), *parts]).numpy()


def _details(pictures: np.ndarray) -> torch.Tensor:
    """Return (n, s, s) pictures without their coarsest and finest details."""
    found = dctn(pictures, axes=(1, 2), norm="ortho")
    rows, columns = np.mgrid[: pictures.shape[1], : pictures.shape[2]]
    distance = rows**2 + columns**2
    found[:, (distance < _COARSEST**2) | (distance >= _FINEST**2)] = 0
    return torch.from_numpy(idctn(found, axes=(1, 2), norm="ortho").astype(np.float32))


def _found_in(pictures: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return (p,) medians over blocks of `pictures` (p, s, s) of how well each is found in `others` (p, s, s)."""
    blocks, deviations, places = _blocks_with_most_detail(pictures)
    best = torch.full((len(pictures),), -1.0)
    for turned in (others, others.flip(2)):
        for quarter in range(4):
            best = torch.maximum(best, _correlations(blocks, deviations, places, turned.rot90(quarter, (1, 2))))
    return best


def _blocks_with_most_detail(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return half of the blocks: (p, k, 16, 16) without their means, (p, k) norms and (p, k) places."""
    tiles = pictures.unfold(1, _BLOCK, _BLOCK).unfold(2, _BLOCK, _BLOCK).flatten(1, 2)
    tiles = tiles - tiles.mean((2, 3), keepdim=True)
    norms = tiles.square().sum((2, 3)).sqrt()
    places = norms.topk(tiles.shape[1] // 2, dim=1).indices
    index = places[:, :, None, None].expand(-1, -1, _BLOCK, _BLOCK)
    return tiles.gather(1, index), norms.gather(1, places), places


def _correlations(
    blocks: torch.Tensor, norms: torch.Tensor, places: torch.Tensor, others: torch.Tensor
) -> torch.Tensor:
    """Return (p,) medians over blocks (p, k, 16, 16) of their best normalised cross-correlation near their places."""
    pairs, count = places.shape
    side = _BLOCK + 2 * _SHIFT
    windows = functional.pad(others, (_SHIFT,) * 4).unfold(1, side, _BLOCK).unfold(2, side, _BLOCK).flatten(1, 2)
    windows = windows.gather(1, places[:, :, None, None].expand(-1, -1, side, side)).reshape(-1, 1, side, side)
    kernels = blocks.reshape(-1, 1, _BLOCK, _BLOCK)
    products = functional.conv2d(windows.transpose(0, 1), kernels, groups=len(kernels))[0]
    area = float(_BLOCK * _BLOCK)
    sums = functional.avg_pool2d(windows, _BLOCK, 1)[:, 0] * area
    squares = functional.avg_pool2d(windows.square(), _BLOCK, 1)[:, 0] * area
    deviations = (squares - sums.square() / area).clamp_min(_LEAST).sqrt()
    found = products / (norms.reshape(-1, 1, 1).clamp_min(_LEAST) * deviations)
    return found.flatten(1).amax(1).reshape(pairs, count).median(1).values
