"""A small data set with known faults, and what an audit by the small network finds in it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.fixtures.scenes import scene

from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.features.embedding import Embedder
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import Audit, audit
from regraft.photo_audit.photos import find_audit_photos

WRONG = 3  # photos of each class in the other's folder
TINTS = {"day": (80, 20, -70), "night": (-70, -20, 80)}


def tinted(number: int, label: str) -> Image.Image:
    """Return a picture of a class, that any network tells from the other."""
    levels = np.asarray(scene(number, 96)).astype(int) // 2 + 64 + np.array(TINTS[label])
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)
    return path


def classes(folder: Path, count: int = 12, **more: int) -> Path:
    """Write class folders of `count` photos each, all of other pictures, beginning with the number `first`."""
    for offset, label in enumerate(TINTS):
        for number in range(count):
            save(tinted(more.get("first", 0) + 500 * offset + number, label), folder / label / f"{number}.jpg")
    return folder


@dataclass(frozen=True)
class Found:
    """A folder and its audit."""

    folder: Path
    audit: Audit

    def names(self, kind: str) -> list[set[str]]:
        """Return the files of each finding of a kind, by their names below the folder."""
        found = self.audit.of(kind)
        return [{Path(file).relative_to(self.folder).as_posix() for file in one.files} for one in found]


@pytest.fixture(scope="session")
def pocket() -> Embedder:
    return Embedder(load_backbone("pocket"), Compute(device="cpu", engine="torch-float32", cache=False))


def audited(folder: Path, embedder: Embedder, columns: Columns | None = None) -> Found:
    return Found(folder, audit(find_audit_photos(folder, columns), embedder))


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory, pocket: Embedder) -> Found:
    """Return train/, val/ and test/ of 32, 6 and 4 photos a class, with one fault of each kind, and its audit."""
    folder = tmp_path_factory.mktemp("faulty")
    for split, count, first in (("train", 32, 0), ("val", 6, 100), ("test", 4, 200)):
        classes(folder / split, count, first=first)
    shutil.copy(folder / "train/day/3.jpg", folder / "val/day/copy.jpg")
    save(ImageOps.mirror(tinted(504, "night")), folder / "test/night/mirrored.jpg")  # of train/night/4.jpg
    shutil.copy(folder / "train/day/5.jpg", folder / "train/night/contradiction.jpg")
    for number in range(WRONG):
        save(tinted(310 + number, "day"), folder / f"train/night/wrong{number}.jpg")
        save(tinted(320 + number, "night"), folder / f"train/day/wrong{number}.jpg")
    save(tinted(301, "day"), folder / "test/night/wrong.jpg")  # nothing is learned from it, and nothing said of it
    (folder / "train/day/broken.jpg").write_bytes((folder / "train/day/7.jpg").read_bytes()[:700])
    dark = np.asarray(tinted(302, "day")) // 10
    save(Image.fromarray(dark), folder / "val/day/dark.jpg")
    return Found(folder, audited(folder, pocket).audit)
