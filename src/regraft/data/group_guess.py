"""Groups that nobody named: guessed from file names, from bursts of one camera, and from near-duplicates."""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from regraft.data.audit import positions_by_key
from regraft.data.file_names import DATE
from regraft.images.headers import Header
from regraft.images.sources import Pixels, Source

NAMES, FOLDERS, CLIPS, BURSTS, PICTURES = "names", "folders", "clips", "bursts", "pictures"
_BURST = 5  # seconds from one photo to the next
_MOST_TOKENS = 8  # of a name that are looked at
_FOLDERS_UP = 3
_SHARE_JOINED = 0.5  # of the photos, which a pattern of names must join with others
_LARGEST = 0.2  # share of the photos that one group may hold
_FEWEST = 5  # groups,
_PHOTOS_PER_GROUP = 200  # and one for so many photos
_KEYS_PER_LABEL = 2  # on average: fewer, and the names say the class
_SAME_NAMES = 0.05  # share of photos whose whole name another one has: the folders count for themselves
_RUNS = 4  # of letters and digits in turn; a word with more is an identifier that means nothing
_CHUNK = re.compile(r"[^\W_]+")
_RUN = re.compile(r"\d+|[^\W\d_]+")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_WORDS = {
    NAMES: "have names that begin alike ({})",
    FOLDERS: "lie in folders of a few ({})",
    CLIPS: "are of clips that their names count",
    BURSTS: f"were taken within {_BURST} seconds of another by one camera",
    PICTURES: "show the same picture as another",
}


@dataclass(frozen=True, eq=False)
class GroupGuess:
    """Which of n photos are taken to belong together.

    Attributes:
        groups: (n,) int64 numbers from 0.
        names: of each number; None for a photo that is in no group.
        kinds: how many photos each kind of evidence joins with others.
        words: the guess in a sentence.
    """

    groups: np.ndarray
    names: tuple[str | None, ...]
    kinds: Mapping[str, int]
    words: str


def guess_groups(
    sources: Sequence[Source],
    labels: np.ndarray,
    headers: Sequence[Header | None],
    numbers: np.ndarray | None = None,
    clips: Sequence[str | None] | None = None,
) -> GroupGuess | None:
    """Return which photos seem to belong together, None where nothing joins two.

    Args:
        sources: n photos.
        labels: (n,) their classes.
        headers: n, what the photos' files say of camera and time.
        numbers: (n,) of pictures, equal for photos that show the same one.
        clips: n names of clips that were found in the file names, None for a photo in none.
    """
    keys: dict[str, Sequence[Hashable | None]] = {}
    pattern = _pattern(sources, labels)
    if pattern is not None:
        keys[pattern[0]] = pattern[1]
    keys[CLIPS] = clips or []
    keys[BURSTS] = _bursts(headers)
    keys[PICTURES] = [] if numbers is None else numbers.tolist()
    shared = {kind: _shared(found) for kind, found in keys.items()}
    kinds = {kind: sum(map(len, sets)) for kind, sets in shared.items() if sets}
    if not kinds:
        return None
    groups = _union([positions for sets in shared.values() for positions in sets], len(sources))
    names = _names_of(groups, sources, [keys[kind] for kind in (NAMES, FOLDERS, CLIPS) if kinds.get(kind)])
    example = ""
    if pattern is not None:
        first = shared[pattern[0]][0]
        stems = [_path(sources[place]).stem for place in first[:2]]  # type: ignore[union-attr]
        example = ", ".join(stems) if pattern[0] == NAMES else str(pattern[1][first[0]])
    return GroupGuess(groups, names, kinds, _in_words(kinds, names, len(sources), example))


def _in_words(kinds: Mapping[str, int], names: Sequence[str | None], n: int, example: str) -> str:
    count = sum(name is not None for name in names)
    parts = [f"{joined:,} {_WORDS[kind].format(example)}" for kind, joined in kinds.items()]
    number, _, rest = parts[0].partition(" ")
    begin = f"{count:,} groups are" if count > 1 else "1 group is"
    return f"{begin} guessed: {', '.join([f'{number} of {n:,} photos {rest}', *parts[1:]])}"


