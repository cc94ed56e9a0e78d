"""A last layer fitted again with corrected labels, and what that changed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError
from regraft.heads import coordinates
from regraft.images.sources import content_key
from regraft.networks.backbones import load_backbone
from regraft.review.decision import Action, Decision
from regraft.review.retrain import RetrainOutcome, retrain, take_label_type
from regraft.transfer.fit import FitResult, fit
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
Fit = Callable[[Mapping[str, Samples]], FitResult]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


@pytest.fixture
def fitted(tiny_network: str) -> Fit:
    def run(splits: Mapping[str, Samples]) -> FitResult:
        settings = FitSettings(strategy="frozen", features="last", force=True, near_duplicates="ignore")
        return fit(
            splits,
            lambda: load_backbone(tiny_network),
            model=tiny_network,
            settings=settings,
            compute=Compute(device="cpu", engine="torch-float32"),
        )

    return run


def decided(folder: Path, **labels: str | None) -> dict[bytes, Decision]:
    """Return decisions about photos, red_1="blue" for red/1.jpg; None leaves one out."""
    found = {}
    for number, (name, label) in enumerate(labels.items(), 1):
        path = folder / f"{name.replace('_', '/')}.jpg"
        action = Action.exclude if label is None else Action.relabel
        key = content_key(path)
        found[key] = Decision(number, key, str(path), action, label, "ada", datetime.now(UTC))
    return found


def test_it_is_what_a_fit_with_these_labels_gives(photos: Photos, fitted: Fit, tmp_path: Path) -> None:
    """Two photos go back to their class, one is left out, four are of a new class."""
    folder = photos(red=8, blue=8, green=4)
    for number in range(2):
        (folder / "red" / f"{number}.jpg").rename(folder / "blue" / f"r{number}.jpg")
    for number in range(4):
        (folder / "green" / f"{number}.jpg").rename(folder / "blue" / f"g{number}.jpg")
    (folder / "green").rmdir()
    labels: dict[str, str | None] = {"blue_r0": "red", "blue_r1": "red", "red_5": None}
    labels |= {f"blue_g{number}": "green" for number in range(4)}
    found = retrain(fitted(find_samples(folder)), decided(folder, **labels))
    table = tmp_path / "reviewed.csv"
    rows = "".join(f"{name.replace('_', '/')}.jpg,{label or ''}\n" for name, label in labels.items())
    table.write_text(f"image,label\n{rows}")
    wanted = fitted(LabelOptions(table).apply(find_samples(folder), folder))
    order = np.argsort([str(source) for source in wanted.held_out.dataset.samples.sources])
    own = np.argsort([str(source) for source in found.result.held_out.dataset.samples.sources])
    assert found.result.classifier.classes == wanted.classifier.classes == ("blue", "green", "red")
    np.testing.assert_allclose(found.result.probabilities[own], wanted.probabilities[order], atol=1e-4)
    assert found.result.record.class_counts == wanted.record.class_counts == (8, 4, 7)
    assert (found.relabelled, found.excluded, found.unknown) == (6, 1, 0)
    assert found.compared == 15  # the first one knew no green


def test_labels_alone_decompose_nothing_again(photos: Photos, fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos stay in their folds when labels change, but a photo that is left out is learned from no more."""
    folder = photos(red=24, blue=24)
    base = fitted(find_samples(folder))
    with_label, without = decided(folder, red_1="blue"), decided(folder, red_1=None)
    retrain(base, decided(folder, blue_1="red"))
    fresh = retrain(replace(base, experiment=replace(base.experiment, coordinates=None)), with_label)
    matrices: list[int] = []
    eigh = coordinates._eigh

    def counts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        matrices.append(len(matrix))
        return eigh(matrix)

    monkeypatch.setattr(coordinates, "_eigh", counts)
    found = retrain(base, with_label)
    assert not matrices
    assert np.array_equal(found.result.probabilities, fresh.result.probabilities)
    retrain(base, without)
    assert matrices


def test_the_change_is_of_the_same_photos_by_the_labels_as_they_are_now(photos: Photos, fitted: Fit) -> None:
    folder = photos(red=10, blue=10)
    for number in range(3):
        (folder / "red" / f"{number}.jpg").rename(folder / "blue" / f"r{number}.jpg")
    base = fitted(find_samples(folder))
    found = retrain(base, decided(folder, blue_r0="red", blue_r1="red", blue_r2="red", red_9=None))
    new, old = found.result.held_out, base.held_out
    before = dict(zip(old.dataset.keys, old.probabilities, strict=True))
    theirs = np.array([before[key] for key in new.dataset.keys])
    truth = np.array([source.stem[0] == "r" or source.parent.name == "red" for source in _paths(found)])  # blue, red
    rows = np.arange(len(truth))
    ours, older = (-np.log(one[rows, truth.astype(int)]) for one in (new.probabilities, theirs))
    assert found.compared == len(truth) == 19
    assert found.change["log_loss"].value == pytest.approx(float(np.mean(ours) - np.mean(older)))
    assert found.change["log_loss"].interval is not None
    right = [(one.argmax(axis=1) == truth).mean() for one in (new.probabilities, theirs)]
    assert found.change["accuracy"].value == pytest.approx(right[0] - right[1])
    assert str(found).startswith("on 19 photos, by their labels as they are now (95 % intervals):\n  accuracy ")


