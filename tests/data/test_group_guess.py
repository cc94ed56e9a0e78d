"""Groups guessed from names, bursts and near-duplicates; and names that say none."""

import hashlib
import io
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.data.group_guess import GroupGuess, guess_groups
from regraft.images.headers import Header
from regraft.images.sources import Pixels, TableCell


def guess(names: Sequence[str], labels: Sequence[int] | None = None, **more: object) -> GroupGuess | None:
    """Return what is guessed of files of these names, of two classes in turn if no labels are given."""
    sources = [Path(name) for name in names]
    known = np.array([place // 3 % 2 for place in range(len(names))] if labels is None else labels)
    return guess_groups(sources, known, [None] * len(names), **more)  # type: ignore[arg-type]


def named(found: GroupGuess | None) -> list[str | None]:
    """Return the name of each photo's group."""
    assert found is not None
    return [found.names[number] for number in found.groups]


# --- names that say groups ---


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("IMG_{group:03d}_{letter}.jpg", "IMG_{group:03d}"),
        ("IMG_{group:03d}{letter}.jpg", "IMG_{group:03d}"),
        ("patient{group}_{photo}.png", "patient{group}"),
        ("patient-{group}-{photo}.png", "patient-{group}"),
        ("video_{group:04d}_f{photo:03d}.jpg", "video_{group:04d}"),
        ("P{group:04d}-L-{photo}.tif", "P{group:04d}"),
        ("P{group}V{photo}.tif", "P{group}"),
        ("{group}_{photo}.jpg", "{group}"),
        ("left_eye_{group}_{photo}.jpg", "left_eye_{group}"),
        ("{group:05d}.{photo}.jpg", "{group:05d}"),
        ("slide {group} ({photo}).jpg", "slide {group}"),
        ("C{group}P{group}thinF_IMG_20150619_114756a_cell_{photo}.png", "C{group}P{group}thinF"),
        ("IMG_20190312_1015{group:02d}_{photo}.jpg", "IMG_20190312_1015{group:02d}"),  # a second's burst
        ("visit_2019-03-12_patient{group}_{photo}.jpg", "visit_2019-03-12_patient{group}"),
        ("cat/patient{group}/{photo}.jpg", "patient{group}"),
        ("train/cat/subject_{group}/left/IMG_{photo}.jpg", "subject_{group}"),
    ],
)
def test_names_that_say_groups(name: str, key: str) -> None:
    """20 groups of three photos."""
    every = [(group, photo) for group in range(10, 30) for photo in range(3)]
    names = [name.format(group=group, photo=photo, letter="abc"[photo]) for group, photo in every]
    found = guess(names)
    assert named(found) == [key.format(group=group) for group, _ in every]


def test_the_coarsest_pattern_is_taken() -> None:
    """Ten patients, two videos of each, two frames of each: all that is of one patient belongs together."""
    names = [f"p{p}_v{v}_f{f}.jpg" for p in range(10) for v in range(2) for f in range(2)]
    assert named(guess(names)) == [f"p{p}" for p in range(10) for _ in range(4)]


