"""Which photos show the same picture: looked at once, kept in the cache, joined in the data sets."""

import functools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch

from regraft.data.audit import check_contradictions, contradiction_lines, contradictions, positions_by_key
from regraft.data.dataset import Dataset
from regraft.data.near_duplicates import Pictures, join_parts, number_pictures
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.errors import shortlist
from regraft.features.extraction import Features, compute_once
from regraft.features.store import FeatureStore
from regraft.images.decoding import READING
from regraft.images.loading import load_batches
from regraft.images.perceptual_hash import (
    HASH_BYTES,
    KEY_BYTES,
    SIDE,
    THUMBNAIL,
    grey,
    perceptual_hashes,
    picture_keys,
)
from regraft.images.preprocess import Preprocess
from regraft.images.sources import Source
from regraft.progress import Observer, progress
from regraft.watchdog import watched

_SHOWN = 8  # pictures that are named
_VERSION = 1  # of keys and hashes, raised when they change: part of the cache's key


class _PictureEngine(Engine):
    """Pixels to picture keys and perceptual hashes, each byte a number: what the cache of vectors can hold."""

    name = "perceptual-hash"

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess

    def activations(self, pixels: np.ndarray) -> torch.Tensor:
        """Return (b, 64) float32 bytes of (b, 64, 64, 3) uint8 pixels."""
        return torch.from_numpy(np.concatenate([picture_keys(pixels), perceptual_hashes(pixels)], axis=1)).float()


def join_pictures(
    datasets: Sequence[Dataset], compute: Compute, observer: Observer, *, near: bool = True
) -> list[Dataset]:
    """Return the data sets with what their photos show; photos of one picture are named, and joined in `groups`.

    Args:
        datasets: photos of the same classes, which are compared with each other.
        compute: whose cache keeps what was found.
        observer: hears findings and progress.
        near: whether near-duplicates are looked for; False joins photos with equal pixels alone.

    Raises:
        DataError: photos with equal pixels stand under two classes.
    """
    sources = [source for dataset in datasets for source in dataset.samples.sources]
    keys, hashes = _look(datasets, sources, compute, observer)
    thumbnails = functools.partial(_thumbnails, sources, _thumbnail_of(datasets))
    with progress(observer, "comparing photos", len(sources)) as advance:
        numbers = number_pictures(keys, hashes, thumbnails, near=near, advance=advance)
    found = _with_pictures(datasets, Pictures(keys, hashes, numbers))
    _name_copies(found, observer)
    return found


def join_parts_of_pictures(
    datasets: Sequence[Dataset], features: Sequence[Features], observer: Observer
) -> list[Dataset]:
    """Return the data sets with photos that show parts of one scene joined, too: cut out, zoomed in, shifted.

    Args:
        datasets: what `join_pictures` gave.
        features: of each.
        observer: hears findings.
    """
    if any(dataset.pictures is None for dataset in datasets):
        return list(datasets)
    before = Pictures.joined([dataset.pictures for dataset in datasets if dataset.pictures is not None])
    sources = [source for dataset in datasets for source in dataset.samples.sources]
    with watched("comparing photos", observer.say):
        values = np.concatenate([one.values for one in features])
        numbers = join_parts(values, before.numbers, functools.partial(_thumbnails, sources, _thumbnail_of(datasets)))
    shared = [
        p for p in positions_by_key([n.tobytes() for n in numbers]).values() if len(np.unique(before.numbers[p])) > 1
    ]
    if not shared:
        return list(datasets)
    names = [" = ".join(str(sources[position]) for position in positions) for positions in shared]
    observer.say(
        f"{sum(map(len, shared)):,} photos show a part of what another one shows: cut out, zoomed in or shifted. "
        f"They stay on one side of every split, too:\n{shortlist(names, _SHOWN)}"
    )
    return _with_pictures(datasets, Pictures(before.keys, before.hashes, numbers))


def _with_pictures(datasets: Sequence[Dataset], pictures: Pictures) -> list[Dataset]:
    """Return data sets with what their photos show, one after the other in `pictures`."""
    starts = np.cumsum([0, *map(len, datasets)])
    return [
        replace(dataset, pictures=pictures.select(np.arange(start, start + len(dataset))), _folds={})
        for dataset, start in zip(datasets, starts.tolist(), strict=False)
    ]


def _thumbnail_of(datasets: Sequence[Dataset]) -> Preprocess:
    """Return how photos become thumbnails: those of more than 8 bits by the black and white of the data sets."""
    return replace(THUMBNAIL, ranges=datasets[0].ranges)


def _thumbnails(sources: Sequence[Source], preprocess: Preprocess, positions: np.ndarray) -> np.ndarray:
    """Return (k, 64, 64) luminances of `sources` at `positions` (k,); zeros for what cannot be decoded."""
    found = np.zeros((len(positions), SIDE, SIDE), dtype=np.float32)
    with closing(load_batches([sources[place] for place in positions], preprocess)) as batches:
        for batch in batches:
            found[batch.positions] = grey(batch.pixels)
    return found


def _look(
    datasets: Sequence[Dataset], sources: Sequence[Source], compute: Compute, observer: Observer
) -> tuple[np.ndarray, np.ndarray]:
    """Return picture keys (n, 32) and perceptual hashes (n, 32), zeros for photos that cannot be decoded."""
    about = {"architecture": _PictureEngine.name, "version": _VERSION, "reading": READING}
    preprocess = _thumbnail_of(datasets)
    about |= {"preprocess": preprocess.to_json()}
    dimension = KEY_BYTES + HASH_BYTES
    found = compute_once(
        sources,
        [key for dataset in datasets for key in dataset.keys],
        _PictureEngine(preprocess),
        FeatureStore(about, dimension, observer.say) if compute.cache else None,
        dimension=dimension,
        cache_limit=compute.cache_bytes if compute.cache else None,
        observer=observer,
        title="looking for copies",
    )
    values = found.values.astype(np.uint8)
    return values[:, :KEY_BYTES], values[:, KEY_BYTES:]


def _name_copies(datasets: Sequence[Dataset], observer: Observer) -> None:
    """Say which photos of a data set show one picture, and which of all stand under two classes.

    Raises:
        DataError: photos with equal pixels stand under two classes.
    """
    parts = [dataset.samples for dataset in datasets]
    pictures = [dataset.pictures for dataset in datasets if dataset.pictures is not None]
    check_contradictions(parts, [tuple(key.tobytes() if key.any() else b"" for key in one.keys) for one in pictures])
    numbers = [tuple(number.tobytes() for number in one.numbers) for one in pictures]
    for samples, of_photos in zip(parts, numbers, strict=True):
        shared = [positions for positions in positions_by_key(of_photos).values() if len(positions) > 1]
        if shared:
            names = [" = ".join(str(samples.sources[position]) for position in positions) for positions in shared]
            observer.say(
                f"{sum(map(len, shared)):,} of {len(samples):,} photos in {samples.where} show the same picture as "
                f"another of them: copies, or saved again, resized, mirrored, turned or edited. The photos of one "
                f"picture stay on one side of every split:\n{shortlist(names, _SHOWN)}"
            )
    across = contradictions(parts, numbers)
    if across:
        observer.say(
            f"of these, {len(across):,} stand under more than one class. Look whether their labels are right:\n"
            f"{shortlist(contradiction_lines(parts, across))}"
        )
