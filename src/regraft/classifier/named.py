"""A network by its name, or a classifier by its file: where either will do. Imports torch when it loads."""

from pathlib import Path
from typing import TYPE_CHECKING

from regraft.errors import BundleError, OptionError, did_you_mean, option, printable

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier
    from regraft.engines.workload import EngineChoice
    from regraft.networks.backbone import Backbone


def check_named(model: str, weights: Path | None = None) -> None:
    """Raise for a classifier's file that is missing, or given weights as well.

    Args:
        model: a network's name or a file.
        weights: a file of weights for the network.

    Raises:
        BundleError: no such file.
        OptionError: a file, and weights.
    """
    file, name = Path(model).expanduser(), printable(model)
    if file.is_file() and weights is not None:
        raise OptionError(
            f"{option('weights')} is for a network, and {name} is a classifier, which has its own. Leave it out."
        )
    if file.suffix.startswith(".safetensor") and not file.is_file():
        beside = [str(path) for path in file.parent.glob("*.safetensors")] if file.parent.is_dir() else []
        raise BundleError(
            f"{name} does not exist.{did_you_mean(model, beside)} Name a file that `regraft fit` wrote, or a network."
        )


def load_named(model: str, weights: Path | None = None) -> "Classifier | Backbone":
    """Return the classifier in the file `model`, or the pretrained network of that name.

    Raises:
        BundleError: a file that is no classifier.
        ModelError: no such network.
        WeightsError: its weights are not here, or are another's.
    """
    from regraft.classifier.bundle import load_bundle
    from regraft.networks.backbones import load_backbone
    from regraft.networks.registry import check_model_name

    check_named(model, weights)
    file = Path(model).expanduser()
    if file.is_file():
        return load_bundle(file)
    check_model_name(model)
    return load_backbone(model, weights)


def network_of(thing: "Classifier | Backbone") -> "tuple[Backbone, EngineChoice | None]":
    """Return the network of a classifier, or itself, and the engine that was chosen for it earlier, if one was.

    Raises:
        OptionError: a classifier that joins several.
    """
    from regraft.networks.backbone import Backbone

    if isinstance(thing, Backbone):
        return thing, None
    thing.check_single("A photo's vector")
    return thing.backbone, thing.engine_choice
