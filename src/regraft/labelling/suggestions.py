"""The photos that a classifier would learn most from, to be labelled next."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import ExplainedPredictions, Predictor
from regraft.data.csv_text import csv_text, safe_cell
from regraft.data.dataset import Dataset
from regraft.data.near_duplicates import Pictures
from regraft.data.samples import Samples
from regraft.data.table_checks import check_table_of, check_table_path
from regraft.engines.compute import Compute
from regraft.errors import DataError, option, printable
from regraft.features.nearest import NearestSearch
from regraft.features.pictures import pictures_of
from regraft.files import atomic_write
from regraft.images.sources import Source
from regraft.labelling.diverse_batch import choose_batch
from regraft.photo_audit.photos import AuditPhotos
from regraft.progress import Observer
from regraft.storage.locations import absolute_name

_LEARNED = ("training", "validation")  # roles of photos whose labels are known
_DIGITS = 6  # of figures that are written


@dataclass(frozen=True)
class Suggestion:
    """A photo to label.

    Attributes:
        source: the photo.
        guess: the class that the classifier finds most probable.
        probability: of it.
        second: the next class.
        margin: by how much the guess is more probable than the next class: 0 where the classifier cannot tell.
        nearest: of the photos that were labelled the one with the most similar features; None where none were given.
        nearest_label: its class.
    """

    source: Source
    guess: str
    probability: float
    second: str
    margin: float
    nearest: Source | None = None
    nearest_label: str | None = None

    @property
    def path(self) -> str:
        """Return the name of the photo."""
        return str(self.source)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "file": self.path,
            "guess": self.guess,
            "probability": round(self.probability, _DIGITS),
            "second_guess": self.second,
            "margin": round(self.margin, _DIGITS),
            "nearest": None if self.nearest is None else str(self.nearest),
            "nearest_label": self.nearest_label,
        }


@dataclass(frozen=True, eq=False)
class Suggestions:
    """Photos to label next, the least sure first. `print` shows them, `write` makes a table to fill in.

    Attributes:
        photos: k suggestions.
        candidates: photos that they were chosen from.
        left_out: how many photos were no candidates, by reason.
        unreadable: photos that cannot be read, each with the reason.
        labelled: the photos that were labelled before; None where none were given.
        groups: the name of what each suggested photo belongs together with; None where nothing says.
    """

    photos: tuple[Suggestion, ...]
    candidates: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[tuple[Source, str], ...] = ()
    labelled: AuditPhotos | None = None
    groups: tuple[str | None, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the names of the photos."""
        return tuple(one.path for one in self.photos)

    def __len__(self) -> int:
        """Return k."""
        return len(self.photos)

    def __getitem__(self, place: int) -> Suggestion:
        """Return one of them; 0 is the least sure."""
        return self.photos[place]

    def __iter__(self) -> Iterator[Suggestion]:
        """Yield each of them, the least sure first."""
        return iter(self.photos)

    def notes(self) -> list[str]:
        """Return in words from how many photos they were chosen, and which were left out."""
        return [
            *(f"left out, as {why}: {count:,}" for why, count in self.left_out.items()),
            f"{len(self):,} of {self.candidates:,} photos are suggested",
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "suggested": [one.to_json() for one in self.photos],
            "candidates": self.candidates,
            "left_out": dict(self.left_out),
            "unreadable": [str(source) for source, _ in self.unreadable],
        }

    def __str__(self) -> str:
        """Return a line for each photo: its name, the guess and the second one, with probabilities."""
        names = [printable(one.source) for one in self.photos]
        guesses = [printable(one.guess) for one in self.photos]
        widths = [max(map(len, column), default=0) for column in (names, guesses)]
        return "\n".join(
            f"{name:<{widths[0]}}  {guess:<{widths[1]}}  {one.probability:6.1%}  "
            f"({printable(one.second)} {one.probability - one.margin:.1%})"
            for name, guess, one in zip(names, guesses, self.photos, strict=True)
        )

    def write(self, path: str | Path) -> None:
        """Write a CSV table whose column `label` is to be filled in; photos that have labels follow with theirs.

        Columns: `file`, `label`, `split` and `group` where any photo has one, then what training does not read: `rank`,
        `guess`, `probability`, `second_guess`, `margin`, and `nearest` with `nearest_label`.

        Raises:
            OptionError: another ending, or photos or classes that a table cannot name.
            OutputError: it cannot be written.
        """
        path = Path(path).expanduser()
        check_suggestions_file(path, [one.source for one in self.photos], self.labelled)
        with atomic_write(path) as temporary:
            temporary.write_text(csv_text(self._rows(), exact=True), encoding="utf-8", newline="")

    def _rows(self) -> Iterator[Sequence[object]]:
        """Yield rows in which labels and groups stand as they are, since training reads them; the rest is safe."""
        known = self.labelled
        splits = known is not None and any(split is not None for split in known.splits)
        groups = any(self.groups) or (known is not None and any(known.groups))
        more = ["nearest", "nearest_label"] if known is not None else []
        figures = ["rank", "guess", "probability", "second_guess", "margin", *more]
        yield ["file", "label", *["split"] * splits, *["group"] * groups, *figures]
        for place, one in enumerate(self.photos):
            near = [_file(one.nearest), safe_cell(one.nearest_label or "")] if known is not None else []
            said = [safe_cell(one.guess), f"{one.probability:.6f}", safe_cell(one.second), f"{one.margin:.6f}", *near]
            own = [(self.groups[place] if self.groups else None) or ""] * groups
            yield [_file(one.source), "", *["train"] * splits, *own, place + 1, *said]
        for place, source in enumerate(() if known is None else known.sources):
            if known is not None and known.labels[place] >= 0:
                label = known.classes[known.labels[place]]
                row = [*[known.splits[place] or "train"] * splits, *[known.groups[place] or ""] * groups]
                yield [_file(source), label, *row, *[""] * len(figures)]


