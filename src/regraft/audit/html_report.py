"""The page of an audit."""

from pathlib import Path

from regraft.audit.audit import Audit

FILES = ("audit.html", "findings.csv", "likely-mislabelled.csv")


def write_audit_report(audit: Audit, folder: Path) -> list[Path]:
    """Write the page and the tables of an audit into `folder`, and return their paths."""
    raise NotImplementedError
