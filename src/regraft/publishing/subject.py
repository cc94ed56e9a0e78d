"""What a model card is about: a classifier, what its file says of itself, and how it is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from regraft.classifier.bundle import load_bundle, read_description
from regraft.classifier.classifier import Classifier
from regraft.classifier.record import FitRecord
from regraft.evaluation.report import Report

_PROGRAMS = ("regraft", "torch", "timm", "python")


@dataclass(frozen=True, eq=False)
class CardSubject:
    """A classifier as its card shows it.

    Attributes:
        classifier: as it was fitted.
        title: what it is called.
        place: how commands name it: its file, or "hf-hub:owner/name".
        digest: hex SHA-256 of its file's contents.
        versions: of the programs that made it, by name.
        licence: that its author gives it; None where nobody did.
    """

    classifier: Classifier
    title: str
    place: str
    digest: str
    versions: Mapping[str, str]
    licence: str | None = None

    @classmethod
    def of_file(
        cls, file: Path, *, title: str | None = None, place: str | None = None, licence: str | None = None
    ) -> "CardSubject":
        """Return the subject of the card of a classifier's file.

        Args:
            file: of the classifier.
            title: what it is called; None for its name.
            place: how commands name it; None for the file's name.
            licence: that its author gives it.

        Raises:
            BundleError: no such file, damaged, not a regraft classifier, or written by a newer version.
        """
        about = read_description(file)
        versions = about.get("versions")
        given = versions if isinstance(versions, dict) else {}
        return cls(
            classifier=load_bundle(file),
            title=title or file.stem,
            place=place or file.name,
            digest=str(about.get("sha256", "")),
            versions={name: str(given[name])[:40] for name in _PROGRAMS if name in given},
            licence=licence,
        )

    @property
    def record(self) -> FitRecord | None:
        """Return how it was made; None where nothing is known of that."""
        return self.classifier.record

    @property
    def report(self) -> Report | None:
        """Return its figures; None where nothing is known."""
        return None if self.record is None else self.record.report

    @property
    def network_licences(self) -> list[tuple[str, str]]:
        """Return each network's name, and the licence of its weights; "" where it is not stated."""
        return [
            (backbone.recipe.architecture, str(backbone.recipe.settings.get("license") or ""))
            for backbone in self.classifier.backbones
        ]
