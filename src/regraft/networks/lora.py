"""Low-rank adapters on linear layers (LoRA, Hu et al. 2021), by peft: trained beside weights, then added to them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from regraft.errors import option
from regraft.extras import check_installed
from regraft.networks.tracing import After, blank_images, forward_hooks


def check_peft() -> None:
    """Raise `MissingPackageError` if peft is not installed."""
    check_installed("peft", option("lora"))


def add_adapters(network: nn.Module, weights: Sequence[str], *, rank: int, seed: int) -> Any:
    """Put adapters beside the named weights of linear layers in `network`; these weights are no longer trained.

    Args:
        network: is changed in place.
        weights: names like "blocks.10.attn.qkv.weight".
        rank: of the two factors' product, which starts at zero, so that the outputs stay as they were.
        seed: of the random numbers in the factor that does not start at zero.

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


def passed_by(network: nn.Module, weights: Sequence[str], input_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return those of the named weights whose adapters would learn nothing; one blank image is run through a copy.

    Some networks (BEiT, EVA-02, Swin v2) do not call a linear layer but multiply by its weight themselves. An adapter
    adds to the output of the layer when it is called, and is then reached by no gradient.

    Args:
        network: (b, 3, h, w) -> (b, d).
        weights: names like "blocks.10.attn.qkv.weight".
        input_shape: (3, h, w).
    """
    network = copy.deepcopy(network)  # some keep what they computed: with a gradient it could not be copied any more
    parameter = next(network.parameters())
    additions = [torch.zeros((), device=parameter.device, dtype=parameter.dtype, requires_grad=True) for _ in weights]

    def add(addition: torch.Tensor) -> After:
        return lambda output: output + addition

    layers = [name.removesuffix(".weight") for name in weights]
    after = [(layer, add(addition)) for layer, addition in zip(layers, additions, strict=True)]
    with forward_hooks(network, after=after), torch.enable_grad():
        total = network(blank_images(network, input_shape)).sum()
    if not total.requires_grad:
        return tuple(weights)
    gradients = torch.autograd.grad(total, additions, allow_unused=True)
    return tuple(name for name, gradient in zip(weights, gradients, strict=True) if gradient is None)


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
