"""`regraft evaluate`: a classifier judged by photos that it has not seen."""

from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import TerminalObserver, check_stdout, counted, note, result, result_json
from regraft.data.layouts import find_samples, split_names
from regraft.data.tables import Columns
from regraft.errors import printable
from regraft.files import MAX_FILE_BYTES


def evaluate(
    bundle: options.Bundle,
    data: options.Data,
    split: Annotated[
        options.Split | None,
        typer.Option(help="Which split to judge by, where there are splits. [default: test, else validation]"),
    ] = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    image_root: options.ImageRoot = None,
    positive: options.Positive = None,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    batch_size: options.BatchSize = 32,
    max_file_size: options.MaxFileSize = MAX_FILE_BYTES,
    cache: options.Cache = True,
    json: options.Json = False,
) -> None:
    """Judge a classifier by labelled photos. Those that it was trained on are named and left out."""
    check_stdout("Send it to a terminal or into a file: > FILE.")
    columns = Columns(image_column, label_column, group_column, image_root)
    chosen = split.value if split is not None else split_names(data, columns)[-1]
    samples = find_samples(data, columns, splits=(chosen,))[chosen]
    note(f"judging {printable(bundle)} by {counted(len(samples), 'photo')} of {printable(samples.where)}")

    from regraft.classifier.bundle import load_bundle
    from regraft.transfer.fit import evaluate as judge
    from regraft.transfer.settings import Settings

    settings = Settings(
        device=device, engine=engine, batch_size=batch_size, cache=cache, positive=positive, max_file_size=max_file_size
    )
    judged = judge(load_bundle(bundle), samples, settings=settings, observer=TerminalObserver())
    if json:
        result_json(judged.numbers)
    else:
        result("\n".join(map(printable, judged.report.summary_lines())))
