"""What to do next, as it follows from the figures and from what was tried already."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from regraft.classifier.record import FitRecord
from regraft.data.findings import HIGH, KINDS
from regraft.errors import option
from regraft.evaluation.report import Report
from regraft.explain.confusion import mistakes_of
from regraft.explain.explanation import Explanation
from regraft.explain.words import NAMED, listed, rate_base, rate_in_words
from regraft.transfer.auto_plan import left_out_in_words
from regraft.transfer.strategies import AUTO

CORRECT = (
    "Correct a wrong label where it comes from (move the photo into the right folder, or change the table), then run "
    "`regraft fit` again."
)
_MOST = 4  # steps that are named
_FEW_MISTAKES = 6  # with fewer, no other way of training could be proven better (sign test)
_FEW_PHOTOS = 10  # of a class: the interval of its recall is wider than 50 points
_GOAL = 0.9  # the sensitivity that is advised, where the photos can promise it
_MISSED = 0.7  # recall below which a class is missed often
_LEAST_EXPECTED = 0.5  # wrong labels, among those that are doubted, for looking at them before all else
_SMALL = 0.2  # of the median class


@dataclass(frozen=True)
class NextStep:
    """Something to do.

    Attributes:
        what: in a few words.
        why: a sentence.
        anchor: the section of the page that shows it; "" for none.
    """

    what: str
    why: str
    anchor: str = ""


def next_steps(found: Explanation, report: Report) -> list[NextStep]:
    """Return what to do next, the most urgent first.

    Args:
        found: all that is known.
        report: the figures that the page begins with.
    """
    record = found.subject.record
    doubts = list(_labels(found))
    likely = found.mistakes.expected >= _LEAST_EXPECTED
    steps = [
        *(doubts if likely else ()),
        *_shortcuts(record),
        *_goal(report),
        *_groups(record, report),
        *_small_classes(report),
        *_photos(found),
    ]
    if mistakes_of(report) >= _FEW_MISTAKES:
        steps += _training(found, record)
    steps += [] if likely else doubts
    elsewhere = NextStep(
        "Try it where it will be used",
        "`regraft evaluate` tells how it does on photos of another day, place or camera, which it has never seen.",
    )
    return [*steps[: _MOST - 1], elsewhere]


def _labels(found: Explanation) -> Iterator[NextStep]:
    mistakes = found.mistakes
    if mistakes.doubted:
        yield NextStep(
            f"Check {'this label' if mistakes.doubted == 1 else f'these {mistakes.doubted:,} labels'}",
            "The classifier, which had not learned from these photos, clearly takes them for another class; "
            f"{mistakes.expected_in_words}. {CORRECT}",
            "labels",
        )


def _shortcuts(record: FitRecord | None) -> Iterator[NextStep]:
    for one in () if record is None else record.findings:
        if one.kind == "shortcut" and one.severity == HIGH:
            yield NextStep("Make sure that it looks at the right thing", f"{KINDS['shortcut'].why} {one.said}")


def _goal(report: Report) -> Iterator[NextStep]:
    """Yield that a threshold finds more of a class that is missed often, where nobody has chosen one."""
    points = report.operating_points
    if points is None or report.decided_by or points.of not in report.classes:
        return
    place = report.classes.index(points.of)
    recall = report.per_class[points.of].recall
    possible = [one.least_sensitivity for one in points.points if one.least_sensitivity <= _GOAL]  # to promise
    if recall is not None and recall < _MISSED and possible:
        least = max(possible)
        found = f"{report.confusion[place][place]:,} of {sum(report.confusion[place]):,}"
        goal = f'{option("goal")} "sensitivity>={least:g} for {points.of}"'
        yield NextStep(
            f"Say how many of {points.of} it must find",
            f"It finds {found} where the more probable class is the answer; with `{goal}` about "
            f"{rate_in_words(least, 100)}, for more false alarms.",
            "points",
        )


def _groups(record: FitRecord | None, report: Report) -> Iterator[NextStep]:
    """Yield the group that is clearly answered worse than all photos together."""
    worst = next(iter(() if record is None else record.by_group), None)
    if worst is not None and worst.accuracy_interval[1] < report.accuracy:
        base = rate_base([worst.accuracy])
        yield NextStep(
            f"Look at the photos of {record.group_column if record else ''} {worst.name}".replace("  ", " "),
            f"Where it had learned nothing of them, {rate_in_words(worst.accuracy, base)} come out right, which is "
            "clearly fewer than of all photos. More photos like them help most.",
        )


def _small_classes(report: Report) -> Iterator[NextStep]:
    counts = {name: report.per_class[name].support for name in report.classes}
    present = [count for count in counts.values() if count]
    small = [n for n, count in counts.items() if count < _FEW_PHOTOS or count < _SMALL * float(np.median(present))]
    if small and len(small) < len(counts):
        told = listed([f"{name} ({counts[name]:,})" for name in sorted(small, key=lambda name: counts[name])])
        which = listed(small) if len(small) <= NAMED else f"{len(small):,} small classes"
        yield NextStep(
            f"Add photos of {which}",
            f"There are too few to learn from, and to tell how well it does: {told}.",
            "classes",
        )
    elif small:
        yield NextStep(
            "Add photos of every class",
            f"Most have {max(counts.values()):,} or fewer: figures of so few are rough, and more nearly always help.",
        )


def _photos(found: Explanation) -> Iterator[NextStep]:
    """Yield that more photos help where the learning curve is proven to rise at its end."""
    curve = found.sizes
    if curve is not None and curve.rises and curve.gain is not None:
        before, last = curve.points[-2][0], curve.points[-1][0]
        yield NextStep(
            "Add photos of each class",
            f"From {before:,} to {last:,} of each to learn from, {_more(curve.gain.value)} came out right: the curve "
            "still rises.",
            "depth",
        )


def _more(gain: float) -> str:
    base = rate_base([gain])
    return f"{round(base * gain):,} more of {base:,}"


def _training(found: Explanation, record: FitRecord | None) -> Iterator[NextStep]:
    """Yield what was not tried yet: more of the network, in the time that it needs; other networks."""
    if record is None:
        return
    if record.tried is None and record.strategy == "frozen" and not found.subject.joined:
        yield NextStep(
            "Let it learn more than the last layer",
            f"So far the network stayed as it was: `{option('strategy', AUTO)}` tests whether training it helps.",
        )
    elif record.over_budget:
        left = left_out_in_words(record)
        yield NextStep("Let it try more", f"There was no time for all that may help; {left}.", "choice")
    if not record.networks_tried and not found.subject.joined:
        yield NextStep(
            "Try other networks",
            f"`{option('model', AUTO)}` compares several that learned from other photos before, and takes the lightest "
            "that is as good.",
        )
