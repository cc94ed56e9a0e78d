"""Several classifiers on the same photos, pair by pair: one figure decides, with tests corrected for their number.

The log loss decides. It is what `auto` chooses by, it counts how sure each answer is and so tells classifiers apart on
fewer photos than right and wrong do, and every photo has its share in it, where AUC and average precision need a
positive class. Where some probabilities are not calibrated there is none, and accuracy decides. To take any of several
figures for proof would call chance proven too often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.evaluation.paired import Difference
from regraft.evaluation.paired_tests import SIGNIFICANCE, holm

PRIMARY = ("log_loss", "accuracy")  # the first that all pairs have decides


@dataclass(frozen=True)
class PairedDifference:
    """How far one thing that was compared exceeds another, on the photos that both were evaluated on.

    Attributes:
        a: one of them.
        b: the other one.
        metric: the figure's name.
        difference: a - b.
        low: of its 95 % interval; None where it is not known.
        high: likewise.
        verdict: "better", "worse" (a than b) or "not proven", by `p_corrected` and the interval.
        n: photos.
        p_value: two-sided; None where it is not known.
        p_corrected: for the number of pairs (Holm 1979).
        decides: whether this is the figure that decides; the others describe.
        only_a: photos that a alone answers rightly; None of figures that do not count right answers.
        only_b: likewise of b.
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    verdict: str
    n: int
    p_value: float | None = None
    p_corrected: float | None = None
    decides: bool = False
    only_a: int | None = None
    only_b: int | None = None

    def __str__(self) -> str:
        """Return the difference in words; of the figure that decides its verdict, too."""
        interval = "no interval" if self.low is None else f"[{self.low:+.3f}, {self.high:+.3f}]"
        said = f"{metric_in_words(self.metric)} {self.difference:+.3f} {interval}"
        if self.decides:
            proven = {"better": "proven better", "worse": "proven worse"}.get(self.verdict, "not proven")
            said += f", {proven}" + ("" if self.p_corrected is None else f" ({_p_in_words(self.p_corrected)})")
        return said


@dataclass(frozen=True)
class PairOfClassifiers:
    """What two classifiers differ in.

    Attributes:
        a: the name of one.
        b: of the other.
        differences: by metric.
        n: photos.
    """

    a: str
    b: str
    differences: Mapping[str, Difference]
    n: int


def judge_pairs(compared: Sequence[PairOfClassifiers]) -> list[PairedDifference]:
    """Return the differences of all pairs that are defined, with verdicts that hold for all pairs together.

    Of each figure the p-values of all pairs are corrected (Holm 1979): if nothing differs, the chance that any pair is
    called better or worse in the figure that decides is at most 5 %.
    """
    metrics = [name for name in dict.fromkeys(name for one in compared for name in one.differences)]
    primary = next((name for name in PRIMARY if all(name in one.differences for one in compared)), None)
    corrected: dict[tuple[int, str], float | None] = {}
    for metric in metrics:
        p_values = [one.differences[metric].p_value if metric in one.differences else None for one in compared]
        corrected |= {(number, metric): p for number, p in enumerate(holm(p_values))}
    pairs = []
    for number, one in enumerate(compared):
        for metric, found in one.differences.items():
            if not np.isfinite(found.value):
                continue
            low, high = found.interval or (None, None)
            p = corrected[number, metric]
            verdict = found.verdict if p is not None and p <= SIGNIFICANCE else "not proven"
            judged = PairedDifference(
                one.a, one.b, metric, found.value, low, high, verdict, one.n, found.p_value, p, metric == primary,
                found.only_a, found.only_b,
            )  # fmt: skip
            pairs.append(judged)
    return pairs


def decision_in_words(pairs: Sequence[PairedDifference]) -> str:
    """Return a sentence on which figure decides, and by which test; "" where there is nothing to decide."""
    deciding = [pair for pair in pairs if pair.decides]
    if not deciding:
        return ""
    why = "" if deciding[0].metric == PRIMARY[0] else " (not all probabilities are calibrated)"
    count = sum(pair.p_value is not None for pair in deciding)
    level = f"{SIGNIFICANCE:.0%}".replace("%", " %")
    over = f" over all {count} comparisons together (Holm: each p is corrected for them)" if count > 1 else ""
    return f"{metric_in_words(deciding[0].metric).capitalize()} decides{why}, at {level}{over}; other figures describe."


def metric_in_words(metric: str) -> str:
    """Return what people call a figure."""
    return "AUC" if metric == "auc" else metric.replace("_", " ")


def _p_in_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
