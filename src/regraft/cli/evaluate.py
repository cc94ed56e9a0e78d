"""`regraft evaluate`: a classifier, or several, evaluated on photos that they have not seen."""

from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, note, result, result_json
from regraft.cli.held_out_answers import check_answers_file, write_held_out_answers
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import COMPUTE, CommandOptions, decision_request, with_options
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples, split_names
from regraft.engines.compute import Compute
from regraft.errors import OptionError, counted, printable
from regraft.evaluation.goals import DecisionRequest
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.transfer.settings import JOIN, FitSettings


def _files(given: list[Path]) -> list[Path]:
    """Refuse photos and folders where classifiers are meant, as a pattern gives them."""
    many = [str(path) for path in given[1:] if path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir()]
    if many:
        raise typer.BadParameter(f"Got unexpected extra arguments ({' '.join(many)})")
    return given


def _check_distinct(files: list[Path], out: Path | None, level: int | None) -> None:
    twice = [str(file) for place, file in enumerate(files) if file in files[:place]]
    if twice:
        raise OptionError(f"{printable(twice[0])} is named twice: each classifier is compared with the others once.")
    if len(files) > 1 and out is not None:
        raise OptionError(
            f"--out is for the answers of one classifier. Got {len(files)}: name one, or leave --out out."
        )
    if len(files) > 1 and level is not None:
        raise OptionError(f"--level is of one classifier. Got {len(files)}: name one, or leave --level out.")


@with_options(
    Columns, FitSettings, Compute, only=("positive", "cost", "threshold", "balance", "near_duplicates", *COMPUTE)
)
def evaluate(
    classifiers: Annotated[
        list[Path],
        typer.Argument(
            help="A file that `regraft fit --out` wrote, or hf-hub:owner/name; several are compared on the same "
            "photos.",
            show_default=False,
            metavar="CLASSIFIER",
            callback=_files,
        ),
    ],
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
    """Evaluate a classifier on labelled photos, or several on the same ones.

    Photos that they were trained on are named and left out. Of several, each one's figures are printed, and what they
    differ in, with tests.
    """
    check_stdout("Send it to a terminal or into a file: > FILE.")
    _check_distinct(classifiers, out, level)
    if out is not None:
        check_answers_file(out, option="--out")
    request = decision_request(given)
    columns = given.columns()
    chosen = split.value if split is not None else split_names(data, columns)[-1]
    samples = find_samples(data, columns, splits=(chosen,))[chosen]
    named = ", ".join(map(printable, classifiers))
    note(f"evaluating {named} on {counted(len(samples), 'photo')} of {printable(samples.where)}")

    from regraft.classifier.evaluate import evaluation_of
    from regraft.classifier.paired_evaluation import evaluate_paired

    if out is not None:
        check_keeps_inputs(out, [*classifiers, data], samples.sources)
    loaded = _load(classifiers, request if level is None else DecisionRequest(), given.values["positive"])
    settings: dict[str, Any] = {
        "compute": given.compute(),
        "positive": given.values["positive"],
        "near": given.values["near_duplicates"] == JOIN,
        "observer": given.observer(),
    }
    if len(loaded) > 1:
        compared = evaluate_paired(loaded, samples, **settings)
        result_json(compared.to_json()) if json else result(str(compared))
        return
    (classifier,) = loaded.values()
    found = evaluation_of(classifier, samples, level=level, request=None if level is None else request, **settings)
    if out is not None:
        write_held_out_answers(out, found.dataset, found.probabilities, found.answers, None)
    if json:
        result_json(found.record.to_json())
        return
    result(str(found.record.report))
    for table in found.record.tables:
        result(f"\n{table}")


def _load(files: list[Path], request: Any, positive: str | None) -> dict[str, Any]:
    """Return the classifiers in the files, by name, deciding as was asked."""
    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.named import bundle_file

    loaded = {str(file): load_bundle(bundle_file(file, note)) for file in files}
    for classifier in loaded.values():
        classifier.decide_by(request, positive)
    return loaded
