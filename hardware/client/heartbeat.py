"""A client's heart: it tells the server that the lease holder is alive, on a grid of deadlines, and never waits."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import zmq

from hardware.wire.clocks import ClockOffset, now
from hardware.wire.messages import Message, MessageError, pack, unpack

BEAT_S = 0.05
UNANSWERED_S = 0.45
"""After so long without an answer the lease counts as lost, and beats that still wait to be sent are thrown away."""


class Heartbeat(threading.Thread):
    """Send a beat every `BEAT_S` and take the answers as they come, until `end`.

    `open_line` opens a DEALER socket to the server's control port. `session` says of which run of the server, `token`
    which lease to prolong, empty for none. Answers set `clock`; `tell` is told whether a token holds the lease, at
    every answer and when there is none. `ready` is set once the server has answered on this line: to connect takes
    several times as long as a message, and a lease asked for before that may be over before its first beat arrives.
    """

    def __init__(
        self,
        open_line: Callable[[], zmq.Socket[bytes]],
        session: Callable[[], str],
        token: Callable[[], str],
        clock: ClockOffset,
        tell: Callable[[str, bool], None],
    ) -> None:
        super().__init__(name="beats", daemon=True)
        self._open_line, self._session, self._token, self._clock, self._tell = open_line, session, token, clock, tell
        self._ending = threading.Event()
        self._sent: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._number = 0
        self._heard_s = now()
        self.ready = threading.Event()

    def end(self) -> None:
        """Ask the thread to end; it does within a beat."""
        self._ending.set()

    def run(self) -> None:
        """Beat until the end."""
        socket = self._open_line()
        due_s = self._heard_s = now()
        try:
            while not self._ending.is_set():
                token = self._token()
                if not token:
                    self._heard_s = now()
                elif now() - self._heard_s > UNANSWERED_S:
                    self._tell(token, False)
                    # What was not delivered must not reach a server that comes back, by which time we may be dead.
                    socket.close(0)
                    socket = self._open_line()
                    self._sent.clear()
                    self.ready.clear()
                    self._heard_s = now()
                if token:
                    self._send(socket, Message("beat", {"token": token}, (), self._session()), token)
                elif not self.ready.is_set():
                    self._send(socket, Message("clock"), "")
                due_s = max(due_s + BEAT_S, now())  # beats that were missed are not made up for
                self._listen(socket, due_s)
        finally:
            socket.close(0)

    def _send(self, socket: zmq.Socket[bytes], message: Message, token: str) -> None:
        self._number += 1
        sent_s = now()
        sent = Message(message.kind, message.body, (), message.session, self._number, -1, sent_s)
        with contextlib.suppress(zmq.Again):
            socket.send_multipart(pack(sent), zmq.NOBLOCK)
            self._sent[self._number] = sent_s, token
        while len(self._sent) > 64:
            self._sent.popitem(last=False)

    def _listen(self, socket: zmq.Socket[bytes], until_s: float) -> None:
        """Take what answers there are until the next beat is due."""
        while (left_s := until_s - now()) > 0 and not self._ending.is_set():
            if not socket.poll(max(1, round(1000 * left_s))):
                continue
            received_s = now()
            with contextlib.suppress(MessageError, zmq.Again):
                self._take(unpack(socket.recv_multipart(zmq.NOBLOCK)), received_s)

    def _take(self, answer: Message, received_s: float) -> None:
        if answer.answers not in self._sent:
            return
        sent_s, token = self._sent.pop(answer.answers)
        self._heard_s = received_s
        self.ready.set()
        if answer.kind in ("beating", "time"):
            self._clock.add(sent_s, float(answer.body["received_s"]), answer.sent_s, received_s)
        if token:
            self._tell(token, answer.kind == "beating" and bool(answer.body["held"]))
