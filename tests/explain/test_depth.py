"""How far a network carries: data whose answer is known, each advice, and how far weights have moved."""

import math

import numpy as np
import pytest
import torch
from tests.fixtures.learning import Listener, dataset_of

from regraft.data.dataset import Dataset
from regraft.explain import depth
from regraft.explain.depth import (
    DepthPoint,
    _interval,
    accuracy_by_depth,
    accuracy_by_size,
    advise_by_depth,
    movement,
    same_shape,
)
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, load_backbone

NAMES = ("cat", "dog")


def photos(n: int, groups: np.ndarray | None = None) -> Dataset:
    """Return n photos, of two classes in turn."""
    return dataset_of(np.arange(n) % 2, groups, NAMES)


def features(n: int, strength: float, *, seed: int = 0) -> np.ndarray:
    """Return three features (n, 3) of the same: noise, and in the first one the class too, times `strength`."""
    found = np.random.default_rng(seed).normal(0, 1, (n, 3)).astype(np.float32)
    found[:, 0] += strength * (2 * (np.arange(n) % 2) - 1)
    return found


def test_a_stage_that_separates_is_always_right_and_noise_is_a_guess() -> None:
    stages = {"noise": features(400, 0), "some": features(400, 1), "all": features(400, 10)}
    listener = Listener()
    points = accuracy_by_depth(stages, photos(400), seed=0, task="a last layer", observer=listener)
    assert [point.stage for point in points] == ["noise", "some", "all"]
    assert all(point.accuracy == point.right.mean() for point in points)
    noise, some, separated = points
    assert abs(noise.accuracy - 0.5) < 4 * 0.5 / math.sqrt(400)
    # a normal deviate is above -1 in 84.1 % of cases
    assert abs(some.accuracy - 0.8413) < 4 * math.sqrt(0.8413 * 0.1587 / 400)
    assert separated.right.tolist() == [True] * 400
    assert separated.accuracy == 1
    # Wilson: n / (n + z^2) where all are right
    assert separated.interval == pytest.approx((400 / (400 + 1.96**2), 1), abs=1e-4)
    assert listener.heard == [
        ("begin", ("a last layer", 1200)),
        *[("advance", 400)] * 3,
        ("end", None),
    ]  # photos of all stages


def test_each_photo_is_answered_by_what_has_not_seen_it() -> None:
    """Every label is the opposite of its twin's, with equal features: whoever saw the twin alone is wrong on both."""
    generator = np.random.default_rng(1)
    half = generator.normal(0, 1, (20, 200)).astype(np.float32)  # so many features that any labels can be learned
    labels = np.repeat([0, 1], 10)
    # two groups are two folds
    dataset = dataset_of(np.concatenate([labels, 1 - labels]), np.repeat([0, 1], 20), NAMES)
    (point,) = accuracy_by_depth({"stage": np.concatenate([half, half])}, dataset, seed=0, task="")
    assert point.accuracy == 0


def test_of_one_group_nothing_is_known() -> None:
    right = np.array([True, False, True, True])
    # by the private function: one group cannot be cross-validated
    assert _interval(right, photos(4, np.zeros(4, dtype=int))) is None
    # groups of which all agree count as one photo each: Wilson of 2 of 2 by Student's quantile of 1 degree, 12.706
    low, high = _interval(np.ones(4, dtype=bool), photos(4, np.array([0, 0, 1, 1]))) or (0, 0)
    assert (low, high) == pytest.approx((2 / (2 + 12.706**2), 1), abs=1e-4)


def test_sizes_ascend_to_what_a_fold_leaves() -> None:
    dataset, values = photos(200), features(200, 1.5)
    listener = Listener()
    found = accuracy_by_size(values, dataset, seed=0, observer=listener)
    # 100 photos of each class, of which a fold leaves 80; 100 of the list is too many, 50 is below 0.75 * 80
    assert [size for size, _, _ in found.points] == [5, 10, 20, 50, 80]
    assert all(0 <= low < accuracy < high <= 1 for _, accuracy, (low, high) in found.points)
    # the last size is all that there is
    (whole,) = accuracy_by_depth({"stage": values}, dataset, seed=0, task="")
    assert found.points[-1][1:] == (whole.accuracy, whole.interval)
    assert listener.heard == [
        ("begin", ("learning curve of the last layer", 1000)),
        *[("advance", 200)] * 5,
        ("end", None),
    ]


@pytest.mark.slow
def test_separated_classes_are_learned_from_few_photos_and_noise_from_none() -> None:
    alone = features(200, 10)[:, :1]  # the noise beside it can mislead five photos
    assert {accuracy for _, accuracy, _ in accuracy_by_size(alone, photos(200), seed=0).points} == {1}
    for _, accuracy, _ in accuracy_by_size(features(200, 0), photos(200), seed=0).points:
        assert abs(accuracy - 0.5) < 4 * 0.5 / math.sqrt(200)


