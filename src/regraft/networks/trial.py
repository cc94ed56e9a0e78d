"""Whether a network can be run at all as it was asked for: a trial with one blank image."""

import torch
from torch import nn

from regraft.errors import ModelError, OptionError

_SMALLEST, _LARGEST = 16, 2048  # pixels


def check_side(size: int | None, option: str) -> None:
    """Raise `OptionError` unless `size` (pixels) is None or within what networks are made for."""
    if size is not None and not (isinstance(size, int) and _SMALLEST <= size <= _LARGEST):
        raise OptionError(f"{option} must be a number of pixels from {_SMALLEST} to {_LARGEST}. Got {size!r}.")


def check_takes(module: nn.Module, height: int, width: int, problem: str) -> None:
    """Raise `ModelError` unless `module` takes an image of this size.

    Args:
        module: any network of colour images.
        height: in pixels.
        width: in pixels.
        problem: how the message begins, and how it ends, with {} in place of the reason.
    """
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, 3, height, width, device=device))
    except (RuntimeError, AssertionError, ValueError, ArithmeticError, LookupError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(problem.replace("{}", reason)) from None
    finally:
        module.train(training)
