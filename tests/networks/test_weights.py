"""Weights from files: what is read, what is refused without being executed, and what does not fit."""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from regraft.errors import WeightsError
from regraft.networks.backbones import load_backbone
from regraft.networks.names import local_weights
from regraft.networks.weights import read_state_dict

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([0.5, -1.0]), "n": torch.tensor(7)}
ALLOWED = "Allowed are .safetensors and a state dict saved by torch.save(model.state_dict(), file)."


class _Saboteur:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


def message_of(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    return str(caught.value)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


# --- files that are read ---


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert_equal(dict(sorted(read_state_dict(tmp_path / "w.safetensors").items())), dict(sorted(TENSORS.items())))


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.tar", "w"])
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_of_torch(tmp_path: Path, name: str, *, zipped: bool) -> None:
    torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_equal(read_state_dict(tmp_path / name), TENSORS)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema", "state_dict_ema"])
def test_checkpoint_of_a_training_run(tmp_path: Path, wrapper: str) -> None:
    torch.save({"epoch": 3, wrapper: TENSORS, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    assert_equal(read_state_dict(tmp_path / "w.pth"), TENSORS)


@pytest.mark.parametrize("averaged", ["model_ema", "state_dict_ema"])
@pytest.mark.parametrize("plain", ["model", "state_dict"])
def test_averaged_weights_are_preferred(tmp_path: Path, averaged: str, plain: str) -> None:
    torch.save({plain: {"a": torch.zeros(2)}, averaged: {"a": torch.ones(2)}}, tmp_path / "w.pth")
    assert_equal(read_state_dict(tmp_path / "w.pth"), {"a": torch.ones(2)})


def test_a_tensor_named_model_is_no_wrapper(tmp_path: Path) -> None:
    state = {"model": torch.ones(2), "other": torch.zeros(2)}
    torch.save(state, tmp_path / "w.pth")
    assert_equal(read_state_dict(tmp_path / "w.pth"), state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "model"])
def test_prefixes_of_wrappers_are_removed(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    state = {prefix + name: tensor for name, tensor in TENSORS.items()}
    torch.save({wrapper: state} if wrapper else state, tmp_path / "w.pth")
    assert_equal(read_state_dict(tmp_path / "w.pth"), TENSORS)


def test_a_prefix_of_only_some_names_stays(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "w.pth")
    assert list(read_state_dict(tmp_path / "w.pth")) == ["module.a", "b"]


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(tmp_path: Path, suffix: str, half: torch.dtype) -> None:
    state = {"a": torch.tensor([0.1, 1.0, -3.0], dtype=half), "n": torch.tensor(3), "f": torch.tensor([0.1])}
    file = tmp_path / f"w.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    found = read_state_dict(file)
    assert {name: tensor.dtype for name, tensor in sorted(found.items())} == {
        "a": torch.float32,
        "f": torch.float32,
        "n": torch.int64,
    }
    # 0.1 rounded to 11 and to 8 significant bits
    assert found["a"].tolist() == [{torch.float16: 1638 / 2**14, torch.bfloat16: 205 / 2**11}[half], 1.0, -3.0]


# --- files that are refused ---


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_are_refused_and_not_executed(tmp_path: Path, *, zipped: bool) -> None:
    trap = tmp_path / "executed"
    state = {**TENSORS, "trap": _Saboteur(trap)}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert message_of(tmp_path / "w.pth") == (
        f"{tmp_path / 'w.pth'} cannot be read as weights: it holds Python objects besides tensors, which would have "
        f"to be executed to be read. {ALLOWED}"
    )
    assert not trap.exists()
    torch.load(tmp_path / "w.pth", weights_only=False)  # the trap would have worked
    assert trap.is_dir()


def test_a_plain_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": _Saboteur(trap)}, protocol=2))
    assert message_of(tmp_path / "w.pth").endswith(ALLOWED)
    assert not trap.exists()
    pickle.loads((tmp_path / "w.pth").read_bytes())
    assert trap.is_dir()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    assert "it holds Python objects besides tensors" in message_of(tmp_path / "w.pth")


def _cut_zip() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.randn(1000)}, stream)
    return stream.getvalue()[:-500]


def _foreign_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme", "hello")
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello world\n", _cut_zip(), _foreign_zip()], ids=["empty", "text", "cut", "foreign"]
)
def test_damaged(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"w.{suffix}"
    file.write_bytes(content)
    assert message_of(file) == f"{file} cannot be read as weights: it is damaged or no weights file. {ALLOWED}"


@pytest.mark.parametrize("kept", [4, 60, -1])
def test_truncated_safetensors(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "w.safetensors"
    save_file(TENSORS, file)
    file.write_bytes(file.read_bytes()[:kept])
    assert message_of(file) == f"{file} cannot be read as weights: it is damaged or no weights file. {ALLOWED}"


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], torch.zeros(2), {}, {"a": torch.zeros(2), "epoch": 3}, {"model": {"model": {}}}, 3],
    ids=["list", "tensor", "empty", "mixed", "nested", "number"],
)
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert message_of(tmp_path / "w.pth") == (
        f"{tmp_path / 'w.pth'} holds no state dict (names to tensors). Save one: torch.save(model.state_dict(), file)"
    )


