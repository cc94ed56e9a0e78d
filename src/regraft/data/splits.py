"""Folds: which photos are held out and which are learned from."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from regraft.errors import DataError, option, shortlist

OUTER_FOLDS = 5  # of the evaluation: each photo is answered by what was learned without its fold
_FEW = 0.05  # share of photos that may follow others into their folds without the shares of classes suffering
_ATTEMPTS = 20  # seeds tried until every class is in every training part


def stratified_folds(
    labels: np.ndarray, classes: Sequence[str], *, count: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return (n,) fold numbers, 0 to count - 1, with every class in each fold's share as far as it goes round.

    Groups stay whole. Where few photos share a group (some copies are found), the folds are those without groups, and
    these photos follow the first of their group: a copy more changes no other photo's fold. Where each group has one
    label (views of one lesion), groups are stratified like photos; else scikit-learn's StratifiedGroupKFold does it.

    Args:
        labels: (n,) positions in `classes`.
        classes: the class names, for the message.
        count: of folds; fewer are made if no class has that many photos (or groups).
        seed: of the shuffle.
        groups: (n,) numbers of what must stay together, or None.

    Raises:
        DataError: some class has fewer than two photos or groups, so that it cannot be both learned from and held out.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    _check_spread(labels, units, classes)
    first = np.unique(units, return_index=True)[1]
    if len(units) - len(first) <= _FEW * len(units):
        folds = _stratify(labels, count, seed)[first][units]
        if _all_learned(labels, folds):
            return folds
    pure = bool(np.all(labels == labels[first][units]))
    if pure:
        return _stratify(labels[first], count, seed)[units]
    for attempt in range(_ATTEMPTS):
        folds = _stratify_mixed(labels, units, count, seed + attempt)
        if _all_learned(labels, folds):
            return folds
    raise DataError(
        "no split keeps the groups whole and leaves every class something to learn from: some class is in too few "
        f"groups. Add groups of the rare classes or leave {option('group_column')} out."
    )


def _all_learned(labels: np.ndarray, folds: np.ndarray) -> bool:
    """Tell whether every class is learned from whichever fold is held out."""
    return all(np.isin(np.unique(labels), labels[folds != fold]).all() for fold in np.unique(folds))


def lonely_classes(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the classes, positions in ascending order, that come from one photo or one group only.

    Args:
        labels: (n,) positions of classes.
        groups: (n,) numbers of what must stay together, or None.
    """
    units = np.arange(len(labels)) if groups is None else groups
    spread = np.bincount(np.unique(np.stack([labels, units]), axis=1)[0])
    return np.flatnonzero(spread == 1)


def _check_spread(labels: np.ndarray, units: np.ndarray, classes: Sequence[str]) -> None:
    lonely = lonely_classes(labels, units)
    if len(lonely):
        raise DataError(
            f"{len(lonely)} classes come from one photo or one group only, copies of a photo counted as one, and "
            f"cannot be both learned from and held out:\n{shortlist([classes[int(c)] for c in lonely])}\n"
            "Add photos from another group (patient, object, scene) or remove the class. Where different photos were "
            f"taken for near-duplicates: {option('near_duplicates', 'ignore')}."
        )


def _stratify(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    count = int(min(count, np.bincount(labels).max()))
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return _fold_numbers(splitter.split(np.zeros(len(labels)), labels), len(labels))


def _stratify_mixed(labels: np.ndarray, units: np.ndarray, count: int, seed: int) -> np.ndarray:
    count = int(min(count, len(np.unique(units)), np.bincount(labels).max()))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return _fold_numbers(splitter.split(np.zeros(len(labels)), labels, units), len(labels))


def _fold_numbers(splits: object, n: int) -> np.ndarray:
    folds = np.full(n, -1)
    with warnings.catch_warnings():
        # a class smaller than the number of folds is in fewer of them; never absent from a training part
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for fold, (_, held_out) in enumerate(splits):  # type: ignore[arg-type, var-annotated]
            folds[held_out] = fold
    return folds
