"""Groups left out one at a time, and guessed ones: in folds, across splits, in figures and in messages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import photo

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, flags_in_messages
from regraft.heads.probe import fit_calibrated_head
from regraft.networks.backbones import load_backbone
from regraft.transfer.compare import compare
from regraft.transfer.fit import FitResult, fit, fit_best
from regraft.transfer.preparation import open_splits
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


def grouped(folder: Path, names: Sequence[str | None]) -> Samples:
    """Return the photos of a folder in groups that a column "clinic" names."""
    found = find_samples(folder)["train"]
    labels = [found.classes[label] for label in found.labels]
    return Samples.from_labels(str(folder), found.sources, labels, groups=names, grouped_by="clinic")


def fitted(splits: dict[str, Samples], network: str, observer: Any = None, **settings: Any) -> FitResult:
    options = FitSettings(force=True, **settings)
    return fit(splits, lambda: load_backbone(network), model=network, settings=options, observer=observer)


@pytest.fixture
def samples(photos: Photos) -> Samples:
    """Return 12 red and 12 blue photos of three clinics in turn."""
    return grouped(photos(red=12, blue=12), ["north", "south", "east"] * 8)


# --- folds that are groups ---


def test_every_group_is_answered_by_what_was_learned_without_it(samples: Samples, tiny_network: str) -> None:
    """By hand: strength, temperature and weights from the other clinics' photos alone."""
    result = fitted({"train": samples}, tiny_network, folds="groups", features="last")
    dataset, features = result.experiment.dataset, result.experiment.features.values
    folds = result.experiment.folds()
    assert folds.tolist() == [1, 2, 0] * 8  # east, north, south
    for fold in range(3):
        rest = np.flatnonzero(folds != fold)
        head = fit_calibrated_head(features[rest], dataset.select(rest), seed=0)
        expected = head.probabilities(features[folds == fold])
        np.testing.assert_allclose(result.probabilities[folds == fold], expected, atol=2e-3)


def test_the_record_has_each_group(samples: Samples, tiny_network: str, tmp_path: Path) -> None:
    result = fitted({"train": samples}, tiny_network, folds="groups")
    record = result.record
    assert record.group_column == "clinic"
    assert sorted(one.name for one in record.by_group) == ["east", "north", "south"]
    assert [one.photos for one in record.by_group] == [8, 8, 8]
    right = result.probabilities.argmax(axis=1) == result.experiment.dataset.labels
    known = {one.name: one.accuracy for one in record.by_group}
    assert known == {name: right[start::3].mean() for start, name in enumerate(["north", "south", "east"])}
    save_bundle(result.classifier, tmp_path / "model.safetensors")
    back = load_bundle(tmp_path / "model.safetensors").record
    assert back is not None
    unnamed = tuple(replace(one, name=str(place)) for place, one in enumerate(record.by_group, 1))
    assert (back.by_group, back.group_column) == (unnamed, "clinic")  # names of patients or clinics stay here


def test_stratified_folds_have_no_figures_by_group(samples: Samples, tiny_network: str) -> None:
    record = fitted({"train": samples}, tiny_network).record
    assert (record.by_group, record.group_column) == ((), "")
    assert "by_group" not in record.to_json()


def test_groups_that_share_a_photo_are_left_out_together(samples: Samples, tiny_network: str, listener: Any) -> None:
    """A photo of the north stands in the south, too."""
    copy = Path(str(samples.sources[0])).with_name("copy.jpg")
    copy.write_bytes(Path(str(samples.sources[0])).read_bytes())
    again = grouped(Path(samples.where), [*["north", "south", "east"] * 4, "south", *["north", "south", "east"] * 4])
    place = [Path(str(source)).name for source in again.sources].index("copy.jpg")
    names = [again.group_names[number] for number in again.groups]  # type: ignore[union-attr]
    names[place] = "south" if again.group_names[again.groups[0]] != "south" else "east"  # type: ignore[index]
    again = grouped(Path(samples.where), names)
    record = fitted({"train": again}, tiny_network, listener, folds="groups").record
    assert len(record.by_group) == 2
    assert sum("are left out together" in said for said in listener.said) == 1


def test_compare_leaves_groups_out(samples: Samples, tiny_network: str) -> None:
    found = compare(
        samples,
        {tiny_network: lambda: load_backbone(tiny_network)},
        strategies=["frozen"],
        sizes=[None],
        settings=FitSettings(folds="groups"),
        compute=Compute(),
    )
    assert {row.folds for row in found.rows} == {3}
    assert {row.learned_per_class for row in found.rows} == {8}
    json.dumps(found.to_json(), allow_nan=False)


def test_networks_are_chosen_by_groups_left_out(samples: Samples, tiny_network: str) -> None:
    loaders = {"one": lambda: load_backbone(tiny_network), "two": lambda: load_backbone("pocket")}
    settings = FitSettings(folds="groups", force=True, features="last")
    result = fit_best({"train": samples}, loaders, settings=settings)
    assert [one.photos for one in result.record.by_group] == [8, 8, 8]


def test_without_groups_the_option_is_refused(photos: Photos) -> None:
    with pytest.raises(OptionError, match=r"^folds='groups' leaves one group out at a time, and the photos in "):
        opened(find_samples(photos(red=4, blue=4)), folds="groups")


