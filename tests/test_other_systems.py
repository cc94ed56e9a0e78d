"""Windows and macOS, as far as Linux shows: calls that they lack are taken away, and the work is done all the same.

CONTRIBUTING.md lists these calls. What only those systems do (files in use that stay, code pages) is imitated where its
code is tested: `test_files.py`, `test_cache.py`, `features/test_damaged_features.py`, `training/test_checkpoints.py`.
"""

import ast
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regraft.features import activations

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "regraft"
POSIXLESS = REPOSITORY / "tests" / "fixtures" / "posixless.py"
Photos = Callable[..., Path]


def elsewhere(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `regraft` in a process in which it finds nothing that only POSIX has."""
    command = [sys.executable, POSIXLESS, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=120, check=False, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_fit_and_predict_without_what_only_posix_has(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    """`top` keeps activations on the disk, whose space is reserved by a call that others lack."""
    folder, file = photos(red=10, blue=10), tmp_path / "m.safetensors"
    fitted = elsewhere("fit", folder, "--model", tiny_network, "--strategy", "top", "--epochs", 2, "--out", file)
    assert fitted.returncode == 0, fitted.stderr
    answered = elsewhere("predict", file, folder, "--format", "json")
    assert answered.returncode == 0, answered.stderr
    assert len(json.loads(answered.stdout)) == 20


def test_in_that_process_regraft_finds_nothing_that_only_posix_has() -> None:
    names = runpy.run_path(str(POSIXLESS))
    find: Any = names["_import_as_elsewhere"]
    ours, theirs = {"__name__": "regraft.runtime"}, {"__name__": "numpy"}
    with pytest.raises(ModuleNotFoundError):
        find("resource", ours)
    assert not hasattr(find("os", ours), "sched_getaffinity")
    assert not hasattr(find("signal", ours, None, ("SIGKILL",)), "SIGKILL")
    assert find("os", ours).getpid() == os.getpid()
    assert find("os", theirs) is os
    assert "sched_getaffinity" in dir(os)  # else nothing would have been taken away
    assert hasattr(find("resource", theirs), "getrusage")


def test_space_is_reserved_where_no_call_does_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    activations._reserve(tmp_path / "a.views", (1 << 20) + 5)
    data = (tmp_path / "a.views").read_bytes()
    assert (len(data), any(data)) == ((1 << 20) + 5, False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.views"]


@pytest.mark.slow
def test_answers_for_a_console_that_lacks_letters(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    """Windows' consoles and pipes have code pages: cp1252 has ö and no 猫."""
    folder, file = photos(red=10, blue=10), tmp_path / "m.safetensors"
    (folder / "red").rename(folder / "größer")
    (folder / "blue").rename(folder / "猫")
    code_page = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    arguments = ["--model", tiny_network, "--strategy", "frozen", "--out", str(file)]
    done = [
        subprocess.run(
            [sys.executable, "-m", "regraft", *command],
            check=False,
            capture_output=True,
            env={**os.environ, **code_page},
            timeout=120,
        )
        for command in (["fit", str(folder), *arguments], ["predict", str(file), str(folder / "猫" / "0.jpg")])
    ]
    assert [process.returncode for process in done] == [0, 0]
    text = done[1].stdout.decode("cp1252")
    assert "größer" in text
    assert "\\u732b" in text


def test_texts_name_their_encoding() -> None:
    """Without one Python takes the code page of the system."""
    unnamed = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = {keyword.arg for keyword in node.keywords}
                if node.func.attr in ("read_text", "write_text") and "encoding" not in named:
                    unnamed.append(f"{path.name}:{node.lineno}")
    assert unnamed == []


def test_files_are_moved_by_one_function() -> None:
    """`files.move_over` waits for those that are in use."""
    moving = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, name = node.func.value, node.func.attr
            of_os = (
                isinstance(owner, ast.Name) and owner.id in ("os", "shutil") and name in ("rename", "replace", "move")
            )
            if of_os or name == "rename" or (name == "replace" and len(node.args) == 1 and not node.keywords):
                moving.append(path.name)
    assert moving == ["files.py"]


def test_processes_of_the_tests_are_started_as_on_all_systems() -> None:
    assert multiprocessing.get_start_method() == "spawn"


def test_the_package_starts_no_process_by_multiprocessing() -> None:
    """Then nothing depends on the start method, and a program that calls regraft needs no guard for its main module."""
    named = [path.name for path in SOURCE.rglob("*.py") if "multiprocessing" in path.read_text(encoding="utf-8")]
    assert named == []
