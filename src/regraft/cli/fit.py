"""`regraft fit`: photos in, a classifier with figures out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import options
from regraft.cli.closing import has_test_photos, next_step, why_n
from regraft.cli.console import note, result, result_json
from regraft.cli.dry_run import print_plans
from regraft.cli.options import file_path
from regraft.cli.training_options import CommandOptions, networks_or_default, with_options
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError, printable
from regraft.files import check_output, prepare_folder
from regraft.progress import Observer
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import AUTO, strategy_help

if TYPE_CHECKING:
    from regraft.transfer.fit import FitResult

_CLASSES_SHOWN = 8
_FILE = "classifier.safetensors"
_OTHER_FORMATS = (
    *(".pt", ".pth", ".bin", ".ckpt", ".onnx", ".h5", ".keras", ".tflite", ".pkl", ".joblib"),
    *(".zip", ".csv", ".json", ".html", ".png"),
)


@with_options(
    Columns,
    FitSettings,
    Compute,
    Schedule,
    optional=("strategy",),
    words={"strategy": f"{strategy_help()} [default: auto]"},
    track=True,
)
def fit(
    data: options.Data,
    *,
    model: Annotated[
        str,
        typer.Option(
            help="Pretrained network: a timm name (resnet50), hf-hub:owner/name, local-dir:FOLDER, or one that is "
            "installed with regraft: offline (efficientnet-lite0), or pocket, the fastest. `regraft models` lists "
            "the names.",
            show_default="a strong one; offline without a connection",
        ),
    ] = "",
    out: Annotated[
        Path,
        typer.Option(help="The classifier's file.", parser=file_path(_FILE), metavar="FILE"),
    ] = Path(_FILE),
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of this network: .safetensors or a state dict.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a report into this folder too: what the layers learned, mistakes, how far it carries."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and how long it will take, and stop.")
    ] = False,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Train a classifier on labelled photos and write it to one file.

    Without a validation folder every figure is out-of-fold. A test folder is never read: that is for
    `regraft evaluate`. A run that was killed resumes when the same command is given again.
    """
    _check_files(out, report, weights, model, writes=not dry_run)
    splits = find_samples(data, given.columns())
    splits["train"].check_trainable()
    tested = has_test_photos(data, given.columns())
    narrowed = any(given.values[name] for name in ("train_from", "train_only", "lora"))
    strategy = given.values["strategy"] or ("top" if narrowed else AUTO)
    _announce(splits, model, strategy, out)

    # only now the imports that take seconds
    from regraft.classifier.bundle import save_bundle
    from regraft.networks.backbones import load_backbone
    from regraft.training.checkpoints import run_folder
    from regraft.transfer.fit import fit as train

    compute = given.compute()
    settings = given.fit_settings(compute, strategy=strategy)
    settings.check_used((strategy,), compute)
    if dry_run:
        print_plans(model, splits, settings, compute, json=json, verbose=given.verbose)
        return
    model = networks_or_default([model] if model else [])[0]
    observer = given.observer(out.stem)
    trained = train(
        splits,
        lambda: load_backbone(model, weights),
        model=model,
        settings=settings,
        compute=compute,
        observer=observer,
        folder=run_folder(out),
    )
    save_bundle(trained.classifier, out)
    trained.run.finish()
    observer.finish(trained.record.to_json())
    _print_figures(trained, splits, out, json=json)
    if report is not None:
        _report(trained, report, compute, observer)
    note(next_step(out, data, splits["train"], tested=tested))


def _check_files(out: Path, report: Path | None, weights: Path | None, model: str, *, writes: bool) -> None:
    if weights is not None and not model:
        raise OptionError("--weights is a file of one network: name it with --model.")
    if out.suffix.lower() in _OTHER_FORMATS:
        raise OptionError(
            f"--out {printable(out)}: the classifier is a safetensors file. Name it "
            f"{printable(out.with_suffix('.safetensors'))}."
        )
    if writes:
        check_output(out, option="--out")
    if writes and report is not None:
        prepare_folder(report, option="--report")


def _print_figures(trained: "FitResult", splits: Mapping[str, Samples], out: Path, *, json: bool) -> None:
    kept, record = f"The classifier is kept: {printable(out)}.", trained.record
    if json:
        result_json({**record.to_json(), "out": str(out)}, kept=kept)
    else:
        result(str(trained.report), kept=kept)
        result(f"\n  {printable(record.trained)}; {printable(record.frozen)}\n  {why_n(trained, splits)}", kept=kept)
    note(f"wrote {printable(out)} ({out.stat().st_size / 1e6:.1f} MB)")


def _report(trained: "FitResult", folder: Path, compute: Compute, observer: Observer) -> None:
    from regraft.explain.explain import explain
    from regraft.explain.html_report import write_report
    from regraft.explain.subject import subject_of_fit

    note("making the report")
    found = explain(
        subject_of_fit(trained),
        device=compute.torch_device,
        batch_size=compute.batch_size,
        seed=trained.record.seed,
        observer=observer,
    )
    path = write_report(found, folder)
    if found.depth_advice is not None:
        note(found.depth_advice.advice)
    note(f"wrote {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")


def _announce(splits: dict[str, Samples], model: str, strategy: str, out: Path) -> None:
    train = splits["train"]
    note(f"train: {len(train):,} photos of {len(train.classes):,} classes: {_counts(train)}")
    if "validation" in splits:
        part = splits["validation"]
        note(f"evaluated on the {len(part):,} photos of {printable(part.where)}, which take no part in training")
    else:
        note("evaluated out-of-fold: each photo by a classifier trained without it; the final one learns from all")
    network = f"network: {printable(model)}, strategy" if model else "strategy:"
    note(f"{network} {printable(strategy)}\nout: {printable(out)}")


def _counts(samples: Samples) -> str:
    counts = list(samples.counts().items())
    shown = ", ".join(f"{printable(name)} {count:,}" for name, count in counts[:_CLASSES_SHOWN])
    return shown + (f", and {len(counts) - _CLASSES_SHOWN:,} more" if len(counts) > _CLASSES_SHOWN else "")
