"""Decisions as a table that `--labels` reads."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from regraft.data.label_file import LabelOptions
from regraft.data.label_table import read_label_table
from regraft.data.layouts import find_samples
from regraft.errors import OptionError
from regraft.images.sources import content_key
from regraft.review.decision import Action, Decision
from regraft.review.decisions import DecisionStore
from regraft.review.label_export import write_labels


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat/1", "cat/2", "cat/3", "dog/1", "dog/2", "dog/3"):
        path = tmp_path / "pets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "pets"


def test_what_was_decided_is_what_fit_reads(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder inside the data's or elsewhere, and whatever folder one stands in."""
    store = DecisionStore(tmp_path / "decisions.sqlite")
    monkeypatch.chdir(pets)
    for name, action, label in (
        ("cat/1", "relabel", "dog"),
        ("cat/2", "exclude", None),
        ("dog/1", "confirm", "dog"),
        ("dog/2", "relabel", "owl, barn"),
        ("dog/3", "relabel", "cat"),
    ):
        path = Path(f"{name}.png")
        store.record(content_key(path), path, action, label, reviewer="ada")
    store.undo("ada")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for table in (tmp_path / "reviewed.csv", tmp_path / "elsewhere" / "reviewed.csv"):
        assert store.export_csv(table) == 4
        found = LabelOptions(table).apply(find_samples(pets), pets)["train"]
        names = [f"{Path(str(source)).parent.name}/{Path(str(source)).stem}" for source in found.sources]
        assert dict(zip(names, (found.classes[label] for label in found.labels), strict=True)) == {
            "cat/1": "dog",
            "cat/3": "cat",
            "dog/1": "dog",
            "dog/2": "owl, barn",
            "dog/3": "dog",
        }
    rows = pd.read_csv(tmp_path / "reviewed.csv", keep_default_na=False)
    assert list(rows.columns) == ["image", "label", "exclude", "reviewer", "time"]
    assert rows["image"].tolist() == ["pets/cat/1.png", "pets/cat/2.png", "pets/dog/1.png", "pets/dog/2.png"]
    assert rows["exclude"].tolist() == ["", "yes", "", ""]


def test_copies_have_a_row_each_and_a_file_that_was_replaced_its_last(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path / "decisions.sqlite")
    one, other = bytes([1]) * 32, bytes([2]) * 32
    store.record(one, tmp_path / "a.png", "relabel", "cat", reviewer="ada")
    store.record(one, tmp_path / "copy.png", "relabel", "dog", reviewer="bob")
    store.record(other, tmp_path / "a.png", "relabel", "owl", reviewer="ada")
    assert store.export_csv(tmp_path / "l.csv") == 2
    rows = pd.read_csv(tmp_path / "l.csv")
    assert dict(zip(rows["image"], rows["label"], strict=True)) == {"a.png": "owl", "copy.png": "dog"}


def test_names_and_labels_that_no_table_can_hold_leave_nothing_behind(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path / "decisions.sqlite")
    store.record(bytes(32), tmp_path / "a.png ", "relabel", "cat", reviewer="ada")
    with pytest.raises(OptionError, match=r"l\.csv: these photos .* stand in a table: 'a\.png '\. Rename them\."):
        store.export_csv(tmp_path / "l.csv")
    with pytest.raises(OptionError, match=r"path must end in \.csv\. Got .*l\.txt"):
        store.export_csv(tmp_path / "l.txt")
    both = [  # which no store takes any more
        Decision(n, n.to_bytes(32), str(tmp_path / f"{n}.png"), Action.relabel, label, "ada", datetime.now(UTC))
        for n, label in enumerate(("cat", "dog", "cat|dog"))
    ]
    with pytest.raises(OptionError, match=r"(?s)these labels could not be read again\. .*l\.csv: .* several labels"):
        write_labels(both, tmp_path / "l.csv")
    assert {path.name for path in tmp_path.iterdir() if "sqlite" not in path.name} == set()


ODD = (  # labels that a table might read otherwise
    *("cat", "dog", "Cat", "cat|dog", "cat;owl", "cat, dog", "dog and cat", "['cat', 'dog']", "owl/cat", "cat & owl"),
    *('"cat"', "'cat'", '"', '""', 'c"a"t', "a\0b", "x" * 1001, "x" * 1000, "two\nlines", "two\x85lines", "\ufeffcat"),
    *("nan", "NA", "none", "-1", "1.0", "=1+1", "'=1", "@cat", "\u200bcat\u200b", "cat ", " a  b ", "u\u0308bel"),
    *("sep=;", "image", "a,b", "a;b", "a|b", "a\tb", ";", "|", ",", "#", "\\", "\ud800", "\u3000", "cat dog", "[]"),
)


def recorded(store: DecisionStore, labels: Sequence[str]) -> list[str]:
    """Record the labels one by one, and return those that are taken."""
    taken = []
    for number, label in enumerate(labels):
        with suppress(OptionError):
            made = store.record(number.to_bytes(32), f"/{number}.png", "relabel", label, reviewer="ada")
            taken.append(str(made.label))
    return taken


@pytest.mark.parametrize("labels", [ODD, ODD[::-1], *itertools.permutations(("cat", "dog", "cat|dog"))])
def test_what_is_recorded_can_be_exported_whatever_else_is(tmp_path: Path, labels: tuple[str, ...]) -> None:
    with DecisionStore(tmp_path / "decisions.sqlite") as store:
        taken = recorded(store, labels)
        assert store.export_csv(tmp_path / "l.csv") == len(taken) < len(labels)
    rows = read_label_table(tmp_path / "l.csv").rows
    assert sorted(str(row.label) for row in rows) == sorted(taken)
    assert len(taken) >= len(labels) // 3  # "cat|dog" alone, of three
