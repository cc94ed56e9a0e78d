"""`regraft.suggest` and `regraft.group`: folders and lists, with a classifier in any form."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import photo

import regraft
from regraft.api.estimator import TransferClassifier
from regraft.errors import DataError, OptionError

Make = Callable[..., TransferClassifier]


def test_lists_folders_and_classifiers_in_any_form(make: Make, sixteen: list[str], tmp_path: Path) -> None:
    fitted = make().fit(sixteen, ["blue"] * 8 + ["red"] * 8)
    fitted.save(tmp_path / "m.safetensors")
    names = [str(photo(tmp_path / "new" / f"{n}.jpg", "green", 900 + n)) for n in range(5)]
    found = [regraft.suggest(fitted, tmp_path / "new", 3), regraft.suggest(tmp_path / "m.safetensors", names, 3)]
    assert found[0].paths == found[1].paths
    assert set(found[0].paths) <= set(names)
    assert (len(found[0]), found[0].candidates, found[0][0].nearest) == (3, 5, None)
    assert [one.margin for one in found[0]] == sorted(one.margin for one in found[0])
    labelled = regraft.suggest(fitted.classifier_, [*names, sixteen[0]], labelled=tmp_path / "photos")
    assert labelled.left_out == {"labelled already, or copies of such photos": 1}
    assert {one.nearest_label for one in labelled} <= {"blue", "red"}
    assert str(found[0]).splitlines()[0].startswith(found[0].paths[0])
    found[0].write(tmp_path / "next.csv")
    assert (tmp_path / "next.csv").read_text().startswith("file,label,rank,guess,probability,second_guess,margin\n")


def test_images_in_memory_are_named_but_stand_in_no_table(make: Make, sixteen: list[str], tmp_path: Path) -> None:
    fitted = make().fit(sixteen, ["blue"] * 8 + ["red"] * 8)
    images = [Image.new("RGB", (40, 40), colour) for colour in ("white", "orange")]
    found = regraft.suggest(fitted, images, cache=False)
    assert set(found.paths) == {"image 0", "image 1"}
    with pytest.raises(
        OptionError,
        match=r"out names files, and the list has photos that lie inside a table or in memory",
    ):
        found.write(tmp_path / "next.csv")


def test_groups(sixteen: list[str], tiny_network: str, tmp_path: Path) -> None:
    found = regraft.group(sixteen, 2, model=tiny_network)
    assert (len(found), found.count, found.criteria) == (16, 2, {})
    assert [{Path(found.paths[place]).parent.name for place in own} for own in found.members()] in (
        [{"blue"}, {"red"}],
        [{"red"}, {"blue"}],
    )
    assert found.names == ("group-1",) * 8 + ("group-2",) * 8
    chosen = regraft.group(tmp_path / "photos", model=tiny_network)
    assert set(chosen.criteria) == {1, 2, 3, 4}  # 16 photos, four for each group
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    with pytest.warns(UserWarning, match="1 photos cannot be read and are left out"):
        assert len(regraft.group([*sixteen, bad], 1, model=tiny_network)) == 16


def test_what_cannot_be_meant(make: Make, sixteen: list[str], tiny_network: str) -> None:
    with pytest.raises(OptionError, match=r"groups must be a whole number from 1\. Got 0\."):
        regraft.group(sixteen, 0, model=tiny_network)
    fitted = make().fit(sixteen, ["blue"] * 8 + ["red"] * 8)
    with pytest.raises(OptionError, match=r"count must be a whole number from 1\. Got 1\.5\."):
        regraft.suggest(fitted, sixteen, 1.5)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"photos holds no images\."):
        regraft.suggest(fitted, [])
    with pytest.raises(TypeError, match="suggest has no argument 'labeled'"):
        regraft.suggest(fitted, sixteen, labeled="x")
