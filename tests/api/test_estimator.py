"""The scikit-learn door: an estimator like any other, whatever images and labels it is given."""

import datetime
import inspect
import pickle
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from tests.marks import some_slow

import regraft
from regraft.api.estimator import TransferClassifier, load
from regraft.api.explanations import _photos_to_explain
from regraft.data.columns import Columns
from regraft.data.label_file import LabelOptions
from regraft.data.training_classes import TaxonomyOptions
from regraft.engines.compute import Compute
from regraft.errors import DataError, ModelError, OptionError, OutputError, SanityError
from regraft.networks.names import without_folders
from regraft.options import declared_settings
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")


Make = Callable[..., TransferClassifier]


def pil(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def arrays(paths: list[str]) -> list[np.ndarray]:
    return [np.asarray(pil(path)) for path in paths]


def eight_each(first: Any, second: Any) -> list[Any]:
    return [first] * 8 + [second] * 8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": 50}, ModelError, "model must be a network's name, a text such as 'resnet50'. Got 50."),
        ({"device": None}, OptionError, "device must be one of auto, cpu, cuda, mps. Got None."),
        ({"strategy": "frozen", "schedule": Schedule(epochs=3)}, OptionError, "epochs goes with strategy top, whole"),
    ],
)
def test_nothing_where_a_name_is_needed(
    sixteen: list[str], tiny_network: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        TransferClassifier(**{"model": tiny_network} | options).fit(sixteen, eight_each("a", "b"))


# --- scikit-learn's conventions ---


def test_parameters_can_be_read_and_set(make: Make, tiny_network: str) -> None:
    estimator = make(seed=3)
    assert estimator.get_params() == {
        "model": tiny_network,
        "strategy": "frozen",
        "features": "auto",
        "head": "auto",
        "tta": "none",
        "weights": None,
        "seed": 3,
        "near_duplicates": "join",
        "folds": "stratified",
        "grouping": "given",
        "device": "auto",
        "engine": "auto",
        "max_file_size": 1000**3,
        "value_range": None,
        "on": "",
        "batch_size": 32,
        "cache": True,
        "cache_limit": None,
        "positive": None,
        "class_weight": None,
        "goal": None,
        "cost": None,
        "threshold": None,
        "balance": False,
        "labels": None,
        "taxonomy": None,
        "max_class_size": None,
        "force": False,
        "train_from": None,
        "train_only": None,
        "lora": 0,
        "budget": 600.0,
        "precision": "auto",
        "schedule": None,
    }
    assert estimator.set_params(seed=5, cache=False) is estimator
    assert (estimator.seed, estimator.cache) == (5, False)
    with pytest.raises(ValueError, match="Invalid parameter 'sead'"):
        estimator.set_params(sead=1)


OPTIONS = {
    name: declared
    for kind in (LabelOptions, TaxonomyOptions, FitSettings, Compute)
    for name, declared in declared_settings(kind).items()
    if name != "restart"  # of checkpoints, which only commands keep
}


def test_the_signature_has_every_option_with_its_default() -> None:
    parameters = inspect.signature(TransferClassifier).parameters
    assert set(parameters) == {"model", "weights", "schedule", *OPTIONS}
    assert next(iter(parameters)) == "model"
    assert parameters["model"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    others = [parameter for name, parameter in parameters.items() if name != "model"]
    assert {parameter.kind for parameter in others} == {inspect.Parameter.KEYWORD_ONLY}
    assert {name: parameters[name].default for name in OPTIONS} == {
        name: declared.default for name, (declared, _) in OPTIONS.items()
    }
    assert {parameters[name].default for name in ("model", "weights", "schedule")} == {None}
    untouched = TransferClassifier()
    assert untouched.get_params() == {name: parameter.default for name, parameter in parameters.items()}


def test_the_docstring_has_every_option_with_its_help() -> None:
    text = inspect.getdoc(TransferClassifier) or ""
    arguments = text.partition("Args:\n")[2].partition("\n\n")[0]
    documented = re.findall(r"^    (\w+): ", arguments, re.MULTILINE)
    assert sorted(documented) == sorted(inspect.signature(TransferClassifier).parameters)
    for name, (_, said) in OPTIONS.items():
        assert f" {name}: {said.help}" in " ".join(arguments.split())
    assert max(map(len, arguments.splitlines())) <= 120
    assert "\n\nAttributes:\n    classes_: " in text


def test_an_argument_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match=r"has no argument 'strateg'\. Did you mean 'strategy'\?"):
        TransferClassifier(strateg="top")
    with pytest.raises(TypeError, match="has no argument 'restart'"):
        TransferClassifier(restart=True)
    with pytest.raises(TypeError):
        TransferClassifier("resnet50", "top")  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_can_be_set_and_cloned(name: str) -> None:
    estimator = TransferClassifier(**{name: "this"})
    assert clone(estimator).get_params() == {**TransferClassifier().get_params(), name: "this"}
    assert getattr(TransferClassifier().set_params(**{name: "this"}), name) == "this"


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"positive"}))
def test_every_option_is_checked_by_fit(name: str, make: Make, sixteen: list[str]) -> None:
    """Every one gets to the settings that declare it. `positive` becomes a text, so that it may be a number."""
    with pytest.raises(OptionError, match=rf"^{name} must be {re.escape(OPTIONS[name][1].allowed)}\. Got \["):
        make(**{name: ["no such value"]}).fit(sixteen, eight_each("a", "b"))


