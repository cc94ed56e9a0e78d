"""`regraft suggest`: the photos to label next, as a table to fill in."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, note, result, result_json, shell_words
from regraft.cli.outputs import check_keeps_inputs, end_naming_unreadable
from regraft.cli.training_options import COMPUTE, CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import printable
from regraft.files import check_output

_FILE = "to-label.csv"


@with_options(Columns, Compute, only=COMPUTE)
def suggest(
    bundle: options.Bundle,
    photos: Annotated[
        str,
        typer.Argument(
            help="Photos without labels: a folder, a table (rows with a label count as labelled), or a 'glob'.",
            show_default=False,
        ),
    ],
    *,
    count: Annotated[int, typer.Option("--count", "-n", help="Photos to suggest.", min=1)] = 50,
    labelled: Annotated[
        str | None,
        typer.Option(
            help="The photos that are labelled so far, as for `regraft fit`: left out of the suggestions, and written "
            "into the table with their labels, so that it holds all there is to learn from.",
            metavar="DATA",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a table whose column `label` is to be filled in, which `regraft fit` reads.",
            parser=options.file_path(_FILE),
            metavar="FILE.csv",
        ),
    ] = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Name the photos to label next: those that the classifier is least sure of, of as many kinds as there are.

    Photos that it learned from, their copies, and copies of each other are left out. A photo that cannot be read is
    named, and the exit code is 3.
    """
    check_stdout("Write the photos into a table: --out FILE.csv.")
    if out is not None:
        check_output(out, option="--out")

    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.named import bundle_file, check_named
    from regraft.labelling.sources import photos_to_label
    from regraft.labelling.suggestions import check_suggestions_file
    from regraft.labelling.suggestions import suggest as suggest_photos

    check_named(str(bundle))
    listed, known = photos_to_label(photos, labelled, given.columns())
    if out is not None:
        check_suggestions_file(out, listed.sources, known)
        sources = [*listed.sources, *(() if known is None else known.sources)]
        check_keeps_inputs(out, [bundle, photos, labelled], sources)
    for part in (listed, *([] if known is None else [known])):
        for line in part.listed.notes:
            note(line)
    classifier = load_bundle(bundle_file(bundle, note))
    found = suggest_photos(
        classifier, listed, count, labelled=known, compute=given.compute(), observer=given.observer()
    )
    if out is not None:
        found.write(out)
    kept = "" if out is None else f"The table is kept: {printable(out)}."
    if json:
        result_json({"classifier": str(bundle), **found.to_json(), "out": None if out is None else str(out)}, kept=kept)
    else:
        result(str(found), kept=kept)
    for line in found.notes():
        note(line)
    if out is not None:
        _say_next(out, has_labelled=known is not None)
    end_naming_unreadable(found.unreadable)


def _say_next(out: Path, *, has_labelled: bool) -> None:
    """Say what to do with the table."""
    command = shell_words("regraft", "fit", f"./{out}" if str(out).startswith("-") else out)
    alone = "" if has_labelled else " It holds the suggested photos alone: --labelled DATA adds those that have labels."
    note(
        f"wrote {printable(out)}.{alone}\nnext: fill in its column label, then learn from it:\n  {command}\n"
        "Figures of that fit are of photos that were chosen for being hard: evaluate it on others, drawn at random."
    )
