"""Real photos through a real pretrained network, by the commands of the README."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from typer.testing import CliRunner

import regraft
from regraft.cli.main import app

pytestmark = pytest.mark.shared


@pytest.fixture
def network(shared: Path) -> str:
    return f"local-dir:{shared / 'weights' / 'mobilenetv2_100.tf_in1k'}"


def numbers_of(*arguments: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_ants_from_bees(shared: Path, network: str, tmp_path: Path) -> None:
    data, bundle = shared / "data" / "hymenoptera", tmp_path / "insects.safetensors"
    fitted = numbers_of("fit", data, "--model", network, "--out", bundle)
    assert (fitted["n"], fitted["estimate"], fitted["unreadable"]) == (153, "validation", [])
    assert float(str(fitted["accuracy"])) >= 0.95
    judged = numbers_of("evaluate", bundle, data / "val")
    assert judged["images_computed"] == 0
    assert judged["confusion"] == fitted["confusion"]


def test_scikit_learn_cross_validates_a_list_of_paths(shared: Path, network: str) -> None:
    photos = shared / "data" / "dogs-vs-cats" / "train"
    paths: Sequence[str] = [str(photos / f"{name}.{number}.jpg") for name in ("cat", "dog") for number in range(30)]
    labels = np.repeat([0, 1], 30)
    estimator = clone(regraft.TransferClassifier(model=network, seed=3))
    assert estimator.get_params()["seed"] == 3
    scores = cross_val_score(estimator, paths, labels, cv=3)
    assert scores.mean() >= 0.9
