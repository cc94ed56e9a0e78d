"""`--head`: which last layer is fitted, from `fit` to what files, cards and Python say of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from regraft.api.estimator import load
from regraft.classifier.bundle import load_bundle
from regraft.explain.choice import feature_context
from regraft.heads import head_choice
from regraft.heads.discriminant import SHRINKAGES
from regraft.review.base import settings_of

Run = Callable[..., Result]
Photos = Callable[..., Path]
FAST = ("--strategy", "frozen", "--features", "last", "--force")
SAID = "last layer: by linear discriminant analysis"


def test_a_discriminant_from_fit_to_card(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos("colours", red=12, blue=12)
    done = run("fit", folder, "--model", tiny_network, *FAST, "--head", "discriminant")
    assert done.exit_code == 0, done.output
    assert f"\n  {SAID}\n" in done.stdout
    assert "24 of 24" in done.stdout or "100.0 %" in done.stdout  # red and blue differ in all features
    classifier = load_bundle(Path("classifier.safetensors"))
    assert classifier.record is not None
    assert classifier.record.head == "discriminant"
    assert classifier.head.strength in SHRINKAGES
    assert feature_context(classifier.record)["feature_said"].startswith("Last layer: by linear discriminant analysis.")
    assert settings_of(classifier).head == "discriminant"
    assert load("classifier.safetensors").get_params()["head"] == "discriminant"
    assert run("card", "classifier.safetensors").exit_code == 0
    words = f"linear, by linear discriminant analysis, shrinkage {classifier.head.strength:.3g}"
    assert words in Path("classifier.md").read_text()
    answers = run("predict", "classifier.safetensors", folder / "red", "--format", "json")
    assert answers.exit_code == 0
    assert {photo["prediction"] for photo in json.loads(answers.stdout)} == {"red"}


def test_auto_says_why_it_is_a_discriminant_and_what_asks_for_the_other(
    run: Run, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_choice, "_LONGEST", 0.0)
    folder = photos("colours", red=12, blue=12)
    done = run("fit", folder, "--model", tiny_network, *FAST, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["head"] == "discriminant"
    assert done.stderr.count("last layer: linear discriminant analysis; logistic regression of 24 photos x ") == 1
    assert "on 2 cores, and --head logistic asks for it" in done.stderr
    done = run("fit", folder, "--model", tiny_network, *FAST, "--json", "--head", "logistic", "--out", "b.safetensors")
    assert "head" not in json.loads(done.stdout)
    assert "discriminant" not in done.stderr
    assert load("b.safetensors").get_params()["head"] == "auto"


@pytest.mark.slow
def test_fine_tuning_starts_from_either(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos("colours", red=6, blue=6)
    top = ("--model", tiny_network, "--strategy", "top", "--epochs", "1", "--views", "1", "--force", "--json")
    done = run("fit", folder, *top, "--features", "last", "--head", "discriminant")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["head"] == "discriminant"
