"""Which photos show the same picture: looked at once, kept in the cache, joined in the data sets."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from regraft.data.audit import check_contradictions, contradiction_lines, contradictions, positions_by_key
from regraft.data.dataset import Dataset
from regraft.data.near_duplicates import Pictures, number_pictures
from regraft.data.samples import Samples
from regraft.data.scene_parts import join_parts
from regraft.engines.compute import Compute
from regraft.engines.engine import Engine
from regraft.errors import shortlist
from regraft.features.extraction import Features, compute_once
from regraft.features.passes import ClusterPass, EnginePass, PassThere, PhotoPass
from regraft.features.shares import in_shares
from regraft.features.store import FeatureStore
from regraft.images.colours import COLOURS, mean_colours
from regraft.images.decoding import READING
from regraft.images.measures import LOOK, MEASURES, measure
from regraft.images.perceptual_hash import (
    HASH_BYTES,
    KEY_BYTES,
    SIDE,
    THUMBNAIL,
    grey,
    margin_hashes,
    perceptual_hashes,
    picture_keys,
)
from regraft.images.preprocess import Preprocess
from regraft.images.resizing import PILLOW
from regraft.images.sources import Source
from regraft.images.value_range import Ranges
from regraft.progress import Observer, progress
from regraft.ray_workers import RayWorkers
from regraft.runtime import BATCH_SIZE
from regraft.watchdog import watched

_MANY = 5000  # photos whose comparison takes seconds
_PATIENCE = 5  # of an audit, which takes longer to look: see `join_parts`
_SHOWN = 8  # pictures that are named
_PACKED = -(-SIDE * SIDE // 3)  # numbers that hold a thumbnail
_VERSION = 4  # of keys, hashes and colours, raised when they change: part of the cache's key


class _PixelEngine(Engine):
    """Runs a function of pixels, no network: (b, 64, 64, 3) uint8 to (b, dimension) float32."""

    def __init__(
        self, name: str, work: Callable[[np.ndarray], np.ndarray], dimension: int, preprocess: Preprocess
    ) -> None:
        self.name, self.dimension, self.preprocess = name, dimension, preprocess
        self._work = work

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return (b, dimension) of (b, 64, 64, 3) uint8 pixels."""
        return self._work(pixels).astype(np.float32)


def _keys_and_hashes(pixels: np.ndarray) -> np.ndarray:
    """Return (b, 101) numbers: bytes of picture keys, perceptual hashes, and those without margins; mean colours."""
    found = [picture_keys(pixels), perceptual_hashes(pixels), margin_hashes(pixels), mean_colours(pixels)]
    return np.concatenate(found, axis=1)


def _thumbnails(pixels: np.ndarray) -> np.ndarray:
    """Return (b, 1366) luminances, three to a number: integers below 2^24 are exact in float32."""
    levels = np.rint(grey(pixels)).astype(np.uint32).reshape(len(pixels), -1)
    levels = np.pad(levels, ((0, 0), (0, 3 * _PACKED - levels.shape[1]))).reshape(len(pixels), _PACKED, 3)
    return np.asarray((levels << np.array([0, 8, 16], dtype=np.uint32)).sum(axis=2))


def _luminances(packed: np.ndarray) -> np.ndarray:
    """Return (k, 64, 64) uint8 luminances of the (k, 1366) numbers of `_thumbnails`."""
    levels = packed.astype("<u4").view(np.uint8).reshape(len(packed), _PACKED, 4)[:, :, :3]
    return levels.reshape(len(packed), -1)[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)


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
    found = _with_pictures(datasets, _numbered(datasets, compute, observer, near=near))
    _name_copies(found, observer)
    return found


def number_photos(
    sources: Sequence[Source], keys: Sequence[bytes], ranges: Ranges, compute: Compute, observer: Observer
) -> np.ndarray:
    """Return (n,) numbers of photos, equal for those that show the same picture. See `pictures_of`."""
    return pictures_of(sources, keys, ranges, compute, observer).numbers


def pictures_of(
    sources: Sequence[Source], keys: Sequence[bytes], ranges: Ranges, compute: Compute, observer: Observer
) -> Pictures:
    """Return what n photos show, those of one picture with the same number: see `number_pictures`.

    Args:
        sources: n photos. How alike different ones are is learned from all of them.
        keys: their content keys; b"" for those that cannot be read.
        ranges: their values of black and white, by kind of number.
        compute: whose cache keeps what was found.
        observer: hears the progress.
    """
    return _numbered([_without_labels(sources, keys, ranges)], compute, observer)


