"""OpenVINO: an .xml file with the graph, and a .bin file beside it with the weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.engines.openvino import core, translate
from regraft.exports.graph import INPUT, OUTPUT
from regraft.exports.metadata import KEY

WEIGHTS_SUFFIX = ".bin"
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}  # else it computes in bfloat16 where the processor can


def write(module: nn.Module, example: torch.Tensor, path: Path, description: str) -> None:
    """Write a module of photos (b, h, w, 3) into the file `path`, and its weights beside it. See `onnx_format.write`.

    Raises:
        EngineError: it has a layer that OpenVINO cannot run.
    """
    save(_model(module, example), path, description)


def _model(module: nn.Module, example: torch.Tensor) -> Any:
    model = translate(module, example)
    model.reshape([-1, -1, -1, example.shape[-1]])
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    return model


def save(model: Any, path: Path, description: str) -> None:
    """Write an OpenVINO model with the JSON that it keeps."""
    core()
    import openvino

    model.set_rt_info(description, [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


class OpenVinoGraph:
    """What OpenVINO makes of the file `path`, on the CPU, in float32 where it is not int8.

    Args:
        path: that `write` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._model = core().read_model(path)
        self._compiled = core().compile_model(self._model, "CPU", FLOAT32)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, c) probabilities of photos (b, h, w, 3)."""
        return np.array(self._compiled(np.ascontiguousarray(pixels))[OUTPUT])

    @property
    def description(self) -> str:
        """Return the JSON that the file keeps."""
        return str(self._model.get_rt_info([KEY]).astype(str))
