"""`regraft predict`: photos in, answers out."""

import glob
import os
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import TerminalObserver, check_stdout, counted, note, result, result_exactly
from regraft.cli.formats import FORMATTERS, Format, as_kaggle, check_kaggle
from regraft.data.folders import image_files, natural_order
from regraft.errors import DataError, printable
from regraft.files import MAX_FILE_BYTES, atomic_write, check_output

SOME_UNREADABLE = 3  # exit code
_ELSEWHERE = "The answers can be written into a file: --out FILE."


def predict(
    bundle: options.Bundle,
    photos: Annotated[list[str], typer.Argument(help="Files, folders or globs ('*.jpg').", show_default=False)],
    format: Annotated[Format, typer.Option(help="How to write the answers.")] = Format.table,
    out: Annotated[Path | None, typer.Option(help="File to write to. [default: stdout]")] = None,
    positive: Annotated[str | None, typer.Option(help="--format kaggle: the class whose probability is asked.")] = None,
    clip: Annotated[float, typer.Option(help="--format kaggle: keep probabilities this far from 0 and 1.")] = 0.005,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    batch_size: options.BatchSize = 32,
    max_file_size: options.MaxFileSize = MAX_FILE_BYTES,
    cache: options.Cache = True,
) -> None:
    """Classify photos. An unreadable one is named in its row, the others are answered, and the exit code is 3."""
    if out is None:
        check_stdout("Name a file: --out FILE.")
    else:
        check_output(out, option="--out")
    paths = find_photos(photos)

    from regraft.classifier.bundle import load_bundle, read_description
    from regraft.classifier.predict import predict as classify
    from regraft.transfer.settings import Settings

    if format is Format.kaggle:
        check_kaggle(read_description(bundle)["classes"], positive=positive, clip=clip)
    classifier = load_bundle(bundle)
    settings = Settings(device=device, engine=engine, batch_size=batch_size, cache=cache, max_file_size=max_file_size)
    predictions = classify(classifier, paths, settings=settings, observer=TerminalObserver())
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
        note(f"wrote {printable(out)} ({counted(len(paths), 'photo')})")
    if predictions.unreadable:
        for position, reason in sorted(predictions.unreadable.items()):
            note(f"unreadable: {printable(paths[position])}: {printable(reason)}")
        raise typer.Exit(SOME_UNREADABLE)


def find_photos(arguments: list[str]) -> list[Path]:
    """Return the image files that files, folders (with all below) and globs name, each once.

    Raises:
        DataError: an argument that names nothing.
    """
    found: dict[Path, None] = {}
    nothing: list[str] = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            matches = image_files(path)[0]
        elif os.path.lexists(path):  # a pipe or a device, too: it has its row, and the others are answered
            matches = [path]
        else:
            names = natural_order(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute patterns too)
            matches = [Path(name) for name in names if not Path(name).is_dir()]
        if not matches:
            nothing.append(argument)
        found |= dict.fromkeys(matches)
    if nothing:
        named = ", ".join(map(printable, nothing))
        raise DataError(f"no image found for: {named}. Name image files, folders of them, or quoted globs.")
    return list(found)
