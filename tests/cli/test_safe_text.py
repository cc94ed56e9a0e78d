"""Names cannot steer a terminal, forge a line, start a spreadsheet's formula, or make JSON that is none."""

import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from regraft.classifier.predict import Predictions
from regraft.cli.compare import curves_of
from regraft.cli.console import TerminalObserver, json_text, note, result, result_json
from regraft.cli.formats import as_csv, as_jsonl, as_kaggle, as_table
from regraft.errors import DataError, printable, shortlist
from regraft.transfer.comparison import ComparisonRow

Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]
BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
EVIL = "\x1b[2J\x07\r\x08\x7f\x9b\x85\u2028\u2029" + BIDI


def answers(*names: str, unreadable: dict[int, str] | None = None) -> Predictions:
    return Predictions(tuple(map(Path, names)), np.tile([0.25, 0.75], (len(names), 1)), unreadable or {})


# --- the terminal ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x00\x07\x08\r\x7f", r"\x00\x07\x08\r\x7f"),
        ("\x80\x9b\x9f", r"\x80\x9b\x9f"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202e\u2066\u200f\u061c", r"\u202e\u2066\u200f\u061c"),
        ("\u2028\u2029\u0085", r"\u2028\u2029\x85"),
        (os.fsdecode(b"\xe9.jpg"), r"\udce9.jpg"),
        (Path("a\nb"), r"a\nb"),
    ],
)
def test_what_steers_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown
    assert printable(printable(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "a b", "猫.jpg", "e\u0301", "👩\u200d🔬", "naïve ½", "C:\\photos\\x1b", "\u0645\u06cc\u200c\u062e"]
)
def test_other_text_stays(text: str) -> None:
    assert printable(text) == text


def test_every_control_and_separator_of_unicode_is_escaped() -> None:
    """By the Unicode database: controls (Cc), line and paragraph separators (Zl, Zp), surrogates (Cs), bidi formats."""
    steering = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    for character in map(chr, range(sys.maxunicode + 1)):
        unsafe = unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")
        unsafe |= unicodedata.bidirectional(character) in steering
        if unsafe:
            assert printable(character) != character, hex(ord(character))


def test_lines_of_text_stay_lines() -> None:
    assert printable("a\n\tb\r\x1b", lines=True) == "a\n\tb" + r"\r\x1b"


def test_a_name_is_one_line_of_a_shortlist() -> None:
    assert shortlist(["a\nb\x1b", "c"]) == "  a" + r"\nb\x1b" + "\n  c"


def test_findings_and_results_are_safe(capsys: pytest.CaptureFixture[str]) -> None:
    note(f"one\n\ttwo{EVIL}")
    result(f"one\n\ttwo{EVIL}")
    out, err = capsys.readouterr()
    assert out == err
    assert out.startswith("one\n\ttwo" + r"\x1b[2J\x07\r\x08\x7f\x9b\x85\u2028\u2029\u200e\u200f\u061c\u202a")
    assert not set(EVIL) - set("[2J") & set(out)


