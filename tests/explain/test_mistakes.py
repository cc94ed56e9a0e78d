"""Mistakes and doubts: the right photos by name, in order, and none where the photos were learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import photo
from tests.explain.made import dataset_of, explanation_of

from regraft.explain import mistakes
from regraft.explain.mistakes import Mistakes, find_mistakes
from regraft.explain.subject import Subject

NAMES = ("cat", "dog")


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """Return forty photos, of which two cats are surely answered as dogs, and one dog barely as a cat."""
    labels = np.repeat([0, 1], 20)
    dogs = np.where(labels == 1, 0.99, 0.01)
    dogs[[3, 7, 25]] = 0.999, 0.99, 0.45
    dataset = dataset_of(labels, NAMES, tmp_path)
    for number, source in enumerate(dataset.samples.sources):
        photo(Path(str(source)), "red", number)
    found = explanation_of([[20, 0], [0, 20]], NAMES).subject
    return replace(found, dataset=dataset, evaluated=dataset, probabilities=np.stack([1 - dogs, dogs], axis=1))


def test_all_mistakes_the_surest_first(subject: Subject) -> None:
    found = find_mistakes(subject)
    assert found.count == 3
    assert [(one.name, one.label, one.answer) for one in found.shown] == [
        ("cat/3.jpg", "cat", "dog"),
        ("cat/7.jpg", "cat", "dog"),
        ("dog/25.jpg", "dog", "cat"),
    ]
    assert [one.answer_probability for one in found.shown] == pytest.approx([0.999, 0.99, 0.55])
    assert [one.label_probability for one in found.shown] == pytest.approx([0.001, 0.01, 0.45])
    assert [one.label_said for one in found.shown] == ["0.1 %", "1.0 %", "45.0 %"]
    assert all(one.picture.uri.startswith("data:image/jpeg") for one in found.shown)


def test_labels_in_doubt_are_those_that_are_surely_contradicted(subject: Subject) -> None:
    found = find_mistakes(subject)
    assert found.doubted == 2
    assert [(one.name, one.label, one.suggested) for one in found.doubts] == [
        ("cat/3.jpg", "cat", "dog"),
        ("cat/7.jpg", "cat", "dog"),
    ]
    assert [(one.label_probability, one.suggested_probability) for one in found.doubts] == [
        ("0.1 %", "99.9 %"),
        ("1.0 %", "99.0 %"),
    ]
    assert [one.in_doubt for one in found.shown] == [True, True, False]
    assert 0 < found.expected <= 2


def test_a_classifier_has_no_doubts_of_what_it_learned_from(subject: Subject) -> None:
    found = find_mistakes(replace(subject, seen=True))
    assert (found.count, found.doubted, found.doubts) == (3, 0, ())


def test_of_photos_without_labels_there_are_no_mistakes(subject: Subject) -> None:
    assert find_mistakes(replace(subject, labelled=False)) == Mistakes()
    assert find_mistakes(replace(subject, probabilities=None)) == Mistakes()


def test_many_are_counted_and_the_first_shown(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "MOST_MISTAKES", 2)
    monkeypatch.setattr(mistakes, "MOST_DOUBTS", 1)
    found = find_mistakes(subject)
    assert (len(found.shown), found.count, len(found.doubts), found.doubted) == (2, 3, 1, 2)


def test_a_photo_that_is_gone_is_named_without_its_picture(subject: Subject) -> None:
    assert subject.evaluated is not None
    Path(str(subject.evaluated.samples.sources[3])).unlink()
    found = find_mistakes(subject)
    assert found.shown[0].name == "cat/3.jpg"
    assert (found.shown[0].picture.uri, found.shown[1].picture.uri[:5]) == ("", "data:")
    assert found.shown[0].picture.reason
