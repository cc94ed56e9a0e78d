"""What the tests of transfer share: a clock that a test moves, and a run that is opened again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.progress import Observer
from regraft.training.checkpoints import Run
from regraft.transfer import budget


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which passes by what is added to it."""
    time = [0.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: time[0])
    return time


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], Run]:
    """Return what opens the same run again, as the next process does."""
    return lambda: Run(tmp_path / "run", {}, restart=False, observer=Observer())
