"""A network as OpenVINO's graph of layers, whose weights are the network's own tensors: what runs it without PyTorch.

The graph names the tensors that its constants are; only constants that are none of them (numbers of a shape, the
normalisation) are its own. So it takes some kilobytes in a file that has the tensors.
"""

import base64
import binascii
import functools
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from regraft.errors import WeightsError
from regraft.files import parse_json
from regraft.networks.mismatch import describe_mismatch, mismatched_tensors

_VERSION = 1  # of what a file holds
_LARGEST = 100_000_000  # bytes of all of it in a file, unpacked
_LARGEST_LAYERS = 20_000_000  # characters; those of timm's largest networks have a few million
_MOST_ELEMENTS = 1_000_000  # of its XML; those of timm's largest networks have about 200,000
_LARGEST_OWN = 10_000_000  # bytes of the constants that are no tensors
_ALIGNMENT = 64  # bytes, as OpenVINO writes constants
_OPERATIONS = re.compile(r"opset\d+")  # OpenVINO's own, in all of its versions; no extension
# What 79 of 80 architectures of timm consist of, and functions of single values. Of OpenVINO's others, some read and
# write outside of their memory where the numbers in a graph make them, and some never end.
_LAYERS = frozenset(
    re.findall(
        r"\w+",
        """
        Abs AdaptiveAvgPool Add AvgPool BatchNormInference BitwiseNot Broadcast Ceiling Clamp Concat Const Convert
        Convolution Cos CumSum Divide Einsum Elu Erf Exp Floor FloorMod Gather Gelu Greater GroupConvolution
        GroupNormalization HSigmoid HSwish Interpolate LSTMSequence MVN MatMul MaxPool Maximum Minimum Mish Mod Multiply
        Negative PReLU Pad Parameter Power Range ReLU ReduceL2 ReduceMax ReduceMean ReduceSum Reshape Result Roll
        ScaledDotProductAttention ShapeOf Sigmoid Sin Slice SoftMax SoftPlus Split Sqrt Squeeze Subtract Swish Tanh Tile
        Transpose Unsqueeze VariadicSplit
        """,
    )
)
_DIVISIONS = ("Divide", "FloorMod", "Mod")  # of whole numbers; by 0, or of the least one by -1, they end the process
_MOST_SIDES = 16  # of a constant
_MOST_VALUES = 1 << 28  # of one layer for a photo, 1 GB; large networks have some millions
_WHOLE = re.compile(r" *[0-9]{1,15} *")
_BYTES = {"boolean": 1, "u8": 1, "i8": 1, "i32": 4, "i64": 8, "f16": 2, "bf16": 2, "f32": 4, "f64": 8}


