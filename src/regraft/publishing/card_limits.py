"""The parts of a model card on what a classifier is for, what its figures do not cover, and its photos."""

from collections.abc import Iterator

import numpy as np

from regraft.classifier.classifier import UNLIKE_LEVEL
from regraft.data.findings import KINDS
from regraft.errors import counted, option
from regraft.evaluation.report import Report
from regraft.markdown import listed, table, text
from regraft.photo_audit.summary import MEANINGS
from regraft.publishing.card_figures import CLASSES_SHOWN
from regraft.publishing.subject import CardSubject

FEW_PHOTOS = 20  # of a class: the interval of its recall is wider than 40 points where half are recognised
_NAMED = 10  # classes in a sentence


def purpose() -> list[str]:
    """Return what a classifier is for, and what it is not for."""
    return [
        "**For** photos of these classes that were taken as those that it learned from: with such cameras, in such "
        "places, of such subjects.",
        "",
        "**Not for** photos of anything else: it answers one of its classes for every photo. And not for decisions on "
        "people, their health or their rights without somebody who looks and answers for it: a classifier is no "
        "diagnosis and no proof.",
    ]


def limits(subject: CardSubject) -> list[str]:
    """Return what the figures do not cover, as a list."""
    return [f"- {line}" for line in (*_places(subject), *_photos(subject), _unlike(subject), _PRIOR)]


_PRIOR = (
    "**Probabilities** hold where the classes are about as frequent as among the photos that evaluated it. Where one "
    "is much rarer, they say it too often."
)


def _places(subject: CardSubject) -> Iterator[str]:
    record = subject.record
    if record is not None and record.by_group:
        what = text(record.group_column) or "group"
        yield (
            f"**Elsewhere.** It was tested on each {what} of its photos after learning from the others; others than "
            f"these {len(record.by_group):,} may differ more. Evaluate it on photos of yours first."
        )
        return
    yield (
        "**Elsewhere.** How it does with another camera, at another place, clinic or time of year was not tested: its "
        "figures are of photos from the same source as those that it learned from. Evaluate it on photos of yours "
        "first."
    )


def _photos(subject: CardSubject) -> Iterator[str]:
    report = subject.report
    if report is None:
        yield "**No figures.** Its file holds none: nothing is known of how good it is."
        return
    counts = {name: report.per_class[name].support for name in report.classes}
    few = [name for name, count in counts.items() if 0 < count < FEW_PHOTOS]
    none = [name for name, count in counts.items() if not count]
    if few and len(few) == len(counts):
        most = counted(max(counts.values()), "photo")
        yield f"**Few photos.** {most} of a class evaluated it at most: see how wide the intervals are."
    elif few:
        names = listed(few, _NAMED)
        yield f"**Few photos**, fewer than {FEW_PHOTOS} of each, evaluated {names}: see how wide their intervals are."
    if none:
        yield f"**No photo** evaluated {listed(none, _NAMED)}."
    if report.never_answered:
        yield f"**Never answered** on these photos: {listed(report.never_answered, _NAMED)}."
    if not report.independent:
        yield (
            "**Photos that belong together** (copies of one photo, or of one group) stand on one side of every split, "
            "and the intervals count them together."
        )


def _unlike(subject: CardSubject) -> str:
    if subject.classifier.reference is None:
        return (
            "**Unlike photos are not noticed.** Its file holds nothing that tells whether a photo is unlike those that "
            "it learned from."
        )
    return (
        f"**Unlike photos are noticed on request.** `regraft predict` with `{option('abstain', True)}` gives no answer "
        f"to a photo that is farther from the training photos than {100 * UNLIKE_LEVEL:.0f} % of these are from each "
        "other. That is one in twenty of the usual photos, too, and no proof that the others are like them."
    )


def photos(subject: CardSubject) -> list[str]:
    """Return which photos were learned from and which evaluated, class by class, and what was left out."""
    record, report, classes = subject.record, subject.report, subject.classifier.classes
    learned = dict(zip(classes, record.class_counts if record is not None else (), strict=False))
    separate = report is not None and report.estimate != "out-of-fold"
    lines = _counts(subject, learned, report if separate or not learned else None)
    if report is not None and not separate:
        lines += [f"{report.n:,} photos evaluated it, each answered by what was learned from the others.", ""]
    if record is not None and record.unreadable:
        lines += [f"{counted(len(record.unreadable), 'file')} could not be read and took no part.", ""]
    return lines[:-1]


def _counts(subject: CardSubject, learned: dict[str, int], evaluated: Report | None) -> list[str]:
    columns = []
    if learned:
        columns.append(("learned from", learned))
    if evaluated is not None:
        columns.append(("evaluated on", {name: one.support for name, one in evaluated.per_class.items()}))
    if not columns:
        return []
    classes = subject.classifier.classes
    if len(classes) > CLASSES_SHOWN:
        told = []
        for words, counts in columns:
            each = np.array([counts[name] for name in classes])
            told.append(f"{each.sum():,} photos were {words}, {each.min():,} to {each.max():,} of a class")
        return [f"{len(classes):,} classes: {'; '.join(told)}.", ""]
    rows = [(text(name), *(f"{counts[name]:,}" for _, counts in columns)) for name in classes]
    total = ("**all**", *(f"**{sum(counts.values()):,}**" for _, counts in columns))
    head = ("class", *(f"photos {words}" for words, _ in columns))
    return [*table(head, [*rows, total], numbers=range(1, len(head))), ""]


def findings(subject: CardSubject) -> list[str]:
    """Return what an audit of the photos found, as a list; nothing where it found nothing."""
    found = () if subject.record is None else subject.record.findings
    if not found:
        return []
    lines = []
    for name in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == name]
        kind = KINDS.get(name)
        title, why = (text(name), "") if kind is None else (kind.title, f" {kind.why}")
        counts = ", ".join(f"{one.count:,} ({one.severity})" for one in own)
        lines.append(f"- {title}: {counts}.{why}")
    severities = "; ".join(f"{severity}: {meaning}" for severity, meaning in MEANINGS.items())
    return [f"What an audit of them found ({severities}):", "", *lines]


def privacy(subject: CardSubject) -> list[str]:
    """Return what the file tells of the photos."""
    named = 0 if subject.record is None else len(subject.record.unreadable)
    held = [
        "the first bytes of a hash of each file and picture and a perceptual hash, by which whoever has such a photo "
        "can tell that it was learned from"
    ]
    if subject.classifier.reference is not None:
        held.append("features of up to 1,000 photos, much reduced")
    if subject.classifier.held_out is not None:
        held.append("the probability of the right class of each photo that evaluated it")
    if named:
        held.append(f"the names of the {counted(named, 'file')} that could not be read")
    return [f"The file holds no photo. Of photos it holds {'; '.join(held)}."]
