"""How the report words figures and names."""

from collections.abc import Iterable, Sequence

NAMED = 5  # of a list of names
HOW = {  # photos were answered, by estimate
    "out-of-fold": "each photo was answered by a classifier that had not learned from it.",
    "validation": "none of these photos was learned from.",
    "test": "none of these photos was learned from.",
}


def listed(names: Sequence[str]) -> str:
    """Return "ants and bees", or the first few and how many more.

    >>> listed(["ants", "bees", "wasps"]), listed(list("abcdefg"))
    ('ants, bees and wasps', 'a, b, c and 4 more classes')
    """
    if len(names) > NAMED:
        return f"{', '.join(names[:3])} and {len(names) - 3:,} more classes"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def value_in_words(value: float | None, *, share: bool) -> str:
    """Return a figure, in percent if it is a share.

    >>> value_in_words(0.5, share=True), value_in_words(0.5, share=False), value_in_words(None, share=True)
    ('50.0 %', '0.500', 'not defined')
    """
    if value is None:
        return "not defined"
    return f"{100 * value:.1f} %" if share else f"{value:.3f}"


def interval_in_words(bounds: Sequence[float] | None, *, share: bool) -> str:
    """Return the bounds of a figure, in percent if it is a share.

    >>> interval_in_words((0.25, 0.75), share=True), interval_in_words(None, share=False)
    ('25.0 to 75.0 %', 'not known')
    """
    if bounds is None:
        return "not known"
    low, high = bounds
    return f"{100 * low:.1f} to {100 * high:.1f} %" if share else f"{low:.3f} to {high:.3f}"


def points_in_words(difference: float) -> str:
    """Return a difference of shares in points.

    >>> points_in_words(0.0123), points_in_words(-0.2)
    ('+1.2 points', '-20.0 points')
    """
    return f"{100 * difference:+.1f} points"


def bar_in_percent(value: float, interval: Sequence[float] | None) -> dict[str, float | None]:
    """Return how long a bar of the page is, and where the interval on it begins and ends; None without one.

    >>> bar_in_percent(0.5, (0.25, 0.75)), bar_in_percent(0.5, None)
    ({'value': 50.0, 'low': 25.0, 'high': 75.0}, {'value': 50.0, 'low': None, 'high': None})
    """
    low, high = (None, None) if interval is None else (100 * bound for bound in interval)
    return {"value": 100 * value, "low": low, "high": high}


def probability_in_words(probability: float) -> str:
    """Return a probability in percent; what is rounded to certainty is not called certain.

    >>> probability_in_words(0.7634), probability_in_words(0.9999), probability_in_words(0.0002)
    ('76.3 %', '> 99.9 %', '< 0.1 %')
    """
    if probability < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if probability > 0.9994 else f"{100 * probability:.1f} %"


def rate_base(shares: Iterable[float]) -> int:
    """Return of how many photos proportions are said: 100, or as many more that none is rounded to none or all.

    >>> rate_base([0.863, 1.0]), rate_base([0.991, 0.9952]), rate_base([0.9996])
    (100, 1000, 10000)
    """
    inside = [share for share in shares if 0 < share < 1]
    return next((base for base in (100, 1000) if all(0 < round(base * s) < base for s in inside)), 10_000)


def rate_in_words(share: float, base: int) -> str:
    """Return a proportion as one of so many photos.

    >>> rate_in_words(0.863, 100), rate_in_words(0.991, 1000)
    ('86 of 100', '991 of 1,000')
    """
    return f"{round(base * share):,} of {base:,}"
