"""The whole job on 1,000 photos of dogs and cats, from the shell: photos in, a classifier's file and its figures out.

regraft's job is evaluated out-of-fold on all photos; to compare accuracies, all are evaluated on the same 200.
"""

import functools
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.chart import Bar, Group, draw
from benchmarks.environments import PEERS, NoEnvironmentError, python_of
from benchmarks.material import dogs_and_cats, link_flat, link_split, network_folder, shared
from benchmarks.processes import CommandError, run
from benchmarks.record import Record, progress, shown

QUESTION = "Dogs vs. Cats, 1,000 photos: the whole job from the shell"
ALL, SAME = "all photos", "accuracy, the same fifth held out"
FIRST, NEW, REFIT = "regraft fit, the very first", "regraft fit, new photos", "regraft fit again, from the cache"
BY_HAND, FASTAI, AUGMENTED, KERAS = (
    "timm loop + LogisticRegression",
    "fastai, one frozen epoch",
    "fastai, one frozen epoch with augmentation",
    "Keras, one frozen epoch",
)
WALL, INNER, ACCURACY, FOLDS = "process start to end", "after imports", "accuracy", "accuracy out-of-fold"
GOAL, MOST_EPOCHS = 0.98, 3
REACHED = f"time to {GOAL:.0%}"
HEADINGS = {  # in the order in which they are shown
    WALL: f"{ALL}, {WALL}",
    INNER: f"{ALL}, {INNER}",
    REACHED: f"{REACHED} on the fifth held out",
    ACCURACY: SAME,
    FOLDS: FOLDS,
}
ONCE = (AUGMENTED,)  # in the first round alone: it takes as long as the other
Job = Callable[[int], dict[str, Any]]


class NoPhotosError(Exception):
    """This benchmark cannot run here; holds why."""


def measure(*, rounds: int, quick: bool) -> Record:
    """Let all take turns; a tool that cannot be installed is left out."""
    if shared() is None:
        raise NoPhotosError("needs real photos and weights: name their folder in REGRAFT_SHARED")
    rounds = 1 if quick else rounds
    photos = dogs_and_cats()[:200] if quick else dogs_and_cats()
    record = Record("job", QUESTION, {"rounds": rounds, "photos": len(photos)})
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = _Ours(link_flat(photos, folder / "all"), link_split(photos, folder / "split"), folder)
        others = _others(record, own.split, folder, quick=quick)
        for number in range(rounds):
            own.turn(found, f"job: round {number + 1} of {rounds}")
            for tool, job in list(others.items()):
                if tool in ONCE and number:
                    continue
                progress(f"job: round {number + 1} of {rounds}: {tool}")
                try:
                    _note(record, found, tool, job(1 if number or quick else MOST_EPOCHS))
                except CommandError as error:
                    record.leave_out(tool, str(error))
                    del others[tool]
    for what, of in HEADINGS.items():
        for by in dict.fromkeys(tool for tool, measured in found if measured == what):
            record.add(of, by, "" if "accuracy" in what else "s", found[by, what])
    _compare(record)
    return record


class _Ours:
    """regraft's turns: with nothing in the cache, with a converted network, with everything."""

    def __init__(self, photos: Path, split: Path, folder: Path) -> None:
        self.photos, self.split, self.folder = photos, split, folder

    def turn(self, found: dict[tuple[str, str], list[float]], where: str) -> None:
        """Fit on all photos with an emptier and a fuller cache, then on the 800 to be evaluated on the 200."""
        cache, out = self.folder / "cache", self.folder / "classifier.safetensors"
        steps: dict[str, Callable[[], object]] = {
            FIRST: lambda: shutil.rmtree(cache, ignore_errors=True),
            NEW: lambda: ours.forget_photos(cache),
            REFIT: lambda: None,
        }
        imports = run([sys.executable, "-c", ours.import_script(ours.FIT_IMPORTS)]).seconds
        for name, prepare in steps.items():
            prepare()
            done = run(ours.fit_command(self.photos, out), environment=ours.with_cache(cache))
            found[name, WALL].append(done.seconds)
            found[name, INNER].append(done.seconds - imports)
            progress(f"{where}: {name}: {shown(done.seconds)} s")
            accuracy = done.json()["accuracy"]
        ours.forget_photos(cache)
        evaluated = run(ours.fit_command(self.split, out), environment=ours.with_cache(cache))
        found[NEW, ACCURACY].append(evaluated.json()["accuracy"])
        found[NEW, FOLDS].append(accuracy)
        if evaluated.json()["accuracy"] >= GOAL:
            found[NEW, REACHED].append(evaluated.seconds)


