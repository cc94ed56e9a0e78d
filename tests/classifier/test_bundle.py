"""The bundle: what goes in comes out bit by bit, and a file that is not one is refused with its reason."""

import errno
import json
import os
import pickle
import re
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from regraft.classifier.bundle import NEWEST, _digest, load_bundle, read_description, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.record import Attempt, FitRecord, OverBudget, Timing
from regraft.classifier.reference import TrainingReference
from regraft.data.taxonomy import Taxonomy
from regraft.engines.workload import CheckPhotos, EngineChoice, SharedChoice
from regraft.errors import BundleError, OptionError, OutputError
from regraft.evaluation.conformal import Coverage, HeldOutScores
from regraft.evaluation.decisions import CostRule, Decision, ThresholdRule
from regraft.evaluation.goals import DecisionRequest
from regraft.evaluation.report import Report
from regraft.networks.backbones import load_backbone

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
    check = CheckPhotos("some", lambda: np.zeros((1, 8, 8, 3), np.uint8))  # of a cluster's job; it is not kept
    before.engine_choice = SharedChoice("openvino-bfloat16", "a machine", check)
    save_bundle(before, tmp_path / "m.safetensors")
    after = load_bundle(tmp_path / "m.safetensors")
    assert after.classes == ("Kätzchen", "dog", "7")
    assert after.temperature == 1.7
    assert after.model == "local-dir:test_resnet-0"
    assert after.engine_choice == EngineChoice("openvino-bfloat16", "a machine")
    assert after.strategy == "linear"
    assert before.record is not None
    assert after.record == replace(before.record, model="local-dir:test_resnet-0")
    assert after.label_type == "str"
    assert after.head.strength == 0.01
    assert after.head.weight.dtype == after.head.bias.dtype == np.float32
    assert np.array_equal(after.head.weight, before.head.weight)
    assert np.array_equal(after.head.bias, before.head.bias)
    assert {role: keys.tolist() for role, keys in after.seen.items()} == {"training": [1, 2**64 - 1], "validation": [5]}
    assert all(keys.dtype == np.uint64 for keys in after.seen.values())
    assert after.backbone.preprocess == before.backbone.preprocess
    assert after.backbone.recipe.architecture == "test_resnet"
    assert after.backbone.recipe.arguments == before.backbone.recipe.arguments
    ranged = replace(
        before, backbone=before.backbone.with_ranges((("int16", -1000.0, 2060.0), ("uint16", 0.0, 4095.0)))
    )
    save_bundle(ranged, tmp_path / "m.safetensors")
    assert load_bundle(tmp_path / "m.safetensors").backbone.preprocess == ranged.backbone.preprocess
    gone = {"file", "source", "custom_load", "hf_hub_id", "url"}  # where the weights were
    settings = {name: value for name, value in before.backbone.recipe.settings.items() if name not in gone}
    assert after.backbone.recipe.settings == settings
    assert after.backbone.source == "model.safetensors"
    assert not after.backbone.module.training


def with_reference(made: Classifier, count: int = 40) -> Classifier:
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(size=(count, made.head.features))).astype(np.float32)
    made.reference = TrainingReference.of(values, np.arange(count) % 3, classes=3, colours=rng.random((count, 5)))
    assert made.reference is not None
    return made


