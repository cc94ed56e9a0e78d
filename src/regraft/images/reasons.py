"""Why a photo cannot be read, in words, and whether that may be over another time."""

import errno
import os

from PIL import UnidentifiedImageError

from regraft.files import UnusableFileError
from regraft.storage import failures

GONE, NO_PERMISSION = "the file is gone", "no permission to read it"
# of a file system that lies elsewhere; not every system has all names
_PASSING = ("EIO", "ESTALE", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENOTCONN")


def may_pass(reason: str) -> bool:
    """Tell whether a reason is of where a photo lies, and not of the photo: another time, it may be read."""
    passing = {os.strerror(getattr(errno, name)) for name in _PASSING if hasattr(errno, name)}
    return reason in {GONE, NO_PERMISSION, *passing} or failures.may_pass(reason)


def reason_of(error: BaseException) -> str:
    """Return what a decoder, or what opens a file, raised, in words."""
    if isinstance(error, UnusableFileError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return GONE
    if isinstance(error, PermissionError):
        return NO_PERMISSION
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or damaged at its start"
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    text = (getattr(error, "strerror", None) or str(error)).strip().rstrip(".") or type(error).__name__
    return text if "runcated" not in text else "the file is cut off (truncated)"
