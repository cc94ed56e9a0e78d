"""The plan of `auto`: what is tried, what is skipped, which budget would do; by estimates that a test gives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.classifier.record import Attempt, FitRecord, OverBudget
from regraft.cli.training_options import parse_duration
from regraft.data.layouts import find_samples
from regraft.engines import speed
from regraft.engines.compute import Compute
from regraft.errors import ModelError, flags_in_messages
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.runtime import Device
from regraft.training.checkpoints import Run
from regraft.training.schedule import Schedule
from regraft.transfer.auto_plan import AutoPlan, auto_in_words, left_out_in_words, plan_auto
from regraft.transfer.experiment import Experiment
from regraft.transfer.forecast import Trial
from regraft.transfer.preparation import prepare_experiment
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate

TOP, WHOLE = Candidate("top"), Candidate("whole")
Photos = Callable[..., Path]
Reopen = Callable[[], Run]


@pytest.mark.parametrize(
    ("seconds", "skipped"),
    [
        ({"top": 100.0, "whole": 500.0}, ()),
        ({"top": 100.0, "whole": 800.0}, ()),  # 900 s are one and a half times 600: it is begun, for estimates err
        ({"top": 100.0, "whole": 801.0}, ("whole",)),
        ({"top": 901.0, "whole": 902.0}, ("top", "whole")),
        ({"top": 901.0, "whole": 2.0}, ("top",)),  # what is skipped takes no time from what is not
        ({}, ()),
    ],
)
def test_what_exceeds_the_budget_by_half_is_skipped(seconds: dict[str, float], skipped: tuple[str, ...]) -> None:
    assert AutoPlan(seconds, 600.0).skipped == skipped


def test_without_a_limit_nothing_is_skipped() -> None:
    assert AutoPlan({"top": 1e6, "whole": 1e9}, float("inf")).skipped == ()


def test_the_plan_in_words() -> None:
    plan = AutoPlan({"top": 200.0, "whole": 2400.0}, 600.0)
    with flags_in_messages({}):
        assert plan.tried_in_words == "top (about 3.3 min)"
        # 2600 s and a tenth are 47.7 minutes: 50
        assert plan.skipped_in_words == "whole would take about 40 min: skipped, --budget 50m lets it"
        unsure = AutoPlan({"top": 200.0, "whole": 500.0}, 600.0)
        assert unsure.tried_in_words == "top (about 3.3 min), then whole (about 8.3 min, if --budget 10m lets it)"
        assert unsure.skipped_in_words == ""
    assert plan.skipped_in_words.endswith(": skipped, budget=3000 lets it")
    assert AutoPlan({"top": 9000.0}, 600.0).tried_in_words == ""


@pytest.mark.parametrize(
    ("seconds", "flag"),
    [
        (5.0, "10s"),
        (63.0, "70s"),  # 69.3
        (100.0, "110s"),
        (109.2, "3m"),  # 120.12
        (300.0, "6m"),
        (546.0, "15m"),  # 600.6
        (6000.0, "110m"),
        (6700.0, "2.5h"),  # 7370
        (32_800.0, "11h"),  # 36080
        (1e6, "306h"),
    ],
)
def test_the_budget_that_is_named_does(seconds: float, flag: str) -> None:
    """A tenth is added, and the sum rounded up to a time that people would say; the command line reads it back."""
    with flags_in_messages({}):
        named = AutoPlan({"top": seconds}, 1.0).over_budget("top")
    assert named == OverBudget("top", seconds, f"--budget {flag}")
    budget = parse_duration(flag, "--budget")
    assert budget >= 1.1 * seconds - 1e-6
    assert AutoPlan({"top": seconds}, budget).skipped == ()
    assert AutoPlan({"top": seconds}, 1.0).over_budget("top").budget == f"budget={budget:.0f}"


def test_what_became_known_counts() -> None:
    plan = AutoPlan({"top": 200.0, "whole": 2400.0}, 600.0).with_seconds("top", 400.0)
    assert plan.over_budget("whole") == OverBudget("whole", 2400.0, "budget=3300")  # 3080


# --- at the end of a run ---


def record(**changed: Any) -> FitRecord:
    found = {
        "report": None,
        "model": "m",
        "strategy": "frozen",
        "temperature": 1.0,
        "reason": "it is enough",
        **changed,
    }
    return FitRecord(**found)


FROZEN_TRIED, TOP_TRIED = Attempt("frozen", 0.5, 0.0, (0.0, 0.0)), Attempt("top", 0.4, 0.1, (0.0, 0.2))
STOPPED = Attempt("whole", None, None, None, 12.0, stopped=True)


def test_what_was_tried_and_left_out_in_words() -> None:
    found = record(
        tried=(FROZEN_TRIED, TOP_TRIED),
        over_budget=(OverBudget("whole", 2400.0, "--budget 50m"),),
    )
    left_out = "whole was skipped: it would take about 40 min, --budget 50m lets it"
    assert left_out_in_words(found) == left_out
    assert auto_in_words(found) == f"auto tried frozen and top and took frozen; {left_out}."


def test_what_was_stopped_is_not_called_skipped() -> None:
    found = record(tried=(FROZEN_TRIED, STOPPED), over_budget=(OverBudget("whole", 2400.0, "budget=3000"),))
    assert auto_in_words(found) == (
        "auto tried frozen and took frozen; whole was stopped: it would take about 40 min, budget=3000 lets it."
    )


def test_of_a_file_no_time_is_known() -> None:
    found = record(tried=(FROZEN_TRIED, STOPPED), over_budget=(OverBudget("whole"), OverBudget("bitfit")))
    assert left_out_in_words(found) == (
        "whole was stopped: a larger budget lets it; bitfit was skipped: a larger budget lets it"
    )


def test_where_nothing_was_left_out_the_reason_is_said() -> None:
    few = "the last layer alone is trained; the last layer alone errs on 5 photos: too few to prove a gain"
    assert auto_in_words(record(tried=(FROZEN_TRIED,), reason=few)) == f"auto: {few}."
    assert auto_in_words(record(tried=(), reason="nothing more can be tried.")) == "auto: nothing more can be tried."
    assert auto_in_words(record(tried=None, reason=None)) == ""
    assert auto_in_words(None) == ""


# --- made by a trial ---


@pytest.fixture
def experiment(photos: Photos, tiny_network: str) -> Experiment:
    settings = FitSettings(strategy="auto", schedule=Schedule(epochs=2, views=3))
    splits = find_samples(photos(red=10, blue=10))
    return prepare_experiment(splits, lambda: load_backbone(tiny_network), settings, Compute(device="cpu"), Observer())


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Have an update take 2 s for each image; return what trials are told of the pass over the photos, in turn."""
    told: list[float | None] = []

    def update(self: Trial, plan: object) -> float:
        told.append(self._known)
        return 2.0

    monkeypatch.setattr(Trial, "_update", update)  # private: the trial of a real network takes a real time
    monkeypatch.setattr(Trial, "_photo", 1.0)
    monkeypatch.setattr(speed, "preemptions", lambda: 0)
    return told


