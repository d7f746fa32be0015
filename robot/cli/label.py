"""`sail label`: look at episodes in the browser and say what happened, one key an episode."""

from __future__ import annotations

import contextlib
import difflib
import errno
import getpass
import secrets
import socket
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from robot.cli.compose import compose
from robot.cli.logs import show_log
from robot.cli.report import latest_run
from robot.cli.screen import bold, print_json, screen
from robot.cli.verbs import Arguments
from robot.cli.wording import known_tasks
from robot.core.errors import SailError
from robot.episodes.labels import LONGEST_TEXT
from robot.episodes.store import EpisodeStore


def run(arguments: Arguments) -> int:
    """Serve the label page on the loopback address until Ctrl-C."""
    config = compose("label", arguments.overrides)
    console = screen(arguments.as_json)
    store = _store(config)
    ids = store.ids(config.task or None)
    if not ids:
        of = f" of {config.task}" if config.task else ""
        near = difflib.get_close_matches(str(config.task), known_tasks(store.folder), n=3, cutoff=0.4)
        meant = f" Did you mean {' or '.join(near)}?" if config.task and near else ""
        raise SailError(f"The store {store.folder} holds no episodes{of}: there is nothing to label.{meant}")
    person = _person(config)
    listener = open_port(int(config.port))
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    address = f"http://127.0.0.1:{port}/{token}/"
    console.print(f"{len(ids)} episodes in {store.folder}, labelled by {person}:")
    console.print(bold(address))
    console.print("Ctrl-C ends it; every label is on the disk as soon as it is given.", style="dim")
    if arguments.as_json:
        print_json({"address": address, "store": str(store.folder), "episodes": len(ids), "person": person})
    if config.browser:
        webbrowser.open(address)
    before = _records(store, ids)
    _serve(store, ids, person, token, listener)
    said = _records(store, ids) - before
    count = {0: "No record was", 1: "One record was"}.get(said, f"{said} records were")
    console.print(f"{count} added to {store.folder}.")
    return 0


def _records(store: EpisodeStore, ids: Sequence[str]) -> int:
    """Return how many labels there are; an episode whose labels are damaged counts none and stops nobody."""
    count = 0
    for name in ids:
        with contextlib.suppress(SailError):
            count += len(store.labels(name))
    return count


def open_port(port: int) -> socket.socket:
    """Return a socket that listens on the loopback address alone; SailError for a port that is taken or no port."""
    if not 0 <= port <= 65535:
        raise SailError(f"port must lie in 0–65535, got {port}.")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SailError(f"Port {port} is taken: give another with port=…, or port=0 for any free one.") from None
        raise SailError(f"Port {port} cannot be opened: {error.strerror}.") from None
    return listener


def _store(config: DictConfig) -> EpisodeStore:
    folder = Path(config.store) if config.store else latest_run(Path("runs")) / "episodes"
    if not folder.is_dir():
        raise SailError(f"There is no store {folder}: name a folder of episodes with store=… .")
    return EpisodeStore(folder)


def _person(config: DictConfig) -> str:
    name = str(config.person).strip()
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):
            raise SailError("Who labels is not known here: say it with person=… .") from None
    if len(name) > LONGEST_TEXT:
        raise SailError("person= is too long for a name.")
    return name


def _serve(store: EpisodeStore, ids: list[str], person: str, token: str, listener: socket.socket) -> None:
    import uvicorn

    from robot.labelling.application import LabellingSession, make_application

    application = make_application(LabellingSession(store, ids, person), token, listener.getsockname()[1])
    show_log()
    settings = uvicorn.Config(
        application,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
    )
    try:
        uvicorn.Server(settings).run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        listener.close()
