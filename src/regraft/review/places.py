"""Where what people decide about a data set is kept: beside it, for the photos' own folders are never touched."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from regraft.data.columns import Columns
from regraft.data.folders import split_of
from regraft.errors import option
from regraft.storage.locations import local_path

_DECISIONS, _ADDED = "-review.sqlite", "-added"


@dataclass(frozen=True)
class ReviewPlaces:
    """Where decisions about a data set are kept.

    Attributes:
        root: the folder that names of photos are relative to: that of the data, of a table that of its images.
        decisions: the file with the decisions.
        added: the folder of photos that people add.
    """

    root: Path
    decisions: Path
    added: Path

    @classmethod
    def of(cls, data: str | Path, columns: Columns | None = None, decisions: Path | None = None) -> Self:
        """Return the places of a data set: pets-review.sqlite and pets-added beside pets.

        A folder that is called like a split lies among others of its data set, where a folder more would be taken for a
        class: both are then beside the folder of these, as pets-train-review.sqlite is beside pets for pets/train.

        Args:
            data: a folder or a table.
            columns: by which a table is read.
            decisions: the file with the decisions; None for the usual one.
        """
        path = local_path(data, "the photos of a review").absolute()
        path = path.resolve() if ".." in path.parts else path  # which have no name to put anything beside
        root = path if path.is_dir() else path.parent
        if columns is not None and columns.image_root is not None:
            root = local_path(columns.image_root, option("image_root")).absolute()
        beside, name = path.parent, path.name if path.is_dir() else path.stem
        if path.is_dir() and split_of(name):
            beside, name = beside.parent, f"{beside.name}-{name}"
        file = beside / f"{name}{_DECISIONS}" if decisions is None else Path(decisions).expanduser().absolute()
        return cls(root, file, beside / f"{name}{_ADDED}")
