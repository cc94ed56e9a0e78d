"""`regraft fit`: photos in, a classifier with figures out."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.closing import has_test_photos, left_out, next_step, why_n
from regraft.cli.console import note, result, result_json
from regraft.cli.dry_run import print_plans
from regraft.cli.dry_run_networks import print_networks
from regraft.cli.held_out_answers import check_answers_file, write_held_out_answers
from regraft.cli.options import file_path
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import (
    CommandOptions,
    networks_or_default,
    networks_to_choose_from,
    with_options,
)
from regraft.cluster.settings import TrainingWorkers
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.samples import Samples
from regraft.data.taxonomy import distances_between
from regraft.data.training_classes import TaxonomyOptions
from regraft.engines.compute import Compute
from regraft.errors import OptionError, printable
from regraft.evaluation.goals import check_goal_photos
from regraft.files import check_output, prepare_folder
from regraft.networks.names import NetworkNames, joined_name, read_names
from regraft.processes import leave_processes
from regraft.progress import Observer
from regraft.runtime import is_first_process
from regraft.training.schedule import Schedule
from regraft.transfer.settings import USED_BY_CHOICE, FitSettings
from regraft.transfer.strategies import AUTO, strategy_help

if TYPE_CHECKING:
    from regraft.cluster.training import ClusterFit
    from regraft.networks.backbone import Backbone
    from regraft.transfer.fit import FitResult

_CLASSES_SHOWN = 8
_FILE = "classifier.safetensors"
_OTHER_FORMATS = (
    *(".pt", ".pth", ".bin", ".ckpt", ".onnx", ".h5", ".keras", ".tflite", ".pkl", ".joblib"),
    *(".zip", ".csv", ".json", ".html", ".png"),
)


@with_options(
    Columns,
    LabelOptions,
    TaxonomyOptions,
    FitSettings,
    Compute,
    Schedule,
    TrainingWorkers,
    optional=("strategy",),
    words={"strategy": f"{strategy_help()} [default: auto]"},
    track=True,
)
def fit(
    data: options.Data,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Pretrained network: a timm name (resnet50), hf-hub:owner/name, local-dir:FOLDER, one that is "
            "installed with regraft: offline (efficientnet-lite0), or pocket, the fastest; or a classifier's file, "
            "whose network is taken. `regraft models` lists the names. Several are joined under one last layer; auto "
            "chooses one, of those named beside it or of some that people start from.",
            show_default="a strong one; offline without a connection",
        ),
    ] = None,
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
            help="Write a report into this folder too: how good it is, its mistakes, labels to check, what to do next."
        ),
    ] = None,
    units: Annotated[
        int | None,
        typer.Option(
            help="Units to show of each stage in the report, which takes it three times as long. [default: none]",
            min=0,
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Write the held-out answers that the figures are of, too: photo, label, fold, answer, probabilities.",
            metavar="FILE.csv",
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
    `regraft evaluate`. A run that was killed resumes when the same command is given again. Several processes or
    accelerators, with a --strategy that is named: torchrun --nproc-per-node 4 -m regraft fit and the same arguments; or
    --on ray --workers 4.
    """
    networks = read_names(model or None)
    networks.check(weights=weights is not None)
    given.processes().first(
        lambda: _check_files(out, report, units, predictions=predictions, networks=networks, writes=not dry_run)
    )
    columns, labels, tree = given.columns(), given.labels(), given.taxonomy()
    splits = tree.apply(labels.find(data, columns))
    splits["train"].check_trainable()
    if not dry_run:
        _check_inputs(
            [data, weights, labels.labels, tree.taxonomy, *networks.names],
            splits,
            out=out,
            report=report,
            predictions=predictions,
        )
    tested = has_test_photos(data, columns)
    narrowed = any(given.values[name] for name in ("train_from", "train_only", "lora"))
    strategy = given.values["strategy"] or ("top" if narrowed else AUTO)
    _announce(splits, networks, strategy, out)

    # only now the imports that take seconds
    from regraft.training.checkpoints import run_folder

    compute = given.compute()
    workers = given.training_workers(compute)
    settings = given.fit_settings(compute, strategy=strategy)
    settings.check_used((strategy,), compute, besides=USED_BY_CHOICE if networks.choose else ())
    settings.check_networks(networks, weights=weights is not None)
    networks = _by_own_names(networks, weights)
    if dry_run:
        _print_dry_run(networks, splits, settings, compute, json=json, given=given)
        return
    observer = given.observer(out.stem)
    how = {"settings": settings, "compute": compute, "observer": observer, "folder": run_folder(out)}
    shown = None if report is None else units or 0
    if workers is None:
        trained: FitResult | ClusterFit = _train(networks, weights, splits, **how)
    else:
        trained = _train_on_workers(networks, weights, splits, workers=workers, units=shown, **how)
    if not _save(trained, out):
        return
    observer.finish(trained.record.to_json())
    if predictions is not None:
        found = trained.held_out
        write_held_out_answers(predictions, found.dataset, found.probabilities, found.answers.labels, found.folds)
    _print_figures(trained, splits, out, json=json)
    if report is not None:
        _report(trained, report, units or 0, compute, observer)
    note(next_step(out, data, splits["train"], tested=tested))


