"""The servo thread: reads the arm, asks the governor, writes the arm; 250 times a second, on a grid of deadlines."""

from __future__ import annotations

import contextlib
import gc
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from hardware.server.complaints import Complaints
from hardware.server.precedence import SERVO, spare_pauses, take_precedence
from hardware.server.safety import ENDING, Governor, Setpoint
from hardware.server.servo_record import ServoRecord
from hardware.wire.clocks import now
from hardware.wire.reasons import NOTHING, Code, Reason
from hardware.wire.states import ARMED, State
from robot.core.errors import SailError
from robot.core.joints import Joints, JointState
from robot.core.protocols import ArmDriver, KnowsSuccess


@dataclass(frozen=True, slots=True)
class Moment:
    """Hold what the servo last did; one is made every period, and is never changed afterwards.

    `problem`: why the arm could not be read in this period; `measured_s`: when it was read last, on this machine's
    monotonic clock, −inf before the first reading.
    """

    setpoint: Setpoint
    measured: JointState | None
    time_s: float
    reason: Reason
    applied: int = -1
    applied_s: float = 0.0
    at_rest: bool = True
    at_home: bool = False
    succeeded: bool | None = None
    problem: Reason = NOTHING
    measured_s: float = float("-inf")


@dataclass(slots=True)
class ServoCounts:
    """Count servo periods, those that came late by more than one, and the latest's lateness in s."""

    ticks: int = 0
    late: int = 0
    lateness_s: float = 0.0


@dataclass(slots=True)
class _Errand:
    """Something to be done by the thread that may use the driver."""

    work: Callable[[ArmDriver], object]
    answer: Future[object] = field(default_factory=Future)


