"""Inputs that once cost minutes or gigabytes, each the smallest file that shows it.

They stand apart from the others because each takes room on the disk, or time, even where all is well.
"""

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyvips  # noqa: F401 - imported before anything is watched
import torch
from tests.hostile.encodings import chunk, jpeg, png, tiff, tiff_entries, webp
from tests.hostile.families import PREPROCESS
from tests.hostile.generate import signed, split
from tests.hostile.places import sparse
from tests.hostile.watching import Log, Watch, peak_memory

from regraft.classifier.bundle import load_bundle
from regraft.classifier.predict import Predictor
from regraft.engines.compute import Compute
from regraft.engines.workload import machine
from regraft.errors import RegraftError
from regraft.images.decoding import decode
from regraft.images.reading import UnreadableImageError

ALLOWED = 1_000_000_000  # bytes: what a photo's file may have, all of them here in holes of the disk
PNG_START = png((6000, 6000))[:33]


def _tiff_tag(path: Path) -> None:
    """Write a TIFF with a description of 900 MB."""
    sparse(path, ALLOWED, tiff([*tiff_entries(60, 60), (270, 2, 900_000_000, 5000)]))


def _tiff_tile(path: Path) -> None:
    """Write a TIFF in one tile."""
    side = 12_992
    tile = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 1000), (325, 4, 1, 3 * side * side)]
    entries = [entry for entry in tiff_entries(side, side, channels=3) if entry[0] not in (273, 278, 279)]
    entries = [(tag, kind, 1, 8 if tag == 258 else value) for tag, kind, _, value in entries if tag not in (317, 339)]
    sparse(path, 1000 + 3 * side * side, tiff([*entries, *tile]))


def _tiff_directories(path: Path) -> None:
    """Write a TIFF of 300,000 pages, each the same."""
    entries = sorted(tiff_entries(6000, 6000, rows=1))
    page = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    size, count = len(page) + 4, 300_000
    pages = [page + struct.pack("<I", 1000 + (at + 1) * size if at < count - 1 else 0) for at in range(count)]
    path.write_bytes(tiff(entries, b"".join(pages), following=1000))


# name: how many of them are read at once, and what writes one
PHOTOS: dict[str, tuple[int, Callable[[Path], object]]] = {
    # Pillow reads on byte by byte, or chunk by chunk, to the end of the file
    "a JPEG of zeros": (1, lambda path: sparse(path, ALLOWED, b"\xff\xd8\xff\xe0\0\x10" + bytes(14))),
    "a GIF of zeros": (1, lambda path: sparse(path, ALLOWED, b"GIF89a" + struct.pack("<HH", 9, 9) + bytes(3))),
    "a PPM of one comment": (1, lambda path: sparse(path, ALLOWED, b"P6 #")),
    "a PNG of empty chunks": (1, lambda path: sparse(path, ALLOWED, PNG_START + chunk(b"IDAT", zlib.compress(b"")))),
    "a PPM in words": (1, lambda path: path.write_bytes(b"P3\n6000 6000\n255\n" + b"1 " * 108_000_000)),
    # Pillow reads all of a file, twice, before it looks at it: in every thread that looks at photos
    "a WebP of 1 GB": (1, lambda path: sparse(path, ALLOWED, b"RIFF" + struct.pack("<I", 9**9) + b"WEBPVP8L")),
    "an AVIF of 1 GB": (1, lambda path: sparse(path, ALLOWED, b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")),
    "a HEIC of 1 GB": (1, lambda path: sparse(path, ALLOWED, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")),
    "a PNG with a text of 1 GB": (1, lambda path: sparse(path, ALLOWED, PNG_START + b"\x3b\0\0\0tEXt")),
    "a TIFF with a text of 1 GB": (1, _tiff_tag),
    # what is read by libvips takes more than is reserved for it
    "four WebP of 178 megapixels": (4, lambda path: path.write_bytes(webp(13_377, 13_377))),
    "four TIFF of one tile": (4, _tiff_tile),
    # transparency is laid on white in four copies, and one is reserved
    "four transparent PNG": (4, lambda path: path.write_bytes(png((5000, 6000), colour=6))),
    # a stripe is enlarged, and held several times
    "a stripe": (1, lambda path: path.write_bytes(png((178_000, 1000), colour=6))),
    # each scan, or page, costs as much as a photo, and a few bytes
    "a JPEG of 10,000 scans": (1, lambda path: path.write_bytes(jpeg(5000, 5000, scans=10_000))),
    "a TIFF of many directories": (1, _tiff_directories),
}


def _bfloat16(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["more"] = torch.zeros(1, dtype=torch.bfloat16)


def _engine(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    about["engine"] = {"engine": "openvino-x", "machine": machine(torch.device("cpu"))}


def _large_network(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Name a network of 632 million parameters; there are some of 6 billion."""
    about["architecture"] = "vit_huge_patch14_224"


BUNDLES: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    "a tensor in bfloat16": _bfloat16,
    "an engine that there is not": _engine,
    "a large network": _large_network,
}
NAMES = (*PHOTOS, *BUNDLES)


def show(folder: Path, limit: float) -> dict[str, Any]:
    """Read the one input that `folder/input` names, and write it first."""
    name, inputs = (folder / "input").read_text(), folder / "inputs"
    count, write = PHOTOS.get(name, (1, None))
    if write is None:
        about, tensors = split((folder / "base.safetensors").read_bytes())
        BUNDLES[name](about, tensors)
        (inputs / "0").write_bytes(signed(about, tensors))
    else:
        for number in range(count):
            write(inputs / str(number))
    at_first = peak_memory()
    log = Log(Watch(own=(folder / "cache",)), (RegraftError, UnreadableImageError), limit)

    def answer() -> str:
        classifier = load_bundle(inputs / "0")
        photos = sorted((folder / "photos").iterdir())
        assert np.isfinite(Predictor(classifier, Compute(cache=False)).predict(photos).probabilities).all()
        return "answered"

    def read() -> str:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda number: decode(inputs / str(number), PREPROCESS), range(count)))
        return "read"

    log.run(name, answer if write is None else read, inputs=(inputs, folder / "photos"))
    return log.report(at_first)
