"""Where decisions are kept: beside the data, and never where a folder more would be taken for a class."""

from pathlib import Path

import pytest

from regraft.data.columns import Columns
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


def test_a_file_that_is_named_and_images_that_lie_elsewhere(tmp_path: Path) -> None:
    found = ReviewPlaces.of(tmp_path / "a.csv", Columns(image_root=tmp_path / "images"), tmp_path / "x.sqlite")
    assert (found.root, found.decisions) == (tmp_path / "images", tmp_path / "x.sqlite")
