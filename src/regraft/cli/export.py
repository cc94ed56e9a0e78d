"""`regraft export`: a classifier in a format that other programs run."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.classifier.named import bundle_file
from regraft.cli import options
from regraft.cli.console import note, result_json
from regraft.cli.training_options import CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.photo_list import list_photos
from regraft.errors import OptionError, printable
from regraft.exports.formats import format_named, formats_in_words, with_ending
from regraft.exports.request import check_request
from regraft.networks.names import is_on_hub


@with_options(Columns, without=("group_column",))
def export(
    bundle: options.Bundle,
    *,
    to: Annotated[str, typer.Option(help=f"Format: {formats_in_words()}.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. [default: beside the classifier, with the ending of the format]",
            parser=options.file_path("classifier.onnx"),
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="Photos that the file is compared with the classifier on, up to 100 of them: a folder, a table or a "
            "'glob'. [default: photos that are made up]",
            metavar="PHOTOS",
            show_default=False,
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise it: smaller and faster, calibrated on a part of the photos of --check."),
    ] = False,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Percentage points of accuracy that this may cost on the others; of agreement with the classifier "
            "where photos have no labels. [default: 1]",
            metavar="POINTS",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.", show_default=False)] = False,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Write a classifier in a format that other programs run: from decoded photos of any size to probabilities.

    Resizing, crop, normalisation and test-time views are part of it; class names, the rule that answers, licence and
    figures stand in its metadata. It is compared with the classifier, from the photos' files on, before it appears: one
    that answers otherwise is not left there. docs/export.md shows how to run it.
    """
    format = format_named(to)
    named = str(bundle)
    beside = Path(named.partition("@")[0].rpartition("/")[2]) if is_on_hub(named) else bundle
    path = out or with_ending(beside, format)
    columns = given.columns()
    if check is None and columns != Columns():
        raise OptionError(
            "--image-column and the like are of the table that --check names. Name it, or leave them out."
        )

    check_request(path, format, photos=check is not None, int8=int8, max_loss=max_loss, force=force)
    photos = None if check is None else list_photos(check, columns)
    if photos is not None:
        for line in (str(photos), *photos.notes):
            note(printable(line))

    from regraft.classifier.bundle import load_bundle
    from regraft.exports.export import export as write

    classifier = load_bundle(bundle_file(bundle, note))
    written = write(
        classifier, to, path, check=photos, int8=int8, max_loss=max_loss, force=force, observer=given.observer()
    )
    if json:
        result_json(written.to_json(), kept=f"The file is kept: {printable(path)}.")
    note(str(written))
