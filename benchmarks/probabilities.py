"""Two questions about probabilities, on real photos: is more than a temperature worth it, do weights of classes help?

More than a temperature: vector scaling (Guo et al. 2017; each class has a factor and an offset, drawn to the
temperature by a normal prior), offsets alone, and for two classes Platt's slope and intercept and isotonic regression.
Each is fitted on the held-out logits of the same inner folds, and evaluated on all photos that were not drawn.

Weights of classes: out-of-fold figures with and without, on the same folds; the answers are those of argmax w p.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import NETWORKS, SETS, experiment_of
from benchmarks.few_photos import PhotoSet, figures
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress
from regraft.data.class_weights import ClassWeights
from regraft.evaluation.calibration import fit_temperature
from regraft.evaluation.metrics import photo_log_loss
from regraft.heads.probe import CalibratedHeads
from regraft.heads.search import select_heads

CASES = {  # photos that are drawn
    "skin-lesions": (100, 300, 1000),
    "dogs-vs-cats": (100, 600),
    "hymenoptera": (200,),
    "rice-leaves": (150,),
    "satellite": (210, 525),
}
DRAWS, RESAMPLES = 20, 1000
TEMPERATURE = "temperature"
Calibrator = Callable[[np.ndarray], np.ndarray]  # logits (n, c) to logits


def scaled(logits: np.ndarray, labels: np.ndarray, *, prior: float, offsets_alone: bool = False) -> Calibrator:
    """Return vector scaling around the temperature, of factors exp(a) and offsets b of deviation `prior`."""
    n, classes = logits.shape
    temperature, doubt = fit_temperature(logits, labels), 1 / (n + 2)
    targets = np.full((n, classes), doubt / (classes - 1))
    targets[np.arange(n), labels] = 1 - doubt

    def moved(point: np.ndarray, values: np.ndarray) -> np.ndarray:
        factors = 1.0 if offsets_alone else np.exp(point[:classes])
        return np.asarray(values / temperature * factors + point[classes:])

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        shown = moved(point, logits)
        error = softmax(shown, axis=1) - targets
        slope = np.concatenate([(error * (shown - point[classes:])).sum(axis=0), error.sum(axis=0)])
        slope[:classes] *= not offsets_alone
        total = -float(np.sum(targets * log_softmax(shown, axis=1))) + float(point @ point) / (2 * prior**2)
        return total, slope + point / prior**2

    best = minimize(loss, np.zeros(2 * classes), jac=True, method="L-BFGS-B").x
    return lambda values: moved(best, values)


def platt(logits: np.ndarray, labels: np.ndarray) -> Calibrator:
    """Return Platt's sigmoid (1999) of the difference of two classes' logits, with his targets."""
    margin, positives = logits[:, 1] - logits[:, 0], int(labels.sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))

    def loss(point: np.ndarray) -> float:
        shown = point[0] * margin + point[1]
        return float(-np.sum(targets * log_expit(shown) + (1 - targets) * log_expit(-shown)))

    slope, intercept = minimize(loss, np.array([1 / fit_temperature(logits, labels), 0.0])).x
    return lambda values: _both(expit(slope * (values[:, 1] - values[:, 0]) + intercept))


def isotonic(logits: np.ndarray, labels: np.ndarray) -> Calibrator:
    """Return isotonic regression on the difference of two classes' logits, kept off 0 and 1 by 1 / (n + 2)."""
    least = 1 / (len(labels) + 2)
    model = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    model.fit(logits[:, 1] - logits[:, 0], labels)
    return lambda values: _both(model.predict(values[:, 1] - values[:, 0]))


def _both(probability: np.ndarray) -> np.ndarray:
    logits: np.ndarray = np.log(np.maximum(np.column_stack([1 - probability, probability]), 1e-300))
    return logits


def calibrators(logits: np.ndarray, labels: np.ndarray) -> dict[str, Calibrator]:
    """Return what is compared, fitted on held-out logits (n, c)."""
    temperature = fit_temperature(logits, labels)
    found: dict[str, Calibrator] = {
        TEMPERATURE: lambda values: values / temperature,
        "offsets": scaled(logits, labels, prior=0.3, offsets_alone=True),
        "vector, prior 0.1": scaled(logits, labels, prior=0.1),
        "vector, prior 1": scaled(logits, labels, prior=1.0),
    }
    if logits.shape[1] == 2:
        found |= {"Platt": platt(logits, labels), "isotonic": isotonic(logits, labels)}
    return found


