"""Progress on the terminal: the bar reaches its end, with one total over all folds, whatever happens."""

import io
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.fixtures.learning import dataset_of

from regraft.cli import console
from regraft.cli.bar import Bar, Series, rate_in_words
from regraft.cli.console import TerminalObserver
from regraft.progress import Detail, progress, series
from regraft.training.finetuner import TrainingRecord
from regraft.training.loop import run_training
from regraft.transfer.budget import Clock, OverBudgetError
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import HeldOutLogits

FOLDS = np.arange(10) % 5


class Watched(TerminalObserver):
    """Remembers where its bar stood whenever it moved: done, of how many."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def end(self) -> None:
        self.seen.append((self._bars[-1].done, self._bars[-1].total))
        super().end()

    def advance(self, count: int) -> None:
        super().advance(count)
        self.seen.append((self._bars[-1].done, self._bars[-1].total))


def training(steps: int, *, of: int) -> Any:
    """Return a training of up to `of` updates on 4 photos each that ends after `steps`."""

    def train() -> Iterator[TrainingRecord]:
        yield from (TrainingRecord(1, step + 1, of, 1.0, 0.1, 4) for step in range(steps))

    return SimpleNamespace(train=train, images_from=lambda step: 4 * (of - step))


class Trainer:
    """Trains for as many updates as it is told, fold by fold; None for a fold whose answers lie on the disk."""

    candidate = Candidate("top")

    def __init__(self, observer: TerminalObserver, steps: list[int | None], *, of: int = 5) -> None:
        self._observer, self._steps, self._of = observer, iter(steps), of

    def predict_held_out(
        self, train: np.ndarray, held_out: np.ndarray, *, name: str, pace: Any = None
    ) -> HeldOutLogits:
        steps = next(self._steps)
        if steps is not None and steps < 0:
            last = -steps / self._of

            def over_budget(share: float) -> None:
                if share >= last:
                    raise OverBudgetError(1.0)

            whole = training(self._of, of=self._of)
            run_training(whole, f"training top, {name}", self._observer, pace=over_budget)
        elif steps is not None:
            run_training(training(steps, of=self._of), f"training top, {name}", self._observer)
        return HeldOutLogits(np.zeros((len(held_out), 2)), 1.0, 0.0, 0)


@pytest.mark.parametrize(
    ("steps", "images"),
    [
        ([5, 5, 5, 5, 5], 100),  # all of 5 folds of 5 updates on 4 photos
        ([3, 5, 2, 5, 1], 64),  # some stopped early
        ([None, None, 5, 5, 5], 60),  # two came from the disk
        ([5, 5, None, 5, None], 60),
        ([5, 5, -3], 52),  # the budget ends it
    ],
)
def test_one_bar_over_all_folds_reaches_its_end(
    steps: list[int | None], images: int, capsys: pytest.CaptureFixture[str]
) -> None:
    observer = Watched()
    trainer = Trainer(observer, steps)
    data = dataset_of(np.arange(10) // 5)
    cross_validate(trainer, data, FOLDS, clock=Clock(float("inf")), partial=True, observer=observer)
    done, totals = zip(*observer.seen, strict=True)
    assert (done[-1], totals[-1]) == (images, images)
    assert all(one <= total for one, total in observer.seen)
    assert totals[0] == (60 if steps[0] is None else 100)  # known from the first step on
    assert [line for line in capsys.readouterr().err.splitlines() if "images in" in line] == [
        f"training top, 5 folds: {images} images in 0.0 s"
    ]


@pytest.mark.parametrize(
    ("steps", "images"),
    [([5, -3], 32), ([5, 5, 5, 5, -2], 88)],  # in the second fold, and in the last one
)
def test_folds_that_the_budget_ends_are_not_said_to_be_done(
    steps: list[int | None], images: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for verbose in (False, True):
        observer = TerminalObserver(verbose=verbose)
        data = dataset_of(np.arange(10) // 5)
        with pytest.raises(OverBudgetError):
            cross_validate(Trainer(observer, steps), data, FOLDS, clock=Clock(float("inf")), observer=observer)
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith(f"training top, 5 folds: stopped after {images} images in 0.0 s")
        if verbose:  # a line for each fold too
            begins = [line.partition(" images")[0] for line in said[:-1]]
            done = [f"training top, fold {fold} of 5: 20" for fold in range(1, len(steps))]
            last = -(steps[-1] or 0)
            assert begins == [*done, f"training top, fold {len(steps)} of 5: stopped after {4 * last}"]


def test_a_pass_that_fails_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    def decode() -> None:
        with progress(TerminalObserver(), "features", 100) as advance:
            advance(32)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode()
    assert capsys.readouterr().err == "features: stopped after 32 images in 0.0 s\n"


def test_folds_of_no_training_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    observer = TerminalObserver(verbose=True)
    data = dataset_of(np.arange(10) // 5)
    cross_validate(Trainer(observer, [None] * 5), data, FOLDS, clock=Clock(float("inf")), observer=observer)
    assert capsys.readouterr().err == ""


def test_a_pass_of_its_own_within_a_series_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    observer = TerminalObserver()
    with series(observer, "training", 2) as reach:
        for over in (1, 2):
            with progress(observer, "activations", 3) as advance:
                advance(3)
            run_training(training(5, of=5), "fold", observer)
            reach(over)
    said = [line.partition(" in ")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["activations: 3 images", "activations: 3 images", "training: 40 images"]


@pytest.mark.parametrize("steps", [5, 2])
def test_a_training_alone_reaches_its_end(steps: int) -> None:
    observer = Watched()
    run_training(training(steps, of=5), "training top, all photos", observer)
    assert observer.seen[0] == (4, 20)
    assert observer.seen[-1] == (4 * steps, 4 * steps)


def test_what_is_drawn_reaches_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console, "note", lambda _: None)
    observer = TerminalObserver()
    with series(observer, "training top, 2 folds", 2) as reach:
        for over, steps in ((1, 5), (2, 3)):
            run_training(training(steps, of=5), f"training top, fold {over} of 2", observer)
            reach(over)
    assert "100%" in screen.getvalue()
    assert "32/32" in screen.getvalue()


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar = Bar("features", 1000, terminal=False, say=lines.append)
    for seconds, count in ((5, 0), (11, 0), (20, 0), (25, 250)):
        now[0] = 100.0 + seconds
        bar.advance(count)
    assert lines == ["features: 0 of 1,000", "features: 250 of 1,000, 10 images/s, 75 s left"]


def test_a_series_forecasts_from_the_largest_part() -> None:
    found = Series("training", 3)
    found.begin(10)  # resumed: the rest of a larger one
    assert found.total == 30
    found.end(10)
    found.reach(1)
    found.begin(40)
    assert found.total == 10 + 40 + 40
    found.end(50)
    found.reach(3)  # the last one was not needed
    assert found.total == 50


@pytest.mark.parametrize(
    ("images", "seconds", "words"),
    [(0, 5.0, ""), (5, 10.0, "0.5 images/s"), (32, 10.0, "3.2 images/s"), (12345, 10.0, "1,234 images/s")],
)
def test_a_rate_in_words(images: int, seconds: float, words: str) -> None:
    assert rate_in_words(images, seconds) == words


@pytest.mark.parametrize(("verbose", "shown"), [(False, "found\n"), (True, "found\nhow\n")])
def test_details_are_for_those_who_ask(verbose: bool, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    say: Callable[[str], None] = TerminalObserver(verbose=verbose).say
    say("found")
    say(Detail("how"))
    assert capsys.readouterr().err == shown
