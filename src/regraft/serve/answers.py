"""What is answered of each photo, and what a program can rely on to be in it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

from regraft.errors import printable

if TYPE_CHECKING:
    from regraft.classifier.predict import Predictions

_DIGITS = 6  # of a probability, as in files that `regraft predict` writes


class Guess(BaseModel):
    """A class, and how probable it is."""

    label: str
    probability: float = Field(ge=0, le=1)


class Answer(BaseModel):
    """What is said of one photo."""

    file: str = Field(description="The name that it was sent with, or its address.")
    label: str | None = Field(description="The class that is answered; null where the photo cannot be read.")
    probability: float | None = Field(description="Calibrated probability of this class.")
    top: list[Guess] = Field(description="The most probable classes, the first one first.")
    unsure: bool | None = Field(description="Whether more classes than one are possible; null where nobody can say.")
    unlike_training: bool | None = Field(description="Whether it is unlike the training photos; null likewise.")
    error: str | None = Field(description="Why it cannot be read.")


class Answers(BaseModel):
    """What is said of the photos of a request, in their order."""

    predictions: list[Answer]


class Failure(BaseModel):
    """Why a request is not answered."""

    error: str


def answers_of(predictions: "Predictions", classes: tuple[str, ...], top: int) -> list[dict[str, Any]]:
    """Return an `Answer` of each photo as plain JSON types.

    Args:
        predictions: of n photos.
        classes: their names.
        top: how many of the most probable classes are named.
    """
    rows = []
    for row, source in enumerate(predictions.sources):
        error = predictions.unreadable.get(row)
        found: dict[str, Any] = {
            "file": printable(source),
            "label": None,
            "probability": None,
            "top": [],
            "unsure": None,
            "unlike_training": None,
            "error": None if error is None else printable(error),
        }
        if error is None:
            values = predictions.probabilities[row]
            answer = int(predictions.answers[row])
            best = np.argsort(-values, kind="stable")[:top].tolist()
            found |= {
                "label": classes[answer],
                "probability": round(float(values[answer]), _DIGITS),
                "top": [{"label": classes[one], "probability": round(float(values[one]), _DIGITS)} for one in best],
                "unsure": None if predictions.unsure is None else bool(predictions.unsure[row]),
                "unlike_training": None if predictions.unlike is None else bool(predictions.unlike[row]),
            }
        rows.append(found)
    return rows
