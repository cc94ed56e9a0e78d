"""Write a classifier in another format, and do not leave it there unless it answers as the classifier does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regraft.classifier.classifier import Classifier
from regraft.errors import OptionError, OutputError, option, printable
from regraft.exports.formats import Format, format_named
from regraft.exports.graph import ClassifierGraph, least_decoded
from regraft.exports.metadata import as_text, describe
from regraft.exports.parity import MOST_PHOTOS, Parity, compare, evenly, reference_of
from regraft.exports.photos import made_photos
from regraft.files import atomic_write_of, check_output, size_in_words
from regraft.images.sources import Source
from regraft.progress import Observer

_EXAMPLE = (2, 301, 407, 3)  # photos that graphs are traced with: no side is that of a network, or another's multiple


@dataclass(frozen=True)
class Export:
    """A classifier that was written in another format.

    Attributes:
        path: of the file.
        format: its name, a row of `FORMATS`.
        size: of all files, in bytes.
        parity: with the classifier.
    """

    path: Path
    format: str
    size: int
    parity: Parity

    def __str__(self) -> str:
        """Return what was written, and how it compares."""
        return f"wrote {printable(self.path)} ({self.format}, {size_in_words(self.size)})\n{self.parity}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "out": str(self.path),
            "format": self.format,
            "bytes": self.size,
            **self.parity.to_json(),
        }


def export(
    classifier: Classifier,
    to: str,
    out: Path,
    *,
    check: Sequence[Source] | None = None,
    observer: Observer | None = None,
) -> Export:
    """Write a classifier in another format.

    The file is written, loaded and compared with the classifier on photos before it appears under its name.

    Args:
        classifier: with a linear head.
        to: the format, a row of `FORMATS`.
        out: the file, which is not there yet.
        check: photos that it is compared on; at most `MOST_PHOTOS` of them are drawn. None makes some up.
        observer: hears findings and progress.

    Raises:
        OptionError: no such format, an ending that is another's, or a head that is not linear.
        OutputError: it exists, or cannot be written.
        MissingPackageError: the format takes a package that is not installed.
        DataError: no photo can be read.
        ExportError, EngineError: the format cannot express the network, or the file does not answer as the classifier.
    """
    observer, format = observer or Observer(), format_named(to)
    check_out(out, format)
    format.check_installed()
    graph, least = ClassifierGraph(classifier), least_decoded(classifier)
    description = as_text(describe(classifier, format.libraries))
    with _photos(check, observer) as photos:
        reference = reference_of(classifier, photos, observer)
        if reference.left_out:
            observer.say(
                f"{len(reference.left_out):,} photos of more than 8 bits are left out of the comparison: whoever runs "
                "the file must bring them to 8 bits"
            )
        with atomic_write_of(out, *format.companions) as temporary:
            observer.say(f"writing {format.name}")
            format.write(graph, torch.zeros(_EXAMPLE, dtype=torch.uint8), temporary, description)
            parity = compare(format.load(temporary), reference, least, observer, made=check is None)
            parity.check(format.name)
            size = sum(file.stat().st_size for file in format.files(temporary))
    return Export(out, format.name, size, parity)


@contextmanager
def _photos(check: Sequence[Source] | None, observer: Observer) -> Iterator[Sequence[Source]]:
    if check is not None:
        yield evenly(check)
        return
    observer.say(
        f"compared on photos that are made up, as no others are named: {option('check')} names a folder of yours, of "
        f"which up to {MOST_PHOTOS} are taken"
    )
    with made_photos() as photos:
        yield photos


def check_out(out: Path, format: Format) -> None:
    """Raise `OptionError` or `OutputError` where an export cannot be written. Called before any expensive work."""
    said = option("out")
    if out.suffix.lower() != format.suffix:
        raise OptionError(
            f"{said} must end in {format.suffix}, which {option('to', format.name)} writes. Got {printable(out)}."
        )
    for file in format.files(out):
        check_output(file, option=said)
        if file.exists():
            raise OutputError(f"{said} {printable(file)} exists. Name another file, or remove it first.")
