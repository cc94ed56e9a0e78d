"""Real photos through a real pretrained network, by the commands of the README."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from tests.fixtures.learning import dataset_of
from typer.testing import CliRunner

import regraft
from regraft.cli.main import app
from regraft.data.audit import inspect
from regraft.data.splits import OUTER_FOLDS
from regraft.engines import openvino
from regraft.engines.compute import Compute
from regraft.features.extraction import FeatureExtractor
from regraft.heads.linear import CalibratedHead
from regraft.heads.probe import fit_calibrated_head
from regraft.images.sources import Source
from regraft.networks.backbones import load_backbone

pytestmark = pytest.mark.shared


@pytest.fixture
def network(shared: Path) -> str:
    return f"local-dir:{shared / 'weights' / 'mobilenetv2_100.tf_in1k'}"


def numbers_of(*arguments: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


@pytest.mark.slow  # the default strategy tries what training the network further gives: a minute and a half
def test_ants_from_bees(shared: Path, network: str, tmp_path: Path) -> None:
    data, bundle = shared / "data" / "hymenoptera", tmp_path / "insects.safetensors"
    fitted = numbers_of("fit", data, "--model", network, "--out", bundle)
    assert (fitted["n"], fitted["estimate"], fitted["unreadable"]) == (153, "validation", [])
    assert float(str(fitted["accuracy"])) >= 0.95
    judged = numbers_of("evaluate", bundle, data / "val")
    assert judged["images_computed"] == 0
    assert judged["confusion"] == fitted["confusion"]


@pytest.mark.slow
def test_scikit_learn_cross_validates_a_list_of_paths(shared: Path, network: str) -> None:
    photos = shared / "data" / "dogs-vs-cats" / "train"
    paths: Sequence[str] = [str(photos / f"{name}.{number}.jpg") for name in ("cat", "dog") for number in range(30)]
    labels = np.repeat([0, 1], 30)
    estimator = clone(regraft.TransferClassifier(model=network, seed=3))
    assert estimator.get_params()["seed"] == 3
    scores = cross_val_score(estimator, paths, labels, cv=3)
    assert scores.mean() >= 0.9


# --- engines ---

SAME_ACCURACY = 0.003  # of the photos: 3 of 1,000, one of 396
SAME_ANSWERS = 0.995


@dataclass(frozen=True, eq=False)
class Known:
    """Photos with their classes, and what each engine gives for them."""

    labels: np.ndarray
    features: dict[str, np.ndarray]
    fitted: dict[str, list[tuple[np.ndarray, CalibratedHead]]] = field(default_factory=dict)

    def probes(self, engine: str) -> list[tuple[np.ndarray, CalibratedHead]]:
        """Return, for each fold, which photos are in it and what was learned from the others on that engine."""
        if engine not in self.fitted:
            dataset, features = dataset_of(self.labels), self.features[engine]
            folds = dataset.folds(OUTER_FOLDS, seed=0)
            self.fitted[engine] = [
                (folds == fold, fit_calibrated_head(features[folds != fold], dataset.select(folds != fold), seed=0))
                for fold in range(OUTER_FOLDS)
            ]
        return self.fitted[engine]

    def answers(self, fitted_on: str, run_by: str) -> np.ndarray:
        """Return (n,) classes: each photo is judged by what was learned, on one engine, without its fold."""
        found = np.empty(len(self.labels), dtype=int)
        for fold, probe in self.probes(fitted_on):
            found[fold] = probe.probabilities(self.features[run_by][fold]).argmax(axis=1)
        return found


@pytest.fixture(scope="module")
def known(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Known]:
    """Return two sets of photos, run through one network by every engine that this machine has."""
    backbone = load_backbone(f"local-dir:{shared / 'weights' / 'mobilenetv2_100.tf_in1k'}")
    dogs = sorted((shared / "data" / "dogs-vs-cats" / "train").glob("*.jpg"))
    insects = sorted((shared / "data" / "hymenoptera").rglob("*.jpg"))
    photos: list[Source] = [*dogs, *insects]
    labels = np.array([path.name.startswith("dog") or path.parent.name == "bees" for path in (*dogs, *insects)], int)
    keys = inspect(tuple(photos)).keys
    engines = ["torch-float32", *(f"openvino-{precision}" for precision in openvino.usable_precisions())]
    features: dict[str, np.ndarray] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("REGRAFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in engines:
            found = FeatureExtractor(backbone, Compute(device="cpu", engine=name)).extract(photos, keys)
            assert (found.engine, found.unreadable) == (name.replace("-", "-cpu-"), {})
            features[name] = found.values
    return {
        name: Known(labels[part], {engine: values[part] for engine, values in features.items()})
        for name, part in (("dogs-vs-cats", slice(len(dogs))), ("hymenoptera", slice(len(dogs), None)))
    }


@pytest.mark.parametrize(("name", "count"), [("dogs-vs-cats", 1000), ("hymenoptera", 396)])
@pytest.mark.slow
def test_answers_do_not_depend_on_the_engine(known: dict[str, Known], name: str, count: int) -> None:
    photos = known[name]
    assert len(photos.labels) == count
    right = {engine: int((photos.answers(engine, engine) == photos.labels).sum()) for engine in photos.features}
    assert right["torch-float32"] >= 0.95 * count
    for engine, correct in right.items():
        assert abs(correct - right["torch-float32"]) <= SAME_ACCURACY * count, engine
    for fitted_on, run_by in itertools.permutations(photos.features, 2):
        same = np.mean(photos.answers(fitted_on, fitted_on) == photos.answers(fitted_on, run_by))
        assert same >= SAME_ANSWERS, (fitted_on, run_by)
