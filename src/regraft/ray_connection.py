"""How this process joins a Ray cluster: the one that is named, or one of this machine alone."""

import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from regraft.errors import ClusterError, option, printable

PREFIX = "ray"
_CONNECT_SECONDS = 10.0
_OWN, _STARTED_HERE = "local", "auto"  # to Ray: a new cluster of this machine, and the one that `ray start` made here
_AUTH_MODE = "RAY_AUTH_MODE"
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # and ~/.ray/auth_token: where Ray finds a cluster's password


def is_connected() -> bool:
    """Tell whether this process is connected to a cluster."""
    ray = sys.modules.get("ray")  # it is not imported before its environment is set
    return ray is not None and ray.is_initialized()


def join(address: str) -> None:
    """Connect this process to a cluster, unless it is connected.

    Raises:
        ClusterError: none answers.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else each pool of workers is told to be an error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere without being asked for
    place = address or os.environ.get("RAY_ADDRESS", "")
    try:
        if place == _STARTED_HERE:
            place = _started_here()
        _check_listens(place)
    except (OSError, ValueError) as error:
        raise _no_cluster(place, error) from error
    import ray
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = 0  # whatever the environment says: no part may be left out
    for name in ("ray.data", "ray.train"):  # what ends the work is raised as well, without their traceback
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _keep_stdout()
    if ray.is_initialized():
        _check_is(address, ray.get_runtime_context().gcs_address)
        return
    try:
        _init(place or _OWN)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(place, error) from error


def _init(address: str) -> None:
    """Connect, with a token where the cluster asks for one that this machine has.

    `ray start` makes a cluster ask for the token that it finds. A process that brings one to a cluster that asks for
    none is let in, and its actors are lost: so it is brought at the second attempt.
    """
    import ray
    from ray import _raylet

    def connect() -> None:
        with _quiet_stderr(), _own_ends():  # what goes wrong is raised as well
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)

    try:
        connect()
    except (ray.exceptions.RayError, ConnectionError, RuntimeError):
        known = any(name in os.environ for name in _TOKENS) or (Path.home() / ".ray" / "auth_token").exists()
        if _AUTH_MODE in os.environ or not known:
            raise
        os.environ[_AUTH_MODE] = "token"
        cast("Any", _raylet).Config.initialize("")  # as Ray itself does when it has set this
        connect()


def _no_cluster(place: str, error: Exception) -> ClusterError:
    shown = place.rpartition("@")[2]  # what stands before may be a password
    where = f"at {printable(shown)}" if place else "on this machine"
    reason = printable(str(error).strip().partition("\n")[0].replace(place or shown, shown))
    return ClusterError(
        f"{option('on')}: no Ray cluster answers {where} ({reason}). Give the address that `ray start` printed, as in "
        f"{option('on', 'ray:10.0.0.1:6379')}, or {option('on', PREFIX)} alone for this machine. Where the cluster "
        f"asks for a token: {_AUTH_MODE}=token."
    )


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what libraries in C++ print on the standard error, whatever its level, from the user in this block."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _own_ends() -> Iterator[None]:
    """Keep what this process does when it is told to end: Ray would print a trace of native code."""
    if threading.current_thread() is not threading.main_thread():  # others may not say what signals do
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _check_listens(address: str) -> None:
    """Raise `OSError` if nothing listens at host:port: Ray itself would try again and again for minutes.

    Raises:
        ValueError: the address of a proxy for clients, through which no pools can be made.
    """
    if "://" in address:
        raise ValueError("addresses of Ray Client are not taken")
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _started_here() -> str:
    """Return the address of the cluster that was started on this machine last.

    Raises:
        ValueError: none was.
    """
    from ray._private.utils import read_ray_address  # Ray itself asks it, and waits for minutes where the cluster ended

    found = read_ray_address()
    if not found:
        raise ValueError("none was started by `ray start`")
    return str(found)


def _check_is(address: str, connected: str) -> None:
    """Raise `ClusterError` where `address` names another cluster than the one that this process is connected to."""
    host, _, port = address.rpartition(":")
    other_host, _, other_port = connected.rpartition(":")
    if not port.isdecimal():
        return  # any cluster will do
    here, there = _hosts(host), _hosts(other_host)
    if port == other_port and (here & there or any(ipaddress.ip_address(one).is_loopback for one in here)):
        return
    raise ClusterError(
        f"{option('on')}: a process works with one Ray cluster, and this one is connected to that at {connected}. Got "
        f"{printable(address)}. Leave the address out, or start another process (in Python: ray.shutdown() first)."
    )


def _hosts(name: str) -> set[str]:
    """Return the addresses of a host."""
    return {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(name.strip("[]"), None)}


def _keep_stdout() -> None:
    """Keep what Ray tells of dead workers, which are started again, out of the answers on the standard output.

    It is printed by a thread of Ray's, which no option of `ray.init` keeps from it.
    """
    from ray._private import worker

    told = worker.print_to_stdstream

    def tell(data: dict[str, Any], *arguments: Any, **more: Any) -> None:
        if data.get("pid") != "raylet":
            told(data, *arguments, **more)

    worker.print_to_stdstream = tell
