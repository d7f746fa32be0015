"""Answers requests: who asks, may they, what becomes of it. Knows messages, but no sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from hardware.server.camera_feed import CameraFeed
from hardware.server.command_log import CommandLog
from hardware.server.complaints import Complaints
from hardware.server.lease import Lease
from hardware.server.safety import Governor
from hardware.server.servo import Servo, state_of
from hardware.server.validation import rejected
from hardware.wire.clocks import now
from hardware.wire.commands import Command, CommandResult, Decision
from hardware.wire.messages import Message
from hardware.wire.reasons import NOTHING, Code, Reason
from hardware.wire.states import ARMED, State
from robot.core.errors import SailError
from robot.core.protocols import ArmDriver, Recoverable

SESSIONLESS = ("hello", "clock", "status", "stop", "clear")
"""What may be asked without knowing which run of the server answers."""


@dataclass(frozen=True, slots=True)
class Later:
    """An answer that the servo thread has yet to give."""

    pending: Future[object]
    detail: str


Answer = Message | Later


class RequestHandler:
    """Answer one request at a time, from one thread, and decide on one command at a time, from another."""

    def __init__(
        self,
        governor: Governor,
        servo: Servo,
        lock: threading.Lock,
        welcome: Callable[[], Message],
        feeds: Sequence[CameraFeed],
        complaints: Complaints,
        log: CommandLog,
        session: str,
        reset: Callable[[ArmDriver, int], object] | None = None,
        can_recover: bool = False,
    ) -> None:
        self._governor, self._servo, self._lock, self._log = governor, servo, lock, log
        self._welcome, self._feeds, self._complaints, self._reset = welcome, feeds, complaints, reset
        self.session, self._can_recover = session, can_recover
        self.lease = Lease(governor.settings.lease_s)
        self.garbage = 0

    def answer(self, message: Message, received_s: float) -> Answer:
        """Return what to answer to a message that `unpack` has let through."""
        if message.session != self.session and message.kind not in SESSIONLESS:
            said = f"this is session {self.session!r} of the server and the message is for {message.session[:40]!r}"
            return refused(f"{said}: say hello again", Code.SESSION)
        answers: dict[str, Callable[[Message, float], Answer]] = {
            "hello": self._hello,
            "clock": lambda message, received_s: Message("time", {"received_s": received_s}),
            "beat": self._beat,
            "lease": self._lend,
            "release": self._release,
            "arm": self._arm,
            "disarm": self._disarm,
            "home": self._home,
            "reset": self._start_scene,
            "clear": self._clear,
            "status": lambda message, received_s: self.report(),
            "stop": self._stop,
        }
        if message.kind not in answers:
            return refused(f"a message of kind {message.kind!r} is not for this socket", Code.MALFORMED)
        return answers[message.kind](message, received_s)

    def decide(self, message: Message, received_s: float) -> Message:
        """Return what became of a command."""
        # Read before the lease is looked at: where the arm changes hands after that, it is another one.
        generation = self._governor.generation
        return self._decide(message, received_s, lambda command: self._decided(command, generation))

    def overtake(self, message: Message, received_s: float) -> Message:
        """Return the rejection of a command that a newer one has overtaken before it was looked at."""

        def overtaken(command: Command) -> CommandResult:
            self._governor.counts[Decision.REJECT] += 1
            return rejected(command, Reason("a newer command had come", Code.OVERTAKEN))

        return self._decide(message, received_s, overtaken)

    def _decide(self, message: Message, received_s: float, decide: Callable[[Command], CommandResult]) -> Message:
        """Decide on a command if it is the holder's, and reject it otherwise; log it in either case."""
        command = command_of(message)
        if command is None:
            return refused("a command has two float64 arrays, times (N,) and positions (N, J)", Code.MALFORMED)
        if problem := self._not_ours(message, received_s):
            result = rejected(command, problem)
            self._log.add_stranger(received_s, command, result)
            return result_message(result)
        state, reason = self.state
        result = rejected(command, in_fault(reason)) if state is State.FAULT else decide(command)
        self._log.add(received_s, self.lease.holder(received_s), command, result)
        return result_message(result)

    def _not_ours(self, message: Message, received_s: float) -> Reason:
        """Return why a command is not looked at, or nothing."""
        if message.session != self.session:
            return Reason(f"this is session {self.session!r} of the server: say hello again", Code.SESSION)
        if self.lease.held_by(str(message.body["token"]), received_s):
            return NOTHING
        holder = self.lease.holder(received_s)
        if holder:
            return Reason(f"{holder} holds the lease", Code.HELD)
        return Reason("nobody holds the lease: ask for it", Code.NO_LEASE)

    def _decided(self, command: Command, generation: int) -> CommandResult:
        """Take a command or reject it; the servo waits for the quick parts alone."""
        governor = self._governor
        with self._lock:
            proposal = governor.propose(command, now(), generation)
        if isinstance(proposal, CommandResult):
            return proposal
        proposal = governor.fit(proposal)
        with self._lock:
            return governor.adopt(proposal, now())

    @property
    def state(self) -> tuple[State, Reason]:
        """Return the arm's state and its reason."""
        return state_of(self._servo, self._governor)

    def report(self) -> Message:
        """Return everything there is to say about the arm now."""
        state, reason = self.state
        governor, counts, moment = self._governor, self._servo.counts, self._servo.moment
        unread = NOTHING if moment is None else moment.problem
        reason = (reason or unread).cut(500)
        body = {
            "state": state.value,
            "reason": str(reason),
            "code": reason.code.value,
            "holder": self.lease.holder(now()),
            "time_s": now(),
            "at_rest": moment is None or moment.at_rest,
            "at_home": moment is not None and moment.at_home,
            "healthy": not self._servo.problem and self._servo.is_alive() and not unread and moment is not None,
            "ticks": counts.ticks,
            "late_ticks": counts.late,
            "passed": governor.counts[Decision.PASS],
            "clamped": governor.counts[Decision.CLAMP],
            "rejected": governor.counts[Decision.REJECT],
            "garbage": self.garbage,
            "faults": governor.faults,
            "camera_ages_s": [_bounded(now() - feed.captured_s) for feed in self._feeds],
            "camera_rates_hz": [_bounded(feed.rate_hz) for feed in self._feeds],
            "camera_lost": [feed.lost for feed in self._feeds],
            "camera_problems": [feed.problem[:500] for feed in self._feeds],
        }
        measured = None if moment is None else moment.measured
        where = np.full(governor.description.size, np.nan) if measured is None else measured.position
        return Message("report", body, (np.asarray(where, np.float64),))

    def stop(self, reason: str) -> Message:
        """Stop the arm; may be called from any thread."""
        self._governor.stop(Reason(f"stopped by {reason[:100] or 'somebody'}", Code.STOPPED))
        return done(State.FAULT, "the arm comes to rest; clear it to go on")

    def _hello(self, message: Message, received_s: float) -> Message:
        description = self._governor.description
        own = {"robot": description.identity, "calibration": description.calibration}
        for name, value in own.items():
            asked = str(message.body[name])
            if asked and asked != value:
                return refused(f"the client expects {name} {asked[:200]!r} and this is {value!r}", Code.IDENTITY)
        return self._welcome()

    def _beat(self, message: Message, received_s: float) -> Message:
        held = self.lease.beat(str(message.body["token"]), received_s)
        if held:
            with self._lock:
                self._governor.beat(received_s)
        return Message("beating", {"received_s": received_s, "held": held, "state": self.state[0].value})

    def _lend(self, message: Message, received_s: float) -> Message:
        token, holder = self.lease.acquire(str(message.body["client"])[:100], received_s)
        if not token:
            return refused(f"{holder} holds the lease", Code.HELD)
        with self._lock:
            if self._governor.state in ARMED:
                self._governor.disarm(Reason("the lease has changed hands", Code.LENT))
            self._governor.lend()
        return Message("leased", {"token": token})

    def _release(self, message: Message, received_s: float) -> Message:
        if problem := self._not_held(message, received_s):
            return problem
        with self._lock:
            self._governor.disarm(Reason("its client has gone", Code.GONE))
        self.lease.release()
        return done(self.state[0], "")

    def _arm(self, message: Message, received_s: float) -> Message:
        if problem := self._not_held(message, received_s):
            return problem
        moment, (state, reason) = self._servo.moment, self.state
        if state is State.FAULT:
            return declined(in_fault(reason, ": clear it first"))
        if moment is None or moment.measured is None:
            why = f" ({moment.problem})" if moment is not None and moment.problem else ""
            return refused(f"the arm does not say where it is{why}", Code.UNREADABLE)
        with self._lock:
            why_not = self._governor.arm(now(), moment.measured)
        return declined(why_not) if why_not else done(self.state[0], "")

    def _disarm(self, message: Message, received_s: float) -> Message:
        if problem := self._not_held(message, received_s):
            return problem
        with self._lock:
            self._governor.disarm()
        return done(self.state[0], "")

    def _home(self, message: Message, received_s: float) -> Message:
        if problem := self._not_held(message, received_s):
            return problem
        with self._lock:
            why_not = self._governor.go_home(now())
        return declined(why_not) if why_not else done(State.RUNNING, "on its way home")

    def _start_scene(self, message: Message, received_s: float) -> Answer:
        if problem := self._not_held(message, received_s):
            return problem
        reset, seed = self._reset, int(message.body["seed"])
        if reset is None:
            return refused("this arm has no scene that could be reset", Code.UNSUPPORTED)
        if not self._governor.at_rest:
            return refused("the arm still moves: a scene is reset at rest", Code.COMING_TO_REST)
        return Later(self._servo.errand(lambda driver: reset(driver, seed)), "the scene is reset")

    def _clear(self, message: Message, received_s: float) -> Answer:
        """Clear a fault: first what made the arm itself stop, where its driver can, in the servo's thread."""
        if self._servo.problem or not self._servo.is_alive():
            return refused(f"{self.state[1]}: start the server again", Code.DEAD_THREAD)
        with self._lock:
            state, why_not = self._governor.state, self._governor.not_clearable
            if state is State.FAULT and why_not:
                return declined(why_not)
            if state is not State.FAULT or not self._can_recover:
                self._governor.clear()
                return done(self.state[0], "")
        return Later(self._servo.errand(self._recover), "what stopped the arm is cleared")

    def _recover(self, driver: ArmDriver) -> None:
        """Have the arm made ready again and leave the fault; raise SailError, and stay in it, where that cannot be."""
        assert isinstance(driver, Recoverable)
        driver.recover()
        driver.read()  # an arm that does not answer is not well
        with self._lock:
            why_not = self._governor.clear()
        if why_not:
            raise SailError(f"{why_not[0].upper()}{why_not[1:]}.")

    def _stop(self, message: Message, received_s: float) -> Message:
        return self.stop(str(message.body["reason"]))

    def _not_held(self, message: Message, received_s: float) -> Message | None:
        if self.lease.held_by(str(message.body["token"]), received_s):
            return None
        holder = self.lease.holder(received_s)
        if holder:
            return refused(f"{holder} holds the lease", Code.HELD)
        return refused("the lease is over: ask for it again", Code.NO_LEASE)


