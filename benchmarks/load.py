"""A client that asks `regraft serve` as fast as it is answered: many connections, each with one request at a time."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Load:
    """What came of a load.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: seconds of each request that was answered.
        photos: that were answered or named as unreadable.
        statuses: how many answers have each.
    """

    seconds: float
    latencies: list[float]
    photos: int
    statuses: dict[int, int]


def load(port: int, photos: Sequence[Path], how: tuple[float, int, int]) -> Load:
    """Ask for so long, by so many connections.

    Args:
        port: of the server, on this machine.
        photos: that are sent in turn.
        how: seconds in which requests are begun, connections that ask at once, photos of a request.
    """
    seconds, connections, each = how
    data = [path.read_bytes() for path in photos]
    return asyncio.run(_load(port, _requests(data, each), seconds, connections))


def _requests(photos: Sequence[bytes], each: int) -> Iterator[bytes]:
    """Yield requests without end."""
    place = 0
    while True:
        parts = [photos[(place + one) % len(photos)] for one in range(each)]
        place += each
        body = body_of(parts)
        yield (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        ).encode() + body


def body_of(photos: Sequence[bytes]) -> bytes:
    """Return the body of a form of photos, with the boundary `BOUNDARY`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'.encode()
    return b"".join(head + photo + b"\r\n" for photo in photos) + f"--{BOUNDARY}--\r\n".encode()


async def _load(port: int, requests: Iterator[bytes], seconds: float, connections: int) -> Load:
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    photos = 0
    started = time.perf_counter()

    async def ask() -> None:
        nonlocal photos
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - started < seconds:
            request, before = next(requests), time.perf_counter()
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            latencies.append(time.perf_counter() - before)
            statuses[int(head.split(" ", 2)[1])] += 1
            photos += len(answer.get("predictions", ()))
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Load(time.perf_counter() - started, latencies, photos, dict(statuses))
