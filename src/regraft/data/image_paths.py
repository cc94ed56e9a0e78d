"""Image files by the names that a table has for them: paths, file names, ids, as another machine wrote them."""

import bisect
import difflib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from regraft.data.folders import image_files
from regraft.errors import SHOWN, DataError, option, shortlist
from regraft.files import is_file
from regraft.images.formats import IMAGE_SUFFIXES

_NEIGHBOURS = 100  # names before and after a missing one, in the alphabet, that it is compared with
_WEB = re.compile(r"(https?|s3|gs|ftp)://", re.IGNORECASE)
_DRIVE = re.compile(r"^/?[A-Za-z]:(?=/)")
_LONGEST_NAME = 100  # characters


@dataclass(eq=False, slots=True)
class _File:
    """An image file below the root.

    Attributes:
        path: of it.
        folders: the names of the folders that it is in, as they are compared (`_key`), from the outermost.
    """

    path: Path
    folders: tuple[str, ...]


@dataclass(slots=True)
class _Match:
    """What a cell stands for: a file, or why there is none.

    Attributes:
        path: the file; None where there is none.
        elsewhere: it is called otherwise, or lies in another folder, than the cell says.
        problem: why there is no file; "" if there is one, or nothing is alike.
    """

    path: Path | None = None
    elsewhere: bool = False
    problem: str = ""


def find_images(
    values: Sequence[str], root: Path, *, where: str, row_name: Callable[[int], str], notes: Sequence[str] = ()
) -> tuple[list[Path], list[str]]:
    r"""Return the file that each of n cells names, and a note on those that are called otherwise.

    A cell is a path relative to `root` or an absolute one, or what only one file below `root` fits: by its name or its
    name without ending, in another case or Unicode form, with \ for /, in folders that are not there (of another
    machine). Where a folder that the cell names is there, the file must lie in it.

    Args:
        values: the cells.
        root: the folder that is searched.
        where: the table, for messages.
        row_name: how messages call the row of a position.
        notes: what was assumed of the table, which may be why nothing is found.

    Raises:
        DataError: the root is no folder, or a cell names no file, or several, or that of another cell.
    """
    if not root.is_dir():
        raise DataError(
            f"{option('image_root')} {root} is no folder. Name the folder that the images of {where} lie in."
        )
    files = _Files(root)
    matches = [files.find(value) for value in values]
    _refuse_shared(values, matches, row_name)
    problems = [position for position, match in enumerate(matches) if match.path is None]
    if problems:
        shown = [
            f"{row_name(position)}: {values[position]!r} {matches[position].problem or files.missing(values[position])}"
            for position in problems[:SHOWN]
        ]
        assumed = "".join(f"\n({note})" for note in notes)
        raise DataError(
            f"{where}: {len(problems):,} of {len(values):,} rows name no image file below {root}:\n"
            f"{shortlist([*shown, *problems[SHOWN:]])}\nCorrect the rows, or name the images' folder with "
            f"{option('image_root')}.{assumed}"
        )
    other = [position for position, match in enumerate(matches) if match.elsewhere]
    found = [match.path for match in matches if match.path is not None]
    if not other:
        return found, []
    example = f"{values[other[0]]!r} is {str(found[other[0]].relative_to(root))!r}"
    return found, [
        f"{len(other):,} of {len(values):,} rows of {where} name their photo otherwise than its file is called, or in "
        f"another folder: {example}; each is the only one that fits"
    ]


def _refuse_shared(values: Sequence[str], matches: list[_Match], row_name: Callable[[int], str]) -> None:
    """Refuse a file that two cells in different folders stand for: dogs/1.jpg is not cats/1.jpg."""
    owner: dict[Path, int] = {}
    for position in sorted(
        range(len(matches)), key=lambda position: matches[position].elsewhere
    ):  # the true ones first
        match = matches[position]
        if match.path is None:
            continue
        other = owner.setdefault(match.path, position)
        these, those = (list(map(_key, _parts(values[one])[:-1])) for one in (position, other))
        if match.elsewhere and _common_end(these, those) < min(len(these), len(those)):
            problem = f"fits {match.path.name} alone, which is {values[other]!r} of {row_name(other)}"
            matches[position] = _Match(problem=problem)


