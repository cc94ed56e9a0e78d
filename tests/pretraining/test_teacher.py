"""Teachers: what they see, what they refuse, and a student that comes near its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import write_network
from tests.pretraining.jobs import CPU, fresh, learn, schedule

from regraft.classifier.bundle import save_bundle
from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.errors import ModelError, OptionError
from regraft.networks.backbones import load_backbone
from regraft.pretraining.pretrain import PretrainingResult, pretrain
from regraft.pretraining.teacher import DistillationSettings, load_teacher
from regraft.training.losses import FEATURE_WEIGHT
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]


def test_validation_photos_train_neither_student_nor_teacher(photos: Photos, tiny_network: str) -> None:
    """Their labels are turned round: what is learned stays the same to the last bit."""
    folder = photos("all/train", red=24, blue=24).parent
    photos("all/val", first_seed=500, red=6, blue=6)
    splits = find_samples(folder)
    turned = replace(splits["validation"], labels=1 - splits["validation"].labels)
    settings = FitSettings(strategy="whole", schedule=schedule(distilling=True))
    distillation = DistillationSettings(tiny_network)
    first, second = (
        pretrain({**splits, "validation": one}, fresh, settings=settings, compute=CPU, distillation=distillation)
        for one in (splits["validation"], turned)
    )
    assert first.report.accuracy == pytest.approx(1 - second.report.accuracy)
    for name, tensor in first.backbone.module.state_dict().items():
        assert torch.equal(tensor, second.backbone.module.state_dict()[name]), name


@pytest.mark.slow
def test_a_teacher_trained_on_validation_photos(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    """It would pass them on to the student. Of two, one was the teacher's; then both."""
    folder = photos("all/train", red=12, blue=12).parent
    photos("all/val", first_seed=500, red=1, blue=1)
    splits = find_samples(folder)
    both = find_samples(photos("both", red=12, blue=12))["train"]
    (tmp_path / "both" / "red" / "12.jpg").write_bytes((folder / "val" / "red" / "0.jpg").read_bytes())
    settings = FitSettings(strategy="whole", schedule=schedule(distilling=True))

    def taught_by(photos_of_teacher: Samples) -> PretrainingResult:
        teacher = fit({"train": photos_of_teacher}, lambda: load_backbone(tiny_network), model=tiny_network)
        save_bundle(teacher.classifier, tmp_path / "t.safetensors")
        distillation = DistillationSettings(str(tmp_path / "t.safetensors"))
        return pretrain(splits, fresh, settings=settings, compute=CPU, distillation=distillation)

    assert taught_by(both).report.n == 2
    both = find_samples(tmp_path / "both")["train"]
    found = taught_by(both)
    assert found.report.n == 1
    assert found.source.note.endswith("take no part in training, nor in that of the teacher (1 left out)")
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


@pytest.mark.slow
def test_a_teacher_whose_outputs_do_not_fit_into_the_cache(
    photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """36 photos in 4 views of 256 features in float16 are 73,728 bytes."""
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "73727B")
    with pytest.raises(OptionError, match=r"the teacher's outputs would take 0.0 GB.*Raise cache_limit"):
        learn(photos(red=20, blue=20), distillation=DistillationSettings(tiny_network))
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "73728B")
    learn(photos(red=20, blue=20), distillation=DistillationSettings(tiny_network))


@pytest.mark.slow
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


def test_a_teacher_is_recorded_by_its_own_name() -> None:
    assert load_teacher(DistillationSettings("offline"), ["cat", "dog"]).name == "efficientnet-lite0"
