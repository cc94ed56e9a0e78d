"""How new photos differ: nothing is named by chance more often than promised, and what was planted is named."""

import json

import numpy as np
import pytest
from scipy.stats import fisher_exact

from regraft.classifier.drift import Drift, compare_with_training
from regraft.classifier.reference import TrainingReference
from regraft.errors import OptionError
from regraft.evaluation.proportions import chance_of_as_many
from regraft.evaluation.report import Report
from regraft.images.headers import Header

WIDTH, CLASSES = 16, ("ant", "bee", "cat")


def features_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (3 + labels[:, None] * np.eye(WIDTH)[0] + rng.normal(size=(len(labels), WIDTH)) * 0.5).astype(np.float32)


class Source:
    """Photos of one source: their features, classes, answers, sizes and colours."""

    def __init__(self, count: int, seed: int, mistakes: float = 0.1) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.choice(3, count, p=[0.5, 0.3, 0.2])
        self.features = features_of(self.labels, rng)
        self.headers = [Header(int(w), 300) for w in rng.integers(200, 900, count)]
        self.colours = rng.beta(4, 4, (count, 5))
        top = rng.uniform(0.6, 1.0, count)
        answers = np.where(rng.random(count) >= mistakes, self.labels, (self.labels + 1) % 3)
        self.probabilities = np.repeat((1 - top)[:, None] / 2, 3, axis=1)
        self.probabilities[np.arange(count), answers] = top

    def reference(self) -> TrainingReference:
        found = TrainingReference.of(self.features, self.labels, classes=3, headers=self.headers, colours=self.colours)
        assert found is not None
        return found

    def report(self) -> Report:
        return Report.from_probabilities(self.probabilities, self.labels, CLASSES, estimate="out-of-fold")

    def compared(self, reference: TrainingReference, report: Report | None = None, **options: object) -> Drift:
        given = {"headers": self.headers, "colours": self.colours, "report": report} | options
        return compare_with_training(
            reference,
            self.features,
            self.probabilities,
            classes=CLASSES,
            **given,  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def training() -> Source:
    return Source(400, seed=0)


@pytest.fixture(scope="module")
def known(training: Source) -> TrainingReference:
    return training.reference()


@pytest.fixture(scope="module")
def report(training: Source) -> Report:
    return training.report()


@pytest.mark.parametrize(("count", "trials", "before", "of"), [(5, 40, 2, 100), (1, 1, 9, 99), (30, 30, 0, 10)])
def test_the_chance_is_that_of_fishers_exact_test(count: int, trials: int, before: int, of: int) -> None:
    expected = fisher_exact([[count, trials - count], [before, of - before]], alternative="greater").pvalue
    assert chance_of_as_many(count, trials, before=before, of=of) == pytest.approx(expected)


def test_none_of_many_is_no_surprise() -> None:
    assert chance_of_as_many(0, 50, before=3, of=10) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "new"), [(60, 300), (400, 40)])
def test_photos_of_the_same_source_are_rarely_said_to_differ(trained: int, new: int) -> None:
    """At most about 5 of 100: of 200 repetitions 10, and by chance up to 17 (99 % of the binomial distribution)."""
    named = {"far": 0, "any": 0}
    for seed in range(200):
        training, other = (Source(n, seed=s, mistakes=0) for n, s in ((trained, 2 * seed), (new, 2 * seed + 1)))
        found = other.compared(training.reference(), None)
        named["far"] += any(share.differs for share in found.far)
        named["any"] += found.differs
    assert named["far"] <= 17
    assert named["any"] <= 17


def test_photos_unlike_the_training_photos_are_named_and_ranked(known: TrainingReference) -> None:
    new = Source(50, seed=3)
    new.features[:, 5] -= np.where(np.arange(50) < 20, 9, 0)
    new.features[7, 5] -= 90
    found = new.compared(known)
    assert found.far[0].differs
    assert found.far[0].share >= 0.4
    assert found.far[0].interval is not None
    assert found.far[0].interval[0] > found.far[0].expected
    assert set(found.ranking[:20].tolist()) == set(range(20))
    assert found.distances[found.ranking].tolist() == sorted(found.distances[found.ranking], reverse=True)
    assert "unlike them: 4" in str(found)


def test_classes_in_other_shares_are_named(known: TrainingReference, report: Report) -> None:
    new = Source(100, seed=4)
    new.probabilities[:] = [0.1, 0.1, 0.8]
    found = new.compared(known, report)
    assert [share.differs for share in found.classes] == [True, True, True]
    assert [share.share for share in found.classes] == [0.0, 0.0, 1.0]
    assert "100.0 % [96.3, 100.0] are cat" in str(found)  # Wilson: 100 / (100 + 1.96^2) = 96.3 %