@pytest.mark.parametrize("name", ["gone.pth", "gone.safetensors", ""])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    assert message_of(tmp_path / name) == f"{tmp_path / name} does not exist or is no file."


# --- the weights file of a local folder ---


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors", "a.pth"], "model.safetensors"),
        (["a.pth", "pytorch_model.bin", "z.safetensors"], "pytorch_model.bin"),
        (["config.json", "only.pth"], "only.pth"),
        (["readme.md", "only.safetensors"], "only.safetensors"),
        (["only.pt"], "only.pt"),
        (["only.bin"], "only.bin"),
    ],
)
def test_local_weights_are_found(tmp_path: Path, names: list[str], chosen: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert local_weights("local-dir:x", tmp_path) == tmp_path / chosen


@pytest.mark.parametrize(
    ("names", "found"),
    [([], "none"), (["config.json", "w.onnx"], "none"), (["b.pth", "a.safetensors"], "a.safetensors, b.pth")],
)
def test_local_weights_are_absent_or_ambiguous(tmp_path: Path, names: list[str], found: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(WeightsError) as caught:
        local_weights("local-dir:x", tmp_path)
    assert str(caught.value) == (
        f"local-dir:x: expected model.safetensors in {tmp_path}. Weights files found: {found}."
    )


# --- weights that do not fit ---


@pytest.fixture
def mismatch(tmp_path: Path) -> Callable[..., str]:
    """Return mismatch(drop, add), the middle of the message for test_resnet without and with some tensors."""

    def load(drop: tuple[str, ...] = (), add: dict[str, torch.Tensor] | None = None) -> str:
        state = timm.create_model("test_resnet", num_classes=5).state_dict()
        for name in drop:
            del state[name]
        torch.save({**state, **(add or {})}, tmp_path / "w.pth")
        with pytest.raises(WeightsError) as caught:
            load_backbone("test_resnet", weights=tmp_path / "w.pth")
        start = f"{tmp_path / 'w.pth'} holds weights of another architecture than test_resnet. "
        end = "\nName the network that the file belongs to with model, or the file that belongs to test_resnet."
        message = str(caught.value)
        assert message.startswith(start)
        assert message.endswith(end)
        return message[len(start) : -len(end)]

    return load


def test_missing_tensors_are_named(mismatch: Callable[..., str]) -> None:
    assert mismatch(("layer2.0.bn1.running_var", "conv1.3.weight")) == (
        "2 tensors missing:\n  conv1.3.weight\n  layer2.0.bn1.running_var"
    )


def test_extra_tensors_are_named(mismatch: Callable[..., str]) -> None:
    assert mismatch(add={"layer5.0.conv1.weight": torch.zeros(1)}) == "1 tensors extra:\n  layer5.0.conv1.weight"


def test_misshapen_tensors_are_named_with_both_shapes(mismatch: Callable[..., str]) -> None:
    assert mismatch(add={"conv1.0.weight": torch.zeros(16, 3, 5, 5), "conv1.1.bias": torch.zeros(())}) == (
        "2 tensors of another shape:\n"
        "  conv1.0.weight: [16, 3, 5, 5] in the file, [16, 3, 3, 3] in the network\n"
        "  conv1.1.bias: [] in the file, [16] in the network"
    )


@pytest.mark.parametrize("size", [0, 2])
def test_a_counter_is_one_number(mismatch: Callable[..., str], size: int) -> None:
    assert mismatch(add={"conv1.1.num_batches_tracked": torch.zeros(size, dtype=torch.int64)}) == (
        f"1 tensors of another shape:\n  conv1.1.num_batches_tracked: [{size}] in the file, [] in the network"
    )


def test_all_three_kinds_at_once(mismatch: Callable[..., str]) -> None:
    assert mismatch(("conv1.3.weight",), {"x": torch.zeros(1), "conv1.1.weight": torch.zeros(3)}) == (
        "1 tensors missing:\n  conv1.3.weight\n1 tensors extra:\n  x\n"
        "1 tensors of another shape:\n  conv1.1.weight: [3] in the file, [16] in the network"
    )


@pytest.mark.parametrize("count", [10, 11, 23])
def test_more_than_ten_names_are_shortened(mismatch: Callable[..., str], count: int) -> None:
    names = [f"extra.{letter}" for letter in "abcdefghijklmnopqrstuvw"[:count]]
    more = {10: "", 11: "\n  and 1 more", 23: "\n  and 13 more"}[count]
    expected = f"{count} tensors extra:\n" + "\n".join(f"  {name}" for name in names[:10]) + more
    assert mismatch(add={name: torch.zeros(1) for name in names}) == expected


def test_counters_of_old_files_may_be_absent_or_vectors(tmp_path: Path) -> None:
    """As PyTorch has it: batch norm had no `num_batches_tracked` before 0.4.1, and then one of one number."""
    state = timm.create_model("test_resnet", num_classes=5).state_dict()
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    del state[counters[0]]
    state[counters[1]] = torch.tensor([7])
    torch.save(state, tmp_path / "w.pth")
    found = load_backbone("test_resnet", weights=tmp_path / "w.pth").module.state_dict()
    assert (found[counters[0]].item(), found[counters[1]].item()) == (0, 7)


def test_the_classifier_must_fit_too(mismatch: Callable[..., str]) -> None:
    assert mismatch(add={"fc.weight": torch.zeros(5, 7)}) == (
        "1 tensors of another shape:\n  fc.weight: [5, 7] in the file, [5, 96] in the network"
    )
    assert mismatch(("fc.bias",)) == "1 tensors missing:\n  fc.bias"


@pytest.mark.parametrize("other", ["test_vit", "test_efficientnet", "test_convnext"])
def test_weights_of_another_architecture(tmp_path: Path, other: str) -> None:
    theirs = timm.create_model(other, num_classes=5).state_dict()
    ours = timm.create_model("test_resnet", num_classes=0).state_dict()
    torch.save(theirs, tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match=r"w\.pth holds weights of another architecture than test_resnet\. "
    ) as caught:
        load_backbone("test_resnet", weights=tmp_path / "w.pth")
    named = re.findall(r"^  (\S+?):? ?(?:\[.*)?$", str(caught.value), re.MULTILINE)
    assert len(named) >= 20  # ten missing, ten extra
    assert set(named) <= set(theirs) ^ set(ours) | {
        n for n in set(theirs) & set(ours) if theirs[n].shape != ours[n].shape
    }
    assert f"{len([n for n in theirs if n not in ours])} tensors extra:" in str(caught.value)


def test_networks_that_timm_loads_leniently_are_checked_too(tmp_path: Path) -> None:
    state = timm.create_model("dla46_c", num_classes=5).state_dict()
    del state["level0.0.weight"]
    torch.save({**state, "more": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"1 tensors missing:\n  level0\.0\.weight\n1 tensors extra:\n  more\n"):
        load_backbone("dla46_c", weights=tmp_path / "w.pth")


def test_wrappers_around_wrappers(tmp_path: Path) -> None:
    """torch.compile(DistributedDataParallel(model)) saves both prefixes."""
    torch.save({"_orig_mod.module.a": torch.ones(3), "_orig_mod.module.b": torch.zeros(1)}, tmp_path / "w.pth")
    assert list(read_state_dict(tmp_path / "w.pth")) == ["a", "b"]


@pytest.mark.parametrize(
    "content", ["abc", "0", "]", "G", "M1", "<html>404</html>", "version https://git-lfs", "Not Found"]
)
def test_text_instead_of_weights(tmp_path: Path, content: str) -> None:
    file = tmp_path / "w.pth"
    file.write_text(content)
    assert message_of(file) == f"{file} cannot be read as weights: it is damaged or no weights file. {ALLOWED}"


@pytest.mark.parametrize("kept", [1, 3, 200, -10])
def test_truncated_file_of_the_older_format(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "w.pth"
    torch.save(TENSORS, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes()[:kept])
    assert message_of(file) == f"{file} cannot be read as weights: it is damaged or no weights file. {ALLOWED}"


def test_names_that_are_numbers(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(1)}, tmp_path / "w.pth")
    assert "holds no state dict (names to tensors)" in message_of(tmp_path / "w.pth")
