"""The cache: its folder and limit, what is dropped first, what is in it, and other processes in the way."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.features.shards import ABOUT, DIMENSION, shards, vectors

from regraft.cache import cache_folder, clear, describe, features_folder, keep_limit, size_limit
from regraft.errors import OptionError
from regraft.features.store import FeatureStore

Key = Callable[[object], bytes]


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture
def kept() -> FeatureStore:
    return FeatureStore(ABOUT, DIMENSION)


@pytest.fixture
def three(kept: FeatureStore, key: Key) -> list[Path]:
    """Return three shards of one size, the first written last used longest ago: keys 2, 0, 1 in that order."""
    paths = {}
    for number in range(3):
        kept.write([key(number)], vectors(number, 1))
        (paths[number],) = set(shards(kept)) - set(paths.values())
    assert len({path.stat().st_size for path in paths.values()}) == 1
    return [aged(paths[number], 1000 - 100 * place) for place, number in enumerate((2, 0, 1))]


def test_cache_folder_comes_from_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("REGRAFT_CACHE")
        else:
            monkeypatch.setenv("REGRAFT_CACHE", unset)
        assert cache_folder().name == "regraft"
        assert cache_folder().is_absolute()


# --- the limit ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500MB", 500_000_000),
        ("20GB", 20_000_000_000),
        ("1.5 GB", 1_500_000_000),
        ("1000", 1000),
        ("1000B", 1000),
        ("2k", 2000),
        ("3 mb", 3_000_000),
        ("1T", 10**12),
        (" 7KB ", 7000),
        ("0", 0),
        ("", 10 * 10**9),
        ("  ", 10 * 10**9),
    ],
)
def test_size_limit(monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", text)
    assert size_limit() == expected


def test_size_limit_is_10_gb_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGRAFT_CACHE_LIMIT", raising=False)
    assert size_limit() == 10_000_000_000


@pytest.mark.parametrize(
    "text", ["much", "GB", "1,5GB", "5XB", "5GBB", "5 M B", "nan", "ten GB", "-5GB", "inf", "1e400"]
)
def test_size_limit_that_is_not_a_size(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", text)
    with pytest.raises(OptionError) as caught:
        size_limit()
    assert str(caught.value) == f"REGRAFT_CACHE_LIMIT must be a size like 500MB or 20GB. Got {text!r}."


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_least_recently_used_is_dropped_first(three: list[Path], left: int) -> None:
    size = three[0].stat().st_size
    assert keep_limit(left * size) == (3 - left) * size
    assert [path.exists() for path in three] == [False] * (3 - left) + [True] * left


def test_limit_is_kept_not_overshot(three: list[Path]) -> None:
    size = three[0].stat().st_size
    assert keep_limit(2 * size - 1) == 2 * size  # two would be one byte too many
    assert [path.exists() for path in three] == [False, False, True]


def test_limit_goes_across_networks(kept: FeatureStore, key: Key, three: list[Path]) -> None:
    other = FeatureStore({"cut": "other"}, DIMENSION)
    other.write([key(9)], vectors(9, 1))
    (oldest,) = shards(other)
    aged(oldest, 5000)
    assert keep_limit(3 * three[0].stat().st_size) == three[0].stat().st_size
    assert (oldest.exists(), len(shards(kept))) == (False, 3)


def test_temporary_file_is_removed_a_day_later(kept: FeatureStore, key: Key) -> None:
    kept.write([key(1)], vectors(1, 1))
    new, old = kept.folder / ".new.part", kept.folder / ".old.part"
    for path in (new, old):
        path.write_bytes(b"half")
    aged(new, 23 * 3600)
    aged(old, 25 * 3600)
    assert keep_limit(10**9) == 0
    assert (new.exists(), old.exists()) == (True, False)
    assert kept.read([key(1)])[1].all()


def test_reading_makes_a_shard_the_last_to_go(kept: FeatureStore, key: Key, three: list[Path]) -> None:
    assert kept.read([key(2)])[1].all()  # the oldest
    keep_limit(three[0].stat().st_size)
    assert [path.exists() for path in three] == [True, False, False]
    assert kept.read([key(0), key(1), key(2)])[1].tolist() == [False, False, True]


def test_looking_for_something_else_refreshes_nothing(kept: FeatureStore, key: Key, three: list[Path]) -> None:
    before = [path.stat().st_mtime for path in three]
    kept.read([key("unknown")])
    assert [path.stat().st_mtime for path in three] == before


# --- clear and describe ---


def test_clear_empties_the_cache_and_says_how_much(kept: FeatureStore, key: Key, three: list[Path]) -> None:
    size = sum(path.stat().st_size for path in kept.folder.iterdir())
    outside = features_folder().parent / "other.txt"
    outside.write_text("not features")
    assert clear() == size > 0
    assert kept.read([key(0)])[1].tolist() == [False]
    assert describe() == []
    assert outside.exists()
    assert clear() == 0
    kept.write([key(0)], vectors(0, 1))  # and can be filled again
    assert kept.read([key(0)])[1].all()


def test_what_is_in_use_and_stays_is_not_counted_as_freed(three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows removes no file that is open; `shutil.rmtree` passes over it."""

    def all_but_one(folder: Path, ignore_errors: bool) -> None:
        for path in folder.rglob("*.*"):
            if path != three[0]:
                path.unlink()

    size = sum(path.stat().st_size for path in features_folder().rglob("*.*"))
    monkeypatch.setattr(shutil, "rmtree", all_but_one)
    assert clear() == size - three[0].stat().st_size > 0


def test_describe_lists_what_is_there_last_used_first(kept: FeatureStore, key: Key, three: list[Path]) -> None:
    other = FeatureStore({"cut": "other"}, 2)
    other.write([key(number) for number in range(5)], np.ones((5, 2), np.float32))
    (shard,) = shards(other)
    newest = three[-1].stat().st_mtime
    rows: list[Any] = [(info.about, info.vectors, info.size, info.last_used) for info in describe()]
    assert rows == [
        ({"cut": "other", "format": 2}, 5, shard.stat().st_size, shard.stat().st_mtime),
        ({**ABOUT, "format": 2}, 3, 3 * three[0].stat().st_size, newest),
    ]
    aged(shard, 5000)
    assert [info.about["cut"] for info in describe()] == [ABOUT["cut"], "other"]


# --- another process in the way ---


@pytest.fixture
def gone(kept: FeatureStore, three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `regraft cache --clear` come just before the folder of three shards is listed."""
    for name in ("scandir", "listdir"):
        genuine = getattr(os, name)

        def late(path: Any = ".", genuine: Callable[[Any], Any] = genuine) -> Any:
            if str(path) == str(kept.folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return genuine(path)

        monkeypatch.setattr(os, name, late)


@pytest.mark.usefixtures("gone")
def test_a_folder_that_is_cleared_meanwhile_counts_as_empty(kept: FeatureStore, key: Key) -> None:
    assert kept.read([key(0)])[1].tolist() == [False]
    assert describe() == []
    assert keep_limit(0) == 0
    assert clear() == 0


def test_a_shard_that_cannot_be_dropped_is_passed_over(three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == three[0]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    size = three[0].stat().st_size
    assert keep_limit(2 * size) == size  # the next in age goes in its place
    assert [path.exists() for path in three] == [True, False, True]
