"""ONNX: for onnxruntime, and what reads its files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.errors import ExportError, option
from regraft.exports.graph import INPUT, OUTPUT
from regraft.exports.metadata import KEY
from regraft.exports.silence import reason_of, silenced
from regraft.files import size_in_words
from regraft.images.reading import UnreadableImageError
from regraft.networks.tracing import evaluating
from regraft.runtime import cpu_count

_MOST_BYTES = 2_000_000_000  # of tensors in one file: protobuf's limit is 2 GiB, of all that is in it
_SCOPE, _OF_CROPS = "namespace", "/crops."  # the exporter's name of the module that a node comes from
_CROPS = "crops."
_QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Clip", "GlobalAveragePool", "MaxPool", "Concat")
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "root")


def write(module: nn.Module, example: torch.Tensor, path: Path, description: str) -> None:
    """Write a module of photos (b, h, w, 3) into the file `path`.

    Args:
        module: `ClassifierGraph`.
        example: photos that it is traced with.
        path: of the file.
        description: JSON, which the file keeps.

    Raises:
        ExportError: it is too large, or has a layer that ONNX cannot express.
    """
    import onnx  # noqa: F401 (PyTorch imports them itself; here a missing one is named)
    import onnxscript  # noqa: F401

    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > _MOST_BYTES:
        raise ExportError(
            f"an ONNX file holds at most {size_in_words(_MOST_BYTES)} of weights. Got a network of "
            f"{size_in_words(size)}. Write another format: {option('to', 'openvino')} or {option('to', 'pt2')}."
        )
    with silenced(*_LOGGERS), evaluating(module), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes={"pixels": {0: "batch", 1: "height", 2: "width"}},
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # whatever tracing or translating a foreign network may raise
            raise ExportError(f"ONNX cannot express this network ({reason_of(error)}).") from error
        assert program is not None
        for node in program.model.graph.all_nodes():
            if _OF_CROPS in node.metadata_props.get(_SCOPE, ""):
                node.name = f"{_CROPS}{node.name}"  # by which quantisation knows them
            node.metadata_props.clear()  # the lines of source code that it came from, on this machine
        program.model.metadata_props[KEY] = description
        program.save(path, external_data=False)


def quantise(source: Path, target: Path, photos: Iterable[np.ndarray], description: str) -> None:
    """Write the int8 version of a file: weights by channel, activations by the least and largest value on photos.

    Args:
        source: that `write` wrote.
        target: the file to write.
        photos: (1, h, w, 3) each.
        description: JSON, which the file keeps.

    Raises:
        ExportError: onnxruntime cannot quantise it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._photos = iter(photos)

        def get_next(self) -> dict[str, np.ndarray] | None:
            pixels = next(self._photos, None)
            return None if pixels is None else {INPUT: pixels}

    prepared = target.with_name(f"prepared-{target.name}")
    with silenced(*_LOGGERS):
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            names = [node.name for node in onnx.load(str(prepared)).graph.node]
            quantize_static(
                str(prepared),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(_QUANTISED),
                nodes_to_exclude=[name for name in names if name.startswith(_CROPS)],
            )
        except UnreadableImageError:
            raise
        except Exception as error:  # whatever a foreign network may raise
            raise ExportError(f"onnxruntime cannot quantise this network ({reason_of(error)}).") from error
        model = onnx.load(str(target))
        del model.metadata_props[:]
        model.metadata_props.add(key=KEY, value=description)
        onnx.save(model, str(target))


class OnnxGraph:
    """What onnxruntime makes of the file `path`, on the CPU.

    Args:
        path: that `write` wrote.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        options.intra_op_num_threads = cpu_count()
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, c) probabilities of photos (b, h, w, 3)."""
        return np.asarray(self._session.run([OUTPUT], {INPUT: pixels})[0])

    @property
    def description(self) -> str:
        """Return the JSON that the file keeps."""
        return str(self._session.get_modelmeta().custom_metadata_map[KEY])
