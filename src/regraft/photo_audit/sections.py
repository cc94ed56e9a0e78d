"""The sections of an audit's page: which photos are shown, and what stands below them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.data.findings import KINDS, SEVERITIES, Finding
from regraft.errors import counted
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.comparisons import MOST, Comparison, comparisons
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos
from regraft.photo_audit.shortcuts import CueScore
from regraft.photo_audit.summary import SECTIONS, capital, percent
from regraft.photo_audit.words import FIRST, expected_in_words, short_name

NOTHING = ""  # the severity of a section that has no finding
_GROUPS = {"duplicates": 40, "subject-leak": 20}
_IN_GROUP = 6  # photos of a group that are shown
_IN_STRIP = 24
_WITH_CUE = 6  # photos that have what gives a class away, and as many of the others
_REASONS = 50
_STRIPS = {
    "outlier": "By what the network sees in them, the most unlike first. They may be of something else, or rare.",
    "blurred": "The least sharp first.",
    "dark": "The darkest first.",
    "low-contrast": "The flattest first.",
    "odd-size": "Far smaller than the others, or far longer than wide.",
}
# where two sections are equally severe
_ORDER = ("likely-mislabelled", "shortcut", "duplicates", "subject-leak", *_STRIPS, "unreadable", "imbalance")


@dataclass(frozen=True)
class Tile:
    """A photo of the page.

    Attributes:
        position: of the photo; None for a place that no photo can take.
        name: of its file.
        lines: below it.
    """

    position: int | None
    name: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Strip:
    """Photos side by side.

    Attributes:
        title: above them, "" for none.
        tiles: what is shown.
        more: a sentence: of a group, what is not shown; of a cue, what it is.
        heading: above that sentence, "" for none.
    """

    title: str
    tiles: tuple[Tile, ...]
    more: str = ""
    heading: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its address within the page.
        kind: which part of the template draws it: "labels", "shortcuts", "groups", "strips", "reasons" or "counts".
        title: its heading.
        said: sentences below that.
        severity: of its severest finding, or `NOTHING`.
        strips: photos, in groups.
        more: what is not shown, in words.
        rows: what else the template draws.
    """

    anchor: str
    kind: str
    title: str
    said: tuple[str, ...]
    severity: str
    strips: tuple[Strip, ...] = ()
    more: str = ""
    rows: tuple[Any, ...] = ()

    def positions(self) -> list[int]:
        """Return the photos that are shown, in order."""
        tiles = [tile for row in self.rows if isinstance(row, LabelRow) for tile in (row.photo, *row.beside)]
        tiles += [tile for strip in self.strips for tile in strip.tiles]
        return [tile.position for tile in tiles if tile.position is not None]


@dataclass(frozen=True)
class LabelRow:
    """A label that is likely wrong, beside photos of the classes that it could be of."""

    photo: Tile
    given: str
    suggested: str
    probability: str
    wrong: str
    beside: tuple[Tile, ...]


@dataclass(frozen=True)
class CueRow:
    """How often the class is guessed from one cue; numbers are in percent, for the widths of a bar."""

    name: str
    accuracy: float
    low: float | None
    high: float | None
    chance: float
    named: bool


@dataclass
class PhotoNames:
    """What photos are called on the page: the path below the folder that all of them are in."""

    photos: AuditPhotos
    places: dict[str, int] = field(init=False)
    folder: str = field(init=False)

    def __post_init__(self) -> None:
        """Find the folder."""
        sources = self.photos.sources
        self.places = {str(source): place for place, source in enumerate(sources)}
        self.folder = self.photos.folder

    def of(self, position: int) -> str:
        """Return the name of the photo at a position."""
        return short_name(str(self.photos.sources[position]), self.folder)

    def label(self, position: int) -> str:
        """Return the class of a photo, "" where it has none."""
        label = int(self.photos.labels[position])
        return "" if label == NO_LABEL else self.photos.classes[label]

    def tile(self, file: str, *lines: str) -> Tile:
        """Return the photo called `file`."""
        place = self.places.get(file)
        return Tile(place, file if place is None else self.of(place), tuple(line for line in lines if line))

    def located(self, file: str) -> Tile:
        """Return the photo called `file` with its split and its class."""
        place = self.places[file]
        split = self.photos.splits[place] or ""
        return self.tile(file, ", ".join(part for part in (split, self.label(place)) if part))


