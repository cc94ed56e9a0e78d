"""The plan of docs/scale.md: its arithmetic by hand, and its tables as the rates that were kept give them."""

import json
import re
import sys
from math import comb, log

import numpy as np
import pytest
from benchmarks.scale_plan import (
    BYTES,
    DECODING,
    DIRECTIONS,
    FORWARD,
    HASHING,
    LOGITS,
    LOOKING,
    NAME,
    PAIRS,
    READS,
    SCATTER,
    SUMS,
    TRAINING,
    UNITS,
    WORKER,
    Plan,
    hosts_of,
)
from PIL import Image

from benchmarks import scale, scale_tables
from regraft.heads.search import ABSENT, LEARNED
from regraft.heads.sharded_rows import FeatureShard

RATES = {
    BYTES: 1e6,
    LOOKING: 1000.0,
    HASHING: 200.0,
    PAIRS: 100.0,
    DECODING: 100.0,
    FORWARD: 50.0,
    TRAINING: 10.0,
    SUMS: 64.0,
    SCATTER: 6.4,
    READS: 50.0,
    DIRECTIONS: 1.0,
    LOGITS: 25.0,
    WORKER: 1300.0,
    NAME: 500.0,
}
CPU, GPU = hosts_of(2, 25)


def hours(seconds: float) -> pytest.approx:
    return pytest.approx(seconds / 3600)


def test_what_the_cores_do_is_done_one_after_the_other() -> None:
    """20 million photos on 8 hosts: (1 / 100 + 1 / 50) s each; the network needs (1,000,000 + 4 x 2,800) x 8 ns."""
    assert Plan(RATES, CPU, 8).hours("features") == (hours(20e6 * 0.03 / 8), FORWARD)


def test_hosts_wait_for_their_network_and_many_for_the_store() -> None:
    """20 TB are 160,000 Gb: at 1 Gb/s of each host, or at 25 Gb/s of the store."""
    assert Plan(RATES, CPU, 8).hours("look") == (hours(160_000 / 8), "network")
    assert Plan(RATES, CPU, 64).hours("look") == (hours(160_000 / 25), "store")


def test_on_gpu_hosts_cores_decode_while_the_network_runs() -> None:
    """48 vCPUs decode 24 times as fast as 2; photos of 0.1 MB leave store and network waiting."""
    small = RATES | {BYTES: 1e5}
    assert Plan(small, GPU, 2).hours("features") == (hours(20e6 / 100 / 24 / 2), DECODING)
    fast = small | {DECODING: 10_000.0}
    assert Plan(fast, GPU, 1).hours("features") == (hours(20e6 / 2831 / 4), FORWARD)  # 4,416.5 x 600 / 936


def test_pairs_are_looked_for_by_one_host_however_many_there_are() -> None:
    """Few are all compared, at 1e8 pairs a second; for many, samples of bits are counted by hand.

    40,000,000 needs 26 bits, of which a part has 2 more: 8 parts of 247 bits. Two hashes that differ in 49 bits agree
    in none of them with a probability by inclusion and exclusion, and have a second chance with both photos turned;
    0.99 are found by so many divisions, of 8 tables each, in which a photo costs what 10 comparisons cost.
    """
    few = Plan(RATES, CPU, 1, photos=90_000)
    assert few.hours("pairs") == (hours(90_000 * 89_999 / 2 / 1e8), "pairs")
    missed = sum((-1) ** k * comb(8, k) * comb(247 - 28 * k, 49) for k in range(8)) / comb(247, 49)
    divisions = log(0.01) / log(missed**2)
    seconds = divisions * 8 * 20e6 * 10 / 1e8
    for number in (1, 64):
        assert Plan(RATES, CPU, number).hours("pairs") == (hours(seconds), "pairs")
    assert Plan(RATES, GPU, 8).hours("pairs") == (hours(seconds / 24), "pairs")


def test_a_head_reads_the_disk_where_its_features_exceed_half_of_the_memory() -> None:
    """All of 224 GB 50 times at 1 GB/s; 51.2 GB lie in 206, and 48 vCPUs are 24 times 2 cores."""
    assert Plan(RATES, CPU, 1).hours("head") == (hours(50 * 224), "disk")
    assert Plan(RATES, CPU, 1, width=640).hours("head")[1] == "disk"  # 51.2 GB
    assert Plan(RATES, GPU, 1, width=640).hours("head") == (hours(20e6 * (64 + 6.4) * 1e-6 / 24), "head")