def done(state: State, detail: str) -> Message:
    """Return an answer that says a request was carried out."""
    return Message("done", {"state": state.value, "detail": detail})


def refused(sentence: str, code: Code) -> Message:
    """Return an answer that says why a request was not carried out."""
    return Message("refused", {"reason": sentence[:1500], "code": code.value})


def declined(reason: Reason) -> Message:
    """Return an answer that gives a reason for which a request was not carried out."""
    return refused(reason, reason.code)


def in_fault(reason: Reason, advice: str = "") -> Reason:
    """Return why an arm in FAULT for a reason does nothing."""
    code = Code.STOPPED if reason.code is Code.STOPPED else Code.FAULT
    return Reason(f"the arm is in FAULT ({reason}){advice}", code)


def _bounded(value: float, most: float = 1e6) -> float:
    """Return a number for the wire, which takes finite ones alone: what is none, or too large, is `most`."""
    return min(value, most) if value == value and value > -most else most


def command_of(message: Message) -> Command | None:
    """Return the command in a message, or None where its arrays are not those of one."""
    if message.kind != "command" or len(message.arrays) != 2:
        return None
    times_s, positions = message.arrays
    if times_s.dtype != np.float64 or positions.dtype != np.float64 or times_s.ndim != 1 or positions.ndim != 2:
        return None
    return Command(int(message.body["sequence"]), times_s, positions, message.body["seen_s"])


def result_message(result: CommandResult) -> Message:
    """Return what became of a command as a message."""
    body = {
        "sequence": result.sequence,
        "verdict": result.decision.value,
        "reasons": [reason[:500] for reason in result.reasons[:16]],
        "codes": [reason.code.value for reason in result.reasons[:16]],
        "dropped": result.dropped,
    }
    return Message("ruling", body, (np.asarray(result.positions, np.float64),))