def _by_own_names(networks: NetworkNames, weights: Path | None) -> NetworkNames:
    """Return the networks by their own names, and check these: two names may stand for the same."""
    from regraft.classifier.named import check_network
    from regraft.networks.names import own_name

    for name in networks.names:
        check_network(name)
    found = replace(networks, names=tuple(map(own_name, networks.names)))
    found.check(weights=weights is not None)
    return found


def _print_dry_run(
    networks: NetworkNames,
    splits: Mapping[str, Samples],
    settings: FitSettings,
    compute: Compute,
    *,
    json: bool,
    given: CommandOptions,
) -> None:
    if not is_first_process():
        return
    if given.values["workers"] is not None:
        note("planned for this process alone: --workers is left out of account")
    train = splits["train"]
    settings.check(compute, train.classes, distances_between(train.classes, train.taxonomy))
    evaluated = splits["validation"].aligned(train.classes) if "validation" in splits else train
    if (goal := settings.decision.goal_of(train.classes, settings.positive)) is not None:
        check_goal_photos(goal, evaluated.labels, train.classes, evaluated.groups)
    if networks.choose or networks.joined:
        print_networks(networks, splits, settings, compute, json=json)
    else:
        print_plans(networks.title, splits, settings, compute, json=json, verbose=given.verbose)


def _train(networks: NetworkNames, weights: Path | None, splits: Mapping[str, Samples], **how: Any) -> "FitResult":
    """Fit one network, several that are joined, or the best of several. `how` is for `transfer.fit`."""
    from regraft.transfer.fit import fit as train
    from regraft.transfer.fit import fit_best

    if networks.choose:
        return fit_best(splits, _loaders(networks_to_choose_from(networks.names), weights, how["compute"]), **how)
    names = networks_or_default(networks.names)
    load, *joined = _loaders(names, weights, how["compute"]).values()
    trained = train(splits, load, model=joined_name(names), joined=joined, **how)
    leave_processes()
    return trained


def _train_on_workers(
    networks: NetworkNames, weights: Path | None, splits: Mapping[str, Samples], **how: Any
) -> "ClusterFit":
    """Fit one network, or several that are joined. `how` is for `cluster.training.fit_on_workers`."""
    if networks.choose:
        raise OptionError(
            f"--workers trains one network together, and here one of several is to be chosen "
            f"(--model {printable(' '.join(networks.names) or AUTO)}). Name one."
        )
    from regraft.cluster.training import fit_on_workers

    names = networks_or_default(networks.names)
    load, *joined = _loaders(names, weights, how["compute"]).values()
    return fit_on_workers(splits, load, model=joined_name(names), joined=joined, **how)


def _loaders(names: Sequence[str], weights: Path | None, compute: Compute) -> "dict[str, Callable[[], Backbone]]":
    """Return what loads each network."""
    from regraft.classifier.named import load_network

    return {name: functools.partial(load_network, name, weights, limit=compute.cache_bytes) for name in names}


def _save(trained: "FitResult | ClusterFit", out: Path) -> bool:
    """Write the classifier, and remove its checkpoints; of several processes the first does, which is told."""
    from regraft.classifier.bundle import save_bundle
    from regraft.transfer.fit import FitResult

    if not isinstance(trained, FitResult):
        trained.save(out)
    elif trained.writes:
        save_bundle(trained.classifier, out)
        trained.run.finish()
    return trained.writes


