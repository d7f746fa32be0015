"""Serve the label page of a store while a test looks at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from robot.cli.label import open_port
from robot.episodes.store import EpisodeStore
from robot.labelling.application import LabellingSession, make_application

TOKEN = "a-token-of-the-test"


@dataclass(frozen=True, slots=True)
class Served:
    """Hold where a page is served."""

    port: int
    store: EpisodeStore

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"


@contextmanager
def serving(store: EpisodeStore, port: int = 0) -> Iterator[Served]:
    """Serve the store's episodes, labelled by `ada`, until the block ends; on a free port where none is given."""
    listener = open_port(port)
    port = listener.getsockname()[1]
    application = make_application(LabellingSession(store, store.ids(), "ada"), TOKEN, port)
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Served(port, store)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
    assert not thread.is_alive()
