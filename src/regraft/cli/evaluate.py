"""`regraft evaluate`: a classifier evaluated on photos that it has not seen."""

from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, counted, note, result, result_json
from regraft.cli.training_options import COMPUTE, CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples, split_names
from regraft.engines.compute import Compute
from regraft.errors import printable
from regraft.transfer.settings import JOIN, FitSettings


@with_options(Columns, FitSettings, Compute, only=("positive", "near_duplicates", *COMPUTE))
def evaluate(
    bundle: options.Bundle,
    data: options.Data,
    *,
    split: Annotated[
        options.Split | None,
        typer.Option(help="Which split to evaluate on, where there are splits. [default: test, else validation]"),
    ] = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Evaluate a classifier on labelled photos. Those that it was trained on are named and left out."""
    check_stdout("Send it to a terminal or into a file: > FILE.")
    columns = given.columns()
    chosen = split.value if split is not None else split_names(data, columns)[-1]
    samples = find_samples(data, columns, splits=(chosen,))[chosen]
    note(f"evaluating {printable(bundle)} on {counted(len(samples), 'photo')} of {printable(samples.where)}")

    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.evaluate import evaluate as evaluate_classifier

    record = evaluate_classifier(
        load_bundle(bundle),
        samples,
        compute=given.compute(),
        positive=given.values["positive"],
        near=given.values["near_duplicates"] == JOIN,
        observer=given.observer(),
    )
    if json:
        result_json(record.to_json())
    else:
        result(str(record.report))
