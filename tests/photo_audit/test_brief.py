"""What is said of photos with every fit: of their headers before, of their labels after."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.fixtures.scenes import scene

from regraft.data.dataset import Dataset, open_datasets
from regraft.data.layouts import find_samples
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.brief import findings_of_answers, findings_of_photos, lines_of_fit
from regraft.progress import Observer
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings


def photos(folder: Path, *, ending: str = "jpg", each: int = 12, rare: int = 12) -> Path:
    """Write `each` photos of red and `rare` ones of blue, these with another ending."""
    for label, colour, count in (("red", (200, 30, 30), each), ("blue", (30, 30, 200), rare)):
        for place in range(count):
            path = folder / label / f"{place}.{ending if label == 'blue' else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            tint = Image.new("RGB", (64, 64), colour)
            Image.blend(scene(100 * len(label) + place, 64), tint, 0.5).save(path)
    return folder


def opened(folder: Path) -> Dataset:
    (dataset,) = open_datasets([find_samples(folder)["train"]], Observer())
    return dataset


def test_a_format_that_gives_a_class_away_is_said(tmp_path: Path) -> None:
    found = findings_of_photos(opened(photos(tmp_path, ending="png")))
    (one,) = [one for one in found if one.kind == "shortcut" and one.more["cue"] == "file format"]
    assert (one.severity, one.more["class"]) == ("high", "red")
    assert any("class red: all are JPEG RGB, of the others none" in line for line in lines_of_fit(found))


def test_photos_that_are_alike_have_nothing_said(tmp_path: Path) -> None:
    assert findings_of_photos(opened(photos(tmp_path))) == ()


def test_classes_of_very_different_size_are_said_and_few_photos_are_not(tmp_path: Path) -> None:
    uneven = findings_of_photos(opened(photos(tmp_path / "uneven", each=30, rare=3)))
    assert ["red has 30 photos, blue 3" in line for line in lines_of_fit(uneven)] == [True]
    few = findings_of_photos(opened(photos(tmp_path / "few", each=8, rare=8)))
    assert [one.severity for one in few] in ([], ["low"])
    assert lines_of_fit(few) == []


def test_a_surely_contradicted_label_is_said_with_its_file(tmp_path: Path) -> None:
    dataset = opened(photos(tmp_path, each=40, rare=40))
    wrong = dataset.labels.copy()
    wrong[:4] = 1 - wrong[:4]
    sure = np.where(np.eye(2)[dataset.labels] > 0, 0.999, 0.001)
    found = findings_of_answers(dataset.relabelled(wrong), sure)
    assert {one.files[0] for one in found} == {str(source) for source in dataset.samples.sources[:4]}
    (line,) = lines_of_fit(found)
    assert line.startswith("labels that are likely wrong: 4\n")
    assert line.endswith("\n  and 1 more")
    assert findings_of_answers(dataset, sure) == ()


def test_answers_that_were_not_given_doubt_no_label(tmp_path: Path) -> None:
    dataset = opened(photos(tmp_path))
    assert findings_of_answers(dataset, np.full((len(dataset), 2), np.nan)) == ()


def test_fit_says_it_before_the_network_runs_and_keeps_the_counts(tmp_path: Path, tiny_network: str) -> None:
    heard: list[str] = []

    class Listener(Observer):
        def say(self, text: str) -> None:
            heard.append(text)

        def begin(self, task: str, total: int) -> None:
            heard.append(f"begin {task}")

    result: Any = fit(
        find_samples(photos(tmp_path, ending="png")),
        lambda: load_backbone(tiny_network),
        model=tiny_network,
        settings=FitSettings(force=True),
        observer=Listener(),
    )
    said = next(place for place, text in enumerate(heard) if text.startswith("shortcut: class red: all are JPEG"))
    assert said < next(place for place, text in enumerate(heard) if text.startswith("begin features"))
    kept = [one for one in result.record.findings if one.kind == "shortcut"]
    assert [(one.severity, one.count >= 1, "class red" in one.said) for one in kept] == [("high", True, True)]
    assert str(tmp_path) not in str(result.record.findings)
