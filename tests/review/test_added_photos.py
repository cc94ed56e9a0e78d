"""Photos that people add: kept as they were sent, under a name that leads nowhere else."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import photo

from regraft.errors import OptionError, OutputError
from regraft.images.sources import EncodedImage, content_key
from regraft.review.added_photos import keep_photo


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("owl.jpg", "owl.jpg"),
        ("../../etc/owl.JPG", "owl.jpg"),
        ("C:\\photos\\my owl.jpeg", "my_owl.jpeg"),
        ("owl", "owl.jpg"),
        ("...", "photo.jpg"),
        ("Eule-ü.jpg", "Eule-ü.jpg"),
        ("a\n\x1b.png.exe", "a_.png.jpg"),
        (f"{'x' * 300}.jpg", f"{'x' * 80}.jpg"),
        (f"{'字' * 100}.jpg", f"{'字' * 53}.jpg"),  # of three bytes each, 160 at most
    ],
)
def test_names(tmp_path: Path, name: str, kept: str) -> None:
    data = photo(tmp_path / "a.jpg", "red", 1).read_bytes()
    key, path = keep_photo(EncodedImage(data, name), tmp_path / "new" / "folder", known=set())
    assert path == tmp_path / "new" / "folder" / kept
    assert path.read_bytes() == data
    assert key == content_key(path)


def test_another_photo_of_the_same_name_and_the_same_photo_again(tmp_path: Path) -> None:
    first, second = (photo(tmp_path / f"{n}.jpg", "red", n).read_bytes() for n in range(2))
    paths = [keep_photo(EncodedImage(data, "a.jpg"), tmp_path / "b", known=set())[1] for data in (first, second, first)]
    other = f"a-{hashlib.sha256(second).hexdigest()[:8]}.jpg"
    assert [path and path.name for path in paths] == ["a.jpg", other, "a.jpg"]
    known = {content_key(tmp_path / "0.jpg")}
    assert keep_photo(EncodedImage(first, "c.jpg"), tmp_path / "b", known=known)[1] is None
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [other, "a.jpg"]


def test_photos_of_one_name_that_come_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    sent = [photo(tmp_path / f"{n}.jpg", "red", n).read_bytes() for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        kept = list(pool.map(lambda data: keep_photo(EncodedImage(data, "image.jpg"), tmp_path / "b", known=()), sent))
    assert [path.read_bytes() for _, path in kept if path is not None] == sent
    assert len(list((tmp_path / "b").iterdir())) == 12


def test_a_photo_of_more_pixels_than_are_taken(tmp_path: Path) -> None:
    image = EncodedImage(photo(tmp_path / "a.jpg", "red", 1, (50, 40)).read_bytes(), "x.jpg")
    with pytest.raises(OptionError, match=r"^50 x 40 pixels: more than 1,999\.$"):
        keep_photo(image, tmp_path / "b", known=(), max_pixels=1999)
    with pytest.raises(OptionError, match=r"^it is a photo of the test split"):
        keep_photo(image, tmp_path / "b", known=(), tested={content_key(image)})
    assert not (tmp_path / "b").exists()
    assert keep_photo(image, tmp_path / "b", known=(), max_pixels=2000)[1] == tmp_path / "b" / "x.jpg"


def test_what_is_no_photo_and_what_cannot_be_written(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.jpg", "red", 1, (400, 400)).read_bytes()
    reasons = ("the file is empty", "not an image, or damaged at its start", "the file is cut off")
    for bad, why in zip((b"", b"no photo", data[: len(data) // 2]), reasons, strict=True):
        with pytest.raises(OptionError, match=why):
            keep_photo(EncodedImage(bad, "x.jpg"), tmp_path / "b", known=set())
    assert not (tmp_path / "b").exists()
    with pytest.raises(OutputError, match=r"a\.jpg"):
        keep_photo(EncodedImage(data, "x.jpg"), tmp_path / "a.jpg" / "b", known=set())