def _shared(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Return the positions of each key that two photos or more have; None is no key."""
    found: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, []).append(position)
    return [positions for positions in found.values() if len(positions) > 1]


def _union(sets: Sequence[Sequence[int]], n: int) -> np.ndarray:
    """Return (n,) numbers: equal for photos that are in one of the sets, directly or through others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = [positions[0] for positions in sets for _ in positions]
    other = [position for positions in sets for position in positions]
    graph = coo_array((np.ones(len(first)), (first, other)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _names_of(
    groups: np.ndarray, sources: Sequence[Source], keys: Sequence[Sequence[Hashable | None]]
) -> tuple[str | None, ...]:
    """Return the name of each number of a group: the least of its keys, else of its photos; None for single photos."""
    names: dict[str, int] = {}
    for positions in positions_by_key([number.tobytes() for number in groups]).values():
        if len(positions) > 1:
            known = [str(found[place]) for found in keys for place in positions if found[place] is not None]
            least = min(known, default="") or min(PurePath(str(sources[place])).name for place in positions)
            names[least if least not in names else str(sources[positions[0]])] = int(groups[positions[0]])
    by_number = {number: name for name, number in names.items()}
    return tuple(by_number.get(number) for number in range(int(groups.max()) + 1))


# --- bursts ---


def _bursts(headers: Sequence[Header | None]) -> list[int | None]:
    """Return the number of each photo's burst; none where a burst holds too many: a clock that stood still."""
    taken = [
        (header.camera, header.taken, place)
        for place, header in enumerate(headers)
        if header is not None and header.camera and header.taken is not None
    ]
    found: list[int | None] = [None] * len(headers)
    number, before = 0, ("", -math.inf)
    for camera, second, place in sorted(taken):
        if camera != before[0] or second - before[1] > _BURST:
            number += 1
        found[place], before = number, (camera, second)
    sizes = Counter(number for number in found if number is not None)
    most = max(_LARGEST * len(headers), 2)
    return [number if number is not None and sizes[number] <= most else None for number in found]


# --- names ---


@dataclass(frozen=True)
class _Token:
    """A part of a name: a word, a number, or a date.

    Attributes:
        end: where it ends.
        counts: whether it may say what the photo is of: it has digits and is no mere date.
        date: whether it is a date without a time of day.
    """

    end: int
    counts: bool
    date: bool = False


def _tokens(stem: str) -> list[_Token]:
    """Return the parts of a name in order, at most `_MOST_TOKENS`."""
    found: list[_Token] = []
    start = 0
    for date in DATE.finditer(stem):
        found += _words(stem, start, date.start())
        day = sum(map(str.isdigit, date[0])) <= len("20210503")
        found.append(_Token(date.end(), counts=not day, date=day))
        start = date.end()
    return [*found, *_words(stem, start, len(stem))][:_MOST_TOKENS]


def _words(stem: str, start: int, end: int) -> Iterator[_Token]:
    for chunk in _CHUNK.finditer(stem, start, end):
        runs = list(_RUN.finditer(stem, chunk.start(), chunk.end()))
        digits = any(run[0].isdigit() for run in runs)
        if len(runs) > _RUNS or (len(runs) > 2 and _HEX.fullmatch(chunk[0])):
            yield _Token(chunk.end(), counts=digits)
        else:
            yield from (_Token(run.end(), counts=run[0].isdigit()) for run in runs)


def _key(stem: str, tokens: Sequence[_Token], count: int) -> str | None:
    """Return the first `count` tokens of a name, None where they say nothing but words or a day."""
    kept = tokens[:count]
    telling = [token for token in kept if token.counts or token.date]
    return stem[: kept[-1].end] if telling and telling[-1].counts else None


def _path(source: Source) -> PurePath | None:
    """Return the path by which a photo is known, None where it has none."""
    if isinstance(source, Pixels):
        return None
    return source if isinstance(source, PurePath) else PurePath(source.name)


def _pattern(sources: Sequence[Source], labels: np.ndarray) -> tuple[str, list[str | None]] | None:
    """Return the kind and the keys of the coarsest pattern of names that may say groups, None where there is none."""
    paths = [_path(source) for source in sources]
    if not paths or any(path is None for path in paths):
        return None
    known = [path for path in paths if path is not None]
    best: tuple[tuple[int, int], str, list[str | None]] | None = None
    for kind, keys in _patterns(known):
        count = _groups_said(keys, labels)
        rank = count, sum(map(len, filter(None, keys)))  # of equal groups the shortest names
        if count and (best is None or rank < best[0]):
            best = rank, kind, keys
    return None if best is None else best[1:]


def _patterns(paths: Sequence[PurePath]) -> Iterator[tuple[str, list[str | None]]]:
    """Yield what may name groups: names without their last parts, or up to some part, and folders."""
    for up in range(_FOLDERS_UP):
        folders = [path.parents[up].name if up < len(path.parents) else "" for path in paths]
        whole = {name: _key(name, _tokens(name), _MOST_TOKENS) for name in set(folders)}
        yield FOLDERS, [whole[name] for name in folders]
    names = Counter(path.name for path in paths)
    apart = sum(count - 1 for count in names.values()) > _SAME_NAMES * len(paths)
    stems = [path.stem for path in paths]
    tokens = [_tokens(stem) for stem in stems]
    for count in range(1, max(map(len, tokens), default=0)):
        first = [_key(stem, own, count) for stem, own in zip(stems, tokens, strict=True)]
        others = [_key(stem, own, max(len(own) - count, 0)) for stem, own in zip(stems, tokens, strict=True)]
        for keys in (first, others):
            yield NAMES, [_within(path, key) if apart else key for path, key in zip(paths, keys, strict=True)]


def _within(path: PurePath, key: str | None) -> str | None:
    """Return a key that no photo of another folder has."""
    return None if key is None else f"{path.parent}/{key}"


def _groups_said(keys: Sequence[str | None], labels: np.ndarray) -> int:
    """Return how many groups these keys make, 0 where they make no groups that are likely."""
    n = len(keys)
    sizes = Counter(key for key in keys if key is not None)
    joined = sum(size for size in sizes.values() if size > 1)
    if joined < max(_SHARE_JOINED * n, 2) or len(sizes) < max(_FEWEST, n / _PHOTOS_PER_GROUP):
        return 0
    if max(sizes.values()) > _LARGEST * n:
        return 0
    pairs = {(key, label) for key, label in zip(keys, labels.tolist(), strict=True) if key is not None}
    if len(pairs) < _KEYS_PER_LABEL * len(set(labels.tolist())):
        return 0
    years = sum(_YEAR.search(key) is not None and _YEAR.fullmatch(_RUN.findall(key)[-1]) is not None for key in sizes)
    return 0 if years > len(sizes) / 2 else len(sizes)