def with_scenes_joined(
    sources: Sequence[Source],
    keys: Sequence[bytes],
    pictures: Pictures,
    features: np.ndarray,
    *,
    ranges: Ranges,
    compute: Compute,
    observer: Observer,
) -> Pictures:
    """Return the pictures with photos that show parts of one scene joined, too: cut out, zoomed in, shifted.

    Args:
        sources: n photos.
        keys: their content keys.
        pictures: of these, as `pictures_of` gave them.
        features: (n, d) by which candidates are found; zeros for photos that have none.
        ranges: values of black and white, by kind of number.
        compute: whose cache keeps what was found.
        observer: hears where that takes long.
    """
    reader = _thumbnail_reader([_without_labels(sources, keys, ranges)], compute, observer)
    with watched("comparing photos", observer.say):
        return replace(pictures, numbers=join_parts([features], pictures.numbers, reader, patience=_PATIENCE))


def measures_of(
    sources: Sequence[Source], keys: Sequence[bytes], ranges: Ranges, compute: Compute, observer: Observer
) -> Features:
    """Return what photos are like as pictures: (n, m) of `images.measures`, and which cannot be decoded.

    Args:
        sources: n photos.
        keys: their content keys; b"" for those that cannot be read.
        ranges: their values of black and white, by kind of number.
        compute: whose cache keeps what was found.
        observer: hears the progress.
    """
    engine = _PixelEngine("measures", measure, len(MEASURES), replace(LOOK, ranges=ranges))
    return _compute(engine, sources, keys, compute=compute, observer=observer, title="measuring photos")


def mean_colours_of(
    sources: Sequence[Source], keys: Sequence[bytes], ranges: Ranges, compute: Compute, observer: Observer
) -> np.ndarray:
    """Return (n, 5) mean colours of photos, see `images.colours.mean_colours`; NaN where one cannot be read.

    They come from the pass that looks for copies, and are in the cache with what it found. Arguments as of
    `pictures_of`.
    """
    return _look([_without_labels(sources, keys, ranges)], compute, observer)[-1]


def _without_labels(sources: Sequence[Source], keys: Sequence[bytes], ranges: Ranges) -> Dataset:
    samples = Samples(tuple(sources), np.zeros(len(keys), dtype=np.int64), ("photos",))
    return Dataset(samples, tuple(keys), np.arange(len(keys)), ranges=ranges)


def _numbered(datasets: Sequence[Dataset], compute: Compute, observer: Observer, *, near: bool = True) -> Pictures:
    """Return what the photos of data sets show, compared with each other."""
    keys, hashes, inner, colours = _look(datasets, compute, observer)
    thumbnails = _thumbnail_reader(datasets, compute, observer)
    shown = observer if len(keys) > _MANY else Observer()  # else it takes no time
    with progress(shown, "comparing photos", len(keys)) as advance:
        numbers = compute.processes.first(
            lambda: number_pictures(keys, hashes, thumbnails, inner=inner, near=near, advance=advance, say=observer.say)
        )
    return Pictures(keys, hashes, inner, numbers, colours)


def join_parts_of_pictures(
    datasets: Sequence[Dataset], features: Sequence[np.ndarray], compute: Compute, observer: Observer
) -> list[Dataset]:
    """Return the data sets with photos that show parts of one scene joined, too: cut out, zoomed in, shifted.

    Args:
        datasets: what `join_pictures` gave.
        features: (n, d) of each: what their networks' last layers see.
        compute: whose cache keeps what was found.
        observer: hears findings.
    """
    if any(dataset.pictures is None for dataset in datasets):
        return list(datasets)
    before = Pictures.joined([dataset.pictures for dataset in datasets if dataset.pictures is not None])
    sources = _sources(datasets)
    with watched("comparing photos", observer.say):
        thumbnails = _thumbnail_reader(datasets, compute, observer)
        numbers = compute.processes.first(lambda: join_parts(features, before.numbers, thumbnails))
    shared = [
        p for p in positions_by_key([n.tobytes() for n in numbers]).values() if len(np.unique(before.numbers[p])) > 1
    ]
    if not shared:
        return list(datasets)
    names = [" = ".join(str(sources[position]) for position in positions) for positions in shared]
    observer.say(
        f"{sum(map(len, shared)):,} photos show a part of what another one shows: cut out, zoomed in or shifted. "
        f"Each such set is taken as one group, too:\n{shortlist(names, _SHOWN)}"
    )
    return _with_pictures(datasets, replace(before, numbers=numbers))


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


