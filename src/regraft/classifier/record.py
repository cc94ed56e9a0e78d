"""Records: a report with how it came about, as commands print it and files keep it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from regraft.classifier.full_report import GroupReport
from regraft.classifier.group_figures import GroupFigures, group_table
from regraft.data.findings import FindingCount
from regraft.errors import shortlist
from regraft.evaluation.intervals import Interval
from regraft.evaluation.report import Report
from regraft.evaluation.tree_figures import TreeFigures
from regraft.features.extraction import Features
from regraft.heads.head_choice import LOGISTIC

_PLAIN = (
    "seed", "train_from", "train_only", "lora", "head", "class_weight", "trained", "frozen", "reason", "features",
    "tta", "group_column",
)  # fields of a `FitRecord` that a file holds as they are  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """What differs from run to run of the same command, and is not kept in its file.

    Attributes:
        seconds: of the whole work.
        extraction_seconds: of the features.
        images_computed: how many photos went through the network; the others came from the cache.
        training_seconds: of cross-validated training; None where there was none.
    """

    seconds: float
    extraction_seconds: float
    images_computed: int
    training_seconds: float | None = None

    @classmethod
    def of(cls, parts: Sequence[Features], seconds: float, training_seconds: float | None = None) -> Self:
        """Return the timing of work of `seconds` on photos with these features."""
        computed = sum(part.computed for part in parts)
        return cls(seconds, sum(part.seconds for part in parts), computed, training_seconds)

    @property
    def images_per_second(self) -> float | None:
        """Return how fast features were computed; None where none were."""
        return self.images_computed / self.extraction_seconds if self.images_computed else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, seconds to the millisecond."""
        rate = self.images_per_second
        found: dict[str, Any] = {
            "seconds": round(self.seconds, 3),
            "extraction_seconds": round(self.extraction_seconds, 3),
            "images_computed": self.images_computed,
            "images_per_second": None if rate is None else round(rate, 1),
        }
        return found if self.training_seconds is None else found | {"training_seconds": round(self.training_seconds, 3)}


