"""A network by its name, a classifier by its file or its repository on the hub: where either will do.

Imports torch, and the hub's client, when it loads.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.errors import BundleError, OptionError, did_you_mean, option, printable
from regraft.networks.names import is_on_hub

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier
    from regraft.engines.workload import EngineChoice
    from regraft.networks.backbone import Backbone

HUB_BUNDLE = "classifier.safetensors"  # of a repository on the hub
_COMMIT_SHOWN = 12
_log = logging.getLogger("regraft").info


def check_named(model: str, weights: Path | None = None) -> None:
    """Raise for a classifier's file that is missing, or given weights as well. The hub is not asked.

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
    if is_bundle_name(model) and not file.is_file():
        beside = [str(path) for path in file.parent.glob("*.safetensors")] if file.parent.is_dir() else []
        raise BundleError(
            f"{name} does not exist.{did_you_mean(model, beside)} Name a file that `regraft fit` wrote, or a network."
        )


def is_bundle_name(model: str) -> bool:
    """Tell whether a name is that of a classifier's file, and of no network."""
    return not is_on_hub(model) and Path(model).suffix.startswith(".safetensor")


def names_classifier(named: str) -> bool:
    """Tell whether what may be photos or a classifier names the latter: by its file, or a repository on the hub."""
    return is_bundle_name(named) or is_on_hub(named)


def bundle_file(named: str | Path, say: Callable[[str], object] = _log) -> Path:
    """Return the file of a classifier: `named` itself, or the copy of the one in a repository, hf-hub:owner/name.

    The newest there is is fetched, unless a commit is named (hf-hub:owner/name@revision); without a connection the
    one that was fetched before is taken.

    Args:
        named: file or repository.
        say: is told which one of a repository it is.

    Raises:
        DownloadError: no such repository, no right to read it, or neither a connection nor a copy.
        BundleError: a repository that holds no classifier of regraft.
        ModelError: no name of a repository.
    """
    name = str(named)
    if not is_on_hub(name):
        return Path(named).expanduser()
    from regraft.networks.hub import download_errors

    with download_errors(name, lambda reason: _missing(name, reason)):
        found = _on_hub(name, say)
    if found is None:
        raise BundleError(
            f"{printable(name)} holds no classifier of regraft: the repository has no {HUB_BUNDLE}, which `regraft "
            "push` writes. Name another."
        )
    return found


def _missing(name: str, reason: str) -> str:
    return (
        f"{printable(name)}: the classifier cannot be downloaded, and is not on this machine ({reason}). Check the "
        "name and the connection, or name the file of a classifier."
    )


def _on_hub(name: str, say: Callable[[str], object]) -> Path | None:
    """Return the copy of a repository's classifier; None where it holds none. Raises as `newest_file`."""
    from regraft.networks.hub import newest_file, repository_of

    repository, revision = repository_of(name)
    found, unasked = newest_file(repository, HUB_BUNDLE, revision)
    if found is not None:
        commit = found.parent.name[:_COMMIT_SHOWN]
        how = f", fetched before, as the hub cannot be asked ({unasked})" if unasked else ""
        say(f"{printable(name)}: the classifier of commit {commit}{how}")
    return found


def find_bundle(model: str, *, fetch: bool = True, say: Callable[[str], object] = _log) -> Path | None:
    """Return the file of the classifier that `model` names, or is on the hub; None where it names a network.

    Args:
        model: a file, a network's name, or a repository, which may hold either.
        fetch: False uses only what was downloaded before.
        say: as of `bundle_file`.

    Raises:
        DownloadError: of a repository that is neither here nor to be had; the message is that of a network's weights.
    """
    if not is_on_hub(model):
        file = Path(model).expanduser()
        return file if is_bundle_name(model) or file.is_file() else None
    from regraft.networks.hub import cached_file, download_errors, repository_of

    repository, revision = repository_of(model)
    cached = cached_file(repository, HUB_BUNDLE, revision)
    if not fetch:
        return cached
    if cached is None and cached_file(repository, "config.json", revision) is not None:
        return None  # a network that was fetched before
    with download_errors(model):
        return _on_hub(model, say)


def load_named(
    model: str, weights: Path | None = None, *, fetch: bool = True, say: Callable[[str], object] = _log
) -> "Classifier | Backbone":
    """Return the classifier in the file or repository `model`, or the pretrained network of that name.

    Args:
        model: a file, a network's name, or a repository on the hub, which may hold either.
        weights: a file of weights for the network.
        fetch: False uses only what is on this machine.
        say: as of `bundle_file`.

    Raises:
        BundleError: a file that is no classifier.
        ModelError: no such network.
        WeightsError: its weights are not here, or are another's.
    """
    check_named(model, weights)
    file = None if weights is not None else find_bundle(model, fetch=fetch, say=say)
    if file is not None:
        from regraft.classifier.bundle import load_bundle

        return load_bundle(file)
    from regraft.networks.backbones import load_backbone  # here: they import PyTorch
    from regraft.networks.registry import check_model_name

    check_model_name(model)
    return load_backbone(model, weights, fetch=fetch)


def check_network(model: str) -> None:
    """Raise for what is neither the name of a network nor a file that is there. Nothing is fetched.

    Raises:
        BundleError: no such file.
        ModelError: no such network.
    """
    from regraft.features.network_cache import is_cached

    if isinstance(model, str) and is_bundle_name(model):
        check_named(model)
    elif not isinstance(model, str) or not is_cached(model):
        from regraft.networks.registry import check_model_name  # here: it imports PyTorch

        check_model_name(model)


def load_network(model: str, weights: str | Path | None = None, *, fetch: bool = True, limit: int) -> "Backbone":
    """Return a network to start from: by its name, or that of a classifier, by its file or repository.

    Args:
        model: as of `load_named`.
        weights: likewise.
        fetch: likewise.
        limit: bytes that the cache may hold, see `features.network_cache`; 0 for none.

    Raises:
        OptionError: a classifier that joins several; or a classifier, and weights.
        BundleError, ModelError, WeightsError: as of `load_named`.
    """
    from regraft.features.network_cache import load_cached
    from regraft.networks.backbone import Backbone

    if not names_classifier(model):  # a file that is called as a network is not meant
        return load_cached(model, weights, fetch=fetch, limit=limit)
    thing = load_named(model, None if weights is None else Path(weights), fetch=fetch)
    if isinstance(thing, Backbone):
        return thing
    thing.check_single("A network to start from")
    return thing.backbone.with_depths(()).with_ranges(())


def outline_network(model: str) -> "Backbone":
    """Return a network of which its weights do not matter: as `load_network`, but timm's are not fetched."""
    from regraft.networks.backbones import build_untrained

    is_network = not names_classifier(model) or find_bundle(model) is None
    return build_untrained(model) if is_network else load_network(model, limit=0)


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
