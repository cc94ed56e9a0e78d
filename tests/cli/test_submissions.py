"""Submissions as a competition's sample has them. What is expected is filled in by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from regraft.classifier.predict import Predictions
from regraft.cli.submission_answers import Answer, match_classes
from regraft.cli.submissions import plan_submission
from regraft.errors import DataError, OptionError
from regraft.images.sources import TableCell

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
FOREST = ("beach", "forest", "river")
PETS = ("cat", "dog")
ROWS = {  # what the classifier says of each photo
    FOREST: [[0.5, 0.25, 0.25], [0.0, 0.125, 0.875], [0.25, 0.625, 0.125]],
    PETS: [[0.75, 0.25], [1.0, 0.0], [0.125, 0.875]],
    ("0", "1"): [[0.75, 0.25], [1.0, 0.0], [0.125, 0.875]],
    ("cat", "Cat"): [[0.75, 0.25], [1.0, 0.0], [0.125, 0.875]],
}
PHOTOS = ("new/1.jpg", "new/2.jpg", "new/10.jpg")


class Filler:
    """Fills samples: of photos in PHOTOS, with the probabilities of ROWS, as `predict` does."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "sample.csv"

    def plan(self, sample: str | bytes, classes: tuple[str, ...], photos: Any = PHOTOS, **options: Any) -> Any:
        self.file.write_bytes(sample if isinstance(sample, bytes) else sample.encode())
        options = {"positive": None, "clip": 0.0, "answer": None} | options
        sources = [Path(photo) if isinstance(photo, str) else photo for photo in photos]
        return plan_submission(self.file, sources, classes, **options)

    def __call__(self, sample: str | bytes, classes: tuple[str, ...], photos: Any = PHOTOS, **options: Any) -> str:
        plan = self.plan(sample, classes, photos, **options)
        known = dict(zip([str(photo) for photo in photos], ROWS[classes], strict=True))
        return plan.text(Predictions(plan.sources, np.array([known[str(one)] for one in plan.sources]), {}))

    def notes(self, sample: str, classes: tuple[str, ...], photos: Any = PHOTOS, **options: Any) -> str:
        return "\n".join(self.plan(sample, classes, photos, **options).notes)


@pytest.fixture
def fill(tmp_path: Path) -> Filler:
    return Filler(tmp_path)


# --- what the columns ask for ---


@pytest.mark.parametrize(
    "header", ["id,river,beach,forest", "image_id,River,BEACH, Forest", "img,prob_river,prob_beach,prob_forest"]
)
def test_a_column_for_each_class_is_filled_by_name(fill: Filler, header: str) -> None:
    sample = f"{header}\n10,0.3,0.3,0.4\n1,0,0,1\n2,0,0,1\n"
    assert fill(sample, FOREST) == f"{header}\n10,0.125,0.25,0.625\n1,0.25,0.5,0.25\n2,0.875,0,0.125\n"
    notes = fill.notes(sample, FOREST)
    assert "columns: the probability of each of 3 classes" in notes
    assert ("spelled in another way" in notes) == (header != "id,river,beach,forest")


