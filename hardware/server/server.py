"""The arm's server: sockets around the governor. See docs/arm-protocol.md for what travels on them.

It is no safety-rated emergency stop: it is software on an ordinary computer. Keep the maker's within reach.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray
from zmq.auth.thread import ThreadAuthenticator

from hardware.cameras.lens import intrinsics_of, rate_of
from hardware.server.camera_feed import CameraFeed
from hardware.server.command_log import MIB, CommandLog
from hardware.server.complaints import Complaints
from hardware.server.doorkeeper import LOOK_S, Doorkeeper
from hardware.server.doors import Door, PublishingDoor, in_url, listeners
from hardware.server.pictures import Pictures
from hardware.server.precedence import REQUESTS, STOPS, take_precedence, urgent_wire
from hardware.server.requests import Later, RequestHandler, done, refused
from hardware.server.safety import Governor, SafetySettings
from hardware.server.servo import Servo
from hardware.server.servo_record import ServoRecord
from hardware.server.validation import Forward
from hardware.wire.clocks import now
from hardware.wire.envelope import stop_in
from hardware.wire.keys import AuthorisedClients, ServerKeys
from hardware.wire.messages import Message, MessageError, MismatchError, pack, unpack
from hardware.wire.reasons import NOTHING, Code, Reason
from hardware.wire.states import State
from robot.core.errors import SailError
from robot.core.protocols import ArmDriver, Camera, Recoverable

DEFAULT_PORT = 7710
STATE_HZ = 100.0
MAX_REQUEST_BYTES = 32_768
MAX_COMMAND_BYTES = 262_144
HUNG_S = 2.0
DISCONNECT_S = 15.0
"""How long an arm's driver may take to hold and disconnect."""
OWNERS = {"control": "requests", "command": "commands", "stop": "stop", "state": "publishing"}
"""Which thread uses which socket, in the order of their ports; those of cameras are the publishing thread's too."""


