"""All photos of a data set in the order in which people look at them, by what an audit and the classifier say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.data.folders import image_files
from regraft.data.samples import clean_name
from regraft.engines.compute import Compute
from regraft.errors import DataError, first_few
from regraft.features.embedding import Embedder
from regraft.images.sources import Source
from regraft.labelling.suggestions import suggest
from regraft.photo_audit.audit import Audit, audit
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos, label_photos
from regraft.progress import Observer
from regraft.review.decision import Action, Decision
from regraft.review.order import Reason, ReviewItem, review_order
from regraft.review.photos import ReviewPhoto, ReviewPhotos, name_below
from regraft.review.places import ReviewPlaces

_TEST = "test"
_NAMED = 5  # files in a sentence
_TO_LABEL = 100  # photos without a label that are put in the order in which a classifier learns most from them


@dataclass(frozen=True, eq=False)
class Listing:
    """Photos before anybody looked at them.

    Attributes:
        photos: with the labels that they were found with.
        added: which of them (n,) were added by people.
    """

    photos: AuditPhotos
    added: tuple[bool, ...]


def list_for_review(data: str | Path, columns: Columns | None, places: ReviewPlaces) -> Listing:
    """Return the photos of a data set, and those that people added to it.

    Args:
        data: a folder or table.
        columns: by which a table is read.
        places: where photos are added.

    Raises:
        DataError, OptionError: as `find_audit_photos`.
    """
    photos = find_audit_photos(data, columns)
    added = image_files(places.added)[0] if places.added.is_dir() else []
    listed, split = photos.listed, "train" if photos.listed.has_splits else None
    nothing = (None,) * len(added)
    listed = replace(
        listed,
        sources=(*listed.sources, *added),
        labels=(*(label and clean_name(label) for label in listed.labels), *nothing),
        splits=(*listed.splits, *((split,) * len(added))),
    )
    return Listing(label_photos(listed, (*photos.groups, *nothing)), (*[False] * len(photos), *[True] * len(added)))


def look_at_photos(
    listing: Listing,
    state: Mapping[bytes, Decision],
    classifier: Classifier,
    embedder: Embedder,
    *,
    root: Path,
    compute: Compute,
    observer: Observer,
) -> tuple[ReviewPhotos, tuple[str, ...]]:
    """Return the photos in the order in which they are looked at, and what could not be looked at, in words.

    Args:
        listing: the photos.
        state: the decision that counts for each photo: by these labels it is judged what may be wrong.
        classifier: which says what to label next.
        embedder: makes the features by which photos are compared.
        root: the folder that names in words are relative to.
        compute: device, engine, batch size and cache.
        observer: hears the progress.

    Raises:
        DataError: nothing can be read.
    """
    found = audit(listing.photos, embedder, observer=observer, corrected=lambda seen: _as_decided(seen, state))
    name, tested = name_below(root), _tested(found.photos)
    excluded = {key for key, one in state.items() if one.action is Action.exclude}
    items = [
        _as_known_here(item, added=listing.added[item.position], excluded=found.photos.keys[item.position] in excluded)
        for item in review_order(found, name)
        if not (listing.added[item.position] and found.photos.keys[item.position] in tested)
    ]
    chosen = _to_label(items, found, classifier, compute, observer)
    items = [chosen.get(item.position, item) for item in items]
    first = [item for item in items if item.reason is Reason.unlabelled]
    rank = {position: place for place, position in enumerate(chosen)}
    first.sort(key=lambda item: rank.get(item.position, len(rank)))
    ordered = iter(first)
    items = [next(ordered) if item.reason is Reason.unlabelled else item for item in items]
    photos = ReviewPhotos(tuple(_by_content(items, found, listing)), found.photos.ranges, tested)
    return photos, (*found.notes, *_unreadable(found.photos, name))


def _as_decided(photos: AuditPhotos, state: Mapping[bytes, Decision]) -> AuditPhotos:
    """Return photos that were opened with the labels that decisions give their contents; not those of a test split."""
    seen = zip(photos.keys, photos.listed.labels, photos.splits, strict=True)
    labels = tuple(state[key].label if key in state and split != _TEST else label for key, label, split in seen)
    now = label_photos(replace(photos.listed, labels=labels), photos.groups)
    return replace(photos, listed=now.listed, classes=now.classes, labels=now.labels)


def _tested(photos: AuditPhotos) -> frozenset[bytes]:
    """Return the keys of the photos of a test split."""
    return frozenset(key for key, split in zip(photos.keys, photos.splits, strict=True) if key and split == _TEST)


def _unreadable(photos: AuditPhotos, name: Callable[[Source], str]) -> list[str]:
    """Return in words which photos are not shown."""
    lost = [place for place in photos.unreadable if photos.splits[place] != _TEST]
    if not lost:
        return []
    files = first_few([f"{name(photos.sources[place])} ({photos.unreadable[place]})" for place in lost], _NAMED)
    return [f"{len(lost):,} of {len(photos):,} photos cannot be read, and are not shown: {files}"]


def _as_known_here(item: ReviewItem, *, added: bool, excluded: bool) -> ReviewItem:
    """Return an item as it is known here: whether it was added, and whether people left it out."""
    if excluded:
        return ReviewItem(item.position, Reason.none, "left out")
    if added and item.reason in (Reason.unlabelled, Reason.none):
        return ReviewItem(item.position, Reason.added, "added by hand", item.suggested)
    return item


def _to_label(
    items: Sequence[ReviewItem], found: Audit, classifier: Classifier, compute: Compute, observer: Observer
) -> dict[int, ReviewItem]:
    """Return by position the photos to label next, the first ones first; none where all have labels."""
    places = [item.position for item in items if item.reason is Reason.unlabelled]
    if not places:
        return {}
    nothing = (None,) * len(places)
    part = label_photos(found.photos.listed.select(places), nothing)
    try:
        chosen = suggest(classifier, part, _TO_LABEL, compute=compute, observer=observer)
    except DataError:  # none can be read, or the classifier knows them all
        return {}
    place_of = {source: place for place, source in zip(places, part.sources, strict=True)}
    return {
        place_of[one.source]: ReviewItem(
            place_of[one.source],
            Reason.unlabelled,
            f"to label next: {one.guess} {one.probability:.0%}, {one.second} {one.probability - one.margin:.0%}",
            one.guess,
        )
        for one in chosen
    }


def _by_content(items: Sequence[ReviewItem], found: Audit, listing: Listing) -> Iterator[ReviewPhoto]:
    """Yield each content once, where its first photo stands."""
    photos = found.photos
    positions: dict[bytes, list[int]] = {}
    for item in items:
        positions.setdefault(photos.keys[item.position], []).append(item.position)
    seen: set[bytes] = set()
    for item in items:
        key = photos.keys[item.position]
        if key in seen:
            continue
        seen.add(key)
        related = (photos.keys[place] for place in item.related)
        yield ReviewPhoto(
            key=key,
            place=len(seen) - 1,
            sources=tuple(photos.sources[place] for place in positions[key]),
            labels=tuple(listing.photos.listed.labels[place] for place in positions[key]),
            split=photos.splits[item.position],
            reason=item.reason,
            words=item.words,
            suggested=item.suggested,
            related=tuple(dict.fromkeys(one for one in related if one and one != key)),
        )