def test_the_table_is_aligned_and_no_name_makes_a_line() -> None:
    shown = as_table(answers("a\x1b.jpg", "b\nc.jpg", "d.jpg", unreadable={2: "torn\n"}), ["no\n", "yes"])
    assert (
        shown
        == (
            r"a\x1b.jpg  yes   75.0%  (no\n 25.0%)" + "\n"  # names of 9 characters as they are shown
            r"b\nc.jpg   yes   75.0%  (no\n 25.0%)" + "\n"
            r"d.jpg      unreadable: torn\n" + "\n"
        )
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [f"nosuch{EVIL}\nError: forged"],
        ["fit", f"x{EVIL}", f"y{EVIL}\nError: forged"],
        ["fit", f"x{EVIL}", f"--nope{EVIL}\nError: forged"],
        ["fit", "x", f"--batch-size={EVIL}\nError: forged"],
        ["evaluate", "x", "y", f"--split={EVIL}\nError: forged"],
        ["predict", "x", "y", f"--format={EVIL}\nError: forged"],
    ],
)
def test_wrong_usage_quotes_safely(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert not set(EVIL) - set("[2J") & set(done.stderr)
    assert [line[:6] for line in done.stderr.splitlines()].count("Error:") == 1


def test_photos_that_are_not_there_are_named_safely(fails: Fails) -> None:
    assert fails("predict", "m.safetensors", "x\x1b[2J\nerror") == (
        r"error: no image found for: x\x1b[2J\nerror. Name image files, folders of them, tables, or quoted globs."
        + "\n"
    )


def test_commands_name_classes_and_files_safely(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    folder = photos(red=12, blue=12)
    (folder / "red").rename(folder / "re\nd\x1b[2J")
    done = run("fit", folder, "--model", tiny_network, "--strategy", "frozen", "--out", "m\x1b\n.safetensors")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert r"blue 12, re\nd\x1b[2J 12" in done.stderr
    assert "\nout: m" + r"\x1b\n.safetensors" + "\n" in done.stderr
    assert "\nwrote m" + r"\x1b\n.safetensors (" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  re")] == [r"re\nd\x1b[2J"]
    new = photos("new", red=1)
    (new / "red" / "torn\n.jpg").write_text("no image")
    done = run("predict", "m\x1b\n.safetensors", "new")
    assert done.exit_code == 3
    assert "\x1b" not in done.output
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["new/red/0.jpg", r"re\nd\x1b[2J"],
        [r"new/red/torn\n.jpg", "unreadable:"],
    ]
    assert r"unreadable: new/red/torn\n.jpg: not an image" in done.stderr


def test_brackets_in_a_task_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", terminal)
    observer = TerminalObserver()
    observer.begin("[red]net[/blue] :cat:\x1b]0;title\x07", 2)
    observer.advance(2)
    observer.end()
    assert r"[red]net[/blue] :cat:\x1b]0;title\x07" in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()


# --- spreadsheets ---


def test_no_part_of_a_name_starts_a_formula_where_semicolons_separate() -> None:
    """As in spreadsheets of countries with decimal commas: a cell is in quotes from the start of its line."""
    text = as_csv(answers("a;=1+1.jpg", 'b";=1.jpg'), ["no", "yes"])
    assert [row[0] for row in csv.reader(io.StringIO(text), delimiter=";")][1:] == [
        "a;=1+1.jpg,yes,0.750000,0.250000,0.750000,most probable class,,,",
        'b";=1.jpg,yes,0.750000,0.250000,0.750000,most probable class,,,',
    ]
    assert [row[0] for row in csv.reader(io.StringIO(text))][1:] == ["a;=1+1.jpg", 'b";=1.jpg']


def test_every_csv_has_safe_cells_and_stays_exact() -> None:
    classes = ["=no", "yes\r\n\x1b"]
    found = answers("=1+1.jpg", "-2", "a\r.jpg", unreadable={2: "@torn"})
    rows = list(csv.reader(io.StringIO(as_csv(found, classes), newline="")))
    by = ["most probable class", "", ""]
    about = ["decided_by", "unsure", "unlike_training"]
    assert rows == [
        ["file", "prediction", "probability", "probability_=no", "probability_yes\r\n\x1b", *about, "error"],
        ["./=1+1.jpg", "yes\r\n\x1b", "0.750000", "0.250000", "0.750000", *by, ""],
        ["-2", "yes\r\n\x1b", "0.750000", "0.250000", "0.750000", *by, ""],
        ["a\r.jpg", "", "", "", "", "", "", "", "'@torn"],
    ]
    kaggle = as_kaggle(answers("-2.jpg", "7.jpg"), classes, positive="=no", clip=0.005)
    assert sorted(kaggle.splitlines()[1:]) == ["-2,0.250000", "7,0.250000"]
    with pytest.raises(
        DataError, match=r"1 ids would begin a spreadsheet's formula:\n  =1\n"
    ):  # Kaggle wants them exact
        as_kaggle(answers("=1.jpg", "7.jpg"), classes, positive="=no", clip=0.005)


# --- JSON ---


def refused(constant: str) -> None:
    raise AssertionError(constant)


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {"a": [1.5, float("nan"), (float("inf"),)], "b": {"c": -float("inf"), "d": np.float64("nan")}, "e": True}
    result_json(numbers)
    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=refused) == {"a": [1.5, None, [None]], "b": {"c": None, "d": None}, "e": True}
    assert numbers["a"][1] != numbers["a"][1]  # type: ignore[index]  # what was given is not changed


def test_predictions_that_are_not_finite_are_null() -> None:
    found = answers("a.jpg", "b\x1b\n.jpg")
    found.probabilities[0] = np.nan
    first, second = (json.loads(line, parse_constant=refused) for line in as_jsonl(found, ["n", "y"]).splitlines())
    assert (first["probability"], first["probabilities"]) == (None, {"n": None, "y": None})
    assert (second["file"], second["probabilities"]) == ("b\x1b\n.jpg", {"n": 0.25, "y": 0.75})


def test_json_is_exact_readable_and_cannot_steer() -> None:
    text = json_text({"猫": f"e\u0301{EVIL}\n\ud800"})
    assert json.loads(text) == {"猫": f"e\u0301{EVIL}\n\ud800"}
    assert "猫" in text  # not as escapes
    assert not set(EVIL) - set("[2J") & set(text)


def test_model_arguments_are_json(fails: Fails, photos: Photos) -> None:
    message = fails("pretrain", photos(red=2, blue=2), "--arch", "resnet18", "--model-args", '{"a": NaN}')
    assert """--model-args must be a JSON object, like""" in message
    assert """Got '{"a": NaN}'.""" in message


# --- charts ---


def test_a_network_may_have_any_name() -> None:
    common = {"strategy": "frozen", "metric": "accuracy", "size": 1, "mean": 0.8, "low": 0.7, "high": 0.9}
    common |= {"missing": None, "n": 24, "seconds": 0.0, "images_per_second": None, "folds": 5}
    names = [r"$\nonsense{$", "local-dir:a/猫\x1b\n"]
    rows = [ComparisonRow(**common, model=name, learned_per_class=size) for name in names for size in (4, 24)]
    points = [(4, 0.8, (0.7, 0.9)), (24, 0.8, (0.7, 0.9))]
    assert curves_of(rows, "accuracy") == {r"frozen ($\nonsense{$)": points, r"frozen (猫\x1b\n)": points}
    (alone,) = curves_of(rows[:1], "accuracy")
    assert alone == "frozen"
