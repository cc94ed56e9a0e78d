"""The photos of a data set that are nearest to some others, and which of them show the same picture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.data.photo_list import PhotoList, none_readable
from regraft.errors import DataError, printable
from regraft.features.embedding import Embedder, OpenPhotos
from regraft.features.nearest import NearestSearch
from regraft.features.pictures import number_photos
from regraft.images.sources import Source

SAME_FILE, SAME_PICTURE = "same file", "same picture"
_SAMPLE = 256  # photos that teach how alike different ones of the data set are
_DIGITS = 6  # of distances that are written


@dataclass(frozen=True)
class Neighbour:
    """A photo that is near another one.

    Attributes:
        source: the photo.
        distance: 1 - cosine of the two vectors, from 0 to 2.
        label: the name of its class, None where it has none.
        split: "train", "validation" or "test", None where nothing says.
        match: "same file" for equal contents, "same picture" for a copy that was saved again, resized, mirrored, turned
            or edited, "" for another photo.
    """

    source: Source
    distance: float
    label: str | None = None
    split: str | None = None
    match: str = ""

    @property
    def path(self) -> str:
        """Return the name of the photo."""
        return str(self.source)


@dataclass(frozen=True, eq=False)
class SimilarPhotos:
    """The nearest photos of q photos. `print` shows them; `found[0]` holds those of the first one, the nearest first.

    Attributes:
        sources: the q photos.
        neighbours: of each the nearest photos of the data set; none of one that cannot be read.
        errors: why, by position.
        unreadable: photos of the data set that cannot be read, each with the reason.
        computed: how many of all went through the network; the others came from the cache.
    """

    sources: tuple[Source, ...]
    neighbours: tuple[tuple[Neighbour, ...], ...]
    errors: Mapping[int, str] = field(default_factory=dict)
    unreadable: tuple[tuple[Source, str], ...] = ()
    computed: int = 0

    @property
    def photos(self) -> tuple[str, ...]:
        """Return the names of the q photos."""
        return tuple(map(str, self.sources))

    def __len__(self) -> int:
        """Return q."""
        return len(self.sources)

    def __getitem__(self, place: int) -> tuple[Neighbour, ...]:
        """Return the nearest photos of one photo, the nearest first."""
        return self.neighbours[place]

    def __iter__(self) -> Iterator[tuple[Neighbour, ...]]:
        """Yield the nearest photos of each photo."""
        return iter(self.neighbours)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "photos": [
                {
                    "photo": str(source),
                    "nearest": [
                        {
                            "path": one.path,
                            "distance": round(one.distance, _DIGITS),
                            "label": one.label,
                            "split": one.split,
                            "match": one.match or None,
                        }
                        for one in nearest
                    ],
                    "error": self.errors.get(place),
                }
                for place, (source, nearest) in enumerate(zip(self.sources, self.neighbours, strict=True))
            ],
            "unreadable": [str(source) for source, _ in self.unreadable],
            "computed": self.computed,
        }

    def __str__(self) -> str:
        """Return a line for each photo and, indented, one for each of its nearest: distance, label, name, match."""
        lines = []
        labels = [[printable(one.label or "") for one in nearest] for nearest in self.neighbours]
        width = max((len(label) for row in labels for label in row), default=0)
        for place, (source, nearest) in enumerate(zip(self.sources, self.neighbours, strict=True)):
            reason = f": unreadable: {printable(self.errors[place])}" if place in self.errors else ""
            lines.append(f"{printable(source)}{reason}")
            for one, label in zip(nearest, labels[place], strict=True):
                parts = [f"{one.distance:.4f}", *([label.ljust(width)] if width else []), printable(one.path)]
                parts += [f"({one.match})"] if one.match else []
                lines.append("  " + "  ".join(parts))
        return "\n".join(lines)


def find_similar(embedder: Embedder, photos: tuple[Source, ...], data: PhotoList, count: int) -> SimilarPhotos:
    """Return the `count` nearest photos of `data` of each of `photos`.

    Args:
        embedder: makes the vectors that are compared.
        photos: q photos; one that cannot be read has a reason instead.
        data: n photos among which the nearest are looked for; those that cannot be read are left out.
        count: the most that are given; fewer where `data` has fewer.

    Raises:
        DataError: no photo of `data` can be read.
    """
    known, asked = embedder.open(data.sources, photos, labels=data.labels)
    queries = embedder.all_of(asked)
    if not len(queries.positions):
        return SimilarPhotos(asked.sources, ((),) * len(asked), dict(queries.unreadable))
    search = NearestSearch(queries.vectors, [asked.keys[place] for place in queries.positions], count)
    lost: dict[int, str] = {}
    computed = queries.computed
    for block in embedder.blocks(known):
        search.add(block.vectors, [known.keys[place] for place in block.positions], block.positions)
        lost |= block.unreadable
        computed += block.computed
    readable, unreadable = data.without(lost)
    if not readable:
        raise DataError(none_readable(data, unreadable))
    pairs = dict(zip(queries.positions.tolist(), search.positions, strict=True))
    matches = _matches(embedder, asked, known, pairs, set(lost))
    found: list[tuple[Neighbour, ...]] = [()] * len(asked)
    for query, positions, distances in zip(queries.positions, search.positions, search.distances, strict=True):
        found[query] = tuple(
            Neighbour(
                known.sources[place],
                float(distance),
                data.labels[place],
                data.splits[place],
                matches.get((int(query), int(place)), ""),
            )
            for place, distance in zip(positions, distances, strict=True)
        )
    return SimilarPhotos(asked.sources, tuple(found), dict(queries.unreadable), tuple(unreadable), computed)


def _matches(
    embedder: Embedder, asked: OpenPhotos, known: OpenPhotos, pairs: Mapping[int, np.ndarray], lost: set[int]
) -> dict[tuple[int, int], str]:
    """Return what agrees in pairs of a photo and one of its nearest, by their positions.

    Only these are compared, with some photos from everywhere in the data set, which teach how alike different ones are.
    """
    readable = np.array([place for place in range(len(known)) if place not in lost])
    some = readable[np.unique(np.linspace(0, len(readable) - 1, _SAMPLE).astype(np.int64))]
    places = np.unique(np.concatenate([some, *pairs.values()]))
    queries = list(pairs)
    sources = [*(asked.sources[query] for query in queries), *(known.sources[place] for place in places)]
    keys = [*(asked.keys[query] for query in queries), *(known.keys[place] for place in places)]
    ranges = embedder.backbone.preprocess.ranges
    numbers = number_photos(sources, keys, ranges, embedder.compute, embedder.observer)
    of_place = dict(zip(places.tolist(), numbers[len(queries) :].tolist(), strict=True))
    found = {}
    for query, number in zip(queries, numbers[: len(queries)].tolist(), strict=True):
        for place in pairs[query].tolist():
            if known.keys[place] == asked.keys[query]:
                found[query, place] = SAME_FILE
            elif of_place[place] == number:
                found[query, place] = SAME_PICTURE
    return found
