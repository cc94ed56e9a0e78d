"""A network as a graph of OpenVINO's: there and back bit for bit, and nothing in a file that no network has."""

import base64
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from regraft.engines import openvino
from regraft.errors import EngineError, WeightsError
from regraft.networks import graph as graph_
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone
from regraft.networks.graph import Graph

Pixels = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def network(tiny_network: str) -> Backbone:
    return load_backbone(tiny_network)


@pytest.fixture(scope="module")
def converted(network: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of OpenVINO's own file of the network."""
    folder = tmp_path_factory.mktemp("converted")
    openvino.save(openvino.convert(network.feature_module, network.preprocess), folder)
    return folder


@pytest.fixture(scope="module")
def graph(network: Backbone, converted: Path) -> Graph:
    found = openvino.graph_of_folder(converted, network.width, network.arrays())
    assert found is not None
    return found


# --- there and back ---


@pytest.mark.parametrize("precision", openvino.usable_precisions())
def test_it_runs_as_openvinos_own_file(
    graph: Graph, network: Backbone, converted: Path, pixels: Pixels, precision: str
) -> None:
    images = pixels(5, 32, 32)
    again = Graph.from_array(graph.to_array())
    own, found = (
        openvino.OpenVinoEngine(model, network.preprocess, precision).features(images)
        for model in (openvino.load(converted), openvino.read_graph(again, network.arrays()))
    )
    assert own.shape == (5, network.width)
    assert np.ptp(own) > 0
    assert np.array_equal(found, own)


def test_weights_are_the_networks_own(graph: Graph, network: Backbone) -> None:
    """So it takes a few kilobytes where the network has 400 kB. Counters are no weights, though bytes may be equal."""
    arrays = network.arrays()
    named = {one for one in graph.constants if isinstance(one, str)}
    assert {name for name in arrays if name.endswith("conv.weight") or name.endswith("conv_pw.weight")} <= named
    assert all(arrays[name].dtype == np.float32 for name in named)
    assert sum(len(one) for one in graph.constants if isinstance(one, bytes)) < 1_000
    assert sum(array.nbytes for array in arrays.values()) > 400_000
    assert len(graph.to_array()) < 10_000


def test_there_and_back(graph: Graph, network: Backbone) -> None:
    again = Graph.from_array(graph.to_array())
    assert (again.width, again.layers, again.constants) == (graph.width, graph.layers, graph.constants)
    assert again.tensors == {name: (str(array.dtype), array.shape) for name, array in network.arrays().items()}
    assert again.to_array().tobytes() == graph.to_array().tobytes()


def test_conversions_of_one_network_are_equal(graph: Graph, network: Backbone, tmp_path: Path) -> None:
    """OpenVINO counts what a process has made, and writes who converted: neither is in a graph."""
    openvino.save(openvino.convert(network.feature_module, network.preprocess), tmp_path)
    found = openvino.graph_of_folder(tmp_path, network.width, network.arrays())
    assert found is not None
    assert found.to_array().tobytes() == graph.to_array().tobytes()
    assert "rt_info" not in {element.tag for element in graph_.ElementTree.fromstring(graph.layers)}


CONVERSION = """
import hashlib, sys
from regraft.engines.graphs import graph_of
from regraft.networks.backbones import load_backbone

print(hashlib.sha256(graph_of(load_backbone(sys.argv[1])).to_array()).hexdigest())
"""


@pytest.mark.slow
def test_conversions_in_two_processes_are_equal(tiny_network: str) -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", CONVERSION, tiny_network],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


# --- its tensors ---


def message_of(graph: Graph, tensors: dict[str, np.ndarray]) -> str:
    with pytest.raises(WeightsError) as caught:
        graph.check_tensors(tensors, architecture="test_efficientnet", source="the bundle")
    return str(caught.value)


def test_the_networks_own_tensors_fit(graph: Graph, network: Backbone) -> None:
    graph.check_tensors(network.arrays(), architecture="test_efficientnet", source="the bundle")


def test_tensors_that_are_missing_extra_or_others_are_named(graph: Graph, network: Backbone) -> None:
    """Those too that are no constants, as counters: PyTorch would refuse them."""
    tensors = network.arrays()
    del tensors["bn1.num_batches_tracked"]
    tensors["bn1.more"] = tensors["bn1.weight"]
    tensors["bn1.bias"] = tensors["bn1.bias"][:3]
    tensors["bn1.running_var"] = tensors["bn1.running_var"].astype(np.float64)
    units = len(tensors["bn1.weight"])
    assert message_of(graph, tensors) == (
        "the bundle holds weights of another architecture than test_efficientnet. 1 tensors missing:\n"
        "  bn1.num_batches_tracked\n"
        "1 tensors extra:\n"
        "  bn1.more\n"
        "2 tensors of another shape:\n"
        f"  bn1.bias: [3] in the file, [{units}] in the network\n"
        f"  bn1.running_var: float64 [{units}] in the file, float32 [{units}] in the network\n"
        "Name the network that the file belongs to with model, or the file that belongs to test_efficientnet."
    )


def test_what_to_run_needs_every_constant(graph: Graph, network: Backbone) -> None:
    tensors = network.arrays()
    weight = tensors.pop("conv_stem.weight")
    with pytest.raises(ValueError, match=r"^there is no tensor 'conv_stem\.weight'$"):
        graph.to_ir(tensors)
    with pytest.raises(
        ValueError, match=rf"^constant \d+ has {weight.nbytes // 2:,} bytes, and not {weight.nbytes:,}$"
    ):
        graph.to_ir({**tensors, "conv_stem.weight": weight.astype(np.float16)})


# --- what a file may hold ---

CONSTANT = '<data element_type="f32" shape="2, 1" offset="0" size="8" />'
LAYERS = f'<net><layers><layer type="Const" version="opset1">{CONSTANT}</layer></layers></net>'
ABOUT: dict[str, Any] = {"width": 2, "layers": LAYERS, "constants": ["a"], "tensors": {"a": ["float32", [2]]}}


def packed(about: object) -> np.ndarray:
    text = about if isinstance(about, str) else json.dumps(about)
    return np.frombuffer(zlib.compress(text.encode()), dtype=np.uint8)


def test_a_small_one_is_read() -> None:
    found = Graph.from_array(packed(ABOUT))
    xml, weights = found.to_ir({"a": np.array([1, 2], dtype=np.float32)})
    assert b'offset="0"' in xml
    assert weights[:8].tobytes() == np.array([1, 2], dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"width": 0}, "has no width, layers or constants"),
        ({"width": "2"}, "has no width, layers or constants"),
        ({"width": True}, "has no width, layers or constants"),
        ({"layers": ["net"]}, "has no width, layers or constants"),
        ({"constants": {"0": "a"}}, "has no width, layers or constants"),
        ({"constants": [["a"]]}, "has a constant that is neither a tensor's name nor bytes"),
        ({"constants": [{"bytes": "YQ"}]}, "has a constant that cannot be read (Incorrect padding)"),
        ({"constants": []}, "has a constant that is not in it"),
        ({"tensors": {}}, "does not say which tensors its network has"),
        ({"tensors": ["a"]}, "does not say which tensors its network has"),
        ({"tensors": {"a": "float32"}}, "does not say of which type and shape the tensor 'a' is"),
        ({"tensors": {"a": ["float32", ["2"]]}}, "does not say of which type and shape the tensor 'a' is"),
        ({"layers": "net"}, "is no XML (syntax error: line 1, column 0)"),
        ({"layers": LAYERS.replace("</net>", "")}, f"is no XML (no element found: line 1, column {len(LAYERS) - 6})"),
    ],
)
def test_what_is_no_graph(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (it is compared as a whole)
        Graph.from_array(packed(ABOUT | change))
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("<net>", '<!DOCTYPE n [<!ENTITY x SYSTEM "file:///etc/passwd">]><net>', "declares entities"),
        ("<net>", "<net><!-- a remark -->", "declares entities"),  # refused with them: OpenVINO writes none
        ('"opset1"', '"extension"', "has a layer 'Const' of 'extension', not OpenVINO's own"),
        ('"opset1"', '"opset1/../x"', "has a layer 'Const' of 'opset1/../x', not OpenVINO's own"),
        (' version="opset1"', "", "has a layer 'Const' of None, not OpenVINO's own"),
        ('offset="0"', 'offset="1"', "has a constant that is not in it"),
        ('offset="0"', 'offset="-1"', "has a constant that is not in it"),
        ('offset="0"', 'offset="0x0"', "has a constant that is not in it"),
        ('offset="0"', "", "has a constant that is not in it"),
        (CONSTANT, "", "has a constant that is not in it"),
        ('size="8"', 'size="12"', "has a constant of shape [2, 1] and type f32 with 12 bytes"),
        ('size="8"', "", "has a constant of shape [2, 1] and type f32 with None bytes"),
        ('"2, 1"', '"-2, -1"', "has a constant of shape [-1, -1] and type f32 with 8 bytes"),
        ('"2, 1"', '"2, 1, 0"', "has a constant of shape [2, 1, 0] and type f32 with 8 bytes"),
        ('"2, 1"', f'"{10**30}"', "has a constant of shape [-1] and type f32 with 8 bytes"),
        ('"2, 1"', f'"{"9," * 20}2"', f"has a constant of shape {[9] * 16 + [-1]} and type f32 with 8 bytes"),
        ('"f32"', '"string"', "has a constant of type 'string'"),
        ('"f32"', '"f64"', "has a constant of shape [2, 1] and type f64 with 8 bytes"),
    ],
)
def test_layers_that_no_network_has(old: str, new: str, told: str) -> None:
    layers = LAYERS.replace(old, new)
    assert layers != LAYERS
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (it is compared as a whole)
        Graph.from_array(packed(ABOUT | {"layers": layers}))
    assert str(caught.value) == told
    with pytest.raises(ValueError):  # noqa: PT011 (however it was made)
        Graph(2, layers, ("a",), {"a": ("float32", (2,))})


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"width": NaN}', "[" * 100_000])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (JSON's own words)
        Graph.from_array(packed(text))


