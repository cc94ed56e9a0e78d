"""WebDataset's .tar shards as tables: files of one key are a row, and what comes after the key are the columns."""

import itertools
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from regraft.data.archives import unpack_command
from regraft.data.cells import as_text, is_missing
from regraft.data.folders import entries, image_files, list_entries
from regraft.data.samples import without_blanks
from regraft.errors import DataError, counted, first_few, option
from regraft.files import json_or_none
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.images.sources import ArchiveMember
from regraft.storage.locations import Location, RemotePath, open_file, stamp_of

TAR_SUFFIX = ".tar"
IMAGE, LABEL = "image", "label"  # columns that every table of photos may have
_TEXTS = ("cls", "txt")
_LABELS = ("cls", LABEL, "txt")  # what says the label, the first that is there: LABEL is a field of JSON
_JSON = "json"
_MAX_TEXT, _MAX_JSON = 10_000, 1_000_000  # bytes of a file that is no image
_MAX_SHARDS = 100_000
_TABLES_KEPT = 1000  # whose headers need not be read again by the same command
# WebDataset: the key is all up to the first dot of the name, its folders too; hidden files have none
_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<field>[^/]+)", re.DOTALL)
_BRACES = re.compile(r"\{(?:(?P<first>\d+)\.\.(?P<last>\d+)|(?P<names>[^{}]*,[^{}]*))\}")


@dataclass
class _Sample:
    """The files of one key.

    Attributes:
        key: all before the first dot.
        images: by what comes after it.
        texts: what text files hold, and the fields of a JSON file.
    """

    key: str
    images: dict[str, ArchiveMember] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)


class EmptyArchiveError(DataError):
    """An archive holds no file at all: writers of shards leave one where they were given no samples."""


class TarTable:
    """The n samples of an archive that have an image; none of one that holds no file at all.

    Columns are "image"; "label", which is what .cls files hold, or else .txt files; each kind of file by its ending;
    and the fields of .json files.
    """

    def __init__(self, file: Location, samples: Sequence[_Sample], notes: Sequence[str]) -> None:
        self.file = file
        self.notes = notes
        self._samples = samples
        self.columns: Sequence[str] = _columns_of(samples)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    def values(self, column: str) -> list[Any]:
        """Return the n cells of a column; None where a sample has no such file or field."""
        if column == LABEL:
            column = next((name for name in _LABELS if any(name in sample.texts for sample in self._samples)), LABEL)
        return [sample.texts.get(column) for sample in self._samples]

    def labels(self, column: str) -> list[Any]:
        """Return the n labels; None where there is none."""
        return [None if is_missing(value) else as_text(value) for value in self.values(column)]

    def row_name(self, position: int) -> str:
        """Return how messages call a row."""
        return f"sample {self._samples[position].key!r}"

    @property
    def advice(self) -> str:
        """What else the archive could be, in words, for a message that it has no labels."""
        return "" if isinstance(self.file, RemotePath) else f" {_or_unpack(self.file)}"

    def cells(self, column: str) -> list[ArchiveMember]:
        """Return the n images that a column holds.

        Raises:
            DataError: a sample has several images, and none is named; or it has none of this kind.
        """
        if column == IMAGE:
            for sample in self._samples:
                if len(sample.images) > 1:
                    raise DataError(
                        f"{self.file}: sample {sample.key!r} has several images: {', '.join(sample.images)}. Name the "
                        f"one to read with {option('image_column')}."
                    )
            return [next(iter(sample.images.values())) for sample in self._samples]
        lacking = [sample.key for sample in self._samples if column not in sample.images]
        if lacking:
            raise DataError(
                f"{self.file}: {len(lacking):,} of {len(self):,} samples have no image {column!r}: "
                f"{first_few(lacking, 5)}. Name another with {option('image_column')}: {', '.join(self.columns)}."
            )
        return [sample.images[column] for sample in self._samples]


