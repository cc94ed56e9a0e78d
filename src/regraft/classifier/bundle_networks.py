"""The networks of a bundle: their tensors, their fields in its description, and what runs them without PyTorch."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.schema import NetworkFields
from regraft.engines.graphs import graph_of
from regraft.errors import BundleError, ModelError, WeightsError, printable
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone, LazyModule
from regraft.networks.graph import Graph
from regraft.networks.hook_points import Depth, HookPoint
from regraft.networks.names import without_folders
from regraft.networks.recipe import SOURCE_SETTINGS, Recipe, check_settings
from regraft.runtime import is_installed

if TYPE_CHECKING:
    from torch import nn

_BACKBONE, _JOINED = "backbone.", "joined."
GRAPH = "graph."  # and the network's number; older programs pass over it


def network_tensors(classifier: Classifier) -> dict[str, np.ndarray]:
    """Return the tensors of all networks, and their graphs, by their names in a bundle."""
    found: dict[str, np.ndarray] = {}
    for number, backbone in enumerate(classifier.backbones):
        found |= {_prefix(number) + name: _smallest(array) for name, array in backbone.arrays().items()}
        graph = graph_of(backbone)
        if graph is not None:
            found[f"{GRAPH}{number}"] = graph.to_array()
    return found


def _prefix(number: int) -> str:
    """Return how the names of a network's tensors begin: the first, or one that is joined to it."""
    return f"{_JOINED}{number}." if number else _BACKBONE


def network_fields(classifier: Classifier) -> list[dict[str, Any]]:
    """Return the fields of `NetworkFields` of each network."""
    choices = (classifier.engine_choice, *(classifier.joined_choices or (None,) * len(classifier.joined)))
    firsts = classifier.first_depths or (0,) * len(choices)
    found = []
    for backbone, choice, first in zip(classifier.backbones, choices, firsts, strict=True):
        recipe = backbone.recipe
        depths = [{"stage": depth.stage, "units": depth.units, **asdict(depth.hook_point)} for depth in backbone.depths]
        found.append(
            {
                "architecture": recipe.architecture,
                "arguments": recipe.arguments,
                "settings": {name: value for name, value in recipe.settings.items() if name not in SOURCE_SETTINGS},
                "preprocess": backbone.preprocess.to_json(),
                "weights_source": without_folders(backbone.source),
                "engine": None if choice is None else {"engine": choice.engine, "machine": choice.machine},
                **({"depths": depths, "first_depth": first} if depths else {}),
            }
        )
    return found


def read_network(network: NetworkFields, tensors: Mapping[str, np.ndarray], number: int, path: Path) -> Backbone:
    """Return a network of a bundle. With a graph its module is built when it is first asked for.

    Args:
        network: its fields.
        tensors: of the bundle.
        number: of the network.
        path: of the bundle, for messages.

    Raises:
        BundleError: it cannot be built, or has other tensors or layers; or this takes PyTorch, which is not there.
    """
    prefix, stored = _prefix(number), tensors.get(f"{GRAPH}{number}")
    arrays = {name.removeprefix(prefix): _full(array) for name, array in tensors.items() if name.startswith(prefix)}
    settings = {name: value for name, value in network.settings.items() if name not in SOURCE_SETTINGS}
    depths = [
        Depth(one.stage, HookPoint(one.module, one.side, one.layout, one.skipped), one.units) for one in network.depths
    ]
    try:
        check_settings(settings, "{} in its settings")
        graph = None if stored is None else Graph.from_array(stored)
        if graph is not None:
            graph.check_tensors(arrays, architecture=network.architecture, source="the bundle")
            if graph.width <= (units := sum(depth.units for depth in depths)):
                raise ModelError(f"its graph gives {graph.width:,} features, and its depths have {units:,}")
    except (ModelError, WeightsError) as error:
        raise _cannot_be_rebuilt(path, error) from None
    except ValueError as error:
        raise BundleError(f"{path} is damaged: its graph {printable(str(error))}. Fit it again.") from None
    recipe = Recipe(network.architecture, network.arguments, settings)
    preprocess = Preprocess.from_json(msgspec.to_builtins(network.preprocess))

    def build() -> "nn.Module":
        if not is_installed("torch"):
            raise BundleError(
                f"{path} needs PyTorch here, which is not installed: pip install 'regraft[train]'."
                if graph is not None
                else f"{path} holds no network that runs without PyTorch, which is not installed: pip install "
                "'regraft[train]'. Files of an older regraft hold none; fitted again, they do."
            )
        import torch

        from regraft.networks.backbones import rebuild_backbone
        from regraft.networks.tracing import as_hook_point

        try:
            state = {name: torch.from_numpy(array) for name, array in arrays.items()}
            built = rebuild_backbone(recipe, preprocess, state)
            for depth in depths:
                as_hook_point(built.module, depth.hook_point)
            if graph is not None and built.features != graph.width - sum(depth.units for depth in depths):
                raise ModelError(f"it gives {built.features:,} features, and its graph {graph.width:,}")
        except (WeightsError, ModelError) as error:  # an architecture that this timm builds otherwise, or not at all
            raise _cannot_be_rebuilt(path, error) from None
        return built.module

    lazy = LazyModule(arrays, build)
    features = _width_of(lazy) if graph is None else graph.width - sum(depth.units for depth in depths)
    # a field that is read as what the lazy module builds
    return Backbone(lazy, recipe, preprocess, features, network.weights_source, tuple(depths), graph)  # type: ignore[arg-type]


def _width_of(lazy: LazyModule) -> int:
    module = lazy.get()  # first: it says what is not installed

    from regraft.networks.backbones import width_of

    return width_of(module)


def _cannot_be_rebuilt(path: Path, error: Exception) -> BundleError:
    return BundleError(f"{path} cannot be rebuilt: {printable(str(error), lines=True)}")


def _smallest(array: np.ndarray) -> np.ndarray:
    """Return `array` in float16 where that loses nothing (weights published in half precision), else as it is."""
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else array


def _full(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array
