"""`regraft compare`: rows, pairs, a curve and advice."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

Photos = Callable[..., Path]
Run = Callable[..., Result]
Fails = Callable[..., str]
QUICK = ["--epochs", "2", "--views", "2"]
SAID = "network: efficientnet-lite0, which is installed with regraft, for convnext_nano.in12k cannot be downloaded ("


def test_compare_writes_a_curve_and_tells_rows_pairs_and_advice(
    run: Run, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    compare = ["compare", photos(red=15, blue=15), "--model", tiny_network, "--strategies", "frozen,top"]
    done = run(*compare, "--sizes", "4,all", *QUICK, "--json", "--out", "curve.png")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"rows", "pairs", "advice", "notes", "majority_share", "out"}
    wanted = {"model", "strategy", "size", "metric", "mean", "low", "high", "seconds"}
    assert all(wanted <= set(row) for row in told["rows"])
    assert all({"a", "b", "metric", "difference", "low", "high"} <= set(pair) for pair in told["pairs"])
    assert told["advice"].startswith("Take ")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 800
    table = run(*compare, *QUICK, "--sizes", "4,15").stdout
    assert table.splitlines()[0].split()[:2] == ["strategy", "photos/class"]
    assert [re.split(" {2,}", line)[1] for line in table.splitlines()[1:5]] == ["4", "4", "15 (12)", "15 (12)"]
    assert "Take " in table


@pytest.mark.slow
def test_compare_says_of_a_figure_why_it_is_missing(run: Run, photos: Photos, tiny_network: str) -> None:
    """One fold, of one class; its temperature could not be set."""
    folder = photos(red=3, blue=22)
    compare = ["compare", folder, "--model", tiny_network, "--strategies", "top", "--positive", "red"]
    tables = [run(*compare, *QUICK, "--budget", "0s", "--seed", seed) for seed in range(3)]
    assert [done.exit_code for done in tables] == [0, 0, 0]
    cells = [done.stdout.splitlines()[1].split("  ") for done in tables]
    assert all("not calibrated" in row for row in cells)
    assert any("not defined" in row for row in cells)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "few"], "--sizes must be numbers of photos or all, e.g. 20,50,all. Got 'few'."),
        (["--strategies", "frozen,deep"], "--strategies must be some of frozen, top, whole, scratch. Got deep."),
        (["--out", "nowhere/c.png"], "the folder nowhere does not exist"),
        (["--out", "c.csv"], "--out must end in .png, .svg, .pdf, .jpg, .jpeg: the figures go to stdout. Got c.csv."),
        (
            ["--strategies", "frozen", "--epochs", "5"],
            "--epochs goes with --strategies top, whole or scratch. Got --strategies frozen, which would ignore it.",
        ),
        (
            ["--strategies", "frozen,whole", "--views", "2"],
            "--views goes with --strategies top. Got --strategies frozen,whole, which would ignore it.",
        ),
    ],
)
def test_wrong_comparisons_are_told_in_words(
    fails: Fails, photos: Photos, tiny_network: str, options: list[str], message: str
) -> None:
    assert message in fails("compare", photos(red=5, blue=5), "--model", tiny_network, *options)


@pytest.mark.slow
def test_compare_takes_it_too(run: Run, photos: Photos, offline: None) -> None:
    done = run("compare", photos(red=8, blue=8), "--strategies", "frozen", "--json")
    assert done.exit_code == 0, done.output
    assert SAID in done.stderr
    assert {row["model"] for row in json.loads(done.stdout)["rows"]} == {"efficientnet-lite0"}


@pytest.mark.parametrize("out", ["photos/train/red/3.jpg", "photos/test/red/0.jpg", "curve.jpg"])
def test_no_photo_is_overwritten(fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path, out: str) -> None:
    photos("photos/train", red=5, blue=5)
    photos("photos/test", 50, red=1, blue=1)
    (tmp_path / "curve.jpg").symlink_to(tmp_path / "photos" / "train" / "blue" / "1.jpg")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    message = fails("compare", "photos", "--model", tiny_network, "--strategies", "frozen", "--out", out)
    assert f"--out {out} is a" in message
    assert message.rstrip().endswith("Name another.")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")} == before


def test_clinics_are_left_out_one_at_a_time(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=12, blue=12)
    paths = sorted(folder.glob("*/*.jpg"))
    rows = [f"{path.relative_to(folder)},{path.parent.name},{place % 3}" for place, path in enumerate(paths)]
    (folder / "photos.csv").write_text("\n".join(["image,label,clinic", *rows]) + "\n")
    done = run(
        "compare", folder / "photos.csv", "--model", tiny_network, "--strategies", "frozen", "--group-column", "clinic",
        "--folds", "groups", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert {row["folds"] for row in json.loads(done.stdout)["rows"]} == {3}
