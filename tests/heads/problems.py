"""Features of known kinds, and scikit-learn's probabilities for them."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression

Data = tuple[np.ndarray, np.ndarray]


def overlapping(n: int, d: int, classes: int, *, spread: float = 0.5, seed: int = 0) -> Data:
    """Return features of unequal scale and offset around one centre per class, and labels of every class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = generator.normal(0, spread, (classes, d))[labels] + generator.normal(0, 1, (n, d))
    features = features * generator.uniform(0.2, 3.0, d) + generator.uniform(-2, 2, d)
    return features.astype(np.float32), labels


class BoundedScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A `StandardScaler` whose deviations count as at least that of the tenth percentile times 10 / sqrt(n)."""

    def fit(self, features: np.ndarray, _: object = None) -> "BoundedScaler":
        """Learn means and deviations (d,); none of them may be zero."""
        features = features.astype(np.float64)
        deviations = np.sqrt(np.mean((features - features.mean(axis=0)) ** 2, axis=0))
        lowest = sorted(deviations)[(len(deviations) - 1) // 10]  # a tenth of the way up, rounded down
        self.mean_ = features.mean(axis=0)
        self.scale_ = np.maximum(deviations, lowest * 10 / np.sqrt(len(features)))
        return self

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Return standardised features (n, d)."""
        return np.asarray((features - self.mean_) / self.scale_)


def of_scikit_learn(
    features: np.ndarray, labels: np.ndarray, strength: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the probabilities at the same minimum; with weights (c,) of the classes, brought back to their shares.

    scikit-learn minimises C sum(loss) + ||w||^2 / 2. For two classes it has one vector w, the difference of our two
    rows; at the minimum they are w / 2 and -w / 2, so that ||W||^2 = ||w||^2 / 2 and its C is twice as large.
    """
    classes = len(np.unique(labels))
    weights = np.ones(classes) if weights is None else weights
    scale = {2: 2.0}.get(classes, 1.0) / (weights[labels].sum() * strength)
    scaled = BoundedScaler().fit_transform(features)
    model = LogisticRegression(C=scale, tol=1e-9, max_iter=10_000, class_weight=dict(enumerate(weights)))
    found = model.fit(scaled, labels).predict_proba(scaled) / weights  # Elkan 2001
    return np.asarray(found / found.sum(axis=1, keepdims=True))
