"""Runs: taken up by the same command, refused by name to another, and never in the way of the work."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

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
