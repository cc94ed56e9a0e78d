"""Real photos with thirty faults of each kind, through a real pretrained network: how many of them are found."""

import itertools
from pathlib import Path

import pytest
from benchmarks.planted import OTHER_QUALITY, QUALITY, Planted, plant

from regraft.engines.compute import Compute
from regraft.features.embedding import Embedder
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import Audit, audit
from regraft.photo_audit.photos import find_audit_photos

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def planted(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    photos = shared / "data" / "dogs-vs-cats" / "train"
    named = {name: sorted(photos.glob(f"{name}.*.jpg"))[:400] for name in ("cat", "dog")}
    return plant(named, tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def found(shared: Path, planted: Planted) -> Audit:
    backbone = load_backbone(f"local-dir:{shared / 'weights' / 'mobilenetv2_100.tf_in1k'}")
    return audit(find_audit_photos(planted.folder), Embedder(backbone, Compute(device="cpu", cache=False)))


def joined(found: Audit, kind: str) -> set[frozenset[str]]:
    """Return all pairs of photos that are in one finding of a kind."""
    return {frozenset(pair) for one in found.of(kind) for pair in itertools.combinations(one.files, 2)}


def test_copies_and_edited_copies(planted: Planted, found: Audit) -> None:
    pairs = {kind: joined(found, kind) for kind in ("exact-duplicate", "near-duplicate")}
    exact = {frozenset(map(str, pair)) for pair in planted.exact}
    edited = {frozenset(map(str, pair)) for pair in planted.edited}
    assert len(exact) == len(edited) == 30
    assert len(exact & pairs["exact-duplicate"]) >= 29
    assert len(edited & (pairs["near-duplicate"] | pairs["exact-duplicate"])) >= 27
    false = [
        one
        for kind in pairs
        for one in found.of(kind)
        if not any(frozenset(pair) in exact | edited for pair in itertools.combinations(one.files, 2))
    ]
    assert len(false) <= 5  # some are in the photos themselves
    assert all("splits" in one.across for one in found.of("exact-duplicate") if set(one.files) in exact)


def test_wrong_labels(planted: Planted, found: Audit) -> None:
    named = {file for one in found.of("likely-mislabelled") for file in one.files}
    assert len(planted.wrong) == 30
    assert len({str(path) for path in planted.wrong} & named) >= 22
    assert found.labels is not None
    first = [one.files[0] for one in found.of("likely-mislabelled")]
    assert len(first) == len(found.labels)


def test_broken_files(planted: Planted, found: Audit) -> None:
    (one,) = found.of("unreadable")
    assert set(one.files) == {str(path) for path in planted.broken}
    assert len(one.files) == 10


def test_the_shortcut(planted: Planted, found: Audit) -> None:
    (one,) = [one for one in found.of("shortcut") if one.more["cue"] == "JPEG tables"]
    assert one.severity == "high"
    assert one.more["balanced_accuracy"] > 0.99
    others = next(label for label in ("cat", "dog") if label != planted.shortcut)
    qualities = {planted.shortcut: QUALITY, others: OTHER_QUALITY}  # of two classes either is given away
    said = [f"class {label}: all are JPEGs of quality {quality}" for label, quality in qualities.items()]
    assert one.advice.startswith(tuple(f"{each}, of the others none" for each in said))
