"""`regraft export`: what it writes and says, and what it refuses before anything slow."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]


def test_a_classifier_in_another_format(run: Run, bundle: Path, tmp_path: Path) -> None:
    done = run("export", bundle, "--to", "openvino", "--check", tmp_path / "learned", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["out"], found["format"], found["int8"]) == (str(bundle.with_suffix(".xml")), "openvino", None)
    assert (found["photos"], found["same"], found["made_photos"]) == (24, 24, False)
    assert found["largest_difference"] < 1e-3
    assert found["bytes"] == sum(bundle.with_suffix(suffix).stat().st_size for suffix in (".xml", ".bin"))
    assert f"24 photos of {tmp_path / 'learned'}; labels: blue 12, red 12" in done.stderr
    assert f"wrote {bundle.with_suffix('.xml')} (openvino, " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "tflite"], "--to must be one of onnx, openvino, pt2. Got 'tflite'."),
        (["--to", "onnx", "--out", "a.pt2"], "--out must end in .onnx, which --to onnx writes. Got a.pt2."),
        (
            ["--to", "onnx", "--out", "no/a.onnx"],
            "--out no/a.onnx: the folder no does not exist. Create it: mkdir -p no",
        ),
        (["--to", "pt2", "--int8"], "--int8 is for --to onnx, --to openvino. Got --to pt2."),
        (
            ["--to", "onnx", "--int8"],
            "--int8 needs photos that it is calibrated and judged on: name them with --check, ",
        ),
        (["--to", "onnx", "--max-loss", "2"], "--max-loss is of --int8. Add that, or leave it out."),
        (["--to", "onnx", "--image-column", "a"], "--image-column and the like are of the table that --check names."),
        (["--to", "onnx", "--check", "nowhere"], "no image found for: nowhere."),
    ],
)
def test_refusals(fails: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in fails("export", "pets.safetensors", *arguments)


def test_a_file_that_is_there_is_not_replaced(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "pets.onnx").write_text("mine")
    assert "--out pets.onnx exists. Name another file, or replace it: --force." in fails(
        "export", "pets.safetensors", "--to", "onnx"
    )
    assert (tmp_path / "pets.onnx").read_text() == "mine"


def test_a_folder_instead_of_a_file(run: Run) -> None:
    done = run("export", "pets.safetensors", "--to", "onnx", "--out", "models/")
    assert done.exit_code == 2
    assert "models/ is a folder. Name a file in it, e.g. models/classifier.onnx." in done.stderr


def test_no_classifier(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no classifier")
    assert "notes.txt is damaged or not a safetensors file" in fails("export", "notes.txt", "--to", "pt2")
