"""The way from the top of the tree to each answer, with the probability of every node on it."""

from typing import TYPE_CHECKING

from regraft.errors import printable

if TYPE_CHECKING:  # it imports torch
    from regraft.classifier.predict import Predictions


def path_columns(predictions: "Predictions") -> dict[str, list[str | float]]:
    """Return two columns of n cells for each level of the tree: the answer's node and its probability.

    They are called level_1 and level_1_probability; nothing without a tree. Rows of unreadable photos mean nothing.
    """
    found: dict[str, list[str | float]] = {}
    for level, sums in zip(predictions.levels, predictions.level_sums, strict=True):
        places = level.columns[predictions.answers]
        name = f"level_{level.number}"
        found[name] = [level.nodes[place] for place in places]
        found[f"{name}_probability"] = [float(row[place]) for row, place in zip(sums, places, strict=True)]
    return found


def path_records(predictions: "Predictions", row: int) -> list[dict[str, object]]:
    """Return the same of one photo as JSON types, from the top; a node that stands for itself comes once."""
    found: dict[str, dict[str, object]] = {}
    for level, sums in zip(predictions.levels, predictions.level_sums, strict=True):
        place = level.columns[predictions.answers[row]]
        record = {"level": level.number, "name": level.nodes[place], "probability": round(float(sums[row, place]), 6)}
        found.setdefault(level.nodes[place], record)
    return list(found.values())


def path_text(predictions: "Predictions", row: int) -> str:
    """Return the nodes above the answer, the nearest first, as the end of a line; "" where there are none."""
    above = path_records(predictions, row)[-2::-1]
    shown = ", ".join(f"{printable(node['name'])} {node['probability']:.1%}" for node in above)
    return f"  in {shown}" if shown else ""
