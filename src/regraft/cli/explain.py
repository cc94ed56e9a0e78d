"""`regraft explain`: what a network's layers learned, as a report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.console import TerminalObserver, counted, note, result, result_json
from regraft.data.samples import Samples
from regraft.data.tables import Columns
from regraft.errors import BundleError, OptionError, did_you_mean, printable
from regraft.files import MAX_FILE_BYTES, prepare_folder


def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="A file that `regraft fit --out` wrote; or a network: a timm name, hf-hub:owner/name or "
            "local-dir:FOLDER.",
            show_default=False,
        ),
    ],
    photos: Annotated[
        Path, typer.Argument(help="Photos, with labels as for `regraft fit` or without.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the report, which is one file: report.html.")] = Path("report"),
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Picture this stage; may be given several times. [default: all]", show_default=False),
    ] = None,
    units: Annotated[int, typer.Option(help="How many units of each stage are pictured.", min=1)] = 16,
    method: Annotated[
        str,
        typer.Option(
            help="deconvnet, guided (backpropagation), or auto: a deconvnet where the network pools by maximum, as it "
            "needs."
        ),
    ] = "auto",
    weights: Annotated[
        Path | None, typer.Option(help="Of a network: a file with its weights, .safetensors or a state dict.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(help="The network before it was trained further. [default: what the file names, if at hand]"),
    ] = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    image_root: options.ImageRoot = None,
    positive: options.Positive = None,
    seed: Annotated[int, typer.Option(help="Of the folds of the probes.", min=0)] = 0,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    batch_size: options.BatchSize = 32,
    max_file_size: options.MaxFileSize = MAX_FILE_BYTES,
    cache: options.Cache = True,
    json: options.Json = False,
) -> None:
    """Show what a network's layers learned: units and what excites them, where it looks, how far it carries.

    Of photos in splits, train and validation are looked at. A test folder is never read unless it is named itself.
    """
    prepare_folder(out)
    _check_file(model, weights)
    from regraft.explain.subjects import find_photos

    samples, known = find_photos(photos, Columns(image_column, label_column, group_column, image_root))
    unlabelled = "" if known else ", without labels"
    note(f"{counted(len(samples), 'photo')} of {printable(samples.where)}{unlabelled}\nout: {printable(out)}")

    from regraft.explain.explain import check_options
    from regraft.explain.explain import explain as look_into
    from regraft.explain.html_report import write_report
    from regraft.networks.registry import check_model_name
    from regraft.runtime import pick_device
    from regraft.transfer.settings import Settings

    settings = Settings(
        device=device,
        engine=engine,
        batch_size=batch_size,
        cache=cache,
        positive=positive,
        seed=seed,
        max_file_size=max_file_size,
    )
    observer = TerminalObserver()
    if before is not None:
        check_model_name(before)
    thing = _load(model, weights)
    check_options(getattr(thing, "backbone", thing), stage or (), method=method, units=units)
    found = look_into(
        _subject(thing, samples, known=known, model=model, before=before, settings=settings, observer=observer),
        stages=stage or (),
        units=units,
        method=method,
        device=pick_device(device),
        batch_size=batch_size,
        seed=seed,
        observer=observer,
    )
    path = write_report(found, out)
    kept = f"The report is kept: {printable(path)}."
    if json:
        result_json({**found.to_json(), "out": str(path)}, kept=kept)
    elif found.carried is not None:
        result(found.carried.advice, kept=kept)
    for line in found.notes:
        note(printable(line))
    note(f"wrote {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")


def _check_file(model: str, weights: Path | None) -> None:
    """Raise for a classifier's file that is missing, or given weights as well. Imports nothing."""
    file, name = Path(model).expanduser(), printable(model)
    if file.is_file() and weights is not None:
        raise OptionError(f"--weights is for a network, and {name} is a classifier, which has its own. Leave it out.")
    if file.suffix.startswith(".safetensor") and not file.is_file():
        beside = [str(path) for path in file.parent.glob("*.safetensors")] if file.parent.is_dir() else []
        raise BundleError(
            f"{name} does not exist.{did_you_mean(model, beside)} Name a file that `regraft fit --out` wrote, or a "
            "network."
        )


def _load(model: str, weights: Path | None) -> Any:
    """Return the `Classifier` in the file `model`, or the pretrained network of that name as a `Backbone`."""
    from regraft.classifier.bundle import load_bundle
    from regraft.networks.backbones import load_backbone
    from regraft.networks.registry import check_model_name

    file = Path(model).expanduser()
    if file.is_file():
        return load_bundle(file)
    check_model_name(model)
    return load_backbone(model, weights)


def _subject(
    thing: Any, samples: Samples, *, known: bool, model: str, before: str | None, settings: Any, observer: Any
) -> Any:
    from regraft.classifier.classifier import Classifier
    from regraft.explain.subjects import subject_of_classifier, subject_of_network
    from regraft.networks.backbones import load_backbone

    settings.check(thing.classes if isinstance(thing, Classifier) else samples.classes)
    if not isinstance(thing, Classifier):
        return subject_of_network(thing, samples, known=known, model=model, settings=settings, observer=observer)
    load = None if before is None else lambda: load_backbone(before)
    return subject_of_classifier(thing, samples, known=known, before=load, settings=settings, observer=observer)
