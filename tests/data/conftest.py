"""Photos that differ from each other, and tables of them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def _pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)


@pytest.fixture
def pixels() -> Callable[[int], np.ndarray]:
    """Return a function from a seed to an array (10, 12, 3) of noise."""
    return _pixels


@pytest.fixture
def png() -> Callable[[int], bytes]:
    """Return a function from a seed to the bytes of a PNG file."""

    def encode(seed: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(_pixels(seed)).save(stream, "PNG")
        return stream.getvalue()

    return encode


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a photo for each name below a new folder and returns the folder."""

    def photos(folder: str, *names: str, first_seed: int = 0) -> Path:
        for seed, name in enumerate(names, start=first_seed):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_pixels(seed)).save(path)
        return tmp_path / folder

    return photos


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a Parquet file as the `datasets` library does."""

    def table(
        name: str,
        images: list[dict[str, Any] | None],
        labels: list[Any],
        *,
        names: list[str] | None = None,
        row_group_size: int | None = None,
        **columns: list[Any],
    ) -> Path:
        cells = pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        numbers = pa.array(labels, None if labels else pa.int64())
        content = pa.table({"image": cells, "label": numbers, **columns})
        features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
        if names is not None:
            features["label"] = {"names": names, "_type": "ClassLabel"}
        content = content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, path, row_group_size=row_group_size)
        return path

    return table
