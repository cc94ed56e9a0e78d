"""A review from beginning to end: decisions, retraining, new photos, a start anew, and what cannot be reviewed."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import photo
from tests.review.conftest import ON_CPU, Open, Photos, settled

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples
from regraft.errors import DataError, OptionError
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.images.sources import EncodedImage, content_key
from regraft.networks.backbones import load_backbone
from regraft.review.base import settings_of
from regraft.review.decision import Action
from regraft.review.order import Reason
from regraft.review.photos import PhotoFilter
from regraft.review.session import NotReadyError, Phase, ReviewSession
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
# Looks at photos, and prints the packages that preparing to retrain imports, which begins once these are shown.
IMPORTS = """
import sys, time
from regraft.classifier.bundle import load_bundle
from regraft.engines.compute import Compute
from regraft.review.session import Phase, ReviewSession

session = ReviewSession(load_bundle(sys.argv[1]), sys.argv[2], compute=Compute(device="cpu"))
assert "torch" not in sys.modules
prepare, early = session._prepare, set()
session._prepare = lambda: (early.update(sys.modules), prepare())
session.start()
while session.phase is Phase.looking or session.worker.is_busy:
    time.sleep(0.01)
assert (session.phase, session.error) == (Phase.ready, ""), session.error
assert session.trainer.first is not None  # it was prepared
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - early} - {"regraft"}))
session.close(30)
"""


@pytest.fixture
def pets(photos: Photos) -> Path:
    """Return 9 red and 11 blue photos, two of which are red ones."""
    folder = photos("pets", red=11, blue=9)
    for number in range(2):
        (folder / "red" / f"{number}.jpg").rename(folder / "blue" / f"r{number}.jpg")
    return folder


def key_of(folder: Path, name: str) -> bytes:
    return content_key(folder / name)


def encoded(path: Path) -> EncodedImage:
    return EncodedImage(path.read_bytes(), path.name)


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def retrained(session: ReviewSession) -> ReviewSession:
    session.retrain()
    settled(session)
    assert session.error == ""
    return session


def test_labels_are_corrected_and_what_is_retrained_is_what_fit_gives_with_the_table(
    opened: Open, pets: Path, tmp_path: Path, classifier: Classifier
) -> None:
    before = contents(pets)
    session = opened(pets)
    assert (session.phase, len(session.photos), session.error) == (Phase.ready, 20, "")
    for number in range(2):
        session.decide(key_of(pets, f"blue/r{number}.jpg"), "relabel", "red", reviewer="ada")
    session.decide(key_of(pets, "red/5.jpg"), "exclude", None, reviewer="ada")
    session.decide(key_of(pets, "red/6.jpg"), "confirm", None, reviewer="bo")
    with pytest.raises(
        OptionError, match=r"^red/7\.jpg has the label 'red' to confirm\. Got 'blue': relabel it instead"
    ):
        session.decide(key_of(pets, "red/7.jpg"), "confirm", "blue", reviewer="bo")
    with pytest.raises(OptionError, match=r"^label must be one class\. Got 'red, blue'"):
        session.decide(key_of(pets, "red/7.jpg"), "relabel", "red, blue", reviewer="bo")
    result = retrained(session).result
    assert result is not None
    assert (result.number, result.last, result.too_few) == (1, 4, {})
    assert (result.retrained.relabelled, result.retrained.excluded, result.retrained.compared) == (2, 1, 19)
    table = tmp_path / "reviewed.csv"
    assert session.write_labels(table) == 4
    wanted = fit(
        LabelOptions(table).apply(find_samples(pets), pets),
        lambda: load_backbone(classifier.model),
        model=classifier.model,
        settings=settings_of(classifier),
        compute=ON_CPU,
    )
    made = load_bundle(result.file)
    assert made.classes == wanted.classifier.classes == ("blue", "red")
    sources = find_samples(pets)["train"].sources
    ours, theirs = (Predictor(one, ON_CPU).predict(sources).probabilities for one in (made, wanted.classifier))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert contents(pets) == before  # the photos are never touched


@pytest.mark.slow
@pytest.mark.graphs
def test_to_prepare_retraining_imports_no_library_once_photos_are_shown(
    tiny_network: str, pets: Path, tmp_path: Path
) -> None:
    """Importing PyTorch and timm holds Python's lock again and again: who decides would wait for an answer."""
    made = fit(
        find_samples(pets),
        lambda: load_backbone(tiny_network),
        model=tiny_network,
        settings=FitSettings(force=True, near_duplicates="ignore"),  # by features of all depths, as usual
        compute=ON_CPU,
    )
    save_bundle(made.classifier, tmp_path / "colours.safetensors")
    command = [sys.executable, "-c", IMPORTS, str(tmp_path / "colours.safetensors"), str(pets)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.slow
def test_a_new_class_of_new_photos(opened: Open, pets: Path, tmp_path: Path) -> None:
    """Three green photos are added and one is taken back; one that was there is relabelled, one cannot be read."""
    session = opened(pets)
    greens = [photo(tmp_path / f"g{number}.jpg", "green", 900 + number) for number in range(4)]
    broken = EncodedImage(b"no photo", "broken.jpg")
    one, _ = session.add([encoded(greens[0])], "green", reviewer="ada")
    result = retrained(session).result
    assert result is not None
    assert result.too_few == {"green": 1}  # it does not keep the others from being learned
    assert load_bundle(result.file).classes == ("blue", "red")
    there = encoded(pets / "blue" / "3.jpg")
    added, refused = session.add([*map(encoded, greens[1:3]), broken, there], "green", reviewer="ada")
    assert refused == [("broken.jpg", "not an image, or damaged at its start.")]
    assert [found.reason for found in (*one, *added)][:3] == [Reason.added] * 3
    assert [path.name for path in sorted(session.places.added.iterdir())] == ["g0.jpg", "g1.jpg", "g2.jpg"]
    result = retrained(session).result
    assert result is not None
    assert load_bundle(result.file).classes == ("blue", "green", "red")
    counts = result.retrained.result.record.class_counts
    assert counts == (10, 4, 9)
    assert result.retrained.compared == 19  # the first one knew no green
    session.undo(reviewer="ada")  # of the photo that was there
    session.undo(reviewer="ada")
    counts = retrained(session).result.retrained.result.record.class_counts  # type: ignore[union-attr]
    assert counts == (11, 2, 9)
    with pytest.raises(OptionError, match="label must be the name of a class"):
        session.add([encoded(greens[3])], " ", reviewer="ada")


@pytest.mark.slow
def test_a_start_anew_knows_what_was_decided_and_added(opened: Open, pets: Path, tmp_path: Path) -> None:
    first = opened(pets)
    first.decide(key_of(pets, "blue/r0.jpg"), "relabel", "red", reviewer="ada")
    first.decide(key_of(pets, "red/5.jpg"), "exclude", None, reviewer="ada")
    first.add([encoded(photo(tmp_path / "g.jpg", "green", 900))], "green", reviewer="bo")
    first.close(30)
    again = opened(pets)
    (again_added,) = (one for one in again.photos.photos if one.reason is Reason.added)
    assert again.name_of(again_added.sources[0]) == "../pets-added/g.jpg"
    excluded = again.photos.by_key[key_of(pets, "red/5.jpg")]
    assert (excluded.label, excluded.reason, excluded.words) == ("red", Reason.none, "left out")
    assert again.photos.by_key[key_of(pets, "blue/r0.jpg")].label == "blue"  # as it was found
    counts = again.photos.count(again.standing.state(), again.standing.differing)
    assert counts.classes == {"blue": 10, "green": 1, "red": 9}
    assert counts.decided == {Action.relabel: 2, Action.exclude: 1}
    state, differing = again.standing.state(), again.standing.differing
    assert len(list(again.photos.select(PhotoFilter(undecided=True), state, differing))) == 18


@pytest.mark.slow
def test_photos_that_are_put_into_the_folder_are_found_when_it_is_looked_at_again(opened: Open, pets: Path) -> None:
    session = opened(pets)
    new = photo(pets / "red" / "0.jpg", "red", 777)
    session.look()
    settled(session)
    assert content_key(new) in session.photos.by_key
    session.decide(key_of(pets, "blue/r0.jpg"), "relabel", "red", reviewer="ada")
    result = retrained(session).result
    assert result is not None
    assert (result.retrained.relabelled, result.retrained.compared) == (1, 21)


@pytest.mark.slow
def test_photos_without_labels_get_some_and_are_learned_from(opened: Open, photos: Photos) -> None:
    """Loose photos: what to label next comes first, with a guess; two classes of labels are enough to begin."""
    source = photos("both", red=8, blue=8)
    folder = source.parent / "loose"
    folder.mkdir()
    for path in sorted(source.rglob("*.jpg")):
        path.rename(folder / f"{path.parent.name[0]}{path.name}")
    session = opened(folder)
    assert "fewer than two classes" in session.error
    assert {one.reason for one in session.photos.photos} == {Reason.unlabelled}
    guesses = [one.suggested for one in session.photos.photos]
    assert set(guesses) == {"blue", "red"}
    assert session.photos.photos[0].words.startswith("to label next: ")
    for one in session.photos.photos[:12]:
        name = session.name_of(one.sources[0])
        session.decide(one.key, "relabel", "rot" if name.startswith("r") else "blau", reviewer="ada")
    with pytest.raises(OptionError, match=r"has no label to confirm\. Give it one\."):
        session.decide(session.photos.photos[-1].key, "confirm", None, reviewer="ada")
    result = retrained(session).result
    assert result is not None
    assert load_bundle(result.file).classes == ("blau", "rot")
    assert result.retrained.compared == 12
    assert sum(result.retrained.result.record.class_counts) == 12
    for _ in range(4):
        session.undo(reviewer="ada")
    result = retrained(session).result
    assert result is not None
    assert sum(result.retrained.result.record.class_counts) == 8  # no trace of what was undone


def test_the_most_similar_photos_are_of_the_same_colour(opened: Open, photos: Photos) -> None:
    session = opened(photos("pets", red=8, blue=8))
    first = session.trainer.first
    assert first is not None
    place = next(row for row, source in enumerate(first.experiment.dataset.samples.sources) if "blue" in str(source))
    vector = first.experiment.features.values[place][first.classifier.columns]
    found = session.similar(vector, 4)
    assert found[0][1] == pytest.approx(1)
    assert found[0][0].key == first.experiment.dataset.keys[place]
    assert [one.label for one, _ in found] == ["blue"] * 4
    similarities = [value for _, value in found]
    assert similarities == sorted(similarities, reverse=True)


def test_what_cannot_be_reviewed_or_retrained(opened: Open, classifier: Classifier, pets: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    session = opened(empty)
    assert session.phase is Phase.failed
    assert "empty" in session.error
    with pytest.raises(OptionError, match=r"the photos are still looked at\."):
        session.retrain()
    with pytest.raises(NotReadyError, match=r"can be added once those that are there were looked at\. Come again\."):
        session.add([], "red", reviewer="ada")
    classifier.strategy = "top"
    trained = opened(pets, classifier)
    assert (trained.phase, len(trained.photos)) == (Phase.ready, 20)
    with pytest.raises(OptionError, match="fitted with strategy='top', which trained its network further"):
        trained.retrain()
    with pytest.raises(DataError, match="is no SQLite file"):
        ReviewSession(classifier, pets, decisions=pets / "red" / "5.jpg", compute=ON_CPU)


def test_it_ends_in_the_middle_of_its_work(classifier: Classifier, pets: Path) -> None:
    session = ReviewSession(classifier, pets, compute=ON_CPU)
    session.start()
    while session.worker.doing is None:
        time.sleep(0.001)
    started = time.monotonic()
    session.close(30)
    assert time.monotonic() - started < 10
    assert not session.worker._thread.is_alive()


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("threshold 0.35 for red", {"threshold": "0.35 for red"}),
        ("cost blue:red=5", {"cost": "blue:red=5"}),
        ("balance", {"balance": True}),
        ("sensitivity >= 0.9 for blue", {"goal": "sensitivity >= 0.9 for blue"}),
        ("class weights balanced", {}),
    ],
)
def test_settings_are_those_of_the_file(classifier: Classifier, asked: str, wanted: dict[str, object]) -> None:
    classifier.decision = Decision(ThresholdRule(1, 0.35), asked)
    settings = settings_of(classifier)
    given = {name: getattr(settings, name) for name in ("threshold", "cost", "goal", "balance")}
    assert {name: value for name, value in given.items() if value} == wanted
    assert (settings.features, settings.strategy, settings.positive) == ("last", "frozen", None)
    settings.check(ON_CPU, classifier.classes)
