"""A connection to a cluster of two machines, each with one processor: processes of this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.rays import TwoNodes


@pytest.fixture(scope="module")
def cluster(two_nodes: TwoNodes) -> Iterator[str]:
    """Return `Compute.on` of a cluster that this process is connected to."""
    import ray

    with pytest.MonkeyPatch.context() as patched:
        for name, value in two_nodes.environment.items():
            patched.setenv(name, value)
        ray.init(address=two_nodes.address, log_to_driver=False, logging_level="ERROR")
        try:
            yield f"ray:{two_nodes.address}"
        finally:
            ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the unfinished run of a classifier."""
    return tmp_path / "m.safetensors.unfinished"
