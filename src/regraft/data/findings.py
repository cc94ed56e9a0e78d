"""What an audit finds in photos: data, never deletions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

HIGH, MEDIUM, LOW = "high", "medium", "low"
SEVERITIES = (HIGH, MEDIUM, LOW)


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: as JSON and tables have it.
        title: for people, of several of them.
        why: one sentence on what it does to figures or to a classifier.
        to_do: one sentence on what to do.
        together: one finding lists all photos of this kind.
    """

    name: str
    title: str
    why: str
    to_do: str
    together: bool = False


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "unreadable",
            "files that cannot be read",
            "They are left out of everything.",
            "Copy them again, or leave them out.",
            together=True,
        ),
        Kind(
            "exact-duplicate",
            "copies of one photo",
            "A copy that is learned from and evaluated on makes figures too good.",
            "Keep one of each.",
        ),
        Kind(
            "near-duplicate",
            "photos that show the same picture",
            "Saved again, resized, mirrored, turned, edited or cut out: what was learned by heart is taken for skill.",
            "Keep one of each, or all of them in one split.",
        ),
        Kind(
            "subject-leak",
            "groups on both sides of a split",
            "Photos of one patient or object in training and in what evaluates make figures too good.",
            "Move all photos of a group into one split.",
        ),
        Kind(
            "likely-mislabelled",
            "labels that are likely wrong",
            "They teach mistakes, and count right answers as wrong.",
            "Look at them in this order, and correct those that are wrong.",
        ),
        Kind(
            "shortcut",
            "cues that give classes away besides the subject",
            "A classifier may learn it instead of the subject, and fail wherever it is absent.",
            "Save or collect all classes alike, or evaluate on photos from elsewhere.",
        ),
        Kind(
            "outlier",
            "photos unlike all others of their class",
            "They may be of something else.",
            "Look whether they are of what the others are.",
            together=True,
        ),
        Kind(
            "imbalance",
            "classes of few photos, or of very different size",
            "Accuracy then says little about the small ones.",
            "Judge by each class's own figures; add photos of the small ones.",
        ),
        Kind(
            "odd-size",
            "photos of an unusual size or shape",
            "They are enlarged or squeezed to the network's size.",
            "Look whether they are whole photos.",
            together=True,
        ),
        Kind(
            "low-contrast",
            "photos with next to no contrast",
            "There may be nothing to see in them.",
            "Look whether there is anything to see.",
            together=True,
        ),
        Kind(
            "blurred",
            "photos that are less sharp than the others",
            "Details that tell classes apart may be gone.",
            "Look whether they are out of focus.",
            together=True,
        ),
        Kind(
            "dark",
            "photos that are nearly black",
            "There may be nothing to see in them.",
            "Look whether there is anything to see.",
            together=True,
        ),
    )
}
IN_GROUPS = ("exact-duplicate", "near-duplicate", "subject-leak")  # kinds whose findings list one group each
WITHOUT_NAMES = ("shortcut", "imbalance")  # kinds whose advice names classes and no photo


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: a name of `KINDS`.
        severity: "high" for what makes figures wrong, "medium" for what may, "low" for what is worth a look.
        files: names of the photos, the most telling first; of duplicates those of one picture.
        advice: what it is, and what to do, in words.
        across: "splits", "classes" or both, where a group of duplicates has photos on both sides.
        more: further JSON values, by name: "suggested", "probability".
    """

    kind: str
    severity: str
    files: tuple[str, ...]
    advice: str
    across: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        across = {"across": list(self.across)} if self.across else {}
        known = {"kind": self.kind, "severity": self.severity, "files": list(self.files), "advice": self.advice}
        return known | across | dict(self.more)


@dataclass(frozen=True)
class FindingCount:
    """How much was found of one kind, without the names of photos: what a classifier's file keeps.

    Attributes:
        kind: a name of `KINDS`.
        severity: of `SEVERITIES`.
        count: findings; of those that list photos, photos.
        said: in words, where that names no photo; "" otherwise.
    """

    kind: str
    severity: str
    count: int
    said: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "FindingCount":
        """Return what `to_json` gave."""
        return cls(found["kind"], found["severity"], found["count"], found.get("said", ""))


def counts_of(findings: Sequence[Finding]) -> tuple[FindingCount, ...]:
    """Return how much was found of each kind and severity, in their order."""
    found = []
    for kind, severity in dict.fromkeys((one.kind, one.severity) for one in findings):
        own = [one for one in findings if (one.kind, one.severity) == (kind, severity)]
        said = " ".join(one.advice for one in own) if kind in WITHOUT_NAMES else ""
        count = len(own) if len(own) > 1 or kind in WITHOUT_NAMES else len(own[0].files)
        found.append(FindingCount(kind, severity, count, said))
    return tuple(found)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with the severest first, of equal ones those of one kind together, as they came."""
    kinds = list(KINDS)
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), kinds.index(one.kind)))