def test_the_plan_is_the_forecast_of_what_is_tried(experiment: Experiment, timed: list[float | None]) -> None:
    """Of 20 photos the pass took 0.5 s each: 3 views of each photo, and two epochs of 16 photos in each of 5 folds."""
    experiment.features = replace(experiment.features, computed=20, seconds=10.0)
    plan = plan_auto([TOP, WHOLE], experiment, np.arange(20) % 5, budget=600.0)
    assert not plan.busy
    # whole has no views that are kept: each image is decoded, for 1 s, in each epoch
    assert plan == AutoPlan({"top": 20 * 3 * 0.5 + 5 * 2 * 16 * 2.0, "whole": 5 * 2 * 16 * 3.0}, 600.0)
    assert timed == [0.5, 0.5]
    fewer = plan_auto([WHOLE], experiment, np.arange(20) % 2, budget=600.0)
    assert fewer.seconds == {"whole": 2 * 2 * 10 * 3.0}  # as groups may allow


def test_a_busy_machine_is_seen_during_the_trial(
    experiment: Experiment, timed: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = iter(range(0, 10_000, 1000))  # a thousand more each time that it is asked for
    monkeypatch.setattr(speed, "preemptions", lambda: next(lost))
    assert plan_auto([WHOLE], experiment, np.arange(20) % 5, budget=600.0).busy


def test_a_pass_over_few_photos_tells_nothing(experiment: Experiment, timed: list[float | None]) -> None:
    experiment.features = replace(experiment.features, computed=9, seconds=100.0)
    plan_auto([WHOLE], experiment, np.arange(20) % 5, budget=600.0)
    assert timed == [None]


@pytest.mark.parametrize(("seconds", "told"), [(59.0, None), (60.0, 3.0)])
def test_a_short_pass_of_an_accelerator_tells_nothing(
    experiment: Experiment,
    timed: list[float | None],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    told: float | None,
) -> None:
    """Most of it may have been the accelerator's start."""
    experiment.features = replace(experiment.features, computed=20, seconds=seconds)
    monkeypatch.setattr(Compute, "processor", Device("cuda"))
    plan_auto([WHOLE], experiment, np.arange(20) % 5, budget=600.0)
    assert timed == [told]


def test_the_plan_of_a_run_that_is_resumed_stands(
    experiment: Experiment, timed: list[float | None], reopen: Reopen
) -> None:
    """The machine may be busier by then, or less."""
    experiment.run = reopen()
    first = plan_auto([TOP, WHOLE], experiment, np.arange(20) % 5, budget=600.0)
    assert len(timed) == 2
    experiment.run = reopen()
    assert plan_auto([TOP, WHOLE], experiment, np.arange(20) % 5, budget=600.0) == first
    assert len(timed) == 2  # nothing was timed again


def test_the_plan_ends_at_what_the_network_cannot_be_cut_for(
    experiment: Experiment, timed: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object, **__: object) -> float:
        raise ModelError("this network cannot be cut before blocks.2")

    monkeypatch.setattr(Trial, "forecast", cannot)
    plan = plan_auto([TOP, WHOLE], experiment, np.arange(20) % 5, budget=600.0)
    assert (plan.seconds, plan.tried_in_words, plan.skipped_in_words) == ({}, "", "")


def test_a_trial_changes_nothing(experiment: Experiment) -> None:
    before = experiment.backbone.tensor_hashes()
    grads = [parameter.requires_grad for parameter in experiment.backbone.module.parameters()]
    plan = plan_auto([TOP, WHOLE], experiment, np.arange(20) % 5, budget=600.0)
    assert all(seconds > 0 for seconds in plan.seconds.values())
    assert experiment.backbone.tensor_hashes() == before
    assert [parameter.requires_grad for parameter in experiment.backbone.module.parameters()] == grads
    assert all(parameter.grad is None for parameter in experiment.backbone.module.parameters())
    assert not experiment.backbone.module.training
