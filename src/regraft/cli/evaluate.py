"""`regraft evaluate`: a classifier evaluated on photos that it has not seen."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, counted, note, result, result_json
from regraft.cli.held_out_answers import check_answers_file, write_held_out_answers
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import COMPUTE, CommandOptions, decision_request, with_options
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples, split_names
from regraft.engines.compute import Compute
from regraft.errors import printable
from regraft.transfer.settings import JOIN, FitSettings


@with_options(
    Columns, FitSettings, Compute, only=("positive", "cost", "threshold", "balance", "near_duplicates", *COMPUTE)
)
def evaluate(
    bundle: options.Bundle,
    data: options.Data,
    *,
    split: Annotated[
        options.Split | None,
        typer.Option(help="Which split to evaluate on, where there are splits. [default: test, else validation]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write photo, label, answer and probabilities of each photo, too.", metavar="FILE.csv"),
    ] = None,
    level: options.Level = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Evaluate a classifier on labelled photos. Those that it was trained on are named and left out."""
    check_stdout("Send it to a terminal or into a file: > FILE.")
    if out is not None:
        check_answers_file(out, option="--out")
    request = decision_request(given)
    columns = given.columns()
    chosen = split.value if split is not None else split_names(data, columns)[-1]
    samples = find_samples(data, columns, splits=(chosen,))[chosen]
    note(f"evaluating {printable(bundle)} on {counted(len(samples), 'photo')} of {printable(samples.where)}")

    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.evaluate import evaluation_of

    if out is not None:
        check_keeps_inputs(out, [bundle, data], samples.sources)
    classifier = load_bundle(bundle)
    found = evaluation_of(
        classifier,
        samples,
        compute=given.compute(),
        positive=given.values["positive"],
        near=given.values["near_duplicates"] == JOIN,
        level=level,
        request=request,
        observer=given.observer(),
    )
    if out is not None:
        write_held_out_answers(out, found.dataset, found.probabilities, found.answers, None)
    if json:
        result_json(found.record.to_json())
        return
    result(str(found.record.report))
    for part in filter(None, (found.record.groups, found.record.taxonomy)):
        result(f"\n{part}")
