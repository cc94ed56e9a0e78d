"""The stores of a process, each opened once, with its client's own timeouts and attempts."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from regraft.errors import StorageError
from regraft.extras import check_installed, missing_packages_named
from regraft.storage.addresses import HTTP, SCHEMES
from regraft.storage.failures import ATTEMPTS, BROKEN, SILENT, SILENT_SECONDS
from regraft.storage.store import Store

_CONNECT_SECONDS = 10.0  # until a store answers at all
_CONNECTIONS = 32
_CLIENTS = ("fsspec", "s3fs", "gcsfs", "aiobotocore", "botocore", "aiohttp", "google", "huggingface_hub", "urllib3")

_stores: dict[str, tuple[int, Store]] = {}  # by scheme, and host of a web server: the process, and the store
_opening = threading.Lock()


def store_of(url: str) -> Store:
    """Return the store of an address; it is opened once in each process.

    fsspec runs all requests on a thread of its own, which starts here, before any thread that reads. A process that was
    forked has no such thread, and opens its own.

    Raises:
        StorageError: nothing opens addresses of this kind.
        MissingPackageError: a package that is needed is missing.
    """
    store = opened_store(url)
    if store is not None:
        return store
    scheme, key = url.partition("://")[0], _key(url)
    with _opening:
        store = opened_store(url)
        if store is None:
            user = f"what lies at {scheme}://"
            with missing_packages_named(user):
                check_installed("tenacity", user)
                store = _opened(scheme)
            _stores[key] = (os.getpid(), store)
        return store


def opened_store(url: str) -> Store | None:
    """Return the store of an address if this process has opened it."""
    process, store = _stores.get(_key(url), (0, None))
    return store if process == os.getpid() else None


def _key(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if scheme in HTTP else scheme


if hasattr(os, "register_at_fork"):

    def _unlocked() -> None:
        """Give a forked process a lock of its own: another thread may have held its parent's."""
        global _opening  # noqa: PLW0603
        _opening = threading.Lock()

    os.register_at_fork(after_in_child=_unlocked)


def _opened(scheme: str) -> Store:
    for name in _CLIENTS:  # else Python prints their warnings, which may quote addresses with credentials in them
        logging.getLogger(name).addHandler(logging.NullHandler())
    own = _OWN.get(scheme)
    if own is not None:
        return own(scheme)
    import fsspec

    problem = f"{scheme}:// is no kind of address that can be read"
    try:
        files = fsspec.filesystem(scheme)
    except ImportError:
        raise StorageError(f"{problem} here: fsspec needs a package for it that is not installed.") from None
    except Exception:  # no such kind, or one that needs arguments
        raise StorageError(f"{problem}. Allowed are {', '.join(f'{name}://' for name in SCHEMES)} and files.") from None
    return Store(scheme, files, frozenset((SILENT, BROKEN)))


def _s3(scheme: str) -> Store:
    from s3fs import S3FileSystem

    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": SILENT_SECONDS,
        "max_pool_connections": _CONNECTIONS,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    }
    files = S3FileSystem(config_kwargs=config, use_listings_cache=False, skip_instance_cache=True, max_concurrency=1)
    files.retries = 1  # botocore asks again itself, but where a body breaks off, which is asked again here
    return Store(scheme, files, frozenset((BROKEN,)))


def _gs(scheme: str) -> Store:
    from gcsfs.core import GCSFileSystem  # not what asks by gRPC first, for a minute, which kind of bucket it is

    files = GCSFileSystem(
        use_listings_cache=False, skip_instance_cache=True, requests_timeout=SILENT_SECONDS
    )  # it asks again itself
    return Store(scheme, files, frozenset((BROKEN,)))


def _http(scheme: str) -> Store:
    import aiohttp
    from fsspec.implementations.http import HTTPFileSystem

    waits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=SILENT_SECONDS)
    files = HTTPFileSystem(client_kwargs={"timeout": waits}, skip_instance_cache=True)
    return Store(scheme, files, frozenset((SILENT, BROKEN)))


def _hf(scheme: str) -> Store:
    from huggingface_hub import HfFileSystem

    return Store(scheme, HfFileSystem(skip_instance_cache=True), frozenset((BROKEN,)))


def _memory(scheme: str) -> Store:
    import fsspec

    return Store(scheme, fsspec.filesystem("memory"), frozenset())


_OWN: dict[str, Callable[[str], Store]] = {
    "s3": _s3,
    "s3a": _s3,
    "gs": _gs,
    "gcs": _gs,
    "http": _http,
    "https": _http,
    "hf": _hf,
    "memory": _memory,
}
