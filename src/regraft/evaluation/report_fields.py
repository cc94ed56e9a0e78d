"""What a report is in JSON: its fields, with the type and the limits of each."""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from regraft.evaluation.conformal import ConformalFigures
from regraft.evaluation.decisions import MOST_PROBABLE
from regraft.evaluation.figures import ClassFigures, ReliabilityBin
from regraft.evaluation.metrics import METRICS
from regraft.evaluation.operating_points import OperatingPoints
from regraft.evaluation.trade_offs import TradeOffs
from regraft.validation import ROUNDING, Bounds, Count, Fraction

Estimate = Literal["out-of-fold", "validation", "test"]
ESTIMATES: tuple[Estimate, ...] = get_args(Estimate)


class ReportFields(Struct):
    """What `Report.to_json` writes, except the figures, which `METRICS` describes."""

    n: Annotated[int, Meta(ge=1)]
    classes: tuple[str, ...]
    estimate: Estimate
    accuracy: Fraction
    accuracy_interval: Bounds
    intervals: dict[str, Bounds]
    per_class: dict[str, ClassFigures]
    confusion: list[list[Count]]
    majority_share: Fraction
    majority_interval: Bounds = None
    reliability: tuple[ReliabilityBin, ...] = ()
    positive: str | None = None
    folds: Count | None = None
    decided_by: str = ""
    operating_points: OperatingPoints | None = None
    trade_offs: TradeOffs | None = None
    conformal: ConformalFigures | None = None

    def __post_init__(self) -> None:
        """Check that all tables are of the same classes."""
        count = len(self.classes)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError(f"confusion must have {count} rows and columns, one for each class")
        if set(self.per_class) != set(self.classes):
            raise ValueError("per_class must have the classes")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError("positive must be one of the classes")
        if self.decided_by == MOST_PROBABLE:
            self.decided_by = ""
        for table in (self.operating_points, self.trade_offs):
            if table is not None and table.of not in self.classes:
                raise ValueError("operating_points.of and trade_offs.of must be one of the classes")
        if self.conformal is not None and set(self.conformal.per_class) != set(self.classes):
            raise ValueError("conformal.per_class must have the classes")


def figure_fields() -> type[Struct]:
    """Return a description of the figures in JSON: each within the limits of its metric, null or absent."""
    fields: list[tuple[str, Any, Any]] = []
    for metric in METRICS.values():
        low, high = metric.limits
        limited = Annotated[float, Meta(ge=low - ROUNDING, le=high + ROUNDING)]
        fields.append((metric.name, limited | None | UnsetType, UNSET))
    return msgspec.defstruct("Figures", fields)
