"""The scikit-learn interface: `TransferClassifier` and `load`."""

import functools
import inspect
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, get_type_hints

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score

from regraft.api.arguments import columns_of, find_labelled, find_photos_of, is_place, network_or_default, plain
from regraft.api.log import LogObserver
from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.labels import make_labels, read_labels
from regraft.classifier.named import bundle_file, check_network, load_network
from regraft.classifier.predict import Predictions, Predictor
from regraft.data.audit import unreadable_lines
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.layouts import find_samples, split_names
from regraft.data.samples import natural_order
from regraft.data.training_classes import TaxonomyOptions
from regraft.engines.compute import Compute
from regraft.errors import DataError, did_you_mean, printable, shortlist
from regraft.evaluation.conformal import Coverage
from regraft.extras import missing_packages_named
from regraft.files import check_output
from regraft.heads.head_choice import LOGISTIC
from regraft.images.sources import Source
from regraft.networks.names import NetworkNames, joined_name, own_name, parts_of_name, read_names
from regraft.options import Bytes, Seconds, declared_settings
from regraft.training.schedule import Schedule
from regraft.transfer.experiment import Experiment
from regraft.transfer.fit import fit, fit_best
from regraft.transfer.settings import USED_BY_CHOICE, FitSettings
from regraft.transfer.strategies import AUTO, strategy_named