def test_round_trip_keeps_the_reference(classifier: Make, tmp_path: Path) -> None:
    before, file = with_reference(classifier()), tmp_path / "m.safetensors"
    save_bundle(before, file)
    after = load_bundle(file)
    assert before.reference is not None
    assert after.reference is not None
    kept = {name: array.tobytes() for name, array in before.reference.state().items()}
    assert {name: array.tobytes() for name, array in after.reference.state().items()} == kept
    save_bundle(after, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert read_description(file)["format"] == 1  # older versions pass over these tensors


@pytest.mark.parametrize("grouped", [False, True])
def test_round_trip_keeps_the_held_out_scores(classifier: Make, tmp_path: Path, grouped: bool) -> None:
    """Probabilities of the true classes, these, and numbers of groups where there are such; nothing else."""
    before, file, rng = classifier(), tmp_path / "m.safetensors", np.random.default_rng(0)
    groups = np.arange(40) // 4 if grouped else None
    before.held_out = HeldOutScores.of(rng.dirichlet(np.ones(3), 40), np.arange(40) % 3, groups)
    save_bundle(before, file)
    after = load_bundle(file)
    assert after.held_out is not None
    kept = {name: array.tolist() for name, array in before.held_out.state().items()}
    assert {name: array.tolist() for name, array in after.held_out.state().items()} == kept
    names = {name for name in load_file(file) if name.startswith("held_out.")}
    assert names == {"held_out.scores", "held_out.labels"} | ({"held_out.groups"} if grouped else set())
    assert read_description(file)["format"] == 1  # older programs pass over them
    save_bundle(after, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_damaged_held_out_scores_are_refused(classifier: Make, tmp_path: Path) -> None:
    made, file = classifier(), tmp_path / "m.safetensors"
    made.held_out = HeldOutScores.of(np.full((20, 3), 1 / 3), np.arange(20) % 3)
    save_bundle(made, file)
    tensors, about = load_file(file), read_description(file)
    tensors["held_out.labels"] = tensors["held_out.labels"] + 1
    about["sha256"] = _digest({name: value for name, value in about.items() if name != "sha256"}, tensors)
    save_file(tensors, file, {"regraft": json.dumps(about)})
    assert "held_out.labels must be int32 from 0 to 2, one for each of 20 photos" in message_of(file)


def test_a_file_without_held_out_scores_gives_no_sets(bundle: Path) -> None:
    made = load_bundle(bundle)
    assert made.held_out is None
    assert made.sets(np.full((1, 3), 1 / 3), Coverage()) is None
    with pytest.raises(OptionError) as failed:
        made.check_coverage(Coverage())
    assert str(failed.value) == (
        "coverage needs the probabilities of photos that were held out when the classifier was fitted, which this file "
        "(of an older regraft) does not hold. Fit it again."
    )
    with pytest.raises(OptionError, match=r"^abstain needs the probabilities of photos that were held out"):
        made.check_coverage(Coverage(), abstain=True)


def test_a_file_without_a_reference_has_none(bundle: Path) -> None:
    assert not any(name.startswith("reference.") for name in load_file(bundle))
    assert load_bundle(bundle).reference is None


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("reference.points", torch.zeros(40, 3), r"reference.points must be finite numbers of shape \(40, 5\)"),
        ("reference.mean", torch.full((9,), float("nan")), "reference.mean holds values that are not finite"),
        ("reference.counts", torch.zeros(3), "reference.counts must be integers"),
    ],
)
def test_a_damaged_reference_is_refused(
    classifier: Make, tmp_path: Path, name: str, tensor: torch.Tensor, told: str
) -> None:
    file = tmp_path / "m.safetensors"
    save_bundle(with_reference(classifier()), file)
    about = read_description(file)
    del about["sha256"]
    tensors = load_file(file) | {name: tensor}
    about["sha256"] = _digest(about, tensors)
    save_file(tensors, file, {"regraft": json.dumps(about)})
    assert re.search(told, message_of(file))


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
    assert message.startswith(f"{bundle} is damaged or not a safetensors file (")
    assert message.endswith("). Copy it or fit it again.")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    file = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(2)}, file, metadata)
    assert message_of(file) == (
        f"{file} is a safetensors file, but not a regraft classifier. To start from its weights: weights='{file}'"
    )


@pytest.mark.parametrize(
    ("versions", "theirs"),
    [({"versions": {"regraft": "9.1"}}, "9.1"), ({"versions": {}}, "unknown"), ({"versions": []}, "unknown")],
)
def test_newer_format(bundle: Path, versions: dict[str, Any], theirs: str) -> None:
    describe(bundle, lambda about: about.update({"format": NEWEST + 1, **versions}))
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
    assert message_of(bundle) == f"{bundle} cannot be used: Object missing required field `{key}`. Fit it again."


