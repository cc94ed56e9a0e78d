"""Options as fields: what each must say of itself, the rules, and the messages."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from regraft.cli.training_options import parse_duration
from regraft.errors import OptionError, flags_in_messages, option
from regraft.options import (
    Duration,
    check_settings,
    declared_settings,
    flags_of,
    interval,
    number,
    setting,
    whole_number,
)


@dataclass(frozen=True)
class Oven:
    """Settings of three kinds: a rule in words, names, and a default that depends on something else."""

    heat: float = setting(180.0, help="Degrees.", allowed="a number above 0", check=lambda v: number(v, 0, above=True))
    mode: str = setting("fan", help="How it heats.", choices=("fan", "grill"), flag="oven_mode")
    minutes: int | None = setting(
        None, help="How long.", allowed="a whole number from 1 to 90", check=lambda v: whole_number(v, 1, 90)
    )


def test_a_field_keeps_all_that_the_command_line_needs() -> None:
    declared = declared_settings(Oven)
    assert list(declared) == ["heat", "mode", "minutes"]
    field, said = declared["mode"]
    assert (field.type, field.default) == (str, "fan")
    assert (said.help, said.allowed, said.choices, said.flag) == (
        "How it heats.", "one of fan, grill", ("fan", "grill"), "oven_mode",
    )  # fmt: skip
    assert declared["heat"][1].choices == ()
    assert declared_settings(Oven()).keys() == declared.keys()
    assert flags_of(Oven) == {"Oven.mode": "--oven-mode"}


@pytest.mark.parametrize("values", [{}, {"heat": 1}, {"mode": "grill"}, {"minutes": 90}, {"minutes": None}])
def test_what_is_allowed_passes(values: dict[str, object]) -> None:
    check_settings(Oven(**values))  # type: ignore[arg-type]


def test_all_that_is_not_allowed_is_named_by_field_or_flag() -> None:
    wrong = Oven(heat=0, mode="steam", minutes=91)
    with pytest.raises(OptionError) as caught:
        check_settings(wrong)
    assert str(caught.value) == (
        "heat must be a number above 0. Got 0.\n"
        "mode must be one of fan, grill. Got 'steam'.\n"
        "minutes must be a whole number from 1 to 90. Got 91."
    )
    with flags_in_messages(flags_of(Oven)), pytest.raises(OptionError, match=r"--heat must.*\n--oven-mode must"):
        check_settings(wrong)


def test_none_is_allowed_only_as_a_default() -> None:
    with pytest.raises(OptionError, match=r"^heat must be a number above 0. Got None.$"):
        check_settings(Oven(heat=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        {"help": "", "choices": ("a",)},
        {"help": "What it does."},
        {"help": "What it does.", "allowed": "a number"},
        {"help": "What it does.", "check": bool},
    ],
)
def test_an_option_without_help_or_rule_is_an_error(said: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="an option needs its help, a rule"):
        setting(1, **said)  # type: ignore[arg-type]


def test_a_plain_field_beside_options_is_an_error() -> None:
    @dataclass
    class Half:
        heat: float = setting(1.0, help="Degrees.", allowed="a number", check=lambda v: number(v, 0))
        mode: str = "fan"

    with pytest.raises(TypeError, match="fields without help and rule: mode"):
        check_settings(Half())


def test_a_default_may_be_made_anew() -> None:
    @dataclass
    class Shelves:
        filled: tuple[int, ...] = setting(
            help="Which.", allowed="numbers", check=lambda v: isinstance(v, tuple), default_factory=lambda: (1, 2)
        )

    assert Shelves().filled == (1, 2)
    check_settings(Shelves())


@pytest.mark.parametrize(
    ("value", "low", "high", "allowed"),
    [(1, 1, 3, True), (3, 1, 3, True), (4, 1, 3, False), (0, 1, 3, False), (2.0, 1, 3, False), (True, 1, 3, False)],
)
def test_whole_numbers(value: object, low: int, high: int, allowed: bool) -> None:
    assert whole_number(value, low, high) == allowed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "1", None, False])
def test_what_is_no_number_from_zero(value: object) -> None:
    assert not number(value, 0)
    assert number(0, 0)
    assert not number(0, 0, above=True)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ((0, 4095), True), ([-1000.5, 3], True), ((np.int64(0), np.float32(1)), True),
        ((1, 1), False), ((2, 1), False), ((0,), False), ((0, math.inf), False), ((math.nan, 1), False),
        (("0", "1"), False), ((False, True), False), ("0:4095", False), (None, False),
    ],
)  # fmt: skip
def test_intervals(value: object, *, allowed: bool) -> None:
    assert interval(value) is allowed


@pytest.mark.parametrize(
    ("seconds", "flag"),
    [(0, "0s"), (59.5, "59.5s"), (60, "1m"), (90, "90s"), (6600, "110m"), (7200, "2h"), (9000, "2.5h"), (9060, "151m")],
)
def test_a_time_is_named_to_each_user_as_it_is_given(seconds: float, flag: str) -> None:
    assert option("budget", Duration(seconds)) == f"budget={seconds}"
    with flags_in_messages({}):
        assert option("budget", Duration(seconds)) == f"--budget {flag}"
    assert parse_duration(flag, "--budget") == seconds
