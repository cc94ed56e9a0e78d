"""The parts of a model card with figures: how good it is, class by class, and what it takes to find one class."""

from collections.abc import Sequence

from regraft.classifier.record import FitRecord
from regraft.errors import option
from regraft.evaluation.conformal import ConformalFigures, Coverage
from regraft.evaluation.decisions import percent
from regraft.evaluation.operating_points import OperatingPoints
from regraft.evaluation.report import Report
from regraft.evaluation.report_lines import shown
from regraft.explain.confusion import mixed_pairs
from regraft.explain.words import HOW, interval_in_words, value_in_words
from regraft.markdown import table, text
from regraft.photo_audit.summary import capital

CLASSES_SHOWN = 30  # in a table; of more those that are missed most
_PAIRS_SHOWN = 5
_NOTHING, _UNBROKEN = "-", "\u00a0"


def figures(report: Report) -> list[str]:
    """Return how good a classifier is: in a sentence, and as a table of figures with their intervals."""
    rows = [
        (text(title), value_in_words(value, share=metric.percent), _bounds(bounds, share=metric.percent))
        for metric, title, value, bounds in report.rows()
        if value is not None
    ]
    return [
        *_headline(report),
        "",
        f"The figures are {_KINDS[report.estimate]}. {report.estimate_note or capital(HOW[report.estimate])}",
        "",
        *table(("figure", "value", "95 % interval"), rows, numbers=(1, 2)),
        "",
        "Log loss and Brier score are better the lower they are; the calibration error says by how much, on average, "
        "probabilities are off the share of answers that is right.",
    ]


def _headline(report: Report) -> list[str]:
    """Return how many photos are right; of a rule that finds one class, how many of it, and the price."""
    right = sum(report.confusion[place][place] for place in range(len(report.classes)))
    largest = max(report.classes, key=lambda name: report.per_class[name].support)
    accuracy = _with_bounds(report.accuracy, report.intervals.get("accuracy"))
    points = report.operating_points
    if not report.decided_by or points is None or points.of not in report.classes:
        return [
            f"**{right:,} of {report.n:,} photos were answered right**: {accuracy}. Always answering {text(largest)}, "
            f"the largest class, would be right in {_share(report.majority_share)}."
        ]
    place, of, one = report.classes.index(points.of), text(points.of), report.per_class[points.of]
    found = report.confusion[place][place]
    alarms = sum(row[place] for row in report.confusion) - found
    return [
        f"**{found:,} of {one.support:,} photos of {of} were found**: {_with_bounds(one.recall, one.recall_interval)}. "
        f"The price: {alarms:,} of {report.n - one.support:,} others were taken for {of}. In all, {right:,} of "
        f"{report.n:,} photos were answered right: {accuracy}."
    ]


_KINDS = {"out-of-fold": "out-of-fold", "validation": "of validation photos", "test": "of test photos"}


def by_class(report: Report) -> list[str]:
    """Return the figures of each class, of many those that are missed most, and what is mixed up most."""
    names, said = list(report.classes), []
    if len(names) > CLASSES_SHOWN:
        names.sort(key=lambda name: (report.per_class[name].recall is None, report.per_class[name].recall or 0.0))
        names = names[:CLASSES_SHOWN]
        said = [f"The {CLASSES_SHOWN} of {len(report.classes):,} classes that are missed most.", ""]
    rows = []
    for name in names:
        one = report.per_class[name]
        rows.append(
            (
                text(name),
                f"{one.support:,}",
                _share(one.recall),
                _bounds(one.recall_interval, share=True),
                _share(one.precision),
                _bounds(one.precision_interval, share=True),
            )
        )
    head = ("class", "photos", "recall", "95 % interval", "precision", "95 % interval")
    return [
        *said,
        *table(head, rows, numbers=range(1, len(head))),
        "",
        "Recall is the share of a class's photos that are recognised, precision the share of the answers that name it "
        "which are right.",
        *_mixed(report),
    ]


