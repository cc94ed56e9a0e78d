"""The options that `fit`, `compare` and `pretrain` share: how a network is trained."""

import copy
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, get_args

import typer

from regraft.cli.console import TerminalObserver, note


class Tracker(StrEnum):
    """Where training is recorded."""

    none = "none"
    mlflow = "mlflow"


def _option(kind: Any, default: Any, help: str, *flags: str) -> tuple[Any, Any]:
    return Annotated[kind, typer.Option(*flags, help=help)], default


# name: (type with typer's option, default). What is None has a default that depends on strategy and photos.
OPTIONS: dict[str, tuple[Any, Any]] = {
    "epochs": _option(
        int | None, None, "How often a photo is seen. [default: 8; 24 from scratch; 100 updates at least]"
    ),
    "lr": _option(float | None, None, "Highest learning rate. [default: top 3e-4, whole 1e-4, scratch, LoRA 1e-3]"),
    "lr_decay": _option(float, 1.0, "Each stage learns this much slower than the one after it."),
    "optimizer": _option(str, "adamw", "adamw or sgd."),
    "weight_decay": _option(float, 0.01, "Of matrices and filters."),
    "train_batch_size": _option(int, 32, "Photos per update."),
    "warm_up": _option(float, 0.1, "Share of the steps in which the rate rises; then it falls along a cosine."),
    "clip": _option(float, 1.0, "Largest norm of the gradient; 0 for none."),
    "label_smoothing": _option(float, 0.0, "Share of the target spread over all classes."),
    "mixup": _option(float, 0.0, "Parameter by which two photos are mixed at the cut; 0 for none."),
    "cutmix": _option(float, 0.0, "The same for a box of one photo put into another; 0 for none."),
    "averaging": _option(float, 1.0, "Keep the mean of the weights over about this many epochs; 0 for the last ones."),
    "views": _option(int, 4, "Views of each photo cached at the cut."),
    "augment": _option(
        str,
        "flip,crop,colour",
        "How views differ: some of flip, vertical-flip, crop, colour, randaugment, erase; or none.",
    ),
    "crop_area": _option(float, 0.5, "Smallest area of a crop, as a share of the photo."),
    "batch_norm": _option(str | None, None, "Statistics of trained stages: held or trained. [default: held]"),
    "patience": _option(int | None, None, "Stop after this many epochs without gain on a sixth held out."),
    "precision": _option(str, "auto", "fp32, bf16, fp16 or auto."),
    "cache_limit": _option(str | None, None, "How much the cache may hold, e.g. 20GB. [default: 10GB]"),
    "restart": _option(bool, False, "Throw away the checkpoints of a run that was killed.", "--restart"),
    "track": _option(Tracker, Tracker.none, "Record the training: mlflow (its own variables say where)."),
}


def with_training(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options of training; it receives them as one argument `training`, a dict by name."""
    return with_options()(command)


def with_options(
    *, without: Sequence[str] = (), optional: Sequence[str] = (), words: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the options of training, with defaults of its own.

    Args:
        without: options that it does not have.
        optional: options whose default it knows better: left out, they are None.
        words: help of its own.
    """
    offered = {}
    for name, (kind, default) in OPTIONS.items():
        if name in without:
            continue
        bare, option = get_args(kind)
        if name in optional and default is not None:
            bare, default = bare | None, None  # noqa: PLW2901
        if words and name in words:
            option = copy.copy(option)
            option.help = words[name]
        offered[name] = (Annotated[bare, option], default)
    return functools.partial(_offer, offered)


def _offer(offered: Mapping[str, tuple[Any, Any]], command: Callable[..., None]) -> Callable[..., None]:
    own = inspect.signature(command)
    kept = [parameter for name, parameter in own.parameters.items() if name != "training"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in offered.items()
    ]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        command(training={name: given.pop(name) for name in offered}, **given)

    wrapped.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept] + added
    )
    wrapped.__annotations__ = {p.name: p.annotation for p in [*kept, *added]} | {"return": None}
    return wrapped


def settings_of(training: dict[str, Any], *, defaults: Any = None, **more: Any) -> Any:
    """Return the `Settings` of a command's options, checked as far as they can be without photos.

    Args:
        training: the options of training by name.
        defaults: a `Schedule` of what was left out; None where the options have all defaults themselves.
        more: other fields of `Settings`.

    Raises:
        OptionError: a value outside what is allowed.
    """
    from regraft.cache import LIMIT_VARIABLE, size_limit
    from regraft.training.schedule import OPTION_NAMES, Schedule
    from regraft.transfer.settings import Settings

    if training["cache_limit"] is not None:
        os.environ[LIMIT_VARIABLE] = training["cache_limit"]
    size_limit()  # a mistake in it is told before the work
    names = Schedule.__dataclass_fields__
    fields: dict[str, Any] = {name: training.get(OPTION_NAMES.get(name, name)) for name in names}
    if fields["augment"] is not None:
        kinds = "" if fields["augment"] == "none" else fields["augment"]
        fields["augment"] = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    if defaults is not None:
        fields = {name: getattr(defaults, name) if value is None else value for name, value in fields.items()}
    settings = Settings(
        precision=training["precision"], restart=training["restart"], schedule=Schedule(**fields), **more
    )
    settings.check_training()
    return settings


def networks_or_default(named: Sequence[str]) -> list[str]:
    """Return the networks that are named, which may be such, or the one that is taken when none is, which is said."""
    from regraft.networks.registry import check_model_name, default_network

    for name in named:
        check_model_name(name)
    if named:
        return list(named)
    name, said = default_network()
    note(said)
    return [name]


def observer_of(training: dict[str, Any], name: str) -> TerminalObserver:
    """Return what shows the progress of the run called `name`, and records it where that is wanted.

    Raises:
        OptionError: the tracker is not installed.
    """
    if training["track"] is Tracker.mlflow:
        from regraft.cli.tracking import MlflowObserver

        return MlflowObserver(name, {key: str(value) for key, value in training.items() if value is not None})
    return TerminalObserver()
