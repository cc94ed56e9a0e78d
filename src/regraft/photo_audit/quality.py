"""Photos that are small, odd, dark, flat or blurred, and classes of very different size."""

import numpy as np

from regraft.data.findings import LOW, MEDIUM, Finding
from regraft.images.measures import column
from regraft.photo_audit.photos import NO_LABEL, AuditPhotos

_SMALL = 4  # times smaller than usual, on the shorter side, is odd
_LEAST_SIDE = 48  # pixels, fewer of which are odd where most have more
_STRETCHED = 2.5  # times longer than usual, by the ratio of the sides, is odd
_FLAT = 20.0  # levels of 255 between the 5th and the 95th percentile of luminance
_DARK, _DARK_CONTRAST = 25.0, 70.0  # levels: mean luminance, and contrast below which nothing bright is in it
_MAD = 1.4826  # standard deviations of a normal distribution in its median absolute deviation
_BLURRED = 4.0  # such standard deviations below the median sharpness ...
_LESS_SHARP = 1.6  # ... and so much less in its logarithm, a fifth
_UNEVEN = 10  # times as many photos in the largest class as in the smallest
_FEW = 10  # photos of a class


def find_poor_photos(photos: AuditPhotos, measures: np.ndarray) -> list[Finding]:
    """Return findings of photos whose pictures may be unfit, one finding for each kind.

    Args:
        photos: n of them.
        measures: (n, m) of `images.measures`; rows of photos that cannot be read are not looked at.
    """
    readable = np.array([bool(key) for key in photos.keys], dtype=bool)
    brightness, contrast = column(measures, "brightness"), column(measures, "contrast")
    dark = readable & (brightness < _DARK) & (contrast < _DARK_CONTRAST)
    flat = readable & (contrast < _FLAT) & ~dark
    found = [
        _of(photos, "odd-size", np.flatnonzero(_odd(photos, readable)), "check that they are whole photos"),
        _of(photos, "dark", np.flatnonzero(dark), "look whether there is anything to see", brightness),
        _of(photos, "low-contrast", np.flatnonzero(flat), "look whether there is anything to see", contrast),
    ]
    sharpness = column(measures, "sharpness")
    usual = readable & ~dark & ~flat
    blurred = _blurred(sharpness, photos.labels_to_learn(), usual)
    found.append(_of(photos, "blurred", np.flatnonzero(blurred), "look whether they are out of focus", sharpness))
    return [one for one in found if one is not None]


def _of(
    photos: AuditPhotos, kind: str, positions: np.ndarray, todo: str, by: np.ndarray | None = None
) -> Finding | None:
    if not len(positions):
        return None
    if by is not None:
        positions = positions[np.argsort(by[positions], kind="stable")]
    severity = MEDIUM if len(positions) > 0.02 * len(photos) else LOW
    return Finding(kind, severity, photos.names(positions), f"{todo}, and leave out what is not.")


def _odd(photos: AuditPhotos, readable: np.ndarray) -> np.ndarray:
    sides = np.array([(1, 1) if one is None else (one.width, one.height) for one in photos.headers], dtype=float)
    if not readable.any():
        return readable
    short, long = sides.min(axis=1), sides.max(axis=1)
    usual, ratio = float(np.median(short[readable])), long / short
    small = (short < usual / _SMALL) | ((short < _LEAST_SIDE) & (usual >= 2 * _LEAST_SIDE))
    stretched = ratio > _STRETCHED * float(np.median(ratio[readable]))
    return np.asarray(readable & (small | stretched))


def _blurred(sharpness: np.ndarray, labels: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return (n,) booleans: photos far less sharp than those of their class, and than all."""
    found = np.zeros(len(sharpness), dtype=bool)
    if not usual.any():
        return found
    everything = _far_below(sharpness, usual)
    for label in np.unique(labels[usual]):
        own = usual & (labels == label)
        found |= own & everything & (_far_below(sharpness, own) if own.sum() >= _FEW else everything)
    return found


def _far_below(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    middle = float(np.median(values[among]))
    spread = _MAD * float(np.median(np.abs(values[among] - middle)))
    return np.asarray(among & (values < middle - np.maximum(_BLURRED * spread, _LESS_SHARP)))


def find_imbalance(photos: AuditPhotos) -> list[Finding]:
    """Return whether classes of the training photos are of very different size, or some has very few photos."""
    trained = np.array([split in (None, "train") for split in photos.splits], dtype=bool)
    readable = np.array([bool(key) for key in photos.keys], dtype=bool)
    labels = photos.labels[trained & readable & (photos.labels != NO_LABEL)]
    counts = np.bincount(labels, minlength=len(photos.classes))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        return []
    small, large = int(present[counts[present].argmin()]), int(counts.argmax())
    said = f"{photos.classes[large]} has {counts[large]:,} photos, {photos.classes[small]} {counts[small]:,}"
    more = {"counts": {photos.classes[place]: int(counts[place]) for place in present}}
    if counts[large] >= _UNEVEN * counts[small]:
        advice = f"{said}: judge by balanced accuracy and by each class's recall, not by accuracy; add photos of it."
        return [Finding("imbalance", MEDIUM, (), advice, more=more)]
    if counts[small] < _FEW:
        if counts[small] == counts[large]:
            said = f"each class has {counts[small]:,} photo{'' if counts[small] == 1 else 's'} alone"
        advice = f"{said}: its figures rest on a few photos. Add some."
        return [Finding("imbalance", LOW, (), advice, more=more)]
    return []
