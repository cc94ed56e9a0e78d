"""Runs that can be killed: what is done is kept beside the result and taken up again by the same command."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from regraft.errors import OutputError, ResumeError
from regraft.files import atomic_write, sha256
from regraft.learn.observer import Observer

SUFFIX = ".unfinished"  # of the folder beside the result
_ARGUMENTS = "arguments.json"
_KEY = "regraft"


@dataclass(frozen=True, eq=False)
class Saved:
    """Tensors by name, and JSON types."""

    tensors: dict[str, torch.Tensor]
    about: dict[str, Any]


class Run:
    """The unfinished work on one result. The folder comes to be with the first checkpoint, and goes with `finish`.

    Args:
        folder: where checkpoints lie; None keeps none.
        arguments: all that the result depends on, by the name that a user knows, in JSON types.
        restart: throw away what lies there.
        observer: hears that work is taken up, or that checkpoints cannot be written.

    Raises:
        ResumeError: what lies there was started with other arguments; each is named.
    """

    def __init__(self, folder: Path | None, arguments: Mapping[str, Any], *, restart: bool, observer: Observer) -> None:
        self._folder = folder
        self._arguments = json.loads(json.dumps(dict(arguments)))  # as they will be read back
        self._observer = observer
        if folder is None:
            return
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        before = _read_arguments(folder)
        if before is None:
            return
        differing = [name for name in {**before, **self._arguments} if before.get(name) != self._arguments.get(name)]
        if differing:
            raise self._otherwise({name: (before.get(name), self._arguments.get(name)) for name in differing})
        observer.say(f"going on from the checkpoints in {folder}")

    def load(self, job: object) -> Saved | None:
        """Return what was last saved of `job` (a name in JSON types), None if nothing was."""
        if self._folder is None:
            return None
        try:
            with safe_open(self._file(job), framework="pt") as file:
                about = json.loads((file.metadata() or {})[_KEY])
                return Saved({name: file.get_tensor(name) for name in file.keys()}, about)  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def save(self, job: object, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
        """Keep what `job` has come to, whole or not at all. Where that is impossible, the work goes on without."""
        if self._folder is None:
            return
        try:
            with contextlib.suppress(OSError):  # if it fails, so does the write below, which says why
                self._folder.mkdir(exist_ok=True)
            if not (self._folder / _ARGUMENTS).exists():
                with atomic_write(self._folder / _ARGUMENTS) as temporary:
                    temporary.write_text(json.dumps(self._arguments, indent=1))
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            data = save(contiguous, {_KEY: json.dumps(dict(about))})
            with atomic_write(self._file(job)) as temporary:
                temporary.write_bytes(data)
        except OutputError as error:
            self._folder = None
            self._observer.say(f"no checkpoints from here on: {error}")

    def settle(self, job: object, name: str, value: str) -> None:
        """Keep `value`, which turned out in the course of the work and on which the rest of it rests.

        Args:
            job: the name of this fact in JSON types.
            name: what a user knows it by.
            value: as it is now.

        Raises:
            ResumeError: it was another one when the run was started.
        """
        before = self.settled(job)
        if before is None:
            self.save(job, {}, {"value": value})
        elif before != value:
            raise self._otherwise({name: (before, value)})

    def settled(self, job: object) -> str | None:
        """Return what `settle` has kept of `job`, None if nothing yet."""
        saved = self.load(job)
        return None if saved is None else str(saved.about["value"])

    def finish(self) -> None:
        """Remove the checkpoints: the result is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _otherwise(self, differing: Mapping[str, tuple[Any, Any]]) -> ResumeError:
        lines = [f"  {name}: {then!r} then, {now!r} now" for name, (then, now) in differing.items()]
        return ResumeError(
            f"{self._folder} holds an unfinished run that was started otherwise:\n" + "\n".join(lines) + "\n"
            "Start it with the same arguments and photos to go on, or with --restart to begin anew."
        )

    def _file(self, job: object) -> Path:
        assert self._folder is not None
        return self._folder / f"{sha256(json.dumps(job).encode()).hex()[:24]}.safetensors"


def run_folder(result: Path) -> Path:
    """Return the folder of the unfinished work on `result`."""
    result = result.resolve() if not result.name else result  # "." has no name of its own
    return result.with_name(result.name + SUFFIX)


def nowhere() -> Run:
    """Return a run that keeps nothing."""
    return Run(None, {}, restart=False, observer=Observer())


def _read_arguments(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / _ARGUMENTS).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
