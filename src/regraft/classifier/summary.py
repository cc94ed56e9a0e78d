"""What a program that uses a classifier is told of it, wherever it runs: how it answers, its networks, its figures."""

from typing import Any

from regraft.classifier.classifier import Classifier
from regraft.evaluation.decisions import decided_by
from regraft.networks.names import without_folders

ANSWER = "answered is"
_FIGURES = ("n", "estimate", "accuracy", "accuracy_interval", "balanced_accuracy", "log_loss", "ece", "auc")


def answer_in_words(classifier: Classifier) -> str:
    """Return what is answered, by the rule that decides."""
    decision = classifier.decision
    if decision is None:
        return f"{ANSWER} the {decided_by(None)}"
    return f"{ANSWER} {decision.rule.in_words(list(classifier.classes))} ({decision.asked})"


def networks_of(classifier: Classifier) -> list[dict[str, Any]]:
    """Return each network's architecture, weights, licence and the transform of its photos. No folder is named."""
    return [
        {
            "preprocess": backbone.preprocess.to_json(),
            "architecture": backbone.recipe.architecture,
            "weights": without_folders(backbone.source),
            "licence": str(backbone.recipe.settings.get("license") or "not stated"),
        }
        for backbone in classifier.backbones
    ]


def main_figures(classifier: Classifier) -> dict[str, Any] | None:
    """Return the main figures of the fit; None where nothing is known."""
    report = None if classifier.record is None else classifier.record.report
    if report is None:
        return None
    found = report.to_json()
    return {name: found[name] for name in _FIGURES if found.get(name) is not None}
