"""The examples in docs/ are typed, in order, in a folder that holds what they speak of.

Of what a document shows, `...` stands for anything, and digits for any digits: these depend on photos and machine.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.fixtures.examples import write_examples
from typer.testing import Result

Run = Callable[..., Result]
DOCUMENTS = Path(__file__).parents[2] / "docs"
WITH_EXAMPLES = sorted(path for path in DOCUMENTS.glob("*.md") if "```console\n" in path.read_text())


def examples(text: str) -> list[tuple[str, list[str]]]:
    """Return each command and the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    """Return a regular expression of what is shown."""
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
            continue
        tokens = re.split(r"(\.\.\.|\d[\d,.]*\d|\d| +)", line)
        parts.append("".join(map(_token, tokens)) + " *\n")
    return "".join(parts)


def _token(token: str) -> str:
    if token == "...":
        return ".*"
    if token[:1].isdigit():
        return r"\d[\d,.]*"
    return " +" if token.startswith(" ") else re.escape(token)


@pytest.fixture
def folder(tmp_path: Path, run: Run, offline: None) -> Path:
    """Return the folder in which the examples are typed: photos with and without labels, a table, a classifier."""
    write_examples(tmp_path, photos=24, labelled=10)
    sample = pd.DataFrame({"image": [f"{number}.jpg" for number in range(6, 0, -1)], "label": "cat"})
    sample.to_csv(tmp_path / "sample_submission.csv", index=False)
    done = run("fit", "pets", "--model", "pocket", "--strategy", "frozen", "--out", "pets.safetensors")
    assert done.exit_code == 0, done.output
    return tmp_path


@pytest.mark.parametrize("document", WITH_EXAMPLES, ids=lambda path: path.name)
def test_examples_do_what_they_show(document: Path, folder: Path, run: Run) -> None:
    typed = examples(document.read_text())
    assert typed
    for command, shown in typed:
        program, *arguments = shlex.split(command)
        assert program == "regraft"
        done = run(*arguments)
        assert done.exit_code == (1 if any(line.startswith("error:") for line in shown) else 0), done.output
        assert re.fullmatch(pattern(shown), done.output), f"$ {command}\n{done.output}\nis not\n" + "\n".join(shown)


def test_every_command_has_a_document() -> None:
    from typer.main import get_command

    from regraft.cli.main import app

    texts = "".join(path.read_text() for path in DOCUMENTS.glob("*.md"))
    assert [name for name in get_command(app).commands if f"`regraft {name}" not in texts] == []


def test_what_is_shown_is_compared_line_by_line() -> None:
    shown = ["train: 48 photos", "...", "wrote a file (1.5 MB): ..."]
    assert re.fullmatch(pattern(shown), "train: 7 photos\nsome\nmore\nwrote a file (22.0 MB): b\n")
    assert re.fullmatch(pattern(shown), "train: 7 photos\nwrote a file (2 MB): \n")
    assert not re.fullmatch(pattern(shown), "train: 7 pictures\nwrote a file (2 MB): b\n")
    assert not re.fullmatch(pattern(shown), "train: 7 photos\nwrote a file (2 MB): b\nand more\n")
