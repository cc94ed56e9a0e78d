"""What a photo is like as a picture, whatever it shows: brightness, contrast, sharpness, colour, border, corners."""

from dataclasses import dataclass

import numpy as np

from regraft.images.perceptual_hash import LUMA
from regraft.images.preprocess import Preprocess

SIDE = 256  # pixels that a photo is brought to, its ratio lost: border and corners are where they were
LOOK = Preprocess(SIDE, SIDE, 1.0, "squash", "bilinear", (0.0,) * 3, (1.0,) * 3)
_BORDER = 4  # pixels
_CORNER = SIDE // 6
_INNER = SIDE // 5  # from each side to the centred box


@dataclass(frozen=True)
class Measure:
    """One number of a photo.

    Attributes:
        name: by which it is found.
        words: what people call it, after "a".
    """

    name: str
    words: str


MEASURES = (
    Measure("brightness", "brightness"),
    Measure("contrast", "contrast"),
    Measure("sharpness", "sharpness"),
    Measure("red", "mean red"),
    Measure("green", "mean green"),
    Measure("blue", "mean blue"),
    Measure("border_brightness", "border brightness"),
    Measure("border_evenness", "border variation"),
    Measure("border_edge", "step from border to picture"),
    Measure("border_red", "border redness"),
    Measure("border_blue", "border blueness"),
    Measure("corner_detail", "corner detail"),
    Measure("corner_contrast", "corner contrast"),
    Measure("background_brightness", "brightness around the middle"),
    Measure("background_contrast", "contrast around the middle"),
    Measure("background_red", "redness around the middle"),
    Measure("background_blue", "blueness around the middle"),
    Measure("background_detail", "detail around the middle"),
)
_PLACES = {measure.name: place for place, measure in enumerate(MEASURES)}


def column(values: np.ndarray, name: str) -> np.ndarray:
    """Return (n,) of one measure out of (n, m) of all."""
    return np.asarray(values[:, _PLACES[name]])


def measure(pixels: np.ndarray) -> np.ndarray:
    """Return (b, m) float32, the numbers of `MEASURES`, of (b, 256, 256, 3) uint8 pixels.

    Brightness, contrast and colours are in levels of 0 to 255. Sharpness is the mean square of the Laplacian over the
    variance of the picture, as a natural logarithm: a picture that is made blurred loses most of the former.
    """
    return np.stack([_of_one(picture) for picture in pixels]) if len(pixels) else np.empty((0, len(MEASURES)), "f4")


def _of_one(picture: np.ndarray) -> np.ndarray:
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32)  # means along rows are much faster
    light = np.einsum("c,chw->hw", LUMA, planes)
    low, high = np.percentile(light[::2, ::2], [5, 95])
    laplacian = 4 * light[1:-1, 1:-1] - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    sharpness = np.log((float(np.mean(laplacian**2)) + 0.1) / (float(light.var()) + 1.0))
    values = [float(light.mean()), float(high - low), sharpness, *planes.reshape(3, -1).mean(axis=1).tolist()]
    return np.array([*values, *_border(planes, light), *_corners(light), *_background(planes, light)], dtype=np.float32)


def _border(planes: np.ndarray, light: np.ndarray) -> list[float]:
    lines = [planes[:, :_BORDER], planes[:, -_BORDER:], planes[:, :, :_BORDER], planes[:, :, -_BORDER:]]
    colour = np.mean([line.reshape(3, -1).mean(axis=1) for line in lines], axis=0)
    sides = [light[:_BORDER], light[-_BORDER:], light[:, :_BORDER], light[:, -_BORDER:]]
    brightness = float(np.mean([side.mean() for side in sides]))
    inside = light[2 * _BORDER : -2 * _BORDER, 2 * _BORDER : -2 * _BORDER]
    rim = float(np.mean([inside[: 2 * _BORDER].mean(), inside[-2 * _BORDER :].mean()]))
    return [brightness, float(np.median([side.std() for side in sides])), abs(brightness - rim), *_tints(colour)]


def _corners(light: np.ndarray) -> list[float]:
    corners = [light[rows, columns] for rows in _ends(_CORNER) for columns in _ends(_CORNER)]
    detail = max(float(np.abs(np.diff(corner, axis=1)).mean()) for corner in corners)
    return [detail, max(float(corner.std()) for corner in corners)]


def _background(planes: np.ndarray, light: np.ndarray) -> list[float]:
    steps = np.abs(np.diff(light, axis=1))
    colour = np.array([_mean_outside(plane) for plane in planes])
    mean = _mean_outside(light)
    variance = max(_mean_outside(light**2) - mean**2, 0.0)
    return [mean, variance**0.5, *_tints(colour), _mean_outside(steps)]


def _mean_outside(values: np.ndarray) -> float:
    """Return the mean of (h, w) values outside of the centred box."""
    inside = values[_INNER:-_INNER, _INNER:-_INNER]
    return float((values.sum() - inside.sum()) / (values.size - inside.size))


def _tints(colour: np.ndarray) -> list[float]:
    """Return by how much red and blue exceed green, of a mean colour (3,)."""
    return [float(colour[0] - colour[1]), float(colour[2] - colour[1])]


def _ends(size: int) -> tuple[slice, slice]:
    return slice(None, size), slice(-size, None)