def test_rows_of_probabilities_still_add_up_to_one_away_from_zero(fill: Filler) -> None:
    """0.9 of each and 0.1 / 3: 0.45 + 0.0333.., 0.1125 + .., 0.7875 + .."""
    filled = fill("id,beach,forest,river\n1,,,\n2,,,\n10,,,\n", FOREST, clip=0.1)
    values = np.array([row.split(",")[1:] for row in filled.splitlines()[1:]], dtype=float)
    expected = [[0.4833333, 0.2583333, 0.2583333], [0.0333333, 0.1458333, 0.8208333], [0.2583333, 0.5958333, 0.1458333]]
    assert values == pytest.approx(np.array(expected), abs=1e-6)
    assert values.sum(axis=1) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize(
    ("classes", "cell", "options", "expected", "said"),
    [
        (FOREST, "river", {}, ["beach", "river", "forest"], "class names (the sample holds river)"),
        (FOREST, "River", {}, ["beach", "River", "forest"], "River is river"),
        (FOREST, "", {}, ["beach", "river", "forest"], "class names (the sample's is empty)"),
        (FOREST, "foo", {"answer": Answer.label}, ["beach", "river", "forest"], "class names (the sample holds foo)"),
        (FOREST, "river beach", {}, ["beach forest", "river forest", "forest beach"], "2 likeliest classes"),
        (FOREST, "0.3", {"positive": "river"}, ["0.250000", "0.875000", "0.125000"], "probability of river"),
        (PETS, "0.5", {"positive": "dog"}, ["0.250000", "0.000000", "0.875000"], "probability of dog"),
        (PETS, "0.5", {"positive": "dog", "clip": 0.2}, ["0.250000", "0.200000", "0.800000"], "(--clip 0.2)"),
        (PETS, "0", {"positive": "dog"}, ["0.250000", "0.000000", "0.875000"], "probability of dog"),
        (PETS, "0", {"positive": "dog", "answer": Answer.label}, ["0", "0", "1"], "1 for dog, else 0"),
        (PETS, "cat", {"positive": "dog", "answer": Answer.probability}, ["0.250000", "0.000000", "0.875000"], "dog"),
        (("0", "1"), "0", {}, ["0", "0", "1"], "a probability is written with --positive"),
        (("0", "1"), "0", {"positive": "1"}, ["0.250000", "0.000000", "0.875000"], "probability of 1"),
        (("0", "1"), "0.5", {}, ["0.250000", "0.000000", "0.875000"], "probability of 1"),
    ],
)
def test_one_column_is_filled_as_its_values_ask_and_that_is_said(
    fill: Filler, *, classes: tuple[str, ...], cell: str, options: dict[str, Any], expected: list[str], said: str
) -> None:
    sample = f"id,label\n1,{cell}\n2,{cell}\n10,{cell}\n"
    filled = fill(sample, classes, **options)
    assert filled == "id,label\n" + "".join(f"{n},{v}\n" for n, v in zip(("1", "2", "10"), expected, strict=True))
    assert said in fill.notes(sample, classes, **options)


def test_a_column_that_is_called_as_a_class_holds_its_probability(fill: Filler) -> None:
    assert fill("id,Dog\n1,0\n2,0\n10,0\n", PETS) == "id,Dog\n1,0.250000\n2,0.000000\n10,0.875000\n"


@pytest.mark.parametrize(
    ("sample", "classes", "options", "message"),
    [
        (
            "id,label\n1,4\n",
            FOREST,
            {},
            "holds numbers (4), and the classes are beach, forest, river. Which number means",
        ),
        ("id,label\n1,0\n", FOREST, {}, "holds numbers (0), and the classes are"),
        (
            "id,label\n1,0\n",
            PETS,
            {},
            "'label' holds 0, which may stand for a probability or for a class. Name the class",
        ),
        ("id,label\n1,0\n", PETS, {"answer": Answer.label}, "Name the class that 1 means with --positive: cat, dog."),
        (
            "id,label\n1,0.5\n",
            PETS,
            {},
            "is taken for a probability (the sample holds 0.5). Of which class, --positive",
        ),
        ("id,label\n1,cot\n", PETS, {}, "'label' holds cot, which name no class. Did you mean 'cat'? The classes are"),
        ("id,label\n1,cat\n2,rabbit\n", PETS, {}, "'label' holds rabbit, which name no class."),
        ("id,boxes\n1," + "0 1 " * 99 + "\n", PETS, {}, "holds " + ("0 1 " * 99)[:57] + "..., which name no class."),
        (
            "id,label\n1,cat\n",
            PETS,
            {"positive": "cat"},
            "holds names of classes (cat), so that --positive has no use.",
        ),
        (
            "id,label\n1,0.5\n",
            PETS,
            {"positive": "dig"},
            "one of the classes: cat, dog. Got 'dig'. Did you mean 'dog'?",
        ),
        (
            "id,cat,dog\n1,0,1\n",
            PETS,
            {"positive": "dog"},
            "--positive is for a sample with one column of answers. --like",
        ),
        ("id,cat,dog\n1,0,1\n", PETS, {"answer": Answer.label}, "--answer is for a sample with one column of answers."),
        ("id,cat,dog\n1,0,1\n", PETS, {"clip": 0.5}, "--clip must be from 0 to below 0.5. Got 0.5."),
        (
            "id,beach,sea\n1,0,1\n",
            FOREST,
            {},
            "1 columns name no class: sea. 2 classes have no column: forest, river. Learn with classes that are named",
        ),
        ("id,label\n1,=no\n", ("=no", "yes"), {}, "1 classes would begin a spreadsheet's formula"),
        ("id,=no,yes\n1,0,1\n", ("=no", "yes"), {}, "1 names or ids would begin a spreadsheet's formula"),
    ],
)
def test_what_could_be_meant_otherwise_is_asked(
    fill: Filler, sample: str, classes: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, OptionError)) as failed:
        fill.plan(sample, classes, ("1.jpg", "2.jpg"), **options)
    assert message in str(failed.value)


