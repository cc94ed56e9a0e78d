"""What holds between files: versions that must be equal, examples that must run, commands that must exist."""

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from regraft.cli.main import app

REPOSITORY = Path(__file__).parents[1]
TEXTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def pinned(name: str) -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return next(line.split("==")[1] for line in project["optional-dependencies"]["dev"] if line.startswith(f"{name}=="))


def test_pre_commit_runs_the_ruff_of_make_check() -> None:
    repos = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    ruff = next(repo for repo in repos if repo["repo"].endswith("ruff-pre-commit"))
    assert ruff["rev"] == f"v{pinned('ruff')}"


def modules_with_examples() -> list[str]:
    """Return every module of regraft whose docstrings hold examples, found without importing any."""
    source = REPOSITORY / "src"
    files = sorted((source / "regraft").rglob("*.py"))
    found = [path for path in files if doctest.DocTestParser().get_examples(path.read_text())]
    return [".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__") for path in found]


@pytest.mark.parametrize("name", modules_with_examples())
def test_docstring_examples_run(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_documented_options_exist(text: Path) -> None:
    known = {option for command in get_command(app).commands.values() for p in command.params for option in p.opts}
    known |= {"--help", "--version"}
    named = {
        option
        for line in re.findall(r"`([^`\n]*)`|^(regraft .*)$", text.read_text(), re.MULTILINE)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(line))
    }
    assert named <= known


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_linked_files_exist(text: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text.read_text()) if "://" not in link]
    assert [link for link in links if not (text.parent / link).exists()] == []


def test_public_names_are_importable() -> None:
    import regraft

    assert set(regraft.__all__) >= {"TransferClassifier", "load", "Report", "RegraftError", "DataError"}
    assert [name for name in regraft.__all__ if not hasattr(regraft, name)] == []
