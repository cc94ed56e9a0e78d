"""The audit of a data set: everything that can be known of its photos, as findings and figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from regraft.data.findings import Finding, in_order
from regraft.data.group_guess import GroupGuess, guess_groups
from regraft.data.samples import Samples
from regraft.errors import DataError, option, printable
from regraft.evaluation.label_errors import LabelErrors, find_label_errors
from regraft.evaluation.skill import beats_majority
from regraft.features.embedding import Embedder
from regraft.features.neighbours import outliers
from regraft.features.pictures import measures_of, pictures_of, with_scenes_joined
from regraft.photo_audit.cues import file_cues, pixel_cues
from regraft.photo_audit.duplicates import find_duplicates, find_subject_leaks
from regraft.photo_audit.effects import (
    Effect,
    effect_of_copies_across,
    effect_of_groups,
    effect_of_labels,
    effect_of_shortcut,
    listed,
)
from regraft.photo_audit.held_out import HeldOutAnswers, PhotoFeatures, held_out_answers
from regraft.photo_audit.photos import AuditPhotos
from regraft.photo_audit.quality import find_imbalance, find_poor_photos
from regraft.photo_audit.shortcuts import CueScore, score_cues
from regraft.photo_audit.words import (
    FIRST,
    expected_in_words,
    label_findings,
    lines_of,
    outlier_findings,
    shortcut_findings,
    unreadable_findings,
)
from regraft.progress import Observer

_LEAST_TO_LEARN = 10  # photos


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found in n photos.

    Attributes:
        photos: what was looked at.
        findings: the severest first.
        effects: what some of them change in figures.
        labels: likely wrong ones, by position in `answers`; None where nothing could be learned.
        answers: what heads say of photos that they did not learn from; None likewise.
        cues: how well each cue alone tells classes apart.
        guess: groups that are guessed; None where the data set names some, or nothing joins two photos.
        points: (n, k) by which photos are near each other.
        notes: what could not be done, in words.
    """

    photos: AuditPhotos
    findings: tuple[Finding, ...]
    effects: tuple[Effect, ...]
    labels: LabelErrors | None
    answers: HeldOutAnswers | None
    cues: tuple[CueScore, ...]
    guess: GroupGuess | None
    points: np.ndarray
    notes: tuple[str, ...]

    def of(self, kind: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [one for one in self.findings if one.kind == kind]

    def lines(self) -> list[str]:
        """Return the findings in lines, the severest first, what they change in figures, and guessed groups."""
        lines = lines_of(self.findings, len(self.photos), where=self.photos.folder)
        expected = "" if self.labels is None else expected_in_words(self.labels, FIRST, self.answers)
        lines += ["", expected] if expected else []
        if self.effects:
            lines += ["", "What that changes (a new last layer, out-of-fold; 95 % intervals of the differences):"]
            lines += [f"  {effect}" for effect in self.effects]
        if self.guess is not None:
            asked = option("FitSettings.grouping", "guessed")
            lines += ["", f"{self.guess.words}. Where that is right, fit with {asked}."]
        return lines

    def __str__(self) -> str:
        """Return the same as one text."""
        return "\n".join(printable(line) for line in self.lines())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found: dict[str, Any] = {
            "images": len(self.photos),
            "findings": [one.to_json() for one in self.findings],
            "figures": [one.to_json() for one in self.effects],
            "cues": [
                {
                    "cue": one.cue.name,
                    "balanced_accuracy": one.accuracy,
                    "interval": None if one.interval is None else list(one.interval),
                    "chance": one.chance,
                }
                for one in self.cues
            ],
            "guessed_groups": None if self.guess is None else self.guess.words,
            "notes": list(self.notes),
        }
        if self.labels is not None:
            first = min(FIRST, len(self.labels))
            found["mislabelled_expected"] = {"first": first, "wrong": self.labels.expected(first)}
        return found


def audit(
    photos: AuditPhotos,
    embedder: Embedder,
    *,
    observer: Observer | None = None,
    seed: int = 0,
    corrected: Callable[[AuditPhotos], AuditPhotos] = lambda opened: opened,
) -> Audit:
    """Look at every photo, and return what was found. Nothing is changed, and nothing learned from a test split.

    Args:
        photos: as `find_audit_photos` found them.
        embedder: makes the features.
        observer: hears the progress.
        seed: of folds and samples.
        corrected: returns photos, whose contents are known by then, with other labels.
    """
    observer = observer or Observer()
    photos, features, measures = _look(photos, embedder, observer, seed, corrected)
    guess = _guess(photos)
    findings = [*unreadable_findings(photos), *find_duplicates(photos)]
    without = _guess(photos, pictures=False)  # photos of one picture are findings of their own
    findings += find_subject_leaks(photos, () if without is None else _names(without))
    findings += [*find_imbalance(photos), *find_poor_photos(photos, measures)]
    notes: list[str] = []
    answers: HeldOutAnswers | None = None
    labels: LabelErrors | None = None
    cues: list[CueScore] = []
    effects: tuple[Effect, ...] = ()
    positions = photos.learnable()
    problem = _why_not(photos, positions)
    if not problem:
        observer.say("learning from the other photos what each one's class is")
        try:
            answers = held_out_answers(photos, features, positions, seed=seed)
        except DataError as error:
            problem = str(error).replace("\n", " ")
    if answers is not None:
        labels = find_label_errors(answers.dataset.labels, answers.probabilities)
        if not _better_than_chance(answers):
            labels = None
            notes.append(
                "no label is doubted: what the network sees does not tell these classes apart clearly better than "
                "always saying the largest does"
            )
        cues = _cues(photos, answers, measures)
        effects = _effects(photos, features, answers, guess=guess, labels=labels, seed=seed)
        effects = (*effects, *_effects_of_shortcuts(answers, cues))
        findings += [] if labels is None else label_findings(photos, answers, labels)
        findings += shortcut_findings(photos, answers, cues)
    else:
        notes.append(f"no labels, shortcuts or figures were looked at: {problem}")
    findings += outlier_findings(photos, _outliers(photos, features, seed))
    return Audit(
        photos, tuple(in_order(findings)), effects, labels, answers, tuple(cues), guess, features.points, tuple(notes)
    )


def _look(
    photos: AuditPhotos,
    embedder: Embedder,
    observer: Observer,
    seed: int,
    corrected: Callable[[AuditPhotos], AuditPhotos],
) -> tuple[AuditPhotos, PhotoFeatures, np.ndarray]:
    """Return the photos with what headers and pixels say, their features, and (n, m) measures."""
    (opened,) = embedder.open(photos.sources, labels=photos.listed.labels)
    ranges = embedder.backbone.preprocess.ranges
    photos = replace(photos, keys=opened.keys, headers=opened.headers, ranges=ranges).without(opened.unreadable)
    photos = corrected(photos)
    measured = measures_of(photos.sources, photos.keys, ranges, embedder.compute, observer)
    photos = photos.without(measured.unreadable)
    pictures = pictures_of(photos.sources, photos.keys, ranges, embedder.compute, observer)
    opened = replace(opened, keys=photos.keys, unreadable=photos.unreadable)
    features = PhotoFeatures(embedder, opened, photos.labels_to_learn(), seed=seed)
    photos = photos.without(features.unreadable)
    pictures = with_scenes_joined(
        photos.sources,
        photos.keys,
        pictures,
        features.for_scenes,
        ranges=ranges,
        compute=embedder.compute,
        observer=observer,
    )
    return replace(photos, pictures=pictures), features, measured.values


def _why_not(photos: AuditPhotos, positions: np.ndarray) -> str:
    """Return why nothing can be learned from these photos, "" where it can."""
    if not photos.listed.has_labels:
        return "the photos have no labels"
    if len(np.unique(photos.labels[positions])) < 2:
        return "fewer than two classes have two readable photos outside of the test split"
    if len(positions) < _LEAST_TO_LEARN:
        return f"{len(positions)} labelled photos are too few"
    return ""


def _better_than_chance(answers: HeldOutAnswers) -> bool:
    asked, dataset = answers.folds >= 0, answers.dataset
    groups = None if dataset.groups is None else dataset.groups[asked]
    return beats_majority(answers.probabilities[asked], dataset.labels[asked], groups=groups).clear


def _guess(photos: AuditPhotos, *, pictures: bool = True) -> GroupGuess | None:
    """Return groups that are guessed where the data set names none, by what photos show or not."""
    if any(name is not None for name in photos.groups):
        return None
    numbers = photos.numbers if pictures else None
    found = guess_groups(photos.sources, photos.labels, photos.headers, numbers)
    if found is None or not pictures:
        return found
    pairs = np.unique(np.stack([found.groups, photos.numbers]), axis=1)
    return found if pairs.shape[1] > len(np.unique(found.groups)) else None  # else it is what photos show, again


def _names(guess: GroupGuess) -> list[str | None]:
    return [guess.names[number] for number in guess.groups.tolist()]


def _cues(photos: AuditPhotos, answers: HeldOutAnswers, measures: np.ndarray) -> list[CueScore]:
    positions = answers.positions
    cues = [
        *file_cues([photos.headers[place] for place in positions.tolist()]),
        *pixel_cues(measures[positions]),
    ]
    return score_cues(cues, answers.dataset.labels, answers.folds, groups=answers.dataset.groups)


def _effects(
    photos: AuditPhotos,
    features: PhotoFeatures,
    answers: HeldOutAnswers,
    *,
    guess: GroupGuess | None,
    labels: LabelErrors | None,
    seed: int,
) -> tuple[Effect, ...]:
    """Return what copies, groups that are guessed, and likely wrong labels change, on the photos in memory."""
    positions = answers.positions[answers.learned]
    values = features.values[features.rows_of(positions)]
    joined = answers.dataset if answers.learned.all() else answers.dataset.select(answers.learned)
    known = {} if answers.heads is None else {joined: answers.heads}
    found: list[Effect | None] = []
    numbers = photos.numbers[positions]
    if len(np.unique(numbers)) < len(numbers):
        apart = photos.dataset(positions, pictures=False)
        words = ("with copies and near-duplicates on both sides of a split", "with these on one side")
        found.append(effect_of_groups("near-duplicate", words, values, apart, joined, known=known, seed=seed))
        splits = np.array([str(photos.splits[place]) for place in positions.tolist()])
        found.append(effect_of_copies_across(values, joined, splits == "train", splits == "validation", seed=seed))
    if guess is not None:
        names = _names(guess)
        grouped = _grouped(joined.samples, [names[place] for place in positions.tolist()])
        words = ("with photos of one guessed group on both sides of a split", "with these on one side")
        together = replace(joined, samples=grouped, _folds={}, _groups=None)
        found.append(effect_of_groups("subject-leak", words, values, joined, together, known=known, seed=seed))
    if labels is not None and len(labels):
        found.append(effect_of_labels(values, joined, heads=answers.heads, seed=seed))
    return listed(found)


def _effects_of_shortcuts(answers: HeldOutAnswers, cues: Sequence[CueScore]) -> tuple[Effect, ...]:
    """Return how photos are answered whose class is not what a cue that was named says."""
    dataset, asked = answers.dataset, answers.folds >= 0
    found = []
    for score in cues:
        if score.far_above_chance and score.giveaway is not None:
            name, has = dataset.classes[score.giveaway.label], score.giveaway.has
            fits = has == (dataset.labels == score.giveaway.label)
            words = (
                f"where {score.cue.name} and class fit ({name}: {score.giveaway.words})",
                "where they do not",
            )
            groups = None if dataset.groups is None else dataset.groups[asked]
            found.append(effect_of_shortcut(words, answers.correct[asked], fits[asked], groups))
    return listed(found)


def _grouped(samples: Samples, names: Sequence[str | None]) -> Samples:
    labels = [samples.classes[label] for label in samples.labels.tolist()]
    return Samples.from_labels(samples.where, samples.sources, labels, groups=names)


def _outliers(photos: AuditPhotos, features: PhotoFeatures, seed: int) -> np.ndarray:
    """Return the positions of photos unlike all others of their class, the most unlike first.

    Photos without a label are compared with each other.
    """
    points = features.points.copy()
    points[[not key for key in photos.keys]] = np.nan
    found: np.ndarray = outliers(points, photos.labels_to_learn(), numbers=photos.numbers, seed=seed).order
    return found