def compare_calibrators(record: Record, photos: PhotoSet, case: str, *, size: int, draws: int) -> None:
    """Record, for every draw, log loss and calibration error on the other photos."""
    found: dict[str, list[list[float]]] = {}
    for seed in range(draws):
        learn, rest = photos.draw_shares(size, seed)
        dataset = photos.dataset(learn)
        own = photos.choices["last"]
        features, others = photos.features[learn][:, own], photos.features[rest][:, own]
        folds = dataset.possible_folds(5, seed=0)
        (chosen,) = select_heads(features, dataset.labels, len(dataset.classes), folds=[folds])
        fitted = calibrators(chosen.logits.astype(np.float64), dataset.labels)
        shown = chosen.head.logits(others).astype(np.float64)
        for name, calibrator in fitted.items():
            found.setdefault(name, []).append(figures(softmax(calibrator(shown), axis=1), photos.labels[rest]))
    base = np.array(found[TEMPERATURE])
    for name, each in found.items():
        values = np.array(each)
        gain = values[:, 1:] - base[:, 1:]
        error = gain.std(axis=0, ddof=1) / np.sqrt(draws)
        record.add(case, f"{name}: log loss", "nats", list(values[:, 1]))
        record.add(case, f"{name}: calibration error", "", list(values[:, 2]))
        progress(
            f"{case}, {name}: log loss {values[:, 1].mean():.4f} ({gain[:, 0].mean():+.4f}, s.e. {error[0]:.4f}), "
            f"calibration error {values[:, 2].mean():.4f} ({gain[:, 1].mean():+.4f}, s.e. {error[1]:.4f})"
        )


def compare_class_weights(record: Record, photos: PhotoSet, case: str) -> None:
    """Record out-of-fold figures of heads with and without weights, and bootstrap intervals of their differences."""
    everything = np.arange(len(photos.labels))
    dataset, labels = photos.dataset(everything), photos.labels
    folds = dataset.possible_folds(5, seed=0)
    answers = {}
    for name, weights in (("plain", None), ("balanced", ClassWeights())):
        heads = CalibratedHeads(photos.features, dataset, seed=0, choices=photos.choices, class_weights=weights)
        found = np.empty((len(labels), 2))
        decided = np.empty(len(labels), dtype=np.int64)
        for fold in np.unique(folds):
            learn, held_out = np.flatnonzero(folds != fold), folds == fold
            found[held_out] = heads.of(learn).probabilities(photos.features[held_out])
            by_share = found[held_out] * ClassWeights().of(np.bincount(labels[learn], minlength=2))
            decided[held_out] = by_share.argmax(axis=1)
        answers[name] = found, decided

    def of(name: str, drawn: np.ndarray) -> np.ndarray:
        found, decided = answers[name][0][drawn], answers[name][1][drawn]
        truth = labels[drawn]
        recalls = [np.mean(decided[truth == label] == label) for label in (0, 1)]
        ranking = [metric(truth, found[:, 1]) for metric in (roc_auc_score, average_precision_score)]
        return np.array([np.mean(recalls), *ranking, photo_log_loss(truth, found).mean()])

    generator = np.random.default_rng(0)
    draws = [generator.integers(0, len(labels), len(labels)) for _ in range(RESAMPLES)]
    resampled = {name: np.array([of(name, drawn) for drawn in draws]) for name in answers}
    for place, what in enumerate(("balanced accuracy of argmax w p", "ROC AUC", "average precision", "log loss")):
        values = {name: of(name, everything)[place] for name in answers}
        low, high = np.quantile(resampled["balanced"][:, place] - resampled["plain"][:, place], [0.025, 0.975])
        for name, value in values.items():
            record.add(case, f"{name} weights: {what}", "", [float(value)])
        ends = {name: np.quantile(resampled[name][:, place], [0.025, 0.975]) for name in answers}
        text = ", ".join(f"{name} {v:.3f} [{ends[name][0]:.3f}, {ends[name][1]:.3f}]" for name, v in values.items())
        progress(f"{case}, {what}: {text}; {values['balanced'] - values['plain']:+.4f} [{low:+.4f}, {high:+.4f}]")


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (draws are what is repeated)
    """Compare calibrators on every set, and weights of classes on the one whose classes are unequal."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    draws = 2 if quick else DRAWS
    record = Record("probabilities", "Calibrators on held-out logits, and weights of classes", {"draws": draws})
    for network in NETWORKS:
        for name, sizes in CASES.items():
            photos = PhotoSet(experiment_of(SETS[name], [network], root))
            if name == "skin-lesions":
                compare_class_weights(record, photos, f"{name}, {network}")
            for size in sizes[:1] if quick else sizes:
                compare_calibrators(record, photos, f"{name}, {network}, {size} photos", size=size, draws=draws)
    return record


def picture(record: Record, path: Path) -> None:
    """Draw log losses by calibrator."""
    columns = []
    for name in (TEMPERATURE, "vector, prior 0.1", "isotonic"):
        chosen = [one for one in record.measurements if one.by == f"{name}: log loss"]
        bars = [
            Bar(one.of, one.median, f"{one.median:.3f}", "ours" if name == TEMPERATURE else "other") for one in chosen
        ]
        columns.append([Group(name, bars)])
    draw(path, "Log loss on photos that were not drawn", columns, footnote=record.footnote())
