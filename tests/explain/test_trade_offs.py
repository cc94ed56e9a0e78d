"""Thresholds and curves of two classes on the page."""

from dataclasses import replace

import numpy as np
from tests.explain.made import report_of

from regraft.evaluation.operating_points import OperatingPoint, OperatingPoints
from regraft.evaluation.trade_offs import trade_offs
from regraft.explain.trade_offs import trade_off_context


def test_every_threshold_has_its_row() -> None:
    report = report_of([[18, 2], [4, 16]], ("well", "ill"))
    assert trade_off_context(report) == {
        "points": [],
        "points_of": "",
        "roc": "",
        "precision_recall": "",
        "net_benefit": "",
    }
    point = OperatingPoint(0.9, 0.125, 0.925, 0.6, 0.664, (0.8, 0.98), None, (0.5, 0.8))
    curves = trade_offs(np.arange(40) >= 20, np.linspace(0, 1, 40), "ill")
    told = replace(report, operating_points=OperatingPoints("ill", (point,)), trade_offs=curves)
    found = trade_off_context(told)
    assert found["points_of"] == "ill"
    assert found["points"] == [["90 % or more", "12.5 %", "92.5 %", "80.0 to 98.0 %", "60.0 %", "not known", "66.4"]]
    assert 'aria-label="ROC curve: how many of ill are found' in found["roc"]
    assert 'aria-label="Precision of the answer ill' in found["precision_recall"]
    assert 'aria-label="Net benefit of acting on alarms for ill' in found["net_benefit"]
