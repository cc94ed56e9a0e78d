"""`regraft audit`: what ruins figures, in lines and as JSON; what to keep; new photos beside a classifier's."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import photo
from tests.fixtures.scenes import scene
from typer.testing import Result

from regraft.data.findings import KINDS, SEVERITIES

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]


@pytest.fixture
def pets(photos: Photos) -> Path:
    return photos("pets", red=8, blue=8)


def found_in(done: Result) -> dict[str, list[dict[str, object]]]:
    """Return the findings of `--json` by their kinds."""
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    by_kind: dict[str, list[dict[str, object]]] = {}
    for one in found["findings"]:
        assert one["severity"] in SEVERITIES
        assert isinstance(one["files"], list)
        assert one["advice"]
        by_kind.setdefault(one["kind"], []).append(one)
    assert by_kind.keys() <= KINDS.keys()
    return by_kind


def test_copies_in_lines_and_as_json(run: Run, pets: Path, tiny_network: str) -> None:
    shutil.copy(pets / "red" / "2.jpg", pets / "blue" / "again.jpg")  # does not raise, as `fit` would
    shutil.copy(pets / "red" / "3.jpg", pets / "red" / "copy.jpg")
    done = run("audit", "pets", "--model", tiny_network)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("18 photos; ")
    assert "high    exact-duplicate: copies of one photo (1; across classes: 1)" in done.stdout
    assert "blue/again.jpg = red/2.jpg" in done.stdout
    assert "medium  exact-duplicate: copies of one photo (1)\n" in done.stdout
    assert done.stderr.startswith("18 photos of pets; labels: blue 9, red 9\n")
    copies = found_in(run("audit", "pets", "--model", tiny_network, "--json"))["exact-duplicate"]
    assert [(one["severity"], one.get("across"), one["files"]) for one in copies] == [
        ("high", ["classes"], ["pets/blue/again.jpg", "pets/red/2.jpg"]),
        ("medium", None, ["pets/red/3.jpg", "pets/red/copy.jpg"]),
    ]


def test_json_says_what_it_is_of(run: Run, pets: Path, tiny_network: str) -> None:
    found = json.loads(run("audit", "pets", "--model", tiny_network, "--json").stdout)
    assert {"model", "images", "findings", "figures", "cues", "guessed_groups", "notes", "mislabelled_expected"} == (
        found.keys()
    )
    assert (found["model"], found["images"], found["notes"]) == (tiny_network, 16, [])
    (colour,) = [one for one in found["cues"] if one["cue"] == "mean colour"]
    assert (colour["balanced_accuracy"], colour["chance"]) == (1.0, 0.5)


def test_nothing_is_changed(run: Run, pets: Path, tiny_network: str, tmp_path: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in pets.rglob("*.jpg")}
    assert run("audit", "pets", "--model", tiny_network).exit_code == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in pets.rglob("*.jpg")} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"pets", "cache"}


@pytest.mark.parametrize("damaged", [4, 16])
def test_damaged_photos_do_not_end_it(run: Run, pets: Path, tiny_network: str, damaged: int) -> None:
    paths = sorted(pets.rglob("*.jpg"))
    for path in paths[:damaged]:
        path.write_bytes(path.read_bytes()[:300])
    (one,) = found_in(run("audit", "pets", "--model", tiny_network, "--json"))["unreadable"]
    assert one["severity"] == "high"
    assert one["files"] == [f"pets/{path.relative_to(pets).as_posix()}" for path in paths[:damaged]]
    done = run("audit", "pets", "--model", tiny_network)
    assert done.exit_code == 0, done.output
    assert f"high    unreadable: files that cannot be read ({damaged})" in done.stdout
    said = "no labels, shortcuts or figures were looked at: fewer than two classes"
    assert (said in done.stderr) == (damaged == 16)


def test_photos_without_labels(run: Run, tiny_network: str) -> None:
    for number in range(6):
        photo(Path("new") / f"{number}.jpg", "red", number)
    shutil.copy("new/1.jpg", "new/again.jpg")
    done = run("audit", "new", "--model", tiny_network)
    assert done.exit_code == 0, done.output
    assert "exact-duplicate: copies of one photo" in done.stdout
    assert "no labels, shortcuts or figures were looked at: the photos have no labels" in done.stderr
    assert found_in(run("audit", "new", "--model", tiny_network, "--json")).keys() == {"exact-duplicate"}


def test_a_single_photo(run: Run, tiny_network: str) -> None:
    photo(Path("one.jpg"), "red", 0)
    done = run("audit", "one.jpg", "--model", tiny_network)
    assert (done.exit_code, done.stdout) == (0, "1 photo, and nothing was found.\n")


def test_a_class_of_one_photo(run: Run, pets: Path, tiny_network: str) -> None:
    photo(pets / "green" / "0.jpg", "green", 0)
    (one,) = found_in(run("audit", "pets", "--model", tiny_network, "--json"))["imbalance"]
    assert one["counts"] == {"blue": 8, "green": 1, "red": 8}


@pytest.mark.slow
def test_a_table_with_groups(run: Run, pets: Path, tiny_network: str) -> None:
    rows = ["image,label,split,who"]
    rows += [
        f"pets/{colour}/{k}.jpg,{colour},{'val' if k == 1 else 'train'},p{k // 2}"
        for colour in ("red", "blue")
        for k in range(8)
    ]
    Path("t.csv").write_text("\n".join(rows))
    done = run("audit", "t.csv", "--group-column", "who", "--model", tiny_network, "--json")
    (leak,) = found_in(done)["subject-leak"]
    assert (leak["group"], leak["severity"], len(leak["files"])) == ("p0", "high", 4)  # type: ignore[arg-type]
    done = run("audit", "t.csv", "--group-column", "who", "--model", tiny_network, "--write-clean", "clean.csv")
    assert "16 of 16 photos to keep; `regraft fit` keeps its groups together by --group-column group" in done.stderr
    fitted = run("fit", "clean.csv", "--group-column", "group", "--model", tiny_network, "--out", "m.safetensors")
    assert fitted.exit_code == 1  # both photos of the validation split are of a group that is trained on
    assert "so none is left to evaluate on" in " ".join(fitted.stderr.split())


@pytest.mark.slow
def test_what_to_keep_is_written_and_read_by_fit(run: Run, pets: Path, tiny_network: str) -> None:
    shutil.copy(pets / "red" / "2.jpg", pets / "blue" / "again.jpg")
    assert run("fit", "pets", "--model", tiny_network, "--out", "m.safetensors").exit_code == 1
    done = run("audit", "pets", "--model", tiny_network, "--write-clean", "clean.csv")
    assert done.exit_code == 0, done.output
    assert "wrote clean.csv: 15 of 17 photos to keep" in done.stderr
    with Path("clean.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 15
    fitted = run(
        "fit", "clean.csv", "--model", tiny_network, "--strategy", "frozen", "--out", "m.safetensors", "--json"
    )
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(fitted.stdout)["n"] == 15


def test_hostile_names(run: Run, pets: Path, tiny_network: str) -> None:
    for name in ("=1+1.jpg", "a\x1b[2J\n.jpg"):
        shutil.copy(pets / "red" / "0.jpg", pets / "red" / name)
    done = run("audit", "pets", "--model", tiny_network)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert r"red/a\x1b[2J\n.jpg" in done.stdout


def test_a_name_that_no_table_can_hold(run: Run, pets: Path, tiny_network: str) -> None:
    photo(pets / "red" / os.fsdecode(b"\xe9.jpg"), "red", 77)
    done = run("audit", "pets", "--model", tiny_network, "--json", "--write-clean", "clean.csv")
    assert done.exit_code == 1
    assert "error: --write-clean: names that are no UTF-8 cannot stand in a table:" in done.stderr
    assert "Rename them." in done.stderr
    assert "Traceback" not in done.output
    assert not Path("clean.csv").exists()


# --- what cannot be meant ---


def test_missing_folders(fails: Fails, tiny_network: str) -> None:
    assert "nowhere" in fails("audit", "nowhere", "--model", tiny_network)
    Path("empty").mkdir()
    assert "empty" in fails("audit", "empty", "--model", tiny_network)


def test_where_the_table_goes(run: Run, fails: Fails, pets: Path, tiny_network: str) -> None:
    model = ("--model", tiny_network)
    message = fails("audit", "pets", *model, "--write-clean", "clean.txt")
    assert message.startswith("error: --write-clean must end in .csv. Got clean.txt.")
    Path("t.csv").write_text("image,label\npets/red/0.jpg,red\npets/blue/0.jpg,blue\n")
    before = Path("t.csv").read_text()
    message = fails("audit", "t.csv", *model, "--write-clean", "t.csv")
    assert "--write-clean t.csv is a file that is read here: t.csv. Name another." in message
    assert Path("t.csv").read_text() == before
    assert "nowhere" in fails("audit", "pets", *model, "--write-clean", "nowhere/clean.csv")
    done = run("audit", "pets", *model, "--write-clean", "folder/")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "folder/ is a folder. Name a file in it, e.g. folder/clean.csv." in " ".join(done.stderr.split())


def test_wrong_usage(run: Run, fails: Fails, pets: Path, tiny_network: str) -> None:
    assert run("audit").exit_code == 2
    assert run("audit", "pets", "--unknown").exit_code == 2
    message = fails("audit", "pets", "other")
    assert message.startswith(
        "error: pets is no classifier's file, with whose photos other could be compared. Name one "
    )
    assert "--weights is a file of one network: name it with --model." in fails("audit", "pets", "--weights", "x")
    assert "gone.safetensors does not exist." in fails("audit", "pets", "--model", "gone.safetensors")


# --- new photos ---


@pytest.fixture(scope="module")
def day_and_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a classifier of the small network, fitted on 24 pictures of each of two classes."""
    from typer.testing import CliRunner

    from regraft.cli.main import app

    folder = tmp_path_factory.mktemp("days")
    for label, first in (("day", 0), ("night", 500)):
        pictures(folder / "photos" / label, first, 24, bright=label == "day")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("REGRAFT_CACHE", str(folder / "cache"))
        file = str(folder / "days.safetensors")
        done = CliRunner().invoke(
            app, ["fit", str(folder / "photos"), "--model", "pocket", "--strategy", "frozen", "--out", file]
        )
    assert done.exit_code == 0, done.output
    return Path(file)


