"""Folds by the workers of a cluster of two machines: the file, and the comparison, of one process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.rays import TwoNodes

pytestmark = pytest.mark.slow
Photos = Callable[..., Path]
COMMON = ["--device", "cpu", "--engine", "torch-float32", "--epochs", "1", "--views", "1"]


def test_folds_by_workers_give_what_one_process_gives(
    photos: Photos, tiny_network: str, other_network: str, tmp_path: Path, two_nodes: TwoNodes
) -> None:
    """Of one processor per worker, as sums by several threads have another order."""
    photos("pets", red=12, blue=12)
    two_nodes.environment["OMP_NUM_THREADS"] = "1"
    where = {"alone": [], "there": ["--on", f"ray:{two_nodes.address}"]}

    def run(name: str, *arguments: str) -> Any:
        done = two_nodes.run(*arguments, *COMMON, *where[name], cache=tmp_path / f"cache {name}", folder=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert ("trainings of folds, by the workers" in done.stderr) == (name == "there")
        return json.loads(done.stdout)

    for name in where:
        given = ["--strategy", "top", "--force", "--json", "--out", f"{name}.safetensors"]
        run(name, "fit", "pets", "--model", tiny_network, *given)
    assert (tmp_path / "there.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    given = ["--strategies", "frozen,top", "--json", "--out"]
    networks = ["--model", tiny_network, "--model", other_network]
    found = [run(name, "compare", "pets", *networks, *given, f"{name}.svg") for name in where]
    for one in found:
        del one["out"]
        for row in one["rows"]:
            del row["seconds"], row["images_per_second"]
    assert len({row["model"] for row in found[0]["rows"]}) == 2
    assert found[0] == found[1]
