"""A network of two features, and a stand-in for OpenVINO that is as wrong as a test wants."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.engines.engine import Engine
from regraft.engines.kinds import AUTO, WORTH_CONVERTING
from regraft.engines.pytorch import TorchEngine
from regraft.engines.selection import choose_engine
from regraft.engines.workload import CheckPhotos, Workload
from regraft.images.preprocess import Preprocess
from regraft.networks.backbone import Backbone

CPU = torch.device("cpu")
MANY = WORTH_CONVERTING
Pixels = Callable[..., np.ndarray]
NAMES = {precision: f"openvino-cpu-{precision}" for precision in ("bfloat16", "float32")}
COSINES: dict[str, Any] = {}  # of the stand-in's outputs to the reference's, or what running it raises, by precision


class FakeOpenVino(Engine):
    """Stands for OpenVINO: the reference's two features, rotated by an angle whose cosine is in `COSINES`."""

    def __init__(self, model: Backbone, preprocess: Preprocess, precision: str, width: int | None = None) -> None:
        self.preprocess, self.name = preprocess, NAMES[precision]
        self._reference, self._cosine = TorchEngine(model, CPU), COSINES[precision]

    def features(self, pixels: np.ndarray) -> np.ndarray:
        if isinstance(self._cosine, Exception):
            raise self._cosine
        x, y = self._reference.activations(pixels).double().T
        cosine, sine = self._cosine, math.sqrt(1 - self._cosine**2)
        return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=1).detach().float().numpy()


class Plane(nn.Module):
    """(b, 3, h, w) -> (b, 2): all that can be wrong with the direction of two features is an angle."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images).abs().mean((2, 3))


class Workshop:
    """Makes workloads of one network, and records what is done for them."""

    def __init__(self, backbone: Backbone, pixels: np.ndarray) -> None:
        self.backbone, self.pixels = backbone, pixels
        self.said: list[str] = []
        self.done: list[str] = []

    def workload(self, photos: int = MANY, *, checked: str = "these", **options: Any) -> Workload:
        def read() -> np.ndarray:
            self.done.append("photos")
            return self.pixels

        backbone, check = options.pop("backbone", self.backbone), CheckPhotos(checked, read)
        return Workload(backbone, options.pop("device", CPU), photos, check, say=self.said.append, **options)

    def choose(self, wanted: str = AUTO, *, exact: bool = False, **options: Any) -> str:
        return choose_engine(self.workload(**options), wanted, exact=exact).name
