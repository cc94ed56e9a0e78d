"""Pretrained networks without their last layer: the only door to timm."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import nn

from regraft.errors import ModelError, WeightsError
from regraft.images.preprocess import CROP_MODES, Preprocess
from regraft.networks.backbone import Backbone
from regraft.networks.building import ROOM, create, strict_loading
from regraft.networks.hub import hub_file, other_ways
from regraft.networks.mismatch import describe_mismatch
from regraft.networks.names import HUB_PREFIXES, local_weights
from regraft.networks.recipe import Recipe, without_licence
from regraft.networks.registry import HUB_WEIGHTS, check_model_name, find_recipe, installed_network
from regraft.networks.weights import StateDict, load_strictly, read_state_dict, read_url

_AUXILIARY_HEAD = "AuxLogits."  # Inception-v3's second classifier, used in training alone


def load_backbone(model: str, weights: str | Path | None = None, *, fetch: bool = True) -> Backbone:
    """Load a pretrained network and drop its classifier.

    Args:
        model: "offline" or "pocket", a timm name ("resnet50", "vgg16.tv_in1k"), "hf-hub:owner/name", or
            "local-dir:folder" with config.json and model.safetensors.
        weights: a file to load the weights from instead: safetensors, or a state dict as torchvision and timm save
            it, read with `weights_only`.
        fetch: False uses only what is on this machine.

    Raises:
        ModelError: no such network.
        WeightsError: no weights, or a tensor that is missing, extra or of another shape.
    """
    check_model_name(model)
    if weights is not None:
        recipe = without_licence(find_recipe(model))
        state, source = read_state_dict(Path(weights)), str(weights)
        return _backbone(_build(recipe, state, source), recipe, source)
    if model.startswith(HUB_PREFIXES):  # timm keeps config and weights side by side: a local folder once fetched
        repository = model.partition(":")[2]
        hub_file(model, repository, HUB_WEIGHTS, fetch=fetch)
    recipe = find_recipe(model, fetch=fetch)
    state, source = _fetch(model, recipe.settings, fetch=fetch)
    return _backbone(_build(recipe, state, source), recipe, source)


def rebuild_backbone(recipe: Recipe, preprocess: Preprocess, state: StateDict) -> Backbone:
    """Build a network from the contents of a bundle; nothing is downloaded.

    Raises:
        WeightsError: this version of timm has no such architecture, or its tensors are others.
    """
    if not timm.is_model(recipe.architecture):
        raise WeightsError(
            f"timm {timm.__version__} has no network {recipe.architecture!r}. Update it: pip install -U timm"
        )
    parameters = sum(tensor.numel() for tensor in state.values())
    backbone = _backbone(create(recipe, classes=0, most=parameters + ROOM), recipe, "the bundle")
    load_strictly(backbone.module, state, architecture=recipe.architecture, source="the bundle")
    return replace(backbone, preprocess=preprocess)


def reinitialised(backbone: Backbone, seed: int) -> Backbone:
    """Return the same network with random weights, initialised as timm does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = create(backbone.recipe, classes=0)
    return replace(_backbone(module, backbone.recipe, "random weights"), preprocess=backbone.preprocess)


def build_untrained(model: str, *, size: int | None = None, arguments: Mapping[str, Any] | None = None) -> Backbone:
    """Build a network with random weights; in a local folder only config.json is read.

    Args:
        model: as in `load_backbone`.
        size: height and width of its images in pixels; None for its own.
        arguments: further ones of timm's constructor.

    Raises:
        ModelError: no such network, or one that cannot be built so.
    """
    check_model_name(model)
    recipe = without_licence(find_recipe(model))
    if size is not None:
        recipe = replace(recipe, settings={**recipe.settings, "input_size": (3, size, size)})
        if recipe.settings.get("fixed_input_size"):
            recipe = replace(recipe, arguments={**recipe.arguments, "img_size": size})
    recipe = replace(recipe, arguments={**recipe.arguments, **(arguments or {})})
    return _backbone(create(recipe, classes=0), recipe, "random weights")


