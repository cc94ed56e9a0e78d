"""Runs that can be killed: what is done is kept beside the result, and the same command resumes it.

Every checkpoint holds a digest of itself, its job and the run's arguments: one that has changed since it was written,
or belongs to another run, is dropped, and that part is done again.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from regraft.cache import LARGEST_TEXT
from regraft.errors import OutputError, ResumeError, option
from regraft.files import atomic_write, is_file, json_or_none, read_regular, remove, sha256
from regraft.processes import ALONE, ProcessGroup
from regraft.progress import Observer

if TYPE_CHECKING:
    import torch

SUFFIX = ".unfinished"  # of the folder beside the result
_ARGUMENTS = "arguments.json"
_KEY, _DIGEST = "regraft", "sha256"  # entries of a checkpoint's metadata


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Tensors by name, and values in JSON types by name."""

    tensors: dict[str, "torch.Tensor"]
    about: dict[str, Any]


class Run:
    """The unfinished work on one result. The first checkpoint makes the folder, and `finish` removes it.

    Args:
        folder: where checkpoints lie; None keeps none.
        arguments: all that the result depends on, by the name that the user knows, in JSON types.
        restart: remove what lies there.
        observer: hears that work is resumed, which checkpoints are damaged, or that none can be written.
        processes: that do the work together: the first one keeps checkpoints, and gives the others what it reads.

    Raises:
        ResumeError: what lies there was started with other arguments; each is named.
    """

    def __init__(
        self,
        folder: Path | None,
        arguments: Mapping[str, Any],
        *,
        restart: bool,
        observer: Observer,
        processes: ProcessGroup = ALONE,
    ) -> None:
        self._keeps, self._processes = folder is not None, processes
        folder = self._folder = folder if processes.writes else None
        self._arguments = json.loads(json.dumps(dict(arguments)))  # as they will be read back
        self._observer = observer
        if folder is None:
            return
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        before = _read_arguments(folder)
        if before is None:
            if os.path.lexists(folder / _ARGUMENTS) or any(folder.glob("*.safetensors")):
                observer.say(f"{folder / _ARGUMENTS} is damaged or gone: only checkpoints of this run are resumed")
                remove(folder / _ARGUMENTS)
                self._keep(_ARGUMENTS, self._arguments_file())
            return
        differing = [name for name in {**before, **self._arguments} if before.get(name) != self._arguments.get(name)]
        if differing:
            raise self._differs({name: (before.get(name), self._arguments.get(name)) for name in differing})
        observer.say(f"going on from the checkpoints in {folder}")

    def load(self, job: object) -> Checkpoint | None:
        """Return what was last saved of `job` (a name in JSON types), None if nothing was or it is damaged."""
        return self._processes.first(lambda: self._load(job)) if self._keeps else None

    def _load(self, job: object) -> Checkpoint | None:
        if self._folder is None:
            return None
        path = self._folder / _file_of(job)
        try:
            found = self._read(path, job) if is_file(path) else None
        except OSError:  # it may not be read
            return None
        if found is None and os.path.lexists(path):
            remove(path)
            self._observer.say(f"the checkpoint {path} is damaged: its part is done again")
        return found

    def save(self, job: object, tensors: Mapping[str, "torch.Tensor"], about: Mapping[str, Any]) -> None:
        """Write the checkpoint of `job`, whole or not at all. Where that is impossible, the work goes on without."""
        if self._folder is None:
            return
        from safetensors.torch import save

        with contextlib.suppress(OSError):  # if it fails, so does the write below, which says why
            self._folder.mkdir(exist_ok=True)
        if not is_file(self._folder / _ARGUMENTS):
            self._keep(_ARGUMENTS, self._arguments_file())
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(dict(about))
        self._keep(_file_of(job), save(contiguous, {_KEY: text, _DIGEST: self._digest(job, text, contiguous)}))

    def _keep(self, name: str, data: bytes) -> None:
        if self._folder is None:
            return
        try:
            with atomic_write(self._folder / name) as temporary:
                temporary.write_bytes(data)
        except OutputError as error:
            self._folder = None
            self._observer.say(f"no checkpoints from here on: {error}")

    def _read(self, path: Path, job: object) -> Checkpoint | None:
        """Return what `save` wrote into the file of `job`, None if it is anything else."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                text = metadata.get(_KEY, "")
                # copies: the tensors are parts of the file, which Windows could not replace by the next checkpoint
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            whole = metadata.get(_DIGEST) == self._digest(job, text, tensors)
        except (SafetensorError, RuntimeError, TypeError, ValueError):  # of torch, for what it cannot hold
            return None
        about = json_or_none(text) if whole else None
        return Checkpoint(tensors, about) if isinstance(about, dict) else None

    def _digest(self, job: object, text: str, tensors: Mapping[str, "torch.Tensor"]) -> str:
        """Return the SHA-256 of the run's arguments, the job, its values, and all bytes of its tensors."""
        import torch

        ordered = sorted(tensors.items())
        shapes = [[name, str(tensor.dtype), list(tensor.shape)] for name, tensor in ordered]
        digest = hashlib.sha256(json.dumps([self._arguments, job, text, shapes], sort_keys=True).encode())
        for _, tensor in ordered:
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _arguments_file(self) -> bytes:
        """Return the contents of the file of arguments, with their digest."""
        return json.dumps({_DIGEST: _digest_of(self._arguments), "arguments": self._arguments}, indent=1).encode()

    def record_fact(self, job: object, name: str, value: str) -> None:
        """Keep a fact that was found during the work, and that the rest of the work depends on.

        Args:
            job: the name of the fact in JSON types.
            name: that the user knows it by.
            value: as it is now.

        Raises:
            ResumeError: it was another one when the run was started.
        """
        before = self.fact(job)
        if before is None:
            self.save(job, {}, {"value": value})
        elif before != value:
            raise self._differs({name: (before, value)})

    def fact(self, job: object) -> str | None:
        """Return what `record_fact` has kept of `job`, None if nothing yet."""
        saved = self.load(job)
        return None if saved is None else str(saved.about["value"])

    def finish(self) -> None:
        """Remove the checkpoints: the result is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _differs(self, differing: Mapping[str, tuple[Any, Any]]) -> ResumeError:
        lines = [f"  {name}: {then!r} then, {now!r} now" for name, (then, now) in differing.items()]
        return ResumeError(
            f"{self._folder} holds an unfinished run that was started differently:\n" + "\n".join(lines) + "\n"
            f"Start it with the same arguments and photos to resume it, or with "
            f"{option('restart', True)} to begin anew."
        )


def run_folder(result: Path) -> Path:
    """Return the folder of the unfinished work on `result`."""
    result = result.resolve() if not result.name else result  # "." has no name of its own
    return result.with_name(result.name + SUFFIX)


def nowhere() -> Run:
    """Return a run that keeps no checkpoints."""
    return Run(None, {}, restart=False, observer=Observer())


def _read_arguments(folder: Path) -> dict[str, Any] | None:
    """Return the arguments that lie in `folder`, None if there are none or they are damaged."""
    try:
        found = json_or_none(read_regular(folder / _ARGUMENTS, limit=LARGEST_TEXT))
        arguments = found["arguments"] if isinstance(found, dict) else None
        whole = isinstance(arguments, dict) and found[_DIGEST] == _digest_of(arguments)
    except (OSError, KeyError, RecursionError):  # RecursionError: nested as deeply as can just be read
        return None
    return arguments if whole else None


def _digest_of(arguments: dict[str, Any]) -> str:
    return sha256(json.dumps(arguments, sort_keys=True).encode()).hex()


def _file_of(job: object) -> str:
    return f"{sha256(json.dumps(job).encode()).hex()[:24]}.safetensors"
