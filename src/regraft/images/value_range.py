"""Which values are black and white in photos of more than 8 bits: one range for all photos of a data set."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from regraft.errors import option, shortlist

Range = tuple[float, float]  # the values of black and of white
Ranges = tuple[tuple[str, float, float], ...]  # by kind of number: (kind, black, white)

FULL = (0.0, 65535.0)
FIXED: Mapping[str, Range] = {"uint12": (0.0, 4095.0), "scaled": FULL}  # which the photo's format states
FLAT = 8  # grey levels of 255: a photo of fewer has next to no contrast
_SMALL, _MANY = 4, 10  # so many photos that take no more than a quarter of a range are stored with fewer bits
_EXTREME = 4  # single pixels that widen a range by this factor or more are outliers
_WORDS = {
    "uint12": "12-bit integers",
    "uint16": "16-bit integers",
    "uint32": "32-bit integers",
    "int8": "signed 8-bit integers",
    "int16": "signed 16-bit integers",
    "int32": "signed 32-bit integers",
    "float32": "floats",
    "scaled": "integers of more than 8 bits whose largest is in the file",
}
KINDS = tuple(_WORDS)


@dataclass(frozen=True)
class Extent:
    """Between which values the pixels of one photo of more than 8 bits are.

    Attributes:
        kind: of number, one of `KINDS`.
        low: the least value.
        high: the largest.
        near: the same without one pixel in 10,000 at either end.
        whole: whether all are whole numbers.
        stated: the range that the file states, if it does.
    """

    kind: str
    low: float
    high: float
    near: Range
    whole: bool = True
    stated: Range | None = None


def range_of(extents: Sequence[Extent]) -> tuple[Range, str]:
    """Return the range of photos of one kind, and in words what it comes from.

    It is what the format states, or what all files state alike; else that of their values: from 0 to 1 where all are in
    it; of whole numbers from 0 to the least power of two, minus one, that holds the largest; of others from 0 to the
    largest; from the least to the largest where some are negative. Single pixels far off do not count.
    """
    kind, low, high = extents[0].kind, min(one.near[0] for one in extents), max(one.near[1] for one in extents)
    if kind in FIXED:
        return FIXED[kind], "as their format states"
    stated = {one.stated for one in extents}
    found = next(iter(stated))
    if len(stated) == 1 and found is not None and found[0] <= low and high <= found[1]:
        return found, "as their files state"
    limits = [value for span in stated if span is not None for value in span]
    low, high = min([low, *limits]), max([high, *limits])
    all_low, all_high = min([low, *(one.low for one in extents)]), max([high, *(one.high for one in extents)])
    whole = all(one.whole for one in extents)
    near, every = _rounded(kind, (low, high), whole=whole), _rounded(kind, (all_low, all_high), whole=whole)
    if _EXTREME * (near[0][1] - near[0][0]) <= every[0][1] - every[0][0]:
        return near[0], f"{near[1]}, but for single pixels"
    return every


def _rounded(kind: str, values: Range, *, whole: bool) -> tuple[Range, str]:
    low, high = values
    if low < 0:
        return (low, max(high, low + 1)), "their least and largest value"
    if kind == "float32" and high <= 1:
        return (0.0, 1.0), "as all are in between"
    if not whole:
        return (0.0, high), "the largest value"
    bits = max(8, int(high).bit_length())
    return (0.0, float((1 << bits) - 1)), f"as the largest takes {bits} bits"


def span_of(kind: str, ranges: Ranges) -> Range | None:
    """Return the values of black and white for a kind of number, None where they are not known."""
    known = {name: (low, high) for name, low, high in ranges}
    return known.get(kind, FIXED.get(kind))


def choose_ranges(
    photos: Iterable[tuple[object, Extent]],
    *,
    given: Range | None = None,
    known: Ranges = (),
    say: Callable[[str], object],
) -> Ranges:
    """Return `known` ranges, with those of kinds that are not in it or are stored otherwise, and say what each is.

    Args:
        photos: those of more than 8 bits, by their names.
        given: the user's choice for all kinds.
        known: what a classifier was trained with.
        say: hears what is black and white, and of photos with next to no contrast.
    """
    kinds: dict[str, list[tuple[object, Extent]]] = defaultdict(list)
    for name, extent in photos:
        kinds[extent.kind].append((name, extent))
    if given is not None and not kinds:
        say(f"no photo here has more than 8 bits: {option('Compute.value_range')} changes nothing.")
    chosen = {kind: (low, high) for kind, low, high in known}
    for kind, found in sorted(kinds.items()):
        extents = [extent for _, extent in found]
        span, why = _choose(extents, given, chosen.get(kind))
        number = f"{len(found):,} photo{'' if len(found) == 1 else 's'}"
        others = "" if kind == "scaled" else f" {option('Compute.value_range')} sets others."
        what = f"{_number(span[0])} becomes black and {_number(span[1])} white"
        say(f"{_WORDS[kind]} in {number}: {what}, {why}.{others}")
        _report(found, span, say)
        if kind != "scaled":
            chosen[kind] = span
    return tuple((kind, low, high) for kind, (low, high) in sorted(chosen.items()))


def _choose(extents: Sequence[Extent], given: Range | None, known: Range | None) -> tuple[Range, str]:
    kind = extents[0].kind
    if given is not None and kind != "scaled":
        return (float(given[0]), float(given[1])), f"as {option('Compute.value_range')} says"
    found, why = range_of(extents)
    if known is None:
        return found, why
    was = f"{_number(known[0])} to {_number(known[1])} when the classifier was made"
    shared = min(found[1], known[1]) - max(found[0], known[0])
    if shared < (found[1] - found[0]) / 2:
        return found, f"{why}; it was {was}, and these go far beyond"
    if known[0] == found[0] == 0 and _SMALL * found[1] <= known[1]:  # not of measures with a zero of their own, as CT
        if len(extents) >= _MANY or found == (0.0, 1.0):
            return found, f"{why}; it was {was}, of which these take a small part"
        return known, "as when the classifier was made, though only a small part of it is taken here"
    return known, "as when the classifier was made"


def _report(photos: Sequence[tuple[object, Extent]], span: Range, say: Callable[[str], object]) -> None:
    """Name photos that are beyond the range in part, and those that have next to no contrast in it."""
    beyond = [str(name) for name, extent in photos if extent.low < span[0] or extent.high > span[1]]
    if beyond:
        have = "photo has" if len(beyond) == 1 else "photos have"
        say(f"{len(beyond):,} {have} values beyond, which become black or white, too:\n{shortlist(beyond)}")
    flat = [name for name, extent in photos if _levels(extent, span) < FLAT]
    if flat:
        say(flat_in_words(flat, remedy=f"Look at them, or set {option('Compute.value_range')}"))


def flat_in_words(names: Sequence[object], *, remedy: str = "Look at them") -> str:
    """Return the finding that these photos have next to no contrast."""
    have = "photo has" if len(names) == 1 else "photos have"
    return (
        f"{len(names):,} {have} next to no contrast, fewer than {FLAT} of 256 grey levels. "
        f"{remedy}:\n{shortlist([str(name) for name in names])}"
    )


def _levels(extent: Extent, span: Range) -> float:
    """Return how many of 255 grey levels there are between the darkest and the brightest part of a photo."""
    low, high = (min(max(value, span[0]), span[1]) for value in extent.near)
    return 255 * (high - low) / (span[1] - span[0])


def _number(value: float) -> str:
    """Return a value for people.

    >>> _number(4095.0), _number(-1000.0), _number(0.25)
    ('4,095', '-1,000', '0.25')
    """
    return f"{value:,.0f}" if value == math.floor(value) else f"{value:,.6g}"
