"""Options made from the fields of settings: how a network is trained, and where things run."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from regraft.cli.console import TerminalObserver, note
from regraft.cluster.settings import TrainingWorkers
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.samples import composed
from regraft.data.training_classes import TaxonomyOptions
from regraft.engines.compute import Compute
from regraft.errors import OptionError, StorageError
from regraft.evaluation.goals import DecisionRequest
from regraft.files import parse_size, size_in_words
from regraft.options import Bytes, Interval, Seconds, Setting, declared_settings, interval
from regraft.processes import ALONE, ProcessGroup
from regraft.runtime import is_first_process, process_count
from regraft.serve.settings import ServeSettings
from regraft.storage.locations import Location, address
from regraft.training.schedule import Schedule
from regraft.transfer.settings import NAMING, FitSettings

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
COMPUTE = (
    "device",
    "engine",
    "batch_size",
    "max_file_size",
    "cache",
    "value_range",
    "on",
)  # what every command that runs a network has
TRAINING = ("precision", "restart")  # of `FitSettings`, which all commands that train share

_VERBOSE = inspect.Parameter(  # of every command that these options are given to
    "verbose",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--verbose", help="Say how too: engines, speeds, every fold and tensor.")],
)


class Tracker(StrEnum):
    """Where training is recorded."""

    none = "none"
    mlflow = "mlflow"


@dataclass(frozen=True)
class CommandOptions:
    """The options that were given to a command, by name.

    Attributes:
        values: as the command line has them; None for what was left out and depends on other things.
        track: where training is recorded.
        verbose: whether details are printed too.
    """

    values: Mapping[str, Any]
    track: Tracker = Tracker.none
    verbose: bool = False

    def compute(self) -> Compute:
        """Return where things run.

        Raises:
            OptionError: a size that is none, or a value that is not allowed.
        """
        compute = Compute(**self._fields(Compute))
        compute.check()
        return compute

    def processes(self) -> ProcessGroup:
        """Return the processes that a launcher has started to work together, where they first meet."""
        return ALONE if process_count() == 1 else self.compute().together().processes

    def columns(self) -> Columns:
        """Return how tables are read."""
        return Columns(**self._fields(Columns))

    def labels(self) -> LabelOptions:
        """Return what corrects the labels."""
        return LabelOptions(**self._fields(LabelOptions))

    def taxonomy(self) -> TaxonomyOptions:
        """Return the tree that the classes lie in."""
        return TaxonomyOptions(**self._fields(TaxonomyOptions))

    def serve_settings(self) -> ServeSettings:
        """Return what a server takes."""
        return ServeSettings(**self._fields(ServeSettings))

    def training_workers(self, compute: Compute) -> int | None:
        """Return how many workers of a cluster train; None for this process.

        Raises:
            OptionError: without a cluster, or where several processes work together already.
        """
        workers = TrainingWorkers(**self._fields(TrainingWorkers))
        workers.check(compute)
        return workers.workers

    def fit_settings(self, compute: Compute, *, defaults: Schedule | None = None, **more: Any) -> FitSettings:
        """Return how a network is trained, checked as far as it can be without photos.

        Args:
            compute: where it is trained.
            defaults: of what was left out of the schedule; None where the options have all defaults themselves.
            more: fields that were found otherwise.

        Raises:
            OptionError: a value that is not allowed.
        """
        schedule = self._fields(Schedule)
        if defaults is not None:
            schedule |= {name: getattr(defaults, name) for name, value in schedule.items() if value is None}
        settings = FitSettings(**{**self._fields(FitSettings), "schedule": Schedule(**schedule), **more})
        settings.check_training(compute)
        return settings

    def observer(self, name: str = "") -> TerminalObserver:
        """Return what shows the progress of the run called `name`, and records it if `track` says so.

        Raises:
            OptionError: the tracker is not installed.
        """
        if self.track is Tracker.mlflow and is_first_process():
            from regraft.cli.tracking import MlflowObserver

            training = {said.flag or field for field, (_, said) in declared_settings(Schedule).items()} | {*TRAINING}
            given = {key: str(value) for key, value in self.values.items() if key in training and value is not None}
            return MlflowObserver(name, given, verbose=self.verbose)
        return TerminalObserver(verbose=self.verbose)

    def _fields(self, kind: Any) -> dict[str, Any]:
        found = {}
        for name, (declared, said) in declared_settings(kind).items():
            option = said.flag or name
            if option in self.values:
                found[name] = _parsed(self.values[option], _type_of(kind, declared), f"--{option.replace('_', '-')}")
        return found


def with_options(
    *settings: Any,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    optional: Sequence[str] = (),
    words: Mapping[str, str] | None = None,
    track: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command the options of settings classes; it receives them as one argument, `given`.

    Args:
        settings: classes whose fields are options.
        only: fields that are offered of `FitSettings` and `Compute`; none for all. Of `Schedule` and `Columns` all are.
        without: options that the command does not have.
        optional: options whose default it knows better: left out, they are None.
        words: help of its own.
        track: whether training can be recorded.
    """
    offered: dict[str, inspect.Parameter] = {}
    for kind in settings:
        for name, (declared, said) in declared_settings(kind).items():
            option = said.flag or name
            if option in without or (only and kind not in (Schedule, Columns) and name not in only):
                continue
            help_text = (words or {}).get(option, said.help)
            offered[option] = _parameter(option, kind, declared, said, help_text, optional=option in optional)
    if track:
        kind = Annotated[Tracker, typer.Option(help="Record the training with mlflow, where MLFLOW_TRACKING_URI says.")]
        offered["track"] = inspect.Parameter(
            "track", inspect.Parameter.KEYWORD_ONLY, default=Tracker.none, annotation=kind
        )
    return functools.partial(_offer, offered)


