"""Heads answer photos that they did not learn from: in memory, block by block, and with damaged photos between."""

import numpy as np
import pytest
from tests.photo_audit.embedding import MadeEmbedder, features_of
from tests.photo_audit.made import made

from regraft.errors import DataError
from regraft.photo_audit import held_out
from regraft.photo_audit.held_out import HeldOutAnswers, held_out_answers
from regraft.photo_audit.photos import AuditPhotos


def clusters(labels: np.ndarray, *, seed: int = 0, width: int = 12, apart: float = 2.0) -> np.ndarray:
    """Return (n, d) features that tell the classes apart."""
    rng = np.random.default_rng(seed)
    centres = apart * rng.normal(size=(labels.max() + 1, width))
    return np.asarray(centres[labels] + rng.normal(size=(len(labels), width)))


def answers(photos: AuditPhotos, embedder: MadeEmbedder) -> HeldOutAnswers:
    features = features_of(photos, embedder)
    photos = photos.without(features.unreadable)
    return held_out_answers(photos, features, photos.learnable())


def test_what_can_be_learned_is_answered() -> None:
    labels = np.arange(90) % 3
    found = answers(made(labels.tolist()), MadeEmbedder(clusters(labels)))
    assert found.positions.tolist() == list(range(90))
    assert found.learned.all()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert found.correct.mean() > 0.95
    assert found.correct.tolist() == (found.probabilities.argmax(axis=1) == labels).tolist()


def test_labels_that_can_only_be_learned_by_heart_are_guessed() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(120) % 2)
    vectors = rng.normal(size=(120, 400))  # more numbers than photos: any labels can be fitted exactly
    found = answers(made(labels.tolist()), MadeEmbedder(vectors))
    assert abs(found.correct.mean() - 0.5) < 0.14  # three standard errors of 120 photos


def test_photos_of_one_picture_or_group_are_answered_without_each_other() -> None:
    rng = np.random.default_rng(1)
    numbers = np.repeat(np.arange(60), 2)
    labels = np.repeat(rng.permutation(np.arange(60) % 2), 2)
    vectors = np.repeat(rng.normal(size=(60, 300)), 2, axis=0)
    embedder = MadeEmbedder(vectors)
    leaking = answers(made(labels.tolist()), embedder)
    assert leaking.correct.mean() > 0.85  # most photos have their copy among those that are learned from
    for photos in (
        made(labels.tolist(), numbers=numbers.tolist()),
        made(labels.tolist(), groups=[f"p{k}" for k in numbers]),
    ):
        found = answers(photos, embedder)
        assert (found.folds[::2] == found.folds[1::2]).all()
        assert abs(found.correct.mean() - 0.5) < 0.2  # three standard errors of 60 pictures


def test_photos_of_the_test_split_are_never_learned_from() -> None:
    labels = np.arange(80) % 2
    splits = ["test" if place % 4 == 3 else "train" for place in range(80)]
    vectors = clusters(labels)
    found = answers(made(labels.tolist(), splits=splits), MadeEmbedder(vectors))
    assert found.positions.tolist() == [place for place in range(80) if place % 4 != 3]
    vectors[3::4] = 1e3  # whatever they are, the answers are the same
    same = answers(made(labels.tolist(), splits=splits), MadeEmbedder(vectors))
    np.testing.assert_array_equal(found.probabilities, same.probabilities)


def test_a_class_of_one_picture_is_learned_from_and_not_answered() -> None:
    labels = [0, 1] * 15 + [2, 2]
    photos = made(labels, numbers=[*range(30), 30, 30])
    found = answers(photos, MadeEmbedder(clusters(np.array(labels))))
    assert found.folds[-2:].tolist() == [-1, -1]
    assert np.isnan(found.probabilities[-2:]).all()
    assert np.isfinite(found.probabilities[:-2]).all()
    assert found.probabilities.shape == (32, 3)
    assert not found.correct[-2:].any()


def test_damaged_photos_in_the_middle_change_nothing() -> None:
    labels = np.arange(60) % 3
    vectors = clusters(labels)
    plain = answers(made(labels.tolist()), MadeEmbedder(vectors))
    lost = [0, 7, 31, 62]
    more = np.insert(labels, [0, 6, 29, 59], 0)  # before np.insert's places: 0, 7, 31 and 62 afterwards
    spread = np.full((64, 12), 1e6)
    spread[np.delete(np.arange(64), lost)] = vectors
    keys = [b"%d" % place for place in range(60)]  # folds are dealt by contents
    for place in lost:
        keys.insert(place, b"" if place == 31 else b"lost %d" % place)
    found = answers(made(more.tolist(), keys=keys), MadeEmbedder(spread, damaged=lost))
    assert np.isin(lost, found.positions).sum() == 0
    assert found.dataset.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(found.probabilities, plain.probabilities, atol=1e-6)


