"""What a bundle must say of itself, type by type and bound by bound: one description, checked when it is read."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from regraft.data.preprocess import CROP_MODES, INTERPOLATIONS
from regraft.networks.registry import LARGEST_CROP, LARGEST_SIDE

Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=-1e-6, le=1 + 1e-6)]  # rounding
Side = Annotated[int, Meta(ge=1, le=LARGEST_SIDE)]
Bounds = tuple[Number, Number] | None
Channels = tuple[Number, Number, Number]
Deviation = Annotated[float, Meta(gt=0.0, le=1e300)]


class PreprocessFields(Struct):
    """The fields of a `Preprocess`."""

    height: Side
    width: Side
    crop_pct: Annotated[float, Meta(gt=0.0, le=LARGEST_CROP)]
    crop_mode: str
    interpolation: str
    mean: Channels
    std: tuple[Deviation, Deviation, Deviation]

    def __post_init__(self) -> None:
        """Check what is one of several."""
        for name, allowed in (("crop_mode", CROP_MODES), ("interpolation", tuple(INTERPOLATIONS))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}")


class EngineFields(Struct):
    """The fields of an `EngineChoice`."""

    engine: str
    machine: str


class ClassFigures(Struct):
    """What a report says of one class."""

    support: Count
    precision: Share | None
    recall: Share | None
    f1: Share | None
    recall_interval: Bounds
    precision_interval: Bounds


class ReliabilityBin(Struct):
    """A bin of a reliability diagram."""

    n: Count
    confidence: Share
    accuracy: Share
    interval: Bounds


class Training(Struct):
    """How a classifier was trained, as far as its figures say it."""

    strategy: str = ""
    trained: str = ""
    frozen: str = ""
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    train_from: str | None = None
    train_only: str | None = None
    lora: Count = 0
    unreadable: list[str] = []
    tried: list[dict[str, Any]] = []
    reason: str = ""


class Report(Struct):
    """What `evaluation.report.Report.to_json` writes."""

    n: Annotated[int, Meta(ge=1)]
    classes: list[str]
    estimate: str
    accuracy: Share
    accuracy_interval: Bounds
    intervals: dict[str, Bounds]
    per_class: dict[str, ClassFigures]
    confusion: list[list[Count]]
    majority_share: Share
    reliability: list[ReliabilityBin] = []
    positive: str | None = None
    balanced_accuracy: Number | None = None
    top5_accuracy: Number | None = None
    auc: Number | None = None
    average_precision: Number | None = None
    log_loss: Number | None = None
    brier: Number | None = None
    ece: Number | None = None

    def __post_init__(self) -> None:
        """Check that all tables are of the same classes."""
        count = len(self.classes)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError(f"confusion must have {count} rows and columns, one for each class")
        if set(self.per_class) != set(self.classes):
            raise ValueError("per_class must have the classes")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError("positive must be one of the classes")


class Description(Struct):
    """What a bundle says of itself, besides its digest."""

    format: Literal[1]
    classes: Annotated[list[str], Meta(min_length=2)]
    label_type: Literal["str", "int", "float", "bool"]
    model: str
    strategy: str
    temperature: Annotated[float, Meta(ge=1e-3, le=1e3)]
    head_strength: Annotated[float, Meta(ge=0.0, le=1e300)]
    architecture: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]+$")]
    arguments: dict[str, Any]
    settings: dict[str, Any]
    preprocess: PreprocessFields
    weights_source: str
    numbers: dict[str, Any]
    engine: EngineFields | None = None

    def __post_init__(self) -> None:
        """Check what no single type says."""
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")
        kinds = {"int": int, "float": float, "str": str, "bool": {"True": True, "False": False}.__getitem__}
        for name in self.classes:
            try:
                kinds[self.label_type](name)  # type: ignore[operator]
            except (ValueError, KeyError):
                raise ValueError(f"classes must be of label_type {self.label_type}. Got {name!r}") from None
        convert(self.numbers, Training)
        if "confusion" in self.numbers and convert(self.numbers, Report).classes != self.classes:
            raise ValueError("numbers must be of the same classes")


def convert(data: Any, kind: Any) -> Any:
    """Return plain JSON types as `kind`.

    Raises:
        ValueError: they are not so; the text names the field, what is allowed and what is there.
    """
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