def pictures(folder: Path, first: int, count: int, *, bright: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        levels = np.asarray(scene(first + number, 96)).astype(int) // 2 + (110 if bright else 10)
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
    return folder


@pytest.mark.slow
def test_new_photos_like_the_old_ones(run: Run, day_and_night: Path) -> None:
    pictures(Path("new"), 100, 6, bright=True)
    pictures(Path("more"), 600, 6, bright=False)
    done = run("audit", day_and_night, "new", "more", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["n"], found["left_out"], found["differs"]) == (12, 0, False)
    assert found["photos"] == [f"{name}/{k}.jpg" for name in ("new", "more") for k in range(6)]
    assert found["file"] == str(day_and_night)
    assert len(found["distances"]) == 12
    done = run("audit", day_and_night, "new", "more")
    assert done.stdout.startswith("12 photos: no clear difference from the training photos (distance, answers, ")
    assert f"comparing 12 photos with those that {day_and_night} learned from" in done.stderr


def test_new_photos_unlike_the_old_ones(run: Run, day_and_night: Path) -> None:
    for number in range(12):
        photo(Path("red") / f"{number}.jpg", "red", number, size=(400, 200))
    Path("red/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    found = json.loads(run("audit", day_and_night, "red", "--json").stdout)
    assert (found["n"], found["left_out"], found["differs"]) == (12, 1, True)
    assert found["distances"][found["photos"].index("red/broken.jpg")] is None
    done = run("audit", day_and_night, "red")
    assert done.exit_code == 0, done.output
    first, *lines = done.stdout.splitlines()
    assert first == "12 photos; 1 could not be read differ from the training photos:"
    assert any(line.startswith("  unlike them: ") for line in lines)
    farthest = [f"red/{found['photos'][place].split('/')[1]}" for place in found["ranking"][:5]]
    assert f"the farthest: {', '.join(farthest)}" in done.stdout


def test_what_cannot_be_compared(fails: Fails, day_and_night: Path, pets: Path, tiny_network: str) -> None:
    message = fails("audit", day_and_night)
    assert f"{day_and_night} is a classifier's file: name new photos after it" in message
    assert f"regraft audit {day_and_night} NEW-PHOTOS" in message
    message = fails("audit", day_and_night, "pets", "--model", tiny_network)
    assert message.startswith(f"error: --model: {day_and_night} is a classifier's file")
    assert "Leave it out; or name a folder or table instead of it." in message
    message = fails("audit", day_and_night, "pets", "--write-clean", "c.csv", "--report", "out")
    assert message.startswith("error: --report, --write-clean: ")
    assert "Leave them out" in message
    assert "gone.safetensors does not exist." in fails("audit", "gone.safetensors", "pets")
    assert "no image found for: gone" in fails("audit", day_and_night, "gone")
    Path("broken.jpg").write_bytes(b"")
    assert "none of the 1 new photos can be read. Name others." in fails("audit", day_and_night, "broken.jpg")


def test_a_classifier_that_keeps_nothing_of_its_photos(
    run: Run, fails: Fails, photos: Photos, tiny_network: str
) -> None:
    photos("few", red=4, blue=4)  # fewer than ten
    done = run("fit", "few", "--model", tiny_network, "--strategy", "frozen", "--out", "few.safetensors")
    assert done.exit_code == 0, done.output
    message = fails("audit", "few.safetensors", "few")
    assert "keeps nothing of its training photos that new ones could be compared with" in message
    assert "Fit it again with the strategy frozen." in message
