"""The report: an HTML file that holds everything it shows, and a second one where pictures of units are many."""

import base64
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from regraft.classifier.record import FitRecord
from regraft.evaluation.report import Report
from regraft.explain.choice import choice_context, feature_context, network_context
from regraft.explain.confusion import confusion_context
from regraft.explain.explanation import Explanation
from regraft.explain.first_page import first_page, main_report
from regraft.explain.mistakes import MOST_DOUBTS, MOST_MISTAKES
from regraft.explain.network_sections import (
    CAVEAT,
    depth_context,
    filters_picture,
    has_classes,
    looked,
    method_in_words,
    moved_context,
    unit_stages,
)
from regraft.explain.next_steps import CORRECT
from regraft.explain.other_figures import figure_rows, other_figures, sets_in_words
from regraft.explain.subject import OF_FIT
from regraft.explain.trade_offs import trade_off_context
from regraft.explain.words import HOW, bar_in_percent, interval_in_words, listed, value_in_words
from regraft.files import atomic_write, write_failure
from regraft.networks.names import without_folders
from regraft.photo_audit.summary import capital
from regraft.plots import svg as charts
from regraft.plots.page import drawn, page_environment
from regraft.transfer.strategies import strategy_named

FILE, UNITS_FILE = FILES = ("report.html", "units.html")
_MOST_BYTES = 4_000_000  # of the pictures of units within the report
_CLASSES_SHOWN = 40
_ROUGH = 0.1  # a calibration error that may be larger says nothing
_MADE_BY = "Made by regraft"  # at the end of every page


def write_report(explanation: Explanation, folder: Path) -> Path:
    """Write `report.html` into `folder`, which is made if it is missing, and return its path.

    Where the pictures of units are large, they go into `units.html` beside it; else that of an earlier report goes.

    Raises:
        OutputError: it cannot be written.
    """
    return write_pages(render_pages(explanation), folder)


def write_pages(pages: Mapping[str, str], folder: Path) -> Path:
    """Write what `render_pages` gave, as `write_report` does."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(path, error) from None
    for name, text in pages.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(
                text, encoding="utf-8", errors="backslashreplace", newline=""
            )  # file names may be no UTF-8
    if UNITS_FILE not in pages:
        _remove_units(folder / UNITS_FILE)
    return path


def _remove_units(path: Path) -> None:
    """Remove the pictures of an earlier report, which the new one does not have; another file of that name stays."""
    try:
        if path.is_file() and _MADE_BY in path.read_text(encoding="utf-8", errors="replace"):
            path.unlink()
    except OSError as error:
        raise write_failure(path, error) from None


def render(explanation: Explanation) -> str:
    """Return the HTML of the page."""
    return render_pages(explanation)[FILE]


def render_pages(explanation: Explanation) -> dict[str, str]:
    """Return the HTML of the page and, where the pictures of units are large, of the one that has them, by file."""
    environment = page_environment("regraft.explain")
    context = _context(explanation)
    units = ""
    if explanation.stages:
        units = environment.get_template("units_section.html.jinja").render(**_units(explanation))
    apart = len(units) > _MOST_BYTES
    script = _script(environment)
    context |= {"script": script, "script_hash": _hash(script)}
    page = environment.get_template("report.html.jinja").render(
        **context, units="" if apart else Markup(units), units_file=UNITS_FILE if apart else ""
    )
    if not apart:
        return {FILE: page}
    beside = environment.get_template("units.html.jinja").render(**context, units=Markup(units), report_file=FILE)
    return {FILE: page, UNITS_FILE: beside}


def _script(environment: Environment) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, "sort.js")[0])


def _hash(script: str) -> str:
    """Return what allows the page to run this script and no other (Content Security Policy, level 2)."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _context(found: Explanation) -> dict[str, Any]:
    subject, main = found.subject, main_report(found)
    numbers = [
        _figures(title, report, subject.record if title == OF_FIT else None)
        | {"labels_doubted": found.mistakes.doubted > 0}
        for title, report in subject.reports.items()
    ]
    shown, choice, depth = looked(found), choice_context(subject.record), depth_context(found)
    networks, features = network_context(subject.record), feature_context(subject.record)
    contents = [
        ("labels", "Labels to check", found.mistakes.doubts),
        ("numbers", "The figures", numbers),
        ("mistakes", "Mistakes", found.mistakes.shown),
        ("looks", "Where it looks", shown),
        ("depth", "How far the network carries", found.depth or found.sizes),
        ("networks", "Which network", networks["network_rows"]),
        ("features", "What the last layer sees", features["feature_said"]),
        ("choice", "How much is trained", choice["choice_reason"]),
        ("moved", "What training changed", found.moved),
        ("units", "What the units see", found.stages),
    ]
    return {
        **_titles(found),
        **first_page(found),
        "contents": [(anchor, name) for anchor, name, there in contents if there],
        "carried": found.depth_advice.advice if found.depth_advice is not None else "",
        "made": _made(found),
        "numbers": numbers,
        "mistakes": found.mistakes,
        "correct": CORRECT,
        "more_mistakes": max(found.mistakes.count - MOST_MISTAKES, 0),
        "more_doubts": max(found.mistakes.doubted - MOST_DOUBTS, 0),
        **networks,
        **features,
        **choice,
        "looked": shown,
        "looked_note": subject.note,
        "mistakes_note": subject.note if main is None or subject.seen else capital(HOW[main[1].estimate]),
        **depth,
        **moved_context(found),
        "cam_stages": " or ".join(dict.fromkeys(one.stage for one in found.examples if one.stage)),
        "notes": found.notes,
        "version": version("regraft"),
    }


