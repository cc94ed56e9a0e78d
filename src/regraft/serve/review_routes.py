"""The routes of a review: photos in order, decisions in, a classifier that is fitted again, labels out."""

import asyncio
import tempfile
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from regraft.errors import OptionError, OutputError, RegraftError, printable
from regraft.images.reading import UnreadableImageError
from regraft.publishing.subject import CardSubject
from regraft.review.order import Reason
from regraft.review.photos import PhotoFilter, ReviewPhoto
from regraft.review.session import NotReadyError, ReviewSession
from regraft.serve.page import static_file
from regraft.serve.refusals import RefusalError, json_response
from regraft.serve.review_answers import decision_json, photo_json, shown_name, state_json, without_places
from regraft.serve.review_images import jpeg_of
from regraft.serve.schemas import FAILURES, FORM, PHOTOS
from regraft.serve.service import Service
from regraft.serve.uploads import read_photos

PREFIX = "/review"
_MOST_PHOTOS, _MOST_ROWS = 500, 1000  # of an answer
_SIDES = (32, 2000)  # pixels of a picture
_SIMILAR = 6  # photos
_LONGEST_LABEL, _LONGEST_NAME = 200, 100
_WRITERS = 64  # decisions that wait at once
_AT_ONCE = 2  # pictures that are made

Id = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Reviewer = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
Label = Annotated[str, Field(min_length=1, max_length=_LONGEST_LABEL)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DecisionBody(_Body):
    """What somebody decides about a photo."""

    photo: Id
    action: Literal["confirm", "relabel", "exclude"]
    label: Label | None = None
    reviewer: Reviewer


class UndoBody(_Body):
    """Whose last decision is undone."""

    reviewer: Reviewer


def add_review(app: FastAPI, service: Service, session: ReviewSession) -> None:
    """Add the routes of a review."""

    @app.get(PREFIX, include_in_schema=False)
    async def page() -> Response:
        return static_file("review.html")

    @app.get(f"{PREFIX}/state", response_model=dict[str, Any], responses=FAILURES)
    async def state() -> Response:
        """Say how far the review is, and what was retrained."""
        classes = service.subject.classifier.classes
        return json_response(
            await _tried(session, partial(state_json, session, in_use=service.in_use, classes=classes))
        )

    # Who decides may wait until another program lets go of the file: nobody else waits for them.
    writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="decisions")
    _add_photos(app, session)
    _add_decisions(app, session, writers)
    _add_new_photos(app, service, session, writers)
    _add_retraining(app, service, session)


def _add_photos(app: FastAPI, session: ReviewSession) -> None:
    making = asyncio.Semaphore(_AT_ONCE)

    @app.get(f"{PREFIX}/photos", response_model=dict[str, Any], responses=FAILURES)
    async def photos(
        after: Annotated[int, Query(ge=-1)] = -1,
        count: Annotated[int, Query(ge=1, le=_MOST_PHOTOS)] = 60,
        reason: Annotated[tuple[Reason, ...], Query()] = (),
        undecided: bool = False,
        conflict: bool = False,
    ) -> Response:
        """Return photos in the order in which they matter, after a place in it."""
        wanted = PhotoFilter(reason, undecided, conflict)
        return json_response(await _tried(session, partial(_page_of_photos, session, wanted, after, count)))

    @app.get(f"{PREFIX}/photos/{{id}}", response_model=dict[str, Any], responses=FAILURES)
    async def photo(id: str) -> Response:
        """Return what is known of a photo."""
        await _tried(session, session.standing.catch_up)
        return json_response(photo_json(session, _photo(session, id)))

    @app.get(f"{PREFIX}/photos/{{id}}/image", response_class=Response, responses=FAILURES | _JPEG)
    async def image(id: str, side: Annotated[int, Query(ge=_SIDES[0], le=_SIDES[1])] = 320) -> Response:
        """Return a photo, upright, as a JPEG that fits into a square of so many pixels."""
        found = _photo(session, id)
        async with making:
            try:
                data = await asyncio.to_thread(jpeg_of, found, side, session.photos.ranges)
            except UnreadableImageError as error:
                name = shown_name(session, found)
                raise RefusalError(422, "unreadable", f"{name}: {printable(error)}.") from None
        return Response(data, media_type="image/jpeg")


