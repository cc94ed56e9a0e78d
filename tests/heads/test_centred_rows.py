"""Rows by cell: those of a mapped copy, or gathered when they are read, are those of the copy in memory."""

from pathlib import Path

import numpy as np
import pytest
from tests.heads.problems import overlapping

from regraft import matrices
from regraft.heads import centred_rows
from regraft.heads.centred_rows import CentredRows
from regraft.heads.search import ABSENT, select_heads

CELLS = np.array([2, 0, 1, 0, 2, 2, 0])


@pytest.fixture(params=["copied", "mapped", "gathered"])
def _kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "copied":
        monkeypatch.setattr(centred_rows, "_COPIED", 0)
    if request.param == "gathered":
        monkeypatch.setattr(matrices, "mapped_zeros", lambda *_, **__: None)
    monkeypatch.setattr(matrices, "_RESIDENT", 20)
    monkeypatch.setattr(centred_rows, "_BLOCK", 2)  # several blocks of a cell


@pytest.mark.usefixtures("_kept")
@pytest.mark.parametrize("columns", [slice(1, None), np.array([3, 1])])
def test_rows_are_sorted_by_cell_and_centred(columns: slice | np.ndarray) -> None:
    features = np.arange(40, dtype=np.float32).reshape(10, 4)
    features[:, 1] **= 2
    before = features.copy()
    photos = np.array([9, 1, 2, 3, 4, 5, 8])
    rows = CentredRows(features, CELLS % 2, CELLS, photos=photos, columns=columns)
    assert np.array_equal(features, before)
    assert rows.order.tolist() == [1, 3, 6, 2, 0, 4, 5]
    assert rows.cells == [slice(0, 3), slice(3, 4), slice(4, 7)]
    assert rows.labels.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert rows.shape == (7, features[:, columns].shape[1])
    for cell, own in zip(rows.cells, ([1, 3, 8], [2], [9, 4, 5]), strict=True):
        expected = features[own][:, columns]
        number = rows.cells.index(cell)
        np.testing.assert_allclose(rows.centres[number], expected.mean(axis=0))
        centred = expected - expected.mean(axis=0)
        np.testing.assert_allclose(rows.rows(cell), centred, atol=1e-3)
        np.testing.assert_allclose(np.concatenate(list(rows.blocks(number))), centred, atol=1e-3)
        np.testing.assert_allclose(rows.scatter(number), centred.T @ centred, rtol=1e-4, atol=0.1)
    expected = [rows.rows(slice(6, 7))[0], np.zeros(rows.shape[1])]  # a cell of one photo
    np.testing.assert_array_equal(rows.rows_at(np.array([6, 3])), expected)


@pytest.mark.parametrize("room", [True, False])
def test_heads_are_the_same_to_the_last_bit_without_a_copy_in_memory(
    room: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of an array in memory, and of a file that is mapped into it."""
    features, labels = overlapping(300, 40, 3)
    folds = np.random.default_rng(0).permutation(300) % 3
    tasks = [folds, *(np.where(folds == fold, ABSENT, folds) for fold in range(3))]
    copied = select_heads(features, labels, 3, folds=tasks, columns=slice(5, None))
    monkeypatch.setattr(centred_rows, "_COPIED", 0)
    if not room:
        monkeypatch.setattr(matrices, "mapped_zeros", lambda *_, **__: None)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    for one in (features, mapped):
        gathered = select_heads(one, labels, 3, folds=tasks, columns=slice(5, None))
        for a, b in zip(copied, gathered, strict=True):
            assert a.losses == b.losses
            assert np.array_equal(a.logits, b.logits)
            assert np.array_equal(a.head.weight, b.head.weight)


def test_photos_are_those_that_are_named() -> None:
    features, labels = overlapping(300, 20, 3)
    chosen = np.flatnonzero(np.random.default_rng(1).random(300) < 0.6)
    folds = np.arange(len(chosen)) // 3 % 4
    (named,) = select_heads(features, labels[chosen], 3, folds=[folds], photos=chosen)
    (alone,) = select_heads(features[chosen], labels[chosen], 3, folds=[folds])
    assert named.losses == alone.losses
    assert np.array_equal(named.head.weight, alone.head.weight)
