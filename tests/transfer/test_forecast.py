"""The estimate of a fit's time: made of what the trial found and of how much there is to do."""

from pathlib import Path
from typing import Any

import pytest

from regraft.engines.compute import Compute
from regraft.networks.backbones import build_untrained
from regraft.training.schedule import Schedule
from regraft.transfer.experiment import plan_of
from regraft.transfer.forecast import Forecast, Trial, seconds_in_words
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate

CPU = Compute(device="cpu")


def forecast(network: str, strategy: str, compute: Compute = CPU, *, validation: int = 0, **schedule: Any) -> Forecast:
    """Return the forecast of 100 photos where decoding takes 1 s, the network 2 s, what is frozen 0.5, an update 10."""
    settings = FitSettings(strategy=strategy, schedule=Schedule(**schedule))
    backbone = build_untrained(network)
    trial = Trial(backbone, [Path("missing.jpg")], settings, compute)
    trial._photo, trial._forward = 1.0, 2.0
    trial._training = lambda plan: (0.5, 10.0)  # type: ignore[method-assign]  # noqa: ARG005
    candidate = Candidate(strategy)
    return trial.forecast(candidate, plan_of(candidate, backbone, settings.schedule), train=100, validation=validation)


def test_the_last_layer_takes_one_pass(tiny_network: str) -> None:
    assert forecast(tiny_network, "frozen", validation=50) == Forecast(150 * 3.0, 0.0, 0.0)


def test_top_trains_on_kept_views(tiny_network: str) -> None:
    found = forecast(tiny_network, "top", epochs=2, views=3)
    assert found == Forecast(300.0, 5 * 2 * 80 * 10.0, 100 * 3 * 1.5 + 2 * 100 * 10.0)
    assert found.seconds == 300 + 8000 + 2450


def test_without_a_cache_views_are_made_anew(tiny_network: str) -> None:
    found = forecast(tiny_network, "top", Compute(device="cpu", cache=False), epochs=2)
    assert found == Forecast(300.0, 5 * 2 * 80 * 11.5, 2 * 100 * 11.5)


def test_validation_photos_spare_the_folds(tiny_network: str) -> None:
    assert forecast(tiny_network, "whole", validation=50, epochs=2) == Forecast(450.0, 0.0, 2 * 100 * 11.5)


def test_few_photos_are_seen_more_often(tiny_network: str) -> None:
    """100 updates at least: of 80 photos in batches of 32, 34 epochs; of 100, 25."""
    assert forecast(tiny_network, "whole") == Forecast(300.0, 5 * 34 * 80 * 11.5, 25 * 100 * 11.5)


def test_a_trial_times_what_there_is(tiny_network: str, photos: Any) -> None:
    folder = photos(red=4)
    backbone, settings = build_untrained(tiny_network), FitSettings(strategy="top")
    trial = Trial(backbone, sorted(folder.rglob("*.jpg")), settings, CPU)
    assert trial._photo > 0
    assert trial._forward > 0
    for name in ("top", "whole"):
        before, update = trial._training(plan_of(Candidate(name), backbone, settings.schedule))
        assert (before > 0) is (name == "top")
        assert update > 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "a few seconds"),
        (9.9, "a few seconds"),
        (14.0, "about 10 s"),
        (89.0, "about 90 s"),
        (91.0, "about 1.5 min"),
        (1234.0, "about 21 min"),
        (7000.0, "about 1.9 h"),
        (1e6, "about 280 h"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words