@pytest.mark.parametrize("damaged", [(), (5, 100, 177)])
def test_beyond_what_memory_holds_every_photo_is_answered(
    monkeypatch: pytest.MonkeyPatch, damaged: tuple[int, ...]
) -> None:
    monkeypatch.setattr(held_out, "IN_MEMORY", 70)
    labels = np.arange(200) % 2
    embedder = MadeEmbedder(clusters(labels), damaged=damaged)
    photos = made(labels.tolist())
    features = features_of(photos, embedder)
    assert set(features.unreadable) == set(damaged)
    assert len(features.values) <= 70
    photos = photos.without(features.unreadable)
    found = held_out_answers(photos, features, photos.learnable())
    assert found.positions.tolist() == [place for place in range(200) if place not in damaged]
    assert found.learned.sum() == len(features.values) < 200
    assert np.isfinite(found.probabilities).all()
    assert found.correct.mean() > 0.95
    readable = np.isfinite(features.points).all(axis=1)
    assert np.flatnonzero(~readable).tolist() == list(damaged)
    assert features.for_scenes.shape == features.points.shape
    assert np.isfinite(features.for_scenes).all()


def test_beyond_memory_no_head_answers_what_it_or_its_group_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "IN_MEMORY", 90)
    rng = np.random.default_rng(0)
    of_group = np.repeat(np.arange(50), 4)
    labels = np.repeat(rng.permutation(np.arange(50) % 2), 4)
    vectors = np.repeat(rng.normal(size=(50, 300)), 4, axis=0)  # four equal photos of each group
    photos = made(labels.tolist(), groups=[f"p{k}" for k in of_group])
    found = answers(photos, MadeEmbedder(vectors))
    assert found.learned.sum() == 90
    assert np.isfinite(found.probabilities).all()
    for group in range(50):
        own = of_group == group
        seen = found.folds[own & found.learned]
        assert len(np.unique(found.folds[own])) == 1 or not len(seen)
    assert abs(found.correct.mean() - 0.5) < 0.21  # three standard errors of 50 groups
    known = np.isin(of_group, of_group[found.learned])
    assert abs(found.correct[known].mean() - 0.5) < 0.25


def test_beyond_memory_a_class_of_one_sampled_photo_is_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "IN_MEMORY", 30)
    monkeypatch.setattr(held_out, "_OF_EACH_CLASS", 1)
    labels = np.array([0, 1] * 100 + [2, 2, 2, 2])
    found = answers(made(labels.tolist()), MadeEmbedder(clusters(labels, apart=5.0)))
    rare = labels[found.positions] == 2
    assert (found.learned & rare).sum() == 1
    asked = np.isfinite(found.probabilities).all(axis=1)
    assert np.flatnonzero(~asked).tolist() == np.flatnonzero(found.learned & rare).tolist()
    assert found.correct[asked].all()


def test_the_sample_has_of_each_class_its_share_and_of_rare_ones_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "IN_MEMORY", 100)
    labels = np.array([0] * 300 + [1] * 100 + [2] * 3)
    found = features_of(made(labels.tolist()), MadeEmbedder(clusters(labels)))
    assert np.bincount(labels[found.sample]).tolist() == [74, 25, 3]  # 100 * 300 / 403, 100 * 100 / 403, all three


def test_many_classes_leave_fewer_photos_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_WORK", 4 * 12 * 100.0)  # 4 classes x 12 features x 100 photos
    labels = np.arange(400) % 4
    assert len(features_of(made(labels.tolist()), MadeEmbedder(clusters(labels))).sample) == 100


def test_nothing_can_be_read_or_held_out() -> None:
    nothing = features_of(made([0, 1], keys=[b"", b""]), MadeEmbedder(np.zeros((2, 4))))
    assert (len(nothing.values), nothing.projection, nothing.points.shape) == (0, None, (2, 1))
    assert nothing.for_scenes.tolist() == [[0] * 4] * 2
    photos = made([0, 0, 1, 1], numbers=[0, 0, 1, 1])  # one picture of each class
    with pytest.raises(DataError):
        held_out_answers(photos, features_of(photos, MadeEmbedder(np.eye(4))), photos.learnable())


def test_the_folds_of_all_photos_come_from_one_pass_in_memory() -> None:
    labels = np.arange(40) % 2
    embedder = MadeEmbedder(clusters(labels))
    answers(made(labels.tolist()), embedder)
    assert embedder.passes == 1


def test_photos_that_nothing_is_learned_from_take_no_room_in_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "IN_MEMORY", 60)
    labels = [-1] * 500 + [0, 1] * 25
    found = features_of(made(labels), MadeEmbedder(clusters(np.array(labels))))
    assert (np.array(labels)[found.sample] >= 0).sum() == 50
    assert len(found.sample) == 60
