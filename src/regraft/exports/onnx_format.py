"""ONNX: for onnxruntime, and what reads its files."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.errors import ExportError, option, printable
from regraft.exports.graph import INPUT, OUTPUT
from regraft.exports.metadata import KEY
from regraft.files import size_in_words
from regraft.networks.tracing import evaluating
from regraft.runtime import cpu_count

_MOST_BYTES = 2_000_000_000  # of tensors in one file: protobuf's limit is 2 GiB, of all that is in it
_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


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
    with _quiet(), evaluating(module), torch.no_grad():
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
            raise ExportError(f"ONNX cannot express this network ({_reason(error)}).") from error
        assert program is not None
        program.model.metadata_props[KEY] = description
        program.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's words, which are for its authors, from the user."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reason(error: Exception) -> str:
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0]).rstrip(".")


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
