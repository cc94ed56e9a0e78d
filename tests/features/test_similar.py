"""The nearest photos: as scikit-learn finds them among the network's features, with copies marked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from tests.fixtures.scenes import scene

from regraft.data.photo_list import PhotoList, list_photos
from regraft.engines.compute import Compute
from regraft.errors import DataError
from regraft.features.embedding import Embedder
from regraft.features.similar import SAME_FILE, SAME_PICTURE, Neighbour, SimilarPhotos, find_similar
from regraft.images.sources import as_sources
from regraft.networks.backbone import Backbone

Photos = Callable[..., Path]
EXACT = Compute(engine="torch-float32")


@pytest.fixture
def embedder(backbone: Backbone) -> Embedder:
    return Embedder(backbone, EXACT)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Return class folders of six photos each, all of other pictures."""
    for label, first in (("day", 0), ("night", 100)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(6):
            scene(first + number).save(tmp_path / "data" / label / f"{number}.jpg", quality=90)
    return tmp_path / "data"


def test_they_are_those_of_scikit_learn(embedder: Embedder, photos: Photos) -> None:
    folder, new = photos("pets", red=12, blue=12), photos("new", 500, red=2, blue=3)
    data, asked = list_photos(folder), list_photos(new)
    found = find_similar(embedder, asked.sources, data, 4)
    vectors, queries = (embedder.all_of(*embedder.open(part.sources)).vectors for part in (data, asked))
    known = NearestNeighbors(n_neighbors=4, metric="cosine", algorithm="brute").fit(vectors.astype(np.float64))
    distances, positions = known.kneighbors(queries.astype(np.float64))
    assert [[one.source for one in row] for row in found] == [[data.sources[p] for p in row] for row in positions]
    assert [[one.label for one in row] for row in found] == [[data.labels[p] for p in row] for row in positions]
    np.testing.assert_allclose([[one.distance for one in row] for row in found], distances, rtol=0, atol=1e-12)
    assert found.photos == tuple(map(str, asked.sources))
    assert len(found) == 5
    assert found.computed == 29


def test_copies_are_marked_and_other_photos_are_not(embedder: Embedder, scenes: Path, tmp_path: Path) -> None:
    photo = tmp_path / "new.jpg"
    shutil.copy(scenes / "day" / "3.jpg", photo)
    original = Image.open(photo)
    original.resize((170, 150)).save(scenes / "day" / "small.jpg", quality=60)
    ImageOps.mirror(original).save(scenes / "night" / "mirrored.png")
    found = find_similar(embedder, (photo,), list_photos(scenes), 14)[0]
    marks = {one.source: one.match for one in found if one.match}
    assert marks == {
        scenes / "day" / "3.jpg": SAME_FILE,
        scenes / "day" / "small.jpg": SAME_PICTURE,
        scenes / "night" / "mirrored.png": SAME_PICTURE,
    }
    assert (found[0].source, found[0].distance) == (scenes / "day" / "3.jpg", 0.0)
    assert len(found) == 14
    assert [one.distance for one in found] == sorted(one.distance for one in found)


def test_photos_of_one_plain_background_are_not_taken_for_copies(embedder: Embedder, tmp_path: Path) -> None:
    """Digits of a scanner: all are alike, which the set itself teaches. Only the true copy is marked."""
    images = load_digits().images[:80]
    folder = tmp_path / "digits"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(np.uint8(image * 15)).resize((64, 64)).save(folder / f"x{number}.png")
    copy = tmp_path / "copy.png"
    Image.open(folder / "x7.png").resize((80, 80)).save(copy)
    found = find_similar(embedder, (copy,), list_photos(folder), 9)[0]
    assert [one.source.name for one in found if one.match] == ["x7.png"]  # type: ignore[union-attr]


def test_unreadable_photos_on_both_sides(embedder: Embedder, photos: Photos, tmp_path: Path) -> None:
    folder = photos("pets", red=3)
    (folder / "red" / "torn.jpg").write_bytes((folder / "red" / "0.jpg").read_bytes()[:700])
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    found = find_similar(embedder, (bad, folder / "red" / "1.jpg"), list_photos(folder), 9)
    assert list(found.errors) == [0]
    assert found[0] == ()
    assert found[1][0].path == str(folder / "red" / "1.jpg")
    assert len(found[1]) == 3
    assert [source for source, _ in found.unreadable] == [folder / "red" / "torn.jpg"]
    text = str(found).splitlines()
    assert text[0].startswith(f"{bad}: unreadable: not an image")
    assert text[1] == str(folder / "red" / "1.jpg")


def test_nothing_that_can_be_read(embedder: Embedder, photos: Photos, tmp_path: Path) -> None:
    bad = tmp_path / "bad" / "1.jpg"
    bad.parent.mkdir()
    bad.write_text("no image")
    folder = photos("pets", red=2)
    found = find_similar(embedder, (bad,), list_photos(folder), 9)
    assert (found.neighbours, list(found.errors), found.computed) == (((),), [0], 0)
    with pytest.raises(DataError, match=r"bad: none of the 1 photos can be read:\n  .*1\.jpg: not an image"):
        find_similar(embedder, (folder / "red" / "0.jpg",), list_photos(bad.parent), 9)


def test_the_cache_has_both(embedder: Embedder, photos: Photos, backbone: Backbone) -> None:
    data = list_photos(photos("pets", red=4))
    first = find_similar(embedder, data.sources[:2], data, 2)
    again = find_similar(Embedder(backbone, EXACT), data.sources[:2], data, 2)
    assert (first.computed, again.computed) == (4, 0)  # equal photos go through the network once
    assert again.neighbours == first.neighbours


def result(*names: str, label: str | None = "cat") -> SimilarPhotos:
    neighbours = (Neighbour(Path(names[0]), 0.0, label, "train", SAME_FILE), Neighbour(Path(names[1]), 0.25, None))
    return SimilarPhotos((Path("new\n.jpg"),), (neighbours,), unreadable=((Path("torn.jpg"), "cut off"),), computed=2)


def test_the_table_is_aligned_and_no_name_makes_a_line() -> None:
    assert str(result("a\x1b.jpg", "b.jpg", label="c\nt")) == (
        "new\\n.jpg\n  0.0000  c\\nt  a\\x1b.jpg  (same file)\n  0.2500        b.jpg"
    )
    assert str(result("a.jpg", "b.jpg", label=None)) == "new\\n.jpg\n  0.0000  a.jpg  (same file)\n  0.2500  b.jpg"


def test_json() -> None:
    expected: dict[str, Any] = {
        "photos": [
            {
                "photo": "new\n.jpg",
                "nearest": [
                    {"path": "a.jpg", "distance": 0.0, "label": "cat", "split": "train", "match": "same file"},
                    {"path": "b.jpg", "distance": 0.25, "label": None, "split": None, "match": None},
                ],
                "error": None,
            }
        ],
        "unreadable": ["torn.jpg"],
        "computed": 2,
    }
    assert result("a.jpg", "b.jpg").to_json() == expected


def test_images_in_memory(embedder: Embedder) -> None:
    images = as_sources([scene(seed) for seed in range(4)])
    found = find_similar(embedder, tuple(as_sources([scene(2)])), PhotoList.unlabelled(images), 2)
    assert (found[0][0].path, found[0][0].distance, found[0][0].match) == ("image 2", 0.0, SAME_FILE)
