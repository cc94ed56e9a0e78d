"""Pretraining: training and validation photos, teachers, and several processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import write_network

from regraft.classifier.bundle import save_bundle
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.errors import DataError, ModelError, OptionError
from regraft.networks.backbones import Backbone, build_untrained, load_backbone
from regraft.pretraining.pretrain import PretrainingResult, pretrain, pretraining_schedule
from regraft.pretraining.source import gather_source_task
from regraft.pretraining.teacher import DistillationSettings
from regraft.progress import Observer
from regraft.training.distributed import Accelerator, ProcessGroup
from regraft.training.losses import FEATURE_WEIGHT
from regraft.training.schedule import Schedule
from regraft.transfer.fit import train
from regraft.transfer.settings import Settings

Photos = Callable[..., Path]


def fresh() -> Backbone:
    return build_untrained("test_efficientnet", size=32).at_random(0)


def schedule(*, distilling: bool = False, **more: object) -> Schedule:
    return replace(pretraining_schedule(distilling=distilling), **{"epochs": 2, "batch_size": 8, **more})  # type: ignore[arg-type]


def learn(folder: Path, *, distillation: DistillationSettings | None = None, **more: object) -> PretrainingResult:
    settings = Settings(strategy="whole", device="cpu", schedule=schedule(distilling=distillation is not None, **more))
    return pretrain(find_samples(folder), fresh, settings=settings, distillation=distillation)


def test_a_tenth_is_held_out_for_validation(photos: Photos) -> None:
    samples = find_samples(photos(red=30, blue=30))
    source = gather_source_task(samples, 0, Observer())
    assert len(source.judge) == 6
    assert sorted([*source.learn, *source.judge]) == list(range(60))
    assert np.bincount(source.samples.labels[source.judge]).tolist() == [3, 3]


def test_a_validation_folder_is_used_instead(photos: Photos) -> None:
    folder = photos("all/train", red=12, blue=12).parent
    photos("all/val", first_seed=500, red=5, blue=4)
    copy = folder / "val" / "red" / "copy.jpg"
    copy.write_bytes((folder / "train" / "red" / "0.jpg").read_bytes())
    source = gather_source_task(find_samples(folder), 0, Observer())
    assert len(source.learn) == 24
    assert len(source.judge) == 9  # the copy of a training photo is left out
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


def test_validation_photos_train_neither_student_nor_teacher(photos: Photos, tiny_network: str) -> None:
    """Their labels are turned round: what is learned stays the same to the last bit."""
    folder = photos("all/train", red=24, blue=24).parent
    photos("all/val", first_seed=500, red=6, blue=6)
    splits = find_samples(folder)
    turned = replace(splits["validation"], labels=1 - splits["validation"].labels)
    settings = Settings(strategy="whole", device="cpu", schedule=schedule(distilling=True))
    first, second = (
        pretrain(
            {**splits, "validation": one}, fresh, settings=settings, distillation=DistillationSettings(tiny_network)
        )
        for one in (splits["validation"], turned)
    )
    assert first.report.accuracy == pytest.approx(1 - second.report.accuracy)
    for name, tensor in first.backbone.module.state_dict().items():
        assert torch.equal(tensor, second.backbone.module.state_dict()[name]), name


def test_a_teacher_trained_on_validation_photos(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    """It would pass them on to the student. Of two, one was the teacher's; then both."""
    folder = photos("all/train", red=12, blue=12).parent
    photos("all/val", first_seed=500, red=1, blue=1)
    splits = find_samples(folder)
    both = find_samples(photos("both", red=12, blue=12))["train"]
    (tmp_path / "both" / "red" / "12.jpg").write_bytes((folder / "val" / "red" / "0.jpg").read_bytes())
    settings = Settings(strategy="whole", device="cpu", schedule=schedule(distilling=True))

    def taught_by(photos_of_teacher: Samples) -> PretrainingResult:
        teacher = train({"train": photos_of_teacher}, lambda: load_backbone(tiny_network), model=tiny_network)
        save_bundle(teacher.classifier, tmp_path / "t.safetensors")
        return pretrain(
            splits, fresh, settings=settings, distillation=DistillationSettings(str(tmp_path / "t.safetensors"))
        )

    assert taught_by(both).report.n == 2
    both = find_samples(tmp_path / "both")["train"]
    found = taught_by(both)
    assert found.report.n == 1
    assert found.source.judges.endswith("take no part in training, nor in that of the teacher (1 left out)")
    (tmp_path / "both" / "blue" / "12.jpg").write_bytes((folder / "val" / "blue" / "0.jpg").read_bytes())
    with pytest.raises(OptionError, match="was trained on every photo that the student is to be validated on"):
        taught_by(find_samples(tmp_path / "both")["train"])


