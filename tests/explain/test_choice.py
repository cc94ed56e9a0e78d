"""What the report says of `auto`: a row for each strategy, the one that was taken, and what was left out."""

from typing import Any

from regraft.classifier.record import Attempt, FitRecord, OverBudget
from regraft.explain.choice import choice_context

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
