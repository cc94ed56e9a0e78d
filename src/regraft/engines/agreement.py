"""How an engine's outputs agree with the reference's, and the verdicts on disk that save a second comparison."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from regraft.engines.kinds import ENGINE_KINDS, OF_GRAPH, REFERENCE, EngineKind
from regraft.engines.workload import Workload
from regraft.files import atomic_write, parse_json, read_regular, remove, sha256

_LONGEST_VERDICT = 10_000  # bytes


@dataclass(frozen=True)
class Agreement:
    """How an engine's outputs agree with those of the reference on the same photos.

    Attributes:
        mean: cosine similarity of a photo's two outputs, averaged.
        lowest: that of the photo that agrees least.
        photos: how many were compared.
        reference: the kind of the engine that they were compared with.
    """

    mean: float
    lowest: float
    photos: int
    reference: str = REFERENCE

    @classmethod
    def of(
        cls, found: np.ndarray, expected: np.ndarray, widths: Sequence[int] = (), *, reference: str = REFERENCE
    ) -> "Agreement":
        """Compare (n, ...) outputs. Two zeros agree; values that are not finite agree with nothing.

        Args:
            found: what an engine gives.
            expected: what the reference gives.
            widths: of parts of (n, d) outputs, each of which must agree: of all the least agreement counts.
            reference: its kind.
        """
        if widths:
            ends = np.cumsum(widths)
            parts = [
                cls.of(found[:, end - w : end], expected[:, end - w : end]) for w, end in zip(widths, ends, strict=True)
            ]
            return cls(min(part.mean for part in parts), min(part.lowest for part in parts), len(found), reference)
        a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (found, expected))
        both_zero = ~a.any(axis=1) & ~b.any(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines = np.where(both_zero, 1.0, np.sum(a * b, axis=1) / lengths)
        cosines = np.nan_to_num(cosines, nan=-1.0)
        return cls(float(cosines.mean()), float(cosines.min()), len(cosines), reference)

    def suffices(self, kind: EngineKind) -> bool:
        """Tell whether an engine of this `kind` may be used."""
        cosine = self.lowest if kind.precision.every_photo else self.mean
        return kind.precision.least_cosine <= cosine <= 1.0 + 1e-9

    def __str__(self) -> str:
        """Return one clause for people."""
        return f"cosine to {self.reference} on {self.photos} photos: mean {self.mean:.4f}, lowest {self.lowest:.4f}"


def reference_of(workload: Workload) -> EngineKind:
    """Return what the others are compared with: PyTorch, or what runs a graph that was compared with it."""
    kind = ENGINE_KINDS[REFERENCE if workload.graph is None else OF_GRAPH]
    return kind if kind.obstacle(workload.device) is None else ENGINE_KINDS[REFERENCE]


UNABLE = Agreement(-1.0, -1.0, 0)  # the verdict on an engine that cannot run the network at all


def read_verdict(workload: Workload, engine: str) -> Agreement | None:
    """Return the stored agreement of `engine` on these photos, `UNABLE` if it cannot run the network, None if unknown.

    A damaged file is removed, which is reported.
    """
    for unable in (True, False):
        file = _verdict_file(workload, engine, unable=unable)
        if file is None:
            return None
        try:
            stored = parse_json(read_regular(file, limit=_LONGEST_VERDICT))
            found = Agreement(float(stored["mean"]), float(stored["lowest"]), int(stored["photos"]))
            found = found if unable else replace(found, reference=reference_of(workload).name)
            if stored["check"] == _check_of(file, found) and (found == UNABLE) is unable:
                return found
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            pass
        workload.say(f"the verdict on {engine} in {file} is damaged: the engine is checked again")
        remove(file)
    return None


def write_verdict(workload: Workload, engine: str, found: Agreement) -> None:
    """Store the agreement of `engine`, unless nothing is kept or it cannot be written."""
    file = _verdict_file(workload, engine, unable=found == UNABLE)
    if file is None:
        return
    with contextlib.suppress(OSError):  # then it is checked again the next time
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps({**_numbers(found), "check": _check_of(file, found)}), encoding="utf-8")


def _verdict_file(workload: Workload, engine: str, *, unable: bool) -> Path | None:
    """Return the file of a verdict on `engine`: on these photos, or that it can run the network on none."""
    graph = None if reference_of(workload).name == REFERENCE else workload.graph
    of_graph = "" if graph is None else f"-graph-{graph.digest[:16]}"
    part = f"{'unable' if unable else workload.check.digest}{of_graph}"
    return None if workload.folder is None else workload.folder / f"{engine}-{part}.json"


def _numbers(found: Agreement) -> dict[str, float]:
    return {"mean": found.mean, "lowest": found.lowest, "photos": found.photos}


def _check_of(file: Path, found: Agreement) -> str:
    """Return a digest of a verdict and its place."""
    return sha256(f"{file.parent.name} {file.name} {_numbers(found)}".encode()).hex()
