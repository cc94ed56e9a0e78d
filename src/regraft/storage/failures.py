"""Why a store did not answer: the kind of failure, in words that repeat nothing of what a client or a server wrote."""

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ATTEMPTS = 3  # of each request
SILENT_SECONDS = 20.0  # until more of an answer comes

ABSENT, REFUSED, SILENT, BROKEN, OTHER = "absent", "refused", "silent", "broken", "other"
SAYS = {
    ABSENT: "has no such place",
    REFUSED: "refuses access",
    SILENT: "does not answer",
    BROKEN: "does not answer",
    OTHER: "cannot be read",
}
# By the names of botocore's, aiohttp's, gcsfs's and httpx's errors, which need not be imported to be told apart
_NO_CREDENTIALS = re.compile(r"Credential|ProfileNotFound|TokenRetrieval|RefreshError|UnauthorizedSSO")
_SLOW_NAMES = re.compile(r"Timeout|TimedOut")
_BROKEN_NAMES = re.compile(r"Payload|IncompleteRead|Disconnected|ResponseStreaming|ProtocolError|Parser|ShortRead")
_SILENT_NAMES = re.compile(r"Connect|HTTPClientError|ClientOSError|gaierror|SSL")


# Words of `trouble_of` for what is no property of a file
_PASSING = re.compile(r"at every attempt$|^there are no credentials|^no permission|^its client failed|^it answered ")


class NoPartsError(OSError):
    """A server gave all of a large file where a part was asked for."""


class ShortReadError(OSError):
    """Fewer bytes came than a file, or its part, has."""


@dataclass(frozen=True)
class Trouble:
    """Why a request failed: a kind, and words that hold nothing of what a client or a server wrote.

    Their texts may have addresses with credentials in them.
    """

    kind: str
    words: str


def trouble_of(error: BaseException) -> Trouble:
    """Return the kind of a failure by its types and its status; what it says itself is never repeated."""
    chain = list(_chain(error))
    names = " ".join(type(one).__name__ for one in chain)
    status = next(filter(None, map(_status, chain)), 0)

    def is_a(kind: type[BaseException]) -> bool:
        return any(isinstance(one, kind) for one in chain)

    rules = (
        (status == 404 or is_a(FileNotFoundError), ABSENT, "it is not there"),
        (is_a(NoPartsError), OTHER, "its server gives files as a whole alone, and this one is too large for that"),
        (_NO_CREDENTIALS.search(names), REFUSED, "there are no credentials for it"),
        (status in (401, 403) or is_a(PermissionError), REFUSED, f"no permission ({status or 403})"),
        (status >= 500 or status == 429, SILENT, f"it answered {status} at every attempt"),
        (_is_busy(chain), SILENT, "it is too busy to answer at every attempt"),
        (
            is_a(TimeoutError) or _SLOW_NAMES.search(names),
            SILENT,
            "no answer in time at every attempt",
        ),
        (_BROKEN_NAMES.search(names), BROKEN, "the connection broke off at every attempt"),
        (is_a(ConnectionError) or _SILENT_NAMES.search(names), SILENT, "no connection at every attempt"),
        (status, OTHER, f"it answered {status}"),
    )
    matching = ((kind, words) for applies, kind, words in rules if applies)
    return Trouble(*next(matching, (OTHER, f"its client failed ({type(error).__name__})")))


def failure_to_create(error: Exception) -> Exception | None:
    """Return why a file was not written which was to be new; None for all that may befall other files, too.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html; other stores say 400 or 501 where
    they know no conditions.
    """
    chain = list(_chain(error))
    status = next(filter(None, map(_status, chain)), 0)
    if status in (409, 412) or any(isinstance(one, FileExistsError) for one in chain):
        return FileExistsError("it is there, or is being written")
    if status in (400, 405, 501) or isinstance(error, TypeError | NotImplementedError):
        return NotImplementedError("it cannot tell new files from others")
    return None


def may_pass(words: str) -> bool:
    """Tell whether the words of a `Trouble` are of the store, so that it may answer another time."""
    return _PASSING.search(words) is not None


def lacks_bucket(error: BaseException) -> bool:
    """Tell whether what is not there is the bucket, by the codes of S3; an absent key of one that is there has others.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """
    for one in _chain(error):
        response = getattr(one, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, Mapping) else None
        if code == "NoSuchBucket" or (code == "404" and getattr(one, "operation_name", "") == "HeadBucket"):
            return True
    return False


def _is_busy(chain: list[BaseException]) -> bool:
    """Tell whether s3fs says so, which keeps no status: of SlowDown and InternalError."""
    return any(
        isinstance(one, OSError) and one.errno in (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO)) for one in chain
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error of botocore, aiohttp, gcsfs or httpx holds."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(response, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(found, str) and found.isdigit():
        found = int(found)
    return found if isinstance(found, int) and 100 <= found < 600 else None
