"""What a server says of its classifier."""

from importlib.metadata import version
from typing import Any

from regraft.classifier.summary import answer_in_words, main_figures, networks_of
from regraft.evaluation.decisions import Decision
from regraft.images.tta import NONE, tta_in_words
from regraft.publishing.subject import CardSubject


def about(subject: CardSubject) -> dict[str, Any]:
    """Return plain JSON types; nothing says where files lie.

    Args:
        subject: the classifier and what its file says of itself.
    """
    classifier = subject.classifier
    decision: Decision | None = classifier.decision
    classes = list(classifier.classes)
    return {
        "classes": classes,
        "answer": answer_in_words(classifier),
        "decision": None if decision is None else decision.to_json(classes),
        "networks": networks_of(classifier),
        "strategy": classifier.strategy,
        "views": None if classifier.tta == NONE else tta_in_words(classifier.tta),
        "figures": main_figures(classifier),
        "sha256": subject.digest,
        "made_by": dict(subject.versions),
        "served_by": {"regraft": version("regraft")},
    }
