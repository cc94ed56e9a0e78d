"""Networks converted for OpenVINO, which runs them on CPUs several times as fast as PyTorch does."""

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import threading
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import nn

from regraft.cache import ENGINE_WEIGHTS_SUFFIX
from regraft.data.preprocess import Preprocess
from regraft.engines.engine import Engine
from regraft.errors import EngineError, OutputError
from regraft.files import TEMPORARY_SUFFIX, open_regular, read_regular, remove, write_failure
from regraft.networks.tracing import blank_images, evaluating
from regraft.runtime import cpu_count

MODEL_FILE = "model.xml"  # the graph
_WEIGHTS_FILE = f"model{ENGINE_WEIGHTS_SUFFIX}"  # where OpenVINO looks for them
_DIGEST_FILE = "model.sha256"  # of both
_LONGEST_DIGEST = 1000  # bytes
_CHUNK = 8  # images at a time: what a layer gives to so few is still in the processor's cache when the next reads it
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


_starting = threading.Lock()


def _core() -> Any:
    with _starting:
        return _library()


@functools.cache
def _library() -> Any:
    """Return OpenVINO, set up by one thread: called once, before any other uses it.

    pybind11 looks NumPy's C interface up when an array first becomes a tensor, and holds a lock of its own meanwhile. A
    second thread that makes its first tensor then waits for that lock, and holds the interpreter's, which the first one
    needs: both wait for ever.
    """
    import openvino

    assert openvino.Tensor(np.zeros(1, dtype=np.uint8)).data.shape == (1,)  # there and back
    return openvino.Core()


def usable_precisions() -> tuple[str, ...]:
    """Return the precisions that this processor computes in by itself, the fastest first; none without OpenVINO."""
    try:
        able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError):  # no build for this platform, or no CPU plugin in it
        return ()
    return ("bfloat16", "float32") if "BF16" in able else ("float32",)


