"""The photos that people look at, in the order in which they see them: each content once, with what is known of it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from regraft.data.samples import natural_order
from regraft.images.sources import ArchiveMember, Source, TableCell
from regraft.images.value_range import Ranges
from regraft.review.decision import Action, Decision
from regraft.review.order import Reason


@dataclass(frozen=True, eq=False)
class ReviewPhoto:
    """A photo to look at; photos of equal content are one.

    Attributes:
        key: of the content.
        place: in the order, from 0.
        sources: the photo, and others of the same content.
        labels: (of each) the class that it was found with; None without one.
        split: of the first; None where nothing says.
        reason: why it is shown here.
        words: the same in a sentence.
        suggested: the class that it looks like where that is not its label; None where nothing says so.
        related: keys of what shows the same picture.
    """

    key: bytes
    place: int
    sources: tuple[Source, ...]
    labels: tuple[str | None, ...]
    split: str | None
    reason: Reason
    words: str
    suggested: str | None = None
    related: tuple[bytes, ...] = ()

    @property
    def label(self) -> str | None:
        """Return the class that the first was found with; None without one."""
        return self.labels[0]


@dataclass(frozen=True)
class PhotoFilter:
    """Which photos are asked for; all of them by default.

    Attributes:
        reasons: one of these; none: any.
        undecided: nobody decided about.
        differing: about which reviewers say different things.
    """

    reasons: tuple[Reason, ...] = ()
    undecided: bool = False
    differing: bool = False


@dataclass(frozen=True)
class ReviewCounts:
    """How far people are.

    Attributes:
        classes: photos of each class, by the labels that count now, in natural order of names.
        decided: photos by what was decided.
        reasons: of each reason, how many photos, and about how many of them nobody decided.
        differing: photos about which reviewers say different things.
    """

    classes: Mapping[str, int]
    decided: Mapping[Action, int]
    reasons: Mapping[Reason, tuple[int, int]]
    differing: int


@dataclass(frozen=True, eq=False)
class ReviewPhotos:
    """All photos to look at.

    Attributes:
        photos: n, in order.
        ranges: the values of black and white by which they are read.
        tested: keys of the photos of a test split, which nobody is shown and nothing is learned from.
        by_key: the photos by their content.
        found_classes: the classes that photos were found with.
    """

    photos: tuple[ReviewPhoto, ...]
    ranges: Ranges = ()
    tested: frozenset[bytes] = frozenset()
    by_key: Mapping[bytes, ReviewPhoto] = field(init=False)
    found_classes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Make photos known by their content, and classes by their names."""
        labels = frozenset(label for photo in self.photos for label in photo.labels if label is not None)
        object.__setattr__(self, "by_key", {photo.key: photo for photo in self.photos})
        object.__setattr__(self, "found_classes", labels)

    def __len__(self) -> int:
        """Return n."""
        return len(self.photos)

    def with_more(self, added: Sequence[ReviewPhoto]) -> "ReviewPhotos":
        """Return the same and photos that were added, which come last."""
        last = (replace(photo, place=place) for place, photo in enumerate(added, len(self)))
        return ReviewPhotos((*self.photos, *last), self.ranges, self.tested)

    def select(
        self, wanted: PhotoFilter, state: Mapping[bytes, Decision], differing: Callable[[bytes], Sequence[Decision]]
    ) -> Iterator[ReviewPhoto]:
        """Yield the photos that are asked for, in order.

        Args:
            wanted: which.
            state: the decision that counts for each photo, by key.
            differing: returns what others said of a photo.
        """
        for photo in self.photos:
            if wanted.reasons and photo.reason not in wanted.reasons:
                continue
            if wanted.undecided and photo.key in state:
                continue
            if wanted.differing and not differing(photo.key):
                continue
            yield photo

    def count(self, state: Mapping[bytes, Decision], differing: Callable[[bytes], Sequence[Decision]]) -> ReviewCounts:
        """Return how far people are."""
        classes: Counter[str] = Counter(dict.fromkeys(self.found_classes, 0))
        decided: Counter[Action] = Counter()
        reasons: dict[Reason, list[int]] = {}
        for photo in self.photos:
            decision = state.get(photo.key)
            both = reasons.setdefault(photo.reason, [0, 0])
            both[0] += 1
            both[1] += decision is None
            if decision is not None:
                decided[decision.action] += 1
            classes.update(label for label in labels_now(photo, decision) if label is not None)
        names = natural_order(name for name in classes)
        return ReviewCounts(
            classes={name: classes[name] for name in names},
            decided=decided,
            reasons={reason: (reasons[reason][0], reasons[reason][1]) for reason in Reason if reason in reasons},
            differing=sum(bool(differing(key)) for key in state if key in self.by_key),
        )


def labels_now(photo: ReviewPhoto, decision: Decision | None) -> tuple[str | None, ...]:
    """Return the classes of a photo and its copies as they count now; None for what has none or is left out."""
    if decision is None:
        return photo.labels
    return (decision.label,) * len(photo.labels)


def name_below(root: Path) -> Callable[[Source], str]:
    """Return what gives the name of a photo as seen from a folder: a/1.jpg, or ../pets-added/2.jpg beside it.

    Where the folder is a link, ".." leads out of what it links to.
    """
    root, real = root.absolute(), root.resolve()

    def relative(path: Path) -> str:
        path = path.absolute()
        return os.path.relpath(path, root) if path.is_relative_to(root) else os.path.relpath(path.resolve(), real)

    def name(source: Source) -> str:
        if isinstance(source, TableCell | ArchiveMember):
            return f"{relative(Path(source.file))}:{source.name}"
        return relative(source) if isinstance(source, Path) else str(source)

    return name
