"""The sections of the report that show a network: where it looks, how far it carries, what its units see."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from regraft.attribution.backward_rules import DECONVNET
from regraft.explain.depth import LearningCurve
from regraft.explain.examples import ExplainedExample
from regraft.explain.explanation import Explanation
from regraft.explain.subject import Subject
from regraft.explain.unit_pictures import StagePictures, UnitPicture
from regraft.explain.words import interval_in_words, points_in_words, probability_in_words, value_in_words
from regraft.photo_audit.photos import photos_of
from regraft.photo_audit.sections import PhotoNames
from regraft.plots import images as figures
from regraft.plots import svg as charts
from regraft.plots.page import drawn

CAVEAT = (
    "Such a picture shows which pattern excites the unit. It does not show why the network answered as it did: "
    "backward pictures partly restore the photo whatever the answer is (Nie et al. 2018). For that, see where it looks."
)
_GUIDED_WHY = (
    " (this network shrinks its maps by strides and not by max-pooling, whose switches a deconvnet needs: Springenberg "
    "et al. 2015)"
)
_KINDS = {
    "mistake": "The surest wrong answers",
    "uncertain": "The least sure answers",
    "typical": "The surest right answers",
}


def looked(found: Explanation) -> list[dict[str, Any]]:
    """Return the photos that are worth a look, by kind, with where the network looks in them."""
    if not found.examples:
        return []
    assert found.subject.evaluated is not None  # or nothing was looked at
    names = PhotoNames(photos_of(found.subject.evaluated))
    groups = []
    for kind, title in _KINDS.items():
        photos = [_one_looked(one, found, names) for one in found.examples if one.shown.kind == kind]
        shown = len({one.shown.answer for one in found.examples if one.shown.kind == kind})
        there = len(found.subject.evaluated.classes)
        some = f", of {shown:,} of the {there:,} classes" if kind == "typical" and shown < there else ""
        if photos:
            groups.append({"title": title + some, "photos": photos})
    return groups


def _one_looked(one: ExplainedExample, found: Explanation, names: PhotoNames) -> dict[str, str | None]:
    evaluated = found.subject.evaluated
    assert evaluated is not None  # or nothing was looked at
    classes = evaluated.classes
    answer, shown = classes[one.shown.answer], one.shown
    name = names.of(shown.photo)
    doubted = name in {one.name for one in found.mistakes.doubts}
    doubt = ", which is in doubt" if doubted else ""
    truth = "" if shown.truth is None or shown.truth == shown.answer else f", labelled {classes[shown.truth]}{doubt}"
    learned = ", having learned that label," if doubted and one.now == shown.truth else ""
    now = "" if one.now in (None, shown.answer) else f"; the final classifier{learned} answers {classes[one.now]}"
    return {
        "photo": figures.as_data(one.pixels),
        "cam": None if one.cam is None else figures.as_data(figures.heat_over(one.pixels, one.cam)),
        "covered": figures.as_data(figures.heat_over(one.pixels, one.covered, signed=True)),
        "answer": answer,
        "alt": f"The photo {name}",
        "caption": f"{answer} {probability_in_words(shown.probability)}{truth}{now} ({name})",
    }


def depth_context(found: Explanation) -> dict[str, Any]:
    """Return the template's part on how far the network carries, and the learning curve."""
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
    curve = found.sizes or LearningCurve([])
    sizes = {"last layer": [(float(size), accuracy, interval) for size, accuracy, interval in curve.points]}
    return {
        "depth_chart": drawn(
            charts.curve_chart(series, x_label="after stage", y_label=label, names=stages),
            "Accuracy of a new last layer by the stage that it is put on, pretrained and with random weights",
        )
        if depth
        else "",
        "depth_names": list(depth),
        "depth_rows": rows,
        "sizes_chart": drawn(
            charts.curve_chart(
                sizes, x_label="labelled photos of each class, at most", y_label=label, logarithmic=True
            ),
            "Learning curve: accuracy by number of labelled photos of each class",
        )
        if curve.points
        else "",
        "sizes_said": _curve_in_words(curve),
    }


def _curve_in_words(curve: LearningCurve) -> str:
    """Return what the end of the learning curve says: whether more photos help."""
    if curve.gain is None:
        return ""
    before, last, gain = curve.points[-2][0], curve.points[-1][0], curve.gain.value
    step = (
        f"From {before:,} to {last:,} of each class (or all that it has), accuracy changed by {points_in_words(gain)}"
    )
    if curve.rises:
        return f"{step}, which is more than chance: more photos help."
    return f"{step}, which may be chance: that more photos like these help is not proven."


def moved_context(found: Explanation) -> dict[str, Any]:
    """Return the template's part on what training changed."""
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
                    "before_name": _unit_in_words(unit, found),
                    "after_name": _unit_in_words(now, found),
                    "before_alt": _alt(unit),
                    "after_alt": _alt(now),
                }
            )
        before.append({"name": name, "units": units})
    if not found.moved:
        return {"moved_chart": "", "before": []}
    chart = drawn(
        charts.bar_chart(found.moved, x_label="change of the weights"),
        "How far training moved the weights of each stage",
    )
    return {"moved_chart": chart, "before": before}


def has_classes(subject: Subject) -> bool:
    """Tell whether photos have classes: by their labels, or by a classifier's answers."""
    return subject.labelled or subject.head is not None


def unit_stages(found: Explanation) -> list[dict[str, Any]]:
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
                "name": _unit_in_words(unit, found),
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


def _unit_in_words(unit: UnitPicture, found: Explanation) -> str:
    """Return what a unit responds to in the user's classes: "8 of 9 patches are dog"."""
    samples = found.subject.dataset.samples
    if not has_classes(found.subject):
        return ""
    counted = Counter(samples.classes[samples.labels[photo]] for photo in unit.photos).most_common(3)
    of = f"of {len(unit.photos)} patches {'are' if found.subject.labelled else 'are answered'}"
    first, *others = counted
    verbs = ("is", "are") if found.subject.labelled else ("as", "as")
    more = "".join(f", {count} {verbs[count > 1]} {name}" for name, count in others)
    return f"{first[1]} {of} {first[0]}{more}"


def _alt(unit: UnitPicture) -> str:
    return f"The {len(unit.photos)} image patches that excite unit {unit.unit} most"


def method_in_words(stages: Sequence[StagePictures]) -> str:
    """Return how projections were made, and why so where it is no deconvnet."""
    methods = list(dict.fromkeys(stage.method for stage in stages if stage.method))
    if not methods:
        return "no method: see each stage's reason"
    longest = max(methods, key=len)  # later stages pass more kinds of functions than earlier ones
    return longest if longest.startswith(DECONVNET) else longest + _GUIDED_WHY


def filters_picture(weight: np.ndarray | None) -> str:
    """Return the filters (c, 3, k, k) of the first layer as one picture, "" where there are none."""
    if weight is None:
        return ""
    tiles = figures.filter_pictures(weight)
    return figures.as_data(figures.grid(tiles, columns=16, tile=48), kind="png")
