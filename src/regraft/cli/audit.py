"""`regraft audit`: what ruins figures, found in photos before and after training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.classifier.named import names_classifier
from regraft.cli import options
from regraft.cli.console import check_stdout, note, result, result_json
from regraft.cli.embed import VECTORS, check_model, new_embedder, say_what_was_found
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.photos import find_photos
from regraft.engines.compute import Compute
from regraft.errors import OptionError, counted, first_few, printable
from regraft.files import check_output, prepare_folder, size_in_words
from regraft.storage.locations import location

if TYPE_CHECKING:
    from regraft.photo_audit.audit import Audit
    from regraft.photo_audit.photos import AuditPhotos

_LIST = "clean.csv"
_FARTHEST = 5  # photos that are named


@with_options(Columns, LabelOptions, Compute, only=("labels", *VECTORS))
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
        typer.Argument(help="New photos, where DATA is a classifier's file.", metavar="[NEW]...", show_default=False),
    ] = None,
    *,
    model: options.NetworkOrFile = "",
    weights: options.Weights = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page that shows the photos, and tables of the findings, into this folder."),
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
    if names_classifier(data) and not location(data).is_dir():
        others = {"--model": model, "--weights": weights, "--report": report, "--write-clean": write_clean}
        others |= {"--labels": given.labels().labels}
        _compare_new(data, new or [], given, json=json, others=others)
        return
    if new:
        raise OptionError(
            f"{printable(data)} is no classifier's file, with whose photos {printable(new[0])} could be compared. Name "
            "one folder or table; or, first, a file that `regraft fit` wrote."
        )
    check_model(model, weights)
    inputs = [model, weights, given.labels().labels]
    photos = _find_photos(data, given, inputs, report=report, clean=write_clean)
    embedder, model = new_embedder(model, weights, given)

    from regraft.photo_audit.audit import audit as audit_photos

    found = audit_photos(photos, embedder, observer=given.observer())
    if json:
        result_json({"model": model, **found.to_json()})
    else:
        _print(found)
    _write(found, report=report, clean=write_clean)


def _find_photos(
    data: str, given: CommandOptions, inputs: Sequence[str | Path | None], *, report: Path | None, clean: Path | None
) -> "AuditPhotos":
    """Return the photos, once it is clear that what will be written overwrites nothing that is read."""
    if clean is not None:
        check_output(clean, option="--write-clean")
    if report is not None:
        prepare_folder(report, option="--report")

    from regraft.photo_audit.photos import find_audit_photos

    photos = find_audit_photos(data, given.columns(), given.labels())
    if clean is not None:
        from regraft.photo_audit.clean_list import check_clean_list

        check_clean_list(photos, clean)
        check_keeps_inputs(clean, [data, *inputs], photos.sources, option="--write-clean")
    if report is not None:
        from regraft.photo_audit.html_report import FILES

        for name in FILES:
            check_keeps_inputs(report / name, [data, *inputs], photos.sources, option="--report")
    say_what_was_found(photos.listed)
    return photos


def _print(found: "Audit") -> None:
    for line in found.lines():
        result(printable(line))
    for line in found.notes:
        note(printable(line))


def _write(found: "Audit", *, report: Path | None, clean: Path | None) -> None:
    if clean is not None:
        from regraft.photo_audit.clean_list import write_clean_list

        kept = write_clean_list(found, clean)
        unlabelled = int((found.photos.labels < 0).sum())
        without = f"; {unlabelled:,} have no label" if unlabelled else ""
        nothing = ", nothing to learn from" if not kept else ""
        group = ""
        if any(name is not None for name in found.photos.groups):
            group = "; `regraft fit` keeps its groups together by --group-column group"
        photos = counted(len(found.photos), "photo")
        note(f"wrote {printable(clean)}: {kept:,} of {photos} to keep{nothing}{without}{group}")
    if report is not None:
        from regraft.photo_audit.html_report import write_audit_report

        for path in write_audit_report(found, report):
            note(f"wrote {printable(path)} ({size_in_words(path.stat().st_size)})")


def _compare_new(
    file: str, new: Sequence[str], given: CommandOptions, *, json: bool, others: Mapping[str, object]
) -> None:
    """Say how new photos differ from those that a classifier learned from."""
    named = [name for name, value in others.items() if value]
    if named:
        raise OptionError(
            f"{', '.join(named)}: {printable(file)} is a classifier's file, and new photos are compared with what it "
            f"learned from. Leave {'it' if len(named) == 1 else 'them'} out; or name a folder or table instead of it."
        )
    if not new:
        raise OptionError(
            f"{printable(file)} is a classifier's file: name new photos after it, which are compared with what it "
            f"learned from: regraft audit {printable(file)} NEW-PHOTOS. To audit its training photos, name these."
        )

    from regraft.classifier.named import bundle_file, check_named

    check_named(file)
    photos = find_photos(new, given.columns())
    note(f"comparing {counted(len(photos), 'photo')} with those that {printable(file)} learned from")

    from regraft.classifier.bundle import load_bundle
    from regraft.photo_audit.new_photos import compare_new_photos

    classifier = load_bundle(bundle_file(file, note))
    found, compared = compare_new_photos(classifier, photos, given.compute(), given.observer())
    if json:
        result_json({"file": file, "photos": [str(photo) for photo in compared], **found.to_json()})
        return
    result(printable(str(found), lines=True))
    farthest = [str(compared[place]) for place in found.ranking[:_FARTHEST].tolist()]
    if farthest:
        result(f"\nthe farthest: {printable(first_few(farthest, _FARTHEST))}")
