"""What a server takes, and for how long: its limits, each with a default."""

from dataclasses import dataclass

from regraft.errors import OptionError, option
from regraft.images.reading import MAX_PIXELS
from regraft.options import Bytes, Seconds, check_settings, number, setting, truth, whole_number

MOST_TOP = 5  # classes of an answer
_MAX_BODY = Bytes(50_000_000)


@dataclass(frozen=True)
class ServeSettings:
    """Who is answered, and what a request may ask for. The defaults suit one machine.

    Attributes:
        allow_host: names besides the server's own address by which it may be asked.
        allow_urls: whether photos are fetched from addresses on the internet.
        max_body: bytes of a request, and of all that is fetched for one.
        max_files: photos of a request.
        max_pixels: of a photo; a larger one counts as unreadable.
        max_queue: photos that may wait.
        max_requests: that may be under way at once, in each process.
        timeout: seconds that a request may take, its body included.
        workers: processes, each with an engine of its own.
    """

    allow_host: tuple[str, ...] = setting(
        (),
        help="Names, besides its own address, by which the server may be asked: photos.example,other.example.",
        allowed="names of hosts, without ports",
        check=lambda value: isinstance(value, tuple) and all(isinstance(one, str) and _is_host(one) for one in value),
    )
    allow_urls: bool = setting(
        False,
        help="Fetch photos from public addresses on the internet, too: {'urls': [...]}.",
        allowed="True or False",
        check=truth,
    )
    max_body: Bytes = setting(
        _MAX_BODY,
        help="Largest request, and all that is fetched for one.",
        allowed="a size in bytes, 1 or more",
        check=lambda value: whole_number(value, 1),
    )
    max_files: int = setting(
        64,
        help="Photos of one request.",
        allowed="1 or more",
        check=lambda value: whole_number(value, 1),
        low=1,
    )
    max_pixels: int = setting(
        MAX_PIXELS,
        help="Pixels of one photo. A larger one counts as unreadable.",
        allowed=f"from 1 to {MAX_PIXELS:,}",
        check=lambda value: whole_number(value, 1, MAX_PIXELS),
        low=1,
    )
    max_queue: int = setting(
        256,
        help="Photos that may wait for an answer. Where they would be more, a request is asked to come again.",
        allowed="1 or more",
        check=lambda value: whole_number(value, 1),
        low=1,
    )
    max_requests: int = setting(
        512,
        help="Requests under way at once, in each process. More are asked to come again.",
        allowed="1 or more",
        check=lambda value: whole_number(value, 1),
        low=1,
    )
    timeout: Seconds = setting(
        Seconds(60.0),
        help="How long a request may take.",
        allowed="more than 0 seconds",
        check=lambda value: number(value, 0, above=True),
    )
    workers: int = setting(
        1,
        help="Processes, each with an engine and memory of its own.",
        allowed="from 1 to 64",
        check=lambda value: whole_number(value, 1, 64),
        low=1,
    )

    def check(self) -> None:
        """Raise `OptionError` for values that are not allowed, or not together."""
        check_settings(self)
        if self.max_files > self.max_queue:
            raise OptionError(
                f"{option('max_files', self.max_files)} photos of one request would not fit into the queue of "
                f"{option('max_queue', self.max_queue)}. Raise {option('max_queue')}, or lower {option('max_files')}."
            )

    def check_review(self) -> None:
        """Raise `OptionError` where several processes would review: each would look at all photos, and retrain."""
        if self.workers > 1:
            raise OptionError(
                f"{option('review')} takes one process, which many people may ask at once. Got "
                f"{option('workers', self.workers)}. Leave {option('workers')} out."
            )


def _is_host(name: str) -> bool:
    return bool(name) and not any(mark in name for mark in "/:@?# ") and name.isprintable()
