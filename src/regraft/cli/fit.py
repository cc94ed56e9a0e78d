"""`regraft fit`: photos in, a classifier with numbers out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.console import note, result, result_json
from regraft.cli.training_options import networks_or_default, observer_of, settings_of, with_training
from regraft.data.samples import Samples, find_samples
from regraft.data.tables import Columns
from regraft.errors import OptionError, printable
from regraft.files import MAX_FILE_BYTES, check_output, prepare_folder

_CLASSES_SHOWN = 8


@with_training
def fit(
    data: options.Data,
    model: Annotated[
        str,
        typer.Option(
            help="Pretrained network: a timm name (resnet50), hf-hub:owner/name, local-dir:FOLDER, or pocket, the "
            "small one inside regraft. `regraft models` lists the names.",
            show_default="a strong one; pocket without a connection",
        ),
    ] = "",
    out: Annotated[Path, typer.Option(help="The classifier's file.")] = Path("classifier.safetensors"),
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of this network: .safetensors or a state dict.")
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="frozen: replace the last layer. top: train the last two stages too. whole: all of it. scratch: from "
            "random weights. auto: the cheapest of the first three that is not proven worse.",
            show_default="auto",
        ),
    ] = "",
    train_from: Annotated[
        str | None, typer.Option(help="Train from this stage on; `regraft models NETWORK` lists stages.")
    ] = None,
    train_only: Annotated[str | None, typer.Option(help="Train this one stage.")] = None,
    lora: Annotated[int, typer.Option(help="Train adapters of this rank on linear layers instead.", min=0)] = 0,
    budget: Annotated[str, typer.Option(help="auto: time for trying more than the last layer: 90s, 10m, 2h.")] = "10m",
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a report into this folder too: what the layers learned, mistakes, how far it carries."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, tensor by tensor, and stop.")
    ] = False,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    image_root: options.ImageRoot = None,
    positive: options.Positive = None,
    seed: Annotated[int, typer.Option(help="Of the folds.", min=0)] = 0,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    batch_size: options.BatchSize = 32,
    max_file_size: options.MaxFileSize = MAX_FILE_BYTES,
    cache: options.Cache = True,
    force: Annotated[bool, typer.Option("--force", help="Keep a classifier that is no better than chance.")] = False,
    json: options.Json = False,
    *,
    training: dict[str, Any],
) -> None:
    """Train a classifier on labelled photos and write it to one file.

    Without a validation folder every figure is out-of-fold. A test folder is never read: that is for
    `regraft evaluate`. A run that was killed goes on where it was when the same command is given again.
    """
    _check_files(out, report, weights, model, writes=not dry_run)
    splits = find_samples(data, Columns(image_column, label_column, group_column, image_root))
    splits["train"].check_trainable()
    strategy = strategy or ("top" if train_from or train_only or lora else "auto")
    _announce(splits, model, strategy, out)

    # only now the imports that take seconds
    from regraft.classifier.bundle import save_bundle
    from regraft.networks.backbones import load_backbone
    from regraft.training.checkpoints import run_folder
    from regraft.transfer.fit import train
    from regraft.transfer.settings import parse_duration

    settings = settings_of(
        training,
        strategy=strategy,
        seed=seed,
        device=device,
        engine=engine,
        batch_size=batch_size,
        max_file_size=max_file_size,
        cache=cache,
        positive=positive,
        force=force,
        train_from=train_from,
        train_only=train_only,
        lora=lora,
        budget=parse_duration(budget),
    )
    if dry_run:
        _print_plans(model, settings, json=json)
        return
    model = networks_or_default([model] if model else [])[0]
    observer = observer_of(training, out.stem)
    trained = train(
        splits,
        lambda: load_backbone(model, weights),
        model=model,
        settings=settings,
        observer=observer,
        folder=run_folder(out),
    )
    save_bundle(trained.classifier, out)
    trained.run.finish()
    observer.finish(trained.numbers)
    _print_numbers(trained, out, json=json)
    if report is not None:
        _report(trained, report, settings, observer)


def _check_files(out: Path, report: Path | None, weights: Path | None, model: str, *, writes: bool) -> None:
    if weights is not None and not model:
        raise OptionError("--weights is a file of one network: name it with --model.")
    if writes:
        check_output(out)
    if writes and report is not None:
        prepare_folder(report, option="--report")


def _print_numbers(trained: Any, out: Path, *, json: bool) -> None:
    kept = f"The classifier is kept: {printable(out)}."
    if json:
        result_json({**trained.numbers, "out": str(out)}, kept=kept)
    else:
        result("\n".join(map(printable, trained.report.summary_lines())), kept=kept)
        result(f"\n  {printable(trained.numbers['trained'])}; {printable(trained.numbers['frozen'])}", kept=kept)
    note(f"wrote {printable(out)} ({out.stat().st_size / 1e6:.1f} MB)")


def _report(trained: Any, folder: Path, settings: Any, observer: Any) -> None:
    from regraft.explain.explain import explain
    from regraft.explain.html_report import write_report
    from regraft.explain.subjects import subject_of_result
    from regraft.runtime import pick_device

    note("now the report")
    device, seed = pick_device(settings.device), settings.seed
    found = explain(
        subject_of_result(trained),
        device=device,
        batch_size=settings.batch_size,
        seed=seed,
        observer=observer,
    )
    path = write_report(found, folder)
    if found.carried is not None:
        note(found.carried.advice)
    note(f"wrote {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")


def _print_plans(model: str, settings: Any, *, json: bool) -> None:
    from regraft.networks.backbones import build_untrained
    from regraft.networks.registry import STRONG
    from regraft.transfer.auto import CANDIDATES
    from regraft.transfer.fit import candidate_of
    from regraft.transfer.strategies import plan_of

    backbone = build_untrained(model or STRONG)  # the plan does not depend on the weights
    candidate = candidate_of(settings)
    candidates = CANDIDATES if candidate is None else (candidate,)
    plans = [(str(one), plan_of(one, backbone, settings.schedule)) for one in candidates]
    if json:
        result_json({"plans": [{"strategy": name, **plan.to_json()} for name, plan in plans]})
    else:
        told = [[f"{name}: {plan.summary()}", *plan.lines()] for name, plan in plans]
        result("\n\n".join("\n".join(map(printable, lines)) for lines in told))


def _announce(splits: dict[str, Samples], model: str, strategy: str, out: Path) -> None:
    train = splits["train"]
    note(f"train: {len(train):,} photos of {len(train.classes):,} classes: {_counts(train)}")
    if "validation" in splits:
        judge = splits["validation"]
        note(f"judge: the {len(judge):,} photos of {printable(judge.where)}, which take no part in training")
    else:
        note("judge: every photo by a classifier that learned without it (out-of-fold); the final one learns from all")
    network = f"network: {printable(model)}, strategy" if model else "strategy:"
    note(f"{network} {printable(strategy)}\nout: {printable(out)}")


def _counts(samples: Samples) -> str:
    counts = list(samples.counts().items())
    shown = ", ".join(f"{printable(name)} {count:,}" for name, count in counts[:_CLASSES_SHOWN])
    return shown + (f", and {len(counts) - _CLASSES_SHOWN:,} more" if len(counts) > _CLASSES_SHOWN else "")
