"""The schedule: its rates by hand, its defaults, and an error for every field."""

import pytest

from regraft.errors import OptionError
from regraft.training.schedule import Schedule


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    schedule = Schedule(warm_up=0.2)
    found = [schedule.rate_factor(step, 10) for step in range(10)]
    falling = [1.0, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]  # (1 + cos(k pi / 8)) / 2
    assert found == pytest.approx([0.5, 1.0, *falling], abs=1e-7)
    assert Schedule(warm_up=0).rate_factor(0, 1) == 1.0


@pytest.mark.parametrize(
    ("photos", "strategy", "epochs"),
    [
        (1000, "top", 8),
        (1000, "whole", 8),
        (1000, "scratch", 24),
        (64, "top", 50),
        (10, "top", 100),
        (33, "scratch", 50),
    ],
)
def test_few_photos_are_seen_more_often(photos: int, strategy: str, epochs: int) -> None:
    assert Schedule().epochs_for(photos, strategy) == epochs
    assert Schedule(epochs=3).epochs_for(photos, strategy) == 3


def test_a_last_photo_alone_joins_the_others_where_it_must() -> None:
    schedule = Schedule(batch_size=4)
    assert [schedule.batch_sizes(n) for n in (1, 4, 8, 9, 10)] == [[1], [4], [4, 4], [4, 4, 1], [4, 4, 2]]
    joined = [schedule.batch_sizes(n, least=2) for n in (1, 4, 8, 9, 10, 5)]
    assert joined == [[1], [4], [4, 4], [4, 5], [4, 4, 2], [5]]
    assert Schedule().epochs_for(33, "scratch", least=2) == 100  # of one step each


def test_rates_depend_on_what_is_trained_and_by_what() -> None:
    assert [Schedule().rate(s) for s in ("top", "whole", "scratch")] == [3e-4, 1e-4, 1e-3]
    assert Schedule(optimizer="sgd").rate("top") == pytest.approx(9e-3)
    assert Schedule().rate("whole", lora=True) == 1e-3
    assert Schedule(lr=0.5).rate("top", lora=True) == 0.5


def test_batch_norm_is_held_but_for_a_network_without_statistics() -> None:
    assert [Schedule().batch_norm_for(s) for s in ("top", "scratch")] == ["held", "trained"]
    assert Schedule(batch_norm="held").batch_norm_for("scratch") == "held"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "--epochs must be a whole number from 1. Got 0."),
        ("epochs", 2.5, "--epochs must be a whole number from 1. Got 2.5."),
        ("lr", -1.0, "--lr must be a number above 0. Got -1.0."),
        ("lr", float("nan"), "--lr must be a number above 0. Got nan."),
        ("lr", float("inf"), "--lr must be a number above 0. Got inf."),
        ("lr_decay", 1.5, "--lr-decay must be a number above 0, at most 1. Got 1.5."),
        ("optimizer", "adam", "--optimizer must be one of adamw, sgd. Got 'adam'."),
        ("weight_decay", -0.1, "--weight-decay must be a number from 0. Got -0.1."),
        ("weight_decay", float("inf"), "--weight-decay must be a number from 0. Got inf."),
        ("batch_size", 0, "--train-batch-size must be a whole number from 1. Got 0."),
        ("warm_up", 2, "--warm-up must be a number from 0 to 1. Got 2."),
        ("clip", -1, "--clip must be a number from 0. Got -1."),
        ("clip", float("inf"), "--clip must be a number from 0. Got inf."),
        ("label_smoothing", 1.0, "--label-smoothing must be a number from 0, below 1. Got 1.0."),
        ("mixup", "much", "--mixup must be a number from 0. Got 'much'."),
        ("mixup", float("inf"), "--mixup must be a number from 0. Got inf."),
        ("averaging", -1, "--averaging must be a number from 0. Got -1."),
        ("averaging", float("inf"), "--averaging must be a number from 0. Got inf."),
        ("views", 0, "--views must be a whole number from 1. Got 0."),
        (
            "augment",
            ("flip", "spin"),
            "--augment must be some of flip, vertical-flip, crop, colour, randaugment, erase. Got ('flip', 'spin').",
        ),
        ("batch_norm", "frozen", "--batch-norm must be one of held, trained. Got 'frozen'."),
        ("patience", 0, "--patience must be a whole number from 1. Got 0."),
    ],
)
def test_each_field_says_what_it_allows(field: str, value: object, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Schedule(**{field: value}).check()  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(OptionError, match=r"--lr must be .*\n--views must be"):
        Schedule(lr=0, views=0).check()
