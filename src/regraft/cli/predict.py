"""`regraft predict`: photos in, answers out."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, counted, note, result, result_exactly
from regraft.cli.formats import FORMATTERS, Format, as_kaggle, check_kaggle
from regraft.cli.training_options import COMPUTE, CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.photos import find_photos
from regraft.engines.compute import Compute
from regraft.errors import printable
from regraft.files import atomic_write, check_output

SOME_UNREADABLE = 3  # exit code
_ELSEWHERE = "The answers can be written into a file: --out FILE."


@with_options(Columns, Compute, only=COMPUTE, without=("label_column", "group_column", "split_column"))
def predict(
    bundle: options.Bundle,
    photos: Annotated[list[str], typer.Argument(help="Files, folders, tables or globs ('*.jpg').", show_default=False)],
    *,
    format: Annotated[Format, typer.Option(help="How to write the answers.")] = Format.table,
    out: Annotated[Path | None, typer.Option(help="File to write to. [default: stdout]")] = None,
    positive: Annotated[
        str | None, typer.Option(help="--format kaggle: the class whose probability is written.")
    ] = None,
    clip: Annotated[float, typer.Option(help="--format kaggle: keep probabilities this far from 0 and 1.")] = 0.005,
    given: CommandOptions,
) -> None:
    """Classify photos. An unreadable one is named in its row, the others are answered, and the exit code is 3."""
    if out is None:
        check_stdout("Name a file: --out FILE.")
    else:
        check_output(out, option="--out")
    sources = find_photos(photos, given.columns())

    from regraft.classifier.bundle import load_bundle, read_description
    from regraft.classifier.predict import Predictor

    if format is Format.kaggle:
        check_kaggle(read_description(bundle)["classes"], positive=positive, clip=clip)
    classifier = load_bundle(bundle)
    predictions = Predictor(classifier, given.compute(), given.observer()).predict(sources)
    if format is Format.kaggle:
        text = as_kaggle(predictions, classifier.classes, positive=positive, clip=clip)
    else:
        text = FORMATTERS[format](predictions, classifier.classes)
    if out is None and format is Format.table:
        result(text.removesuffix("\n"), kept=_ELSEWHERE)
    elif out is None:
        result_exactly(text, kept=_ELSEWHERE)
    else:
        with atomic_write(out) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names that are no UTF-8
        note(f"wrote {printable(out)} ({counted(len(sources), 'photo')})")
    if predictions.unreadable:
        for position, reason in sorted(predictions.unreadable.items()):
            note(f"unreadable: {printable(sources[position])}: {printable(reason)}")
        raise typer.Exit(SOME_UNREADABLE)
