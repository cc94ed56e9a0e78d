"""What all tests share: a tiny network in timm's local format, photos of made-up classes, and a cache of their own."""

import itertools
import json
import multiprocessing
import os
import shutil
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# As on Windows and macOS, and for all that Linux starts: a fork would copy locks that other threads hold.
multiprocessing.set_start_method("spawn", force=True)

# Workers share the processors: threads of two of them would wait for each other, ten times as long as they work.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [
    "tests.fixtures.hub",
    "tests.fixtures.learning",
    "tests.fixtures.networks",
    "tests.fixtures.rays",
    "tests.fixtures.stores",
]

LONGEST = {  # these go first: else one worker would end with them while the others have nothing left
    "api/test_estimator.py",
    "cli/test_documents.py",
    "cli/test_explain.py",
    "cli/test_fit.py",
    "explain/test_html_report.py",
    "hostile/test_hostile.py",
    "transfer/test_contract.py",
    "transfer/test_strategies.py",
}
REPOSITORY = Path(__file__).parents[1]
COLOURS = {"red": (200, 60, 60), "green": (60, 180, 60), "blue": (60, 60, 200), "grey": (128, 128, 128)}


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the names of caches, none of which is there."""
    base = tmp_path_factory.mktemp("caches")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, caches: Iterator[Path]) -> None:
    """Give every test its own cache, and no way out to a hub. Most tests have no folder: making one takes longer."""
    of_the_test = "tmp_path" in request.fixturenames
    folder = request.getfixturevalue("tmp_path") / "cache" if of_the_test else next(caches)
    monkeypatch = request.getfixturevalue("monkeypatch")  # last: what is patched is undone before the folder goes
    monkeypatch.setenv("REGRAFT_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_graphs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bundles hold only the graphs that are there: making one takes up to a second for each trained network."""
    from regraft.classifier import bundle_networks

    if "graphs" not in request.keywords:
        monkeypatch.setattr(bundle_networks, "graph_of", lambda backbone, **_: backbone.current_graph)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no proxy, and no host's name can be resolved."""
    import huggingface_hub.constants

    def unresolvable(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("something tried to connect")

    monkeypatch.setattr(socket, "getaddrinfo", unresolvable)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="session")
def tiny_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return "local-dir:..." of a network with 100 thousand random weights and 32 x 32 pixels of input."""
    return f"local-dir:{write_network(tmp_path_factory.mktemp('network'))}"


@pytest.fixture(scope="session")
def other_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the same network as `tiny_network` with other random weights."""
    return f"local-dir:{write_network(tmp_path_factory.mktemp('other'), seed=1)}"


def write_network(folder: Path, architecture: str = "test_efficientnet", *, classes: int = 5, seed: int = 0) -> Path:
    """Write config.json and model.safetensors of a network with random weights, as timm saves them."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    network = timm.create_model(architecture, num_classes=classes)
    save_file(network.state_dict(), folder / "model.safetensors")
    settings = {**network.pretrained_cfg, "input_size": [3, 32, 32], "num_classes": classes}
    plain = {name: value for name, value in settings.items() if not isinstance(value, tuple) and value is not None}
    config = {"architecture": architecture, "num_classes": classes, "pretrained_cfg": plain}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def photo(path: Path, colour: str, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
    """Write a noisy photo of one colour that any network tells from the others."""
    generator = np.random.default_rng(seed)
    pixels = np.array(COLOURS[colour]) + generator.normal(0, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes class folders: photos("pets", red=12, blue=12) -> Path of pets."""

    def write(name: str = "photos", first_seed: int = 0, **counts: int) -> Path:
        folder = tmp_path / name
        for offset, (colour, count) in enumerate(counts.items()):
            for number in range(count):
                photo(folder / colour / f"{number}.jpg", colour, first_seed + 1000 * offset + number)
        return folder

    return write


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real weights and photos, for tests marked `shared`."""
    return shared_folder()


def shared_folder() -> Path:
    return Path(os.environ.get("REGRAFT_SHARED", REPOSITORY.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: str(item.path.relative_to(REPOSITORY / "tests")) not in LONGEST)
    if shutil.which("chromium") is None:
        skip = pytest.mark.skip(reason="needs Chromium on the PATH: apt-get install chromium")
        for item in items:
            if "browser" in item.keywords:
                item.add_marker(skip)
    folder = shared_folder()
    if not ((folder / "weights").is_dir() and (folder / "data").is_dir()):
        skip = pytest.mark.skip(reason="needs real weights and photos: name their folder in REGRAFT_SHARED")
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(skip)
