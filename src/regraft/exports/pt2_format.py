"""PyTorch's own: a program of `torch.export`, which runs without timm and regraft."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from regraft.errors import ExportError, printable
from regraft.exports.metadata import KEY
from regraft.networks.tracing import evaluating

_EXTRA_FILE = f"{KEY}.json"


def write(module: nn.Module, example: torch.Tensor, path: Path, description: str) -> None:
    """Write a module of photos (b, h, w, 3) into the file `path`. See `onnx_format.write`.

    Raises:
        ExportError: its code depends on what a photo shows.
    """
    sizes = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "height", "width"))}
    with warnings.catch_warnings(), evaluating(module), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, (example,), dynamic_shapes={"pixels": sizes})
        except Exception as error:  # whatever tracing a foreign network may raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(f"torch.export cannot trace this network ({printable(reason).rstrip('.')}).") from error
        torch.export.save(program, path, extra_files={_EXTRA_FILE: description})


class Pt2Graph:
    """What PyTorch makes of the file `path`, on the CPU.

    Args:
        path: that `write` wrote.
    """

    def __init__(self, path: Path) -> None:
        kept = {_EXTRA_FILE: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._module = torch.export.load(path, extra_files=kept).module()
        text = kept[_EXTRA_FILE]
        self.description = text.decode() if isinstance(text, bytes) else text

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, c) probabilities of photos (b, h, w, 3)."""
        with torch.no_grad():
            return np.asarray(self._module(torch.from_numpy(np.ascontiguousarray(pixels))).numpy())