def _file(source: Source | None) -> object:
    """Return the whole path, so that the table may lie anywhere."""
    return absolute_name(source) if isinstance(source, PurePath) else "" if source is None else source


def check_suggestions_file(path: Path, sources: Sequence[Source], labelled: AuditPhotos | None) -> None:
    """Raise `OptionError` where a table at `path` cannot name these photos, or those that are labelled."""
    name, otherwise = option("out"), "Leave it out: the photos are named all the same."
    check_table_path(path, name)
    check_table_of(sources, (), name=name, where="the list", otherwise=otherwise)
    if labelled is not None:
        where = printable(labelled.listed.where)
        check_table_of(labelled.sources, labelled.classes, name=name, where=where, otherwise=otherwise)


def suggest(
    classifier: Classifier,
    photos: AuditPhotos,
    count: int,
    *,
    labelled: AuditPhotos | None = None,
    compute: Compute | None = None,
    observer: Observer | None = None,
) -> Suggestions:
    """Return the photos that a classifier would learn most from. See `choose_batch` for the method.

    Photos whose labels are known are no candidates: those that the classifier learned from or was evaluated on, as they
    are or edited, those with a label, and what shows the same picture as one of these. Of candidates that show one
    picture the first is. Photos of a test split are left to tests.

    Args:
        classifier: that was fitted on what is labelled so far.
        photos: to choose from.
        count: at most so many; fewer where there are not as many.
        labelled: photos with labels; None where the classifier's file alone says what it learned from.
        compute: device, engine, batch size and cache.
        observer: hears findings and progress.

    Raises:
        DataError: no photo can be read, or none is left to choose from.
    """
    compute, observer = compute or Compute(), observer or Observer()
    sources = (*photos.sources, *(() if labelled is None else labelled.sources))
    answers = Predictor(classifier, compute, observer).predict_with_features(sources)
    unreadable = answers.predictions.unreadable
    if all(place in unreadable for place in range(len(photos))):
        raise DataError(f"none of the {len(photos):,} photos to choose from can be read. Name others.")
    pictures = pictures_of(sources, answers.keys, answers.ranges, compute, observer)
    reasons = _reasons(classifier, photos, labelled, answers, pictures)
    candidates = np.array([place for place, why in enumerate(reasons) if why is None], dtype=np.int64)
    left_out = {why: reasons.count(why) for why in dict.fromkeys(filter(None, reasons))}
    if not len(candidates):
        said = "; ".join(f"{why}: {number:,}" for why, number in left_out.items())
        raise DataError(f"no photo is left to choose from ({said}). Name photos without labels.")
    features = answers.features[:, classifier.columns]
    probabilities = answers.predictions.probabilities
    count = min(count, len(candidates))
    chosen = choose_batch(features, probabilities, count, candidates=candidates).positions
    nearest = _nearest(features, answers.keys, chosen, labelled, first=len(photos))
    return Suggestions(
        tuple(
            _suggestion(sources[place], probabilities[place], classifier.classes, near, labelled)
            for place, near in zip(chosen.tolist(), nearest, strict=True)
        ),
        len(candidates),
        left_out,
        tuple((sources[place], reason) for place, reason in sorted(unreadable.items())),
        labelled,
        tuple(photos.groups[place] for place in chosen.tolist()),
    )


