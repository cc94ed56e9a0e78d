"""Archives, which are not read: how each is unpacked."""

import shlex
from collections.abc import Iterable
from pathlib import PurePath

from natsort import natsorted

from regraft.errors import first_few

_SHOWN = 3
_TAR = "tar -xf {}"
# By ending, the longest first; {} stands for the file
_COMMANDS = {
    **dict.fromkeys((".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tbz2", ".tbz", ".txz", ".tar"), _TAR),
    **dict.fromkeys((".zip", ".zipx", ".cbz"), "unzip {}"),
    **dict.fromkeys((".7z", ".zip.001", ".7z.001"), "7z x {}"),
    ".rar": "unrar x {}",
    ".gz": "gunzip -k {}",
    ".bz2": "bunzip2 -k {}",
    ".xz": "unxz -k {}",
    ".zst": "unzstd {}",
}


def to_unpack(files: Iterable[PurePath]) -> str:
    """Return in words how the archives among `files` are unpacked, "" where none is one."""
    commands = natsorted(command for file in files if (command := unpack_command(file)))
    return f"Unpack what lies in it: {first_few(commands, _SHOWN)}." if commands else ""


def is_compressed_tar(path: PurePath) -> bool:
    """Tell by the name of a file whether it is a .tar that was compressed.

    >>> [is_compressed_tar(PurePath(name)) for name in ("a.tar.gz", "a.TGZ", ".a.tar.gz", "a.tar", "a.gz")]
    [True, True, False, False, False]
    """
    name = path.name.lower()
    packed = any(name.endswith(ending) for ending, command in _COMMANDS.items() if command == _TAR and ending != ".tar")
    return packed and not name.startswith(".")


def unpack_command(path: PurePath) -> str | None:
    """Return the command that unpacks an archive, by its ending; None where `path` is none.

    >>> [unpack_command(PurePath(name)) for name in ("my photos.ZIP", "pets.tar.gz", "pets")]
    ["unzip 'my photos.ZIP'", 'tar -xf pets.tar.gz', None]
    """
    name = path.name.lower()
    command = next((command for ending, command in _COMMANDS.items() if name.endswith(ending)), None)
    return command and command.format(shlex.quote(str(path)))
