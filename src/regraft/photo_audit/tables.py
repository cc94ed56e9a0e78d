"""The tables of an audit, as CSV that a spreadsheet opens."""

from regraft.data.csv_text import csv_text
from regraft.photo_audit.audit import Audit


def findings_table(audit: Audit) -> str:
    """Return a row for each photo of each finding; a finding without photos has one, with an empty cell."""
    # a path as such, and not as text, is written as a path that no spreadsheet takes for a formula
    sources = {str(source): source for source in audit.photos.sources}
    rows: list[list[object]] = [["kind", "severity", "number", "file", "advice"]]
    for number, one in enumerate(audit.findings, start=1):
        for file in one.files or ("",):
            rows.append([one.kind, one.severity, number, sources.get(file, file), one.advice])
    return csv_text(rows)


def mislabelled_table(audit: Audit) -> str:
    """Return a row for each likely wrong label, the least probable first; probabilities are from 0 to 1."""
    rows: list[list[object]] = [["file", "label", "suggested", "probability", "probability_wrong"]]
    if audit.labels is not None and audit.answers is not None:
        labels, answers = audit.labels, audit.answers
        classes = answers.dataset.classes
        for place, row in enumerate(labels.photos.tolist()):
            source = audit.photos.sources[int(answers.positions[row])]
            given, suggested = classes[int(answers.dataset.labels[row])], classes[int(labels.suggested[place])]
            rows.append([source, given, suggested, f"{labels.given[place]:.6f}", f"{labels.wrong[place]:.6f}"])
    return csv_text(rows)
