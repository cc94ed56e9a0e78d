"""Options that several commands share."""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from regraft.data.layouts import layouts_in_words
from regraft.errors import OutputError, StorageError, printable
from regraft.files import check_local
from regraft.storage.locations import Location, location


def place(text: str | Path) -> Location:
    """Return the path or the address that a user names."""
    try:
        return location(text)
    except StorageError as error:
        raise typer.BadParameter(str(error)) from None


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")]
Data = Annotated[
    Path,  # or an address in a store: typer knows no alternatives, and `place` makes what is there
    typer.Argument(
        help=f"{layouts_in_words()} On this machine, or in a store: s3://bucket/pets.",
        show_default=False,
        parser=place,
        metavar="DATA",
    ),
]
NetworkOrFile = Annotated[
    str,
    typer.Option(
        help="Pretrained network: a timm name, hf-hub:owner/name, local-dir:FOLDER, offline (efficientnet-lite0) or "
        "pocket; or a classifier (its file, or hf-hub:owner/name), whose network is taken.",
        show_default="a strong one; offline without a connection",
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights file of the network: .safetensors or a state dict.", show_default=False)
]
Level = Annotated[
    int | None,
    typer.Option(
        help="Of classes in a tree (fit --taxonomy): this level of it, counted from the top, instead of the classes.",
        min=1,
        show_default=False,
    ),
]
Bundle = Annotated[
    Path, typer.Argument(help="A file that `regraft fit --out` wrote, or hf-hub:owner/name.", show_default=False)
]


class Split(StrEnum):
    """The parts of a data set that has them."""

    train = "train"
    validation = "validation"
    test = "test"


def file_path(name: str) -> Callable[[str | Path], Path]:
    """Return what reads a file's path: a name that ends in a slash is a folder's, and a path would lose the slash.

    Args:
        name: of a file that could be meant, for the message.
    """

    def read(text: str | Path) -> Path:
        try:
            check_local(text, "the file")
        except OutputError as error:
            raise typer.BadParameter(str(error)) from None
        if str(text).endswith(("/", os.sep)):
            said = printable(text)
            raise typer.BadParameter(f"{said} is a folder. Name a file in it, e.g. {printable(Path(text) / name)}.")
        return Path(text)

    return read
