"""Which photos of many to label together: those a classifier is least sure of, spread over what there is of them."""

from dataclasses import dataclass

import numpy as np

from regraft.labelling.clusters import directions, k_means

UNSURE_FOR_EACH = 10  # photos that each one is chosen from, as in the paper
_LEAST_WEIGHT = 1e-6  # of a photo of whose answer there is no doubt: weights must be positive


@dataclass(frozen=True, eq=False)
class DiverseBatch:
    """Some of n photos.

    Attributes:
        positions: (k,) of the photos, the least sure first.
        margins: (n,) of all photos, see `margins_of`.
    """

    positions: np.ndarray
    margins: np.ndarray


def margins_of(probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) from 0 to 1: by how much the most probable of c classes exceeds the next (Scheffer et al. 2001).

    Args:
        probabilities: (n, c), c at least 2.
    """
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return np.asarray(first - second)


def choose_batch(
    features: np.ndarray,
    probabilities: np.ndarray,
    count: int,
    *,
    candidates: np.ndarray | None = None,
    seed: int = 0,
) -> DiverseBatch:
    """Return `count` of n photos to label next.

    Diverse mini-batch active learning (Zhdanov 2019, arXiv:1901.05954): of the photos with the smallest margins, ten
    for each that is asked for, k-means makes `count` clusters, in which a photo weighs 1 - its margin, and of each the
    photo that is nearest to the centre is taken: many unsure photos of one look are not all chosen.

    Args:
        features: (n, d); only their directions count.
        probabilities: (n, c).
        count: k, at most the number of candidates.
        candidates: (m,) positions of photos that may be chosen, whose features and probabilities are finite; None: all.
        seed: of the centres that k-means starts from: the same photos give the same batch.
    """
    margins = margins_of(probabilities)
    candidates = np.arange(len(margins)) if candidates is None else candidates
    unsure = candidates[np.argsort(margins[candidates], kind="stable")[: UNSURE_FOR_EACH * count]]
    if count >= len(unsure):
        return DiverseBatch(unsure, margins)
    chosen = _nearest_to_centres(features[unsure], np.maximum(1 - margins[unsure], _LEAST_WEIGHT), count, seed)
    left = np.setdiff1d(np.arange(len(unsure)), chosen)  # equal photos make fewer clusters than were asked for
    places = np.sort(np.concatenate([chosen, left[: count - len(chosen)]]))
    return DiverseBatch(unsure[places], margins)


def _nearest_to_centres(features: np.ndarray, weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return positions of the photo nearest to each of `count` centres, fewer where clusters are empty."""
    points = directions(features)
    clusters = k_means(points, count, weights=weights, seed=seed)
    own = clusters.distances
    first = [members[np.argmin(own[members])] for members in clusters.members() if len(members)]
    return np.array(first, dtype=np.int64)
