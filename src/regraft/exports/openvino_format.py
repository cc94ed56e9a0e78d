"""OpenVINO: an .xml file with the graph, and a .bin file beside it with the weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.engines.openvino import core, translate, without_telemetry
from regraft.errors import ExportError
from regraft.exports.graph import INPUT, OUTPUT
from regraft.exports.metadata import KEY
from regraft.exports.silence import reason_of, silenced
from regraft.images.reading import UnreadableImageError

WEIGHTS_SUFFIX = ".bin"
_OF_CROPS = r".*crops\..*"  # names of what resizes, after its module's
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


def quantise(source: Path, target: Path, photos: Sequence[np.ndarray], description: str) -> None:
    """Write the int8 version of a file, by NNCF: of one photo at a time. See `onnx_format.quantise`.

    OpenVINO 2026.4 ends the process in some int8 networks whose number of photos is not fixed.

    Raises:
        ExportError: NNCF cannot quantise it.
    """
    model = core().read_model(source)
    model.reshape([1, *list(model.inputs[0].partial_shape)[1:]])
    with silenced("nncf", "torch.utils.cpp_extension"), without_telemetry():
        import nncf

        ignored = nncf.IgnoredScope(patterns=[_OF_CROPS], validate=False)
        try:
            found = nncf.quantize(
                model,
                nncf.Dataset(photos),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(photos),
                ignored_scope=ignored,
            )
        except UnreadableImageError:
            raise
        except Exception as error:  # whatever a foreign network may raise
            raise ExportError(f"NNCF cannot quantise this network ({reason_of(error)}).") from error
    save(found, target, description)


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
