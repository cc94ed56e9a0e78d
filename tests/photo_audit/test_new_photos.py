"""New photos beside those of a classifier: what comes of the network, of the files and of the pixels."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.photo_audit.conftest import classes, save, tinted

from regraft.classifier.classifier import Classifier
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.new_photos import compare_new_photos
from regraft.progress import Observer
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

COMPUTE = Compute(device="cpu", engine="torch-float32", cache=False)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    splits = find_samples(classes(tmp_path_factory.mktemp("learned"), 16))
    settings = FitSettings(strategy="frozen")
    return fit(splits, lambda: load_backbone("pocket"), model="pocket", settings=settings, compute=COMPUTE).classifier


@pytest.mark.slow
def test_other_photos_of_the_same_classes(classifier: Classifier, tmp_path: Path) -> None:
    new = sorted(classes(tmp_path, 8, first=100).rglob("*.jpg"))
    found, _ = compare_new_photos(classifier, new, COMPUTE, Observer())
    assert (found.count, found.left_out, found.differs) == (16, 0, False)
    assert [one.name for one in found.classes] == ["day", "night"]
    assert [one.share for one in found.classes] == [0.5, 0.5]
    assert np.isfinite(found.distances).all()


def test_photos_of_one_class_alone_and_of_another_size(classifier: Classifier, tmp_path: Path) -> None:
    new = [save(tinted(100 + k, "day").resize((300, 60)), tmp_path / f"{k}.jpg") for k in range(16)]
    found, _ = compare_new_photos(classifier, new, COMPUTE, Observer())
    assert found.differs
    (ratio,) = [one for one in found.measures if one.median == 5]  # 300 / 60, where all were square
    assert (ratio.share, ratio.differs, ratio.training) == (1.0, True, (1.0,) * 5)
    day = next(one for one in found.classes if one.name == "day")
    assert (day.share, day.expected, day.differs) == (1.0, pytest.approx(0.5, abs=0.05), True)


def test_photos_that_cannot_be_read_are_left_out_where_they_are(classifier: Classifier, tmp_path: Path) -> None:
    new = sorted(classes(tmp_path, 3, first=100).rglob("*.jpg"))
    whole, _ = compare_new_photos(classifier, new, COMPUTE, Observer())
    new[2].write_bytes(b"")
    new[4].write_bytes(new[4].read_bytes()[:600])
    found, _ = compare_new_photos(classifier, new, COMPUTE, Observer())
    assert (found.count, found.left_out) == (4, 2)
    assert np.flatnonzero(np.isnan(found.distances)).tolist() == [2, 4]
    kept = [0, 1, 3, 5]
    np.testing.assert_allclose(found.distances[kept], whole.distances[kept], rtol=1e-4)


def test_none_can_be_read(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 new photos can be read"):
        compare_new_photos(classifier, [tmp_path / "a.jpg", tmp_path / "gone.jpg"], COMPUTE, Observer())


def test_a_classifier_that_keeps_nothing_of_its_photos(classifier: Classifier, tmp_path: Path) -> None:
    empty = dataclasses.replace(classifier, reference=None)
    with pytest.raises(DataError, match="keeps nothing of its training photos"):
        compare_new_photos(empty, [save(tinted(0, "day"), tmp_path / "a.jpg")], COMPUTE, Observer())


@pytest.mark.slow
def test_training_photos_among_them_are_left_out(tmp_path: Path) -> None:
    learned = classes(tmp_path / "learned", 16)
    settings = FitSettings(strategy="frozen")
    splits = find_samples(learned)
    made = fit(splits, lambda: load_backbone("pocket"), model="pocket", settings=settings, compute=COMPUTE).classifier
    new = sorted(classes(tmp_path / "new", 3, first=100).rglob("*.jpg"))
    old = sorted(learned.rglob("*.jpg"))[:5]
    (tmp_path / "new" / "empty.jpg").write_bytes(b"")
    found, compared = compare_new_photos(
        made, [old[0], tmp_path / "new" / "empty.jpg", *new, *old[1:]], COMPUTE, Observer()
    )
    assert compared == (tmp_path / "new" / "empty.jpg", *new)
    assert (found.count, found.left_out) == (6, 1)
    alone, _ = compare_new_photos(made, new, COMPUTE, Observer())
    np.testing.assert_allclose(found.distances[1:], alone.distances, rtol=1e-4)
    with pytest.raises(DataError, match="all 5 photos are training photos"):
        compare_new_photos(made, old, COMPUTE, Observer())
