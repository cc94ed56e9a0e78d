"""Options made from the fields of settings."""

import inspect
from pathlib import Path
from typing import Any, get_args

import pytest

from regraft.cli.compare import compare
from regraft.cli.evaluate import evaluate
from regraft.cli.explain import explain
from regraft.cli.fit import fit
from regraft.cli.main import FLAGS
from regraft.cli.predict import predict
from regraft.cli.pretrain import pretrain
from regraft.cli.training_options import COMPUTE, CommandOptions, Tracker, parse_duration, with_options
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import OptionError, flags_in_messages
from regraft.options import declared_settings
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

EVERY = (FitSettings, Compute, Schedule)


def offered(*settings: Any, **options: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters that a command without any of its own gets."""

    @with_options(*settings, **options)
    def command(*, given: CommandOptions) -> None:
        pass

    found = dict(inspect.signature(command).parameters)
    assert found.pop("verbose").default is False  # every command has it
    return found


def values(**changed: Any) -> dict[str, Any]:
    """Return the values of all options as the command line has them where nothing else is typed."""
    return {name: parameter.default for name, parameter in offered(*EVERY).items()} | changed


def test_every_field_is_an_option_of_its_name_or_flag() -> None:
    expected = [said.flag or name for kind in EVERY for name, (_, said) in declared_settings(kind).items()]
    assert list(offered(*EVERY)) == expected
    assert len(set(expected)) == len(expected)  # no two have one name
    assert "train_batch_size" in expected


def test_help_and_type_come_from_the_field() -> None:
    parameters = offered(*EVERY)
    for kind in EVERY:
        for name, (_, said) in declared_settings(kind).items():
            _, option = get_args(parameters[said.flag or name].annotation)
            assert option.help.startswith(said.help.removesuffix("."))


@pytest.mark.parametrize("command", [fit, compare, evaluate, explain, pretrain, predict])
def test_every_command_that_reads_tables_has_the_options_of_tables(command: Any) -> None:
    names = {said.flag or name for name, (_, said) in declared_settings(Columns).items()}
    if command is predict:  # it needs no labels
        names = {"image_column", "image_root"}
    assert {name for name in inspect.signature(command).parameters if name.endswith(("_column", "_root"))} == names
    assert CommandOptions({"image_column": "a", "image_root": Path("b")}).columns() == Columns(
        "a", image_root=Path("b")
    )


def test_what_was_not_typed_is_the_settings_default() -> None:
    given = CommandOptions(values())
    compute = given.compute()
    assert compute == Compute()
    assert given.fit_settings(compute) == FitSettings()


def test_what_was_typed_arrives_as_the_field_has_it() -> None:
    typed = {"budget": "1.5h", "cache_limit": "2GB", "augment": "flip, crop", "train_batch_size": 7, "batch_size": 5}
    given = CommandOptions(values(**typed))
    compute = given.compute()
    settings = given.fit_settings(compute, strategy="top")
    assert (settings.budget, settings.strategy) == (5400.0, "top")
    assert (compute.cache_limit, compute.batch_size, settings.schedule.batch_size) == (2_000_000_000, 5, 7)
    assert settings.schedule.augment == ("flip", "crop")
    assert CommandOptions(values(augment="none")).fit_settings(compute).schedule.augment == ()


def test_a_command_may_know_defaults_better() -> None:
    parameters = offered(Schedule, optional=("epochs", "mixup"), words={"mixup": "Of two photos."})
    assert parameters["mixup"].default is None
    assert get_args(parameters["mixup"].annotation)[1].help == "Of two photos."
    given = CommandOptions({name: parameter.default for name, parameter in parameters.items()})
    settings = given.fit_settings(Compute(), defaults=Schedule(epochs=3, mixup=0.4))
    assert (settings.schedule.epochs, settings.schedule.mixup) == (3, 0.4)


def test_a_command_may_offer_some_of_them() -> None:
    assert list(offered(FitSettings, Compute, only=("seed", *COMPUTE), without=("cache",))) == [
        "seed",
        "device",
        "engine",
        "batch_size",
        "max_file_size",
        "range",
        "on",
    ]
    assert list(offered(FitSettings, only=("seed",), track=True)) == ["seed", "track"]


def test_messages_name_flags() -> None:
    given = CommandOptions(values(train_batch_size=0))
    with flags_in_messages(FLAGS), pytest.raises(OptionError, match="--train-batch-size must be a whole number from 1"):
        given.fit_settings(Compute())
    with pytest.raises(OptionError, match=r"--cache-limit must be a size like 500MB or 20GB\. Got 'much'\."):
        CommandOptions(values(cache_limit="much")).compute()
    with pytest.raises(OptionError, match=r"--budget must be a time, like 90s, 10m or 2h\. Got 'soon'\."):
        CommandOptions(values(budget="soon")).fit_settings(Compute())


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2H ", 7200), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1m", "1d", "nan", "inf", "1e400"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(OptionError, match="--budget must be a time"):
        parse_duration(text, "--budget")


def test_no_tracker_unless_it_is_asked_for() -> None:
    assert type(CommandOptions({}).observer("run")).__name__ == "TerminalObserver"
    assert CommandOptions({}).track is Tracker.none


@pytest.mark.parametrize(
    ("text", "expected"), [("0:4095", (0, 4095)), ("-1000:3e3", (-1000, 3000)), (" 0 : 1 ", (0, 1))]
)
def test_ranges(text: str, expected: tuple[float, float]) -> None:
    assert CommandOptions(values(range=text)).compute().value_range == expected


@pytest.mark.parametrize("text", ["", "4095", "0-4095", "0:1:2", "5:5", "9:1", "0:inf", "nan:1", "a:b"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(
        OptionError, match=f"^--range must be two numbers, the lower first, like 0:4095. Got '{text}'.$"
    ):
        CommandOptions(values(range=text)).compute()
