"""The look at every file before training: unreadable files and contradictions."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.pets import samples_of

from regraft.data.audit import (
    Inspection,
    check_contradictions,
    check_share_unreadable,
    check_unreadable,
    contradiction_lines,
    contradictions,
    inspect,
    unreadable_lines,
)
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.errors import DataError
from regraft.files import sha256
from regraft.images.sources import Pixels

Write = Callable[..., Path]


# --- inspect ---


def test_inspect_gives_a_key_for_each_file_or_a_reason(write: Write) -> None:
    folder = write("set", "0.png", "1.png")
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "3.png").write_text("no image")
    (folder / "4.png").write_bytes(b"")
    sources = tuple(folder / f"{number}.png" for number in range(6))
    found = inspect(sources)
    zero, one = sha256((folder / "0.png").read_bytes()), sha256((folder / "1.png").read_bytes())
    assert found.keys == (zero, one, zero, b"", b"", b"")
    assert found.unreadable == {
        3: "not an image, or damaged at its start",
        4: "the file is empty",
        5: "the file is gone",
    }


def test_inspect_nothing() -> None:
    assert inspect(()) == Inspection(())


def test_inspect_keeps_the_order_of_many(pixels: Callable[[int], np.ndarray]) -> None:
    sources = tuple(Pixels(Image.fromarray(pixels(seed)), str(seed)) for seed in range(50))
    keys = inspect(sources).keys
    assert len(set(keys)) == 50
    assert inspect(sources[::-1]).keys == keys[::-1]


def test_inspect_tells_of_its_progress(write: Write) -> None:
    folder = write("set", *(f"{number}.png" for number in range(7)))
    steps: list[int] = []
    inspect(tuple(folder / f"{number}.png" for number in range(9)), on_progress=steps.append)
    assert sum(steps) == 9


def test_inspect_decodes_nothing(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Image.Image) -> None:
        raise AssertionError("decoded")

    folder = write("set", "0.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert inspect((folder / "0.png",)).unreadable == {}


def test_nothing_on_disk_is_changed(write: Write) -> None:
    folder = write("set", "0.png", "1.png")
    (folder / "bad.png").write_bytes(b"damaged")
    (folder / "0 copy.png").write_bytes((folder / "0.png").read_bytes())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    sources = tuple(sorted(before))
    samples = Samples(sources, np.array([0, 1, 0, 1]), ("a", "b"), where="set")
    found = inspect(sources)
    with pytest.raises(DataError, match="regraft changes none of them"):
        check_unreadable(samples, found.unreadable)
    with pytest.raises(DataError, match="more than one class"):
        check_contradictions([samples], [found.keys])
    assert Dataset.of(samples, found).groups is not None
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


# --- unreadable ---


@pytest.mark.parametrize(("bad", "whole"), [(0, 10), (1, 10), (2, 20), (3, 30), (10, 100), (0, 3)])
def test_ten_percent_unreadable_pass(bad: int, whole: int) -> None:
    unreadable = {position: "damaged" for position in range(bad)}
    check_unreadable(samples_of([0] * whole), unreadable)
    check_share_unreadable("pets", unreadable_lines(samples_of([0] * whole).sources, unreadable), whole)


@pytest.mark.parametrize(("bad", "whole"), [(1, 9), (2, 19), (4, 39), (11, 109), (11, 100), (1, 1)])
def test_more_than_ten_percent_unreadable_do_not(bad: int, whole: int) -> None:
    with pytest.raises(DataError, match=rf"^pets: {bad} of {whole} images cannot be read, more than 10%:\n"):
        check_unreadable(samples_of([0] * whole), {position: "damaged" for position in range(bad)})


def test_unreadable_files_are_named_with_their_reasons() -> None:
    with pytest.raises(DataError) as caught:
        check_unreadable(samples_of([0] * 10), {7: "the file is empty", 2: "the file is gone"})
    assert str(caught.value) == (
        "pets: 2 of 10 images cannot be read, more than 10%:\n  2.jpg: the file is gone\n"
        "  7.jpg: the file is empty\nReplace or remove these files; regraft changes none of them."
    )


def test_twenty_unreadable_files_are_named_and_the_rest_counted() -> None:
    with pytest.raises(DataError) as caught:
        check_unreadable(samples_of([0] * 30), {position: "damaged" for position in range(23)})
    assert re.findall(r"\n  (\d+)\.jpg: damaged", str(caught.value)) == [str(number) for number in range(20)]
    assert "\n  and 3 more\n" in str(caught.value)


def test_unreadable_lines_stand_in_order() -> None:
    sources = samples_of([0, 0, 0]).sources
    assert unreadable_lines(sources, {2: "x", 0: "y"}) == ["0.jpg: y", "2.jpg: x"]


# --- contradictions ---


def test_copies_under_one_class_are_no_contradiction() -> None:
    check_contradictions([samples_of([0, 0, 1])], [(b"a", b"a", b"b")])


def test_unreadable_files_do_not_contradict_each_other() -> None:
    check_contradictions([samples_of([0, 1])], [(b"", b"")])


def test_every_contradiction_is_named_with_its_classes() -> None:
    with pytest.raises(DataError) as caught:
        check_contradictions([samples_of([0, 1, 2, 1, 0, 0])], [(b"a", b"b", b"a", b"c", b"c", b"a")])
    assert str(caught.value) == (
        "pets: 2 images stand under more than one class:\n  0.jpg (cat) = 2.jpg (owl) = 5.jpg (cat)\n"
        "  3.jpg (dog) = 4.jpg (cat)\nKeep each under its right class only."
    )


def test_twenty_contradictions_are_named_and_the_rest_counted() -> None:
    keys = tuple(bytes([number // 2 + 1]) for number in range(50))
    with pytest.raises(DataError) as caught:
        check_contradictions([samples_of([0, 1] * 25)], [keys])
    assert str(caught.value).startswith("pets: 25 images stand under more than one class:\n  0.jpg (cat) = 1.jpg (dog)")
    assert str(caught.value).count(" = ") == 20
    assert "\n  and 5 more\n" in str(caught.value)


def test_contradictions_between_splits_are_named_with_both() -> None:
    """Of the five photos, 0 is 3 and 1 is 4: the second pair is of one class."""
    parts, keys = [samples_of([0, 1, 2]), samples_of([1, 1], where="others")], [(b"a", b"b", b"c"), (b"a", b"b")]
    found = contradictions(parts, keys)
    assert found == [[0, 3]]
    assert contradiction_lines(parts, found) == ["0.jpg (cat) = 0.jpg (dog)"]
    with pytest.raises(DataError) as caught:
        check_contradictions(parts, keys)
    assert str(caught.value) == (
        "pets and others: 1 images stand under more than one class:\n  0.jpg (cat) = 0.jpg (dog)\n"
        "Keep each under its right class only."
    )
    check_contradictions(parts[:1], keys[:1])
    check_contradictions(parts[1:], keys[1:])
