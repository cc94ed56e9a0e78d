"""Do exported files answer as the classifier does, from the bytes of photos on: formats x networks.

The last layer of each is made so that the comparison means something, whatever the weights are: five classes, whose
logits are random directions of the features, with a standard deviation of 1.5 over the photos.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.chart import Bar, Group, draw
from benchmarks.environments import NoEnvironmentError
from benchmarks.material import dogs_and_cats, shared
from benchmarks.record import Record, progress
from regraft.classifier.classifier import Classifier
from regraft.data.audit import inspect
from regraft.data.photo_list import PhotoList
from regraft.engines.compute import Compute
from regraft.errors import EngineError, ExportError, MissingPackageError
from regraft.exports.export import export
from regraft.exports.formats import FORMATS
from regraft.exports.parity import TOLERANCE, Parity
from regraft.features.depths import find_depths
from regraft.features.joint import JointExtractor
from regraft.heads.linear import LinearHead
from regraft.images.tta import CROPS, FLIP, NONE
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, load_backbone

_PHOTOS, _CLASSES, _SPREAD = 100, 5, 1.5
_MOBILENET, _LITE0, _LITE2 = "mobilenetv2_100.tf_in1k", "offline", "tf_efficientnet_lite2.in1k"
_RANDOM = ("resnet18", "vgg16", "inception_v3", "vit_tiny_patch16_224")


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (answers do not vary)
    """Export every classifier in every format, and compare."""
    for format in FORMATS.values():
        try:
            format.check_installed()
        except MissingPackageError as error:
            raise NoEnvironmentError(str(error)) from None
    photos = dogs_and_cats()[: 10 if quick else _PHOTOS]
    record = Record(
        "exports", "Exported files beside the classifier, from the bytes of photos on", {"photos": len(photos)}
    )
    for name, networks, tta in _classifiers(quick=quick):
        classifier = _classifier(networks, photos, tta)
        for kind in FORMATS:
            found = _parity(classifier, kind, photos)
            if isinstance(found, Parity):
                record.add(name, f"{kind}, same answer", "photos", [found.same])
                record.add(name, f"{kind}, largest difference", "of a probability", [found.largest])
                progress(f"exports: {name}, {kind}: {found.same} of {found.photos}, {found.largest:.1e}")
            else:
                record.leave_out(f"{name}, {kind}", found)
    record.notes.append(
        f"allowed are {TOLERANCE:g} and no other answer; * has random weights. Five made-up classes: random directions "
        f"of the features, whose logits have a standard deviation of {_SPREAD} over these photos"
    )
    return record


def picture(record: Record, path: Path) -> None:
    """Draw the largest differences."""
    groups: dict[str, list[Bar]] = {}
    for one in record.measurements:
        format, _, what = one.by.partition(", ")
        if what == "largest difference":
            groups.setdefault(one.of, []).append(Bar(format, one.median, f"{one.median:.1e}"))
    title = f"Largest difference of a probability to the classifier's ({TOLERANCE:g} is allowed)"
    draw(path, title, [[Group(name, bars) for name, bars in groups.items()]], footnote=record.footnote())


def _classifiers(*, quick: bool) -> Sequence[tuple[str, tuple[Backbone, ...], str]]:
    """Return names, networks and views of the classifiers."""
    folder = shared()
    torch.manual_seed(0)

    def real(name: str) -> Backbone:
        if name == _LITE0:
            return load_backbone(name)
        return load_backbone(f"local-dir:{folder / 'weights' / name}") if folder else build_untrained(name)

    lite0, mobilenet = real(_LITE0), real(_MOBILENET)
    found = [("mobilenetv2_100", (mobilenet,), NONE), ("efficientnet-lite0", (lite0,), NONE)]
    if quick:
        return found[:1]
    found += [(f"{name}*", (build_untrained(name),), NONE) for name in _RANDOM]
    return [
        *found,
        ("mobilenetv2_100 + efficientnet-lite2", (mobilenet, real(_LITE2)), NONE),
        ("efficientnet-lite0, all depths", (lite0.with_depths(find_depths(lite0)),), NONE),
        ("efficientnet-lite0, mirrored", (lite0,), FLIP),
        ("efficientnet-lite0, corners", (lite0,), CROPS),
    ]


def _classifier(networks: tuple[Backbone, ...], photos: Sequence[Path], tta: str) -> Classifier:
    extractor = JointExtractor(networks, Compute(device="cpu", engine="torch-float32", cache=False), tta=tta)
    features = extractor.extract(photos, inspect(tuple(photos)).keys).values.astype(np.float64)
    mean = features.mean(axis=0)
    weight = np.random.default_rng(0).normal(size=(_CLASSES, features.shape[1]))
    logits = (features - mean) @ weight.T
    weight *= (_SPREAD / logits.std(axis=0))[:, None]
    first, *joined = networks
    return Classifier(
        backbone=first,
        joined=tuple(joined),
        head=LinearHead(weight.astype(np.float32), (-mean @ weight.T).astype(np.float32), 0.0),
        classes=tuple("abcde"),
        temperature=1.0,
        model=" + ".join(one.recipe.architecture for one in networks),
        strategy="frozen",
        tta=tta,
    )


def _parity(classifier: Classifier, format: str, photos: Sequence[Path]) -> Parity | str:
    """Return how a file compares, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, f"classifier{FORMATS[format].suffix}")
        try:
            return export(classifier, format, out, check=PhotoList.unlabelled(photos)).parity
        except (ExportError, EngineError) as error:
            return str(error).partition("\n")[0]
