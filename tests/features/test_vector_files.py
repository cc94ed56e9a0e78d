"""Files of vectors: as pandas, PyArrow and NumPy read them, and all or nothing."""

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft.data.photo_list import PhotoList
from regraft.errors import OptionError, OutputError
from regraft.features import vector_files
from regraft.features.vector_files import check_vector_file, open_vector_file

ABOUT = {"model": "net", "weights": "ab", "engine": "torch-cpu-float32", "features": 3}
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3) - 7.5
NAMES = ("a.jpg", "=1+1.jpg", "b\n\x1b[2J.jpg", "猫 é.jpg", os.fsdecode(b"\xe9.jpg"))
LABELS = ("cat", None, "dog\ud800", "cat", "")
SPLITS = ("train", "train", None, "test", "validation")


def photos(*, splits: bool = True) -> PhotoList:
    return PhotoList(tuple(map(Path, NAMES)), LABELS, SPLITS if splits else (None,) * 5)


def written(path: Path, list_of: PhotoList, about: dict[str, Any] = ABOUT) -> Path:
    """Write all but the photo at position 1, in two blocks."""
    with open_vector_file(path, list_of, about) as file:
        file.add(np.array([0, 2]), VECTORS[[0, 2]])
        file.add(np.array([3, 4]), VECTORS[3:])
    return path


KEPT = [0, 2, 3, 4]
AS_UTF8 = [NAMES[0], NAMES[2], NAMES[3], "\\udce9.jpg"]


def test_parquet_as_pyarrow_reads_it(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path / "f.parquet", photos()))
    assert table.schema.names == ["path", "label", "split", "features"]
    assert table.schema.field("features").type == pa.list_(pa.float32(), 3)
    assert table["path"].to_pylist() == AS_UTF8
    assert table["label"].to_pylist() == ["cat", "dog\\ud800", "cat", ""]
    assert table["split"].to_pylist() == ["train", None, "test", "validation"]
    vectors = table["features"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, VECTORS[KEPT])
    assert json.loads(table.schema.metadata[b"regraft"]) == ABOUT


def test_parquet_as_pandas_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    with open_vector_file(file, photos(splits=False), ABOUT) as rows:
        rows.add(np.arange(5), VECTORS)
    frame = pd.read_parquet(file)
    assert list(frame.columns) == ["path", "label", "features"]
    assert frame["label"].isna().tolist() == [False, True, False, False, False]
    assert np.array_equal(np.stack(list(frame["features"])), VECTORS)


def test_npz_as_numpy_reads_it_without_pickle(tmp_path: Path) -> None:
    """Names stay as they are, bytes that are no UTF-8, too."""
    with np.load(written(tmp_path / "f.npz", photos()), allow_pickle=False) as file:
        assert sorted(file.files) == ["about", "features", "label", "path", "split"]
        assert file["path"].tolist() == [NAMES[place] for place in KEPT]
        assert file["label"].tolist() == ["cat", "dog\ud800", "cat", ""]
        assert file["split"].tolist() == ["train", "", "test", "validation"]
        assert (file["features"].dtype, file["features"].flags.c_contiguous) == (np.float32, True)
        assert np.array_equal(file["features"], VECTORS[KEPT])
        assert json.loads(str(file["about"][0])) == ABOUT


def test_npz_of_more_rows_than_are_copied_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "_ROWS", 2)
    with np.load(written(tmp_path / "f.npz", photos(splits=False))) as file:
        assert sorted(file.files) == ["about", "features", "label", "path"]
        assert file["path"].tolist() == [NAMES[place] for place in KEPT]
        assert np.array_equal(file["features"], VECTORS[KEPT])


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_equal_vectors_are_equal_files(tmp_path: Path, ending: str) -> None:
    first = written(tmp_path / f"a{ending}", photos()).read_bytes()
    assert written(tmp_path / f"b{ending}", photos()).read_bytes() == first


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_of_two_writers_the_last_wins_whole(tmp_path: Path, ending: str) -> None:
    """As two processes at once would."""
    alone = written(tmp_path / f"alone{ending}", photos()).read_bytes()
    file = tmp_path / f"f{ending}"
    with open_vector_file(file, photos(), ABOUT) as last:
        last.add(np.array([0, 2]), VECTORS[[0, 2]])
        with open_vector_file(file, photos(), ABOUT) as first:
            first.add(np.array([1]), VECTORS[[1]])
        assert file.read_bytes() != alone
        last.add(np.array([3, 4]), VECTORS[3:])
    assert file.read_bytes() == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"alone{ending}", f"f{ending}"])


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_what_was_there(tmp_path: Path, ending: str, error: type[BaseException]) -> None:
    file = tmp_path / f"f{ending}"
    file.write_text("older")

    def stopped() -> None:
        with open_vector_file(file, photos(), ABOUT) as rows:
            rows.add(np.array([0]), VECTORS[:1])
            raise error

    with pytest.raises(error):
        stopped()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(file.name, "older")]


class _Full(io.FileIO):
    """A file on a disk that has room for 100 bytes."""

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("ending", [".parquet", ".npz"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine: Callable[..., Any] = Path.open

    def limited(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return _Full(self, "x") if mode == "xb" else genuine(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(OutputError, match=r"could not be written: the disk is full\. Nothing was left half-written"):
        written(tmp_path / f"f{ending}", photos())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "f.csv",
            r"^path must end in \.parquet or \.npz\. Got f\.csv\. Thousands of numbers a photo are no text: ",
        ),
        ("f.npy", r"Got f\.npy\. A name and a label belong to each vector: name it \.npz\.$"),
        ("f.pq", r"Got f\.pq\. Name it \.parquet\.$"),
        ("f", r"^path must end in \.parquet or \.npz\. Got f\.$"),
        ("f.safetensors\x1b", r"Got f\.safetensors\\x1b\.$"),
    ],
)
def test_other_endings_are_refused(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_vector_file(Path(name))


@pytest.mark.parametrize("name", ["f.parquet", "F.PARQUET", "f.npz", "f.tar.Npz"])
def test_endings_in_any_case(name: str) -> None:
    check_vector_file(Path(name))
