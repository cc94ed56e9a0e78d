"""Streams that are full, closed or left by their reader: real processes, started as a shell starts them."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.marks import some_slow
from typer.testing import Result

from regraft.cli.console import TerminalObserver, check_stdout, note, result, result_json
from regraft.errors import OutputError

Photos = Callable[..., Path]
Run = Callable[..., Result]
Fails = Callable[..., str]
REGRAFT = f"{shlex.quote(sys.executable)} -m regraft"
FULL = "No space left on device"  # strerror of ENOSPC
REMEDY = "Send standard output to a terminal or a file on a disk with space (> FILE), and run the same command again."
SEND = "Send it to a terminal or into a file: > FILE."
NOT_WRITTEN = "error: the result could not be written to standard output: "

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")


def bash(script: str, folder: Path) -> tuple[int, str, str]:
    """Run `script`, in which `regraft` is the command; return exit code, stdout and stderr."""
    done = subprocess.run(
        ["bash", "-c", f'regraft() {{ {REGRAFT} "$@"; }}\nset -o pipefail\n{script}'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


@needs_full
@pytest.mark.parametrize("arguments", some_slow(["--version", "--help", "help", "cache"], {"--version", "help"}))
def test_a_full_device_is_told(arguments: str, tmp_path: Path) -> None:
    assert bash(f"regraft {arguments} > /dev/full", tmp_path) == (1, "", f"{NOT_WRITTEN}{FULL}. {REMEDY}\n")


@needs_full
def test_a_full_device_is_told_without_a_buffer(tmp_path: Path) -> None:
    code, _, stderr = bash("PYTHONUNBUFFERED=1 regraft --version > /dev/full", tmp_path)
    assert (code, stderr) == (1, f"{NOT_WRITTEN}{FULL}. {REMEDY}\n")


@pytest.mark.parametrize("arguments", some_slow(["--version", "--help", "help", "cache"], {"--help", "help"}))
def test_a_closed_stdout_is_told(arguments: str, tmp_path: Path) -> None:
    assert bash(f"regraft {arguments} >&-", tmp_path) == (1, "", f"{NOT_WRITTEN}it is closed. {REMEDY}\n")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ("predict none.safetensors .", "Name a file: --out FILE."),
        pytest.param("evaluate none.safetensors .", SEND, marks=pytest.mark.slow),
        pytest.param("similar 1.jpg .", SEND, marks=pytest.mark.slow),
        ("demo --out demo", SEND),
    ],
)
def test_a_closed_stdout_is_told_before_the_work(arguments: str, remedy: str, tmp_path: Path) -> None:
    told = f"error: the result cannot be written to standard output: it is closed. {remedy}\n"
    assert bash(f"regraft {arguments} >&-", tmp_path) == (1, "", told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "closed", [*some_slow(["2>&-", "<&-", "<&- 2>&-"], {"2>&-", "<&-"}), pytest.param("2>/dev/full", marks=needs_full)]
)
def test_other_streams_take_no_answer_away(closed: str, tmp_path: Path) -> None:
    code, stdout, stderr = bash(f"regraft --version {closed}", tmp_path)
    assert (code, stderr) == (0, "")
    assert stdout.startswith("regraft ")
    assert stdout.count("\n") == 1


@needs_full
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("regraft --version <&- >&- 2>&-", 1),
        pytest.param("regraft --version > /dev/full 2>&-", 1, marks=pytest.mark.slow),
        ("regraft --version > /dev/full 2> /dev/full", 1),
        pytest.param("regraft no-such-command 2> /dev/full", 2, marks=pytest.mark.slow),
        ("regraft no-such-command 2>&-", 2),
        ("regraft predict a.safetensors nowhere 2>&-", 1),
    ],
)
def test_exit_codes_where_nothing_can_be_said(command: str, code: int, tmp_path: Path) -> None:
    assert bash(command, tmp_path) == (code, "", "")


@pytest.mark.parametrize("arguments", ["--help", pytest.param("models", marks=pytest.mark.slow)])
def test_a_reader_that_went_away_is_no_error(arguments: str, tmp_path: Path) -> None:
    """`true` is gone long before Python has started. With pipefail the pipe's exit code is regraft's."""
    assert bash(f"regraft {arguments} | true", tmp_path) == (141, "", "")


def test_no_file_takes_the_number_of_a_stream(tmp_path: Path) -> None:
    """What a library prints to a descriptor that was closed would else be written into a file of results."""
    code = (
        "import os\nfrom regraft.cli.console import open_streams\nopen_streams()\n"
        "opened = os.open('answers', os.O_WRONLY | os.O_CREAT)\n"
        "os.write(1, b'stray'), os.write(2, b'stray')\n"
        "os.write(opened, f'{opened > 2}'.encode())\n"
        "print('stray', flush=True)\n"
    )
    assert bash(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} <&- >&- 2>&-", tmp_path) == (0, "", "")
    assert (tmp_path / "answers").read_text() == "True"


def test_json_stays_json_where_the_encoding_lacks_letters(tmp_path: Path) -> None:
    code = (
        "from regraft.cli.console import open_streams, result_json\nopen_streams()\n"
        r"result_json({'\xe9': '\U0001f600', 'file': '\udce9', 'steers': '\x9b2J\u202e\x1b'})"
    )
    script = f"PYTHONIOENCODING=ascii {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    _, stdout, _ = bash(script, tmp_path)
    assert stdout.isascii()
    assert json.loads(stdout) == {"é": "\U0001f600", "file": "\udce9", "steers": "\x9b2J\u202e\x1b"}


def test_a_librarys_warning_cannot_steer_the_terminal(tmp_path: Path) -> None:
    code = (
        "import warnings\nfrom regraft.cli import main\n"
        r"main.make_app = lambda *_: lambda: warnings.warn('in a\x1b[2J.jpg')" + "\nmain.run()\n"
    )
    code, _, stderr = bash(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}", tmp_path)  # type: ignore[assignment]
    assert code == 0
    assert r"UserWarning: in a\x1b[2J.jpg" in stderr
    assert "\x1b" not in stderr


@pytest.mark.slow
@needs_full
def test_a_classifiers_life_without_stderr(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    photos(red=12, blue=12)
    photos("new", first_seed=900, red=1, blue=1)
    (tmp_path / "new" / "torn.jpg").write_text("no image")
    fit = f"regraft fit photos --model {shlex.quote(tiny_network)} --strategy frozen --out m.safetensors"

    code, stdout, _ = bash(f"{fit} --json 2>&-", tmp_path)
    assert code == 0
    assert json.loads(stdout)["confusion"] == [[12, 0], [0, 12]]  # stdout holds the JSON alone
    (tmp_path / "m.safetensors").unlink()

    code, stdout, stderr = bash(f"{fit} > /dev/full", tmp_path)
    assert (code, stdout) == (1, "")
    assert f"\n{NOT_WRITTEN}{FULL}. The classifier is kept: m.safetensors. {REMEDY}\n" in stderr
    assert "Traceback" not in stderr

    code, stdout, stderr = bash("regraft predict m.safetensors new --format jsonl 2> /dev/full <&-", tmp_path)
    assert (code, stderr) == (3, "")
    assert [json.loads(line)["prediction"] for line in stdout.splitlines()] == ["blue", "red", None]

    code, _, stderr = bash("regraft predict m.safetensors new > /dev/full", tmp_path)
    assert code == 1
    assert stderr.endswith(f"{NOT_WRITTEN}{FULL}. The answers can be written into a file: --out FILE. {REMEDY}\n")
    assert bash("regraft predict m.safetensors new --format csv --out a.csv <&- >&- 2>&-", tmp_path) == (3, "", "")
    assert (tmp_path / "a.csv").read_text().startswith("file,prediction,probability,probability_blue")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4


# --- in this process ---


class Refusing:
    """A stream of which nothing is known but that it cannot be written."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, _: str) -> int:
        raise self.error

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        raise self.error


