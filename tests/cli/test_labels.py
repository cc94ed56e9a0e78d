"""`--labels FILE.csv`: reviewed labels in `fit`, `compare` and `audit`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from regraft.classifier.bundle import load_bundle

Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]
FAST = ("--strategy", "frozen", "--features", "last", "--force")


def reviewed(text: str) -> Path:
    Path("reviewed.csv").write_text(text)
    return Path("reviewed.csv")


def test_fit_learns_the_reviewed_labels(run: Run, photos: Photos, tiny_network: str) -> None:
    """Red photos among the blue ones go back, one is left out, and there is a new class from another folder."""
    data, more = photos("learned", red=8, blue=8), photos("more", first_seed=5000, green=3)
    for k in range(3):
        (data / "red" / f"{k}.jpg").rename(data / "blue" / f"r{k}.jpg")
    rows = [f"blue/r{k}.jpg,red" for k in range(3)] + ["blue/0.jpg,"]
    labels = reviewed("\n".join(["file,label", *rows, *(f"more/green/{k}.jpg,green" for k in range(3))]))
    done = run("fit", data, "--model", tiny_network, *FAST, "--labels", labels, "--json")
    assert done.exit_code == 0, done.output
    assert "train: 18 photos of 3 classes: blue 7, green 3, red 8" in done.stderr
    assert "labels: reviewed.csv changes 3 labels, leaves out 1 photo, adds 3\n" in done.stderr
    numbers = json.loads(done.stdout)
    assert (numbers["classes"], numbers["class_counts"]) == (["blue", "green", "red"], [7, 3, 8])
    assert load_bundle(Path("classifier.safetensors")).classes == ("blue", "green", "red")
    assert more.is_dir()


def test_the_table_is_not_overwritten_and_mistakes_are_one_sentence(fails: Fails, photos: Photos) -> None:
    data = photos("learned", red=4, blue=4)
    labels = reviewed("file,label\nred/9.jpg,blue\n")
    said = fails("fit", data, "--model", "pocket", "--labels", labels)
    assert "reviewed.csv (--labels): 1 of 1 rows do not name one photo:\n  line 2: 'red/9.jpg' is missing\n" in said
    assert "--labels nowhere.csv is no file" in fails("audit", data, "--model", "pocket", "--labels", "nowhere.csv")
    reviewed("file,label\nred/1.jpg,blue\n")
    said = fails("fit", data, "--model", "pocket", "--labels", labels, "--predictions", labels)
    assert "--predictions reviewed.csv is a file that is read here" in said


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_labels(
    run: Run, photos: Photos, tiny_network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison that ended before its curve was drawn is resumed with the same labels, and refused with others."""
    data = photos("learned", red=8, blue=8)
    compare = ("compare", data, "--model", tiny_network, "--strategies", "top", "--epochs", "1", "--views", "1")
    labels = reviewed("file,label\nred/1.jpg,blue\n")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("regraft.cli.compare.draw_learning_curve", interrupted)
        assert run(*compare, "--labels", labels).exit_code != 0
    reviewed("file,label\nred/2.jpg,blue\n")
    done = run(*compare, "--labels", labels)
    assert done.exit_code == 1
    assert "started differently" in done.stderr or "photos" in done.stderr
    reviewed("file,label\nred/1.jpg,blue\n")
    done = run(*compare, "--labels", labels)
    assert done.exit_code == 0
    assert "going on from the checkpoints" in done.stderr


def test_an_audit_looks_at_reviewed_labels(run: Run, photos: Photos, tiny_network: str) -> None:
    data = photos("learned", red=6, blue=6)
    labels = reviewed("file,label\nred/1.jpg,\n")
    done = run("audit", data, "--model", tiny_network, "--labels", labels, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["images"] == 11
    assert "labels: reviewed.csv leaves out 1 photo" in done.stderr
