"""Classes that lie in a tree: labels to classes and levels, and the figures of that."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.samples import Samples, clean_name, natural_order
from regraft.data.taxonomy import Taxonomy
from regraft.errors import DataError, OptionError, first_few, option, printable
from regraft.evaluation.levels import Level
from regraft.evaluation.tree_figures import TreeFigures, figures_at, tree_distances
from regraft.progress import Observer

_SHOWN = 8  # labels in a message


def level_of(taxonomy: Taxonomy | None, classes: Sequence[str], number: int) -> Level:
    """Return the level of this number.

    Raises:
        OptionError: there is none, or no tree.
    """
    if taxonomy is None:
        raise OptionError(
            f"{option('level')} is for classes that lie in a tree, and this classifier knows of none. Fit it with "
            f"{option('taxonomy')}, or leave {option('level')} out."
        )
    levels = {level.number: level for level in taxonomy.levels(classes)}
    if number not in levels:
        allowed = ", ".join(f"{level.number} ({len(level.nodes):,} nodes)" for level in levels.values())
        raise OptionError(f"{option('level')} must be one of {allowed}. Got {number}.")
    return levels[number]


def aligned_by_tree(
    samples: Samples, classes: Sequence[str], taxonomy: Taxonomy | None, *, inner: bool = False
) -> Samples:
    """Return samples whose labels are positions among the classes: each label's own, or the nearest above it.

    Args:
        samples: labelled by classes, or by nodes below them.
        classes: of a classifier.
        taxonomy: the tree that they lie in; None: labels are classes.
        inner: whether labels may be nodes that are no kind of a class, but tell where at some level: they come after
            the classes.

    Raises:
        DataError: other labels.
    """
    if taxonomy is None:
        return samples.aligned(classes)
    known, levels = set(classes), taxonomy.levels(classes) if inner else ()
    names, coarse = {}, []
    for name in samples.classes:
        label = clean_name(name)
        names[name] = found = taxonomy.nearest_class(label, known) or label
        if found not in known and any(places_at(level, [found], classes, taxonomy)[0] >= 0 for level in levels):
            coarse.append(found)
    order = natural_order(names.values())
    return samples.renamed(names, order).aligned([*classes, *natural_order(coarse)])


def samples_of_classes(samples: Samples, classes: Sequence[str], taxonomy: Taxonomy | None) -> Samples:
    """Return samples as `aligned_by_tree`, without those whose labels tell where at some level alone: a note says so.

    Raises:
        DataError: other labels, or no sample of a class.
    """
    found = aligned_by_tree(samples, classes, taxonomy, inner=True)
    own = found.labels < len(classes)
    if own.all():
        return replace(found, classes=tuple(classes))
    kept, said = replace(found.select(own), classes=tuple(classes)), _inner_labels_in_words(found, classes)
    if not len(kept):
        raise DataError(f"{samples.where}: all {said}. Label them with classes, or with nodes below these.")
    return replace(kept, notes=(*kept.notes, f"{said}. They are left out here."))


def _inner_labels_in_words(samples: Samples, classes: Sequence[str]) -> str:
    """Return which labels stand after the classes, and how often; "" for none."""
    counts = samples.counts()
    found = [f"{name} ({counts[name]:,})" for name in samples.classes[len(classes) :] if counts[name]]
    if not found:
        return ""
    photos = sum(counts[name] for name in samples.classes[len(classes) :])
    return (
        f"{photos:,} photos are labelled with nodes of the tree that are no classes of this classifier: "
        f"{printable(first_few(found, _SHOWN))}"
    )


def say_inner_labels(dataset: Dataset, classes: Sequence[str], observer: Observer) -> None:
    """Name the labels after the classes, and say what becomes of their photos."""
    said = _inner_labels_in_words(dataset.samples, classes)
    if said:
        observer.say(f"{said}. They count at the levels that their labels reach, and not among the classes.")


def places_at(level: Level, labels: Sequence[str], classes: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
    """Return (k,) nodes of k labels at a level, -1 for one that does not say which."""
    own = dict(zip(classes, level.columns.tolist(), strict=True))
    nodes = {taxonomy.node_at(level.number, name): place for name, place in own.items()}
    found = []
    for label in labels:
        reaches = label in taxonomy and len(taxonomy.path(label)) >= level.number
        node = nodes.get(taxonomy.node_at(level.number, label), -1) if reaches else -1
        found.append(own.get(label, node))
    return np.array(found, dtype=np.int64)


def figures_in_tree(
    dataset: Dataset,
    probabilities: np.ndarray,
    answers: np.ndarray,
    classes: Sequence[str],
    taxonomy: Taxonomy | None,
) -> TreeFigures | None:
    """Return the figures of photos in a tree; None where there is no tree.

    Args:
        dataset: n photos, labelled with the classes, or with what `aligned_by_tree` has after these.
        probabilities: (n, c).
        answers: (n,) classes.
        classes: c names.
        taxonomy: the tree that they lie in.
    """
    if taxonomy is None:
        return None
    groups = dataset.groups
    levels = []
    for level in taxonomy.levels(classes):
        truth = places_at(level, dataset.classes, classes, taxonomy)[dataset.labels]
        decided = level.columns[answers] if len(level.nodes) == len(classes) else None
        levels.append(figures_at(level, probabilities, truth, answers=decided, groups=groups))
    fine = dataset.labels < len(classes)
    distances = tree_distances(
        taxonomy.distances(classes),
        dataset.labels[fine],
        answers[fine],
        groups=None if groups is None else groups[fine],
    )
    return TreeFigures(tuple(one for one in levels if one is not None), distances)


def dataset_at(
    dataset: Dataset, classes: Sequence[str], taxonomy: Taxonomy | None, level: Level | None
) -> tuple[Dataset, np.ndarray]:
    """Return the photos whose labels are among the classes, or reach a level, labelled so; and (n,) which they are."""
    if level is None or taxonomy is None:
        names = tuple(classes)
        places = np.where(np.arange(len(dataset.classes)) < len(classes), np.arange(len(dataset.classes)), -1)
    else:
        names, places = level.nodes, places_at(level, dataset.classes, classes, taxonomy)
    labels = places[dataset.labels]
    chosen = labels >= 0
    kept = dataset if chosen.all() else dataset.select(chosen)
    return kept.with_labels(labels[chosen], names), chosen
