"""Write a classifier in another format, and do not leave it there unless it answers as the classifier does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regraft.classifier.classifier import Classifier
from regraft.data.audit import inspect
from regraft.data.photo_list import PhotoList
from regraft.errors import option, printable
from regraft.exports.formats import Format, format_named
from regraft.exports.graph import ClassifierGraph, least_decoded
from regraft.exports.metadata import as_text, describe
from regraft.exports.parity import MOST_PHOTOS, Parity, Reference, check_batch, compare, evenly, reference_of
from regraft.exports.photos import made_photos
from regraft.exports.quantisation import (
    DecodedPhotos,
    QuantisationLoss,
    decodable,
    loss_of,
    split_photos,
)
from regraft.exports.request import MAX_LOSS, check_request
from regraft.files import atomic_write_of, size_in_words
from regraft.progress import Observer

_EXAMPLE = (2, 61, 83, 3)  # photos that graphs are traced with: no side is that of a network, or another's multiple


@dataclass(frozen=True)
class Export:
    """A classifier that was written in another format.

    Attributes:
        path: of the file.
        format: its name, a row of `FORMATS`.
        size: of all files, in bytes.
        parity: with the classifier; of an int8 file before it was quantised.
        int8: what the quantised file loses; None for one in float32.
    """

    path: Path
    format: str
    size: int
    parity: Parity
    int8: QuantisationLoss | None = None

    def __str__(self) -> str:
        """Return what was written, and how it compares."""
        kind = self.format if self.int8 is None else f"{self.format}, int8"
        before = "" if self.int8 is None else "in float32 "
        lines = [
            f"wrote {printable(self.path)} ({kind}, {size_in_words(self.size)})",
            f"{before}{self.parity}",
            *([] if self.int8 is None else [str(self.int8)]),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        int8 = None if self.int8 is None else self.int8.to_json()
        return {
            "out": str(self.path),
            "format": self.format,
            "bytes": self.size,
            **self.parity.to_json(),
            "int8": int8,
        }


def export(
    classifier: Classifier,
    to: str,
    out: Path,
    *,
    check: PhotoList | None = None,
    int8: bool = False,
    max_loss: float | None = None,
    force: bool = False,
    observer: Observer | None = None,
) -> Export:
    """Write a classifier in another format.

    The file is written, loaded and compared with the classifier on photos before it appears under its name.

    Args:
        classifier: with a linear head.
        to: the format, a row of `FORMATS`.
        out: the file.
        check: photos that it is compared on; at most `MOST_PHOTOS` of them are drawn. None makes some up.
        int8: quantise it, calibrated on a part of `check` and judged on the others.
        max_loss: percentage points that this may lose; None for `MAX_LOSS`.
        force: replace files that are there.
        observer: hears findings and progress.

    Raises:
        OptionError: no such format, an ending that is another's, a head that is not linear, or int8 that cannot be.
        OutputError: it exists (without `force`), or cannot be written.
        MissingPackageError: the format takes a package that is not installed.
        DataError: no photo can be read, or too few for int8.
        ExportError, EngineError: the format cannot express the network, or the file does not answer as the classifier.
    """
    observer, format = observer or Observer(), format_named(to)
    check_request(out, format, photos=check is not None, int8=int8, max_loss=max_loss, force=force)
    writer = _Writer(classifier, format, observer)
    with _photos(check, observer) as photos, atomic_write_of(out, *format.companions) as temporary:
        if int8:
            parity, loss = writer.write_int8(temporary, photos, MAX_LOSS if max_loss is None else max_loss)
        else:
            chosen = evenly(len(photos))
            reference = writer.reference(PhotoList.unlabelled([photos.sources[place] for place in chosen]))
            parity, loss = writer.write(temporary, reference, made=check is None), None
        size = sum(file.stat().st_size for file in format.files(temporary))
    return Export(out, format.name, size, parity, loss)


class _Writer:
    """Writes files of one classifier in one format, and compares them with it."""

    def __init__(self, classifier: Classifier, format: Format, observer: Observer) -> None:
        self._classifier, self._format, self._observer = classifier, format, observer
        self._graph, self._least = ClassifierGraph(classifier), least_decoded(classifier)

    def reference(self, photos: PhotoList) -> Reference:
        """Return what the classifier answers; say which photos are left out."""
        found = reference_of(self._classifier, photos, self._observer)
        if found.deep:
            self._observer.say(
                f"{found.deep:,} photos of more than 8 bits are left out of the comparison: whoever runs the file must "
                "bring them to 8 bits"
            )
        return found

    def write(self, path: Path, reference: Reference, *, made: bool = False) -> Parity:
        """Write the file in float32, and return how it compares.

        Raises:
            ExportError: it answers otherwise.
        """
        self._observer.say(f"writing {self._format.name}")
        example = torch.zeros(_EXAMPLE, dtype=torch.uint8)
        self._format.write(self._graph, example, path, self._description("float32"))
        graph = self._format.load(path)
        parity = compare(graph, reference, self._least, self._observer, made=made)
        parity.check(self._format.name)
        check_batch(graph, reference.sources, self._least, self._format.name)
        return parity

    def write_int8(self, path: Path, photos: PhotoList, max_loss: float) -> tuple[Parity, QuantisationLoss]:
        """Write the file in int8, and return how that in float32 compares, and what int8 loses.

        Raises:
            ExportError: it answers otherwise, or loses more than `max_loss`.
        """
        assert self._format.quantise is not None  # `check_int8` has seen to it
        keys = inspect(photos.sources).keys
        seen = self._classifier.was_seen(keys, "training")
        calibrating, judging = split_photos(keys, seen)
        reference = self.reference(photos.select(judging))
        plain = path.with_name(f"float32-{path.name}")
        parity = self.write(plain, reference.select(evenly(len(reference.sources))))
        self._observer.say(f"calibrating int8 on {len(calibrating):,} photos")
        usable = decodable([photos.sources[place] for place in calibrating], self._least)
        calibration = DecodedPhotos(usable, self._least)
        precision = f"int8, calibrated on {len(usable):,} photos"
        description = self._description(precision, single=self._format.int8_single)
        self._format.quantise(plain, path, calibration, description)
        loss = loss_of(
            self._classifier,
            reference,
            (self._format.load(plain), self._format.load(path)),
            least=self._least,
            calibrated_on=len(usable),
            learned_from=int(seen[judging].sum()),
            observer=self._observer,
        )
        loss.check(self._format.name, max_loss)
        if doubt := loss.doubt(max_loss):
            self._observer.say(doubt)
        return parity, loss

    def _description(self, precision: str, *, single: bool = False) -> str:
        return as_text(describe(self._classifier, self._format.libraries, precision=precision, single=single))


@contextmanager
def _photos(check: PhotoList | None, observer: Observer) -> Iterator[PhotoList]:
    if check is not None:
        yield check
        return
    observer.say(
        f"compared on photos that are made up, as no others are named: {option('check')} names a folder of yours, of "
        f"which up to {MOST_PHOTOS} are taken"
    )
    with made_photos() as photos:
        yield PhotoList.unlabelled(photos)
