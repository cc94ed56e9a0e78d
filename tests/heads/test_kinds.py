"""What every kind of head must do: the table's own, and a nearest-neighbour head that only these tests know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pytest

from regraft.classifier.bundle import load_bundle, read_description, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.errors import BundleError
from regraft.heads.kinds import HEADS
from regraft.heads.linear import Head, LinearHead


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """The classes of the three nearest photos, each counted once more than it is there."""

    kind: ClassVar[str] = "knn"
    examples: np.ndarray
    labels: np.ndarray
    classes: int
    strength: float = 0.0

    @property
    def features(self) -> int:
        return int(self.examples.shape[1])

    def logits(self, features: np.ndarray) -> np.ndarray:
        distances = np.linalg.norm(features[:, None] - self.examples, axis=2)
        nearest = self.labels[np.argsort(distances, axis=1)[:, :3]]
        return np.log1p((nearest[:, :, None] == np.arange(self.classes)).sum(axis=1).astype(np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {"examples": self.examples, "labels": self.labels}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], *, classes: int, strength: float) -> Self:
        if state["labels"].max() >= classes:
            raise ValueError(f"head.labels must be below {classes}")
        return cls(state["examples"], state["labels"], classes, strength)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


# a head of 3 classes and so many features, of each kind
MAKERS: dict[str, Callable[[int], Head]] = {
    "linear": lambda features: LinearHead(drawn(3, features), drawn(3), 0.25),
    "knn": lambda features: NearestNeighbours(drawn(9, features), np.arange(9) % 3, 3),
}


@pytest.fixture(params=[*HEADS, "knn"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Head]:
    """Return what makes a head of one kind; all kinds are in the table for the time of the test."""
    monkeypatch.setitem(HEADS, "knn", NearestNeighbours)
    return MAKERS[request.param]


def test_the_table_names_each_kind() -> None:
    assert {name: kind.kind for name, kind in HEADS.items()} == {name: name for name in HEADS}


def test_logits_have_a_row_for_each_photo(make: Callable[[int], Head]) -> None:
    head = make(5)
    assert (head.classes, head.features) == (3, 5)
    assert head.logits(drawn(7, 5)).shape == (7, 3)
    assert head.logits(np.empty((0, 5), np.float32)).shape == (0, 3)


def test_its_state_makes_it_anew(make: Callable[[int], Head]) -> None:
    head = make(5)
    again = HEADS[head.kind].from_state(head.state(), classes=3, strength=head.strength)
    assert type(again) is type(head)
    assert (again.classes, again.features, again.strength) == (3, 5, head.strength)
    assert np.array_equal(again.logits(drawn(7, 5)), head.logits(drawn(7, 5)))


def test_a_classifier_with_it_goes_through_a_file(
    make: Callable[[int], Head], classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    plain = classifier()
    made = replace(plain, head=make(plain.backbone.features))
    features = drawn(7, made.backbone.features)
    save_bundle(made, tmp_path / "model.safetensors")
    loaded = load_bundle(tmp_path / "model.safetensors")
    assert type(loaded.head) is type(made.head)
    assert loaded.head.strength == made.head.strength
    assert np.array_equal(loaded.probabilities(features), made.probabilities(features))
    assert not np.array_equal(loaded.probabilities(features), plain.probabilities(features))


def test_a_file_names_only_a_kind_that_is_not_linear(
    make: Callable[[int], Head], classifier: Callable[..., Classifier], tmp_path: Path
) -> None:
    plain = classifier()
    head = make(plain.backbone.features)
    save_bundle(replace(plain, head=head), tmp_path / "model.safetensors")
    assert read_description(tmp_path / "model.safetensors").get("head", "linear") == head.kind
    assert ("head" in read_description(tmp_path / "model.safetensors")) == (head.kind != "linear")


def test_a_kind_that_is_not_known_is_named(
    classifier: Callable[..., Classifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = classifier()
    with monkeypatch.context() as patch:
        patch.setitem(HEADS, "knn", NearestNeighbours)
        save_bundle(replace(plain, head=MAKERS["knn"](plain.backbone.features)), tmp_path / "model.safetensors")
    with pytest.raises(BundleError, match=r"cannot be used: head must be one of linear. Got 'knn'. Fit it again."):
        load_bundle(tmp_path / "model.safetensors")
