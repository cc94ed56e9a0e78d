"""`compare`, `evaluate` and `evaluate_paired`, as the commands do, on folders, tables and lists of images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.api.arguments import columns_of, find_labelled, is_place, network_or_default, plain, split_options
from regraft.api.estimator import TransferClassifier
from regraft.api.log import LogObserver
from regraft.classifier.bundle import load_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.evaluate import evaluation_of
from regraft.classifier.named import bundle_file, check_network, load_network
from regraft.classifier.paired_evaluation import PairedEvaluation
from regraft.classifier.paired_evaluation import evaluate_paired as evaluate_classifiers
from regraft.classifier.record import EvaluationRecord
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import SPLITS, split_names
from regraft.data.samples import Samples, composed
from regraft.engines.compute import Compute
from regraft.errors import ModelError, OptionError, did_you_mean, option
from regraft.evaluation.goals import DecisionRequest
from regraft.extras import missing_packages_named
from regraft.networks.names import own_name
from regraft.options import check_settings, number, whole_number
from regraft.training.schedule import Schedule
from regraft.transfer.compare import Size
from regraft.transfer.compare import compare as compare_samples
from regraft.transfer.comparison import Comparison
from regraft.transfer.settings import DECIDE, JOIN, FitSettings
from regraft.transfer.strategies import STRATEGIES

_RULES = ("cost", "threshold", "balance")  # what decides without photos to be chosen on
_NOT_HERE = (
    "strategy",
    "force",
    "train_from",
    "train_only",
    "lora",
    "class_weight",
    *DECIDE,
    "budget",
    "restart",
)  # of `FitSettings`
_OF_PAIRED = ("classifiers", "groups", "split", "positive", "seed", "near_duplicates", *_RULES)  # of `evaluate_paired`
_OF_EVALUATE = (*_OF_PAIRED[1:], "classifier", "level")  # arguments of `evaluate`
_OWN = ("groups", "model", "strategies", "sizes", "budget", "schedule")  # arguments of `compare`


@missing_packages_named("regraft.evaluate")
def evaluate(
    classifier: TransferClassifier | Classifier | str | Path,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    split: str | None = None,
    positive: Any = None,
    seed: int = 0,
    near_duplicates: str | None = None,
    level: int | None = None,
    cost: str | None = None,
    threshold: str | float | None = None,
    balance: bool = False,
    **options: Any,
) -> EvaluationRecord:
    """Evaluate a classifier on labelled photos; those that it was trained on are left out.

    `print` shows the result; its `report` holds the figures, `trained_on` how many photos were left out as the
    classifier was trained on them, `unreadable` the names of those that cannot be read.

    Args:
        classifier: fitted, or the file of one.
        X: a folder or table, or n images, as for `TransferClassifier`.
        y: (n,) labels of n images; None for a folder or table.
        groups: (n,) what belongs together, which makes the intervals wider; of a table: `group_column`.
        split: "train", "validation" or "test" of a folder that has splits; None for test, else validation.
        positive: the class that AUC and average precision are of, where there are two; None for the second.
        seed: of the bootstrap.
        near_duplicates: "join", or "ignore" to take a training photo that was edited for a new one; None for what the
            estimator has, else "join".
        level: of the tree that the classes lie in, whose nodes the figures are of then; None for the classes.
        cost: what mistakes cost, "malignant:benign=20": the class with the least expected cost is answered, instead of
            by the classifier's own rule.
        threshold: 0.2, or "0.2 for malignant": the probability from which on a class is answered, likewise.
        balance: True answers as if all classes were equally frequent, likewise.
        options: columns of a table; `device`, `engine`, `batch_size`, `cache` and so on, fields of `Compute`; what is
            left out is as in an estimator.

    Raises:
        DataError: photos or labels that cannot be used, or no photo that it was not trained on.
        OptionError: a value that is not allowed.
        BundleError: a file that is no classifier.
    """
    named, given = split_options(options, "evaluate", Compute, own=_OF_EVALUATE)
    columns = columns_of(named, "evaluate")
    own = _own_arguments(positive, seed)
    if isinstance(classifier, TransferClassifier):
        compute, fitted = replace(classifier._options(Compute), **given), classifier._fitted()
        settings = classifier._options(FitSettings)
        if positive is None:
            own["positive"] = settings.positive
    else:
        compute, fitted, settings = Compute(**given), _classifier(classifier), FitSettings()
    if near_duplicates is not None:
        settings = replace(settings, near_duplicates=near_duplicates)
    check_settings(settings)
    request = _request(cost, threshold, balance)
    decided = fitted if level is not None else _decided(fitted, request, own["positive"])
    samples = _samples(X, y, groups, split, columns)
    return evaluation_of(
        decided,
        samples,
        compute=compute,
        observer=LogObserver(),
        near=settings.near_duplicates == JOIN,
        level=level,
        request=None if level is None else request,
        **own,
    ).record


def _own_arguments(positive: Any, seed: Any) -> dict[str, Any]:
    """Return the positive class as classes are written, and the seed, which must be one."""
    own = plain({"positive": composed(positive) if isinstance(positive, str) else positive, "seed": seed})
    if not whole_number(own["seed"], 0):
        raise OptionError(f"{option('seed')} must be a whole number from 0. Got {seed!r}.")
    return own


@missing_packages_named("regraft.evaluate_paired")
def evaluate_paired(
    classifiers: Mapping[str, TransferClassifier | Classifier | str | Path] | Sequence[Any],
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    split: str | None = None,
    positive: Any = None,
    seed: int = 0,
    near_duplicates: str = JOIN,
    cost: str | None = None,
    threshold: str | float | None = None,
    balance: bool = False,
    **options: Any,
) -> PairedEvaluation:
    """Evaluate two classifiers or more on the same labelled photos, and compare them pair by pair.

    Photos that any of them was trained on are left out for all. `print` shows the result; `reports` holds each one's
    figures, `pairs` every paired difference with its interval, p-value and verdict. Log loss decides; the tests of
    several pairs are corrected for their number.

    Args:
        classifiers: by name, or in a list, each fitted or the file of one; of the same classes.
        X: a folder or table, or n images, as for `TransferClassifier`.
        y: (n,) labels of n images; None for a folder or table.
        groups: (n,) what belongs together, which makes the intervals wider; of a table: `group_column`.
        split: "train", "validation" or "test" of a folder that has splits; None for test, else validation.
        positive: the class that AUC and average precision are of, where there are two; None for the second.
        seed: of the draws.
        near_duplicates: "join", or "ignore" to take a training photo that was edited for a new one.
        cost: what mistakes cost, "malignant:benign=20": the class with the least expected cost is answered, instead of
            by each one's own rule.
        threshold: 0.2, or "0.2 for malignant": the probability from which on a class is answered, likewise.
        balance: True answers as if all classes were equally frequent, likewise.
        options: columns of a table; `device`, `engine`, `batch_size`, `cache` and so on, fields of `Compute`.

    Raises:
        DataError: photos or labels that cannot be used, or no photo that none was trained on.
        OptionError: a value that is not allowed, or classifiers of different classes.
        BundleError: a file that is no classifier.
    """
    named, given = split_options(options, "evaluate_paired", Compute, own=_OF_PAIRED)
    columns = columns_of(named, "evaluate_paired")
    own = _own_arguments(positive, seed)
    check_settings(FitSettings(near_duplicates=near_duplicates))
    if isinstance(classifiers, str | Path) or not isinstance(classifiers, Mapping | Sequence):
        raise OptionError(
            f"{option('classifiers')} must be classifiers by name, or a list of files. Got "
            f"{type(classifiers).__name__}."
        )
    listed = [] if isinstance(classifiers, Mapping) else enumerate(classifiers, 1)
    by_name = {str(one) if is_place(one) else f"classifier {number}": one for number, one in listed}
    by_name |= classifiers if isinstance(classifiers, Mapping) else {}
    request = _request(cost, threshold, balance)
    fitted = {
        str(name): one._fitted() if isinstance(one, TransferClassifier) else _classifier(one)
        for name, one in by_name.items()
    }
    fitted = {name: _decided(one, request, own["positive"]) for name, one in fitted.items()}
    samples = _samples(X, y, groups, split, columns)
    return evaluate_classifiers(
        fitted, samples, compute=Compute(**given), observer=LogObserver(), near=near_duplicates == JOIN, **own
    )


def _request(cost: Any, threshold: Any, balance: Any) -> DecisionRequest:
    """Return what is to decide.

    Raises:
        OptionError: a value that is not allowed, or several of these.
    """
    check_settings(FitSettings(cost=cost, threshold=threshold, balance=balance))
    request = DecisionRequest(None, cost, threshold, bool(balance))
    request.check()
    return request


def _decided(classifier: Classifier, request: DecisionRequest, positive: str | None) -> Classifier:
    """Return the classifier as it answers by a request; what was given stays as it is."""
    found = replace(classifier)
    found.decide_by(request, positive)
    return found


def _samples(X: Any, y: Any, groups: Any, split: str | None, columns: Columns) -> Samples:
    """Return the labelled photos that evaluate, of the split that is meant where there are splits."""
    if is_place(X):
        chosen = _split(split, X, columns)
        return find_labelled(X, y, groups, columns, splits=(chosen,))[0][chosen]
    if split is not None:
        raise OptionError(f"{option('split')} is for a folder or table with splits. X is a list: leave it out.")
    return find_labelled(X, y, groups, columns)[0]["train"]


@missing_packages_named("regraft.compare")
def compare(
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    model: str | Sequence[str] | None = None,
    strategies: str | Sequence[str] = tuple(STRATEGIES),
    sizes: int | str | Sequence[int | str] = "all",
    budget: float | None = None,
    schedule: Schedule | None = None,
    **options: Any,
) -> Comparison:
    """Compare networks and strategies on the same folds of the same photos.

    `print` shows the result: figures, paired differences in words, and advice that they support; `rows`, `pairs`,
    `advice` and `notes` hold them. Of a folder with splits only the training photos are read.

    Args:
        X: a folder or table, or n images, as for `TransferClassifier`.
        y: (n,) labels of n images; None for a folder or table.
        groups: (n,) what belongs together and stays on one side of every split; of a table: `group_column`.
        model: one network's name, or several; None for a strong one, or "offline" where that cannot be downloaded.
        strategies: of "frozen", "top", "whole" and "scratch", those to compare; all if left out.
        sizes: photos of each class to learn from, a number or several; "all" for all.
        budget: seconds for everything; what does not fit gets fewer folds or is left out, and is named.
        schedule: how networks are trained further.
        options: columns of a table; `labels`, a table that corrects those of a folder or table; `positive`, `seed`,
            `precision`; `device`, `engine`, `batch_size`, `cache` and so
            on, fields of `Compute`.

    Raises:
        DataError: photos, labels or groups that cannot be used.
        ModelError: no such network.
        OptionError: a value that is not allowed.
    """
    named, given = split_options(options, "compare", LabelOptions, FitSettings, Compute, without=_NOT_HERE, own=_OWN)
    networks = _networks(model)
    chosen = strategies.split(",") if isinstance(strategies, str) else list(strategies)
    if budget is not None and not (number(budget, 0, above=True) or budget == math.inf):
        raise OptionError(f"{option('budget')} must be a number of seconds above 0. Got {budget!r}.")
    compute = Compute(**{name: value for name, value in given.items() if name in Compute.__dataclass_fields__})
    settings = FitSettings(
        schedule=schedule or Schedule(),
        **{name: value for name, value in given.items() if name in FitSettings.__dataclass_fields__},
    )
    counts = _sizes(sizes)
    compute.check()
    settings.check_training(compute)
    read, corrections = columns_of(named, "compare"), LabelOptions(given.get("labels"))
    samples = find_labelled(X, y, groups, read, splits=("train",), corrections=corrections)[0]["train"]
    return compare_samples(
        samples,
        {name: (lambda name=name: load_network(name, limit=compute.cache_bytes)) for name in networks},  # type: ignore[misc]
        strategies=[name.strip() for name in chosen],
        sizes=counts,
        settings=settings,
        compute=compute,
        budget=budget,
        observer=LogObserver(),
    )


def _classifier(given: Any) -> Classifier:
    if not (isinstance(given, Classifier) or is_place(given)):
        raise OptionError(
            f"{option('classifier')} must be a fitted TransferClassifier, or the file of one. Got "
            f"{type(given).__name__}."
        )
    return given if isinstance(given, Classifier) else load_bundle(bundle_file(given))


def _networks(model: str | Sequence[str] | None) -> list[str]:
    if model is None:
        return [network_or_default(stacklevel=6)]
    named = [model] if isinstance(model, str) else list(model)
    if not named:
        raise ModelError(f"{option('model')} names no network. Name one or several, or leave it out.")
    for name in named:
        check_network(name)
    return list(dict.fromkeys(map(own_name, named)))


def _sizes(sizes: Any) -> list[Size]:
    """Return photos of each class, None for all."""
    listed = sizes.split(",") if isinstance(sizes, str) else sizes if isinstance(sizes, Iterable) else [sizes]
    found: list[Size] = []
    for size in listed:
        text = str(size).strip()
        if size is not None and text != "all" and not text.isdecimal():
            raise OptionError(
                f"{option('sizes')} must be numbers of photos of each class, or 'all', e.g. [20, 50, 'all']. "
                f"Got {size!r}."
            )
        found.append(int(text) if text.isdecimal() else None)
    return found


def _split(split: str | None, X: Any, columns: Any) -> str:
    if split is None:
        return split_names(X, columns)[-1]
    if split not in SPLITS:
        raise OptionError(
            f"{option('split')} must be one of {', '.join(SPLITS)}. Got {split!r}.{did_you_mean(str(split), SPLITS)}"
        )
    return split