def test_clone_has_the_parameters_and_nothing_learned(make: Make, sixteen: list[str]) -> None:
    fitted = make(seed=3, batch_size=8).fit(sixteen, eight_each("b", "r"))
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert [name for name in vars(copy) if name.endswith("_")] == []
    with pytest.raises(NotFittedError):
        copy.predict_proba(sixteen)
    assert hasattr(fitted, "classifier_")


def test_public_name_is_this_class() -> None:
    assert regraft.TransferClassifier is TransferClassifier
    assert regraft.load is load


@pytest.mark.parametrize("kind", some_slow(["paths", "images", "arrays", "one array"], {"images", "arrays"}))
def test_cross_validation_of_any_kind_of_image(make: Make, sixteen: list[str], kind: str) -> None:
    kinds: dict[str, Callable[[], Any]] = {
        "paths": lambda: sixteen,
        "images": lambda: [pil(path) for path in sixteen],
        "arrays": lambda: arrays(sixteen),
        "one array": lambda: np.stack(arrays(sixteen)),
    }
    scores = cross_val_score(make(), kinds[kind](), eight_each("b", "r"), cv=2)
    assert scores.tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_cross_validation_with_scorers_of_probabilities(make: Make, sixteen: list[str]) -> None:
    y = eight_each("b", "r")
    cv = StratifiedKFold(2)
    losses = cross_val_score(make(), sixteen, y, cv=cv, scoring="neg_log_loss")
    areas = cross_val_score(make(), sixteen, y, cv=cv, scoring="roc_auc")
    probabilities = cross_val_predict(make(), sixteen, y, cv=cv, method="predict_proba")
    held_out = [part for _, part in cv.split(sixteen, y)]
    truth = np.array(y)
    expected = [-log_loss(truth[part], probabilities[part]) for part in held_out]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    assert areas.tolist() == [roc_auc_score(truth[part] == "r", probabilities[part, 1]) for part in held_out] == [1, 1]


@pytest.mark.slow
def test_search_over_a_parameter(make: Make, sixteen: list[str]) -> None:
    search = GridSearchCV(make(), {"seed": [0, 1]}, cv=2).fit(sixteen, eight_each("b", "r"))
    assert search.best_score_ == 1.0
    assert search.best_estimator_.seed == search.best_params_["seed"]
    assert search.predict(sixteen).tolist() == eight_each("b", "r")


def test_pickle_keeps_everything(make: Make, sixteen: list[str]) -> None:
    fitted = make().fit(sixteen, eight_each(10, 2))
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copy.predict_proba(sixteen), fitted.predict_proba(sixteen))
    assert copy.classes_.tolist() == [2, 10]
    assert copy.get_params() == fitted.get_params()


# --- labels ---

LABELS = [
    (eight_each("dog", "cat"), "U", ["cat", "dog"]),
    (np.array(eight_each("cat", "dog"), dtype=object), "O", ["cat", "dog"]),
    (eight_each(np.str_("b"), np.str_("a")), "U", ["a", "b"]),
    (eight_each("10", "2"), "U", ["10", "2"]),  # numpy's order, which scikit-learn's scorers rely on
    (eight_each(1.0, 0.0), "f", [0.0, 1.0]),
    (eight_each(10, 2), "i", [2, 10]),
    (np.array(eight_each(False, True)), "b", [False, True]),
]
MORE_LABELS = [
    (np.array(eight_each("cat", "dog")), "U", ["cat", "dog"]),
    (eight_each("img9", "img10"), "U", ["img10", "img9"]),
    (eight_each(1, -1), "i", [-1, 1]),
    (eight_each(np.int64(10), np.int64(2)), "i", [2, 10]),
    (np.array(eight_each(10, 2)), "i", [2, 10]),
    (eight_each(True, False), "b", [False, True]),
]
LABELS += [pytest.param(*case, marks=pytest.mark.slow) for case in MORE_LABELS]


