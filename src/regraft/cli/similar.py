"""`regraft similar`: the photos of a data set that a network finds most like others."""

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, result, result_exactly, result_json
from regraft.cli.embed import NOT_OF_VECTORS, VECTORS, check_model, new_embedder, say_what_was_found
from regraft.cli.outputs import end_naming_unreadable
from regraft.cli.predict import stdout_is_terminal
from regraft.cli.training_options import CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.csv_text import csv_text
from regraft.data.photo_list import list_photos
from regraft.data.photos import find_photos
from regraft.engines.compute import Compute
from regraft.errors import OptionError, printable
from regraft.storage.locations import location

if TYPE_CHECKING:
    from regraft.features.similar import SimilarPhotos


class _Format(StrEnum):
    """How the nearest photos are written."""

    table = "table"
    csv = "csv"
    tsv = "tsv"


@with_options(Columns, Compute, only=VECTORS, without=NOT_OF_VECTORS)
def similar(
    photos: Annotated[
        list[str], typer.Argument(help="One photo or several: files, folders, tables or 'globs'.", show_default=False)
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="Where the nearest are looked for: a folder of photos, with labels or without, or a table.",
            show_default=False,
        ),
    ],
    *,
    model: options.NetworkOrFile = "",
    weights: options.Weights = None,
    top: Annotated[int, typer.Option(help="Photos to show for each.", min=1)] = 9,
    format: Annotated[_Format, typer.Option(help="How to write them.")] = _Format.table,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Show the photos of DATA that are most like each of PHOTOS, the nearest first, with distances.

    The distance is 1 - cosine of the two photos' features: 0 for the same photo, about 1 for photos that have nothing
    in common. Copies and edited copies are marked. A photo that cannot be read is named, and the exit code is 3.
    """
    if json and format is not _Format.table:
        raise OptionError(f"--json and --format {format} say two things. Leave one of them out.")
    check_stdout("Send it to a terminal or into a file: > FILE.")
    check_model(model, weights)
    asked = find_photos(photos)
    listed = list_photos(data, given.columns())
    if listed.sources == (location(data),):
        raise OptionError(
            f"{printable(data)} is one photo, and DATA, which comes last, is where the nearest are looked for. Name a "
            "folder or a table last."
        )
    say_what_was_found(listed)

    from regraft.features.similar import find_similar

    embedder, model = new_embedder(model, weights, given)
    found = find_similar(embedder, tuple(asked), listed, top)
    if json:
        result_json({"model": model, "engine": embedder.engine, **found.to_json()})
    elif format is _Format.table:
        result(str(found))
    else:
        text = csv_text(_rows(found), delimiter="," if format is _Format.csv else "\t")
        if stdout_is_terminal():  # which may be steered by names
            result(text.removesuffix("\n"))
        else:
            result_exactly(text)
    asked_about = [(found.sources[place], reason) for place, reason in sorted(found.errors.items())]
    end_naming_unreadable([*asked_about, *found.unreadable])


def _rows(found: "SimilarPhotos") -> Iterator[list[object]]:
    yield ["photo", "rank", "path", "distance", "label", "split", "match", "error"]
    for place, (source, nearest) in enumerate(zip(found.sources, found, strict=True)):
        for rank, one in enumerate(nearest, 1):
            texts = (one.label or "", one.split or "", one.match)
            yield [source, rank, one.source, f"{one.distance:.6f}", *texts, ""]
        if place in found.errors:
            yield [source, "", "", "", "", "", "", found.errors[place]]
