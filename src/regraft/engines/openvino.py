"""The OpenVINO engine: converted networks, which run on CPUs several times as fast as in PyTorch."""

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from regraft.cache import ENGINE_WEIGHTS_SUFFIX
from regraft.engines.engine import Engine, UnsupportedNetworkError
from regraft.errors import EngineError, OutputError, option
from regraft.extras import install_command
from regraft.files import TEMPORARY_SUFFIX, move_over, open_regular, read_regular, remove, write_failure
from regraft.images.preprocess import Preprocess
from regraft.networks.graph import Graph
from regraft.runtime import cpu_count, is_installed

if TYPE_CHECKING:
    import torch
    from torch import nn

MODEL_FILE = "model.xml"  # the graph
_WEIGHTS_FILE = f"model{ENGINE_WEIGHTS_SUFFIX}"  # where OpenVINO looks for them
_DIGEST_FILE = "model.sha256"  # of both
_LONGEST_DIGEST = 1000  # bytes
_CHUNK = 8  # images at a time: the outputs of a layer for so few are still in the processor's cache for the next layer
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}

_TELEMETRY = "openvino_telemetry"

_initialising = threading.Lock()


def core() -> Any:
    """Return OpenVINO's core. It, and all of OpenVINO, is imported here and nowhere else before."""
    with _initialising:
        return _library()


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep OpenVINO, and NNCF, from finding the package by which they report imports, and more, to their maker.

    Where it is missing they take a stub. Other libraries find it again afterwards.
    """
    known, sys.modules[_TELEMETRY] = sys.modules.get(_TELEMETRY), None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if known is not None:
            sys.modules[_TELEMETRY] = known


@functools.cache
def _library() -> Any:
    """Return OpenVINO's core, initialised by one thread before any other uses it.

    pybind11 looks up NumPy's C interface when an array first becomes a tensor, and holds a lock of its own meanwhile. A
    second thread that creates its first tensor then waits for that lock while it holds the interpreter's, which the
    first one needs: a deadlock.
    """
    with without_telemetry():
        import openvino

    assert openvino.Tensor(np.zeros(1, dtype=np.uint8)).data.shape == (1,)  # there and back
    return openvino.Core()


def usable_precisions() -> tuple[str, ...]:
    """Return the precisions that this processor supports natively, the fastest first; none without OpenVINO."""
    try:
        able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError):  # no build for this platform, or no CPU plugin in it
        return ()
    return ("bfloat16", "float32") if "BF16" in able else ("float32",)


def processor_name() -> str:
    """Return what the processor calls itself."""
    try:
        return str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    except (ImportError, RuntimeError):
        return platform.processor() or platform.machine()


def convert(module: "nn.Module", preprocess: Preprocess) -> Any:
    """Return `module` as an OpenVINO model of (b, h, w, 3) uint8 pixels, any b; the normalisation is part of it.

    Raises:
        UnsupportedNetworkError: it has a layer that OpenVINO cannot run.
    """
    core()  # first: it is imported there
    import openvino
    from openvino.preprocess import PrePostProcessor

    from regraft.networks.tracing import blank_images

    blank = blank_images(module, (3, preprocess.height, preprocess.width), 2)
    with _reporting_unsupported():
        model = translate(module, blank)
        model.reshape([-1, *blank.shape[1:]])
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        normalising = steps.input().preprocess().convert_element_type(openvino.Type.f32)
        normalising.mean([255 * value for value in preprocess.mean])
        normalising.scale([255 * value for value in preprocess.std])
        return steps.build()


def translate(module: "nn.Module", example: "torch.Tensor") -> Any:
    """Return `module` as an OpenVINO model of inputs like `example`.

    It is converted in eval mode, and left unchanged. OpenVINO's frontend is called directly: its converter tool reports
    each use to its maker.

    Raises:
        UnsupportedNetworkError: it has a layer that OpenVINO cannot run.
    """
    core()  # first: it is imported there
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from regraft.networks.tracing import evaluating

    with _reporting_unsupported(), evaluating(module), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch.jit, which OpenVINO reads networks through
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(
            module,
            example_input=example,
            shared_memory=False,  # further training must not change the converted network
            trace_kwargs={"check_trace": False},  # what is converted is compared on photos, a better check
        )
        return frontend.convert(frontend.load(decoder))


@contextlib.contextmanager
def _reporting_unsupported() -> Iterator[None]:
    try:
        yield
    except UnsupportedNetworkError:
        raise
    except Exception as error:  # whatever tracing or translating a foreign network may raise
        raise UnsupportedNetworkError(f"OpenVINO cannot run this network ({_reason(error)}). {_remedy()}") from error


def _reason(error: Exception) -> str:
    """Return the line of OpenVINO's message that names the unsupported operation, else the first."""
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    specific = [line for line in lines if "No conversion rule" in line]
    return (specific or lines)[0].removeprefix("-- ").rstrip(".")


