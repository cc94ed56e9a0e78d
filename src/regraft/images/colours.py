"""The mean colour of photos, by which sets of photos are compared."""

import numpy as np

from regraft.images.perceptual_hash import LUMA

COLOURS = ("brightness", "saturation", "red", "green", "blue")


def mean_colours(pixels: np.ndarray) -> np.ndarray:
    """Return (b, 5) float32 means, 0 to 1, in the order of `COLOURS`, of (b, h, w, 3) uint8 pixels.

    The saturation of a pixel is that of HSV: the difference of its strongest and its weakest channel, over the
    strongest; 0 for black.
    """
    channels = pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float32) / 255
    strongest, weakest = (reduce(pixels, axis=3).astype(np.float32) for reduce in (np.max, np.min))
    saturation = (strongest - weakest) / np.maximum(strongest, 1)
    means = [channels @ LUMA, saturation.mean(axis=(1, 2)), *channels.T]
    return np.stack(means, axis=1).astype(np.float32)
