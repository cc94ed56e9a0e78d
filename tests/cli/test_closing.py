"""What `fit` says at its end: why n is what it is, and a command that can be pasted."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import Result

from regraft.cli.closing import next_step
from regraft.data.samples import Samples
from regraft.images.sources import TableCell

Photos = Callable[..., Path]
Run = Callable[..., Result]


@pytest.fixture
def fit(run: Run, tiny_network: str) -> Callable[..., Result]:
    """Fit the last layer alone."""

    def invoke(*arguments: object) -> Result:
        done = run("fit", *arguments, "--model", tiny_network, "--strategy", "frozen")
        assert done.exit_code == 0, done.output
        return done

    return invoke


def test_the_command_at_the_end_can_be_pasted(fit: Callable[..., Result], run: Run, photos: Photos) -> None:
    done = fit(photos("my pets", red=12, blue=12), "--out", "it's mine.safetensors")
    program, *arguments = shlex.split(done.stderr.splitlines()[-1])
    assert (program, arguments[:2]) == ("regraft", ["predict", "it's mine.safetensors"])
    answered = run(*arguments)
    assert answered.exit_code == 0
    assert Path(arguments[2]).name in answered.stdout
    assert "n is 24: each of the 24 photos was predicted once, by a classifier trained without it.\n" in done.stdout


@pytest.mark.slow
def test_features_that_were_chosen_are_told(fit: Callable[..., Result], photos: Photos) -> None:
    data = photos(red=12, blue=12)
    chosen = json.loads(fit(data, "--json").stdout)
    assert [trial["features"] for trial in chosen["features_tried"]] == ["last", "late", "all"]
    lines = fit(data).stdout.splitlines()
    told = next(place for place, line in enumerate(lines) if line.startswith("  n is 24: "))
    words = {"last": "the last layer's alone", "late": "late depths too", "all": "all depths"}
    assert lines[told + 1].startswith(f"  features: {words.pop(chosen['features'])}")
    assert all(f"; {other}: " in lines[told + 1] for other in words.values())
    assert "features:" not in fit(data, "--features", "last").stdout


@pytest.mark.parametrize(
    ("out", "source", "command"),
    [
        ("m.safetensors", Path("a b.jpg"), "regraft predict m.safetensors 'a b.jpg'"),
        ("-m.safetensors", Path("-1.jpg"), "regraft predict ./-m.safetensors ./-1.jpg"),
        ("m.safetensors", TableCell(Path("x.parquet"), "image", 0, 0, "1"), "regraft predict m.safetensors data"),
    ],
)
def test_names_of_all_kinds(out: str, source: Path | TableCell, command: str) -> None:
    samples = Samples((source,), np.zeros(1, dtype=np.int64), ("a",))
    assert next_step(Path(out), Path("data"), samples).splitlines()[-1].strip() == command


def test_test_photos_are_evaluated_next(fit: Callable[..., Result], run: Run, photos: Photos) -> None:
    data = photos("my data/Training", red=12, blue=12).parent
    photos("my data/Testing", first_seed=500, red=5, blue=5)
    *_, told, evaluate, _, predict = fit(data, "--out", "m.safetensors").stderr.splitlines()
    assert told == "next: evaluate it on the test photos, which have not been read so far:"
    assert shlex.split(predict)[:3] == ["regraft", "predict", "m.safetensors"]
    program, *arguments = shlex.split(evaluate)
    assert (program, arguments) == ("regraft", ["evaluate", "m.safetensors", str(data)])
    assert "test, n = 10, 2 classes" in run(*arguments).stdout


def test_copies_and_lost_photos_are_told(fit: Callable[..., Result], photos: Photos) -> None:
    folder = photos(red=12, blue=12)
    shutil.copy(folder / "red" / "0.jpg", folder / "red" / "copy.jpg")
    shutil.copy(folder / "red" / "0.jpg", folder / "red" / "copy2.jpg")
    (folder / "blue" / "torn.jpg").write_bytes(b"no photo")
    assert (
        "n is 26: of 27 photos, 1 cannot be read; each of the others was predicted once, by a classifier trained "
        "without it. 3 of them belong together in 1 set (copies of one photo, or of one group), which stay on one side "
        "of every split: the intervals are of 24 independent sets."
    ) in fit(folder).stdout


def test_groups_are_told(fit: Callable[..., Result], photos: Photos) -> None:
    folder = photos(red=12, blue=12)
    rows = [
        {"image": f"{colour}/{number}.jpg", "label": colour, "patient": f"{colour}{number // 2}"}
        for colour in ("red", "blue")
        for number in range(12)
    ]
    pd.DataFrame(rows).to_csv(folder / "t.csv", index=False)
    columns = ["--image-column", "image", "--label-column", "label", "--group-column", "patient"]
    said = fit(folder / "t.csv", *columns).stdout
    assert "24 of them belong together in 12 sets" in said
    assert "the intervals are of 12 independent sets." in said


@pytest.mark.slow
def test_validation_photos_are_told(fit: Callable[..., Result], photos: Photos) -> None:
    data = photos("data/train", red=12, blue=12).parent
    photos("data/val", first_seed=500, red=10, blue=10)
    where = data / "val"
    assert f"n is 20: the 20 photos of {where}, which took no part in training.\n" in fit(data).stdout
    shutil.copy(data / "train" / "red" / "0.jpg", data / "val" / "red" / "copy.jpg")
    said = fit(data).stdout
    assert f"n is 20: of 21 photos of {where}, 1 left out for copies or groups in training.\n" in said
