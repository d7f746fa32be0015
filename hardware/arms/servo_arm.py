"""Drive an arm made of bus servos: what Feetech's and Robotis's packages, which are built alike, have in common.

All servos are read in one exchange and commanded in one. Torque comes on with the first command and not before, and
only after each servo has been told to be where it is, and has been seen to have understood, so that nothing jumps.

A servo that loses its torque, or reports an error, is noticed while the arm runs (see `hardware.arms.servo_watch`).
After that, and after a command that was not taken, nothing is commanded any more, since some servos take a goal as a
reason to turn their torque on; `connect` or `recover` make the arm ready again, because a person asked for it.

Without power such an arm falls. On `close` the servos are therefore let go only where the arm lies in its rest pose,
and otherwise go on holding; a warning says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from hardware.arms.calibration import COUNTS_PER_TURN, Counts, ServoCalibration
from hardware.arms.limits import checked
from hardware.arms.reach import Reach
from hardware.arms.servo_bus import Answer, ServoBus, SilentError
from hardware.arms.servo_kind import Register, ServoKind
from hardware.arms.servo_watch import ServoWatch
from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints, JointState

log = logging.getLogger(__name__)

AT_REST_RAD: Final = 0.2
SLACK: Final = 15
"""Counts, a little over a degree, that a joint may lie beyond its servo's own limits when torque comes on."""
WHAT_TO_DO: Final = "hold the arm up, see to the cause, and give `sail arm clear`"