def test_garbled_preprocess(bundle: Path) -> None:
    describe(bundle, lambda about: about["preprocess"].pop("mean"))
    assert message_of(bundle) == (
        f"{bundle} cannot be used: Object missing required field `mean` - at `$.preprocess`. Fit it again."
    )


def setting(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    """Return what sets one field of a description."""

    def change(about: dict[str, Any]) -> None:
        place: Any = about
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return change


REPORT = {
    "n": 4,
    "classes": ["Kätzchen", "dog", "7"],
    "estimate": "test",
    "accuracy": 0.5,
    "accuracy_interval": None,
    "intervals": {"accuracy": None},
    "per_class": {
        name: dict.fromkeys(["precision", "recall", "f1", "recall_interval", "precision_interval"]) | {"support": 1}
        for name in ("Kätzchen", "dog", "7")
    },
    "confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "majority_share": 0.5,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (setting("classes", value=["a", "b"]), "there are 2 classes, and the head has 3 outputs"),
        (setting("classes", value=["a", "b", "b"]), "classes must differ from each other"),
        (setting("classes", value=["a", "b", 3]), "Expected `str`, got `int` - at `$.classes[2]`"),
        (setting("classes", value="abc"), "Expected `array`, got `str` - at `$.classes`"),
        (setting("classes", value=["a"]), "length >= 2 - at `$.classes`"),
        (setting("label_type", value="int"), "classes must be of label_type int. Got 'Kätzchen'"),
        (setting("label_type", value="tuple"), "Got 'tuple'. Fit it again"),
        (setting("label_type", value="date"), "classes must be of label_type date. Got 'Kätzchen'"),
        (setting("label_dtype", value="i4"), "label_dtype must be one for labels of type str. Got 'i4'"),
        (setting("label_dtype", value=4), "Expected `str`, got `int` - at `$.label_dtype`"),
        (setting("temperature", value=0), "`float` >= 0.001 - at `$.temperature`"),
        (setting("temperature", value=-1.7), "`float` >= 0.001 - at `$.temperature`"),
        (setting("temperature", value="warm"), "Expected `float`, got `str` - at `$.temperature`"),
        (setting("temperature", value=True), "Expected `float`, got `bool` - at `$.temperature`"),
        (setting("temperature", value=None), "Expected `float`, got `null` - at `$.temperature`"),
        (setting("head_strength", value=-1), "`float` >= 0.0 - at `$.head_strength`"),
        (setting("preprocess", "height", value=0), "`int` >= 1 - at `$.preprocess.height`"),
        (setting("preprocess", "width", value=100_000), "`int` <= 2048 - at `$.preprocess.width`"),
        (setting("preprocess", "height", value=160.5), "got `float` - at `$.preprocess.height`"),
        (setting("preprocess", "crop_pct", value=0), "`float` > 0.0 - at `$.preprocess.crop_pct`"),
        (setting("preprocess", "crop_pct", value=2.01), "`float` <= 2.0 - at `$.preprocess.crop_pct`"),
        (setting("preprocess", "crop_mode", value="x"), "crop_mode must be one of center, squash, border"),
        (setting("preprocess", "interpolation", value="x"), "interpolation must be one of"),
        (setting("preprocess", "mean", value=[0, 0]), "Expected `array` of length 3, got 2 - at `$.preprocess.mean`"),
        (setting("preprocess", "std", 1, value=0), "`float` > 0.0 - at `$.preprocess.std[1]`"),
        (setting("preprocess", "ranges", value={"uint16": [5, 5]}), "ranges must be of uint12, uint16,"),
        (setting("preprocess", "ranges", value={"x": [0, 5]}), "ranges must be of uint12, uint16,"),
        (setting("preprocess", "ranges", value={"uint16": [0]}), "at `$.preprocess.ranges[...]`"),
        (setting("preprocess", value=[]), "Expected `object`, got `array` - at `$.preprocess`"),
        (setting("numbers", value=[]), "Expected `object`, got `array` - at `$.numbers`"),
        (setting("numbers", value={"confusion": [[1]]}), "Object missing required field `n`"),
        (setting("numbers", value={**REPORT, "confusion": [[1]]}), "confusion must have 3 rows and columns"),
        (setting("numbers", value={**REPORT, "accuracy": 2}), "`float` <= 1.000001 - at `$.accuracy`"),
        (setting("numbers", value={**REPORT, "per_class": {}}), "per_class must have the classes"),
        (setting("numbers", value={**REPORT, "positive": "x"}), "positive must be one of the classes"),
        (setting("arguments", value=3), "Expected `object`, got `int` - at `$.arguments`"),
        (setting("architecture", value="hf-hub:x/y"), "matching regex"),
        (setting("architecture", value="../x"), "matching regex"),
        (setting("architecture", value=7), "Expected `str`, got `int` - at `$.architecture`"),
        (setting("engine", value="fast"), "at `$.engine`"),
        (setting("engine", value={"engine": "openvino-int8", "machine": "x"}), "engine must be one of torch-float32"),
        (setting("engine", value={"engine": "auto", "machine": "x"}), "engine must be one of torch-float32"),
        (setting("numbers", value={"seed": "x"}), "Expected `int`, got `str` - at `$.seed`"),
        (setting("numbers", value={"model": 5}), "Expected `str`, got `int` - at `$.model`"),
        (setting("numbers", value={"engine": []}), "Expected `str`, got `array` - at `$.engine`"),
        (setting("numbers", value={"temperature": "x"}), "Expected `float | null`, got `str` - at `$.temperature`"),
        (setting("numbers", value={"lora": {"a": 1}}), "Expected `int`, got `object` - at `$.lora`"),
        (setting("settings", "input_size", value=[3, 9999, 9999]), "of at most 2048 pixels. Got [3, 9999, 9999]"),
        (setting("settings", "mean", value=["a", 0, 0]), "mean in its settings must be three numbers"),
    ],
)
def test_each_field_is_checked(bundle: Path, change: Callable[[dict[str, Any]], None], told: str) -> None:
    describe(bundle, change)
    message = message_of(bundle)
    assert told in message
    assert message.startswith(f"{bundle} cannot be ")


