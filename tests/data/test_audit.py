"""The look at every file before training: unreadable files, contradictions, copies."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.data.audit import (
    Audit,
    check_contradictions,
    check_unreadable,
    inspect,
    joined_groups,
    unreadable_lines,
    without,
)
from regraft.data.samples import Samples
from regraft.data.sources import Pixels
from regraft.errors import DataError
from regraft.files import sha256

Write = Callable[..., Path]


def samples_of(labels: list[int], groups: list[int] | None = None) -> Samples:
    """Return samples 0.jpg, 1.jpg ... of classes cat (0), dog (1) and owl (2)."""
    return Samples(
        sources=tuple(Path(f"{number}.jpg") for number in range(len(labels))),
        labels=np.array(labels),
        classes=("cat", "dog", "owl"),
        groups=None if groups is None else np.array(groups),
        where="pets",
    )


def together(groups: np.ndarray) -> set[frozenset[int]]:
    """Return the sets of positions that share a group."""
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


# --- inspect ---


def test_inspect_gives_a_key_for_each_file_or_a_reason(write: Write) -> None:
    folder = write("set", "0.png", "1.png")
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "3.png").write_text("no image")
    (folder / "4.png").write_bytes(b"")
    sources = tuple(folder / f"{number}.png" for number in range(6))
    audit = inspect(sources)
    zero, one = sha256((folder / "0.png").read_bytes()), sha256((folder / "1.png").read_bytes())
    assert audit.keys == (zero, one, zero, b"", b"", b"")
    assert audit.unreadable == {
        3: "not an image, or damaged at its start",
        4: "the file is empty",
        5: "the file is gone",
    }


def test_inspect_nothing() -> None:
    assert inspect(()) == Audit(())


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
    audit = inspect(sources)
    with pytest.raises(DataError, match="regraft changes none of them"):
        check_unreadable(samples, audit.unreadable)
    with pytest.raises(DataError, match="more than one class"):
        check_contradictions(samples, audit.keys)
    joined_groups(samples, audit.keys)
    without(samples, audit.unreadable)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


# --- unreadable ---


@pytest.mark.parametrize(("bad", "whole"), [(0, 10), (1, 10), (2, 20), (3, 30), (10, 100), (0, 3)])
def test_ten_percent_unreadable_pass(bad: int, whole: int) -> None:
    unreadable = {position: "damaged" for position in range(bad)}
    check_unreadable(samples_of([0] * whole), unreadable)
    kept, _ = without(samples_of([0] * whole), unreadable)
    assert len(kept) == whole - bad


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
    check_contradictions(samples_of([0, 0, 1]), (b"a", b"a", b"b"))


def test_unreadable_files_do_not_contradict_each_other() -> None:
    check_contradictions(samples_of([0, 1]), (b"", b""))


def test_every_contradiction_is_named_with_its_classes() -> None:
    with pytest.raises(DataError) as caught:
        check_contradictions(samples_of([0, 1, 2, 1, 0, 0]), (b"a", b"b", b"a", b"c", b"c", b"a"))
    assert str(caught.value) == (
        "pets: 2 images stand under more than one class:\n  0.jpg (cat) = 2.jpg (owl) = 5.jpg (cat)\n"
        "  3.jpg (dog) = 4.jpg (cat)\nKeep each under its right class only."
    )


def test_twenty_contradictions_are_named_and_the_rest_counted() -> None:
    keys = tuple(bytes([number // 2 + 1]) for number in range(50))
    with pytest.raises(DataError) as caught:
        check_contradictions(samples_of([0, 1] * 25), keys)
    assert str(caught.value).startswith("pets: 25 images stand under more than one class:\n  0.jpg (cat) = 1.jpg (dog)")
    assert str(caught.value).count(" = ") == 20
    assert "\n  and 5 more\n" in str(caught.value)


# --- groups ---


def test_without_copies_there_is_nothing_to_keep_together() -> None:
    assert joined_groups(samples_of([0, 1, 2]), (b"a", b"b", b"c")) is None


def test_without_copies_the_groups_stay() -> None:
    groups = joined_groups(samples_of([0, 1, 2], [5, 5, 9]), (b"a", b"b", b"c"))
    assert groups is not None
    assert groups.tolist() == [5, 5, 9]


def test_unreadable_files_are_no_copies() -> None:
    assert joined_groups(samples_of([0, 1, 2]), (b"", b"", b"c")) is None


def test_copies_share_a_group() -> None:
    groups = joined_groups(samples_of([0, 0, 1, 1, 0]), (b"a", b"b", b"c", b"c", b"a"))
    assert groups is not None
    assert together(groups) == {frozenset({0, 4}), frozenset({1}), frozenset({2, 3})}
    assert groups.dtype == np.int64


def test_groups_join_through_copies_and_copies_through_groups() -> None:
    """0 and 1 are one patient, 1 and 2 one file, 2 and 3 one patient, 3 and 6 one file; 4 and 5 stay by themselves."""
    samples = samples_of([0] * 7, [10, 10, 20, 20, 30, 30, 40])
    groups = joined_groups(samples, (b"a", b"b", b"b", b"c", b"d", b"e", b"c"))
    assert groups is not None
    assert together(groups) == {frozenset({0, 1, 2, 3, 6}), frozenset({4, 5})}


# --- without ---


def test_without_keeps_labels_and_groups_in_step() -> None:
    kept, mask = without(samples_of([0, 1, 2, 1], [7, 8, 9, 8]), {2: "damaged", 0: "empty"})
    assert mask.tolist() == [False, True, False, True]
    assert kept.sources == (Path("1.jpg"), Path("3.jpg"))
    assert kept.labels.tolist() == [1, 1]
    assert kept.classes == ("cat", "dog", "owl")
    assert kept.groups is not None
    assert kept.groups.tolist() == [8, 8]


@pytest.mark.parametrize("nothing", [{}, set()])
def test_without_nothing_keeps_everything(nothing: dict[int, str] | set[int]) -> None:
    samples = samples_of([0, 1, 2])
    kept, mask = without(samples, nothing)
    assert (kept.sources, mask.tolist()) == (samples.sources, [True] * 3)


def test_without_takes_a_set_of_positions() -> None:
    kept, mask = without(samples_of([0, 1, 2]), {1})
    assert (kept.labels.tolist(), mask.tolist()) == ([0, 2], [True, False, True])
