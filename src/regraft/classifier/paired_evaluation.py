"""Several finished classifiers on the same photos, which none was trained on: figures side by side, and differences."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from regraft.classifier.classifier import Classifier
from regraft.classifier.evaluate import CHOSE, chose_beside_new
from regraft.classifier.full_report import Answers
from regraft.classifier.predict import Predictor
from regraft.classifier.record import EvaluationRecord
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, option, printable, shortlist
from regraft.evaluation.paired import paired_differences
from regraft.evaluation.pairwise import (
    PairedDifference,
    PairOfClassifiers,
    decision_in_words,
    judge_pairs,
    metric_in_words,
)
from regraft.evaluation.report import Report, check_positive
from regraft.evaluation.report_fields import Estimate
from regraft.evaluation.report_lines import never_answered_lines, padded
from regraft.features.extraction import Features
from regraft.features.pictures import join_pictures
from regraft.progress import Observer

_SHOWN = ("accuracy", "balanced_accuracy", "auc", "average_precision", "log_loss", "brier")


@dataclass(frozen=True, eq=False)
class PairedEvaluation:
    """How several classifiers did on the same photos.

    Attributes:
        records: of each, by its name, in the order that they were given.
        pairs: every figure's difference, each classifier less each one before it.
        unreadable: names of photos that could not be read.
        trained_on: how many photos were left out, as at least one of the classifiers was trained on them.
        seconds: of the whole work.
    """

    records: Mapping[str, EvaluationRecord]
    pairs: list[PairedDifference]
    unreadable: tuple[str, ...]
    trained_on: int
    seconds: float

    @property
    def reports(self) -> dict[str, Report]:
        """Return the figures of each classifier."""
        return {name: record.report for name, record in self.records.items() if record.report is not None}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        first = next(iter(self.reports.values()))
        return {
            "n": first.n,
            "classes": list(first.classes),
            "estimate": first.estimate,
            "classifiers": [{"classifier": name, **record.to_json()} for name, record in self.records.items()],
            "pairs": [asdict(pair) for pair in self.pairs],
            "decision": decision_in_words(self.pairs),
            "trained_on": self.trained_on,
            "unreadable": list(self.unreadable),
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        """Return a table of the figures, the differences in words, and what was left out, for a terminal."""
        first = next(iter(self.reports.values()))
        kinds = {report.estimate for report in self.reports.values()}
        estimate = " and ".join(sorted(kinds))  # each file's own: photos may have evaluated one of them in its fit
        head = f"{estimate}, n = {first.n:,}, {len(first.classes):,} classes; 95 % intervals in brackets"
        lines = [head, "", *self._table()]
        for name, report in self.reports.items():
            lines += [printable(f"{name}: decided by {report.decided_by}")] if report.decided_by else []
            lines += [printable(f"{name}: {line.strip()}") for line in never_answered_lines(report.never_answered)]
        lines += ["", decision_in_words(self.pairs)]
        for a, b in dict.fromkeys((pair.a, pair.b) for pair in self.pairs):
            lines += ["", f"{printable(a)} against {printable(b)}:"]
            own = sorted((pair for pair in self.pairs if (pair.a, pair.b) == (a, b)), key=lambda pair: not pair.decides)
            lines += [f"  {pair}{_counts(pair)}" for pair in own if pair.metric in _SHOWN]
        if self.trained_on:
            lines += ["", f"left out, as one of the classifiers was trained on them: {self.trained_on:,}"]
        if self.unreadable:
            lines += ["", f"left out, as they cannot be read: {len(self.unreadable):,}\n{shortlist(self.unreadable)}"]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        reports = self.reports
        metrics = [name for name in _SHOWN if name in next(iter(reports.values())).figures]
        rows = [["", *map(metric_in_words, metrics)]]
        for name, report in reports.items():
            rows.append([printable(name), *(_figure(report, metric) for metric in metrics)])
        baseline = {"accuracy": f"{next(iter(reports.values())).majority_share:.3f}"}
        rows.append(["always the largest class", *(baseline.get(metric, "") for metric in metrics)])
        return padded(rows)


def _figure(report: Report, metric: str) -> str:
    value, interval = report.figures[metric], report.intervals[metric]
    if value is None:
        return "not defined"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _counts(pair: PairedDifference) -> str:
    """Return how many photos the one alone and the other alone answers rightly, beside accuracy."""
    if pair.metric != "accuracy":
        return ""
    return f"; right alone: {pair.only_a:,} against {pair.only_b:,} photos"


@dataclass(frozen=True, eq=False)
class _Answers:
    """What one classifier says of n photos.

    Attributes:
        classifier: that.
        dataset: the photos.
        probabilities: (n, c) in the order of the first classifier's classes.
        decisions: (n,) classes that are answered, in that order, too; None where the most probable ones are.
        seen: (n,) booleans by role: "training", "files" (of these, equal files) and "validation".
        features: that they rest on.
    """

    classifier: Classifier
    dataset: Dataset
    probabilities: np.ndarray
    decisions: np.ndarray | None
    seen: Mapping[str, np.ndarray]
    features: Features

    def select(self, positions: np.ndarray) -> "_Answers":
        """Return what it says of the photos that stood at these positions among all that were found."""
        places = np.searchsorted(self.dataset.positions, positions)
        return replace(
            self,
            dataset=self.dataset.select(places),
            probabilities=self.probabilities[places],
            decisions=None if self.decisions is None else self.decisions[places],
            seen={role: mask[places] for role, mask in self.seen.items()},
        )

    @property
    def estimate(self) -> Estimate:
        """Return what its figures are."""
        return "validation" if self.seen["validation"].any() else "test"

    def nested(self) -> "_Answers":
        """Return answers in which photos that chose the rule in the fit are answered by what the others choose."""
        decision, classes = self.classifier.decision, self.classifier.classes
        if decision is None or self.estimate != "validation":
            return self
        order = [self.dataset.classes.index(name) for name in classes]
        own = self.dataset.with_labels(np.argsort(order)[self.dataset.labels], classes)
        found = Answers.on(decision, own, self.probabilities[:, order], self.estimate)
        return replace(self, decisions=np.array(order)[found.labels])

    def record(self, positive: str | None, seed: int) -> EvaluationRecord:
        """Return its figures."""
        classifier, dataset = self.classifier, self.dataset
        report = Report.from_probabilities(
            self.probabilities,
            dataset.labels,
            dataset.classes,
            estimate=self.estimate,
            positive=positive,
            groups=dataset.groups,
            decisions=self.decisions,
            decided_by="" if classifier.decision is None else classifier.decision.in_words(classifier.classes),
            seed=seed,
        )
        return EvaluationRecord(
            report=report,
            model=classifier.model,
            strategy=classifier.strategy,
            temperature=classifier.temperature,
            engine=self.features.engine,
        )


def evaluate_paired(
    classifiers: Mapping[str, Classifier],
    samples: Samples,
    *,
    compute: Compute | None = None,
    positive: str | None = None,
    seed: int = 0,
    near: bool = True,
    observer: Observer | None = None,
) -> PairedEvaluation:
    """Evaluate classifiers on the same photos; those that any of them was trained on are left out for all.

    Args:
        classifiers: two or more of the same classes, in any order of these, by name.
        samples: labelled photos.
        compute: device, engine, batch size and cache.
        positive: the class that AUC and average precision are of, where there are two; default the second of the first
            classifier.
        seed: of the draws.
        near: whether a training photo that was edited counts as such; False takes it for a new one.
        observer: hears findings and progress.

    Raises:
        DataError: a class that the classifiers do not know, or no photo that none was trained on.
        OptionError: classifiers of different classes, or a value that is not allowed.
    """
    observer = observer or Observer()
    started = time.monotonic()
    classes = _common_classes(classifiers)
    check_positive(positive, classes)
    aligned = next(iter(classifiers.values())).align(samples).aligned(classes)
    answers = _answer(classifiers, aligned, compute, near=near, observer=observer)
    lost = {photo.position: photo.name for one in answers.values() for photo in one.dataset.unreadable}
    chosen, trained_on = _unseen(list(answers.values()), samples, observer)
    answers = {name: one.select(chosen) for name, one in answers.items()}
    answers = {name: one.nested() for name, one in answers.items()}
    records = {name: one.record(positive, seed) for name, one in answers.items()}
    number = None
    if len(classes) == 2:
        number = classes.index(positive) if positive else 1
    names = list(answers)
    pairs = judge_pairs(
        [
            _pair_of((a, answers[a]), (b, answers[b]), positive=number, seed=seed)
            for place, b in enumerate(names)
            for a in names[place + 1 :]
        ]
    )
    unreadable = tuple(lost[position] for position in sorted(lost))
    return PairedEvaluation(records, pairs, unreadable, trained_on, time.monotonic() - started)


def _pair_of(
    first: tuple[str, _Answers], second: tuple[str, _Answers], *, positive: int | None, seed: int
) -> PairOfClassifiers:
    (a_name, a), (b_name, b) = first, second
    found = paired_differences(
        a.probabilities,
        b.probabilities,
        a.dataset.labels,
        positive=positive,
        groups=a.dataset.groups,
        decisions=(a.decisions, b.decisions),
        seed=seed,
    )
    return PairOfClassifiers(a_name, b_name, found, len(a.dataset))


def _common_classes(classifiers: Mapping[str, Classifier]) -> tuple[str, ...]:
    """Return the classes of the first classifier, which all others have, too."""
    if len(classifiers) < 2:
        got = "".join(f"{printable(name)} alone" for name in classifiers) or "none"
        raise OptionError(f"{option('classifiers')} must be two or more. Got {got}.")
    (name, first), *others = classifiers.items()
    for other, classifier in others:
        own, alien = (set(one) for one in (first.classes, classifier.classes))
        if own != alien:
            parts = [
                f"{printable(whose)} alone knows {', '.join(map(printable, sorted(names)[:10]))}"
                for whose, names in ((name, own - alien), (other, alien - own))
                if names
            ]
            raise OptionError(
                f"{printable(name)} and {printable(other)} cannot be compared, as their classes differ: "
                f"{'; '.join(parts)}. Evaluate each by itself, or fit both on the same classes."
            )
    return first.classes


def _answer(
    classifiers: Mapping[str, Classifier], samples: Samples, compute: Compute | None, *, near: bool, observer: Observer
) -> dict[str, _Answers]:
    """Return what each classifier says. Those that read by the same black and white look at the photos once."""
    opened: dict[object, Dataset] = {}
    answers = {}
    for name, classifier in classifiers.items():
        predictor, ranges = Predictor(classifier, compute, observer), classifier.backbone.preprocess.ranges
        if ranges not in opened:
            (opened[ranges],) = join_pictures([predictor.open(samples)], predictor.compute, observer, near=near)
        dataset, features = predictor.features(opened[ranges])
        order = [classifier.classes.index(one) for one in samples.classes]
        seen = {role: classifier.recognises(dataset, role, near=near) for role in ("training", "validation")}
        seen["files"] = classifier.was_seen(dataset.keys, "training")
        probabilities = classifier.probabilities(features.values)
        by_rule = None if classifier.decision is None else np.argsort(order)[classifier.answers(probabilities)]
        answers[name] = _Answers(classifier, dataset, probabilities[:, order], by_rule, seen, features)
    return answers


def _unseen(answers: Sequence[_Answers], samples: Samples, observer: Observer) -> tuple[np.ndarray, int]:
    """Return the positions of photos that all can read and none was trained on, and how many some were trained on."""
    common = answers[0].dataset.positions
    for one in answers[1:]:
        common = np.intersect1d(common, one.dataset.positions)
    known = [one.select(common) for one in answers]
    trained, files = (np.any([one.seen[role] for one in known], axis=0) for role in ("training", "files"))
    if trained.all():
        raise DataError(
            f"{samples.where}: on each of these {len(trained):,} photos at least one of the classifiers was trained, "
            "so that they cannot evaluate all. Name photos that none of them has seen."
        )
    reasons = {
        "were trained on by at least one classifier": files,
        "show the same picture as a photo that at least one classifier was trained on": trained & ~files,
    }
    apart = chose_beside_new(np.any([one.seen["validation"] for one in known], axis=0), trained)
    reasons[CHOSE.replace("the classifier", "at least one classifier")] = apart
    known[0].dataset.leave_out(reasons, observer).say_absent_classes(observer)
    return common[~(trained | apart)], int(trained.sum())