def _check_files(
    out: Path,
    report: Path | None,
    units: int | None,
    *,
    predictions: Path | None,
    networks: NetworkNames,
    writes: bool,
) -> None:
    if units is not None and report is None:
        raise OptionError(
            f"--units {units} goes with --report, which shows them. Add --report FOLDER, or leave it out."
        )
    if units and networks.joined:
        raise OptionError(
            f"--units shows one network. Got {len(networks.names)} (--model), whose features are joined. Leave "
            "--units out, or name one network."
        )
    if out.suffix.lower() in _OTHER_FORMATS:
        raise OptionError(
            f"--out {printable(out)}: the classifier is a safetensors file. Name it "
            f"{printable(out.with_suffix('.safetensors'))}."
        )
    if writes:
        check_output(out, option="--out")
    if writes and report is not None:
        prepare_folder(report, option="--report")
    if predictions is not None:
        check_answers_file(predictions, option="--predictions")


def _check_inputs(
    named: Sequence[str | Path | None],
    splits: Mapping[str, Samples],
    *,
    out: Path,
    report: Path | None,
    predictions: Path | None,
) -> None:
    """Raise `OptionError` where a file that is read would be overwritten.

    Args:
        named: by the user: photos, weights and networks.
        splits: the photos.
        out: the classifier's file.
        report: the folder of the report.
        predictions: the file of the held-out answers.
    """
    sources = [source for samples in splits.values() for source in samples.sources]
    check_keeps_inputs(out, named, sources)
    if predictions is not None:
        check_keeps_inputs(predictions, named, sources, option="--predictions")
    if report is not None:
        from regraft.explain.html_report import FILES  # takes seconds

        for name in FILES:
            check_keeps_inputs(report / name, named, sources, option="--report")


def _print_figures(trained: "FitResult | ClusterFit", splits: Mapping[str, Samples], out: Path, *, json: bool) -> None:
    from regraft.heads.head_choice import head_in_words
    from regraft.transfer.feature_choice import features_in_words
    from regraft.transfer.view_choice import record_of_views

    kept, record = f"The classifier is kept: {printable(out)}.", trained.record
    if json:
        result_json({**record.to_json(), "out": str(out)}, kept=kept)
    else:
        result(str(trained.report), kept=kept)
        for table in record.tables:
            result(f"\n{table}", kept=kept)
        result(f"\n  {printable(record.trained)}; {printable(record.frozen)}\n  {why_n(trained, splits)}", kept=kept)
        more = [features_in_words(record), head_in_words(record.head), record_of_views(record)]
        more += [left_out(record)] if record.over_budget else []
        for line in filter(None, more):
            result(f"  {line}", kept=kept)
    note(f"wrote {printable(out)} ({out.stat().st_size / 1e6:.1f} MB)")


def _report(trained: "FitResult | ClusterFit", folder: Path, units: int, compute: Compute, observer: Observer) -> None:
    from regraft.explain.fit_report import pages_of_fit
    from regraft.transfer.fit import FitResult

    if isinstance(trained, FitResult):
        note("making the report")
        pages = pages_of_fit(trained, units=units, compute=compute, observer=observer)
    else:
        assert trained.pages is not None  # as it was asked for
        pages = trained.pages
    path = pages.write(folder)
    if pages.advice:
        note(pages.advice)
    note(f"wrote {printable(path)} ({path.stat().st_size / 1e6:.1f} MB)")


def _announce(splits: dict[str, Samples], networks: NetworkNames, strategy: str, out: Path) -> None:
    train = splits["train"]
    note(f"train: {len(train):,} photos of {len(train.classes):,} classes: {_counts(train)}")
    if "validation" in splits:
        part = splits["validation"]
        note(f"evaluated on the {len(part):,} photos of {printable(part.where)}, which take no part in training")
    else:
        note("evaluated out-of-fold: each photo by a classifier trained without it; the final one learns from all")
    network = f"network: {printable(networks.in_words)}, strategy" if networks.in_words else "strategy:"
    note(f"{network} {printable(strategy)}\nout: {printable(out)}")


def _counts(samples: Samples) -> str:
    counts = list(samples.counts().items())
    shown = ", ".join(f"{printable(name)} {count:,}" for name, count in counts[:_CLASSES_SHOWN])
    return shown + (f", and {len(counts) - _CLASSES_SHOWN:,} more" if len(counts) > _CLASSES_SHOWN else "")
