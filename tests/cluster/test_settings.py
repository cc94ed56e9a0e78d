"""Who trains: workers need a cluster, and a process of its own that starts them."""

import pytest

from regraft.cluster.settings import TrainingWorkers
from regraft.engines.compute import Compute
from regraft.errors import OptionError, flags_in_messages


def test_workers_go_with_a_cluster() -> None:
    TrainingWorkers().check(Compute())
    TrainingWorkers(2).check(Compute(on="ray:10.0.0.1:6379"))
    with pytest.raises(OptionError, match=r"^workers=2 goes with on: .* Add on='ray' for this machine or on='ray:10"):
        TrainingWorkers(2).check(Compute())
    with flags_in_messages({}), pytest.raises(OptionError, match=r"^--workers 2 goes with --on: .* Add --on ray for"):
        TrainingWorkers(2).check(Compute())


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
def test_workers_are_counted(count: object) -> None:
    with pytest.raises(OptionError, match=r"^workers must be 1 or more\. Got "):
        TrainingWorkers(count).check(Compute(on="ray"))  # type: ignore[arg-type]


def test_torchrun_and_workers_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    TrainingWorkers().check(Compute(on="ray"))
    with pytest.raises(OptionError, match=r"^workers=2 starts processes .* here 3 work together already\. Start it wi"):
        TrainingWorkers(2).check(Compute(on="ray"))
