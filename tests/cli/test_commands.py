"""What the commands print, write and answer when all is well, and when some photos are not."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import Result

from regraft.cli.console import counted

Run = Callable[..., Result]
Photos = Callable[..., Path]
REPORTED = {
    "n",
    "classes",
    "accuracy",
    "accuracy_interval",
    "balanced_accuracy",
    "log_loss",
    "brier",
    "ece",
    "per_class",
    "confusion",
    "auc",
    "average_precision",
    "estimate",
    "model",
    "strategy",
    "seconds",
    "images_per_second",
    "unreadable",
}


@pytest.fixture
def bundle(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> Path:
    done = run("fit", photos("learned", red=12, blue=12), "--model", tiny_network, "--out", "model.safetensors")
    assert done.exit_code == 0, done.output
    return tmp_path / "model.safetensors"


def test_fit_says_what_it_will_do_and_what_it_did(run: Run, photos: Photos, tiny_network: str) -> None:
    done = run("fit", photos(red=12, blue=10), "--model", tiny_network, "--out", "model.safetensors")
    assert done.exit_code == 0, done.output
    assert "train: 22 photos of 2 classes: blue 10, red 12" in done.stderr
    assert "features (torch-cpu-float32): 22 images in" in done.stderr
    assert "wrote model.safetensors" in done.stderr
    assert "out-of-fold, n = 22, 2 classes" in done.stdout
    assert "accuracy                 100.0 % [85.1, 100.0]" in done.stdout  # Wilson: 22 / (22 + 1.96^2) = 0.851
    with safe_open("model.safetensors", framework="np") as file:
        assert set(file.metadata()) == {"regraft"}


def test_json_is_alone_on_stdout(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=12, blue=12)
    (folder / "red" / "torn.jpg").write_bytes((folder / "red" / "0.jpg").read_bytes()[:300])
    done = run("fit", folder, "--model", tiny_network, "--json")
    numbers = json.loads(done.stdout)
    assert numbers.keys() >= REPORTED
    assert (numbers["n"], numbers["classes"], numbers["estimate"]) == (24, ["blue", "red"], "out-of-fold")
    assert numbers["confusion"] == [[12, 0], [0, 12]]
    assert numbers["unreadable"] == [str(folder / "red" / "torn.jpg")]
    assert numbers["images_per_second"] > 0
    assert "1 of 25 images cannot be read and are left out" in done.stderr
    assert done.stderr.index("torn.jpg") < done.stderr.index("fitting the last layer")


def test_second_fit_reads_no_pixel(
    run: Run, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(red=12, blue=12)
    first = json.loads(run("fit", folder, "--model", tiny_network, "--json").stdout)

    def forbidden(*_: object) -> None:
        raise AssertionError("a pixel was read")

    monkeypatch.setattr("regraft.data.loading.decode", forbidden)
    second = json.loads(run("fit", folder, "--model", tiny_network, "--json").stdout)
    assert (first["images_computed"], second["images_computed"]) == (24, 0)
    assert second["log_loss"] == first["log_loss"]


def test_evaluate_leaves_out_what_was_learned_from(run: Run, bundle: Path, photos: Photos) -> None:
    others = photos("others", first_seed=500, red=6, blue=4)
    shutil.copy(bundle.parent / "learned" / "red" / "3.jpg", others / "red" / "known.jpg")
    done = run("evaluate", bundle, others, "--json", "--positive", "blue")
    numbers = json.loads(done.stdout)
    assert numbers.keys() >= REPORTED
    assert (numbers["n"], numbers["estimate"], numbers["positive"]) == (10, "test", "blue")
    assert numbers["confusion"] == [[4, 0], [0, 6]]
    assert "1 of 11 photos" in done.stderr
    assert "known.jpg" in done.stderr


def test_evaluate_takes_the_test_split(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    photos("data/train", red=2, blue=2)
    photos("data/val", first_seed=100, red=3, blue=3)
    photos("data/test", first_seed=200, red=4, blue=4)
    assert json.loads(run("evaluate", bundle, "data", "--json").stdout)["n"] == 8
    assert json.loads(run("evaluate", bundle, "data", "--json", "--split", "validation").stdout)["n"] == 6
    shutil.rmtree(tmp_path / "data" / "test")
    failed = run("evaluate", bundle, "data", "--split", "test")
    assert failed.exit_code == 1
    assert "data has no test split. It has: train, validation." in failed.stderr


def test_evaluate_reads_no_other_split(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    photos("data/train", red=2, blue=2)
    photos("data/val", first_seed=100, red=3, blue=3)
    (tmp_path / "data" / "test").mkdir()  # empty: reading it would be an error
    done = run("evaluate", bundle, "data", "--json", "--split", "validation")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 6
    assert "test holds no images" in run("evaluate", bundle, "data").stderr


def test_predict_table_csv_and_jsonl(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=900, red=2, blue=1)
    table = run("predict", bundle, new)
    assert table.exit_code == 0
    assert [line.split()[1] for line in table.stdout.splitlines()] == ["blue", "red", "red"]
    rows = list(csv.DictReader(run("predict", bundle, new, "--format", "csv").stdout.splitlines()))
    assert [row["prediction"] for row in rows] == ["blue", "red", "red"]
    for row in rows:
        assert float(row["probability_blue"]) + float(row["probability_red"]) == pytest.approx(1, abs=2e-6)
        assert float(row["probability"]) == max(float(row["probability_blue"]), float(row["probability_red"]))
    lines = [json.loads(line) for line in run("predict", bundle, new, "--format", "jsonl").stdout.splitlines()]
    assert [line["file"] for line in lines] == [row["file"] for row in rows]
    assert [line["probabilities"]["red"] for line in lines] == [float(row["probability_red"]) for row in rows]


def test_predict_takes_files_folders_and_globs_once_each(run: Run, bundle: Path, photos: Photos) -> None:
    new = photos("new", first_seed=900, red=11)
    done = run("predict", bundle, "new/red/10.jpg", "new/red/*.jpg", new, "--format", "csv")
    named = [Path(row["file"]).name for row in csv.DictReader(done.stdout.splitlines())]
    # the folder is named by its absolute path, file and glob by relative ones
    assert named[:11] == ["10.jpg", *(f"{number}.jpg" for number in range(10))]


@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_unreadable_photo_is_a_row_and_exit_code_3(run: Run, bundle: Path, photos: Photos, format: str) -> None:
    new = photos("new", first_seed=900, red=2)
    (new / "red" / "1.jpg").write_text("no image")
    done = run("predict", bundle, new, "--format", format)
    assert done.exit_code == 3
    lines = [line for line in done.stdout.splitlines() if "jpg" in line]
    assert len(lines) == 2
    assert "red" in lines[0].replace("new/red", "")
    assert "not an image, or damaged at its start" in lines[1]
    assert f"unreadable: {new / 'red' / '1.jpg'}: not an image" in done.stderr


def test_kaggle_ids_in_numeric_order_and_clipped(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    photos("new", first_seed=900, red=11)
    done = run(
        "predict", bundle, "new", "--format", "kaggle", "--positive", "red", "--clip", "0.01", "--out", "answer.csv"
    )
    assert done.exit_code == 0, done.output
    rows = list(csv.reader((tmp_path / "answer.csv").read_text().splitlines()))
    assert rows[0] == ["id", "label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(11)]
    assert {0.01 <= float(row[1]) <= 0.99 for row in rows[1:]} == {True}
    assert done.stdout == ""


def test_kaggle_needs_to_know_which_class(run: Run, bundle: Path, photos: Photos) -> None:
    done = run("predict", bundle, photos("new", red=1), "--format", "kaggle")
    assert done.exit_code == 1
    assert "--format kaggle needs --positive, the class whose probability is asked for: blue or red." in done.stderr
    done = run("predict", bundle, "new", "--format", "kaggle", "--positive", "red", "--clip", "0.5")
    assert "--clip must be from 0 to below 0.5. Got 0.5." in done.stderr


def test_models_lists_and_describes(run: Run) -> None:
    assert run("models", "vgg16").stdout.startswith("vgg16: 134.3 million parameters, 4,096 features")
    assert "resnet18.a1_in1k" in run("models", "resnet1").stdout.splitlines()
    failed = run("models", "no-such-network")
    assert failed.exit_code == 1
    assert "No network's name contains 'no-such-network'. `regraft models` lists all." in failed.stderr


def test_cache_is_shown_and_emptied(run: Run, bundle: Path, tmp_path: Path) -> None:
    assert "test_efficientnet  24 photos" in run("cache").stdout
    assert run("cache", "--clear").stdout.startswith("freed ")
    assert "photos" not in run("cache").stdout
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []
    assert bundle.exists()


def test_fit_by_an_engine_of_ones_own(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=12, blue=12)
    command = ["fit", folder, "--model", tiny_network, "--strategy", "frozen", "--json", "--engine"]
    done = run(*command, "openvino-float32")
    assert done.exit_code == 0, done.output
    assert "engine: openvino-cpu-float32 (cosine to torch-float32 on 16 photos: mean 1.0000" in done.stderr
    assert "features (openvino-cpu-float32): 24 images in" in done.stderr
    numbers, reference = json.loads(done.stdout), json.loads(run(*command, "torch-float32").stdout)
    assert (numbers["engine"], reference["engine"]) == ("openvino-cpu-float32", "torch-cpu-float32")
    assert numbers["images_computed"] == reference["images_computed"] == 24  # no features of another engine
    assert numbers["confusion"] == reference["confusion"]
    # the classes can be told apart without error: the last digits of the features move where the heads' fits end
    assert numbers["log_loss"] == pytest.approx(reference["log_loss"], rel=0.05)
    shown = run("cache").stdout
    assert "networks converted for faster engines: 0." in shown
    for engine in ("openvino-cpu-float32", "torch-cpu-float32"):
        assert len([line for line in shown.splitlines() if "24 photos" in line and engine in line]) == 1


def test_cache_counts_and_empties_converted_networks(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    assert "networks converted" not in run("cache").stdout
    done = run("predict", bundle, photos("new", red=2), "--engine", "openvino-float32")
    assert done.exit_code == 0, done.output
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    converted = sum(path.stat().st_size for path in kept if "engines" in path.parts)
    shards = sum(path.stat().st_size for path in kept if path.suffix == ".safetensors")
    first, second, *_ = run("cache").stdout.splitlines()
    assert first == f"{tmp_path / 'cache'}: {(converted + shards) / 1e6:.1f} of 10,000 MB"
    assert second == f"  networks converted for faster engines: {converted / 1e6:.1f} MB"
    everything = sum(path.stat().st_size for path in kept)
    assert run("cache", "--clear").stdout == f"freed {everything / 1e6:.1f} MB in {tmp_path / 'cache'}\n"
    assert run("cache").stdout == f"{tmp_path / 'cache'}: 0.0 of 10,000 MB\n"


@pytest.mark.parametrize("engine", ["auto", "torch-bfloat16", "openvino-float32"])
def test_no_cache_leaves_nothing_on_disk(run: Run, bundle: Path, photos: Photos, tmp_path: Path, engine: str) -> None:
    run("cache", "--clear")
    done = run("predict", bundle, photos("new", red=2), "--no-cache", "--engine", engine)
    assert done.exit_code == 0, done.output
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"regraft {version('regraft')}\n"


def test_ctrl_c_keeps_what_was_computed(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    slow = (
        "import signal, time\nfrom regraft.engines.pytorch import TorchEngine\nfast = TorchEngine.features\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored, where tests run in the background
        "def slow(self, pixels):\n    print('batch', flush=True)\n    time.sleep(0.5)\n    return fast(self, pixels)\n"
        "TorchEngine.features = slow\nfrom regraft.cli.main import run\nrun()\n"
    )
    folder = photos(red=40, blue=40)
    fit = ["fit", str(folder), "--model", tiny_network, "--out", str(tmp_path / "m.safetensors"), "--batch-size", "4"]
    with subprocess.Popen(
        [sys.executable, "-c", slow, *fit], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(3):  # the third batch has begun: two are done
            assert process.stdout.readline() == "batch\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped. What was computed is kept" in stderr
    assert "Traceback" not in stderr
    done = subprocess.run(
        [sys.executable, "-m", "regraft", *fit, "--json"], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout)["images_computed"] in (68, 72)  # 80 less the two or three batches of four


@pytest.mark.parametrize(("count", "text"), [(0, "0 photos"), (1, "1 photo"), (2, "2 photos"), (1000, "1,000 photos")])
def test_counted(count: int, text: str) -> None:
    assert counted(count, "photo") == text