def _offer(offered: Mapping[str, inspect.Parameter], command: Callable[..., None]) -> Callable[..., None]:
    own = inspect.signature(command)
    kept = [parameter for name, parameter in own.parameters.items() if name != "given"]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        values = {name: given.pop(name) for name in offered}
        values |= {name: composed(value) for name, value in values.items() if name in NAMING and isinstance(value, str)}
        track, verbose = values.pop("track", Tracker.none), given.pop(_VERBOSE.name)
        command(given=CommandOptions(values, track, verbose), **given)

    own_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept]
    last = [p for p in own_parameters if p.name == "json"]  # after all others, as in every command
    parameters = [*(p for p in own_parameters if p not in last), *offered.values(), _VERBOSE, *last]
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return wrapped


def _parameter(
    option: str, owner: Any, declared: Field[Any], said: Setting, help_text: str, *, optional: bool
) -> inspect.Parameter:
    """Return what typer makes an option of."""
    bare, default = _type_of(owner, declared), declared.default
    assert default is not MISSING  # an option has a default
    flag = f"--{option.replace('_', '-')}"
    flags: tuple[str, ...] = ()
    more: dict[str, Any] = {"parser": _path, "metavar": "PATH"} if bare is Path else {}
    if bare is bool:
        flags = (flag,) if not default else (f"{flag}/--no-{option.replace('_', '-')}",)
    elif bare is Bytes and default is not None:
        more = {"parser": _size, "metavar": "SIZE", "show_default": size_in_words(default).replace(" ", "")}
    elif bare is Bytes:
        bare = str
    elif bare is Seconds:
        bare, default, help_text = str, f"{default / 60:g}m", f"{help_text.removesuffix('.')}: 90s, 10m, 2h."
    elif bare == Interval:
        bare, more = str, {"metavar": "LOW:HIGH"}
    elif bare == tuple[str, ...]:
        bare, default = str, ",".join(default)
    elif said.low is not None:
        more = {"min": said.low}
    if optional:
        default = None
    kind: Any = int if bare is Bytes else bare
    if default is None:
        kind = kind | None
    annotation: Any = Annotated[kind, typer.Option(*flags, help=help_text, **more)]
    return inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _type_of(kind: Any, declared: Field[Any]) -> Any:
    """Return the type of a field, without None."""
    found = get_type_hints(kind)[declared.name]
    parts = [part for part in getattr(found, "__args__", ()) if part is not type(None)]
    return parts[0] if len(parts) == 1 and type(None) in found.__args__ else found


def _parsed(value: Any, kind: Any, flag: str) -> Any:
    """Return a field's value from what the command line has."""
    if not isinstance(value, str):
        return value
    if kind is Bytes:
        return parse_size(value, flag) if value.strip() else None
    if kind is Seconds:
        return parse_duration(value, flag)
    if kind == Interval:
        return parse_interval(value, flag)
    if kind == tuple[str, ...]:
        text = "" if value == "none" else value
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return value


def _path(text: str | Path) -> Location:
    """Return a path, or an address to the letter: of one, `Path` drops slashes."""
    try:
        return address(text) or Path(text)
    except StorageError as error:
        raise typer.BadParameter(str(error)) from None


def _size(text: object) -> int:
    """Return the bytes that a user or a default names."""
    try:
        return parse_size(str(text), "it")
    except OptionError as error:
        raise typer.BadParameter(str(error)) from None


def parse_duration(text: str, flag: str) -> float:
    """Return seconds.

    >>> parse_duration("10m", "--budget"), parse_duration("1.5h", "--budget"), parse_duration("90", "--budget")
    (600.0, 5400.0, 90.0)

    Raises:
        OptionError: not a time.
    """
    number = text.strip().lower().rstrip("smh")
    unit = text.strip().lower()[len(number) :]
    try:
        seconds = float(number) * _SECONDS[unit]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise OptionError(f"{flag} must be a time, like 90s, 10m or 2h. Got {text!r}.")
    return seconds


def parse_interval(text: str, flag: str) -> Interval:
    """Return two numbers.

    >>> parse_interval("0:4095", "--range"), parse_interval("-1000:3000", "--range")
    ((0.0, 4095.0), (-1000.0, 3000.0))

    Raises:
        OptionError: not two numbers, the lower first.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = math.nan
    if not interval((low, high)):
        raise OptionError(f"{flag} must be two numbers, the lower first, like 0:4095. Got {text!r}.")
    return low, high


def decision_request(given: CommandOptions) -> DecisionRequest:
    """Return how a command that does not train is to decide: by costs, a threshold or balance, or as the file says.

    Raises:
        OptionError: several of these.
    """
    values = given.values
    request = DecisionRequest(None, values["cost"], values["threshold"], bool(values["balance"]))
    request.check()
    return request


def networks_to_choose_from(named: Sequence[str], *, fetch: bool = True) -> list[str]:
    """Return the networks that are named, which may be such, or those that are tried when none is, which are said.

    Args:
        named: their names.
        fetch: whether others are downloaded.
    """
    from regraft.classifier.named import check_network
    from regraft.networks.names import own_name

    for name in named:
        check_network(name)
    if named:
        return [own_name(name) for name in named]
    from regraft.networks.registry import networks_to_try

    names, said = networks_to_try(fetch=fetch)
    note(said)
    return names


def networks_or_default(named: Sequence[str]) -> list[str]:
    """Return the networks that are named, which may be such, or the one that is taken when none is, which is said."""
    from regraft.classifier.named import check_network
    from regraft.networks.names import own_name

    for name in named:
        check_network(name)
    if named:
        return [own_name(name) for name in named]
    from regraft.networks.registry import default_network

    name, said = default_network()
    note(said)
    return [name]