def _others(record: Record, split: Path, folder: Path, *, quick: bool) -> dict[str, Job]:
    network = f"local-dir:{network_folder()}"
    jobs: dict[str, Job] = {}

    def by(python: str, script: str, *arguments: str) -> dict[str, Any]:
        return run([python, str(PEERS / script), *arguments]).json()

    hand = functools.partial(by, sys.executable, "by_hand.py", network, str(split), str(folder / "hand.pickle"))
    jobs[BY_HAND] = lambda _: hand()
    try:
        python = python_of("fastai", ["fastai", "timm"])
        fastai = functools.partial(by, python, "fastai_job.py", network, str(split), str(folder / "fastai.pkl"))
        jobs[FASTAI] = lambda epochs: fastai("--epochs", str(epochs), "--until", str(GOAL))
        if not quick:
            jobs[AUGMENTED] = lambda _: fastai("--augment")
    except NoEnvironmentError as error:
        record.leave_out("fastai", str(error))
    try:
        python = python_of("keras", ["keras", "tensorflow-cpu"])
        jobs[KERAS] = lambda _: by(python, "keras_job.py", str(split), str(folder / "model.keras"))
    except NoEnvironmentError as error:
        record.leave_out("Keras", str(error))
    return jobs


def _note(record: Record, found: dict[tuple[str, str], list[float]], tool: str, told: dict[str, Any]) -> None:
    """Keep what a tool said of one turn."""
    first = told["epochs"][0]
    progress(f"job: {tool}: {shown(first['wall'])} s")
    found[tool, WALL].append(first["wall"])
    found[tool, INNER].append(first["inner"])
    if "accuracy" in first:
        found[tool, ACCURACY].append(first["accuracy"])
    if "folds" in told:
        found[tool, FOLDS].append(told["folds"])
    reached = [epoch["wall"] for epoch in told["epochs"] if epoch.get("accuracy", 0.0) >= GOAL]
    if reached:
        found[tool, REACHED].append(reached[0])
    record.versions |= {name: number for name, number in told.get("versions", {}).items() if name != "timm"}


def _compare(record: Record) -> None:
    of = f"{ALL}, {WALL}"
    for other in (BY_HAND, FASTAI, AUGMENTED, KERAS):
        record.compare(of, NEW, other, "s")
    record.compare(of, FIRST, FASTAI, "s")
    record.notes += [
        f"'{FIRST}' makes the engine for the network too; '{NEW}': it is there, no photo is in the cache",
        f"regraft's {INNER}: less the seconds that the same imports take alone, measured in the same round",
        "regraft and the logistic regression evaluate on every photo, by five folds, and then fit on all; fastai and "
        "Keras pass 800 photos once for training and 200 once for validation",
        "fastai: ImageDataLoaders.from_folder(item_tfms=Resize(224), num_workers=2), vision_learner on the same "
        f"weights through timm, fit_one_cycle(1), batches of 64; {REACHED}: such epochs until the "
        f"validation accuracy is reached, at most {MOST_EPOCHS}",
        "Keras: MobileNetV2 with random weights, for speed alone: its weights are downloaded from elsewhere",
    ]


def picture(record: Record, path: Path) -> None:
    """Draw the seconds of the whole job."""
    chosen = [one for one in record.measurements if one.of == f"{ALL}, {WALL}"]
    bars = [
        Bar(one.by, one.median, f"{shown(one.median)} s", "ours" if "regraft" in one.by else "other") for one in chosen
    ]
    draw(path, QUESTION, [[Group("seconds, imports included", bars)]], footnote=record.footnote())
