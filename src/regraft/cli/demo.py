"""`regraft demo`: transfer learning on real photos that are on every machine, by the commands that a user types."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from regraft.cli.console import READER_GONE, check_stdout, note
from regraft.errors import RegraftError, printable
from regraft.extras import check_installed
from regraft.files import check_own_folder, prepare_folder

_EACH = 10  # photos of each digit to learn from
_NEW = 2  # of each digit, without labels, to be answered
_SIDE = 64  # pixels of a picture
_MARK = ".regraft-demo"  # the file that says that a folder was made by the demo


def demo(
    out: Annotated[Path, typer.Option(help="Folder of all that the demo writes.")] = Path("regraft-demo"),
) -> None:
    """Show transfer learning in two minutes, without a connection.

    On handwritten digits a small network inside regraft is compared untrained, frozen and fine-tuned; then a classifier
    is made, explained in a report, and asked about digits that it has not seen. Each command is printed as you would
    type it.
    """
    check_installed("torch", "regraft demo")
    check_stdout("Send it to a terminal or into a file: > FILE.")
    prepare_folder(out, option="--out")
    check_own_folder(out, _MARK, option="--out")
    started = time.monotonic()
    note(f"writing {10 * _EACH} photos of handwritten digits (scikit-learn's copy of the UCI set)")
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()
    names = _write_digits(out)
    photos, file, answers = out / "digits", out / "digits.safetensors", out / "answers.csv"
    # the fastest network: all of it is trained in a minute; and of 8 x 8 grey values a larger image shows no more
    own = ["--model", "pocket", "--seed", "0"]
    short = ["--train-batch-size", "16", "--epochs", "12"]  # two minutes in all on two cores
    strategies = ["--strategies", "scratch,frozen,top"]
    _run("compare", str(photos), *own, *strategies, *short, "--out", str(out / "comparison.png"))
    report = ["--report", str(out / "report"), "--units", "4"]
    _run("fit", str(photos), *own, "--strategy", "frozen", "--out", str(file), *report)
    _run("predict", str(file), str(out / "new"), "--format", "csv", "--out", str(answers))
    right = _right(answers, names)
    note(
        f"\nDone in {time.monotonic() - started:.0f} s. Of the {len(names)} new digits {right} were answered right. "
        f"Look at:\n"
        f"  {printable(out / 'report' / 'report.html')}  how good it is, its mistakes, what the layers learned\n"
        f"  {printable(out / 'comparison.png')}  learning from scratch against learning from what was learned before\n"
        f"  {printable(answers)}  the answers\n"
        f"  {printable(file)}  the classifier, one safe file\n"
        "Your own photos, one folder for each class (a larger network is taken):\n"
        "  regraft fit FOLDER --out mine.safetensors"
    )


def _write_digits(out: Path) -> dict[str, str]:
    """Write some digits with labels and some without; return the right answers of the latter by name.

    Each digit of 8 x 8 grey values is enlarged. Those with labels are the first of the set, the others the last: what
    one person wrote stands together in it.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    answers: dict[str, str] = {}
    for digit in range(10):
        places = np.flatnonzero(digits.target == digit)
        for number, place in enumerate(places[:_EACH]):
            _write(digits.images[place], out / "digits" / str(digit) / f"{number}.png")
        for place in places[-_NEW:]:
            name = f"{len(answers):02d}.png"
            _write(digits.images[place], out / "new" / name)
            answers[name] = str(digit)
    return answers


def _write(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = Image.fromarray(np.rint(values * 255 / 16).astype(np.uint8))
    grey.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).convert("RGB").save(path)


def _run(*arguments: str) -> None:
    """Run one command of regraft, printed as it would be typed.

    Raises:
        RegraftError: it failed; it has said why.
    """
    note(f"\n$ regraft {printable(shlex.join(arguments))}")
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "regraft", *arguments], check=False)
    if done.returncode == READER_GONE:
        raise typer.Exit(READER_GONE)
    if done.returncode:
        raise RegraftError(f"the command above ended with exit code {done.returncode}, and the demo with it.")


def _right(answers: Path, names: dict[str, str]) -> int:
    import pandas as pd

    table = pd.read_csv(answers, dtype=str)
    first, second = table.columns[:2]
    return sum(names[Path(path).name] == answer for path, answer in zip(table[first], table[second], strict=True))
