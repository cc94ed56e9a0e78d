"""PyTorch's own: a program of `torch.export`, which runs without timm and regraft."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from regraft.errors import ExportError
from regraft.exports.metadata import KEY
from regraft.exports.silence import reason_of, silenced
from regraft.networks.tracing import evaluating

_EXTRA_FILE = f"{KEY}.json"


def write(module: nn.Module, example: torch.Tensor, path: Path, description: str) -> None:
    """Write a module of photos (b, h, w, 3) into the file `path`. See `onnx_format.write`.

    Raises:
        ExportError: its code depends on what a photo shows.
    """
    sizes = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "height", "width"))}
    with silenced(), evaluating(module), torch.no_grad():
        try:
            program = torch.export.export(module, (example,), dynamic_shapes={"pixels": sizes})
        except Exception as error:  # whatever tracing a foreign network may raise
            raise ExportError(f"torch.export cannot trace this network ({reason_of(error)}).") from error
        for part in program.graph_module.modules():
            if isinstance(part, torch.fx.GraphModule):
                for node in part.graph.nodes:
                    node.meta.pop("stack_trace", None)  # lines of source code on this machine
        torch.export.save(program, path, extra_files={_EXTRA_FILE: description})


class Pt2Graph:
    """What PyTorch makes of the file `path`, on the CPU.

    Args:
        path: that `write` wrote.
    """

    def __init__(self, path: Path) -> None:
        kept = {_EXTRA_FILE: ""}
        with silenced():
            self._module = torch.export.load(path, extra_files=kept).module()
        text = kept[_EXTRA_FILE]
        self.description = text.decode() if isinstance(text, bytes) else text

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, c) probabilities of photos (b, h, w, 3)."""
        with torch.no_grad():
            return np.asarray(self._module(torch.from_numpy(np.ascontiguousarray(pixels))).numpy())
