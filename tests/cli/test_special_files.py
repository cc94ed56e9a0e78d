"""Folders and tables in which not everything is an ordinary file: named at once, never waited for, never read."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]


@pytest.fixture
def pets(photos: Photos) -> Path:
    """Return 40 sound photos, and beside them a pipe, a device and a file of 20 GB."""
    folder = photos(red=20, blue=20)
    os.mkfifo(folder / "red" / "pipe.jpg")
    (folder / "red" / "endless.jpg").symlink_to("/dev/zero")
    with (folder / "blue" / "sparse.jpg").open("wb") as file:
        file.truncate(20 << 30)
    return folder


@pytest.mark.slow
def test_they_are_named_and_left_out(run: Run, pets: Path, tiny_network: str) -> None:
    started = time.monotonic()
    done = run("fit", pets, "--model", tiny_network, "--strategy", "frozen")
    assert done.exit_code == 0, done.output
    assert "3 of 43 images cannot be read and are left out" in done.stderr
    assert f"{pets}/red/pipe.jpg: not a regular file but a pipe" in done.stderr
    assert f"{pets}/red/endless.jpg: not a regular file but a device" in done.stderr
    assert f"{pets}/blue/sparse.jpg: 21.5 GB, and at most 1 GB are read" in done.stderr
    assert "out-of-fold, n = 40" in done.stdout
    answers = run("predict", "classifier.safetensors", pets, "--format", "csv")
    assert answers.exit_code == 3
    assert answers.stdout.count("not a regular file but a") == 2
    judged = run("explain", "classifier.safetensors", pets, "--units", "1", "--json")
    assert judged.exit_code == 0, judged.output
    assert time.monotonic() - started < 60


def test_the_largest_size_is_the_users(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=20, blue=20)
    sizes = sorted(path.stat().st_size for path in folder.rglob("*.jpg"))
    fit = ("fit", folder, "--model", tiny_network, "--strategy", "frozen", "--max-file-size")
    assert run(*fit, sizes[-1]).exit_code == 0
    assert "images cannot be read" not in run(*fit, sizes[-1]).stderr
    refused = run(*fit, sizes[-1] - 1)
    assert f"{sizes[-1]:,} bytes, and at most {sizes[-1] - 1:,} bytes are read" in refused.stderr
    assert run("predict", "classifier.safetensors", folder, "--max-file-size", "10B").exit_code == 3


@pytest.mark.parametrize("size", ["big", "-1", "1XB", "", "nan", "1e400"])
def test_a_size_that_is_none(run: Run, photos: Photos, size: str) -> None:
    done = run("fit", photos(red=2, blue=2), "--max-file-size", size)
    assert done.exit_code == 2
    assert f"must be a size like 500MB or 20GB. Got {size!r}." in done.stderr


@pytest.mark.parametrize("name", ["pets.csv", "pets.parquet", "pets"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_data_that_is_no_file_or_folder(fails: Fails, tmp_path: Path, name: str, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    message = fails("fit", name)
    assert f"{name} is neither a folder nor an ordinary file (a pipe or a device)." in message


def test_a_pipe_among_parquet_files(fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    os.mkfifo(folder / "train-0.parquet")
    assert "is not a readable Parquet file: not a regular file but a pipe" in fails("fit", folder)


def test_a_pipe_in_a_flat_folder_is_not_passed_over(
    run: Run, photos: Photos, tmp_path: Path, tiny_network: str
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photos(red=20, blue=20).rglob("*.jpg"):
        path.rename(flat / f"{path.parent.name}.{path.stem}.jpg")
    os.mkfifo(flat / "red.99.jpg")
    done = run("fit", flat, "--model", tiny_network, "--strategy", "frozen")
    assert done.exit_code == 0, done.output
    assert f"{flat}/red.99.jpg: not a regular file but a pipe" in done.stderr


def test_rows_that_name_a_device(run: Run, photos: Photos, tmp_path: Path, tiny_network: str) -> None:
    folder = photos(red=12, blue=12)
    (folder / "endless.jpg").symlink_to("/dev/zero")
    rows = "".join(f"{path.relative_to(folder)},{path.parent.name}\n" for path in sorted(folder.rglob("*/*.jpg")))
    (tmp_path / "photos.csv").write_text(f"image,label\n{rows}endless.jpg,blue\n")
    fit = ("fit", tmp_path / "photos.csv", "--image-root", folder, "--model", tiny_network, "--strategy", "frozen")
    done = run(*fit)
    assert done.exit_code == 0, done.output
    assert f"{folder}/endless.jpg: not a regular file but a device" in done.stderr


def test_a_pipe_that_is_named_itself_has_its_row(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    folder = photos(red=20, blue=20)
    assert run("fit", folder, "--model", tiny_network, "--strategy", "frozen").exit_code == 0
    os.mkfifo(tmp_path / "pipe.jpg")
    for named in (["pipe.jpg", folder / "red" / "1.jpg"], ["*.jpg", folder / "red" / "1.jpg"]):
        done = run("predict", "classifier.safetensors", *named)
        assert done.exit_code == 3
        assert "pipe.jpg" in done.stdout
        assert "unreadable: not a regular file but a pipe" in done.stdout
        assert " red " in done.stdout
