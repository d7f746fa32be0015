"""Serve the label page: the queue, views of episodes, and what a person says about them."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from robot.core.errors import SailError
from robot.episodes.labels import FAILURE_KINDS, PERSON, Field, Label, in_force
from robot.episodes.store import EpisodeStore
from robot.labelling.guard import Guard
from robot.labelling.queue import queue
from robot.labelling.view import EpisodeView, view_of

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SAYABLE = (Field.SUCCESS, Field.FAILURE_KIND, Field.QUALITY, Field.SEGMENT, Field.NOTE)
KEPT_VIEWS = 8
LARGEST_BODY = 64 * 1024
MOST_LABELS = 100
LABEL_ID = re.compile(r"[0-9a-f]{16}")


class LabellingSession:
    """Hold the store a person labels, the person's name and the views made last.

    `ids`: the episodes offered, but for links that lead out of the store.
    """

    def __init__(self, store: EpisodeStore, ids: Sequence[str], person: str) -> None:
        self.store = store
        self.ids = tuple(name for name in ids if self._is_inside(name))
        self.person = person
        self._known = frozenset(ids)
        self._views: OrderedDict[str, EpisodeView] = OrderedDict()
        self._making = threading.Lock()
        self._writing = threading.Lock()

    def view(self, name: str) -> EpisodeView:
        """Return an episode's view; SailError when it is not offered here or damaged."""
        self._check(name)
        with self._making:
            view = self._views.pop(name, None) or view_of(self.store.load(name))
            self._views[name] = view
            if len(self._views) > KEPT_VIEWS:
                self._views.popitem(last=False)
        return view

    def labels(self, name: str) -> list[Label]:
        """Return an episode's labels in force."""
        self._check(name)
        return in_force(self.store.labels(name))

    def say(self, name: str, labels: Sequence[Label]) -> None:
        """Append labels; one whose id is there already came twice, because its answer was lost, and is left out."""
        self._check(name)
        with self._writing:
            known = {label.label_id for label in self.store.labels(name)}
            new = [label for label in labels if label.label_id not in known]
            if new:
                self.store.append_labels(name, new)

    def take_back(self, name: str, ids: Sequence[str]) -> None:
        """Retract labels of a person; those retracted already are left out. SailError for labels of others."""
        self._check(name)
        with self._writing:
            labels = self.store.labels(name)
            mine = {label.label_id for label in labels if label.source == PERSON}
            for one in ids:
                if one not in mine:
                    raise SailError(f"Episode {name!r} has no label {one!r} of a person to take back.")
            standing = {label.label_id for label in in_force(labels)}
            gone = [Label(Field.RETRACTION, one, PERSON, self.person) for one in ids if one in standing]
            if gone:
                self.store.append_labels(name, gone)

    def _check(self, name: str) -> None:
        if name not in self._known:
            raise SailError(f"There is no episode {name!r} in {self.store.folder}.")
        if not self._is_inside(name):
            raise SailError(f"Episode {name!r} lies outside the store {self.store.folder}.")

    def _is_inside(self, name: str) -> bool:
        return (self.store.folder / name).resolve().is_relative_to(self.store.folder.resolve())


def make_application(session: LabellingSession, token: str, port: int) -> ASGIApp:
    """Return the ASGI application, guarded by the token and bound to the port of its own address."""
    routes = [
        Route("/", lambda request: _page(request, "index.html")),
        Route("/page/{file}", lambda request: _page(request, request.path_params["file"])),
        Route("/queue", _queue),
        Route("/episodes/{name}", _episode),
        Route("/episodes/{name}/executed/{camera}", _executed),
        Route("/episodes/{name}/imagined", _imagined),
        Route("/episodes/{name}/labels", _say, methods=["POST"]),
        Route("/episodes/{name}/undo", _take_back, methods=["POST"]),
    ]
    application = Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        exception_handlers={SailError: _refuse, ValueError: _refuse, HTTPException: _missing},
    )
    application.state.session = session
    return Guard(application, token, port)


def _session(request: Request) -> LabellingSession:
    session: LabellingSession = request.app.state.session
    return session


