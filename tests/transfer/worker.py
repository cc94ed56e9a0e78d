"""One of several processes that run the command line, in which a test has something happen.

WORKER_OPENED names a folder, where the process leaves the names of the photos that it opened. WORKER_KILLED is a number
of updates: before the next one the last process kills itself, in the first attempt. WORKER_BREAKS names a rank, whose
look at the photos fails. Checkpoints are written after every update.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from regraft.cli import main
from regraft.errors import DataError

RANK, LAST = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) - 1
opened: list[str] = []


def listen(event: str, given: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(given[0], (str, os.PathLike)) and str(given[0]).endswith(".jpg"):
        opened.append(Path(given[0]).name)


def kill_after(updates: int) -> None:
    from regraft.training.finetuner import Finetuner
    from regraft.training.optimisation import TrainingStep

    step, taken = TrainingStep.step, [0]

    def counting(self: TrainingStep, *given: Any, **how: Any) -> float:
        taken[0] += 1
        if taken[0] > updates and RANK == LAST and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *given, **how)

    TrainingStep.step = counting  # type: ignore[method-assign]
    Finetuner._is_due = lambda _: True  # type: ignore[method-assign]


def break_look() -> None:
    from regraft.data import dataset

    def broken(*_: Any, **__: Any) -> Any:
        raise DataError("the disk of this process alone is gone")

    dataset.inspect_shares = broken


if __name__ == "__main__":
    if "WORKER_OPENED" in os.environ:
        sys.addaudithook(listen)
    if "WORKER_KILLED" in os.environ:
        kill_after(int(os.environ["WORKER_KILLED"]))
    if os.environ.get("WORKER_BREAKS") == str(RANK):
        break_look()
    try:
        main.run()
    finally:
        if "WORKER_OPENED" in os.environ:
            (Path(os.environ["WORKER_OPENED"]) / f"{RANK}.json").write_text(json.dumps(opened))
