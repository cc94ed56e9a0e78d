"""Networks by name: timm's, those that are installed with regraft, in folders and on the hub; a name gives a recipe."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.errors import DownloadError, ModelError, OptionError, did_you_mean, option, printable
from regraft.extras import check_installed
from regraft.files import is_file, parse_json, read_regular
from regraft.networks.names import ALIASES, AUTO, HUB_PREFIXES, LOCAL_PREFIX, OFFLINE, POCKET, own_name
from regraft.networks.packaged import pocket_folder, read_packaged
from regraft.networks.recipe import LARGEST_SIDE, SMALLEST_SIDE, Recipe, check_settings

if TYPE_CHECKING:
    from regraft.networks.weights import StateDict

# Of the convolutional networks with an open licence that run 100 photos a second or more on two CPU cores, one that has
# learned many classes (11,821, ImageNet-12k): docs/networks.md says how it was chosen.
STRONG = "convnext_nano.in12k"
HUB_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
_PRETRAINED = "a pretrained network"
_LARGEST_CONFIG = 10_000_000  # bytes; the names of 20,000 classes take 1 MB


@dataclass(frozen=True)
class InstalledNetwork:
    """A network that is there as soon as regraft is.

    Attributes:
        recipe: returns how timm builds it.
        read: returns its tensors by timm's names, and where they came from, in words.
    """

    recipe: Callable[[], Recipe]
    read: "Callable[[], tuple[StateDict, str]]"


@dataclass(frozen=True)
class StartingPoint:
    """A network that people start from.

    Attributes:
        name: with the tag of its weights.
        parameters: without the last layer.
        megabytes: of its weights in float32, with the last layer: what is downloaded, about; 0 for none.
        classes: what it has learned to tell apart, in words.
        tried: whether it is downloaded to choose from. What is on the machine already is tried anyway.
    """

    name: str
    parameters: int
    megabytes: int
    classes: str
    tried: bool = False


POPULAR = (  # from small to large
    StartingPoint(POCKET, 4_554_680, 0, "200 classes, 64 x 64 pixels"),
    StartingPoint("mobilenetv2_100.ra_in1k", 2_223_872, 14, "1,000 classes"),
    StartingPoint(OFFLINE, 3_371_008, 0, "1,000 classes"),
    StartingPoint("efficientnet_b0.ra_in1k", 4_007_548, 21, "1,000 classes", tried=True),
    StartingPoint("mobilenetv3_large_100.ra_in1k", 4_202_032, 22, "1,000 classes"),
    StartingPoint("resnet18.a1_in1k", 11_176_512, 47, "1,000 classes"),
    StartingPoint(STRONG, 14_952_560, 90, "11,821 classes", tried=True),
    StartingPoint("inception_v3.tv_in1k", 21_785_568, 95, "1,000 classes"),
    StartingPoint("vit_small_patch16_224.augreg_in21k", 21_665_664, 120, "21,843 classes", tried=True),
    StartingPoint("vit_small_patch14_dinov2.lvd142m", 22_056_192, 88, "photos without labels"),
    StartingPoint("resnet50.a1_in1k", 23_508_032, 102, "1,000 classes"),
    StartingPoint("convnext_tiny.in12k", 27_820_128, 148, "11,821 classes"),
    StartingPoint("vgg16.tv_in1k", 134_260_544, 553, "1,000 classes"),
)


def licence_of(name: str) -> str:
    """Return the licence of a network's weights as timm, or its config.json, states it; "unknown" where none does."""
    return str(find_recipe(name, fetch=False).settings.get("license") or "unknown")


def is_network(name: str) -> bool:
    """Tell whether timm has a network of this name (a tag may follow)."""
    import timm

    return bool(timm.is_model(name.partition(".")[0]))


def network_names(pattern: str = "", *, pretrained: bool = True) -> list[str]:
    """Return the names of installed networks and timm's that contain `pattern` (or match it, if it has a `*`)."""
    import timm

    wild = pattern if "*" in pattern else f"*{pattern}*"
    installed = [name for name in INSTALLED if fnmatchcase(name, wild)]
    return [*installed, *map(str, timm.list_models(wild, pretrained=pretrained))]


def installed_network(model: str) -> InstalledNetwork | None:
    """Return the network of this name if it is installed with regraft."""
    return INSTALLED.get(own_name(model))


def check_model_name(model: str) -> None:
    """Raise `ModelError` if `model` cannot be a network. Reads at most a local config.json."""
    if not isinstance(model, str):
        raise ModelError(f"model must be a network's name, a text such as 'resnet50'. Got {model!r}.")
    if model == AUTO:
        raise ModelError(
            f"{AUTO!r} is no network, but a choice that `regraft fit` makes of several. Name one network; `regraft "
            "models PATTERN` lists the names."
        )
    if model.startswith(LOCAL_PREFIX):
        find_recipe(model)
    elif not (installed_network(model) or model.startswith(HUB_PREFIXES)):
        _check_timm_name(model)


def _check_timm_name(model: str) -> None:
    import timm

    architecture, _, tag = model.partition(".")
    if timm.is_model(architecture):
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise ModelError(
                f"{architecture} has no pretrained weights tagged {tag!r}. Its tags: {', '.join(tags) or 'none'}."
            )
        return
    hint = ""
    if "/" in model or Path(model).exists():
        hint = f" A folder is written {LOCAL_PREFIX}{model}, a hub model hf-hub:owner/name."
    close = did_you_mean(architecture, [*INSTALLED, *ALIASES, *timm.list_models()])
    raise ModelError(f"There is no network named {model!r}.{close}{hint} `regraft models PATTERN` lists the names.")


