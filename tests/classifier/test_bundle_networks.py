"""The networks of a file: run without PyTorch as with it, built when they are asked for, and checked when read."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.conftest import photo
from tests.test_extras import HIDE

from regraft.classifier import bundle_networks
from regraft.classifier.bundle import _digest, load_bundle, read_description, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.evaluate import evaluate
from regraft.classifier.predict import Predictor
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.engines.graphs import graph_of
from regraft.errors import BundleError
from regraft.extras import EXTRAS
from regraft.features.depths import find_depths
from regraft.heads.linear import LinearHead
from regraft.networks.backbones import load_backbone
from regraft.networks.graph import Graph

BY_TORCH = Compute(engine="torch-float32", device="cpu", cache=False)


def classifier_of(width: int, **parts: Any) -> Classifier:
    """Return a classifier of two classes whose answers differ from photo to photo."""
    weight = np.random.default_rng(0).normal(0, 20, (2, width)).astype(np.float32)
    head = LinearHead(weight, np.zeros(2, np.float32), 1.0)
    return Classifier(head=head, classes=("blue", "red"), temperature=1.0, strategy="frozen", **parts)


@pytest.fixture(scope="module")
def bundles(tiny_network: str, other_network: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files of one network; of two with test-time views, the first with features of its depths; of an older
    regraft.
    """
    folder = tmp_path_factory.mktemp("bundles")
    tiny, other = load_backbone(tiny_network), load_backbone(other_network)
    deep = tiny.with_depths(find_depths(tiny))
    made = {
        "one": classifier_of(other.width, backbone=other, model="other"),
        "both": classifier_of(
            deep.width + other.width,
            backbone=deep,
            joined=(other,),
            joined_choices=(None,),
            first_depths=(0, 0),
            model="tiny + other",
            tta="flip",
        ),
        "older": classifier_of(other.width, backbone=other, model="other"),
    }
    files = {name: folder / f"{name}.safetensors" for name in made}
    with pytest.MonkeyPatch.context() as patched:
        for name, classifier in made.items():
            patched.setattr(bundle_networks, "graph_of", graph_of if name != "older" else lambda *_, **__: None)
            save_bundle(classifier, files[name])
    return files


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(6):
        for colour in ("blue", "red"):
            photo(folder / colour / f"{number}.jpg", colour, 100 * number + len(colour))
    return folder


# --- without PyTorch ---

COMMANDS = """
import json
from typer.testing import CliRunner
from regraft.cli.main import make_app

app, done = make_app("predict", "evaluate"), []
for arguments in json.loads(sys.argv[1]):
    found = CliRunner().invoke(app, arguments)
    done.append([found.exit_code, found.stdout, found.stderr])
print(json.dumps([done, [name for name in HIDDEN if name in sys.modules]]))
"""


def run_without(modules: set[str], *commands: list[str]) -> list[tuple[int, str, str]]:
    """Return exit code, stdout and stderr of commands, in a process in which none of `modules` can be imported."""
    script = f"HIDDEN = {modules!r}\n{HIDE}\n{COMMANDS}"
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found, imported = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    return [(code, stdout, stderr) for code, stdout, stderr in found]


