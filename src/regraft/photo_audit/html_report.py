"""The page of an audit: one HTML file that holds everything it shows, and its findings as tables."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from regraft.errors import option
from regraft.files import atomic_write, write_failure
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.sections import Section, sections
from regraft.photo_audit.summary import MEANINGS, cards, effect_rows, summary
from regraft.photo_audit.tables import findings_table, mislabelled_table
from regraft.photo_audit.thumbnails import Thumbnail, thumbnails
from regraft.plots.page import page_environment

PAGE, FINDINGS, MISLABELLED = FILES = ("audit.html", "findings.csv", "likely-mislabelled.csv")
_TEMPLATE = "audit.html.jinja"
_MOST = 480  # photos on the page, which mail must be able to carry
_NOT_SHOWN = Thumbnail("", f"not shown: this page has {_MOST} photos at most")


def write_audit_report(audit: Audit, folder: Path) -> list[Path]:
    """Write the page and the tables of an audit into `folder`, which is made if it is missing; return their paths.

    Raises:
        OutputError: they cannot be written.
    """
    texts = {PAGE: render(audit), FINDINGS: findings_table(audit), MISLABELLED: mislabelled_table(audit)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(folder / PAGE, error) from None
    paths = []
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            # file names may be no UTF-8; a cell's own line ends stay as they are
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        paths.append(folder / name)
    return paths


def render(audit: Audit) -> str:
    """Return the page's HTML."""
    return page_environment("regraft.photo_audit").get_template(_TEMPLATE).render(**_context(audit))


def _context(audit: Audit) -> dict[str, Any]:
    parts = sections(audit)
    guess = audit.guess
    guessed = "" if guess is None else guess.words
    effects = effect_rows(audit.effects)
    contents = [("figures", "What it changes in figures")] if effects else []
    return {
        "count": len(audit.photos),
        "where": audit.photos.listed.where,
        "cards": cards(audit),
        "summary": summary(audit),
        "meanings": MEANINGS,
        "effects": effects,
        "sections": parts,
        "anchors": {part.anchor for part in parts},
        "contents": contents + [(part.anchor, part.title) for part in parts],
        "pictures": _pictures(audit, parts),
        "not_shown": _NOT_SHOWN,
        "guessed": guessed,
        "groups_option": option("FitSettings.grouping", "guessed"),
        "notes": audit.notes,
        "version": version("regraft"),
    }


def _pictures(audit: Audit, parts: list[Section]) -> dict[int, Thumbnail]:
    positions = list(dict.fromkeys(place for part in parts for place in part.positions()))
    return thumbnails(audit.photos, positions[:_MOST])
