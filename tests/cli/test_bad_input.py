"""Every mistake that a user is known to make: one clear message, no traceback, exit code 1, nothing left behind."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from typer.testing import Result

from regraft.classifier.bundle import read_description

Fails = Callable[..., str]
Photos = Callable[..., Path]


def test_no_such_path(fails: Fails, tiny_network: str) -> None:
    message = fails("fit", "nowhere", "--model", tiny_network)
    assert (
        "nowhere does not exist. Name a folder of photos, a .csv or .tsv file, a .parquet file, or a .tar file."
        in message
    )


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_engine_that_there_is_not(
    fails: Fails, tiny_network: str, photos: Photos, tmp_path: Path, command: str
) -> None:
    message = fails(command, photos(red=3, blue=3), "--model", tiny_network, "--engine", "nonsense")
    assert message.strip() == (
        "error: --engine must be one of auto, torch-float32, torch-bfloat16, torch-float16, openvino-float32, "
        "openvino-bfloat16. Got 'nonsense'."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]  # no cache, no classifier


@pytest.mark.parametrize(
    "command", [["fit"], ["evaluate", "x.safetensors"], ["explain", "pocket"], ["compare"], ["embed"]]
)
def test_many_names_where_one_folder_is_meant(run: Callable[..., Result], command: list[str]) -> None:
    ended = run(*command, *(f"photos/cat.{number}.jpg" for number in range(100)))
    assert ended.exit_code == 2
    assert "Name one folder (or table): all photos below it are read. A pattern such as *.jpg becomes many names" in (
        ended.stderr
    )
    assert "cat.99.jpg" not in ended.stderr
    assert "Name one folder" not in run("demo", "photos").stderr


def test_empty_folder(fails: Fails, tiny_network: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    message = fails("fit", "photos", "--model", tiny_network)
    assert "photos holds no images. Expected one sub-folder of images per class" in message


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_parquet_folder_without_a_training_split(fails: Fails, tiny_network: str, tmp_path: Path, command: str) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "test-00000-of-00001.parquet").touch()
    message = fails(command, "hub", "--model", tiny_network)
    assert "hub has no train split. It has: test. Add a folder (or Parquet files) of that name" in message


def test_one_class_only(fails: Fails, tiny_network: str, photos: Photos) -> None:
    message = fails("fit", photos(red=3), "--model", tiny_network)
    assert "has one class only: 'red' (3 images). A classifier needs at least two" in message


def test_class_with_one_image(fails: Fails, tiny_network: str, photos: Photos) -> None:
    message = fails("fit", photos(red=3, blue=1, grey=1), "--model", tiny_network)
    assert "2 of 3 classes have fewer than two images" in message
    assert "blue" in message
    assert "grey" in message


def test_label_column_missing(fails: Fails, tiny_network: str, photos: Photos, tmp_path: Path) -> None:
    photos(red=1)
    (tmp_path / "table.csv").write_text("file,diagnosis\nphotos/red/0.jpg,red\n")
    message = fails("fit", "table.csv", "--model", tiny_network, "--label-column", "diagnosys")
    assert "--label-column 'diagnosys' is not there. Did you mean 'diagnosis'?" in message
    assert "Its columns are: file, diagnosis." in message


@pytest.mark.parametrize(("missing", "unnamed"), [(3, 0), (25, 5)])
def test_csv_rows_without_files(fails: Fails, tiny_network: str, tmp_path: Path, missing: int, unnamed: int) -> None:
    rows = [f"gone{number}.jpg,red" for number in range(missing)]
    (tmp_path / "table.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    message = fails("fit", "table.csv", "--model", tiny_network)
    assert f"{missing} of {missing} rows name no image file" in message
    assert message.count("is missing") == missing - unnamed
    assert ("and 5 more" in message) == bool(unnamed)
    assert "--image-root" in message


def test_same_file_under_two_classes(fails: Fails, tiny_network: str, photos: Photos) -> None:
    folder = photos(red=4, blue=4)
    shutil.copy(folder / "red" / "0.jpg", folder / "blue" / "copy.jpg")
    message = fails("fit", folder, "--model", tiny_network)
    assert "1 images stand under more than one class" in message
    assert f"{folder / 'red' / '0.jpg'} (red)" in message
    assert f"{folder / 'blue' / 'copy.jpg'} (blue)" in message


def test_unknown_network(fails: Fails, photos: Photos) -> None:
    message = fails("fit", photos(red=2, blue=2), "--model", "resnet5O")
    assert "There is no network named 'resnet5O'. Did you mean" in message
    assert "'resnet50'" in message
    assert "`regraft models PATTERN` lists the names." in message


def test_weights_of_another_architecture(fails: Fails, photos: Photos, tmp_path: Path, tiny_network: str) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "other.pth")
    message = fails("fit", photos(red=2, blue=2), "--model", tiny_network, "--weights", "other.pth")
    assert "other.pth holds weights of another architecture than test_efficientnet." in message
    assert "tensors missing:" in message
    assert "conv_stem.weight" in message
    assert "tensors extra:" in message
    assert "bn1.running_mean" in message


def test_disk_full(fails: Fails, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = photos(red=8, blue=8)
    monkeypatch.setattr(Path, "write_bytes", half)
    message = fails("fit", folder, "--model", tiny_network, "--out", "model.safetensors")
    assert "model.safetensors could not be written: the disk is full. Nothing was left half-written" in message
    assert [path.name for path in folder.parent.iterdir() if "model" in path.name] == []


def test_disk_full_keeps_the_older_file(
    fails: Fails, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_text("older")

    def nothing(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = photos(red=8, blue=8)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", nothing)
        fails("fit", folder, "--model", tiny_network, "--out", "model.safetensors")
    assert (tmp_path / "model.safetensors").read_text() == "older"


def test_output_in_a_missing_folder_fails_before_training(
    fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    message = fails("fit", photos(red=4, blue=4), "--model", tiny_network, "--out", "results/model.safetensors")
    assert "the folder results does not exist. Create it: mkdir -p results" in message
    assert not (tmp_path / "cache").exists()  # no photo has gone through the network


def test_output_that_is_a_folder(fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    message = fails("fit", photos(red=2, blue=2), "--model", tiny_network, "--out", tmp_path)
    assert "is a folder. Name a file in it" in message


def test_too_many_unreadable(fails: Fails, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=4, blue=4)
    (folder / "red" / "9.jpg").write_text("no image")
    message = fails("fit", folder, "--model", tiny_network)
    assert "1 of 9 images cannot be read, more than 10%" in message
    assert f"{folder / 'red' / '9.jpg'}: not an image, or damaged at its start" in message


def test_shuffled_labels(fails: Fails, tiny_network: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / ("heads" if generator.random() < 0.5 else "tails")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    message = fails("fit", "photos", "--model", tiny_network, "--strategy", "frozen")
    assert "not clearly better than always saying the largest class" in message
    assert "Likely reasons: labels that do not belong to their photos" in message
    assert "preprocessing" in message
    assert not (tmp_path / "classifier.safetensors").exists()


def test_unknown_strategy_positive_and_device(fails: Fails, photos: Photos, tiny_network: str) -> None:
    fit = ["fit", photos(red=2, blue=2), "--model", tiny_network]
    assert "--strategy must be one of auto, frozen, top, whole, scratch. Got 'thawed'." in fails(
        *fit, "--strategy", "thawed"
    )
    assert "--positive must be one of blue, red. Got 'rad'. Did you mean 'red'?" in fails(*fit, "--positive", "rad")
    assert "--device must be one of auto, cpu, cuda, mps. Got 'tpu'." in fails(*fit, "--device", "tpu")
    assert "or a numbered one (cuda:0). Got 'cpu:abc'." in fails(*fit, "--device", "cpu:abc")


def test_column_options_with_a_folder(fails: Fails, photos: Photos, tiny_network: str) -> None:
    message = fails("fit", photos(red=2, blue=2), "--model", tiny_network, "--label-column", "diagnosis")
    assert "are for tables" in message


@pytest.mark.parametrize("command", [["evaluate", "gone.safetensors", "."], ["predict", "gone.safetensors", "."]])
def test_no_such_bundle(fails: Fails, photos: Photos, command: list[str]) -> None:
    photos(red=2, blue=2)
    assert "gone.safetensors does not exist. Name a file that `regraft fit` wrote." in fails(*command)


def test_nothing_to_predict(fails: Fails) -> None:
    message = fails("predict", "model.safetensors", "nowhere", "*.gif")
    assert "no image found for: nowhere, *.gif. Name image files, folders of them, tables, or quoted globs." in message


def test_file_that_may_not_be_read(fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(arguments: list[str], _: object) -> list[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", arguments[0])

    monkeypatch.setattr("regraft.cli.predict.find_photos", refuses)
    message = fails("predict", "model.safetensors", "shut")
    assert message == "error: shut: Permission denied. Check that it exists and that you may use it.\n"


@pytest.mark.slow
def test_file_names_that_are_no_utf8(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    folder = photos(red=40, blue=40)
    odd = os.fsencode(folder / "red") + b"/\xe9t\xe9.jpg"
    with open(odd, "wb") as file:  # noqa: PTH123 (Path takes no bytes)
        file.write(b"no image")

    def regraft(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "regraft", *arguments], cwd=tmp_path, capture_output=True, check=False
        )

    fit = regraft("fit", "photos", "--model", tiny_network, "--strategy", "frozen", "--json")
    assert fit.returncode == 0, fit.stderr.decode()
    assert rb"photos/red/\udce9t\udce9.jpg" in fit.stdout + fit.stderr
    assert [os.fsencode(name) for name in json.loads(fit.stdout)["unreadable"]] == [b"photos/red/\xe9t\xe9.jpg"]
    assert read_description(tmp_path / "classifier.safetensors")["numbers"]["unreadable"] == [
        os.fsdecode(b"red/\xe9t\xe9.jpg")  # its class, without the folders of whoever made it
    ]
    for options in ([], ["--out", "answers.csv"], ["--format", "jsonl"]):
        told = regraft("predict", "classifier.safetensors", "photos", "--format", "csv", *options)
        assert told.returncode == 3, told.stderr.decode()  # one cannot be read
        assert b"Traceback" not in told.stderr
    with (tmp_path / "answers.csv").open(encoding="utf-8", newline="") as table:
        (unread,) = [row for row in csv.DictReader(table) if "udce9" in row["file"]]
    told = {"file": r"photos/red/\udce9t\udce9.jpg", "error": "not an image, or damaged at its start"}
    assert unread == dict.fromkeys(unread, "") | told  # nothing is made up for it


def test_wrong_usage_is_exit_code_2(run: Callable[..., object]) -> None:
    done = run("fit")
    assert done.exit_code == 2  # type: ignore[attr-defined]
    assert "Missing argument" in done.stderr  # type: ignore[attr-defined]