class _Findings(Observer):
    """Hands on what is found, and shows no progress: of many short passes."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def say(self, text: str) -> None:
        self._observer.say(text)


def _thumbnail_reader(
    datasets: Sequence[Dataset], compute: Compute, observer: Observer
) -> Callable[[np.ndarray], np.ndarray]:
    """Return positions (k,) -> (k, 64, 64) uint8 luminances of photos; zeros for what cannot be decoded."""
    sources, keys = _sources(datasets), [key for dataset in datasets for key in dataset.keys]
    engine = _PixelEngine("thumbnail", _thumbnails, _PACKED, _thumbnail_of(datasets))
    findings = _Findings(observer)

    def read(positions: np.ndarray) -> np.ndarray:
        asked = positions.tolist()
        found = _compute(
            engine, [sources[k] for k in asked], [keys[k] for k in asked], compute=compute, observer=findings
        )
        return _luminances(found.values)

    return read


def _compute(
    engine: _PixelEngine,
    sources: Sequence[Source],
    keys: Sequence[bytes],
    *,
    compute: Compute,
    observer: Observer,
    title: str = "looking for copies",
    workers: RayWorkers | None = None,
) -> Features:
    """Return what `engine` makes of photos, from the cache where it is there."""
    size = f"{engine.preprocess.width} x {engine.preprocess.height} pixels"
    about = {"architecture": engine.name, "engine": size, "version": _VERSION, "reading": READING}
    about |= {"preprocess": engine.preprocess.to_json()}
    run_photos: PhotoPass = EnginePass(engine, engine.dimension, BATCH_SIZE, resizer=PILLOW)  # equal on every machine
    if workers is not None:
        run_photos = ClusterPass(workers, PassThere(run_photos), "cpu", BATCH_SIZE, observer.say)
    return compute_once(
        sources,
        keys,
        run_photos,
        FeatureStore(about, engine.dimension, observer.say) if compute.cache else None,
        dimension=engine.dimension,
        cache_limit=compute.cache_bytes if compute.cache else None,
        observer=observer,
        title=title,
        engine_name=engine.name,
    )


def _sources(datasets: Sequence[Dataset]) -> list[Source]:
    return [source for dataset in datasets for source in dataset.samples.sources]


def _look(datasets: Sequence[Dataset], compute: Compute, observer: Observer) -> list[np.ndarray]:
    """Return picture keys, perceptual hashes and those without margins, (n, 32) each, and (n, 5) mean colours.

    Keys and hashes are zero where there is nothing, colours NaN.
    """
    keys = [key for dataset in datasets for key in dataset.keys]
    dimension = KEY_BYTES + 2 * HASH_BYTES + len(COLOURS)
    engine = _PixelEngine("perceptual-hash", _keys_and_hashes, dimension, _thumbnail_of(datasets))
    sources = _sources(datasets)

    def look(own: list[int]) -> dict[str, Features]:
        some = [sources[place] for place in own], [keys[place] for place in own]
        return {"": _compute(engine, *some, compute=compute, observer=observer, workers=compute.workers)}

    found = in_shares(keys, compute.processes, look)[""]
    codes, colours = np.split(found.values, [KEY_BYTES + 2 * HASH_BYTES], axis=1)
    colours[~codes[:, :KEY_BYTES].any(axis=1)] = np.nan
    return [*np.split(codes.astype(np.uint8), [KEY_BYTES, KEY_BYTES + HASH_BYTES], axis=1), colours]


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
                f"picture are taken as one group:\n{shortlist(names, _SHOWN)}"
            )
    across = contradictions(parts, numbers)
    if across:
        observer.say(
            f"of these, {len(across):,} stand under more than one class. Look whether their labels are right:\n"
            f"{shortlist(contradiction_lines(parts, across))}"
        )
