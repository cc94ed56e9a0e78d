"""Photos of more than 8 bits, as the command line takes them: the same picture gives the same answer."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.images.deep import tiff
from typer.testing import Result

Run = Callable[..., Result]
Store = Callable[[np.ndarray], np.ndarray]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
TWELVE: Store = lambda greys: (greys * 16).astype(np.uint16)  # noqa: E731
RULE = "16-bit integers in {}: 0 becomes black and 4,095 white, {}. --range sets others."


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes 2 x `count` grey photos of stripes and of blocks: their stored numbers by `how`."""

    def write(name: str, how: Store, count: int = 10, first_seed: int = 0) -> Path:
        for number in range(count):
            generator = np.random.default_rng(first_seed + number)
            noise = generator.integers(0, 120, (40, 40))
            noise[0, 0] = 255
            rows, columns = np.indices((40, 40)) // 5 % 2
            for kind, extra in (("stripes", rows), ("blocks", rows ^ columns)):
                file = tmp_path / name / kind / f"{number}.tif"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(tiff(how(np.minimum(noise + 100 * extra, 255))))
        return tmp_path / name

    return write


def fit(run: Run, folder: Path, network: str, *more: object) -> tuple[float, str]:
    """Return the log loss, which each photo takes part in, and what was said."""
    done = run("fit", folder, "--model", network, "--out", f"{folder}.safetensors", "--force", "--json", *more)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["log_loss"], done.stderr


@pytest.mark.slow
def test_a_depth_changes_nothing(run: Run, stored: Callable[..., Path], tiny_network: str) -> None:
    eight, said = fit(run, stored("eight", lambda greys: greys.astype(np.uint8)), tiny_network)
    assert "bits" not in said
    for name, how in {
        "twelve": TWELVE,
        "ct": lambda greys: (greys * 12 - 1000).astype(np.int16),
    }.items():
        loss, said = fit(run, stored(name, how), tiny_network)
        assert loss == pytest.approx(eight, abs=0.02)
        assert "becomes black" in said
    new = stored("new", TWELVE, count=3, first_seed=50)
    answers = [run("predict", f"{name}.safetensors", new, "--format", "jsonl").stdout for name in ("eight", "twelve")]
    stored("new", lambda greys: greys.astype(np.uint8), count=3, first_seed=50)
    answers.append(run("predict", "eight.safetensors", new, "--format", "jsonl").stdout)
    found = [[json.loads(line)["prediction"] for line in lines.splitlines()] for lines in answers]
    assert found[0] == found[1] == found[2]


def test_a_classifier_reads_one_photo_as_it_read_all(
    run: Run, stored: Callable[..., Path], tiny_network: str, tmp_path: Path
) -> None:
    """A photo without a bright pixel, alone: 12 bits of training, not the 11 that hold it."""
    _, said = fit(run, stored("twelve", TWELVE), tiny_network)
    assert RULE.format("20 photos", "as the largest takes 12 bits") in said
    dark = np.minimum(np.random.default_rng(9).integers(0, 120, (40, 40)), 120)
    (tmp_path / "dark.tif").write_bytes(tiff(TWELVE(dark)))
    done = run("predict", "twelve.safetensors", "dark.tif", "--format", "jsonl")
    assert done.stderr.startswith(RULE.format("1 photo", "as when the classifier was made"))
    Image.fromarray(dark.astype(np.uint8)).save(tmp_path / "dark.png")
    plain = run("predict", "twelve.safetensors", "dark.png", "--format", "jsonl")
    found, expected = (json.loads(one.stdout)["probabilities"] for one in (done, plain))
    assert found == pytest.approx(expected, abs=0.03)
    other = run("predict", "twelve.safetensors", "dark.tif", "--range", "0:65535")
    assert "0 becomes black and 65,535 white, as --range says. --range sets others." in other.stderr


def test_the_users_range_and_what_is_nearly_black(run: Run, stored: Callable[..., Path], tiny_network: str) -> None:
    folder = stored("twelve", TWELVE)
    said = run("fit", folder, "--model", tiny_network, "--force", "--range", "0:1000000", "--out", "x").stderr
    assert "20 photos have next to no contrast, fewer than 8 of 256 grey levels. Look at them, or set --range:" in said
    assert "0 becomes black and 1,000,000 white, as --range says." in said
    assert "--range must be two numbers, the lower first" in run("fit", folder, "--range", "4095").stderr


def test_nearly_black_photos_of_8_bits_are_named(run: Run, stored: Callable[..., Path], tiny_network: str) -> None:
    """What 12 bits become when their higher 8 of 16 are kept."""
    _, said = fit(run, stored("black", lambda greys: (greys >> 6).astype(np.uint8)), tiny_network)
    assert "20 photos have next to no contrast, fewer than 8 of 256 grey levels. Look at them:" in said