class ArmServer:
    """Serve one arm and its cameras until `close`.

    `host` is an IP address; any but a loopback address needs `keys`. `port` is that of the control socket, 0 for any
    that is free; the others follow it, and are told in the answer to a hello. `forward` gives the tool's position for
    joint positions, which a workspace box in `settings` needs. `record` names a file for the servo's latest
    `record_periods` periods, `log` one for commands, of at most `log_bytes` with the one before it. `on_exit` is what
    an armed arm does when the server ends: `hold` or `park`, that is, go home first. `realtime` gives the server
    precedence over all else on its machine.
    """

    def __init__(
        self,
        driver: ArmDriver,
        cameras: Sequence[Camera] = (),
        *,
        settings: SafetySettings | None = None,
        forward: Forward | None = None,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        keys: ServerKeys | None = None,
        encoding: str = "raw",
        quality: int = 90,
        camera_matrices: Mapping[str, NDArray[np.float64]] | None = None,
        record: Path | None = None,
        record_periods: int = 15_000,
        log: Path | None = None,
        log_bytes: int = 200 * MIB,
        on_exit: str = "hold",
        realtime: bool = False,
    ) -> None:
        check_address(host, keys)
        if on_exit not in ("hold", "park"):
            raise ValueError(f"on_exit must be hold or park, got {on_exit!r}.")
        if len({camera.name for camera in cameras}) != len(cameras):
            raise ValueError("Cameras must have names that differ.")
        self._driver, self._cameras, self._keys = driver, tuple(cameras), keys
        self._host, self._port, self._on_exit = host, port, on_exit
        self._encoding, self._quality, self._realtime = encoding, quality, realtime
        self._matrices = dict(camera_matrices or {})
        self.session = secrets.token_hex(8)
        self.complaints = Complaints()
        self.governor = Governor(driver.description, settings, forward)
        check_rate(driver, self.governor.settings.servo_hz)
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self.record = ServoRecord(driver.description.size, record_periods, record)
        self.log = CommandLog(log, limit_bytes=log_bytes, complaints=self.complaints)
        self.servo = Servo(driver, self.governor, self._lock, self.record, self.complaints, self._dead_thread, realtime)
        self._ending = threading.Event()
        self._numbers = itertools.count(1)
        self._threads: dict[str, threading.Thread] = {}
        self._beats: dict[str, float] = {}
        self._watched: tuple[str, ...] = ()
        self._doors: dict[str, Door] = {}
        self.doorkeeper = Doorkeeper(self.complaints)
        self.ports: dict[str, int] = {}
        self._pictures = Pictures()
        self._feeds: list[CameraFeed] = []
        self._contexts: list[zmq.Context[zmq.Socket[bytes]]] = []
        self._authenticators: list[ThreadAuthenticator] = []
        self.requests: RequestHandler

    def start(self) -> ArmServer:
        """Connect the arm, open the sockets and serve; raise SailError where that cannot be."""
        try:
            self._open_doors()
            self.servo.connect()
            self.doorkeeper.begin()
        except BaseException:
            self.close()
            raise
        reset = getattr(self._driver, "reset", None)
        self.requests = RequestHandler(
            self.governor,
            self.servo,
            self._lock,
            self._welcome,
            self._feeds,
            self.complaints,
            self.log,
            self.session,
            None if reset is None else lambda driver, seed: reset(seed),
            isinstance(self._driver, Recoverable),
        )
        works = (
            ("requests", self._serve, REQUESTS),
            ("commands", self._serve_commands, REQUESTS),
            ("stop", self._serve_stops, STOPS),
            ("publishing", self._publish, REQUESTS),
            ("doors", self._keep_doors, STOPS),
        )
        self._beats = {name: now() for name, _, _ in works}
        for name, work, priority in works:
            guarded = partial(self._guarded, name, work, priority)
            self._threads[name] = threading.Thread(target=guarded, name=name, daemon=True)
            self._threads[name].start()
        self._watched = tuple(self._threads)
        for feed in self._feeds:
            feed.start()
        return self

    @property
    def address(self) -> str:
        """Return where clients find the control socket."""
        return f"tcp://{in_url(self._host)}:{self.ports['control']}"

    @property
    def state(self) -> tuple[State, Reason]:
        """Return the arm's state and its reason."""
        return self.requests.state

    def close(self) -> None:
        """Bring the arm to rest (or home, where it is to park), let it hold by itself, and end; twice is allowed."""
        if self._on_exit == "park" and self.servo.is_alive() and not self._ending.is_set():
            self._park()
        self._end_servo()
        self._ending.set()
        for feed in self._feeds:
            feed.end()
        until_s = now() + HUNG_S
        for thread in (*self._threads.values(), *self._feeds):
            if thread.is_alive():
                thread.join(max(until_s - now(), 0.0))
        hung = [thread for thread in self._threads.values() if thread.is_alive()]
        while self._authenticators:
            self._authenticators.pop().stop()
        self.log.close()
        # A socket belongs to its thread: closed under one that still uses it, ZeroMQ may end the process.
        busy = {thread.name for thread in hung}
        kept = [self._doors.pop(name) for name in list(self._doors) if OWNERS.get(name, "publishing") in busy]
        while self._doors:
            self._doors.popitem()[1].close()
        contexts, self._contexts = self._contexts, []
        if hung:
            self.complaints.note("threads that have not ended", ", ".join(thread.name for thread in hung))
            threading.Thread(target=_destroy_after, args=(hung, contexts, kept), daemon=True).start()
        else:
            _destroy_after((), contexts, ())
        self.doorkeeper.close()

    def _end_servo(self) -> None:
        """Bring the arm to rest and disconnect it, however long that takes within reason."""
        self.servo.end(self.servo.rest_s + DISCONNECT_S)
        if self.servo.is_alive():
            self.complaints.note("the arm's driver has not disconnected", f"after {DISCONNECT_S:g} s")

    def __enter__(self) -> ArmServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _park(self, timeout_s: float = 60.0) -> None:
        with self._lock:
            self.governor.end()
            if self.governor.go_home(now(), by_itself=True):
                return
        until_s = now() + timeout_s
        while now() < until_s and self.servo.is_alive() and self.governor.state is State.RUNNING:
            time.sleep(0.02)

    def _open_doors(self) -> None:
        names = (*OWNERS, *(f"camera {camera.name}" for camera in self._cameras))
        # Stops have a context of their own, so that nothing else keeps its thread, or who looks at keys, busy.
        common, apart = self._wire(), self._wire()
        with contextlib.ExitStack() as opened:
            found = [opened.enter_context(one) for one in listeners(self._host, self._port, len(names))]
            for name, listener in zip(names, found, strict=True):
                self._doors[name] = self._door(name, apart if name == "stop" else common, listener)
            opened.pop_all()
        self.ports = {name: door.port for name, door in self._doors.items()}
        for camera in self._cameras:
            name = f"camera {camera.name}"
            self._feeds.append(
                CameraFeed(
                    camera,
                    partial(self._pictures.put, name),
                    self.session,
                    self.complaints,
                    self._encoding,
                    self._quality,
                    self.servo.ready.is_set,
                    self._realtime,
                )
            )

    def _wire(self) -> zmq.Context[zmq.Socket[bytes]]:
        """Return a new context, in which only those whose keys are known get in, where there are keys."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._contexts.append(context)
        if self._realtime:
            urgent_wire(context)
        if self._keys is not None:
            logging.getLogger("zmq.auth").setLevel(logging.ERROR)
            authenticator = ThreadAuthenticator(context)
            authenticator.start()
            authenticator.configure_curve_callback("*", AuthorisedClients(self._keys.authorised))
            self._authenticators.append(authenticator)
        return context

    def _door(self, name: str, context: zmq.Context[zmq.Socket[bytes]], listener: socket) -> Door:
        own = None if self._keys is None else self._keys.own
        if OWNERS.get(name, "publishing") == "publishing":
            most_sent = 64 if name == "state" else 2
            return PublishingDoor(context, listener, self.doorkeeper, own, most_sent=most_sent)
        most_bytes = MAX_COMMAND_BYTES if name == "command" else MAX_REQUEST_BYTES
        return Door(context, listener, self.doorkeeper, own, most_bytes=most_bytes, shuts=name != "stop")

    def _welcome(self) -> Message:
        description, settings = self.driver_description, self.governor.settings
        limits = np.stack(
            [
                description.low,
                description.high,
                description.velocity,
                description.acceleration,
                description.jerk,
                description.home,
                self.governor.low,
                self.governor.high,
            ]
        )
        matrices = np.full((len(self._cameras), 3, 4), np.nan)
        lenses = np.full((len(self._cameras), 4), np.nan)
        for number, camera in enumerate(self._cameras):
            if (lens := intrinsics_of(camera)) is not None:
                lenses[number] = lens
            if camera.name in self._matrices:
                matrices[number] = self._matrices[camera.name]
        body: dict[str, Any] = {
            "robot": description.identity,
            "calibration": description.calibration,
            "joint_names": list(description.joint_names),
            "units": list(description.units),
            "servo_hz": settings.servo_hz,
            "state_hz": STATE_HZ,
            "silence_s": settings.silence_s,
            "lease_s": settings.lease_s,
            "camera_names": [camera.name for camera in self._cameras],
            "camera_heights": [int(camera.size[0]) for camera in self._cameras],
            "camera_widths": [int(camera.size[1]) for camera in self._cameras],
            "camera_rates_hz": [rate_of(camera) for camera in self._cameras],
            "camera_ports": [self.ports[f"camera {camera.name}"] for camera in self._cameras],
            "command_port": self.ports["command"],
            "stop_port": self.ports["stop"],
            "state_port": self.ports["state"],
            "can_reset": hasattr(self._driver, "reset"),
        }
        return Message("welcome", body, (limits, matrices, lenses))

    @property
    def driver_description(self) -> Any:
        """Return the arm's description."""
        return self.governor.description

    def _dead_thread(self) -> Reason:
        """Return which of the server's threads is dead or hangs, or nothing; the servo asks every period."""
        if self._ending.is_set():
            return NOTHING
        for name in self._watched:
            if not self._threads[name].is_alive():
                return Reason(f"the server's thread for {name} has died", Code.DEAD_THREAD)
            if now() - self._beats[name] > HUNG_S:
                silent = f"the server's thread for {name} has not answered for {HUNG_S:g} s"
                return Reason(silent, Code.DEAD_THREAD)
        return NOTHING

    def _guarded(self, name: str, work: Callable[[], None], priority: int) -> None:
        """Carry out a thread's work; where it dies, say so, and the servo turns to FAULT at its next period."""
        try:
            if self._realtime:
                take_precedence(priority)
            work()
        except BaseException as error:
            self.complaints.note(f"the thread for {name} has died", repr(error))

    # The thread of requests.

    def _serve(self) -> None:
        control = self._doors["control"]
        later: list[tuple[bytes, int, Later]] = []
        while not self._ending.is_set():
            self._beats["requests"] = now()
            if control.poll(10):
                self._take_requests(control, later)
            for waiting in [waiting for waiting in later if waiting[2].pending.done()]:
                later.remove(waiting)
                self._send(control, waiting[0], self._now_known(waiting[2]), waiting[1])

    def _now_known(self, later: Later) -> Message:
        """Return the answer that the servo's thread has given meanwhile."""
        error = later.pending.exception()
        return refused(f"it failed: {error}", Code.FAILED) if error else done(self.requests.state[0], later.detail)

    def _take_requests(self, control: Door, later: list[tuple[bytes, int, Later]]) -> None:
        for parts in control.waiting():
            received_s = now()
            message = self._understood(control, parts)
            if message is None:
                continue
            try:
                answer = self.requests.answer(message, received_s)
            except Exception as error:
                # Whatever a client sends must not end the server; a defect is logged and answered.
                self.complaints.note("a request could not be answered", repr(error))
                answer = refused("the server could not answer that: see its log", Code.DEFECT)
            if isinstance(answer, Later):
                later.append((parts[0], message.sequence, answer))
            else:
                self._send(control, parts[0], answer, message.sequence)

    # The thread of commands: a decision may take long, and neither a heartbeat nor the servo may wait for it.

    def _serve_commands(self) -> None:
        command, next_flush_s = self._doors["command"], now()
        while not self._ending.is_set():
            self._beats["commands"] = now()
            if command.poll(100):
                self._take_commands(command)
            if now() >= next_flush_s:
                self.log.flush()
                next_flush_s = now() + 1.0

    def _take_commands(self, command: Door) -> None:
        """Take the newest command of each client; those it has overtaken are rejected unread.

        A copy that the wire made of a message that waits here overtakes nothing: its client waits for one answer.
        """
        newest: dict[bytes, Message] = {}
        seen: set[tuple[bytes, ...]] = set()
        received_s = now()
        for parts in command.waiting():
            if tuple(parts) in seen:
                continue
            seen.add(tuple(parts))
            message = self._understood(command, parts)
            if message is None:
                continue
            if message.kind != "command":
                wrong = refused("this socket is for commands", Code.MALFORMED)
                self._send(command, parts[0], wrong, message.sequence)
                continue
            before = newest.get(parts[0])
            if before is not None:
                older, message = sorted((before, message), key=lambda one: int(one.body["sequence"]))
                self._decide(command, parts[0], older, self.requests.overtake, received_s)
            newest[parts[0]] = message
        for client, message in newest.items():
            self._decide(command, client, message, self.requests.decide, received_s)

    def _decide(
        self,
        command: Door,
        client: bytes,
        message: Message,
        decide: Callable[[Message, float], Message],
        received_s: float,
    ) -> None:
        try:
            answer = decide(message, received_s)
        except Exception as error:
            # Whatever a client sends must not end the thread; a defect is logged and answered.
            self.complaints.note("a command could not be decided on", repr(error))
            answer = refused("the server could not decide on that: see its log", Code.DEFECT)
        self._send(command, client, answer, message.sequence)

    def _understood(self, door: Door, parts: list[bytes]) -> Message | None:
        """Return the message in some parts, the first of which names the client; None where it is none."""
        try:
            return unpack(parts[1:])
        except MismatchError as error:
            self.complaints.note("a client of another version", str(error))
            self._send(door, parts[0], refused(str(error), Code.VERSION), -1)
        except MessageError as error:
            self._garbage(error)
        return None

    def _garbage(self, error: MessageError) -> None:
        with self._counting:
            self.requests.garbage += 1
        self.complaints.note("a message that is none", str(error))

    def _send(self, door: Door, client: bytes, answer: Message, answers: int) -> None:
        number = next(self._numbers)
        sent = Message(answer.kind, answer.body, answer.arrays, self.session, number, answers, now())
        try:
            parts = pack(sent)
        except ValueError as error:
            # A number that is none, from a driver or a camera, must not end the thread that answers everybody.
            self.complaints.note("an answer that cannot be sent", str(error))
            defect = refused("the server has no answer that could be sent: see its log", Code.DEFECT)
            parts = pack(Message(defect.kind, defect.body, (), self.session, number, answers, now()))
        door.send([client, *parts])

    # The thread of what is published, which whoever subscribes without end may slow down.

    def _publish(self) -> None:
        doors = {name: door for name, door in self._doors.items() if isinstance(door, PublishingDoor)}
        next_state_s, number = now(), 0
        while not self._ending.is_set():
            self._beats["publishing"] = now()
            for name, parts in self._pictures.take(next_state_s - now()).items():
                doors[name].send(parts)
            if now() < next_state_s:
                continue
            number += 1
            self._publish_state(doors["state"], number)
            next_state_s = max(next_state_s + 1 / STATE_HZ, now())
            for door in doors.values():
                door.tend()

    def _publish_state(self, door: Door, number: int) -> None:
        moment = self.servo.moment
        if moment is None:
            return
        state, reason = self.requests.state
        size = self.governor.description.size
        measured = moment.measured
        position = np.full(size, np.nan) if measured is None else measured.position
        velocity = np.empty(0) if measured is None else measured.velocity
        body = {
            "state": state.value,
            "reason": reason[:500],
            "code": reason.code.value,
            "time_s": moment.time_s,
            "measured_s": max(moment.measured_s, 0.0),
            "holder": self.requests.lease.holder(now()),
            "sequence": moment.setpoint.sequence,
            "applied": moment.applied,
            "applied_s": moment.applied_s,
            "at_rest": moment.at_rest,
            "at_home": moment.at_home,
            "tick": self.servo.counts.ticks,
            "succeeded": moment.succeeded,
        }
        arrays = (position, velocity, moment.setpoint.asked, moment.setpoint.position)
        message = Message(
            "state", body, tuple(np.asarray(a, np.float64) for a in arrays), self.session, number, -1, now()
        )
        door.send(pack(message))

    # The thread of stops: nothing else may keep one waiting.

    def _serve_stops(self) -> None:
        door = self._doors["stop"]
        while not self._ending.is_set():
            self._beats["stop"] = now()
            if not door.poll(100):
                continue
            for parts in door.waiting():
                try:
                    stop = stop_in(parts[1:])
                except MessageError as error:
                    self._garbage(error)
                    continue
                if stop is not None:
                    self._send(door, parts[0], self.requests.stop(stop[0]), stop[1])

    # The thread that sees that a stop gets in.

    def _keep_doors(self) -> None:
        while not self._ending.wait(LOOK_S):
            self._beats["doors"] = now()
            self.doorkeeper.look()


