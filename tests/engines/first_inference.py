"""Child processes in which two threads run a network's first inference at once: `first_inference.py IR COUNT`.

Every child is forked before OpenVINO is imported, so that it sets OpenVINO up for itself; it ends by itself after
`SECONDS`. Prints how many of them did not come to their end.
"""

import faulthandler
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from regraft.engines import openvino as converted
from regraft.images.preprocess import Preprocess

SECONDS = 20


class PairedRequests:
    """A compiled network whose first two requests are begun at the same moment, each by a thread of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._barrier = compiled, threading.Barrier(2)

    def create_infer_request(self) -> Any:
        request = self._compiled.create_infer_request()
        self._barrier.wait()
        return request


def run(folder: Path) -> None:
    """Two chunks of photos by two threads, which take turns as often as Python lets them."""
    sys.setswitchinterval(1e-6)
    preprocess = Preprocess(8, 8, 1.0, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    engine = converted.OpenVinoEngine(converted.load(folder), preprocess, "float32")
    engine._compiled = PairedRequests(engine._compiled)  # nothing else lets both begin at once
    engine._pool = ThreadPoolExecutor(2)
    found = engine.start(np.zeros((2 * converted._CHUNK, 8, 8, 3), dtype=np.uint8))()
    assert found.shape == (2 * converted._CHUNK, 4)


def main(folder: Path, count: int) -> int:
    """Return how many of `count` children hung or failed; two of them run at a time."""
    failed, running = 0, set()
    for number in range(count + 2):
        if number < count:
            child = os.fork()
            if child == 0:
                faulthandler.dump_traceback_later(SECONDS, exit=True)
                code = 1
                try:
                    run(folder)
                    code = 0
                finally:
                    os._exit(code)
            running.add(child)
        if running and (len(running) == 2 or number >= count):
            child, status = os.wait()
            running.remove(child)
            failed += status != 0
    return failed


if __name__ == "__main__":
    assert "openvino" not in sys.modules
    sys.stdout.write(f"{main(Path(sys.argv[1]), int(sys.argv[2]))}\n")