def _reasons(
    classifier: Classifier,
    photos: AuditPhotos,
    labelled: AuditPhotos | None,
    answers: ExplainedPredictions,
    pictures: Pictures,
) -> list[str | None]:
    """Return why each of the photos to choose from is no candidate; None where it is one."""
    sources, keys = answers.predictions.sources, answers.keys
    samples = Samples(sources, np.zeros(len(sources), dtype=np.int64), ("photos",))
    dataset = Dataset(samples, keys, np.arange(len(sources)), pictures=pictures, ranges=answers.ranges)
    learned = np.any([classifier.recognises(dataset, role) for role in _LEARNED], axis=0)
    has_label = np.zeros(len(sources), dtype=bool)
    has_label[: len(photos)] = photos.labels >= 0
    if labelled is not None:
        has_label[len(photos) :] = labelled.labels >= 0
    known = np.isin(pictures.numbers, pictures.numbers[learned | has_label])
    test = [split == "test" for split in photos.splits]
    found: list[str | None] = []
    taken: set[int] = set()
    for place, number in enumerate(pictures.numbers[: len(photos)].tolist()):
        if place in answers.predictions.unreadable:
            found.append("unreadable")
        elif test[place]:
            found.append("part of a test split")
        elif known[place]:
            found.append("labelled already, or copies of such photos")
        elif number in taken:
            found.append("copies of others")
        else:
            taken.add(number)
            found.append(None)
    return found


def _nearest(
    features: np.ndarray, keys: Sequence[bytes], chosen: np.ndarray, labelled: AuditPhotos | None, *, first: int
) -> list[int | None]:
    """Return of each chosen photo the position in `labelled` of the nearest with a label; None where there is none.

    Args:
        features: (n, d) of the photos to choose from, and of the labelled ones from position `first` on.
        keys: their content keys; b"" for those that cannot be read.
        chosen: (k,) positions.
        labelled: photos with labels.
        first: see `features`.
    """
    known = [] if labelled is None else [p for p in np.flatnonzero(labelled.labels >= 0).tolist() if keys[first + p]]
    if not known:
        return [None] * len(chosen)
    search = NearestSearch(features[chosen], [keys[place] for place in chosen.tolist()], 1)
    rows = first + np.array(known)
    search.add(features[rows], [keys[place] for place in rows.tolist()], np.array(known))
    return [int(place) for place in search.positions[:, 0]]


def _suggestion(
    source: Source, probabilities: np.ndarray, classes: Sequence[str], near: int | None, labelled: AuditPhotos | None
) -> Suggestion:
    first, second = np.argsort(-probabilities, kind="stable")[:2]
    margin = float(probabilities[first] - probabilities[second])
    found = Suggestion(source, classes[first], float(probabilities[first]), classes[second], margin)
    if near is None or labelled is None:
        return found
    return Suggestion(
        **{**vars(found), "nearest": labelled.sources[near], "nearest_label": labelled.classes[labelled.labels[near]]}
    )
