"""The module of an export, from decoded photos of any size, beside `regraft predict`'s own way from files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.exports.conftest import KINDS

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.engines.compute import Compute
from regraft.errors import OptionError
from regraft.exports.graph import ClassifierGraph, least_decoded
from regraft.exports.parity import decode_by_pillow

COMPUTE = Compute(device="cpu", engine="torch-float32", cache=False)


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_predict_does(make: Callable[[str], Classifier], several: list[Path], kind: str) -> None:
    classifier = make(kind)
    graph, expected = ClassifierGraph(classifier), Predictor(classifier, COMPUTE).predict(several).probabilities
    assert expected.max() - expected.min() > 0.05  # something can differ
    for path, wanted in zip(several, expected, strict=True):
        pixels = decode_by_pillow(path, least_decoded(classifier))
        with torch.no_grad():
            found = graph(torch.from_numpy(np.concatenate([pixels, pixels]))).numpy()
        assert found.shape == (2, 3)
        assert np.allclose(found, wanted, atol=2e-4)


def test_networks_that_agree_share_what_is_resized(make: Callable[[str], Classifier]) -> None:
    one, joined = make("plain"), make("joined")
    assert len(ClassifierGraph(joined).crops) == 2
    twice = Classifier(**{**vars(joined), "joined": (one.backbone,)})
    twice.head = type(joined.head)(joined.head.weight[:, : 2 * one.backbone.width], joined.head.bias, 0.0)
    assert len(ClassifierGraph(twice).crops) == 1


def test_the_network_stays_as_it_is(make: Callable[[str], Classifier]) -> None:
    classifier = make("plain")
    classifier.backbone.module.train()
    graph = ClassifierGraph(classifier)
    assert classifier.backbone.module.training
    assert not graph.training
    assert all(a is b for a, b in zip(graph.parameters(), classifier.backbone.module.parameters(), strict=True))


def test_a_head_that_is_not_linear_is_refused(make: Callable[[str], Classifier]) -> None:
    classifier = make("plain")

    class Nearest:
        kind = "nearest"

    classifier.head = Nearest()  # type: ignore[assignment]
    with pytest.raises(
        OptionError, match=r"an export needs a linear head\. Got a classifier with a head of kind 'near"
    ):
        ClassifierGraph(classifier)


def test_what_a_jpeg_keeps_when_it_is_decoded_smaller(make: Callable[[str], Classifier]) -> None:
    """Twice what photos are resized to: 32 / 0.95 and 32 / 0.875 pixels of corners."""
    plain, crops = make("plain"), make("crops")
    share = plain.backbone.preprocess.crop_pct
    assert least_decoded(plain) == (2 * int(32 / share),) * 2
    assert least_decoded(crops) == (2 * int(32 / min(share, 0.875)),) * 2
    assert least_decoded(make("joined")) == (2 * int(48 / share), max(2 * int(40 / share), 2 * int(32 / share)))
