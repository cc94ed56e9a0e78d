"""Low-rank adapters on linear layers (LoRA, Hu et al. 2021), by peft: trained beside weights, then added to them."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from regraft.errors import OptionError


def check_peft() -> None:
    """Raise `OptionError` if peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise OptionError("--lora needs the package peft, which is not installed. pip install 'regraft[lora]'")


def add_adapters(network: nn.Module, weights: Sequence[str], *, rank: int, seed: int) -> Any:
    """Put adapters beside the named weights of linear layers in `network`; these weights no longer learn.

    Args:
        network: is changed in place.
        weights: names like "blocks.10.attn.qkv.weight".
        rank: of the two factors' product; it starts at zero, so that the network answers as before.
        seed: of the factor that does not start at zero.

    Returns:
        peft's model, for `merge_adapters`.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    layers = [name.removesuffix(".weight") for name in weights]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers, bias="none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoraModel(network, config, "default")


def adapted_weight(name: str) -> str:
    """Return the weight that the parameter `name` of an adapted network belongs to; `name` itself if it is no adapter.

    >>> adapted_weight("blocks.0.attn.qkv.lora_A.default.weight")
    'blocks.0.attn.qkv.weight'
    """
    layer, found, _ = name.partition(".lora_")
    return f"{layer}.weight" if found else name


def merge_adapters(adapted: Any) -> nn.Module:
    """Add the adapters to the weights that they stand beside, and return the network as it was before them."""
    merged: nn.Module = adapted.merge_and_unload()
    return merged
