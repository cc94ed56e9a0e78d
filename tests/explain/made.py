"""Reports and explanations from counts, without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regraft.classifier.record import FitRecord
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.evaluation.report import Report
from regraft.explain.explanation import Explanation
from regraft.explain.subject import OF_FIT, Subject


def answers_of(confusion: Sequence[Sequence[int]], sure: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (n,) and probabilities (n, c) of photos that come to these counts, each answer that sure."""
    counts = np.array(confusion)
    pairs = [(t, a) for t in range(len(counts)) for a in range(len(counts)) for _ in range(counts[t, a])]
    probabilities = np.full((len(pairs), len(counts)), (1 - sure) / (len(counts) - 1))
    probabilities[np.arange(len(pairs)), [answer for _, answer in pairs]] = sure
    return np.array([truth for truth, _ in pairs]), probabilities


def report_of(confusion: Sequence[Sequence[int]], names: Sequence[str], estimate: Any = "out-of-fold") -> Report:
    labels, probabilities = answers_of(confusion)
    return Report.from_probabilities(probabilities, labels, names, estimate=estimate, resamples=20)


def record_of(report: Report, **more: Any) -> FitRecord:
    made = {"model": "small", "strategy": "frozen", "temperature": 1.0, "frozen": "0 of 9 frozen tensors changed"}
    return FitRecord(report=report, **{**made, **more})


def dataset_of(labels: np.ndarray, names: Sequence[str], folder: Path = Path("/photos")) -> Dataset:
    """Return photos called by their class and number, which need not exist."""
    sources = tuple(folder / names[label] / f"{place}.jpg" for place, label in enumerate(labels.tolist()))
    samples = Samples(sources, labels, tuple(names), where=str(folder))
    return Dataset(samples, tuple(place.to_bytes(32) for place in range(len(labels))), np.arange(len(labels)))


def explanation_of(
    confusion: Sequence[Sequence[int]], names: Sequence[str], *, record: dict[str, Any] | None = None, **subject: Any
) -> Explanation:
    """Return an explanation that has the figures alone."""
    labels, probabilities = answers_of(confusion)
    report = report_of(confusion, names)
    dataset = dataset_of(labels, names)
    given = {"evaluated": dataset, "probabilities": probabilities, "reports": {OF_FIT: report}, **subject}
    kept = record_of(report, **(record or {}))
    backbone: Any = None
    return Explanation(Subject(backbone, dataset, True, "small", record=kept, **given))
