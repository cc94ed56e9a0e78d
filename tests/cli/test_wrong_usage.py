"""Commands and options of other tools lead to those that are meant."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import Result

from regraft.cli.console import shell_words
from regraft.cli.main import app
from regraft.cli.wrong_usage import unknown_command, unknown_option

Run = Callable[..., Result]
COMMANDS = get_command(app).commands


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train pets --epochs 3", ["regraft fit pets --epochs 3"]),
        ("finetune", ["regraft fit"]),
        ("fine_tune", ["regraft fit"]),
        ("classify new/1.jpg", ["regraft predict new/1.jpg"]),
        ("infer", ["regraft predict"]),
        ("test", ["regraft predict", "regraft evaluate"]),
        ("eval", ["regraft evaluate"]),
        ("val", ["regraft evaluate"]),
        ("visualize", ["regraft explain"]),
        ("benchmark", ["regraft compare"]),
        ("list", ["regraft models"]),
        ("features pets", ["regraft embed pets"]),
        ("embeddings", ["regraft embed"]),
        ("search 1.jpg pets", ["regraft similar 1.jpg pets"]),
        ("knn", ["regraft similar"]),
        ("annotate", ["regraft suggest"]),
        ("cluster heap", ["regraft group heap"]),
        ("FIT pets", ["regraft fit pets"]),
        ("onnx pets.safetensors", ["regraft export pets.safetensors"]),
    ],
)
def test_another_word_names_the_command(run: Run, typed: str, meant: list[str]) -> None:
    done = run(*typed.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"No such command '{typed.split(maxsplit=1)[0]}'" in done.stderr
    assert all(words in done.stderr for words in meant)
    assert "regraft pretrain" not in done.stderr


def test_a_folder_instead_of_a_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my pets").mkdir()
    assert "To use what is there: `regraft fit 'my pets'`." in run("my pets").stderr
    assert unknown_command("nothing-like-it", [], COMMANDS) is None


@pytest.mark.parametrize("typed", [["help"], ["-h"], ["--help"], ["HELP"]])
def test_help_has_several_words(run: Run, typed: list[str]) -> None:
    done = run(*typed)
    assert done.exit_code == 0
    assert "regraft fit FOLDER" in done.stdout


@pytest.mark.parametrize("typed", [["help", "fit"], ["fit", "-h"], ["fit", "help"], ["fit", "--help"]])
def test_help_of_a_command(run: Run, typed: list[str]) -> None:
    done = run(*typed)
    assert done.exit_code == 0
    assert "Train a classifier on labelled photos" in done.stdout


def test_help_of_another_word(run: Run) -> None:
    assert "Did you mean `regraft fit --help`?" in run("help", "train").stderr


@pytest.mark.parametrize("typed", ["version", "-V", "--version"])
def test_version_has_several_words(run: Run, typed: str) -> None:
    done = run(typed)
    assert done.exit_code == 0
    assert done.stdout.startswith("regraft ")


@pytest.mark.parametrize(
    ("command", "flag", "meant"),
    [
        ("fit", "--learning-rate", "Did you mean --lr?"),
        ("fit", "--batch", "Did you mean --train-batch-size or --batch-size?"),
        ("predict", "--batch", "Did you mean --batch-size?"),
        ("fit", "--imgsz", "There is none: images are brought to the size that the network was made for"),
        ("pretrain", "--imgsz", "There is none"),
        ("fit", "--arch", "Did you mean --model?"),
        ("fit", "--output", "Did you mean --out?"),
        ("predict", "--output_dir", "Did you mean --out?"),
        ("fit", "--data", "Photos and files are named without one: `regraft fit DATA`."),
        ("predict", "--input", "`regraft predict BUNDLE PHOTOS`."),
        ("similar", "--top-k", "Did you mean --top?"),
        ("embed", "--output", "Did you mean --out?"),
        ("embed", "--network", "Did you mean --model?"),
        ("fit", "--group_column", "Did you mean --group-column?"),
        ("fit", "--freeze", "Did you mean --strategy frozen?"),
        ("fit", "--gpu", "Did you mean --device cuda?"),
        ("fit", "--resume", "the same command, given again, resumes"),
    ],
)
def test_another_flag_names_the_option(command: str, flag: str, meant: str) -> None:
    assert meant in unknown_option(flag, COMMANDS[command], f"regraft {command}")


def test_an_unknown_flag_is_told_as_all_mistakes_of_usage(run: Run) -> None:
    done = run("fit", "pets", "--learning-rate", "3")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: No such option: --learning-rate. Did you mean --lr?" in done.stderr
    assert "Did you mean --label-column" in run("fit", "pets", "--label-colum", "x").stderr  # near in letters
    assert run("fit", "pets", "--wibble").stderr.endswith("Error: No such option: --wibble.\n")
    assert "Options stand after the command: `regraft COMMAND --lr`." in run("--lr", "3", "fit").stderr
    assert "after the command" in run("--verbose", "fit").stderr
    assert "Did you mean --version?" in run("--verson").stderr


@pytest.mark.parametrize("word", ["a", "my pets", "it's", "a\nb", "\x1b[2J", "\udcff.jpg", "$HOME", "", "日本\u202e"])
def test_what_is_to_be_pasted_is_read_by_a_shell_as_it_was(word: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {shell_words(word)}"], capture_output=True, check=True)
    assert done.stdout == word.encode("utf-8", "surrogateescape")
    assert shell_words(word).isprintable() or "\u65e5" in word
