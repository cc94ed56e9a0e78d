"""Runs: resumed by the same command, refused by name to another, never in the way of the work; damaged checkpoints."""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.damages import DAMAGES, damages, zeroed

from regraft.errors import ResumeError
from regraft.progress import Observer
from regraft.training.checkpoints import Run, run_folder

ARGUMENTS = {"--epochs": 8, "photos": "10 photos, 2 classes, abc", "--augment": ("flip", "crop")}
Open = Callable[..., Run]


class Said(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def run(tmp_path: Path, said: Said) -> Open:
    def make(restart: bool = False, **changed: object) -> Run:
        arguments = {**ARGUMENTS, **{f"--{name}": value for name, value in changed.items()}}
        return Run(run_folder(tmp_path / "m.safetensors"), arguments, restart=restart, observer=said)

    return make


def test_nothing_is_made_before_there_is_something_to_keep(run: Open, tmp_path: Path) -> None:
    assert run().load("job") is None
    assert list(tmp_path.iterdir()) == []


def test_what_was_saved_is_there_for_the_same_arguments(run: Open, said: Said, tmp_path: Path) -> None:
    first = run()
    first.save(["top", 1], {"w": torch.arange(3.0)}, {"step": 4})
    first.save(["top", 2], {"w": torch.zeros(1)}, {"step": 9})
    second = run()
    assert said.lines == [f"going on from the checkpoints in {tmp_path / 'm.safetensors.unfinished'}"]
    saved = second.load(["top", 1])
    assert saved is not None
    assert torch.equal(saved.tensors["w"], torch.tensor([0.0, 1.0, 2.0]))
    assert saved.about == {"step": 4}
    assert second.load(["top", 3]) is None
    second.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what is mapped")
def test_the_file_of_a_loaded_checkpoint_is_free(run: Open, tmp_path: Path) -> None:
    """Windows replaces and removes no file that is mapped: the next checkpoint would be the last."""
    run().save("job", {"w": torch.arange(1000.0)}, {})
    saved = run().load("job")
    assert saved is not None
    assert "m.safetensors.unfinished" not in Path("/proc/self/maps").read_text()
    assert torch.equal(saved.tensors["w"], torch.arange(1000.0))


def test_other_arguments_are_named_and_refused(run: Open) -> None:
    run().save("job", {}, {})
    with pytest.raises(ResumeError) as caught:
        run(epochs=9, lr=0.1)
    text = str(caught.value)
    assert "--epochs: 8 then, 9 now" in text
    assert "--lr: None then, 0.1 now" in text
    assert "photos" in text.rpartition("\n")[2]  # the remedy
    assert "--augment" not in text
    assert "restart=True to begin anew" in text


def test_restart_throws_the_old_run_away(run: Open) -> None:
    run().save("job", {}, {"step": 4})
    assert run(restart=True, epochs=9).load("job") is None
    run(epochs=9)


def test_where_nothing_can_be_written_the_work_goes_on(said: Said, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    run = Run(tmp_path / "file" / "m.unfinished", ARGUMENTS, restart=False, observer=said)
    run.save("job", {}, {})
    run.save("job", {}, {})
    assert len(said.lines) == 1
    assert said.lines[0].startswith("no checkpoints from here on: ")
    assert run.load("job") is None


# --- damaged ---

FEW_ARGUMENTS = {"--epochs": 8, "photos": "abc"}
JOB, ABOUT, TENSORS = ["top", 1], {"step": 4, "best": None}, {"w": torch.arange(1.0, 65.0), "n": torch.tensor(3)}


@pytest.fixture
def reopen(tmp_path: Path, listener: Any) -> Callable[..., Run]:
    return lambda **changed: Run(tmp_path / "run", {**FEW_ARGUMENTS, **changed}, restart=False, observer=listener)


def checkpoint(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "run").glob("*.safetensors")
    return path


def same(saved: Any) -> bool:
    return saved.about == ABOUT and all(torch.equal(saved.tensors[name], tensor) for name, tensor in TENSORS.items())


@damages
def test_a_damaged_checkpoint_counts_as_none(
    reopen: Callable[..., Run], tmp_path: Path, listener: Any, damage: Callable[[Path], None]
) -> None:
    reopen().save(JOB, TENSORS, ABOUT)
    assert same(reopen().load(JOB))
    path = checkpoint(tmp_path)
    damage(path)
    listener.heard.clear()
    again = reopen()
    assert again.load(JOB) is None
    assert not os.path.lexists(path)
    assert again.load(JOB) is None
    told = f"the checkpoint {path} is damaged: its part is done again"
    assert listener.said == [f"going on from the checkpoints in {tmp_path / 'run'}", told]
    again.save(JOB, TENSORS, ABOUT)
    assert same(reopen().load(JOB))


def test_every_byte_of_a_checkpoint_counts(reopen: Callable[..., Run], tmp_path: Path) -> None:
    first = reopen()
    first.save(JOB, TENSORS, ABOUT)
    path = checkpoint(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert first.load(JOB) is None, place
        assert not path.exists()
    path.write_bytes(whole)
    assert same(first.load(JOB))


@pytest.mark.parametrize("of", ["another job", "another run"])
def test_a_checkpoint_that_is_moved_is_not_taken(
    reopen: Callable[..., Run], tmp_path: Path, listener: Any, of: str
) -> None:
    reopen().save(JOB, TENSORS, ABOUT)
    own = checkpoint(tmp_path)
    other = Run(
        tmp_path / "other", FEW_ARGUMENTS if of == "another job" else {"--epochs": 9}, restart=False, observer=listener
    )
    other.save(["top", 2] if of == "another job" else JOB, {"w": torch.zeros(64), "n": torch.tensor(1)}, ABOUT)
    (foreign,) = (tmp_path / "other").glob("*.safetensors")
    foreign.replace(own)
    assert reopen().load(JOB) is None
    assert listener.said[-1] == f"the checkpoint {own} is damaged: its part is done again"


def test_the_digest_of_a_checkpoint_is_what_the_format_says(reopen: Callable[..., Run], tmp_path: Path) -> None:
    """Arguments, job, text, and shapes as JSON; then the bytes of the tensors by name."""
    reopen().save(JOB, TENSORS, ABOUT)
    path = checkpoint(tmp_path)
    text = '{"step": 4, "best": null}'
    shapes = '[["n", "torch.int64", []], ["w", "torch.float32", [64]]]'
    begin = f'[{{"--epochs": 8, "photos": "abc"}}, ["top", 1], {json.dumps(text)}, {shapes}]'
    values = struct.pack("<q", 3) + struct.pack("<64f", *range(1, 65))
    digest = hashlib.sha256(begin.encode() + values).hexdigest()
    with safe_open(path, framework="np") as file:
        assert file.metadata() == {"regraft": text, "sha256": digest}
    listed = '[{"--epochs": 8, "photos": "abc"}, ["top", 1], "[1]", []]'  # whole, but no dictionary
    save_file({}, path, {"regraft": "[1]", "sha256": hashlib.sha256(listed.encode()).hexdigest()})
    assert reopen().load(JOB) is None


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0),
        torch.tensor(True),
        torch.tensor([1.5, -2], dtype=torch.bfloat16),
        torch.arange(6).reshape(2, 3).T,
        torch.arange(16.0).reshape(1, 4, 2, 2).to(memory_format=torch.channels_last),
    ],
    ids=["no numbers", "one boolean", "bfloat16", "transposed", "channels last"],
)
def test_tensors_of_all_kinds_come_back(reopen: Callable[..., Run], listener: Any, tensor: torch.Tensor) -> None:
    reopen().save(JOB, {"t": tensor}, {})
    saved = reopen().load(JOB)
    assert saved is not None
    assert torch.equal(saved.tensors["t"], tensor)
    assert saved.tensors["t"].dtype == tensor.dtype


