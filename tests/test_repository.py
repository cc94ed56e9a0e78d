"""What holds between files: versions that must be equal, examples that must run, commands that must exist."""

import doctest
import importlib
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from regraft.cli.main import app

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "regraft"
TEXTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def pinned(name: str) -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return next(line.split("==")[1] for line in project["optional-dependencies"]["dev"] if line.startswith(f"{name}=="))


def test_pre_commit_runs_the_ruff_of_make_check() -> None:
    repos = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    ruff = next(repo for repo in repos if repo["repo"].endswith("ruff-pre-commit"))
    assert ruff["rev"] == f"v{pinned('ruff')}"


WITH_EXAMPLES = [path for path in sorted(SOURCE.rglob("*.py")) if re.search(r"^ *>>> ", path.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_docstring_examples_run(path: Path) -> None:
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_modules_have_docstring_examples() -> None:
    assert {"errors.py", "files.py", "networks/stages.py", "networks/names.py", "data/samples.py"} <= {
        str(path.relative_to(SOURCE)) for path in WITH_EXAMPLES
    }


def options_of_commands() -> set[str]:
    commands = get_command(app).commands.values()
    return {flag for command in commands for p in command.params for flag in (*p.opts, *p.secondary_opts)}


def test_only_the_command_line_knows_its_flags() -> None:
    """All else calls `errors.option`, so that messages name fields in Python. Styles of a page look like flags."""
    known = options_of_commands()
    named = []
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix not in (".py", ".pyi", ".jinja") or path.parent.name == "cli" or path == SOURCE / "errors.py":
            continue
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", path.read_text()))
        named += [(path.name, flag) for flag in flags if flag in known or path.suffix != ".jinja"]
    assert named == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_documented_options_exist(text: Path) -> None:
    known = options_of_commands() | {"--help", "--version"}
    named = {
        option
        for line in re.findall(r"`([^`\n]*)`|^(regraft .*)$", text.read_text(), re.MULTILINE)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", " ".join(line))
    }
    assert named <= known


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_linked_files_exist(text: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text.read_text()) if "://" not in link]
    assert [link for link in links if not (text.parent / link).exists()] == []


def test_public_names_are_importable() -> None:
    import regraft

    assert set(regraft.__all__) >= {"TransferClassifier", "load", "Report", "RegraftError", "DataError"}
    assert regraft.__version__ == version("regraft")
    assert [name for name in regraft.__all__ if not hasattr(regraft, name)] == []