@pytest.mark.parametrize(("y", "kind", "classes"), LABELS, ids=lambda of: repr(of)[:30])
def test_labels_come_back_as_they_were_given(
    make: Make, sixteen: list[str], y: Any, kind: str, classes: list[Any]
) -> None:
    fitted = make().fit(sixteen, y)
    assert fitted.classes_.tolist() == classes
    found = fitted.predict(sixteen)
    assert (found.dtype.kind, found.tolist()) == (kind, list(y))
    assert fitted.score(sixteen, y) == 1.0


@pytest.fixture
def fitted(make: Make, sixteen: list[str]) -> TransferClassifier:
    """Return an estimator that has learned that blue photos are "b" and red ones "a"."""
    return make().fit(sixteen, eight_each("b", "a"))


def test_columns_stand_in_the_order_of_classes(fitted: TransferClassifier, sixteen: list[str]) -> None:
    assert fitted.classes_.tolist() == ["a", "b"]
    found = fitted.predict_proba(sixteen)
    assert found.shape == (16, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert (found[:8, 1] > 0.5).all()
    assert (found[8:, 0] > 0.5).all()


def test_kinds_of_image_have_equal_probabilities(fitted: TransferClassifier, sixteen: list[str]) -> None:
    expected = fitted.predict_proba(sixteen)
    for images in ([Path(path) for path in sixteen], [pil(path) for path in sixteen], arrays(sixteen)):
        np.testing.assert_allclose(fitted.predict_proba(images), expected, rtol=0, atol=1e-5)


def test_sets_of_images(fitted: TransferClassifier, sixteen: list[str], tmp_path: Path) -> None:
    """Of 8 photos of a class 80 % take the floor(0.2 * 9) = 1st smallest probability, also through a file."""
    held_out = fitted.classifier_.held_out
    assert held_out is not None
    lowest = [held_out.scores[held_out.labels == label].min() for label in range(2)]
    expected = fitted.predict_proba(sixteen) >= np.array(lowest)
    assert fitted.predict_set(sixteen, 0.8).tolist() == expected.tolist()
    fitted.save(tmp_path / "m.safetensors")
    for coverage in ("80%", 0.8):
        assert load(tmp_path / "m.safetensors").predict_set(sixteen, coverage).tolist() == expected.tolist()
    together = fitted.predict_proba(sixteen) >= np.sort(held_out.scores)[2]  # of 16 the floor(0.2 * 17) = 3rd
    assert fitted.predict_set(sixteen, 0.8, coverage_of="photos").tolist() == together.tolist()


def test_sets_that_cannot_be_promised(fitted: TransferClassifier, sixteen: list[str]) -> None:
    with pytest.raises(DataError, match=r"^coverage of 95 % takes at least 19 held-out photos .* evaluated on 16, "):
        fitted.predict_set(sixteen)
    with pytest.raises(OptionError, match=r"^coverage must be a share above 0 and below 1"):
        fitted.predict_set(sixteen, 95)
    with pytest.raises(TypeError, match="predict_set"):
        fitted.predict_set(sixteen, 0.8, covrage_of="photos")


def test_second_fit_replaces_the_first(fitted: TransferClassifier, sixteen: list[str], photos: Photos) -> None:
    folder = photos("other", first_seed=300, red=6, green=6, grey=6)
    assert fitted.fit(folder) is fitted
    assert fitted.classes_.tolist() == ["green", "grey", "red"]
    assert fitted.predict_proba(sixteen).shape == (16, 3)


@pytest.mark.parametrize("threshold", [1e-6, "0.000001 for b"])
def test_a_threshold_decides_what_is_predicted(
    make: Make, sixteen: list[str], tmp_path: Path, threshold: float | str
) -> None:
    """Nearly everything is answered b; the probabilities stay as they are, also through a file."""
    plain = make(strategy="frozen").fit(sixteen, eight_each("a", "b"))
    ruled = make(strategy="frozen", threshold=threshold).fit(sixteen, eight_each("a", "b"))
    ruled.save(tmp_path / "m.safetensors")
    for one in (ruled, load(tmp_path / "m.safetensors")):
        assert np.array_equal(one.predict_proba(sixteen), plain.predict_proba(sixteen))
        assert one.predict(sixteen).tolist() == ["b"] * 16
        assert one.score(sixteen, eight_each("a", "b")) == 0.5
    assert ruled.report_ is not None
    assert ruled.report_.decided_by.startswith("threshold 1e-06 for b")
    assert plain.score(sixteen, eight_each("a", "b")) == 1.0


def test_positive_may_be_a_number(make: Make, sixteen: list[str]) -> None:
    found = make(positive=10).fit(sixteen, eight_each(2, 10)).report_.to_json()
    assert found["positive"] == "10"
    with pytest.raises(OptionError, match=r"positive must be one of 2, 10\. Got '3'"):
        make(positive=3).fit(sixteen, eight_each(2, 10))


def test_weights_of_classes_may_be_a_dict_of_labels(make: Make, sixteen: list[str]) -> None:
    """As the text does; which class counts five times is seen in the probabilities."""
    y = eight_each(2, 10)
    of_labels = clone(make(class_weight={2: 1, np.int64(10): 5})).fit(sixteen, y)
    of_text = make(class_weight="2=1,10=5").fit(sixteen, y)
    assert of_labels.class_weight == {2: 1, 10: 5}
    assert np.array_equal(of_labels.predict_proba(sixteen), of_text.predict_proba(sixteen))
    assert not np.array_equal(of_labels.predict_proba(sixteen), make().fit(sixteen, y).predict_proba(sixteen))
    assert of_labels.classifier_.record.class_weight == "2=1,10=5"
    with pytest.raises(OptionError, match=r"class_weight must name classes: 2, 10\. Got '3'"):
        make(class_weight={3: 2}).fit(sixteen, y)
    with pytest.raises(OptionError, match=r"class_weight must be balanced, or weights by class, .* Got '2=-1'"):
        make(class_weight={2: -1}).fit(sixteen, y)


# --- save and load ---


@pytest.mark.parametrize(
    ("pair", "kind"), [(["10", "2"], "U"), ([10, 2], "i"), ([np.int64(10), np.int64(2)], "i"), ([-1, -7], "i")]
)
def test_what_was_saved_is_loaded(make: Make, sixteen: list[str], tmp_path: Path, pair: list[Any], kind: str) -> None:
    y = eight_each(*pair)
    fitted = make(seed=9).fit(sixteen, y)
    fitted.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert (loaded.classes_.dtype.kind, loaded.classes_.tolist()) == (kind, fitted.classes_.tolist())
    assert loaded.predict(sixteen).tolist() == y
    assert np.array_equal(loaded.predict_proba(sixteen), fitted.predict_proba(sixteen))
    assert loaded.score(sixteen, y) == 1.0
    assert (loaded.model, loaded.strategy, loaded.seed) == (without_folders(fitted.model), "frozen", 9)


@pytest.mark.parametrize("features", some_slow(["auto", "last", "late"], {"auto", "last"}))
def test_features_that_were_asked_for_are_loaded(make: Make, sixteen: list[str], tmp_path: Path, features: str) -> None:
    fitted = make(features=features, seed=9).fit(sixteen, eight_each("b", "a"))
    fitted.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.get_params() == {**fitted.get_params(), "model": without_folders(fitted.model)}
    record = fitted.classifier_.record
    again = clone(loaded).set_params(model=fitted.model).fit(sixteen, eight_each("b", "a")).classifier_.record
    assert (again.features, again.stages) == (record.features, record.stages)


def test_a_network_from_random_weights_is_loaded_without_features(
    make: Make, sixteen: list[str], tmp_path: Path
) -> None:
    fitted = make(strategy="scratch", force=True, schedule=Schedule(epochs=1)).fit(sixteen, eight_each("b", "a"))
    fitted.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert (loaded.strategy, loaded.features) == ("scratch", "auto")  # "last" would be refused by `fit`


@pytest.mark.parametrize("pair", some_slow([("b", "a"), (10, 2), (1.0, 0.0), (True, False)], {(10, 2), (1.0, 0.0)}))
def test_labels_in_an_array_of_objects_keep_their_type(
    make: Make, sixteen: list[str], tmp_path: Path, pair: tuple[Any, Any]
) -> None:
    y = np.array(eight_each(*pair), dtype=object)
    fitted = make().fit(sixteen, y)
    fitted.save(tmp_path / "model.safetensors")
    for estimator in (fitted, load(tmp_path / "model.safetensors")):
        found = estimator.predict(sixteen).tolist()
        assert found == y.tolist()
        assert {type(label) for label in found} == {type(pair[0])}


def test_numbers_with_fractions_in_an_array_of_objects(make: Make, sixteen: list[str]) -> None:
    with pytest.raises(DataError, match="Got numbers with fractions"):
        make().fit(sixteen, np.array(eight_each(0.5, 1.5), dtype=object))


def test_numbers_as_folder_names_stay_text(make: Make, photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=6, blue=6)
    (folder / "red").rename(folder / "2")
    (folder / "blue").rename(folder / "10")
    fitted = make().fit(folder)
    fitted.save(str(tmp_path / "model.safetensors"))
    loaded = load(str(tmp_path / "model.safetensors"))
    assert fitted.classes_.tolist() == loaded.classes_.tolist() == ["2", "10"]
    assert loaded.score(folder) == 1.0


def test_save_says_where_it_cannot_write(fitted: TransferClassifier, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"path .*gone.* does not exist"):
        fitted.save(tmp_path / "gone" / "model.safetensors")


# --- folders ---


def test_folder_brings_its_labels(make: Make, photos: Photos) -> None:
    folder = photos(red=6, blue=6)
    fitted = make().fit(folder)
    assert fitted.classes_.tolist() == ["blue", "red"]
    assert fitted.predict(str(folder)).tolist() == ["blue"] * 6 + ["red"] * 6
    assert fitted.score(folder) == fitted.score(str(folder)) == 1.0
    assert (fitted.report_.estimate, fitted.report_.n) == ("out-of-fold", 12)


def test_folder_with_a_validation_split_is_evaluated_on_it(make: Make, photos: Photos) -> None:
    folder = photos("data/train", red=6, blue=6).parent
    photos("data/validation", first_seed=100, red=2, blue=3)
    fitted = make().fit(folder)
    assert (fitted.report_.estimate, fitted.report_.n) == ("validation", 5)


def test_score_takes_the_test_split_else_validation_else_train(make: Make, photos: Photos) -> None:
    """Of train all photos are under their names, of validation 2 of 3 and of test 1 of 4."""
    fitted = make().fit(photos("learned", first_seed=300, red=6, blue=6))
    folder = photos("data/train", red=2, blue=2).parent
    assert fitted.score(folder) == 1.0
    photos("data/validation", first_seed=100, red=2, blue=1)
    (folder / "validation" / "blue" / "0.jpg").rename(folder / "validation" / "red" / "wrong.jpg")
    assert fitted.score(folder) == 2 / 3
    photos("data/test", first_seed=200, red=1, blue=3)
    for number in range(3):
        (folder / "test" / "blue" / f"{number}.jpg").rename(folder / "test" / "red" / f"wrong-{number}.jpg")
    assert fitted.score(folder) == 1 / 4


def test_a_folder_is_predicted_whole_in_natural_order(make: Make, photos: Photos) -> None:
    """test/ before train/, blue/ before red/, 2.jpg before 10.jpg; photos without any label too."""
    fitted = make().fit(photos("learned", first_seed=300, red=6, blue=6))
    folder = photos("data/train", red=2, blue=1).parent
    photos("data/test", first_seed=100, red=1, blue=2)
    assert fitted.predict(folder).tolist() == ["blue", "blue", "red", "blue", "red", "red"]
    loose = folder.parent / "loose"
    loose.mkdir()
    for name, of in (("10", "red"), ("2", "blue"), ("1", "red")):
        shutil.copy(folder / "train" / of / "0.jpg", loose / f"{name}.jpg")
    assert fitted.predict(str(loose)).tolist() == ["red", "blue", "red"]


def test_score_of_a_folder_matches_classes_by_name(make: Make, photos: Photos) -> None:
    fitted = make().fit(photos(red=6, green=6, blue=6))
    new = photos("new", first_seed=100, red=2, green=2)
    assert fitted.score(new) == 1.0
    shutil.copy(new / "red" / "0.jpg", new / "green" / "wrong.jpg")
    assert fitted.score(new) == 4 / 5
    (new / "red").rename(new / "purple")
    with pytest.raises(DataError, match="has 1 class that the model does not know: purple"):
        fitted.score(new)


def test_score_is_scikit_learns_accuracy(fitted: TransferClassifier, sixteen: list[str]) -> None:
    y = ["a"] * 4 + ["b"] * 4 + ["a"] * 8  # four of the blue photos, "b", are said to be "a"
    weights = np.arange(1.0, 17.0)
    assert fitted.score(sixteen, y) == 12 / 16
    expected = accuracy_score(y, eight_each("b", "a"), sample_weight=weights)
    assert fitted.score(sixteen, y, weights) == pytest.approx(expected) == pytest.approx(126 / 136)


# --- mistakes ---


def test_mistakes_in_x_and_y(make: Make, sixteen: list[str], photos: Photos) -> None:
    folder = Path(sixteen[0]).parents[1]
    mistakes: list[tuple[Any, Any, str]] = [
        (folder, ["a"] * 16, f"{folder} is a folder, which brings its own labels: leave y out."),
        (sixteen, None, "y is missing: give one label per image, or a folder of class folders as X."),
        (
            sixteen,
            ["a"] * 15,
            "y must hold one label for each image, shape (16,). Got 16 images and labels of shape (15,).",
        ),
        (
            sixteen,
            [["a"]] * 16,
            "y must hold one label for each image, shape (16,). Got 16 images and labels of shape (16, 1).",
        ),
        (sixteen, eight_each(0.5, 1.5), "the labels in y must name classes. Got numbers with fractions (continuous)."),
        (
            sixteen,
            np.array(eight_each("a", 1), dtype=object),
            "the labels in y must be of one type. Got int, str. Make them all text or all numbers.",
        ),
        ([], [], "X holds no images."),
        ([*sixteen, "gone.jpg"], ["a"] * 17, "1 of 17 image files do not exist: gone.jpg. Check the paths."),
    ]
    for X, y, message in mistakes:
        with pytest.raises(DataError) as caught:
            make().fit(X, y)
        assert str(caught.value) == message


def test_unknown_network_is_reported_first() -> None:
    with pytest.raises(ModelError, match="There is no network named 'resnet5O'"):
        TransferClassifier("resnet5O").fit(["gone.jpg"], ["a"])


def test_labels_that_mean_nothing(make: Make, photos: Photos) -> None:
    paths = sorted(photos(red=30).rglob("*.jpg"))
    y = np.random.default_rng(1).permutation(np.arange(30) % 2)
    with pytest.raises(SanityError):
        make().fit(paths, y)
    assert make(force=True).fit(paths, y).classes_.tolist() == [0, 1]


@pytest.mark.parametrize(
    "use",
    [
        lambda estimator, images: estimator.predict_proba(images),
        lambda estimator, images: estimator.score(Path(images[0]).parents[1]),
        lambda estimator, images: estimator.save(Path(images[0]).with_name("model.safetensors")),
    ],
    ids=["predict_proba", "score of a folder", "save"],
)
def test_not_fitted(make: Make, sixteen: list[str], use: Callable[..., object]) -> None:
    with pytest.raises(NotFittedError) as caught:
        use(make(), sixteen)
    assert str(caught.value) == "This TransferClassifier is not fitted yet. Call fit(X, y) or regraft.load(path)."


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_unreadable_images_are_all_named(fitted: TransferClassifier, sixteen: list[str], method: str) -> None:
    Path(sixteen[2]).write_bytes(b"garbage")
    Path(sixteen[5]).write_bytes(Path(sixteen[5]).read_bytes()[:700])
    with pytest.raises(DataError) as caught:
        getattr(fitted, method)(sixteen)
    assert str(caught.value) == (
        "2 of 16 images cannot be read:\n"
        f"  {sixteen[2]}: not an image, or damaged at its start\n"
        f"  {sixteen[5]}: the file is cut off (truncated)\n"
        "Leave them out."
    )


def test_unreadable_image_is_left_out_of_fitting(make: Make, sixteen: list[str]) -> None:
    Path(sixteen[2]).write_bytes(b"garbage")
    with pytest.warns(UserWarning, match="cannot be read") as caught:
        fitted = make().fit(sixteen, eight_each("b", "r"))
    assert [(str(warning.message), warning.filename) for warning in caught] == [
        (
            f"1 of 16 images cannot be read and are left out:\n  {sixteen[2]}: not an image, or damaged at its start",
            __file__,
        )
    ]
    assert fitted.report_.n == 15
    assert fitted.predict(sixteen[3:]).tolist() == ["b"] * 5 + ["r"] * 8


@pytest.mark.parametrize(
    "y", some_slow([eight_each("10", "2"), eight_each(1, -1), eight_each("a", "b")], [eight_each("a", "b")])
)
def test_scorers_read_the_columns_as_they_stand(make: Make, sixteen: list[str], y: list[Any]) -> None:
    """Red and blue are told apart without a mistake: the ranking is perfect, and the loss far below ln 2."""
    assert cross_val_score(make(), sixteen, y, cv=2, scoring="roc_auc").tolist() == [1, 1]
    assert cross_val_score(make(), sixteen, y, cv=2, scoring="neg_log_loss").min() > -0.3


@pytest.mark.parametrize("ask", ["predict", "predict_proba"])
def test_nothing_can_be_asked_before_fit(make: Make, sixteen: list[str], ask: str) -> None:
    with pytest.raises(NotFittedError, match=r"is not fitted yet\. Call fit\(X, y\) or regraft\.load\(path\)\."):
        getattr(make(), ask)(sixteen)
    with pytest.raises(NotFittedError):
        make().score(sixteen, ["a"] * 16)


SURVIVORS = [
    eight_each(True, False),
    np.array(eight_each("2024-02-29", "2023-01-01"), dtype="M8[D]"),
    pd.Series(eight_each("b", "a"), index=range(16, 0, -1)),
    eight_each(Decimal(2), Decimal(10)),
]
MORE_SURVIVORS = [
    eight_each(2.0, 10.0),
    np.array(eight_each(2, 10), dtype=np.uint64),
    np.array(eight_each("b", "a"), dtype=object),
    eight_each(b"b", b"a"),
    eight_each(datetime.date(2024, 2, 29), datetime.date(2023, 1, 1)),
]
SURVIVORS += [pytest.param(labels, marks=pytest.mark.slow) for labels in MORE_SURVIVORS]


@pytest.mark.parametrize("y", SURVIVORS, ids=lambda y: repr(y)[:20])
def test_labels_of_every_type_survive_a_file(make: Make, sixteen: list[str], y: Any, tmp_path: Path) -> None:
    fitted = make(seed=np.int64(3)).fit(sixteen, y)
    fitted.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    for estimator in (fitted, loaded):
        found = estimator.predict(sixteen)
        assert found.dtype == np.asarray(y).dtype
        assert found.tolist() == np.asarray(y).tolist()
        assert estimator.score(sixteen, y) == 1.0
    assert loaded.seed == 3
    assert loaded.report_ == fitted.report_


def test_what_y_lacks_is_said_before_any_network_is_loaded(sixteen: list[str], tmp_path: Path) -> None:
    estimator = TransferClassifier("pocket", weights=tmp_path / "gone")
    with pytest.raises(DataError, match=r"^2 of 16 labels in y are missing"):
        estimator.fit(sixteen, [*eight_each("a", "b")[:-2], None, float("nan")])


@pytest.mark.parametrize(
    ("label", "other", "name"), [(b"a", b"b", "a"), (datetime.date.max, datetime.date.min, "9999-12-31")]
)
def test_positive_is_a_label_of_any_type(make: Make, sixteen: list[str], label: Any, other: Any, name: str) -> None:
    assert make(positive=label).fit(sixteen, eight_each(label, other)).report_.positive == name


# --- groups, tables, lists with folders ---


def test_groups_stay_on_one_side(make: Make, sixteen: list[str]) -> None:
    groups = [f"pair {k // 2}" for k in range(16)]
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make(force=True).set_fit_request(groups=True)
        params = {"groups": np.array(groups)}
        scores = cross_val_score(routed, sixteen, eight_each("b", "r"), params=params, cv=StratifiedKFold(2))
    assert scores.tolist() == [1.0, 1.0]
    fitted, alone = (make().fit(sixteen, eight_each("b", "r"), groups=given) for given in (groups, None))
    widths = [np.ptp(estimator.report_.intervals["accuracy"]) for estimator in (fitted, alone)]
    assert widths[0] > widths[1]  # eight pairs say less than sixteen photos
    with pytest.raises(DataError, match="2 classes come from one photo or one group only"):
        make().fit(sixteen, eight_each("b", "r"), groups=eight_each("p", "q"))


def test_a_warning_of_groups_names_the_line_that_calls_fit(make: Make, sixteen: list[str]) -> None:
    with pytest.warns(UserWarning, match="^16 of 16 groups are missing") as caught:
        fitted = make().fit(sixteen, eight_each("b", "r"), groups=[None] * 16)
    assert caught[0].filename == __file__
    assert any(line.startswith("16 of 16 groups are missing") for line in fitted.log_)


def test_columns_of_a_table_have_names(make: Make, sixteen: list[str], tmp_path: Path) -> None:
    folder = Path(sixteen[0]).parents[1]
    names = [str(Path(path).relative_to(folder)) for path in sixteen]
    table = tmp_path / "lesions.csv"
    rows = {"photo": names, "kind": eight_each("b", "r"), "patient": [f"p{k // 2}" for k in range(16)]}
    pd.DataFrame(rows).to_csv(table, index=False)
    columns = {"image_column": "photo", "label_column": "kind", "image_root": str(folder)}
    fitted = make().fit(table, group_column="patient", **columns)
    assert fitted.classes_.tolist() == ["b", "r"]
    assert fitted.score(table, **columns) == 1.0
    assert fitted.predict(table, image_column="photo", image_root=folder).tolist() == eight_each("b", "r")
    with pytest.raises(DataError, match="image_column is needed: none of image"):
        fitted.predict(table)
    with pytest.raises(TypeError, match="fit has no argument 'label_colum'"):
        make().fit(table, label_colum="kind")


def test_photos_are_what_the_predictions_are_of(fitted: TransferClassifier, sixteen: list[str]) -> None:
    red = Path(sixteen[8]).parent
    X = [red, sixteen[0], pil(sixteen[1])]
    photos = fitted.photos(X)
    assert [str(photo) for photo in photos] == [*sixteen[8:], sixteen[0], "image 9"]
    assert fitted.predict(photos).tolist() == fitted.predict(X).tolist() == ["a"] * 8 + ["b"] * 2
    assert [str(photo) for photo in fitted.photos(red.parent)] == sixteen


@pytest.mark.parametrize("bad", [["c"] * 16, [1] * 16])
def test_score_with_labels_that_are_no_classes(fitted: TransferClassifier, sixteen: list[str], bad: list[Any]) -> None:
    with pytest.raises(DataError, match=rf"knows none of the labels in y: {bad[0]}\. It knows: a, b\."):
        fitted.score(sixteen, bad)
    assert fitted.score(sixteen, [*eight_each("b", "a")[:-1], "c"]) == 15 / 16


def test_score_needs_as_many_labels_as_images(fitted: TransferClassifier, sixteen: list[str]) -> None:
    with pytest.raises(DataError, match=r"Got 16 images and labels of shape \(15,\)\."):
        fitted.score(sixteen, ["a"] * 15)
    with pytest.raises(DataError, match=r"^y is missing"):
        fitted.score(sixteen)


# --- the report ---


def test_explain_takes_photos_in_any_form(sixteen: list[str]) -> None:
    folder, nothing = Path(sixteen[0]).parents[1], Columns()
    for X, y, names in ((folder, None, ("blue", "red")), (sixteen, eight_each("b", "r"), ("b", "r"))):
        samples, labelled = _photos_to_explain(X, y, nothing)
        assert (samples.classes, len(samples), labelled) == (names, 16, True)
    samples, labelled = _photos_to_explain([folder / "red", sixteen[0]], None, nothing)
    assert (len(samples), labelled) == (9, False)


def test_mistakes_in_explain(fitted: TransferClassifier, sixteen: list[str], tmp_path: Path) -> None:
    folder = Path(sixteen[0]).parents[1]
    with pytest.raises(DataError, match="classes that the model does not know: blue, red"):
        fitted.explain(folder, out=tmp_path / "other")
    with pytest.raises(OptionError, match=r"^stages must be a stage .* Got 'blocks\.9'"):
        fitted.explain(folder, out=tmp_path / "other", stages="blocks.9")
    with pytest.raises(OptionError, match=r"^units must be 0 or more\. Got -1\."):
        fitted.explain(folder, out=tmp_path / "other", units=-1)
    with pytest.raises(OutputError, match=r"^out .* cannot be written: Not a directory"):
        fitted.explain(folder, out=Path(sixteen[0]) / "below")


# --- several networks ---


@pytest.mark.slow
def test_networks_in_a_list_are_joined_and_stay_so_in_a_file(
    sixteen: list[str], tiny_network: str, other_network: str, tmp_path: Path
) -> None:
    networks = [tiny_network, other_network]
    estimator = TransferClassifier(model=networks, features="last").fit(sixteen, eight_each("a", "b"))
    assert estimator.get_params()["model"] is networks
    assert estimator.classifier_.model == f"{tiny_network} + {other_network}"
    estimator.save(tmp_path / "joint.safetensors")
    again = load(tmp_path / "joint.safetensors")
    assert again.model == [without_folders(name) for name in networks]
    assert np.array_equal(again.predict_proba(sixteen), estimator.predict_proba(sixteen))
    report = estimator.explain(sixteen, out=tmp_path / "report")
    assert "Several networks are joined under one last layer" in report.read_text()


def test_auto_chooses_one_of_the_networks_beside_it(sixteen: list[str], tiny_network: str, other_network: str) -> None:
    estimator = TransferClassifier(model=["auto", tiny_network, other_network], features="last", budget=60.0)
    estimator.fit(sixteen, eight_each("a", "b"))
    assert estimator.classifier_.model in {tiny_network, other_network}
    assert len(estimator.classifier_.record.networks_tried) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ["a", "b"], "weights": "w.pth"}, "weights is a file of one network. Got 2 networks (model)."),
        ({"model": ["a", "b"], "strategy": "top"}, "strategy='top' trains one network. Got 2 (model)"),
        ({"model": ["a", "a"]}, "model names the same network twice: a."),
    ],
)
def test_what_several_networks_cannot_do(sixteen: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        TransferClassifier(**options).fit(sixteen, eight_each("a", "b"))


# --- classes in a tree ---


def test_training_classes_of_a_tree_are_text_and_labels_that_stay_keep_their_type(
    make: Make, sixteen: list[str], tmp_path: Path
) -> None:
    """The photos of 2 and 10 are joined into "even"; with a small maximum the classes are numbers in NumPy's order."""
    (tmp_path / "tree.yaml").write_text("even: [2, 10]\nodd: [3]\n")
    labels = [2] * 4 + [10] * 4 + [3] * 8
    joined = make(taxonomy=tmp_path / "tree.yaml", max_class_size=8).fit(sixteen, labels)
    assert joined.classes_.tolist() == ["3", "even"]
    assert set(joined.predict(sixteen)) <= {"3", "even"}
    joined.save(tmp_path / "joined.safetensors")
    again = load(tmp_path / "joined.safetensors")
    assert again.classifier_.taxonomy is not None
    assert again.score(sixteen, ["even"] * 8 + ["3"] * 8) == joined.score(sixteen, ["even"] * 8 + ["3"] * 8)
    kept = make(taxonomy=str(tmp_path / "tree.yaml")).fit(sixteen, labels)
    assert kept.classes_.tolist() == [2, 3, 10]
    (level, classes) = kept.classifier_.levels
    assert (level.nodes, classes.nodes) == (("even", "odd"), ("2", "3", "10"))
    found = kept.predict_proba(sixteen)
    assert level.sums(found)[:, 0] == pytest.approx(found[:, 0] + found[:, 2])