def test_a_whole_report_is_taken(bundle: Path) -> None:
    describe(bundle, setting("numbers", value=REPORT))
    record = load_bundle(bundle).record
    assert record is not None
    found = record.to_json()
    assert {name: found[name] for name in REPORT} == REPORT


def test_a_choice_of_which_little_is_known_is_taken(bundle: Path) -> None:
    describe(bundle, setting("numbers", value={"tried": [{"strategy": "frozen", "log_loss": 0.5}, {}]}))
    record = load_bundle(bundle).record
    assert record is not None
    assert record.tried == (Attempt("frozen", 0.5, None, None), Attempt("", None, None, None))


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "-Infinity", "1e999", "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP],
    ids=["nan", "infinity", "minus infinity", "too large", "deep list", "deep object"],
)
def test_text_that_is_no_json_number_or_too_deep(bundle: Path, text: str) -> None:
    header, data = split(bundle)
    about = json.loads(header["__metadata__"]["regraft"])
    about["numbers"] = {"x": "HERE"}
    header["__metadata__"]["regraft"] = json.dumps(about).replace('"HERE"', text)
    join(bundle, header, data)
    assert message_of(bundle) == f"{bundle} is damaged: its description is not a JSON object. Copy it or fit it again."


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("head.weight", torch.full((3, 96), float("nan")), "head.weight holds values that are not finite"),
        ("head.bias", torch.tensor([0, 0, float("inf")]), "head.bias holds values that are not finite"),
        ("backbone.conv1.1.running_mean", None, "running_mean holds values that are not finite"),
        ("head.weight", torch.zeros(3, 4), "its head is for 4 features, and its network has 96"),
        ("head.weight", torch.zeros(3), "the head must be float32 of shapes (c, d) and (c,)"),
        ("head.weight", torch.zeros(3, 96, dtype=torch.float64), "Got float64 of shape (3, 96)"),
        ("head.bias", torch.zeros(2), "there are 3 classes, and the head has 3 outputs and 2 biases"),
        ("seen.training", torch.zeros(2), "seen.training must be int64 of shape (n,). Got float32 of shape (2,)"),
        ("seen.training", torch.zeros(2, 2, dtype=torch.int64), "Got int64 of shape (2, 2)"),
        ("backbone.conv1.0.weight", torch.zeros(1), "of another shape"),
        (
            "backbone.conv1.1.num_batches_tracked",
            torch.zeros(0, dtype=torch.int64),
            "[0] in the file, [] in the network",
        ),
        ("backbone.more", torch.zeros(1), "1 tensors extra"),
    ],
)
def test_each_tensor_is_checked(bundle: Path, name: str, tensor: torch.Tensor | None, told: str) -> None:
    tensors = load_file(bundle)
    tensors[name] = torch.full_like(tensors[name], float("nan")) if tensor is None else tensor
    about = {key: value for key, value in read_description(bundle).items() if key != "sha256"}
    about["sha256"] = _digest(about, tensors)
    save_file(tensors, bundle, {"regraft": json.dumps(about)})
    assert told in message_of(bundle)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn, torch.complex64])
