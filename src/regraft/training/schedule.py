"""How a network is fine-tuned: the optimizer, its rates, how long, and what is done to the photos and labels."""

import math
import sys
from dataclasses import dataclass, fields
from typing import Any

from regraft.data.augment import DEFAULT_KINDS, KINDS, SMALLEST_AREA
from regraft.errors import OptionError
from regraft.networks.freezing import BATCH_NORMS

OPTION_NAMES = {"batch_size": "train_batch_size"}  # --batch-size is that of the network where nothing learns
OPTIMIZERS = ("adamw", "sgd")
RATES = {"top": 3e-4, "whole": 1e-4, "scratch": 1e-3}  # of AdamW
SGD_FACTOR = 30.0  # SGD's rates are larger by this
LORA_RATE = 1e-3
_EPOCHS, _SCRATCH_EPOCHS = 8, 24
_MIN_STEPS = 100  # a few photos are seen more often
_LARGEST = sys.float_info.max  # of numbers that are finite


@dataclass(frozen=True)
class Schedule:
    """How training goes. None stands for a default that depends on the strategy and the number of photos.

    Attributes:
        epochs: how often each photo is seen; default 8 (24 from scratch), and 100 steps at least.
        lr: highest learning rate, of the head and the last stage; default 3e-4 for `top`, 1e-4 for `whole`, 1e-3
            from scratch and for adapters; 30 times these for SGD.
        lr_decay: each stage learns this much slower than the one after it, in (0, 1].
        optimizer: "adamw" (Loshchilov and Hutter 2019) or "sgd" (with Nesterov momentum 0.9).
        weight_decay: of matrices and filters; biases and normalisations have none.
        batch_size: photos per update.
        warm_up: share of the steps in which the rate rises; then it falls to 0 along a cosine.
        clip: largest norm of the gradient; 0 for no limit.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        mixup: parameter of the Beta distribution by which two photos' activations at the cut, and their labels, are
            mixed (Zhang et al. 2018; Verma et al. 2019); 0 for none.
        cutmix: the same parameter for the share of its area that a photo keeps, the rest being another photo's (Yun et
            al. 2019); 0 for none; where both are given, one of them is drawn for each batch.
        averaging: the weights that are kept are a running mean over about this many epochs; 0 for the last ones.
        views: how many views of each photo are cached at the cut; view 0 is the photo itself.
        augment: how views differ, some of "flip", "vertical-flip", "crop", "colour", "randaugment" (Cubuk et al.
            2020) and "erase" (Zhong et al. 2020).
        crop_area: smallest area of a crop, as a share of the photo.
        batch_norm: "held" or "trained" statistics in the trained stages; default "held", "trained" from scratch.
        patience: hold a sixth of the photos out, stop after this many epochs without a lower loss on them, and take the
            best weights; None trains on all photos to the end, where the falling rate has settled.
    """

    epochs: int | None = None
    lr: float | None = None
    lr_decay: float = 1.0
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    batch_size: int = 32
    warm_up: float = 0.1
    clip: float = 1.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    averaging: float = 1.0
    views: int = 4
    augment: tuple[str, ...] = DEFAULT_KINDS
    crop_area: float = SMALLEST_AREA
    batch_norm: str | None = None
    patience: int | None = None

    def check(self) -> None:
        """Raise `OptionError` for a value outside what is allowed, naming all of them."""
        rules = {
            "epochs": (self.epochs is None or _whole(self.epochs, 1), "a whole number from 1"),
            "lr": (self.lr is None or (_real(self.lr, 0, _LARGEST) and self.lr > 0), "a number above 0"),
            "lr_decay": (_real(self.lr_decay, 0, 1) and self.lr_decay > 0, "a number above 0, at most 1"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
            "weight_decay": (_real(self.weight_decay, 0, _LARGEST), "a number from 0"),
            "batch_size": (_whole(self.batch_size, 1), "a whole number from 1"),
            "warm_up": (_real(self.warm_up, 0, 1), "a number from 0 to 1"),
            "clip": (_real(self.clip, 0, _LARGEST), "a number from 0"),
            "label_smoothing": (_real(self.label_smoothing, 0, 0.99), "a number from 0, below 1"),
            "mixup": (_real(self.mixup, 0, _LARGEST), "a number from 0"),
            "cutmix": (_real(self.cutmix, 0, _LARGEST), "a number from 0"),
            "averaging": (_real(self.averaging, 0, _LARGEST), "a number from 0"),
            "views": (_whole(self.views, 1), "a whole number from 1"),
            "augment": (
                isinstance(self.augment, tuple) and all(kind in KINDS for kind in self.augment),
                f"some of {', '.join(KINDS)}",
            ),
            "crop_area": (_real(self.crop_area, 0, 1) and self.crop_area > 0, "a number above 0, at most 1"),
            "batch_norm": (self.batch_norm in (None, *BATCH_NORMS), f"one of {', '.join(BATCH_NORMS)}"),
            "patience": (self.patience is None or _whole(self.patience, 1), "a whole number from 1"),
        }
        assert set(rules) == {field.name for field in fields(self)}  # a new field needs a rule
        wrong = [
            f"--{OPTION_NAMES.get(name, name).replace('_', '-')} must be {allowed}. Got {getattr(self, name)!r}."
            for name, (right, allowed) in rules.items()
            if not right
        ]
        if wrong:
            raise OptionError("\n".join(wrong))

    def epochs_for(self, photos: int, strategy: str, *, least: int = 1) -> int:
        """Return how many epochs `photos` are trained for; `least` as in `batch_sizes`."""
        if self.epochs is not None:
            return self.epochs
        usual = _SCRATCH_EPOCHS if strategy == "scratch" else _EPOCHS
        return max(usual, math.ceil(_MIN_STEPS / len(self.batch_sizes(photos, least=least))))

    def batch_sizes(self, photos: int, *, least: int = 1) -> list[int]:
        """Return how many photos go into each update of an epoch, in which all are seen once.

        Args:
            photos: in all.
            least: fewer at last join those before them: one photo has no batch-norm statistics.
        """
        whole, rest = divmod(photos, self.batch_size)
        sizes = [self.batch_size] * whole + [rest] * (rest > 0)
        if len(sizes) > 1 and sizes[-1] < least:
            return [*sizes[:-2], sizes[-2] + sizes[-1]]
        return sizes

    def rate(self, strategy: str, *, lora: bool = False) -> float:
        """Return the highest learning rate."""
        if self.lr is not None:
            return self.lr
        rate = LORA_RATE if lora else RATES[strategy]
        return rate * (SGD_FACTOR if self.optimizer == "sgd" else 1.0)

    def rate_factor(self, step: int, steps: int) -> float:
        """Return the share of the highest rate at `step` of `steps`: a linear rise, then half a cosine to 0."""
        rising = round(self.warm_up * steps)
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))

    def batch_norm_for(self, strategy: str) -> str:
        """Return "held" or "trained"."""
        return self.batch_norm or ("trained" if strategy == "scratch" else "held")


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _real(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
