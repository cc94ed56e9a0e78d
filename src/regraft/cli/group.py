"""`regraft group`: photos without labels, grouped by what they look like, as a table to name the groups in."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, note, result, result_json, shell_words
from regraft.cli.embed import NOT_OF_VECTORS, VECTORS, check_model, new_embedder
from regraft.cli.outputs import check_keeps_inputs, end_naming_unreadable
from regraft.cli.training_options import CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.photo_list import list_photos
from regraft.engines.compute import Compute
from regraft.errors import counted, printable
from regraft.files import check_output, prepare_folder, size_in_words

_FILE = "groups.csv"


@with_options(Columns, Compute, only=VECTORS, without=(*NOT_OF_VECTORS, "label_column", "split_column"))
def group(
    data: Annotated[
        str,
        typer.Argument(help="A folder of photos, with or without labels; a table; or a 'glob'.", show_default=False),
    ],
    *,
    groups: Annotated[
        int | None, typer.Option(help="How many groups to make.", min=1, show_default="as the photos suggest, up to 40")
    ] = None,
    model: options.NetworkOrFile = "",
    weights: options.Weights = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a table of the photos, in whose column `label` the groups are to be named.",
            parser=options.file_path(_FILE),
            metavar="FILE.csv",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page that shows the most typical photos of each group into this folder."),
    ] = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Group photos that nobody has labelled by what a network sees in them, so that groups can be named at once.

    A class may be several groups: give these the same name. A photo that cannot be read is named and left out, and the
    exit code is 3.
    """
    check_stdout("Write the groups into a table: --out FILE.csv.")
    if out is not None:
        check_output(out, option="--out")
    if report is not None:
        prepare_folder(report, option="--report")
    check_model(model, weights)
    photos = list_photos(data, given.columns())
    note(f"{counted(len(photos), 'photo')} of {printable(photos.where)}")

    from regraft.labelling.groups import check_groups_file, group_photos, notes_on

    if out is not None:
        check_groups_file(out, photos.sources, printable(photos.where))
        check_keeps_inputs(out, [data, model, weights], photos.sources)
    if report is not None:
        from regraft.labelling.contact_sheet import PAGE, write_contact_sheet  # pages need more than groups do

        check_keeps_inputs(report / PAGE, [data, model, weights], photos.sources, option="--report")
    embedder, model = new_embedder(model, weights, given)
    found = group_photos(embedder, photos, groups)
    if out is not None:
        found.write(out)
    kept = "" if out is None else f"The table is kept: {printable(out)}."
    if json:
        figures = {
            "model": model,
            "engine": embedder.engine,
            **found.to_json(),
            "out": None if out is None else str(out),
        }
        result_json(figures, kept=kept)
    else:
        result(str(found), kept=kept)
    for line in notes_on(found):
        note(line)
    if report is not None:
        page = write_contact_sheet(found, report)
        note(f"wrote {printable(page)} ({size_in_words(page.stat().st_size)})")
    if out is not None:
        _say_next(out)
    end_naming_unreadable(found.unreadable)


def _say_next(out: Path) -> None:
    """Say what to do with the table."""
    command = shell_words("regraft", "fit", f"./{out}" if str(out).startswith("-") else out)
    note(
        f"wrote {printable(out)}\nnext: replace group-1, group-2 ... in its column label by names (the same name joins "
        f"groups; delete rows that belong nowhere), then learn from it:\n  {command}"
    )