def test_answers_without_pytorch_are_those_with_it(bundles: dict[str, Path], labelled: Path, few_draws: None) -> None:
    """By the command line, in a process that has none of the packages that training needs."""
    names, photos = ("one", "both"), sorted(labelled.rglob("*.jpg"))
    commands = [["predict", str(bundles[name]), str(labelled), "--format", "csv"] for name in names]
    commands += [
        ["evaluate", str(bundles["both"]), str(labelled), "--json"],
        ["predict", str(bundles["older"]), str(photos[0])],
        ["predict", str(bundles["one"]), str(photos[0]), "--engine", "torch-float32"],
        ["predict", str(bundles["one"]), str(photos[0]), "--device", "cuda"],
    ]
    light = set(EXTRAS) - {"pydantic"}  # which OpenVINO brings
    *answered, evaluated, older, engine, device = run_without(light, *commands)
    for name, (code, csv, stderr) in zip(names, answered, strict=True):
        assert code == 0, stderr
        classifier = load_bundle(bundles[name])
        expected = Predictor(classifier, BY_TORCH).predict(photos).probabilities
        table = pd.read_csv(StringIO(csv)).set_index("file").loc[[str(path) for path in photos]]
        found = table[["probability_blue", "probability_red"]].to_numpy()
        assert np.ptp(expected[:, 0]) > 0.01
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert evaluated[0] == 0, evaluated[2]
    figures = json.loads(evaluated[1])
    report = evaluate(classifier, find_samples(labelled)["train"], compute=BY_TORCH).report
    assert figures["n"] == report.n == 12
    assert figures["log_loss"] == pytest.approx(report.figures["log_loss"], abs=1e-4)
    assert figures["accuracy"] == report.figures["accuracy"]
    remedy = "pip install 'regraft[train]'"
    assert older == (
        1,
        "",
        f"error: {bundles['older']} holds no network that runs without PyTorch, which is not installed: {remedy}. "
        "Files of an older regraft hold none; fitted again, they do.\n",
    )
    assert engine == (1, "", f"error: --engine torch-float32 needs PyTorch, which is not installed: {remedy}.\n")
    assert device[:2] == (1, "")
    assert device[2].startswith(f"error: --device cuda needs PyTorch, which is not installed: {remedy}. Without it:")


ONE_PHOTO = """
import sys
from regraft.cli.main import run
try:
    run()
except SystemExit as end:
    slow = ("torch", "torchvision", "timm", "sklearn", "pandas", "scipy", "regraft.cli.fit")
    print(end.code, [name for name in slow if name in sys.modules], file=sys.stderr)
"""


def test_one_photo_is_answered_without_importing_pytorch(bundles: dict[str, Path], labelled: Path) -> None:
    """It takes a second to import, and is installed here."""
    arguments = ["predict", str(bundles["both"]), str(labelled / "red" / "0.jpg"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", ONE_PHOTO, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "0 []"
    assert done.stdout.split()[0] == str(labelled / "red" / "0.jpg")


def test_what_needs_pytorch_says_so(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load_bundle(bundles["one"])
    monkeypatch.setattr(bundle_networks, "is_installed", lambda _: False)
    with pytest.raises(BundleError) as caught:
        _ = classifier.backbone.module
    assert str(caught.value) == (
        f"{bundles['one']} needs PyTorch here, which is not installed: pip install 'regraft[train]'."
    )


# --- when it is asked for ---


def test_a_file_is_read_and_written_without_building_its_networks(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "both"):
        file, again = bundles[name], tmp_path / f"{name}.safetensors"
        classifier = load_bundle(file)
        for backbone in classifier.backbones:
            assert backbone.graph is not None
            monkeypatch.setattr(backbone.__dict__["_held"], "_build", lambda: pytest.fail("it was built"))
        save_bundle(classifier, again)
        assert again.read_bytes() == file.read_bytes()


def test_what_is_built_is_what_was_saved(bundles: dict[str, Path], tiny_network: str, other_network: str) -> None:
    expected = [load_backbone(name).fingerprint() for name in (tiny_network, other_network)]
    classifier = load_bundle(bundles["both"])
    assert [backbone.fingerprint() for backbone in classifier.backbones] == expected
    for backbone in classifier.backbones:
        assert not backbone.module.training
    assert [backbone.fingerprint() for backbone in classifier.backbones] == expected


@pytest.mark.graphs
def test_a_network_that_was_changed_in_place_gets_another_graph(
    bundles: dict[str, Path], labelled: Path, tmp_path: Path
) -> None:
    classifier, photos = load_bundle(bundles["one"]), sorted(labelled.rglob("*.jpg"))
    with torch.no_grad():
        for parameter in classifier.backbone.module.parameters():
            parameter.mul_(1.05)
    save_bundle(classifier, tmp_path / "changed.safetensors")
    changed = load_bundle(tmp_path / "changed.safetensors")
    by_graph, by_torch = (
        Predictor(changed, compute).predict(photos).probabilities
        for compute in (replace(BY_TORCH, engine="openvino-float32"), BY_TORCH)
    )
    assert (
        np.abs(by_torch - Predictor(load_bundle(bundles["one"]), BY_TORCH).predict(photos).probabilities).max() > 0.01
    )
    np.testing.assert_allclose(by_graph, by_torch, rtol=0, atol=1e-4)


# --- what does not belong together ---


DEPTH = {"stage": "s", "module": "m", "side": "output", "layout": "b c h w", "skipped": 0, "units": 256}


def rewrite(file: Path, there: Path, change: Callable[[dict[str, np.ndarray], dict[str, Any]], object]) -> Path:
    """Write a file with other tensors or another description, and a digest that is right."""
    tensors = load_file(file)
    about = {key: value for key, value in read_description(file).items() if key != "sha256"}
    change(tensors, about)
    about["sha256"] = _digest(about, tensors)
    save_file(tensors, there, {"regraft": json.dumps(about)})
    return there


def replaced(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, np.ndarray], object], None]:
    return lambda tensors, _: tensors.update({name: value(tensors[name])})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors, _: tensors.pop("backbone.conv_stem.weight"), "1 tensors missing:\n  conv_stem.weight\n"),
        (lambda tensors, _: tensors.pop("backbone.bn1.num_batches_tracked"), "1 tensors missing:\n  bn1.num_batches_"),
        (lambda tensors, _: tensors.update({"backbone.more": np.zeros(1)}), "1 tensors extra:\n  more\n"),
        (
            replaced("backbone.bn1.bias", lambda one: one[:1]),
            "1 tensors of another shape:\n  bn1.bias: [1] in the file,",
        ),
        (
            replaced("backbone.bn1.bias", lambda one: one.astype(np.float64)),
            "1 tensors of another shape:\n  bn1.bias: float64 [24] in the file, float32 [24] in the network",
        ),
        (replaced("graph.0", lambda one: one[:-1]), "is damaged: its graph is cut off, goes on after its end, or"),
        (replaced("graph.0", lambda one: one.astype(np.int32)), "is damaged: its graph must be uint8 of shape (n,)."),
        (
            replaced("graph.0", lambda one: replace(Graph.from_array(one), width=255).to_array()),
            "its head is for 256 features, and its network has 255.",
        ),
        (
            lambda _, about: about.update(format=2, depths=[DEPTH]),
            "cannot be rebuilt: its graph gives 256 features, and its depths have 256",
        ),
    ],
)
def test_it_is_found_when_the_file_is_read(
    bundles: dict[str, Path], tmp_path: Path, change: Callable[..., object], told: str
) -> None:
    file = rewrite(bundles["one"], tmp_path / "m.safetensors", change)
    with pytest.raises(BundleError) as caught:
        load_bundle(file)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{file} ")


