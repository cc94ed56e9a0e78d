"""The page on which people try a classifier, and the heat map that it asks for. Its files come from this package."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response

from regraft.errors import first_few, printable
from regraft.images.reading import UnreadableImageError
from regraft.images.sources import Source
from regraft.serve.batching import Batcher
from regraft.serve.heatmap import occlusion_map
from regraft.serve.refusals import RefusalError
from regraft.serve.uploads import read_photos

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DIGITS = 4  # of falls of log-odds


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Return the page's files and their types, by name."""
    found = (path for path in (files("regraft.serve") / "static").iterdir() if path.is_file())
    return {path.name: (path.read_bytes(), _TYPES[f".{path.name.rpartition('.')[2]}"]) for path in found}


def add_page(app: FastAPI) -> None:
    """Add the page, and the files that it is made of."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return static_file("index.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return static_file(name)


def static_file(name: str) -> Response:
    """Return one of the files that pages are made of."""
    if name not in static_files():
        raise HTTPException(404)
    data, kind = static_files()[name]
    return Response(data, media_type=kind)


async def heatmap_of(
    request: Request, label: str, classifier: "Classifier", batcher: Batcher, *, seconds: float
) -> dict[str, Any]:
    """Return the heat map of the photo in a request's form, as JSON types. See `occlusion_map`.

    Args:
        request: whose form holds one photo.
        label: the name of the class.
        classifier: what answers.
        batcher: through which it does.
        seconds: that it may take.

    Raises:
        RefusalError: no such class, no photo that can be read, or it takes too long.
    """
    if label not in classifier.classes:
        names = first_few(classifier.classes, 20)
        raise RefusalError(422, "label", f"label must be one of {names}. Got {printable(label)[:200]!r}.")
    ends = time.monotonic() + seconds
    (photo,) = await read_photos(request, most=1, seconds=seconds)

    def answers(sources: Sequence[Source]) -> np.ndarray:
        waiting = batcher.submit(sources, counted=False)
        try:
            explained = waiting.result(max(ends - time.monotonic(), 0))
        except TimeoutError:
            waiting.cancel()
            raise RefusalError(
                503, "timeout", f"there is no map within {seconds:g} s. Come again.", {"Retry-After": "1"}
            ) from None
        except CancelledError:
            raise RefusalError(503, "not ready", "the server stops. Come again.", {"Retry-After": "1"}) from None
        if explained.classes != classifier.classes:
            raise RefusalError(
                503, "not ready", "another classifier answers from now on. Come again.", {"Retry-After": "1"}
            )
        return explained.predictions.probabilities

    place, preprocess = classifier.classes.index(label), classifier.backbone.preprocess
    try:
        values = await asyncio.to_thread(occlusion_map, photo, place, answers, preprocess)
    except UnreadableImageError as error:
        raise RefusalError(422, "unreadable", f"{photo}: {error}.") from None
    return {"label": label, "values": np.round(values, _DIGITS).tolist()}
