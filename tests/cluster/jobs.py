"""What happens in workers of tests: networks whose loading has the worker die, or fail, later on."""

import os
import signal
from pathlib import Path
from typing import Any

from regraft.errors import DataError
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone


def load(network: str) -> Backbone:
    """Return a network; checkpoints are written after every update."""
    from regraft.training.finetuner import Finetuner

    Finetuner._is_due = lambda _: True  # type: ignore[method-assign]
    return load_backbone(network)


def load_and_die(network: str, updates: int, deaths: str, most: int) -> Backbone:
    """Return a network; after so many updates the last worker kills itself, at most `most` times.

    Args:
        network: its name.
        updates: before the next one it dies.
        deaths: a file, longer by a byte for each.
        most: how many.
    """
    from regraft.training.optimisation import TrainingStep

    step, taken = TrainingStep.step, [0]

    def counting(self: TrainingStep, *given: Any, **how: Any) -> float:
        taken[0] += 1
        died = Path(deaths).stat().st_size if Path(deaths).exists() else 0
        if taken[0] > updates and died < most and _is_last():
            with Path(deaths).open("ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *given, **how)

    TrainingStep.step = counting  # type: ignore[method-assign]
    return load(network)


def load_and_fail(network: str) -> Backbone:
    """Return a network; in the last worker there is none."""
    if _is_last():
        raise DataError("the disk of this worker alone is gone")
    return load(network)


def load_wrongly(network: str) -> Backbone:
    """Raise what no user's mistake is."""
    raise LookupError(f"{network} is a mistake of the programmer's")


def _is_last() -> bool:
    return int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
