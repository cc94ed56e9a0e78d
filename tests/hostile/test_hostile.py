"""Hostile photos, bundles, networks and caches, in processes that are watched: nothing foreign is opened or run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import REPOSITORY, photo, write_network
from tests.hostile import generate

from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.heads.linear import LinearHead
from regraft.networks.backbones import load_backbone

MOST_SECONDS = 10.0  # for an input
# MB above what the imports take: photos may take 1 GiB together while they are decoded, see `regraft.images.reading`
MOST_MEMORY = {"images": 1300, "bundles": 300, "configs": 300, "caches": 1000}  # caches: a MB for each training
SILENT: dict[str, list[str]] = {"opened": [], "network": [], "started": [], "unpickled": []}
COUNTS = {"images": 300, "bundles": 300, "configs": 100, "answers": 100, "training": 100}
COSTLY = (  # the names in `costly`, which takes long to import
    "a JPEG of zeros",
    "a GIF of zeros",
    "a PPM of one comment",
    "a PNG of empty chunks",
    "a PPM in words",
    "a WebP of 1 GB",
    "an AVIF of 1 GB",
    "a HEIC of 1 GB",
    "a PNG with a text of 1 GB",
    "a TIFF with a text of 1 GB",
    "four WebP of 178 megapixels",
    "four TIFF of one tile",
    "four transparent PNG",
    "a stripe",
    "a JPEG of 10,000 scans",
    "a TIFF of many directories",
    "a tensor in bfloat16",
    "an engine that there is not",
    "a large network",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two small networks, their classifiers, and photos."""
    folder = tmp_path_factory.mktemp("base")
    for seed, (network, bundle) in enumerate((("network", "base"), ("second", "other"))):
        (folder / network).mkdir()
        write_network(folder / network, seed=seed)
        backbone = load_backbone(f"local-dir:{folder / network}")
        weight = np.random.default_rng(0).normal(0, 0.1, (3, backbone.features)).astype(np.float32)
        head = LinearHead(weight, np.zeros(3, dtype=np.float32), 0.1)
        save_bundle(Classifier(backbone, head, ("a", "b", "c"), 1.5, "net", "frozen"), folder / f"{bundle}.safetensors")
    for number in range(10):
        photo(folder / "photos" / f"{number}.jpg", ("red", "blue")[number % 2], number)
        photo(folder / "classes" / "red" / f"{number}.jpg", "red", 100 + number)
        photo(folder / "classes" / "blue" / f"{number}.jpg", "blue", 200 + number)
    return folder


def prepare(base: Path, folder: Path, family: str, counts: dict[str, int]) -> Path:
    """Write the inputs of a family, and what it needs besides, into a folder of its own; return it."""
    shutil.copytree(base, folder / family)
    inputs = folder / family / "inputs"
    inputs.mkdir()
    if family == "images":
        generate.images(inputs, counts["images"])
    elif family == "bundles":
        expected = generate.bundles(inputs, base / "base.safetensors", counts["bundles"])
        (folder / family / "expected.json").write_text(json.dumps(expected))
    elif family == "configs":
        generate.configs(inputs, base / "network", counts["configs"])
    else:
        (folder / family / "counts.json").write_text(json.dumps(counts))
    return folder / family


