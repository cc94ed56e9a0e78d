"""Pretraining: what is learned from and what judges, what a teacher does, and several processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from regraft.data.samples import find_samples
from regraft.errors import DataError, OptionError
from regraft.learn.observer import Observer
from regraft.learn.pretrain import Pretrained, pretrain, pretraining_schedule
from regraft.learn.schedule import Schedule
from regraft.learn.settings import Settings
from regraft.learn.source_task import gather_source_task
from regraft.learn.teacher import Guidance
from regraft.models.backbones import Backbone, build_untrained, load_backbone

Photos = Callable[..., Path]


def fresh() -> Backbone:
    return build_untrained("test_efficientnet", size=32).at_random(0)


def schedule(*, guided: bool = False, **more: object) -> Schedule:
    return replace(pretraining_schedule(guided=guided), **{"epochs": 2, "batch_size": 8, **more})  # type: ignore[arg-type]


def learn(folder: Path, *, guidance: Guidance | None = None, **more: object) -> Pretrained:
    settings = Settings(strategy="whole", device="cpu", schedule=schedule(guided=guidance is not None, **more))
    return pretrain(find_samples(folder), fresh, settings=settings, guidance=guidance)


def test_a_tenth_judges_and_teaches_nothing(photos: Photos) -> None:
    samples = find_samples(photos(red=30, blue=30))
    source = gather_source_task(samples, 0, Observer())
    assert len(source.judge) == 6
    assert sorted([*source.learn, *source.judge]) == list(range(60))
    assert np.bincount(source.samples.labels[source.judge]).tolist() == [3, 3]


def test_a_validation_folder_judges_instead(photos: Photos) -> None:
    folder = photos("all/train", red=12, blue=12).parent
    photos("all/val", first_seed=500, red=5, blue=4)
    copy = folder / "val" / "red" / "copy.jpg"
    copy.write_bytes((folder / "train" / "red" / "0.jpg").read_bytes())
    source = gather_source_task(find_samples(folder), 0, Observer())
    assert len(source.learn) == 24
    assert len(source.judge) == 9  # the copy of a training photo judges nothing
    assert str(source.samples.sources[source.judge[0]]).startswith(str(folder / "val"))


def test_copies_stand_on_one_side(photos: Photos) -> None:
    folder = photos(red=20, blue=20)
    for number in range(20):
        (folder / "red" / f"copy{number}.jpg").write_bytes((folder / "red" / f"{number}.jpg").read_bytes())
    source = gather_source_task(find_samples(folder), 0, Observer())
    learned = {source.keys[position] for position in source.learn}
    assert not learned & {source.keys[position] for position in source.judge}


def test_nothing_to_learn_from(photos: Photos) -> None:
    with pytest.raises(DataError, match="there is nothing to learn from"):
        gather_source_task({"validation": find_samples(photos(red=4, blue=4))["train"]}, 0, Observer())


def test_colours_are_learned(photos: Photos) -> None:
    """Photos of three colours: a network from random weights tells all of them after some epochs."""
    found = learn(photos(red=40, blue=40, grey=40), epochs=12, augment=("flip",), mixup=0.0, cutmix=0.0)
    assert found.report.n == 12
    assert found.report.accuracy == 1.0
    assert found.report.estimate == "validation"
    assert [record.epoch for record in found.curve] == list(range(1, 13))
    assert found.curve[-1].tuning_accuracy == 1.0
    assert found.curve[-1].loss < found.curve[0].loss


def test_the_last_layer_of_a_teacher_knows_no_photo_that_judges(photos: Photos, tiny_network: str) -> None:
    """Labels of the photos that judge are turned round: what is learned stays the same to the last bit."""
    folder = photos(red=30, blue=30)
    splits = find_samples(folder)
    source = gather_source_task(splits, 0, Observer())
    turned = splits["train"].labels.copy()
    turned[source.judge] = 1 - turned[source.judge]
    other = {"train": replace(splits["train"], labels=turned)}
    settings = Settings(strategy="whole", device="cpu", schedule=schedule(guided=True))
    guidance = Guidance(tiny_network)
    first = pretrain(splits, fresh, settings=settings, guidance=guidance)
    # the folds are drawn by the labels: the same photos must judge
    second_source = gather_source_task(other, 0, Observer())
    if list(second_source.judge) != list(source.judge):
        pytest.fail("the test needs the same photos to judge")
    second = pretrain(other, fresh, settings=settings, guidance=guidance)
    for name, tensor in first.backbone.module.state_dict().items():
        assert torch.equal(tensor, second.backbone.module.state_dict()[name]), name


def test_a_student_comes_near_its_teacher(photos: Photos, tiny_network: str) -> None:
    """The features of a student that was taught tell more of its teacher's than those of one that was not."""
    folder = photos(red=40, blue=40, grey=40, green=40)
    plain = {"epochs": 10, "augment": (), "views": 1, "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}
    taught, untaught = learn(folder, guidance=Guidance(tiny_network), **plain), learn(folder, **plain)
    teacher = load_backbone(tiny_network)
    images = torch.stack(
        [
            torch.from_numpy(teacher.preprocess.pixels(_open(path))).permute(2, 0, 1).float() / 127.5 - 1
            for path in sorted(folder.rglob("*.jpg"))
        ]
    )
    with torch.no_grad():
        theirs = teacher.module.eval()(images)
        told = [_explained(found.backbone.module.eval()(images), theirs) for found in (taught, untaught)]
    assert told[0] > told[1] + 0.02


def _open(path: Path) -> object:
    from PIL import Image

    return Image.open(path).convert("RGB")


def _explained(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the share of their variance that the five main directions of ours explain by least squares."""
    ours, theirs = ours - ours.mean(0), theirs - theirs.mean(0)
    left = torch.linalg.svd(ours, full_matrices=False).U[:, :5]
    return float((left @ (left.T @ theirs)).square().sum() / theirs.square().sum())


@pytest.mark.parametrize(
    ("options", "guidance", "message"),
    [
        ({"patience": 2}, None, "--patience is not for pretraining"),
        ({"batch_size": 1}, None, "--train-batch-size must be 2 or more"),
        ({}, Guidance("resnet50", temperature=0.0), "--temperature must be a number from 0.1 to 100. Got 0.0."),
        ({}, Guidance("resnet50", size=4), "--teacher-size must be a number of pixels from 16 to 2048. Got 4."),
    ],
)
def test_what_is_not_allowed(
    options: dict[str, object], guidance: Guidance | None, message: str, photos: Photos
) -> None:
    with pytest.raises(OptionError, match=message):
        learn(photos(red=4, blue=4), guidance=guidance, **options)


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
]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_two_processes_take_the_steps_of_one(batch_norm: bool, photos: Photos, tmp_path: Path) -> None:
    folder = photos(red=23, blue=23)
    options = [*TOGETHER, "--cutmix", "0", "--device", "cpu", "--optimizer", "sgd", "--lr", "0.05"]
    if batch_norm:
        options[1] = "test_resnet"
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--no-python"]
    states = []
    for name, before in (("one", []), ("two", launch)):
        module = [sys.executable, "-m", "regraft", "pretrain", str(folder), *options, "--out", str(tmp_path / name)]
        command = [sys.executable, *before, *module] if before else module
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr.count("wrote ") == 1  # by one process, whose lines are the only ones
        assert done.stderr.count("epoch 1: loss") == 1
        states.append(load_file(tmp_path / name / "model.safetensors"))
    counts = [json.loads((tmp_path / name / "training.json").read_text())["images"] for name in ("one", "two")]
    assert counts == [82, 82]  # 41 photos, a tenth of 46 held out, twice: none is left out and none seen twice
    start = build_untrained(options[1], size=32).at_random(0).module.state_dict()
    for name, tensor in states[0].items():
        if not tensor.is_floating_point():
            continue
        moved = float((tensor - start[name]).abs().max()) if name in start else float(tensor.abs().max())
        differing = float((tensor - states[1][name]).abs().max())
        # with batch norm each half has statistics of its own: alike, not equal
        assert differing <= (0.5 * moved + 1e-3 if batch_norm else 1e-3 * moved + 1e-6), name