def test_features_go_through_the_network_of_the_driver_where_there_are_several_hosts() -> None:
    """224 GB come and go at 1 Gb/s, or at 40; 2,800 / 640 = 4.375 is the ratio of widths; logits are 160 MB a time."""
    seconds = 2 * 224 * 8
    none = RATES | {LOGITS: 0.0, DIRECTIONS: 0.0}
    assert Plan(none, CPU, 64).hours("head") == (hours(seconds), "driver's network")
    assert Plan(none, GPU, 8).hours("head") == (hours(seconds / 40), "driver's network")
    cores = 20e6 * (64 * 4.375 + 640 * 4.375**2) * 1e-6
    assert Plan(none | {SCATTER: 640.0}, GPU, 8).hours("head") == (hours(cores / 24 / 8), "head")
    logits = Plan(none | {LOGITS: 10_000.0}, CPU, 64).hours("head")
    assert logits == (hours(10_000 * 1.28 + seconds), "logits")


def test_gradients_are_sent_for_each_update_where_there_are_several_hosts() -> None:
    """An update of 32 photos sends 2 x 62.4 MB: 0.9984 s at 1 Gb/s, 625,000 times, beside 160,000 s of photos."""
    fast = RATES | {TRAINING: 1000.0}
    assert Plan(fast, CPU, 1).hours("epoch") == (hours(20e6 * 0.011), DECODING)
    assert Plan(fast, CPU, 8).hours("epoch") == (hours((160_000 + 625_000 * 0.9984) / 8), "gradients")


def test_cells_of_the_tables() -> None:
    found = scale_tables.tables(RATES, 2, 25, "2 cores")
    assert "| 8 x 2 cores | 5.56 · network |" in "\n".join(found["stages"])
    assert "| 8 x 2 cores | 26.4 (211) |" in "\n".join(found["commands"])  # 5.556 + 20.83
    assert found["costs"][2].startswith("| `predict`, `embed` | 2 | 40.0 | 40,000,000 | 4,768,372 |")  # 2^23 bytes
    assert "| the driver of `fit`: names, keys and labels, GB | 10.0 | 500 |" in found["limits"]
    assert "| 8 x 2 cores | 25.0 | 2.37 | 28.0 | 6.40 |" in found["memory"]  # 1.3 GB, and 2^30 bytes of a shard
    assert set(RATES) == set(UNITS)


def test_the_document_shows_what_the_rates_that_were_kept_give() -> None:
    text = scale.DOCUMENT.read_text(encoding="utf-8")
    tables = scale_tables.tables(*scale.kept(json.loads(scale.RESULTS.read_text(encoding="utf-8"))))
    assert re.findall(r"<!-- scale: (\w+) -->", text) == list(tables)
    assert scale.with_tables(text, tables) == text
    for before in ("| old |\n| --- |\n\n", ""):  # what follows is no row of it
        document = f"<!-- scale: a -->\n\n{before}b\n"
        assert scale.with_tables(document, {"a": ["| new |"]}) == "<!-- scale: a -->\n\n| new |\n\nb\n"


def test_the_document_is_written_for_its_number_of_photos_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scale", "--docs", "--photos", "1e6"])
    with pytest.raises(SystemExit):
        scale.main()
    assert "docs/scale.md is about 20,000,000 photos: leave --photos out" in capsys.readouterr().err


def test_the_head_that_is_timed_holds_out_the_folds_beside_the_missing_one() -> None:
    whole, without_first, *_, without_last = scale.tasks_of_many(np.arange(5))
    assert whole.tolist() == [LEARNED, 1, LEARNED, LEARNED, 4]
    assert without_first.tolist() == [ABSENT, 1, LEARNED, LEARNED, 4]
    assert without_last.tolist() == [0, LEARNED, LEARNED, 3, ABSENT]


def test_readings_of_all_features_are_counted() -> None:
    """The means of two cells, then the products of each: all features twice."""
    shards = scale._TimedShards(FeatureShard(np.eye(4, dtype=np.float32), np.arange(4) % 2), 2)
    cells = np.array([0, 0, 1, 1])
    (sums,) = shards.call("sum_cells", [(cells, 2, None, slice(None))])
    shards.call("centre", [(cells, sums.astype(np.float32) / 2, None, slice(None))])
    for cell in (0, 1):
        shards.call("scatter", [(cell,)])
    assert shards.reads == {"sum_cells": 2, "centre": 2, "scatter": 2}
    assert set(shards.seconds) == set(shards.reads)


def test_a_name_takes_at_least_what_it_is_made_of(tmp_path: scale.Path) -> None:
    photo = tmp_path / "1.jpg"
    Image.new("RGB", (8, 8)).save(photo)
    (found,) = scale.name_memory([photo] * 50, 50).values()
    parts = sys.getsizeof("00000000.jpg") + sys.getsizeof(bytes(32)) + 8
    assert parts < found < 20 * parts
