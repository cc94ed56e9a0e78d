"""What a server counts of its work, as Prometheus reads it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

if TYPE_CHECKING:
    from regraft.classifier.predict import ExplainedPredictions

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's, where several processes count together
TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PHOTOS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts requests, photos and answers. Several processes of one server count together, in files of a folder.

    Args:
        classes: names of the classifier's.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._registry = CollectorRegistry()
        of: dict[str, Any] = {"namespace": "regraft", "registry": self._registry}
        self.requests = Counter("requests", "Requests.", ("route", "status"), **of)
        self.seconds = Histogram("request_seconds", "Seconds of a request.", ("route",), buckets=_SECONDS, **of)
        self.rejected = Counter("rejected", "Requests that were not answered, by reason.", ("reason",), **of)
        self.waiting = Gauge("queue_photos", "Photos that wait.", multiprocess_mode="livesum", **of)
        self.photos = Counter("photos", "Photos that were classified or found unreadable.", **of)
        self.unreadable = Counter("unreadable_photos", "Photos that could not be read.", **of)
        self.batches = Histogram("batch_photos", "Photos that are classified together.", buckets=_PHOTOS, **of)
        self.answers = Counter("answers", "Answers by class.", ("label",), **of)
        self.unsure = Counter("unsure_answers", "Answers that are not sure.", **of)
        self.unlike = Counter("unlike_training_photos", "Photos unlike the training photos.", **of)
        for name in classes:
            self.answers.labels(_as_label(name))

    def count(self, explained: "ExplainedPredictions") -> None:
        """Count what was answered."""
        predictions = explained.predictions
        self.photos.inc(len(predictions.sources))
        self.unreadable.inc(len(predictions.unreadable))
        answers = predictions.answers[predictions.answers >= 0]
        for label, count in zip(*np.unique(answers, return_counts=True), strict=True):
            self.answers.labels(_as_label(explained.classes[label])).inc(int(count))
        for counter, marks in ((self.unsure, predictions.unsure), (self.unlike, predictions.unlike)):
            if marks is not None:
                readable = np.delete(marks, sorted(predictions.unreadable))
                counter.inc(int(readable.sum()))

    def text(self) -> bytes:
        """Return all counts, of all processes where there are several."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is None:
            return generate_latest(self._registry)
        _forget_dead(Path(folder))
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _as_label(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _forget_dead(folder: Path) -> None:
    """Remove what processes that are gone say of the present moment; what they counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        process = file.stem.rpartition("_")[2]
        if process.isdigit() and not Path("/proc", process).exists() and Path("/proc/self").exists():
            file.unlink(missing_ok=True)
