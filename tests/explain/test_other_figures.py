"""Figures by patient, at each level of a tree, and of sets of classes on the page."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from tests.explain.made import answers_of, explanation_of, report_of
from tests.fixtures.pages import Page

from regraft.classifier.full_report import GroupReport
from regraft.evaluation.conformal import ConformalFigures, Coverage
from regraft.evaluation.levels import Level
from regraft.evaluation.tree_figures import TreeFigures, figures_at, tree_distances
from regraft.explain.explanation import Explanation
from regraft.explain.html_report import render
from regraft.explain.other_figures import other_figures, sets_in_words
from regraft.explain.subject import OF_FIT, ON_THESE

NAMES = ("beagle", "husky", "tabby")
CONFUSION = [[6, 3, 1], [2, 8, 0], [0, 1, 19]]


def page(found: Explanation) -> str:
    backbone: Any = SimpleNamespace(recipe=SimpleNamespace(architecture="small"))
    return " ".join(Page(render(replace(found, subject=replace(found.subject, backbone=backbone)))).text.split())


def tree() -> TreeFigures:
    """Return the figures of two kinds of dogs and a cat: level 1 is dog or cat, level 2 the classes."""
    labels, probabilities = answers_of(CONFUSION)
    kinds, classes = np.array([0, 0, 1]), np.arange(3)
    levels = [
        figures_at(Level(number, names, columns), probabilities, columns[labels])
        for number, names, columns in ((1, ("dog", "cat"), kinds), (2, NAMES, classes))
    ]
    distances = tree_distances(np.array([[0, 2, 3], [2, 0, 3], [3, 3, 0]]), labels, probabilities.argmax(axis=1))
    return TreeFigures(tuple(one for one in levels if one is not None), distances)


def test_by_patient() -> None:
    """Of 30 patients 28 are right."""
    report = report_of([[14, 1], [1, 14]], ("well", "ill"))
    found = other_figures(
        explanation_of(CONFUSION, NAMES, record={"groups": GroupReport("patient", report, 2)}).subject.record
    )
    assert found["group_title"] == "By patient"
    assert found["group_about"] == (
        "Not single photos are counted here, but each patient as one, answered by the mean of its photos' "
        "probabilities: 30 in all. 2 with photos of several classes are left out."
    )
    wilson = binomtest(28, 30).proportion_ci(method="wilson")
    assert found["group_rows"][0] == {
        "name": "accuracy",
        "value": "93.3 %",
        "interval": f"{100 * wilson.low:.1f} to {100 * wilson.high:.1f} %",
    }
    assert found["group_rows"][1]["name"] == "always the largest class"
    assert found["group_rows"][1]["value"] == "50.0 %"
    unnamed = explanation_of(CONFUSION, NAMES, record={"groups": GroupReport("", report, 0)}).subject.record
    assert other_figures(unnamed)["group_title"] == "By group"
    assert "left out" not in other_figures(unnamed)["group_about"]


def test_at_each_level() -> None:
    """Of 40 photos 33 are of the right class, and 38 of the right kind: five dogs are taken for the other dog."""
    found = other_figures(explanation_of(CONFUSION, NAMES, record={"taxonomy": tree()}).subject.record)
    for row, (level, nodes, right) in zip(found["levels"], ((1, 2, 38), (2, 3, 33)), strict=True):
        wilson = binomtest(right, 40).proportion_ci(method="wilson")
        interval = f"{100 * wilson.low:.1f} to {100 * wilson.high:.1f} %"
        assert row == [str(level), str(nodes), "40", f"{100 * right / 40:.1f} %", interval, "50.0 %"]
    assert found["levels_left"] == 0
    # five mistakes of 2 steps and two of 3: 16 / 7 and 16 / 40; always tabby, which half of them are not: 60 / 40
    assert found["distances"].startswith("From a wrong answer to the truth it is 2.29 [")
    assert "] steps in the tree on average (2 to 3 between two classes); over all answers 0.40 [" in found["distances"]
    assert "always answered 1.50 [" in found["distances"]


@pytest.mark.parametrize("coverage_of", ["classes", "photos"])
def test_sets(coverage_of: Any) -> None:
    """Of 20 photos 19 sets hold the true class; 16 have one, three two, one none: 22 / 20 on average."""
    labels = np.repeat([0, 1], 10)
    sets = np.stack([labels == 0, labels == 1], axis=1)
    sets[:3] = True
    sets[19] = False
    figures = ConformalFigures.of_sets(sets, labels, ("cat", "dog"), Coverage(0.9, coverage_of))
    wilson = binomtest(19, 20).proportion_ci(method="wilson")
    of = {"classes": "the photos of each class", "photos": "all photos"}[coverage_of]
    assert sets_in_words(figures) == (
        "One answer may not be enough: `regraft predict` with `coverage=0.9` names all classes that a photo may be, so "
        f"many that the true one is among them for 90 % of {of}; for these photos it was for 95.0 % "
        f"({100 * wilson.low:.1f} to {100 * wilson.high:.1f} %). It names 1.10 on average: several for 15 of 100 "
        "photos, none for 5."
    )
    assert sets_in_words(replace(figures, several=0.6)).endswith(
        " The fewer photos of a class there are, the more it must name to keep that."
    )
    assert sets_in_words(None) == ""
    assert "it was for 95.0 %. It names" in sets_in_words(replace(figures, held_interval=None))


def test_the_page_shows_them_with_the_figures_of_the_fit() -> None:
    labels, probabilities = answers_of(CONFUSION)
    sets = ConformalFigures.of_sets(probabilities > 0.04, labels, NAMES, Coverage())
    report = replace(report_of(CONFUSION, NAMES), conformal=sets)
    record = {"groups": GroupReport("patient", report_of(CONFUSION, NAMES), 0), "taxonomy": tree()}
    fitted = page(explanation_of(CONFUSION, NAMES, record=record, reports={OF_FIT: report}))
    plain = page(explanation_of(CONFUSION, NAMES))
    for said in ("By patient", "At each level of the tree", "among them for 95 % of the photos of each class"):
        assert fitted.count(said) == 1
        assert said not in plain
    both = {ON_THESE: report_of(CONFUSION, NAMES, "test"), OF_FIT: report}
    assert page(explanation_of(CONFUSION, NAMES, record=record, reports=both)).count("By patient") == 1
