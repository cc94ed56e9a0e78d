"""Each group left out in turn: the folds of a data set that are its groups."""

from dataclasses import dataclass

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.samples import natural_order
from regraft.data.splits import lonely_classes
from regraft.errors import DataError, OptionError, first_few, option, printable, shortlist

MOST_FOLDS = 100  # each is a training of its own
_SHOWN = 3  # groups of one fold that are named


@dataclass(frozen=True, eq=False)
class GroupFolds:
    """The folds of n photos, each a group or several that share a picture.

    Attributes:
        folds: (n,) numbers, in natural order of the names.
        names: of each fold: its group, a photo's file where it is in none, or several with "=" between them.
        notes: which groups share a fold, in words.
    """

    folds: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]


def leave_groups_out(dataset: Dataset) -> GroupFolds:
    """Return the folds that leave one group out at a time.

    Raises:
        OptionError: the photos are in no groups.
        DataError: there are too few or too many groups, or a class that one of them holds all photos of.
    """
    folds_option = option("folds", "groups")
    if dataset.samples.groups is None or dataset.groups is None:
        raise OptionError(
            f"{folds_option} leaves one group out at a time, and the photos in {dataset.samples.where} are in no "
            f"groups. Name the column of a table that holds them ({option('group_column')}; in Python, of a list of "
            f"images, fit(groups=...)), or have them guessed ({option('FitSettings.grouping', 'guessed')})."
        )
    numbers = np.unique(dataset.groups, return_inverse=True)[1].ravel()
    count = int(numbers.max()) + 1
    if not 2 <= count <= MOST_FOLDS:
        raise DataError(
            f"{folds_option} needs from 2 to {MOST_FOLDS} groups, each of which is left out once. "
            f"{dataset.samples.where} has {count:,}{_joined_in_words(dataset, count)}. Use "
            f"{option('folds', 'stratified')}, which keeps groups whole{_or_fewer(count)}."
        )
    within = _names_within(dataset, numbers)
    names = [first_few(natural_order(own), _SHOWN).replace(", ", " = ") for own in within]
    _check_classes(dataset, numbers, names)
    place = {name: order for order, name in enumerate(natural_order(names))}
    ranked = sorted(range(count), key=lambda number: place[names[number]])
    notes = [
        f"{first_few([printable(name) for name in natural_order(own)], _SHOWN)} share pictures: these "
        f"{len(own):,} groups are left out together"
        for own in within
        if len(own) > 1
    ]
    return GroupFolds(np.argsort(ranked)[numbers], tuple(names[number] for number in ranked), tuple(notes))


def _or_fewer(count: int) -> str:
    return ", or name a column with fewer values" if count > MOST_FOLDS else ""


def _joined_in_words(dataset: Dataset, count: int) -> str:
    named = len(set(dataset.samples.names_of_groups()) - {None})
    return f" (of {named:,} names, some of which share pictures)" if count < named else ""


def _names_within(dataset: Dataset, numbers: np.ndarray) -> list[set[str]]:
    """Return the names of the groups of each fold; of photos in none that stand alone, their files'."""
    found: list[set[str]] = [set() for _ in range(int(numbers.max()) + 1)]
    first = np.unique(numbers, return_index=True)[1].tolist()
    for number, name in zip(numbers.tolist(), dataset.samples.names_of_groups(), strict=True):
        if name is not None:
            found[number].add(name)
    return [own or {str(dataset.samples.sources[place])} for own, place in zip(found, first, strict=True)]


def _check_classes(dataset: Dataset, numbers: np.ndarray, names: list[str]) -> None:
    """Raise `DataError` where some class is in one fold alone."""
    alone = [
        f"{dataset.classes[label]}: {names[numbers[dataset.labels == label][0]]}"
        for label in lonely_classes(dataset.labels, numbers).tolist()
    ]
    if alone:
        raise DataError(
            f"{option('folds', 'groups')}: {len(alone)} classes are in one group only, and without it there is nothing "
            f"to learn them from:\n{shortlist(alone)}\nAdd photos of these classes from other groups, remove the "
            f"classes, or leave {option('folds', 'groups')} out."
        )