def test_a_teacher_of_few_photos(photos: Photos, tiny_network: str) -> None:
    """Two train: none can be held out to choose the strength of its last layer."""
    assert learn(photos(red=2, blue=2), distillation=DistillationSettings(tiny_network), batch_size=2).report.n == 2


def test_a_teacher_that_cannot_take_such_images(photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    network = write_network(tmp_path / "vit", "test_vit3")
    config = (network / "config.json").read_text()
    (network / "config.json").write_text(config.replace("[3, 32, 32]", "[3, 160, 160]"))  # its only size
    message = r"model='local-dir:\S+' cannot take images of 64 x 64 pixels: .*Leave size out"
    with pytest.raises(ModelError, match=message):
        learn(photos(red=8, blue=8), distillation=DistillationSettings(f"local-dir:{network}", size=64))


def test_a_teacher_whose_outputs_do_not_fit_into_the_cache(
    photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """36 photos in 4 views of 256 features in float16 are 73,728 bytes."""
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "73727B")
    with pytest.raises(OptionError, match=r"the teacher's outputs would take 0.0 GB.*Raise cache_limit"):
        learn(photos(red=20, blue=20), distillation=DistillationSettings(tiny_network))
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "73728B")
    learn(photos(red=20, blue=20), distillation=DistillationSettings(tiny_network))


def test_a_student_comes_near_its_teacher(photos: Photos, tiny_network: str) -> None:
    """No part of the loss is below 0, so that it bounds the mean cosine between features: 4 (1 - cosine) <= loss.

    At random the cosine is about 0, and the loss 4 and more.
    """
    folder = photos(red=40, blue=40, grey=40, green=40)
    found = learn(folder, distillation=DistillationSettings(tiny_network), epochs=10, lr=0.003)
    assert FEATURE_WEIGHT == 4
    assert found.curve[0].loss > 3
    assert found.curve[-1].loss < 2  # a cosine above 0.5
    assert found.teacher is not None
    assert found.teacher.licence == "apache-2.0"  # as the configuration of its weights says


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
    "--optimizer",
    "sgd",
    "--lr",
    "0.05",
]


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
    start = build_untrained("test_convnext", size=32).at_random(0).module.state_dict()
    for name, tensor in states[0].items():
        moved = float((tensor - start[name]).abs().max()) if name in start else float(tensor.abs().max())
        assert float((tensor - states[1][name]).abs().max()) <= 1e-3 * moved + 1e-6, name


def test_fit_does_not_run_in_several_processes(
    photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Accelerator(torch.device("cpu"), "fp32", ProcessGroup(0, 2, torch.device("cpu")))
    monkeypatch.setattr("regraft.transfer.experiment.accelerator", lambda *_: two)
    with pytest.raises(OptionError, match=r"this runs in one process, on one device. Got 2 processes."):
        train(find_samples(photos(red=6, blue=6)), lambda: load_backbone(tiny_network), model="tiny")


def test_images_under_two_classes_are_left_out_and_named(photos: Photos, listener: Any) -> None:
    folder = photos(red=100, blue=100)
    (folder / "blue" / "red.jpg").write_bytes((folder / "red" / "7.jpg").read_bytes())
    source = gather_source_task(find_samples(folder), 0, listener)
    assert len(source.samples) == 199
    assert not [one for one in source.samples.sources if str(one).endswith(("blue/red.jpg", "red/7.jpg"))]
    (said,) = listener.said
    assert said.startswith("1 images stand under more than one class and are left out:")
    assert "red.jpg (blue)" in said
    for number in range(8, 12):
        (folder / "blue" / f"red{number}.jpg").write_bytes((folder / "red" / f"{number}.jpg").read_bytes())
    with pytest.raises(DataError, match="5 images stand under more than one class"):  # 10 of 205 photos
        gather_source_task(find_samples(folder), 0, listener)


def test_unreadable_photos_are_named_and_left_out(photos: Photos, listener: Any) -> None:
    folder = photos(red=20, blue=20)
    (folder / "red" / "3.jpg").write_bytes(b"no photo")
    cut = folder / "blue" / "7.jpg"  # its header is sound
    cut.write_bytes(cut.read_bytes()[:-300])
    source = gather_source_task(find_samples(folder), 0, listener)
    assert len(source.samples) == 38
    for name in ("3.jpg", "7.jpg"):
        assert any(name in said for said in listener.said)


def test_small_classes_say_what_share_is_held_out(photos: Photos) -> None:
    """Of 4 + 4 photos, 2 are held out: a quarter, however large the share of a large source."""
    source = gather_source_task(find_samples(photos(red=4, blue=4)), 0, Observer())
    assert len(source.judge) == 2
    assert source.judges == "25% of the photos, which take no part in training"
