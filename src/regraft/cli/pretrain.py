"""`regraft pretrain`: a whole network learns a large labelled source, so that others can be learned from it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import options
from regraft.cli.console import note, result, result_json
from regraft.cli.outputs import check_keeps_inputs
from regraft.cli.training_options import COMPUTE, TRAINING, CommandOptions, with_options
from regraft.cluster.settings import TrainingWorkers
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.engines.kinds import AUTO
from regraft.errors import OptionError, printable
from regraft.files import check_own_folder, prepare_folder
from regraft.images.augment import kinds_in_words
from regraft.processes import leave_processes
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

if TYPE_CHECKING:
    from regraft.data.samples import Samples
    from regraft.evaluation.report import Report
    from regraft.networks.backbone import Backbone

_TEMPERATURE = 2.0


@with_options(
    Columns,
    FitSettings,
    Compute,
    Schedule,
    TrainingWorkers,
    only=("seed", *TRAINING, *COMPUTE, "cache_limit", "workers"),
    without=("patience", "cache"),  # patience would choose by the photos that evaluate
    track=True,
    optional=(
        "epochs",
        "weight_decay",
        "train_batch_size",
        "warm_up",
        "clip",
        "label_smoothing",
        "mixup",
        "cutmix",
        "views",
        "augment",
        "crop_area",
    ),
    words={
        "epochs": "How often each photo is seen. [default: 100]",
        "lr": "Highest learning rate. [default: 1e-3; 0.03 of sgd]",
        "weight_decay": "Of matrices and filters. [default: 0.05]",
        "train_batch_size": "Photos per update, of all processes together. [default: 128]",
        "warm_up": "Share of the steps in which the rate rises; then it falls along a cosine. [default: 0.05]",
        "clip": "Largest norm of the gradient; 0 for none. [default: 5]",
        "label_smoothing": "Share of the target spread over all classes. [default: 0.1; with a teacher 0]",
        "mixup": "Beta parameter for blending two photos; 0 for none. [default: 0.2; with a teacher 0]",
        "cutmix": "Beta parameter for pasting a box of another photo in; 0 for none. [default: 1; with a teacher 0]",
        "views": "With a teacher: how many views of each photo it looks at. [default: 4]",
        "augment": f"How views differ: some of {kinds_in_words()}; or none. "
        "[default: flip,crop,randaugment,erase; with a teacher flip,crop,colour]",
        "crop_area": "Smallest area of a crop, as a share of the photo. [default: 0.25; with a teacher 0.35]",
        "batch_norm": "Statistics: trained or held. [default: trained]",
        "seed": "Seed of weights, views and order.",
        "on": "Train by a Ray cluster: ray, or ray:ADDRESS; with --workers.",
        "engine": "What runs the teacher; see `regraft fit --help`.",
    },
)
def pretrain(
    source: options.Data,
    *,
    arch: Annotated[
        str,
        typer.Option(
            help="Network to train from random weights: a timm name; `regraft models` lists them.",
            show_default=False,
        ),
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder of the network, in timm's local-dir format.")] = Path("pretrained"),
    model: Annotated[
        str, typer.Option(help="Pretrained network to continue from, instead of --arch.", show_default=False)
    ] = "",
    weights: Annotated[Path | None, typer.Option(help="Weights file of --model.")] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Side of the images, in pixels. [default: the network's own]")
    ] = None,
    model_args: Annotated[
        str, typer.Option(help="""More of timm's arguments, as JSON: '{"channels": [32, 64, 128, 256]}'.""")
    ] = "",
    teacher: Annotated[
        str | None,
        typer.Option(help="Learn from this network too: a name as of --model, or a file that `regraft fit` wrote."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Temperature that softens the teacher's predictions.")
    ] = _TEMPERATURE,
    teacher_size: Annotated[
        int | None, typer.Option(help="Side of the teacher's images, in pixels. [default: its own]")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Write the weights in float16.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the model card: apache-2.0, cc-by-4.0 ...")
    ] = None,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Pretrain a network of your own on a large labelled source.

    Writes a folder that `fit --model` takes. The network is evaluated on the validation folder, or on a tenth of the
    photos, which take no part in training. A run that was killed resumes when the same command is given again. Several
    accelerators:
    torchrun --nproc-per-node 4 -m regraft pretrain and the same arguments; or --on ray --workers 4.
    """
    # OpenMP's threads spin while they wait, on the processors that decode: an eighth slower on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    # these take seconds, but mistakes that they know are reported before the photos are looked for
    from regraft.pretraining.model_card import TRAINING_FILE, WRITTEN
    from regraft.pretraining.pretrain import pretraining_schedule
    from regraft.pretraining.teacher import DistillationSettings
    from regraft.training.checkpoints import run_folder

    processes = given.processes()
    processes.first(lambda: _check_folder(out, TRAINING_FILE, unfinished=run_folder(out)))
    distillation = None if teacher is None else DistillationSettings(teacher, temperature, teacher_size)
    if distillation is not None:
        distillation.check()
    compute, seed = given.compute(), given.values["seed"]
    workers = given.training_workers(compute)
    if compute.on and workers is None:
        raise OptionError("--on goes with --workers, which train together. Add --workers N, or leave --on out.")
    if teacher is None:
        _check_no_teacher({"temperature": temperature, "teacher_size": teacher_size, **given.values})
    settings = given.fit_settings(
        compute,
        defaults=pretraining_schedule(distilling=distillation is not None),
        strategy="whole",
    )
    load = _loader(arch, model, weights, input_size, _arguments(model_args), seed=seed)
    splits = find_samples(source, given.columns())
    photos = [photo for samples in splits.values() for photo in samples.sources]
    for file in WRITTEN:
        check_keeps_inputs(out / file, [source, model, weights, teacher], photos)
    for split, samples in splits.items():
        note(f"{split}: {len(samples):,} photos of {len(samples.classes):,} classes")

    observer = given.observer(out.name)
    how = {"settings": settings, "compute": compute, "distillation": distillation, "observer": observer}
    written = _write(out, splits, load, workers=workers, half=half, licence=licence, **how)
    if written is None:
        return
    report, about = written
    observer.finish(report.to_json())
    kept = f"The network is kept: {printable(out)}."
    if json:
        result_json({**about, "out": str(out)}, kept=kept)
    else:
        result(report.headline, kept=kept)
    size = (out / "model.safetensors").stat().st_size
    note(f"wrote {printable(out)} ({size / 1e6:.1f} MB): regraft fit PHOTOS --model local-dir:{printable(out)}")


def _write(
    out: Path,
    splits: "Mapping[str, Samples]",
    load: "Callable[[], Backbone]",
    *,
    workers: int | None,
    half: bool,
    licence: str | None,
    **how: Any,
) -> "tuple[Report, dict[str, Any]] | None":
    """Train a network and write it into a folder; return its figures, and all that is known of it in JSON types.

    Of several processes that work together the first one does, to the others None is returned.
    """
    from regraft.pretraining.model_card import training_json, write_network
    from regraft.pretraining.pretrain import pretrain as learn
    from regraft.training.checkpoints import run_folder

    how |= {"half": half, "folder": run_folder(out)}
    if workers is not None:
        from regraft.cluster.pretraining import pretrain_on_workers

        there = pretrain_on_workers(splits, load, workers=workers, name=out.resolve().name, licence=licence, **how)
        there.save(out)
        return there.report, there.about
    found = learn(splits, load, **how)
    leave_processes()
    if not found.writes:
        return None
    write_network(found, out, half=half, licence=licence)
    found.run.finish()
    return found.report, training_json(found)


def _check_no_teacher(values: dict[str, Any]) -> None:
    """Raise `OptionError` for options that a teacher alone uses."""
    unused = {"temperature": _TEMPERATURE, "teacher_size": None, "views": None, "engine": AUTO, "cache_limit": None}
    found = [f"--{name.replace('_', '-')}" for name, left_out in unused.items() if values[name] != left_out]
    if found:
        raise OptionError(
            f"{', '.join(found)}: only with --teacher, which is not given. Leave it out, or name a teacher."
        )


def _check_folder(out: Path, mark: str, *, unfinished: Path) -> None:
    prepare_folder(out, option="--out")
    if not unfinished.is_dir():  # else it may have been killed while it wrote
        check_own_folder(out, mark, option="--out")


def _arguments(text: str) -> dict[str, Any]:
    if not text:
        return {}
    from regraft.files import parse_json

    try:
        found = parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OptionError(
            f"""--model-args must be a JSON object, like '{{"channels": [32, 64, 128, 256]}}'. Got {text!r}."""
        )
    return found


def _loader(
    arch: str, model: str, weights: Path | None, size: int | None, arguments: dict[str, Any], *, seed: int
) -> "Callable[[], Backbone]":
    """Return what makes the network to begin with.

    Raises:
        OptionError: not exactly one of --arch and --model, or what goes with the other one.
    """
    if bool(arch) == bool(model):
        got = "both" if arch else "neither"
        raise OptionError(
            f"name one of --arch (from random weights) and --model (going on from its weights). Got {got}."
        )
    if arch and weights is not None:
        raise OptionError("--weights goes with --model: --arch begins from random weights.")
    if model and (size is not None or arguments):
        raise OptionError("--input-size and --model-args go with --arch: --model is as its weights are.")
    from regraft.networks.backbones import build_untrained, load_backbone, reinitialised
    from regraft.networks.registry import check_model_name, check_side
    from regraft.networks.tracing import check_takes

    check_side(size, "--input-size")
    check_model_name(arch or model)
    if model:
        return lambda: load_backbone(model, weights)
    untrained = build_untrained(arch, size=size, arguments=arguments)
    height, width = untrained.preprocess.height, untrained.preprocess.width
    name = printable(arch)
    problem = f"{name} cannot learn from images of {height} x {width} pixels: {{}}. Choose another --input-size"
    check_takes(untrained.module, height, width, problem + (" or other --model-args." if arguments else "."))
    return lambda: reinitialised(untrained, seed)
