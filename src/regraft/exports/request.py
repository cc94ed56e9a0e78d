"""What can be asked of an export, checked before anything that takes time. No torch here."""

from pathlib import Path

from regraft.errors import OptionError, OutputError, option, printable
from regraft.exports.formats import FORMATS, Format
from regraft.files import check_output
from regraft.options import number

MAX_LOSS = 1.0  # percentage points, where none are named


def check_request(
    out: Path, format: Format, *, photos: bool, int8: bool = False, max_loss: float | None = None, force: bool = False
) -> None:
    """Raise where an export cannot be. See `exports.export.export`.

    Args:
        out: the file.
        format: of the file.
        photos: whether photos are named.
        int8: whether it is to be quantised.
        max_loss: percentage points.
        force: whether files that are there are replaced.
    """
    said = option("out")
    if int8:
        check_int8(format, photos=photos, max_loss=max_loss)
    elif max_loss is not None:
        raise OptionError(f"{option('max_loss')} is of {option('int8', True)}. Add that, or leave it out.")
    if out.suffix.lower() != format.suffix:
        raise OptionError(
            f"{said} must end in {format.suffix}, which {option('to', format.name)} writes. Got {printable(out)}."
        )
    for file in format.files(out):
        check_output(file, option=said)
        if file.exists() and not force:
            beside = "" if file == out else f": {printable(file)}, which is written with it,"
            raise OutputError(
                f"{said} {printable(out)}{beside} exists. Name another file, or replace it: {option('force', True)}."
            )
    format.check_installed(int8=int8)


def check_int8(format: Format, *, photos: bool, max_loss: float | None) -> None:
    """Raise `OptionError` where an int8 export cannot be asked for.

    Args:
        format: of the file.
        photos: whether there are some.
        max_loss: percentage points.
    """
    if format.quantise is None:
        able = ", ".join(option("to", one.name) for one in FORMATS.values() if one.quantise is not None)
        raise OptionError(f"{option('int8', True)} is for {able}. Got {option('to', format.name)}.")
    if not photos:
        raise OptionError(
            f"{option('int8', True)} needs photos that it is calibrated and judged on: name them with "
            f"{option('check')}, e.g. photos that it did not learn from, beside some that it did."
        )
    if max_loss is not None and not number(max_loss, 0, 100):
        raise OptionError(f"{option('max_loss')} must be percentage points from 0 to 100. Got {max_loss!r}.")
