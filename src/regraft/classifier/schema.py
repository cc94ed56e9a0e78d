"""The description in a bundle, with the type and the limits of each field; checked when it is read."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from regraft.classifier.labels import make_labels
from regraft.data.taxonomy import Taxonomy
from regraft.evaluation.decisions import Decision
from regraft.evaluation.report import Report
from regraft.evaluation.tree_figures import TreeFigures
from regraft.images.preprocess import CROP_MODES
from regraft.images.resizing import INTERPOLATIONS
from regraft.images.value_range import KINDS
from regraft.networks.recipe import LARGEST_CROP, LARGEST_SIDE
from regraft.validation import Bounds, Count, Number, convert

LARGEST_WIDTH = 1_000_000  # of a map, in units
Side = Annotated[int, Meta(ge=1, le=LARGEST_SIDE)]
Channels = tuple[Number, Number, Number]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
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
    ranges: dict[str, tuple[Number, Number]] = {}

    def __post_init__(self) -> None:
        """Check the fields that have a fixed set of values."""
        for name, allowed in (("crop_mode", CROP_MODES), ("interpolation", tuple(INTERPOLATIONS))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}")
        for kind, (low, high) in self.ranges.items():
            if kind not in KINDS or not low < high:
                raise ValueError(f"ranges must be of {', '.join(KINDS)}, the lower value first")


class EngineFields(Struct):
    """The fields of an `EngineChoice`."""

    engine: str
    machine: str


class AttemptFields(Struct):
    """The fields of an `Attempt`."""

    strategy: str = ""
    log_loss: Number | None = None
    gain: Number | None = None
    gain_interval: Bounds = None
    stopped: bool = False


class OverBudgetFields(Struct):
    """The fields of an `OverBudget`."""

    strategy: str = ""


class FeatureTrialFields(Struct):
    """The fields of a `FeatureTrial`."""

    features: Literal["last", "late", "all"]
    accuracy: Number
    log_loss: Number
    accuracy_difference: Number
    log_loss_difference: Number
    accuracy_interval: Bounds = None
    log_loss_interval: Bounds = None
    learned_from: Count | None = None


class ViewTrialFields(Struct):
    """The fields of a `ViewTrial`."""

    tta: Literal["none", "flip", "crops"]
    log_loss: Number
    gain: Number
    accuracy_gain: Number
    gain_interval: Bounds = None
    accuracy_interval: Bounds = None


class NetworkTrialFields(Struct):
    """The fields of a `NetworkTrial`."""

    model: str
    multiply_adds: Count
    sample_log_loss: Number | None = None
    log_loss: Number | None = None
    log_loss_difference: Number | None = None
    log_loss_interval: Bounds = None
    left_out: str = ""


class GroupFields(Struct):
    """The fields of a `GroupFigures`."""

    name: str
    photos: Count
    accuracy: Share
    accuracy_interval: tuple[Share, Share]


class FindingFields(Struct):
    """The fields of a `FindingCount`."""

    kind: str
    severity: Literal["high", "medium", "low"]
    count: Count
    said: str = ""


class RecordFields(Struct):
    """The fields of a `FitRecord` besides its report."""

    strategy: str = ""
    trained: str = ""
    frozen: str = ""
    model: str = ""
    engine: str = ""
    temperature: Number | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    train_from: str | None = None
    train_only: str | None = None
    lora: Count = 0
    head: Literal["logistic", "discriminant"] = "logistic"
    class_weight: str | None = None
    unreadable: list[str] = []
    tried: list[AttemptFields] = []
    over_budget: list[OverBudgetFields] = []
    reason: str = ""
    features: str = "last"
    stages: list[str] = []
    features_tried: list[FeatureTrialFields] = []
    networks_tried: list[NetworkTrialFields] = []
    tta: Literal["none", "flip", "crops"] = "none"
    views_tried: list[ViewTrialFields] = []
    findings: list[FindingFields] = []
    by_group: list[GroupFields] = []
    group_column: str = ""
    class_counts: list[Count] = []
    groups: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    taxonomy: TreeFigures | None = None


class DepthFields(Struct):
    """The fields of a `Depth`."""

    stage: str
    module: str
    side: Literal["input", "output"]
    layout: Literal["b c h w", "b h w c", "b n c"]
    skipped: Count
    units: Annotated[int, Meta(ge=1, le=LARGEST_WIDTH)]


class NetworkFields(Struct, kw_only=True):
    """One network, and which of its depths the head sees."""

    architecture: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]+$")]
    arguments: dict[str, Any]
    settings: dict[str, Any]
    preprocess: PreprocessFields
    weights_source: str
    engine: EngineFields | None = None
    depths: list[DepthFields] = []
    first_depth: Count = 0

    def check(self) -> None:
        """Raise `ValueError` for what does not fit together."""
        if self.first_depth > len(self.depths):
            raise ValueError(f"first_depth must be at most {len(self.depths)}, the number of depths")


class Description(NetworkFields, kw_only=True):
    """The description in a bundle, without its digest."""

    format: Literal[1, 2, 3, 4]
    classes: Annotated[list[str], Meta(min_length=2)]
    label_type: str
    model: str
    strategy: str
    temperature: Annotated[float, Meta(ge=1e-3, le=1e3)]
    head_strength: Annotated[float, Meta(ge=0.0, le=1e300)]
    numbers: dict[str, Any]
    head: str = "linear"
    label_dtype: str = ""
    joined: list[NetworkFields] = []
    decision: dict[str, Any] | None = None
    tta: Literal["none", "flip", "crops"] = "none"
    taxonomy: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check what concerns several fields."""
        for network in (self, *self.joined):
            network.check()
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")
        make_labels(self.classes, self.label_type, self.label_dtype)
        convert(self.numbers, RecordFields)
        if "confusion" in self.numbers and list(Report.from_json(self.numbers).classes) != self.classes:
            raise ValueError("numbers must be of the same classes")
        for part in filter(None, (self.numbers.get("groups"),)):
            if list(Report.from_json(part).classes) != self.classes:
                raise ValueError("numbers.groups must be of the same classes")
        if self.numbers.get("class_counts") and len(self.numbers["class_counts"]) != len(self.classes):
            raise ValueError("numbers.class_counts must have one number for each class")
        if self.taxonomy is not None:
            tree = Taxonomy.from_json(self.taxonomy)
            if not all(name in tree for name in self.classes):
                raise ValueError("taxonomy must have all classes")
        if self.decision is not None:
            Decision.from_json(self.decision, self.classes)
