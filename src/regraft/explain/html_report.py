"""The report: one HTML file that holds everything it shows, for a screen, a phone or paper."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from regraft.attribution.backward_rules import DECONVNET
from regraft.errors import first_few
from regraft.evaluation.report import Report
from regraft.explain.choice import choice_context, feature_context, network_context
from regraft.explain.examples import ExplainedExample
from regraft.explain.explain import Explanation
from regraft.explain.subject import Subject
from regraft.explain.unit_pictures import StagePictures, UnitPicture
from regraft.explain.words import NAMED, interval_in_words, listed, probability_in_words, value_in_words
from regraft.files import atomic_write, write_failure
from regraft.networks.weights import without_folders
from regraft.plots import images as figures
from regraft.plots import svg as charts

FILE = "report.html"
CAVEAT = (
    "Such a picture shows which pattern excites the unit. It does not show why the network answered as it did: "
    "backward pictures partly restore the photo whatever the answer is (Nie et al. 2018). For that, see where it looks."
)
_GUIDED_WHY = (
    " (this network shrinks its maps by strides and not by max-pooling, whose switches a deconvnet needs: Springenberg "
    "et al. 2015)"
)
_CLASSES_IN_MATRIX = 20
_CONFUSIONS = 15
_KINDS = {
    "mistake": "The most confident mistakes",
    "uncertain": "The least certain answers",
    "typical": "The most typical photos",
}


def write_report(explanation: Explanation, folder: Path) -> Path:
    """Write `report.html` into `folder`, which is made if it is missing, and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    text = render(explanation)
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(path, error) from None
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names may be no UTF-8
    return path


def render(explanation: Explanation) -> str:
    """Return the page's HTML."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("regraft.explain"), PackageLoader("regraft.plots")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(**_context(explanation))


def _context(found: Explanation) -> dict[str, Any]:
    subject = found.subject
    classes = list(subject.dataset.classes)
    network = f"{subject.backbone.recipe.architecture}"
    numbers = [_figures(title, report) for title, report in subject.reports.items()]
    depth = _depth(found)
    looked, choice = _looked(found), choice_context(subject.record)
    networks, features = network_context(subject.record), feature_context(subject.record)
    contents = [
        ("numbers", "The figures", numbers),
        ("networks", "Which network", networks["network_rows"]),
        ("features", "What the last layer sees", features["feature_said"]),
        ("choice", "How much is trained", choice["choice_reason"]),
        ("looks", "Where it looks", looked),
        ("depth", "How far the network carries", found.depth),
        ("moved", "What training changed", found.moved),
        ("units", "What the units see", found.stages),
    ]
    return {
        "title": f"{listed(classes)}: what {network} learned" if _has_classes(subject) else f"What excites {network}",
        "subtitle": _subtitle(found),
        "contents": [(anchor, name) for anchor, name, there in contents if there],
        "cards": _cards(found),
        "carried": found.depth_advice.advice if found.depth_advice is not None else "",
        "numbers": numbers,
        **networks,
        **features,
        **choice,
        "looked": looked,
        "looked_note": subject.note,
        **depth,
        **_moved(found),
        "photo_count": f"{len(subject.dataset):,}",
        "method": _method(found.stages),
        "criterion": "tell the classes apart best"
        if len(np.unique(subject.dataset.labels)) > 1
        else "vary most between photos",
        "cam_stages": " or ".join(dict.fromkeys(one.stage for one in found.examples if one.stage)),
        "caveat": CAVEAT,
        "filters": _filters(found.filters),
        "filter_count": 0 if found.filters is None else len(found.filters),
        "stages": _stages(found),
        "notes": found.notes,
        "version": version("regraft"),
    }


def _has_classes(subject: Subject) -> bool:
    """Tell whether photos have classes: by their labels, or by a classifier's answers."""
    return subject.labelled or subject.head is not None


def _subtitle(found: Explanation) -> str:
    subject = found.subject
    trained = "trained from random weights" if subject.from_random_weights else "trained further"
    weights = trained if subject.fine_tuned else "pretrained weights unchanged"
    photos = f"{len(subject.dataset):,} photos of {subject.dataset.samples.name}"
    return f"{without_folders(subject.model)}, {weights}; {photos}"