T = TypeVar("T")
_OF_SETS = ("coverage", "coverage_of")  # arguments of `predict_set`
_LEFT_OUT = ("restart",)  # options that mean nothing in Python: there are no checkpoints


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An image classifier grafted onto a pretrained network, as a scikit-learn estimator.

    Args:
        model: a timm network ("resnet50"), "hf-hub:owner/name", "local-dir:folder", or one that is installed with
            regraft: "offline" (efficientnet-lite0) or "pocket", the fastest. None takes a strong one, or "offline"
            where that cannot be downloaded. Several in a list are joined: one last layer sees the features of all.
            "auto" chooses one network, of those beside it in a list or of some that people start from.
        weights: a file with the network's weights, instead of the published ones.
        schedule: how the network is trained further, a `regraft.Schedule`; None for its defaults.

    Attributes:
        classes_: (c,) labels, in the order of `predict_proba`'s columns: numpy's order for labels given as y, natural
            order ("2" before "10") for the classes of a folder.
        classifier_: the network, head, class names and temperature in one.
        report_: the figures, a `regraft.Report`: out-of-fold, or of the validation split where X is a folder that has
            one. `print(report_)` shows them; None in a loaded classifier without figures.
        log_: what `fit` said, in order: photos left out, copies that were joined, what ran the network. It goes to the
            logger "regraft", too.

    X is a list of n images (paths, PIL images, uint8 arrays (h, w, 3)), an array (n, h, w, 3), a pandas Series of
    paths, whose index is ignored; or one folder or table with y left out, where columns of a table are named by
    `image_column`, `label_column`, `group_column`, `split_column` and `image_root`. Of data with splits, `fit` learns
    from train and is evaluated on validation, `score` takes test, else validation. The predictions are of all images:
    of a folder, those below it in natural order of their paths; of a table, those of its rows, train, validation and
    test in turn; of a list, what stands in it in order, where a folder, table or glob stands for its images. `photos`
    returns them.

    Labels keep their type, also through a file: text, whole numbers, booleans, bytes, dates and times without a time
    zone, decimals; as NumPy arrays of any size, and as objects. Missing ones (None, NaN, blank) are an error.
    """

    model: str | Sequence[str] | None
    weights: str | Path | None
    schedule: Schedule | None

    def __init__(self, model: str | Sequence[str] | None = None, **options: Any) -> None:
        given = {"model": model, **options}
        for name, parameter in _parameters().items():
            setattr(self, name, given.pop(name, parameter.default))
        if given:
            close = did_you_mean(next(iter(given)), list(_parameters()))
            raise TypeError(f"TransferClassifier has no argument {next(iter(given))!r}.{close}")

    @missing_packages_named("regraft.TransferClassifier.fit")
    def fit(self, X: Any, y: Sequence[Any] | np.ndarray | None = None, groups: Any = None, **columns: Any) -> Self:
        """Fit on n images and their labels (n,), or on a folder or table with y left out.

        Args:
            X: the images, see above.
            y: (n,) labels.
            groups: (n,) what belongs together (a patient, a scene) and stays on one side of every split; an image whose
                group is missing (None, NaN, "NA") is a group of its own, with a warning. Of a table: `group_column`.
            columns: of a table.

        Raises:
            DataError: photos, labels or groups that cannot be used.
            ModelError: no such network.
            WeightsError: its weights are absent or do not fit.
            SanityError: no better than always saying the largest class.
        """
        named = read_names(self.model)
        settings = replace(self._options(FitSettings), schedule=self.schedule or Schedule())
        settings.check_networks(named, weights=self.weights is not None)
        compute, observer = self._options(Compute), LogObserver()
        settings.check_used((settings.strategy,), compute, besides=USED_BY_CHOICE if named.choose else ())
        networks = self._networks(named)
        read = columns_of(columns, "fit", own=("groups",))
        splits, labels = find_labelled(X, y, groups, read, corrections=self._options(LabelOptions))
        splits = self._options(TaxonomyOptions).apply(splits, natural_order if labels is None else sorted)
        loaders = {
            name: functools.partial(load_network, name, self.weights, limit=compute.cache_bytes) for name in networks
        }
        if named.choose:
            result = fit_best(splits, loaders, settings=settings, compute=compute, observer=observer)
        else:
            load, *joined = loaders.values()
            model = joined_name(networks)
            result = fit(
                splits, load, model=model, settings=settings, compute=compute, observer=observer, joined=joined
            )
        if labels is not None and result.classifier.classes == labels.names:  # else they are nodes of the tree: text
            result.classifier.label_type, result.classifier.label_dtype = labels.type, labels.dtype
        _warn_of_unreadable(result.experiment)
        self._adopt(result.classifier)
        self.log_ = tuple(observer.said)
        return self

    @missing_packages_named("regraft.TransferClassifier.predict_proba")
    def predict_proba(self, X: Any, **columns: Any) -> np.ndarray:
        """Return (n, c) calibrated probabilities of n images, or of all in a folder; columns as in `classes_`.

        Raises:
            DataError: an image that cannot be read; all of them are named.
        """
        return self._predictions(X, columns_of(columns, "predict_proba")).probabilities

    @missing_packages_named("regraft.TransferClassifier.predict_set")
    def predict_set(
        self, X: Any, coverage: float | str = 0.95, *, coverage_of: str = "classes", **columns: Any
    ) -> np.ndarray:
        """Return (n, c) booleans, the classes that each of n images may be, columns as in `classes_`: conformal sets.

        They hold the true class of the share `coverage` of new images from the same source: of those of each class, or
        with `coverage_of="photos"` of all together. A set may hold several classes, or none.

        Raises:
            DataError: an image that cannot be read, or too few were held out to promise that coverage.
            OptionError: no share, or a file of an older regraft, which does not hold what it takes.
        """
        asked, read = Coverage.read(coverage, coverage_of), columns_of(columns, "predict_set", own=_OF_SETS)
        found = self._predictions(X, read, asked).sets
        assert found is not None  # as the coverage can be promised
        return found

    def _predictions(self, X: Any, columns: Columns, coverage: Coverage | None = None) -> Predictions:
        sources = find_photos_of(X, columns)
        predictions = Predictor(self._fitted(), self._options(Compute), coverage=coverage).predict(sources)
        if predictions.unreadable:
            lines = unreadable_lines(predictions.sources, predictions.unreadable)
            raise DataError(
                f"{len(lines)} of {len(sources)} images cannot be read:\n{shortlist(lines)}\nLeave them out."
            )
        return predictions

    def predict(self, X: Any, **columns: Any) -> np.ndarray:
        """Return (n,) labels of n images, or of all in a folder, of the type that `fit` was given.

        Which photo each is of: `photos(X)` has them in the same order.
        """
        answers = self._fitted().answers(self.predict_proba(X, **columns))
        return np.asarray(self.classes_[answers])

    def photos(self, X: Any, **columns: Any) -> list[Source]:
        """Return the n images that the predictions of X are of, in their order: paths, or what was given in a list.

        They may be given as X themselves: `photos = clf.photos("new"); dict(zip(photos, clf.predict(photos)))`.

        Raises:
            DataError: X names no image.
        """
        return find_photos_of(X, columns_of(columns, "photos"))

    @missing_packages_named("regraft.TransferClassifier.score")
    def score(
        self, X: Any, y: Sequence[Any] | np.ndarray | None = None, sample_weight: Any = None, **columns: Any
    ) -> float:
        """Return the accuracy on n images with labels (n,), or on a folder or table with y left out.

        Of a folder with splits it is that on test, else validation, else train. Photos that it was trained on count,
        as scikit-learn wants it: `regraft.evaluate` leaves them out.
        """
        classifier, read = self._fitted(), columns_of(columns, "score")
        if is_place(X) and y is None:
            chosen = split_names(X, read)[-1]
            samples = classifier.align(find_samples(X, read, splits=(chosen,))[chosen], leave_out=False)
            sources, truth = list(samples.sources), samples.labels
        else:
            sources = find_photos_of(X, read)
            truth = _positions(y, len(sources), classifier)
        answers = classifier.answers(self.predict_proba(sources))
        return float(accuracy_score(truth, answers, sample_weight=sample_weight))

    @missing_packages_named("regraft.TransferClassifier.explain")
    def explain(
        self,
        X: Any,
        y: Sequence[Any] | np.ndarray | None = None,
        *,
        out: str | Path = "report",
        stages: str | Sequence[str] = (),
        units: int = 16,
        method: str = "auto",
        **columns: Any,
    ) -> Path:
        """Write a report of what the network's layers learned, where it looks and its mistakes; return its path.

        Args:
            X: photos, with labels or without: a folder (of splits, train and validation), a table, or n images.
            y: (n,) labels of n images; None for images without, and for a folder or table.
            out: the folder of the report: report.html, and units.html where its pictures of units are many.
            stages: whose units are shown; none for all.
            units: how many of each stage; 0 for none, in a third of the time.
            method: "deconvnet", "guided", or "auto".
            columns: of a table.

        Raises:
            DataError: photos or labels that cannot be used.
            OptionError: no such stage or method.
            OutputError: it cannot be written there.
        """
        from regraft.api.explanations import explain_classifier  # here: it imports PyTorch

        return explain_classifier(
            self._fitted(),
            X,
            y,
            Path(out),
            stages=[stages] if isinstance(stages, str) else stages,
            units=units,
            method=method,
            columns=columns_of(columns, "explain"),
            compute=self._options(Compute),
            settings=self._options(FitSettings),
        )

    def save(self, path: str | Path) -> None:
        """Write the classifier to one safetensors file.

        Raises:
            OutputError: it cannot be written there.
        """
        check_output(Path(path), option="path")
        save_bundle(self._fitted(), Path(path))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _networks(self, named: NetworkNames) -> list[str]:
        """Return the names of the networks, default ones if none are named."""
        from regraft.networks.registry import networks_to_try

        for name in named.names:
            check_network(name)
        named = replace(named, names=tuple(map(own_name, named.names)))
        named.check(weights=False)  # again: two names may stand for the same
        if named.choose and not named.names:
            return networks_to_try()[0]
        return list(named.names) or [network_or_default(stacklevel=5)]  # of the line that calls `fit`

    def _options(self, kind: type[T]) -> T:
        """Return settings of this class, made of the arguments; NumPy's numbers as Python's."""
        given = {name: getattr(self, name) for name in declared_settings(kind) if name not in _LEFT_OUT}
        return kind(**plain(given))

    def _adopt(self, classifier: Classifier) -> None:
        self.classifier_ = classifier
        self.classes_ = make_labels(classifier.classes, classifier.label_type, classifier.label_dtype)
        self.report_ = None if classifier.record is None else classifier.record.report

    def _fitted(self) -> Classifier:
        if not hasattr(self, "classifier_"):
            raise NotFittedError("This TransferClassifier is not fitted yet. Call fit(X, y) or regraft.load(path).")
        return self.classifier_


@functools.cache
def _parameters() -> dict[str, inspect.Parameter]:
    """Return the estimator's arguments by name: the network, and every option of `FitSettings` and `Compute`."""
    own: dict[str, Any] = {"model": None, "weights": None, "schedule": None}
    options = {
        name: declared.default
        for kind in (LabelOptions, TaxonomyOptions, FitSettings, Compute)
        for name, (declared, _) in declared_settings(kind).items()
        if name not in _LEFT_OUT
    }
    return {
        name: inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if name == "model" else inspect.Parameter.KEYWORD_ONLY,
            default=default,
        )
        for name, default in (own | options).items()
    }


