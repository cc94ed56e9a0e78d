"""Pretrained weights: from a file, a folder or the network, without executing anything in them."""

import pickle
import urllib.parse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from regraft.errors import WeightsError
from regraft.files import is_file
from regraft.networks.hub import download_errors, not_here
from regraft.networks.mismatch import describe_mismatch, mismatched_tensors

StateDict = dict[str, torch.Tensor]
_WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DataParallel and torch.compile put before every name


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors of a safetensors file or of a torchvision / timm state dict (`weights_only`).

    Raises:
        WeightsError: no such file, damaged, not a state dict, or a pickle that would have to be executed.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist or is no file.")
    try:
        return _find_state_dict(_load(path), path)
    except WeightsError:
        raise
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise WeightsError(
            f"{path} cannot be read as weights: {_why_unreadable(error)}. Allowed are .safetensors and a state dict "
            "saved by torch.save(model.state_dict(), file)."
        ) from None


def _why_unreadable(error: Exception) -> str:
    if "Unsupported global" in str(error):
        return "it holds Python objects besides tensors, which would have to be executed to be read"
    return "it is damaged or no weights file"


def _find_state_dict(checkpoint: Any, where: object) -> StateDict:
    """Return the state dict in a checkpoint, in one precision.

    Raises:
        WeightsError: there is none.
    """
    state = _unwrapped(checkpoint)
    names_to_tensors = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    )
    if not names_to_tensors or not state:
        raise WeightsError(
            f"{where} holds no state dict (names to tensors). Save one: torch.save(model.state_dict(), file)"
        )
    return in_one_precision(state)


def read_url(model: str, url: str, *, fetch: bool = True) -> StateDict:
    """Return the tensors of a published state dict, from torch hub's cache if it is there.

    Args:
        model: the network's name, for the message.
        url: where it was published.
        fetch: False looks only into the cache.

    Raises:
        WeightsError: it cannot be downloaded.
    """
    if not fetch and not is_file(Path(torch.hub.get_dir(), "checkpoints", Path(urllib.parse.urlsplit(url).path).name)):
        raise not_here(model)
    with download_errors(model):
        try:
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, progress=False)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, IndexError) as error:
            raise WeightsError(
                f"{model}: what {url} gave cannot be read as weights: {_why_unreadable(error)}. Remove its copy in "
                f"{torch.hub.get_dir()}/checkpoints and try again."
            ) from None
    return _find_state_dict(state, url)


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that torch then refuses anyway
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(checkpoint: Any) -> Any:
    """Return the state dict inside a training checkpoint, averaged weights (EMA) first, without wrappers' prefixes."""
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    if not isinstance(checkpoint, dict):
        return checkpoint
    while prefix := next((p for p in _WRAPPERS if checkpoint and all(str(n).startswith(p) for n in checkpoint)), ""):
        checkpoint = {name.removeprefix(prefix): tensor for name, tensor in checkpoint.items()}
    return checkpoint


def load_strictly(
    module: nn.Module,
    state: StateDict,
    *,
    architecture: str,
    source: str,
    load: Callable[..., Any] = nn.Module.load_state_dict,
    **options: Any,
) -> Any:
    """Load `state` into `module`, every tensor of both.

    Args:
        module: the network.
        state: its tensors by name.
        architecture: the network's name, for the message.
        source: where the tensors are from, for the message.
        load: PyTorch's `load_state_dict`.
        options: for `load`.

    Returns:
        What `load` returns.

    Raises:
        WeightsError: some are missing, extra or of another shape; they are named.
    """
    own = module.state_dict()
    others = [name for name, tensor in own.items() if name in state and not _fits(state[name], tensor)]
    # PyTorch says which names are missing or extra (it lets some counters of old files be absent), not which shapes
    found = load(module, {**state, **{name: own[name] for name in others}}, strict=False, **options)
    shapes = [f"{n}: {list(state[n].shape)} in the file, {list(own[n].shape)} in the network" for n in others]
    wrong = mismatched_tensors(found.missing_keys, found.unexpected_keys, shapes)
    if wrong:
        raise WeightsError(describe_mismatch(wrong, architecture, source))
    return found


def _fits(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    """Tell whether PyTorch puts one tensor in the other's place; old files have counters as vectors of one number."""
    return theirs.shape == ours.shape or (ours.ndim == 0 and theirs.shape == (1,))


def in_one_precision(state: StateDict) -> StateDict:
    """Return half-precision tensors as float32: everything is computed in one precision."""
    half = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in half else tensor for name, tensor in state.items()}
