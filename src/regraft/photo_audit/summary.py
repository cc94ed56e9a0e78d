"""What stands at the head of an audit's page: counts, findings in a table, and what they change in figures."""

from collections import Counter
from collections.abc import Sequence

from regraft.data.findings import HIGH, KINDS, LOW, MEDIUM, SEVERITIES, Finding
from regraft.errors import counted, first_few
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.effects import Effect
from regraft.photo_audit.photos import NO_LABEL

_NAMED = 4
MEANINGS = {HIGH: "it makes figures wrong", MEDIUM: "it may", LOW: "worth a look"}
_WRONG = {
    HIGH: "More likely wrong than right.",
    MEDIUM: "Wrong with a probability of 10 % or more.",
    LOW: "Wrong with a probability of less than 10 %.",
}
# the section of the page that shows a kind of finding
SECTIONS = {kind: kind for kind in KINDS} | {"exact-duplicate": "duplicates", "near-duplicate": "duplicates"}


def percent(value: float) -> str:
    """Return a probability in whole percent; what is rounded to certainty is not called certain.

    >>> percent(0.934), percent(0.9999), percent(0.001)
    ('93 %', 'over 99 %', 'under 1 %')
    """
    if value > 0.995:
        return "over 99 %"
    return "under 1 %" if value < 0.005 else f"{100 * value:.0f} %"


def cards(audit: Audit) -> list[dict[str, str]]:
    """Return the counts that stand first."""
    photos = audit.photos
    splits = Counter(str(name) for name in photos.splits if name is not None)
    by_split = ", ".join(f"{name} {count:,}" for name, count in splits.items())
    found = [{"name": "photos", "value": f"{len(photos):,}", "more": by_split}]
    if photos.classes:
        counts = Counter(photos.labels.tolist())
        named = [f"{name} {counts[place]:,}" for place, name in enumerate(photos.classes)]
        without = f"; {counts[NO_LABEL]:,} without a label" if counts[NO_LABEL] else ""
        more = first_few(named, _NAMED) + without
        found.append({"name": "classes", "value": f"{len(photos.classes):,}", "more": more})
    severities = Counter(one.severity for one in audit.findings)
    by_severity = ", ".join(f"{severities[one]:,} {one}" for one in SEVERITIES if severities[one])
    found.append({"name": "findings", "value": f"{len(audit.findings):,}", "more": by_severity})
    # of a shortcut, all photos of a class may be files: it is a finding of the class
    files = len({file for one in audit.findings if one.kind != "shortcut" for file in one.files})
    share = f"{percent(files / max(len(photos), 1))} of all; shortcuts not counted" if files else ""
    found.append({"name": "photos with a finding", "value": f"{files:,}", "more": share})
    return found


def summary(audit: Audit) -> list[dict[str, str]]:
    """Return a row of the table for each kind of finding and severity, the severest first."""
    rows, seen = [], set()
    for kind, severity in dict.fromkeys((one.kind, one.severity) for one in audit.findings):
        own = [one for one in audit.of(kind) if one.severity == severity]
        why = _WRONG[severity] if kind == "likely-mislabelled" else "" if kind in seen else KINDS[kind].why
        rows.append(
            {
                "severity": severity,
                "what": capital(KINDS[kind].title),
                "why": why,
                "count": _count(own),
                "more": _across(own),
                "to_do": KINDS[kind].to_do,
                "section": SECTIONS[kind],
            }
        )
        seen.add(kind)
    return rows


def _count(own: Sequence[Finding]) -> str:
    kind, files = own[0].kind, len({file for one in own for file in one.files})
    if kind in ("exact-duplicate", "near-duplicate"):
        return f"{counted(files, 'photo')} of {counted(len(own), 'picture')}"
    if kind == "subject-leak":
        return f"{counted(files, 'photo')} of {counted(len(own), 'group')}"
    if kind == "shortcut":
        return counted(len(own), "cue")
    return counted(files, "photo") if files else ""


def _across(own: Sequence[Finding]) -> str:
    if own[0].kind == "subject-leak":
        return ""
    counts = Counter(name for one in own for name in one.across)
    return ", ".join(f"{counts[name]:,} in several {name}" for name in ("classes", "splits") if counts[name])


def effect_rows(effects: Sequence[Effect]) -> list[dict[str, str]]:
    """Return a row for each effect: two accuracies on the same photos, their difference, and what it says."""
    return [
        {
            "what": capital(KINDS[one.kind].title),
            "photos": counted(one.photos, "photo"),
            "first": f"{100 * one.accuracy:.1f} %",
            "first_words": one.first,
            "second": f"{100 * one.other_accuracy:.1f} %",
            "second_words": one.second,
            "difference": f"{_points(one.difference)} points",
            "interval": "not known" if one.interval is None else " to ".join(map(_points, one.interval)),
            "so": _so(one),
        }
        for one in effects
    ]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _so(effect: Effect) -> str:
    """Return what the difference says, which is nothing where its interval has 0 in it."""
    if effect.interval is None:
        return "Too few photos to tell."
    low, high = effect.interval
    if low <= 0 <= high:
        return "No clear change: it may be chance."
    if effect.kind == "shortcut":
        return "Photos that contradict it are answered worse." if high < 0 else "They are answered better."
    if effect.kind == "likely-mislabelled":
        return "Right labels make the classifier better." if low > 0 else "Leaving these photos out costs accuracy."
    return "The first figure is too good." if high < 0 else "The first figure is not too good."


def capital(text: str) -> str:
    """Return a text with a capital at its start."""
    return text[:1].upper() + text[1:]
