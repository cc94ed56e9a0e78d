"""Pretrained weights: from a file, a folder or the network, always without running anything from them."""

import pickle
import re
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from safetensors.torch import load_file

from regraft.errors import WeightsError, shortlist

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
        return _checked(_tensors_of(path), path)
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


def _checked(checkpoint: Any, where: object) -> StateDict:
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


def local_weights(model: str, folder: Path) -> Path:
    """Return the weights file of a timm `local-dir:` folder.

    Raises:
        WeightsError: there is none, or several and none has the usual name.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".pth", ".pt", ".bin")]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise WeightsError(f"{model}: expected model.safetensors in {folder}. Weights files found: {found}.")
    return files[0]


def read_url(model: str, url: str) -> StateDict:
    """Return the tensors of a published state dict, from torch hub's cache if it is there.

    Raises:
        WeightsError: it cannot be downloaded.
    """
    with download_errors(model):
        try:
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, progress=False)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, IndexError) as error:
            raise WeightsError(
                f"{model}: what {url} gave cannot be read as weights: {_why_unreadable(error)}. Remove its copy in "
                f"{torch.hub.get_dir()}/checkpoints and try again."
            ) from None
    return _checked(state, url)


def hub_file(model: str, repository: str, names: Sequence[str]) -> Path:
    """Return the local copy of the first of `names` that a Hugging Face repository ("owner/name@revision") has.

    What was fetched before is used as it is, without asking the network again.

    Raises:
        WeightsError: not in the cache and not to be had; the message names the three ways.
    """
    repository, _, revision = repository.partition("@")
    for name in names:
        cached = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    with download_errors(model):
        _check_reachable(ENDPOINT)
        for name in names[:-1]:
            with suppress(EntryNotFoundError):
                return Path(hf_hub_download(repository, name, revision=revision or None))
        return Path(hf_hub_download(repository, names[-1], revision=revision or None))


@contextmanager
def download_errors(model: str) -> Iterator[None]:
    """Turn every way in which a download fails into one sentence that names what else can be done."""
    try:
        yield
    except (HfHubHTTPError, OSError) as error:  # the hub's offline errors and urllib's are OSErrors
        reason = str(error).strip().partition("\n")[0][:160].rstrip(".") or type(error).__name__
        raise WeightsError(
            f"{model}: the pretrained weights are not on this machine and cannot be downloaded ({reason}). There are "
            f"three ways: (1) connect to the network once, after which they stay in the cache; {other_ways()}"
        ) from None


def _check_reachable(address: str) -> None:
    """Raise `OSError` at once where the host's name cannot be resolved; the hub's client retries for 20 seconds."""
    if not urllib.request.getproxies():
        host = urllib.parse.urlsplit(address).hostname or ""
        try:
            socket.getaddrinfo(host, 443)
        except socket.gaierror:
            raise OSError(f"no network: {host} is not found") from None


def other_ways() -> str:
    """Return the two ways to weights that need no download, as part of a message."""
    return (
        "(2) --weights FILE, a .safetensors file or torchvision / timm state dict of this network; "
        "(3) --model local-dir:FOLDER, a folder with config.json and model.safetensors."
    )


def _tensors_of(path: Path) -> Any:
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


def describe_mismatch(error: Exception, architecture: str, source: str) -> str:
    """Return the message for weights that do not fit, naming every tensor that torch's `error` names."""
    text = str(error)
    missing = _quoted_after(text, "Missing key(s) in state_dict:")
    extra = _quoted_after(text, "Unexpected key(s) in state_dict:")
    shapes = [
        f"{name}: {theirs} in the file, {ours} in the network"
        for name, theirs, ours in re.findall(
            r"size mismatch for (\S+): copying a param with shape torch\.Size\((\[.*?\])\) from checkpoint, "
            r"the shape in current model is torch\.Size\((\[.*?\])\)",
            text,
        )
    ]
    parts = [
        f"{len(names)} tensors {what}:\n{shortlist(names, 10)}"
        for what, names in (("missing", missing), ("extra", extra), ("of another shape", shapes))
        if names
    ]
    found = "\n".join(parts) or text.strip().splitlines()[-1]
    return (
        f"{source} holds weights of another architecture than {architecture}. {found}\n"
        f"Name the network that the file belongs to with --model, or the file that belongs to {architecture}."
    )


def _quoted_after(text: str, heading: str) -> list[str]:
    _, found, rest = text.partition(heading)
    return re.findall(r'"([^"]+)"', rest.split("\n", 1)[0]) if found else []


def in_one_precision(state: StateDict) -> StateDict:
    """Return half-precision tensors as float32: everything is computed in one precision."""
    half = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in half else tensor for name, tensor in state.items()}