def _titles(found: Explanation) -> dict[str, str]:
    subject = found.subject
    network = subject.backbone.recipe.architecture
    if not has_classes(subject):
        title = f"What excites {network}"
    elif subject.head is None:
        title = f"{listed(subject.dataset.classes)}: what {network} sees in them"
    else:
        title = f"Telling apart {listed(subject.dataset.classes)}"
    trained = "trained from random weights" if subject.from_random_weights else "trained further"
    weights = trained if subject.fine_tuned else "with its pretrained weights"
    photos = f"{len(subject.dataset):,} photos in {subject.dataset.samples.name}"
    lead = ""
    if subject.head is not None and subject.labelled:
        lead = (
            f"A program has learned from labelled photos to tell these {len(subject.dataset.classes):,} classes apart. "
            "This page says how often it is right, what it gets wrong, and what to do next."
        )
    return {"title": title, "lead": lead, "subtitle": f"{photos}; network {without_folders(subject.model)}, {weights}"}


def _made(found: Explanation) -> str:
    """Return how the classifier was trained, and the proof of what stayed."""
    record = found.subject.record
    if record is None or record.report is None or not record.frozen:
        return ""
    chosen = "" if record.tried is None else ", chosen by auto"
    how = strategy_named(record.strategy).help
    return f"How it was made: strategy {record.strategy} ({how}{chosen}); {record.frozen}."


def _units(found: Explanation) -> dict[str, Any]:
    several = len(np.unique(found.subject.dataset.labels)) > 1
    return {
        "photo_count": f"{len(found.subject.dataset):,}",
        "method": method_in_words(found.stages),
        "criterion": "tell the classes apart best" if several else "vary most between photos",
        "caveat": CAVEAT,
        "filters": filters_picture(found.filters),
        "filter_count": 0 if found.filters is None else len(found.filters),
        "stages": unit_stages(found),
    }


def _figures(title: str, report: Report, record: FitRecord | None) -> dict[str, Any]:
    """Return the tables and charts of one evaluation; `record` is that of the fit, if that is what was evaluated."""
    chart = charts.reliability_chart(report.reliability) if report.reliability else ""
    return {
        "title": title,
        "about": f"{report.n:,} photos, {report.estimate}: {HOW[report.estimate]}",
        "intervals_said": _intervals_in_words(report),
        "trusted": _trusted(report),
        "figures": figure_rows(report),
        "sets": sets_in_words(report.conformal),
        **other_figures(record),
        **_classes(report),
        **confusion_context(report),
        **trade_off_context(report),
        "reliability": drawn(chart, "Share of right answers by probability of the answer") if chart else "",
    }


def _intervals_in_words(report: Report) -> str:
    """Return what intervals hold: out-of-fold the figures of the classifiers that answered, not of the one written."""
    whole = (
        "Beside each figure stands its 95 % interval: where it would lie, in 19 of 20 cases, for endlessly many photos "
        "like these."
    )
    if report.estimate != "out-of-fold":
        return whole
    count = "the" if report.folds is None else f"the {report.folds:,}"
    held = report.cases_held
    there = f", and its accuracy lies in the interval in about {held} of 100 cases, not in 95" if held else ""
    return (
        f"{whole} Figures are those of {count} classifiers that answered, each of which learned from a part of the "
        f"photos. The one that was written learned from all of them: it is a little better as a rule{there}."
    )


def _trusted(report: Report) -> str:
    """Return whether probabilities can be taken at their word, as far as these photos tell."""
    error, interval = report.figures.get("ece"), report.intervals.get("ece")
    if error is None or interval is None:
        return ""
    if interval[0] == 0 and interval[1] > _ROUGH:
        return (
            f"These photos are too few to tell: they may be right, or {100 * interval[1]:.0f} points beside the truth."
        )
    if interval[0] == 0:
        return "As far as these photos can tell, yes."
    return f"Not quite: they are {100 * error:.1f} points beside the truth on average."


def _classes(report: Report) -> dict[str, Any]:
    """Return a bar for each class, of many of those that are recognised least."""
    names = list(report.classes)
    left = max(len(names) - _CLASSES_SHOWN, 0)
    if left:
        names = sorted(names, key=lambda name: report.per_class[name].recall or 0)[:_CLASSES_SHOWN]
    rows = []
    for name in names:
        row = report.per_class[name]
        rows.append(
            {
                "name": name,
                "photos": f"{row.support:,}",
                **bar_in_percent(row.recall or 0.0, row.recall_interval),
                "recall": value_in_words(row.recall, share=True),
                "interval": interval_in_words(row.recall_interval, share=True),
                "precision": value_in_words(row.precision, share=True),
            }
        )
    return {"classes": rows, "classes_left": left}
