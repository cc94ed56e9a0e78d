"""The graphs by which networks run without PyTorch: made once, and compared with PyTorch before they are given out."""

import threading

import numpy as np

from regraft.engines import openvino
from regraft.engines.agreement import Agreement
from regraft.engines.engine import UnsupportedNetworkError
from regraft.engines.kinds import ENGINE_KINDS, OF_GRAPH, REFERENCE
from regraft.engines.workload import CheckPhotos, Workload, converted_folder, features_of
from regraft.errors import EngineError, OutputError
from regraft.files import sha256
from regraft.networks.backbone import Backbone
from regraft.networks.graph import Graph
from regraft.runtime import CPU

_IMAGES = 4  # of noise, on which a graph is compared
_KEPT = 8
_making = threading.Lock()
_made: dict[bytes, Graph | None] = {}  # of the last networks: a classifier is often written twice


def graph_of(backbone: Backbone, *, compared: bool = False) -> Graph | None:
    """Return what runs a network without PyTorch; None where OpenVINO cannot, or gives other features.

    Args:
        backbone: the network.
        compared: whether the converted network that the cache has was compared with PyTorch already.
    """
    if backbone.current_graph is not None:
        return backbone.current_graph
    if not openvino.usable_precisions():
        return None
    arrays = backbone.arrays()
    if compared:
        found = openvino.graph_of_folder(converted_folder(backbone, CPU), backbone.width, arrays)
        if found is not None:
            return found
    about = f"{backbone.fingerprint()} {features_of(backbone)} {backbone.preprocess.to_json()}"
    digest = sha256(about.encode())
    with _making:
        if digest not in _made:
            while len(_made) >= _KEPT:
                del _made[next(iter(_made))]
            _made[digest] = _convert(backbone)
        return _made[digest]


def _convert(backbone: Backbone) -> Graph | None:
    try:
        model = openvino.convert(backbone.feature_module, backbone.preprocess)
        graph = openvino.graph_of_model(model, backbone.width, backbone.arrays())
    except (UnsupportedNetworkError, OutputError):
        return None
    del model  # before it is there a second time
    return graph if _agrees(backbone, graph) else None


def _agrees(backbone: Backbone, graph: Graph) -> bool:
    """Tell whether a graph gives the network's features of images of noise, coarse and fine."""
    size = backbone.preprocess.height, backbone.preprocess.width
    rng = np.random.default_rng(0)
    images = np.empty((_IMAGES, *size, 3), dtype=np.uint8)
    for number in range(_IMAGES):
        grain = 4**number  # pixels of one colour
        coarse = rng.integers(0, 256, (-(-size[0] // grain), -(-size[1] // grain), 3), dtype=np.uint8)
        images[number] = coarse.repeat(grain, axis=0).repeat(grain, axis=1)[: size[0], : size[1]]
    check = CheckPhotos("noise", lambda: images)
    plain = Workload(backbone, CPU, _IMAGES, check, keep=False)
    of_graph = Workload(backbone.with_graph(graph), CPU, _IMAGES, check, keep=False)
    kind = ENGINE_KINDS[OF_GRAPH]
    try:
        expected = ENGINE_KINDS[REFERENCE].build(plain).features(images)
        found = kind.build(of_graph).features(images)
    except EngineError:
        return False
    return Agreement.of(found, expected, plain.widths).suffices(kind)
