"""A cluster of two machines, each with one processor: processes of this machine, which end with the tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return `Compute.on` of a cluster that this process is connected to."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    own = tempfile.mkdtemp(prefix="ray")  # short, for names of sockets; and no other cluster's address stands there
    more = {
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        "RAY_TMPDIR": own,
        "RAY_USAGE_STATS_ENABLED": "0",
        "REGRAFT_CACHE": str(tmp_path_factory.mktemp("cache of workers")),
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in more.items():
            patched.setenv(name, value)
        machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            machines.add_node(num_cpus=1)
            ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
            yield f"ray:{machines.address}"
        finally:
            ray.shutdown()
            machines.shutdown()
            shutil.rmtree(own, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the unfinished run of a classifier."""
    return tmp_path / "m.safetensors.unfinished"