def _key(name: str) -> str:
    """Return a name as it is compared: without case, in Unicode's composed form."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _folders(path: str | Path) -> tuple[str, ...]:
    absolute = os.path.abspath(path)  # noqa: PTH100 (a link keeps its name)
    return tuple(map(_key, Path(absolute).parts))


def _local(value: str) -> str:
    """Return the path in a file:// address; another value as it is."""
    return unquote(value[7:]) if value[:7].lower() == "file://" else value


def _parts(value: str) -> list[str]:
    """Return the folders and the name of a path as any machine writes it, without a drive."""
    path = _DRIVE.sub("", _local(value).replace("\\", "/"))
    return [part for part in path.split("/") if part not in ("", ".")]


class _Files:
    """The image files below a folder. They are listed once, when a cell is no path of one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder_names: set[str] = set()

    @cached_property
    def _index(self) -> tuple[dict[str, list[_File]], dict[str, list[_File]]]:
        """The files by name, and by name without its ending."""
        names: dict[str, list[_File]] = defaultdict(list)
        stems: dict[str, list[_File]] = defaultdict(list)
        above = len(_folders(self._root)) - 1
        folders: dict[str, tuple[str, ...]] = {}
        for path in image_files(self._root)[0]:
            parent, name = os.path.split(path)  # 100,000 times: `Path` takes a while for the same
            if parent not in folders:
                folders[parent] = _folders(parent)
                self._folder_names.update(folders[parent][above:])
            file = _File(path, folders[parent])
            names[_key(name)].append(file)
            stems[_key(os.path.splitext(name)[0])].append(file)  # noqa: PTH122
        return names, stems

    @cached_property
    def _alphabet(self) -> list[str]:
        return sorted(self._index[1])

    def find(self, value: str) -> _Match:
        """Return the file that a cell stands for."""
        parts = _parts(value)
        for name in dict.fromkeys((value, _local(value), "/".join(parts))):
            path = self._root / name
            if is_file(path):
                return _Match(path)
        return _Match() if not parts or _WEB.match(value) else self._by_name(parts)

    def _by_name(self, parts: Sequence[str]) -> _Match:
        names, stems = self._index
        *folders, name = map(_key, parts)
        files = names.get(name) or stems.get(name, [])
        if folders and folders[-1] in self._folder_names:  # it is there, so the file should be in it
            files = [file for file in files if file.folders[-1] == folders[-1]]
        most = max((_common_end(file.folders, folders) for file in files), default=0)
        files = [file for file in files if _common_end(file.folders, folders) == most]
        if not folders:
            files = [file for file in files if file.path.parent == self._root] or files
        files = [file for file in files if _same_name(parts[-1], file.path)] or files
        if len(files) != 1:
            several = ", ".join(self._below(file.path) for file in files[:3])
            return _Match(problem=f"fits {several}" if files else "")
        path = files[0].path
        return _Match(path, elsewhere=most < len(folders) or not _same_name(parts[-1], path))

    def missing(self, value: str) -> str:
        """Return what a message says of a cell that no file fits, with names that are nearly alike."""
        if not value:
            return "names nothing"
        if _WEB.match(value):
            return "is an address in the web; photos are not downloaded"
        name = [value, *_parts(value)][-1][:_LONGEST_NAME]
        stem = _key(Path(name).stem)
        names, stems = self._index
        near = [file for ending in IMAGE_SUFFIXES for file in names.get(stem + ending, [])]
        if not near:
            position = bisect.bisect_left(self._alphabet, stem)
            beside = self._alphabet[max(position - _NEIGHBOURS, 0) : position + _NEIGHBOURS]
            alike = difflib.get_close_matches(stem, beside, cutoff=0.75)  # of the names alone: endings are alike anyway
            near = [file for one in alike for file in stems[one]]
        if not near:
            return "is missing"
        return f"is missing. Did you mean {' or '.join(repr(self._below(file.path)) for file in near[:3])}?"

    def _below(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def _same_name(name: str, path: Path) -> bool:
    return name in (path.name, path.stem)


def _common_end(these: Sequence[str], those: Sequence[str]) -> int:
    """Return how many of the last folders are the same."""
    count = 0
    for one, other in zip(reversed(these), reversed(those), strict=False):
        if one != other:
            break
        count += 1
    return count
