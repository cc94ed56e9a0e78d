"""The schedule: its rates by hand, its defaults, and an error for every field."""

import subprocess
import sys

import pytest

from regraft.errors import OptionError
from regraft.images.augment import KINDS, Augmentation
from regraft.options import declared_settings
from regraft.training.schedule import Schedule


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    schedule = Schedule(warm_up=0.2)
    found = [schedule.rate_factor(step, 10) for step in range(10)]
    falling = [1.0, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]  # (1 + cos(k pi / 8)) / 2
    assert found == pytest.approx([0.5, 1.0, *falling], abs=1e-7)
    assert Schedule(warm_up=0).rate_factor(0, 1) == 1.0


@pytest.mark.parametrize(
    ("photos", "default", "epochs"), [(1000, 8, 8), (1000, 24, 24), (64, 8, 50), (10, 8, 100), (33, 24, 50)]
)
def test_few_photos_are_seen_more_often(photos: int, default: int, epochs: int) -> None:
    assert Schedule().epochs_for(photos, default) == epochs
    assert Schedule(epochs=3).epochs_for(photos, default) == 3


def test_a_last_photo_alone_joins_the_others_where_it_must() -> None:
    schedule = Schedule(batch_size=4)
    assert [schedule.batch_sizes(n) for n in (1, 4, 8, 9, 10)] == [[1], [4], [4, 4], [4, 4, 1], [4, 4, 2]]
    joined = [schedule.batch_sizes(n, least=2) for n in (1, 4, 8, 9, 10, 5)]
    assert joined == [[1], [4], [4, 4], [4, 5], [4, 4, 2], [5]]
    assert Schedule().epochs_for(33, 24, least=2) == 100  # of one step each


def test_sgd_learns_thirty_times_faster_unless_a_rate_is_given() -> None:
    assert Schedule().learning_rate(3e-4) == 3e-4
    assert Schedule(optimizer="sgd").learning_rate(3e-4) == pytest.approx(9e-3)
    assert Schedule(optimizer="sgd", lr=0.5).learning_rate(3e-4) == 0.5


def test_augmentations_are_those_that_there_are() -> None:
    """The command line reads names and defaults from the schedule."""
    Schedule(augment=KINDS).check()
    said = declared_settings(Schedule)["augment"][1]
    assert said.allowed == f"some of {', '.join(KINDS)}"
    assert all(kind in said.help for kind in KINDS)
    assert Augmentation(Schedule().augment, 0, Schedule().crop_area) == Augmentation()


def test_it_is_declared_without_torch() -> None:
    code = "import sys, regraft.training.schedule; print([m for m in ('torch', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be a whole number from 1. Got 0."),
        ("epochs", 2.5, "epochs must be a whole number from 1. Got 2.5."),
        ("lr", -1.0, "lr must be a number above 0. Got -1.0."),
        ("lr", float("nan"), "lr must be a number above 0. Got nan."),
        ("lr", float("inf"), "lr must be a number above 0. Got inf."),
        ("lr_decay", 1.5, "lr_decay must be a number above 0, at most 1. Got 1.5."),
        ("optimizer", "adam", "optimizer must be one of adamw, sgd. Got 'adam'. Did you mean 'adamw'?"),
        ("weight_decay", -0.1, "weight_decay must be a number from 0. Got -0.1."),
        ("weight_decay", float("inf"), "weight_decay must be a number from 0. Got inf."),
        ("batch_size", 0, "batch_size must be a whole number from 1. Got 0."),
        ("warm_up", 2, "warm_up must be a number from 0 to 1. Got 2."),
        ("clip", -1, "clip must be a number from 0. Got -1."),
        ("clip", float("inf"), "clip must be a number from 0. Got inf."),
        ("label_smoothing", 1.0, "label_smoothing must be a number from 0, below 1. Got 1.0."),
        ("mixup", "much", "mixup must be a number from 0. Got 'much'."),
        ("mixup", float("inf"), "mixup must be a number from 0. Got inf."),
        ("averaging", -1, "averaging must be a number from 0. Got -1."),
        ("averaging", float("inf"), "averaging must be a number from 0. Got inf."),
        ("views", 0, "views must be a whole number from 1. Got 0."),
        (
            "augment",
            ("flip", "spin"),
            "augment must be some of flip, vertical-flip, crop, colour, randaugment, erase. Got ('flip', 'spin').",
        ),
        ("batch_norm", "frozen", "batch_norm must be one of held, trained. Got 'frozen'."),
        ("patience", 0, "patience must be a whole number from 1. Got 0."),
    ],
)
def test_each_field_says_what_it_allows(field: str, value: object, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Schedule(**{field: value}).check()  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(OptionError, match=r"^lr must be .*\nviews must be"):
        Schedule(lr=0, views=0).check()