def with_classifier(backbone: Backbone, weight: torch.Tensor, bias: torch.Tensor) -> nn.Module | None:
    """Return timm's network of `backbone` with this layer (c, d), (c,) as its last one.

    None where timm's own last layer is not a linear one on these features.
    """
    module = create(backbone.recipe, classes=len(bias))
    layer = module.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear) or layer.weight.shape != weight.shape or layer.bias is None:
        return None
    module.load_state_dict({**module.state_dict(), **backbone.module.state_dict()}, strict=True)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return module


def _fetch(model: str, settings: dict[str, Any], *, fetch: bool) -> tuple[StateDict, str]:
    """Return the pretrained tensors that timm's `settings` point to, and where they came from."""
    if installed := installed_network(model):
        return installed.read()
    if settings.get("source") == "local-dir":
        file = local_weights(model, Path(settings["file"]))
        return read_state_dict(file), str(file)
    if settings.get("custom_load"):
        raise WeightsError(
            f"{model}: its weights are no state dict and cannot be checked tensor by tensor. Choose another tag; "
            f"`regraft models {model.partition('.')[0]}` lists them."
        )
    if repository := settings.get("hf_hub_id"):
        name = settings.get("hf_hub_filename")
        file = hub_file(model, repository, [name] if name else HUB_WEIGHTS, fetch=fetch)
        return read_state_dict(file), f"hf-hub:{repository}"
    if url := settings.get("url"):
        return read_url(model, url, fetch=fetch), str(url)
    raise WeightsError(f"{model} has no published pretrained weights. Choose another network, or {other_ways()}")


def _build(recipe: Recipe, state: StateDict, source: str) -> nn.Module:
    """Build with as many classes as the weights have, so that every tensor can be matched; then drop the classifier.

    timm skips tensors that do not fit whenever the number of classes differs. Here none is skipped.
    """
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_AUXILIARY_HEAD)}
    try:
        with strict_loading(recipe.architecture, source):
            module = create(recipe, classes=_class_count(recipe.settings, state), state=state)
    except (ModelError, WeightsError):
        raise
    except (RuntimeError, KeyError, AttributeError, ValueError) as error:  # timm translates names while it loads
        reason = str(error).strip().splitlines()
        raise WeightsError(
            describe_mismatch(reason[-1] if reason else type(error).__name__, recipe.architecture, source)
        ) from None
    module.reset_classifier(0)  # type: ignore[operator]
    return module


def _backbone(module: nn.Module, recipe: Recipe, source: str) -> Backbone:
    if getattr(module, "AuxLogits", None) is not None:
        module.AuxLogits, module.aux_logits = None, False  # type: ignore[assignment]
    settings = {name: value for name, value in recipe.settings.items() if _is_plain(value)}
    recipe = Recipe(recipe.architecture, recipe.arguments, settings)
    return Backbone(module.eval(), recipe, _preprocess(module), width_of(module), source)


def width_of(module: nn.Module) -> int:
    """Return d, the length of a feature vector of one of timm's networks without its last layer."""
    # VGG's two hidden layers come after `num_features`; they are part of what the last layer sees
    return int(getattr(module, "head_hidden_size", None) or module.num_features)  # type: ignore[arg-type]


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, list, tuple))


def _class_count(settings: dict[str, Any], state: StateDict) -> int:
    """Return the number of classes of the weights' own classifier, 0 if it has been cut off."""
    named = settings.get("classifier") or ()
    candidates = [named] if isinstance(named, str) else list(named)
    # then torchvision's names, which timm's own filters translate
    for name in [*candidates, "classifier.6", "fc", "classifier", "head", "head.fc"]:
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.ndim in (2, 4):
            return int(weight.shape[0])
    return 0


def _preprocess(module: nn.Module) -> Preprocess:
    config = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    interpolation = config["interpolation"]
    return Preprocess(
        height=int(height),
        width=int(width),
        crop_pct=float(config["crop_pct"]),
        crop_mode=config["crop_mode"] if config["crop_mode"] in CROP_MODES else "center",
        interpolation="bilinear" if interpolation == "random" else str(interpolation),
        mean=tuple(float(value) for value in config["mean"]),
        std=tuple(float(value) for value in config["std"]),
    )
