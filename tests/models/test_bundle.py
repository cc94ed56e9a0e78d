"""The bundle: what goes in comes out bit by bit, and a file that is not one is refused with its reason."""

import errno
import json
import os
import pickle
import struct
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regraft.errors import BundleError, OutputError
from regraft.models.backbones import load_backbone
from regraft.models.bundle import _digest, load_bundle, read_description, save_bundle
from regraft.models.classifier import Classifier

Make = Callable[..., Classifier]
Pixels = Callable[..., np.ndarray]


@pytest.fixture
def bundle(classifier: Make, tmp_path: Path) -> Path:
    """Return a saved classifier."""
    save_bundle(classifier(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def split(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header and the tensors' bytes, by the format's own definition: length (8 bytes), JSON, data."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(file: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def describe(file: Path, change: Callable[[dict[str, Any]], object], *, signed: bool = True) -> None:
    """Change the description of a bundle, and its digest with it; leave its tensors as they are."""
    header, data = split(file)
    about = json.loads(header["__metadata__"]["regraft"])
    change(about)
    if signed:
        del about["sha256"]
        about["sha256"] = _digest(about, load_file(file))
    header["__metadata__"]["regraft"] = json.dumps(about)
    join(file, header, data)


def message_of(file: Path, read: Callable[[Path], object] = load_bundle) -> str:
    with pytest.raises(BundleError) as caught:
        read(file)
    return str(caught.value)


def features(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy())


# --- there and back ---


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_vit"])
def test_round_trip_gives_equal_probabilities(
    classifier: Make, tmp_path: Path, pixels: Pixels, architecture: str, offline: None
) -> None:
    before = classifier(architecture)
    save_bundle(before, tmp_path / "m.safetensors")
    after = load_bundle(tmp_path / "m.safetensors")
    images = pixels(3, 160, 160)
    found, expected = (c.probabilities(features(c.backbone.module, images)) for c in (after, before))
    assert np.ptp(expected) > 1e-3
    assert np.array_equal(found, expected)
    assert after.backbone.fingerprint() == before.backbone.fingerprint()


def test_round_trip_keeps_everything(classifier: Make, tmp_path: Path) -> None:
    before = classifier()
    before.label_type = "int"
    save_bundle(before, tmp_path / "m.safetensors")
    after = load_bundle(tmp_path / "m.safetensors")
    assert after.classes == ("Kätzchen", "dog", "7")
    assert after.temperature == 1.7
    assert after.model == before.model
    assert after.strategy == "linear"
    assert after.numbers == {"accuracy": 0.9, "interval": [0.8, 0.95]}
    assert after.label_type == "int"
    assert after.head.strength == 0.01
    assert after.head.weight.dtype == after.head.bias.dtype == np.float32
    assert np.array_equal(after.head.weight, before.head.weight)
    assert np.array_equal(after.head.bias, before.head.bias)
    assert {role: keys.tolist() for role, keys in after.seen.items()} == {"training": [1, 2**64 - 1], "validation": [5]}
    assert all(keys.dtype == np.uint64 for keys in after.seen.values())
    assert after.backbone.preprocess == before.backbone.preprocess
    assert after.backbone.recipe == before.backbone.recipe
    assert after.backbone.source == before.backbone.source
    assert not after.backbone.module.training


def test_the_networks_folder_is_not_needed_again(classifier: Make, tmp_path: Path, offline: None) -> None:
    before = classifier()
    save_bundle(before, tmp_path / "m.safetensors")
    for file in Path(before.model.removeprefix("local-dir:")).iterdir():
        file.unlink()
    assert load_bundle(tmp_path / "m.safetensors").backbone.fingerprint() == before.backbone.fingerprint()


def test_saving_what_was_loaded_gives_the_same_file(bundle: Path, tmp_path: Path) -> None:
    save_bundle(load_bundle(bundle), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == bundle.read_bytes()


def test_description(bundle: Path) -> None:
    about = read_description(bundle)
    assert about["format"] == 1
    assert about["classes"] == ["Kätzchen", "dog", "7"]
    assert about["architecture"] == "test_resnet"
    assert about["versions"] | {"python": ""} == {n: version(n) for n in ("regraft", "torch", "timm")} | {"python": ""}
    assert about == json.loads(split(bundle)[0]["__metadata__"]["regraft"])


def test_half_precision_weights_are_stored_in_half_without_loss(classifier: Make, tmp_path: Path) -> None:
    full, half = classifier(name="full"), classifier(name="half", half=True)
    save_bundle(full, tmp_path / "full.safetensors")
    save_bundle(half, tmp_path / "half.safetensors")
    sizes = {name: (tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")}
    numbers = sum(p.numel() for p in half.backbone.module.parameters())
    assert sizes["full"] - sizes["half"] > 1.9 * numbers  # two bytes for each, of buffers some
    stored = load_file(tmp_path / "half.safetensors")
    assert stored["backbone.conv1.0.weight"].dtype == torch.float16
    assert stored["head.weight"].dtype == torch.float32
    assert load_file(tmp_path / "full.safetensors")["backbone.conv1.0.weight"].dtype == torch.float32
    state = load_bundle(tmp_path / "half.safetensors").backbone.module.state_dict()
    for name, tensor in half.backbone.module.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor)


def test_one_number_that_half_cannot_hold_keeps_its_tensor_in_full(classifier: Make, tmp_path: Path) -> None:
    made = classifier(half=True)
    made.backbone.module.state_dict()["conv1.0.weight"][0, 0, 0, 0] = 1e6  # half ends at 65504
    save_bundle(made, tmp_path / "m.safetensors")
    stored = load_file(tmp_path / "m.safetensors")
    assert stored["backbone.conv1.0.weight"].dtype == torch.float32
    assert stored["backbone.conv1.3.weight"].dtype == torch.float16
    state = load_bundle(tmp_path / "m.safetensors").backbone.module.state_dict()
    assert state["conv1.0.weight"][0, 0, 0, 0] == 1e6


def test_no_pickle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for module, name in [(torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")]:
        monkeypatch.setattr(module, name, forbidden)
    assert load_bundle(bundle).classes == ("Kätzchen", "dog", "7")
    header, data = split(bundle)  # 8 bytes of length, a JSON object, and nothing but the tensors' numbers
    widths = {"F32": 4, "F16": 2, "I64": 8}
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    assert len(data) == sum(int(np.prod(t["shape"])) * widths[t["dtype"]] for t in tensors.values())
    assert set(header["__metadata__"]) == {"regraft"}


# --- files that are refused ---


@pytest.mark.parametrize("tensor", ["backbone.conv1.0.weight", "head.weight", "head.bias", "seen.training"])
def test_one_flipped_bit(bundle: Path, tensor: str) -> None:
    header, data = split(bundle)
    start, end = header[tensor]["data_offsets"]
    flipped = bytearray(data)
    flipped[(start + end) // 2] ^= 1
    join(bundle, header, bytes(flipped))
    assert message_of(bundle) == (f"{bundle} is damaged: its contents are not what was saved. Copy it again.")
    join(bundle, header, data)
    load_bundle(bundle)  # the flip alone was the reason


def test_renamed_tensor(bundle: Path) -> None:
    header, data = split(bundle)
    header["seen.verification"] = header.pop("seen.validation")  # the same numbers in the same order
    join(bundle, header, data)
    assert message_of(bundle).startswith(f"{bundle} is damaged: its contents are not what was saved.")


@pytest.mark.parametrize("read", [load_bundle, read_description])
@pytest.mark.parametrize("content", ["empty", "truncated", "header", "text", "zip"])
def test_no_safetensors_file(bundle: Path, content: str, read: Callable[[Path], object]) -> None:
    whole = bundle.read_bytes()
    contents = {"empty": b"", "truncated": whole[:-1], "header": whole[:100], "text": b"accuracy: 0.9\n" * 9}
    bundle.write_bytes({**contents, "zip": b"PK\x03\x04" + bytes(100)}[content])
    message = message_of(bundle, read)
    assert message.startswith(f"{bundle} is damaged or no safetensors file (")
    assert message.endswith("). Copy it or fit it again.")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    file = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(2)}, file, metadata)
    assert message_of(file) == (
        f"{file} is a safetensors file, but no regraft model. To start from its weights: --weights {file}"
    )


@pytest.mark.parametrize(
    ("versions", "theirs"),
    [({"versions": {"regraft": "9.1"}}, "9.1"), ({"versions": {}}, "unknown"), ({"versions": []}, "unknown")],
)
def test_newer_format(bundle: Path, versions: dict[str, Any], theirs: str) -> None:
    describe(bundle, lambda about: about.update({"format": 2, **versions}))
    assert message_of(bundle) == (
        f"{bundle} was written by a newer regraft ({theirs}; this is {version('regraft')}). "
        "Update it: pip install -U regraft"
    )


@pytest.mark.parametrize(
    "key",
    ["classes", "temperature", "architecture", "arguments", "settings", "preprocess", "head_strength", "label_type"],
)
def test_missing_key(bundle: Path, key: str) -> None:
    describe(bundle, lambda about: about.pop(key))
    assert message_of(bundle) == f"{bundle} is damaged: its description lacks or garbles '{key}'. Fit it again."


def test_garbled_preprocess(bundle: Path) -> None:
    describe(bundle, lambda about: about["preprocess"].pop("mean"))
    assert message_of(bundle) == f"{bundle} is damaged: its description lacks or garbles 'mean'. Fit it again."


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(temperature=17.0),
        lambda about: about["classes"].reverse(),
        lambda about: about["preprocess"].update(crop_pct=0.5),
        lambda about: about.pop("sha256"),
    ],
    ids=["temperature", "classes", "preprocess", "digest"],
)
def test_changed_description(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    describe(bundle, change, signed=False)
    assert message_of(bundle) == f"{bundle} is damaged: its contents are not what was saved. Copy it again."


@pytest.mark.parametrize("read", [load_bundle, read_description])
@pytest.mark.parametrize(
    "description", ['{"format": 1', "[1]", '"x"', "0", "{}", '{"format": "2"}', '{"format": null}']
)
def test_description_that_is_no_json_object(bundle: Path, description: str, read: Callable[[Path], object]) -> None:
    header, data = split(bundle)
    header["__metadata__"]["regraft"] = description
    join(bundle, header, data)
    message = f"{bundle} is damaged: its description is no JSON object. Copy it or fit it again."
    assert message_of(bundle, read) == message


def test_an_architecture_that_timm_does_not_have(bundle: Path) -> None:
    describe(bundle, lambda about: about.update(architecture="resnet51"))
    message = message_of(bundle)
    assert message.startswith(f"{bundle} cannot be rebuilt: timm ")
    assert message.endswith(" has no network 'resnet51'. Update it: pip install -U timm")


@pytest.mark.parametrize("name", ["gone.safetensors", "."])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    assert message_of(file) == f"{file} does not exist. Name a file that `regraft fit --out` wrote."


# --- writing ---


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file ends in ENOSPC after its first half."""
    write_bytes = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)


def test_full_disk_leaves_nothing(classifier: Make, tmp_path: Path, full_disk: None) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(OutputError) as caught:
        save_bundle(classifier(), folder / "m.safetensors")
    assert str(caught.value).startswith(
        f"{folder / 'm.safetensors'} could not be written: the disk is full. Nothing was left half-written"
    )
    assert list(folder.iterdir()) == []


def test_the_older_file_survives_a_failed_write(classifier: Make, bundle: Path, request: pytest.FixtureRequest) -> None:
    content, beside = bundle.read_bytes(), sorted(bundle.parent.iterdir())
    made = load_bundle(bundle)
    made.temperature = 99.0
    request.getfixturevalue("full_disk")
    with pytest.raises(OutputError, match="the disk is full"):
        save_bundle(made, bundle)
    assert bundle.read_bytes() == content
    assert sorted(bundle.parent.iterdir()) == beside


def test_a_later_bundle_takes_the_place_of_the_older(bundle: Path) -> None:
    made = load_bundle(bundle)
    made.temperature = 99.0
    save_bundle(made, bundle)
    assert load_bundle(bundle).temperature == 99.0


def test_missing_folder(classifier: Make, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone/m\.safetensors could not be written: No such file or directory\."):
        save_bundle(classifier(), tmp_path / "gone" / "m.safetensors")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused(bundle: Path, number: float) -> None:
    content, beside = bundle.read_bytes(), sorted(bundle.parent.iterdir())
    made = load_bundle(bundle)
    made.numbers["auroc"] = number
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        save_bundle(made, bundle)
    assert bundle.read_bytes() == content
    assert sorted(bundle.parent.iterdir()) == beside


def test_a_changed_network_is_saved_as_it_is(classifier: Make, tmp_path: Path) -> None:
    made = classifier()
    made.backbone.module.state_dict()["conv1.1.running_mean"] += 1
    made.backbone.module.to(memory_format=torch.channels_last)  # as the engine leaves it
    save_bundle(made, tmp_path / "m.safetensors")
    after = load_bundle(tmp_path / "m.safetensors")
    assert after.backbone.fingerprint() == made.backbone.fingerprint()
    assert after.backbone.fingerprint() != load_backbone(made.model).fingerprint()
