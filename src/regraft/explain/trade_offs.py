"""What a classifier of two classes trades: the table of thresholds, and its curves."""

from typing import Any

from regraft.evaluation.decisions import percent
from regraft.evaluation.operating_points import OperatingPoints
from regraft.evaluation.report import Report
from regraft.explain.words import interval_in_words, value_in_words
from regraft.plots import svg as charts
from regraft.plots.page import drawn


def trade_off_context(report: Report) -> dict[str, Any]:
    """Return the template's part on thresholds and curves; empty where one class is not told from the others."""
    points, curves = report.operating_points, report.trade_offs
    found: dict[str, Any] = {
        "points": [] if points is None else _rows(points),
        "points_of": "" if points is None else points.of,
        "roc": "",
        "precision_recall": "",
        "net_benefit": "",
    }
    if curves is None:
        return found
    roc = charts.trade_off_chart(curves.roc, x_label="false alarms", y_label="found", guess=((0, 0), (1, 1)))
    guess = ((0, curves.share), (1, curves.share))
    precision = charts.trade_off_chart(
        curves.precision_recall, x_label="found (recall)", y_label="right alarms (precision)", guess=guess
    )
    everybody = [curves.benefit_of_all(threshold) for threshold, *_ in curves.net_benefit]
    benefit = charts.net_benefit_chart(curves.net_benefit, everybody)
    return found | {
        "points_of": curves.of,
        "roc": drawn(roc, f"ROC curve: how many of {curves.of} are found, by the rate of false alarms"),
        "precision_recall": drawn(precision, f"Precision of the answer {curves.of}, by its recall"),
        "net_benefit": drawn(benefit, f"Net benefit of acting on alarms for {curves.of}, on everybody and on nobody"),
    }


def _rows(points: OperatingPoints) -> list[list[str]]:
    return [
        [
            f"{100 * point.least_sensitivity:.0f} % or more",
            percent(point.threshold),
            value_in_words(point.sensitivity, share=True),
            interval_in_words(point.sensitivity_interval, share=True),
            value_in_words(point.specificity, share=True),
            interval_in_words(point.specificity_interval, share=True),
            f"{100 * point.alarms:.1f}",
        ]
        for point in points.points
    ]
