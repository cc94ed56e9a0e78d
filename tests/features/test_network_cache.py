"""Networks in the cache as data: the same network, of its own files alone, and of none that has changed since."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from regraft.cache import networks_folder
from regraft.features.depths import find_depths
from regraft.features.network_cache import is_cached, load_cached
from regraft.networks import backbones
from regraft.networks.backbones import load_backbone
from regraft.networks.plan import frozen_plan

LIMIT = 10**9


@pytest.fixture
def model(tiny_network: str, tmp_path: Path) -> str:
    """Return a network whose files may be changed."""
    folder = tmp_path / "network"
    shutil.copytree(tiny_network.removeprefix("local-dir:"), folder)
    return f"local-dir:{folder}"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the networks that timm loads."""
    names: list[str] = []
    load = backbones.load_backbone

    def record(model: str, *rest: object, **options: object) -> object:
        names.append(model)
        return load(model, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(backbones, "load_backbone", record)
    return names


def kept() -> list[Path]:
    return sorted(networks_folder().glob("*.safetensors"))


def test_the_second_is_the_first_without_being_loaded(model: str, loaded: list[str]) -> None:
    first, second, expected = load_cached(model, limit=LIMIT), load_cached(model, limit=LIMIT), load_backbone(model)
    assert loaded == [model]
    assert len(kept()) == 1
    assert second.fingerprint() == expected.fingerprint() == first.fingerprint()
    assert (second.recipe, second.preprocess, second.features) == (
        expected.recipe,
        expected.preprocess,
        expected.features,
    )
    assert second.source == expected.source
    assert find_depths(second) == find_depths(expected)
    assert second.stages() == expected.stages()
    assert frozen_plan(second) == frozen_plan(expected)
    assert second.tensor_hashes() == expected.tensor_hashes()
    assert loaded == [model]  # nothing of that has built it
    images = torch.zeros(1, 3, second.preprocess.height, second.preprocess.width)
    with torch.no_grad():
        assert torch.equal(second.module(images), expected.module(images))
    assert second.fingerprint() == expected.fingerprint()  # of the module, now


def test_it_is_built_of_what_was_read_though_the_weights_have_changed_since(model: str) -> None:
    load_cached(model, limit=LIMIT)
    second = load_cached(model, limit=LIMIT)
    expected = second.fingerprint()
    other_weights(model)
    assert second.module is not None
    assert second.fingerprint() == expected


def other_weights(model: str) -> None:
    """Change one number, and neither size nor time of the file."""
    file = Path(model.removeprefix("local-dir:")) / "model.safetensors"
    before, tensors = file.stat(), load_file(file)
    name = next(name for name, tensor in tensors.items() if tensor.dtype == np.float32)
    tensors[name] = tensors[name] + np.float32(1)
    save_file(tensors, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # at once, and yet later
    assert file.stat().st_size == before.st_size


def other_settings(model: str) -> None:
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"]["mean"] = [0.25, 0.25, 0.25]
    file.write_text(json.dumps(config))


@pytest.mark.parametrize("change", [other_weights, other_settings])
def test_other_files_are_another_network(model: str, change: Callable[[str], None]) -> None:
    load_cached(model, limit=LIMIT)
    change(model)
    found, expected = load_cached(model, limit=LIMIT), load_backbone(model)
    assert (found.fingerprint(), found.preprocess) == (expected.fingerprint(), expected.preprocess)
    assert len(kept()) == 2


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def one_number(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))


def another(file: Path) -> None:
    save_file({"a": np.zeros(1, dtype=np.float32)}, file, {"regraft": "{}"})


@pytest.mark.parametrize("damage", [cut_off, emptied, one_number, another])
def test_what_has_changed_is_loaded_again(model: str, loaded: list[str], damage: Callable[[Path], None]) -> None:
    expected = load_cached(model, limit=LIMIT).fingerprint()
    damage(kept()[0])
    assert load_cached(model, limit=LIMIT).fingerprint() == expected
    assert load_cached(model, limit=LIMIT).fingerprint() == expected
    assert loaded == [model, model]  # once more, and kept again


def test_nothing_is_kept_where_nothing_may_be(model: str) -> None:
    load_cached(model, limit=0)
    load_cached(model, limit=1000)  # it is larger
    assert kept() == []
    assert not is_cached(model)


def test_a_folder_that_cannot_be_written_does_no_harm(model: str) -> None:
    networks_folder().parent.mkdir(parents=True)
    networks_folder().write_text("a file")
    assert load_cached(model, limit=LIMIT).fingerprint() == load_backbone(model).fingerprint()


def test_a_network_of_the_hub_is_never_taken_from_here() -> None:
    assert not is_cached("resnet18.a1_in1k")
    assert not is_cached("hf-hub:timm/resnet18.a1_in1k")


def test_a_name_that_was_loaded_needs_no_check(model: str) -> None:
    assert not is_cached(model)
    load_cached(model, limit=LIMIT)
    assert is_cached(model)


def test_a_second_process_needs_no_pytorch(model: str) -> None:
    expected = load_cached(model, limit=LIMIT).fingerprint()
    program = (
        "import sys\nfrom regraft.features.network_cache import load_cached\n"
        f"print(load_cached({model!r}, limit={LIMIT}).fingerprint(), 'torch' in sys.modules, 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [expected, "False", "False"]
