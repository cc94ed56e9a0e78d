"""`regraft evaluate`: a classifier, or several, evaluated on photos that they have not seen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.console import check_stdout, counted, note, result, result_json
from regraft.cli.training_options import COMPUTE, CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples, split_names
from regraft.engines.compute import Compute
from regraft.errors import OptionError, printable
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.transfer.settings import JOIN, FitSettings

if TYPE_CHECKING:
    from regraft.data.samples import Samples


def _files(given: list[Path]) -> list[Path]:
    """Refuse photos and folders where classifiers are meant, as a pattern gives them."""
    many = [str(path) for path in given[1:] if path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir()]
    if many:
        raise typer.BadParameter(f"Got unexpected extra arguments ({' '.join(many)})")
    return given


@with_options(Columns, FitSettings, Compute, only=("positive", "near_duplicates", *COMPUTE))
def evaluate(
    classifiers: Annotated[
        list[Path],
        typer.Argument(
            help="A file that `regraft fit --out` wrote; several are compared on the same photos.",
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
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Evaluate a classifier on labelled photos, or several on the same ones.

    Photos that they were trained on are named and left out. Of several, each one's figures are printed, and what they
    differ in, with tests.
    """
    check_stdout("Send it to a terminal or into a file: > FILE.")
    columns = given.columns()
    chosen = split.value if split is not None else split_names(data, columns)[-1]
    samples = find_samples(data, columns, splits=(chosen,))[chosen]
    named = ", ".join(map(printable, classifiers))
    note(f"evaluating {named} on {counted(len(samples), 'photo')} of {printable(samples.where)}")
    settings = {
        "compute": given.compute(),
        "positive": given.values["positive"],
        "near": given.values["near_duplicates"] == JOIN,
        "observer": given.observer(),
    }
    if len(classifiers) > 1:
        found = _several(classifiers, samples, settings)
        result_json(found.to_json()) if json else result(str(found))
        return

    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.evaluate import evaluate as evaluate_classifier

    record = evaluate_classifier(load_bundle(classifiers[0]), samples, **settings)
    if json:
        result_json(record.to_json())
    else:
        result(str(record.report))


def _several(files: list[Path], samples: "Samples", settings: dict[str, Any]) -> Any:
    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.paired_evaluation import evaluate_paired

    twice = [str(file) for place, file in enumerate(files) if file in files[:place]]
    if twice:
        raise OptionError(f"{printable(twice[0])} is named twice: each classifier is compared with the others once.")
    return evaluate_paired({str(file): load_bundle(file) for file in files}, samples, **settings)