def test_a_graph_that_gives_other_features_than_it_says(
    bundles: dict[str, Path], labelled: Path, tmp_path: Path
) -> None:
    """Of a file that was tampered with: 128 of 256 features are told before the first answer."""

    def narrow(tensors: dict[str, np.ndarray], _: object) -> None:
        graph = Graph.from_array(tensors["graph.0"])
        tensors["graph.0"] = replace(graph, width=128).to_array()
        tensors["head.weight"] = np.ascontiguousarray(tensors["head.weight"][:, :128])

    found = load_bundle(rewrite(bundles["one"], tmp_path / "m.safetensors", narrow))
    with pytest.raises(Exception, match=r"returns features of shape \(256,\), and not \(128,\)"):
        Predictor(found, Compute(cache=False)).predict([labelled / "red" / "0.jpg"])
    with pytest.raises(BundleError, match="cannot be rebuilt: it gives 256 features, and its graph 128"):
        _ = found.backbone.module


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _, about: about.update(architecture="resnet51"), "has no network 'resnet51'"),
        (lambda _, about: about.update(architecture="test_resnet"), "holds weights of another architecture than"),
        (lambda _, about: about["arguments"].update(checkpoint_path="x"), "checkpoint_path"),
    ],
)
def test_at_the_latest_when_it_is_built(
    bundles: dict[str, Path], tmp_path: Path, change: Callable[..., object], told: str
) -> None:
    """What runs it without PyTorch does not depend on it."""
    found = load_bundle(rewrite(bundles["one"], tmp_path / "m.safetensors", change))
    for _ in range(2):
        with pytest.raises(BundleError, match=told):
            _ = found.backbone.module