def _cards(found: Explanation) -> list[dict[str, str]]:
    cards = []
    for title, report in found.subject.reports.items():
        interval = interval_in_words(report.intervals["accuracy"], share=True)
        cards.append(
            {
                "name": f"accuracy, {title.lower()}",
                "value": value_in_words(report.accuracy, share=True),
                "more": interval,
            }
        )
    cards.append({"name": "photos looked at", "value": f"{len(found.subject.dataset):,}", "more": _counts(found)})
    record = found.subject.record
    if record is not None and record.report is not None and record.frozen:
        chosen = "" if record.tried is None else "chosen by auto; "
        cards.append({"name": "strategy", "value": record.strategy, "more": f"{chosen}{record.frozen}"})
    return cards


def _counts(found: Explanation) -> str:
    counts = list(found.subject.dataset.samples.counts().items())
    answered = "" if found.subject.labelled else "answered: "
    return answered + first_few([f"{name} {count:,}" for name, count in counts], NAMED)


def _figures(title: str, report: Report) -> dict[str, Any]:
    """Return the tables of one evaluation."""
    names = list(report.classes)
    confusion = np.array(report.confusion)
    rows = [
        {
            "name": text,
            "value": value_in_words(value, share=metric.percent),
            "interval": interval_in_words(interval, share=metric.percent),
        }
        for metric, text, value, interval in report.rows()
    ]
    shown = sorted(names, key=lambda name: report.per_class[name].recall or 0)[:_CLASSES_IN_MATRIX]
    many = len(names) > _CLASSES_IN_MATRIX
    per_class = [(name, report.per_class[name]) for name in (shown if many else names)]
    bins = report.reliability
    return {
        "title": title,
        "about": f"{report.estimate}, {report.n:,} photos. Every interval is of 95 %.",
        "figures": rows,
        "class_title": f"the {_CLASSES_IN_MATRIX} classes missed most" if many else "class",
        "classes": [
            {
                "name": name,
                "photos": f"{row.support:,}",
                "recall": value_in_words(row.recall, share=True),
                "interval": interval_in_words(row.recall_interval, share=True),
                "precision": value_in_words(row.precision, share=True),
            }
            for name, row in per_class
        ],
        "names": names,
        "confusion": [] if many else _confusion(names, confusion),
        "confusions": _confusions(names, confusion) if many else [],
        "reliability": _drawn(charts.reliability_chart(bins), "Share of right answers by probability of the answer")
        if bins
        else "",
    }


def _confusion(names: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        {
            "name": name,
            "cells": [
                {"count": f"{count:,}", "share": f"{0.75 * share:.3f}", "right": place == column}
                for column, (count, share) in enumerate(zip(counts[place], shares[place], strict=True))
            ],
        }
        for place, name in enumerate(names)
    ]


def _confusions(names: Sequence[str], counts: np.ndarray) -> list[str]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = [divmod(int(place), len(names)) for place in np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]]
    return [f"{names[t]} taken for {names[a]}: {wrong[t, a]:,} of {counts[t].sum():,}" for t, a in order if wrong[t, a]]


def _looked(found: Explanation) -> list[dict[str, Any]]:
    groups = []
    for kind, title in _KINDS.items():
        photos = [_one_looked(one, found) for one in found.examples if one.shown.kind == kind]
        if photos:
            groups.append({"title": title, "photos": photos})
    return groups


def _one_looked(one: ExplainedExample, found: Explanation) -> dict[str, str | None]:
    evaluated = found.subject.evaluated
    assert evaluated is not None  # or nothing was looked at
    names = evaluated.classes
    answer, shown = names[one.shown.answer], one.shown
    truth = "" if shown.truth is None or shown.truth == shown.answer else f", but it is {names[shown.truth]}"
    now = "" if one.now == shown.answer else f"; the final classifier answers {names[one.now]}"
    name = _photo_name(evaluated.samples.sources[shown.photo])
    return {
        "photo": figures.as_data(one.pixels),
        "cam": None if one.cam is None else figures.as_data(figures.heat_over(one.pixels, one.cam)),
        "covered": figures.as_data(figures.heat_over(one.pixels, one.covered, signed=True)),
        "answer": answer,
        "alt": f"The photo {name}",
        "caption": f"{answer} {probability_in_words(shown.probability)}{truth}{now} ({name})",
    }


def _photo_name(source: object) -> str:
    return f"{source.parent.name}/{source.name}" if isinstance(source, Path) else str(source)