def _columns_of(samples: Sequence[_Sample]) -> list[str]:
    fields = dict.fromkeys(name for sample in samples for name in sample.texts)
    images = dict.fromkeys(name for sample in samples for name in sample.images)
    label = [LABEL] if any(name in fields for name in _LABELS) else []
    return list(dict.fromkeys([IMAGE, *label, *images, *fields]))


def is_tar(path: Location) -> bool:
    """Tell whether a path names .tar files: one, several by braces, or a folder of them that holds no photos."""
    if path.suffix.lower() == TAR_SUFFIX and not path.is_dir():
        return path.is_file() or bool(_BRACES.search(str(path)))
    return path.is_dir() and bool(_tars_in(path)) and not image_files(path)[0]


def tar_files(path: Location) -> list[Location]:
    """Return the files that a path names for which `is_tar` is true, in order.

    Raises:
        DataError: one that braces name is not there, or these are too many.
    """
    if path.is_dir():
        return _tars_in(path)
    if path.is_file():
        return [path]
    found = _expanded(path)
    for folder in {one.parent for one in found}:
        list_entries(folder)
    missing = [one for one in found if not one.is_file()]
    if missing:
        raise DataError(
            f"{path} names {len(found):,} files, of which {len(missing):,} are not there: "
            f"{first_few([str(one) for one in missing], 3)}. Correct the numbers in braces."
        )
    return found


def _tars_in(folder: Location) -> list[Location]:
    return sorted((path for path in entries(folder) if _is_shard(path)), key=str)


def _is_shard(path: Location) -> bool:
    return path.suffix.lower() == TAR_SUFFIX and not path.name.startswith(".")


def _expanded(path: Location) -> list[Location]:
    """Return the paths that braces stand for: {0000..0012} counts with as many digits, {a,b} names each."""
    text = str(path)
    parts: list[list[str]] = []
    end, count = 0, 1
    for found in _BRACES.finditer(text):
        if found["names"] is not None:
            names = found["names"].split(",")
        else:
            first, last, width = int(found["first"]), int(found["last"]), len(found["first"])
            if last - first >= _MAX_SHARDS:
                raise DataError(f"{path} names more than {_MAX_SHARDS:,} files.")
            names = [str(number).zfill(width) for number in range(first, last + 1)]
        count *= len(names)
        parts += [[text[end : found.start()]], names]
        end = found.end()
    if count > _MAX_SHARDS:
        raise DataError(f"{path} names more than {_MAX_SHARDS:,} files.")
    return [type(path)("".join(one) + text[end:]) for one in itertools.product(*parts)]


_tables: OrderedDict[tuple[object, ...], TarTable] = OrderedDict()
_tables_lock = threading.Lock()


def open_tar_table(file: Location) -> TarTable:
    """Return the samples of an archive, whose headers are read once, without unpacking it.

    Raises:
        DataError: it cannot be read, is compressed, or holds files and no sample.
    """
    try:
        key = (str(file), *stamp_of(file))
        with _tables_lock:
            if key in _tables:
                return _tables[key]
        headers: Any = _Headers  # tarfile asks for no more than these three methods
        with open_file(file, kept=True) as stream, tarfile.open(fileobj=headers(stream), mode="r:") as archive:
            notes: list[str] = []
            found = list(_samples_in(file, archive, stream, notes))
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is not a readable .tar file: {error}. {_what_it_holds(file)}") from None
    kept = [sample for sample in found if sample.images]
    if not kept and archive.offset:  # behind the first header
        raise DataError(f"{file} holds no image. {_what_it_holds(file)}")
    if len(kept) < len(found):
        notes.append(f"{file}: {len(found) - len(kept):,} of {len(found):,} samples have no image: left out")
    table = TarTable(file, kept, notes)
    with _tables_lock:
        _tables[key] = table
        while len(_tables) > _TABLES_KEPT:
            _tables.popitem(last=False)
    return table


def empty_archive(file: Location) -> EmptyArchiveError:
    """Return the error for an archive of nothing, where no other one has photos."""
    return EmptyArchiveError(f"{file} holds no image: it is empty. {_what_it_holds(file)}")


