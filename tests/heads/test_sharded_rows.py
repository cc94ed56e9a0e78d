"""Heads on features in shards: those of the same features in one place, to the rounding of float32."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.heads.problems import overlapping

from regraft.data.class_weights import ClassWeights
from regraft.heads.search import ABSENT, Selection, select_heads
from regraft.heads.sharded_rows import FeatureShard, LocalShards, ShardedFeatures

BOUNDS = [0, 70, 71, 210, 300]  # one shard has one photo


class CountingShards(LocalShards):
    """Remembers the largest array that a shard gave."""

    largest = 0

    def call(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        found = super().call(method, arguments)
        self.largest = max([self.largest, *(part.size for part in found if isinstance(part, np.ndarray))])
        return found


def in_shards(features: np.ndarray, labels: np.ndarray) -> tuple[ShardedFeatures, CountingShards]:
    parts = [slice(*bounds) for bounds in pairwise(BOUNDS)]
    shards = CountingShards([FeatureShard(features[part], labels[part]) for part in parts])
    return ShardedFeatures(shards, list(np.diff(BOUNDS)), features.shape[1]), shards


def centred_logits(selection: Selection, features: np.ndarray) -> np.ndarray:
    logits = selection.head.logits(features)
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


@pytest.mark.parametrize("d", [20, 500])  # by correlations of features, and by products of photos, which are fewer
@pytest.mark.parametrize(("classes", "class_weights"), [(2, None), (5, None), (5, ClassWeights())])
def test_heads_are_those_of_features_in_one_place(d: int, classes: int, class_weights: ClassWeights | None) -> None:
    features, labels = overlapping(300, d, classes)
    folds = np.random.default_rng(0).permutation(300) % 3
    tasks = [folds, *(np.where(folds == fold, ABSENT, folds) for fold in range(3))]
    sharded, _ = in_shards(features, labels)
    expected = select_heads(features, labels, classes, folds=tasks, class_weights=class_weights)
    found = select_heads(sharded, labels, classes, folds=tasks, class_weights=class_weights)
    for one, two in zip(found, expected, strict=True):
        assert one.strength == two.strength
        assert one.losses == pytest.approx(two.losses, abs=1e-5)
        np.testing.assert_allclose(centred_logits(one, features), centred_logits(two, features), atol=2e-3)


def test_photos_and_columns_are_those_that_are_named() -> None:
    features, labels = overlapping(300, 30, 3)
    chosen = np.flatnonzero(np.random.default_rng(1).random(300) < 0.6)
    chosen = chosen[chosen != 70]  # the shard of one photo has none
    folds, columns = np.arange(len(chosen)) // 3 % 4, np.arange(5, 25)
    sharded, _ = in_shards(features, labels)
    (expected,) = select_heads(features, labels[chosen], 3, folds=[folds], photos=chosen, columns=columns)
    (found,) = select_heads(sharded, labels[chosen], 3, folds=[folds], photos=chosen, columns=columns)
    assert found.losses == pytest.approx(expected.losses, abs=1e-5)


def test_no_features_are_moved() -> None:
    features, labels = overlapping(300, 20, 3)
    sharded, shards = in_shards(features, labels)
    select_heads(sharded, labels, 3, folds=[np.arange(300) % 3])
    assert 0 < shards.largest <= max(100 * 3, 20 * 20)  # logits of a cell, and products of pairs of columns


def test_photos_that_are_not_in_order_are_refused() -> None:
    features, labels = overlapping(300, 20, 3)
    with pytest.raises(ValueError, match="ascending positions, each once"):
        in_shards(features, labels)[0].rows(labels[:3], np.array([0, 1, 2]), photos=np.array([5, 4, 6]))


def test_rows_are_asked_for_after_they_were_sorted() -> None:
    with pytest.raises(RuntimeError, match=r"call centre\(\) first"):
        FeatureShard(np.zeros((2, 3), np.float32), np.zeros(2, int)).scatter(0)