class Servo(threading.Thread):
    """Run an arm. All calls of the driver are made by this thread, from `connect` to `close`.

    `watch` is called every period and returns what is wrong elsewhere, or nothing. `realtime` asks the system
    for precedence and spares this process garbage collection; use it in a process that does nothing else.
    """

    def __init__(
        self,
        driver: ArmDriver,
        governor: Governor,
        lock: threading.Lock,
        record: ServoRecord,
        complaints: Complaints,
        watch: Callable[[], Reason] = lambda: NOTHING,
        realtime: bool = False,
    ) -> None:
        super().__init__(name="servo", daemon=True)
        self._driver, self._governor, self._lock = driver, governor, lock
        self._complaints, self._watch, self._realtime = complaints, watch, realtime
        self._errands: queue.SimpleQueue[_Errand] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._failed: SailError | None = None
        self.ready = threading.Event()
        self.record = record
        self.counts = ServoCounts()
        self.problem: Reason = NOTHING
        self.busy = False
        self.rest_s = max(2.0, 0.5 + governor.longest_brake_s)
        self.beat_s = now()
        self.moment: Moment | None = None
        self._measured_s = float("-inf")

    def connect(self, timeout_s: float = 30.0) -> None:
        """Start the thread and wait until the arm is connected; raise what its driver raised."""
        self.start()
        if not self.ready.wait(timeout_s):
            raise SailError(f"The arm did not answer within {timeout_s:g} s: see whether it is powered and unlocked.")
        if self._failed is not None:
            raise self._failed

    def errand(self, work: Callable[[ArmDriver], object]) -> Future[object]:
        """Have this thread do something with the driver between two periods, while the arm rests."""
        errand = _Errand(work)
        self._errands.put(errand)
        return errand.answer

    def end(self, timeout_s: float = 20.0) -> None:
        """Come to rest, let the arm hold by itself, disconnect and end the thread, waiting for it up to `timeout_s`.

        The arm takes up to `rest_s` to rest; how long its driver takes to disconnect is up to its maker.
        """
        self._ending.set()
        if self.is_alive():
            self.join(timeout_s)

    def fault(self, reason: Reason) -> None:
        """Be in FAULT."""
        with self._lock:
            self._governor.fail(reason)

    def run(self) -> None:
        """Connect, run until the end, disconnect."""
        try:
            self._driver.connect()
            measured = self._driver.read()
            if not np.all(np.isfinite(measured.position)):
                raise SailError(f"The arm reads positions that are not finite: {measured.position.tolist()}.")
            with self._lock:
                self._governor.place(measured, afresh=True)
        except Exception as error:
            self._failed = error if isinstance(error, SailError) else SailError(f"The arm cannot be used: {error!r}.")
            self.ready.set()
            with contextlib.suppress(Exception):
                self._driver.close()
            return
        try:
            if self._realtime:
                spare_pauses()
                take_precedence(SERVO)
            self._loop()
        except BaseException as error:
            self.problem = Reason(f"the servo thread has died ({type(error).__name__}: {error})", Code.DEAD_THREAD)
            self._complaints.note("the servo thread has died", repr(error))
        finally:
            self.ready.set()
            if self.problem:
                self.fault(self.problem)
            for release in (self._driver.stop, self._driver.close):
                with contextlib.suppress(Exception):
                    release()
            if self._realtime:
                gc.unfreeze()

    def _loop(self) -> None:
        period_s = self._governor.period_s
        deadline_s = now() + period_s
        rest_by_s = float("inf")
        while True:
            if self._ending.is_set() and rest_by_s == float("inf"):
                with self._lock:
                    self._governor.end()
                    self._governor.disarm(ENDING)
                rest_by_s = now() + self.rest_s
            wait_s = deadline_s - now()
            if wait_s > 0:
                time.sleep(wait_s)
            moment = self._tick(deadline_s)
            self.ready.set()
            if (self._ending.is_set() and not moment.setpoint.write) or now() > rest_by_s:
                return
            if not self._errands.empty() and moment.at_rest:
                self._do_errands()
                deadline_s = now()
            deadline_s += period_s
            behind = now() - deadline_s
            if behind > period_s:
                # Periods that were missed are not made up for: the arm has stood still meanwhile.
                self.counts.late += 1
                deadline_s += np.floor(behind / period_s) * period_s

    def _tick(self, deadline_s: float) -> Moment:
        began_s = now()
        self.counts.ticks += 1
        self.counts.lateness_s = began_s - deadline_s
        measured, unread = self._read()
        problem = unread or self._watch()
        governor = self._governor
        with self._lock:
            if problem and governor.state in ARMED:
                governor.fail(problem)
            setpoint = governor.step(deadline_s, _by(deadline_s, measured))
            reason, at_rest, at_home, applied = governor.reason, governor.at_rest, governor.at_home, governor.applied
        written = setpoint.write and self._write(setpoint.position)
        if setpoint.release:
            self._stop_driver()
        done_s = now()
        before = self.moment
        applied_s = done_s if before is None or before.applied != applied else before.applied_s
        if measured is not None:
            self._measured_s = measured.time_s
        moment = Moment(
            setpoint,
            measured,
            done_s,
            reason,
            applied,
            applied_s,
            at_rest,
            at_home,
            self._succeeded(),
            unread,
            self._measured_s,
        )
        self.moment = moment
        self.beat_s = done_s
        self.record.add(done_s, deadline_s, setpoint, written, None if measured is None else measured.position)
        if unread:  # said last: what the arm does comes before what is said of it
            self._complaints.note("the arm cannot be read", unread)
        return moment

    def _succeeded(self) -> bool | None:
        """Return what a simulated arm knows of its task; a physical one does not say."""
        knows = self._driver.succeeded() if isinstance(self._driver, KnowsSuccess) else None
        return None if knows is None else bool(knows)

    def _read(self) -> tuple[JointState | None, Reason]:
        try:
            measured = self._driver.read()
        except Exception as error:
            return None, Reason(f"the arm cannot be read: {error}", Code.UNREADABLE)
        if measured.position.shape != (self._governor.description.size,):
            return None, Reason("the arm reads another number of joints than it has", Code.UNREADABLE)
        if not (np.all(np.isfinite(measured.position)) and np.isfinite(measured.time_s)):
            return None, Reason("the arm reads a position that is not finite", Code.UNREADABLE)
        return measured, NOTHING

    def _write(self, position: Joints) -> bool:
        try:
            self._driver.write(position)
            return True
        except Exception as error:
            self.fault(Reason(f"the arm cannot be sent anywhere: {error}", Code.UNWRITABLE))
            self._complaints.note("the arm cannot be sent anywhere", str(error))
            return False

    def _stop_driver(self) -> None:
        try:
            self._driver.stop()
        except Exception as error:
            self._complaints.note("the arm cannot be told to hold", str(error))

    def _do_errands(self) -> None:
        self.busy = True
        try:
            while not self._errands.empty():
                errand = self._errands.get()
                try:
                    result = errand.work(self._driver)
                    measured = self._driver.read()
                    with self._lock:
                        moved = self._governor.place(measured)
                    if moved and self.moment is not None:
                        # The arm was moved by something else than this servo: what follows is no jump of ours.
                        self.record.add(now(), now(), self.moment.setpoint, False, measured.position)
                    if self.moment is not None:
                        # Whoever is answered now must find the arm as it is now.
                        self._measured_s = measured.time_s
                        self.moment = replace(
                            self.moment, measured=measured, problem=NOTHING, measured_s=measured.time_s
                        )
                    errand.answer.set_result(result)
                except Exception as error:
                    errand.answer.set_exception(error)
        finally:
            self.busy = False


def _by(deadline_s: float, measured: JointState | None) -> JointState | None:
    """Return a reading as of its period's deadline, where the period came late and the arm was read after it."""
    if measured is None or not deadline_s < measured.time_s <= now():
        return measured
    return replace(measured, time_s=deadline_s)


def state_of(servo: Servo, governor: Governor) -> tuple[State, Reason]:
    """Return the state of an arm and its reason; an arm whose servo thread has died or hangs is in FAULT."""
    if servo.problem or not servo.is_alive():
        return State.FAULT, servo.problem or Reason("the servo thread has ended", Code.DEAD_THREAD)
    if not servo.busy and now() - servo.beat_s > 1.0:
        silent = f"the servo thread has not answered for {now() - servo.beat_s:.1f} s"
        return State.FAULT, Reason(silent, Code.DEAD_THREAD)
    return governor.said
