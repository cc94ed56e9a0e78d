"""The report of a classifier, for Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regraft.api.arguments import find_labelled, find_photos_of, is_place
from regraft.api.log import LogObserver
from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.explain.explain import check_options, explain
from regraft.explain.html_report import write_report
from regraft.explain.subject import find_subject_photos, subject_of_classifier, without_labels
from regraft.files import prepare_folder
from regraft.storage.locations import location
from regraft.transfer.settings import FitSettings


def explain_classifier(
    classifier: Classifier,
    X: Any,
    y: Any,
    folder: Path,
    *,
    stages: Sequence[str],
    units: int,
    method: str,
    columns: Columns,
    compute: Compute,
    settings: FitSettings,
) -> Path:
    """Write the report into `folder`; return its path. See `TransferClassifier.explain`."""
    prepare_folder(folder, option="out")
    check_options(classifier.backbone, stages, method=method, units=units)
    samples, labelled = _photos_to_explain(X, y, columns)
    observer = LogObserver()
    subject = subject_of_classifier(
        classifier,
        samples,
        labelled=labelled,
        before=None,
        compute=compute,
        positive=settings.positive,
        seed=settings.seed,
        observer=observer,
    )
    explanation = explain(
        subject,
        stages=stages,
        units=units,
        method=method,
        device=compute.torch_device,
        batch_size=compute.batch_size,
        seed=settings.seed,
        observer=observer,
    )
    return write_report(explanation, folder)


def _photos_to_explain(X: Any, y: Any, columns: Columns) -> tuple[Samples, bool]:
    """Return the photos, and whether they have labels."""
    if is_place(X) and y is None:
        return find_subject_photos(location(X), columns)
    if y is not None:
        return find_labelled(X, y, None, columns)[0]["train"], True
    return without_labels(find_photos_of(X, columns), "the given images"), False
