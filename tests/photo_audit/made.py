"""Photos that do not exist, as an audit sees them: what is known of each is written down in the test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regraft.data.near_duplicates import Pictures
from regraft.data.photo_list import PhotoList
from regraft.images.headers import Header
from regraft.photo_audit.photos import AuditPhotos


def made(
    labels: Sequence[int],
    *,
    splits: Sequence[str | None] = (),
    keys: Sequence[bytes] = (),
    numbers: Sequence[int] | None = None,
    pixels: Sequence[int] | None = None,
    groups: Sequence[str | None] = (),
    headers: Sequence[Header | None] = (),
) -> AuditPhotos:
    """Return photos named 0.jpg, 1.jpg ... of classes a, b, c ...

    Args:
        labels: of each, -1 for none.
        splits: of each; none have one if left out.
        keys: by contents; all differ if left out. b"" is unreadable.
        numbers: of pictures; None: nobody has looked.
        pixels: of each, equal for equal pixels; all differ if left out.
        groups: names of each; none have one if left out.
        headers: all of 640 x 480 pixels if left out.
    """
    n = len(labels)
    classes = tuple("abcdefghij"[: max([*labels, 0]) + 1])
    found = tuple(keys) or tuple(str(place).encode() for place in range(n))
    listed = PhotoList(
        tuple(Path(f"{place}.jpg") for place in range(n)),
        tuple(None if label < 0 else classes[label] for label in labels),
        tuple(splits) or (None,) * n,
        "made",
    )
    pictures = None
    if numbers is not None:
        rows = np.zeros((n, 32), dtype=np.uint8)
        rows[:, 0] = np.arange(1, n + 1) if pixels is None else pixels
        rows[[not key for key in found]] = 0
        nothing = np.zeros((n, 32), dtype=np.uint8)
        pictures = Pictures(rows, nothing, nothing, np.array(numbers))
    return AuditPhotos(
        listed,
        classes,
        np.array(labels),
        tuple(groups) or (None,) * n,
        found,
        tuple(headers) or (Header(640, 480),) * n,
        {place: "the file is empty" for place, key in enumerate(found) if not key},
        pictures=pictures,
    )
