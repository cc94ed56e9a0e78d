"""A store as fsspec opens it: what lies in it, and its bytes. Every wait ends, and what fails is said in a sentence."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from regraft.errors import StorageError, printable
from regraft.storage.addresses import HTTP, check_connection, hold, place_of, release, sign_in, split_address
from regraft.storage.failures import (
    ABSENT,
    ATTEMPTS,
    REFUSED,
    SAYS,
    NoPartsError,
    ShortReadError,
    Trouble,
    failure_to_create,
    lacks_bucket,
    trouble_of,
)
from regraft.storage.outages import Outage, Outages

PIECE = 1 << 23  # bytes that are asked for at once of what is read piece by piece
_REQUEST_SECONDS = 120.0  # until all of an answer is there: one that drips byte by byte ends, too
_WHOLE = 1 << 26  # bytes of a file that may come whole where its parts are asked for one by one
_LISTING_SECONDS = 30.0  # that a listing is used for: a command asks for one several times
_LONGEST_WAIT = 4.0  # seconds between two attempts; the first is a fraction of one
# What stores call a file's checksum, else the time of its last change
_STAMPS = ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "mtime", "created")

_LEADING_SLASHES = ("s3", "s3a", "gs", "gcs")  # whose clients list a folder named so as the one without it
_VERSION = "?versionId="  # s3fs reads another object: the one named before it

_T = TypeVar("_T")


class Entry(NamedTuple):
    """A file or a folder in a store.

    Attributes:
        is_folder: it is a folder.
        size: in bytes; None where the store does not say.
        stamp: changes when the file does, as far as the store says.
    """

    is_folder: bool
    size: int | None = None
    stamp: str = ""


FOLDER = Entry(is_folder=True)


class _Listing(NamedTuple):
    """What lies directly in a folder, until when that is taken as true, and whether all below it was listed, too."""

    until: float
    entries: dict[str, Entry]
    deep: bool


_NOTHING = _Listing(0.0, {}, deep=False)


def _entry(about: Mapping[str, Any]) -> Entry:
    size = about.get("size")
    stamp = next((str(about[key]) for key in _STAMPS if about.get(key)), "")
    return Entry(about.get("type") == "directory", None if size is None else int(size), stamp)


class Store:
    """One file system of fsspec; several threads may ask it at once.

    Args:
        scheme: of its addresses.
        files: fsspec's file system.
        retried: kinds of failure that its own client does not try again.
    """

    def __init__(self, scheme: str, files: Any, retried: frozenset[str]) -> None:
        self.scheme = scheme
        self._files = files
        self._retried = retried
        self._outages = Outages()
        self._lock = threading.Lock()
        self._listings: dict[str, _Listing] = {}  # by folder
        self._said: dict[str, tuple[float, Entry]] = {}  # of single files and folders: until when, and what

    @property
    def lists(self) -> bool:
        """Whether there are folders: a web server has none."""
        return self.scheme not in HTTP

    def entry(self, url: str) -> Entry | None:
        """Return what is at an address, None where there is nothing.

        Raises:
            StorageError: the store does not answer, or refuses access.
        """
        url = url.rstrip("/")
        folder, name = split_address(url)
        known = self._known(folder) if name else None
        if known is not None:
            return known.get(name)
        if self._known(url):
            return FOLDER
        until, said = self._said.get(url, (0.0, FOLDER))
        if time.monotonic() < until:
            return said
        try:
            with self._asked(url):
                found = _entry(self._retrying(lambda: self._call("info", self._path(url))))
        except FileNotFoundError:
            return None
        if found.size == 0 and not found.is_folder and self.lists:  # what some programs make for a folder
            self.list_below(url)
            found = FOLDER if self._known(url) else found
        self._said[url] = (time.monotonic() + _LISTING_SECONDS, found)
        return found

    def remembered(self, url: str) -> Entry | None:
        """Return what this process was told of a file, however long ago, without asking; None where that is nothing."""
        folder, name = split_address(url)
        listing = self._listings.get(folder, _NOTHING)
        if url in self._said and (name not in listing.entries or listing.until < time.monotonic()):
            return self._said[url][1]
        return listing.entries.get(name)

    def listing(self, url: str) -> Mapping[str, Entry]:
        """Return what lies directly in a folder, by name; nothing where there is none.

        Raises:
            StorageError: as `entry`; or it has no folders.
        """
        url = url.rstrip("/")
        known = self._known(url)
        if known is None:
            self._list(url, deep=False)
            known = self._known(url) or {}
        return known

    def list_below(self, url: str) -> None:
        """List all that lies in a folder, at any depth, by as few requests as that takes; `listing` has it then.

        Raises:
            StorageError: as `listing`.
        """
        if self._known(url.rstrip("/"), deep=True) is None:
            self._list(url.rstrip("/"), deep=True)

    def matching(self, pattern: str) -> list[str]:
        """Return the addresses of the files that fit a pattern, in no order.

        Raises:
            StorageError: as `listing`.
        """
        self._check_lists(pattern)
        start = f"{self.scheme}://"
        with self._asked(pattern):
            found = self._retrying(lambda: self._call("glob", self._path(pattern), detail=True))
            if not found:
                self._check_bucket(pattern)
        return [start + name.lstrip("/") for name, about in found.items() if not _entry(about).is_folder]

    def read(self, url: str) -> bytes:
        """Return all bytes of a file, in one request.

        Raises:
            OSError: the reason, in words, why they cannot be read.
            StorageError: nor could what was read before: the store is gone.
        """
        data: bytes = self._reading(url, lambda: self._call("cat_file", self._path(url)))
        return data

    def read_part(self, url: str, start: int, end: int, *, size: int) -> bytes:
        """Return the bytes of a file from `start` to before `end`, of which all must be there.

        Args:
            url: of the file.
            start: its first byte.
            end: behind its last byte.
            size: of the whole file.

        Raises:
            OSError, StorageError: as `read`.
        """
        if end <= start:
            return b""

        def part() -> bytes:
            data: bytes = self._call("cat_file", self._path(url), start=start, end=end)
            if len(data) == size != end - start:  # of a server that knows no ranges
                if size > _WHOLE:
                    raise NoPartsError
                data = data[start:end]
            if len(data) != end - start:
                raise ShortReadError
            return data

        return self._reading(url, part)

    def write(self, url: str, data: bytes, *, new: bool = False) -> None:
        """Write a file, whole or not at all; `new`: only if it is not there yet.

        Raises:
            FileExistsError: it is there, and is to be new.
            NotImplementedError: the store cannot tell that.
            StorageError: the store does not answer, or refuses access.
        """

        def pipe() -> Exception | None:
            try:
                self._call("pipe_file", self._path(url), data, **({"mode": "create"} if new else {}))
            except Exception as error:  # as in `read`
                if not new or (failure := failure_to_create(error)) is None:
                    raise
                return failure
            return None

        try:
            with self._asked(url):
                failure = self._retrying(pipe)
        except FileNotFoundError:
            raise self._no_place(url) from None
        with self._lock:
            self._listings.clear()  # they say that it is not there
            self._said.clear()
        if failure is not None:
            raise failure

    def _reading(self, url: str, request: Callable[[], bytes]) -> bytes:
        if _VERSION in url and self.scheme in ("s3", "s3a"):
            raise OSError(f"its name holds {_VERSION}, by which its client reads another object. Rename it")
        self._refuse(url, self._outages.ask(url))
        try:
            data = self._retrying(request)
        except Exception as error:  # whatever a client raises: the kind is found by its type
            trouble = trouble_of(error)
            if trouble.kind == ABSENT:
                self._outages.answered(url)
                raise FileNotFoundError(trouble.words) from None
            self._refuse(url, self._outages.failed(url, trouble))
            raise OSError(trouble.words) from None
        self._outages.answered(url)
        return data

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of fsspec's; the requests of an asynchronous one end in time."""
        if method == "cat_file" and getattr(self._files, "async_impl", False):
            from fsspec.asyn import sync

            return sync(self._files.loop, self._files._cat_file, *arguments, timeout=_REQUEST_SECONDS, **named)
        return getattr(self._files, method)(*arguments, **named)

    def _retrying(self, request: Callable[[], _T]) -> _T:
        import tenacity

        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=_LONGEST_WAIT / 8, max=_LONGEST_WAIT),
            retry=tenacity.retry_if_exception(lambda error: trouble_of(error).kind in self._retried),
            reraise=True,
        )
        return attempts(request)

    def _refuse(self, url: str, outage: Outage | None) -> None:
        """Raise `StorageError` where the place of an address counts as gone."""
        if outage is None:
            return
        trouble = outage.trouble
        raise StorageError(
            f"{self._name(url)} {SAYS[trouble.kind]}: {outage.failures} reads in a row failed, each after all "
            f"attempts, the last of {printable(outage.url)} ({trouble.words}). {self._remedy(trouble)} Then run the "
            "same command again: what was computed is kept."
        ) from None

    def _remedy(self, trouble: Trouble) -> str:
        return sign_in(self.scheme) if trouble.kind == REFUSED else check_connection(self.scheme)

    @contextmanager
    def _asked(self, url: str) -> Iterator[None]:
        """Turn what goes wrong with an address that was named into one sentence."""
        try:
            yield
        except StorageError:
            raise
        except FileNotFoundError as error:
            if lacks_bucket(error):
                raise self._no_place(url) from None
            raise
        except Exception as error:  # as in `read`
            trouble = trouble_of(error)
            remedy = self._remedy(trouble)
            raise StorageError(
                f"{printable(url)}: {self._name(url)} {SAYS[trouble.kind]}: {trouble.words}. {remedy}"
            ) from None

    def _check_bucket(self, url: str) -> None:
        """Raise `FileNotFoundError` where the bucket of an address is not there; its client's globs do not say so."""
        try:
            self._call("info", self._path(place_of(url)))
        except Exception as error:  # whatever else a client raises: of one that refuses, nothing is known
            if lacks_bucket(error):
                raise

    @staticmethod
    def _no_place(url: str) -> StorageError:
        return StorageError(
            f"{printable(url)}: there is no {printable(place_of(url))}. Check its name, or make it first."
        )

    def _name(self, url: str) -> str:
        return f"the store of {printable(place_of(url))}"

    def _check_lists(self, url: str) -> None:
        if not self.lists:
            raise StorageError(
                f"{printable(url)}: a web server does not say which files it has. Name a single file: a photo, a table "
                "(.csv, .tsv, .parquet) or a .tar."
            )

    def _known(self, folder: str, *, deep: bool = False) -> dict[str, Entry] | None:
        found = self._listings.get(folder, _NOTHING)
        return found.entries if time.monotonic() < found.until and found.deep >= deep else None

    def _list(self, url: str, *, deep: bool) -> None:
        self._check_lists(url)
        path, started = self._path(url), time.monotonic()
        with self._asked(url):
            self._files.invalidate_cache()
            try:
                found, deep = self._found(path, deep=deep)
            except (FileNotFoundError, NotADirectoryError) as error:
                if lacks_bucket(error):
                    raise
                found = []
        folders: dict[str, dict[str, Entry]] = {url: {}}
        root = path.rstrip("/") + "/"
        for name, about in found:
            if not name.startswith(root):  # the folder itself, where a file has its name
                continue
            self._place(folders, url, name[len(root) :], _entry(about))
        now = time.monotonic()
        until = now + max(_LISTING_SECONDS, 2 * (now - started))  # what took long is gone through for long
        self._listings |= {folder: _Listing(until, entries, deep) for folder, entries in folders.items()}

    def _found(self, path: str, *, deep: bool) -> tuple[Sequence[tuple[str, Mapping[str, Any]]], bool]:
        """Return what lies in a folder, by the names that fsspec has for it, and whether all below it is there, too."""
        bucket, _, key = path.partition("/")
        slashed = key.startswith("/") and self.scheme in _LEADING_SLASHES
        if not (deep or slashed):
            listed = self._retrying(lambda: self._call("ls", path, detail=True))
            # one without a name, or called ".": it belongs to the names in it (see `addresses.hold`)
            nameless = (path, f"{path}/.")
            if not any(one.get("type") == "directory" and one["name"].rstrip("/") in nameless for one in listed):
                return [(one["name"], one) for one in listed], False
        if slashed:
            below = self._retrying(lambda: self._call("find", bucket, prefix=f"{key}/", detail=True))
        else:
            below = self._retrying(lambda: self._call("find", path, detail=True))
        return list(below.items()), True

    @staticmethod
    def _place(folders: dict[str, dict[str, Entry]], url: str, name: str, entry: Entry) -> None:
        """Add what was listed to the folders that it lies in. A folder counts where a file has its name."""
        if name.endswith("/"):  # what consoles make for an empty folder
            entry = FOLDER
        if not name.strip("/"):
            return
        *above, last = map(release, hold(name.rstrip("/")).split("/"))
        folder = url
        for part in above:
            folders[folder][part] = FOLDER
            folder = f"{folder}/{part}"
            folders.setdefault(folder, {})
        if entry.is_folder:
            folders[folder][last] = entry
        else:
            folders[folder].setdefault(last, entry)

    def _path(self, url: str) -> str:
        return str(self._files._strip_protocol(url))