def test_names_of_classes_are_told_apart_by_case_where_that_is_all_there_is() -> None:
    assert match_classes(["Cat", "cat"], ("cat", "Cat")) == {"Cat": 1, "cat": 0}
    assert match_classes(["CAT"], ("cat", "Cat")) == {}
    assert match_classes(["golden retriever", " pug "], ("Golden_Retriever", "pug")) == {
        "golden retriever": 0,
        " pug ": 1,
    }
    assert match_classes(["cat", "CAT"], ("cat", "dog")) == {"cat": 0}


# --- which photo an id means ---


@pytest.mark.parametrize(
    ("ids", "photos", "said"),
    [
        (["10.jpg", "1.jpg"], ["new/1.jpg", "new/10.jpg"], "file names with their ending"),
        (["10", "1"], ["new/1.jpg", "new/10.png"], "file names without their ending"),
        (["b/1", "a/1"], ["new/a/1.jpg", "new/b/1.jpg"], "file names without their ending"),
        (["b\\1.jpg", "a\\1.jpg"], ["new/a/1.jpg", "new/b/1.jpg"], "file names with their ending"),
        (["B.JPG", "A.JPG"], ["new/a.jpg", "new/b.jpg"], "file names but for upper and lower case"),
        (["2", "1"], ["0001.jpg", "0002.jpg"], "file names but for leading zeros"),
        (["0002", "0001"], ["1.jpg", "2.jpg"], "file names but for leading zeros"),
        (["test/b.dcm", "test/a.dcm"], ["new/a.jpg", "new/b.jpg"], "file names but for their folder or ending"),
        (["cat.1", "cat.0"], ["cat.0.jpg", "cat.1.jpg"], "file names without their ending"),
        (["cafe\u0301", "b"], ["b.jpg", "caf\u00e9.jpg"], "file names without their ending"),
        (["-1aB_c", "-0aB_c"], ["-0aB_c.jpg", "-1aB_c.jpg"], "file names without their ending"),
        (["2.jpg", "1"], ["1.jpg", "2.jpg"], "1 file names with their ending, 1 file names without their ending"),
    ],
)
def test_ids_name_photos_and_how_is_said(fill: Filler, ids: list[str], photos: list[str], said: str) -> None:
    """Ids stand in the sample in the opposite order of the photos, and stay as they are."""
    sample = "id,label\n" + "".join(f"{name},cat\n" for name in ids)
    plan = fill.plan(sample, PETS, photos)
    assert [str(source) for source in plan.sources] == photos[::-1]
    assert plan.notes[0] == f"ids: column 'id', {said}"
    answers = Predictions(plan.sources, np.array([[0.0, 1.0], [1.0, 0.0]]), {})
    assert plan.text(answers) == f"id,label\n{ids[0]},dog\n{ids[1]},cat\n"


def test_photos_in_a_table_have_ids_too(fill: Filler) -> None:
    cells = [TableCell(Path("new.parquet"), "image", 0, row, f"{row}.jpg") for row in (7, 8)]
    assert fill.plan("id,label\n8,cat\n7,cat\n", PETS, cells).sources == (cells[1], cells[0])


def test_the_column_of_ids_may_stand_anywhere_and_cells_stay_in_theirs(fill: Filler) -> None:
    filled = fill("label,id\n0.5,10\n0.5,1\n0.5,2\n", PETS, positive="dog")
    assert filled == "label,id\n0.875000,10\n0.250000,1\n0.000000,2\n"


@pytest.mark.parametrize(
    ("ids", "photos", "message"),
    [
        (
            ["1", "3"],
            ["1.jpg"],
            "1 of 2 ids in column 'id' name none of the 1 photos:\n  3\nA submission has an answer",
        ),
        (
            ["1"],
            ["a/1.jpg", "b/1.jpg"],
            "1 of 1 ids in column 'id' fit several photos:\n  1: a/1.jpg, b/1.jpg\nName only",
        ),
        (["1", "1"], ["1.jpg"], "1 ids stand in several rows:\n  1\n"),
        (["1", "01"], ["1.jpg"], "1 photos fit several ids:\n  1.jpg: 1, 01\n"),
        (["x"], ["1.jpg"], "no column holds names of the 1 photos. Its first row is x, cat; the first photo is 1.jpg."),
        (["=1+1"], ["=1+1.jpg"], "1 names or ids would begin a spreadsheet's formula"),
    ],
)
def test_ids_and_photos_belong_to_each_other(fill: Filler, ids: list[str], photos: list[str], message: str) -> None:
    with pytest.raises(DataError) as failed:
        fill.plan("id,label\n" + "".join(f"{name},cat\n" for name in ids), PETS, photos)
    assert message in str(failed.value)