def test_photos_without_the_last_part_belong_to_those_with_it() -> None:
    names = [f"scan{number}{more}.jpg" for number in range(10) for more in ("", "_2")]
    assert named(guess(names, [place // 2 % 2 for place in range(20)])) == [f"scan{n}" for n in range(10) for _ in "ab"]


def test_photos_that_stand_alone_are_in_no_group() -> None:
    names = [f"p{number}_{photo}.jpg" for number in range(10) for photo in range(2)] + ["p77_0.jpg"]
    found = guess(names)
    assert named(found)[:20] == [f"p{number}" for number in range(10) for _ in "ab"]
    assert named(found)[20] is None
    assert found is not None
    assert found.kinds == {"names": 20}


def test_one_patient_in_two_folders_is_one_group() -> None:
    names = [
        f"{split}/{label}/p{number}_{split}_{label}.jpg"
        for split in ("a", "b")
        for label in ("cat", "dog")
        for number in range(10)
    ]
    found = guess(names, [place // 10 % 2 for place in range(40)])
    assert named(found) == [f"p{number}" for _ in range(4) for number in range(10)]


def test_folders_that_count_for_themselves_stay_apart() -> None:
    """cat/1_a.jpg and dog/1_a.jpg: each folder counts from 1."""
    names = [f"{label}/{number}_{letter}.jpg" for label in ("cat", "dog") for number in range(10) for letter in "ab"]
    found = guess(names, [place // 20 for place in range(40)])
    assert named(found) == [f"{label}/{number}" for label in ("cat", "dog") for number in range(10) for _ in "ab"]


def test_cells_of_a_table_are_known_by_their_paths() -> None:
    cells = [TableCell(Path("t.parquet"), "image", 0, row, f"p{row // 2}_{row % 2}.jpg") for row in range(20)]
    found = guess_groups(cells, np.arange(20) // 2 % 2, [None] * 20)
    assert named(found) == [f"p{row // 2}" for row in range(20)]


# --- names that say none ---


def _uuid(place: int) -> str:
    return str(uuid.UUID(bytes=hashlib.md5(str(place).encode()).digest()))


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{number:04d}.jpg" for number in range(1, 1000)],
        [f"DSC{number:05d}.JPG" for number in range(100, 400)],
        [f"P101{number:04d}.JPG" for number in range(300)],
        [f"ISIC_{24306 + number:07d}.jpg" for number in range(300)],
        [f"ISIC_{24306 + number:07d}_downsampled.jpg" for number in range(300)],
        [f"201903{1 + number // 20:02d}_10{number % 20:02d}30.jpg" for number in range(300)],
        [f"IMG_201903{1 + number // 20:02d}_10{number % 20:02d}30.jpg" for number in range(300)],
        [f"IMG-201903{1 + number // 20:02d}-WA{number % 20:04d}.jpg" for number in range(300)],
        [f"2019-03-{1 + number // 20:02d} 10.{number % 20:02d}.30.jpg" for number in range(300)],
        [f"{1990 + number // 20}_{number}.jpg" for number in range(300)],
        [f"{_uuid(number)}.jpg" for number in range(500)],
        [f"{_uuid(number).replace('-', '')}.jpg" for number in range(500)],
        [f"{number}.jpg" for number in range(300)],
        [f"frame{number:05d}.png" for number in range(300)],
        [f"COCO_train2014_{number:012d}.jpg" for number in range(300)],
        [f"{'IMG_' if number % 2 else 'DSC'}{number:04d}.jpg" for number in range(300)],
        [f"dcim/10{number // 100}CANON/IMG_{number:04d}.jpg" for number in range(400)],
        [f"2019-03-{1 + number // 20:02d}/IMG_{number:04d}.jpg" for number in range(300)],
        ["a.jpg"],
        [],
    ],
    ids=lambda names: names[0] if names else "none",
)
def test_names_that_say_no_groups(names: list[str]) -> None:
    assert guess(names) is None


@pytest.mark.parametrize(
    "name",
    [
        "{label}.{number}.jpg",
        "n{label:08d}_{number}.jpg",
        "n{label:08d}/n{label:08d}_{number}.JPEG",
        "class{label}/IMG_{number:04d}.jpg",
        "train/class_{label}/{number}.jpg",
        "boeing_{label}_{number}.jpg",
    ],
)
def test_names_that_say_the_class_say_no_groups(name: str) -> None:
    """Twelve classes of 25 photos."""
    every = [(label, number) for label in range(12) for number in range(25)]
    assert (
        guess([name.format(label=700 + label, number=number) for label, number in every], [k for k, _ in every]) is None
    )


def test_one_name_in_two_class_folders_says_nothing() -> None:
    names = [f"{label}/IMG_{number:04d}.jpg" for label in ("cat", "dog") for number in range(50)]
    assert guess(names, [place // 50 for place in range(100)]) is None


def test_images_in_memory_have_no_names() -> None:
    image = Image.open(io.BytesIO(_png()))
    sources = [Pixels(image, f"p{place // 2}_{place % 2}") for place in range(20)]
    assert guess_groups(sources, np.arange(20) % 2, [None] * 20) is None


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "png")
    return stream.getvalue()


def test_few_large_groups_are_no_groups() -> None:
    """Four patients: too few to leave some out, and as likely cameras or days."""
    assert guess([f"p{patient}_{photo}.jpg" for patient in range(4) for photo in range(10)]) is None


# --- bursts ---


def shots(*taken: tuple[str, int | None]) -> list[Header]:
    return [Header(10, 10, camera=camera, taken=second) for camera, second in taken]


def bursts(headers: Sequence[Header | None]) -> GroupGuess | None:
    sources = [Path(f"IMG_{place:04d}.jpg") for place in range(len(headers))]
    return guess_groups(sources, np.arange(len(headers)) % 2, headers)


def test_photos_of_one_camera_within_seconds_are_a_burst() -> None:
    """Seconds 0, 5, 10 follow each other; 16 is six later, and other cameras and photos without a time stand alone."""
    headers = shots(("A", 10), ("B", 5), ("A", 0), ("A", 16), ("A", 5), ("", 5), ("B", None))
    found = bursts([*headers, None, *shots(*[("C", 100 * second) for second in range(1, 12)])])
    assert named(found)[:8] == ["IMG_0000.jpg", None, "IMG_0000.jpg", None, "IMG_0000.jpg", None, None, None]
    assert named(found)[8:] == [None] * 11
    assert found is not None
    assert found.words == "1 group is guessed: 3 of 19 photos were taken within 5 seconds of another by one camera"


def test_a_clock_that_stands_still_makes_no_burst() -> None:
    headers = shots(*[("A", 0)] * 10, *[("A", 1000 * second) for second in range(1, 21)])
    assert bursts(headers) is None


# --- near-duplicates, clips, and all together ---


def test_near_duplicates_are_a_group() -> None:
    found = guess([f"IMG_{n:04d}.jpg" for n in range(6)], numbers=np.array([4, 7, 4, 1, 7, 2]))
    assert named(found) == ["IMG_0000.jpg", "IMG_0001.jpg", "IMG_0000.jpg", None, "IMG_0001.jpg", None]
    assert found is not None
    assert found.words == "2 groups are guessed: 4 of 6 photos show the same picture as another"


def test_clips_that_are_known_stay_groups() -> None:
    found = guess(["a.jpg", "b.jpg", "c.jpg"], clips=["x", None, "x"])
    assert named(found) == ["x", None, "x"]
    assert found is not None
    assert found.words == "1 group is guessed: 2 of 3 photos are of clips that their names count"


def test_what_any_evidence_joins_is_one_group() -> None:
    """Photos of p0 and p1 are near-duplicates, one of p1 and p2 are of one burst: three patients in one group."""
    names = [f"p{number}_{photo}.jpg" for number in range(10) for photo in range(2)]
    numbers = np.arange(20)
    numbers[2] = numbers[0]
    headers: list[Header | None] = [None] * 20
    headers[3], headers[4] = shots(("A", 7), ("A", 9))
    found = guess_groups([Path(name) for name in names], np.arange(20) // 2 % 2, headers, numbers)
    assert named(found) == ["p0"] * 6 + [f"p{number}" for number in range(3, 10) for _ in "ab"]
    assert found is not None
    assert found.kinds == {"names": 20, "bursts": 2, "pictures": 2}
    assert found.words == (
        "8 groups are guessed: 20 of 20 photos have names that begin alike (p0_0, p0_1), 2 were taken within 5 seconds "
        "of another by one camera, 2 show the same picture as another"
    )


def test_the_order_of_the_photos_plays_no_part() -> None:
    names = [f"p{number}_{photo}.jpg" for number in range(10) for photo in range(2)]
    order = np.random.default_rng(0).permutation(20)
    shuffled = guess([names[place] for place in order], [place // 2 % 2 for place in order.tolist()])
    assert named(shuffled) == [f"p{place // 2}" for place in order]