def test_numbers_that_no_regraft_writes(bundle: Path, kind: torch.dtype) -> None:
    tensors = load_file(bundle)
    tensors["backbone.conv1.0.weight"] = tensors["backbone.conv1.0.weight"].to(kind)
    save_file(tensors, bundle, {"regraft": json.dumps(read_description(bundle))})
    assert "holds tensors of a type that regraft never writes:\n  backbone.conv1.0.weight: " in message_of(bundle)


def test_an_architecture_that_is_much_larger_than_the_file(bundle: Path) -> None:
    describe(bundle, setting("architecture", value="vit_huge_patch14_224"))
    started = time.monotonic()
    assert "parameters that it may have" in message_of(bundle)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["images", "seconds", "test_resnet-0", ""])
def test_a_class_may_be_called_like_anything(classifier: Make, tmp_path: Path, name: str) -> None:
    made = classifier()
    made.classes = (name, "dog", "7")
    renamed = json.loads(json.dumps(REPORT).replace(json.dumps("Kätzchen"), json.dumps(name)))
    about = {"model": made.model, "strategy": made.strategy, "temperature": made.temperature}
    made.record = FitRecord(report=Report.from_json(renamed), timing=Timing(3.0, 1.0, 4), **about)
    save_bundle(made, tmp_path / "m.safetensors")
    after = load_bundle(tmp_path / "m.safetensors")
    assert after.classes == made.classes
    assert after.record is not None
    assert after.record.timing is None
    found = after.record.to_json()
    assert {name: found[name] for name in renamed} == renamed
    assert "seconds" not in found