def _page(request: Request, name: str) -> Response:
    """Return a file of the page; only names that the folder lists are ever opened."""
    for file in (files(__package__) / "page").iterdir():
        if file.name == name:
            return Response(file.read_bytes(), media_type=TYPES.get(name[name.rfind(".") :]))
    raise HTTPException(404, f"There is no file {name!r}.")


def _queue(request: Request) -> Response:
    session = _session(request)
    waiting, problems = queue(session.store, session.ids)
    rows = [
        {"id": one.episode_id, "doubt": one.doubt.total, "why": one.doubt.why, "labelled": one.labelled}
        for one in waiting
    ]
    about = {"store": str(session.store.folder), "person": session.person, "failure_kinds": FAILURE_KINDS}
    return JSONResponse({**about, "episodes": rows, "problems": problems})


def _episode(request: Request) -> Response:
    session, name = _session(request), request.path_params["name"]
    return JSONResponse({**session.view(name).about, "labels": _shown(session, name)})


def _executed(request: Request) -> Response:
    view, camera = _session(request).view(request.path_params["name"]), request.path_params["camera"]
    if camera not in view.executed:
        raise SailError(f"The episode has no camera {camera!r}: it has {', '.join(view.executed)}.")
    return Response(view.executed[camera].jpeg, media_type="image/jpeg")


def _imagined(request: Request) -> Response:
    view = _session(request).view(request.path_params["name"])
    if view.imagined is None:
        raise SailError("The episode has no plans.")
    return Response(view.imagined.jpeg, media_type="image/jpeg")


async def _say(request: Request) -> Response:
    session, name = _session(request), request.path_params["name"]
    rows = await _list(request)
    await run_in_threadpool(session.say, name, [_label(row, session.person) for row in rows])
    return JSONResponse({"labels": await run_in_threadpool(_shown, session, name)})


async def _take_back(request: Request) -> Response:
    session, name = _session(request), request.path_params["name"]
    ids = [str(one) for one in await _list(request)]
    await run_in_threadpool(session.take_back, name, ids)
    return JSONResponse({"labels": await run_in_threadpool(_shown, session, name)})


async def _list(request: Request) -> list[Any]:
    """Return the list under `labels` in the request's JSON; raise ValueError for anything else."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise ValueError("Labels are sent as application/json.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise ValueError(f"A request of more than {LARGEST_BODY} bytes is not read.")
    try:
        rows = json.loads(body)["labels"]
    except (ValueError, KeyError, TypeError):
        raise ValueError("The request is not the JSON that this page sends.") from None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_LABELS:
        raise ValueError(f"A request holds from 1 to {MOST_LABELS} labels.")
    return rows


def _label(row: Any, person: str) -> Label:
    """Return a label from what the page sent: an id, a field, a value, and a span where it means a part."""
    if not isinstance(row, dict) or not set(row) <= {"id", "field", "value", "span"}:
        raise ValueError("A label from the page has an id, a field, a value and at most a span.")
    name, span = row.get("id"), row.get("span")
    if not isinstance(name, str) or not LABEL_ID.fullmatch(name):
        raise ValueError("A label's id is sixteen hexadecimal digits.")
    if row.get("field") not in SAYABLE:
        raise ValueError(f"A person cannot label {row.get('field')!r}: choose from {', '.join(SAYABLE)}.")
    if span is not None:
        if not (isinstance(span, list) and len(span) == 2 and all(type(step) is int for step in span)):
            raise ValueError("A span is a first and a last step.")
        span = (span[0], span[1])
    value: Any = row.get("value")
    confidence = 1.0
    if row["field"] == Field.SUCCESS and type(value) in (int, float):
        value = float(value)
        confidence = max(value, 1.0 - value) if 0.0 <= value <= 1.0 else 0.0
    return Label(Field(row["field"]), value, PERSON, person, span=span, confidence=confidence, label_id=name)


def _shown(session: LabellingSession, name: str) -> list[dict[str, Any]]:
    return [
        {
            "id": label.label_id,
            "field": label.field,
            "value": label.value,
            "source": label.source,
            "who": label.who,
            "model": label.model,
            "span": label.span,
            "rationale": label.rationale,
        }
        for label in session.labels(name)
    ]


def _refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def _missing(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
