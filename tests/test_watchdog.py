"""Work that stalls is reported, with the stack of each thread; work that goes on is not."""

import faulthandler
import subprocess
import sys
import time

import pytest

from regraft import watchdog
from regraft.watchdog import watched


def stuck_here(seconds: float) -> None:
    time.sleep(seconds)


def test_work_that_stalls_is_reported_with_every_threads_stack(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with watched("features", said.append, patience=0.2) as alive:
        stuck_here(0.9)
        alive()
    assert said == [
        "features: nothing has been done for 0 seconds. The work goes on if it can; Ctrl-C stops it, and what was "
        "computed is kept. What each thread is doing:",
        "features: going on",
    ]
    stacks = capfd.readouterr().err
    assert "in stuck_here" in stacks
    assert stacks.count("(most recent call first)") >= 2  # this thread and the one that watches


def test_each_stall_is_reported_once() -> None:
    said: list[str] = []
    with watched("features", said.append, patience=0.1) as alive:
        for _ in range(2):
            stuck_here(0.5)
            alive()
    assert [text.partition(":")[2][:9] for text in said] == [" nothing ", " going on"] * 2


@pytest.mark.slow
def test_work_that_goes_on_is_not_reported(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with watched("features", said.append, patience=0.5) as alive:
        for _ in range(20):
            time.sleep(0.05)
            alive()
    assert said == []
    time.sleep(1.2)  # nor does the timer go off when the work is over
    assert capfd.readouterr().err == ""


def test_the_timer_is_given_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[bool] = []
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: cancelled.append(True))
    with pytest.raises(ZeroDivisionError), watched("features", print):
        raise ZeroDivisionError
    assert cancelled == [True]
    assert watchdog._passes == []  # of all passes, inner ones included


def test_a_pass_within_a_pass_keeps_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: cancelled.append("now"))
    with watched("outer", print):
        with watched("inner", print):
            pass
        assert cancelled == []
    assert cancelled == ["now"]


# A thread that waits inside a library and never gives the interpreter's lock back: no line of Python runs meanwhile.
HELD = """
import ctypes
from regraft.watchdog import watched

def waits_for_ever():
    ctypes.PyDLL(None).usleep(2_500_000)  # PyDLL, unlike CDLL, keeps the lock

with watched("features", print, patience=0.3):
    waits_for_ever()
"""


def test_a_stall_is_reported_while_no_python_runs() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.startswith("Timeout (0:00:00.6")
    assert "in waits_for_ever" in done.stderr


@pytest.mark.parametrize("closed", ["sys.stderr = None; sys.__stderr__ = None", "sys.stderr.close()"])
def test_without_a_standard_error_the_work_goes_on(closed: str) -> None:
    code = f"import sys, time; {closed}\nfrom regraft.watchdog import watched\n"
    code += "with watched('features', print, patience=0.1): time.sleep(0.5)\nprint('done')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0].startswith("features: nothing has been done")
    assert done.stdout.splitlines()[-1] == "done"
