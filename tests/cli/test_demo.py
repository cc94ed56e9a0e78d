"""`regraft demo`: what it writes and which commands it runs. `make demo` runs it all, in CI too."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import Result

from regraft.data.layouts import find_samples

Run = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let no command run; those of the demo are remembered, and the answers are all "3"."""
    seen: list[list[str]] = []

    def pretend(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command[3:])
        if command[3] == "predict":
            rows = [f"new/{number:02d}.png,3" for number in range(20)]
            Path(command[command.index("--out") + 1]).write_text("\n".join(["path,label", *rows]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("regraft.cli.demo.subprocess.run", pretend)
    return seen


def test_the_three_commands_are_run_and_shown(run: Run, commands: list[list[str]], tmp_path: Path) -> None:
    done = run("demo", "--out", "here")
    assert done.exit_code == 0, done.stderr
    assert [command[0] for command in commands] == ["compare", "fit", "predict"]
    for command in commands:
        assert f"$ regraft {' '.join(command)}\n" in done.stderr
    assert commands[0][2:4] == commands[1][2:4] == ["--model", "pocket"]
    assert "Of the 20 new digits 2 were answered right." in done.stderr  # two of each digit, and all answers are "3"
    assert run("demo", "--out", "here").exit_code == 0  # once more, over the first


def test_digits_are_scikit_learns(run: Run, commands: list[list[str]], tmp_path: Path) -> None:
    run("demo", "--out", "here")
    samples = find_samples(tmp_path / "here" / "digits")["train"]
    assert samples.counts() == {str(digit): 10 for digit in range(10)}
    new = sorted((tmp_path / "here" / "new").iterdir())
    assert len(new) == 20
    digest = [hashlib.sha256(Path(str(path)).read_bytes()).digest() for path in (*samples.sources, *new)]
    assert len(set(digest)) == 120  # none is learned from and asked about
    digits = load_digits()
    first = np.flatnonzero(digits.target == 7)[0]
    picture = Image.open(tmp_path / "here" / "digits" / "7" / "0.png")
    assert picture.mode == "RGB"
    assert picture.size == (64, 64)
    small = np.asarray(picture.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=float)
    assert np.corrcoef(small.ravel(), digits.images[first].ravel())[0, 1] > 0.97


def test_a_folder_of_something_else_is_left_alone(fails: Fails, commands: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "mine" / "digits").mkdir(parents=True)
    (tmp_path / "mine" / "digits" / "thesis.txt").write_text("years of work")
    assert "--out mine holds other files, which might be overwritten. Name another folder" in fails(
        "demo", "--out", "mine"
    )
    assert commands == []


def test_a_command_that_fails_ends_the_demo(fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.cli.demo.subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 4))
    message = fails("demo")
    assert message.startswith("error: the command above ended with exit code 4, and the demo with it.")
