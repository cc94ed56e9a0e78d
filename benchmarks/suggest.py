"""What labelling the photos that `suggest` names is worth beside photos that are drawn at random.

Half of the photos of a set are there to be labelled, the others test. Both ways start from the same few labels; then
each asks for the next photos by its own last layer, learns them, and goes on. That is done with twenty halvings, and
the paired differences have intervals over these. The method was chosen on other sets of photos: see docs/label-next.md.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.chart import Bar, Group, draw
from benchmarks.depths import SETS, experiment_of
from benchmarks.few_photos import PhotoSet
from benchmarks.job import NoPhotosError
from benchmarks.material import shared
from benchmarks.record import Record, progress
from regraft.data.splits import OUTER_FOLDS
from regraft.evaluation.intervals import mean_interval
from regraft.heads.linear import CalibratedHead
from regraft.heads.probe import CalibratedHeads
from regraft.labelling.diverse_batch import choose_batch, margins_of
from regraft.networks.hook_points import LAST

NETWORK = "M"
BUDGETS = {  # photos that are labelled, by set; the first are the start
    "hymenoptera": (20, 30, 40, 60, 80, 100, 120),
    "satellite": (42, 60, 80, 100, 120, 150, 200),
    "skin-lesions": (20, 30, 40, 60, 80, 100, 150, 200),
}
OF_EACH = 2  # photos of each class, at least, that are labelled at the start
HALVINGS = 20
SUGGEST, MARGIN, CHANCE = "suggest", "least sure alone", "at random"
FIGURES = ("accuracy", "balanced accuracy", "AUC")
# features, probabilities, count, random generator, features of what is labelled -> positions
Choose = Callable[[np.ndarray, np.ndarray, int, np.random.Generator, np.ndarray], np.ndarray]
WAYS: dict[str, Choose] = {
    CHANCE: lambda features, _, count, generator, __: generator.permutation(len(features))[:count],
    MARGIN: lambda _, probabilities, count, *__: np.argsort(margins_of(probabilities), kind="stable")[:count],
    SUGGEST: lambda features, probabilities, count, *_: choose_batch(features, probabilities, count).positions,
}


def start(labels: np.ndarray, pool: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return `count` photos of `pool` at random, among them two of each class."""
    order = generator.permutation(pool)
    first = np.concatenate([order[labels[order] == label][:OF_EACH] for label in np.unique(labels)])
    rest = order[~np.isin(order, first)]
    return np.sort(np.concatenate([first, rest[: count - len(first)]]))


def fit(photos: PhotoSet, learn: np.ndarray) -> CalibratedHead:
    """Return the last layer, as `fit` makes it, that has learned these photos."""
    choices = {LAST: photos.choices[LAST]}
    heads = CalibratedHeads(photos.features[learn], photos.dataset(learn), seed=0, choices=choices)
    return heads.of(np.arange(len(learn)))


def out_of_fold(photos: PhotoSet, learn: np.ndarray) -> float:
    """Return the accuracy, in percent, that `fit` says of these photos: each answered by what had not learned it."""
    dataset, choices = photos.dataset(learn), {LAST: photos.choices[LAST]}
    heads = CalibratedHeads(photos.features[learn], dataset, seed=0, choices=choices)
    folds, right = dataset.possible_folds(OUTER_FOLDS, seed=0), np.zeros(len(learn))
    for fold in np.unique(folds):
        own = folds == fold
        answers = heads.of(np.flatnonzero(~own)).probabilities(photos.features[learn[own]]).argmax(axis=1)
        right[own] = answers == photos.labels[learn[own]]
    return 100 * float(right.mean())


