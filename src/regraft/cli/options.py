"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from regraft.engines.kinds import engine_help
from regraft.errors import OptionError
from regraft.files import parse_size

ImageColumn = Annotated[str | None, typer.Option(help="Table column of image paths, names or ids.")]
LabelColumn = Annotated[str | None, typer.Option(help="Table column of class labels.")]
GroupColumn = Annotated[
    str | None, typer.Option(help="Table column of what must stay on one side of a split: patient, lesion, scene.")
]
ImageRoot = Annotated[Path | None, typer.Option(help="Folder of the table's images. [default: the table's folder]")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Engine = Annotated[str, typer.Option(help=engine_help())]
BatchSize = Annotated[int, typer.Option(help="Images per step through the network.", min=1)]


def _size(text: object) -> int:
    """Return the bytes that a user or a default names."""
    try:
        return parse_size(str(text), "it")
    except OptionError as error:
        raise typer.BadParameter(str(error)) from None


MaxFileSize = Annotated[
    int,
    typer.Option(
        parser=_size,
        metavar="SIZE",
        show_default="1GB",
        help="Largest file of a photo, e.g. 500MB. A larger one counts as unreadable.",
    ),
]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep features on disk for the next run.")]
Positive = Annotated[
    str | None, typer.Option(help="The class that AUC and average precision are of. [default: the second of two]")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]
Data = Annotated[
    Path,
    typer.Argument(
        help="Class folders; train/ and val/ of class folders; a flat folder of cat.0.jpg, dog.0.jpg ...; "
        "a CSV; or Parquet files.",
        show_default=False,
    ),
]
Bundle = Annotated[Path, typer.Argument(help="A file that `regraft fit --out` wrote.", show_default=False)]


class Split(StrEnum):
    """The parts of a data set that has them."""

    train = "train"
    validation = "validation"
    test = "test"
