"""Addresses in stores: which kinds there are, what none may hold, and how one signs in instead."""

import re

from regraft.errors import StorageError

HTTP = ("http", "https")
SCHEMES = ("s3", "s3a", "gs", "gcs", "hf", *HTTP, "memory")
_NOT_TO_THE_LETTER = re.compile(r"[%#?\x00-\x1f]")  # in an address of HTTP (RFC 3986)
_SAME = {"s3a": "s3", "gcs": "gs"}
# Stand for what `pathlib` would drop of a key: no key holds them, as they are no Unicode text (PEP 383)
_SLASH, _DOT = "\udc2f", "\udc2e"
_DROPPED = re.compile(r"(?:(?<=/)|^)(\.?)/")
_LAST_DOT = re.compile(r"(?:(?<=/)|^)\.$")
_NAMED_BY_TWO = re.compile(r"arn:[^/]*:accesspoint$")  # arn:...:accesspoint/name is what a bucket's name is elsewhere
# Credentials stand in the environment alone. A key in an address would go into records, reports and shells' histories
_HOW_TO_SIGN_IN = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or ~/.aws; FSSPEC_S3_ANON=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN=anon for a public bucket",
    "hf": "HF_TOKEN, or `hf auth login`",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST", "hf": "HF_ENDPOINT"}


def sign_in(scheme: str) -> str:
    """Return a sentence on where credentials come from."""
    how = _HOW_TO_SIGN_IN.get(_SAME.get(scheme, scheme))
    return f"Credentials come from the environment: {how}." if how else "Name what can be read without a password."


def check_connection(scheme: str) -> str:
    """Return a sentence on what may be wrong where a store does not answer."""
    endpoint = _ENDPOINTS.get(_SAME.get(scheme, scheme))
    where = f", and {endpoint} where the store is not the usual one" if endpoint else ""
    return f"Check the connection and the address{where}."


def place_of(url: str) -> str:
    """Return the bucket, host or repository that an address lies in, as an address.

    >>> place_of("s3://pets/cat/1.jpg"), place_of("hf://datasets/owner/name@main/train")
    ('s3://pets', 'hf://datasets/owner/name')
    """
    scheme, _, rest = url.partition("://")
    parts = rest.split("/")
    if scheme == "hf":
        count = 3 if parts[0] in ("datasets", "spaces", "buckets") else 2
        return f"{scheme}://{'/'.join(parts[:count]).partition('@')[0]}"
    return f"{scheme}://{'/'.join(parts[: 2 if _NAMED_BY_TWO.match(parts[0]) else 1])}"


def hold(key: str) -> str:
    """Return a key, which is what follows the bucket, as a path that `pathlib` drops nothing of.

    To a store `a//b` and `a/./b` are other names than `a/b`. A slash with nothing, or a dot alone, before it is made
    part of the name behind it: in the folder a they are called `/b` and `./b`. See `release`.

    >>> [release(part) for part in hold("a//b/./c.jpg").split("/")]
    ['a', '/b', './c.jpg']
    """
    return _LAST_DOT.sub(_DOT, _DROPPED.sub(rf"\1{_SLASH}", key))


def release(held: str) -> str:
    """Return what `hold` was given: a key, or a part of one."""
    return held.replace(_SLASH, "/").replace(_DOT, ".")


def reference(name: str) -> str:
    """Return the name of a file as the address of it on a web server says it, where else it would mean another file.

    >>> reference("cat/a b.jpg"), reference("50%20.jpg"), reference("#1?.jpg")
    ('cat/a b.jpg', '50%2520.jpg', '%231%3F.jpg')
    """
    return _NOT_TO_THE_LETTER.sub(lambda found: f"%{ord(found[0]):02X}", name)


def split_address(url: str) -> tuple[str, str]:
    """Return the folder that an address lies in, and its name there as `release` gives it; "" of a bucket.

    >>> split_address("s3://pets/cat//1.jpg")
    ('s3://pets/cat', '/1.jpg')
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    folder, _, name = hold(key).rpartition("/")
    return f"{scheme}://{bucket}{'/' if folder else ''}{release(folder)}", release(name)


def check_address(url: str) -> None:
    """Raise `StorageError` where an address holds what may be a secret: a user, a password, a signature, a token.

    It would be printed with each photo's name, and stand in tables, reports and the shell's history.
    """
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    what, how = "", ""
    if ("@" in host and scheme != "hf") or _no_port(scheme, host):
        what, how = "a user or a password", "the part before the host or bucket"
    elif re.search(r"[?#]" if scheme in HTTP else r"\?[\w.-]+=", rest):
        what, how = "a query, which may be a signature or a token", "all from the ? on"
    if what:
        raise StorageError(
            f"the address that begins with {scheme}:// holds {what}: it would be written with each photo's name. Leave "
            f"out {how}. {sign_in(scheme)}"
        )


def without_secrets(text: str) -> str:
    """Return text that a table holds where it can be printed: of an address with a secret in it its beginning.

    >>> without_secrets("cat/1.jpg"), without_secrets("https://example.org/1.jpg?sig=abc")
    ('cat/1.jpg', 'https://...')
    """
    scheme, found, _ = text.partition("://")
    try:
        if found:
            check_address(f"{scheme.lower()}://{text[len(scheme) + 3 :]}")
    except StorageError:
        return f"{scheme}://..."
    return text


def _no_port(scheme: str, host: str) -> bool:
    """Tell whether a colon in the first part of an address separates something else than a port."""
    _, colon, port = host.partition(":")
    if not colon or host.startswith("arn:") or host.startswith("["):
        return False
    return scheme not in HTTP or not port.isdigit()
