"""The photos of a source task: many labelled ones, some of which evaluate what was learned from the others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from regraft.data.dataset import Dataset, open_datasets
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.progress import Observer

_MOST_HELD_OUT = 10_000  # photos: their accuracy is then known to a percent
_HELD_OUT = 10  # a tenth of a smaller source


@dataclass(frozen=True, eq=False)
class SourceSplit:
    """A source, split once.

    Attributes:
        dataset: n photos.
        train: (m,) positions of those that are learned from.
        validation: (k,) positions of those that evaluate, none of them a copy, or of the group, of a training photo.
        note: where these come from, in words.
    """

    dataset: Dataset
    train: np.ndarray
    validation: np.ndarray
    note: str


def open_source(
    splits: Mapping[str, Samples], seed: int, observer: Observer, compute: Compute | None = None
) -> SourceSplit:
    """Look at every photo once and say which are learned from and which evaluate.

    Args:
        splits: samples by split.
        seed: of the choice of those that evaluate.
        observer: hears findings and progress.
        compute: the largest file, values of black and white, and the processes that look at a part of the photos each.

    Raises:
        DataError: the photos cannot be used.
    """
    if "train" not in splits:
        raise DataError(f"there is nothing to train on: no train split, only {', '.join(splits) or 'none at all'}.")
    splits["train"].check_trainable()
    parts = [splits["train"]]
    if "validation" in splits:
        parts.append(splits["validation"].aligned(parts[0].classes))
    compute = compute or Compute()
    train, *rest = open_datasets(
        parts,
        observer,
        max_file_size=compute.max_file_size,
        large=True,
        value_range=compute.value_range,
        processes=compute.processes,
    )
    if not rest:
        count = max(_HELD_OUT, -(-len(train) // _MOST_HELD_OUT))
        held_out = train.folds(count, seed=seed) == 0
        share = held_out.sum() / len(train)
        note = f"{share:.0%} of the photos, which take no part in training"
        return SourceSplit(train, np.flatnonzero(~held_out), np.flatnonzero(held_out), note)
    copies, related = rest[0].overlap(train)
    validation = len(train) + np.flatnonzero(~(copies | related))
    if not len(validation):
        raise DataError(f"{parts[1].where}: every photo of it is also a training photo, so none can evaluate.")
    note = "the validation photos, which take no part in training"
    return SourceSplit(Dataset.joined([train, *rest]), np.arange(len(train)), validation, note)
