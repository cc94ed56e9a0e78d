"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from regraft.data.layouts import layouts_in_words

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]
Data = Annotated[
    Path,
    typer.Argument(
        help=layouts_in_words(),
        show_default=False,
    ),
]
Bundle = Annotated[Path, typer.Argument(help="A file that `regraft fit --out` wrote.", show_default=False)]


class Split(StrEnum):
    """The parts of a data set that has them."""

    train = "train"
    validation = "validation"
    test = "test"