def _destroy_after(
    threads: Sequence[threading.Thread], contexts: Sequence[zmq.Context[zmq.Socket[bytes]]], doors: Sequence[Door]
) -> None:
    """Close doors, and the contexts that they are of, once the threads that use them have ended."""
    for thread in threads:
        thread.join()
    for door in doors:
        door.close()
    for context in contexts:
        context.destroy(0)


def check_address(host: str, keys: object | None) -> None:
    """Raise SailError unless a host is an IP address, and a loopback one where there are no keys."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise SailError(f"{host!r} is no IP address: give one of this machine, such as 127.0.0.1.") from None
    if not address.is_loopback and keys is None:
        raise SailError(
            f"Whoever reaches {host} could move the arm: make keys with `sail arm keys`, or serve on 127.0.0.1."
        )


def check_rate(driver: ArmDriver, servo_hz: float) -> None:
    """Raise SailError where a driver expects another number of commands a second than it will get.

    It tells its arm how fast to move by the time between two.
    """
    expected_hz: float = getattr(driver, "rate_hz", servo_hz)
    if abs(expected_hz - servo_hz) > 1e-6 * servo_hz:
        raise SailError(
            f"The driver of {driver.description.name} expects {expected_hz:g} commands a second, and safety.servo_hz "
            f"is {servo_hz:g}: set both alike."
        )
