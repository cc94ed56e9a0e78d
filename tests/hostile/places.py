"""Things in a folder of photos that are no files, files of no end, and names that steer what shows them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.hostile.encodings import encode

Place = Callable[[Path], object]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listener(path: Path) -> None:
    """Leave a socket: its name must be short where it is bound, and it stays when nobody listens any more."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
        Path("s").rename(path.name)
    finally:
        os.chdir(before)


def sparse(path: Path, size: int = 20 * 1000**3, head: bytes = b"\xff\xd8\xff") -> None:
    """Write a file that takes no room on the disk, and zeros for whoever reads on."""
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside.jpg").write_bytes(encode("JPEG"))


def without_permission(path: Path) -> None:
    path.write_bytes(encode("JPEG"))
    path.chmod(0)


PLACES: dict[str, Place] = {
    "pipe.jpg": pipe,
    "socket.jpg": listener,
    "zeros.jpg": lambda path: path.symlink_to("/dev/zero"),
    "random.png": lambda path: path.symlink_to("/dev/random"),
    "input.jpg": lambda path: path.symlink_to("/dev/stdin"),
    "terminal.jpg": lambda path: path.symlink_to("/dev/tty"),
    "memory.jpg": lambda path: path.symlink_to("/proc/self/mem"),
    "endless.jpg": sparse,
    "nowhere.jpg": lambda path: path.symlink_to("nothing here"),
    "itself.jpg": lambda path: path.symlink_to(path.name),
    "empty.jpg": Path.touch,
    "folder.jpg": folder,
    "folders.jpg": lambda path: path.symlink_to("/"),
    "closed.jpg": without_permission,
}
NAMES = (
    b"\x1b[2J\x1b]0;title\x07.jpg",
    b"two\nlines\r.jpg",
    b"=cmd|' -C calc'!A0.jpg",
    b"@SUM(1+1)*cmd.png",
    b"\xff\xfe not UTF-8.jpg",
    "right to left \u202egpj.exe".encode(),
    b"-rf.jpg",
    b"; touch marker;.jpg",
    b"$(touch marker).jpg",
    b"%s%n%s%n.jpg",
    b"a" * 250 + b".jpg",
    b"image.jpg:stream",
    b"photo.jpg[page=2]",
    b" ",
)


def write_names(directory: Path, content: bytes) -> list[Path]:
    """Write one photo under every name."""
    written = [Path(os.fsdecode(os.path.join(os.fsencode(directory), name))) for name in NAMES]  # noqa: PTH118
    for path in written:
        path.write_bytes(content)
    return written
