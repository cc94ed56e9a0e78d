"""Test-time augmentation: the views of a photo that a network is shown when it answers, and their names.

`flip` is the photo and its mirror image; `crops` the photo and its four corners, as Krizhevsky et al. (2012) show
them: squares of 7/8 of the sides. They also mirror these five; here that would be ten passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Place = tuple[float, float]  # of a crop in the resized image: the shares of what is cut off that lie above and left
CENTRE: Place = (0.5, 0.5)
CORNERS: tuple[Place, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
_CORNER_SHARE = 7 / 8  # of the resized image's short side, at most: 224 of 256 pixels


@dataclass(frozen=True)
class ViewPart:
    """Views of a photo that are always shown together; their mean features are kept.

    Attributes:
        places: of the crops, a view each.
        mirrored: left and right change places.
        share: of the resized image that a crop keeps, at most; None for as much as the network's own crop.
        first: the number of the first view, by which training's views are told from these; 0 is the photo itself.
        words: what they are, of many photos.
    """

    words: str
    places: tuple[Place, ...] = (CENTRE,)
    mirrored: bool = False
    share: float | None = None
    first: int = 0

    @property
    def count(self) -> int:
        """Return how many views there are."""
        return len(self.places)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the views: 0 of the photo itself, those of the others below 0."""
        return tuple(self.first - place for place in range(self.count))


PLAIN, MIRRORED, OF_CORNERS = "plain", "mirrored", "corners"
PARTS = {
    PLAIN: ViewPart("photos"),
    MIRRORED: ViewPart("mirror images", mirrored=True, first=-1),
    OF_CORNERS: ViewPart("corners", CORNERS, share=_CORNER_SHARE, first=-2),
}


@dataclass(frozen=True)
class ViewsOfAnswer:
    """What an answer is the mean of.

    Attributes:
        parts: names in `PARTS`.
        words: what they are, for people.
    """

    parts: tuple[str, ...]
    words: str

    @property
    def count(self) -> int:
        """Return how many views there are, the passes that an answer takes."""
        return sum(PARTS[part].count for part in self.parts)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of all views."""
        return tuple(number for part in self.parts for number in PARTS[part].numbers)

    def mean(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return (n, d) means over all views, of the means (n, d) of each part by name."""
        if len(self.parts) == 1:
            return parts[self.parts[0]]  # as it is: 50,000 photos have 256 MB
        total = sum(PARTS[part].count * parts[part] for part in self.parts)
        return np.asarray(total / np.float32(self.count), dtype=np.float32)


NONE, FLIP, CROPS = "none", "flip", "crops"
TTA = {  # in order of cost
    NONE: ViewsOfAnswer((PLAIN,), "the photo alone"),
    FLIP: ViewsOfAnswer((PLAIN, MIRRORED), "the photo and its mirror image"),
    CROPS: ViewsOfAnswer((PLAIN, OF_CORNERS), "the photo and its four corners"),
}


def parts_of(*rows: str) -> tuple[str, ...]:
    """Return the parts, names in `PARTS`, that some rows of `TTA` need, each once.

    >>> parts_of("flip", "crops")
    ('plain', 'mirrored', 'corners')
    """
    return tuple(dict.fromkeys(part for row in rows for part in TTA[row].parts))


def parts_in_words(parts: Sequence[str]) -> str:
    """Return what some parts are, e.g. "photos and mirror images"."""
    return " and ".join(PARTS[part].words for part in parts)


def tta_in_words(tta: str) -> str:
    """Return what an answer is the mean of, e.g. "the mean of 2 views: the photo and its mirror image"."""
    return f"the mean of {TTA[tta].count} views: {TTA[tta].words}"
