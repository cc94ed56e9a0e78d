"""`regraft explain` and `regraft fit --report`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]


@pytest.fixture
def pets(photos: Callable[..., Path]) -> Path:
    return photos("pets", red=10, blue=10)


@pytest.fixture
def bundle(run: Run, pets: Path, tiny_network: str, tmp_path: Path, fitted_files: dict[str, bytes]) -> Path:
    out = tmp_path / "pets.safetensors"
    key = f"{tiny_network}, frozen, pets"
    if key not in fitted_files:
        done = run("fit", pets, "--model", tiny_network, "--strategy", "frozen", "--out", out)
        assert done.exit_code == 0, done.output
        fitted_files[key] = out.read_bytes()
    out.write_bytes(fitted_files[key])
    return out


@pytest.mark.slow
def test_a_classifier_and_the_photos_it_knows(run: Run, bundle: Path, pets: Path, tmp_path: Path) -> None:
    done = run("explain", bundle, pets, "--units", 2, "--out", tmp_path / "new" / "report")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "new" / "report" / "report.html").read_text()
    assert "trained on every one of these photos" in text
    assert "The figures when it was fitted" in text
    assert "The figures on these photos" not in text
    assert "wrote " in done.stderr
    assert "photos through random weights: 20 images" in done.stderr


@pytest.mark.slow
def test_a_classifier_and_photos_that_it_does_not_know(
    run: Run, bundle: Path, photos: Callable[..., Path], tmp_path: Path
) -> None:
    others = photos("others", first_seed=500, red=6, blue=6)
    done = run("explain", bundle, others, "--units", 1, "--out", tmp_path / "report", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["out"] == str(tmp_path / "report" / "report.html")
    text = Path(told["out"]).read_text()
    assert "None of these photos took part in training." in text
    assert "The figures on these photos" in text


@pytest.mark.slow
def test_photos_without_labels(run: Run, bundle: Path, pets: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(pets.rglob("*.jpg"))):
        shutil.copy(path, flat / f"{'x' * (number + 1)}.jpg")
    done = run("explain", bundle, flat, "--units", 1, "--out", tmp_path / "report", "--json")
    assert done.exit_code == 0, done.output
    assert "20 photos of" in done.stderr
    assert "without labels" in done.stderr
    told = json.loads(done.stdout)
    assert told["depth"] == {}
    assert any("have no labels" in note for note in told["notes"])
    answered = {name for stage in told["stages"] for unit in stage["units"] for name in unit["classes"]}
    assert answered <= {"blue", "red"}
    assert "patches are answered " in Path(told["out"]).read_text()


def test_a_network_alone(run: Run, tiny_network: str, pets: Path, tmp_path: Path) -> None:
    done = run("explain", tiny_network, pets, "--stage", "blocks.1", "--units", 2, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report" / "report.html").read_text()
    assert "Where it looks" not in text
    assert "How far the network carries" in text
    assert done.stdout.strip() in text.replace("&#39;", "'")


def test_a_network_alone_and_photos_without_labels(run: Run, tiny_network: str, pets: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (pets / "red").iterdir():
        shutil.copy(path, flat / f"{'x' * (int(path.stem) + 1)}.jpg")
    done = run("explain", tiny_network, flat, "--units", 1, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report" / "report.html").read_text()
    assert "<title>What excites test_efficientnet</title>" in text
    assert "patches are" not in text
    assert "the units that vary most between photos" in text


def test_photos_of_one_class_tell_nothing_of_depth(
    run: Run, tiny_network: str, photos: Callable[..., Path], tmp_path: Path
) -> None:
    done = run("explain", tiny_network, photos("one", red=6), "--units", 1, "--out", tmp_path / "report", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["depth"] == {}
    assert "How far the network carries is not shown: all photos are of one class." in told["notes"]


@pytest.mark.slow
def test_training_that_is_compared_with_before(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    out = tmp_path / "pets.safetensors"
    assert run("fit", pets, "--model", tiny_network, "--strategy", "top", "--epochs", 1, "--out", out).exit_code == 0
    explain = ("explain", out, pets, "--units", 1, "--out", tmp_path / "report", "--json")
    done = run(*explain)
    assert "name it with --before local-dir:FOLDER" in done.stderr  # the file holds no folder
    assert json.loads(done.stdout)["moved"] == {}
    done = run(*explain, "--before", tiny_network)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert max(told["moved"].values()) > 0
    assert set(told["depth"]) == {"pretrained", "random weights"}


@pytest.mark.slow
def test_another_network_than_it_was_trained_from_is_not_taken_for_it(
    run: Run, pets: Path, tiny_network: str, other_network: str, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(tiny_network.removeprefix("local-dir:"), folder)
    out = tmp_path / "pets.safetensors"
    fit = ("fit", pets, "--model", f"local-dir:{folder}", "--strategy", "top", "--epochs", 1, "--out", out)
    assert run(*fit).exit_code == 0
    shutil.rmtree(folder)
    done = run("explain", out, pets, "--units", 1, "--out", tmp_path / "report", "--json")
    told = json.loads(done.stdout)
    assert told["moved"] == {}
    assert any("name it with --before NETWORK" in note for note in told["notes"])
    done = run("explain", out, pets, "--units", 1, "--before", tiny_network, "--out", tmp_path / "report", "--json")
    assert max(json.loads(done.stdout)["moved"].values()) > 0


def test_fit_writes_a_report_too(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    out, report = tmp_path / "pets.safetensors", tmp_path / "report"
    done = run("fit", pets, "--model", tiny_network, "--strategy", "frozen", "--out", out, "--report", report, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    text = (report / "report.html").read_text()
    assert f"{100 * told['accuracy']:.1f} %" in text
    assert "by a classifier that learned without it (out-of-fold)" in text
    assert "What the units see" not in text
    assert "photos through the pretrained network: 20 images" in done.stderr


@pytest.mark.slow
def test_fit_shows_units_if_they_are_asked_for(
    run: Run, fails: Fails, pets: Path, tiny_network: str, tmp_path: Path
) -> None:
    fit = ("fit", pets, "--model", tiny_network, "--strategy", "frozen", "--out", tmp_path / "pets.safetensors")
    done = run(*fit, "--report", tmp_path / "report", "--units", 1)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report" / "report.html").read_text()
    assert "What the units see" in text
    assert ">unit " in text
    assert "--units 1 goes with --report, which shows them. Add --report FOLDER, or leave it out." in fails(
        *fit, "--units", 1
    )


@pytest.mark.slow
def test_joined_networks_have_a_report_of_their_answers(
    run: Run, pets: Path, tiny_network: str, other_network: str, tmp_path: Path
) -> None:
    out, networks = tmp_path / "pets.safetensors", ("--model", tiny_network, "--model", other_network)
    done = run("fit", pets, *networks, "--out", out, "--report", tmp_path / "report", "--json")
    assert done.exit_code == 0, done.output
    again = run("explain", out, pets, "--out", tmp_path / "again", "--json")
    assert again.exit_code == 0, again.output
    for folder in ("report", "again"):
        text = (tmp_path / folder / "report.html").read_text()
        assert f"{100 * json.loads(done.stdout)['accuracy']:.1f} %" in text
        assert "Confusion matrix" in text
        assert "Would more photos help?" in text
        assert "Several networks are joined under one last layer" in text
        assert "Where it looks" not in text
    assert json.loads(again.stdout)["stages"] == []


def test_a_test_folder_is_not_read(run: Run, bundle: Path, photos: Callable[..., Path], tmp_path: Path) -> None:
    photos("split/train", red=6, blue=6)
    photos("split/test", first_seed=700, red=3, blue=3)
    done = run("explain", bundle, tmp_path / "split", "--units", 1, "--out", tmp_path / "report", "--json")
    assert done.exit_code == 0, done.output
    shown = {name for stage in json.loads(done.stdout)["stages"] for unit in stage["units"] for name in unit["photos"]}
    assert shown
    assert not any("/test/" in name for name in shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["gone.safetensors", "pets"],
            "gone.safetensors does not exist. Did you mean 'pets.safetensors'? Name a file",
        ),
        (["pets.safetensor", "pets"], "pets.safetensor does not exist. Did you mean 'pets.safetensors'?"),
        (["pets.safetensors", "pets", "--weights", "w.pt"], "--weights is for a network, and pets.safetensors is a"),
        (["pets.safetensors", "pets/red/0.jpg"], "pets/red/0.jpg is one photo. Name the folder that it lies in."),
        (["resnet5O", "pets"], "There is no network named 'resnet5O'. Did you mean 'resnet50'"),
        (["pets.safetensors", "nowhere"], "nowhere does not exist"),
        (
            ["pets.safetensors", "pets", "--units", "0", "--stage", "blocks.1"],
            "--stage goes with --units of 1 or more.",
        ),
        (["pets.safetensors", "pets", "--stage", "blocks"], "--stage must be a stage with a map of units: "),
        (
            ["pets.safetensors", "pets", "--method", "cam"],
            "--method must be one of auto, deconvnet, guided. Got 'cam'.",
        ),
        (["pets.safetensors", "pets", "--before", "resnet5O"], "There is no network named 'resnet5O'"),
        (["pets.safetensors", "pets", "--out", "pets.safetensors"], "--out pets.safetensors is a file. Name a folder"),
        (["pets.safetensors", "pets", "--before", "resnet18"], "this one's is as it was pretrained. Leave it out."),
        (["pets.safetensors", "kept"], "kept has a test split only, which is kept for `regraft evaluate`."),
        (["pets.safetensors", "others"], "has 1 class that the model does not know: green"),
    ],
)
@pytest.mark.usefixtures("bundle")
def test_mistakes_are_named(
    fails: Callable[..., str], photos: Callable[..., Path], arguments: list[str], message: str
) -> None:
    photos("others", red=3, green=3)
    photos("kept/test", red=3, blue=3)
    assert message in fails("explain", *arguments)
    assert not Path("report").exists()  # nothing was written: no empty folder stays


def test_the_place_of_the_report_is_checked_before_training(
    fails: Callable[..., str], pets: Path, tiny_network: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    message = fails("fit", pets, "--model", tiny_network, "--report", tmp_path / "taken")
    assert "--report" in message
    assert "is a file. Name a folder" in message
    assert not (tmp_path / "classifier.safetensors").exists()


def test_no_photo_is_overwritten(fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    photo = photos(red=3, blue=3) / "red" / "0.jpg"
    before = photo.read_bytes()
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "report.html").symlink_to(photo)
    message = fails("explain", tiny_network, "photos", "--out", "shown")
    assert "--out shown/report.html is a file that is read here: photos/red/0.jpg. Name another." in message
    (tmp_path / "shown" / "report.html").rename(tmp_path / "shown" / "units.html")
    message = fails("explain", tiny_network, "photos", "--out", "shown")
    assert "--out shown/units.html is a file that is read here: photos/red/0.jpg. Name another." in message
    assert photo.read_bytes() == before
