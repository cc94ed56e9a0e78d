"""Photos that show parts of one scene: candidates are found by features, and compared by their pixels."""

from collections.abc import Callable, Sequence

import numpy as np

from regraft.data.near_duplicates import (
    AGREEMENT,
    FEWEST_PAIRS,
    MOST_COMPARED,
    Links,
    agreement_of_details,
    first_of_number,
)
from regraft.data.nearest_features import StackedFeatures, nearest_pairs
from regraft.images.block_matching import UPRIGHT, enlarged

_ASKED = 128  # pairs that are compared by pixels at a time: where none of these show one picture, none after them do
_ALMOST = 0.5  # of details: pairs that agree so well are compared once more without their edges, which may be framed
_TRIMMED = 4  # pixels of 64
_ALIKE = 0.45  # agreement of two photos of a set: where half of all pairs have more (a fixed camera, digits), it proves
# nothing; of photos of unlike things half have less than about 0.3


def join_parts(
    features: Sequence[np.ndarray],
    numbers: np.ndarray,
    thumbnails: Callable[[np.ndarray], np.ndarray],
    *,
    patience: int = 1,
) -> np.ndarray:
    """Return (n,) numbers of pictures, those of photos that show parts of one scene joined as well.

    Of each picture the one with the nearest features is a candidate; candidates are compared by pixels, the nearest
    first, until none of many show the same details. None are joined where most pictures show the same details.

    Args:
        features: of a network: (m, d) of some of the photos after the other, of all of them n.
        numbers: (n,) of `number_pictures`.
        thumbnails: positions (k,) -> (k, 64, 64) luminances.
        patience: after how many times 128 candidates in a row, of which none shows the same, the rest is left alone.
    """
    stacked = StackedFeatures(features)
    _, some = np.unique(numbers, return_index=True)
    some = np.sort(some)
    some = some[stacked.shown()[some]]
    first, second = nearest_pairs(stacked, some)
    links = Links(len(numbers))
    links.add(first_of_number(numbers), np.arange(len(numbers)))
    in_vain = 0
    for start in range(0, min(len(first), MOST_COMPARED), _ASKED):
        a, b = (photos[start : start + _ASKED] for photos in (first, second))
        same = _same_inside(a, b, thumbnails)
        if start == 0 and same.any() and _mostly_alike(some, thumbnails):
            break
        links.add(a[same], b[same])
        in_vain = 0 if same.any() else in_vain + 1
        if in_vain >= patience:
            break
    return links.numbers()


def _mostly_alike(photos: np.ndarray, thumbnails: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Tell whether most pairs of photos (k,), of one picture each, show about the same details."""
    first, second = np.triu_indices(min(len(photos), 2 * _ASKED), 1)
    if len(first) < FEWEST_PAIRS:
        return False
    rng = np.random.default_rng(0)
    order = rng.permutation(photos)  # photos of one folder come one after the other
    asked = rng.choice(len(first), min(len(first), _ASKED), replace=False)
    found = agreement_of_details(order[first[asked]], order[second[asked]], thumbnails, UPRIGHT)
    return bool(np.median(found) > _ALIKE)


def _same_inside(first: np.ndarray, second: np.ndarray, thumbnails: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return (p,) booleans: whether the details of two photos agree, with their edges or without them.

    A frame that was laid around both, a photo and a part of it, hides that one is a part of the other.
    """
    found = agreement_of_details(first, second, thumbnails, UPRIGHT)
    doubtful = np.flatnonzero((found < AGREEMENT) & (found >= _ALMOST))
    found[doubtful] = agreement_of_details(
        first[doubtful], second[doubtful], lambda positions: _trimmed(thumbnails(positions)), UPRIGHT
    )
    return found >= AGREEMENT


def _trimmed(thumbnails: np.ndarray) -> np.ndarray:
    """Return (k, 64, 64) luminances without the edges, enlarged."""
    inside = thumbnails[:, _TRIMMED:-_TRIMMED, _TRIMMED:-_TRIMMED].astype(np.float32)
    return enlarged(inside, thumbnails.shape[1])
