"""What an exported file says of itself: class names, how to answer, preprocessing, licence, figures, versions."""

import json
import platform
from importlib.metadata import version
from typing import Any

from regraft.classifier.bundle import model_name
from regraft.classifier.classifier import Classifier
from regraft.classifier.summary import answer_in_words, main_figures, networks_of
from regraft.exports.graph import INPUT, LAYOUT, OUTPUT, SINGLE_LAYOUT, least_decoded
from regraft.images.tta import NONE, tta_in_words

KEY = "regraft"  # under which every format keeps it, as JSON
_FORMAT = 1


def describe(
    classifier: Classifier, libraries: tuple[str, ...] = (), *, precision: str = "float32", single: bool = False
) -> dict[str, Any]:
    """Return plain JSON types: what a program needs to use the file, and what its user should know.

    Nothing says where the author's files lie.

    Args:
        classifier: that is exported.
        libraries: packages that wrote the file, whose versions are kept, too.
        precision: of the network's weights, and how they came to it.
        single: whether the file takes one photo at a time.
    """
    classes, decision = list(classifier.classes), classifier.decision
    packages = ("regraft", "torch", "timm", *libraries)
    return {
        "format": _FORMAT,
        "classes": classes,
        "input": {"name": INPUT, "layout": SINGLE_LAYOUT if single else LAYOUT},
        "output": {"name": OUTPUT, "layout": "float32, (b, c): calibrated probabilities, in the order of classes"},
        "answer": answer_in_words(classifier),
        "decision": None if decision is None else decision.to_json(classes),
        "preprocessing": "resizing, crop and normalisation are part of the graph",
        "least_decoded": list(least_decoded(classifier)),
        "networks": networks_of(classifier),
        "precision": precision,
        "model": model_name(classifier),
        "strategy": classifier.strategy,
        "temperature": classifier.temperature,
        "views": None if classifier.tta == NONE else tta_in_words(classifier.tta),
        "figures": main_figures(classifier),
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
    }


def as_text(description: dict[str, Any]) -> str:
    """Return the JSON that a file keeps; bytes of names that are no UTF-8 as escapes."""
    return json.dumps(description, allow_nan=False)
