"""Killed at any moment, twenty times, training ends with the weights of a run that nobody disturbed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.classifier.bundle import read_description

Photos = Callable[..., Path]

# Imports once, then forks: each child is a whole run of the command line, killed after a random time. Checkpoints come
# as often as in a long training, a few in each second's worth of work.
DRIVER = """
import json, os, random, signal, sys, time
from regraft.cli.main import app
from regraft.training import checkpoints, finetuner
from regraft.features import extraction
from regraft.api import estimator
from regraft.transfer import compare, fit
from regraft.pretraining import model_card, pretrain
import torch, sklearn.model_selection, scipy.sparse.csgraph, timm
torch.set_num_threads(1)
finetuner.SECONDS_PER_CHECKPOINT = 0.02
arguments, out, kills, longest, suffix = json.loads(sys.argv[1])

def start(path):
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(path + ".log", "a")
        code = 1
        try:
            app([*arguments, "--out", path], standalone_mode=True)
        except SystemExit as end:
            code = end.code or 0
        finally:
            os._exit(code)
    return child

def finish(path):
    return os.waitstatus_to_exitcode(os.waitpid(start(path), 0)[1])

begun = time.monotonic()
assert finish(out + "/whole" + suffix) == 0
span = time.monotonic() - begun
killed, resumed = 0, 0
path = out + "/killed" + suffix
random.seed(0)
while killed < kills:
    child = start(path)
    time.sleep(random.uniform(0.1, longest) * span)
    os.kill(child, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == -signal.SIGKILL:
        killed += 1
        resumed += os.path.isdir(path + ".unfinished")
    else:  # it was done before: once more from the start
        assert ended == 0, ended
        os.rename(path, out + f"/done{killed}" + suffix)
assert finish(path) == 0
print(json.dumps({"killed": killed, "resumed": resumed}))
"""


def contents(path: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    about = read_description(path)
    about.pop("sha256")
    timed = ("seconds", "extraction_seconds", "training_seconds", "images_computed", "images_per_second")
    about["numbers"] = {name: value for name, value in about["numbers"].items() if name not in timed}
    return tensors, about


def kill_often(arguments: list[str], out: Path, *, suffix: str) -> str:
    """Run the command undisturbed and killed twenty times; return what the killed runs said."""
    out.mkdir()
    task = json.dumps([arguments, str(out), 20, 0.6, suffix])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, task], capture_output=True, text=True, env=environment, timeout=280, check=False
    )
    file = out / f"killed{suffix}.log"
    log = file.read_text() if file.exists() else ""
    assert done.returncode == 0, done.stderr[-2000:] + log[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] == 20
    assert told["resumed"] >= 10  # most kills left checkpoints that the next run resumed
    assert "going on from the checkpoints" in log
    assert not (out / f"killed{suffix}.unfinished").exists()
    return log


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["top"])
def test_twenty_kills_change_no_bit(strategy: str, photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    folder, out = photos(red=12, blue=12, grey=12), tmp_path / "out"
    arguments = ["fit", str(folder), "--model", tiny_network, "--strategy", strategy, "--epochs", "12", "--views", "2"]
    kill_often(arguments, out, suffix=".safetensors")
    whole, killed = contents(out / "whole.safetensors"), contents(out / "killed.safetensors")
    assert whole[0] == killed[0]
    assert whole[1] == killed[1]


@pytest.mark.slow
@pytest.mark.parametrize("taught", [False, True])
def test_twenty_kills_of_pretraining_change_no_bit(
    taught: bool, photos: Photos, tiny_network: str, tmp_path: Path
) -> None:
    folder, out = photos(red=24, blue=24, grey=24), tmp_path / "out"
    arguments = ["pretrain", str(folder), "--arch", "test_efficientnet", "--input-size", "32", "--epochs", "8"]
    arguments += ["--train-batch-size", "8", *(["--teacher", tiny_network] if taught else [])]
    kill_often(arguments, out, suffix="")
    whole, killed = out / "whole", out / "killed"
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    assert (whole / "config.json").read_text() == (killed / "config.json").read_text()
    training = [json.loads((folder / "training.json").read_text()) for folder in (whole, killed)]
    curves = [[{**one, "seconds": 0} for one in told["curve"]] for told in training]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 8  # also of the epochs before it was killed
    assert training[0]["accuracy"] == training[1]["accuracy"]