_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}


def _page_of_photos(session: ReviewSession, wanted: PhotoFilter, after: int, count: int) -> dict[str, Any]:
    session.standing.catch_up()
    look = session.looks
    state, differing = session.standing.state(), session.standing.differing
    found = list(session.photos.select(wanted, state, differing))
    shown = [photo for photo in found if photo.place > after][:count]
    return {"photos": [photo_json(session, photo) for photo in shown], "total": len(found), "look": look}


def _photo(session: ReviewSession, id: str) -> ReviewPhoto:
    """Return the photo of an id.

    Raises:
        RefusalError: there is none.
    """
    try:
        return session.photos.by_key[bytes.fromhex(id)]
    except (ValueError, KeyError):
        raise _no_such_photo() from None


def _no_such_photo() -> RefusalError:
    return RefusalError(404, "photo", "there is no such photo. Load the list of photos again.")


def _add_decisions(app: FastAPI, session: ReviewSession, writers: Executor) -> None:
    @app.post(f"{PREFIX}/decisions", status_code=201, response_model=dict[str, Any], responses=FAILURES)
    async def decide(body: DecisionBody) -> Response:
        """Record a decision; it is on the disk before this is answered."""
        found = _photo(session, body.photo)
        work = partial(session.decide, found.key, body.action, body.label, reviewer=body.reviewer)
        decision = await _tried(session, work, writers)
        return json_response({"decision": decision_json(decision), "photo": photo_json(session, found)}, 201)

    @app.post(f"{PREFIX}/undo", response_model=dict[str, Any], responses=FAILURES)
    async def undo(body: UndoBody) -> Response:
        """Undo a reviewer's last decision that is in force."""
        undone = await _tried(session, partial(session.undo, reviewer=body.reviewer), writers)
        found = None if undone is None else session.photos.by_key.get(undone.key)
        return json_response(
            {
                "undone": None if undone is None else decision_json(undone),
                "photo": None if found is None else photo_json(session, found),
            }
        )

    @app.get(f"{PREFIX}/decisions", response_model=dict[str, Any], responses=FAILURES)
    async def decisions(after: Annotated[int, Query(ge=0, lt=1 << 62)] = 0) -> Response:
        """Return what was decided, and undone, after a row of the log."""
        rows = await _tried(session, partial(session.store.log, after, count=_MOST_ROWS))
        last = rows[-1].number if rows else after
        return json_response({"last": last, "decisions": [decision_json(row) for row in rows]})

    @app.get(f"{PREFIX}/labels.csv", response_class=Response, responses=FAILURES | _CSV)
    async def labels() -> Response:
        """Return what was decided as a table that a fit reads."""
        with tempfile.TemporaryDirectory(prefix="regraft-") as folder:
            file = Path(folder) / "reviewed.csv"
            await _tried(session, partial(session.write_labels, file))
            data = file.read_bytes()
        return Response(data, media_type="text/csv; charset=utf-8", headers=_attached("reviewed.csv"))


_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}


