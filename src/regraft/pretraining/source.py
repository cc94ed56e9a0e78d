"""A source task: many labelled photos, some of which judge what the others taught."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from regraft.data.audit import (
    Audit,
    check_contradictions_between,
    check_unreadable,
    contradiction_lines,
    contradictions,
    inspect,
    joined_groups,
    known_to,
    unreadable_lines,
    without,
)
from regraft.data.loading import load_batches
from regraft.data.preprocess import Preprocess
from regraft.data.samples import Samples, together
from regraft.data.splits import stratified_folds
from regraft.errors import DataError, shortlist
from regraft.files import MAX_FILE_BYTES
from regraft.heads.probe import Labelled
from regraft.progress import Observer, progress

_MOST_HELD_OUT = 10_000  # photos: their accuracy is then known to a percent
_HELD_OUT = 10  # a tenth of a smaller source
_GLANCE = Preprocess(32, 32, 1.0, "center", "bilinear", (0.0,) * 3, (1.0,) * 3)  # enough to see whether all can be read
_MOST_AMBIGUOUS = 0.01  # share of photos that may stand under two classes


@dataclass(frozen=True, eq=False)
class SourceTask:
    """The photos of a source task.

    Attributes:
        samples: n readable ones.
        keys: their content keys.
        learn: (m,) positions of those that are learned from.
        judge: (k,) positions of those that judge, none of them a copy, or of the group, of one that is learned from.
        judges: where these come from, in words.
    """

    samples: Samples
    keys: tuple[bytes, ...]
    learn: np.ndarray
    judge: np.ndarray
    judges: str

    @property
    def data(self) -> Labelled:
        """Return labels, groups and classes; there are no features yet."""
        groups = joined_groups(self.samples, self.keys)
        blank = np.empty((len(self.keys), 0), dtype=np.float32)
        return Labelled(blank, self.samples.labels, groups, self.samples.classes)


def gather_source_task(
    splits: Mapping[str, Samples], seed: int, observer: Observer, *, max_file_size: int = MAX_FILE_BYTES
) -> SourceTask:
    """Look at every photo once and say which are learned from and which judge.

    Raises:
        DataError: the photos cannot be used.
    """
    if "train" not in splits:
        raise DataError(f"there is nothing to learn from: no train split, only {', '.join(splits) or 'none at all'}.")
    splits["train"].check_trainable()
    parts = [splits["train"]]
    if "validation" in splits:
        parts.append(splits["validation"].aligned(parts[0].classes))
    audits = [inspect(part.sources, max_file_size=max_file_size, say=observer.say) for part in parts]
    readable = _usable(parts, audits, observer)
    if len(readable) == 1:
        return _split(*readable[0], seed)
    copies, related = known_to(readable[0], readable[1])
    samples = together([part for part, _ in readable])
    keys = readable[0][1] + readable[1][1]
    count = len(readable[0][1])
    judge = count + np.flatnonzero(~(copies | related))
    if not len(judge):
        raise DataError(f"{parts[1].where}: every photo of it is also a training photo, so none can judge.")
    return SourceTask(samples, keys, np.arange(count), judge, "the validation photos, which take no part in training")


def _usable(parts: list[Samples], audits: list[Audit], observer: Observer) -> list[tuple[Samples, tuple[bytes, ...]]]:
    """Return samples and content keys without what cannot be read and what stands under two classes.

    A large source has some of both; they are named. Beyond a few, something is wrong with it.
    """
    ambiguous = contradictions(parts, [audit.keys for audit in audits])
    several = {position for positions in ambiguous for position in positions}
    if len(several) > _MOST_AMBIGUOUS * sum(map(len, parts)):
        check_contradictions_between(parts, [audit.keys for audit in audits])
    if ambiguous:
        observer.say(
            f"{len(ambiguous):,} images stand under more than one class and are left out:\n"
            f"{shortlist(contradiction_lines(parts, ambiguous))}"
        )
    found, start = [], 0
    for part, audit in zip(parts, audits, strict=True):
        unreadable = {**audit.unreadable, **_damaged(part, set(audit.unreadable), observer)}
        check_unreadable(part, unreadable)
        for line in [*part.notes, *unreadable_lines(part.sources, unreadable)]:
            observer.say(line)
        left_out = set(unreadable) | {position - start for position in several}
        kept, mask = without(part, {position for position in left_out if 0 <= position < len(part)})
        found.append((kept, tuple(key for key, keep in zip(audit.keys, mask, strict=True) if keep)))
        start += len(part)
    return found


def _damaged(samples: Samples, known: set[int], observer: Observer) -> dict[int, str]:
    """Return the reasons why photos beyond those `known` cannot be decoded, by position.

    Training must not come upon them after hours. JPEGs are decoded at a fraction of their size, which reads all of it.
    """
    places = [place for place in range(len(samples)) if place not in known]
    found: dict[int, str] = {}
    batches = load_batches([samples.sources[place] for place in places], _GLANCE)
    with progress(observer, "looking for damaged photos", len(places)) as advance, closing(batches):
        for batch in batches:
            found |= {places[position]: reason for position, reason in batch.unreadable.items()}
            advance(len(batch.positions) + len(batch.unreadable))
    return found


def _split(samples: Samples, keys: tuple[bytes, ...], seed: int) -> SourceTask:
    count = max(_HELD_OUT, -(-len(samples) // _MOST_HELD_OUT))
    groups = joined_groups(samples, keys)
    folds = stratified_folds(samples.labels, samples.classes, count=count, seed=seed, groups=groups)
    learn, judge = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
    share = len(judge) / len(samples)
    return SourceTask(samples, keys, learn, judge, f"{share:.0%} of the photos, which take no part in training")
