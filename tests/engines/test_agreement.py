"""How outputs agree, by hand; and verdicts on disk, which a changed file cannot forge."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.engines.workshop import COSINES, CPU, Workshop

from regraft.cache import engines_folder
from regraft.engines.agreement import Agreement
from regraft.engines.kinds import ENGINE_KINDS
from regraft.engines.pytorch import TorchEngine
from regraft.engines.selection import choose_engine
from regraft.engines.workload import CHECKED_PHOTOS

# --- how outputs agree ---


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize(
    ("found", "expected", "cosine"),
    [
        ([3, 4], [3, 4], 1.0),
        ([30, 40], [3, 4], 1.0),  # the length does not matter
        ([4, 3], [3, 4], 24 / 25),
        ([-3, -4], [3, 4], -1.0),
        ([1, 0], [0, 1], 0.0),
        ([1, 1], [1, 0], 1 / math.sqrt(2)),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [3, 4], -1.0),
        ([3, 4], [0, 0], -1.0),
        ([math.nan, 1], [3, 4], -1.0),
        ([math.nan, math.nan], [0, 0], -1.0),
        ([math.inf, 1], [3, 4], -1.0),
        ([math.inf, 1], [0, 0], -1.0),
        ([-math.inf, 1], [math.inf, 1], -1.0),
        ([1e38, 1e38], [3e38, 3e38], 1.0),  # squares that float32 could not hold
        ([1e-30, 0], [1, 0], 1.0),
    ],
)
def test_agreement_by_hand(found: list[float], expected: list[float], cosine: float) -> None:
    agreement = Agreement.of(vectors(found), vectors(expected))
    assert agreement.photos == 1
    assert agreement.mean == agreement.lowest == pytest.approx(cosine, abs=1e-12)


def test_agreement_over_photos() -> None:
    """Cosines 1, 24 / 25 and 0: their mean is 49 / 75."""
    agreement = Agreement.of(vectors([3, 4], [4, 3], [1, 0]), vectors([3, 4], [3, 4], [0, 1]))
    assert (agreement.mean, agreement.lowest) == (pytest.approx(49 / 75), pytest.approx(0, abs=1e-12))
    assert agreement.photos == 3
    assert str(agreement) == "cosine to torch-float32 on 3 photos: mean 0.6533, lowest 0.0000"


def test_agreement_of_activations_is_that_of_all_their_values() -> None:
    found = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) - 5
    expected = found[:, ::-1]
    a, b = found.reshape(2, 12), expected.reshape(2, 12)
    by_hand = [row @ other / (row @ row) for row, other in zip(a, b, strict=True)]  # both have the same length
    agreement = Agreement.of(found, expected)
    assert (agreement.mean, agreement.lowest) == (pytest.approx(sum(by_hand) / 2), pytest.approx(min(by_hand)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_what_suffices(precision: str) -> None:
    """0.9999 for each photo in float32; 0.99 on average below it, where the lowest may be lower."""
    least = {"float32": 0.9999, "bfloat16": 0.99, "float16": 0.99}[precision]
    for kind in (kind for kind in ENGINE_KINDS.values() if kind.precision.name == precision):
        assert Agreement(least, -1.0, 16).suffices(kind) == (precision != "float32")
        assert Agreement(1.0, least, 16).suffices(kind)
        assert Agreement(1.0, 1.0, 16).suffices(kind)
        assert Agreement(1.0 + 1e-12, 1.0, 16).suffices(kind)  # rounding
        for mean in (least - 1e-6, 0.0, -1.0, math.nan, math.inf, 1.5):
            assert not Agreement(mean, mean, 16).suffices(kind)


def test_one_photo_that_is_not_finite_fails_an_engine() -> None:
    found = np.ones((CHECKED_PHOTOS, 2), dtype=np.float32)
    expected = found.copy()
    found[3, 1] = np.inf
    agreement = Agreement.of(found, expected)
    assert agreement.mean == pytest.approx((15 - 1) / 16)
    assert not agreement.suffices(ENGINE_KINDS["openvino-bfloat16"])


# --- verdicts on disk ---


def test_a_verdict_is_used_again_without_running_anything(workshop: Workshop) -> None:
    assert workshop.choose() == "openvino-cpu-bfloat16"
    assert sorted(workshop.done) == ["converted", "loaded", "photos"]
    workshop.done.clear()
    workshop.said.clear()
    engine = choose_engine(workshop.workload())
    assert (engine.name, workshop.done, workshop.said) == ("openvino-cpu-bfloat16", [], [])
    assert engine.preprocess == workshop.backbone.preprocess
    expected = TorchEngine(workshop.backbone, CPU).features(workshop.pixels)
    np.testing.assert_allclose(engine.features(workshop.pixels), expected, rtol=1e-5)
    np.testing.assert_allclose(engine.start(workshop.pixels)(), expected, rtol=1e-5)
    assert engine.output_shape() == (2,)
    assert workshop.done == ["loaded"]  # once, and from the cache


def test_a_network_that_was_dropped_from_the_cache_is_converted_again(workshop: Workshop) -> None:
    workshop.choose()
    (weights,) = engines_folder().rglob("*.bin")
    weights.unlink()
    workshop.done.clear()
    engine = choose_engine(workshop.workload())
    assert engine.features(workshop.pixels).shape == (16, 2)
    assert workshop.done == ["loaded", "converted"]
    assert weights.exists()


def test_a_verdict_that_failed_is_kept_too(workshop: Workshop) -> None:
    COSINES.update(bfloat16=0.5, float32=0.5)
    workshop.choose()
    workshop.done.clear()
    assert workshop.choose() == "torch-cpu-float32"


def rewritten(**changes: object) -> Callable[[Path], None]:
    """Return a function that changes fields of a verdict, and leaves its check."""
    return lambda file: file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def written(text: str) -> Callable[[Path], None]:
    return lambda file: file.write_text(text)


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": written(""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-3]),
    "a list": written("[]"),
    "null": written("null"),
    "no fields": written("{}"),
    "a field missing": written('{"mean": 1.0}'),
    "text for a number": rewritten(mean="high"),
    "nothing for a number": rewritten(mean=None),
    "a list for a number": rewritten(lowest=[]),
    "infinite": rewritten(photos=math.inf),
    "another mean": rewritten(mean=0.5),
    "another lowest": rewritten(lowest=0.2),
    "other photos": rewritten(photos=15),
    "out of range": rewritten(mean=2.0),
    "no text": lambda file: file.write_bytes(b"\xff\x00" * 20),
    "deep": written("[" * 100_000),
    "long": lambda file: file.write_text(file.read_text() + " " * 10_000_000),
    "a pipe": replaced_by(os.mkfifo),
    "a folder": replaced_by(Path.mkdir),
    "a device": replaced_by(lambda file: file.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_with_a_damaged_verdict_the_engine_is_checked_again(workshop: Workshop, damage: Callable[[Path], None]) -> None:
    COSINES.update(bfloat16=0.995)
    workshop.choose()
    verdict = Path(str(workshop.workload().folder)) / "openvino-cpu-bfloat16-these.json"
    intact = verdict.read_text()
    damage(verdict)
    workshop.done.clear()
    workshop.said.clear()
    assert workshop.choose() == "openvino-cpu-bfloat16"
    assert "photos" in workshop.done
    assert verdict.read_text() == intact
    said = f"the verdict on openvino-cpu-bfloat16 in {verdict} is damaged: the engine is checked again"
    assert workshop.said[0] == said


def test_the_verdict_on_another_engine_is_not_taken(workshop: Workshop) -> None:
    COSINES.update(bfloat16=0.5, float32=1.0)
    assert workshop.choose() == "openvino-cpu-float32"
    folder = Path(str(workshop.workload().folder))
    shutil.copy(folder / "openvino-cpu-float32-these.json", folder / "openvino-cpu-bfloat16-these.json")
    assert workshop.choose() == "openvino-cpu-float32"


def test_every_part_must_agree() -> None:
    """The second part is large and agrees, the first is turned by a right angle for one of two photos."""
    expected = np.array([[1.0, 0.0, 100.0], [0.0, 1.0, 100.0]])
    found = np.array([[0.0, 1.0, 100.0], [0.0, 1.0, 100.0]])
    assert Agreement.of(found, expected).lowest > 0.999
    parts = Agreement.of(found, expected, (2, 1))
    assert (parts.mean, parts.lowest, parts.photos) == (0.5, 0.0, 2)