@pytest.mark.parametrize(
    ("counts", "folds", "expected"),
    [([4, 4], 2, [2]), ([10, 10], 5, [5, 8]), ([30, 6], 3, [5, 10, 20]), ([14, 14], 2, [5, 7]), ([24, 24], 2, [5, 12])],
)
def test_sizes_that_are_near_all_are_left_out(counts: list[int], folds: int, expected: list[int]) -> None:
    """All is what a fold leaves of the largest class; a size of three quarters of that or more is left out."""
    labels = np.repeat([0, 1], counts)
    values = (10.0 * labels[:, None] + np.random.default_rng(0).normal(0, 1, (len(labels), 2))).astype(np.float32)
    groups = np.concatenate([np.arange(count) % folds for count in counts])  # so many groups are so many folds
    found = accuracy_by_size(values, dataset_of(labels, groups, NAMES), seed=0)
    assert [size for size, _, _ in found.points] == expected


@pytest.mark.parametrize(("losses", "rises"), [(0, True), (2, False), (8, False)])
def test_the_last_step_of_the_learning_curve_is_compared_photo_by_photo(
    monkeypatch: pytest.MonkeyPatch, losses: int, rises: bool
) -> None:
    """Of a hundred photos the step won 12 and lost 0, 2 or 8: the sign test gives 0.0005, 0.013 and 0.50.

    Five heads answered, which makes errors 1.5 times as large: 0.1 / (1.5 * 0.0362) = 1.84 is below 1.98, Student's
    quantile of 99 degrees; of 12 and 0 it is 2.45.
    """
    won, lost = np.arange(100) < 12, np.arange(100) >= 100 - losses

    def answered(_: np.ndarray, __: Dataset, sizes: list[int | None], **___: object) -> list[np.ndarray]:
        return [*[np.zeros(100, dtype=bool)] * (len(sizes) - 2), ~won, ~lost]

    monkeypatch.setattr(depth, "answered_rightly", answered)
    found = accuracy_by_size(features(100, 1), photos(100), seed=0)
    assert found.gain is not None
    assert found.gain.value == pytest.approx((12 - losses) / 100)
    assert found.rises == rises


def test_a_single_size_is_no_step() -> None:
    found = accuracy_by_size(features(8, 10), photos(8), seed=0)
    assert (len(found.points), found.gain, found.rises) == (1, None, False)


def points(**right: list[int] | np.ndarray) -> list[DepthPoint]:
    """Return the points of stages, in order, of which photos answered rightly."""
    found = []
    for stage, values in right.items():
        answers = np.asarray(values, dtype=bool)
        found.append(DepthPoint(stage, answers, float(answers.mean()), None))
    return found


def first(count: int, n: int = 100) -> np.ndarray:
    """Return that the first `count` of n photos are right."""
    return np.arange(n) < count


def test_where_later_stages_lose_training_begins_behind_the_best() -> None:
    # 30 of 100 photos lost and none won: the score interval (Tango), by a numeric search of the likelihood
    found = advise_by_depth(points(one=first(50), two=first(90), three=first(85), four=first(60)), None)
    assert (found.stage, found.falls) == ("two", True)
    assert found.advice == (
        "From three on, these photos stop looking like those that the network was pretrained on (90.0 % after two, "
        "60.0 % after four; difference -30.0 points [-39.6, -21.9]): the stages from there on are worth training, "
        "strategy='top' train_from='three'."
    )


def test_where_every_stage_adds_a_new_last_layer_is_the_start() -> None:
    found = advise_by_depth(points(one=first(50), two=first(70), three=first(90)), None)
    assert (found.stage, found.falls) == ("three", False)
    assert found.advice == (
        "Depth helps up to the last stage (90.0 % after three): no earlier stage is as good, and nothing suggests "
        "that these photos differ from those that the network was pretrained on. A new last layer is the right start."
    )


def test_where_nearly_all_is_known_nothing_can_be_proven() -> None:
    """Eight mistakes are too few for five heads: 0.08 / (1.5 * 0.02727) = 1.956 is below 1.984; of nine it is 2.086."""
    found = advise_by_depth(points(one=first(70), two=first(92), three=first(93)), None)
    assert (found.stage, found.falls) == ("two", False)
    assert found.advice == (
        "After two nearly every photo is answered rightly (92.0 % after two, 93.0 % after three), which leaves later "
        "stages no room to prove anything: a new last layer does nearly all. `regraft compare` tells whether more "
        "training does the rest."
    )
    found = advise_by_depth(points(one=first(70), two=first(91), three=first(92)), None)  # nine mistakes
    assert "none is proven to lose" in found.advice


