"""What an exported file says of itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from regraft.classifier.classifier import Classifier
from regraft.classifier.record import FitRecord
from regraft.evaluation.report import Report
from regraft.exports.metadata import as_text, describe
from regraft.networks.recipe import Recipe

Make = Callable[[str], Classifier]


def test_what_a_program_needs(make: Make) -> None:
    found = json.loads(as_text(describe(make("plain"), ("openvino",))))
    assert found["classes"] == ["Kätzchen", "dog", "7"]
    assert (found["input"]["name"], found["output"]["name"]) == ("pixels", "probabilities")
    assert found["answer"] == "answered is the most probable class"
    assert (found["decision"], found["views"], found["figures"]) == (None, None, None)
    assert {"regraft", "torch", "timm", "openvino", "python"} == set(found["versions"])


def test_the_rule_that_answers_in_words_and_as_json(make: Make) -> None:
    found = describe(make("decision"))
    assert found["answer"] == (
        "answered is dog from a probability of 20 % on, else the most probable of the others (threshold 0.2 for dog)"
    )
    assert found["decision"] == {
        "asked": "threshold 0.2 for dog",
        "rule": "threshold",
        "class": "dog",
        "threshold": 0.2,
    }


def test_views_and_networks(make: Make) -> None:
    assert describe(make("flip"))["views"] == "the mean of 2 views: the photo and its mirror image"
    assert [one["preprocess"]["width"] for one in describe(make("joined"))["networks"]] == [32, 40]


def test_licence_of_the_network(make: Make) -> None:
    classifier = make("plain")
    recipe = classifier.backbone.recipe
    for settings, said in (
        ({"license": "apache-2.0"}, "apache-2.0"),
        ({"license": None}, "not stated"),
        ({}, "not stated"),
    ):
        classifier.backbone.recipe = Recipe(recipe.architecture, recipe.arguments, settings)
        assert describe(classifier)["networks"][0]["licence"] == said


def test_figures_of_the_fit(make: Make, few_draws: None) -> None:
    import numpy as np

    labels, classes = np.array([0, 1, 2, 0]), ("Kätzchen", "dog", "7")
    report = Report.from_probabilities(np.eye(3)[[0, 1, 2, 1]], labels, classes, estimate="out-of-fold")
    record = FitRecord(report=report, model="m", strategy="frozen", temperature=1.0)
    figures = describe(replace(make("plain"), record=record))["figures"]
    assert (figures["n"], figures["estimate"], figures["accuracy"]) == (4, "out-of-fold", 0.75)


def test_nothing_says_where_files_lie(make: Make, tiny_network: str) -> None:
    folder = Path(tiny_network.removeprefix("local-dir:"))
    text = as_text(describe(make("plain")))
    assert folder.name in text
    assert str(folder.parent) not in text
