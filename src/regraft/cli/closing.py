"""What `fit` says at its end: why n is what it is, and what to do next."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from regraft.cli.console import shell_words
from regraft.data.columns import Columns
from regraft.data.layouts import split_names
from regraft.data.samples import Samples
from regraft.errors import counted, printable
from regraft.storage.locations import Location

if TYPE_CHECKING:
    from regraft.classifier.record import FitRecord
    from regraft.cluster.training import ClusterFit
    from regraft.data.dataset import Dataset
    from regraft.transfer.fit import FitResult


def why_n(trained: "FitResult | ClusterFit", splits: Mapping[str, Samples]) -> str:
    """Return in words which photos the figures are of, which were left out, and which count together.

    Args:
        trained: with the photos as they were used.
        splits: the photos as they were found.
    """
    evaluated, held_out = trained.evaluated, trained.held_out.folds is None
    samples = splits["validation" if held_out else "train"]
    n, lost = len(evaluated), len(evaluated.unreadable)
    known = len(samples) - n - lost
    why = [f"{lost:,} cannot be read"] if lost else []
    why += [f"{known:,} left out for copies or groups in training"] if known else []
    photos = counted(len(samples), "photo") + (f" of {printable(samples.where)}" if held_out else "")
    left_out = f"of {photos}, {' and '.join(why)}" if why else ""
    if held_out:
        said = left_out or f"the {photos}, which took no part in training"
    else:
        each = "each of the others" if why else f"each of the {photos}"
        said = "; ".join(filter(None, [left_out, f"{each} was predicted once, by a classifier trained without it"]))
    return f"n is {n:,}: {said}.{_together(evaluated)}"


def _together(dataset: "Dataset") -> str:
    """Return a sentence on photos that are not independent; "" where all are."""
    if dataset.groups is None:
        return ""
    sizes = np.unique(dataset.groups, return_counts=True)[1]
    several = sizes[sizes > 1]
    if not len(several):
        return ""
    return (
        f" {several.sum():,} of them belong together in {counted(len(several), 'set')} (copies of one photo, or of one "
        f"group), which stay on one side of every split: the intervals are of {counted(len(sizes), 'independent set')}."
    )


def left_out(record: "FitRecord") -> str:
    """Return a sentence on what `auto` skipped or stopped for its budget, and which budget would let it."""
    from regraft.transfer.auto_plan import left_out_in_words

    return f"auto: {left_out_in_words(record)}."


def next_step(out: Path, data: Location, samples: Samples, *, tested: bool = False) -> str:
    """Return what to do with the classifier in the file `out`: commands that can be pasted as they are.

    Args:
        out: the classifier.
        data: what it learned from.
        samples: the photos of that.
        tested: whether `data` holds test photos, too.
    """
    first = samples.sources[0]
    photo = first if isinstance(first, PurePath) else data
    evaluate = ""
    if tested:
        command = shell_words("regraft", "evaluate", _as_argument(out), _as_argument(data))
        evaluate = f"next: evaluate it on the test photos, which have not been read so far:\n  {command}\n"
    return (
        f"{evaluate}{'or' if evaluate else 'next:'} classify photos. This is one of yours; name others, or a folder of "
        f"them, in its place:\n  {shell_words('regraft', 'predict', _as_argument(out), _as_argument(photo))}"
    )


def has_test_photos(data: Location, columns: Columns) -> bool:
    """Return whether a folder has a test part. A table's command would need the options of its columns, too."""
    return data.is_dir() and columns == Columns() and "test" in split_names(data)


def _as_argument(path: PurePath) -> PurePath | str:
    """Return a path that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else path
