"""Labels in file names: what `cat.0`, `cat_3_2` and `cat_2021-05-03_7` say, and which names say nothing."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from regraft.data.samples import natural_order
from regraft.errors import DataError, first_few, option, shortlist

# "cat.0", "american_bulldog_12", "dog (4)", "cat_3_2": a word that ends in no separator, then numbers and separators
_NAME = re.compile(r"(?P<label>[^\W\d_](?:.*?[^\W_])?)(?P<tail>(?:(?:[._\- ]+\(?|\()\d+\)?)+)")
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+")
_SEPARATED_NUMBER = re.compile(r"[\W_]*\d+")
# a date, and the time of day after it: 2021-05-03, 20210503_123456, 03.05.2021 12-30-45
DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d([-_. ]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])([-_. ])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d)"
    r"(?:[-_. ]+(?:[01]\d|2[0-3])([-_. ]?)[0-5]\d\3[0-5]\d(?:\d{3})?)?(?!\d)"
)
# "cat_clip3_frame12" is "cat_3_12"
_COUNTED_WORD = re.compile(
    r"(?<=[\W_])(?:clip|video|vid|scene|shot|seq|sequence|session|patient|subject|case|frame|img|image|photo)[\W_]?(?=\d)",
    re.IGNORECASE,
)
_YEARS = range(1980, 2040)
# What cameras, phones, scanners and programs call a photo, and the words around the time in such names
_NO_LABELS = frozenset(
    """
    img image images imag imgp dsc dscn dscf dscs dcim pxl mvimg mvi vid video clip frame pict pic pics picture
    photo photos foto bild imagen cimg gopr gopro dji sam kic hpim wp wa fb isic whatsapp telegram snapchat received
    screenshot screen shot bildschirmfoto snapshot capture scan scanned untitled unnamed download file thumb
    thumbnail pano burst webcam cam camera crop at um le on am pm mg
    """.split()  # noqa: SIM905 (a list of strings is no easier to read)
)
_PANASONIC = re.compile(r"p\d{7}")  # P1010001
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FEW = 5  # so many different numbers of a class, far apart, may as well be part of its name: boeing_737, boeing_747
_SPARSE = 3  # the numbers of clips lie closer than this to each other, on average
_SHORT = 3  # letters; a shorter word is half of a name: b-52, f-16
_LABELS_SHOWN = 8


@dataclass(frozen=True)
class _Name:
    """The parts of a stem: a label and the numbers after it but dates, each with the place where it ends."""

    stem: str
    label: str
    numbers: tuple[tuple[int, int], ...]

    @property
    def counted_twice(self) -> bool:
        """Whether two numbers or more follow the label."""
        return len(self.numbers) > 1

    def without_first(self, *, into_label: bool = False) -> "_Name":
        """Return the name without its first number, or with this number as the end of its label."""
        end = self.numbers[0][1]
        directly = _SEPARATED_NUMBER.fullmatch(self.stem[len(self.label) : end])  # no date between them
        label = self.stem[:end] if into_label and directly else self.label
        return replace(self, label=label, numbers=self.numbers[1:])


@dataclass(frozen=True)
class NameLabels:
    """What n file names say.

    Attributes:
        labels: n labels.
        groups: the name of each photo's clip, or None where there are no clips.
        note: what was taken as what, in words.
        advice: what else could be meant.
    """

    labels: list[str]
    groups: list[str] | None
    note: str
    advice: str = ""


def labels_in_names(images: Sequence[PurePath], where: str) -> NameLabels:
    """Return the label and the clip that each file name carries.

    The label is the word before the numbers. Of two numbers or more the first counts clips: `cat_3_2` is a photo of
    clip cat_3. Dates, times and years are no clips.

    Args:
        images: n files.
        where: the folder, for messages.

    Raises:
        DataError: names without a label (those that cameras give too), or names that can be read in two ways.
    """
    parsed = [_parse(image.stem) for image in images]
    _check_all_labelled(images, parsed, where)
    names = _without_constants(_without_years([name for name in parsed if name is not None]))
    _check_clear(names, where)
    labels = [name.label for name in names]
    note = f"labels come from the file names: {_counts(labels)}"
    if not any(name.counted_twice for name in names):
        return NameLabels(labels, None, note)
    groups = [name.stem[: name.numbers[0][1]] for name in names]
    clip, count = Counter(groups).most_common(1)[0]
    if count == 1:
        return NameLabels(labels, None, note)
    one, other = [image.name for image, group in zip(images, groups, strict=True) if group == clip][:2]
    note += f"; the clips are groups: {one} and {other} are of one clip ({len(set(groups)):,} in all)"
    return NameLabels(labels, groups, note, _advice(names))


def labels_or_none(images: Sequence[PurePath]) -> set[str]:
    """Return the labels that file names carry, none unless every name carries one."""
    try:
        return set(labels_in_names(images, "").labels)
    except DataError:
        return set()


def _parse(stem: str) -> _Name | None:
    """Return the parts of a stem, None where it has no label."""
    short = _COUNTED_WORD.sub("", stem)
    if short != stem and (name := _parse(short)) is not None and name.counted_twice:
        return name
    found = _NAME.fullmatch(stem)
    if found is None or _is_no_label(found["label"]) or _UUID.fullmatch(stem.lower()):
        return None
    start = found.end("label")
    undated = stem[:start] + DATE.sub(lambda date: " " * len(date[0]), stem[start:])
    numbers = [(int(number[0]), number.end()) for number in _NUMBER.finditer(undated, start)]
    return _Name(stem, found["label"], tuple(numbers))


def _is_no_label(label: str) -> bool:
    return set(_WORD.findall(label.casefold())) <= _NO_LABELS or _PANASONIC.fullmatch(label.lower()) is not None


def _check_all_labelled(images: Sequence[PurePath], parsed: Sequence[_Name | None], where: str) -> None:
    unlabelled = [image for image, name in zip(images, parsed, strict=True) if name is None]
    if not unlabelled:
        return
    given = [found["label"] for image in unlabelled if (found := _NAME.fullmatch(image.stem)) is not None]
    seen = f" ({_counts(given)}: cameras and programs give such names)" if given else ""
    raise DataError(
        f"{where}: {len(unlabelled):,} of {len(images):,} file names carry no label{seen}. Expected label, "
        f"separator, number, as in {_remedy()}. Got:\n{shortlist([image.name for image in unlabelled])}"
    )


def _remedy() -> str:
    return (
        f"cat.0.jpg; or one sub-folder per class; or a CSV with {option('image_column')} and {option('label_column')}"
    )


def _without_years(names: list[_Name]) -> list[_Name]:
    """Return the names without their first numbers where all of these are years."""
    while several := [name for name in names if name.counted_twice]:
        if not all(name.numbers[0][0] in _YEARS for name in several):
            break
        names = [name.without_first() if name.counted_twice else name for name in names]
    return names


def _without_constants(names: list[_Name]) -> list[_Name]:
    """Return the names without first numbers that are one and the same in each class: they count nothing.

    Such a number is part of the label where it seems to be: beside names with one number alone (covid_19_1, normal_1),
    and where the word before it is short (b-52_1, f-16_1).
    """
    while constant := _constant(names):
        if any(not name.counted_twice for name in names):
            names = [name.without_first(into_label=True) if name.label in constant else name for name in names]
        elif constant == {name.label for name in names}:
            short = any(len(label) < _SHORT for label in constant)
            names = [name.without_first(into_label=short) for name in names]
        else:
            break
    return names


def _constant(names: Sequence[_Name]) -> set[str]:
    """Return the labels whose names all have two numbers or more, the first of which is one and the same."""
    firsts = _first_numbers(names)
    return {label for label, numbers in firsts.items() if len(numbers) == 1 and None not in numbers}


def _first_numbers(names: Sequence[_Name]) -> dict[str, set[int | None]]:
    """Return the first numbers by label, None for a name with one number alone."""
    firsts: dict[str, set[int | None]] = defaultdict(set)
    for name in names:
        firsts[name.label].add(name.numbers[0][0] if name.counted_twice else None)
    return firsts


def _check_clear(names: Sequence[_Name], where: str) -> None:
    """Raise `DataError` where a number may be part of a class's name as well as count clips."""
    firsts = _first_numbers(names)
    some_alone = any(numbers == {None} for numbers in firsts.values())
    for label, found in firsts.items():
        numbers = sorted(number for number in found if number is not None)
        if len(numbers) != len(found):  # one number alone: copies such as "cat.0 (1)" beside "cat.0"
            continue
        sparse = 1 < len(numbers) <= _FEW and numbers[-1] - numbers[0] + 1 > _SPARSE * len(numbers)
        if some_alone or sparse:
            _refuse_unclear(where, next(name.stem for name in names if name.label == label), str(numbers[0]), label)
    labels = sorted(firsts)
    words = {"".join(_WORD.findall(label.casefold())) for label in labels}
    if len(words) > 1 and min(map(len, words)) >= _SHORT - 1 and len(labels) >= 2 * len(words):
        label = next(label for label in labels if _NUMBER.search(label))
        stem = next(name.stem for name in names if name.label == label)
        _refuse_unclear(where, stem, _NUMBER.findall(label)[0], re.split(r"[\W_]*\d", label)[0])


def _refuse_unclear(where: str, stem: str, number: str, label: str) -> None:
    raise DataError(
        f"{where}: it is not clear whether {number} in names like {stem!r} is part of the class or counts clips of the "
        f"class {label!r}. Name the photos as in {_remedy()} (with {option('group_column')} for clips)."
    )


def _advice(names: Sequence[_Name]) -> str:
    """Return what names of one label that are counted twice may also mean."""
    if len({name.label for name in names}) > 1:
        return ""
    return (
        f"In names like {names[0].stem!r} the first number is taken to count clips: if it says the class, lay out one "
        "sub-folder per class, or write a CSV."
    )


def _counts(labels: Sequence[str]) -> str:
    found = Counter(labels)
    counts = sorted(((label, found[label]) for label in natural_order(labels)), key=lambda pair: -pair[1])
    return first_few([f"{label} {count:,}" for label, count in counts], _LABELS_SHOWN)
