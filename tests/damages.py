"""What can become of a file: each takes its path and leaves something else there."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def flipped(path: Path, seed: int) -> None:
    data = bytearray(path.read_bytes())
    bit = int(np.random.default_rng(seed).integers(8 * len(data)))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def zeroed(path: Path) -> None:
    """Set a sixth of the file, in the midst of its values, to zero."""
    data = path.read_bytes()
    start, end = len(data) // 3, len(data) // 2
    assert any(data[start:end])
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])


def replaced(path: Path, how: str) -> None:
    path.unlink()
    if how == "folder":
        path.mkdir()
        (path / "file").write_text("in it")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link to a folder":
        path.symlink_to(path.parents[1])
    elif how == "link to nothing":
        path.symlink_to(path.with_name("nothing"))
    else:
        path.symlink_to(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{f"bit flipped {seed}": (lambda path, seed=seed: flipped(path, seed)) for seed in range(6)},
    "zeroed": zeroed,
    "last byte cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut to half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "byte appended": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "page appended": lambda path: path.write_bytes(path.read_bytes() + b"x" * 4096),
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("[]"),
    **{
        how: (lambda path, how=how: replaced(path, how))
        for how in ("folder", "pipe", "link to a folder", "link to nothing", "link to itself")
    },
}
LIKE_OTHERS = {f"bit flipped {seed}" for seed in range(1, 6)} | {"garbage", "text", "page appended", "link to itself"}
damages = pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=name, marks=[pytest.mark.slow] if name in LIKE_OTHERS else [])
        for name, damage in DAMAGES.items()
    ],
)
