"""How to train and to run, checked once at the door."""

from dataclasses import dataclass

from regraft.data.loading import BATCH_SIZE
from regraft.errors import OptionError, did_you_mean
from regraft.runtime import pick_device

STRATEGIES = ("frozen",)


@dataclass(frozen=True)
class Settings:
    """How to train and to run, with defaults that are right for most.

    Attributes:
        strategy: "frozen": the pretrained network is kept as it is and its last layer replaced.
        seed: of the folds.
        device: "auto", "cpu", "cuda" or "mps".
        batch_size: images per step through the network.
        cache: False computes all features anew and keeps none.
        positive: the class that AUC and average precision are of, where there are two; default the second.
        force: True keeps a classifier that is no better than always saying the largest class.
    """

    strategy: str = "frozen"
    seed: int = 0
    device: str = "auto"
    batch_size: int = BATCH_SIZE
    cache: bool = True
    positive: str | None = None
    force: bool = False

    def check(self, classes: tuple[str, ...]) -> None:
        """Raise `OptionError` for a value outside what is allowed; `classes` are the names that there are."""
        if self.strategy not in STRATEGIES:
            raise OptionError(f"--strategy must be one of: {', '.join(STRATEGIES)}. Got {self.strategy!r}.")
        if self.batch_size < 1:
            raise OptionError(f"--batch-size must be 1 or more. Got {self.batch_size}.")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise OptionError(f"--seed must be a whole number from 0 to {2**32 - 1}. Got {self.seed!r}.")
        pick_device(self.device)
        if self.positive is not None and len(classes) != 2:
            raise OptionError(f"--positive is for two classes. There are {len(classes)}; leave it out.")
        if self.positive is not None and self.positive not in classes:
            hint = did_you_mean(self.positive, classes)
            raise OptionError(f"--positive must be one of {', '.join(classes)}. Got {self.positive!r}.{hint}")
