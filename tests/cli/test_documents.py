"""The examples in docs/ are typed, in order, in a folder that holds what they speak of.

Of what a document shows, `...` stands for anything, and digits for any digits: these depend on the machine. Where they
count what the photos and the network alone decide, as photos or parameters, they stand for themselves.
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.fixtures.examples import write_examples
from tests.marks import some_slow
from typer.testing import Result

from regraft.classifier.full_report import GroupReport
from regraft.classifier.group_figures import GroupFigures
from regraft.classifier.record import FitRecord, NetworkTrial, Timing
from regraft.evaluation.metrics import METRICS
from regraft.evaluation.report import Report

Run = Callable[..., Result]
COUNT = (
    r"(?<![\d,.])\d[\d,.]*(?: of \d[\d,.]*)?(?: million(?: of \d[\d,.]* million)?)? "
    r"(?:frozen )?(?:photos?|classes|parameters|tensors|features)\b(?! went through)"
)
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
        tokens = re.split(rf"(\.\.\.|{COUNT}|\d[\d,.]*\d|\d| +)", line)
        parts.append("".join(map(_token, tokens)) + " *\n")
    return "".join(parts)


def _token(token: str) -> str:
    if token == "...":
        return ".*"
    if re.fullmatch(r"\d[\d,.]* .*", token):
        return re.escape(token)
    if token[:1].isdigit():
        return r"\d[\d,.]*"
    return " +" if token.startswith(" ") else re.escape(token)


@pytest.fixture
def _quick() -> None:
    """Do what a user would: nothing is made quicker."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what all documents begin with; the first of them fills it."""
    return tmp_path_factory.mktemp("written")


@pytest.fixture
def folder(tmp_path: Path, run: Run, offline: None, written: Path) -> Path:
    """Return the folder in which the examples are typed: photos with and without labels, a table, a classifier."""
    if any(written.iterdir()):
        shutil.copytree(written, tmp_path, dirs_exist_ok=True)
        return tmp_path
    write_examples(tmp_path, photos=24, labelled=10)
    sample = pd.DataFrame({"image": [f"{number}.jpg" for number in range(6, 0, -1)], "label": "cat"})
    sample.to_csv(tmp_path / "sample_submission.csv", index=False)
    done = run("fit", "pets", "--model", "pocket", "--strategy", "frozen", "--out", "pets.safetensors")
    assert done.exit_code == 0, done.output
    shutil.copytree(tmp_path, written, dirs_exist_ok=True)
    return tmp_path


LONG = {"audit.md", "compare.md", "decisions.md", "evaluate.md", "features.md", "fit.md", "taxonomy.md"}


@pytest.mark.parametrize(
    "document",
    some_slow(WITH_EXAMPLES, [DOCUMENTS / name for name in LONG]),
    ids=lambda path: path.name,
)
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
    shown = ["found in 48 ms", "...", "wrote a file (1.5 MB): ..."]
    assert re.fullmatch(pattern(shown), "found in 7 ms\nsome\nmore\nwrote a file (22.0 MB): b\n")
    assert re.fullmatch(pattern(shown), "found in 7 ms\nwrote a file (2 MB): \n")
    assert not re.fullmatch(pattern(shown), "found in 7 s\nwrote a file (2 MB): b\n")
    assert not re.fullmatch(pattern(shown), "found in 7 ms\nwrote a file (2 MB): b\nand more\n")


@pytest.mark.parametrize(
    ("shown", "other"),
    [
        ("train: 48 photos", "train: 7 photos"),
        ("(1,282 parameters), in 3 s", "(962 parameters), in 3 s"),
        ("(4.2 million of 4.6 million parameters)", "(4.2 million of 4.7 million parameters)"),
        ("0 of 84 frozen tensors changed", "1 of 84 frozen tensors changed"),
        ("1 photo", "2 photo"),
    ],
)
def test_counts_are_compared_digit_by_digit(shown: str, other: str) -> None:
    assert re.fullmatch(pattern([shown]), shown + "\n")
    assert not re.fullmatch(pattern([shown]), other + "\n")


def test_the_table_of_names_is_what_json_gives(folder: Path, run: Run) -> None:
    """Of names that only some fits and evaluations have, the records know."""
    section = (DOCUMENTS / "numbers.md").read_text().partition("## Figures\n")[2].partition("\n## ")[0]
    table = section.partition("| name | meaning |\n")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()]
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert len(documented) == len(set(documented))
    done = run("fit", "pets", "--model", "pocket", "--strategy", "frozen", "--json")
    given = json.loads(done.stdout)
    assert set(given) - set(documented) == set()
    attempts = {"tried": (), "over_budget": (), "reason": "it helps"}
    networks = (NetworkTrial(model="pocket", multiply_adds=1),)
    report, timing = Report.from_json(given), Timing(2.0, 1.0, 48, 1.0)
    full = FitRecord(
        report=report,
        model="pocket",
        strategy="top",
        temperature=1.0,
        timing=timing,
        trained_on=1,
        networks_tried=networks,
        by_group=(GroupFigures("north", 48, 1.0, (0.926, 1.0)),),
        groups=GroupReport("clinic", report, 0),
        head="discriminant",
        **attempts,
    )
    assert set(documented) == {*full.to_json(), *METRICS, "out"}