@dataclass(frozen=True, eq=False)
class Graph:
    """A network from (b, h, w, 3) uint8 pixels to (b, d) features.

    Attributes:
        width: d.
        layers: OpenVINO's XML, in which constant k has the offset k.
        constants: of each the name of its tensor, or its bytes.
        tensors: type and shape of every tensor of the network, by name: those that are no constants too.
    """

    width: int
    layers: str
    constants: tuple[str | bytes, ...]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]

    def __post_init__(self) -> None:
        """Raise `ValueError` for what is no network's."""
        if len(self.layers) > _LARGEST_LAYERS:
            raise ValueError(f"has more than {_LARGEST_LAYERS:,} characters of layers")
        if sum(len(one) for one in self.constants if isinstance(one, bytes)) > _LARGEST_OWN:
            raise ValueError(f"has more than {_LARGEST_OWN:,} bytes of its own constants")
        named = [one for one in self.constants if isinstance(one, str)]
        if len(set(named)) < len(named):
            raise ValueError("has a tensor twice")
        if self.layers.count("<") > 2 * _MOST_ELEMENTS:
            raise ValueError(f"has more than {_MOST_ELEMENTS:,} elements")
        _check_layers(self.layers, len(self.constants))

    @classmethod
    def from_ir(cls, width: int, xml: bytes, weights: np.ndarray, tensors: Mapping[str, np.ndarray]) -> "Graph":
        """Return the graph of a model as OpenVINO has written it.

        Args:
            width: d.
            xml: its description.
            weights: (n,) uint8, the bytes of its constants.
            tensors: of the network.

        Raises:
            ValueError: it has layers or constants that a file may not have.
        """
        weights_of = {name: t for name, t in sorted(tensors.items()) if t.dtype.kind == "f"}  # counters are none
        names = {hashlib.sha256(np.ascontiguousarray(t).data).digest(): name for name, t in weights_of.items()}
        root = ElementTree.fromstring(xml)
        for element in root.findall("rt_info"):  # which OpenVINO wrote it
            root.remove(element)
        numbers: dict[bytes, int] = {}
        constants: list[str | bytes] = []
        root.set("name", "network")  # its own names count what the process has made
        for number, layer in enumerate(root.iter("layer")):
            layer.set("name", f"layer{number}")
            data = layer.find("data")
            if layer.get("type") != "Const" or data is None:
                continue
            start, size = int(data.get("offset", "0")), int(data.get("size", "0"))
            own = weights[start : start + size]
            digest = hashlib.sha256(own.data).digest()
            if digest not in numbers:
                numbers[digest] = len(constants)
                constants.append(names.get(digest) or own.tobytes())
            data.set("offset", str(numbers[digest]))
        kinds = {name: (tensor.dtype.name, tensor.shape) for name, tensor in sorted(tensors.items())}
        return cls(width, ElementTree.tostring(root, encoding="unicode"), tuple(constants), kinds)

    def check_tensors(self, tensors: Mapping[str, np.ndarray], *, architecture: str, source: str) -> None:
        """Raise `WeightsError` unless these are the network's tensors, by names, types and shapes.

        Args:
            tensors: by name.
            architecture: the network's name, for the message.
            source: where the tensors are from, for the message.
        """
        own = self.tensors
        others = [
            f"{name}: {_kind(found, own[name])} in the file, {_kind(own[name], found)} in the network"
            for name, tensor in tensors.items()
            if name in own and (found := (tensor.dtype.name, tensor.shape)) != own[name]
        ]
        wrong = mismatched_tensors([n for n in own if n not in tensors], [n for n in tensors if n not in own], others)
        if wrong:
            raise WeightsError(describe_mismatch(wrong, architecture, source))

    def to_ir(self, tensors: Mapping[str, np.ndarray]) -> tuple[bytes, np.ndarray]:
        """Return the description and the (n,) bytes of the constants, as OpenVINO reads them.

        Raises:
            ValueError: a tensor is missing, or of another size than its constant.
        """
        parts, offsets, end = [], [], 0
        for constant in self.constants:
            if isinstance(constant, str) and constant not in tensors:
                raise ValueError(f"there is no tensor {constant!r}")
            own = tensors[constant] if isinstance(constant, str) else np.frombuffer(constant, dtype=np.uint8)
            parts.append(np.ascontiguousarray(own).reshape(-1).view(np.uint8))
            offsets.append(end)
            end += -(-parts[-1].size // _ALIGNMENT) * _ALIGNMENT
        weights = np.zeros(end, dtype=np.uint8)
        for part, offset in zip(parts, offsets, strict=True):
            weights[offset : offset + part.size] = part
        root = ElementTree.fromstring(self.layers)
        for layer in root.iter("layer"):
            data = layer.find("data")
            if layer.get("type") == "Const" and data is not None:
                number = int(data.get("offset", "0"))
                if _size(data) != parts[number].size:
                    raise ValueError(f"constant {number} has {parts[number].size:,} bytes, and not {_size(data):,}")
                data.set("offset", str(offsets[number]))
        return ElementTree.tostring(root), weights

    @functools.cached_property
    def digest(self) -> str:
        """Return a hex SHA-256 of all of it."""
        return hashlib.sha256(self._text()).hexdigest()

    def check_model(self, model: Any) -> None:
        """Raise `ValueError` unless what OpenVINO reads of it takes uint8 and may give (b, width), no layer being huge.

        Args:
            model: OpenVINO's, of `to_ir`.
        """
        taken, given = (
            [f"{end.get_element_type().get_type_name()} {end.get_partial_shape()}" for end in ends]
            for ends in (model.inputs, model.outputs)
        )
        if len(taken) != 1 or len(given) != 1 or not taken[0].startswith("u8 "):
            raise ValueError(f"it takes {', '.join(taken) or 'nothing'} and gives {', '.join(given) or 'nothing'}")
        shape = model.outputs[0].get_partial_shape()
        if not shape.compatible(type(shape)([-1, self.width])):
            raise ValueError(f"it gives {shape}, and not [?,{self.width}]")
        for layer in model.get_ops():
            if layer.get_type_name() in _DIVISIONS and layer.get_output_element_type(0).is_integral():
                divisor = layer.input_value(1).get_node()
                if divisor.get_type_name() != "Constant" or np.isin(divisor.get_data(), (0, -1)).any():
                    raise ValueError("it divides whole numbers by what may be 0 or -1")
            shapes = [] if layer.get_type_name() == "Constant" else [end.get_partial_shape() for end in layer.outputs()]
            for shape in shapes:
                known = [] if shape.rank.is_dynamic else [side.get_length() for side in shape if side.is_static]
                if math.prod(known) > _MOST_VALUES:
                    raise ValueError(f"its layer {layer.get_type_name()} gives {math.prod(known):,} values for a photo")

    def to_array(self) -> np.ndarray:
        """Return it as (n,) uint8, for a file."""
        return np.frombuffer(zlib.compress(self._text(), 9), dtype=np.uint8)

    def _text(self) -> bytes:
        own = [one if isinstance(one, str) else {"bytes": base64.b64encode(one).decode()} for one in self.constants]
        about = {"version": _VERSION, "width": self.width, "layers": self.layers, "constants": own}
        return json.dumps({**about, "tensors": self.tensors}).encode()

    @classmethod
    def from_array(cls, data: np.ndarray) -> "Graph | None":
        """Return what `to_array` gave; None for a graph of another version, which is not understood here.

        Raises:
            ValueError: it is damaged, or holds what no network has.
        """
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError(f"must be uint8 of shape (n,). Got {data.dtype} of shape {data.shape}")
        unpacking = zlib.decompressobj()
        try:
            text = unpacking.decompress(data.tobytes(), _LARGEST)
        except zlib.error as error:
            raise ValueError(f"cannot be unpacked ({error})") from None
        if not unpacking.eof or unpacking.unused_data:
            raise ValueError(f"is cut off, goes on after its end, or unpacks to more than {_LARGEST:,} bytes")
        about = parse_json(text)
        about = about if isinstance(about, dict) else {}
        if about.get("version") != _VERSION and isinstance(about.get("version"), int):
            return None
        width, layers, constants = about.get("width"), about.get("layers"), about.get("constants")
        if not (type(width) is int and width > 0 and isinstance(layers, str) and isinstance(constants, list)):
            raise ValueError("has no width, layers or constants")
        return cls(width, layers, tuple(map(_constant, constants)), _tensors(about.get("tensors")))


def _check_layers(layers: str, constants: int) -> None:
    """Raise `ValueError` for layers that OpenVINO would have to look for elsewhere, and constants of nowhere."""
    if "<!" in layers:
        raise ValueError("declares entities")
    try:
        root = ElementTree.fromstring(layers)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"is no XML ({error})") from None
    for layer in root.iter("layer"):
        if not _OPERATIONS.fullmatch(layer.get("version", "")):
            raise ValueError(f"has a layer {layer.get('type')!r} of {layer.get('version')!r}, not OpenVINO's own")
        if layer.get("type") not in _LAYERS:
            raise ValueError(f"has a layer {layer.get('type')!r}, which none of regraft's files may hold")
        data = layer.find("data")
        if layer.get("type") != "Const":
            continue
        if data is None or not 0 <= _whole(data.get("offset")) < constants:
            raise ValueError("has a constant that is not in it")
        _size(data)