def test_a_checkpoint_that_may_not_be_read_stays(
    reopen: Callable[..., Run], tmp_path: Path, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    reopen().save(JOB, TENSORS, ABOUT)
    monkeypatch.setattr("regraft.training.checkpoints.safe_open", refuse)
    assert reopen().load(JOB) is None
    assert checkpoint(tmp_path).exists()
    assert not any("damaged" in line for line in listener.said)


LISTS: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "gone": lambda path: path.unlink(),
    "a number": lambda path: path.write_text("3"),
    "no arguments": lambda path: path.write_text("{}"),
    "arguments of no kind": lambda path: path.write_text('{"arguments": 5, "sha256": "x"}'),
    "without a digest": lambda path: path.write_text('{"arguments": {"--epochs": 8, "photos": "abc"}}'),
    "another number": lambda path: path.write_text(path.read_text().replace("8,", "9,", 1)),
    "nested deeply": lambda path: path.write_text("[" * 200_000),
    "a large text": lambda path: path.write_text("{" + " " * 2_000_000 + "}"),
}


@pytest.mark.parametrize("damage", LISTS.values(), ids=LISTS)
def test_damaged_arguments_let_nothing_foreign_in(
    reopen: Callable[..., Run], tmp_path: Path, listener: Any, damage: Callable[[Path], None]
) -> None:
    reopen().save(JOB, TENSORS, ABOUT)
    arguments = tmp_path / "run" / "arguments.json"
    whole = arguments.read_bytes()
    damage(arguments)
    assert same(reopen().load(JOB))
    assert listener.said == [f"{arguments} is damaged or gone: only checkpoints of this run are resumed"]
    assert arguments.read_bytes() == whole
    with pytest.raises(ResumeError, match="--epochs: 8 then, 9 now"):
        reopen(**{"--epochs": 9})
    damage(arguments)
    other = reopen(**{"--epochs": 9})
    assert other.load(JOB) is None
    with pytest.raises(ResumeError, match="--epochs: 9 then, 8 now"):
        reopen()


@pytest.mark.parametrize("depth", [300, 990, 5000])
def test_arguments_nested_as_deeply_as_can_be_read(reopen: Callable[..., Run], tmp_path: Path, depth: int) -> None:
    reopen().save(JOB, TENSORS, ABOUT)
    deep = '{"a": ' * depth + "1" + "}" * depth
    (tmp_path / "run" / "arguments.json").write_text(f'{{"arguments": {deep}, "sha256": "x"}}')
    assert same(reopen().load(JOB))


def test_a_fact_that_is_damaged_is_recorded_again(reopen: Callable[..., Run], tmp_path: Path) -> None:
    reopen().record_fact("engine", "engine (--engine)", "torch")
    path = checkpoint(tmp_path)
    zeroed(path)
    again = reopen()
    again.record_fact("engine", "engine (--engine)", "openvino")
    assert reopen().fact("engine") == "openvino"
