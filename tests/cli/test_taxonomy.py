"""Classes that lie in a tree, from `fit` to `predict` and `evaluate`."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
FAST = ("--strategy", "frozen", "--features", "last", "--force")
TREE = "colour:\n  warm: [red]\n  cold: [green, blue]\n  none: [grey]\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree.yaml").write_text(TREE)
    return tmp_path / "tree.yaml"


@pytest.fixture
def fitted(run: Run, photos: Photos, tiny_network: str, tree: Path, fitted_trees: dict[str, bytes]) -> Path:
    """Return a classifier of red, green and blue, which knows the tree."""
    data = photos("learned", red=8, green=8, blue=8)
    if "file" not in fitted_trees:
        done = run("fit", data, "--model", tiny_network, *FAST, "--taxonomy", tree)
        assert done.exit_code == 0, done.output
        fitted_trees["file"] = Path("classifier.safetensors").read_bytes()
    Path("classifier.safetensors").write_bytes(fitted_trees["file"])
    return Path("classifier.safetensors")


@pytest.fixture(scope="module")
def fitted_trees() -> dict[str, bytes]:
    return {}


def test_x(run, fitted, photos, tree, tiny_network):
    data = photos("learned", red=8, green=8, blue=8)
    done = run("fit", data, "--model", tiny_network, *FAST, "--taxonomy", tree)
    print(done.output)
    others = photos("others", first_seed=500, red=4, green=3, blue=3)
    shutil.move(others / "red", others / "warm")
    for more in ([], ["--level", 1], ["--level", 2], ["--level", 1, "--json"]):
        print(run("evaluate", fitted, others, *more).output)
    for more in (
        [],
        ["--level", 1],
        ["--format", "csv"],
        ["--format", "jsonl"],
        ["--format", "csv", "--level", 1, "--threshold", "0.9 for warm"],
    ):
        done = run("predict", fitted, others, *more)
        print(done.output, done.exception)
    done = run("fit", data, "--model", tiny_network, *FAST, "--taxonomy", tree, "--max-class-size", 16)
    print(done.output)
    assert 0
