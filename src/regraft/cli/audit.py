"""`regraft audit`: what ruins figures, found in photos before and after training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, note, result, result_json
from regraft.cli.embed import VECTORS, check_model, new_embedder
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import OptionError, printable
from regraft.files import check_output, prepare_folder

if TYPE_CHECKING:
    from regraft.audit.audit import Audit

_LIST = "clean.csv"


@with_options(Columns, Compute, only=VECTORS)
def audit(
    data: Annotated[
        str,
        typer.Argument(
            help="Photos as for `regraft fit`, or without labels; or a file that it wrote, to compare NEW with what "
            "the classifier learned from.",
            show_default=False,
        ),
    ],
    new: Annotated[
        list[str] | None,
        typer.Argument(help="With a classifier's file: new photos.", metavar="[NEW]...", show_default=False),
    ] = None,
    *,
    model: options.NetworkOrFile = "",
    weights: options.Weights = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page with the photos, and likely wrong labels as CSV, into this folder."),
    ] = None,
    write_clean: Annotated[
        Path | None,
        typer.Option(
            help="Write a table of what to keep, which `regraft fit` reads.",
            parser=options.file_path(_LIST),
            metavar="LIST.csv",
        ),
    ] = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Find what ruins figures: copies, groups on both sides of a split, likely wrong labels, shortcuts, poor photos.

    Nothing is changed or deleted. Photos of a test split are looked at for copies and damage; nothing is learned from
    them. `regraft audit FILE NEW` says how new photos differ from those that the classifier in FILE learned from.
    """
    check_stdout("Send it to a terminal or into a file: > FILE.")
    if _is_classifier(data):
        _audit_new(
            data,
            new or [],
            given,
            json=json,
            others={"--model": model, "--report": report, "--write-clean": write_clean},
        )
        return
    if new:
        raise OptionError(
            f"{printable(data)} is no classifier's file, whose photos {printable(new[0])} could be compared with. Name "
            "one folder or table; or first a file that `regraft fit` wrote."
        )
    check_model(model, weights)
    if write_clean is not None:
        check_output(write_clean, option="--write-clean")
    if report is not None:
        prepare_folder(report, option="--report")

    from regraft.audit.photos import find_audit_photos

    photos = find_audit_photos(data, given.columns())
    for path, name in ((write_clean, "--write-clean"), (report and report / "report.html", "--report")):
        if path is not None:
            check_keeps_inputs(path, [data, model, weights], photos.sources, option=name)
    note(printable(photos.listed))
    for line in photos.listed.notes:
        note(line)
    embedder, model = new_embedder(model, weights, given)

    from regraft.audit.audit import audit as audit_photos

    found = audit_photos(photos, embedder, observer=given.observer())
    if json:
        result_json({"model": model, **found.to_json()})
    else:
        _print(found)
    if write_clean is not None:
        from regraft.audit.clean_list import write_clean_list

        kept = write_clean_list(found, write_clean)
        note(f"wrote {printable(write_clean)}: {kept:,} of {len(photos):,} photos to keep")
    if report is not None:
        from regraft.audit.html_report import write_audit_report

        for path in write_audit_report(found, report):
            note(f"wrote {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")


def _is_classifier(data: str) -> bool:
    return Path(data).suffix.startswith(".safetensor")


def _print(found: "Audit") -> None:
    from regraft.audit.words import lines_of

    for line in lines_of(found.findings, len(found.photos)):
        result(printable(line))
    first = min(20, 0 if found.labels is None else len(found.labels))
    if found.labels is not None and first:
        result(
            f"       of the first {first} of these, about {found.labels.expected(first):.0f} are to be expected wrong"
        )
    if found.guess is not None:
        result(
            f"\n{printable(found.guess.words)}. `regraft fit --groups guessed` keeps them on one side of every split."
        )
    if found.effects:
        result("\nWhat that changes (a new last layer, out-of-fold; 95 % intervals of the differences):")
        for effect in found.effects:
            result(f"  {effect}")
    for line in found.notes:
        note(printable(line))


def _audit_new(data: str, new: list[str], given: CommandOptions, *, json: bool, others: dict[str, object]) -> None:
    raise NotImplementedError
