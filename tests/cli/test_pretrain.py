"""`regraft pretrain` at the command line: a folder that `fit` takes, a card, and mistakes told in words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from regraft.progress import Observer
from regraft.training.checkpoints import Run as Checkpoints

Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]
QUICK = ["--input-size", "32", "--epochs", "2", "--train-batch-size", "8", "--device", "cpu"]


def test_pretrain_then_fit(run: Run, photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=20, blue=20)
    done = run(
        "pretrain", folder, "--arch", "test_resnet", *QUICK, "--out", "net", "--half", "--licence", "cc0-1.0", "--json"
    )
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["n"] == 4  # a tenth
    assert [one["epoch"] for one in told["curve"]] == [1, 2]
    assert told["images"] == 72  # 36 photos, twice
    low, high = told["accuracy_interval"]
    assert low <= told["accuracy"] <= high
    card = (tmp_path / "net" / "README.md").read_text()
    assert "cc0-1.0" in card
    assert f"accuracy | {told['accuracy']:.1%} | {low:.1%} to {high:.1%} |" in card
    assert "36 photos for training, 4 for validation" in card
    assert (tmp_path / "net" / "curves.svg").read_text().startswith("<svg")
    assert not (tmp_path / "net.unfinished").exists()
    small = run("fit", folder, "--model", "local-dir:net", "--strategy", "frozen", "--force", "--json")
    assert small.exit_code == 0, small.stderr
    assert json.loads(small.stdout)["model"] == "local-dir:net"


def test_going_on_from_weights_and_a_teacher_that_fit_wrote(
    run: Run, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    folder = photos("all/train", red=20, blue=20).parent
    photos("all/val", first_seed=500, red=4, blue=4)
    assert run("fit", folder, "--model", tiny_network, "--strategy", "frozen", "--out", "t.safetensors").exit_code == 0
    options = ["--epochs", "2", "--train-batch-size", "8", "--device", "cpu", "--teacher", "t.safetensors"]
    done = run("pretrain", folder, "--model", tiny_network, *options, "--out", "net")
    assert done.exit_code == 0, done.stderr
    assert "wrote net" in done.stderr
    assert "activations of 4 views" in done.stderr
    card = (tmp_path / "net" / "README.md").read_text()
    assert "The teacher, `t.safetensors`" in card
    assert "The weights: apache-2.0." in card  # as those say that training started from
    assert json.loads((tmp_path / "net" / "config.json").read_text())["pretrained_cfg"]["license"] == "apache-2.0"
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "net").glob("*[dn]"))  # no way home
    assert "--temperature | 2.0" in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name one of --arch (from random weights) and --model (going on from its weights). Got neither."),
        (["--arch", "test_resnet", "--model", "resnet50"], "Got both."),
        (["--arch", "test_resnet", "--weights", "w.pth"], "--weights goes with --model"),
        (["--model", "resnet50", "--input-size", "64"], "--input-size and --model-args go with --arch"),
        (["--arch", "test_resnet", "--input-size", "0"], "--input-size must be a number of pixels from 16 to"),
        (
            ["--arch", "test_resnet", "--model-args", '{"in_chans": 1}'],
            "in_chans must be 3, for photos are",
        ),
        (["--arch", "test_vit", "--model-args", '{"num_heads": 5}'], "Correct model_args in its config.json, or"),
        (["--arch", "test_resnet", "--seed", "99999999999"], "--seed must be a whole number from 0 to 4294967295"),
        (["--arch", "test_resnet", "--engine", "bogus"], "--engine must be one of auto"),
        (["--arch", "test_resnet", "--train-batch-size", "0"], "--train-batch-size must be a whole number from 1."),
        (["--arch", "test_resnet", "--out", "photos"], "--out photos holds other files, which might be overwritten."),
        (["--arch", "test_resnet", "--out", "."], "--out . holds other files, which might be overwritten."),
        (["--arch", "test_resnt"], "Did you mean 'test_resnet'"),
        (["--arch", "test_resnet", "--model-args", "[1]"], "--model-args must be a JSON object"),
        (["--arch", "test_resnet", "--model-args", '{"wings": 2}'], "cannot be built with the arguments {'wings': 2}"),
        (["--arch", "test_resnet", "--augment", "spin"], "--augment must be some of flip"),
        (["--arch", "test_resnet", "--teacher", "resnt50"], "There is no network named 'resnt50'"),
        (["--arch", "test_resnet", "--teacher", "none.safetensors"], "none.safetensors does not exist"),
        (["--arch", "test_resnet", "--teacher", "resnet50", "--temperature", "0"], "--temperature must be a number"),
        (["--arch", "test_resnet", "--out", "photos/red/0.jpg"], "is a file. Name a folder"),
        (
            ["--arch", "test_resnet", "--temperature", "4", "--views", "2", "--engine", "torch-float32"],
            "--temperature, --views, --engine: only with --teacher, which is not given. Leave it out, or name",
        ),
    ],
)
def test_mistakes_are_told_in_words(fails: Fails, photos: Photos, options: list[str], message: str) -> None:
    assert message in fails("pretrain", photos(red=12, blue=12), *options)


@pytest.mark.slow
def test_a_licence_is_of_the_weights_alone(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    """Weights from elsewhere do not get the licence that timm's own have, and another one is told beside it."""
    folder, options = photos(red=20, blue=20), ["--epochs", "1", "--train-batch-size", "8", "--device", "cpu"]
    weights = Path(tiny_network.removeprefix("local-dir:")) / "model.safetensors"
    assert run("pretrain", folder, "--model", tiny_network, "--weights", weights, *options, "--out", "a").exit_code == 0
    assert "The weights: not stated" in (tmp_path / "a" / "README.md").read_text()
    assert "license" not in json.loads((tmp_path / "a" / "config.json").read_text())["pretrained_cfg"]
    more = ["--licence", "cc0-1.0", "--out", "b"]
    assert run("pretrain", folder, "--model", tiny_network, *options, *more).exit_code == 0
    card = (tmp_path / "b" / "README.md").read_text()
    assert "The weights: cc0-1.0.\nThe weights that training started from: apache-2.0." in card
    assert json.loads((tmp_path / "b" / "config.json").read_text())["pretrained_cfg"]["license"] == "cc0-1.0"