@dataclass(frozen=True)
class Attempt:
    """What one strategy that "auto" tried came to.

    Attributes:
        strategy: what was trained.
        log_loss: mean (nats), on held-out photos; None if it was stopped, or in a file that does not hold it.
        gain: of log loss over the last layer alone; likewise.
        gain_interval: 95 %; None where it is not known.
        seconds: of its training, over all folds; until it was stopped; None where it was read from a file.
        stopped: whether it was stopped, as it would not have ended within the budget.
    """

    strategy: str
    log_loss: float | None
    gain: float | None
    gain_interval: Interval | None
    seconds: float | None = None
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found = asdict(self) | {"gain_interval": self.gain_interval and list(self.gain_interval)}
        return {name: found[name] for name in found if not (name == "seconds" and self.seconds is None)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        interval = found.get("gain_interval")
        return cls(
            found.get("strategy", ""),
            found.get("log_loss"),
            found.get("gain"),
            None if interval is None else (interval[0], interval[1]),
            found.get("seconds"),
            found.get("stopped", False),
        )


@dataclass(frozen=True)
class FeatureTrial:
    """What a last layer on one choice of features came to, on photos that it did not learn from.

    Attributes:
        features: "last", "late" or "all".
        accuracy: share of right answers.
        log_loss: mean (nats).
        accuracy_difference: to the choice that was made.
        accuracy_interval: 95 % of that; None where it is not known.
        log_loss_difference: likewise.
        log_loss_interval: likewise.
        learned_from: the photos of the sample that all choices learned from to be compared; None: all photos.
    """

    features: str
    accuracy: float
    log_loss: float
    accuracy_difference: float
    accuracy_interval: Interval | None
    log_loss_difference: float
    log_loss_interval: Interval | None
    learned_from: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        bounds = {"accuracy_interval": self.accuracy_interval, "log_loss_interval": self.log_loss_interval}
        return asdict(self) | {name: pair and list(pair) for name, pair in bounds.items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        bounds = {name: found[name] and tuple(found[name]) for name in ("accuracy_interval", "log_loss_interval")}
        return cls(**{**found, **bounds})


@dataclass(frozen=True)
class ViewTrial:
    """What answers that are means over views of a photo came to, on photos that were held out.

    Attributes:
        tta: the views, a row of `images.tta.TTA`.
        log_loss: mean (nats).
        gain: of log loss, over answers of the photo alone.
        accuracy_gain: likewise.
        gain_interval: 95 %; None where it is not known.
        accuracy_interval: likewise.
    """

    tta: str
    log_loss: float
    gain: float
    accuracy_gain: float
    gain_interval: Interval | None = None
    accuracy_interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        bounds = {"gain_interval": self.gain_interval, "accuracy_interval": self.accuracy_interval}
        return asdict(self) | {name: pair and list(pair) for name, pair in bounds.items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        bounds = {name: found.get(name) and tuple(found[name]) for name in ("gain_interval", "accuracy_interval")}
        return cls(**{**found, **bounds})


@dataclass(frozen=True)
class OverBudget:
    """A strategy that "auto" could not try within its budget, or not to its end.

    Attributes:
        strategy: what was to be trained.
        seconds: that trying it takes, an estimate; None where it was read from a file.
        budget: the option that would let it, as the user writes it; "" where it was read from a file.
    """

    strategy: str
    seconds: float | None = None
    budget: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        timed = {} if self.seconds is None else {"seconds": self.seconds, "budget": self.budget}
        return {"strategy": self.strategy, **timed}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        return cls(found.get("strategy", ""), found.get("seconds"), found.get("budget", ""))


@dataclass(frozen=True, kw_only=True)
class NetworkTrial:
    """What one of the networks that were to be chosen from came to, with a new last layer alone.

    Attributes:
        model: its name.
        multiply_adds: of one image, what its cost is taken to be.
        sample_log_loss: mean (nats), out-of-fold on a part of the photos, by which networks are ranked; None where all
            are few enough to be tried, or time did not suffice.
        log_loss: likewise of all photos; None where it was left out.
        log_loss_difference: to the network that was chosen.
        log_loss_interval: 95 % of that; None where it is not known.
        left_out: why it was not tried on all photos; "" where it was.
        seconds: of its features and last layers; None where it was read from a file.
    """

    model: str
    multiply_adds: int
    sample_log_loss: float | None = None
    log_loss: float | None = None
    log_loss_difference: float | None = None
    log_loss_interval: Interval | None = None
    left_out: str = ""
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found = asdict(self) | {"log_loss_interval": self.log_loss_interval and list(self.log_loss_interval)}
        return {name: value for name, value in found.items() if not (name == "seconds" and value is None)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        bounds = found.get("log_loss_interval")
        return cls(**{**found, "log_loss_interval": bounds and tuple(bounds)})


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """How a classifier did on photos, and how that was found.

    Attributes:
        report: the figures; None in a file that holds none.
        model: the network as the user named it.
        strategy: how it was trained.
        temperature: of its logits.
        engine: what ran the network.
        unreadable: names of photos that could not be read.
        timing: None where it was read from a file.
        trained_on: how many photos were left out, as the classifier was trained on them; None of a fit.
        groups: the figures by patient, or whatever groups are; None where there are none.
        decision: the rule that answers, as `Decision.to_json` has it; None where the most probable class does.
        taxonomy: the figures at every level of the tree that the classes lie in; None where there is none.
    """

    report: Report | None
    model: str
    strategy: str
    temperature: float | None
    engine: str = ""
    unreadable: tuple[str, ...] = ()
    timing: Timing | None = None
    trained_on: int | None = None
    groups: GroupReport | None = None
    decision: Mapping[str, Any] | None = None
    taxonomy: TreeFigures | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found = {} if self.report is None else self.report.to_json()
        found |= {"model": self.model, "strategy": self.strategy, "temperature": self.temperature}
        found |= {"engine": self.engine, "unreadable": list(self.unreadable), "decision": self.decision}
        found |= {} if self.timing is None else self.timing.to_json()
        found |= {} if self.groups is None else {"groups": self.groups.to_json()}
        found |= {} if self.taxonomy is None else {"taxonomy": self.taxonomy.to_json()}
        return found if self.trained_on is None else found | {"trained_on": self.trained_on}

    @property
    def tables(self) -> list[str]:
        """Return what there is besides the report, for a terminal: figures by patient, of levels of a tree."""
        return [str(part) for part in (self.groups, self.taxonomy) if part is not None]

    def __str__(self) -> str:
        """Return the report for a terminal, and what was left out of it."""
        lines = ["no figures are known" if self.report is None else str(self.report), ""]
        lines += [line for table in self.tables for line in (table, "")]
        if self.trained_on:
            lines.append(f"  left out, as the classifier was trained on them: {self.trained_on:,}")
        if self.unreadable:
            names = shortlist(self.unreadable)
            lines.append(f"  left out, as they cannot be read: {len(self.unreadable):,}\n{names}")
        return "\n".join(lines).rstrip()


@dataclass(frozen=True, kw_only=True)
class FitRecord(EvaluationRecord):
    """How a classifier was made, and its figures.

    Attributes:
        seed: of folds, views and training.
        train_from: the first stage that was trained, if the user named it.
        train_only: the one stage that was trained.
        lora: rank of the adapters, 0 for none.
        head: how the last layer was fitted on features, `heads.head_choice`; what fine-tuning started from.
        class_weight: how much photos of each class counted, as it was given; None for all alike.
        trained: what was trained, in words.
        frozen: "0 of N frozen tensors changed".
        tried: what "auto" tried; None where there was nothing to choose.
        over_budget: what it did not try, or not to its end, for lack of time.
        reason: why it chose as it did; likewise.
        features: what the last layer sees: "last", "late" or "all".
        stages: the depths that it sees besides the network's own features, from pixels on.
        features_tried: what each choice of features came to; nothing where there was nothing to choose.
        networks_tried: the networks that were chosen from, the cheapest first; nothing where one was named.
        tta: the views of a photo that an answer is the mean of, a row of `images.tta.TTA`.
        views_tried: what "auto" tried of these; nothing where they were named.
        by_group: the figures of each group that was left out, the lowest accuracy first; nothing where folds were none.
        findings: what an audit of the photos found, without their names.
        group_column: what these groups are, as the user called them; "" where nobody did.
        class_counts: photos of each class that were learned from, in class order; nothing in older files.
    """

    seed: int = 0
    train_from: str | None = None
    train_only: str | None = None
    lora: int = 0
    head: str = LOGISTIC
    class_weight: str | None = None
    trained: str = ""
    frozen: str = ""
    tried: tuple[Attempt, ...] | None = None
    over_budget: tuple[OverBudget, ...] = ()
    reason: str | None = None
    features: str = "last"
    stages: tuple[str, ...] = ()
    features_tried: tuple[FeatureTrial, ...] = ()
    networks_tried: tuple[NetworkTrial, ...] = ()
    tta: str = "none"
    views_tried: tuple[ViewTrial, ...] = ()
    by_group: tuple[GroupFigures, ...] = ()
    group_column: str = ""
    findings: tuple[FindingCount, ...] = ()
    class_counts: tuple[int, ...] = ()

    @property
    def features_asked(self) -> str:
        """Return the option that gave `features`: "auto" where choices were tried, else what was named."""
        return "auto" if self.features_tried else self.features

    @property
    def tables(self) -> list[str]:
        """Return the same, and the figures of each group that was left out."""
        by_group = [group_table(self.by_group, self.group_column)] if self.by_group else []
        return [*super().tables, *by_group]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found = super().to_json()
        found |= {name: getattr(self, name) for name in ("seed", "train_from", "train_only", "lora", "class_weight")}
        found |= {"trained": self.trained, "frozen": self.frozen}
        found |= {"features": self.features, "stages": list(self.stages)}
        found |= {"features_tried": [trial.to_json() for trial in self.features_tried]}
        if self.head != LOGISTIC:  # older versions know no other
            found |= {"head": self.head}
        if self.networks_tried:
            found |= {"networks_tried": [trial.to_json() for trial in self.networks_tried]}
        if self.tta != "none" or self.views_tried:
            found |= {"tta": self.tta, "views_tried": [trial.to_json() for trial in self.views_tried]}
        if self.by_group:
            found |= {"group_column": self.group_column, "by_group": [one.to_json() for one in self.by_group]}
        found |= {"findings": [one.to_json() for one in self.findings], "class_counts": list(self.class_counts)}
        if self.tried is not None:
            found |= {"tried": [attempt.to_json() for attempt in self.tried]}
            found |= {"over_budget": [one.to_json() for one in self.over_budget], "reason": self.reason}
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave, without its timing.

        Raises:
            ValueError: it is something else.
        """
        tried, plain = found.get("tried"), {name: found[name] for name in _PLAIN if name in found}
        return cls(
            report=Report.from_json(found) if "confusion" in found else None,
            model=found.get("model", ""),
            strategy=found.get("strategy", ""),
            temperature=found.get("temperature"),
            engine=found.get("engine", ""),
            decision=found.get("decision"),
            unreadable=tuple(found.get("unreadable", ())),
            tried=None if tried is None else tuple(Attempt.from_json(attempt) for attempt in tried),
            over_budget=tuple(map(OverBudget.from_json, found.get("over_budget", ()))),
            stages=tuple(found.get("stages", ())),
            features_tried=tuple(FeatureTrial.from_json(trial) for trial in found.get("features_tried", ())),
            networks_tried=tuple(NetworkTrial.from_json(trial) for trial in found.get("networks_tried", ())),
            views_tried=tuple(map(ViewTrial.from_json, found.get("views_tried", ()))),
            by_group=tuple(map(GroupFigures.from_json, found.get("by_group", ()))),
            findings=tuple(map(FindingCount.from_json, found.get("findings", ()))),
            class_counts=tuple(found.get("class_counts", ())),
            groups=None if found.get("groups") is None else GroupReport.from_json(found["groups"]),
            taxonomy=None if found.get("taxonomy") is None else TreeFigures.from_json(found["taxonomy"]),
            **plain,
        )
