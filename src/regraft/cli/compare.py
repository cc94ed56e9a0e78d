"""`regraft compare`: networks and strategies judged by the same photos."""

from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.console import note, result, result_json
from regraft.cli.training_options import networks_or_default, observer_of, settings_of, with_training
from regraft.data.samples import find_samples
from regraft.data.tables import Columns
from regraft.errors import OptionError, printable
from regraft.files import MAX_FILE_BYTES, check_output


@with_training
def compare(
    data: options.Data,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Pretrained network; may be given several times.",
            show_default="a strong one; pocket without a connection",
        ),
    ] = None,
    strategies: Annotated[str, typer.Option(help="Some of frozen, top, whole, scratch.")] = "frozen,top,whole,scratch",
    sizes: Annotated[str, typer.Option(help="Labelled photos of each class that are learned from, e.g. 20,50,all.")] = (
        "all"
    ),
    budget: Annotated[
        str | None,
        typer.Option(help="Time for all: what does not fit is judged by fewer folds or left out, and named."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The learning curve, a PNG.")] = Path("comparison.png"),
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    image_root: options.ImageRoot = None,
    positive: options.Positive = None,
    seed: Annotated[int, typer.Option(help="Of folds, views and training.", min=0)] = 0,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    batch_size: options.BatchSize = 32,
    max_file_size: options.MaxFileSize = MAX_FILE_BYTES,
    cache: options.Cache = True,
    json: options.Json = False,
    *,
    training: dict[str, Any],
) -> None:
    """Compare networks and strategies on the same folds: figures, paired differences, a learning curve, and advice.

    Only training photos are looked at; validation and test folders are not. A comparison that was killed goes on
    where it was when the same command is given again.
    """
    check_output(out, option="--out")
    splits = find_samples(data, Columns(image_column, label_column, group_column, image_root), splits=("train",))
    samples = splits["train"]
    chosen, counts = [name.strip() for name in strategies.split(",") if name.strip()], _sizes(sizes)
    note(
        f"{len(samples):,} photos of {len(samples.classes):,} classes; each is judged by what was learned without its "
        f"fold\nnetworks: {', '.join(map(printable, model or ['to be chosen']))}\n"
        f"strategies: {', '.join(map(printable, chosen))}; photos of each class: {printable(sizes)}\n"
        f"out: {printable(out)}"
    )
    from regraft.networks.backbones import load_backbone
    from regraft.training.checkpoints import run_folder
    from regraft.transfer.compare import compare as run_comparison
    from regraft.transfer.settings import parse_duration

    settings = settings_of(
        training,
        strategy="frozen",
        seed=seed,
        device=device,
        engine=engine,
        batch_size=batch_size,
        max_file_size=max_file_size,
        cache=cache,
        positive=positive,
    )
    model = networks_or_default(model or [])
    observer = observer_of(training, out.stem)
    found = run_comparison(
        samples,
        {name: (lambda name=name: load_backbone(name)) for name in model},  # type: ignore[misc]
        strategies=chosen,
        sizes=counts,
        settings=settings,
        budget=None if budget is None else parse_duration(budget),
        folder=run_folder(out),
        observer=observer,
    )
    from regraft.plots.learning_curve import draw_learning_curve

    draw_learning_curve(found.rows, out, metric="accuracy")
    found.run.finish()
    observer.finish({})
    kept = f"The learning curve is kept: {printable(out)}."
    if json:
        result_json({**found.to_json(), "out": str(out)}, kept=kept)
    else:
        result("\n".join(_table(found.rows, len(samples.classes))), kept=kept)
        result("\n".join(["", *map(printable, [*found.notes, found.advice])]), kept=kept)
    note(f"wrote {printable(out)}")


def _sizes(text: str) -> list[int | None]:
    try:
        return [None if part.strip() == "all" else int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--sizes must be numbers of photos or all, e.g. 20,50,all. Got {text!r}.") from None


def _table(rows: list[dict[str, Any]], classes: int) -> list[str]:
    """Return one aligned line for each model, strategy and size."""
    metrics = ["accuracy", "average_precision" if classes == 2 else "balanced_accuracy", "log_loss"]
    grouped: dict[tuple[str, str, Any], dict[str, dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["model"], row["strategy"], row["size"]), {})[row["metric"]] = row
    several = len({model for model, _, _ in grouped}) > 1
    lines = [["strategy", "photos/class", *(m.replace("_", " ") for m in metrics), "folds", "seconds", "images/s"]]
    for (model, strategy, size), by_metric in grouped.items():
        row = by_metric[metrics[0]]
        name = printable(f"{strategy} ({model})" if several else strategy)
        rate = "" if row["images_per_second"] is None else f"{row['images_per_second']:,.0f}"
        figures = [_figure(by_metric[metric]) for metric in metrics]
        learned = row["learned_per_class"]  # as many as were asked for, or what there was
        photos = str(size) if size == learned else f"{size} ({learned:,})"
        lines.append([name, photos, *figures, str(row["folds"]), f"{row['seconds']:,.1f}", rate])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _figure(row: dict[str, Any]) -> str:
    if row["mean"] is None:
        return str(row["missing"])
    bounds = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['mean']:.3f}{bounds}"
