"""Image files by the names that tables have for them."""

import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from regraft.data.image_paths import find_images
from regraft.errors import DataError

FILES = ("cats/1.jpg", "cats/2.jpg", "dogs/1.jpg", "dogs/2.jpg", "x/A1.JPG", "x/b1.jpeg", "x/y/sp ace.png", "top.jpg")
FILES += ("x/top.jpg", "x/Two.jpg", "x/two.JPG", "x/IMG_0001.jpg", "same/s.jpg", "other/s.jpg", "x/cat.0.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "pets"


def find(values: Sequence[str], root: Path) -> tuple[list[str], list[str]]:
    found, notes = find_images(values, root, where="t.csv", row_name=lambda position: f"line {position + 2}")
    return [path.relative_to(root).as_posix() for path in found], notes


def problem(value: str, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find([value], root)
    first, second, *_ = str(caught.value).splitlines()
    assert first == f"t.csv: 1 of 1 rows name no image file below {root}:"
    return second.strip()


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("cats/1.jpg", "cats/1.jpg"),
        ("./cats/1.jpg", "cats/1.jpg"),
        ("cats//1.jpg", "cats/1.jpg"),
        ("cats\\1.jpg", "cats/1.jpg"),
        (".\\cats\\1.jpg", "cats/1.jpg"),
        ("A1.JPG", "x/A1.JPG"),
        ("A1", "x/A1.JPG"),
        ("cat.0", "x/cat.0.jpg"),
        ("dogs/1", "dogs/1.jpg"),
        ("pets/top.jpg", "top.jpg"),  # the root's own name
        ("y/sp ace", "x/y/sp ace.png"),
        ("top.jpg", "top.jpg"),  # not x/top.jpg
        ("Two", "x/Two.jpg"),  # not x/two.JPG
    ],
)
def test_names_of_a_file(root: Path, value: str, file: str) -> None:
    assert find([value], root) == ([file], [])


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("CATS/1.JPG", "cats/1.jpg"),
        ("a1.jpg", "x/A1.JPG"),
        ("TOP.JPG", "top.jpg"),
        ("C:\\Users\\me\\pets\\cats\\1.jpg", "cats/1.jpg"),
        ("/kaggle/input/dogs/2.jpg", "dogs/2.jpg"),
        ("old/b1.jpeg", "x/b1.jpeg"),
        ("old/b1", "x/b1.jpeg"),
        ("file:///home/me/y/sp%20ace.png", "x/y/sp ace.png"),
        ("file:///C:/me/dogs/1.jpg", "dogs/1.jpg"),
    ],
)
def test_names_that_another_machine_has_for_the_only_file_that_fits(root: Path, value: str, file: str) -> None:
    found, notes = find([value, "cats/2.jpg"], root)
    assert found == [file, "cats/2.jpg"]
    assert notes == [
        "1 of 2 rows of t.csv name their photo otherwise than its file is called, or in another folder: "
        f"{value!r} is {file!r}; each is the only one that fits"
    ]


def test_absolute_paths(root: Path) -> None:
    assert find([str(root / "cats/1.jpg"), f"file://{root}/x/y/sp%20ace.png"], root)[0] == [
        *("cats/1.jpg", "x/y/sp ace.png"),
    ]


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("value", ["Käfer.jpg", "Käfer", "KÄFER.jpg", "x/Käfer.jpg"])
def test_unicode_forms(tmp_path: Path, on_disk: str, in_table: str, value: str) -> None:
    name = unicodedata.normalize(on_disk, "Käfer.jpg")
    (tmp_path / name).touch()
    assert find([unicodedata.normalize(in_table, value)], tmp_path)[0] == [name]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("1.jpg", "'1.jpg' fits cats/1.jpg, dogs/1.jpg"),
        ("birds/1.jpg", "'birds/1.jpg' fits cats/1.jpg, dogs/1.jpg"),
        ("TWO.jpg", "'TWO.jpg' fits x/Two.jpg, x/two.JPG"),
        ("gone/s", "'gone/s' fits other/s.jpg, same/s.jpg"),
        ("dogs/3.jpg", "'dogs/3.jpg' is missing"),
        ("dogs/A1.JPG", "'dogs/A1.JPG' is missing. Did you mean 'x/A1.JPG'?"),  # dogs/ is there, and it is not in it
        ("A1.png", "'A1.png' is missing. Did you mean 'x/A1.JPG'?"),
        ("img-001.jpg", "'img-001.jpg' is missing. Did you mean 'x/IMG_0001.jpg'?"),
        ("https://pets.org/A1.JPG", "'https://pets.org/A1.JPG' is an address in the web; photos are not downloaded"),
        ("cats", "'cats' is missing"),
        ("..", "'..' is missing"),
        ("/", "'/' is missing"),
        ("", "'' names nothing"),
    ],
)
def test_cells_that_name_no_file_or_several(root: Path, value: str, told: str) -> None:
    assert problem(value, root) == f"line 2: {told}"


def test_two_cells_in_different_folders_are_never_one_photo(root: Path) -> None:
    """Of cats/1.jpg and birds/1.jpg, where birds/ was not copied: no bird is a cat."""
    with pytest.raises(DataError, match=r"line 2: 'birds/A1\.JPG' fits A1\.JPG alone, which is 'x/A1\.JPG' of line 3"):
        find(["birds/A1.JPG", "x/A1.JPG"], root)
    assert find(["A1", "pets/x/a1.jpg", "/home/me/pets/x/A1.JPG"], root)[0] == ["x/A1.JPG"] * 3


def test_what_was_assumed_of_the_table_is_told_with_what_is_missing(root: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_images(["gone"], root, where="t.csv", row_name=str, notes=["t.csv: read as Windows-1252"])
    assert str(caught.value).endswith("with image_root.\n(t.csv: read as Windows-1252)")


def test_many_rows_take_little_time(tmp_path: Path) -> None:
    """A search through all files for each row would take 4,000,000 steps, minutes."""
    for number in range(2000):
        (tmp_path / f"{number:05}.jpg").touch()
    start = time.process_time()
    assert len(find([f"old\\{number:05}.JPG" for number in range(2000)], tmp_path)[0]) == 2000
    with pytest.raises(DataError, match="2,000 of 2,000 rows name no image file"):
        find([f"{number:05}x" for number in range(2000)], tmp_path)
    assert time.process_time() - start < 5


def test_many_photos_of_one_name_take_little_time(tmp_path: Path) -> None:
    """Each patient's photo is called alike; of 1,500 all pairs would be 2,250,000 steps, half a minute."""
    names = [f"{number:04}" for number in range(1500)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "img.png").touch()
    start = time.process_time()
    assert find([f"/home/me/{name}/IMG.png" for name in names], tmp_path)[0] == [f"{name}/img.png" for name in names]
    with pytest.raises(DataError, match="1,500 of 1,500 rows name no image file"):
        find([f"/home/me/x{name}/img.png" for name in names], tmp_path)
    assert time.process_time() - start < 3