def test_what_cannot_be_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = packed(ABOUT)
    cut_off = r"^is cut off, goes on after its end, or unpacks to more than 100,000,000 bytes$"
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match=cut_off):
            Graph.from_array(whole[:length])
    with pytest.raises(ValueError, match=cut_off):
        Graph.from_array(np.concatenate([whole, whole[:1]]))
    with pytest.raises(ValueError, match=r"^cannot be unpacked \("):
        Graph.from_array(np.arange(100, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"^must be uint8 of shape \(n,\)\. Got int64 of shape \(2, 3\)$"):
        Graph.from_array(np.zeros((2, 3), dtype=np.int64))
    monkeypatch.setattr(graph_, "_LARGEST", 10_000)
    with pytest.raises(ValueError, match=r"unpacks to more than 10,000 bytes$"):
        Graph.from_array(packed(" " * 1_000_000))


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file names the tensors that it has. What is not among them is small."""
    own = [{"bytes": base64.b64encode(bytes(8)).decode()}]
    monkeypatch.setattr(graph_, "_LARGEST_OWN", 8)
    assert Graph.from_array(packed(ABOUT | {"constants": own})).constants == (bytes(8),)
    with pytest.raises(ValueError, match=r"^has more than 8 bytes of its own constants$"):
        Graph.from_array(packed(ABOUT | {"constants": own * 2}))
    monkeypatch.setattr(graph_, "_LARGEST_LAYERS", len(LAYERS))
    Graph.from_array(packed(ABOUT))
    with pytest.raises(ValueError, match=rf"^has more than {len(LAYERS)} characters of layers$"):
        Graph.from_array(packed(ABOUT | {"layers": LAYERS + " "}))


# --- what a file may make OpenVINO do ---


@pytest.mark.parametrize("layer", ["ScatterElementsUpdate", "GatherND", "Loop", "RandomUniform", "const"])
def test_layers_that_may_leave_their_memory_or_never_end(layer: str) -> None:
    """OpenVINO checks no index of the first two: a file that held them could write where it likes."""
    layers = LAYERS.replace("<layers>", f'<layers><layer type="{layer}" version="opset12" />')
    told = f"^has a layer '{layer}', which none of regraft's files may hold$"
    with pytest.raises(ValueError, match=told):
        Graph(2, layers, ("a",), {"a": ("float32", (2,))})


HUGE = [10**10, 2]


def end(shape: list[int], kind: Any = np.float32) -> Any:
    """Return an input of a model: what a graph takes or gives."""
    return opset13.parameter(ov.PartialShape(shape), kind)


def averages(photos: Any, width: int) -> Any:
    """Return (b, width) averages of photos (b, h, w, 3)."""
    means = opset13.reduce_mean(opset13.convert(photos, "f32"), [1, 2, 3], keep_dims=False)
    return opset13.tile(opset13.unsqueeze(means, [1]), [1, width])


def by_whole_numbers(photos: Any, divisor: Any) -> Any:
    """Return (b, 2) sums of photos (b, h, w, 3) divided by a number, or a number of each channel."""
    sums = opset13.reduce_sum(opset13.convert(photos, "i64"), [1, 2])
    whole = opset13.constant(np.array([divisor], np.int64)) if isinstance(divisor, int) else divisor
    return opset13.convert(opset13.slice(opset13.divide(sums, whole), [0], [2], [1], [1]), "f32")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (lambda photos: averages(photos, 3), "it gives [?,3], and not [?,2]"),
        (lambda photos: opset13.unsqueeze(averages(photos, 2), [2]), "it gives [?,2,1], and not [?,2]"),
        (
            lambda photos: (
                averages(photos, 2) + opset13.reduce_max(opset13.broadcast(averages(photos, 1), HUGE), [0, 1])
            ),
            "its layer Broadcast gives 20,000,000,000 values for a photo",
        ),
        (lambda photos: by_whole_numbers(photos, -1), "it divides whole numbers by what may be 0 or -1"),
        (
            lambda photos: by_whole_numbers(photos, opset13.reduce_max(opset13.convert(photos, "i64"), [0, 1, 2])),
            "it divides whole numbers by what may be 0 or -1",
        ),
    ],
)
def test_what_openvino_reads_has_sizes_of_a_network(body: Callable[[Any], Any], told: str) -> None:
    photos = end([1, 32, 32, 3] if "Broadcast" in told else [-1, 32, 32, 3], np.uint8)
    graph = Graph(2, LAYERS, ("a",), {"a": ("float32", (2,))})
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (it is compared as a whole)
        graph.check_model(ov.Model([body(photos)], [photos]))
    assert str(caught.value) == told
    graph.check_model(ov.Model([averages(photos, 2)], [photos]))
    graph.check_model(ov.Model([by_whole_numbers(photos, 3)], [photos]))


def test_features_of_another_width_than_said_are_an_error(network: Backbone, pixels: Pixels) -> None:
    """Where OpenVINO cannot tell it before it runs."""
    photos = end([-1, 32, 32, 3], np.uint8)
    engine = openvino.OpenVinoEngine(ov.Model([averages(photos, 3)], [photos]), network.preprocess, "float32", 2)
    with pytest.raises(EngineError, match=r"it returns features of shape \(3,\), and not \(2,\)\. "):
        engine.features(pixels(2, 32, 32))
