"""Which photos were answered wrong, and which labels are in doubt: by name, with thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regraft.data.findings import HIGH, LOW, Finding
from regraft.explain.subject import Subject
from regraft.explain.words import probability_in_words
from regraft.photo_audit.brief import findings_of_answers
from regraft.photo_audit.photos import photos_of
from regraft.photo_audit.sections import PhotoNames
from regraft.photo_audit.thumbnails import Thumbnail, thumbnails

MOST_MISTAKES = 200  # in the table
MOST_DOUBTS = 24  # labels that are shown
_ALMOST_ALL = 0.9  # of the labels in doubt: so many must be expected to be wrong to say that they most likely are
_NO_PICTURE = Thumbnail("", "not shown")


@dataclass(frozen=True)
class Mistake:
    """A photo that was answered wrong.

    Attributes:
        name: of the photo.
        picture: of it.
        label: its class.
        answer: the class that was answered.
        answer_probability: of the answer.
        label_probability: of its class.
        in_doubt: whether its label is likely wrong.
    """

    name: str
    picture: Thumbnail
    label: str
    answer: str
    answer_probability: float
    label_probability: float
    in_doubt: bool

    @property
    def answer_said(self) -> str:
        """Return the probability of the answer in percent."""
        return probability_in_words(self.answer_probability)

    @property
    def label_said(self) -> str:
        """Return the probability of the label in percent."""
        return probability_in_words(self.label_probability)


@dataclass(frozen=True)
class Doubt:
    """A label that is likely wrong.

    Attributes:
        name: of the photo.
        picture: of it.
        label: its class.
        suggested: the most probable other class.
        label_probability: in words.
        suggested_probability: in words.
        wrong: probability that the label is wrong, in words.
    """

    name: str
    picture: Thumbnail
    label: str
    suggested: str
    label_probability: str
    suggested_probability: str
    wrong: str


@dataclass(frozen=True)
class Mistakes:
    """What was answered wrong.

    Attributes:
        shown: the mistakes, the surest answers first; at most `MOST_MISTAKES`.
        count: of all of them.
        doubts: the labels that are in doubt, the most doubtful first; at most `MOST_DOUBTS`.
        doubted: how many labels are in doubt.
        expected: how many of these are to be expected to be wrong.
        sure: False where the classifier is wrong so often that its doubts are to be taken roughly.
    """

    shown: tuple[Mistake, ...] = ()
    count: int = 0
    doubts: tuple[Doubt, ...] = ()
    doubted: int = 0
    expected: float = 0.0
    sure: bool = True

    @property
    def expected_in_words(self) -> str:
        """Return how many of the labels in doubt are expected to be wrong."""
        number, roughly = round(self.expected), "" if self.sure else ", roughly: the classifier is often wrong itself"
        if self.doubted and self.expected >= _ALMOST_ALL * self.doubted:
            all_of_them = {1: "this label is", 2: "both labels are"}.get(self.doubted, "all of these labels are")
            return f"{all_of_them} most likely wrong{roughly}"
        if self.doubted == 1:
            return f"the chance that it is wrong is about {100 * self.expected:.0f} %{roughly}"
        about = (
            "fewer than one of them is" if not number else f"about {number:,} of them {'is' if number == 1 else 'are'}"
        )
        return f"{about} expected to be wrong{roughly}"


def find_mistakes(subject: Subject) -> Mistakes:
    """Return the mistakes, and the labels in doubt, of the photos that evaluate a classifier.

    Labels are doubted by answers to photos that were not learned from: a classifier agrees with what it has seen.
    """
    evaluated, probabilities = subject.evaluated, subject.probabilities
    if not subject.labelled or evaluated is None or probabilities is None:
        return Mistakes()
    photos = photos_of(evaluated)
    names = PhotoNames(photos)
    answers, classes, labels = subject.answers, evaluated.classes, evaluated.labels
    sure = probabilities[np.arange(len(labels)), answers]
    wrong = np.flatnonzero(answers != labels)
    order = wrong[np.argsort(-sure[wrong], kind="stable")].tolist()
    findings = [] if subject.seen else findings_of_answers(evaluated, probabilities)
    doubted = [one for one in findings if one.severity != LOW]
    places = {names.places[one.files[0]] for one in doubted}
    shown = order[:MOST_MISTAKES]
    pictures = thumbnails(photos, [*(names.places[one.files[0]] for one in doubted[:MOST_DOUBTS]), *shown])
    table = [
        Mistake(
            names.of(photo),
            pictures.get(photo, _NO_PICTURE),
            classes[labels[photo]],
            classes[answers[photo]],
            float(sure[photo]),
            float(probabilities[photo, labels[photo]]),
            photo in places,
        )
        for photo in shown
    ]
    return Mistakes(
        tuple(table),
        len(order),
        tuple(_doubt(one, subject, names, pictures) for one in doubted[:MOST_DOUBTS]),
        len(doubted),
        _expected(doubted),
        all(one.severity == HIGH for one in doubted if float(one.more["probability_wrong"]) >= 0.5),
    )


def _doubt(one: Finding, subject: Subject, names: PhotoNames, pictures: dict[int, Thumbnail]) -> Doubt:
    assert subject.evaluated is not None  # or there was no finding
    assert subject.probabilities is not None
    photo, more = names.places[one.files[0]], one.more
    suggested = float(subject.probabilities[photo, subject.evaluated.classes.index(str(more["suggested"]))])
    return Doubt(
        names.of(photo),
        pictures[photo],
        str(more["label"]),
        str(more["suggested"]),
        probability_in_words(float(more["probability"])),
        probability_in_words(suggested),
        probability_in_words(float(more["probability_wrong"])),
    )


def _expected(doubted: Sequence[Finding]) -> float:
    return sum(float(one.more["probability_wrong"]) for one in doubted)
