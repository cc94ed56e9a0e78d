"""What the tests of reviews share: a classifier of red and blue photos, and reviews that are waited for."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regraft.classifier.classifier import Classifier
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.networks.backbones import load_backbone
from regraft.review.session import Phase, ReviewSession
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
Open = Callable[..., ReviewSession]
ON_CPU = Compute(device="cpu", engine="torch-float32")


@pytest.fixture
def classifier(tiny_network: str, photos: Photos) -> Classifier:
    """Return a classifier that was fitted on other photos of red and blue than those that are reviewed."""
    samples = find_samples(photos("others", first_seed=5000, red=6, blue=6))
    settings = FitSettings(features="last", force=True, near_duplicates="ignore")
    made = fit(samples, lambda: load_backbone(tiny_network), model=tiny_network, settings=settings, compute=ON_CPU)
    return made.classifier


@pytest.fixture
def opened(classifier: Classifier) -> Iterator[Open]:
    """Return a function that opens a review of a folder and waits until nothing goes on any more."""
    begun: list[ReviewSession] = []

    def session(data: Path, of: Classifier = classifier, **settings: Any) -> ReviewSession:
        found = ReviewSession(of, data, compute=ON_CPU, **settings)
        begun.append(found)
        found.start()
        settled(found)
        return found

    yield session
    for one in begun:
        one.close(30)


def settled(session: ReviewSession) -> ReviewSession:
    """Wait until nothing goes on."""
    ends = time.monotonic() + 60
    while session.phase is Phase.looking or session.worker.is_busy:
        assert time.monotonic() < ends
        time.sleep(0.01)
    return session
