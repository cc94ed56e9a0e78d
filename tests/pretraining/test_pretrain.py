"""Pretraining: what it learns, what it refuses, and several processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.pretraining.jobs import learn

from regraft.engines.pytorch import TorchEngine
from regraft.errors import OptionError
from regraft.evaluation.report import Report
from regraft.features.extraction import extract
from regraft.heads.linear import CalibratedHead
from regraft.networks.backbones import build_untrained, reinitialised
from regraft.pretraining.teacher import DistillationSettings

Photos = Callable[..., Path]


@pytest.mark.slow
def test_colours_are_learned(photos: Photos) -> None:
    """Photos of three colours: a network from random weights tells all of them after some epochs."""
    found = learn(photos(red=30, blue=30, grey=30), epochs=12, augment=("flip",), mixup=0.0, cutmix=0.0)
    assert found.report.n == 9
    assert found.report.accuracy == 1.0
    assert found.report.estimate == "validation"
    assert [record.epoch for record in found.curve] == list(range(1, 13))
    assert found.curve[-1].tuning_accuracy == 1.0
    assert found.curve[-1].loss < found.curve[0].loss


def test_copies_among_training_photos_do_not_change_the_report(photos: Photos) -> None:
    """Of independent validation photos the intervals are those without groups."""
    folder = photos("all/train", red=12, blue=12).parent
    photos("all/val", first_seed=500, red=6, blue=6)
    (folder / "train" / "red" / "copy.jpg").write_bytes((folder / "train" / "red" / "0.jpg").read_bytes())
    found = learn(folder)
    dataset = found.source.dataset.select(found.source.validation)
    engine = TorchEngine(found.backbone, torch.device("cpu"))
    features = extract(dataset.samples.sources, dataset.keys, found.backbone, engine)
    probabilities = CalibratedHead(found.head, 1.0).probabilities(features.values)
    expected = Report.from_probabilities(probabilities, dataset.labels, dataset.classes, estimate="validation")
    assert found.report.to_json() == expected.to_json()


@pytest.mark.parametrize(
    ("options", "distillation", "message"),
    [
        ({"patience": 2}, None, "patience is not for pretraining"),
        ({"batch_size": 1}, None, "batch_size must be 2 or more"),
        (
            {},
            DistillationSettings("resnet50", temperature=0.0),
            "temperature must be a number from 0.1 to 100. Got 0",
        ),
        (
            {},
            DistillationSettings("resnet50", size=4),
            "size must be a number of pixels from 16 to 2048",
        ),
    ],
)
def test_what_is_not_allowed(
    options: dict[str, object], distillation: DistillationSettings | None, message: str, photos: Photos
) -> None:
    with pytest.raises(OptionError, match=message):
        learn(photos(red=4, blue=4), distillation=distillation, **options)


# Batch norm would see other photos in each process; this network has none. What differs is the order of sums.
TOGETHER = [
    "--arch",
    "test_convnext",
    "--input-size",
    "32",
    "--epochs",
    "2",
    "--train-batch-size",
    "10",
    "--mixup",
    "0",
    "--cutmix",
    "0",
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--optimizer",
    "sgd",
    "--lr",
    "0.05",
]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=23, blue=23)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "--no-python"]
    states = []
    for name, before in (("one", []), ("two", launch)):
        module = [sys.executable, "-m", "regraft", "pretrain", str(folder), *TOGETHER, "--out", str(tmp_path / name)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(
            [*before, *module], capture_output=True, text=True, timeout=240, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr.count("wrote ") == 1  # by one process, whose lines are the only ones
        assert done.stderr.count("epoch 1: loss") == 1
        assert done.stderr.count("train: 46 photos") == 1
        states.append(load_file(tmp_path / name / "model.safetensors"))
    counts = [json.loads((tmp_path / name / "training.json").read_text())["images"] for name in ("one", "two")]
    assert counts == [82, 82]  # 41 photos, a tenth of 46 held out, twice: none is left out and none seen twice
    start = reinitialised(build_untrained("test_convnext", size=32), 0).module.state_dict()
    for name, tensor in states[0].items():
        moved = float((tensor - start[name]).abs().max()) if name in start else float(tensor.abs().max())
        assert float((tensor - states[1][name]).abs().max()) <= 1e-3 * moved + 1e-6, name
