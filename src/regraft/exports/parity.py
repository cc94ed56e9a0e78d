"""Whether an exported file answers as the classifier does, from the bytes of photos on.

The file is run as other programs run it: photos are decoded by Pillow alone, turned upright, and given to the graph.
The reference is what `Predictor` answers in float32, with regraft's own decoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.photo_list import PhotoList
from regraft.engines.compute import Compute
from regraft.engines.kinds import REFERENCE
from regraft.errors import DataError, ExportError, option, shortlist
from regraft.exports.formats import ExportedGraph
from regraft.images.depth import depth_of
from regraft.images.reading import UnreadableImageError, errors_as_reasons, open_image
from regraft.images.sources import Source
from regraft.progress import Observer, progress
from regraft.runtime import MANY_PHOTOS

MOST_PHOTOS = 100  # that an export is compared on: enough for its purpose, and Pillow resizes so few in `predict`
TOLERANCE = 1e-3  # that no probability may differ by
_REDUCTIONS = (8, 4, 2)
_IN_MESSAGE = 5

assert MOST_PHOTOS < MANY_PHOTOS


@dataclass(frozen=True)
class Parity:
    """How an exported file's answers and those of the classifier differ.

    Attributes:
        photos: that both answered.
        same: of these, with the same most probable class.
        largest: difference of a probability.
        made: whether the photos were made up.
        differing: photos whose most probable class is another.
    """

    photos: int
    same: int
    largest: float
    made: bool = False
    differing: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether no answer differs, and no probability by more than `TOLERANCE`."""
        return self.same == self.photos and self.largest <= TOLERANCE

    def __str__(self) -> str:
        """Return what was found, in words."""
        kind = "made photo" if self.made else "photo"
        plural = "" if self.photos == 1 else "s"
        return (
            f"compared with the classifier on {self.photos:,} {kind}{plural}, from their files on: the same answer for "
            f"{self.same:,}, largest difference of a probability {self.largest:.1g}"
        )

    def check(self, name: str) -> None:
        """Raise `ExportError` unless it holds; `name` is the format's."""
        if self.holds:
            return
        lost = f"\nother answers:\n{shortlist(self.differing, _IN_MESSAGE)}" if self.differing else ""
        raise ExportError(
            f"the {name} file does not answer as the classifier does, and was removed: {self}; {TOLERANCE:g} is "
            f"allowed, and no other answer. Write another format ({option('to')}).{lost}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"photos": self.photos, "same": self.same, "largest_difference": self.largest, "made_photos": self.made}


def decode_by_pillow(source: Source, least: tuple[int, int]) -> np.ndarray | None:
    """Return an upright photo (1, h, w, 3), uint8, as a program that knows Pillow alone reads it; None if it cannot.

    It cannot where there are more than 8 bits: which of them to take is regraft's knowledge.

    Args:
        source: of the photo.
        least: (height, width) that a JPEG keeps that is decoded at a half, a quarter or an eighth.

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    with errors_as_reasons(), open_image(source) as (image, _):
        if depth_of(image) is not None:
            return None
        for factor in _REDUCTIONS:
            height, width = image.height // factor, image.width // factor
            exact = (height * factor, width * factor) == (image.height, image.width)
            if exact and height >= least[0] and width >= least[1]:
                image.draft(None, (width, height))
                break
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return np.array(upright.convert("RGB"))[None]  # a copy, which may be written to, as PyTorch wants it


@dataclass(frozen=True, eq=False)
class Reference:
    """What a classifier answers in float32, photo by photo.

    Attributes:
        photos: n that it and Pillow can read.
        probabilities: (n, c).
        deep: how many photos of more than 8 bits were left out.
    """

    photos: PhotoList
    probabilities: np.ndarray
    deep: int = 0

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return the n photos."""
        return self.photos.sources

    def select(self, positions: Sequence[int]) -> "Reference":
        """Return that of the photos at these positions."""
        return Reference(self.photos.select(positions), self.probabilities[list(positions)])


def reference_of(classifier: Classifier, photos: PhotoList, observer: Observer) -> Reference:
    """Return what the classifier answers. Photos that cannot be read are left out.

    Raises:
        DataError: none can be read.
    """
    predictor = Predictor(classifier, Compute(device="cpu", engine=REFERENCE, cache=False))
    parts: list[np.ndarray] = []
    unreadable: dict[int, str] = {}
    with progress(observer, "answers of the classifier", len(photos)) as advance:
        for start in range(0, len(photos), MOST_PHOTOS):
            found = predictor.predict(photos.sources[start : start + MOST_PHOTOS])
            parts.append(found.probabilities)
            unreadable |= {start + place: reason for place, reason in found.unreadable.items()}
            advance(len(found.probabilities))
    readable = [place for place in range(len(photos)) if place not in unreadable]
    plain = [place for place in readable if not _is_deep(photos.sources[place])]
    if not plain:
        raise DataError(
            f"{option('check')}: photos that can be compared are needed, and none is. Of {len(photos):,} found none "
            "can be read and has 8 bits or fewer. Name others."
        )
    return Reference(photos.select(plain), np.concatenate(parts)[plain], len(readable) - len(plain))


def _is_deep(source: Source) -> bool:
    with open_image(source) as (image, _):
        return depth_of(image) is not None


def answers_of_graph(
    graph: ExportedGraph, sources: Sequence[Source], least: tuple[int, int], observer: Observer, title: str
) -> np.ndarray:
    """Return (n, c) probabilities of photos, one at a time.

    Raises:
        ExportError: Pillow alone cannot decode one that regraft can.
    """
    found = []
    with progress(observer, title, len(sources)) as advance:
        for source in sources:
            try:
                pixels = decode_by_pillow(source, least)
            except UnreadableImageError as error:
                raise ExportError(f"{source} cannot be compared: {error}. Name other photos.") from None
            assert pixels is not None  # `reference_of` has left it out
            found.append(graph(pixels))
            advance(1)
    return np.concatenate(found)


def check_batch(graph: ExportedGraph, sources: Sequence[Source], least: tuple[int, int], name: str) -> None:
    """Raise `ExportError` where photos that are given together are answered otherwise than one by one.

    The first two are taken, cut to one size.

    Args:
        graph: the file, which takes any number of photos.
        sources: n photos that Pillow can read; a single one is taken twice.
        least: see `decode_by_pillow`.
        name: of the format.
    """
    read = [decode_by_pillow(source, least) for source in (sources[0], sources[min(1, len(sources) - 1)])]
    two = [pixels for pixels in read if pixels is not None]
    height, width = (min(pixels.shape[axis] for pixels in two) for axis in (1, 2))
    batch = np.concatenate([pixels[:, :height, :width] for pixels in two])
    single = np.concatenate([graph(batch[place : place + 1]) for place in range(len(batch))])
    difference = float(np.abs(graph(batch) - single).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the {name} file answers photos that are given together otherwise than one by one, and was removed: a "
            f"probability differs by {difference:.1g}, and {TOLERANCE:g} is allowed. Write another format "
            f"({option('to')})."
        )


def compare(
    graph: ExportedGraph, reference: Reference, least: tuple[int, int], observer: Observer, *, made: bool = False
) -> Parity:
    """Return how a file's answers and those of the classifier differ. See `decode_by_pillow`."""
    found = answers_of_graph(graph, reference.sources, least, observer, "answers of the exported file")
    top = found.argmax(axis=1), reference.probabilities.argmax(axis=1)
    other = np.flatnonzero(top[0] != top[1])
    return Parity(
        photos=len(found),
        same=len(found) - len(other),
        largest=float(np.abs(found - reference.probabilities).max()),
        made=made,
        differing=tuple(str(reference.sources[place]) for place in other),
    )


def evenly(count: int, most: int = MOST_PHOTOS) -> list[int]:
    """Return at most so many positions of `count` photos, evenly drawn from their order: there are some of each class.

    >>> evenly(5, 2), evenly(2, 5)
    ([0, 2], [0, 1])
    """
    return [place * count // most for place in range(most)] if count > most else list(range(count))
