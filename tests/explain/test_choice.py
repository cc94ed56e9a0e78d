"""What the report says of choices: a row for each strategy, network and kind of features, and what was left out."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from regraft.classifier.record import Attempt, FeatureTrial, FitRecord, NetworkTrial, OverBudget, ViewTrial
from regraft.explain.choice import choice_context, feature_context, network_context

FROZEN, TOP = Attempt("frozen", 0.5321, 0.0, (0.0, 0.0), 0.2), Attempt("top", 0.4789, 0.0532, (0.0211, 0.0853), 198.0)
STOPPED = Attempt("whole", None, None, None, 14.2, stopped=True)


def record(
    taken: str, *tried: Attempt, over: tuple[OverBudget, ...] = (), reason: str | None = "it helps"
) -> FitRecord:
    return FitRecord(
        report=None, model="m", strategy=taken, temperature=1.0, tried=tried, over_budget=over, reason=reason
    )


def row(name: str, trained: str, result: tuple[str, str], **given: Any) -> dict[str, Any]:
    empty = {"log_loss": "", "difference": ("", ""), "time": "", "taken": False}
    return {"strategy": (name, trained), "result": result, **empty, **given}


def test_what_was_taken_tried_and_stopped() -> None:
    found = choice_context(record("top", FROZEN, TOP, STOPPED, over=(OverBudget("whole", 2400.0, "--budget 50m"),)))
    better = ("-0.053", "-0.085 to -0.021")  # the gain of log loss, with its sign turned
    assert found == {
        "choice_reason": "It helps.",
        "choice_timed": True,
        "choice_rows": [
            row(
                "frozen", "replace the last layer", ("not taken", "another is proven better"), log_loss="0.532",
                time="a few seconds",
            ),
            row(
                "top", "train the last two stages too", ("taken", ""), log_loss="0.479", difference=better,
                time="about 3.3 min", taken=True,
            ),
            row(
                "whole", "train the whole network", ("stopped after 14 s", "--budget 50m lets it"),
                time="would take about 40 min",
            ),
        ],
    }  # fmt: skip


def test_of_a_file_no_time_is_known() -> None:
    frozen, top = Attempt("frozen", 0.5, 0.0, (0.0, 0.0)), Attempt("top", 0.52, -0.02, (-0.05, 0.01))
    stopped = Attempt("whole", None, None, None, stopped=True)
    found = choice_context(record("frozen", frozen, top, stopped, over=(OverBudget("whole"), OverBudget("bitfit"))))
    assert not found["choice_timed"]
    assert found["choice_rows"] == [
        row("frozen", "replace the last layer", ("taken", ""), log_loss="0.500", taken=True),
        row(
            "top", "train the last two stages too", ("not taken", "not proven better"), log_loss="0.520",
            difference=("+0.020", "-0.010 to +0.050"),
        ),
        row("whole", "train the whole network", ("stopped", "a larger budget lets it")),
        row("bitfit", "train the network", ("skipped", "a larger budget lets it")),
    ]  # fmt: skip


def test_why_what_costs_more_was_not_taken() -> None:
    def why(attempt: Attempt, *, taken: str = "frozen") -> tuple[str, str]:
        found: tuple[str, str] = choice_context(record(taken, FROZEN, TOP, attempt))["choice_rows"][-1]["result"]
        return found

    assert why(Attempt("whole", 0.6, -0.07, (-0.09, -0.05))) == ("not taken", "proven worse than the last layer")
    assert why(Attempt("whole", 0.6, -0.07, None)) == ("not taken", "not proven better")  # of one group
    better = Attempt("whole", 0.45, 0.08, (0.01, 0.15))
    assert why(better, taken="top") == ("not taken", "not proven better than what is taken")


def test_where_nothing_was_chosen_nothing_is_shown() -> None:
    nothing = {"choice_reason": "", "choice_rows": [], "choice_timed": False}
    named = FitRecord(report=None, model="m", strategy="top", temperature=1.0)
    assert choice_context(named) == choice_context(None) == nothing
    assert choice_context(record("frozen", FROZEN, reason=None)) == nothing
    assert choice_context(record("frozen", reason="nothing can be tried."))["choice_reason"] == "Nothing can be tried."


LAST = FeatureTrial("last", 0.912, 0.2414, -0.024, (-0.045, -0.003), 0.0534, (0.0231, 0.0841))
LATE = FeatureTrial("late", 0.94, 0.1901, 0.005, None, 0.002, None)
ALL = FeatureTrial("all", 0.936, 0.1874, 0.0, (0.0, 0.0), 0.0, (0.0, 0.0))


def seen(features: str, *tried: FeatureTrial, stages: tuple[str, ...] = ()) -> FitRecord:
    return replace(record("frozen"), features=features, features_tried=tried, stages=stages)


def test_what_each_choice_of_features_gives() -> None:
    found = feature_context(seen("all", LAST, LATE, ALL, stages=("layer2", "layer3")))
    assert (
        found["feature_said"] == "The last layer sees the network's last features, and those of depths from layer2 on."
    )
    assert found["feature_sample"] == ""
    last, late, taken = found["feature_rows"]
    assert last == {
        "features": ("last", "the network's last features alone"),
        "result": ("not taken", ""),
        "accuracy": "91.2 %",
        "accuracy_difference": ("-2.4 points", "-4.5 to -0.3"),
        "log_loss": "0.241",
        "log_loss_difference": ("+0.053", "+0.023 to +0.084"),
        "taken": False,
    }
    assert (late["accuracy_difference"], late["log_loss_difference"]) == (("+0.5 points", ""), ("+0.002", ""))
    assert (taken["result"], taken["taken"]) == (("taken", ""), True)
    assert (taken["accuracy_difference"], taken["log_loss_difference"]) == (("", ""), ("", ""))


def test_a_choice_that_some_folds_did_not_make_differs_from_the_choosing() -> None:
    moved = replace(ALL, log_loss_difference=-0.004, log_loss_interval=(-0.01, 0.002))
    (row,) = feature_context(seen("all", moved))["feature_rows"]
    assert (row["taken"], row["log_loss_difference"]) == (True, ("-0.004", "-0.010 to +0.002"))


@dataclass(frozen=True)
class _OfASample(FeatureTrial):
    learned_from: int | None = None


def test_a_choice_on_a_sample_is_told() -> None:
    given = {name: getattr(LAST, name) for name in LAST.__dataclass_fields__ if name != "learned_from"}
    sample = _OfASample(**given, learned_from=5000)
    assert feature_context(seen("last", sample))["feature_sample"] == "5,000"


@pytest.mark.parametrize(
    ("stages", "said"),
    [((), ""), (("layer3",), "The last layer sees the network's last features, and those of depths from layer3 on.")],
)
def test_where_no_features_were_chosen_there_is_a_sentence_at_most(stages: tuple[str, ...], said: str) -> None:
    found = feature_context(seen("late", stages=stages))
    assert found == {"feature_said": said, "feature_rows": [], "feature_sample": ""}
    assert feature_context(None) == {"feature_said": "", "feature_rows": [], "feature_sample": ""}


def test_last_features_that_were_chosen_are_told() -> None:
    said = feature_context(seen("last", LAST, ALL))["feature_said"]
    assert said == "The last layer sees the network's last features alone."


TAKEN = NetworkTrial(
    model="local-dir:/home/ann/small", multiply_adds=300_000_000, sample_log_loss=0.4, log_loss=0.39,
    log_loss_difference=0.0, seconds=2.5,
)  # fmt: skip


def chosen(*tried: NetworkTrial) -> FitRecord:
    return replace(record("frozen"), model=TAKEN.model, networks_tried=tried)


def test_what_each_network_gives() -> None:
    cheaper = NetworkTrial(
        model="pocket", multiply_adds=7_400_000, sample_log_loss=0.8, log_loss=0.79,
        log_loss_difference=0.4, log_loss_interval=(0.31, 0.49), seconds=1.5,
    )  # fmt: skip
    dearer = NetworkTrial(
        model="resnet50", multiply_adds=4_100_000_000, log_loss=0.38, log_loss_difference=-0.01,
        log_loss_interval=(-0.03, 0.01),
    )  # fmt: skip
    skipped = NetworkTrial(model="vit", multiply_adds=999_000_000, left_out="--budget does not suffice", seconds=0.0)
    found = network_context(chosen(cheaper, TAKEN, skipped, dearer))
    assert found["network_ranked"]
    assert found["network_rows"] == [
        {
            "model": "pocket",
            "result": ("not taken", "another is proven better"),
            "multiply_adds": "7.4 million",
            "log_loss": ("0.790", "sample: 0.800"),
            "difference": ("+0.400", "+0.310 to +0.490"),
            "taken": False,
        },
        {
            "model": "local-dir:small",
            "result": ("taken", ""),
            "multiply_adds": "300 million",
            "log_loss": ("0.390", "sample: 0.400"),
            "difference": ("", ""),
            "taken": True,
        },
        {
            "model": "vit",
            "result": ("left out", "--budget does not suffice"),
            "multiply_adds": "999 million",
            "log_loss": ("", ""),
            "difference": ("", ""),
            "taken": False,
        },
        {
            "model": "resnet50",
            "result": ("not taken", "not proven better"),
            "multiply_adds": "4.1 billion",
            "log_loss": ("0.380", ""),
            "difference": ("-0.010", "-0.030 to +0.010"),
            "taken": False,
        },
    ]


@pytest.mark.parametrize(("log_loss", "why"), [(0.38, "another is proven better"), (0.4, "not proven better")])
def test_of_equally_dear_networks_the_better_one_would_come_first(log_loss: float, why: str) -> None:
    """One that is better and not taken is proven worse than a third."""
    other = replace(TAKEN, model="twin", log_loss=log_loss)
    assert network_context(chosen(TAKEN, other))["network_rows"][1]["result"] == ("not taken", why)


def test_where_a_network_was_named_nothing_is_told() -> None:
    assert network_context(chosen()) == network_context(None) == {"network_rows": [], "network_ranked": False}


def test_views_that_answers_are_means_over_are_told() -> None:
    named = feature_context(replace(seen("last"), tta="flip"))
    assert named["feature_said"] == (
        "Views of a photo: tta flip: answers are the mean of 2 views: the photo and its mirror image; 2 passes through "
        "the network."
    )
    trials = (ViewTrial("none", 0.5, 0.0, 0.0), ViewTrial("crops", 0.498, 0.002, -0.0125, (-0.003, 0.007)))
    chosen = feature_context(replace(seen("all", LAST, ALL, stages=("layer2",)), views_tried=trials))
    assert chosen["feature_said"] == (
        "The last layer sees the network's last features, and those of depths from layer2 on. Views of a photo: tta "
        "auto took none, the photo alone (no gain of more views is proven); against the photo alone crops (5 passes): "
        "log loss -0.002 [-0.007, +0.003], -1.2 points."
    )
