"""The estimate of a fit's time: made of what the trial found and of how much there is to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regraft.engines import speed
from regraft.engines.compute import Compute
from regraft.networks.backbones import build_untrained
from regraft.training.schedule import Schedule
from regraft.transfer import forecast as forecasting
from regraft.transfer.experiment import plan_of
from regraft.transfer.forecast import Forecast, Trial, seconds_in_words
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate

CPU = Compute(device="cpu")


def trial_of(
    network: str, strategy: str, compute: Compute = CPU, *, photo: float | None = None, **schedule: Any
) -> Trial:
    """Return a trial that found 1 s for decoding a photo, 2 for the network, 0.5 for what is frozen, 10 for an update.

    Args:
        network: that is timed.
        strategy: by which it is trained.
        compute: where.
        photo: seconds of the pass over the photos, if they are known.
        schedule: of training.
    """
    settings = FitSettings(strategy=strategy, schedule=Schedule(**schedule))
    trial = Trial(build_untrained(network), [Path("missing.jpg")], settings, compute, photo=photo)
    # private: what a real network takes differs from run to run
    trial._photo, trial._forward = 1.0, 2.0
    trial._time_trunk = lambda plan: 0.5  # type: ignore[method-assign]  # noqa: ARG005
    trial._update = lambda plan: 10.0  # type: ignore[method-assign]  # noqa: ARG005
    return trial


def forecast(
    network: str, strategy: str, compute: Compute = CPU, *, folds: int = 5, photo: float | None = None, **schedule: Any
) -> Forecast:
    """Return the forecast of 100 photos by such a trial."""
    trial = trial_of(network, strategy, compute, photo=photo, **schedule)
    candidate = Candidate(strategy)
    plan = plan_of(candidate, build_untrained(network), Schedule(**schedule))
    return trial.forecast(candidate, plan, photos=100, folds=folds)


def test_the_last_layer_takes_one_pass(tiny_network: str) -> None:
    assert trial_of(tiny_network, "frozen").features(150) == 150 * 3.0
    assert trial_of(tiny_network, "frozen", photo=0.25).features(150) == 150 * 0.25
    assert forecast(tiny_network, "frozen").seconds == 0


def test_top_trains_on_kept_views(tiny_network: str) -> None:
    found = forecast(tiny_network, "top", epochs=2, views=3)
    assert found == Forecast(100 * 3 * 1.5, 5 * 2 * 80 * 10.0, 2 * 100 * 10.0)
    assert found.trying == 450 + 8000
    assert found.seconds == 450 + 8000 + 2000


def test_views_go_as_fast_as_the_photos_did(tiny_network: str) -> None:
    assert forecast(tiny_network, "top", epochs=2, views=3, photo=0.25).views == 100 * 3 * 0.25


def test_without_a_cache_views_are_made_anew(tiny_network: str) -> None:
    found = forecast(tiny_network, "top", Compute(device="cpu", cache=False), epochs=2)
    assert found == Forecast(0.0, 5 * 2 * 80 * 11.5, 2 * 100 * 11.5)


def test_validation_photos_spare_the_folds(tiny_network: str) -> None:
    """Nothing is frozen before the first stage: images are decoded, and that is all."""
    assert forecast(tiny_network, "whole", folds=0, epochs=2) == Forecast(0.0, 0.0, 2 * 100 * 11.0)


def test_two_folds_learn_from_half_of_the_photos_each(tiny_network: str) -> None:
    assert forecast(tiny_network, "whole", folds=2, epochs=2).folds == 2 * 2 * 50 * 11.0


def test_few_photos_are_seen_more_often(tiny_network: str) -> None:
    """100 updates at least: of 80 photos in batches of 32, 34 epochs; of 100, 25."""
    assert forecast(tiny_network, "whole") == Forecast(0.0, 5 * 34 * 80 * 11.0, 25 * 100 * 11.0)


def test_a_trial_times_what_there_is(tiny_network: str, photos: Any) -> None:
    folder = photos(red=4)
    backbone, settings = build_untrained(tiny_network), FitSettings(strategy="top")
    trial = Trial(backbone, sorted(folder.rglob("*.jpg")), settings, CPU)
    assert trial.images == 4
    pass_over = trial.features(1)
    assert pass_over > trial._photo > 0
    for name in ("top", "whole"):
        found = trial.forecast(
            Candidate(name), plan_of(Candidate(name), backbone, settings.schedule), photos=9, folds=3
        )
        assert (found.views > 0) is (name == "top")
        assert 0 < found.final < found.folds


def test_no_more_images_than_an_update_has(tiny_network: str) -> None:
    settings = FitSettings(strategy="top", schedule=Schedule(batch_size=2))
    assert Trial(build_untrained(tiny_network), [], settings, CPU).images == 2


@pytest.mark.parametrize(("busy", "cache", "kept"), [(False, True, True), (True, True, False), (False, False, False)])
def test_what_was_timed_on_an_idle_machine_is_kept(
    tiny_network: str, monkeypatch: pytest.MonkeyPatch, *, busy: bool, cache: bool, kept: bool
) -> None:
    monkeypatch.setattr(speed, "is_busy", lambda: busy)
    backbone, settings = build_untrained(tiny_network), FitSettings(strategy="top")
    plan, timed = plan_of(Candidate("top"), backbone, settings.schedule), []
    monkeypatch.setattr(forecasting, "seconds_of", lambda *_, **__: timed.append(1) or 8.0)

    def top(**changed: Any) -> Forecast:
        given = replace(settings, schedule=replace(settings.schedule, **changed))
        trial = Trial(backbone, [], given, Compute(device="cpu", cache=cache), photo=0.0)
        assert trial.busy is busy
        return trial.forecast(Candidate("top"), plan, photos=32, folds=0)

    # 4 images take 8 s forward and backward, and 8 s are a step for 32: 2.25 s an image, of 32 in 100 epochs
    assert top().final == pytest.approx(100 * 32 * 2.25)
    assert len(timed) == 2
    assert top().final == pytest.approx(100 * 32 * 2.25)
    assert len(timed) == (2 if kept else 4)
    known = len(timed)
    top(optimizer="sgd")
    assert len(timed) == known + 2  # of another optimizer nothing is known


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


@pytest.mark.parametrize(("tta", "passes"), [("none", 1), ("flip", 2), ("crops", 5), ("auto", 6)])
def test_every_view_is_a_pass_and_none_is_decoded_again(
    tiny_network: str, tta: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 s to decode a photo and 2 s a pass; auto shows the photo, its mirror image and its four corners."""
    monkeypatch.setattr(Trial, "_photo", 3.0)
    monkeypatch.setattr(Trial, "_forward", 2.0)
    trial = Trial(build_untrained(tiny_network), [], FitSettings(tta=tta), CPU)
    assert trial.features(10) == 10 * (3 + 2 * passes)
    known = Trial(build_untrained(tiny_network), [], FitSettings(tta=tta), CPU, photo=4.0)
    assert known.features(10) == 10 * 4 * passes