def test_what_could_not_be_read_again_is_not_written(classifier: Make, tmp_path: Path) -> None:
    made = classifier()
    made.temperature = 0.0
    with pytest.raises(ValueError, match=r"`float` >= 0\.001 - at `\$\.temperature`"):
        save_bundle(made, tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("name", ["head.weight", "head.bias"])
def test_a_head_that_is_missing(bundle: Path, name: str) -> None:
    tensors = load_file(bundle)
    del tensors[name]
    about = {key: value for key, value in read_description(bundle).items() if key != "sha256"}
    about["sha256"] = _digest(about, tensors)
    save_file(tensors, bundle, {"regraft": json.dumps(about)})
    assert message_of(bundle) == f"{bundle} cannot be used: {name} is missing. Fit it again."


@pytest.mark.parametrize("name", ["url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict"])
def test_where_weights_come_from_is_not_read_from_a_file(bundle: Path, name: str) -> None:
    describe(bundle, setting("settings", name, value="https://example.org/weights"))
    assert name not in load_bundle(bundle).backbone.recipe.settings


# --- a file that is handed on ---


def test_no_folder_of_its_author_stands_in_a_file(classifier: Make, tmp_path: Path) -> None:
    made = classifier()
    names = [tmp_path / "pets" / "dog" / "broken.jpg", tmp_path / "pets" / "broken.jpg"]
    assert made.record is not None
    made.record = replace(made.record, unreadable=tuple(map(str, names)), reason=f"{made.model} is the best", tried=())
    save_bundle(made, tmp_path / "m.safetensors")
    assert str(tmp_path) in made.backbone.source
    content = (tmp_path / "m.safetensors").read_bytes()
    assert all(part.encode() not in content for part in (str(tmp_path), tmp_path.name))
    assert read_description(tmp_path / "m.safetensors")["numbers"]["unreadable"] == ["dog/broken.jpg", "broken.jpg"]


def test_how_long_it_took_does_not_stand_in_a_file(classifier: Make, tmp_path: Path) -> None:
    made, contents = classifier(), []
    for seconds in (1.0, 2.0):
        assert made.record is not None
        tried = (Attempt("frozen", 0.5, 0.0, None, seconds), Attempt("top", None, None, None, seconds, stopped=True))
        over = (OverBudget("top", 100 * seconds, f"--budget {seconds}h"),)
        timing = Timing(seconds, seconds / 2, 10, seconds / 4)
        made.record = replace(made.record, timing=timing, tried=tried, over_budget=over, reason="it is enough")
        save_bundle(made, tmp_path / "m.safetensors")
        contents.append((tmp_path / "m.safetensors").read_bytes())
    assert contents[0] == contents[1]
    record = load_bundle(tmp_path / "m.safetensors").record
    assert record is not None
    frozen, stopped = Attempt("frozen", 0.5, 0.0, None, None), Attempt("top", None, None, None, None, stopped=True)
    assert (record.timing, record.tried, record.over_budget) == (None, (frozen, stopped), (OverBudget("top"),))
    kept = read_description(tmp_path / "m.safetensors")["numbers"]
    own = {"gain_interval": None, "stopped": False}
    assert kept["tried"][0] == {"strategy": "frozen", "log_loss": 0.5, "gain": 0.0, **own}
    assert kept["over_budget"] == [{"strategy": "top"}]
    assert not [name for name in kept if "second" in name]


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
    message = f"{bundle} is damaged: its description is not a JSON object. Copy it or fit it again."
    assert message_of(bundle, read) == message


def test_an_architecture_that_timm_does_not_have(bundle: Path) -> None:
    describe(bundle, lambda about: about.update(architecture="resnet51"))
    message = message_of(bundle)
    assert message.startswith(f"{bundle} cannot be rebuilt: timm ")
    assert message.endswith(" has no network 'resnet51'. Update it: pip install -U timm")


@pytest.mark.parametrize("name", ["gone.safetensors", "."])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    what = "is a folder" if name == "." else "does not exist"
    assert message_of(file) == f"{file} {what}. Name a file that `regraft fit` wrote."


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    os.mkfifo(file)
    assert message_of(file) == f"{file} is not a regular file. Name a file that `regraft fit` wrote."


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
    assert made.record is not None
    made.record = replace(made.record, temperature=number)
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


# --- what decides ---


@pytest.mark.parametrize(
    "decision",
    [
        Decision(ThresholdRule(1, 0.2), "threshold 0.2 for dog"),
        Decision(CostRule(np.array([[0.0, 1, 1], [5, 0, 1], [1, 1, 0]])), "cost dog:Kätzchen=5"),
    ],
)
def test_a_decision_is_kept_and_older_programs_refuse_it(classifier: Make, tmp_path: Path, decision: Decision) -> None:
    before, file = classifier(), tmp_path / "m.safetensors"
    before.decision = decision
    save_bundle(before, file)
    after = load_bundle(file)
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], 100)
    assert after.decision is not None
    assert after.decision.asked == decision.asked
    assert (after.answers(probabilities) == decision.rule.answers(probabilities)).all()
    assert (after.answers(probabilities) != probabilities.argmax(axis=1)).any()
    assert read_description(file)["format"] == 3  # a program that knows 1 and 2 would answer otherwise
    after.decision = None
    save_bundle(after, file)
    assert read_description(file)["format"] < 3


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ({"rule": "threshold", "asked": "", "class": "cat", "threshold": 0.2}, "must be one of the classes. Got 'cat'"),
        ({"rule": "vote", "asked": ""}, "decision.rule must be one of threshold, costs"),
        ({"rule": "costs", "asked": "", "costs": [[0]]}, "3 rows and columns"),
    ],
)
def test_a_damaged_decision_is_refused(bundle: Path, decision: dict[str, Any], said: str) -> None:
    describe(bundle, lambda about: about.update(format=3, decision=decision))
    assert said in message_of(bundle)