class ServoArm:
    """Drive an arm of bus servos at a serial `port`, such as /dev/ttyACM0. A family of servos adds what is its own.

    `rate_hz` is how often commands come: the governor's servo_hz. Raises SailError where the bus is too slow for it.
    """

    kind: ClassVar[ServoKind]
    joints: ClassVar[Mapping[str, int]]
    """Joint → the servo's id, as the makers number them."""
    followers: ClassVar[Mapping[int, int]] = {}
    """Servos that follow another by themselves: follower → leader."""
    ways: ClassVar[Mapping[str, str]]
    """Joint → what it does when its position grows."""
    zero_pose: ClassVar[str]
    """How the arm stands where every joint is at zero."""

    def __init__(
        self, port: str, description: ArmDescription, calibration: ServoCalibration, rate_hz: float = 100.0
    ) -> None:
        self._where = f"The {description.name} at {port}"
        self._description = description
        self._calibration = calibration
        self.servos: dict[str, int] = dict(zip(calibration.joint_names, calibration.ids, strict=True))
        self.bus = ServoBus(port, self.kind, self._where, labels(self.servos, self.followers))
        self._watch = ServoWatch(self.bus, calibration.ids, self.followers)
        self.kind.check_rate(rate_hz, len(calibration.ids), min(len(self._watch.singly), 1), description.name)
        self._rate_hz = rate_hz
        self._reach = Reach(calibration)
        self._own_low = self._own_high = calibration.low
        self._connected = False
        self._in_control = False
        self._has_torque = False
        self._held = False
        self._lost = ""
        self._refused = ""

    @property
    def description(self) -> ArmDescription:
        """Return the joints, with limits inside the calibrated range."""
        return self._description

    @property
    def rate_hz(self) -> float:
        """Return how many commands a second it expects."""
        return self._rate_hz

    def connect(self) -> None:
        """Open the bus and find every servo, moving nothing; raise SailError for what is missing or set up wrongly."""
        if self._connected:
            return
        self.bus.open()
        self._connected = True
        self._lost = self._refused = ""
        try:
            self._prepare()
            self.read()
        except BaseException:
            self.close()
            raise

    def check_servo(self, servo: int, settings: Answer) -> None:
        """Raise SailError where a servo is set up so that it would be dangerous; a family of servos may add to it.

        `settings` are the registers that outlive the power.
        """
        kind = self.kind
        mode = settings.raw(kind.mode)
        if mode not in kind.position_modes:
            raise SailError(
                f"{self._where}: {self.bus.label(servo)} is in operating mode {kind.mode_of(mode)} and not in one that "
                "goes to a position: `sail arm setup modes=true` sets it while the arm has no torque."
            )

    def wanted(self, servo: int, model_number: int) -> dict[Register, int]:
        """Return what a servo is to keep in which register, by its id and by what it says of its model."""
        raise NotImplementedError

    def limit_gripper(self) -> None:
        """Let the gripper press no harder than is good for it until its power goes; a family of servos says how."""

    def protect_gripper(self) -> None:
        """Have the gripper's servo protect itself, by what outlives its power; a family of servos says how."""

    def mend_servos(self) -> None:
        """End the servos' errors, as far as that lets no joint fall; a family of servos says how."""

    def read(self) -> JointState:
        """Return where the joints are and how fast.

        Raises SailError where a servo does not answer, has lost its torque or reports an error.
        """
        position, velocity = self._measured()
        calibration = self._calibration
        return JointState(
            calibration.positions(position),
            time.monotonic(),
            np.asarray(velocity * calibration.direction * self.kind.velocity_rad_s, np.float64),
        )

    def counts(self) -> Counts:
        """Return what the servos read, int64 (J,), before any calibration; raise SailError as `read` does."""
        return self._measured()[0]

    def energised(self) -> list[str]:
        """Return what the servos are called that have torque; raise SailError where one does not answer."""
        self._see_that_it_is_connected()
        answers = self.bus.gather((*self._calibration.ids, *self.followers), self.kind.vital)
        return [self.bus.label(servo) for servo, answer in answers.items() if answer.raw(self.kind.torque)]

    def is_limp(self) -> bool:
        """Return whether the arm can be moved by hand; raise SailError where a servo does not answer."""
        return not self.energised()

    def write(self, position: Joints) -> None:
        """Command joint positions, (J,); the first command turns the torque on, and moves nothing before it.

        A joint is never sent beyond its calibrated range, or where it lay outside it, any further out. Raises SailError
        where a servo refuses or has failed, and then before every further command, touching nothing.
        """
        self._see_that_it_is_connected()
        checked(position, self._description.size, self._description.name)
        if reason := self._unready():
            raise SailError(f"{self._where} takes no command: {reason}.")
        try:
            if not self._in_control:
                self._take_control()
            self._command(self._reach.of(self._calibration.counts(position)))
        except SailError as problem:
            self._refused = self._clause(problem)
            raise
        self._held = False

    def stop(self) -> None:
        """Hold where the arm is now, with torque; before the first command there is nothing to hold.

        An arm that takes no command any more is left alone: its servos hold where they were last sent.
        """
        if not self._connected or not self._in_control or self._held or self._unready():
            return
        # Held once: an arm that hangs below its command would sag a little with every stop.
        self._hold_here()
        self._held = True

    def recover(self) -> None:
        """Make an arm ready that lost its torque, reported an error or refused; move nothing.

        Every servo is looked at anew, and nothing is mended in a way that would let a joint fall. The next command
        takes control again from where the arm is then. Raises SailError where a servo is not well.
        """
        self._see_that_it_is_connected()
        if not (self._unready() or not self.bus.is_open):
            return
        if not self.bus.is_open:
            self.bus.open()
        self._in_control = False
        self.mend_servos()
        self._prepare()
        self._lost = self._refused = ""
        self._watch.in_doubt = False

    def close(self) -> None:
        """Let go of the servos where the arm rests, hold on elsewhere, and close the bus; closing twice is allowed."""
        if not self._connected:
            return
        try:
            if self._has_torque:
                self._let_go_where_safe()
        except SailError as problem:
            log.warning("%s may still be energised: %s", self._where, problem)
        finally:
            self._connected = self._in_control = self._has_torque = self._held = False
            self.bus.close()

    def _prepare(self) -> None:
        """Look every servo over, as it is found; raise SailError for what is missing, in error or set up wrongly."""
        kind = self.kind
        for servo in (*self._calibration.ids, *self.followers):
            if not self.bus.ping(servo):
                raise SailError(
                    f"{self._where} has no {self.bus.label(servo)}: check its cable and the supply's power."
                )
        if problem := self._watch.see_all(holds=False):
            raise SailError(f"{self._where}: {problem}; hold the arm up and switch its power off and on.")
        settings = {
            servo: self.bus.row(servo, Register(kind.identity.address, kind.ram - kind.identity.address))
            for servo in (*self._calibration.ids, *self.followers)
        }
        for servo, answer in settings.items():
            self.check_servo(servo, answer)
        own = [settings[servo] for servo in self._calibration.ids]
        self._own_low = np.array([kind.signed(one.raw(kind.least), kind.least.size) for one in own], np.int64)
        self._own_high = np.array([kind.signed(one.raw(kind.most), kind.most.size) for one in own], np.int64)
        self.limit_gripper()
        self.protect_gripper()

    def _see_that_it_is_connected(self) -> None:
        if not self._connected:
            raise SailError(f"{self._where} is not connected.")

    def _unready(self) -> str:
        """Return why the arm takes no command, a clause, or an empty string."""
        if reason := self._lost or self._refused:
            return f"{reason}; {WHAT_TO_DO}"
        return "its bus was silent, and its servos have not been looked at since" if self._watch.in_doubt else ""

    def _clause(self, problem: SailError) -> str:
        """Return what went wrong, without saying again which arm it is."""
        return str(problem).removeprefix(f"{self._where}: ").removeprefix(f"{self._where} ").removesuffix(".")

    def _measured(self) -> tuple[Counts, Counts]:
        """Return every servo's position and velocity as it reads them, int64 (J,) each."""
        self._see_that_it_is_connected()
        kind = self.kind
        try:
            answers = self.bus.gather(self._calibration.ids, kind.block)
            problem = self._watch.see(answers, self._in_control)
        except SilentError:
            self._watch.in_doubt = True
            raise
        self._lost = problem or self._lost
        if self._lost:
            raise SailError(f"{self._where}: {self._lost}; {WHAT_TO_DO}.")
        columns = (
            np.array([kind.signed(answer.raw(register), register.size) for answer in answers.values()], np.int64)
            for register in (kind.position, kind.velocity)
        )
        return next(columns), next(columns)

    def _command(self, counts: Counts) -> None:
        goals = dict(zip(self._calibration.ids, counts.tolist(), strict=True))
        self.bus.command(self.kind.goal, goals)

    def _take_control(self) -> None:
        """Turn the torque on with every servo told to be where it is, and see that each has understood."""
        kind, ids = self.kind, self._calibration.ids
        here, _ = self._measured()
        self._see_that_it_stays(here)
        self._has_torque = True
        sent = self._hold_here()
        goals = self.bus.gather(ids, kind.goal)
        for servo, count in zip(ids, sent.tolist(), strict=True):
            if goals[servo].raw(kind.goal) != count:
                raise SailError(f"{self._where}: {self.bus.label(servo)} did not take {count} as its goal.")
        for servo in ids:
            self.bus.set_register(servo, kind.torque, 1)
        self.limit_gripper()
        if problem := self._watch.see_all(holds=True):
            raise SailError(f"{self._where}: {problem}.")
        self._in_control = True

    def _see_that_it_stays(self, here: Counts) -> None:
        """Raise SailError for a servo that would not stay where it is, because it does not go there by itself."""
        for number, (joint, servo) in enumerate(self.servos.items()):
            low, high = int(self._own_low[number]), int(self._own_high[number])
            if low >= high:  # a servo without limits of its own
                low, high = 0, COUNTS_PER_TURN - 1
            low, high = max(low - SLACK, 0), min(high + SLACK, COUNTS_PER_TURN - 1)
            if not low <= here[number] <= high:
                raise SailError(
                    f"{self._where}: {joint} (servo {servo}) is at count {here[number]}, outside the {low}–{high} that "
                    "its servo goes to: with torque it would jump there, so move it inside by hand first."
                )

    def _hold_here(self) -> Counts:
        """Command every servo to be where it is, within its calibrated range or not, and return where that is."""
        here, _ = self._measured()
        self._reach.begin(here)
        self._command(here)
        return here

    def _let_go_where_safe(self) -> None:
        self.stop()
        away = np.abs(self.read().position - self._description.home)[:-1]  # a gripper holds no arm up
        if np.any(away > AT_REST_RAD):
            log.warning(
                "%s goes on holding, because it would fall: it is %.2f rad from its rest pose. Support it, then switch "
                "its power off.",
                self._where,
                away.max(),
            )
            return
        for servo in self._calibration.ids:
            self.bus.set_register(servo, self.kind.torque, 0)


def parts(arm: ServoArm) -> dict[str, int]:
    """Return every servo of an arm by what it is called: its joint, or that of the servo that it follows."""
    named = labels(arm.servos, arm.followers)
    return {named[servo]: servo for servo in sorted(named)}


def labels(servos: Mapping[str, int], followers: Mapping[int, int]) -> dict[int, str]:
    """Return what servos are called in a sentence: by their joint, and a follower by that of its leader."""
    named = {servo: joint for joint, servo in servos.items()}
    return named | {follower: f"{named.get(leader, '')}_second" for follower, leader in followers.items()}