def test_findings_without_a_stderr_go_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    observer = TerminalObserver()
    for stderr in (None, Refusing(OSError(28, FULL)), Refusing(ValueError("I/O operation on closed file"))):
        monkeypatch.setattr(sys, "stderr", stderr)
        note("a finding")
        observer.begin("features", 2)
        observer.advance(2)
        observer.end()
    assert capsys.readouterr().out == ""


def test_a_result_without_a_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="it is closed"):
        result("an answer")
    with pytest.raises(OutputError, match=r"standard output: it is closed\. Name a file: --out FILE\."):
        check_stdout("Name a file: --out FILE.")
    monkeypatch.setattr(sys, "stdout", Refusing(OSError(28, FULL)))
    with pytest.raises(OutputError, match=rf"{FULL}\. It is kept: x\. Send standard output"):
        result_json({}, kept="It is kept: x.")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, FULL), FULL),
        (OSError("no route to the\x1b[2J host"), r"no route to the\x1b[2J host"),
    ],
)
def test_a_refusal_that_names_no_file(
    fails: Fails, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    def refuses(*_: object) -> list[Path]:
        raise error

    monkeypatch.setattr("regraft.cli.predict.find_photos", refuses)
    assert fails("predict", "model.safetensors", "x") == (
        f"error: {message}. Check the space on the disks, the connection and your permissions, and run it again.\n"
    )


def test_the_demo_ends_quietly_with_its_reader(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 141)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    done = run("demo", "--out", "demo")
    assert done.exit_code == 141
    assert "error" not in done.output


def test_a_bar_on_a_terminal_that_is_hung_up(tmp_path: Path) -> None:
    """The other end of the terminal is closed: what is written to it is refused (EIO), and the work goes on."""
    ours, theirs = os.openpty()
    code = (
        "import os, sys\nfrom regraft.cli.console import TerminalObserver, open_streams, result\nopen_streams()\n"
        "observer = TerminalObserver()\nobserver.begin('features', 2)\nsys.stdin.readline()\n"
        "observer.advance(2)\nobserver.say('a finding')\nobserver.end()\nresult('done')\n"
    )
    environment = {**os.environ, "TERM": "xterm"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
    ) as process:
        os.close(theirs)
        shown = os.read(ours, 1000)  # the bar has begun
        os.close(ours)
        stdout, _ = process.communicate("\n", timeout=60)
    assert shown
    assert (process.returncode, stdout) == (0, "done\n")
