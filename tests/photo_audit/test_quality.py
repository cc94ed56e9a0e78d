"""Poor photos planted among ordinary ones, and classes of very different size."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageFilter
from tests.fixtures.scenes import scene
from tests.photo_audit.made import made

from regraft.data.findings import Finding
from regraft.images.headers import Header
from regraft.images.measures import MEASURES, measure
from regraft.photo_audit.photos import AuditPhotos
from regraft.photo_audit.quality import find_imbalance, find_poor_photos


def seen(images: Sequence[Image.Image]) -> np.ndarray:
    return measure(np.stack([np.asarray(one) for one in images]))


@pytest.fixture(scope="module")
def ordinary() -> np.ndarray:
    """Return (40, m) measures of ordinary pictures."""
    return seen([scene(number) for number in range(40)])


def by_kind(photos: AuditPhotos, measures: np.ndarray) -> dict[str, Finding]:
    return {one.kind: one for one in find_poor_photos(photos, measures)}


def found(photos: AuditPhotos, measures: np.ndarray) -> dict[str, tuple[str, ...]]:
    return {kind: one.files for kind, one in by_kind(photos, measures).items()}


def test_ordinary_photos(ordinary: np.ndarray) -> None:
    assert found(made([0, 1] * 20), ordinary) == {}


def test_one_of_each_kind(ordinary: np.ndarray) -> None:
    levels = np.asarray(scene(50)).astype(float)
    planted = [
        Image.fromarray((levels * 0.1).astype(np.uint8)),  # mean 13: dark
        Image.fromarray((128 + (levels - 128) * 0.05).astype(np.uint8)),  # 13 levels from end to end: flat
        scene(51).filter(ImageFilter.GaussianBlur(5)),
    ]
    headers = [Header(640, 480)] * 43 + [Header(40, 30), Header(2000, 300)]  # sixteenths, and 6.7 : 1
    photos = made([0, 1] * 22 + [0], headers=headers)
    measures = np.concatenate([ordinary, seen(planted), ordinary[:2]])
    assert found(photos, measures) == {
        "dark": ("40.jpg",),
        "low-contrast": ("41.jpg",),
        "blurred": ("42.jpg",),
        "odd-size": ("43.jpg", "44.jpg"),
    }
    severities = {kind: one.severity for kind, one in by_kind(photos, measures).items()}
    assert severities == {"dark": "medium", "low-contrast": "medium", "blurred": "medium", "odd-size": "medium"}


def test_few_of_many_are_worth_a_look_only(ordinary: np.ndarray) -> None:
    photos = made([0] * 100, headers=[Header(640, 480)] * 98 + [Header(30, 30)] * 2)
    assert by_kind(photos, np.resize(ordinary, (100, len(MEASURES))))["odd-size"].severity == "low"  # 2 %


def test_the_darkest_comes_first(ordinary: np.ndarray) -> None:
    measures = ordinary.copy()
    measures[[5, 9, 3], 0], measures[[5, 9, 3], 1] = [12, 4, 20], 30
    assert found(made([0] * 40), measures) == {"dark": ("9.jpg", "5.jpg", "3.jpg")}


def test_a_night_with_a_light_in_it_is_not_dark(ordinary: np.ndarray) -> None:
    measures = ordinary.copy()
    measures[3, :2] = 10, 120  # brightness, contrast
    assert found(made([0] * 40), measures) == {}


def test_where_all_are_dark_all_are_named(ordinary: np.ndarray) -> None:
    measures = ordinary.copy()
    measures[:, :2] = 10, 30
    assert len(found(made([0] * 40), measures)["dark"]) == 40


def test_where_all_are_blurred_none_stands_out() -> None:
    soft = seen([scene(number).filter(ImageFilter.GaussianBlur(4)) for number in range(12)])
    assert found(made([0] * 12), soft) == {}


def test_a_class_that_is_less_sharp_than_the_others_is_not_blurred(ordinary: np.ndarray) -> None:
    measures = ordinary.copy()
    measures[30:, 2] -= 3  # ten photos, as those of a microscope
    assert found(made([0] * 30 + [1] * 10), measures) == {}
    assert len(found(made([0] * 40), measures)["blurred"]) == 10


def test_photos_whose_sharpness_varies_much_are_not_blurred(ordinary: np.ndarray) -> None:
    measures = ordinary.copy()
    measures[:, 2] = np.linspace(-2, 2, 40)  # median 0, median absolute deviation 1: the limit is 4 * 1.48 below
    assert found(made([0] * 40), measures) == {}
    measures[7, 2] = -6.5
    assert found(made([0] * 40), measures) == {"blurred": ("7.jpg",)}


def test_small_photos_among_small_photos_are_not_odd(ordinary: np.ndarray) -> None:
    assert found(made([0] * 40, headers=[Header(32, 32)] * 40), ordinary) == {}
    panoramas = [Header(2000, 500)] * 39 + [Header(500, 500)]
    assert found(made([0] * 40, headers=panoramas), ordinary) == {}


def test_unreadable_photos_are_not_looked_at(ordinary: np.ndarray) -> None:
    measures = ordinary[:10].copy()
    measures[4] = 0
    photos = made([0] * 10, keys=[b"" if place == 4 else bytes([place + 1]) for place in range(10)])
    photos = made([0] * 10, keys=photos.keys, headers=[*photos.headers[:4], None, *photos.headers[5:]])
    assert found(photos, measures) == {}


def test_nothing_can_be_read() -> None:
    photos = made([0] * 3, keys=[b""] * 3, headers=[None] * 3)
    assert found(photos, np.zeros((3, len(MEASURES)))) == {}


# --- classes ---


def test_classes_of_very_different_size() -> None:
    (one,) = find_imbalance(made([0] * 100 + [1] * 10))
    assert (one.kind, one.severity, one.files) == ("imbalance", "medium", ())
    assert one.more == {"counts": {"a": 100, "b": 10}}
    assert one.advice.startswith("a has 100 photos, b 10: judge by balanced accuracy")
    assert find_imbalance(made([0] * 99 + [1] * 10)) == []


def test_a_class_of_few_photos() -> None:
    (one,) = find_imbalance(made([0] * 20 + [1] * 9))
    assert (one.severity, one.more["counts"]) == ("low", {"a": 20, "b": 9})
    assert find_imbalance(made([0] * 20 + [1] * 10)) == []


def test_classes_that_are_equally_small() -> None:
    (one,) = find_imbalance(made([0] * 6 + [1] * 6))
    assert (one.severity, one.more["counts"]) == ("low", {"a": 6, "b": 6})
    assert one.advice == "each class has 6 photos alone: its figures rest on a few photos. Add some."


def test_only_photos_that_are_trained_on_count() -> None:
    splits = ["train"] * 40 + ["test"] * 200 + ["validation"] * 200
    assert find_imbalance(made([0, 1] * 20 + [0] * 400, splits=splits)) == []
    keys = [b"%d" % place if place % 2 == 0 or place < 10 else b"" for place in range(40)]
    (one,) = find_imbalance(made([0, 1] * 20, keys=keys))
    assert one.more["counts"] == {"a": 20, "b": 5}


def test_one_class_or_none_is_no_imbalance() -> None:
    assert find_imbalance(made([0] * 5)) == []
    assert find_imbalance(made([-1] * 5)) == []
