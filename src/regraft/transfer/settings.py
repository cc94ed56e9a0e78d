"""How to train and to run, checked once at the door."""

import math
from dataclasses import dataclass, field
from typing import Any

from regraft.data.loading import BATCH_SIZE
from regraft.engines.kinds import AUTO
from regraft.engines.selection import check_engine
from regraft.errors import OptionError, did_you_mean
from regraft.files import MAX_FILE_BYTES
from regraft.networks.lora import check_peft
from regraft.runtime import pick_device
from regraft.training.schedule import Schedule

STRATEGIES = ("auto", "frozen", "top", "whole", "scratch")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
BUDGET = 600.0  # seconds
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Settings:
    """How to train and to run, with defaults that are right for most.

    Attributes:
        strategy: "frozen" keeps the network and replaces its last layer; "top" trains its last two stages too, "whole"
            all of it, "scratch" the same network from random weights; "auto" chooses between the first three.
        seed: of folds, views and training.
        device: "auto", "cpu", "cuda" or "mps".
        engine: what runs the network where nothing is trained, one of `engines.kinds.engine_names`.
        batch_size: images per step through the network where nothing is trained.
        cache: False computes all features and activations anew and keeps none.
        positive: the class that AUC and average precision are of, where there are two; default the second.
        force: True keeps a classifier that is no better than always saying the largest class.
        train_from: the first stage that is trained, instead of the last two.
        train_only: the one stage that is trained.
        lora: rank of low-rank adapters in the trained stages; 0 trains the weights themselves.
        budget: seconds that "auto" may spend on trying more than the last layer.
        precision: of training: "auto", "fp32", "bf16" or "fp16".
        restart: True throws away the checkpoints of a run that was killed.
        max_file_size: bytes that a photo's file may have; a larger one counts as unreadable.
        schedule: how the network is trained further.
    """

    strategy: str = "frozen"
    seed: int = 0
    device: str = "auto"
    engine: str = AUTO
    batch_size: int = BATCH_SIZE
    cache: bool = True
    positive: str | None = None
    force: bool = False
    train_from: str | None = None
    train_only: str | None = None
    lora: int = 0
    budget: float = BUDGET
    precision: str = "auto"
    restart: bool = False
    max_file_size: int = MAX_FILE_BYTES
    schedule: Schedule = field(default_factory=Schedule)

    def check(self, classes: tuple[str, ...]) -> None:
        """Raise `OptionError` for a value outside what is allowed; `classes` are the names that there are."""
        self.check_training()
        self.check_running()
        if self.positive is not None and len(classes) != 2:
            raise OptionError(f"--positive is for two classes. There are {len(classes)}; leave it out.")
        if self.positive is not None and self.positive not in classes:
            hint = did_you_mean(self.positive, classes)
            raise OptionError(f"--positive must be one of {', '.join(classes)}. Got {self.positive!r}.{hint}")

    def check_running(self) -> None:
        """Raise `OptionError` for a batch size, seed, device or engine that is not allowed."""
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise OptionError(f"--batch-size must be 1 or more. Got {self.batch_size}.")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise OptionError(f"--seed must be a whole number from 0 to {2**32 - 1}. Got {self.seed!r}.")
        if not isinstance(self.max_file_size, int) or self.max_file_size < 1:
            raise OptionError(f"--max-file-size must be a size in bytes, 1 or more. Got {self.max_file_size!r}.")
        check_engine(self.engine, pick_device(self.device))

    def check_training(self) -> None:
        """Raise `OptionError` for a strategy, or an option of training, that is not allowed or does not go with it."""
        if self.strategy not in STRATEGIES:
            hint = did_you_mean(str(self.strategy), STRATEGIES)
            raise OptionError(f"--strategy must be one of: {', '.join(STRATEGIES)}. Got {self.strategy!r}.{hint}")
        self._check_precision()
        if self.train_from is not None and self.train_only is not None:
            raise OptionError("--train-from and --train-only exclude each other: from a stage on, or one stage alone.")
        for option, given in (("--train-from", self.train_from), ("--train-only", self.train_only)):
            if given is not None and self.strategy != "top":
                raise OptionError(f"{option} goes with --strategy top. Got --strategy {self.strategy}.")
        if not isinstance(self.lora, int) or self.lora < 0:
            raise OptionError(f"--lora must be a rank, a whole number from 1. Got {self.lora!r}.")
        if self.lora and self.strategy not in ("top", "whole"):
            raise OptionError(f"--lora goes with --strategy top or whole. Got --strategy {self.strategy}.")
        if not isinstance(self.budget, (int, float)) or not self.budget >= 0:
            raise OptionError(f"--budget must be a time, like 90s, 10m or 2h. Got {self.budget!r}.")
        self.schedule.check()
        if self.lora:
            check_peft()

    def _check_precision(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"--precision must be one of: {', '.join(PRECISIONS)}. Got {self.precision!r}.")
        if self.precision == "fp16" and pick_device(self.device).type == "cpu":
            raise OptionError(
                "--precision fp16 needs a GPU, and training runs on the CPU here (--device). Use --precision bf16 or "
                "fp32, or leave it out."
            )

    def training_arguments(self) -> dict[str, Any]:
        """Return what the trained weights depend on, by the names of the command line, in JSON types."""
        named = ("strategy", "seed", "train_from", "train_only", "lora", "budget", "precision")
        chosen = {name: getattr(self, name) for name in named if name != "budget" or self.strategy == "auto"}
        chosen |= {name: getattr(self.schedule, name) for name in self.schedule.__dataclass_fields__}
        chosen["train_batch_size"] = chosen.pop("batch_size")
        chosen["no_cache"] = not self.cache  # views from the cache are fewer, and in float16
        device = pick_device(self.device).type
        return {f"--{name.replace('_', '-')}": value for name, value in chosen.items()} | {"--device": device}


def parse_duration(text: str, option: str = "--budget") -> float:
    """Return seconds.

    >>> parse_duration("10m"), parse_duration("1.5h"), parse_duration("90")
    (600.0, 5400.0, 90.0)

    Raises:
        OptionError: not a time.
    """
    number = text.strip().lower().rstrip("smh")
    unit = text.strip().lower()[len(number) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise OptionError(f"{option} must be a time, like 90s, 10m or 2h. Got {text!r}.")
    return seconds
