"""What the benchmarks compute from their times. Nothing is timed here."""

import asyncio
import importlib
import inspect
import json
import multiprocessing
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.__main__ import BENCHMARKS
from benchmarks.record import Measurement, Record, ratio, shown
from PIL import Image

from benchmarks import chart, comparisons, embed_memory, intervals, load, ours, processes, same_answers, startup
from regraft.engines.compute import Compute
from regraft.features import extraction, passes
from regraft.features.embedding import Embedder
from regraft.networks.backbone import Backbone
from regraft.serve.uploads import read_form


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.12"), (4.567, "4.57"), (78.94, "78.9"), (437.4, "437"), (1234.5, "1,230")]
)
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_measures_and_draws(name: str) -> None:
    benchmark = importlib.import_module(f"benchmarks.{name}")
    assert inspect.signature(benchmark.measure).parameters.keys() == {"rounds", "quick"}
    assert list(inspect.signature(benchmark.picture).parameters) == ["record", "path"]


def test_median_and_spread_of_rounds() -> None:
    times = Measurement("resnet50", "regraft", "s", (3.0, 1.0, 2.0))
    assert (times.median, times.low, times.high) == (2.0, 1.0, 3.0)
    assert times.text() == "2.00 s [1.00, 3.00]"


def test_ratios_are_taken_round_by_round() -> None:
    # a machine that is half as fast in the second round changes no ratio
    ours, theirs = (Measurement("n", by, "images/s", values) for by, values in (("a", (80, 40)), ("b", (10, 5))))
    assert ratio("n", ours, theirs).values == (8.0, 8.0)
    seconds = [Measurement("n", by, "s", values) for by, values in (("a", (2.0, 4.0)), ("b", (10.0, 20.0)))]
    assert ratio("n", *seconds).values == (5.0, 5.0)
    with pytest.raises(ValueError, match="cannot be compared"):
        ratio("n", ours, seconds[0])


def test_record_is_written_with_machine_and_versions(tmp_path: Path) -> None:
    record = Record("speed", "how fast?")
    record.add("n", "a", "s", [1.0, 2.0])
    record.add("n", "b", "s", [3.0, 8.0])
    assert record.compare("n", "a", "c", "s") is None
    record.compare("n", "a", "b", "s")
    told = json.loads(record.write(tmp_path).read_text())
    assert told["ratios"][0] | {"values": None} == {
        "of": "n", "by": "a against b", "unit": "x", "values": None, "median": 3.5, "low": 3.0, "high": 4.0
    }  # fmt: skip
    assert {"processor", "cores", "memory_gb"} <= set(told["machine"])
    assert {"python", "torch"} <= set(told["versions"])


def test_import_shares_add_up_and_count_modules_under_their_package() -> None:
    report = "\n".join(
        [
            "import time: self [us] | cumulative | imported package",
            "import time:       300 |        300 |     torch._C",
            "import time:       100 |        400 |   torch",
            "import time:       500 |        900 | sympy.core",
            "import time:       100 |        100 | numpy",
        ]
    )
    assert startup.import_shares(report) == {"torch": 0.4, "numpy": 0.1, startup.REST: 0.5}


def test_clocks_count_what_one_part_spends_in_another_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 3.0, 7.0, 12.0])
    monkeypatch.setattr(startup.time, "perf_counter", lambda: next(now))
    clocks = startup.Clocks()
    inner = clocks.watch("inner", lambda: None)
    clocks.watch("outer", inner)()
    assert dict(clocks.seconds) == {"outer": (3.0 - 1.0) + (12.0 - 7.0), "inner": 7.0 - 3.0}


def test_names_of_what_is_timed_and_imported_exist() -> None:
    for module in (*ours.FIT_IMPORTS, *ours.PREDICT_IMPORTS):
        importlib.import_module(module)
    for name in (*ours.PREDICT_PARTS.values(), *ours.TOP_PARTS.values()):
        owner, attribute = startup.owner_of(name)
        assert callable(getattr(owner, attribute))


def test_a_command_is_measured_and_its_failure_reported() -> None:
    done = processes.run([sys.executable, "-c", "print('{\"a\": 1}')"])
    assert done.json() == {"a": 1}
    assert done.seconds > 0
    assert done.peak_megabytes > 1
    with pytest.raises(processes.CommandError, match="exit code 3"):
        processes.run([sys.executable, "-c", "raise SystemExit(3)"])


