"""Resizing by Pillow, as networks were trained and published, and by torchvision, in a fifth of the time.

The two differ by at most 2 of 255 levels: Pillow rounds between the two directions. Which of them resizes follows from
how many photos there are, so that a run on the same photos always has the same pixels: few are not worth the second
that importing torchvision takes.
"""

import numpy as np
from PIL import Image

from regraft.runtime import MANY_PHOTOS, is_installed

PILLOW, TORCHVISION = "pillow", "torchvision"
INTERPOLATIONS = {  # by torchvision's names
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
TENSOR_FILTERS = ("bilinear", "bicubic")  # that torchvision has for tensors, antialiased


def resizer_for(photos: int) -> str:
    """Return what resizes so many photos: `TORCHVISION` where they are many and it is installed, else `PILLOW`."""
    installed = is_installed("torchvision") and is_installed("torch")  # which can be removed without it
    return TORCHVISION if photos >= MANY_PHOTOS and installed else PILLOW


def prepare(resizer: str) -> None:
    """Import what `resizer` needs and let it set itself up, before threads use it.

    PyTorch looks NumPy's interface up when an array first becomes a tensor.
    """
    if resizer == TORCHVISION:
        resize_by_torchvision(np.zeros((2, 2, 3), dtype=np.uint8), (1, 1), TENSOR_FILTERS[0])


def resize_by_pillow(image: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
    """Return an image at `size` (height, width)."""
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), INTERPOLATIONS[interpolation])


def resize_by_torchvision(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Return (*size, 3) uint8 pixels of (h, w, 3) uint8 ones, by one of `TENSOR_FILTERS`, antialiased."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    image = torch.from_numpy(pixels).permute(2, 0, 1)  # channels are last in memory
    resized: torch.Tensor = functional.resize(image, list(size), InterpolationMode(interpolation), antialias=True)
    return resized.permute(1, 2, 0).numpy()
