"""`embed` and `similar`, as the commands of these names do, on folders, tables and lists of images."""

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regraft.api.arguments import columns_of, find_photos_of, is_place, network_or_default, plain, split_options
from regraft.api.estimator import TransferClassifier
from regraft.api.log import LogObserver
from regraft.classifier.classifier import Classifier
from regraft.classifier.named import load_named, network_of
from regraft.data.columns import Columns
from regraft.data.photo_list import PhotoList, list_photos, none_readable
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, option, printable, shortlist
from regraft.extras import missing_packages_named
from regraft.features.embedding import Embedder
from regraft.features.similar import SimilarPhotos, find_similar
from regraft.images.sources import Source
from regraft.networks.hook_points import DEPTHS, LAST
from regraft.options import whole_number

Network = TransferClassifier | Classifier | str | Path  # a fitted classifier, the file of one, or a network's name


@dataclass(frozen=True, eq=False)
class Embedding:
    """The vectors by which a network describes n photos.

    Attributes:
        sources: the photos.
        labels: the name of each one's class, None where it has none.
        splits: "train", "validation" or "test", None where nothing says.
        features: (n, d) float32.
        unreadable: photos that cannot be read, and are left out, each with the reason.
    """

    sources: tuple[Source, ...]
    labels: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    features: np.ndarray
    unreadable: tuple[tuple[Source, str], ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the names of the n photos."""
        return tuple(map(str, self.sources))

    def __len__(self) -> int:
        """Return n."""
        return len(self.sources)


@missing_packages_named("regraft.embed")
def embed(data: Any, *, model: Network | None = None, features: str = LAST, **options: Any) -> Embedding:
    """Return the vectors by which a network describes photos.

    Photos that cannot be read are left out, with a warning; `unreadable` names them.

    Args:
        data: a folder of photos, with labels as for `TransferClassifier` or without; a table; or n images, which are
            paths, PIL images or arrays.
        model: a network's name; a fitted classifier, or the file of one, whose network is taken; None for a strong
            network, or "offline" where that cannot be downloaded.
        features: those of the network's last layer ("last"), of its late or of all its depths too ("late", "all").
        options: columns of a table; `device`, `engine`, `batch_size`, `cache` and so on, fields of `Compute`.

    Raises:
        DataError: no photos, or none that can be read.
        ModelError: no such network.
        OptionError: a value that is not allowed.
    """
    if features not in DEPTHS:
        raise OptionError(f"{option('features')} must be one of {', '.join(DEPTHS)}. Got {features!r}.")
    photos, compute = photos_and_compute(data, options, "embed", own=("model", "features"))
    embedder = embedder_of(model, compute, features)
    (opened,) = embedder.open(photos.sources, labels=photos.labels)
    found = embedder.all_of(opened)
    readable, lost = photos.without(found.unreadable)
    if not readable:
        raise DataError(none_readable(photos, lost))
    warn_of(lost)
    return Embedding(readable.sources, readable.labels, readable.splits, found.vectors, tuple(lost))


@missing_packages_named("regraft.similar")
def similar(photo: Any, data: Any, *, model: Network | None = None, top: int = 9, **options: Any) -> SimilarPhotos:
    """Return the photos of `data` that are most like one photo or several, the nearest first.

    The distance is 1 - cosine of the two photos' features. `print` shows the result; `found[0]` holds the nearest of
    the first photo, each with `path`, `distance`, `label`, `split`, and `match` where it shows the same picture.

    Args:
        photo: a path, a PIL image or an array, or a list of them.
        data: among which the nearest are looked for, as for `embed`.
        model: as for `embed`.
        top: photos to find for each.
        options: as for `embed`; columns are those of `data`.

    Raises:
        DataError: no photos, or none that can be read in `data`.
        ModelError: no such network.
        OptionError: a value that is not allowed.
    """
    if not whole_number(plain({"top": top})["top"], 1):
        raise OptionError(f"{option('top')} must be a whole number from 1. Got {top!r}.")
    photos, compute = photos_and_compute(data, options, "similar", own=("model", "top"))
    asked = find_photos_of([photo] if _is_image(photo) else photo, Columns())
    if not asked:
        raise DataError("photo holds no images.")
    found = find_similar(embedder_of(model, compute), tuple(asked), photos, int(top))
    warn_of([*((asked[place], reason) for place, reason in found.errors.items()), *found.unreadable])
    return found


def _is_image(photo: Any) -> bool:
    """Tell whether this is one image in memory, and no list of them."""
    if isinstance(photo, np.ndarray):
        return photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] in (3, 4))
    return isinstance(photo, Image.Image)


def photos_and_compute(
    data: Any, options: dict[str, Any], function: str, own: Sequence[str]
) -> tuple[PhotoList, Compute]:
    """Return the photos that Python users name, and where things run; `own` are other arguments of `function`."""
    named, given = split_options(options, function, Compute, own=own)
    columns, compute = columns_of(named, function), Compute(**given)
    compute.check()
    if is_place(data):
        return list_photos(os.fspath(data), columns), compute
    sources = find_photos_of(data, columns)
    if not sources:
        raise DataError("data holds no images.")
    return PhotoList.unlabelled(sources), compute


def embedder_of(model: Network | None, compute: Compute, features: str = LAST) -> Embedder:
    """Return what makes vectors by a network that is named, or by that of a classifier. See `embed`."""
    if isinstance(model, TransferClassifier):
        model = model._fitted()
    name = network_or_default(stacklevel=5) if model is None else model
    if not (isinstance(name, Classifier) or is_place(name)):
        several = " For several, make a call for each." if isinstance(name, Iterable) else ""
        raise OptionError(
            f"{option('model')} must be one network's name, a fitted classifier, or the file of one. Got "
            f"{printable(repr(name)[:200])}.{several}"
        )
    thing = name if isinstance(name, Classifier) else load_named(os.fspath(name))
    backbone, earlier = network_of(thing)
    return Embedder(backbone, compute, LogObserver(), earlier=earlier, features=features)


def warn_of(unreadable: Sequence[tuple[Source, str]]) -> None:
    """Warn the user's line of photos that cannot be read."""
    if unreadable:
        lines = [f"{source}: {reason}" for source, reason in unreadable]
        warnings.warn(f"{len(lines):,} photos cannot be read and are left out:\n{shortlist(lines)}", stacklevel=4)