def test_another_decision_than_that_of_the_file(classifier: Make) -> None:
    found = classifier()
    found.decide_by(DecisionRequest())
    assert found.decision is None
    found.decide_by(DecisionRequest(threshold="0.3 for dog"))
    assert found.decision is not None
    assert found.decision.rule == ThresholdRule(1, 0.3)
    found.decide_by(DecisionRequest())  # nothing asked for: as the file says
    assert found.decision.asked == "threshold 0.3 for dog"
    with pytest.raises(OptionError, match="balance needs to know how many photos of each class were learned from"):
        found.decide_by(DecisionRequest(balance=True))
    assert found.record is not None
    found.record = replace(found.record, class_counts=(70, 20, 10))
    found.decide_by(DecisionRequest(balance=True))
    # ratios to the shares: .6 / .7, .2 / .2, .2 / .1
    assert found.answers(np.array([[0.6, 0.2, 0.2]])).tolist() == [2]


# --- the tree of classes ---

TREE = {"pet": None, "7": None, "dog": "pet", "Kätzchen": "pet", "puppy": "dog"}


def test_a_tree_of_classes_is_kept_and_older_programs_may_read_the_file(classifier: Make, tmp_path: Path) -> None:
    """Their answers are the same: the tree alone is passed over."""
    before = classifier()
    save_bundle(before, tmp_path / "without.safetensors")
    before.taxonomy = Taxonomy(TREE)
    save_bundle(before, tmp_path / "m.safetensors")
    after = load_bundle(tmp_path / "m.safetensors")
    assert after.taxonomy is not None
    assert list(after.taxonomy.parents.items()) == list(before.taxonomy.parents.items())
    assert [level.nodes for level in after.levels] == [("pet", "7"), after.classes]
    about, other = (read_description(tmp_path / f"{name}.safetensors") for name in ("m", "without"))
    assert about["format"] == other["format"] == 1
    assert set(about) - set(other) == {"taxonomy"}
    assert load_bundle(tmp_path / "without.safetensors").levels == ()


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"parents": {"dog": None, "7": None}}, "taxonomy must have all classes"),
        ({"parents": TREE | {"pet": "puppy"}}, "the tree goes round in a circle"),
        ({"parents": TREE | {"pet": 3}}, "taxonomy.parents must be an object"),
        ({}, "taxonomy.parents must be an object"),
        ([], "taxonomy"),
    ],
)
def test_a_damaged_tree_is_refused(bundle: Path, tree: Any, said: str) -> None:
    describe(bundle, lambda about: about.update(taxonomy=tree))
    assert said in message_of(bundle)