def save(model: Any, folder: Path) -> None:
    """Write a converted network into `folder`; a concurrent reader sees all of it or nothing.

    Raises:
        OutputError: it cannot be written (disk full, no permission).
    """
    core()
    import openvino

    temporary = folder / f"{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    target = folder / MODEL_FILE
    try:
        temporary.mkdir(parents=True)
        openvino.save_model(model, temporary / MODEL_FILE, compress_to_fp16=False)
        (temporary / _DIGEST_FILE).write_text(_digest(temporary, folder.name), encoding="utf-8")
        for name in (_WEIGHTS_FILE, _DIGEST_FILE, MODEL_FILE):  # a graph is never seen before its weights
            move_over(temporary / name, folder / name)
    except OSError as error:
        raise write_failure(target, error) from None
    except RuntimeError as error:  # how OpenVINO reports a full disk
        raise OutputError(f"{target} could not be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path, say: Callable[[str], None] = lambda _: None) -> Any | None:
    """Return the network that `save` wrote into `folder`, None if it is missing or damaged; `say` reports damage."""
    try:  # OpenVINO itself accepts any weights of the right size
        intact = read_regular(folder / _DIGEST_FILE, limit=_LONGEST_DIGEST) == _digest(folder, folder.name).encode()
    except (FileNotFoundError, NotADirectoryError):  # missing, or dropped by another process meanwhile
        return None
    except OSError:
        intact = False
    model = None
    if intact:
        with contextlib.suppress(OSError):
            os.utime(folder / _WEIGHTS_FILE)  # in use: the last to be dropped
        with contextlib.suppress(RuntimeError):
            model = core().read_model(folder / MODEL_FILE)
    if model is None:
        say(f"the converted network in {folder} is damaged: it is converted again")
        for name in (MODEL_FILE, _WEIGHTS_FILE, _DIGEST_FILE):
            remove(folder / name)
    return model


def _digest(folder: Path, name: str) -> str:
    """Return a digest of the graph and the weights in `folder`, and of its final name.

    The name shows files that were copied from another network's folder.
    """
    digest = hashlib.sha256(name.encode())
    for file in (MODEL_FILE, _WEIGHTS_FILE):
        with open_regular(folder / file) as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())  # type: ignore[arg-type]
    return digest.hexdigest()


def graph_of_folder(folder: Path, width: int, tensors: Mapping[str, np.ndarray]) -> Graph | None:
    """Return the graph of the network that `save` wrote into `folder`.

    None if it is missing or damaged, or is nothing that a file of regraft's may hold.
    """
    if load(folder) is None:
        return None
    with contextlib.suppress(OSError, ValueError):  # dropped by another process meanwhile; or odd layers
        return _read_graph_of(folder / MODEL_FILE, width, tensors)
    return None


