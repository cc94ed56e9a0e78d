"""What runs a network without PyTorch: made once, and only where it gives the network's features."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.engines.workshop import Plane

from regraft.engines import graphs, openvino
from regraft.engines.engine import UnsupportedNetworkError
from regraft.engines.graphs import foreign_graph, graph_of
from regraft.engines.workload import converted_folder
from regraft.errors import EngineError
from regraft.networks.backbone import Backbone, LazyModule
from regraft.networks.backbones import load_backbone
from regraft.networks.graph import Graph
from regraft.runtime import CPU


@pytest.fixture
def network(tiny_network: str) -> Backbone:
    """Return two features of a convolution."""
    found = load_backbone(tiny_network)
    torch.manual_seed(0)
    found.module, found.features = Plane().eval(), 2
    return found


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the modules that are converted, in order; what was made before is forgotten."""
    done: list[Any] = []
    genuine = openvino.convert

    def watched(module: Any, preprocess: Any) -> Any:
        done.append(module)
        return genuine(module, preprocess)

    monkeypatch.setattr(openvino, "convert", watched)
    monkeypatch.setattr(graphs, "_made", {})
    return done


def test_it_is_made_once_for_each_normalisation(network: Backbone, conversions: list[Any]) -> None:
    graph = graph_of(network)
    assert graph is not None
    assert graph.width == 2
    assert graph_of(network) is graph_of(replace(network, source="elsewhere")) is graph
    assert graph_of(network.with_graph(graph)) is graph
    assert len(conversions) == 1
    brighter = graph_of(replace(network, preprocess=replace(network.preprocess, mean=(0.1, 0.2, 0.3))))
    assert brighter is not None
    assert brighter.constants != graph.constants
    assert len(conversions) == 2


def test_what_was_changed_in_place_is_converted_anew(network: Backbone, conversions: list[Any]) -> None:
    """The bias is in both graphs by its name; what OpenVINO makes of it need not be."""
    module, arrays = network.module, network.arrays()
    network.module = LazyModule(arrays, lambda: module)  # type: ignore[assignment] # as one of a file
    graph = graph_of(network)
    assert graph is not None
    network.graph = graph
    with torch.no_grad():
        network.module.layer.bias += 1  # type: ignore[operator, union-attr]
    made = graph_of(network)
    assert made is not None
    assert made is not graph
    assert len(conversions) == 2


def test_none_where_openvino_does_not_run(
    network: Backbone, conversions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "usable_precisions", tuple)
    assert graph_of(network) is None
    assert conversions == []


def test_none_of_a_network_that_it_cannot_run(
    network: Backbone, conversions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        conversions.append("refused")
        raise UnsupportedNetworkError("no such layer")

    monkeypatch.setattr(openvino, "convert", refuse)
    assert graph_of(network) is graph_of(network) is None
    assert conversions == ["refused"]  # and it is not tried again


def test_none_that_gives_other_features(
    network: Backbone, conversions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, genuine = Plane().eval(), openvino.convert  # with other random weights
    monkeypatch.setattr(openvino, "convert", lambda _, preprocess: genuine(other, preprocess))
    assert graph_of(network) is None
    assert conversions == [other]


def test_none_with_layers_that_a_file_may_not_hold(
    network: Backbone, conversions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("has a layer of an extension")

    monkeypatch.setattr(Graph, "__post_init__", refuse)
    assert graph_of(network) is None


def test_what_ran_photos_is_not_converted_again_and_compared_once(
    network: Backbone, conversions: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino.load_or_convert(lambda: network.feature_module, network.preprocess, converted_folder(network, CPU))
    assert len(conversions) == 1
    compared: list[int] = []
    monkeypatch.setattr(graphs, "_agrees", lambda *_: compared.append(1) or True)
    known = graph_of(network)
    assert known is not None
    assert graph_of(network) is not known  # read again, as a later process does
    assert (len(conversions), len(compared)) == (1, 1)
    for file in converted_folder(network, CPU).iterdir():
        file.write_bytes(b"damaged")
    again = graph_of(network)
    assert again is not None
    assert again.to_array().tobytes() == known.to_array().tobytes()
    assert len(conversions) == 2


def test_a_graph_that_came_with_a_file_is_told_from_the_networks_own(network: Backbone) -> None:
    openvino.load_or_convert(lambda: network.feature_module, network.preprocess, converted_folder(network, CPU))
    own = graph_of(network)
    assert own is not None
    assert foreign_graph(network) == ""  # it has none
    assert foreign_graph(network.with_graph(own)) == ""
    other = replace(own, layers=own.layers.replace("layer1", "another"))
    assert foreign_graph(network.with_graph(other)) == other.digest != own.digest
    (converted_folder(network, CPU) / "graph.sha256").unlink()
    assert foreign_graph(network.with_graph(own)) == own.digest  # as on another machine


# --- what is read from a file ---

XML = """<net name="network" version="11"><layers>
<layer id="0" name="a" type="Parameter" version="opset1"><data shape="?,3" element_type="{kind}" />
<output><port id="0" precision="{port}"><dim>-1</dim><dim>3</dim></port></output></layer>
<layer id="1" name="b" type="{layer}" version="opset1"><input><port id="0" precision="{port}"><dim>-1</dim>
<dim>3</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0" /></edges></net>"""


def read(**fields: str) -> Any:
    layers = XML.format(**{"kind": "u8", "port": "U8", "layer": "Result"} | fields)
    return openvino.read_graph(Graph(3, layers, (), {"a": ("float32", (1,))}), {})


def test_what_takes_pixels_is_read() -> None:
    assert len(read().inputs) == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"kind": "f32", "port": "FP32"}, r"it takes f32 \[\?,3\] and gives f32 \[\?,3\]"),
        ({"layer": "ReLU"}, r"it takes u8 \[\?,3\] and gives nothing"),
    ],
)
def test_what_takes_none_is_not(fields: dict[str, str], told: str) -> None:
    with pytest.raises(EngineError, match=rf"^OpenVINO failed on this network: .*{told}.*engine='torch-float32'\.$"):
        read(**fields)


def test_what_lacks_a_tensor_is_not() -> None:
    graph = Graph(1, "<net />", ("conv_stem.weight",), {"conv_stem.weight": ("float32", (1,))})
    with pytest.raises(
        EngineError, match=r"^OpenVINO failed on this network: there is no tensor 'conv_stem\.weight'\."
    ):
        openvino.read_graph(graph, {})
