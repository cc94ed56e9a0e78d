"""The table of formats that a classifier is exported in: how a file is written, run and quantised.

A new format is a file of its own and a row here. The command line's help is made from this table, so the functions of a
row import their libraries themselves.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from regraft.errors import OptionError, did_you_mean, option
from regraft.extras import check_installed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


class ExportedGraph(Protocol):
    """A file that was written, ready to run on the CPU in the precision that it has."""

    def __call__(self, pixels: "np.ndarray") -> "np.ndarray":
        """Return (b, c) probabilities of photos (b, h, w, 3), uint8."""

    @property
    def description(self) -> str:
        """Return the JSON that the file keeps."""


@dataclass(frozen=True)
class Format:
    """One way to write a classifier.

    Attributes:
        name: what a user calls it.
        suffix: of its file.
        words: what runs it, for the help.
        write: writes a module of photos (b, h, w, 3), traced with an example, into a file, with the JSON that it keeps.
        load: returns what runs such a file.
        companions: suffixes of the files beside it.
        modules: further ones that it takes, of `extras.EXTRAS`.
        libraries: packages whose versions the file keeps.
        quantise: writes the int8 version of a file into another, calibrated on photos (1, h, w, 3), with the JSON that
            it keeps; None where there is none.
        int8_modules: further modules that this takes.
        int8_single: whether its files take one photo at a time.
    """

    name: str
    suffix: str
    words: str
    write: "Callable[[nn.Module, torch.Tensor, Path, str], None]"
    load: "Callable[[Path], ExportedGraph]"
    companions: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    quantise: "Callable[[Path, Path, Sequence[np.ndarray], str], None] | None" = None
    int8_modules: tuple[str, ...] = ()
    int8_single: bool = False

    def files(self, path: Path) -> list[Path]:
        """Return all files of the export `path`."""
        return [path, *(path.with_suffix(suffix) for suffix in self.companions)]

    def check_installed(self, *, int8: bool = False) -> None:
        """Raise `MissingPackageError` where a module is missing, of those that int8 takes too."""
        for module in self.modules:
            check_installed(module, option("to", self.name))
        for module in self.int8_modules if int8 else ():
            check_installed(module, f"{option('int8', True)} of {option('to', self.name)}")


def _from(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a format's own file, which is imported when it is called."""

    def call(*given: Any) -> Any:
        return getattr(importlib.import_module(f"regraft.exports.{module}"), name)(*given)

    return call


FORMATS = {
    one.name: one
    for one in (
        Format(
            "onnx",
            ".onnx",
            "onnxruntime and most other programs",
            _from("onnx_format", "write"),
            _from("onnx_format", "OnnxGraph"),
            modules=("onnx", "onnxscript", "onnxruntime"),
            libraries=("onnx", "onnxscript"),
            quantise=_from("onnx_format", "quantise"),
        ),
        Format(
            "openvino",
            ".xml",
            "OpenVINO on processors of Intel and others",
            _from("openvino_format", "write"),
            _from("openvino_format", "OpenVinoGraph"),
            companions=(".bin",),
            libraries=("openvino",),
            quantise=_from("openvino_format", "quantise"),
            int8_modules=("nncf",),
            int8_single=True,
        ),
        Format(
            "pt2",
            ".pt2",
            "PyTorch without timm and regraft",
            _from("pt2_format", "write"),
            _from("pt2_format", "Pt2Graph"),
        ),
    )
}


def format_named(name: object) -> Format:
    """Return the row of a format.

    Raises:
        OptionError: there is none of that name.
    """
    found = FORMATS.get(name) if isinstance(name, str) else None
    if found is None:
        raise OptionError(
            f"{option('to')} must be one of {', '.join(FORMATS)}. Got {name!r}.{did_you_mean(str(name), FORMATS)}"
        )
    return found


def with_ending(path: Path, format: Format) -> Path:
    """Return the name of a classifier's file, or of another thing, with the ending of a format.

    >>> with_ending(Path("pets.safetensors"), FORMATS["onnx"]).name, with_ending(Path("v1.2"), FORMATS["onnx"]).name
    ('pets.onnx', 'v1.2.onnx')
    """
    name = path.name.removesuffix(".safetensors")
    return path.with_name(f"{name}{format.suffix}")


def formats_in_words() -> str:
    """Return what there is, for a help text."""
    return "; ".join(f"{one.name} ({one.suffix}): {one.words}" for one in FORMATS.values())
