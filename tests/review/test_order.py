"""The order of photos to look at, of audits that are written down, and of real photos with planted wrong labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.photo_audit.made import made

from regraft.data.findings import LOW, Finding
from regraft.engines.compute import Compute
from regraft.evaluation.label_errors import find_label_errors
from regraft.features.embedding import Embedder
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import Audit, audit
from regraft.photo_audit.duplicates import find_duplicates
from regraft.photo_audit.held_out import HeldOutAnswers
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos
from regraft.review.order import Reason, review_order


def audited(
    photos: AuditPhotos, positions: Sequence[int], of_b: Sequence[float], *, unlike: Sequence[int] = ()
) -> Audit:
    """Return an audit of photos of a and b: the probabilities of b of those at `positions`, and outliers."""
    places = np.array(positions)
    probabilities = np.stack([1 - np.array(of_b), of_b], axis=1)
    dataset = photos.dataset(places, pictures=False)
    nothing = np.zeros(len(places), dtype=int)
    answers = HeldOutAnswers(places, dataset, nothing, probabilities, np.ones(len(places), dtype=bool))
    findings = [*find_duplicates(photos), *([Finding("outlier", LOW, photos.names(unlike), "look")] if unlike else [])]
    labels = find_label_errors(dataset.labels, probabilities)
    return Audit(photos, tuple(findings), (), labels, answers, (), None, np.zeros((len(photos), 1)), ())


def shown(found: Audit) -> list[tuple[int, str]]:
    return [(item.position, item.reason.value) for item in review_order(found)]


def many(count: int, *last: int) -> list[int]:
    """Return labels of a and b in turn, and further ones at the end."""
    return [place % 2 for place in range(count)] + list(last)


def test_reasons_come_in_their_order_and_each_photo_once() -> None:
    """40 sure photos; a wrong one, an unsure one, one in two splits, an outlier, one without label, one of test."""
    labels = many(40, 0, 0, 0, 1, -1, 1, 0)
    splits = [*["train"] * 45, "test", "train"]
    numbers = list(range(47))
    numbers[45] = numbers[42]  # of test and train
    keys = [str(place).encode() for place in range(46)] + [b""]
    photos = made(labels, splits=splits, numbers=numbers, keys=keys)
    of_b = [0.99 if label else 0.01 for label in labels[:40]] + [0.999, 0.35, 0.01, 0.99]
    items = review_order(audited(photos, range(44), of_b, unlike=[43, 3]))
    assert [(item.position, item.reason) for item in items[:6]] == [
        (40, Reason.wrong_label),
        (42, Reason.duplicate),
        (41, Reason.uncertain),
        (43, Reason.outlier),
        (3, Reason.outlier),
        (44, Reason.unlabelled),
    ]
    assert [item.position for item in items] == [40, 42, 41, 43, 3, 44, *(p for p in range(40) if p != 3)]
    assert {item.reason for item in items[6:]} == {Reason.none}
    assert items[0].suggested == "b"
    assert items[0].words.startswith("labelled a, may be b: the label is wrong with a probability of ")
    assert items[1].words == "labelled a, of train, and shows the picture of 45.jpg (labelled b, of test)"
    assert items[1].related == (45,)
    assert items[2].words == "not sure: a 65%, b 35%"
    assert items[3].words == "unlike all other photos of b"
    assert items[6].words == "labelled a, answered a (99%)"


def test_the_likeliest_wrong_label_comes_first() -> None:
    labels = many(60, 0, 1, 0)
    of_b = [0.98 if label else 0.02 for label in labels[:60]] + [0.9, 0.0001, 0.9999]
    found = shown(audited(made(labels), range(63), of_b))
    assert {place for place, _ in found[:2]} == {61, 62}
    assert found[2] == (60, "wrong label")


def test_where_nothing_was_learned_all_photos_are_there() -> None:
    found = replace(audited(made(many(6)), range(6), [0.5] * 6), answers=None, labels=None)
    assert shown(found) == [(place, "none") for place in range(6)]
    assert review_order(found)[0].words == "nothing is known of it but its label"


def test_where_no_label_is_doubted_the_least_sure_come_first() -> None:
    found = replace(audited(made(many(6)), range(6), [0.1, 0.8, 0.45, 0.95, 0.3, 0.7]), labels=None)
    assert [place for place, _ in shown(found)] == [2, 4, 5, 1, 0, 3]


@pytest.mark.shared
@pytest.mark.slow
def test_planted_wrong_labels_are_among_the_first(shared: Path) -> None:
    """30 wrong labels of 1,000 photos: at least 22 are among the first 60 that are shown."""
    photos = find_audit_photos(shared / "data" / "dogs-vs-cats" / "train")
    wrong = np.random.default_rng(0).choice(len(photos), 30, replace=False)
    labels = photos.labels.copy()
    labels[wrong] = 1 - labels[wrong]
    listed = replace(photos.listed, labels=tuple(photos.classes[label] for label in labels))
    backbone = load_backbone(f"local-dir:{shared / 'weights' / 'mobilenetv2_100.tf_in1k'}")
    found = audit(replace(photos, labels=labels, listed=listed), Embedder(backbone, Compute(device="cpu", cache=False)))
    first = [item.position for item in review_order(found)[:60]]
    assert len(set(first) & set(wrong.tolist())) >= 22