def sections(audit: Audit) -> list[Section]:
    """Return the sections of what was found, the severest first."""
    names = PhotoNames(audit.photos)
    found = [_labels(audit, names), _shortcuts(audit, names), *_groups(audit, names), *_strips(audit, names)]
    found += [_unreadable(audit, names), _imbalance(audit)]
    there = [one for one in found if one is not None]
    severities = [*SEVERITIES, NOTHING]
    return sorted(there, key=lambda one: (severities.index(one.severity), _ORDER.index(one.anchor)))


def _of(audit: Audit, anchor: str) -> list[Finding]:
    return [one for one in audit.findings if SECTIONS[one.kind] == anchor]


def _severest(findings: Sequence[Finding]) -> str:
    return min((one.severity for one in findings), key=SEVERITIES.index)


def _rest(number: int, what: str, file: str = "findings.csv") -> str:
    return f"{counted(number, f'more {what}')} {'is' if number == 1 else 'are'} in {file}." if number > 0 else ""


def _labels(audit: Audit, names: PhotoNames) -> Section | None:
    findings = audit.of("likely-mislabelled")
    if not findings or audit.labels is None:
        return None
    expected = capital(expected_in_words(audit.labels, FIRST, audit.answers))
    said = (
        "Each photo was answered by a classifier that had not learned from it. Where that one is surer of another "
        "class than photos of that class are on average, the label is likely wrong.",
        f"{expected}." if expected else "",
        "Beside each photo: the photo of each class that is most like it by what the network sees, of those whose own "
        "labels are not in doubt.",
    )
    rows = tuple(_label_row(one, names) for one in comparisons(audit))
    more = _rest(len(findings) - MOST, "photo", file="likely-mislabelled.csv")
    return Section(
        "likely-mislabelled",
        "labels",
        capital(KINDS["likely-mislabelled"].title),
        said,
        _severest(findings),
        more=more or "All of them are in likely-mislabelled.csv, too.",
        rows=rows,
    )


def _label_row(one: Comparison, names: PhotoNames) -> LabelRow:
    beside = tuple(
        Tile(place, "no other photo" if place is None else names.of(place), (label,)) for label, place in one.nearest
    )
    photo = Tile(one.position, names.of(one.position))
    return LabelRow(photo, one.given, one.suggested, percent(one.probability), percent(one.wrong), beside)


def _shortcuts(audit: Audit, names: PhotoNames) -> Section | None:
    if not audit.cues or audit.answers is None:
        return None
    findings = {str(one.more["cue"]): one for one in audit.of("shortcut")}
    chance = percent(audit.cues[0].chance)
    said = [
        "Something besides the subject may tell the classes apart: how a photo was saved, its size, its border. Each "
        "such cue was tried alone, by a small classifier that sees nothing else of the photos. Whoever guesses is "
        f"right in {chance}."
    ]
    if not findings:
        said.append("None of them is far above that.")
    strips = []
    for score in audit.cues:
        if score.cue.name in findings:
            strips += _with_and_without(score, findings[score.cue.name], audit, names)
    rows = tuple(_cue_row(score, score.cue.name in findings) for score in sorted(audit.cues, key=lambda s: -s.accuracy))
    severity = _severest(list(findings.values())) if findings else NOTHING
    title = capital(KINDS["shortcut"].title) if findings else "Whether anything gives classes away besides the subject"
    return Section("shortcut", "shortcuts", title, tuple(said), severity, tuple(strips), rows=rows)


def _with_and_without(score: CueScore, finding: Finding, audit: Audit, names: PhotoNames) -> list[Strip]:
    """Return photos of the class that have what gives it away, and photos of the others that have not."""
    answers, giveaway = audit.answers, score.giveaway
    assert answers is not None  # or it was no finding
    assert giveaway is not None
    own = answers.dataset.labels == giveaway.label
    name = answers.dataset.classes[giveaway.label]
    strips = []
    chosen = (
        (own & giveaway.has, f"Photos of {name} that have it"),
        (~own & ~giveaway.has, "Photos of other classes that do not"),
    )
    for number, (mask, title) in enumerate(chosen):
        rows = np.flatnonzero(mask)
        # spread over all, as neighbours in a folder may be of one series
        shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(_WITH_CUE, len(rows))).round().astype(int))]
        tiles = []
        for place in answers.positions[shown].tolist():
            tiles.append(Tile(place, names.of(place), () if number == 0 else (names.label(place),)))
        said = (capital(finding.advice), capital(score.cue.name)) if number == 0 else ("", "")
        strips.append(Strip(f"{title}: {len(shown):,} of {len(rows):,}", tuple(tiles), *said))
    return strips


