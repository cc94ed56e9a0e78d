"""Edited copies of photos teach nothing about themselves: not in folds, not across splits, not in `evaluate`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.fixtures.scenes import scene

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.evaluate import evaluate
from regraft.data.layouts import find_samples
from regraft.networks.backbones import load_backbone
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.settings import FitSettings

pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


def save(image: Image.Image, path: Path, quality: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return class folders of ten photos each under train/, all of other pictures, with labels by chance."""
    for label, first in (("day", 0), ("night", 100)):
        for number in range(10):
            save(scene(first + number), tmp_path / "data" / "train" / label / f"{number}.jpg")
    return tmp_path / "data"


def fitted(data: Path, network: str, observer: Any = None, **settings: Any) -> FitResult:
    options = FitSettings(force=True, **settings)
    return fit(find_samples(data), lambda: load_backbone(network), model=network, settings=options, observer=observer)


@pytest.mark.slow
def test_folds_hold_all_saves_of_a_photo(folder: Path, tiny_network: str) -> None:
    """Of labels by chance nothing can be known: with near-duplicates ignored, copies would say them."""
    for photo in [*(folder / "train").glob("*/*.jpg")]:
        for quality in (60, 75):
            image = Image.open(photo)
            save(image.resize((200 + quality, 200 + quality)), photo.with_name(f"{photo.stem}_{quality}.jpg"), quality)
    result = fitted(folder, tiny_network)
    dataset, folds = result.experiment.dataset, result.experiment.folds()
    assert dataset.pictures is not None
    assert np.bincount(dataset.pictures.numbers).tolist() == [3] * 20
    stems = [Path(str(source)).stem.split("_")[0] + Path(str(source)).parent.name for source in dataset.samples.sources]
    assert len({(stem, fold) for stem, fold in zip(stems, folds.tolist(), strict=True)}) == 20
    ignoring = fitted(folder, tiny_network, near_duplicates="ignore")
    assert len({(stem, fold) for stem, fold in zip(stems, ignoring.experiment.folds().tolist(), strict=True)}) > 20
    assert ignoring.report.accuracy > result.report.accuracy


def test_edited_training_photos_evaluate_nothing(
    folder: Path, tiny_network: str, listener: Any, tmp_path: Path
) -> None:
    train, validation = folder / "train", folder / "validation"
    for number in range(4):
        save(scene(40 + number), validation / "day" / f"{number}.jpg")
        save(scene(140 + number), validation / "night" / f"{number}.jpg")
    edited = save(ImageOps.mirror(Image.open(train / "day" / "3.jpg")), validation / "day" / "mirrored.jpg")
    result = fitted(folder, tiny_network, listener)
    assert result.report.n == 8
    assert (
        f"1 of 9 photos in {validation} show the same picture as a training photo and are left out of the "
        f"evaluation:\n  {edited}"
    ) in listener.said
    save_bundle(result.classifier, tmp_path / "c.safetensors")
    listener.heard.clear()
    new = tmp_path / "new"
    for number in range(4):
        save(scene(60 + number), new / "day" / f"{number}.jpg")
    turned = save(Image.open(train / "night" / "2.jpg").rotate(90, expand=True), new / "night" / "turned.jpg", 80)
    record = evaluate(load_bundle(tmp_path / "c.safetensors"), find_samples(new)["train"], observer=listener)
    assert (record.report.n, record.trained_on) == (4, 1)
    assert listener.said[0] == (
        f"1 of 5 photos in {new} show the same picture as a photo that was trained on and are left out of the "
        f"evaluation:\n  {turned}"
    )
    ignoring = evaluate(load_bundle(tmp_path / "c.safetensors"), find_samples(new)["train"], near=False)
    assert (ignoring.report.n, ignoring.trained_on) == (5, 0)
