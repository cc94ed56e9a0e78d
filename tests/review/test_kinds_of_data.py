"""Reviews of data as people have them: what is retrained is what `fit` gives with the table of labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import photo
from tests.review.conftest import ON_CPU, Open, Photos, settled

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.taxonomy import Taxonomy
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.images.sources import EncodedImage
from regraft.networks.backbones import load_backbone
from regraft.review.base import settings_of
from regraft.review.order import Reason
from regraft.review.session import Phase, ReviewSession
from regraft.transfer.fit import fit

pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
Retrain = Callable[..., tuple[int, ...]]


def decide(session: ReviewSession, name: str, action: str, label: str | None = None) -> None:
    (found,) = (one for one in session.photos.photos if name in map(session.name_of, one.sources))
    session.decide(found.key, action, label, reviewer="ada")


def retrained(session: ReviewSession) -> tuple[int, ...]:
    """Return how many photos of each class were learned from."""
    session.retrain()
    settled(session)
    assert session.error == ""
    assert session.result is not None
    return session.result.retrained.result.record.class_counts


@pytest.fixture
def retrain_as_fit(classifier: Classifier, tmp_path: Path) -> Retrain:
    """Return a function that retrains, and compares with a fit of the data and the downloaded table."""

    def run(session: ReviewSession, columns: Columns | None = None) -> tuple[int, ...]:
        counts = retrained(session)
        table = tmp_path / "downloads" / "reviewed.csv"
        table.parent.mkdir(exist_ok=True)
        session.write_labels(table)
        splits = LabelOptions(table).find(session.data, columns)
        settings = replace(settings_of(classifier), folds="stratified")
        wanted = fit(
            splits,
            lambda: load_backbone(classifier.model),
            model=classifier.model,
            settings=settings,
            compute=ON_CPU,
        )
        assert session.result is not None
        made = session.result.retrained.result
        assert made.classifier.classes == wanted.classifier.classes
        assert counts == wanted.record.class_counts
        sources = splits["train"].sources
        ours, theirs = (Predictor(one.classifier, ON_CPU).predict(sources).probabilities for one in (made, wanted))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        return counts

    return run


def test_copies_under_two_classes_and_a_class_of_one_photo_wait_for_decisions(
    opened: Open, photos: Photos, retrain_as_fit: Retrain
) -> None:
    """8 red, 8 blue and a green one; a red one lies under blue, too. Then it is red, and another one is green."""
    folder = photos("pets", red=8, blue=8, green=1)
    copy(folder / "red" / "0.jpg", folder / "blue" / "r.jpg")
    session = opened(folder)
    assert session.error == ""
    assert retrained(session) == (8, 7)
    assert session.result is not None
    assert session.result.too_few == {"green": 1}
    decide(session, "blue/r.jpg", "relabel", "red")
    decide(session, "red/3.jpg", "relabel", "green")
    assert retrain_as_fit(session) == (8, 2, 8)
    assert session.result.too_few == {}
    assert session.result.retrained.relabelled == 1
    for _ in range(2):
        session.undo(reviewer="ada")
    assert retrained(session) == (8, 7)


@pytest.mark.slow
def test_a_new_class_whose_photos_are_copies_waits_for_others(opened: Open, photos: Photos) -> None:
    folder = photos("pets", red=8, blue=8)
    copy(folder / "red" / "0.jpg", folder / "red" / "same.jpg")
    session = opened(folder)
    decide(session, "red/same.jpg", "relabel", "green")
    assert retrained(session) == (8, 7)
    assert session.result is not None
    assert session.result.too_few == {"green": 1}


@pytest.mark.slow
def test_photos_of_one_class_are_enough_once_people_gave_some_another(opened: Open, photos: Photos) -> None:
    session = opened(photos("pets", red=8))
    assert "labels of fewer than two classes" in session.error
    for number in range(3):
        decide(session, f"red/{number}.jpg", "relabel", "pink")
    assert retrained(session) == (3, 5)
    session.undo(reviewer="ada")  # which leaves no trace, though nothing was fitted before that decision
    assert retrained(session) == (2, 6)


@pytest.mark.slow
def test_loose_photos(opened: Open, photos: Photos, retrain_as_fit: Retrain) -> None:
    source = photos("both", red=8, blue=8)
    folder = source.parent / "loose"
    folder.mkdir()
    for path in source.rglob("*.jpg"):
        path.rename(folder / f"{path.parent.name[0]}{path.name}")
    session = opened(folder)
    for number in range(6):
        decide(session, f"r{number}.jpg", "relabel", "rot")
        decide(session, f"b{number}.jpg", "relabel", "blau")
    assert retrain_as_fit(session) == (6, 6)
    session.undo(reviewer="ada")
    assert retrained(session) == (5, 6)


@pytest.mark.slow
def test_what_was_decided_of_a_file_is_not_of_what_replaced_it(opened: Open, photos: Photos) -> None:
    folder = photos("pets", red=8, blue=8)
    session = opened(folder)
    decide(session, "blue/1.jpg", "exclude")
    decide(session, "blue/2.jpg", "relabel", "red")
    for number in (1, 2):
        photo(folder / "blue" / f"{number}.jpg", "blue", 9000 + number)
    session.look()
    settled(session)
    seen = {session.name_of(one.sources[0]): one for one in session.photos.photos}
    for number in (1, 2):
        one = seen[f"blue/{number}.jpg"]
        assert session.standing.of(one.key) is None
        assert one.words.startswith(("labelled blue", "not sure"))
        assert one.reason in (Reason.none, Reason.uncertain)
    assert retrained(session) == (8, 8)


@pytest.mark.slow
def test_what_cannot_be_read_is_named(opened: Open, photos: Photos) -> None:
    folder = photos("pets", red=8, blue=8)
    (folder / "red" / "broken.jpg").write_bytes(b"no photo")
    session = opened(folder)
    named = "red/broken.jpg (not an image, or damaged at its start)"
    assert session.notes == (f"1 of 17 photos cannot be read, and are not shown: {named}",)


@pytest.mark.slow
def test_splits(opened: Open, photos: Photos, retrain_as_fit: Retrain) -> None:
    """Nothing of a test split is shown or learned, nor may it be added; validation photos are corrected."""
    for place, split in enumerate(("train", "val", "test")):
        photos(f"pets/{split}", first_seed=10_000 * (place + 1), red=8, blue=8)
    folder = photos("pets/train", first_seed=10_000, red=8, blue=8).parent
    (folder / "train" / "red" / "0.jpg").rename(folder / "train" / "blue" / "r.jpg")
    (folder / "val" / "red" / "0.jpg").rename(folder / "val" / "blue" / "r.jpg")
    copy(folder / "train" / "red" / "3.jpg", folder / "val" / "red" / "copy.jpg")
    copy(folder / "test" / "red" / "2.jpg", folder / "train" / "red" / "t.jpg")
    session = opened(folder)
    assert len(session.photos) == 33
    assert not any("/test/" in str(source) for one in session.photos.photos for source in one.sources)
    for split in ("train", "val"):
        decide(session, f"{split}/blue/r.jpg", "relabel", "red")
        decide(session, f"{split}/red/5.jpg", "exclude")
    test_photo = EncodedImage((folder / "test" / "blue" / "1.jpg").read_bytes(), "x.jpg")
    added, refused = session.add([test_photo], "red", reviewer="ada")
    assert (added, refused) == ([], [("x.jpg", "it is a photo of the test split, of which nothing is learned.")])
    assert not session.places.added.exists()
    assert retrain_as_fit(session) == (8, 8)
    assert session.result is not None
    assert session.result.retrained.compared == 15  # without one that is left out, and the copy of a training photo
    decide(session, "val/blue/1.jpg", "relabel", "owl")
    retrained(session)
    assert session.result.too_few == {"owl": 1}


@pytest.mark.slow
def test_a_table_with_groups_and_splits_and_rows_without_a_label(
    opened: Open, tmp_path: Path, retrain_as_fit: Retrain
) -> None:
    rows = ["image,label,patient,split"]
    for offset, colour in enumerate(("red", "blue")):
        for number in range(14):
            photo(tmp_path / "set" / "images" / f"{colour}{number}.jpg", colour, 1000 * offset + number)
            split = "train" if number < 9 else "val" if number < 12 else "test"
            label = "" if number in (8, 11) else colour
            rows.append(f"images/{colour}{number}.jpg,{label},p{offset}-{number // 2},{split}")
    rows.append("images/red1.jpg,blue,p0-0,train")
    table, columns = tmp_path / "set" / "x.csv", Columns(group="patient")
    table.write_text("\n".join(rows))
    session = opened(table, columns=columns)
    assert session.error == ""
    assert retrained(session) == (8, 7)
    decide(session, "images/red1.jpg", "relabel", "red")
    decide(session, "images/red8.jpg", "relabel", "red")
    decide(session, "images/blue11.jpg", "relabel", "blue")
    decide(session, "images/blue3.jpg", "exclude")
    assert retrain_as_fit(session, columns) == (7, 9)
    assert session.result is not None
    held_out = session.result.retrained.result.held_out.dataset.samples
    # blue11, which got its first label, is of the split that its row names; red9 is of the group of red8, which trains
    assert held_out.counts() == {"blue": 3, "red": 1}
    without_splits = tmp_path / "set" / "y.csv"
    without_splits.write_text("\n".join(row.rpartition(",")[0] for row in rows))
    session = opened(without_splits, columns=columns)
    decide(session, "images/red1.jpg", "relabel", "red")
    decide(session, "images/red8.jpg", "relabel", "red")
    assert retrain_as_fit(session, columns) == (12, 13)


@pytest.mark.slow
def test_parquet(opened: Open, tmp_path: Path, retrain_as_fit: Retrain) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for split, count, first in (("train", 9, 0), ("test", 4, 50_000)):
        cells, labels = [], []
        for offset, colour in enumerate(("red", "blue")):
            for number in range(count):
                path = photo(tmp_path / "x.jpg", colour, first + 1000 * offset + number)
                cells.append({"bytes": path.read_bytes(), "path": f"{colour}{number}.jpg"})
                labels.append("blue" if (split, number) == ("train", 0) else None if number == 5 else colour)
        pq.write_table(pa.table({"image": cells, "label": labels}), folder / f"{split}-00000-of-00001.parquet")
    session = opened(folder)
    assert len(session.photos) == 18
    decide(session, "train-00000-of-00001.parquet:red0.jpg", "relabel", "red")
    decide(session, "train-00000-of-00001.parquet:blue5.jpg", "relabel", "blue")
    assert retrain_as_fit(session) == (9, 8)


@pytest.mark.slow
def test_a_link_and_photos_that_are_added_beside_it(
    opened: Open, photos: Photos, tmp_path: Path, retrain_as_fit: Retrain
) -> None:
    folder = photos("elsewhere/pets", red=8, blue=8)
    link = tmp_path / "link"
    link.symlink_to(folder)
    session = opened(link)
    files = [photo(tmp_path / f"g{number}.jpg", "green", 700 + number) for number in range(3)]
    session.add([EncodedImage(file.read_bytes(), file.name) for file in files], "green", reviewer="ada")
    assert len(list((tmp_path / "link-added").iterdir())) == 3
    assert retrain_as_fit(session) == (8, 3, 8)


@pytest.mark.slow
def test_a_tree_of_classes_stays_while_it_has_them_all(opened: Open, photos: Photos, classifier: Classifier) -> None:
    classifier.taxonomy = Taxonomy({"warm": None, "cold": None, "red": "warm", "pink": "warm", "blue": "cold"})
    session = opened(photos("pets", red=8, blue=8), classifier)
    for number, wanted in ((1, ("blue", "red")), (2, ("blue", "pink", "red"))):
        decide(session, f"red/{number}.jpg", "relabel", "pink")
        retrained(session)
        assert session.result is not None
        made = session.result.retrained.result.classifier
        assert (made.classes, made.taxonomy) == (wanted, classifier.taxonomy)
    for number in (1, 2):
        decide(session, f"blue/{number}.jpg", "relabel", "owl")
    retrained(session)
    assert session.result.retrained.result.classifier.taxonomy is None  # for it has no owl


@pytest.mark.slow
def test_a_class_that_settings_name_is_gone(opened: Open, photos: Photos, classifier: Classifier) -> None:
    classifier.decision = Decision(ThresholdRule(1, 0.35), "threshold 0.35 for red")
    session = opened(photos("pets", red=4, blue=8), classifier)
    for number in range(4):
        decide(session, f"red/{number}.jpg", "relabel", "pink")
    session.retrain()
    settled(session)
    assert session.error.startswith("threshold must be for one of blue, pink. Got 'red'. So the classifier's file has")
    assert session.phase is Phase.ready
    session.undo(reviewer="ada")
    session.undo(reviewer="ada")
    assert retrained(session) == (8, 2, 2)
