"""How a network is fine-tuned: the optimizer, its rates, how long, and what is done to the photos and labels."""

import math
from dataclasses import dataclass

from regraft.images.augment import DEFAULT_KINDS, KINDS, SMALLEST_AREA, kinds_in_words
from regraft.options import check_settings, number, setting, whole_number
from regraft.training.optimizers import OPTIMIZERS

BATCH_NORMS = ("held", "trained")
_MIN_STEPS = 100  # a few photos are seen more often


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

    epochs: int | None = setting(
        None,
        help="How often a photo is seen. [default: 8; 24 from scratch; 100 updates at least]",
        allowed="a whole number from 1",
        check=lambda value: whole_number(value, 1),
    )
    lr: float | None = setting(
        None,
        help="Highest learning rate. [default: top 3e-4, whole 1e-4, scratch, LoRA 1e-3]",
        allowed="a number above 0",
        check=lambda value: number(value, 0, above=True),
    )
    lr_decay: float = setting(
        1.0,
        help="Each stage learns this much slower than the one after it.",
        allowed="a number above 0, at most 1",
        check=lambda value: number(value, 0, 1, above=True),
    )
    optimizer: str = setting("adamw", help=f"{' or '.join(OPTIMIZERS)}.", choices=tuple(OPTIMIZERS))
    weight_decay: float = setting(
        0.01, help="Of matrices and filters.", allowed="a number from 0", check=lambda value: number(value, 0)
    )
    batch_size: int = setting(
        32,
        help="Photos per update.",
        allowed="a whole number from 1",
        check=lambda value: whole_number(value, 1),
        flag="train_batch_size",  # `batch_size` is that of the network where nothing learns
    )
    warm_up: float = setting(
        0.1,
        help="Share of the steps in which the rate rises; then it falls along a cosine.",
        allowed="a number from 0 to 1",
        check=lambda value: number(value, 0, 1),
    )
    clip: float = setting(
        1.0,
        help="Largest norm of the gradient; 0 for none.",
        allowed="a number from 0",
        check=lambda value: number(value, 0),
    )
    label_smoothing: float = setting(
        0.0,
        help="Share of the target spread over all classes.",
        allowed="a number from 0, below 1",
        check=lambda value: number(value, 0, 0.99),
    )
    mixup: float = setting(
        0.0,
        help="Parameter by which two photos are mixed at the cut; 0 for none.",
        allowed="a number from 0",
        check=lambda value: number(value, 0),
    )
    cutmix: float = setting(
        0.0,
        help="The same for a box of one photo put into another; 0 for none.",
        allowed="a number from 0",
        check=lambda value: number(value, 0),
    )
    averaging: float = setting(
        1.0,
        help="Keep the mean of the weights over about this many epochs; 0 for the last ones.",
        allowed="a number from 0",
        check=lambda value: number(value, 0),
    )
    views: int = setting(
        4,
        help="Views of each photo cached at the cut.",
        allowed="a whole number from 1",
        check=lambda value: whole_number(value, 1),
    )
    augment: tuple[str, ...] = setting(
        DEFAULT_KINDS,
        help=f"How views differ: some of {kinds_in_words()}; or none.",
        allowed=f"some of {', '.join(KINDS)}",
        check=lambda value: isinstance(value, tuple) and all(kind in KINDS for kind in value),
    )
    crop_area: float = setting(
        SMALLEST_AREA,
        help="Smallest area of a crop, as a share of the photo.",
        allowed="a number above 0, at most 1",
        check=lambda value: number(value, 0, 1, above=True),
    )
    batch_norm: str | None = setting(
        None, help="Statistics of trained stages: held or trained. [default: held]", choices=BATCH_NORMS
    )
    patience: int | None = setting(
        None,
        help="Stop after this many epochs without gain on a sixth held out.",
        allowed="a whole number from 1",
        check=lambda value: whole_number(value, 1),
    )

    def check(self) -> None:
        """Raise `OptionError` for a value outside what is allowed, naming all of them."""
        check_settings(self)

    def epochs_for(self, photos: int, default: int, *, least: int = 1) -> int:
        """Return how many epochs training takes.

        Args:
            photos: in all.
            default: where the schedule says nothing; a few photos are trained for more, to 100 steps.
            least: as in `batch_sizes`.
        """
        if self.epochs is not None:
            return self.epochs
        return max(default, math.ceil(_MIN_STEPS / len(self.batch_sizes(photos, least=least))))

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

    def learning_rate(self, default: float) -> float:
        """Return the highest learning rate: `lr`, or else `default`, which is AdamW's."""
        if self.lr is not None:
            return self.lr
        return default * OPTIMIZERS[self.optimizer].rate_factor

    def rate_factor(self, step: int, steps: int) -> float:
        """Return the share of the highest rate at `step` of `steps`: a linear rise, then half a cosine to 0."""
        rising = round(self.warm_up * steps)
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
