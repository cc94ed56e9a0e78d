"""What a photo's class could be guessed from without its subject: its file, its border, its colours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from regraft.files import size_in_words
from regraft.images.headers import Header
from regraft.images.measures import MEASURES, column

_EPOCH = datetime(1970, 1, 1)  # Windows knows no time before it
_WORDS = {measure.name: measure.words for measure in MEASURES}
Text = Callable[[float], str]


@dataclass(frozen=True, eq=False)
class Names:
    """A property that is one of several names.

    Attributes:
        values: (n,) the name of each photo; "" where it has none.
        said: makes words of a name, after "<share> of the class".
    """

    values: np.ndarray
    said: Callable[[str], str]


@dataclass(frozen=True, eq=False)
class Numbers:
    """A property that is a number.

    Attributes:
        values: (n,) float64; NaN where a photo has none.
        said: makes words of "at most" or "at least" and a number, after "<share> of the class".
    """

    values: np.ndarray
    said: Callable[[str, float], str]


Property = Names | Numbers


@dataclass(frozen=True, eq=False)
class Cue:
    """Properties that are tried together, as one way to guess the class without its subject.

    Attributes:
        name: as people call it.
        of_file: they are of the file or the camera, which no subject changes; else of pixels, or of how well these are
            compressed, which one may.
        properties: one or several.
    """

    name: str
    of_file: bool
    properties: tuple[Property, ...]


def file_cues(headers: Sequence[Header | None]) -> list[Cue]:
    """Return the cues that photos' headers give, (n,); those that tell no two photos apart are left out."""
    known = [header or Header(0, 0) for header in headers]
    taken = np.array([np.nan if one.taken is None else one.taken for one in known], dtype=np.float64)
    sizes = np.array([np.nan if one.size is None else one.size for one in known], dtype=np.float64)
    widths, heights = (np.array([getattr(one, side) for one in known], dtype=float) for side in ("width", "height"))
    both = _names([f"{one.width:,} x {one.height:,}" for one in known], lambda value: f"are {value} pixels")
    dimensions = (
        both,
        Numbers(widths, lambda bound, value: f"are {bound} {value:,.0f} pixels wide"),
        Numbers(heights, lambda bound, value: f"are {bound} {value:,.0f} pixels high"),
    )
    cues = [
        Cue("file format", True, (_names([f"{one.format} {one.mode}".strip() for one in known], "are {}".format),)),
        Cue("dimensions", True, dimensions),
        Cue("file size", False, (Numbers(sizes, lambda b, value: f"have {b} {size_in_words(int(value))}"),)),
        Cue("JPEG tables", True, (_names([one.tables for one in known], "are JPEGs of {}".format),)),
        Cue("camera", True, (_names([one.camera for one in known], "were taken with {}".format),)),
        Cue("date", True, (Numbers(taken, _taken),)),
    ]
    return [cue for cue in cues if any(map(_varies, cue.properties))]


def pixel_cues(measures: np.ndarray) -> list[Cue]:
    """Return the cues that `images.measures` (n, m) give."""
    groups = {
        "border": ("border_brightness", "border_evenness", "border_edge", "border_red", "border_blue"),
        "corners": ("corner_detail", "corner_contrast"),
        "mean colour": ("red", "green", "blue"),
        "background": (
            "background_brightness",
            "background_contrast",
            "background_red",
            "background_blue",
            "background_detail",
        ),
    }
    return [Cue(name, False, tuple(_measure(measures, each) for each in members)) for name, members in groups.items()]


def _measure(measures: np.ndarray, name: str) -> Numbers:
    words = _WORDS[name]
    return Numbers(
        column(measures, name).astype(np.float64), lambda bound, value: f"have a {words} of {bound} {value:.0f}"
    )


def _names(values: Sequence[str], said: Callable[[str], str]) -> Names:
    return Names(np.array(values, dtype=object), said)


def _taken(bound: str, seconds: float) -> str:
    day = (_EPOCH + timedelta(seconds=seconds)).date().isoformat()
    return f"were taken {'until' if bound == 'at most' else 'from'} {day}{'' if bound == 'at most' else ' on'}"


def _varies(one: Property) -> bool:
    if isinstance(one, Names):
        return len(set(one.values.tolist())) > 1
    known = one.values[~np.isnan(one.values)]
    return len(known) > 0 and (len(known) < len(one.values) or bool(np.ptp(known) > 0))
