"""The sums over photos that a multinomial logistic regression is minimised by, for several of them at once."""

from typing import NamedTuple, Self

import numpy as np


class Query(NamedTuple):
    """What is summed over the photos of one cell, for p regressions of q rows of weights each.

    Attributes:
        cell: of the photos.
        weights: (p q, d), of the rows that the photos are read as.
        offsets: (p q, 1).
        class_weights: (p, c) of the losses; None where all classes weigh the same.
        parts: p.
    """

    cell: int
    weights: np.ndarray
    offsets: np.ndarray
    class_weights: np.ndarray | None
    parts: int


class Sums(NamedTuple):
    """Sums over photos: loss (p,), gradient (p, q, d) and of offsets (p, q), p_k (1 - p_k) (p, q)."""

    loss: np.ndarray
    gradient: np.ndarray
    offsets: np.ndarray
    curvature: np.ndarray

    def add(self, other: Self) -> None:
        """Add the sums over other photos, in place."""
        for own, more in zip(self, other, strict=True):
            np.add(own, more, out=own)


def weight_basis(classes: int) -> np.ndarray:
    """Return (q, c) float32, by which q rows of weights are those of c classes: two classes have opposite ones."""
    basis = np.array([[-1.0, 1.0]]) / np.sqrt(2) if classes == 2 else np.eye(classes)
    return basis.astype(np.float32)


def softmax_sums(rows: np.ndarray, labels: np.ndarray, classes: int, query: Query) -> Sums:
    """Return the sums over photos `rows` (m, d) with `labels` (m,), integers from 0 to classes - 1."""
    outputs = len(query.weights) // query.parts  # 1 of two classes, of others one each
    count, photos = query.parts, np.arange(len(labels))
    # photos last: sums over classes then run along the memory
    logits = (query.weights @ rows.T + query.offsets).reshape(count, outputs, -1)
    if classes == 2:
        basis = weight_basis(2)[0]
        logits = basis[:, None] * logits
    logits -= logits.max(axis=1, keepdims=True)
    right = logits[:, labels, photos]
    error = np.exp(logits, out=logits)
    sums = error.sum(axis=1, keepdims=True)
    error /= sums
    if query.class_weights is None:
        loss = np.log(sums).sum(axis=(1, 2), dtype=np.float64) - right.sum(axis=1, dtype=np.float64)
        curvature = error.sum(axis=2) - np.einsum("pcm,pcm->pc", error, error)
    else:
        weights = query.class_weights[:, labels]
        loss = np.sum(weights * (np.log(sums[:, 0]) - right), axis=1, dtype=np.float64)
        curvature = np.einsum("pm,pcm->pc", weights, error * (1 - error))
    error[:, labels, photos] -= 1.0
    if query.class_weights is not None:
        error *= weights[:, None]
    if classes == 2:
        curvature = curvature.sum(axis=1, keepdims=True)
        error = (error[:, 1:] - error[:, :1]) * basis[1]
    gradient = error.reshape(len(query.weights), -1) @ rows
    return Sums(loss, gradient.reshape(count, outputs, rows.shape[1]), error.sum(axis=2), curvature.astype(np.float64))
