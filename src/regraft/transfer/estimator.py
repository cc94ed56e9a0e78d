"""The scikit-learn door: `TransferClassifier` and `load`."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import predict
from regraft.data.audit import unreadable_lines
from regraft.data.folders import image_files
from regraft.data.samples import Samples, find_samples, split_names
from regraft.data.sources import Source, as_sources
from regraft.engines.selection import AUTO
from regraft.errors import DataError, OptionError, shortlist
from regraft.files import MAX_FILE_BYTES, check_output
from regraft.networks.backbones import load_backbone
from regraft.networks.registry import POCKET, check_model_name, default_network
from regraft.training.schedule import Schedule
from regraft.transfer.fit import train
from regraft.transfer.settings import BUDGET, Settings


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An image classifier grafted onto a pretrained network, as a scikit-learn estimator.

    Args:
        model: a timm network ("resnet50"), "hf-hub:owner/name", "local-dir:folder" or "pocket", the small network
            inside regraft. None takes a strong one, or "pocket" where that cannot be downloaded.
        strategy: "frozen": the network is kept and its last layer replaced; "top", "whole": its last two stages, or
            all of it, are trained further; "scratch": from random weights; "auto": the cheapest of these (but scratch)
            that is not proven worse, within `budget`.
        weights: a file with the network's weights, instead of the published ones.
        seed: of the folds.
        device: "auto", "cpu", "cuda" or "mps".
        engine: what runs the network where nothing is trained: "auto" is the fastest that gives PyTorch's features.
        batch_size: images per step through the network.
        cache: keep features on disk, so that no photo goes through the network twice.
        positive: the class that AUC and average precision are of; default the second of two.
        force: keep a classifier that is no better than always saying the largest class.
        train_from: with "top": the first stage that is trained.
        train_only: with "top": the one stage that is trained.
        lora: with "top" and "whole": rank of low-rank adapters; 0 trains the weights themselves.
        budget: seconds that "auto" may spend on trying more than the last layer.
        max_file_size: bytes that the file of a photo may have; a larger one counts as unreadable.
        schedule: how the network is trained further, a `regraft.Schedule`; None for its defaults.

    Attributes:
        classes_: (c,) labels, in the order of `predict_proba`'s columns: numpy's order for labels given as y, natural
            order ("2" before "10") for the classes of a folder.
        classifier_: the network, head, class names and temperature in one.
        report_: the numbers: out-of-fold, or of the validation split where X is a folder that has one.

    X is a sequence of n paths, PIL images or uint8 arrays (h, w, 3), or one folder (or table) with y left out. Of a
    folder with splits, `fit` learns from train and is judged by validation, `score` takes test, else validation, and
    the predictions are of all images below the folder, in natural order of their paths (of a table: of its rows, train,
    validation and test in turn).
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        strategy: str = "frozen",
        weights: str | Path | None = None,
        seed: int = 0,
        device: str = "auto",
        engine: str = AUTO,
        batch_size: int = 32,
        cache: bool = True,
        positive: str | None = None,
        force: bool = False,
        train_from: str | None = None,
        train_only: str | None = None,
        lora: int = 0,
        budget: float = BUDGET,
        max_file_size: int = MAX_FILE_BYTES,
        schedule: Schedule | None = None,
    ) -> None:
        self.model = model
        self.strategy = strategy
        self.weights = weights
        self.seed = seed
        self.device = device
        self.engine = engine
        self.batch_size = batch_size
        self.cache = cache
        self.positive = positive
        self.force = force
        self.train_from = train_from
        self.train_only = train_only
        self.lora = lora
        self.budget = budget
        self.max_file_size = max_file_size
        self.schedule = schedule

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
        result = train(splits, lambda: load_backbone(model, self.weights), model=model, settings=self._settings())
        self._adopt(result.classifier, _label_values(splits["train"].classes, y))
        self.report_ = result.report
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return (n, c) calibrated probabilities of n images, or of all in a folder; columns as in `classes_`.

        Raises:
            DataError: an image that cannot be read; all of them are named.
        """
        classifier = self._fitted()
        sources = _all_images(X)
        predictions = predict(classifier, sources, settings=self._settings())
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

        Of a folder with splits the test split is judged, else validation, else train.
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

    def _settings(self) -> Settings:
        return Settings(
            strategy=self.strategy,
            seed=int(self.seed) if isinstance(self.seed, np.integer) else self.seed,
            device=self.device,
            engine=self.engine,
            batch_size=self.batch_size,
            cache=self.cache,
            positive=None if self.positive is None else str(self.positive),
            force=self.force,
            train_from=self.train_from,
            train_only=self.train_only,
            lora=self.lora,
            budget=self.budget,
            max_file_size=self.max_file_size,
            schedule=self.schedule or Schedule(),
        )

    def _adopt(self, classifier: Classifier, values: np.ndarray) -> None:
        kinds = {"b": "bool", "i": "int", "u": "int", "f": "float"}  # by numpy's letters
        classifier.label_type = kinds.get(_kind(values), "str")
        self.classifier_ = classifier
        self.classes_ = values

    def _fitted(self) -> Classifier:
        if not hasattr(self, "classifier_"):
            raise NotFittedError("This TransferClassifier is not fitted yet. Call fit(X, y) or regraft.load(path).")
        return self.classifier_


def load(path: str | Path) -> TransferClassifier:
    """Return the fitted classifier in a file that `save` or `regraft fit` wrote. Nothing in it is executed.

    Raises:
        BundleError: no such file, damaged, no regraft model, or written by a newer version.
    """
    classifier = load_bundle(Path(path))
    kept = {
        name: classifier.numbers[name]
        for name in ("seed", "train_from", "train_only", "lora")
        if name in classifier.numbers
    }
    estimator = TransferClassifier(model=classifier.model, strategy=classifier.strategy, **kept)
    read: dict[str, Callable[[str], Any]] = {"bool": "True".__eq__, "int": int, "float": float}
    values = [read.get(classifier.label_type, str)(name) for name in classifier.classes]
    estimator._adopt(classifier, np.array(values))
    return estimator


def _is_folder(X: Any) -> bool:
    return isinstance(X, (str, Path))


def _all_images(X: Any) -> tuple[Source, ...]:
    if not _is_folder(X):
        return tuple(as_sources(X))
    folder = Path(X).expanduser()
    images = image_files(folder)[0] if folder.is_dir() else []
    if images:
        return tuple(images)
    splits = find_samples(folder, splits=split_names(folder))
    return tuple(source for samples in splits.values() for source in samples.sources)


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
