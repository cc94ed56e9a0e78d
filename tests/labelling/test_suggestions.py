"""The table of suggestions: what training reads of it, and what no spreadsheet may take for a formula."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from regraft.data.layouts import find_samples
from regraft.data.photo_list import PhotoList
from regraft.errors import OptionError
from regraft.labelling.suggestions import Suggestion, Suggestions
from regraft.photo_audit.photos import AuditPhotos, label_photos


@pytest.fixture
def labelled(tmp_path: Path) -> AuditPhotos:
    paths = tuple(tmp_path / f"{name}.jpg" for name in "abc")
    for path in paths:
        path.touch()
    return label_photos(PhotoList(paths, ("=1+1", "b;c", None), ("train", "validation", None)), ("g", None, None))


@pytest.fixture
def found(labelled: AuditPhotos, tmp_path: Path) -> Suggestions:
    (tmp_path / "new.jpg").touch()
    one = Suggestion(tmp_path / "new.jpg", "=1+1", 0.6, "b;c", 0.2, labelled.sources[0], "=1+1")
    return Suggestions((one,), 7, {"copies of others": 2}, labelled=labelled, groups=(None,))


def test_labels_splits_and_groups_are_as_they_were(found: Suggestions, tmp_path: Path) -> None:
    found.write(tmp_path / "next.csv")
    with (tmp_path / "next.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    read = [[row[name] for name in ("file", "label", "split", "group", "rank")] for row in rows]
    assert read == [
        [str(tmp_path / "new.jpg"), "", "train", "", "1"],
        [str(tmp_path / "a.jpg"), "=1+1", "train", "g", ""],
        [str(tmp_path / "b.jpg"), "b;c", "validation", "", ""],
    ]
    assert (rows[0]["guess"], rows[0]["second_guess"], rows[0]["nearest_label"]) == ("'=1+1", "b;c", "'=1+1")
    text = (tmp_path / "next.csv").read_text().replace("new.jpg,,", "new.jpg,=1+1,")
    (tmp_path / "next.csv").write_text(text)
    assert find_samples(tmp_path / "next.csv")["train"].classes == ("=1+1",)


def test_nothing_is_said_of_splits_and_groups_that_no_photo_has(found: Suggestions, tmp_path: Path) -> None:
    alone = replace(found, labelled=None, groups=(None,))
    alone.write(tmp_path / "next.csv")
    header = (tmp_path / "next.csv").read_text().splitlines()[0]
    assert header == "file,label,rank,guess,probability,second_guess,margin"
    replace(alone, groups=("ann",)).write(tmp_path / "next.csv")
    lines = (tmp_path / "next.csv").read_text().splitlines()
    assert lines[0].startswith("file,label,group,rank,")
    assert ",,ann,1," in lines[1]


def test_it_is_shown_in_words(found: Suggestions, tmp_path: Path) -> None:
    assert str(found) == f"{tmp_path / 'new.jpg'}  =1+1   60.0%  (b;c 40.0%)"
    assert found.notes() == ["left out, as copies of others: 2", "1 of 7 photos are suggested"]


def test_what_a_table_cannot_hold(found: Suggestions, labelled: AuditPhotos, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"out must end in \.csv\. Got .*next\.txt"):
        found.write(tmp_path / "next.txt")
    odd = replace(labelled, classes=("NaN", "b;c"))
    with pytest.raises(OptionError, match="as if these classes were no value: 'NaN'"):
        replace(found, labelled=odd).write(tmp_path / "next.csv")
