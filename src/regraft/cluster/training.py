"""`fit` by workers of a Ray cluster, which train together; the classifier's file comes back as bytes."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.classifier.bundle import save_bundle
from regraft.classifier.record import FitRecord
from regraft.cluster.ray_train import train_together
from regraft.cluster.shared_photos import SharedPhotos
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import OptionError, option
from regraft.evaluation.report import Report
from regraft.explain.fit_report import FitPages, pages_of_fit
from regraft.files import atomic_write, remove
from regraft.networks.backbone import Backbone
from regraft.progress import Observer
from regraft.transfer.fit import fit
from regraft.transfer.held_out import HeldOutAnswers
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import AUTO, STRATEGIES


@dataclass(frozen=True, eq=False)
class ClusterFit:
    """What `fit_on_workers` gave: of a `FitResult` what is small.

    Attributes:
        file: the classifier's, whole.
        record: how it was made, and its figures.
        held_out: the photos that evaluated the classifier, and what they were answered.
        pages: the report, if it was asked for.
        folder: where checkpoints lie.
    """

    file: bytes
    record: FitRecord
    held_out: HeldOutAnswers
    pages: FitPages | None = None
    folder: Path | None = None

    @property
    def report(self) -> Report:
        """Return the figures."""
        return self.held_out.report

    @property
    def evaluated(self) -> Dataset:
        """Return the photos that evaluated the classifier."""
        return self.held_out.dataset

    @property
    def writes(self) -> bool:
        """Return that this process writes the result."""
        return True

    def save(self, path: Path) -> None:
        """Write the classifier's file, whole or not at all, and remove its checkpoints.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_write(path) as temporary:
            temporary.write_bytes(self.file)
        if self.folder is not None:
            remove(self.folder)


def fit_on_workers(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    *,
    workers: int,
    model: str,
    settings: FitSettings,
    compute: Compute,
    observer: Observer,
    folder: Path | None = None,
    joined: Sequence[Callable[[], Backbone]] = (),
    units: int | None = None,
) -> ClusterFit:
    """Train a classifier as `fit` does, by workers of the cluster that `compute.on` names.

    Args:
        splits: as of `fit`; every worker must see the photos under the same names.
        load: likewise, picklable; called in each worker.
        workers: how many.
        model: as of `fit`.
        settings: likewise; of a strategy that is named.
        compute: likewise.
        observer: likewise.
        folder: likewise, on a file system that all machines share.
        joined: likewise, picklable.
        units: to show of each stage in the report; None for no report.

    Raises:
        ClusterError: workers die again and again, or the cluster is gone.
        DataError: a worker does not see the photos; and as of `fit`.
        OptionError, ResumeError, TrainingError, SanityError: as of `fit`.
    """
    if settings.strategy == AUTO:
        raise OptionError(
            f"{option('strategy', AUTO)} tries what it can within a time, of which each worker has its own. Name a "
            f"strategy with {option('workers')}: {', '.join(STRATEGIES)}."
        )
    if settings.restart and folder is not None:  # here, and once: workers that are started again are to resume
        remove(folder)
    settings = replace(settings, restart=False)
    work = _Fit(SharedPhotos.of(splits), (load, *joined), model, settings, units)
    found = train_together(work, workers=workers, compute=compute, observer=observer, folder=folder)
    assert found is not None  # of the first worker
    return replace(found, folder=folder)


@dataclass(frozen=True, eq=False)
class _Fit:
    """What each worker does.

    Attributes:
        photos: of all splits.
        loaders: of all networks.
        model, settings, units: as of `fit_on_workers`.
    """

    photos: SharedPhotos
    loaders: tuple[Callable[[], Backbone], ...]
    model: str
    settings: FitSettings
    units: int | None

    def __call__(self, compute: Compute, observer: Observer, folder: Path | None) -> ClusterFit | None:
        """Do a worker's part; the first returns the result."""
        processes = compute.together().processes
        self.photos.check(processes)
        load, *joined = self.loaders
        trained = fit(
            self.photos.splits,
            load,
            model=self.model,
            settings=self.settings,
            compute=compute,
            observer=observer,
            folder=folder,
            joined=joined,
        )
        if self.units is not None:
            observer.say("making the report")
        if not trained.writes:
            return None
        with tempfile.TemporaryDirectory(prefix="regraft-") as own:
            path = Path(own) / "classifier.safetensors"
            save_bundle(trained.classifier, path)
            file = path.read_bytes()
        pages = None if self.units is None else pages_of_fit(trained, units=self.units, compute=compute)
        return ClusterFit(file, trained.record, trained.held_out, pages)
