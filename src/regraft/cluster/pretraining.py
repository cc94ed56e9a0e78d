"""`pretrain` by workers of a Ray cluster, which train together; the network's files come back as bytes."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regraft.cluster.ray_train import train_together
from regraft.cluster.shared_photos import SharedPhotos
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.evaluation.report import Report
from regraft.files import atomic_write, remove, write_failure
from regraft.networks.backbone import Backbone
from regraft.pretraining.model_card import WRITTEN, training_json, write_network
from regraft.pretraining.pretrain import pretrain
from regraft.pretraining.teacher import DistillationSettings
from regraft.progress import Observer
from regraft.transfer.settings import FitSettings


@dataclass(frozen=True, eq=False)
class ClusterPretraining:
    """What `pretrain_on_workers` gave.

    Attributes:
        files: of the network and its card, by name.
        report: on the validation photos.
        about: arguments, curve and figures in JSON types.
        folder: where checkpoints lie.
    """

    files: Mapping[str, bytes]
    report: Report
    about: dict[str, Any]
    folder: Path | None = None

    def save(self, folder: Path) -> None:
        """Write the files, each whole or not at all, into `folder`, which is made; remove the checkpoints.

        Raises:
            OutputError: one cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_failure(folder, error) from None
        for name, data in self.files.items():
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(data)
        if self.folder is not None:
            remove(self.folder)


def pretrain_on_workers(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    *,
    workers: int,
    name: str,
    settings: FitSettings,
    compute: Compute,
    distillation: DistillationSettings | None,
    half: bool,
    licence: str | None,
    observer: Observer,
    folder: Path | None,
) -> ClusterPretraining:
    """Train a network as `pretrain` does, by workers of the cluster that `compute.on` names.

    Args:
        splits: as of `pretrain`; every worker must see the photos under the same names.
        load: likewise, picklable; called in each worker.
        workers: how many.
        name: of the network, for its card.
        settings, compute, distillation, half, observer: as of `pretrain`.
        licence: of the weights; None for that of the network that training started from.
        folder: as of `pretrain`, on a file system that all machines share.

    Raises:
        ClusterError: workers die again and again, or the cluster is gone.
        DataError, OptionError, ResumeError, TrainingError: as of `pretrain`.
    """
    if settings.restart and folder is not None:  # here, and once: workers that are started again are to resume
        remove(folder)
    settings = replace(settings, restart=False)
    work = _Pretraining(SharedPhotos.of(splits), load, name, settings, distillation, half, licence)
    found = train_together(work, workers=workers, compute=compute, observer=observer, folder=folder)
    assert found is not None  # of the first worker
    return replace(found, folder=folder)


@dataclass(frozen=True, eq=False)
class _Pretraining:
    """What each worker does. Attributes: as of `pretrain_on_workers`."""

    photos: SharedPhotos
    load: Callable[[], Backbone]
    name: str
    settings: FitSettings
    distillation: DistillationSettings | None
    half: bool
    licence: str | None

    def __call__(self, compute: Compute, observer: Observer, folder: Path | None) -> ClusterPretraining | None:
        """Do a worker's part; the first returns the result."""
        self.photos.check(compute.together().processes)
        found = pretrain(
            self.photos.splits,
            self.load,
            settings=self.settings,
            compute=compute,
            distillation=self.distillation,
            half=self.half,
            observer=observer,
            folder=folder,
        )
        if not found.writes:
            return None
        with tempfile.TemporaryDirectory(prefix="regraft-") as own:
            place = Path(own) / self.name
            write_network(found, place, half=self.half, licence=self.licence)
            files = {name: (place / name).read_bytes() for name in WRITTEN}
        return ClusterPretraining(files, found.report, training_json(found))