def test_what_the_sign_test_does_not_exclude_is_in_the_interval() -> None:
    """Of 100 photos five won and none lost: the score interval begins at 1.1 points, but p = 2 / 2^5 > 0.05."""
    found = advise_by_depth(points(one=first(60), two=first(80), three=first(85)), None)
    assert "difference +5.0 points [+0.0, +11.2])" in found.advice


def test_of_several_pairs_each_is_held_to_more() -> None:
    """Six won have p = 2 / 2^6 = 0.031, three times which is above 0.05: four won and two won prove less yet."""
    found = advise_by_depth(points(one=first(60), two=first(80), three=first(82), four=first(86)), None)
    assert found.stage == "two"
    assert "difference +6.0 points [+2.1, +12.5], which is no proof among 6 pairs of stages)" in found.advice
    assert advise_by_depth(points(two=first(80), four=first(86)), None).stage == "four"


def test_five_heads_prove_less_than_one() -> None:
    """Eight photos won and none lost: p = 2 / 2^8 = 0.008; by five heads 0.08 / (1.5 * 0.02727) = 1.956 < 1.984."""
    folds = np.arange(100) % 5
    assert advise_by_depth(points(one=first(60), two=first(68)), None).stage == "two"
    assert advise_by_depth(points(one=first(60), two=first(68)), None, folds).stage == "one"
    assert advise_by_depth(points(one=first(60), two=first(69)), None, folds).stage == "two"  # 2.086


