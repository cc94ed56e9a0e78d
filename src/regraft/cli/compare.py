"""`regraft compare`: networks and strategies evaluated on the same photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import options
from regraft.cli.console import note, result, result_json
from regraft.cli.options import file_path
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import (
    COMPUTE,
    TRAINING,
    CommandOptions,
    networks_or_default,
    parse_duration,
    with_options,
)
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.engines.compute import Compute
from regraft.errors import OptionError, printable
from regraft.files import check_output
from regraft.plots.learning_curve import PICTURES, draw_learning_curve
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import STRATEGIES

if TYPE_CHECKING:
    from regraft.plots.curves import Curves, Point
    from regraft.transfer.comparison import ComparisonRow

_FILE = "comparison.png"


@with_options(
    Columns,
    LabelOptions,
    FitSettings,
    Compute,
    Schedule,
    only=("labels", "positive", "folds", "grouping", "near_duplicates", "seed", *TRAINING, *COMPUTE, "cache_limit"),
    track=True,
)
def compare(
    data: options.Data,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Pretrained network; may be given several times.",
            show_default="a strong one; offline without a connection",
        ),
    ] = None,
    strategies: Annotated[str, typer.Option(help=f"Some of {', '.join(STRATEGIES)}.")] = ",".join(STRATEGIES),
    sizes: Annotated[str, typer.Option(help="Photos per class to train on, e.g. 20,50,all.")] = "all",
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time limit for everything; what does not fit gets fewer folds or is left out, and is named."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="The learning curve: a .png, .svg, .pdf or .jpg file.",
            parser=file_path(_FILE),
            metavar="FILE",
        ),
    ] = Path(_FILE),
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Compare networks and strategies on the same folds.

    Prints figures, paired differences and advice, and draws a learning curve. Only training photos are read, never
    validation or test folders. A comparison that was killed resumes when the same command is given again.
    """
    if out.suffix.lower() not in (*PICTURES, ""):
        raise OptionError(f"--out must end in {', '.join(PICTURES)}: the figures go to stdout. Got {printable(out)}.")
    check_output(out, option="--out")
    columns, labels = given.columns(), given.labels()
    samples = labels.find(data, columns, splits=("train",))["train"]
    check_keeps_inputs(out, [data, labels.labels, *(model or [])], samples.sources)
    chosen, counts = [name.strip() for name in strategies.split(",") if name.strip()], _sizes(sizes)
    note(
        f"{len(samples):,} photos of {len(samples.classes):,} classes; each is predicted by a classifier trained "
        f"without its fold\nnetworks: {', '.join(map(printable, model or ['to be chosen']))}\n"
        f"strategies: {', '.join(map(printable, chosen))}; photos of each class: {printable(sizes)}\n"
        f"out: {printable(out)}"
    )
    from regraft.classifier.named import load_network
    from regraft.training.checkpoints import run_folder
    from regraft.transfer.compare import compare as run_comparison

    compute = given.compute()
    settings = given.fit_settings(compute)
    model = networks_or_default(model or [])
    observer = given.observer(out.stem)
    found = run_comparison(
        samples,
        {name: (lambda name=name: load_network(name, limit=compute.cache_bytes)) for name in model},  # type: ignore[misc]
        strategies=chosen,
        sizes=counts,
        settings=settings,
        compute=compute,
        budget=None if budget is None else parse_duration(budget, "--budget"),
        folder=run_folder(out),
        observer=observer,
    )
    draw_learning_curve(curves_of(found.rows, "accuracy"), out, metric="accuracy")
    found.run.finish()
    observer.finish({})
    kept = f"The learning curve is kept: {printable(out)}."
    if json:
        result_json({**found.to_json(), "out": str(out)}, kept=kept)
    else:
        result(str(found), kept=kept)
    note(f"wrote {printable(out)}")


def _sizes(text: str) -> list[int | None]:
    try:
        return [None if part.strip() == "all" else int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--sizes must be numbers of photos or all, e.g. 20,50,all. Got {text!r}.") from None


def curves_of(rows: Sequence["ComparisonRow"], metric: str) -> "Curves":
    """Return the learning curve of every strategy, and of every network where there are several."""
    chosen = [row for row in rows if row.metric == metric]
    several = len({row.model for row in chosen}) > 1
    curves: dict[str, list[Point]] = {}
    for row in chosen:
        network = printable(row.model.rpartition("/")[2].removeprefix("local-dir:"))
        interval = None if row.low is None or row.high is None else (row.low, row.high)
        points = curves.setdefault(f"{row.strategy} ({network})" if several else row.strategy, [])
        if row.mean is not None:
            points.append((row.learned_per_class, row.mean, interval))
    return curves