def graph_of_model(model: Any, width: int, tensors: Mapping[str, np.ndarray]) -> Graph:
    """Return the graph of a network that `convert` returned.

    Raises:
        OutputError: there is no room for it on the disk meanwhile.
    """
    core()
    import openvino

    with tempfile.TemporaryDirectory(prefix="regraft-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, MODEL_FILE)
        try:
            openvino.save_model(model, file, compress_to_fp16=False)  # as `save` does: the same graph
            return _read_graph_of(file, width, tensors)
        except (OSError, RuntimeError) as error:  # the latter is how OpenVINO reports a full disk
            raise OutputError(f"{file} could not be written: {error}") from None


def _read_graph_of(file: Path, width: int, tensors: Mapping[str, np.ndarray]) -> Graph:
    weights = np.memmap(file.with_name(_WEIGHTS_FILE), dtype=np.uint8, mode="r")  # as large as the network
    return Graph.from_ir(width, file.read_bytes(), weights, tensors)


def read_graph(graph: Graph, tensors: Mapping[str, np.ndarray]) -> Any:
    """Return a graph as an OpenVINO model.

    Raises:
        EngineError: it is not one of these tensors, or of layers that this OpenVINO does not know, or of other sizes.
    """
    library = core()
    import openvino

    try:
        layers, weights = graph.to_ir(tensors)
        model = library.read_model(layers, openvino.Tensor(weights))
        graph.check_model(model)
    except (ValueError, RuntimeError) as error:
        raise _failed(error) from error
    return model


def load_or_convert(
    module: "Callable[[], nn.Module]",
    preprocess: Preprocess,
    folder: Path | None,
    say: Callable[[str], None] = lambda _: None,
) -> Any:
    """Return a network converted: from `folder`, or converted now and saved there.

    Args:
        module: returns what takes (b, 3, h, w) normalised pixels; not asked where the converted one is there.
        preprocess: the normalisation, and h and w.
        folder: None reads and keeps nothing.
        say: reports damage, and a folder that cannot be written.

    Raises:
        UnsupportedNetworkError: it has a layer that OpenVINO cannot run.
    """
    found = None if folder is None else load(folder, say)
    if found is not None:
        return found
    model = convert(module(), preprocess)
    if folder is not None:
        try:
            save(model, folder)
        except OutputError as error:
            say(f"the converted network is not kept: {error}")
    return model


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU: one independent stream of small batches for each core or two."""

    def __init__(self, model: Any, preprocess: Preprocess, precision: str, width: int | None = None) -> None:
        """Compile a network that `convert` or `load` returned.

        Args:
            model: the converted network.
            preprocess: how its images must have been prepared.
            precision: "float32" or "bfloat16".
            width: d of its outputs (b, d), where that is to be checked.

        Raises:
            EngineError: OpenVINO cannot compile it.
        """
        self.preprocess = preprocess
        self.name = f"openvino-cpu-{precision}"
        self.ahead, self._width = 3, width
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": cpu_count(),
            "ENABLE_CPU_PINNING": False,  # the threads that decode photos share the cores
        }
        try:
            self._compiled = core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise _failed(error) from error
        streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="openvino")
        self._local = threading.local()
        self._started: WeakSet[Future[np.ndarray]] = WeakSet()

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, ...) float32 outputs of (b, h, w, 3) uint8 pixels.

        Raises:
            EngineError: OpenVINO fails, for lack of memory for example.
        """
        return self.start(pixels)()

    def start(self, pixels: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on (b, h, w, 3) uint8 pixels; return a function that waits for their outputs (b, ...)."""
        chunks: list[Future[np.ndarray]] = [
            self._pool.submit(self._infer, pixels[start : start + _CHUNK]) for start in range(0, len(pixels), _CHUNK)
        ]
        self._started.update(chunks)

        def outputs() -> np.ndarray:
            try:
                return np.concatenate([chunk.result() for chunk in chunks])
            except RuntimeError as error:
                raise _failed(error) from error

        return outputs

    def drop(self) -> None:
        """Cancel the chunks that have not begun to run."""
        for chunk in list(self._started):
            chunk.cancel()

    def _infer(self, pixels: np.ndarray) -> np.ndarray:
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        self._local.request.infer([np.ascontiguousarray(pixels)], share_inputs=True)
        outputs = np.array(self._local.request.get_output_tensor(0).data, dtype=np.float32, ndmin=1)
        if len(outputs) != len(pixels):  # the batch size was fixed by tracing
            raise RuntimeError(f"it returns {len(outputs)} outputs for {len(pixels)} images")
        if self._width is not None and outputs.shape[1:] != (self._width,):
            raise RuntimeError(f"it returns features of shape {outputs.shape[1:]}, and not ({self._width},)")
        return outputs


def _failed(error: Exception) -> EngineError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return EngineError(f"OpenVINO failed on this network: {reason[-1]}. {_remedy()}")


def _remedy() -> str:
    use = f"use {option('engine', 'torch-float32')}."
    return f"U{use[1:]}" if is_installed("torch") else f"Install PyTorch ({install_command('torch')}), and {use}"
