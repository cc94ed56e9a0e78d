"""Folds that are answered by the workers of a cluster: what one process answers, within the time, and kept."""

import pickle
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.learning import Listener
from tests.fixtures.rays import WorkersHere
from tests.transfer.scripted import DATASET, FOLDS, TOP, Scripted, logits_of, right

from regraft.data.layouts import find_samples
from regraft.engines import compute as engines_compute
from regraft.engines.compute import Compute
from regraft.errors import ClusterError
from regraft.networks.backbones import load_backbone
from regraft.training.schedule import Schedule
from regraft.transfer.budget import Clock, OverBudgetError
from regraft.transfer.compare import compare
from regraft.transfer.comparison import Comparison
from regraft.transfer.cross_validation import Ahead, cross_validate, folds_of
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.fold_workers import _FoldWork, _NotInTime
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import HeldOutLogits

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
QUICK = FitSettings(strategy="top", schedule=Schedule(epochs=1, views=1, batch_size=8), force=True)
HERE = Compute(device="cpu", engine="torch-float32")
THERE = replace(HERE, on="ray")


class Workers(WorkersHere):
    """Get what they do as other processes get it, and may be killed for good after some trainings.

    Attributes:
        trained: folds, by candidate and title.
        most: trainings until all are gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[tuple[str, str]] = []
        self.most = 1000

    def map(
        self, work: Callable[[Sequence[Any]], Any], parts: Sequence[Sequence[Any]], **how: Any
    ) -> Generator[tuple[int, Any]]:
        if not isinstance(work, _FoldWork):
            yield from super().map(work, parts, **how)
            return
        for number, result in super().map(pickle.loads(pickle.dumps(work)), parts, **how):
            ((_, candidate, fold),) = parts[number]
            self.trained.append((str(candidate), fold.title))
            yield number, pickle.loads(pickle.dumps(result))
            if len(self.trained) == self.most:
                raise ClusterError("all workers are gone")


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    pool = Workers()
    monkeypatch.setattr(engines_compute, "workers_on", lambda name: pool if name else None)
    return pool


def compared(data: Path, network: str, compute: Compute, **how: Any) -> Comparison:
    return compare(
        find_samples(data)["train"],
        {"one": lambda: load_backbone(network)},
        settings=QUICK,
        compute=compute,
        **{"strategies": ["frozen", "top"], "sizes": [4, None], **how},
    )


def figures(found: Comparison) -> list[Any]:
    return [replace(row, seconds=0.0, images_per_second=None) for row in found.rows]


@pytest.mark.slow
def test_a_comparison_has_the_figures_of_one_process(photos: Photos, tiny_network: str, workers: Workers) -> None:
    data = photos(red=11, blue=10)
    alone = compared(data, tiny_network, HERE)
    assert not workers.parts
    found = compared(data, tiny_network, THERE)
    assert figures(found) == figures(alone)
    assert (found.pairs, found.advice, found.notes) == (alone.pairs, alone.advice, alone.notes)
    of_four = [("top", f"fold {k} of 5, 4 of each class") for k in range(1, 6)]
    of_all = [("top", f"fold {k} of 5") for k in range(1, 6)]
    assert sorted(workers.trained) == sorted(of_four + of_all)  # the last layer alone is fitted here
    workers.trained.clear()
    short = compared(data, tiny_network, THERE, budget=0.0, sizes=[None])
    assert {(row.strategy, row.folds) for row in short.rows} == {("frozen", 1), ("top", 1)}  # as in one process
    assert "top: 1 of 5 folds, for budget" in short.notes


def fitted(data: Path, network: str, compute: Compute, folder: Path, listener: Listener, **how: Any) -> FitResult:
    return fit(
        find_samples(data),
        lambda: load_backbone(network),
        model="one",
        compute=compute,
        folder=folder,
        observer=listener,
        **{"settings": QUICK, **how},
    )


def test_folds_that_workers_answered_are_kept(
    photos: Photos, tmp_path: Path, tiny_network: str, workers: Workers
) -> None:
    data = photos(red=11, blue=10)
    alone = fitted(data, tiny_network, HERE, tmp_path / "alone", Listener())
    workers.most = 2
    with pytest.raises(ClusterError, match="gone"):
        fitted(data, tiny_network, THERE, tmp_path / "there", Listener())
    workers.most = 1000
    listener = Listener()
    found = fitted(data, tiny_network, THERE, tmp_path / "there", listener)
    assert len(set(workers.trained)) == len(workers.trained) == 5
    assert "3 trainings of folds, by the workers of the cluster" in listener.said
    assert np.array_equal(found.probabilities, alone.probabilities)
    assert np.array_equal(found.classifier.head.weight, alone.classifier.head.weight)


@pytest.mark.slow
def test_auto_chooses_what_one_process_chooses(
    photos: Photos, tmp_path: Path, tiny_network: str, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.transfer.auto.PROVABLE", 0)
    data, auto = photos(red=11, blue=10), replace(QUICK, strategy="auto")
    alone = fitted(data, tiny_network, HERE, tmp_path / "alone", Listener(), settings=auto)
    found = fitted(data, tiny_network, THERE, tmp_path / "there", Listener(), settings=auto)
    assert {name for name, _ in workers.trained} == {"top", "whole"}
    assert np.array_equal(found.probabilities, alone.probabilities)
    assert (found.record.strategy, found.record.reason) == (alone.record.strategy, alone.record.reason)
    assert found.record.tried is not None
    assert alone.record.tried is not None
    assert [(one.strategy, one.log_loss) for one in found.record.tried] == [
        (one.strategy, one.log_loss) for one in alone.record.tried
    ]


def test_no_training_begins_when_time_is_over() -> None:
    """But the first."""
    (_, fold, *_) = folds_of(DATASET, FOLDS)
    assert _FoldWork({}, until=0.0)([("one", Candidate("top"), fold)]) == _NotInTime(None)


def test_what_workers_did_not_answer_in_time_is_missing() -> None:
    """Of the folds that came, each is calibrated by the others, in whatever order they came."""
    trainer, level = Scripted(TOP, right(1.0, 1.0, 0), temperature=None), right(1.0, 1.0, 0)
    logits = logits_of(level)
    answers = {k: HeldOutLogits(logits[k == FOLDS], None, 1.0, 1) for k in (3, 0, 4)}
    given: dict[str, Any] = {"clock": Clock(float("inf")), "ahead": Ahead(answers, [7.0, None])}
    found = cross_validate(trainer, DATASET, FOLDS, partial=True, **given)
    assert not trainer.trained_on
    assert (found.folds, found.seconds) == (3, 3.0)
    assert np.array_equal(found.answered, np.isin(FOLDS, (0, 3, 4)))
    in_order = Ahead({k: answers[k] for k in (0, 3, 4)}, [])
    same = cross_validate(trainer, DATASET, FOLDS, partial=True, **{**given, "ahead": in_order})
    assert np.array_equal(found.probabilities, same.probabilities, equal_nan=True)
    with pytest.raises(OverBudgetError) as over:
        cross_validate(trainer, DATASET, FOLDS, **given)
    assert over.value.args == (7.0,)
    with pytest.raises(OverBudgetError) as none:
        cross_validate(trainer, DATASET, FOLDS, partial=True, **{**given, "ahead": Ahead({}, [None])})
    assert none.value.args == ()
