"""Networks in the cache: what is damaged, or another network's, is loaded anew."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from regraft.cache import networks_folder
from regraft.features import network_cache
from regraft.features.network_cache import load_cached
from regraft.networks.backbones import load_backbone

LIMIT = 1 << 30  # bytes


def kept() -> Path:
    """Return the only network in the cache."""
    (file,) = networks_folder().iterdir()
    return file


def told(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return what changes the description in a file, and leaves the tensors."""

    def damage(file: Path) -> None:
        with network_cache.safe_open(file, framework="numpy") as stored:
            about = json.loads(stored.metadata()["regraft"])
        change(about)
        save_file(load_file(file), file, {"regraft": json.dumps(about)})

    return damage


def loaded_anew(network: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether a network is loaded from its own files; it is the right one in both cases."""
    loads: list[str] = []

    def watched(model: str, *arguments: Any, **options: Any) -> Any:
        loads.append(model)
        return load_backbone(model, *arguments, **options)

    monkeypatch.setattr("regraft.networks.backbones.load_backbone", watched)
    found, expected = load_cached(network, limit=LIMIT), load_backbone(network)
    assert found.fingerprint() == expected.fingerprint()
    assert (found.preprocess, found.features) == (expected.preprocess, expected.features)
    return bool(loads)


def test_what_is_intact_is_read(tiny_network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load_cached(tiny_network, limit=LIMIT)
    assert not loaded_anew(tiny_network, monkeypatch)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1000]),
        lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"),
        told(lambda about: about.update(features=about["features"] + 1)),
        told(lambda about: about["preprocess"].update(mean=[0.1, 0.2, 0.3])),
        told(lambda about: about.pop("digest")),
    ],
)
def test_what_is_damaged_is_loaded_and_kept_anew(
    damage: Callable[[Path], object], tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_cached(tiny_network, limit=LIMIT)
    before = kept().read_bytes()
    damage(kept())
    assert loaded_anew(tiny_network, monkeypatch)
    assert kept().read_bytes() == before


def test_another_networks_file_is_not_read(
    tiny_network: str, other_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_cached(other_network, limit=LIMIT)
    other = shutil.move(kept(), tmp_path)
    load_cached(tiny_network, limit=LIMIT)
    shutil.copy(other, kept())
    assert loaded_anew(tiny_network, monkeypatch)