def test_photos_without_an_id_are_named_and_left_out(fill: Filler) -> None:
    plan = fill.plan("id,label\n2,cat\n", PETS)
    assert plan.sources == (Path("new/2.jpg"),)
    assert "2 of 3 photos have no id and are left out:\n  new/1.jpg\n  new/10.jpg" in plan.notes
    assert fill.plan("id,label\n2,cat\n", PETS, ["new/2.jpg", Path("new/2.jpg").absolute()]).sources  # one photo


# --- the file ---


@pytest.mark.parametrize(
    ("data", "filled"),
    [
        ("\ufeffid,label\r\n2,cat\r\n", "id,label\n2,dog\n"),
        ("id;label\n2;cat\n", "id;label\n2;dog\n"),
        ("id\tlabel\n2\tcat\n", "id\tlabel\n2\tdog\n"),
        ('"id","the, label"\n"2","cat"\n', 'id,"the, label"\n2,dog\n'),
        ("id,label\n\n2,cat\n\n", "id,label\n2,dog\n"),
        ("id,label\n2,cat\n".encode("utf-16"), "id,label\n2,dog\n"),
    ],
)
def test_samples_are_read_as_they_come(fill: Filler, data: str | bytes, filled: str) -> None:
    plan = fill.plan(data, PETS)
    assert plan.text(Predictions(plan.sources, np.array([[0.25, 0.75]]), {})) == filled
    unreadable = Predictions(plan.sources, np.array([[np.nan, np.nan]]), {0: "torn"})
    assert plan.text(unreadable) == filled.replace("dog", "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04...", "is packed (zip, gzip or a spreadsheet). Unpack it, or save it as CSV."),
        ("id,größe\n".encode("latin-1"), "is no text in UTF-8. Save it as CSV in UTF-8."),
        (b"id,label\n1\n", "1 rows have not the 2 cells of the header:\n  line 2: 1 cells\n"),
        (b"id\n1\n", "This one has 1 columns and 1 rows."),
        (b"id,label\n", "This one has 2 columns and 0 rows."),
        (b"", "This one has 0 columns and 0 rows."),
        (b'id,label\n"1,2\n', "is not a readable CSV table: unexpected end of data. Download it again."),
        (b"id,a,a \n1,2,3\n", "has several columns of one name: a."),
    ],
)
def test_what_is_no_sample_is_said(fill: Filler, data: bytes, message: str) -> None:
    with pytest.raises(DataError) as failed:
        fill.plan(data, PETS)
    assert message in str(failed.value)


def test_no_such_sample(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: No such file or directory\. Name the sample submission"):
        plan_submission(tmp_path / "none.csv", [], PETS, positive=None, clip=0.0, answer=None)
    with pytest.raises(DataError, match=r"cannot be read: not a regular file but a folder\. Name the sample"):
        plan_submission(tmp_path, [], PETS, positive=None, clip=0.0, answer=None)


def test_a_sample_is_filled_by_the_command(
    run: Run, fails: Fails, bundle: Path, photos: Photos, tmp_path: Path
) -> None:
    new = photos("new", first_seed=900, red=2) / "red"
    photos("more", first_seed=950, blue=2)
    (tmp_path / "more" / "blue" / "1.jpg").rename(new / "7.jpg")
    (new / "0.jpg").write_text("no image")
    (tmp_path / "sample.csv").write_text("name,label\n7.jpg,red\n1.jpg,red\n0.jpg,red\n")
    command = ("predict", bundle, "new", "--like", "sample.csv")
    done = run(*command, "--out", "mine.csv")
    assert done.exit_code == 3, done.output
    assert (tmp_path / "mine.csv").read_text() == "name,label\n7.jpg,blue\n1.jpg,red\n0.jpg,\n"
    assert "column 'label': class names (the sample holds red)" in done.stderr
    assert "unreadable: new/red/0.jpg: not an image" in done.stderr
    assert fails(*command, "--out", "sample.csv").startswith("error: --out sample.csv is a file that is read here: ")
    assert "so that --format csv has no use." in fails(*command, "--format", "csv")
    assert "--format kaggle is not what a file called a.json holds." in fails(*command, "--out", "a.json")
