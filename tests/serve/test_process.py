"""The command: mistakes end with a sentence, a process answers until it is told to end, and loses nothing."""

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from tests.serve.conftest import Start

from regraft import errors
from regraft.engines.compute import Compute
from regraft.errors import OptionError, option
from regraft.serve import server as server_
from regraft.serve.settings import ServeSettings

BODY_START = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'


def test_a_process_answers_and_finishes_what_it_has_begun(start: Start, jpegs: list[Path]) -> None:
    """A request of which half has arrived when the process is told to end is answered; then it ends."""
    process, port = start()
    assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
    body = BODY_START + jpegs[0].read_bytes() + b"\r\n--x--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(0.2)  # it has begun
    process.send_signal(signal.SIGTERM)
    ends = time.monotonic() + 10
    while _takes_more(port):
        assert time.monotonic() < ends
        time.sleep(0.02)
    connection.send(body[100:])
    answer = connection.getresponse()
    assert answer.status == 200
    assert b'"error": null' in answer.read()
    connection.close()
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.slow
def test_headers_without_an_end_are_refused(start: Start) -> None:
    _, port = start()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with contextlib.suppress(ConnectionError):  # it is closed while they are sent
            for _ in range(10_000):
                connection.sendall(b"x: " + b"y" * 1000 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


def _takes_more(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_verbose_says_what_runs_the_network(served_file: Path) -> None:
    command = [sys.executable, "-m", "regraft", "serve", str(served_file), "--port", "0", "--verbose"]
    process = subprocess.Popen([*command, "--engine", "openvino-float32"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    while lines[-1] and not lines[-1].startswith("answers at"):
        lines.append(process.stderr.readline())
    process.terminate()
    process.communicate()
    assert any("openvino" in line for line in lines), lines


@pytest.mark.slow
def test_ctrl_c_ends_it(start: Start) -> None:
    process, _ = start()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


@pytest.mark.slow
def test_several_processes_count_together_and_one_that_is_killed_comes_back(start: Start, jpegs: list[Path]) -> None:
    process, port = start("--workers", "2")
    body = BODY_START + jpegs[0].read_bytes() + b"\r\n--x--\r\n"

    def get(method: str, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        connection.request(method, path, body if method == "POST" else None, headers)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def workers() -> set[int]:
        listing = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return {int(pid) for pid in listing if "spawn_main" in Path("/proc", pid, "cmdline").read_text()}

    for _ in range(12):
        assert '"error": null' in get("POST", "/predict")
    before = workers()
    assert len(before) == 2
    assert "regraft_photos_total 12.0\n" in get("GET", "/metrics")
    os.kill(min(before), signal.SIGKILL)
    ends = time.monotonic() + 60
    while len(workers() - {min(before)}) < 2:
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert '"error": null' in get("POST", "/predict")
    assert "regraft_photos_total 13.0\n" in get("GET", "/metrics")
    process.terminate()
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--host", "no.such.host.invalid"),
            r"error: --host no\.such\.host\.invalid: .+\. Name an address of this machine\.\n",
        ),
        (
            ("--host", "192.0.2.1"),
            r"error: --host 192\.0\.2\.1, --port 8000: Cannot assign requested address\. Name an address of this "
            r"machine\.\n",
        ),
        (
            ("--max-files", "300"),
            r"error: --max-files 300 photos of one request would not fit into the queue of --max-queue 256\. Raise "
            r"--max-queue, or lower --max-files\.\n",
        ),
        (("--timeout", "0s"), r"error: --timeout must be more than 0 seconds\. Got 0\.0\.\n"),
        (
            ("--allow-host", "http://photos.example"),
            r"error: --allow-host must be names of hosts, without ports\. Got \('http://photos\.example',\)\.\n",
        ),
    ],
)
def test_mistakes(
    run: Callable[..., object], served_file: Path, arguments: tuple[str, ...], message: str, token: None
) -> None:
    done = run("serve", served_file, *arguments)
    assert done.exit_code == 1  # type: ignore[attr-defined]
    assert re.fullmatch(f"(warning: .*\n)?{message}", done.stderr), done.stderr  # type: ignore[attr-defined]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGRAFT_TOKEN", raising=False)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    from typer.testing import CliRunner

    from regraft.cli.main import app

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_port_that_is_taken(run: Callable[..., object], served_file: Path, token: None) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("serve", served_file, "--port", port)
    assert done.exit_code == 1  # type: ignore[attr-defined]
    expected = f"error: --port {port} of 127.0.0.1 is in use. Name another, or 0 for one that is free.\n"
    assert done.stderr == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_the_socket_is_one_whose_answers_asyncio_sends_at_once(host: str, family: socket.AddressFamily) -> None:
    from regraft.serve.server import bound

    with bound(host, 0) as listener:
        assert (listener.family, listener.proto) == (family, socket.IPPROTO_TCP)  # what asyncio looks at


@pytest.mark.slow
def test_connections_that_begin_no_request_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent ones, ones that send half a head, also after an answer; not those that wait for theirs."""
    monkeypatch.setattr(server_, "_IDLE", 0.5)

    async def answers(scope: dict[str, Any], _: object, send: Callable[..., Any]) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(1.2)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    place = server_.Server(Path("none"), Compute(), ServeSettings(), "127.0.0.1", 0)
    with server_.bound("127.0.0.1", 0) as listener:
        config = server_._config(place, answers)
        config.lifespan = "off"
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        silent, half, again, slow = (socket.create_connection(listener.getsockname(), timeout=10) for _ in range(4))
        half.sendall(b"GET / HTTP/1.1\r\nHost:")
        again.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        _read_until(again, b"ok")
        again.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert [one.recv(1000) for one in (silent, half, again)] == [b"", b"", b""]
        _read_until(slow, b"ok")
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        for one in (silent, half, again, slow):
            one.close()


def _read_until(stream: socket.socket, end: bytes) -> None:
    data = b""
    while not data.endswith(end):
        part = stream.recv(1000)
        assert part, data
        data += part


def test_a_port_that_is_not_allowed() -> None:
    from regraft.serve.server import _refused

    error = PermissionError(13, "Permission denied")
    assert _refused("127.0.0.1", 80, error) == (
        "port=80 is not yours to use. Name one from 1024 on, or 0 for one that is free."
    )


def test_a_file_that_is_no_classifier(run: Callable[..., object], tmp_path: Path, token: None) -> None:
    (tmp_path / "no.safetensors").write_bytes(b"x")
    done = run("serve", "no.safetensors", "--port", 0)
    assert done.exit_code == 1  # type: ignore[attr-defined]
    assert done.stderr.startswith("error: no.safetensors")  # type: ignore[attr-defined]
    assert threading.active_count() < 50


@pytest.mark.parametrize("text", ["short", "with blanks in it, which headers have not", "ümlaute-are-no-ascii-text"])
def test_tokens_that_are_none(
    run: Callable[..., object], served_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "token").write_text(text, encoding="latin-1")
    monkeypatch.setenv("REGRAFT_TOKEN", text)
    sentence = (
        f": a token has 16 characters or more, of ASCII, and no blanks. Got {len(text)} characters. "
        "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe())'\n"
    )
    by_file, by_variable = run("serve", served_file, "--token-file", "token"), run("serve", served_file)
    assert by_file.stderr == f"error: --token-file token{sentence}"  # type: ignore[attr-defined]
    assert by_variable.stderr == f"error: REGRAFT_TOKEN{sentence}"  # type: ignore[attr-defined]


def test_a_server_for_others_without_a_token_is_warned_of(
    run: Callable[..., object], served_file: Path, token: None
) -> None:
    done = run("serve", served_file, "--host", "192.0.2.1")
    assert done.stderr.startswith(  # type: ignore[attr-defined]
        "warning: whoever reaches 192.0.2.1 is answered. --token-file FILE, or REGRAFT_TOKEN, asks for a token.\n"
    )


def test_one_of_several_processes_names_options_as_the_command_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def refuse(*_: object) -> None:
        raise OptionError(option("engine", "auto"))

    monkeypatch.setattr(errors, "_flags", None)
    for name, stand_in in (("return_freed_memory", lambda: None), ("CardSubject", Mock()), ("_open", refuse)):
        monkeypatch.setattr(server_, name, stand_in)
    monkeypatch.setattr(server_, "_end_worker", lambda error: said.append(str(error)))
    for flags in (None, {}):
        place = server_.Server(Path("a.safetensors"), Compute(), ServeSettings(), "127.0.0.1", 0, flags=flags)
        with pytest.raises(OptionError):
            server_.worker_app(place)
    assert said == ["engine='auto'", "--engine auto"]