def _cue_row(score: CueScore, named: bool) -> CueRow:
    low, high = (None, None) if score.interval is None else [100 * bound for bound in score.interval]
    return CueRow(capital(score.cue.name), 100 * score.accuracy, low, high, 100 * score.chance, named)


def _groups(audit: Audit, names: PhotoNames) -> list[Section | None]:
    """Return the sections of duplicates and of groups on both sides of a split."""
    said = {
        "duplicates": (
            "Groups that stand in several splits or under several classes come first. A split is a part of the photos "
            "that is kept for one purpose: to learn from (train), or to check what was learned (validation, test).",
        ),
        "subject-leak": ("Photos of one patient, object or series are alike; in several splits, they are no test.",),
    }
    found: list[Section | None] = []
    for anchor, title in (("duplicates", "Copies, and photos of one picture"), ("subject-leak", "")):
        own = _of(audit, anchor)
        if not own:
            continue
        own.sort(key=lambda one: (not one.across, SEVERITIES.index(one.severity)))
        strips = tuple(_group(one, names) for one in own[: _GROUPS[anchor]])
        more = _rest(len(own) - len(strips), "group")
        heading = title or capital(KINDS[anchor].title)
        found.append(Section(anchor, "groups", heading, said[anchor], _severest(own), strips, more))
    return found


def _group(one: Finding, names: PhotoNames) -> Strip:
    files = _of_each_split(one.files, names)[:_IN_GROUP] if one.kind == "subject-leak" else one.files[:_IN_GROUP]
    kinds = {"exact-duplicate": "Equal photos", "near-duplicate": "One picture"}
    title = kinds.get(one.kind) or f"Group {one.more.get('group', '')}"
    across = " and ".join(f"several {what}" for what in one.across) if one.kind in kinds else ""
    left = len(one.files) - len(files)
    return Strip(
        f"{title}, in {across}" if across else title,
        tuple(names.located(file) for file in files),
        f"and {left:,} more" if left else "",
    )


def _of_each_split(files: Sequence[str], names: PhotoNames) -> list[str]:
    """Return files so that the first ones are of all splits in turn."""
    turns: dict[str | None, int] = {}
    ranked = []
    for file in files:
        split = names.photos.splits[names.places[file]]
        turns[split] = turns.get(split, 0) + 1
        ranked.append((turns[split], file))
    return [file for _, file in sorted(ranked, key=lambda pair: pair[0])]


def _strips(audit: Audit, names: PhotoNames) -> list[Section | None]:
    found: list[Section | None] = []
    for kind, said in _STRIPS.items():
        own = audit.of(kind)
        files = [file for one in own for file in one.files]
        if not files:
            continue
        tiles = []
        for file in files[:_IN_STRIP]:
            place = names.places[file]
            header = audit.photos.headers[place] if audit.photos.headers else None
            size = f"{header.width:,} x {header.height:,} pixels" if kind == "odd-size" and header is not None else ""
            tiles.append(names.tile(file, names.label(place), size))
        more = _rest(len(files) - len(tiles), "photo")
        found.append(
            Section(
                kind, "strips", capital(KINDS[kind].title), (said,), _severest(own), (Strip("", tuple(tiles)),), more
            )
        )
    return found


def _unreadable(audit: Audit, names: PhotoNames) -> Section | None:
    own = audit.of("unreadable")
    if not own:
        return None
    files = [(names.tile(file).name, why) for one in own for file, why in one.more.get("reasons", {}).items()]
    more = _rest(len(files) - _REASONS, "file")
    title, said = capital(KINDS["unreadable"].title), (KINDS["unreadable"].why,)
    return Section("unreadable", "reasons", title, said, _severest(own), more=more, rows=tuple(files[:_REASONS]))


def _imbalance(audit: Audit) -> Section | None:
    own = audit.of("imbalance")
    if not own:
        return None
    counts = own[0].more.get("counts", {})
    largest = max(counts.values(), default=1)
    rows = [(name, count, 100 * count / largest) for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    said = tuple(capital(one.advice) for one in own)
    return Section("imbalance", "counts", capital(KINDS["imbalance"].title), said, _severest(own), rows=tuple(rows))
