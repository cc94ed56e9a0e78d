"""The Hugging Face hub: what is downloaded from it, kept in its cache, and how its refusals are told. No torch here."""

import http.client
import re
import socket
import ssl
import textwrap
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, file_exists, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from regraft.errors import DownloadError, ModelError, option, printable
from regraft.networks.names import HUB_PREFIXES

_PATIENCE = 5.0  # seconds until a host counts as not there
_COMMIT = re.compile(r"[0-9a-f]{40}")  # a revision that never changes
_PART = r"(?![-.])[\w.-]{1,96}(?<![-.])"
_REPOSITORY = re.compile(rf"(?!.*(?:--|\.\.|\.git$))(?:{_PART}/)?{_PART}(?:@[\w./-]+)?", re.ASCII)  # as the hub has it
# The hub's offline errors and urllib's are OSErrors; those of the hub's HTTP client (httpx, whichever version the hub
# uses) are not: a proxy that refuses, a connection that breaks off.
HUB_ERRORS: tuple[type[BaseException], ...] = (
    HfHubHTTPError,
    EntryNotFoundError,
    OSError,
    *HfHubHTTPError.__bases__,
)


def repository_of(name: str) -> tuple[str, str | None]:
    """Return repository and revision of a name; None for the newest.

    >>> repository_of("hf-hub:owner/name"), repository_of("hf-hub:owner/name@v2")
    (('owner/name', None), ('owner/name', 'v2'))

    Raises:
        ModelError: it cannot be one.
    """
    repository = name.partition(":")[2]
    if _REPOSITORY.fullmatch(repository) is None:
        raise ModelError(
            f"{printable(name)[:200]}: after {HUB_PREFIXES[0]} stands a repository of the hub, owner/name or "
            "owner/name@revision, of letters, digits, '-', '_' and '.'."
        )
    path, _, revision = repository.partition("@")
    return path, revision or None


def hub_file(model: str, repository: str, names: Sequence[str], *, fetch: bool = True) -> Path:
    """Return the local copy of the first of `names` that a Hugging Face repository ("owner/name@revision") has.

    What was downloaded before is used as it is, without a connection.

    Args:
        model: the network's name, for the message.
        repository: where it is.
        names: of files.
        fetch: False uses only what was downloaded before.

    Raises:
        DownloadError: not in the cache and not available; the message names the four ways.
        ModelError: no name of a repository.
    """
    repository, revision = repository_of(f"{HUB_PREFIXES[0]}{repository}")
    for name in names:
        cached = cached_file(repository, name, revision)
        if cached is not None:
            return cached
    if not fetch:
        raise not_here(model)
    with download_errors(model):
        check_reachable(constants.ENDPOINT)
        for name in names[:-1]:
            try:
                return Path(hf_hub_download(repository, name, revision=revision))
            except LocalEntryNotFoundError:  # an EntryNotFoundError by its class, but it means: no connection
                raise
            except EntryNotFoundError:
                continue
        return Path(hf_hub_download(repository, names[-1], revision=revision))


def cached_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """Return the copy of a file that was downloaded before; None where none was."""
    cached = try_to_load_from_cache(repository, name, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


def newest_file(repository: str, name: str, revision: str | None = None) -> tuple[Path | None, str]:
    """Return the local copy of a file as the repository has it now, and why that could not be asked, "" if it could.

    A revision that is a commit never changes: it is not asked for again. Where the hub cannot be asked, what was
    downloaded before is returned. None: the repository has no such file.

    Raises:
        OSError, HfHubHTTPError: as `HUB_ERRORS`: no such repository or revision, or neither a connection nor a copy.
    """
    cached = cached_file(repository, name, revision)
    if cached is not None and revision is not None and _COMMIT.fullmatch(revision):
        return cached, ""
    try:
        check_reachable(constants.ENDPOINT)
    except OSError as error:
        if cached is None:
            raise
        return cached, str(error)
    try:
        return Path(hf_hub_download(repository, name, revision=revision)), ""
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None, ""


def check_downloadable(model: str, repository: str, names: Sequence[str]) -> None:
    """Raise `DownloadError` where `hub_file` would, of a repository without a revision; nothing is downloaded."""
    try:
        hub_file(model, repository, names, fetch=False)
    except DownloadError:
        with download_errors(model):
            check_reachable(constants.ENDPOINT)
            if not any(file_exists(repository, name) for name in names):
                raise OSError(f"{repository} has none of {', '.join(names)}") from None


def not_here(model: str) -> DownloadError:
    """Return the error for a network that was not downloaded before, where nothing may be."""
    return DownloadError(
        f"{model}: its weights are not on this machine. Name a network that is.", "not on this machine"
    )


@contextmanager
def download_errors(model: str, say: Callable[[str], str] | None = None) -> Iterator[None]:
    """Turn every way in which a download fails into one sentence that names what else can be done.

    Args:
        model: what is downloaded.
        say: makes the sentence of the reason; None for that of a network's weights.
    """
    try:
        yield
    except HUB_ERRORS as error:
        reason = reason_of(error)
        raise DownloadError(_missing_weights(model, reason) if say is None else say(reason), reason) from None


def reason_of(error: BaseException) -> str:
    """Return in a few words why the hub, or the way to it, refused something."""
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    first = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return printable(textwrap.shorten(first, 160, placeholder=" ..."))


_REASONS: tuple[tuple[type[BaseException], str], ...] = (  # the first that fits
    (GatedRepoError, "who may read it has to be granted on its page, and then logged in: hf auth login"),
    (
        RepositoryNotFoundError,
        "the hub has no such repository, or it is private and nobody is logged in who may read it: hf auth login",
    ),
    (RevisionNotFoundError, "the repository has no such revision"),
)


def _missing_weights(model: str, reason: str) -> str:
    return (
        f"{model}: the pretrained weights are not on this machine and cannot be downloaded ({reason}). There are "
        f"four ways: (1) connect to the network once, after which they stay in the cache; {other_ways()}"
    )


def check_reachable(address: str) -> None:
    """Raise `OSError` soon where the host is not found or does not answer; the hub's client would retry for minutes."""
    if urllib.request.getproxies():
        return  # the proxy finds the host
    parts = urllib.parse.urlsplit(address)
    host = parts.hostname or ""
    kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    connection = kind(host, parts.port, timeout=_PATIENCE)
    try:
        connection.request("HEAD", "/")  # some accept a connection, and then say nothing
        connection.getresponse()  # whatever it is
    except socket.gaierror:
        raise OSError(f"no network: {host} is not found") from None
    except ssl.SSLError:
        pass  # it did answer; the hub's client has certificates of its own, and its own words where they do not do
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"no network: {host} does not answer ({reason})") from None
    finally:
        connection.close()


def other_ways() -> str:
    """Return the ways to weights that need no download, as part of a message."""
    return (
        f"(2) {option('weights', 'FILE')}, a .safetensors file or torchvision / timm state dict of this network; "
        f"(3) {option('model', 'local-dir:FOLDER')}, a folder with config.json and model.safetensors; "
        f"(4) {option('model', 'offline')}, the network that is installed with regraft."
    )