def _paths(found: RetrainOutcome) -> list[Path]:
    return [Path(str(source)) for source in found.result.held_out.dataset.samples.sources]


def test_what_was_undone_is_forgotten_and_nothing_changes(photos: Photos, fitted: Fit) -> None:
    folder = photos(red=8, blue=8)
    base = fitted(find_samples(folder))
    first = retrain(base, decided(folder, red_1="blue", red_2=None))
    again = retrain(base, {}, before=first.result)
    assert (again.relabelled, again.excluded, again.compared) == (0, 0, 15)
    np.testing.assert_allclose(again.result.probabilities, base.probabilities, atol=1e-6)
    same = retrain(base, {})
    assert same.change["accuracy"].value == 0
    assert same.change["log_loss"].verdict == "not proven"


def test_labels_in_python_keep_their_order_and_type(photos: Photos, fitted: Fit) -> None:
    folder = photos(red=6, blue=6)
    base = fitted({"train": find_samples(folder)["train"].aligned(("red", "blue"))})
    base.classifier.label_type = "int"
    kept, other = (
        retrain(base, decided(folder, red_1=label, red_2=label)).result.classifier for label in ("blue", "owl")
    )
    assert (kept.classes, kept.label_type) == (("red", "blue"), "int")
    assert (other.classes, other.label_type) == (("blue", "owl", "red"), "str")
    kept.classes = ("1", "10")
    take_label_type(other, kept)
    assert other.label_type == "str"  # of which these names are not
    other.classes = ("2", "10", "30")
    take_label_type(other, kept)
    assert other.label_type == "int"


def test_decisions_about_photos_that_are_not_among_these_are_counted(photos: Photos, fitted: Fit) -> None:
    folder, other = photos(red=6, blue=6), photos("other", first_seed=700, red=1)
    found = retrain(fitted(find_samples(folder)), decided(other, red_0="blue"))
    assert (found.unknown, found.relabelled) == (1, 0)


def test_validation_photos_are_corrected_too_and_nothing_else_of_them_is_used(photos: Photos, fitted: Fit) -> None:
    folder = photos("pets/train", red=8, blue=8).parent
    photos("pets/val", first_seed=300, red=4, blue=4)
    base = fitted(find_samples(folder))
    found = retrain(base, decided(folder, val_red_0="blue", val_red_1=None))
    assert (found.relabelled, found.excluded, found.compared) == (1, 1, 7)
    assert found.result.held_out.dataset.samples.counts() == {"blue": 5, "red": 2}
    features = base.experiment.features.values
    np.testing.assert_allclose(found.result.classifier.logits(features), base.classifier.logits(features), atol=1e-5)
    with pytest.raises(DataError, match=r"val has photos of classes that no training photo is of: owl\. Give training"):
        retrain(base, decided(folder, val_red_0="owl"))


def test_what_cannot_be_fitted_again(photos: Photos, fitted: Fit) -> None:
    folder = photos(red=4, blue=4)
    base = fitted(find_samples(folder))
    everything = {f"{colour}_{number}": None for colour in ("red", "blue") for number in range(4)}
    with pytest.raises(DataError, match=r"all 8 photos of .*photos are left out\. Keep some\."):
        retrain(base, decided(folder, **everything))
    with pytest.raises(DataError, match="one class only: 'blue'"):
        retrain(base, decided(folder, **{name: None for name in everything if name.startswith("red")}))
    with pytest.raises(DataError, match=r"classes have fewer than two images.*\n  owl\n"):
        retrain(base, decided(folder, red_1="owl"))
    base.classifier.strategy = "top"
    with pytest.raises(OptionError, match=r"fitted with strategy='top', .* Fit with strategy='frozen' to fit again"):
        retrain(base, {})


def test_settings_that_name_a_class_that_is_gone(photos: Photos, fitted: Fit) -> None:
    folder = photos(red=4, blue=4)
    base = fitted(find_samples(folder))
    settings = replace(base.experiment.settings, positive="red")
    base.experiment.settings = settings
    with pytest.raises(OptionError, match=r"positive must be one of blue, pink\. Got 'red'"):
        retrain(base, decided(folder, **{f"red_{number}": "pink" for number in range(4)}))
    three = retrain(base, decided(folder, red_1="owl", red_2="owl")).result.classifier  # of which none is positive
    assert three.classes == ("blue", "owl", "red")