@pytest.mark.slow
def test_a_folder_that_pretrain_wrote_is_written_anew(run: Run, photos: Photos) -> None:
    folder = photos(red=12, blue=12)
    for _ in range(2):
        assert run("pretrain", folder, "--arch", "test_resnet", *QUICK, "--epochs", "1", "--out", "net").exit_code == 0


def test_a_teacher_of_other_classes(run: Run, fails: Fails, photos: Photos, tiny_network: str) -> None:
    other = photos("other", green=12, grey=12)
    assert run("fit", other, "--model", tiny_network, "--strategy", "frozen", "--out", "t.safetensors").exit_code == 0
    message = fails("pretrain", photos(red=12, blue=12), "--arch", "test_resnet", "--teacher", "t.safetensors")
    assert (
        "--teacher t.safetensors was trained on other classes than the photos have. 4 are on one side only:" in message
    )


def test_an_unfinished_run_of_other_arguments(run: Run, fails: Fails, photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=12, blue=12)
    unfinished = tmp_path / "net.unfinished"
    Checkpoints(unfinished, {"--epochs": 7}, restart=False, observer=Observer()).save("job", {}, {})
    message = fails("pretrain", folder, "--arch", "test_resnet", *QUICK, "--out", "net")
    assert "holds an unfinished run that was started differently" in message
    assert "--epochs: 7 then, 2 now" in message
    assert run("pretrain", folder, "--arch", "test_resnet", *QUICK, "--out", "net", "--restart").exit_code == 0


def test_the_network_that_it_goes_on_from_is_not_overwritten(
    fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    net, folder = tmp_path / "net", photos(red=12, blue=12)
    shutil.copytree(tiny_network.removeprefix("local-dir:"), net)
    (net / "training.json").write_text("{}")  # as pretrain writes it
    before = (net / "model.safetensors").read_bytes()
    refused = "--out net/model.safetensors is a file that is read here: net/model.safetensors. Name another."
    for options in (
        ["--model", "local-dir:net"],
        ["--model", tiny_network, "--weights", "net/model.safetensors"],
        ["--arch", "test_resnet", "--teacher", "local-dir:net"],
    ):
        assert refused in fails("pretrain", folder, *options, "--out", "net")
    assert (net / "model.safetensors").read_bytes() == before


def test_a_teacher_that_is_no_classifier_is_told_before_a_photo_is_read(
    fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    folder = photos(red=12, blue=12)
    for photo in folder.rglob("*.jpg"):
        photo.write_bytes(b"")
    shutil.copy(Path(tiny_network.removeprefix("local-dir:")) / "model.safetensors", tmp_path / "t.safetensors")
    message = fails("pretrain", folder, "--arch", "test_resnet", "--teacher", "t.safetensors")
    assert "t.safetensors is a safetensors file, but not a regraft classifier." in message
