"""`regraft explain`: what a network's layers learned, as a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.classifier.named import check_named, check_network, load_named, load_network
from regraft.cli import options
from regraft.cli.console import note, result, result_json
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import COMPUTE, CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import counted, printable
from regraft.files import prepare_folder
from regraft.progress import Observer
from regraft.transfer.settings import FitSettings

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier
    from regraft.explain.subject import Subject
    from regraft.networks.backbone import Backbone


@with_options(
    Columns, FitSettings, Compute, only=("positive", "seed", *COMPUTE), words={"seed": "Seed of the probes' folds."}
)
def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="A file that `regraft fit --out` wrote, or hf-hub:owner/name; or a network: a timm name, "
            "hf-hub:owner/name, local-dir:FOLDER, offline or pocket.",
            show_default=False,
        ),
    ],
    photos: Annotated[
        Path,
        typer.Argument(
            help="Photos, with labels as for `regraft fit` or without.",
            show_default=False,
            parser=options.place,
            metavar="PHOTOS",
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(help="Folder of the report: report.html, and units.html where its pictures of units are many."),
    ] = Path("report"),
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Show units of this stage; may be given several times. [default: all]", show_default=False),
    ] = None,
    units: Annotated[
        int, typer.Option(help="Units to show of each stage; 0 for none, in a third of the time.", min=0)
    ] = 16,
    method: Annotated[
        str,
        typer.Option(
            help="deconvnet, guided (backpropagation), or auto: deconvnet where the network max-pools, else guided."
        ),
    ] = "auto",
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of the network: .safetensors or a state dict.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(help="The network before fine-tuning. [default: the one that the file names, if it is here]"),
    ] = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Show what the layers of a network learned.

    Writes a report: units and what excites them, where the network looks, how far it carries. Of data with splits,
    train and validation are read. A test folder is never read unless it is named itself.
    """
    prepare_folder(out, option="--out")
    check_named(model, weights)
    from regraft.explain.subject import find_subject_photos

    samples, labelled = find_subject_photos(photos, given.columns())
    unlabelled = "" if labelled else ", without labels"
    note(f"{counted(len(samples), 'photo')} of {printable(samples.where)}{unlabelled}\nout: {printable(out)}")

    from regraft.classifier.classifier import Classifier
    from regraft.explain.explain import check_options
    from regraft.explain.explain import explain as look_into
    from regraft.explain.html_report import FILES, write_report

    for name in FILES:
        check_keeps_inputs(out / name, [model, photos, weights, before], samples.sources)

    compute, seed, observer = given.compute(), given.values["seed"], given.observer()
    if before is not None:
        check_network(before)
    thing = load_named(model, weights, say=note)
    check_options(thing.backbone if isinstance(thing, Classifier) else thing, stage or (), method=method, units=units)
    subject = _subject(
        thing, samples, labelled=labelled, model=model, before=before, given=given, compute=compute, observer=observer
    )
    found = look_into(
        subject,
        stages=stage or (),
        units=units,
        method=method,
        device=compute.torch_device,
        batch_size=compute.batch_size,
        seed=seed,
        observer=observer,
    )
    path = write_report(found, out)
    kept = f"The report is kept: {printable(path)}."
    if json:
        result_json({**found.to_json(), "out": str(path)}, kept=kept)
    elif found.depth_advice is not None:
        result(found.depth_advice.advice, kept=kept)
    for line in found.notes:
        note(printable(line))
    note(f"wrote {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")


def _subject(
    thing: "Classifier | Backbone",
    samples: Samples,
    *,
    labelled: bool,
    model: str,
    before: str | None,
    given: CommandOptions,
    compute: Compute,
    observer: Observer,
) -> "Subject":
    from regraft.evaluation.report import check_positive
    from regraft.explain.subject import subject_of_classifier, subject_of_network
    from regraft.networks.backbone import Backbone
    from regraft.networks.names import own_name

    positive = given.values["positive"]
    check_positive(positive, samples.classes if isinstance(thing, Backbone) else thing.classes)
    if isinstance(thing, Backbone):
        name = own_name(model)
        return subject_of_network(thing, samples, labelled=labelled, model=name, compute=compute, observer=observer)
    return subject_of_classifier(
        thing,
        samples,
        labelled=labelled,
        before=None if before is None else lambda: load_network(before, limit=compute.cache_bytes),
        compute=compute,
        positive=positive,
        seed=given.values["seed"],
        observer=observer,
    )
