"""Photos on their way to training: looked at, run through the network, and what cannot be read named."""

from dataclasses import dataclass, replace

import numpy as np

from regraft.data.audit import Audit, check_contradictions, check_unreadable, inspect, unreadable_lines, without
from regraft.data.samples import Samples
from regraft.engines.engine import Engine
from regraft.errors import shortlist
from regraft.features.extraction import Extraction, extract
from regraft.networks.backbones import Backbone
from regraft.progress import Observer
from regraft.transfer.settings import Settings


@dataclass(eq=False)
class Photos:
    """Labelled photos with their features, ready to be learned from or to judge.

    Attributes:
        samples: the readable ones.
        features: (n, d) float32 of these.
        keys: their content keys.
        unreadable: "file: reason" of the others.
        unreadable_paths: the others' names.
        extraction: how the features came about.
    """

    samples: Samples
    features: np.ndarray
    keys: tuple[bytes, ...]
    unreadable: list[str]
    unreadable_paths: list[str]
    extraction: Extraction

    def keep(self, mask: np.ndarray, why: str, observer: Observer) -> "Photos":
        """Return the photos where `mask` (n,) is True, naming the others and `why` they judge nothing."""
        if mask.all():
            return self
        names = [str(source) for source, kept in zip(self.samples.sources, mask, strict=True) if not kept]
        observer.say(
            f"{len(names):,} of {len(mask):,} photos in {self.samples.where} {why} and judge nothing:\n"
            f"{shortlist(names)}"
        )
        return replace(
            self,
            samples=self.samples.select(mask),
            features=self.features[mask],
            keys=tuple(key for key, kept in zip(self.keys, mask, strict=True) if kept),
        )


def audit_samples(samples: Samples, settings: Settings, observer: Observer) -> Audit:
    """Look at every file once; say what cannot be used, raise what must not go on.

    Raises:
        DataError: too much is unreadable, or one image stands under two classes.
    """
    audit = inspect(samples.sources, max_file_size=settings.max_file_size, say=observer.say)
    check_unreadable(samples, audit.unreadable)
    check_contradictions(samples, audit.keys)
    for note in samples.notes:
        observer.say(note)
    return audit


def prepare(
    samples: Samples,
    audit: Audit,
    backbone: Backbone,
    engine: Engine,
    *,
    settings: Settings,
    observer: Observer,
) -> Photos:
    """Extract features; report by name all that could not be read, at once, and leave it out.

    Raises:
        DataError: more than a tenth is unreadable.
    """
    extraction = extract(
        samples.sources,
        audit.keys,
        backbone,
        engine,
        cache=settings.cache,
        batch_size=settings.batch_size,
        observer=observer,
    )
    unreadable = {**audit.unreadable, **extraction.unreadable}
    check_unreadable(samples, unreadable)
    lines = unreadable_lines(samples.sources, unreadable)
    if lines:
        observer.say(
            f"{len(lines):,} of {len(samples):,} images cannot be read and are left out:\n"
            f"{shortlist(lines, len(lines))}"
        )
    kept, mask = without(samples, unreadable)
    features = extraction.features if mask.all() else extraction.features[mask]  # 50,000 photos have 256 MB
    return Photos(
        samples=kept,
        features=features,
        keys=tuple(key for key, keep in zip(audit.keys, mask, strict=True) if keep),
        unreadable=lines,
        unreadable_paths=[str(samples.sources[position]) for position in sorted(unreadable)],
        extraction=replace(extraction, features=features),
    )