def start_method() -> str:
    return multiprocessing.get_start_method()


@pytest.mark.slow  # it starts a process that imports everything
def test_a_contender_starts_workers_as_any_program_does() -> None:
    with processes.Contender() as contender:
        assert contender(start_method) == multiprocessing.get_start_method()


def test_bars_are_drawn_as_long_as_their_values(tmp_path: Path) -> None:
    bars = [chart.Bar("a", 10.0, "10", "ours"), chart.Bar("b", 5.0, "5", "bound")]
    chart.draw(tmp_path / "bars.png", "bars", [[chart.Group("group", bars)]])
    with Image.open(tmp_path / "bars.png") as opened:
        pixels = list(opened.convert("RGB").get_flattened_data())
    ours, bound = (pixels.count(Image.new("RGB", (1, 1), colour).getpixel((0, 0))) for colour in ("#0f766e", "#99c9c3"))
    assert ours / bound == pytest.approx(2, rel=0.05)


def test_made_up_photos_go_through_blocks_and_cache_into_a_file(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Embedder(backbone, Compute(engine="torch-float32"))
    engine = embed_memory.MadeUpEngine(embedder.backbone)
    monkeypatch.setattr(passes, "load_batches", embed_memory.made_up_batches)
    monkeypatch.setattr(extraction, "choose_engine", lambda *_: engine)
    embed_memory.embed(embedder, 600, tmp_path / "f.npz", 0)
    with np.load(tmp_path / "f.npz") as file:
        assert file["features"].shape == (600, backbone.features)
        assert len(np.unique(file["features"], axis=0)) == 600
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*")) > 600 * 4 * embedder.backbone.width


def test_what_differs_far_is_found_by_all_and_what_is_equal_by_none() -> None:
    """Classifiers that say the same do not differ in any sample."""
    found = comparisons.shares(comparisons.Case(100, skills=(0.0, 5.0), before=True), 3)
    assert set(found) == {comparisons.PROVEN, comparisons.TAKEN, comparisons.ANY, *comparisons.FIGURES}
    assert set(found.values()) == {100}

    class Same(comparisons.Case):
        def draw(self, generator: np.random.Generator) -> comparisons.Sample:
            sample = super().draw(generator)
            return comparisons.Sample(sample.probabilities[[0, 0]], sample.labels)

    assert set(comparisons.shares(Same(60, before=True), 2).values()) == {0}


def test_a_figure_without_an_interval_neither_holds_nor_misses() -> None:
    """Of three intervals two hold 0.5, one of them at its edge; a fourth figure has none."""
    figures = [(0.4, 0.5, (0.3, 0.6)), (0.4, 0.5, (0.3, 0.45)), (0.5, 0.5, (0.5, 0.7)), (0.4, 0.5, None)]
    assert intervals.held(figures) == (pytest.approx(200 / 3), 25.0)
    assert intervals.held(figures[3:]) == (None, 100.0)


def test_answers_of_each_pair_are_compared() -> None:
    record = Record("answers", "the same?")
    ways = {"a": [("cat", 0.9), ("dog", 0.6)], "b": [("cat", 0.875), ("cat", 0.5)], "c": [("cat", 0.9), ("dog", 0.6)]}
    same_answers._compare(record, "pets", ways)
    found = {one.by: one.median for one in record.measurements}
    assert {pair: found[f"{pair}, same label"] for pair in ("a and b", "a and c", "b and c")} == {
        "a and b": 1,
        "a and c": 2,
        "b and c": 1,
    }
    assert found["a and b, largest difference"] == pytest.approx(0.1)  # of "dog": 0.6 and 1 - 0.5
    assert found["a and c, largest difference"] == 0


def test_the_program_that_is_compared_is_the_one_of_the_documentation() -> None:
    (program,) = [one for one in same_answers.programs(same_answers.DOCUMENT.read_text("utf-8")) if "ImageOps" in one]
    compile(program, "runner.py", "exec")
    assert "regraft" not in program.replace('["regraft"]', "")


def test_a_form_of_photos_is_read_by_the_server() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield load.body_of([b"one", b"two\r\n"])

    kind = f"multipart/form-data; boundary={load.BOUNDARY}"
    photos = asyncio.run(read_form(kind, parts(), most=2))
    assert [photo.data for photo in photos] == [b"one", b"two\r\n"]