def test_the_signs_of_whole_groups_are_tested() -> None:
    """Five groups of 20, each won: the mean hardly scatters, but signs have p = 2 / 2^5 = 0.063."""
    two = np.arange(100) % 20 < 10
    one, groups = np.arange(100) % 20 < 5, np.arange(100) // 20
    one[0] = False
    assert advise_by_depth(points(one=one, two=two), groups).stage == "one"
    assert advise_by_depth(points(one=one, two=two), np.arange(100) // 10 % 10).stage == "one"  # five of ten differ
    six = np.tile(np.arange(20), 6)
    more = points(one=(six < 5) & (np.arange(120) > 0), two=six < 10)
    assert advise_by_depth(more, np.arange(120) // 20).stage == "two"  # 2 / 2^6


def test_where_later_stages_are_as_good_it_is_not_settled() -> None:
    # 20 photos are right in `two` alone and 20 in `three` alone
    two, three = first(80), first(80)
    two[:20] = False
    three[60:80] = False
    found = advise_by_depth(points(one=first(30), two=two, three=three), None)
    assert (found.stage, found.falls) == ("two", False)
    # the squares add up to 40: the standard error is sqrt(100 / 99 * 40) / 100 = 0.06356
    assert found.advice == (
        "After two, no later stage is proven to add anything (60.0 % after two, 60.0 % after three; difference +0.0 "
        "points [-12.5, +12.5]), and none is proven to lose: 100 photos do not settle from which stage on they differ "
        "from the pretraining ones. A new last layer is a sound start; strategy='auto' tests whether training the "
        "stages from three on helps."
    )


AUTO = "auto tried frozen and top and took frozen; whole was skipped: a larger budget lets it."


def test_after_auto_its_result_stands_instead_of_the_advice_to_try_it() -> None:
    two, three = first(80), first(80)
    two[:20] = False
    three[60:80] = False
    found = advise_by_depth(points(one=first(30), two=two, three=three), None, auto=AUTO)
    assert found.advice.endswith("differ from the pretraining ones. A new last layer is a sound start. " + AUTO)
    assert "strategy='auto'" not in found.advice
    found = advise_by_depth(points(one=first(70), two=first(95), three=first(96)), None, auto=AUTO)
    assert found.advice.endswith("a new last layer does nearly all. " + AUTO)
    assert "compare" not in found.advice


def test_after_auto_stages_that_it_has_trained_are_not_advised() -> None:
    falling = points(one=first(50), two=first(90), three=first(85), four=first(60))
    found = advise_by_depth(falling, None, auto=AUTO, trained=("four",))
    assert found.advice.endswith(
        "[-39.6, -21.9]): the stages from there on are worth training, strategy='top' train_from='three'. " + AUTO
    )
    found = advise_by_depth(falling, None, auto=AUTO, trained=("three", "four"))
    assert found.advice.endswith("60.0 % after four; difference -30.0 points [-39.6, -21.9]). " + AUTO)


def test_a_loss_that_luck_explains_is_none() -> None:
    # 15 photos against 5: the exact sign test has p = 2 * sum of C(20, 0..5) / 2^20 = 0.0414
    two, three = first(70), first(70)
    two[:5] = False
    three[50:65] = False
    found = advise_by_depth(points(one=first(30), two=two, three=three), None)
    assert (found.stage, found.falls) == ("two", True)
    three[60:65] = True  # 10 against 5: p = 0.30
    found = advise_by_depth(points(one=first(30), two=two, three=three), None)
    assert (found.stage, found.falls) == ("two", False)
    assert "difference -5.0 points [-13.3, +2.9]" in found.advice


def test_a_stage_is_passed_if_any_later_one_is_better() -> None:
    """The stage in between is no better than the first, and the last is."""
    found = advise_by_depth(points(one=first(60), two=first(60), three=first(90)), None)
    assert found.stage == "three"


@pytest.mark.parametrize(("won", "stage"), [(5, "one"), (6, "two")])
def test_five_photos_won_and_none_lost_are_chance_and_six_are_not(won: int, stage: str) -> None:
    # the sign test, two-sided: 2 / 2^5 = 0.0625 and 2 / 2^6 = 0.03125, though both intervals lie above 0
    assert advise_by_depth(points(one=first(60), two=first(60 + won)), None).stage == stage


def test_pretraining_that_is_not_proven_to_help_is_told() -> None:
    found = advise_by_depth(points(one=first(50), two=first(70)), None, random=points(one=first(60), two=first(69)))
    assert found.advice.startswith(
        "Pretraining is not proven to help with these photos: 70.0 % after two, and with random weights 69.0 % after "
        "two."
    )
    better = advise_by_depth(points(one=first(50), two=first(70)), None, random=points(one=first(60), two=first(50)))
    assert better.advice.startswith("Depth helps up to the last stage")


def test_pretraining_is_judged_by_its_best_stage() -> None:
    # `one` is the first that no later stage is proven better than: of the others' gains, five photos are chance
    found = advise_by_depth(points(one=first(80), two=first(85)), None, random=points(one=first(77)))
    assert found.stage == "one"
    assert not found.advice.startswith(
        "Pretraining is not proven"
    )  # eight photos of 85 against 77 are more than chance


def test_photos_of_a_group_prove_no_more_than_one() -> None:
    """30 photos that one stage wins are a proof; not if they are three groups of ten, which differ by luck."""
    stages = points(one=first(50), two=first(80))
    assert advise_by_depth(stages, None).stage == "two"
    assert advise_by_depth(stages, np.arange(100)).stage == "two"
    groups = np.arange(100) // 10
    # sums of groups less the mean: three of 7, seven of -3; se = sqrt(10 / 9 * 210) / 100 = 0.1528, times 2.262 > 0.3
    assert advise_by_depth(stages, groups).stage == "one"


@pytest.fixture
def backbone(tiny_network: str) -> Backbone:
    return load_backbone(tiny_network)


def test_movement_by_hand(backbone: Backbone) -> None:
    """1.5 times a stage's weights are half of their length away."""
    stages = backbone.stages()
    state = backbone.module.state_dict()
    parameters = dict(backbone.module.named_parameters())
    moved = {name: 1.5 * state[name] for name in stages[2].tensors if name in parameters}
    moved |= {name: -state[name] for name in stages[4].tensors if name in parameters}
    # statistics are no weights
    moved |= {name: state[name] + 1 for name in stages[1].tensors if name.endswith("running_mean")}
    found = movement(backbone, backbone.with_tensors(moved, "moved"))
    expected = {stage.name: 0.0 for stage in stages} | {stages[2].name: 0.5, stages[4].name: 2.0}
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-5)


def test_movement_of_one_tensor_is_relative_to_its_stage(backbone: Backbone) -> None:
    stage = backbone.stages()[0]
    tensors = {n: p.detach().numpy().ravel() for n, p in backbone.module.named_parameters() if n in stage.tensors}
    name, values = next(iter(tensors.items()))
    step = np.random.default_rng(0).normal(0, 0.01, values.shape).astype(np.float32)
    changed = torch.from_numpy(values + step).reshape(backbone.module.state_dict()[name].shape)
    found = movement(backbone, backbone.with_tensors({name: changed}, "moved"))
    assert found[stage.name] == pytest.approx(
        np.linalg.norm(values + step - values) / np.linalg.norm(np.concatenate(list(tensors.values()))), rel=1e-5
    )
    assert sum(found.values()) == found[stage.name]


def test_same_shape(backbone: Backbone, other_network: str) -> None:
    assert same_shape(backbone, load_backbone(other_network))
    other = build_untrained("test_resnet")
    assert not same_shape(backbone, other)
    assert not same_shape(other, backbone)
    wider = load_backbone(other_network)
    wider.module.conv_stem.weight = torch.nn.Parameter(torch.zeros(24, 3, 5, 5))
    assert not same_shape(backbone, wider)
