"""Features of several networks side by side: each sees the photos in its own size, one last layer sees all."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from regraft.data.audit import check_share_unreadable
from regraft.data.dataset import Dataset
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.engines.kinds import AUTO, REFERENCE
from regraft.engines.workload import EngineChoice, SharedChoice
from regraft.errors import EngineError, option, shortlist
from regraft.features.extraction import FeatureExtractor, Features
from regraft.features.network_pass import photos_of_batch
from regraft.features.shares import in_shares
from regraft.images.sources import Source
from regraft.images.tta import NONE, TTA
from regraft.networks.backbone import Backbone
from regraft.processes import ProcessGroup
from regraft.progress import Observer


class JointExtractor:
    """Runs photos through one network or several. Keeps their engines. See `FeatureExtractor`.

    Args:
        backbones: the networks.
        compute: device, engine, batch size and cache.
        observer: hears what was found, and the progress.
        earlier: of each network, as of `FeatureExtractor`.
        tta: features are the means over these views of a photo, a row of `images.tta.TTA`.
    """

    def __init__(
        self,
        backbones: Sequence[Backbone],
        compute: Compute,
        observer: Observer | None = None,
        *,
        earlier: Sequence[EngineChoice | None] = (),
        tta: str = NONE,
    ) -> None:
        self._observer, self._tta, self._compute = observer or Observer(), tta, compute
        self._extractors = [
            FeatureExtractor(backbone, compute, self._observer, earlier=earlier[place] if earlier else None)
            for place, backbone in enumerate(backbones)
        ]

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """Return the networks."""
        return tuple(extractor.backbone for extractor in self._extractors)

    def choose(
        self,
        sources: Sequence[Source],
        keys: Sequence[bytes],
        labels: np.ndarray | None = None,
        *,
        photos: int | None = None,
    ) -> list[Engine]:
        """Return the engines that are kept, one of each network. See `FeatureExtractor.choose`.

        Of several processes the first one chooses, and the others find in the cache what it has converted and compared.
        """
        processes = self._compute.processes
        engines: list[Engine] = []
        failure: EngineError | None = None
        with processes.first_process_first():
            try:
                engines = [extractor.choose(sources, keys, labels, photos=photos) for extractor in self._extractors]
            except EngineError as error:
                failure = error
        if failures := [one for one in processes.gather(failure) if one is not None]:  # all end, or all go on
            raise failure or failures[0]
        check_same_engines([engine.name for engine in engines], processes)
        return engines

    @property
    def choices(self) -> tuple[SharedChoice, ...]:
        """Return the engine of each network, for all processes that work for this one, once they are chosen."""
        return tuple(extractor.choice for extractor in self._extractors)

    def extract(
        self,
        sources: Sequence[Source],
        keys: Sequence[bytes],
        labels: np.ndarray | None = None,
        *,
        photos: int | None = None,
    ) -> Features:
        """Return the features of `sources` (n), network by network: (n, their widths together).

        `photos` is as of `extraction.extract`.
        """
        parts = TTA[self._tta].parts
        return mean_features(self.extract_parts(sources, keys, labels, parts=parts, photos=photos), self._tta)

    def extract_parts(
        self,
        sources: Sequence[Source],
        keys: Sequence[bytes],
        labels: np.ndarray | None = None,
        *,
        parts: Sequence[str],
        photos: int | None = None,
    ) -> dict[str, Features]:
        """Return the features of views of `sources` (n), by part of `tta.PARTS`. See `FeatureExtractor`."""
        total = len(keys) if photos is None else photos
        # of all photos, before each process asks for its own part alone
        self.choose(sources, keys, labels, photos=photos)

        def part_of(extractor: FeatureExtractor, own: Sequence[int]) -> dict[str, Features]:
            some = [sources[place] for place in own], [keys[place] for place in own]
            return extractor.extract_parts(*some, parts=parts, photos=total)

        processes, size = self._compute.processes, photos_of_batch(parts, self._compute.batch_size)
        each = [
            in_shares(keys, processes, functools.partial(part_of, extractor), batch_size=size)
            for extractor in self._extractors
        ]
        return {part: _side_by_side([one[part] for one in each]) for part in parts}

    def of_dataset(self, dataset: Dataset, *, labelled: bool = True) -> tuple[Dataset, Features]:
        """Return the photos of `dataset` that can be decoded, and their features; name the others, all at once.

        Args:
            dataset: what headers say can be read.
            labelled: False where engines cannot be compared by class.

        Raises:
            DataError: more than a tenth cannot be read.
        """
        dataset, parts = self.parts_of_dataset(dataset, TTA[self._tta].parts, labelled=labelled)
        return dataset, mean_features(parts, self._tta)

    def parts_of_dataset(
        self, dataset: Dataset, parts: Sequence[str], *, labelled: bool = True
    ) -> tuple[Dataset, dict[str, Features]]:
        """Return the photos of `dataset` that can be decoded, and the features of parts of their views by name.

        See `of_dataset`.
        """
        sources, labels = dataset.samples.sources, dataset.labels if labelled else None
        found = self.extract_parts(sources, dataset.keys, labels, parts=parts)
        features = found[parts[0]]
        readable = dataset.without(features.unreadable)
        lost, count = readable.unreadable, len(readable) + len(readable.unreadable)
        check_share_unreadable(readable.samples.where, [str(photo) for photo in lost], count)
        if lost:
            self._observer.say(
                f"{len(lost):,} of {count:,} images cannot be read and are left out:\n{shortlist(lost, len(lost))}"
            )
        if features.unreadable:
            kept = np.delete(np.arange(len(dataset)), sorted(features.unreadable))
            found = {part: one.keep(kept) for part, one in found.items()}
        return readable, found


def features_of_trained(
    backbone: Backbone, dataset: Dataset, compute: Compute, observer: Observer, *, tta: str
) -> Features:
    """Return the features of photos by a network that was just trained. Their engine alone may not lose the training.

    Args:
        backbone: the network.
        dataset: the photos.
        compute: how to run it. An engine that is named is one that agreed for the network as it was before.
        observer: hears of another engine, where that does not agree for the trained one, and the progress.
        tta: as of `JointExtractor`.

    Raises:
        EngineError: no engine can run it.
    """
    given = dataset.samples.sources, dataset.keys, dataset.labels
    extractor = JointExtractor([backbone], compute, observer, tta=tta)
    try:
        extractor.choose(*given)
        if compute.processes.count == 1:  # several would have to agree on what fails later
            return extractor.extract(*given)
    except EngineError as error:
        if compute.engine in (AUTO, REFERENCE):
            raise
        observer.say(f"{option('engine', REFERENCE)} runs the trained network: {error}")
        extractor = JointExtractor([backbone], replace(compute, engine=REFERENCE), observer, tta=tta)
    return extractor.extract(*given)


def check_same_engines(names: Sequence[str], processes: ProcessGroup) -> None:
    """Raise `EngineError` unless all processes have chosen these engines: features of others differ a little."""
    found = processes.gather(list(names))
    if any(one != found[0] for one in found):
        shown = "; ".join(f"process {rank}: {' + '.join(one)}" for rank, one in enumerate(found))
        raise EngineError(
            f"the processes that train together run the network by different engines ({shown}), which give slightly "
            f"different features. Start them on machines of one kind, or name one: {option('engine', 'torch-float32')}."
        )


def mean_features(parts: Mapping[str, Features], tta: str) -> Features:
    """Return the features of photos: the means over the views of `tta`, a row of `tta.TTA`, of parts by name."""
    first = parts[TTA[tta].parts[0]]
    return replace(first, values=TTA[tta].mean({name: part.values for name, part in parts.items()}))


def _side_by_side(parts: Sequence[Features]) -> Features:
    """Return the features (n, widths together) of several networks."""
    if len(parts) == 1:
        return parts[0]
    return Features(
        values=np.concatenate([part.values for part in parts], axis=1),
        engine=" + ".join(part.engine for part in parts),
        unreadable={place: reason for part in parts for place, reason in part.unreadable.items()},
        computed=max(part.computed for part in parts),
        seconds=sum(part.seconds for part in parts),
        flat=tuple(sorted({place for part in parts for place in part.flat})),
    )
