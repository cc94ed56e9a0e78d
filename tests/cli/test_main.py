"""The command itself: its version, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import Result

from regraft.cli import main

Run = Callable[..., Result]
Photos = Callable[..., Path]


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"regraft {version('regraft')}\n"


def test_all_commands_are_there_when_they_are_asked_for() -> None:
    """Each in a module of its own, which others do not wait for."""
    assert main.app is main.app
    assert tuple(get_command(main.app).commands) == main.COMMANDS
    assert tuple(get_command(main.make_app("predict")).commands) == ("predict",)
    with pytest.raises(AttributeError, match=r"^module 'regraft\.cli\.main' has no attribute 'apps'$"):
        _ = main.apps


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_computed(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    slow = (
        "import signal, time\nfrom regraft.engines.pytorch import TorchEngine\nfast = TorchEngine.features\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored, where tests run in the background
        "def slow(self, pixels):\n    print('batch', flush=True)\n    time.sleep(0.5)\n    return fast(self, pixels)\n"
        "TorchEngine.features = slow\nfrom regraft.cli.main import run\nrun()\n"
    )
    folder = photos(red=40, blue=40)
    fit = ["fit", str(folder), "--model", tiny_network, "--out", str(tmp_path / "m.safetensors")]
    fit += ["--batch-size", "4", "--strategy", "frozen"]
    with subprocess.Popen(
        [sys.executable, "-c", slow, *fit], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(3):  # the third batch has begun: two are done
            assert process.stdout.readline() == "batch\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted. What was computed is kept" in stderr
    assert "Traceback" not in stderr
    done = subprocess.run(
        [sys.executable, "-m", "regraft", *fit, "--json"], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout)["images_computed"] in (68, 72)  # 80 less the two or three batches of four
