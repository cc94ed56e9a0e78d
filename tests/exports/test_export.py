"""Exports of tiny classifiers: every format with every kind, and what is refused, with nothing left behind."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.exports.conftest import KINDS
from tests.fixtures.learning import Listener

from regraft.classifier.classifier import Classifier
from regraft.data.photo_list import PhotoList
from regraft.errors import ExportError, MissingPackageError, OptionError, OutputError
from regraft.exports import export as module
from regraft.exports import onnx_format
from regraft.exports.export import export
from regraft.exports.formats import FORMATS, Format, format_named
from regraft.exports.parity import decode_by_pillow
from regraft.exports.photos import MADE_PHOTOS, made_photos

Make = Callable[[str], Classifier]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def written(name: str, folder: Path) -> Path:
    return folder / f"pets{FORMATS[name].suffix}"


@pytest.mark.slow
def test_openvino(make: Make, several: list[Path], tmp_path: Path, listener: Listener) -> None:
    out, photos = tmp_path / "out", PhotoList.unlabelled(several)
    out.mkdir()
    done = export(make("flip"), "openvino", out / "pets.xml", check=photos, observer=listener)
    assert names(out) == ["pets.bin", "pets.xml"]
    assert done.size == sum(path.stat().st_size for path in out.iterdir())
    assert (done.parity.photos, done.parity.same, done.parity.made, done.int8) == (4, 4, False, None)
    assert done.parity.largest < 1e-3
    assert str(done).startswith(f"wrote {out / 'pets.xml'} (openvino, ")
    assert "compared with the classifier on 4 photos" in str(done)
    assert "writing openvino" in listener.said
    graph = FORMATS["openvino"].load(out / "pets.xml")
    assert json.loads(graph.description)["classes"] == ["Kätzchen", "dog", "7"]
    assert json.loads(graph.description)["precision"] == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_and_kind(make: Make, several: list[Path], tmp_path: Path, name: str, kind: str) -> None:
    """Any size, any number of photos: no format has one of those that it was traced with."""
    classifier, out = make(kind), tmp_path / "out"
    out.mkdir()
    path = written(name, out)
    done = export(classifier, name, path, check=PhotoList.unlabelled(several))
    assert set(names(out)) == {file.name for file in FORMATS[name].files(path)}
    assert (done.parity.same, done.parity.photos) == (4, 4)
    assert done.parity.largest < 1e-5
    graph = FORMATS[name].load(path)
    pixels = decode_by_pillow(several[2], (64, 64))
    assert pixels is not None
    both = graph(np.concatenate([pixels, pixels[:, ::-1], pixels]))
    assert both.shape == (3, 3)
    assert np.allclose(both[[0, 2]], graph(pixels), atol=1e-5)
    assert np.allclose(both.sum(axis=1), 1, atol=1e-5)
    found = json.loads(graph.description)
    assert (found["decision"] is not None) == (kind == "decision")
    source = str(Path(module.__file__).parent).encode()
    assert all(source not in file.read_bytes() for file in FORMATS[name].files(path))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("network", ["mobilenetv2_100.tf_in1k", "tf_efficientnet_lite0.in1k"])
def test_real_networks_and_photos(shared: Path, make: Make, tmp_path: Path, name: str, network: str) -> None:
    from regraft.heads.linear import LinearHead
    from regraft.networks.backbones import load_backbone

    backbone = load_backbone(f"local-dir:{shared / 'weights' / network}")
    weight = np.random.default_rng(0).normal(0, 0.05, (3, backbone.features)).astype(np.float32)
    head = LinearHead(weight, np.zeros(3, dtype=np.float32), 0.0)
    classifier = replace(make("plain"), backbone=backbone, head=head)
    photos = sorted((shared / "data" / "hymenoptera" / "val").rglob("*.jpg"))[::3]
    done = export(classifier, name, written(name, tmp_path), check=PhotoList.unlabelled(photos))
    assert done.parity.holds


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_int8(make: Make, photos: Callable[..., Path], tmp_path: Path, listener: Listener, name: str) -> None:
    if name == "openvino":
        pytest.importorskip("nncf")
    folder, out = photos(red=30, green=30, blue=30), tmp_path / "out"
    out.mkdir()
    sources = sorted(folder.rglob("*.jpg"))
    check, path = PhotoList.unlabelled(sources), written(name, out)
    done = export(make("flip"), name, path, check=check, int8=True, max_loss=100, observer=listener)
    assert done.int8 is not None
    assert (done.int8.photos, done.int8.calibrated_on, done.int8.labelled) == (60, 30, False)
    assert set(names(out)) == {file.name for file in FORMATS[name].files(path)}
    found = json.loads(FORMATS[name].load(path).description)
    assert found["precision"] == "int8, calibrated on 30 photos"
    assert found["input"]["layout"].startswith("uint8, (1, " if name == "openvino" else "uint8, (b, ")
    assert done.to_json()["int8"]["loss_of"] == "agreement"
    plain = export(make("flip"), name, path.with_stem("plain"), check=check)
    assert done.size < plain.size


# --- nothing is left that answers otherwise ---


def wrong(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    assert path.exists()
    return lambda pixels: np.full((len(pixels), 3), 1 / 3)


def plain_file(graph: object, example: torch.Tensor, path: Path, description: str) -> None:
    path.write_text(description)
    path.with_suffix(".more").write_text("")


@pytest.fixture
def other_format(monkeypatch: pytest.MonkeyPatch) -> Format:
    """Return a format whose files answer the same to all photos."""
    row = Format("plain", ".plain", "nothing", plain_file, wrong, companions=(".more",))  # type: ignore[arg-type]
    monkeypatch.setitem(FORMATS, "plain", row)
    return row


def test_a_file_that_answers_otherwise_is_not_left(
    make: Make, several: list[Path], tmp_path: Path, other_format: Format
) -> None:
    before = names(tmp_path)
    with pytest.raises(ExportError, match="the plain file does not answer as the classifier does, and was removed"):
        export(make("plain"), "plain", tmp_path / "a.plain", check=PhotoList.unlabelled(several))
    assert names(tmp_path) == before


def test_int8_that_loses_too_much_is_not_left(
    make: Make, photos: Callable[..., Path], tmp_path: Path, other_format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.exports.graph import ClassifierGraph

    classifier = make("plain")
    graph = ClassifierGraph(classifier)

    def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
        if not path.name.startswith("float32-"):
            return wrong(path)
        return lambda pixels: graph(torch.from_numpy(pixels)).detach().numpy()

    def quantise(source: Path, target: Path, photos: object, description: str) -> None:
        target.write_text(description)
        target.with_suffix(".more").write_text("")

    row = replace(other_format, load=load, quantise=quantise)  # type: ignore[arg-type]
    monkeypatch.setitem(FORMATS, "plain", row)
    check = PhotoList.unlabelled(sorted(photos(red=20, green=20).rglob("*.jpg")))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ExportError, match=r"the plain file in int8 was removed: it loses .* and max_loss allows 1\."):
        export(classifier, "plain", out / "a.plain", check=check, int8=True)
    assert names(out) == []
    done = export(classifier, "plain", out / "a.plain", check=check, int8=True, max_loss=100)
    assert done.int8 is not None
    assert done.int8.value > 1
    assert names(out) == ["a.more", "a.plain"]


# --- photos that are made up ---


def test_made_photos_are_of_all_kinds() -> None:
    with made_photos() as photos:
        assert len(photos) == MADE_PHOTOS
        found = [decode_by_pillow(path, (512, 512)) for path in photos]
        shapes = [one.shape for one in found if one is not None]
        assert {path.suffix for path in photos} == {".jpg", ".png"}
    assert shapes[1] == (1, 333, 500, 3)  # of 333 x 500 pixels, turned
    assert shapes[-1] == (1, 576, 768, 3)  # decoded at half its size
    assert len(set(shapes)) >= 6
    assert not photos[0].exists()


def test_made_photos_are_used_where_none_are_named(
    make: Make, tmp_path: Path, listener: Listener, other_format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.exports.photos.MADE_PHOTOS", 2)
    with pytest.raises(ExportError, match="on 2 made photos"):
        export(make("plain"), "plain", tmp_path / "a.plain", observer=listener)
    assert any(
        text.startswith("compared on photos that are made up, as no others are named: check") for text in listener.said
    )


# --- what cannot be ---


@pytest.mark.parametrize(
    ("to", "out", "options", "error", "message"),
    [
        ("tflite", "a.tflite", {}, OptionError, r"^to must be one of onnx, openvino, pt2\. Got 'tflite'\.$"),
        ("onxx", "a.onnx", {}, OptionError, r"Got 'onxx'\. Did you mean 'onnx'\?$"),
        ("onnx", "a.pt2", {}, OptionError, r"^out must end in \.onnx, which to='onnx' writes\. Got .*a\.pt2\.$"),
        (
            "pt2",
            "there.pt2",
            {},
            OutputError,
            r"^out .*there\.pt2 exists\. Name another file, or replace it: force=True\.$",
        ),
        (
            "openvino",
            "beside.xml",
            {},
            OutputError,
            r"^out .*beside\.xml: .*beside\.bin, which is written with it, exists\.",
        ),
        ("onnx", "no/a.onnx", {}, OutputError, r"^out .*: the folder .*no does not exist\. Create it: mkdir -p "),
        ("onnx", "a.onnx", {"max_loss": 1.0}, OptionError, r"^max_loss is of int8=True\. Add that, or leave it out\.$"),
        ("pt2", "a.pt2", {"int8": True}, OptionError, r"^int8=True is for to='onnx', to='openvino'\."),
    ],
)
def test_refusals(  # noqa: PLR0917 (a case's values)
    make: Make, tmp_path: Path, to: str, out: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    (tmp_path / "there.pt2").touch()
    (tmp_path / "beside.bin").touch()
    with pytest.raises(error, match=message):
        export(make("plain"), to, tmp_path / out, **options)  # type: ignore[arg-type]
    assert names(tmp_path) == ["beside.bin", "there.pt2"]


@pytest.mark.slow
def test_a_file_that_is_there_is_replaced_by_force(make: Make, several: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "pets.xml"
    out.write_text("mine")
    done = export(make("plain"), "openvino", out, check=PhotoList.unlabelled(several), force=True)
    assert json.loads(FORMATS["openvino"].load(out).description)["classes"] == ["Kätzchen", "dog", "7"]
    assert done.parity.holds


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"^to='onnx' needs the package {module}, which is not installed: pip install 'regraft\[export\]'$"
    with pytest.raises(MissingPackageError, match=message):
        export(make("plain"), "onnx", tmp_path / "a.onnx")


def test_int8_of_openvino_needs_nncf(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    message = (
        r"^int8=True of to='openvino' needs the package nncf, which is not installed: pip install 'regraft\[int8\]'$"
    )
    with pytest.raises(MissingPackageError, match=message):
        export(make("plain"), "openvino", tmp_path / "a.xml", check=PhotoList.unlabelled([Path("a")]), int8=True)


def test_a_network_that_is_too_large_for_onnx(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "_MOST_BYTES", 1000)
    module = torch.nn.Linear(100, 100)
    message = (
        r"^an ONNX file holds at most 1 kB of weights\. Got a network of 40\.4 kB\. Write another format: to='openvino'"
    )
    with pytest.raises(ExportError, match=message):
        onnx_format.write(module, torch.zeros(1, 100), tmp_path / "a.onnx", "{}")


def test_a_network_that_cannot_be_traced(tmp_path: Path) -> None:
    class Branching(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels if pixels.sum() > 0 else -pixels

    example = torch.zeros((2, 4, 5, 3), dtype=torch.uint8)
    with pytest.raises(ExportError, match=r"^torch\.export cannot trace this network \(.*[^.]\)\.$"):
        format_named("pt2").write(Branching(), example, tmp_path / "a.pt2", "{}")
