"""Figures beside those by photo: by patient, at each level of a tree of classes, and of sets of classes."""

from typing import Any

from regraft.classifier.full_report import GroupReport
from regraft.classifier.record import FitRecord
from regraft.errors import option
from regraft.evaluation.conformal import ConformalFigures, Coverage
from regraft.evaluation.report import Report
from regraft.evaluation.tree_figures import LevelFigures, MeanDistance, TreeDistances, TreeFigures
from regraft.explain.words import interval_in_words, value_in_words

_BY_GROUP = ("accuracy", "balanced_accuracy", "auc", "average_precision", "log_loss")  # the rest is in the JSON
_LEVELS = 12


def other_figures(record: FitRecord | None) -> dict[str, Any]:
    """Return the template's part on the figures of `fit` by patient and by level; each empty where there are none."""
    groups, tree = (None, None) if record is None else (record.groups, record.taxonomy)
    return {**_by_group(groups), **_by_level(tree)}


def figure_rows(report: Report, names: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Return a row for each figure, with its interval; `names` chooses among those of `METRICS`."""
    return [
        {
            "name": text,
            "value": value_in_words(value, share=metric.percent),
            "interval": interval_in_words(interval, share=metric.percent),
        }
        for metric, text, value, interval in report.rows()
        if not names or metric.name in names
    ]


def _by_group(found: GroupReport | None) -> dict[str, Any]:
    if found is None:
        return {"group_title": "", "group_about": "", "group_rows": []}
    what = found.grouped_by or "group"
    mixed = f" {found.mixed:,} with photos of several classes are left out." if found.mixed else ""
    return {
        "group_title": f"By {what}",
        "group_about": f"Not single photos are counted here, but each {what} as one, answered by the mean of its "
        f"photos' probabilities: {found.report.n:,} in all.{mixed}",
        "group_rows": figure_rows(found.report, _BY_GROUP),
    }


def _by_level(found: TreeFigures | None) -> dict[str, Any]:
    if found is None:
        return {"levels": [], "levels_left": 0, "distances": ""}
    return {
        "levels": [_level(one) for one in found.levels[:_LEVELS]],
        "levels_left": max(len(found.levels) - _LEVELS, 0),
        "distances": "" if found.distances is None else _distances(found.distances),
    }


def _level(one: LevelFigures) -> list[str]:
    accuracy, bounds = one.figures.get("accuracy"), one.intervals.get("accuracy")
    return [
        f"{one.level:,}",
        f"{len(one.nodes):,}",
        f"{one.n:,}",
        value_in_words(accuracy, share=True),
        interval_in_words(bounds, share=True),
        value_in_words(one.majority_share, share=True),
    ]


def _distances(found: TreeDistances) -> str:
    """Return how far answers are from the truth, in a sentence."""
    if found.mistakes.value is None:
        return "No answer is wrong."
    between = f"{found.least}" if found.least == found.largest else f"{found.least} to {found.largest}"
    return (
        f"From a wrong answer to the truth it is {_steps(found.mistakes)} steps in the tree on average ({between} "
        f"between two classes); over all answers {_steps(found.answers)}, and if the largest class were always "
        f"answered {_steps(found.majority)}."
    )


def _steps(mean: MeanDistance) -> str:
    if mean.value is None:
        return "none"
    bounds = "" if mean.interval is None else " [{:.2f}, {:.2f}]".format(*mean.interval)
    return f"{mean.value:.2f}{bounds}"


def sets_in_words(found: ConformalFigures | None) -> str:
    """Return what sets of classes come to where they may be named instead of one answer; "" where that is not known."""
    if found is None:
        return ""
    asked = option("coverage", found.coverage)
    promised = f"{Coverage(found.coverage)} of {'the photos of each class' if found.of == 'classes' else 'all photos'}"
    bounds = "" if found.held_interval is None else f" ({interval_in_words(found.held_interval, share=True)})"
    several, none = (f"{100 * share:.0f}" for share in (found.several, found.empty))
    more = " The fewer photos of a class there are, the more it must name to keep that." if found.several > 0.5 else ""
    return (
        f"One answer may not be enough: `regraft predict` with `{asked}` names all classes that a photo may be, so "
        f"many that the true one is among them for {promised}; for these photos it was for "
        f"{value_in_words(found.held, share=True)}{bounds}. It names {found.mean_size:.2f} on average: several for "
        f"{several} of 100 photos, none for {none}.{more}"
    )