def start(family: str, folder: Path, limit: float = MOST_SECONDS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.hostile.run", family, str(folder), str(limit)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, errors="replace", **pipes)  # type: ignore[call-overload,no-any-return]


def outcome(process: subprocess.Popen[str], timeout: float = 1800) -> dict[str, Any]:
    """Return what a process reports; of one that ended without a report, which input was the last."""
    try:
        report, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        report, errors = process.communicate()
    if process.returncode == 0:
        found: dict[str, Any] = json.loads(report)
        return found
    last = [line for line in errors.splitlines() if line.startswith("item: ")]
    return {
        "failures": [{"item": last[-1].partition(" ")[2].strip("'") if last else "none", "exception": errors[-3000:]}]
    }


def check(family: str, folder: Path, found: dict[str, Any]) -> None:
    assert found["failures"] == []
    assert {name: found[name] for name in SILENT} == SILENT
    assert not (folder / "inputs" / generate.MARKER).exists(), "a pickle was loaded"
    assert found["slowest"]["seconds"] < MOST_SECONDS
    assert found["peak_mb"] - found["imports_mb"] < MOST_MEMORY[family], found["raised_peak"]


def check_counts(found: dict[str, dict[str, Any]]) -> None:
    """Check that every input was tried, and that some of each family are good: else nothing was tried at all."""
    tried = {family: sum(report["counts"].values()) for family, report in found.items()}
    assert tried["images"] == COUNTS["images"] + 2  # all of them together, twice
    assert tried["bundles"] == COUNTS["bundles"]
    assert found["images"]["counts"]["read"] > 0.2 * COUNTS["images"]
    assert found["bundles"]["counts"]["answered"] > 0.05 * COUNTS["bundles"]
    assert tried["configs"] == 2 * COUNTS["configs"]
    assert tried["caches"] == 6 * COUNTS["answers"] + 3 * COUNTS["training"]
    assert min(found["configs"]["counts"][word] for word in ("loaded", "built")) > 0.05 * COUNTS["configs"]


@pytest.mark.slow
def test_nothing_hostile_comes_through(base: Path, tmp_path: Path) -> None:
    """Two families at a time, each in a process of its own."""
    found: dict[str, dict[str, Any]] = {}
    pairs = (("images", "caches"), ("bundles", "configs"))
    folders = {family: prepare(base, tmp_path, family, COUNTS) for pair in pairs for family in pair}
    for together in pairs:
        running = {family: start(family, folders[family]) for family in together}
        found |= {family: outcome(process) for family, process in running.items()}
    for family, report in found.items():
        check(family, folders[family], report)
    check_counts(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY)
def test_an_input_that_costs_much(base: Path, tmp_path: Path, name: str) -> None:
    folder = prepare(base, tmp_path, "costly", {})
    (folder / "input").write_text(name)
    found = outcome(start("costly", folder), timeout=120)
    shutil.rmtree(folder / "inputs")  # some take much room
    assert found["failures"] == []
    assert found["slowest"]["seconds"] < MOST_SECONDS
    assert found["peak_mb"] - found["imports_mb"] < MOST_MEMORY["images"]


@pytest.fixture
def breaches(tmp_path: Path) -> Path:
    names = ("a reads", "b refuses", "c foreign", "d changes its input", "e removes", "f device", "g connects")
    names += ("h resolves", "i starts", "j unpickles", "k hangs", "l divides")
    (tmp_path / "inputs").mkdir()
    (tmp_path / "kept").touch()
    for name in names:
        (tmp_path / "inputs" / name).touch()
    (tmp_path / "inputs" / "f device").unlink()
    (tmp_path / "inputs" / "f device").symlink_to("/dev/zero")
    return tmp_path


def test_every_breach_is_noticed(breaches: Path) -> None:
    found = outcome(start("breaches", breaches, 0.5))
    assert found["counts"] == {
        **{"read": 1, "KeyError": 1, "opened": 4, "connected": 1, "resolved": 1, "started": 1, "unpickled": 1},
        "failed": 2,
    }
    hung, divided = found["failures"]
    assert hung == {"item": "k hangs", "exception": "LateError: more than 0.5 seconds"}
    assert (divided["item"], divided["exception"].partition(":")[0]) == ("l divides", "ZeroDivisionError")
    named = {
        kind: {line.partition("': ")[0].strip("'") for line in found[kind]}
        for kind in ("opened", "network", "started", "unpickled")
    }
    assert named == {
        "opened": {"c foreign", "d changes its input", "e removes", "f device"},
        "network": {"g connects", "h resolves"},
        "started": {"i starts"},
        "unpickled": {"j unpickles"},
    }
    assert ["subprocess.Popen" in line or "os.system" in line for line in found["started"]] == [True, True]
    assert 0.5 <= found["slowest"]["seconds"] < 2


def test_a_process_that_hangs_with_the_lock_is_ended(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "m hangs with the lock").touch()
    (failure,) = outcome(start("breaches", tmp_path, 0.4), timeout=30)["failures"]
    assert failure["item"] == "m hangs with the lock"
    assert "Timeout (0:00:01.6" in failure["exception"]
    assert "_hangs_with_the_lock" in failure["exception"]


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    def contents(name: str, seed: int) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        written = generate.images(tmp_path / name, 20, seed)
        return {path.name: path.read_bytes() for path in written if path.name[0].isdigit()}

    first = contents("first", 0)
    assert contents("again", 0) == first
    assert contents("other", 1) != first