def _add_new_photos(app: FastAPI, service: Service, session: ReviewSession, writers: Executor) -> None:
    settings = service.settings

    @app.post(
        f"{PREFIX}/photos",
        status_code=201,
        response_model=dict[str, Any],
        responses=FAILURES,
        openapi_extra=PHOTOS,
    )
    async def add(
        request: Request,
        label: Annotated[str, Query(min_length=1, max_length=_LONGEST_LABEL)],
        reviewer: Annotated[str, Query(min_length=1, max_length=_LONGEST_NAME)],
    ) -> Response:
        """Add photos of a class, which are kept in a folder beside the data."""
        images = await read_photos(request, most=settings.max_files, seconds=settings.timeout)
        added, refused = await _tried(session, partial(session.add, images, label, reviewer=reviewer), writers)
        return json_response(
            {
                "added": [photo_json(session, one) for one in added],
                "refused": [{"file": name, "error": reason} for name, reason in refused],
            },
            201,
        )

    @app.post(f"{PREFIX}/look", status_code=202, response_model=dict[str, Any], responses=FAILURES)
    async def look() -> Response:
        """Look at the data again, for photos that were put there since."""
        session.look()
        return json_response({"started": True}, 202)

    @app.post("/similar", response_model=dict[str, Any], responses=FAILURES, openapi_extra=FORM)
    async def similar(request: Request) -> Response:
        """Return the labelled photos that are most similar to one that is sent."""
        ends = time.monotonic() + settings.timeout
        explained = await service.answer(await read_photos(request, most=1, seconds=settings.timeout), ends)
        if explained.predictions.unreadable:
            (reason,) = explained.predictions.unreadable.values()
            raise RefusalError(422, "unreadable", f"{explained.predictions.sources[0]}: {printable(reason)}.")
        vector = explained.features[0, service.subject.classifier.columns]
        found = await asyncio.to_thread(session.similar, vector, _SIMILAR)
        rows = [{**photo_json(session, photo), "similarity": round(similarity, 4)} for photo, similarity in found]
        names = ("id", "file", "label", "similarity")
        return json_response({"photos": [{name: row[name] for name in names} for row in rows]})


def _add_retraining(app: FastAPI, service: Service, session: ReviewSession) -> None:
    title = f"{service.subject.title}, reviewed"

    @app.post(f"{PREFIX}/retrain", status_code=202, response_model=dict[str, Any], responses=FAILURES | _CONFLICT)
    async def retrain() -> Response:
        """Fit the classifier again with what was decided; /review/state says what became of it."""
        try:
            session.retrain()
        except OptionError as error:
            raise RefusalError(409, "retrain", without_places(str(error), session)) from None
        return json_response({"started": True}, 202)

    @app.post(f"{PREFIX}/use", response_model=dict[str, Any], responses=FAILURES | _CONFLICT)
    async def use() -> Response:
        """Answer by the classifier that was retrained last."""
        if (result := session.result) is None:
            raise _nothing_retrained()
        opened = partial(CardSubject.of_file, result.file, title=title)
        subject = await _tried(session, opened)
        await service.succeed_by(subject, result.number)
        return json_response({"in_use": result.number})

    @app.get(f"{PREFIX}/classifier", response_class=Response, responses=FAILURES | _CONFLICT | _FILE)
    async def classifier() -> Response:
        """Return the file of the classifier that was retrained last."""
        if (result := session.result) is None:
            raise _nothing_retrained()
        return FileResponse(result.file, media_type="application/octet-stream", filename="reviewed.safetensors")


def _nothing_retrained() -> RefusalError:
    return RefusalError(409, "retrain", "no classifier was retrained yet. Retrain first.")


_CONFLICT: dict[int | str, dict[str, Any]] = {409: FAILURES[500] | {"description": "It goes on already, or cannot be."}}
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


async def _tried(session: ReviewSession, work: Any, threads: Executor | None = None) -> Any:
    """Return what work in another thread gives.

    Args:
        session: the review.
        work: a function of nothing.
        threads: for it; None for those that all share.

    Raises:
        RefusalError: in its own words.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    except KeyError:  # of a photo that is not there since the photos were looked at again
        raise _no_such_photo() from None
    except NotReadyError as error:
        raise RefusalError(503, "not ready", str(error), {"Retry-After": "1"}) from None
    except OutputError as error:
        raise RefusalError(507, "disk", without_places(str(error), session)) from None
    except RegraftError as error:
        raise RefusalError(422, "review", without_places(str(error), session)) from None


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
