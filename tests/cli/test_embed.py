"""`regraft embed`: the network's vectors in a file, with paths, labels and splits."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

import regraft

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
EXACT = ("--engine", "torch-float32")


@pytest.fixture
def pets(photos: Photos) -> Path:
    return photos("pets", red=3, blue=2)


def vectors_of(path: Path) -> np.ndarray:
    """Return the features in a Parquet file."""
    return np.stack(list(pd.read_parquet(path)["features"]))


def test_a_row_for_each_photo(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    done = run("embed", "pets", "--model", tiny_network, *EXACT)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("5 photos of pets; labels: blue 2, red 3\n")
    assert "\nwrote features.parquet (5 photos x 256 features, " in done.stderr
    assert done.stderr.endswith("; 5 photos went through the network)\n")
    frame = pd.read_parquet(tmp_path / "features.parquet")
    assert list(frame.columns) == ["path", "label", "features"]
    assert frame["path"].tolist() == [f"pets/{name}.jpg" for name in ("blue/0", "blue/1", "red/0", "red/1", "red/2")]
    assert frame["label"].tolist() == ["blue"] * 2 + ["red"] * 3
    found = regraft.embed(pets, model=tiny_network, engine="torch-float32")
    assert np.array_equal(np.stack(list(frame["features"])), found.features)
    about = json.loads(pq.read_schema(tmp_path / "features.parquet").metadata[b"regraft"])
    assert about["model"] == f"local-dir:{Path(tiny_network.partition(':')[2]).name}"  # as in a classifier's file


def test_npz_json_splits_and_photos_without_labels(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    photos("data/train", red=2, blue=2)
    photos("data/test", 50, red=1)
    (tmp_path / "data" / "test" / "red" / "0.jpg").rename(tmp_path / "data" / "test" / "7.jpg")
    (tmp_path / "data" / "test" / "red").rmdir()
    done = run("embed", "data", "--model", tiny_network, "--out", "f.npz", "--json", *EXACT)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures.pop("seconds") > 0
    assert len(figures.pop("weights")) == 64
    assert figures == {
        "out": "f.npz",
        "photos": 5,
        "model": tiny_network,
        "engine": "torch-cpu-float32",
        "depths": "last",
        "features": 256,
        "labels": {"blue": 2, "red": 2},
        "splits": {"train": 4, "test": 1},
        "unreadable": [],
        "computed": 5,
    }
    with np.load("f.npz") as file:
        assert file["path"].tolist()[0] == "data/test/7.jpg"
        assert file["label"].tolist() == ["", "blue", "blue", "red", "red"]
        assert file["split"].tolist() == ["test"] + ["train"] * 4
        assert file["features"].shape == (5, 256)


def test_the_network_of_a_classifier(run: Run, bundle: Path, pets: Path, tmp_path: Path) -> None:
    done = run("embed", pets, "--model", bundle.name, "--features", "all", *EXACT)
    assert done.exit_code == 0, done.output
    fitted = regraft.load(bundle).classifier_
    probabilities = fitted.probabilities(vectors_of(tmp_path / "features.parquet"))
    assert probabilities.argmax(axis=1).tolist() == [0, 0, 1, 1, 1]


def test_the_default_network(run: Run, pets: Path, offline: None) -> None:
    done = run("embed", pets)
    assert done.exit_code == 0, done.output
    assert "network: efficientnet-lite0, which is installed with regraft, for " in done.stderr


def test_a_table_with_its_columns(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    rows = ["file,diagnosis,part", "red/1.jpg,nv,train", "blue/0.jpg,,test", "red/1.jpg,nv,train"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    options = ("--label-column", "diagnosis", "--split-column", "part", "--image-root", "pets")
    done = run("embed", "t.csv", *options, "--model", tiny_network, *EXACT)
    assert done.exit_code == 0, done.output
    frame = pd.read_parquet(tmp_path / "features.parquet")
    assert frame["path"].tolist() == ["pets/red/1.jpg", "pets/blue/0.jpg", "pets/red/1.jpg"]
    assert frame["label"].fillna("").tolist() == ["nv", "", "nv"]
    assert frame["split"].tolist() == ["train", "test", "train"]
    found = vectors_of(tmp_path / "features.parquet")
    assert np.array_equal(found[0], found[2])
    assert done.stderr.endswith("; 2 photos went through the network)\n")
    assert run("embed", "t.csv", "--group-column", "part").exit_code == 2  # nothing is split


def test_its_file_is_a_table_that_other_commands_read(run: Run, pets: Path, tiny_network: str) -> None:
    assert run("embed", "pets", "--model", tiny_network).exit_code == 0
    done = run("fit", "features.parquet", "--model", tiny_network, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    assert "train: 5 photos of 2 classes: blue 2, red 3" in done.stderr


# --- photos that cannot be read ---


def test_unreadable_photos_are_named_and_left_out(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    (pets / "red" / "0.jpg").write_text("no image")
    cut = pets / "blue" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (pets / "red" / "z\n\x1b.jpg").write_bytes(b"")
    done = run("embed", "pets", "--model", tiny_network, "--json")
    assert done.exit_code == 3
    frame = pd.read_parquet(tmp_path / "features.parquet")
    assert frame["path"].tolist() == ["pets/blue/0.jpg", "pets/red/1.jpg", "pets/red/2.jpg"]
    assert (vectors_of(tmp_path / "features.parquet") != 0).any(axis=1).all()
    figures = json.loads(done.stdout)
    assert figures["unreadable"] == ["pets/blue/1.jpg", "pets/red/0.jpg", "pets/red/z\n\x1b.jpg"]
    assert figures["labels"] == {"blue": 1, "red": 2}
    lines = done.stderr.splitlines()[-3:]
    assert lines[0].startswith("unreadable: pets/blue/1.jpg: ")
    assert lines[1].startswith("unreadable: pets/red/0.jpg: not an image, or damaged at its start")
    assert lines[2] == r"unreadable: pets/red/z\n\x1b.jpg: the file is empty"


def test_no_photo_that_can_be_read(fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    (photos("pets", red=1) / "red" / "0.jpg").write_text("no image")
    message = fails("embed", "pets", "--model", tiny_network)
    assert "pets: none of the 1 photos can be read:\n  pets/red/0.jpg: not an image" in message
    assert not (tmp_path / "features.parquet").exists()


def test_an_empty_folder(fails: Fails, tmp_path: Path, tiny_network: str) -> None:
    (tmp_path / "pets").mkdir()
    assert "no image found for: pets. Name image files, folders" in fails("embed", "pets", "--model", tiny_network)


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_hostile_names(run: Run, pets: Path, tiny_network: str, tmp_path: Path, ending: str) -> None:
    names = ["=1+1.jpg", "a\n\x1b[2J.jpg", "猫.jpg", os.fsdecode(b"\xe9.jpg")]
    folder = tmp_path / "new" / "cl\x1b\nass"
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(pets / "red" / "0.jpg", folder / name)
    done = run("embed", "new", "--model", tiny_network, "--out", f"f.{ending}")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert r"labels: cl\x1b\nass 4" in done.stderr
    if ending == "parquet":
        frame = pd.read_parquet(tmp_path / "f.parquet")
        found, labels = frame["path"].tolist(), frame["label"].tolist()
        names[3] = "\\udce9.jpg"  # bytes that are no UTF-8, which Parquet's text is
    else:
        with np.load(tmp_path / "f.npz") as file:
            found, labels = file["path"].tolist(), file["label"].tolist()
    assert sorted(found) == sorted(f"new/cl\x1b\nass/{name}" for name in names)
    assert set(labels) == {"cl\x1b\nass"}


# --- the file ---


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("f.csv", "--out must end in .parquet or .npz. Got f.csv. Thousands of numbers a photo are no text: name it"),
        ("f", "--out must end in .parquet or .npz. Got f."),
        ("gone/f.npz", "--out gone/f.npz: the folder gone does not exist. Create it: mkdir -p gone"),
        ("pets/f.parquet", "--out pets/f.parquet would lie in pets itself, which other commands would then take for a"),
    ],
)
def test_files_that_cannot_be_written(fails: Fails, pets: Path, tiny_network: str, out: str, message: str) -> None:
    assert message in fails("embed", "pets", "--model", tiny_network, "--out", out)
    assert not (pets.parent / "cache").exists()  # no photo has gone through the network
    assert sorted(path.name for path in pets.iterdir()) == ["blue", "red"]


@pytest.mark.parametrize("out", ["data/f.parquet", "data/train/f.parquet", "data/train/../train/f.parquet"])
def test_no_folder_of_class_folders_becomes_a_table(fails: Fails, photos: Photos, tiny_network: str, out: str) -> None:
    photos("data/train", red=2, blue=2)
    message = fails("embed", "data", "--model", tiny_network, "--out", out)
    folder = out.removesuffix("/f.parquet")
    assert f"--out {out} would lie in {folder} itself, which other commands would then take for a folder" in message
    assert message.rstrip().endswith("Name a place outside of data.")
    assert not Path(out).exists()


def test_a_folder_without_folders_may_hold_the_file(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos("data", red=2, blue=2)
    (folder / "vectors").mkdir()
    for out in ("data/vectors/f.parquet", "data/red/f.parquet"):
        done = run("embed", "data/red", "--model", tiny_network, "--out", out)
        assert done.exit_code == 0, done.output
    assert run("embed", "data", "--model", tiny_network, "--out", "data/vectors/f.parquet").exit_code == 0


def test_a_folder_is_no_file(run: Run, fails: Fails, pets: Path, tiny_network: str) -> None:
    done = run("embed", "pets", "--model", tiny_network, "--out", "results/")
    assert done.exit_code == 2
    assert "results/ is a folder. Name a file in it, e.g. results/features.parquet." in done.stderr
    (pets / "f.npz").mkdir()
    assert "--out pets/f.npz is a folder. Name a file" in fails("embed", "pets", "--out", "pets/f.npz")


def test_beside_photos_it_is_no_table_of_them(run: Run, pets: Path, tiny_network: str) -> None:
    done = run("embed", "pets/red", "--model", tiny_network, "--out", "pets/red/f.parquet")
    assert done.exit_code == 0, done.output
    assert run("embed", "pets/red", "--model", tiny_network, "--out", "pets/red/f.parquet").exit_code == 0


def test_what_is_read_is_not_overwritten(run: Run, fails: Fails, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    assert run("embed", "pets", "--model", tiny_network).exit_code == 0
    before = (tmp_path / "features.parquet").read_bytes()
    message = fails("embed", "features.parquet", "--model", tiny_network)
    assert "--out features.parquet is a file that is read here: features.parquet. Name another." in message
    (tmp_path / "link.parquet").symlink_to("features.parquet")
    message = fails("embed", "features.parquet", "--model", tiny_network, "--out", "link.parquet")
    assert "--out link.parquet is a file that is read here: features.parquet." in message
    assert (tmp_path / "features.parquet").read_bytes() == before


def test_an_older_file_is_replaced_whole_or_not_at_all(
    run: Run, pets: Path, tiny_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f.parquet"
    file.write_text("older")
    with monkeypatch.context() as patched:
        patched.setattr("regraft.features.passes.load_batches", None)  # it fails in the middle
        assert isinstance(run("embed", "pets", "--model", tiny_network, "--out", "f.parquet").exception, TypeError)
    assert file.read_text() == "older"
    assert run("embed", "pets", "--model", tiny_network, "--out", "f.parquet").exit_code == 0
    assert len(pd.read_parquet(file)) == 5
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


# --- the cache ---


def test_the_second_time_all_comes_from_the_cache(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    first = run("embed", pets, "--model", tiny_network, "--json", "--out", "a.npz")
    second = run("embed", pets, "--model", tiny_network, "--json", "--out", "b.npz")
    assert [json.loads(done.stdout)["computed"] for done in (first, second)] == [5, 0]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert "went through the network" in first.stderr
    assert "images in" not in second.stderr


def test_no_cache_leaves_nothing_and_gives_the_same(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    assert run("embed", pets, "--model", tiny_network, "--no-cache", *EXACT).exit_code == 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    alone = vectors_of(tmp_path / "features.parquet")
    assert run("embed", pets, "--model", tiny_network, *EXACT).exit_code == 0
    np.testing.assert_allclose(vectors_of(tmp_path / "features.parquet"), alone, rtol=0, atol=1e-5 * alone.max())


@pytest.mark.slow
def test_two_processes_at_once(pets: Path, tiny_network: str, tmp_path: Path) -> None:
    """They write one file and one cache; whoever is last wins, and no file is half of each."""
    command = [sys.executable, "-m", "regraft", "embed", "pets", "--model", tiny_network, "--out", "f.parquet"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    frame = pd.read_parquet(tmp_path / "f.parquet")
    assert frame["label"].tolist() == ["blue"] * 2 + ["red"] * 3
    assert np.isfinite(vectors_of(tmp_path / "f.parquet")).all()


# --- what cannot be meant ---


def test_models_and_weights(fails: Fails, pets: Path) -> None:
    assert "--weights is a file of one network: name it with --model." in fails("embed", pets, "--weights", "w.pth")
    message = fails("embed", pets, "--model", "pest.safetensors")
    assert "pest.safetensors does not exist. Name a file that `regraft fit` wrote, or a network." in message
    assert "There is no network named 'resnet5O'. Did you mean 'resnet50'" in fails(
        "embed", pets, "--model", "resnet5O"
    )
    message = fails("embed", pets, "--label-column", "x")
    assert "--image-column, --label-column, --split-column and --image-root are for tables. " in message
