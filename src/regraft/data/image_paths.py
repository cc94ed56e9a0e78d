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

from regraft.data.folders import image_files, list_entries
from regraft.errors import SHOWN, DataError, option, shortlist
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.storage.addresses import reference, without_secrets
from regraft.storage.locations import Location, RemotePath, is_file

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

    path: Location
    folders: tuple[str, ...]


@dataclass(slots=True)
class _Match:
    """What a cell stands for: a file, or why there is none.

    Attributes:
        path: the file; None where there is none.
        elsewhere: it is called otherwise, or lies in another folder, than the cell says.
        problem: why there is no file; "" if there is one, or nothing is alike.
    """

    path: Location | None = None
    elsewhere: bool = False
    problem: str = ""


def find_images(
    values: Sequence[str], root: Location, *, where: str, row_name: Callable[[int], str], notes: Sequence[str] = ()
) -> tuple[list[Location], list[str]]:
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
    if not root.is_dir() and not (isinstance(root, RemotePath) and not root.lists):
        raise DataError(
            f"{option('image_root')} {root} is no folder. Name the folder that the images of {where} lie in."
        )
    files = _Files(root)
    matches = [files.find(value) for value in values]
    _refuse_shared(values, matches, row_name)
    problems = [position for position, match in enumerate(matches) if match.path is None]
    if problems:
        shown = [
            f"{row_name(position)}: {without_secrets(values[position])!r} "
            f"{matches[position].problem or files.missing(values[position])}"
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
    owner: dict[Location, int] = {}
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


def _folders(path: str | Location) -> tuple[str, ...]:
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

    def __init__(self, root: Location) -> None:
        self._root = root
        self._by_folder: dict[str, dict[str, list[_File]]] = {}  # by name, then by folder: a name may be everybody's
        self._spelled: dict[str, list[_File]] = {}

    @cached_property
    def _index(self) -> tuple[dict[str, list[_File]], dict[str, list[_File]], set[str]]:
        """The files by name, and by name without its ending, and the names of all folders from the root on."""
        names: dict[str, list[_File]] = defaultdict(list)
        stems: dict[str, list[_File]] = defaultdict(list)
        above, known = len(_folders(self._root)) - 1, set[str]()
        folders: dict[str, tuple[str, ...]] = {}
        for path in image_files(self._root)[0]:
            parent, name = os.path.split(path)  # 100,000 times: `Path` takes a while for the same
            if parent not in folders:
                folders[parent] = _folders(parent)
                known.update(folders[parent][above:])
            file = _File(path, folders[parent])
            names[_key(name)].append(file)
            stems[_key(os.path.splitext(name)[0])].append(file)  # noqa: PTH122
        return names, stems, known

    @cached_property
    def _alphabet(self) -> list[str]:
        return sorted(self._index[1])

    def find(self, value: str) -> _Match:
        """Return the file that a cell stands for."""
        parts = _parts(value)
        if isinstance(self._root, RemotePath):
            path = _remote_file(self._root, value, "/".join(parts))
            if path is None and parts and not self._root.lists:
                return _Match(problem="leads out of it")
            return _Match(path) if path else self._by_name(parts) if parts and not _WEB.match(value) else _Match()
        for name in dict.fromkeys((value, _local(value), "/".join(parts))):
            if is_file(found := self._root / name):
                return _Match(found)
        return _Match() if not parts or _WEB.match(value) else self._by_name(parts)

    def _by_name(self, parts: Sequence[str]) -> _Match:
        *folders, name = map(_key, parts)
        at_root, most = [] if folders else self._at_root(name), 0
        if folders and folders[-1] in self._index[2]:  # it is there, so the file should be in it
            files = self._in_folder(name, folders[-1])
            most = max((_common_end(file.folders, folders) for file in files), default=0)
            files = _spelled_so(parts[-1], [file for file in files if _common_end(file.folders, folders) == most])
        else:
            files = _spelled_so(parts[-1], at_root) or self._anywhere(parts[-1])
        if len(files) != 1:
            several = ", ".join(self._below(file.path) for file in files[:3])
            return _Match(problem=f"fits {several}" if files else "")
        path = files[0].path
        return _Match(path, elsewhere=most < len(folders) or not _same_name(parts[-1], path))

    def _called(self, name: str) -> list[_File]:
        """Return the files of a name, as it is compared, with its ending or without."""
        names, stems, _ = self._index
        return names.get(name) or stems.get(name, [])

    def _in_folder(self, name: str, folder: str) -> list[_File]:
        if name not in self._by_folder:
            found: dict[str, list[_File]] = defaultdict(list)
            for file in self._called(name):
                found[file.folders[-1]].append(file)
            self._by_folder[name] = found
        return self._by_folder[name].get(folder, [])

    def _at_root(self, name: str) -> list[_File]:
        return [file for file in self._in_folder(name, _folders(self._root)[-1]) if file.path.parent == self._root]

    def _anywhere(self, spelled: str) -> list[_File]:
        """Return the files of a name, wherever they lie; those that are spelled so, if there are any."""
        if spelled not in self._spelled:
            self._spelled[spelled] = _spelled_so(spelled, self._called(_key(spelled)))
        return self._spelled[spelled]

    def missing(self, value: str) -> str:
        """Return what a message says of a cell that no file fits, with names that are nearly alike."""
        if not value:
            return "names nothing"
        if found := _WEB.match(value):
            if found[1].lower().startswith(("http", "ftp")):
                return "is an address in the web; photos are not downloaded"
            return f"lies in a store, and in no folder that was named: name it with {option('image_root')}"
        name = [value, *_parts(value)][-1][:_LONGEST_NAME]
        stem = _key(Path(name).stem)
        names, stems, _ = self._index
        near = [file for ending in IMAGE_SUFFIXES for file in names.get(stem + ending, [])]
        if not near:
            position = bisect.bisect_left(self._alphabet, stem)
            beside = self._alphabet[max(position - _NEIGHBOURS, 0) : position + _NEIGHBOURS]
            alike = difflib.get_close_matches(stem, beside, cutoff=0.75)  # of the names alone: endings are alike anyway
            near = [file for one in alike for file in stems[one]]
        if not near:
            return "is missing"
        return f"is missing. Did you mean {' or '.join(repr(self._below(file.path)) for file in near[:3])}?"

    def _below(self, path: Location) -> str:
        return str(path.relative_to(self._root))


def _remote_file(root: RemotePath, value: str, name: str) -> RemotePath | None:
    """Return the file of a store that a cell names, by its address or a path from the root; None where there is none.

    A table from elsewhere names no file of another place. Of a web server, which says nothing of its files, any may be
    there: one that is not is a photo that cannot be read.
    """
    below = name if root.lists else reference(name)  # a cell holds a name, and an address what stands for it
    path = (RemotePath(value) if "://" in value else root / below).normal()
    if not name or not path.is_relative_to(root) or path == root:
        return None
    if not root.lists:
        return path
    list_entries(path.parent)
    return path if path.is_file() else None


def _spelled_so(name: str, files: list[_File]) -> list[_File]:
    return [file for file in files if _same_name(name, file.path)] or files


def _same_name(name: str, path: Location) -> bool:
    return name in (path.name, path.stem)


def _common_end(these: Sequence[str], those: Sequence[str]) -> int:
    """Return how many of the last folders are the same."""
    count = 0
    for one, other in zip(reversed(these), reversed(those), strict=False):
        if one != other:
            break
        count += 1
    return count
