"""The first page: how good the classifier is, what it mixes up, what to look at, for readers who know nothing of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from regraft.errors import counted, first_few
from regraft.evaluation.intervals import Interval
from regraft.evaluation.report import Report
from regraft.explain.confusion import MixedPair, mistakes_of, mixed_pairs
from regraft.explain.explanation import Explanation
from regraft.explain.next_steps import next_steps
from regraft.explain.subject import OF_FIT, ON_THESE
from regraft.explain.words import HOW, NAMED, bar_in_percent, listed, rate_base, rate_in_words
from regraft.photo_audit.summary import capital

_SAYABLE = 100  # photos: of fewer, how many were right is said of these themselves


def main_report(found: Explanation) -> tuple[str, Report] | None:
    """Return the figures that the page begins with and their title: of photos never seen, where there are some."""
    reports = found.subject.reports
    return next(((title, reports[title]) for title in (ON_THESE, OF_FIT) if title in reports), None)


def first_page(found: Explanation) -> dict[str, Any]:
    """Return the template's first page: a headline in whole photos, cards, and what to do next."""
    main = main_report(found)
    if main is None:
        return {"headline": None, "cards": [_photos_card(found)], "steps": []}
    _, report = main
    finding = _finding(report)
    return {
        "headline": _headline(report, found) if finding is None else {**_headline(report, found), **finding},
        "cards": [*_pair_card(report), *_class_card(report), _labels_card(found), _photos_card(found)],
        "steps": next_steps(found, report),
    }


def _headline(report: Report, found: Explanation) -> dict[str, Any]:
    interval, right = report.intervals.get("accuracy"), report.n - mistakes_of(report)
    base = rate_base([report.accuracy, report.majority_share, *(interval or ())])
    few = report.n < max(_SAYABLE, base)  # of fewer photos than that, their own number is said
    largest = max(report.classes, key=lambda name: report.per_class[name].support)
    majority = report.per_class[largest].support
    others = [title for title in found.subject.reports if found.subject.reports[title] is not report]
    baseline = f"{majority:,}" if few else rate_in_words(report.majority_share, base)
    return {
        "unit": "photos answered right",
        "beside": f"Always answering the largest class ({largest}) would get {baseline} right (the red line).",
        "right": f"{right:,} of {report.n:,}" if few else rate_in_words(report.accuracy, base),
        "counted": "" if few or report.n == base else f"{right:,} of {report.n:,}",
        "likely": _in_the_long_run(interval, base, of="photos", verb="right"),
        "how": capital(HOW[report.estimate]) + (_rough(report) if few else ""),
        **bar_in_percent(report.accuracy, interval),
        "mark": 100 * report.majority_share,
        "never": _never(report),
        "decided": f"Its answers are decided by {report.decided_by}." if report.decided_by else "",
        "also": [_also(found.subject.reports[title]) for title in others],
    }


def _in_the_long_run(interval: Interval | None, base: int, *, of: str, verb: str) -> str:
    """Return the interval of a share as so many of `base` photos."""
    if interval is None:
        return "How far that may be off cannot be told: too few of these photos are independent of each other."
    low, high = f"{round(base * interval[0]):,}", rate_in_words(interval[1], base)
    return f"In the long run, of {of} like these, expect between {low} and {high} to be {verb}."


def _rough(report: Report) -> str:
    """Return how far the interval of few photos goes for the classifier in the file; "" where it goes as it says."""
    if report.cases_held is None or report.intervals.get("accuracy") is None:
        return ""
    return (
        " So few photos tell it roughly: the classifier in the file, which learned from all of them, lies outside in "
        f"about {100 - report.cases_held} of 100 cases, not in 5."
    )