def _depth(found: Explanation) -> dict[str, Any]:
    depth = found.depth
    stages = [point.stage for point in next(iter(depth.values()))] if depth else []
    series = {
        name: [(place, point.accuracy, point.interval) for place, point in enumerate(points)]
        for name, points in depth.items()
    }
    rows = [
        {
            "stage": stage,
            "cells": [
                {
                    "value": value_in_words(points[place].accuracy, share=True),
                    "interval": interval_in_words(points[place].interval, share=True),
                }
                for points in depth.values()
            ],
        }
        for place, stage in enumerate(stages)
    ]
    label = "accuracy, with 95 % interval"
    sizes = {"last layer": [(float(size), accuracy, interval) for size, accuracy, interval in found.sizes]}
    return {
        "depth_chart": _drawn(
            charts.curve_chart(series, x_label="after stage", y_label=label, names=stages),
            "Accuracy of a new last layer by the stage that it is put on, pretrained and with random weights",
        )
        if depth
        else "",
        "depth_names": list(depth),
        "depth_rows": rows,
        "sizes_chart": _drawn(
            charts.curve_chart(sizes, x_label="labelled photos of each class", y_label=label, logarithmic=True),
            "Learning curve: accuracy by number of labelled photos of each class",
        )
        if found.sizes
        else "",
    }


def _moved(found: Explanation) -> dict[str, Any]:
    after = {stage.stage: {unit.unit: unit for unit in stage.units} for stage in found.stages}
    before = []
    for name, stage in found.before.items():
        units = []
        for unit in stage.units:
            now = after[name][unit.unit]
            units.append(
                {
                    "number": unit.unit,
                    "before": figures.as_data(figures.grid(unit.patches)),
                    "after": figures.as_data(figures.grid(now.patches)),
                    "before_name": _named(unit, found),
                    "after_name": _named(now, found),
                    "before_alt": _alt(unit),
                    "after_alt": _alt(now),
                }
            )
        before.append({"name": name, "units": units})
    if not found.moved:
        return {"moved_chart": "", "before": []}
    chart = _drawn(
        charts.bar_chart(found.moved, x_label="change of the weights"),
        "How far training moved the weights of each stage",
    )
    return {"moved_chart": chart, "before": before}


def _stages(found: Explanation) -> list[dict[str, Any]]:
    """Return what is shown of each stage; reasons why nothing is projected are given in full where they begin."""
    shown = []
    refused = ""
    for stage in found.stages:
        one = _stage(stage, found)
        if refused and stage.refusal:
            one["refusal"] = f"No projections, for the same reason as after {refused}."
        elif stage.refusal:
            refused = stage.stage
        shown.append(one)
    return shown


def _stage(stage: StagePictures, found: Explanation) -> dict[str, Any]:
    height, width = stage.side
    return {
        "name": stage.stage,
        "about": f"each unit sees {width} x {height} pixels",
        "refusal": stage.refusal,
        "units": [
            {
                "number": unit.unit,
                "name": _named(unit, found),
                "alt": _alt(unit),
                "patches": figures.as_data(figures.grid(unit.patches)),
                "projections": figures.as_data(
                    figures.grid([figures.projection_picture(values) for values in unit.projections])
                )
                if unit.projections
                else "",
            }
            for unit in stage.units
        ],
    }


def _named(unit: UnitPicture, found: Explanation) -> str:
    """Return what a unit responds to in the user's classes: "8 of 9 patches are dog"."""
    samples = found.subject.dataset.samples
    if not _has_classes(found.subject):
        return ""
    counted = Counter(samples.classes[samples.labels[photo]] for photo in unit.photos).most_common(3)
    of = f"of {len(unit.photos)} patches {'are' if found.subject.labelled else 'are answered'}"
    first, *others = counted
    verbs = ("is", "are") if found.subject.labelled else ("as", "as")
    more = "".join(f", {count} {verbs[count > 1]} {name}" for name, count in others)
    return f"{first[1]} {of} {first[0]}{more}"


def _alt(unit: UnitPicture) -> str:
    return f"The {len(unit.photos)} image patches that excite unit {unit.unit} most"


def _method(stages: Sequence[StagePictures]) -> str:
    methods = list(dict.fromkeys(stage.method for stage in stages if stage.method))
    if not methods:
        return "no method: see each stage's reason"
    longest = max(methods, key=len)  # later stages pass more kinds of functions than earlier ones
    return longest if longest.startswith(DECONVNET) else longest + _GUIDED_WHY


def _filters(weight: np.ndarray | None) -> str:
    if weight is None:
        return ""
    tiles = figures.filter_pictures(weight)
    return figures.as_data(figures.grid(tiles, columns=16, tile=48), kind="png")


def _drawn(chart: str, label: str) -> Markup:
    """Return a chart for the page, with a text for those who cannot see it."""
    named = Markup('<svg role="img" aria-label="{}"').format(label)
    return named + Markup(chart.removeprefix("<svg"))