def notes_on(files: Iterable[Location]) -> list[str]:
    """Return the notes on archives that were read lately: what was left out of them. None is read again."""
    with _tables_lock:
        known = {table.file: table.notes for table in _tables.values()}
    return [note for file in files for note in known.get(file, ())]


def _what_it_holds(file: Location) -> str:
    expected = "Expected are samples, files of one key as in key.jpg and key.cls"
    if isinstance(file, RemotePath):
        return f"{expected}."
    return f"{expected}. {_or_unpack(file)}"


def _or_unpack(file: Location) -> str:
    return f"If it is an archive of folders, unpack it ({unpack_command(file)}) and name what comes out."


class _Headers:
    """An archive as its headers are read: what claims that its name or its notes take megabytes is refused."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_JSON:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)


def _samples_in(file: Location, archive: Any, stream: BinaryIO, notes: list[str]) -> Iterator[_Sample]:
    """Yield the samples: files of one key that follow each other; add to `notes` what else may be missed."""
    sample: _Sample | None = None
    links = 0  # GNU tar makes them of files that were packed before under another name
    while (member := archive.next()) is not None:
        archive.members.clear()  # else they stay in memory, also of millions of files that are no photos
        found = _MEMBER.fullmatch(member.name)
        links += found is not None and (member.islnk() or member.issym()) and _is_image(found["field"])
        if found is None or not member.isreg() or member.issparse():
            continue
        if sample is None or sample.key != found["key"]:
            if sample is not None:
                yield sample
            sample = _Sample(found["key"])
        _add(sample, found["field"].lower(), ArchiveMember(file, member.offset_data, member.size, member.name), stream)
    if sample is not None:
        yield sample
    if links:
        notes.append(
            f"{file}: {counted(links, 'photo')} left out, as links to other files, which are not followed. Pack "
            "the photos themselves in place of links"
        )
    notes += _notes_on_end(file, archive.offset, stream)


def _notes_on_end(file: Location, end: int, stream: BinaryIO) -> list[str]:
    """Return a note where an archive lacks its end.

    Raises:
        tarfile.ReadError: it goes on behind what was read: a damaged header ends it quietly, and so do the zeros
            between archives that were written one after the other into a file.
    """
    stream.seek(end)
    block = stream.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0") or 0 < len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"a damaged header at byte {end:,}")
    if not block:
        return [f"{file} lacks the zeros that end a .tar file: if it was cut, samples are missing"]
    if stream.read(_MAX_JSON).strip(b"\0"):
        raise tarfile.ReadError(
            f"it goes on behind its end at byte {end:,}, as files that were put together by cat do. Name them one by "
            "one, or join them with tar -A"
        )
    return []


def _add(sample: _Sample, kind: str, member: ArchiveMember, stream: BinaryIO) -> None:
    """Add a file to the sample that it is of; others than images, labels and JSON are passed over."""
    if _is_image(kind):
        sample.images[kind] = member
    elif kind in _TEXTS and member.size <= _MAX_TEXT:
        sample.texts[kind] = without_blanks(_bytes_of(member, stream).decode("utf-8", "backslashreplace")) or None
    elif kind == _JSON and member.size <= _MAX_JSON:
        fields = json_or_none(_bytes_of(member, stream))
        if isinstance(fields, dict):
            plain = {name: value for name, value in fields.items() if isinstance(value, str | int | float)}
            sample.texts = {**plain, **sample.texts}  # a file of its own says more than a field of its name


def _is_image(kind: str) -> bool:
    return PurePosixPath(f"x.{kind}").suffix.lower() in IMAGE_SUFFIXES


def _bytes_of(member: ArchiveMember, stream: BinaryIO) -> bytes:
    place = stream.tell()
    stream.seek(member.start)
    data = stream.read(member.size)
    stream.seek(place)  # the archive's reader goes on from there
    if len(data) < member.size:
        raise EOFError(f"it ends within {member.name!r}")
    return data
