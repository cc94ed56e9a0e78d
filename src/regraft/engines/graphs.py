"""The graphs by which networks run without PyTorch: made once, and compared with PyTorch before they are given out."""

import contextlib
import threading
from pathlib import Path

import numpy as np

from regraft.engines import openvino
from regraft.engines.agreement import Agreement
from regraft.engines.engine import UnsupportedNetworkError
from regraft.engines.kinds import ENGINE_KINDS, OF_GRAPH, REFERENCE
from regraft.engines.workload import CheckPhotos, Workload, converted_folder, features_of
from regraft.errors import EngineError, OutputError
from regraft.files import atomic_write, read_regular, sha256
from regraft.networks.backbone import Backbone
from regraft.networks.graph import Graph
from regraft.runtime import CPU

_IMAGES = 4  # of noise, on which a graph is compared
_KEPT = 8
_NOTE = "graph.sha256"  # beside a converted network: the digest of its graph, which was compared with PyTorch
_LONGEST_NOTE = 100  # bytes
_making = threading.Lock()
_made: dict[bytes, Graph | None] = {}  # of the last networks: a classifier is often written twice


def graph_of(backbone: Backbone) -> Graph | None:
    """Return what runs a network without PyTorch; None where OpenVINO cannot, or gives other features.

    That of the converted network in the cache was compared with PyTorch once, which is noted beside it.
    """
    if backbone.current_graph is not None:
        return backbone.current_graph
    if not openvino.usable_precisions():
        return None
    folder = converted_folder(backbone, CPU)
    found = openvino.graph_of_folder(folder, backbone.width, backbone.arrays())
    if found is not None:
        if not _is_noted(folder, found):
            if not _agrees(backbone, found):
                return None
            _note(folder, found)
        return found
    about = f"{backbone.fingerprint()} {features_of(backbone)} {backbone.preprocess.to_json()}"
    digest = sha256(about.encode())
    with _making:
        if digest not in _made:
            while len(_made) >= _KEPT:
                del _made[next(iter(_made))]
            _made[digest] = _convert(backbone)
        return _made[digest]


def foreign_graph(backbone: Backbone) -> str:
    """Return the digest of a graph that came with a file and was not made on this machine; "" for others.

    Nothing but the file says that it is the network's: what it gives is never served as the network's own.
    """
    graph = backbone.current_graph
    return "" if graph is None or _is_noted(converted_folder(backbone, CPU), graph) else graph.digest


def _is_noted(folder: Path, graph: Graph) -> bool:
    try:
        return read_regular(folder / _NOTE, limit=_LONGEST_NOTE) == graph.digest.encode()
    except OSError:
        return False


def _note(folder: Path, graph: Graph) -> None:
    with contextlib.suppress(OSError), atomic_write(folder / _NOTE) as temporary:  # else it is compared again
        temporary.write_text(graph.digest, encoding="utf-8")


def _convert(backbone: Backbone) -> Graph | None:
    try:
        model = openvino.convert(backbone.feature_module, backbone.preprocess)
        graph = openvino.graph_of_model(model, backbone.width, backbone.arrays())
    except (UnsupportedNetworkError, OutputError, ValueError):  # ValueError: layers that a file may not hold
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
