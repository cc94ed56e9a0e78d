"""Where decisions are kept: beside the data, and never where a folder more would be taken for a class."""

from pathlib import Path

import pytest

from regraft.data.columns import Columns
from regraft.images.sources import TableCell
from regraft.review.photos import name_below
from regraft.review.places import ReviewPlaces


@pytest.mark.parametrize(
    ("data", "decisions", "added"),
    [
        ("pets", "pets-review.sqlite", "pets-added"),
        ("pets/train", "pets-train-review.sqlite", "pets-train-added"),
        ("pets/cat", "pets/cat-review.sqlite", "pets/cat-added"),
        ("labels.csv", "labels-review.sqlite", "labels-added"),
    ],
)
def test_beside_the_data(tmp_path: Path, data: str, decisions: str, added: str) -> None:
    for folder in ("pets/train", "pets/cat"):
        (tmp_path / folder).mkdir(parents=True)
    found = ReviewPlaces.of(tmp_path / data)
    assert (found.decisions, found.added) == (tmp_path / decisions, tmp_path / added)
    assert found.root == (tmp_path if data.endswith(".csv") else tmp_path / data)


def test_what_has_no_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pets" / "cat")
    found = ReviewPlaces.of("..")
    assert (found.root, found.decisions) == (tmp_path / "pets", tmp_path / "pets-review.sqlite")


def test_names_lead_from_the_folder_to_the_photo_through_links_too(tmp_path: Path) -> None:
    (tmp_path / "far" / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "pets")
    name = name_below(tmp_path / "link")
    assert name(tmp_path / "link" / "cat" / "1.jpg") == "cat/1.jpg"
    assert name(tmp_path / "link-added" / "2.jpg") == "../../link-added/2.jpg"
    assert (tmp_path / "link" / ".." / ".." / "far").is_dir()  # as the system takes "..", from what is linked to
    assert name(TableCell(tmp_path / "link" / "t.parquet", "image", 0, 0, "3.jpg")) == "t.parquet:3.jpg"


def test_a_file_that_is_named_and_images_that_lie_elsewhere(tmp_path: Path) -> None:
    found = ReviewPlaces.of(tmp_path / "a.csv", Columns(image_root=tmp_path / "images"), tmp_path / "x.sqlite")
    assert (found.root, found.decisions) == (tmp_path / "images", tmp_path / "x.sqlite")