def processor_name() -> str:
    """Return what the processor calls itself."""
    try:
        return str(_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    except (ImportError, RuntimeError):
        return platform.processor() or platform.machine()


def convert(module: nn.Module, preprocess: Preprocess) -> Any:
    """Return `module` as an OpenVINO model of (b, h, w, 3) uint8 pixels, any b; the normalisation is part of it.

    It is converted as it is in eval mode, and left as it was. OpenVINO's frontend is called without its converter
    tool, which reports each use to its maker.

    Raises:
        ConversionError: it has a layer that OpenVINO cannot run.
    """
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.preprocess import PrePostProcessor

    blank = blank_images(module, (3, preprocess.height, preprocess.width), 2)
    try:
        with evaluating(module), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch.jit, which OpenVINO reads networks through
            frontend = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(
                module,
                example_input=blank,
                shared_memory=False,  # training the network further must not change what was converted
                trace_kwargs={"check_trace": False},  # `selection` compares on photos, which says more
            )
            model = frontend.convert(frontend.load(decoder))
            model.reshape([-1, *blank.shape[1:]])
            steps = PrePostProcessor(model)
            steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
            steps.input().model().set_layout(openvino.Layout("NCHW"))
            normalising = steps.input().preprocess().convert_element_type(openvino.Type.f32)
            normalising.mean([255 * value for value in preprocess.mean])
            normalising.scale([255 * value for value in preprocess.std])
            return steps.build()
    except Exception as error:  # whatever tracing or translating a foreign network may raise
        raise ConversionError(
            f"OpenVINO cannot run this network ({_reason(error)}). Use --engine torch-float32."
        ) from error


def _reason(error: Exception) -> str:
    """Return the line of OpenVINO's message that names what it cannot do, else the first."""
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    telling = [line for line in lines if "No conversion rule" in line]
    return (telling or lines)[0].removeprefix("-- ").rstrip(".")


def save(model: Any, folder: Path) -> None:
    """Write a converted network into `folder`; whoever reads it meanwhile sees all of it or nothing.

    Raises:
        OutputError: it cannot be written (disk full, no permission).
    """
    import openvino

    temporary = folder / f"{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    target = folder / MODEL_FILE
    try:
        temporary.mkdir(parents=True)
        openvino.save_model(model, temporary / MODEL_FILE, compress_to_fp16=False)
        (temporary / _DIGEST_FILE).write_text(_digest(temporary, folder.name))
        for name in (_WEIGHTS_FILE, _DIGEST_FILE, MODEL_FILE):  # a graph is never seen before its weights
            (temporary / name).replace(folder / name)
    except OSError as error:
        raise write_failure(target, error) from None
    except RuntimeError as error:  # OpenVINO's own word for a full disk
        raise OutputError(f"{target} could not be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path, say: Callable[[str], None] = lambda _: None) -> Any | None:
    """Return the network that `save` wrote into `folder`, None if it is not there or damaged, which `say` hears."""
    try:  # OpenVINO itself takes any weights of the right size
        whole = read_regular(folder / _DIGEST_FILE, limit=_LONGEST_DIGEST) == _digest(folder, folder.name).encode()
    except (FileNotFoundError, NotADirectoryError):  # not there, or dropped by another process meanwhile
        return None
    except OSError:
        whole = False
    model = None
    if whole:
        with contextlib.suppress(OSError):
            os.utime(folder / _WEIGHTS_FILE)  # in use: the last to be dropped
        with contextlib.suppress(RuntimeError):
            model = _core().read_model(folder / MODEL_FILE)
    if model is None:
        say(f"the converted network in {folder} is damaged: it is converted again")
        for name in (MODEL_FILE, _WEIGHTS_FILE, _DIGEST_FILE):
            remove(folder / name)
    return model


def _digest(folder: Path, name: str) -> str:
    """Return a digest of the graph and the weights in `folder`, and of the name that it has or is to have.

    The files of another network may have come into a folder.
    """
    digest = hashlib.sha256(name.encode())
    for file in (MODEL_FILE, _WEIGHTS_FILE):
        with open_regular(folder / file) as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())  # type: ignore[arg-type]
    return digest.hexdigest()


class ConversionError(EngineError):
    """A network that OpenVINO cannot run, whenever it is tried."""


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU: one stream of small batches for each core or two, none of which waits for another."""

    def __init__(self, model: Any, preprocess: Preprocess, precision: str) -> None:
        """Compile what `convert` or `load` gave.

        Args:
            model: the converted network.
            preprocess: what its images must have been brought to.
            precision: "float32" or "bfloat16".

        Raises:
            EngineError: OpenVINO cannot compile it.
        """
        self.preprocess = preprocess
        self.name = f"openvino-cpu-{precision}"
        self.ahead = 3
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": cpu_count(),
            "ENABLE_CPU_PINNING": False,  # the threads that decode photos share the cores
        }
        try:
            self._compiled = _core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise _failed(error) from error
        streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="openvino")
        self._own = threading.local()
        self._begun: WeakSet[Future[np.ndarray]] = WeakSet()

    def activations(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels.

        Raises:
            EngineError: there is no memory for it, or another trouble of OpenVINO.
        """
        return torch.from_numpy(self.start(pixels)())

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin on (b, h, w, 3) uint8 pixels; return what waits for their outputs (b, ...) and gives them."""
        chunks: list[Future[np.ndarray]] = [
            self._pool.submit(self._infer, pixels[start : start + _CHUNK]) for start in range(0, len(pixels), _CHUNK)
        ]
        self._begun.update(chunks)

        def outputs() -> np.ndarray:
            try:
                return np.concatenate([chunk.result() for chunk in chunks])
            except RuntimeError as error:
                raise _failed(error) from error

        return outputs

    def drop(self) -> None:
        """Begin nothing more of what was started and has not been waited for."""
        for chunk in list(self._begun):
            chunk.cancel()

    def _infer(self, pixels: np.ndarray) -> np.ndarray:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        self._own.request.infer([np.ascontiguousarray(pixels)], share_inputs=True)
        outputs = np.array(self._own.request.get_output_tensor(0).data, dtype=np.float32)
        if len(outputs) != len(pixels):  # its layers have the number of images built in
            raise RuntimeError(f"it gives {len(outputs)} outputs for {len(pixels)} images")
        return outputs


def _failed(error: RuntimeError) -> EngineError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return EngineError(f"OpenVINO failed on this network: {reason[-1]}. Use --engine torch-float32.")
