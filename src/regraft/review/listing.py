"""All photos of a data set in the order in which people look at them, by what an audit and the classifier say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.data.folders import image_files
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError
from regraft.features.embedding import Embedder
from regraft.images.sources import Source
from regraft.labelling.suggestions import suggest
from regraft.photo_audit.audit import Audit, audit
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos, label_photos
from regraft.progress import Observer
from regraft.review.decision import Action, Decision, name_of_photo
from regraft.review.order import Reason, ReviewItem, review_order
from regraft.review.photos import ReviewPhoto, ReviewPhotos, name_below
from regraft.review.places import ReviewPlaces

_TO_LABEL = 100  # photos without a label that are put in the order in which a classifier learns most from them


@dataclass(frozen=True, eq=False)
class Listing:
    """Photos before anybody looked at them.

    Attributes:
        photos: with the labels that count now: what was decided counts before what was found.
        found: (n,) the labels that they were found with; None without one.
        added: which of them (n,) were added by people.
        left_out: which of them (n,) people left out.
    """

    photos: AuditPhotos
    found: tuple[str | None, ...]
    added: tuple[bool, ...]
    left_out: tuple[bool, ...]


def list_for_review(
    data: str | Path, columns: Columns | None, places: ReviewPlaces, state: Mapping[bytes, Decision]
) -> Listing:
    """Return the photos of a data set, and those that people added to it.

    Args:
        data: a folder or table.
        columns: by which a table is read.
        places: where photos are added.
        state: the decision that counts for each photo. Names say here which photos these are: their contents are not
            known yet.

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
        labels=(*listed.labels, *nothing),
        splits=(*listed.splits, *((split,) * len(added))),
    )
    by_name = {decision.path: decision for decision in state.values()}
    decided = [by_name.get(name) if name else None for name in map(_name, listed.sources)]
    now = tuple(
        label if decision is None else decision.label for label, decision in zip(listed.labels, decided, strict=True)
    )
    return Listing(
        photos=label_photos(replace(listed, labels=now), (*photos.groups, *nothing)),
        found=listed.labels,
        added=(*[False] * len(photos), *[True] * len(added)),
        left_out=tuple(one is not None and one.action is Action.exclude for one in decided),
    )


def _name(source: Source) -> str | None:
    try:
        return name_of_photo(source)
    except OptionError:  # a name that cannot be kept: nothing was decided of it
        return None


def look_at_photos(
    listing: Listing, classifier: Classifier, embedder: Embedder, *, root: Path, compute: Compute, observer: Observer
) -> tuple[ReviewPhotos, tuple[str, ...]]:
    """Return the photos in the order in which they are looked at, and what could not be looked at, in words.

    Args:
        listing: the photos.
        classifier: which says what to label next.
        embedder: makes the features by which photos are compared.
        root: the folder that names in words are relative to.
        compute: device, engine, batch size and cache.
        observer: hears the progress.

    Raises:
        DataError: nothing can be read.
    """
    found = audit(listing.photos, embedder, observer=observer)
    name = name_below(root)
    items = list(_with_additions(review_order(found, name), listing))
    chosen = _to_label(items, found, classifier, compute, observer)
    items = [chosen.get(item.position, item) for item in items]
    first = [item for item in items if item.reason is Reason.unlabelled]
    rank = {position: place for place, position in enumerate(chosen)}
    first.sort(key=lambda item: rank.get(item.position, len(rank)))
    ordered = iter(first)
    items = [next(ordered) if item.reason is Reason.unlabelled else item for item in items]
    return ReviewPhotos(tuple(_by_content(items, found, listing)), found.photos.ranges), found.notes


def _with_additions(items: Sequence[ReviewItem], listing: Listing) -> Iterator[ReviewItem]:
    """Yield items as they are known here: which were added, and which were left out."""
    for item in items:
        bare = item.reason in (Reason.unlabelled, Reason.none)
        if listing.left_out[item.position]:
            yield ReviewItem(item.position, Reason.none, "left out")
        elif listing.added[item.position] and bare:
            yield ReviewItem(item.position, Reason.added, "added by hand", item.suggested)
        else:
            yield item


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
            labels=tuple(listing.found[place] for place in positions[key]),
            split=photos.splits[item.position],
            reason=item.reason,
            words=item.words,
            suggested=item.suggested,
            related=tuple(dict.fromkeys(one for one in related if one and one != key)),
        )