def _finding(report: Report) -> dict[str, Any] | None:
    """Return the headline of a rule that is about finding one class: how many of it are found, at which price."""
    points = report.operating_points
    if not report.decided_by or points is None or points.of not in report.classes:
        return None
    place, of = report.classes.index(points.of), points.of
    figures, confusion = report.per_class[of], np.array(report.confusion)
    caught, others = int(confusion[place, place]), confusion.sum() - confusion[place].sum()
    alarms = int(confusion[:, place].sum()) - caught
    if figures.recall is None or not others:
        return None
    interval = figures.recall_interval
    few = figures.support <= max(_SAYABLE, rate_base([figures.recall]))
    base, base_of_alarms = rate_base([figures.recall, *(interval or ())]), rate_base([alarms / others])
    priced = rate_in_words(alarms / others, base_of_alarms)
    right = rate_in_words(report.accuracy, rate_base([report.accuracy]))
    return {
        "unit": f"photos of {of} found",
        "right": f"{caught:,} of {figures.support:,}"
        if few
        else rate_in_words(figures.recall, rate_base([figures.recall])),
        "counted": "" if few else f"{caught:,} of {figures.support:,}",
        "likely": _in_the_long_run(interval, base, of=f"photos of {of}", verb="found"),
        "beside": f"The price: {priced} others are taken for {of}. In all, {right} answers are right.",
        **bar_in_percent(figures.recall, interval),
        "mark": None,
    }


def _also(report: Report) -> str:
    base = rate_base([report.accuracy])
    return f"When it was fitted, {rate_in_words(report.accuracy, base)} were right ({report.estimate})."


def _never(report: Report) -> str:
    return f"It never answers {listed(report.never_answered)}." if report.never_answered else ""


def _pair_card(report: Report) -> list[dict[str, str]]:
    """Return what is mixed up most; of two classes, how often each is taken for the other."""
    pairs, mistakes = mixed_pairs(report), mistakes_of(report)
    if not pairs:
        return [_card("Most mixed up", "nothing", "No photo was answered wrong.")]
    first = pairs[0]
    if len(report.classes) == 2:
        return [_card("Mistakes", f"{mistakes:,}", _taken(first), "confusion")]
    if first.mistakes == 1 and len(pairs) > 1:
        return [
            _card("Most mixed up", "no two classes", f"{counted(mistakes, 'mistake')}, no pair twice.", "confusion")
        ]
    more = f"{first.mistakes:,} of {counted(mistakes, 'mistake')}"
    if not first.second_missed:
        more += f", all of them {first.first} taken for {first.second}"
    return [_card("Most mixed up", f"{first.first} and {first.second}", more, "confusion")]


def _taken(pair: MixedPair) -> str:
    parts = [f"{pair.first_missed:,} of {pair.first} taken for {pair.second}"]
    parts += [f"{pair.second_missed:,} of {pair.second} for {pair.first}"] if pair.second_missed else []
    return ", ".join(parts)


def _class_card(report: Report) -> list[dict[str, str]]:
    """Return the class that is recognised least; none where all are always recognised."""
    known = [name for name in report.classes if report.per_class[name].recall is not None]
    if len(report.classes) < 3 or not known:
        return []
    worst = min(known, key=lambda name: (report.per_class[name].recall, report.per_class[name].support))
    figures = report.per_class[worst]
    right = report.confusion[report.classes.index(worst)][report.classes.index(worst)]
    if right == figures.support:
        return []
    return [
        _card("Hardest class", worst, f"{right:,} of its {counted(figures.support, 'photo')} recognised", "classes")
    ]


def _labels_card(found: Explanation) -> dict[str, str]:
    mistakes = found.mistakes
    if mistakes.doubted:
        more = mistakes.expected_in_words
        return _card("Labels to check", counted(mistakes.doubted, "label"), f"{capital(more)}.", "labels")
    if found.subject.seen or found.subject.evaluated is None or not found.subject.labelled:
        return _card("Labels to check", "not known", "That takes photos that were not learned from.")
    return _card("Labels to check", "none", "No label is clearly contradicted by what the photo looks like.")


def _photos_card(found: Explanation) -> dict[str, str]:
    samples = found.subject.dataset.samples
    counts = [f"{name} {count:,}" for name, count in samples.counts().items()]
    answered = "" if found.subject.labelled else "answered: "
    return _card("Photos looked at", f"{len(found.subject.dataset):,}", answered + _counts(counts))


def _counts(counts: Sequence[str]) -> str:
    return first_few(counts, NAMED)


def _card(name: str, value: str, more: str, anchor: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "more": more, "anchor": anchor}