def test_folds_of_groups_do_not_go_with_validation_photos(photos: Photos) -> None:
    photos("data/train", red=4, blue=4)
    folder = photos("data/val", red=2, blue=2, first_seed=50).parent
    with pytest.raises(OptionError) as caught:
        opened(find_samples(folder), folds="groups")
    assert str(caught.value) == (
        "folds='groups' evaluates on groups of training photos that are left out in turn, and here the photos of "
        f"{folder / 'val'} evaluate. Leave folds out, or the validation photos."
    )


def test_a_class_of_one_clinic_is_named_before_the_network_runs(photos: Photos) -> None:
    names = ["north", "south"] * 2 + ["south"] * 4
    with pytest.raises(DataError, match=r"one group only, .*\n  red: south\nAdd photos"):
        opened({"train": grouped(photos(blue=4, red=4), names)}, folds="groups")


# --- guessed groups ---


def opened(splits: dict[str, Samples], observer: Any = None, **settings: Any) -> Any:
    from regraft.progress import Observer

    return open_splits(splits, FitSettings(**settings), Compute(), observer or Observer())


def patients(folder: Path, *, numbers: range, shots: str, seed: int = 0) -> Path:
    """Write a photo of each class for every patient and shot: red/patient3_a.jpg."""
    for offset, colour in enumerate(("red", "blue")):
        for number in numbers:
            if number % 2 == offset:
                for place, shot in enumerate(shots):
                    photo(folder / colour / f"patient{number}_{shot}.jpg", colour, seed + 100 * number + place)
    return folder


def test_guessed_groups_stay_whole_and_are_said(tmp_path: Path, listener: Any) -> None:
    folder = patients(tmp_path / "data", numbers=range(12), shots="ab")
    dataset, _ = opened(find_samples(folder), listener, grouping="guessed")
    names = dataset.samples.names_of_groups()
    assert names == [Path(str(source)).stem[:-2] for source in dataset.samples.sources]
    folds = dataset.folds(5, seed=0)
    assert len(set(zip(names, folds.tolist(), strict=True))) == 12
    assert listener.said[-1] == (
        "12 groups are guessed: 24 of 24 photos have names that begin alike (patient1_a, patient1_b). It is a guess: "
        "where it is wrong, name the groups (group_column)."
    )


def test_without_the_option_nothing_is_guessed(tmp_path: Path) -> None:
    dataset, _ = opened(find_samples(patients(tmp_path / "data", numbers=range(12), shots="ab")))
    assert dataset.groups is None


def test_nothing_to_guess_is_said(photos: Photos, listener: Any) -> None:
    dataset, _ = opened(find_samples(photos(red=6, blue=6)), listener, grouping="guessed")
    assert dataset.groups is None
    assert listener.said[-1] == "no groups are guessed: neither names, bursts nor near-duplicates join photos"


def test_a_patient_in_training_evaluates_nothing(tmp_path: Path, tiny_network: str, listener: Any) -> None:
    """Patients 10 and 11 have other photos among the validation photos, patients 12 to 15 are there alone."""
    patients(tmp_path / "data" / "train", numbers=range(12), shots="ab")
    patients(tmp_path / "data" / "val", numbers=range(10, 16), shots="cd", seed=50)
    splits = find_samples(tmp_path / "data")
    result = fitted(splits, tiny_network, listener, grouping="guessed")
    assert result.report.n == 8
    assert any(
        said.startswith("4 of 12 photos in ") and "are of groups that are also in training" in said
        for said in listener.said
    )
    assert fitted(splits, tiny_network).report.n == 12


@pytest.mark.slow
def test_guessed_groups_can_be_left_out_one_at_a_time(tmp_path: Path, tiny_network: str) -> None:
    folder = patients(tmp_path / "data", numbers=range(12), shots="ab")
    record = fitted(find_samples(folder), tiny_network, grouping="guessed", folds="groups").record
    assert sorted(one.name for one in record.by_group) == sorted(f"patient{number}" for number in range(12))
    assert record.group_column == ""


def test_a_guess_beside_given_groups_is_refused(samples: Samples) -> None:
    with pytest.raises(OptionError) as caught:
        opened({"train": samples}, grouping="guessed")
    assert str(caught.value) == (
        f"grouping='guessed' guesses what belongs together, and {samples.where} says it ('clinic'). Leave one of them "
        "out: the guess, or the groups (group_column)."
    )
    said = r"^--groups guessed .*\(--group-column\)\.$"
    with flags_in_messages({"FitSettings.grouping": "--groups"}), pytest.raises(OptionError, match=said):
        opened({"train": samples}, grouping="guessed")


def test_clips_in_names_are_joined_with_the_guess(photos: Photos, listener: Any) -> None:
    folder = find_samples(photos(red=6, blue=6))["train"]
    clips = replace(folder, groups=np.arange(12) // 2, group_names=tuple(f"clip{number}" for number in range(6)))
    dataset, _ = opened({"train": clips}, listener, grouping="guessed")
    assert dataset.samples.names_of_groups() == [f"clip{number // 2}" for number in range(12)]
    assert "12 of 12 photos are of clips that their names count" in listener.said[-1]
