"""Do `regraft serve`, `regraft predict` and the exported file, run as docs/export.md has it, give the same answers?

Each is run as users run it: a server that is asked over HTTP, a command whose CSV is read, a program of onnxruntime,
Pillow and NumPy. The photos are those that the classifier did not learn from.
"""

import csv
import http.client
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, repeat
from pathlib import Path

from benchmarks import ours
from benchmarks.chart import Bar, Group, draw
from benchmarks.environments import NoEnvironmentError
from benchmarks.job import NoPhotosError
from benchmarks.load import BOUNDARY, body_of
from benchmarks.material import REPOSITORY, dogs_and_cats, label, link_flat, shared
from benchmarks.processes import run
from benchmarks.record import Record, progress
from benchmarks.serve import serving
from regraft.errors import MissingPackageError
from regraft.exports.formats import FORMATS

OF_EACH, QUICK = 150, 10  # photos of each class
AT_ONCE = 16  # requests, or photos of one
ENGINES = {"the default engine": None, "openvino-float32": "openvino-float32"}
DOCUMENT = REPOSITORY / "docs" / "export.md"
Answers = list[tuple[str, float]]  # of each photo its label and the probability of that


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (answers do not vary)
    """Fit, export, and ask each of them for all photos."""
    if shared() is None:
        raise NoPhotosError("it compares answers about real photos, and there are none")
    try:
        FORMATS["onnx"].check_installed()
    except MissingPackageError as error:
        raise NoEnvironmentError(str(error)) from None
    photos = dogs_and_cats()
    asked = [[one for one in photos if label(one) == name][: QUICK if quick else OF_EACH] for name in ("cat", "dog")]
    chosen = [photo for part in asked for photo in part]
    record = Record(
        "same_answers",
        "Answers of the server, of the command and of the exported file about the same photos",
        {"photos": len(chosen), "learned from": len(photos) - len(chosen)},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learned = link_flat([photo for photo in photos if photo not in chosen], folder / "pets")
        bundle, exported = folder / "pets.safetensors", folder / "pets.onnx"
        environment = ours.with_cache(folder / "cache")
        run(ours.fit_command(learned, bundle), environment=environment)
        export = ["export", str(bundle), "--to", "onnx", "--check", str(learned), "--out", str(exported)]
        run([*ours.COMMAND, *export], environment=environment)
        by_file = run_exported(exported, chosen, folder)
        for title, engine in ENGINES.items():
            arguments = [] if engine is None else ["--engine", engine]
            ways = {"predict": predicted(bundle, chosen, arguments), **served(bundle, chosen, arguments)}
            _compare(record, title, {**ways, "exported file": by_file})
    record.notes.append(
        "a probability is that of the answer; the exported file's program prints four digits, so that 5e-5 is rounding"
    )
    return record


def _compare(record: Record, title: str, ways: dict[str, Answers]) -> None:
    """Record of each pair how many labels are equal, and the largest difference of a probability."""
    for one, other in combinations(ways, 2):
        pairs = list(zip(ways[one], ways[other], strict=True))
        same = sum(a == b for (a, _), (b, _) in pairs)
        # of two classes: where labels differ, the same class has the rest of 1
        largest = max(abs(p - (q if a == b else 1 - q)) for (a, p), (b, q) in pairs)
        record.add(title, f"{one} and {other}, same label", "photos", [same])
        record.add(title, f"{one} and {other}, largest difference", "of a probability", [largest])
        progress(f"same_answers: {title}: {one} and {other}: {same} of {len(pairs)}, {largest:.1e}")


def predicted(bundle: Path, photos: Sequence[Path], arguments: Sequence[str]) -> Answers:
    """Return what `regraft predict` writes as CSV."""
    command = [*ours.COMMAND, "predict", str(bundle), *map(str, photos), "--format", "csv", "--no-cache", *arguments]
    rows = list(csv.DictReader(io.StringIO(run(command).output)))
    assert [row["file"] for row in rows] == [str(photo) for photo in photos]
    return [(row["prediction"], float(row["probability"])) for row in rows]


def served(bundle: Path, photos: Sequence[Path], arguments: Sequence[str]) -> dict[str, Answers]:
    """Return what a server answers: photos one by one, many requests at once, and many photos in one request."""
    parts = [photos[first : first + AT_ONCE] for first in range(0, len(photos), AT_ONCE)]
    alone = [[photo] for photo in photos]
    with serving(bundle, *arguments) as (_, port), ThreadPoolExecutor(AT_ONCE) as pool:
        return {
            "serve": [one for part in alone for one in ask(port, part)],
            f"serve, {AT_ONCE} requests at once": [
                one for found in pool.map(ask, repeat(port), alone) for one in found
            ],
            f"serve, {AT_ONCE} photos a request": [one for part in parts for one in ask(port, part)],
        }


def ask(port: int, photos: Sequence[Path]) -> Answers:
    """Return what a server answers to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = body_of([photo.read_bytes() for photo in photos])
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        connection.request("POST", "/predict", body, headers)
        rows = json.loads(connection.getresponse().read())["predictions"]
    finally:
        connection.close()
    return [(row["label"], row["probability"]) for row in rows]


def run_exported(file: Path, photos: Sequence[Path], folder: Path) -> Answers:
    """Return what the program of the documentation prints."""
    (program,) = [one for one in programs(DOCUMENT.read_text(encoding="utf-8")) if "ImageOps" in one]
    (folder / "runner.py").write_text(program, encoding="utf-8")
    output = run([sys.executable, str(folder / "runner.py"), str(file), *map(str, photos)]).output
    lines = [line.split("\t") for line in output.splitlines()]
    assert [path for path, _, _ in lines] == [str(photo) for photo in photos]
    return [(answer, float(probability)) for _, answer, probability in lines]


def programs(text: str) -> Iterator[str]:
    """Yield the programs in Python of a Markdown text."""
    yield from re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def picture(record: Record, path: Path) -> None:
    """Draw the largest differences."""
    groups: dict[str, list[Bar]] = {}
    for one in record.measurements:
        pair, _, what = one.by.rpartition(", ")
        if what == "largest difference":
            groups.setdefault(one.of, []).append(Bar(pair, one.median, f"{one.median:.1e}" if one.median else "0"))
    columns = [[Group(engine, bars) for engine, bars in groups.items()]]
    draw(path, "Largest difference of a probability between two ways to ask", columns, footnote=record.footnote())
