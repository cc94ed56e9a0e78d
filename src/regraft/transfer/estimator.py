"""The scikit-learn interface: `TransferClassifier` and `load`."""

import functools
import inspect
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, get_type_hints

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictor
from regraft.data.audit import unreadable_lines
from regraft.data.layouts import find_samples, split_names
from regraft.data.photos import find_photos
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, did_you_mean, shortlist
from regraft.files import check_output
from regraft.images.sources import Source, as_sources
from regraft.networks.backbones import load_backbone
from regraft.networks.registry import POCKET, check_model_name, default_network
from regraft.options import Bytes, Seconds, declared_settings
from regraft.training.schedule import Schedule
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

T = TypeVar("T")
_LEFT_OUT = ("restart",)  # options that mean nothing in Python: there are no checkpoints


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An image classifier grafted onto a pretrained network, as a scikit-learn estimator.

    Args:
        model: a timm network ("resnet50"), "hf-hub:owner/name", "local-dir:folder" or "pocket", the small network
            inside regraft. None takes a strong one, or "pocket" where that cannot be downloaded.
        weights: a file with the network's weights, instead of the published ones.
        schedule: how the network is trained further, a `regraft.Schedule`; None for its defaults.

    Attributes:
        classes_: (c,) labels, in the order of `predict_proba`'s columns: numpy's order for labels given as y, natural
            order ("2" before "10") for the classes of a folder.
        classifier_: the network, head, class names and temperature in one.
        report_: the figures: out-of-fold, or of the validation split where X is a folder that has one.

    X is a sequence of n paths, PIL images or uint8 arrays (h, w, 3), or one folder (or table) with y left out. Of a
    folder with splits, `fit` learns from train and is evaluated on validation, `score` takes test, else validation, and
    the predictions are of all images below the folder, in natural order of their paths (of a table: of its rows, train,
    validation and test in turn).
    """

    model: str | None
    weights: str | Path | None
    schedule: Schedule | None

    def __init__(self, model: str | None = None, **options: Any) -> None:
        given = {"model": model, **options}
        for name, parameter in _parameters().items():
            setattr(self, name, given.pop(name, parameter.default))
        if given:
            close = did_you_mean(next(iter(given)), list(_parameters()))
            raise TypeError(f"TransferClassifier has no argument {next(iter(given))!r}.{close}")

    def fit(self, X: Any, y: Sequence[Any] | np.ndarray | None = None) -> Self:
        """Fit on n images and their labels (n,), or on a folder with y left out.

        Raises:
            DataError: photos or labels that cannot be used.
            ModelError: no such network.
            WeightsError: its weights are absent or do not fit.
            SanityError: no better than always saying the largest class.
        """
        model = self._network()
        check_model_name(model)
        splits = find_samples(X) if _is_folder(X) else {"train": _labelled(X, y)}
        if _is_folder(X) and y is not None:
            raise DataError(f"{X} is a folder, which brings its own labels: leave y out.")
        settings = replace(self._options(FitSettings), schedule=self.schedule or Schedule())
        compute = self._options(Compute)
        settings.check_used((settings.strategy,), compute)
        result = fit(
            splits, lambda: load_backbone(model, self.weights), model=model, settings=settings, compute=compute
        )
        self._adopt(result.classifier, _label_values(splits["train"].classes, y))
        self.report_ = result.report
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return (n, c) calibrated probabilities of n images, or of all in a folder; columns as in `classes_`.

        Raises:
            DataError: an image that cannot be read; all of them are named.
        """
        classifier = self._fitted()
        sources = tuple(_all_images(X))
        predictions = Predictor(classifier, self._options(Compute)).predict(sources)
        if predictions.unreadable:
            lines = unreadable_lines(sources, predictions.unreadable)
            raise DataError(f"{len(lines)} of {len(sources)} images cannot be read:\n{shortlist(lines)}")
        return predictions.probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return (n,) labels of n images, or of all in a folder, of the type that `fit` was given."""
        answers = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[answers])

    def score(self, X: Any, y: Sequence[Any] | np.ndarray | None = None, sample_weight: Any = None) -> float:
        """Return the accuracy on n images with labels (n,), or on a folder with y left out.

        Of a folder with splits it is that on test, else validation, else train.
        """
        if _is_folder(X) and y is None:
            chosen = split_names(X)[-1]
            samples = find_samples(X, splits=(chosen,))[chosen].aligned(self._fitted().classes)
            return float(super().score(samples.sources, self.classes_[samples.labels], sample_weight))
        self._fitted()
        return float(super().score(X, y, sample_weight))

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

    def _network(self) -> str:
        """Return the name of the network, a default one if none is named."""
        if self.model is not None:
            return self.model
        if self.weights is not None:
            raise OptionError("weights= is a file of one network: name it with model=.")
        name, which = default_network()
        if name == POCKET:
            warnings.warn(which, stacklevel=3)  # of the line that calls `fit`
        return name

    def _options(self, kind: type[T]) -> T:
        """Return settings of this class, made of the arguments; NumPy's numbers as Python's."""
        given = {name: getattr(self, name) for name in declared_settings(kind) if name not in _LEFT_OUT}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        if plain.get("positive") is not None:
            plain["positive"] = str(plain["positive"])
        return kind(**plain)

    def _adopt(self, classifier: Classifier, values: np.ndarray) -> None:
        kinds = {"b": "bool", "i": "int", "u": "int", "f": "float"}  # by numpy's letters
        classifier.label_type = kinds.get(_kind(values), "str")
        self.classifier_ = classifier
        self.classes_ = values

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
        for kind in (FitSettings, Compute)
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
        for settings in (FitSettings, Compute)
        for name, (_, said) in declared_settings(settings).items()
        if name in _parameters()
    ]
    before, after = (kind.__doc__ or "").split("\n    Attributes:", maxsplit=1)
    kind.__doc__ = before.rstrip() + "\n" + "\n".join(lines) + "\n\n    Attributes:" + after


_document(TransferClassifier)


def load(path: str | Path) -> TransferClassifier:
    """Return the fitted classifier in a file that `save` or `regraft fit` wrote. Nothing in it is executed.

    Raises:
        BundleError: no such file, damaged, not a regraft classifier, or written by a newer version.
    """
    classifier = load_bundle(Path(path))
    record = classifier.record
    names = ("seed", "train_from", "train_only", "lora")
    kept = {} if record is None else {name: getattr(record, name) for name in names}
    estimator = TransferClassifier(model=classifier.model, strategy=classifier.strategy, **kept)
    read: dict[str, Callable[[str], Any]] = {"bool": "True".__eq__, "int": int, "float": float}
    values = [read.get(classifier.label_type, str)(name) for name in classifier.classes]
    estimator._adopt(classifier, np.array(values))
    return estimator


def _is_folder(X: Any) -> bool:
    return isinstance(X, (str, Path))


def _all_images(X: Any) -> Sequence[Source]:
    return find_photos([X]) if _is_folder(X) else as_sources(X)


def _kind(values: np.ndarray) -> str:
    """Return numpy's letter for the type of (n,) labels, looking into an array of objects."""
    return np.array(values.tolist()).dtype.kind


def _labelled(X: Any, y: Sequence[Any] | np.ndarray | None) -> Samples:
    if y is None:
        raise DataError("y is missing: give one label per image, or a folder of class folders as X.")
    sources, values = as_sources(X), np.asarray(y)
    if values.shape != (len(sources),):
        raise DataError(
            f"y must hold one label for each image, shape ({len(sources)},). Got {len(sources)} images and labels of "
            f"shape {values.shape}."
        )
    if not sources:
        raise DataError("X holds no images.")
    if _kind(values) == "f" and any(value != np.floor(value) for value in values):
        raise DataError("the labels in y must name classes. Got numbers with fractions (continuous).")
    try:
        classes, labels = np.unique(values, return_inverse=True)  # in scikit-learn's order, which its scorers rely on
    except TypeError:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise DataError(
            f"the labels in y must be of one type. Got {kinds}. Make them all text or all numbers."
        ) from None
    return Samples(tuple(sources), labels.astype(np.int64), tuple(str(name) for name in classes))


def _label_values(classes: tuple[str, ...], y: Sequence[Any] | np.ndarray | None) -> np.ndarray:
    """Return the labels as the user had them, in class order."""
    return np.array(classes) if y is None else np.unique(np.asarray(y))
