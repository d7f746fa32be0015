"""The client of an arm's server: asks, commands, watches, and keeps the lease alive from a thread of its own."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from hardware.client.heartbeat import Heartbeat
from hardware.wire.clocks import ClockOffset, now
from hardware.wire.commands import CommandResult, Decision
from hardware.wire.jpeg import decode_jpeg
from hardware.wire.keys import ClientKeys
from hardware.wire.lines import ArmError as ArmError
from hardware.wire.lines import ArmRefusedError as ArmRefusedError
from hardware.wire.lines import StoppedError as StoppedError
from hardware.wire.lines import host_and_port as host_and_port
from hardware.wire.lines import open_line as open_line
from hardware.wire.lines import secure
from hardware.wire.messages import Message, MessageError, MismatchError, pack, unpack
from hardware.wire.reasons import Code, told_reason
from hardware.wire.reports import ArmReport, Frame, Welcome, read_report, read_welcome
from hardware.wire.states import State
from robot.core.errors import SailError

MOST_BEATS = 2
"""Beats that may wait to be sent: old ones say nothing of now."""
MAX_STATE_BYTES = 65_536
GREET_EVERY_S = 0.5


class Line:
    """A DEALER socket for questions and answers; any thread may ask, one at a time."""

    def __init__(self, context: zmq.Context[Any], url: str, keys: ClientKeys | None, timeout_s: float) -> None:
        self._context, self._url, self._keys, self._timeout_s = context, url, keys, timeout_s
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._socket = self._open()

    def _open(self) -> zmq.Socket[bytes]:
        return open_line(self._context, self._url, self._keys)

    def ask(self, message: Message, timeout_s: float | None = None) -> tuple[Message, float]:
        """Return the answer and when it came; raise ArmError where none comes in time, or one of another version."""
        with self._lock:
            number = next(self._numbers)
            deadline_s = now() + (self._timeout_s if timeout_s is None else timeout_s)
            sent = Message(message.kind, message.body, message.arrays, message.session, number, -1, now())
            try:
                self._socket.send_multipart(pack(sent), zmq.NOBLOCK)
                while (left_s := deadline_s - now()) > 0:
                    if not self._socket.poll(max(1, round(1000 * left_s))):
                        break
                    parts = self._socket.recv_multipart(zmq.NOBLOCK)
                    received_s = now()
                    try:
                        answer = unpack(parts)
                    except MismatchError as error:
                        raise ArmRefusedError(str(error), Code.VERSION) from None
                    except MessageError:
                        continue
                    if answer.answers == number or (answer.answers == -1 and answer.kind == "refused"):
                        return answer, received_s
            except zmq.Again:
                pass
            except zmq.ZMQError as error:
                raise ArmError(f"The line to the arm at {self._url} is closed ({error}).") from None
            # A question that was not answered must not be delivered to a server that comes back later.
            self._socket.close(0)
            self._socket = self._open()
        raise ArmError(
            f"The arm at {self._url} does not answer: see that `sail arm serve` runs there, and that the keys fit."
        )

    def close(self) -> None:
        """Close the socket; closing twice is allowed."""
        with self._lock:
            self._socket.close(0)


class ArmClient:
    """Speak with an arm's server at `address`, such as tcp://127.0.0.1:7710.

    `robot` and `calibration`, where given, must be the server's. `keys` are needed for any but a loopback address.
    A client that only watches never needs the lease. Every method may be called from any thread.

    Where the server was started again, it says hello by itself and goes on watching. The lease and whether the arm is
    armed belong to the run of a server: neither is asked for again until somebody does.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str = "client",
        keys: ClientKeys | None = None,
        robot: str = "",
        calibration: str = "",
        timeout_s: float = 2.0,
        watch: bool = True,
    ) -> None:
        """Say hello; raise ArmError where nobody answers, ArmRefusedError where the two ends do not fit."""
        self._host, port = host_and_port(address)
        self._name, self._keys, self._timeout_s = name, keys, timeout_s
        self._robot, self._calibration = robot, calibration
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._token, self._session, self.held = "", "", False
        self._sequence = itertools.count(1)
        self.clock = ClockOffset()
        self._ending = threading.Event()
        self._report: ArmReport | None = None
        self._frames: dict[str, Message] = {}
        self._numbers: dict[str, int] = {}
        self.frames_lost: dict[str, int] = {}
        self._news = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._lines: list[Line] = []
        self._heart: Heartbeat | None = None
        self._greeting = threading.Lock()
        self._greeted_s = now()
        self._control_url = f"tcp://{self._host}:{port}"
        try:
            self._control = self._line(port)
            self._session, self.welcome = self._hello()
            self._commands, self._stops = self._line(self.welcome.command_port), self._line(self.welcome.stop_port)
            for _ in range(8):
                self._exchange_clocks()
            if watch:
                self._begin(self._watch, "watch")
        except BaseException:
            self.close()
            raise

    # Asking.

    def acquire(self) -> None:
        """Take the lease and keep it alive; raise ArmRefusedError, naming the holder, where another has it."""
        if self._heart is None:
            opened = partial(open_line, self._context, self._control_url, self._keys, MOST_BEATS)
            self._heart = Heartbeat(opened, lambda: self._session, lambda: self._token, self.clock, self._hear)
            self._heart.start()
            self._threads.append(self._heart)
        self._heart.ready.wait(self._timeout_s)
        answer = self.ask("lease", client=self._name)
        self._token, self.held = str(answer.body["token"]), True
        self._sequence = itertools.count(1)

    def release(self, timeout_s: float | None = None) -> None:
        """Give the lease back; the arm comes to rest."""
        token, self._token, self.held = self._token, "", False
        if token:
            self.ask("release", timeout_s, token=token)

    def arm(self, timeout_s: float = 3.0) -> None:
        """Let the arm be moved; wait until one that still comes to rest is ready for it."""
        deadline_s = now() + timeout_s
        while True:
            try:
                self.ask("arm", token=self._token)
                return
            except ArmRefusedError as error:
                if error.code is not Code.COMING_TO_REST or now() > deadline_s:
                    raise
                time.sleep(0.02)

    def disarm(self) -> None:
        """Bring the arm to rest and let it take no more commands."""
        self.ask("disarm", token=self._token)

    def home(self, timeout_s: float = 90.0) -> None:
        """Ease the arm to its home position and wait until it rests there; raise ArmError where it does not."""
        asked_s = now()
        self.ask("home", token=self._token)
        self.wait(
            lambda report: report.time_s > asked_s + 0.05 and report.at_home and report.state is State.HOLDING,
            timeout_s,
            "come home",
        )

    def reset(self, seed: int, timeout_s: float = 90.0) -> None:
        """Have a simulated arm's scene drawn anew from a seed."""
        self.ask("reset", timeout_s, token=self._token, seed=seed)

    def clear(self, timeout_s: float = 20.0) -> None:
        """Clear a fault, and what made the arm itself stop, which takes some makers' arms seconds.

        A person at the arm gives this, and no program by itself. Raises ArmRefusedError where the arm still moves, or
        cannot be made ready from here.
        """
        self.ask("clear", max(timeout_s, self._timeout_s))

    def stop(self, reason: str = "") -> None:
        """Stop the arm, whoever holds the lease. This is no safety-rated emergency stop."""
        message = Message("stop", {"reason": reason or self._name}, session=self._session)
        self._checked(self._stops.ask(message)[0])

    def status(self) -> Mapping[str, Any]:
        """Return the fields of a `report` message."""
        return self.ask("status").body

    def submit(
        self, times_s: NDArray[np.float64], positions: NDArray[np.float64], seen_s: float | None = None
    ) -> CommandResult:
        """Ask the arm to pass through waypoints and return the result.

        `times_s`: float64 (N,), on this machine's monotonic clock. `positions`: float64 (N, J). `seen_s`: when the
        observation behind them was made, on the same clock.
        """
        offset_s, session = self.clock.offset_s, self._session
        body = {
            "token": self._token,
            "sequence": next(self._sequence),
            "seen_s": None if seen_s is None else float(seen_s + offset_s),
        }
        arrays = (np.asarray(times_s, np.float64) + offset_s, np.asarray(positions, np.float64))
        answer = self._checked(self._commands.ask(Message("command", body, arrays, session))[0])
        if answer.kind != "ruling" or len(answer.arrays) != 1:
            raise ArmError(f"The arm answered a command with a message of kind {answer.kind!r}.")
        reasons = tuple(map(told_reason, answer.body["reasons"], answer.body["codes"]))
        if any(reason.code is Code.SESSION for reason in reasons):
            with contextlib.suppress(SailError):
                self._greet_again(session)
        return CommandResult(
            int(answer.body["sequence"]),
            Decision(answer.body["verdict"]),
            reasons,
            np.asarray(answer.arrays[0], np.float64),
            int(answer.body["dropped"]),
        )

    def ask(self, kind: str, timeout_s: float | None = None, **body: object) -> Message:
        """Ask on the control socket and return the answer; raise ArmRefusedError where it is refused."""
        session = self._session
        try:
            return self._checked(self._control.ask(Message(kind, body, session=session), timeout_s)[0])
        except ArmRefusedError as error:
            if error.code is not Code.SESSION:
                raise
        self._greet_again(session)
        return self._checked(self._control.ask(Message(kind, body, session=self._session), timeout_s)[0])

    # Watching.

    @property
    def report(self) -> ArmReport | None:
        """Return the newest that the arm published, None before the first."""
        return self._report

    def frame(self, camera: str) -> Frame | None:
        """Return a camera's newest picture, None before the first; raise ArmError where it cannot be read."""
        message = self._frames.get(camera)
        if message is None:
            return None
        array, size = message.arrays[0], self.welcome.cameras[camera]
        if message.body["encoding"] == "jpeg":
            array = decode_jpeg(array, size)
        if array.shape != (*size, 3) or array.dtype != np.uint8:
            raise ArmError(f"Camera {camera!r} promised pictures of {size} and sent {array.shape}.")
        captured_s = float(message.body["captured_s"]) - self.clock.offset_s
        return Frame(array.copy(), captured_s, int(message.body["number"]))

    def captured_s(self, camera: str) -> float | None:
        """Return when a camera's newest picture was captured, on this machine's clock; None before the first."""
        message = self._frames.get(camera)
        return None if message is None else float(message.body["captured_s"]) - self.clock.offset_s

    def wait(self, condition: Any, timeout_s: float, what: str) -> ArmReport:
        """Wait until a report from now on meets a condition; raise ArmError where none does, or there is a FAULT."""
        began_s = now()
        deadline_s = began_s + timeout_s
        with self._news:
            while True:
                report = self._report
                is_news = report is not None and report.published_s >= began_s
                if report is not None and is_news and condition(report):
                    return report
                if report is not None and is_news and report.state is State.FAULT:
                    raise StoppedError(f"The arm did not {what}: it is in FAULT ({report.reason}).", report.reason.code)
                left_s = deadline_s - now()
                if left_s <= 0:
                    state = "is silent" if report is None else f"is {report.state} {report.reason}".rstrip()
                    raise ArmError(f"The arm did not {what} within {timeout_s:g} s: it {state}.")
                self._news.wait(min(left_s, 0.1))

    def close(self) -> None:
        """Give the lease back and close everything; closing twice is allowed."""
        if self._ending.is_set():
            return
        with contextlib.suppress(SailError):
            self.release(min(self._timeout_s, 0.5))
        self._ending.set()
        if self._heart is not None:
            self._heart.end()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(2.0)
        for line in self._lines:
            line.close()
        self._context.destroy(0)

    def __enter__(self) -> ArmClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, port: int) -> Line:
        line = Line(self._context, f"tcp://{self._host}:{port}", self._keys, self._timeout_s)
        self._lines.append(line)
        return line

    def _hello(self) -> tuple[str, Welcome]:
        """Say hello and return the server's session and what it says of its arm."""
        answer = self.ask("hello", client=self._name, robot=self._robot, calibration=self._calibration)
        if answer.kind != "welcome":
            raise ArmError(f"The arm answered a hello with a message of kind {answer.kind!r}.")
        return answer.session, read_welcome(answer)

    def _greet_again(self, before: str) -> None:
        """Say hello to a server that is another run than `before`; its arm, cameras and ports must be the same.

        What belonged to that run is gone: lease, pictures, clock. Raises ArmError where the server serves another arm.
        """
        with self._greeting:
            if self._session != before:
                return  # another thread has said it
            self._greeted_s = now()
            session, welcome = self._hello()
            if not welcome.is_like(self.welcome):
                raise ArmError("The server was started again with another arm, other cameras or ports: connect anew.")
            self._token, self.held, self._report = "", False, None
            self._frames.clear()
            self._numbers = {}
            self.clock.forget()
            self._session, self.welcome = session, welcome
            for _ in range(8):
                self._exchange_clocks()

    def _checked(self, answer: Message) -> Message:
        if answer.kind == "refused":
            reason = told_reason(answer.body["reason"], answer.body["code"])
            raise ArmRefusedError(f"The arm refused: {reason}.", reason.code)
        return answer

    def _exchange_clocks(self) -> None:
        sent_s = now()
        answer, received_s = self._control.ask(Message("clock", session=self._session))
        if answer.kind == "time":
            self.clock.add(sent_s, float(answer.body["received_s"]), answer.sent_s, received_s)

    def _begin(self, work: Any, name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _hear(self, token: str, held: bool) -> None:
        """Take note of whether a token holds the lease; of one that was given back nothing is to be said."""
        if token == self._token:
            self.held = held

    def _watch(self) -> None:
        """Keep the newest state and pictures; older ones that wait behind them are thrown away."""
        sockets: dict[zmq.Socket[bytes], str] = {}
        poller = zmq.Poller()
        ports = {"": self.welcome.state_port, **self.welcome.camera_ports}
        for camera, port in ports.items():
            socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.IPV6, int("[" in self._host))
            socket.setsockopt(zmq.RCVHWM, 8 if camera else 64)
            height, width = self.welcome.cameras.get(camera, (0, 0))
            socket.setsockopt(zmq.MAXMSGSIZE, max(MAX_STATE_BYTES, 4 * height * width))
            secure(socket, self._keys)
            socket.setsockopt(zmq.SUBSCRIBE, b"")
            socket.connect(f"tcp://{self._host}:{port}")
            sockets[socket] = camera
            poller.register(socket, zmq.POLLIN)
        try:
            while not self._ending.is_set():
                for socket, _ in poller.poll(100):
                    for message in _waiting(socket):
                        self._take(sockets[socket], message)
        finally:
            for socket in sockets:
                socket.close(0)

    def _take(self, camera: str, message: Message) -> None:
        if message.session != self._session:
            self._hear_another_run()
            return
        numbers = self._numbers
        if camera and message.kind == "image" and len(message.arrays) == 1 and message.body["camera"] == camera:
            number = int(message.body["number"])
            if camera in numbers and number <= numbers[camera]:
                return  # out of order, or the same again
            self.frames_lost[camera] = self.frames_lost.get(camera, 0) + number - numbers.get(camera, number - 1) - 1
            numbers[camera] = number
            self._frames[camera] = message
        elif not camera and message.kind == "state":
            if message.sequence <= numbers.get("", 0):
                return
            numbers[""] = message.sequence
            with contextlib.suppress(MessageError):
                self._report = read_report(message, self.clock.offset_s, self.welcome.description.size)
        with self._news:
            self._news.notify_all()

    def _hear_another_run(self) -> None:
        """Say hello to a server that was started again, now and then until it answers."""
        if now() - self._greeted_s > GREET_EVERY_S and not self._ending.is_set():
            with contextlib.suppress(SailError):
                self._greet_again(self._session)


def _waiting(socket: zmq.Socket[bytes]) -> list[Message]:
    """Return the messages that wait on a socket, oldest first, without those that cannot be read."""
    messages: list[Message] = []
    for _ in range(256):
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.ZMQError:
            break
        with contextlib.suppress(MessageError):
            messages.append(unpack(parts))
    return messages
