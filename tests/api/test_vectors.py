"""`regraft.embed` and `regraft.similar`: folders, tables and lists, with a network or a classifier."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import regraft
from regraft.api.estimator import TransferClassifier
from regraft.errors import BundleError, DataError, ModelError, OptionError

Photos = Callable[..., Path]
Make = Callable[..., TransferClassifier]
EXACT: dict[str, Any] = {"engine": "torch-float32"}


def test_folders_tables_and_lists_give_the_same(sixteen: list[str], tiny_network: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    found = regraft.embed(str(folder), model=tiny_network, **EXACT)
    assert found.paths == tuple(sixteen)
    assert found.labels == ("blue",) * 8 + ("red",) * 8
    assert found.splits == (None,) * 16
    assert (len(found), found.features.dtype, found.unreadable) == (16, np.float32, ())
    pd.DataFrame({"photo": sixteen, "kind": range(16)}).to_csv(tmp_path / "t.csv", index=False)
    table = regraft.embed(
        tmp_path / "t.csv", model=tiny_network, image_column="photo", label_column="kind", image_root=folder, **EXACT
    )
    assert table.labels == tuple(map(str, range(16)))
    images = [Image.open(path) for path in sixteen[:3]]
    for listed in (sixteen, np.array(sixteen), pd.Series(sixteen)):
        other = regraft.embed(listed, model=tiny_network, **EXACT)
        assert (other.paths, other.labels) == (found.paths, (None,) * 16)
        assert np.array_equal(other.features, found.features)
    assert np.array_equal(table.features, found.features)
    memory = regraft.embed(images, model=tiny_network, cache=False, **EXACT)
    assert memory.paths == ("image 0", "image 1", "image 2")
    np.testing.assert_allclose(memory.features, found.features[:3], rtol=0, atol=1e-2 * found.features.max())


@pytest.mark.slow
def test_a_classifier_in_any_form(make: Make, sixteen: list[str], tmp_path: Path) -> None:
    fitted = make().fit(sixteen, ["blue"] * 8 + ["red"] * 8)
    fitted.save(tmp_path / "m.safetensors")
    forms = [fitted, fitted.classifier_, tmp_path / "m.safetensors", str(tmp_path / "m.safetensors")]
    vectors = [regraft.embed(sixteen, model=form, features="all", **EXACT).features for form in forms]
    assert all(np.array_equal(vectors[0], other) for other in vectors)
    assert fitted.classifier_.probabilities(vectors[0]).argmax(axis=1).tolist() == [0] * 8 + [1] * 8


def test_features_of_the_last_layer_end_those_of_all_depths(sixteen: list[str], tiny_network: str) -> None:
    last, late, every = (
        regraft.embed(sixteen[:2], model=tiny_network, features=name, **EXACT).features
        for name in ("last", "late", "all")
    )
    assert 256 == last.shape[1] < late.shape[1] < every.shape[1]
    assert np.array_equal(every[:, -256:], last)
    assert np.array_equal(every[:, -late.shape[1] :], late)
    with pytest.raises(OptionError, match=r"features must be one of last, late, all\. Got 'first'\."):
        regraft.embed(sixteen[:2], model=tiny_network, features="first", **EXACT)


def test_the_nearest_are_those_of_scikit_learn(sixteen: list[str], tiny_network: str) -> None:
    vectors = regraft.embed(sixteen, model=tiny_network, **EXACT).features.astype(np.float64)
    known = NearestNeighbors(n_neighbors=2, metric="cosine", algorithm="brute").fit(vectors[2:])
    distances, positions = known.kneighbors(vectors[:2])
    found = regraft.similar(sixteen[:2], sixteen[2:], model=tiny_network, top=np.int64(2), **EXACT)
    assert found.photos == tuple(sixteen[:2])
    assert [[one.path for one in row] for row in found] == [[sixteen[2 + p] for p in row] for row in positions]
    np.testing.assert_allclose([[one.distance for one in row] for row in found], distances, rtol=0, atol=1e-12)
    assert str(found).startswith(f"{sixteen[0]}\n  0.")


def test_one_photo_in_any_form(sixteen: list[str], tiny_network: str, tmp_path: Path) -> None:
    image = Image.open(sixteen[9])
    for photo in (sixteen[9], Path(sixteen[9]), image, np.asarray(image), [image]):
        found = regraft.similar(photo, tmp_path / "photos", model=tiny_network, top=1, **EXACT)
        ((nearest,),) = found
        assert (nearest.path, nearest.label) == (sixteen[9], "red")
        assert nearest.match == ("same file" if isinstance(photo, (str, Path)) else "same picture")
        assert nearest.distance < 1e-2  # a file is decoded by another library than an image in memory


def test_unreadable_photos_are_warned_of(sixteen: list[str], tiny_network: str, tmp_path: Path) -> None:
    bad = Path(sixteen[0])
    bad.write_text("no image")
    with pytest.warns(
        UserWarning, match=r"^1 photos cannot be read and are left out:\n  .*0\.jpg: not an image"
    ) as warned:
        found = regraft.embed(tmp_path / "photos", model=tiny_network)
    assert warned[0].filename == __file__
    assert (len(found), found.paths[0], found.labels.count("blue")) == (15, sixteen[1], 7)
    assert [source for source, _ in found.unreadable] == [bad]
    with pytest.warns(UserWarning, match="2 photos cannot be read and are left out") as warned:
        answer = regraft.similar([bad, sixteen[1]], tmp_path / "photos", model=tiny_network)
    assert warned[0].filename == __file__
    assert (answer[0], list(answer.errors)) == ((), [0])
    with pytest.raises(DataError, match="none of the 1 photos can be read"):
        regraft.embed([bad], model=tiny_network)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"model": "resnet5O"}, ModelError, "There is no network named 'resnet5O'"),
        ({"model": "auto"}, ModelError, "^'auto' is no network, but a choice that `regraft fit` makes of several"),
        (
            {"model": ["pocket", "offline"]},
            OptionError,
            r"^model must be one network's name, a fitted classifier, or the file of one\. Got \['pocket', "
            r"'offline'\]\. For several, make a call for each\.$",
        ),
        ({"model": 5}, OptionError, r"^model must be one network's name, .* Got 5\.$"),
        ({"model": "gone.safetensors"}, BundleError, r"gone\.safetensors does not exist"),
        ({"top": 0}, OptionError, r"top must be a whole number from 1\. Got 0\."),
        ({"batch_size": 0}, OptionError, "batch_size must be 1 or more"),
        ({"label_column": "x"}, OptionError, "are for tables"),
        ({"tops": 3}, TypeError, r"similar has no argument 'tops'\. Did you mean 'top'\?"),
    ],
)
def test_what_is_not_allowed(
    sixteen: list[str], tiny_network: str, call: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        regraft.similar(sixteen[0], sixteen, **{"model": tiny_network, **call})


def test_no_images(sixteen: list[str], tiny_network: str) -> None:
    with pytest.raises(DataError, match=r"data holds no images\."):
        regraft.embed([], model=tiny_network)
    with pytest.raises(DataError, match=r"photo holds no images\."):
        regraft.similar([], sixteen, model=tiny_network)


def test_the_default_network(sixteen: list[str], offline: None) -> None:
    with pytest.warns(UserWarning, match="network: efficientnet-lite0, which is installed with regraft") as warned:
        regraft.embed(sixteen[:1])
    assert warned[0].filename == __file__