def _mixed(report: Report) -> list[str]:
    pairs = mixed_pairs(report)[:_PAIRS_SHOWN]
    if not pairs:
        return []
    told = []
    for pair in pairs:
        told.append(f"{text(pair.first)} taken for {text(pair.second)} {_times(pair.first_missed)}")
        if pair.second_missed:
            told[-1] += f", the other way round {_times(pair.second_missed)}"
    return ["", f"Mixed up most: {'; '.join(told)}."]


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count:,} times"


def operating_points(points: OperatingPoints | None) -> list[str]:
    """Return what finding one class takes; nothing where that was not asked."""
    if points is None or not points.points:
        return []
    rows = [
        (
            f"{100 * one.least_sensitivity:.0f} %",
            percent(one.threshold),
            shown(one.sensitivity, one.sensitivity_interval, percent=True).replace(" ", _UNBROKEN),
            shown(one.specificity, one.specificity_interval, percent=True).replace(" ", _UNBROKEN),
            f"{100 * one.alarms:.1f}",
        )
        for one in points.points
    ]
    head = ("to find", "threshold", "sensitivity", "specificity", "alarms per 100")
    return [
        f"From which probability on {text(points.of)} has to be answered to find so many of its photos, and what that "
        "costs:",
        "",
        *table(head, rows, numbers=range(len(head))),
        "",
        "Sensitivity is the share of its photos that are found, specificity the share of the others that are not "
        f"taken for {text(points.of)}; 95 % intervals in brackets.",
    ]


def sets(figures: ConformalFigures | None) -> list[str]:
    """Return what sets of classes come to; nothing where they cannot be promised."""
    if figures is None:
        return []
    asked = Coverage(figures.coverage)
    return [
        f"Instead of one answer it gives a set of classes that holds the true one for {asked} of the photos of each "
        f"class (`{option('coverage', f'{asked.share:g}')}`). On held-out photos, sets of {asked} held it for "
        f"{_with_bounds(figures.held, figures.held_interval)}, with {figures.mean_size:.2f} classes on average; "
        f"{100 * figures.several:.0f} % held several, {100 * figures.empty:.0f} % none.",
    ]


def by_group(record: FitRecord) -> list[str]:
    """Return the figures by patient, of groups that were left out, and of the levels of a tree."""
    lines: list[str] = []
    if record.groups is not None:
        report, what = record.groups.report, text(record.groups.grouped_by) or "group"
        accuracy = _with_bounds(report.accuracy, report.intervals.get("accuracy"))
        lines += [f"By {what} ({report.n:,}), of the mean of its photos' probabilities, right are {accuracy}.", ""]
    if record.by_group:
        worst, best, what = record.by_group[0], record.by_group[-1], text(record.group_column) or "group"
        ends = [f"{_with_bounds(g.accuracy, g.accuracy_interval)} of {g.photos:,} photos" for g in (worst, best)]
        lines += [
            f"Each {what} of {len(record.by_group):,} was left out in turn and answered by what was learned from the "
            f"others: right were from {ends[0]} to {ends[1]}.",
            "",
        ]
    if record.taxonomy is not None:
        rows = [
            (
                f"{level.level}",
                f"{len(level.nodes):,}",
                f"{level.n:,}",
                _share(level.figures.get("accuracy")),
                _bounds(level.intervals.get("accuracy"), share=True),
            )
            for level in record.taxonomy.levels
        ]
        head = ("level, from the top", "nodes", "photos", "accuracy", "95 % interval")
        lines += ["The classes lie in a tree:", "", *table(head, rows, numbers=range(len(head))), ""]
    return lines[:-1]


def _share(value: float | None) -> str:
    return _NOTHING if value is None else value_in_words(value, share=True)


def _bounds(bounds: Sequence[float] | None, *, share: bool) -> str:
    return _NOTHING if bounds is None else interval_in_words(bounds, share=share)


def _with_bounds(value: float | None, bounds: Sequence[float] | None) -> str:
    return _share(value) if bounds is None else f"{_share(value)} ({interval_in_words(bounds, share=True)})"