def learn(photos: PhotoSet, budgets: tuple[int, ...], choose: Choose, seed: int) -> Iterator[tuple[float, ...]]:
    """Yield `FIGURES` on the photos that test, at each budget; last, the accuracy out-of-fold of those labelled."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(photos.labels))
    test, pool = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    labelled = start(photos.labels, pool, budgets[0], generator)
    head = fit(photos, labelled)
    yield figures(head, photos, test)
    for budget in budgets[1:]:
        left = np.setdiff1d(pool, labelled)
        probabilities = head.probabilities(photos.features[left])
        features = photos.features[:, photos.choices[LAST]]
        new = choose(features[left], probabilities, budget - len(labelled), generator, features[labelled])
        labelled = np.sort(np.concatenate([labelled, left[new]]))
        head = fit(photos, labelled)
        yield figures(head, photos, test)
    yield (out_of_fold(photos, labelled), np.nan, np.nan)


def figures(head: CalibratedHead, photos: PhotoSet, test: np.ndarray) -> tuple[float, ...]:
    """Return `FIGURES` of a last layer on the photos `test`, in percent; the AUC is NaN of more than two classes."""
    labels, probabilities = photos.labels[test], head.probabilities(photos.features[test])
    right = probabilities.argmax(axis=1) == labels
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    area = roc_auc_score(labels, probabilities[:, 1]) if probabilities.shape[1] == 2 else np.nan
    return 100 * float(right.mean()), 100 * float(np.mean(by_class)), 100 * float(area)


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (halvings are what is repeated)
    """Let every way label every set."""
    root = shared()
    if root is None:
        raise NoPhotosError("it needs real photos and weights (REGRAFT_SHARED)")
    halvings = 2 if quick else HALVINGS
    record = Record("suggest", "Photos that suggest names, against photos drawn at random", {"halvings": halvings})
    for name, every in BUDGETS.items():
        photos, budgets = PhotoSet(experiment_of(SETS[name], [NETWORK], root)), every[:3] if quick else every
        found = {
            way: np.array([list(learn(photos, budgets, choose, seed)) for seed in range(halvings)])
            for way, choose in WAYS.items()
        }
        for place, figure in enumerate(FIGURES):
            for step, budget in list(enumerate(budgets))[1:]:
                if np.isfinite(found[CHANCE][:, step, place]).all():
                    case = f"{name}, {figure}, {budget} labels"
                    _keep(record, case, {way: values[:, step, place] for way, values in found.items()})
        case = f"{name}, accuracy out-of-fold, {budgets[-1]} labels"
        _keep(record, case, {way: values[:, -1, 0] for way, values in found.items()})
    record.notes.append("points are paired differences from labels at random; intervals are of 95 %, over halvings")
    record.notes.append("halvings share their photos: the intervals say nothing of other sets")
    return record


def _keep(record: Record, case: str, found: dict[str, np.ndarray]) -> None:
    """Keep the figures (halvings,) of each way, and the differences with their intervals."""
    said = []
    for way, values in found.items():
        record.add(case, way, "%", values.tolist())
        if way == CHANCE:
            said.append(f"{way} {values.mean():.1f} %")
            continue
        gain = mean_interval(values - found[CHANCE], groups=np.arange(len(values)))  # Student's: they are few
        said.append(f"{way} {gain.value:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]")
        record.notes.append(f"{case}: {said[0]}; {said[-1]} points")
    progress(f"suggest: {case}: {', '.join(said)}")


def picture(record: Record, path: Path) -> None:
    """Draw what is wrong at each number of labels; of all classes alike, so that rare ones count."""
    columns = []
    for name in BUDGETS:
        bars = []
        for one in record.measurements:
            if one.of.startswith(f"{name}, {FIGURES[1]},") and one.by in (SUGGEST, CHANCE):
                kind = "ours" if one.by == SUGGEST else "other"
                wrong = 100 - one.median
                bars.append(Bar(f"{one.of.split(', ')[-1]}, {one.by}", wrong, f"{wrong:.1f} %", kind))
        columns.append([Group(name, bars)])
    draw(path, "Wrong answers (100 % - balanced accuracy)", columns, footnote=record.footnote())