def test_expected_answers_are_those_that_the_classifier_gives(training: Source, known: TrainingReference) -> None:
    """Out-of-fold, what it answered are the expected shares, whatever the classes' own are."""
    answers = np.bincount(training.probabilities.argmax(axis=1), minlength=3) / 400
    found = training.compared(known, training.report())
    assert [share.expected for share in found.classes] == pytest.approx(answers.tolist())
    plain = training.compared(known, None)
    assert [share.expected for share in plain.classes] == pytest.approx((np.bincount(training.labels) / 400).tolist())


def test_sizes_and_colours_are_named(known: TrainingReference) -> None:
    new = Source(60, seed=5)
    new.headers = [Header(4000, 3000)] * 60
    new.colours[:, 0] = 0.02
    found = {share.name: share for share in new.compared(known).measures}
    assert [name for name, share in found.items() if share.differs] == ["megapixels", "brightness"]
    assert found["megapixels"].share == 1.0
    assert found["megapixels"].median == pytest.approx(12.0)
    assert found["megapixels"].expected == pytest.approx(2 * 20 / 401)  # the 20th of 400 from each end
    assert "median 12, theirs" in str(new.compared(known))


def test_answers_that_are_less_sure_are_named(known: TrainingReference, report: Report) -> None:
    new = Source(80, seed=6)
    new.probabilities = 0.5 * new.probabilities + 0.5 / 3
    found = new.compared(known, report).confidence
    assert found is not None
    assert found.lower
    assert found.mean == pytest.approx(new.probabilities.max(axis=1).mean())
    assert "probabilities: answers are" in str(new.compared(known, report))
    assert new.compared(known, None).confidence is None


def test_the_expected_probability_is_that_of_the_report(training: Source, known: TrainingReference) -> None:
    found = training.compared(known, training.report()).confidence
    assert found is not None
    assert found.expected == pytest.approx(training.probabilities.max(axis=1).mean())
    assert not found.lower


def test_one_photo(known: TrainingReference, report: Report) -> None:
    found = Source(1, seed=8).compared(known, report)
    assert found.count == 1
    assert not found.differs
    assert str(found).startswith("1 photo: no clear difference")
    assert found.confidence is not None
    assert found.confidence.interval is None
    json.dumps(found.to_json(), allow_nan=False)


def test_photos_in_memory_have_no_sizes(known: TrainingReference) -> None:
    found = Source(20, seed=8).compared(known, headers=(), colours=None)
    assert found.measures == ()
    assert found.far


def test_photos_that_cannot_be_read_are_left_out_and_counted(known: TrainingReference) -> None:
    new = Source(20, seed=9)
    new.probabilities[3] = np.nan
    new.features[4] = np.nan
    found = new.compared(known)
    assert (found.count, found.left_out) == (18, 2)
    assert np.flatnonzero(np.isnan(found.distances)).tolist() == [3, 4]
    assert "; 2 could not be read" in str(found)
    assert found.to_json()["distances"][3] is None


def test_nothing_that_can_be_read(known: TrainingReference) -> None:
    new = Source(2, seed=9)
    new.probabilities[:] = np.nan
    found = new.compared(known)
    assert (found.count, found.left_out, found.differs) == (0, 2, False)
    assert str(found) == "no photo could be compared with the training photos; 2 could not be read"
    json.dumps(found.to_json(), allow_nan=False)


def test_photos_of_one_scene_are_one_piece_of_evidence(known: TrainingReference) -> None:
    new = Source(30, seed=10)
    new.features[:, 5] -= 50
    assert new.compared(known).differs
    alone = new.compared(known, groups=np.zeros(30, dtype=int), headers=(), colours=None)
    assert alone.far[0].interval is None
    assert not alone.differs


def test_all_that_is_found_is_in_the_json(known: TrainingReference, report: Report) -> None:
    new = Source(40, seed=11)
    found = json.loads(json.dumps(new.compared(known, report).to_json(), allow_nan=False))
    assert set(found) == {
        "n", "left_out", "differs", "far", "classes", "measures", "confidence", "distances", "ranking"
    }  # fmt: skip
    assert [one["name"] for one in found["far"]] == ["0.99", "0.95"]
    assert [one["name"] for one in found["classes"]] == list(CLASSES)
    assert all(one["interval"][0] <= one["share"] <= one["interval"][1] for one in found["far"])


def test_features_of_another_network_are_refused(known: TrainingReference) -> None:
    new = Source(5, seed=12)
    with pytest.raises(OptionError, match=r"features must be of shape \(m, 16\).*Got \(5, 15\).*classifier.columns"):
        compare_with_training(known, new.features[:, 1:], new.probabilities, classes=CLASSES)


def test_answers_of_other_classes_are_refused(known: TrainingReference) -> None:
    new = Source(5, seed=12)
    with pytest.raises(OptionError, match=r"probabilities must be of shape \(5, 3\).*Got \(5, 2\) and 2 names"):
        compare_with_training(known, new.features, new.probabilities[:, 1:], classes=("ant", "bee"))
