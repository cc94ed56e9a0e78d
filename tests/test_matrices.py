"""Matrices in memory and in files that are mapped into it."""

import os
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest

from regraft import matrices

mapped = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no files of a given size here")


def test_a_small_matrix_is_in_memory(tmp_path: Path) -> None:
    found = matrices.zeros(10, 3, tmp_path / "none")
    assert found.shape == (10, 3)
    assert found.dtype == np.float32
    assert not found.any()
    assert not (tmp_path / "none").exists()
    matrices.release(found)  # nothing is lost
    found[:] = 1
    matrices.release(found[2:])
    assert (found == 1).all()


@mapped
def test_a_large_matrix_takes_no_memory_once_it_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "IN_MEMORY", 2**20)
    process = psutil.Process()
    found = matrices.zeros(16, 2**20, tmp_path)  # 64 MB
    before = process.memory_info().rss
    found[:] = np.arange(16, dtype=np.float32)[:, None]
    assert process.memory_info().rss - before > 50e6
    matrices.release(found[:, 5:])  # any part of it
    assert process.memory_info().rss - before < 10e6
    assert (found[:, ::99_991] == np.arange(16)[:, None]).all()
    assert list(tmp_path.iterdir()) == []  # it has no name, and is gone with the process


@mapped
def test_what_was_read_of_a_large_matrix_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 MB that are read and written, at most 8 MB and the block that went beyond are in memory."""
    monkeypatch.setattr(matrices, "IN_MEMORY", 2**20)
    monkeypatch.setattr(matrices, "_RESIDENT", 2**23)
    found = matrices.zeros(16, 2**20, tmp_path)
    residency, process = matrices.Residency(found[:, 5:]), psutil.Process()
    before = process.memory_info().rss
    for row in range(16):
        found[row] = row
        residency.add(found[row].nbytes)
        assert process.memory_info().rss - before < 8e6 + 2 * 2**22 + 4e6
    matrices.Residency(np.zeros(3)).add(2**40)  # not mapped
    assert (found[:, ::99_991] == np.arange(16)[:, None]).all()


@mapped
def test_of_the_disk_as_much_stays_free_as_is_asked_for(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert matrices.mapped_zeros(4, 5, tmp_path, spare=2 * free) is None
    found = matrices.mapped_zeros(4, 5, tmp_path, spare=free // 2)
    assert found is not None
    assert (found == 0).all()
    assert found.shape == (4, 5)


@mapped
def test_a_full_disk_leaves_it_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matrices, "IN_MEMORY", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    found = matrices.zeros(4, 5, tmp_path)
    assert found.flags.owndata
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 2**20])
def test_rows_are_copied(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "IN_MEMORY", limit)
    monkeypatch.setattr(matrices, "_ROWS", 3)
    matrix = np.arange(20, dtype=np.float32).reshape(10, 2)
    found = matrices.copy_rows(matrix, np.array([7, 0, 3, 3, 9]), tmp_path)
    found[0] += 0.5
    assert found[:, 0].tolist() == [14.5, 0, 6, 6, 18]
    assert matrix[7, 0] == 14
    assert matrices.copy_rows(matrix, np.array([], dtype=np.int64), tmp_path).shape == (0, 2)


@pytest.mark.parametrize("limit", [0, 2**20])
def test_rows_are_kept_in_the_memory_of_all(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "IN_MEMORY", limit)
    monkeypatch.setattr(matrices, "_ROWS", 3)
    found = matrices.zeros(10, 2, tmp_path)
    found[:] = np.arange(20).reshape(10, 2)
    kept = matrices.keep_rows(found, np.array([0, 2, 3, 4, 6, 7, 9]))
    assert kept[:, 0].tolist() == [0, 4, 6, 8, 12, 14, 18]
    assert np.shares_memory(kept, found)
