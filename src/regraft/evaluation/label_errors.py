"""Which labels are likely wrong, by confident learning, and how many of them are to be expected to be so."""

from dataclasses import dataclass

import numpy as np

_LEAST = 1e-12  # probability: logarithms of less say nothing
_SHARES = np.geomspace(5e-4, 0.4, 20)  # of wrong labels that are thought of, each step as likely as the others
_TEMPERATURES = np.geomspace(0.2, 4.0, 25)
_NEGLIGIBLE = 1e-6
_FITTED = 10_000  # photos that the noise is estimated on


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """The labels of n photos that are likely wrong.

    Attributes:
        photos: (k,) positions, the least probable given label first.
        suggested: (k,) the most probable of the other classes.
        given: (k,) probabilities of the given labels.
        wrong: (k,) probabilities that the label is wrong: see `probability_wrong`.
    """

    photos: np.ndarray
    suggested: np.ndarray
    given: np.ndarray
    wrong: np.ndarray

    def __len__(self) -> int:
        """Return k."""
        return len(self.photos)

    def expected(self, first: int) -> float:
        """Return how many of the `first` are to be expected to be wrong indeed."""
        return float(self.wrong[:first].sum())


def find_label_errors(labels: np.ndarray, probabilities: np.ndarray) -> LabelErrors:
    """Return the photos whose labels are likely wrong (confident learning: Northcutt et al. 2021).

    The confident joint counts, for each pair of classes, the photos that have the label of the one and are answered
    with the other at least as surely as that one's own photos are on average. Of each pair as many photos as the joint
    says are found, those with the largest margin between the two probabilities first ("prune by noise rate").

    Args:
        labels: (n,) given classes.
        probabilities: (n, c), of each photo by what did not learn from it; rows that are not finite are left out.
    """
    known = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    labels, found = labels[known], probabilities[known]
    marked = _prune(labels, found, confident_joint(labels, found))
    own = found[np.arange(len(labels)), labels]
    order = marked[np.argsort(own[marked], kind="stable")]
    others = found[order].copy()
    others[np.arange(len(order)), labels[order]] = -1.0
    wrong = probability_wrong(labels, found)[order] if len(order) else np.empty(0)
    return LabelErrors(known[order], others.argmax(axis=1), own[order], wrong)


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (c, c) counts: photos of a given class (row) that surely are of another (column), in the classes' shares.

    Args:
        labels: (n,) given classes.
        probabilities: (n, c).
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(len(labels)), labels]
    means = np.bincount(labels, weights=own, minlength=classes) / np.maximum(counts, 1)
    thresholds = np.where(counts > 0, means, np.inf)
    sure = probabilities >= thresholds - 1e-6
    answers = np.where(sure, probabilities, -1.0).argmax(axis=1)
    some = sure.any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[some], answers[some]), 1.0)
    present = np.flatnonzero(counts)
    joint[present, present] = np.maximum(joint[present, present], 1.0)
    rows = joint.sum(axis=1, keepdims=True)
    return np.asarray(joint / np.where(rows > 0, rows, 1.0) * counts[:, None])


def _prune(labels: np.ndarray, probabilities: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Return the positions (k,) that are found: of each pair of classes as many as the joint says."""
    found = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        for other in np.flatnonzero(np.rint(joint[label]) > 0):
            if other != label:
                margin = probabilities[own, other] - probabilities[own, label]
                found[own[np.argsort(-margin, kind="stable")[: int(np.rint(joint[label, other]))]]] = True
    return np.flatnonzero(found & (probabilities.argmax(axis=1) != labels))


def probability_wrong(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return (n,) probabilities that a label is wrong, 0 to 1.

    The model: a share e of the labels was exchanged for any other class, so that the label k is given with
    (1 - e) p_k + e (1 - p_k) / (c - 1), where p is the softmax of the classifier's logits at a temperature of its own.
    Both are averaged over, by their likelihood. Confident answers that the label contradicts speak for errors; a weak
    classifier has none, and finds few.

    Args:
        labels: (n,) given classes.
        probabilities: (n, c), of each photo by what did not learn from it.
    """
    if probabilities.shape[1] < 2:
        return np.zeros(len(labels))  # there is no other class
    logits = np.log(np.maximum(probabilities, _LEAST))
    some = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _FITTED)).astype(np.int64))
    others = logits.shape[1] - 1
    likelihoods = np.empty((len(_TEMPERATURES), len(_SHARES)))
    for row, temperature in enumerate(_TEMPERATURES):
        given = _given(logits[some], labels[some], temperature)
        for column, share in enumerate(_SHARES):
            observed = (1 - share) * given + share * (1 - given) / others
            likelihoods[row, column] = np.log(np.maximum(observed, _LEAST)).sum()
    weights = np.exp(likelihoods - likelihoods.max())
    weights /= weights.sum()
    wrong = np.zeros(len(labels))
    for row, temperature in enumerate(_TEMPERATURES):
        if weights[row].max() < _NEGLIGIBLE:
            continue
        given = _given(logits, labels, temperature)
        for share, weight in zip(_SHARES, weights[row], strict=True):
            exchanged = share * (1 - given) / others
            wrong += weight * exchanged / np.maximum((1 - share) * given + exchanged, _LEAST)
    return wrong


def _given(logits: np.ndarray, labels: np.ndarray, temperature: float) -> np.ndarray:
    """Return (n,) probabilities of the given labels."""
    from scipy.special import log_softmax  # here, for one photo is answered in less time than it takes to import

    return np.asarray(np.exp(log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels]))
