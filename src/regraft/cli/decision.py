"""Which classes are answered, and by what."""

from typing import TYPE_CHECKING

from regraft.cli.console import note
from regraft.evaluation.goals import DecisionRequest

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier
    from regraft.evaluation.decisions import Decision
    from regraft.evaluation.levels import Level


def decide(
    classifier: "Classifier", level: "Level | None", request: DecisionRequest, positive: str | None
) -> tuple[tuple[str, ...], "Decision | None"]:
    """Return the classes, or the nodes of a level, that are answered, and what decides among them.

    Raises:
        OptionError: a request that cannot be met.
    """
    classes = classifier.classes if level is None else level.nodes
    meant = positive if positive in classes else None
    if level is not None:
        for line in filter(None, [classifier.passed_over_at(level, request)]):
            note(line)
        return classes, classifier.decision_at(level, request, meant)
    classifier.decide_by(request, meant)
    return classes, classifier.decision