def _document(kind: type[TransferClassifier]) -> None:
    """Give the estimator the signature, which scikit-learn reads, and the documentation of its options."""
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    kind.__init__.__signature__ = inspect.Signature([own, *_parameters().values()])  # type: ignore[attr-defined]
    units = {Seconds: " In seconds.", Bytes: " In bytes."}
    lines = [
        textwrap.fill(
            f"{name}: {said.help}{units.get(get_type_hints(settings)[name], '')}",
            width=120,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
        )
        for settings in (LabelOptions, TaxonomyOptions, FitSettings, Compute)
        for name, (_, said) in declared_settings(settings).items()
        if name in _parameters()
    ]
    before, after = (kind.__doc__ or "").split("\n    Attributes:", maxsplit=1)
    kind.__doc__ = before.rstrip() + "\n" + "\n".join(lines) + "\n\n    Attributes:" + after


_document(TransferClassifier)


@missing_packages_named("regraft.load")
def load(path: str | Path) -> TransferClassifier:
    """Return the fitted classifier in a file, or on the hub: "hf-hub:owner/name@revision". Nothing in it is executed.

    Of its arguments it has those that the file tells: `model` and `strategy` (where they were chosen, what was taken),
    `features`, `head`, `seed`, `train_from`, `train_only`, `lora`, `class_weight` and `tta`. All others have their
    defaults.

    Raises:
        BundleError: no such file, damaged, not a regraft classifier, or written by a newer version.
    """
    classifier = load_bundle(bundle_file(path))
    record = classifier.record
    names = ("seed", "train_from", "train_only", "lora", "class_weight", "tta")
    kept = {} if record is None else {name: getattr(record, name) for name in names}
    if record is not None and strategy_named(classifier.strategy).starts_from_features:
        kept["features"] = record.features_asked
        kept["head"] = AUTO if record.head == LOGISTIC else record.head
    model = parts_of_name(classifier.model, len(classifier.backbones)) if classifier.joined else classifier.model
    estimator = TransferClassifier(model=model, strategy=classifier.strategy, **kept)
    estimator._adopt(classifier)
    return estimator


def _warn_of_unreadable(experiment: Experiment) -> None:
    parts = [part for part in (experiment.dataset, experiment.validation) if part is not None]
    lost = [photo for part in parts for photo in part.unreadable]
    if lost:
        total = sum(map(len, parts)) + len(lost)
        warnings.warn(
            f"{len(lost):,} of {total:,} images cannot be read and are left out:\n{shortlist(lost)}", stacklevel=4
        )


def _positions(y: Any, count: int, classifier: Classifier) -> np.ndarray:
    """Return where labels (n,) stand among the classes, -1 for others: answers to those are wrong."""
    if y is None:
        raise DataError("y is missing: give one label per image, or a folder of class folders as X.")
    labels = read_labels(y, count)
    place = {name: position for position, name in enumerate(classifier.classes)}
    known = np.array([place.get(name, -1) for name in labels.names], dtype=np.int64)
    if count and (known < 0).all():
        raise DataError(
            f"the classifier knows none of the labels in y: {', '.join(map(printable, labels.names[:20]))}. It knows: "
            f"{', '.join(map(printable, classifier.classes[:20]))}."
        )
    return np.asarray(known[labels.positions])
