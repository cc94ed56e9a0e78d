"""What `auto` tried and what it left out, as a table of the report."""

from typing import Any

from regraft.classifier.record import Attempt, FitRecord, OverBudget
from regraft.errors import option
from regraft.transfer.forecast import seconds_in_words
from regraft.transfer.strategies import strategy_named

Cell = tuple[str, str]  # a line, and a smaller one below it


def choice_context(record: FitRecord | None) -> dict[str, Any]:
    """Return the template's part on `auto`: the reason for what was taken, and a row for each strategy.

    Both are empty where nothing was to be chosen, or nothing is known of it. A cell has two lines at most.
    """
    if record is None or record.tried is None or not record.reason:
        return {"choice_reason": "", "choice_rows": [], "choice_timed": False}
    over = {one.strategy: one for one in record.over_budget}
    rows, is_costlier = [], False
    for attempt in record.tried:
        taken = attempt.strategy == record.strategy
        result = ("taken", "") if taken else ("not taken", _verdict(attempt, costlier=is_costlier))
        rows.append(_row_of(attempt, result, over.pop(attempt.strategy, None)) | {"taken": taken})
        is_costlier |= taken
    rows += [_row(strategy, ("skipped", _remedy(one)), _needed(one)) for strategy, one in over.items()]
    reason = record.reason[:1].upper() + record.reason[1:].removesuffix(".") + "."
    return {"choice_reason": reason, "choice_rows": rows, "choice_timed": any(row["time"] for row in rows)}


def _row_of(attempt: Attempt, result: Cell, over: OverBudget | None) -> dict[str, Any]:
    if attempt.stopped:
        ended = "stopped" if attempt.seconds is None else f"stopped after {attempt.seconds:,.0f} s"
        return _row(attempt.strategy, (ended, _remedy(over)), _needed(over))
    found = _row(attempt.strategy, result, "" if attempt.seconds is None else seconds_in_words(attempt.seconds))
    found["log_loss"] = "" if attempt.log_loss is None else f"{attempt.log_loss:.3f}"
    return found | {"difference": _difference(attempt)}


def _row(strategy: str, result: Cell, time: str) -> dict[str, Any]:
    return {
        "strategy": (strategy, strategy_named(strategy).help),
        "result": result,
        "log_loss": "",
        "difference": ("", ""),
        "time": time,
        "taken": False,
    }


def _remedy(over: OverBudget | None) -> str:
    if over is None:
        return ""
    budget = over.budget or f"a larger {option('budget')}"
    return f"{budget} lets it"


def _needed(over: OverBudget | None) -> str:
    return "" if over is None or over.seconds is None else f"would take {seconds_in_words(over.seconds)}"


def _difference(attempt: Attempt) -> Cell:
    """Return by how much the log loss exceeds that of the last layer alone, and its interval."""
    if attempt.gain is None or attempt.gain_interval is None or attempt.gain_interval == (0.0, 0.0):
        return "", ""
    low, high = attempt.gain_interval
    return f"{0 - attempt.gain:+.3f}", f"{0 - high:+.3f} to {0 - low:+.3f}"


def _verdict(attempt: Attempt, *, costlier: bool) -> str:
    """Return why a strategy was not taken, which costs more or less than the one that was."""
    if not costlier:
        return "another is proven better"
    low, high = attempt.gain_interval or (0.0, 0.0)
    if low > 0:
        return "not proven better than what is taken"
    return "proven worse than the last layer" if high < 0 else "not proven better"
