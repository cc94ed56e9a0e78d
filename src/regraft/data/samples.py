"""Samples: labelled images with their class names."""

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from natsort import natsorted

from regraft.data.taxonomy import Taxonomy
from regraft.errors import DataError, SmallClassesError, did_you_mean, shortlist
from regraft.images.sources import Source

# all of Unicode's, and those of no width, which nobody sees: a byte order mark, a zero-width space, a word joiner
_BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "\ufeff\u200b\u2060"


UNLABELLED = -1  # instead of a label


@dataclass(frozen=True, eq=False)
class Samples:
    """`n` images and their labels.

    Attributes:
        sources: where each image comes from, n of them.
        labels: (n,) positions in `classes`; `UNLABELLED` for what has no label, where such photos were asked for.
        classes: the class names, in natural order ("2" before "10").
        groups: (n,) numbers of what must stay on one side of a split (a patient, a lesion), or None.
        group_names: the name of each number, by which a group is recognised in another split; None for an image that
            is in no known group.
        grouped_by: what the user calls a group: the column's name; "" where clips in file names are the groups.
        where: the folder or table they were found in.
        notes: what was passed over, in words.
        advice: what else could be meant, in words, for messages that refuse these photos.
        taxonomy: the tree that the classes lie in; None where there is none.
    """

    sources: tuple[Source, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    group_names: tuple[str | None, ...] = ()
    grouped_by: str = ""
    where: str = "the given images"
    notes: tuple[str, ...] = ()
    advice: str = ""
    taxonomy: Taxonomy | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sources)

    @classmethod
    def from_labels(
        cls,
        where: str,
        sources: Sequence[Source],
        labels: Sequence[str | None],
        *,
        groups: Sequence[str | None] | None = None,
        grouped_by: str = "",
        notes: Sequence[str] = (),
        advice: str = "",
    ) -> "Samples":
        """Return samples whose classes are the names in `labels`, as `clean_name` has them.

        Args:
            where: the folder or table.
            sources: n images.
            labels: the name of each image's class; None for one that has none.
            groups: the name of each image's group, None for an image that is in no known group; None without groups.
            grouped_by: what the user calls a group.
            notes: what was passed over, in words.
            advice: what else could be meant, in words.

        Raises:
            DataError: no images.
        """
        if not sources:
            raise DataError(f"{where} holds no images.")
        clean = {label: clean_name(label) for label in dict.fromkeys(labels) if label is not None}
        classes = natural_order(clean.values())
        position = {name: i for i, name in enumerate(classes)}
        numbers, names = (
            (None, ()) if groups is None else _number_groups([name and clean_name(name) for name in groups])
        )
        return cls(
            sources=tuple(sources),
            labels=np.array(
                [UNLABELLED if label is None else position[clean[label]] for label in labels], dtype=np.int64
            ),
            classes=tuple(classes),
            groups=numbers,
            group_names=names,
            grouped_by=grouped_by,
            where=where,
            notes=(*notes, *_notes_on_names(clean)),
            advice=advice,
        )

    @property
    def name(self) -> str:
        """Return `where` without parent folders, for files that are handed on."""
        parts = [self.where] if Path(self.where).exists() else self.where.split(" and ")  # of concatenated splits
        return " and ".join(Path(part).name for part in parts)

    def names_of_groups(self) -> list[str | None]:
        """Return the name of each photo's group; None for one that is in no named group."""
        if self.groups is None:
            return [None] * len(self)
        return [self.group_names[number] if number < len(self.group_names) else None for number in self.groups.tolist()]

    def names(self) -> list[str | None]:
        """Return the name of each photo's class; None for one that has none."""
        return [None if label == UNLABELLED else self.classes[label] for label in self.labels.tolist()]

    def counts(self) -> dict[str, int]:
        """Return {class name: number of images}, in class order."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def select(self, positions: np.ndarray) -> "Samples":
        """Return the samples at `positions` (integers or booleans), with the same classes."""
        chosen = np.arange(len(self))[positions]
        return replace(
            self,
            sources=tuple(self.sources[i] for i in chosen),
            labels=self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def renamed(self, names: Mapping[str, str], classes: Sequence[str]) -> "Samples":
        """Return the same samples by other names of their classes; several may get one name.

        Args:
            names: of each class the new one.
            classes: the new names, in the order that they are to have.
        """
        position = {name: place for place, name in enumerate(classes)}
        places = np.array([position[names[name]] for name in self.classes], dtype=np.int64)
        return replace(self, labels=places[self.labels], classes=tuple(classes))

    def aligned(self, classes: Sequence[str]) -> "Samples":
        """Return the same samples with labels that are positions in `classes`, matched by name.

        Names that `clean_name` makes equal are one name: files of older classifiers hold them as they were written.

        Raises:
            DataError: a class here is not among `classes`.
        """
        position = {clean_name(name): i for i, name in enumerate(classes)} | {name: i for i, name in enumerate(classes)}
        own = [position.get(name, position.get(clean_name(name), -1)) for name in self.classes]
        unknown = [name for place, (name, count) in zip(own, self.counts().items(), strict=True) if count and place < 0]
        if unknown:
            count = "1 class" if len(unknown) == 1 else f"{len(unknown):,} classes"
            hints = _nearly_known(unknown, classes) or did_you_mean(unknown[0], classes)
            raise DataError(
                f"{self.where} has {count} that the model does not know: {', '.join(unknown[:20])}. "
                f"It knows: {', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}.{hints} "
                f"Rename or remove these folders or labels.{self._advice()}"
            )
        return replace(self, labels=np.array(own, dtype=np.int64)[self.labels], classes=tuple(classes))

    def check_trainable(self) -> None:
        """Raise `DataError` unless there are two classes or more, and two images or more of each."""
        counts = self.counts()
        if len(counts) < 2:
            raise DataError(
                f"{self.where} has one class only: {self.classes[0]!r} ({len(self):,} images). "
                f"A classifier needs at least two: one folder (or label) for each.{self._advice()}"
            )
        single = [name for name, count in counts.items() if count < 2]
        if single:
            raise SmallClassesError(
                f"{self.where}: {len(single)} of {len(counts)} classes have fewer than two images, too few to learn "
                f"from one and evaluate on another:\n{shortlist(single)}\nAdd images or remove the class."
                f"{self._advice()}",
                single,
            )

    def _advice(self) -> str:
        return f" {self.advice}" if self.advice else ""


def together(parts: Sequence[Samples]) -> Samples:
    """Concatenate splits that have the same classes; groups of the same name are one group."""
    groups, names = (None, ()) if all(part.groups is None for part in parts) else _common_groups(parts)
    return Samples(
        sources=tuple(source for part in parts for source in part.sources),
        labels=np.concatenate([part.labels for part in parts]),
        classes=parts[0].classes,
        groups=groups,
        group_names=names,
        grouped_by=parts[0].grouped_by,
        where=" and ".join(part.where for part in parts),
        taxonomy=parts[0].taxonomy,
    )


def clean_name(name: str) -> str:
    """Return the name of a class or group in composed form (NFC), without blanks around it.

    macOS and archives made there write "ü" as "u" and a mark, which looks the same.

    >>> clean_name("u\\u0308bel ") == "\\u00fcbel"
    True
    """
    return without_blanks(composed(name)) or name


def composed(text: str) -> str:
    """Return text in composed form (NFC), as the names of classes and groups are."""
    return unicodedata.normalize("NFC", text)


def without_blanks(text: str) -> str:
    """Return text without blanks of any kind at its ends."""
    return text.strip(_BLANKS)


def natural_order(names: Iterable[str]) -> list[str]:
    """Return the distinct `names` with numbers in numeric order: "2" before "10".

    >>> natural_order(["10", "2", "1"])
    ['1', '2', '10']
    """
    return list(natsorted(sorted(set(names))))  # sorted first: "01" and "1" are equal to natsort


def _notes_on_names(clean: Mapping[str, str]) -> list[str]:
    """Return in words which names of classes look alike: written in two ways, in another case or other characters."""
    written, cased = defaultdict(list), defaultdict(set)
    for name, one in clean.items():
        written[one].append(name)
        cased[_folded(one)].add(one)
    notes = [
        f"{one} is written in {len(names)} ways ({', '.join(map(ascii, names))}): taken as one class"
        for one, names in written.items()
        if len(names) > 1
    ]
    return notes + [
        f"{' and '.join(natural_order(names))} differ in {_difference(names)} alone, and are taken as "
        f"{len(names)} classes: rename them if they are one"
        for names in cased.values()
        if len(names) > 1
    ]


def _folded(name: str) -> str:
    """Return what names have in common that differ in case and in variants of characters alone."""
    return unicodedata.normalize("NFKC", name).casefold()


def _difference(names: Iterable[str]) -> str:
    """Return in words in what names differ that are equal when folded."""
    return "upper and lower case" if len({name.lower() for name in names}) == 1 else "variants of characters"


def _nearly_known(unknown: Sequence[str], classes: Sequence[str]) -> str:
    """Return in words which names differ from names of `classes` in case or variants of characters alone, else ""."""
    known = {_folded(name): name for name in classes}
    alike = [(name, known[_folded(name)]) for name in unknown if _folded(name) in known]
    pairs = ", ".join(f"{name!r} and {one!r}" for name, one in alike[:5])
    return f" {pairs} differ in {_difference([*alike[0]])} alone: use one spelling." if alike else ""


def _number_groups(names: Sequence[str | None]) -> tuple[np.ndarray, tuple[str | None, ...]]:
    """Return (n,) group numbers and the name of each number; an image without a name is a group of its own."""
    known = sorted({name for name in names if name is not None})
    position = {name: number for number, name in enumerate(known)}
    alone = itertools.count(len(known))
    numbers = [next(alone) if name is None else position[name] for name in names]
    return np.array(numbers, dtype=np.int64), (*known, *[None] * names.count(None))


def _common_groups(parts: Sequence[Samples]) -> tuple[np.ndarray, tuple[str | None, ...]]:
    """Return (n,) numbers of groups, one for each name, and the name of each number."""
    numbers: dict[object, int] = {}
    names: list[str | None] = []
    found: list[int] = []
    for place, part in enumerate(parts):
        own = np.arange(len(part)) if part.groups is None else part.groups
        for number in own.tolist():
            name = part.group_names[number] if number < len(part.group_names) else None
            key: object = (place, number) if name is None else name
            if key not in numbers:
                numbers[key] = len(names)
                names.append(name)
            found.append(numbers[key])
    return np.array(found, dtype=np.int64), tuple(names)
