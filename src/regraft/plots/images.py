"""Pictures for people: patches and projections in grids, filters, and heat over photos, as PNG and JPEG bytes."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

TILE = 112  # pixels of one picture in a grid
GAP = 3
_GREY = (128, 128, 128)
_STRETCH = 98.0  # percentile of |value| that is drawn as full colour
_WARM = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)
_COLD = np.array([33.0, 102.0, 172.0])


def projection_picture(values: np.ndarray, *, tile: int = TILE) -> np.ndarray:
    """Return (h, w, 3) uint8 of a projection (3, h, w): 0 is grey, the largest values black and white of each channel.

    What is larger than `tile` pixels is made smaller first, so that what is seen has its full contrast.
    """
    ratio = min(tile / max(values.shape[1:]), 1.0)
    size = (max(1, round(values.shape[2] * ratio)), max(1, round(values.shape[1] * ratio)))
    planes = [Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC) for plane in values]
    shown = np.stack([np.asarray(plane) for plane in planes], axis=2)
    scale = float(np.percentile(np.abs(shown), _STRETCH)) or float(np.abs(shown).max()) or 1.0
    return np.rint(np.clip(0.5 + 0.5 * shown / scale, 0, 1) * 255).astype(np.uint8)


def grid(pictures: Sequence[np.ndarray], *, columns: int = 3, tile: int = TILE) -> Image.Image:
    """Lay (h, w, 3) uint8 pictures side by side, each enlarged or shrunk into a square; the rest stays transparent."""
    rows = -(-len(pictures) // columns)
    side = tile + GAP
    sheet = Image.new("RGBA", (columns * side - GAP, rows * side - GAP), (0, 0, 0, 0))
    for place, picture in enumerate(pictures):
        sheet.paste(_fitted(picture, tile), (place % columns * side, place // columns * side))
    return sheet


def _fitted(picture: np.ndarray, tile: int) -> Image.Image:
    """Return a square picture: the ratio is kept, the rest is grey (a unit at the image's edge sees less)."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    ratio = tile / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    # few pixels are shown as they are: blurring them would invent a pattern
    image = image.resize(size, Image.Resampling.NEAREST if ratio > 4 else Image.Resampling.BICUBIC)
    square = Image.new("RGB", (tile, tile), _GREY)
    square.paste(image, ((tile - size[0]) // 2, (tile - size[1]) // 2))
    return square


def filter_pictures(weight: np.ndarray) -> list[np.ndarray]:
    """Return (k, k, 3) uint8 pictures of filters (c, 3, k, k); of each, 0 is grey and the largest value full."""
    pictures = []
    for values in weight:
        scale = float(np.abs(values).max()) or 1.0
        pictures.append(np.rint((0.5 + 0.5 * values / scale) * 255).astype(np.uint8).transpose(1, 2, 0))
    return pictures


def heat_over(photo: np.ndarray, heat: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Return (h, w, 3) uint8: `heat` (h, w) laid over a photo (h, w, 3), its largest value brightest.

    Where heat is 0 the photo is shown in dimmed grey. With `signed`, values below 0 are blue.
    """
    scale = float(np.abs(heat).max()) or 1.0
    level = np.clip(heat / scale, -1 if signed else 0, 1)[..., None]
    dimmed = 0.7 * np.broadcast_to(photo.mean(axis=2, keepdims=True), photo.shape)
    places = np.linspace(0, 1, len(_WARM))
    strength = np.clip(level[..., 0], 0, 1)
    warm = np.stack([np.interp(strength, places, _WARM[:, channel]) for channel in range(3)], axis=2)
    mixed = dimmed + (warm - dimmed) * 0.75 * np.clip(level, 0, 1) ** 0.5
    mixed = mixed + (_COLD - mixed) * 0.75 * np.clip(-level, 0, 1)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def as_data(image: Image.Image | np.ndarray, *, kind: str = "jpeg", quality: int = 86) -> str:
    """Return a "data:" address that holds the picture, as "jpeg" (small) or "png" (exact, may be transparent)."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image))
    stream = io.BytesIO()
    if kind == "jpeg":
        flat = Image.new("RGB", image.size, _GREY)
        flat.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        flat.save(stream, "JPEG", quality=quality, optimize=True)
    else:
        image.save(stream, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
