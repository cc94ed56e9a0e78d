"""The bytes of a file in a store, as a stream and in blocks that are kept for who reads beside them."""

import io
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any, NamedTuple

from regraft.storage.store import PIECE, Store

BLOCKS_IN_MEMORY = 32  # of `PIECE` bytes: of archives, whose photos are read in order by threads near each other


class Content(NamedTuple):
    """What a file of a store holds at one time.

    Attributes:
        store: that it lies in.
        url: its address.
        size: in bytes.
        stamp: changes when it does.
    """

    store: Store
    url: str
    size: int
    stamp: str

    def read(self, start: int, end: int) -> bytes:
        """Return its bytes from `start` to before `end`. See `Store.read_part`."""
        return self.store.read_part(self.url, start, end, size=self.size)


class ContentStream(io.RawIOBase):
    """A file of a store, whose bytes are asked for as they are read.

    Args:
        content: of the file.
        blocks: that keep what is read; None where nothing is kept.
    """

    def __init__(self, content: Content, blocks: "Blocks | None") -> None:
        self._content, self._blocks, self._at = content, blocks, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the byte that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, which may lie behind the end, and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as there are bytes, and return how many there were."""
        end = min(self._at + len(buffer), self._content.size)
        if self._blocks is None:
            data = self._content.read(self._at, end)
        else:
            data = self._blocks.read(self._content, self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Blocks:
    """Blocks of files in stores. Who asks for one that is on its way waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, str, int], Future[bytes]] = OrderedDict()

    def read(self, content: Content, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` to before `end`, as far as there are any."""
        end = min(end, content.size)
        numbers = range(start // PIECE, (end - 1) // PIECE + 1) if end > start else ()
        data = b"".join(self._block(content, number) for number in numbers)
        first = start // PIECE * PIECE
        return data[start - first : end - first]

    def _block(self, content: Content, number: int) -> bytes:
        key = (content.url, content.stamp, number)
        with self._lock:
            found = self._blocks.get(key)
            mine = found is None
            if found is None:
                found = self._blocks[key] = Future()
                while len(self._blocks) > BLOCKS_IN_MEMORY:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(key)
        if mine:
            self._fill(found, key, content)
        return found.result()

    def _fill(self, block: "Future[bytes]", key: tuple[str, str, int], content: Content) -> None:
        start = key[2] * PIECE
        try:
            block.set_result(content.read(start, min(start + PIECE, content.size)))
        except BaseException as error:
            with self._lock:
                self._blocks.pop(key, None)
            block.set_exception(error)
