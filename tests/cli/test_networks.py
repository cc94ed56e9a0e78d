"""Several networks on the command line: joined, chosen from, refused, and what other commands make of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import regraft
from regraft.errors import DownloadError, OptionError
from regraft.features.depths import find_depths
from regraft.networks import registry
from regraft.networks.backbones import load_backbone
from regraft.networks.names import OFFLINE, POCKET
from regraft.networks.registry import networks_to_try

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "w.pth"], "--weights is a file of one network. Got 2 networks (--model)."),
        (["--report", "r", "--units", "2"], "--units shows one network. Got 2 (--model), whose features are joined."),
        (["--strategy", "top"], "--strategy top trains one network. Got 2 (--model), whose features are joined."),
        (["--strategy", "whole"], "--strategy whole trains one network."),
        (["--strategy", "scratch"], "--strategy scratch trains one network."),
        (["--train-from", "blocks.2"], "--train-from trains one network."),
        (["--train-only", "blocks.2"], "--train-only trains one network."),
        (["--lora", "4"], "--lora trains one network."),
        (["--epochs", "3"], "--epochs goes with training more than the last layer."),
        (["--budget", "5m"], "--budget goes with training more than the last layer."),
    ],
)
def test_what_joined_networks_cannot_do(
    fails: Fails, photos: Photos, tmp_path: Path, options: list[str], message: str
) -> None:
    folder = photos(red=8, blue=8)
    for photo in folder.rglob("*.jpg"):
        photo.write_bytes(b"")  # it is said before any photo is read
    (tmp_path / "w.pth").write_bytes(b"")
    assert message in fails("fit", folder, "--model", "resnet18", "--model", "pocket", *options)
    assert not (tmp_path / "r").exists()


def test_networks_that_are_named_wrongly(fails: Fails, photos: Photos) -> None:
    folder = photos(red=8, blue=8)
    twice = fails("fit", folder, "--model", "pocket", "--model", "pocket")
    assert "--model names the same network twice: pocket. Name each network once." in twice
    assert "--model auto chooses one of several networks. Got one, pocket." in fails(
        "fit", folder, "--model", "auto", "--model", "pocket"
    )
    for dry_run in ([], ["--dry-run"]):
        alias = fails("fit", folder, "--model", "offline", "--model", "efficientnet-lite0", *dry_run)
        assert "--model names the same network twice: efficientnet-lite0." in alias
        alias = fails("fit", folder, "--model", "auto", "--model", "offline", "--model", "efficientnet-lite0", *dry_run)
        assert "--model names the same network twice: efficientnet-lite0." in alias
    for command in (["compare", folder], ["embed", folder], ["similar", folder / "red" / "0.jpg", folder]):
        message = fails(*command, "--model", "auto")
        assert "'auto' is no network, but a choice that `regraft fit` makes of several. Name one network; " in message
    wrong = fails("fit", folder, "--model", "auto", "--model", "pocket", "--model", "resnet5O")
    assert "There is no network named 'resnet5O'. Did you mean" in wrong


@pytest.mark.slow
def test_a_joint_classifier_from_fit_to_predict(
    run: Run, fails: Fails, photos: Photos, *, tiny_network: str, other_network: str, tmp_path: Path
) -> None:
    folder = photos(red=10, blue=10)
    done = run("fit", folder, "--model", tiny_network, "--model", other_network, "--json", "--out", "j.safetensors")
    assert done.exit_code == 0, done.output
    name = f"{tiny_network} + {other_network}"
    assert f"network: {name}, strategy auto" in done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["strategy"], found["tried"]) == (name, "frozen", [])
    assert "regraft predict j.safetensors" in done.stderr

    predicted = run("predict", "j.safetensors", folder / "red" / "0.jpg")
    assert predicted.exit_code == 0, predicted.output
    assert "red" in predicted.stdout
    new = photos("new", first_seed=700, red=3, blue=3)
    evaluated = run("evaluate", "j.safetensors", new, "--json")
    assert json.loads(evaluated.stdout)["accuracy"] == 1.0
    damaged = photos("damaged", red=3, blue=3)
    for photo in damaged.rglob("*.jpg"):
        photo.write_bytes(b"")  # it is said before any photo is read
    student = fails("pretrain", damaged, "--arch", "test_resnet", "--teacher", "j.safetensors", "--out", "student")
    assert f"A teacher is of one network. Got a classifier that joins 2: {tiny_network.partition(':')[0]}" in student
    vectors = fails("embed", damaged, "--model", "j.safetensors", "--out", "f.npz")
    assert "A photo's vector is of one network. Got a classifier that joins 2: local-dir:" in vectors
    nearest = fails("similar", new / "red" / "0.jpg", damaged, "--model", "j.safetensors")
    assert "A photo's vector is of one network. Got a classifier that joins 2: local-dir:" in nearest
    assert not Path("f.npz").exists()
    with pytest.raises(OptionError, match=r"^A photo's vector is of one network\. Got a classifier that joins 2"):
        regraft.embed(damaged, model="j.safetensors")
    with pytest.raises(OptionError, match=r"^A photo's vector is of one network\. Got a classifier that joins 2"):
        regraft.similar(new / "red" / "0.jpg", damaged, model=regraft.load("j.safetensors"))


def test_one_of_several_is_chosen(run: Run, photos: Photos, tiny_network: str, other_network: str) -> None:
    folder = photos(red=10, blue=10)
    fit = ["fit", folder, "--model", "auto", "--model", tiny_network, "--model", other_network]
    done = run(*fit, "--strategy", "frozen", "--budget", "5m", "--json")
    assert done.exit_code == 0, done.output
    assert f"network: auto ({tiny_network}, {other_network}), strategy frozen" in done.stderr
    assert "within --budget (300 s)" in done.stderr
    found = json.loads(done.stdout)
    assert found["model"] in {tiny_network, other_network}
    assert {one["model"] for one in found["networks_tried"]} == {tiny_network, other_network}
    assert not Path("classifier.safetensors.unfinished").exists()


def test_dry_runs_of_several_networks(run: Run, photos: Photos, tiny_network: str, other_network: str) -> None:
    folder = photos(red=3, blue=3)
    fit = ["fit", folder, "--model", tiny_network, "--model", other_network, "--dry-run"]
    joined = run(*fit)
    assert joined.exit_code == 0, joined.output
    backbone = load_backbone(other_network)
    width = backbone.with_depths(find_depths(backbone)).width
    assert f"{other_network}: up to {width} features; a few seconds" in joined.stdout
    assert f"{other_network}: {width} features; " in run(*fit, "--features", "all").stdout
    assert f"{other_network}: {backbone.features} features; " in run(*fit, "--features", "last").stdout
    assert "a new last layer on the features of all together is trained, the networks stay as they are" in joined.stdout
    chosen = run(*fit, "--model", "auto")
    assert "a new last layer is tried on each; the cheapest that is not proven worse is taken" in chosen.stdout
    found = json.loads(run(*fit, "--json").stdout)
    assert found["photos"] == {"train": 6}
    assert [one["network"] for one in found["networks"]] == [tiny_network, other_network]
    assert [one["features"] for one in found["networks"]] == [width, width]
    assert found["not_timed"] == []


@pytest.mark.slow
def test_a_dry_run_of_a_choice_names_what_a_connection_would_add(run: Run, photos: Photos, offline: None) -> None:
    others = [one.name for one in registry.POPULAR if one.tried]
    assert others
    fit = ["fit", photos(red=3, blue=3), "--model", "auto", "--features", "last", "--dry-run"]
    done = run(*fit)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if others[0] in line]
    assert line.startswith("not timed, as nothing is downloaded here; with a connection `fit` tries them, too: ")
    assert line.endswith(": " + ", ".join(others))
    found = json.loads(run(*fit, "--json").stdout)
    assert found["not_timed"] == others
    assert {one["network"] for one in found["networks"]} == {POCKET, OFFLINE}


def test_without_a_connection_what_is_here_is_tried(offline: None) -> None:
    names, said = networks_to_try()
    assert names == [POCKET, OFFLINE]
    assert said.startswith(
        "networks to choose from: pocket, efficientnet-lite0 (others cannot be downloaded: no network: "
    )
    assert networks_to_try(fetch=False) == (
        [POCKET, OFFLINE],
        "networks to choose from: pocket, efficientnet-lite0 (nothing is downloaded)",
    )


def test_what_was_downloaded_before_is_tried_and_downloads_end_with_the_first_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def hub(model: str, *_: object, fetch: bool = True) -> Path:
        asked.extend([model] if fetch else [])
        if model == "resnet18.a1_in1k" or (fetch and model == "efficientnet_b0.ra_in1k"):
            return Path("weights")
        raise DownloadError("no", "it is not there")

    monkeypatch.setattr("regraft.networks.hub.hub_file", hub)
    assert networks_to_try(fetch=False)[0] == [POCKET, OFFLINE, "resnet18.a1_in1k"]
    names, said = networks_to_try()
    assert names == [POCKET, OFFLINE, "efficientnet_b0.ra_in1k", "resnet18.a1_in1k"]
    assert said.endswith(" (others cannot be downloaded: it is not there)")
    assert asked == ["efficientnet_b0.ra_in1k", registry.STRONG]
