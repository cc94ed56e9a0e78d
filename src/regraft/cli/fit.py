"""`regraft fit`: photos in, a classifier with numbers out."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import TerminalObserver, note, result, result_json
from regraft.data.samples import Samples, find_samples
from regraft.data.tables import Columns
from regraft.files import check_output

_CLASSES_SHOWN = 8


def fit(
    data: options.Data,
    model: Annotated[
        str,
        typer.Option(
            help="Pretrained network: a timm name (resnet50), hf-hub:owner/name or local-dir:FOLDER. "
            "`regraft models` lists the names.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The classifier's file.")] = Path("classifier.safetensors"),
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of this network: .safetensors or a state dict.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="frozen: keep the network, replace its last layer.")] = "frozen",
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    image_root: options.ImageRoot = None,
    positive: options.Positive = None,
    seed: Annotated[int, typer.Option(help="Of the folds.", min=0)] = 0,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 32,
    cache: options.Cache = True,
    force: Annotated[bool, typer.Option("--force", help="Keep a classifier that is no better than chance.")] = False,
    json: options.Json = False,
) -> None:
    """Train a classifier on labelled photos and write it to one file.

    Without a validation folder every figure is out-of-fold. A test folder is never read: that is for
    `regraft evaluate`.
    """
    check_output(out)
    splits = find_samples(data, Columns(image_column, label_column, group_column, image_root))
    splits["train"].check_trainable()
    _announce(splits, model, out)

    # only now the imports that take seconds
    from regraft.learn.settings import Settings
    from regraft.learn.strategies import train
    from regraft.models.backbones import check_model_name, load_backbone
    from regraft.models.bundle import save_bundle

    check_model_name(model)
    settings = Settings(strategy, seed, device, batch_size, cache, positive, force)
    trained = train(
        splits, lambda: load_backbone(model, weights), model=model, settings=settings, observer=TerminalObserver()
    )
    save_bundle(trained.classifier, out)
    if json:
        result_json({**trained.numbers, "out": str(out)})
    else:
        result("\n".join(trained.report.summary_lines()))
    note(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


def _announce(splits: dict[str, Samples], model: str, out: Path) -> None:
    train = splits["train"]
    note(f"train: {len(train):,} photos of {len(train.classes):,} classes: {_counts(train)}")
    if "validation" in splits:
        judge = splits["validation"]
        note(f"judge: the {len(judge):,} photos of {judge.where}, which take no part in training")
    else:
        note("judge: every photo by a head that was fitted without it (out-of-fold); the final head learns from all")
    note(f"network: {model}, kept as it is; its last layer is replaced\nout: {out}")


def _counts(samples: Samples) -> str:
    counts = list(samples.counts().items())
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:_CLASSES_SHOWN])
    return shown + (f", and {len(counts) - _CLASSES_SHOWN:,} more" if len(counts) > _CLASSES_SHOWN else "")
