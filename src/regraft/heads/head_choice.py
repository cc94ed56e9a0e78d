"""Which last layer is fitted where that is left open: logistic regression, unless it would take hours.

Logistic regression reads all features for each of its steps, and its work grows with photos x features x classes;
linear discriminant analysis reads them a few times (`heads.discriminant`). The rule looks at these three numbers alone,
and not at the machine: the same photos give the same classifier everywhere.
"""

from typing import NamedTuple

from regraft.errors import option

LOGISTIC, DISCRIMINANT = "logistic", "discriminant"
_AUTO = "auto"
_LONGEST = 2 * 3600.0  # seconds of a logistic regression, beyond which nobody would wait who did not ask for it
_PER_FEATURE, _PER_OUTPUT = 2.0e-7, 6.7e-9  # seconds on 2 cores, all choices and folds: `python -m benchmarks heads`


class HeadChoice(NamedTuple):
    """How last layers are fitted.

    Attributes:
        head: `LOGISTIC` or `DISCRIMINANT`.
        reason: a sentence where it is not the usual one, and nobody asked for that; else "".
    """

    head: str
    reason: str


def head_in_words(head: str) -> str:
    """Return what was fitted where that is not the usual; else ""."""
    return "last layer: by linear discriminant analysis" if head == DISCRIMINANT else ""


def logistic_seconds(photos: int, features: int, classes: int) -> float:
    """Return about how long logistic regression takes on 2 cores: all folds, and all choices of its strength.

    >>> round(logistic_seconds(50_000, 1_280, 100)), round(logistic_seconds(500_000, 1_280, 2))
    (56, 132)
    """
    outputs = 1 if classes == 2 else classes
    return photos * features * (_PER_FEATURE + _PER_OUTPUT * outputs)


def choose_head(asked: str, photos: int, features: int, classes: int) -> HeadChoice:
    """Return what was asked for; of "auto" `LOGISTIC`, or `DISCRIMINANT` where that would take more than two hours."""
    seconds = logistic_seconds(photos, features, classes)
    if asked != _AUTO:
        return HeadChoice(asked, "")
    if seconds <= _LONGEST:
        return HeadChoice(LOGISTIC, "")
    return HeadChoice(
        DISCRIMINANT,
        f"last layer: linear discriminant analysis; logistic regression of {photos:,} photos x {features:,} features "
        f"and {classes:,} classes takes about {float(f'{seconds / 3600:.2g}'):,g} hours on 2 cores, and "
        f"{option('head', LOGISTIC)} asks for it",
    )
