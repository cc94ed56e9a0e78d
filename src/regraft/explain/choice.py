"""What was tried and what was left out, of networks, features and strategies, as tables of the report."""

from typing import Any

from regraft.classifier.record import Attempt, FeatureTrial, FitRecord, NetworkTrial, OverBudget
from regraft.errors import option
from regraft.evaluation.intervals import Interval
from regraft.explain.words import value_in_words
from regraft.heads.head_choice import head_in_words
from regraft.networks.hook_points import ALL, LAST, LATE
from regraft.networks.names import without_folders
from regraft.transfer.forecast import seconds_in_words
from regraft.transfer.network_choice import in_millions
from regraft.transfer.strategies import strategy_named
from regraft.transfer.view_choice import record_of_views

Cell = tuple[str, str]  # a line, and a smaller one below it
_TAKEN: Cell = ("taken", "")
_FEATURES = {
    LAST: "the network's last features alone",
    LATE: "those of the last third of its blocks, too",
    ALL: "those of all blocks",
}


def network_context(record: FitRecord | None) -> dict[str, Any]:
    """Return the template's part on the networks that were chosen from: a row for each; empty where one was named."""
    trials = () if record is None else record.networks_tried
    taken = next((trial for trial in trials if record is not None and trial.model == record.model), None)
    ranked = any(trial.sample_log_loss is not None for trial in trials)
    return {"network_rows": [_network_row(trial, taken) for trial in trials], "network_ranked": ranked}


def _network_row(trial: NetworkTrial, taken: NetworkTrial | None) -> dict[str, Any]:
    difference = _signed(trial.log_loss_difference, trial.log_loss_interval)
    return {
        "model": without_folders(trial.model),
        "result": _network_result(trial, taken),
        "multiply_adds": in_millions(trial.multiply_adds),
        "log_loss": (
            "" if trial.log_loss is None else f"{trial.log_loss:.3f}",
            "" if trial.sample_log_loss is None else f"sample: {trial.sample_log_loss:.3f}",
        ),
        "difference": ("", "") if trial is taken else difference,
        "taken": trial is taken,
    }


def _network_result(trial: NetworkTrial, taken: NetworkTrial | None) -> Cell:
    if trial is taken:
        return _TAKEN
    if trial.log_loss is None:
        return "left out", trial.left_out
    if taken is not None and (trial.multiply_adds, trial.log_loss) < (taken.multiply_adds, taken.log_loss or 0.0):
        return "not taken", "another is proven better"
    return "not taken", "not proven better"


def feature_context(record: FitRecord | None) -> dict[str, Any]:
    """Return the template's part on the last layer's features: a row for each choice, or a sentence where none was.

    Both are empty where the last layer sees the network's last features and nothing was to be chosen. The sentence
    names the views that answers are means over, too.
    """
    if record is None:
        return {"feature_said": "", "feature_rows": [], "feature_sample": ""}
    first = record.stages[0] if record.stages else ""
    depths = f"the network's last features, and those of depths from {first} on" if first else _FEATURES[LAST]
    said = f"The last layer sees {depths}." if record.features_tried or first else ""
    views = record_of_views(record)
    fitted = head_in_words(record.head)
    more = [f"{fitted.capitalize()}." if fitted else "", f"Views of a photo: {views}." if views else ""]
    said = " ".join(filter(None, [said, *more]))
    sizes = [trial.learned_from for trial in record.features_tried]
    sample = next((f"{size:,}" for size in sizes if size is not None), "")
    rows = [_feature_row(trial, taken=trial.features == record.features) for trial in record.features_tried]
    return {"feature_said": said, "feature_rows": rows, "feature_sample": sample}


def _feature_row(trial: FeatureTrial, *, taken: bool) -> dict[str, Any]:
    accuracy = _signed(trial.accuracy_difference, trial.accuracy_interval, percent=True)
    return {
        "features": (trial.features, _FEATURES[trial.features]),
        "result": _TAKEN if taken else ("not taken", ""),
        "accuracy": value_in_words(trial.accuracy, share=True),
        "accuracy_difference": accuracy,
        "log_loss": value_in_words(trial.log_loss, share=False),
        "log_loss_difference": _signed(trial.log_loss_difference, trial.log_loss_interval),
        "taken": taken,
    }


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
        result = _TAKEN if taken else ("not taken", _verdict(attempt, costlier=is_costlier))
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
    return _signed(0 - attempt.gain, (0 - high, 0 - low))


def _signed(difference: float | None, interval: Interval | None, *, percent: bool = False) -> Cell:
    """Return a difference and its interval, of shares in points; nothing where all photos were answered alike."""
    if difference is None or (difference == 0 and interval in (None, (0.0, 0.0))):
        return "", ""

    def said(value: float) -> str:
        return f"{100 * value:+.1f}" if percent else f"{value:+.3f}"

    bounds = "" if interval is None else " to ".join(map(said, interval))
    return f"{said(difference)}{' points' if percent else ''}", bounds


def _verdict(attempt: Attempt, *, costlier: bool) -> str:
    """Return why a strategy was not taken, which costs more or less than the one that was."""
    if not costlier:
        return "another is proven better"
    low, high = attempt.gain_interval or (0.0, 0.0)
    if low > 0:
        return "not proven better than what is taken"
    return "proven worse than the last layer" if high < 0 else "not proven better"