def find_recipe(model: str, *, fetch: bool = True) -> Recipe:
    """Return what timm knows of `model`; a hub's config.json is fetched if it is not in the cache."""
    import timm

    from regraft.networks.hub import hub_file

    if installed := installed_network(model):
        return installed.recipe()
    if model.startswith(LOCAL_PREFIX):
        return _read_config(model, Path(model.removeprefix(LOCAL_PREFIX)))
    if model.startswith(HUB_PREFIXES):
        return _read_config(model, hub_file(model, model.partition(":")[2], ["config.json"], fetch=fetch).parent)
    config = timm.get_pretrained_cfg(model)
    return Recipe(model.partition(".")[0], {}, {} if config is None else dict(config.to_dict()))  # type: ignore[no-untyped-call]


def _read_config(model: str, folder: Path) -> Recipe:
    import timm
    from timm.models._hub import load_model_config_from_path
    from timm.models._pretrained import PretrainedCfg

    file = folder / "config.json"
    if not is_file(file):
        raise ModelError(f"{model}: {file} does not exist. Name a folder with config.json and model.safetensors.")
    try:
        parse_json(read_regular(file, limit=_LARGEST_CONFIG))  # timm's own reader accepts more
        settings, architecture, arguments = load_model_config_from_path(folder)
        settings, arguments = dict(settings), dict(arguments or {})
    except Exception as error:  # a text that timm did not write makes it raise anything
        raise ModelError(f"{model}: {file} is not in timm's format ({printable(repr(error)[:200])}).") from None
    if not (isinstance(architecture, str) and timm.is_model(architecture)):
        close = did_you_mean(str(architecture)[:100], timm.list_models())
        got = printable(repr(architecture)[:200])
        raise ModelError(f"{model}: {file} names an unknown architecture, {got}.{close}")
    check_settings(settings, f"{model}: {{}} in {file}")
    known = {field.name for field in fields(PretrainedCfg)}  # a newer timm may have written more
    settings = {name: value for name, value in settings.items() if name in known}
    return Recipe(architecture.partition(".")[0], arguments, settings)


def _lite_recipe() -> Recipe:
    settings = {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "num_classes": 1000,
        "first_conv": "conv_stem",
        "classifier": "classifier",
        "license": "apache-2.0",
    }
    return Recipe("tf_efficientnet_lite0", {}, settings)


def _read_pocket() -> "tuple[StateDict, str]":
    from regraft.networks.weights import read_state_dict

    return read_state_dict(pocket_folder() / "model.safetensors"), POCKET  # no path of this machine


INSTALLED = {
    POCKET: InstalledNetwork(
        lambda: _read_config(POCKET, pocket_folder()),
        _read_pocket,
    ),
    OFFLINE: InstalledNetwork(_lite_recipe, read_packaged),
}


def default_network(*, fetch: bool = True) -> tuple[str, str]:
    """Return the name of a strong network where its weights are or can be had, else `OFFLINE`; and a sentence on it.

    Args:
        fetch: False only asks whether they can be had.
    """
    check_installed("timm", _PRETRAINED)  # before the hub's package, which comes with it

    from regraft.networks.hub import check_downloadable, hub_file

    repository = f"timm/{STRONG}"
    try:
        if fetch:
            hub_file(STRONG, repository, HUB_WEIGHTS)
        else:
            check_downloadable(STRONG, repository, HUB_WEIGHTS)
    except DownloadError as error:
        return OFFLINE, (
            f"network: {OFFLINE}, which is installed with regraft, for {STRONG} cannot be downloaded ({error.reason}). "
            f"With a connection that one is taken, which has learned more classes; {option('model')} names another."
        )
    return STRONG, f"network: {STRONG}, as no other is named"


def networks_to_try(*, fetch: bool = True) -> tuple[list[str], str]:
    """Return the names of networks to choose from where none is named, and a sentence on them.

    They are those of `POPULAR` that are installed with regraft or were downloaded before, and those that are marked
    there, which are downloaded; without a connection the first two alone.

    Args:
        fetch: False downloads nothing.
    """
    check_installed("timm", _PRETRAINED)

    from regraft.networks.hub import hub_file

    found, reason = [], "" if fetch else "nothing is downloaded"
    for one in POPULAR:
        if one.megabytes and not _is_here(one.name):
            if not one.tried or reason:  # without a connection, one attempt is enough
                continue
            try:
                hub_file(one.name, f"timm/{one.name}", HUB_WEIGHTS)
            except DownloadError as error:
                reason = f"others cannot be downloaded: {error.reason}"
                continue
        found.append(one.name)
    return found, f"networks to choose from: {', '.join(found)}" + (f" ({reason})" if reason else "")


def networks_to_download() -> list[str]:
    """Return the names of networks that `networks_to_try` would download, which are not on this machine yet."""
    return [one.name for one in POPULAR if one.tried and one.megabytes and not _is_here(one.name)]


def _is_here(name: str) -> bool:
    from regraft.networks.hub import hub_file

    try:
        hub_file(name, f"timm/{name}", HUB_WEIGHTS, fetch=False)
    except DownloadError:
        return False
    return True


def check_side(size: int | None, option: str) -> None:
    """Raise `OptionError` unless `size` (pixels) is None or within what networks are made for."""
    if size is not None and not (isinstance(size, int) and SMALLEST_SIDE <= size <= LARGEST_SIDE):
        raise OptionError(f"{option} must be a number of pixels from {SMALLEST_SIDE} to {LARGEST_SIDE}. Got {size!r}.")
