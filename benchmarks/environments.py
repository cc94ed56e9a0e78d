"""Environments of other tools: made once under a folder that git ignores, each by one plain `pip install`."""

import subprocess
import sys
from collections.abc import Sequence

from benchmarks.material import REPOSITORY
from benchmarks.record import progress

FOLDER = REPOSITORY / "benchmarks" / ".venvs"
PEERS = REPOSITORY / "benchmarks" / "peers"


class NoEnvironmentError(Exception):
    """A tool cannot be installed here; holds why."""


def python_of(name: str, packages: Sequence[str]) -> str:
    """Return the Python of an environment that has `packages`, which is made if it is not there.

    Raises:
        NoEnvironmentError: pip cannot install them.
    """
    folder = FOLDER / name
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    marker = folder / "complete"
    if not marker.exists():
        progress(f"making {folder.relative_to(REPOSITORY)}, once: pip install {' '.join(packages)}")
        _do([sys.executable, "-m", "venv", str(folder)])
        _do([str(python), "-m", "pip", "install", "--quiet", *packages])
        marker.touch()
    return str(python)


def _do(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise NoEnvironmentError(f"{' '.join(command)}: {' '.join(told)}")
