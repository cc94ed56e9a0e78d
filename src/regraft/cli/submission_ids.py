"""Which photo each id of a sample submission means."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from regraft.cli.submission_sample import Sample, some
from regraft.errors import DataError, printable, shortlist
from regraft.images.sources import Source

_PARTS = 4  # of a photo's path, from its end, that an id may hold


def match_ids(sample: Sample, sources: Sequence[Source]) -> tuple[int, list[Source], list[str]]:
    """Return the position of the column of ids, the photo of each row, and what is to be said.

    Raises:
        DataError: ids without a photo, with several, or given twice.
    """
    sources = list({_place(source): source for source in sources}.values())
    index = _Index(sources)
    by_column = [list(map(index.find, sample.column(position))) for position in range(len(sample.header))]
    reached = [len({way.photos[0] for way in ways if way is not None}) for ways in by_column]
    ids = reached.index(max(reached))
    names, ways = sample.column(ids), by_column[ids]
    heading = printable(sample.header[ids])
    if not max(reached):
        raise DataError(
            f"{sample.name}: no column holds names of the {len(sources):,} photos. Its first row is "
            f"{some(sample.rows[0])}; the first photo is {printable(sources[0])}. Name the competition's test photos."
        )
    problems = [name for name, way in zip(names, ways, strict=True) if way is None]
    if problems:
        raise DataError(
            f"{sample.name}: {len(problems):,} of {len(names):,} ids in column {heading!r} name none of the "
            f"{len(sources):,} photos:\n{shortlist(problems)}\nA submission has an answer for each id: name all of the "
            "competition's test photos."
        )
    known = [way for way in ways if way is not None]
    several = [
        f"{name}: {', '.join(str(sources[at]) for at in way.photos[:3])}"
        for name, way in zip(names, known, strict=True)
        if len(way.photos) > 1
    ]
    if several:
        raise DataError(
            f"{sample.name}: {len(several):,} of {len(names):,} ids in column {heading!r} fit several photos:\n"
            f"{shortlist(several)}\nName only the folder of the competition's test photos."
        )
    _check_distinct(sample, names, [way.photos[0] for way in known], sources)
    notes = [f"ids: column {heading!r}, {_ways_in_words(known)}"]
    used = {way.photos[0] for way in known}
    spare = [source for at, source in enumerate(sources) if at not in used]
    if spare:
        notes.append(f"{len(spare):,} of {len(sources):,} photos have no id and are left out:\n{shortlist(spare)}")
    return ids, [sources[way.photos[0]] for way in known], notes


def _check_distinct(sample: Sample, names: Sequence[str], photos: Sequence[int], sources: Sequence[Source]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{sample.name}: {len(twice):,} ids stand in several rows:\n{shortlist(twice)}\n"
            "A sample with one row for each photo is filled."
        )
    of_photo = defaultdict(list)
    for name, photo in zip(names, photos, strict=True):
        of_photo[photo].append(name)
    shared = [f"{sources[at]}: {', '.join(some)}" for at, some in of_photo.items() if len(some) > 1]
    if shared:
        raise DataError(
            f"{sample.name}: {len(shared):,} photos fit several ids:\n{shortlist(shared)}\n"
            "Name all of the competition's test photos."
        )


@dataclass(frozen=True)
class _Way:
    """How an id names photos: their positions, and the rank of the rule by which it does."""

    rank: int
    photos: tuple[int, ...]


_WAYS = (  # from exact to lenient
    "file names with their ending",
    "file names without their ending",
    "file names but for upper and lower case",
    "file names but for leading zeros",
    "file names but for their folder or ending",
)


class _Index:
    """Photos by the names that an id may give them."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._by_way: tuple[dict[str | int | None, list[int]], ...] = tuple(defaultdict(list) for _ in _WAYS)
        for position, source in enumerate(sources):
            path = _as_path(source.name if not isinstance(source, PurePath) else str(source))
            for way, key in self._keys_of_photo(path):
                known = self._by_way[way][key]
                if known[-1:] != [position]:
                    known.append(position)

    @staticmethod
    def _keys_of_photo(path: PurePosixPath) -> list[tuple[int, str | int]]:
        ends = ["/".join(path.parts[-count:]) for count in range(1, min(_PARTS, len(path.parts)) + 1)]
        bare = [end.removesuffix(path.suffix) for end in ends]
        keys: list[tuple[int, str | int]] = [(0, end) for end in ends]
        keys += [(1, end) for end in bare]
        keys += [(2, end.casefold()) for end in (*ends, *bare)]
        keys.append((4, path.stem.casefold()))
        return keys + ([(3, int(path.stem))] if _is_digits(path.stem) else [])

    def find(self, name: str) -> _Way | None:
        """Return how an id names photos, None if it names none."""
        path = _as_path(name)
        text = str(path)
        stem = path.stem if re.fullmatch(r"\.[A-Za-z]\w{1,4}", path.suffix) else path.name
        keys = [text, text, text.casefold(), int(stem) if _is_digits(stem) else None, stem.casefold()]
        for rank, (key, known) in enumerate(zip(keys, self._by_way, strict=True)):
            if name.strip() and key in known:
                return _Way(rank, tuple(known[key]))
        return None


def _place(source: Source) -> object:
    """Return what is equal for two names of one file."""
    return os.path.abspath(source) if isinstance(source, Path) else source  # noqa: PTH100 (links may be two photos)


def _as_path(name: str) -> PurePosixPath:
    return PurePosixPath(unicodedata.normalize("NFC", name.strip().replace("\\", "/")))


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 100


def _ways_in_words(ways: Sequence[_Way]) -> str:
    counts = Counter(way.rank for way in ways)
    if len(counts) == 1:
        return _WAYS[min(counts)]
    return ", ".join(f"{count:,} {_WAYS[rank]}" for rank, count in sorted(counts.items()))