def _constant(value: object) -> str | bytes:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("bytes"), str):
        with_padding: str = value["bytes"]
        try:
            return base64.b64decode(with_padding, validate=True)
        except binascii.Error as error:
            raise ValueError(f"has a constant that cannot be read ({error})") from None
    raise ValueError("has a constant that is neither a tensor's name nor bytes")


def _tensors(value: object) -> dict[str, tuple[str, tuple[int, ...]]]:
    found = {}
    for name, kind in value.items() if isinstance(value, dict) else ():
        dtype, shape = kind if isinstance(kind, list) and len(kind) == 2 else (None, None)
        if not (isinstance(dtype, str) and isinstance(shape, list) and all(isinstance(side, int) for side in shape)):
            raise ValueError(f"does not say of which type and shape the tensor {name!r} is")
        found[name] = dtype, tuple(shape)
    if not found:
        raise ValueError("does not say which tensors its network has")
    return found


def _kind(own: tuple[str, tuple[int, ...]], other: tuple[str, tuple[int, ...]]) -> str:
    """Return a shape in words, and the type where that of `other` is another one."""
    return f"{list(own[1])}" if own[0] == other[0] else f"{own[0]} {list(own[1])}"


def _size(data: ElementTree.Element) -> int:
    """Return how many bytes a constant has, by its type and shape.

    Raises:
        ValueError: it says something else, or has a type that no network's constants have.
    """
    kind = data.get("element_type", "")
    if kind not in _BYTES:
        raise ValueError(f"has a constant of type {kind!r}")
    shape = [_whole(side) for side in data.get("shape", "").split(",", _MOST_SIDES) if side.strip()]
    size = math.prod(shape) * _BYTES[kind]
    if min(shape, default=0) < 0 or size != _whole(data.get("size")):
        raise ValueError(f"has a constant of shape {shape} and type {kind} with {data.get('size')} bytes")
    return size


def _whole(text: str | None) -> int:
    """Return a number of bytes or of places, -1 for what is none."""
    return int(text) if text is not None and _WHOLE.fullmatch(text) else -1
