"""Pillow's filters of resizing, in float32 alone, which every format computes in, and as exact as in float64.

A weight of 22 bits, times a value of 8, is more than float32 holds, and many sums lie near n + 1/2, where the last bit
decides. So weights are sums of two parts, of which the first is a multiple of 1 / 4096: its sums, and its products with
other such numbers, are exact. Filters are tabulated: in each of 1024 cells to the pixel a cubic polynomial, which is
the filter itself for bilinear and bicubic, and closer to it than float32 to 1 for the others.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

_UNITS = 1 << 22  # Pillow's weights are whole multiples of one over this
_COARSE_UNITS = 1 << 12
_CELLS = 1 << 10
_CUBIC = 4  # coefficients


def _bilinear(x: np.ndarray) -> np.ndarray:
    return 1 - x


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Return Keys' (1981) cubic convolution with a = -1/2."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    found: np.ndarray = np.where(x < 1, near, far)
    return found


def _hamming(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.sinc(x) * (0.54 + 0.46 * np.cos(math.pi * x))
    return found


def _lanczos(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.sinc(x) * np.sinc(x / 3)
    return found


_BOX = "box"  # of which there is no table
_TABULATED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {  # of a distance, and where it ends
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
    "hamming": (_hamming, 1),
    "lanczos": (_lanczos, 3),
}
FILTERS = (_BOX, *_TABULATED)


class Filter(nn.Module):
    """Weights of pixels by their distances from the places that results come from.

    Args:
        name: of `FILTERS`.
    """

    table: torch.Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self._is_box = name == _BOX
        self._reach = 0
        if not self._is_box:
            filter, self._reach = _TABULATED[name]
            self.register_buffer("table", torch.from_numpy(_tabulate(filter, self._reach)), persistent=False)

    def forward(self, distances: torch.Tensor, unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights (kept, n), of which each row sums to 1: multiples of 1 / 4096, and what is added to them.

        Args:
            distances: (kept, n), whole numbers.
            unit: the distance that is 1 to the filter, a whole number without dimensions.
        """
        if self._is_box:  # its right edge is part of it, its left edge is not
            inside = (2 * distances > -unit) & (2 * distances <= unit)
            return _normalised(inside.float(), torch.zeros_like(inside, dtype=torch.float32))
        away = distances.abs()
        inside = away < self._reach * unit
        away = torch.where(inside, away, torch.zeros_like(away))
        cell = torch.floor(away.float() / unit.float() * _CELLS).to(away.dtype)
        rest = (away * _CELLS - cell * unit).float() / unit.float()  # the place in the cell: 0 to 1
        coarse, fine, *powers = nn.functional.embedding(cell, self.table).unbind(-1)
        fine = fine + rest * (powers[0] + rest * (powers[1] + rest * powers[2]))
        nothing = torch.zeros_like(coarse)
        return _normalised(torch.where(inside, coarse, nothing), torch.where(inside, fine, nothing))


def _tabulate(filter: Callable[[np.ndarray], np.ndarray], reach: int) -> np.ndarray:
    """Return (cells, 5) float32: of each cell the value where it begins, in two parts, and what t, t^2 and t^3 add.

    A last cell begins at the end, as a quotient may be rounded up to there.
    """
    t = (1 - np.cos(math.pi * (np.arange(_CUBIC) + 0.5) / _CUBIC)) / 2  # Chebyshev's points, where the cubic is exact
    begins = np.arange(reach * _CELLS)[:, None] / _CELLS
    values = filter(begins + t / _CELLS)
    found = np.linalg.solve(np.vander(t, increasing=True), values.T).T
    coarse = np.floor(found[:, :1] * _COARSE_UNITS) / _COARSE_UNITS
    table = np.concatenate([coarse, found[:, :1] - coarse, found[:, 1:]], axis=1)
    return np.concatenate([table, np.zeros_like(table[:1])]).astype(np.float32)


def _normalised(coarse: torch.Tensor, fine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (kept, n) divided by their sums, as multiples of 1 / 2^22, in two parts.

    With c and f the sums of both parts, 1 / (c + f) = u + v, where u is a multiple of 1 / 4096 and v is small. All
    products of u with multiples of 1 / 4096 are exact, and so is 1 - c u.
    """
    c, f = coarse.sum(dim=1, keepdim=True), fine.sum(dim=1, keepdim=True)
    u = torch.floor(_COARSE_UNITS / (c + f)) / _COARSE_UNITS
    whole = torch.floor(c)
    v = ((1 - whole * u) - (c - whole) * u - f * u) / (c + f)
    exact = coarse * u
    large = torch.floor(exact * _COARSE_UNITS) / _COARSE_UNITS
    small = (exact - large) + (coarse * v + fine * (u + v))
    return large, torch.floor(small * _UNITS + 0.5) / _UNITS
