"""Features as one would otherwise compute them: timm or torchvision, a DataLoader with two workers, eager float32.

The functions run in processes that are kept between rounds; the last network is kept in each.
"""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import network_name

_TORCHVISION = {"mobilenetv2_100": "mobilenet_v2"}  # the others have the same name
BATCH, WORKERS = 32, 2


class Photos:
    """Photos as a torch data set: opened with Pillow and transformed."""

    def __init__(self, paths: Sequence[Path], transform: Callable[[Any], Any]) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.paths)

    def __getitem__(self, place: int) -> Any:
        """Return one (3, h, w) tensor."""
        from PIL import Image

        return self.transform(Image.open(self.paths[place]).convert("RGB"))


def timm_features(network: str, photos: Sequence[Path]) -> tuple[float, np.ndarray]:
    """Return the seconds, and the (n, d) matrix, of timm's network with timm's evaluation transform."""
    return _loop(*_timm(network), photos)


def torchvision_features(network: str, photos: Sequence[Path]) -> tuple[float, np.ndarray]:
    """Return the seconds, and the (n, d) matrix, of torchvision's network with torchvision's transform."""
    return _loop(*_torchvision(network), photos)


def _loop(module: Any, transform: Callable[[Any], Any], photos: Sequence[Path]) -> tuple[float, np.ndarray]:
    import torch
    from torch.utils.data import DataLoader

    started = time.perf_counter()
    loader = DataLoader(Photos(photos, transform), batch_size=BATCH, num_workers=WORKERS)  # type: ignore[arg-type, var-annotated]
    with torch.inference_mode():
        features = torch.cat([module(batch) for batch in loader]).numpy()
    return time.perf_counter() - started, features


@functools.lru_cache(1)
def _timm(network: str) -> tuple[Any, Any]:
    import timm
    import torch
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    name = network_name(network)
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=name.startswith("local-dir:"), num_classes=0).eval()
    return module, create_transform(**resolve_model_data_config(module))  # type: ignore[no-untyped-call]


@functools.lru_cache(1)
def _torchvision(network: str) -> tuple[Any, Any]:
    import torch
    from torchvision import models

    name = _TORCHVISION.get(network, network)
    torch.manual_seed(0)
    # its own initialisation of Inception-v3 takes a minute; its second classifier is for training alone
    arguments = {"init_weights": False, "aux_logits": False} if name == "inception_v3" else {}
    module = models.get_model(name, weights=None, **arguments).eval()
    if name.startswith("vgg"):
        module.classifier[-1] = torch.nn.Identity()
    else:
        setattr(module, "classifier" if hasattr(module, "classifier") else "fc", torch.nn.Identity())
    return module, models.get_model_weights(name).DEFAULT.transforms()
