"""Drive a UFACTORY xArm 6 or 7, Lite 6 or 850 with xarm-python-sdk.

Positions are streamed with `set_servo_angle_j` in the controller's servo mode, which carries out only the newest
command: that is the package's documented way, up to 250 Hz. It waits for the controller's short answer. Whoever stops
the arm, with the stop button, a safety input or UFACTORY Studio, takes it out of that mode or pauses it; the driver
enters the mode again only after `recover`.

The gripper hangs on the arm's slow tool bus and is asked at most ten times a second, from a thread of its own, over a
connection of its own: the package lets one call at a time through a connection, and the servo loop must not wait. The
package may set the bus's rate, clear the box's error and set its state on the way; here that is left to `connect` and
`recover`.

Limits: see `hardware.arms.xarm_models`. The gripper's speed, acceleration and jerk are not published: those here are
ours.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

import numpy as np

from hardware.arms.gripper import GripperThread
from hardware.arms.latch import Latch
from hardware.arms.limits import CAUTIOUS, checked, slowed, with_gripper
from hardware.arms.patience import comes_true
from hardware.arms.xarm_models import ACCELERATION, JERK, MODELS, SPEED, found
from hardware.extras import maker_package, said
from robot.core.errors import SailError, UnknownNameError
from robot.core.joints import ArmDescription, Joints, JointState

OPENING_M: Final = 0.085
PULSES: Final = 850
"""What the gripper calls its whole opening."""
SERVO_MODE = 1
READY, PAUSED, STOPPED = 0, 3, 4
"""States of the box. From `PAUSED` up it carries out nothing: 3 paused, 4 stopped, 5 its settings were changed."""
BUTTONS: Final = {
    1: "the stop button on its control box is pressed",
    2: "the emergency input of its control box is open",
    3: "the stop button of its enabling switch is pressed",
}
"""Errors that only somebody at the arm can end. Source: xarm-python-sdk, `core/config/x_code.py`."""
ENTRY_S: Final = 0.5
"""How long the box may take to get ready, or to clear an error."""
GOOD: Final = (0, 2)
"""Answers of the controller to a command it carries out; 2 says that a warning has not been cleared."""
GRIPPER_FAULT: Final = 102


class XArm:
    """Drive an arm of UFACTORY's at `host`.

    `share` is the part of the maker's velocity, acceleration and jerk that may be used; `gripper`: whether the xArm
    Gripper hangs on it.
    """

    def __init__(
        self, host: str, model: str = "xarm7", serial: str = "", share: float = CAUTIOUS, gripper: bool = True
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("xArm model", model, tuple(MODELS))
        if gripper and not MODELS[model].takes_gripper:
            raise SailError(f"A {model} takes no xArm Gripper, and its own is not driven here: set gripper: false.")
        self._host = host
        self._model = model
        self._joints = MODELS[model].size
        self._has_gripper = gripper
        self._description = _description(model, serial, share, gripper)
        self._arm: Any = None
        self._hand: Any = None
        self._gripper: GripperThread | None = None
        self._in_servo = self._mode_told = False
        self._held: Joints | None = None
        self._latch = Latch()

    @property
    def description(self) -> ArmDescription:
        """Return the joints and the maker's limits, slowed by `share`."""
        return self._description

    def connect(self) -> None:
        """Connect and move nothing; raise SailError where the arm is missing, in error, or another model."""
        if self._arm is not None:
            return
        package = maker_package("xarm.wrapper", "xarm", "An xArm")
        try:
            # Limits are the governor's, which also eases an arm back that stands a little outside them.
            arm = package.XArmAPI(self._host, is_radian=True, check_joint_limit=False)
        except Exception as problem:
            raise SailError(f"The xArm at {self._host} cannot be connected ({said(problem)}).") from problem
        self._arm = arm
        self._latch.lift()
        try:
            self._see_that_it_is_ready()
            if self._has_gripper:
                self._hand = package.XArmAPI(self._host, is_radian=True, enable_report=False)
                self._gripper = self._start_gripper()
        except Exception as problem:
            self.close()
            if isinstance(problem, SailError):
                raise
            raise SailError(f"The xArm at {self._host} cannot be connected ({said(problem)}).") from problem

    def read(self) -> JointState:
        """Return where the joints are, with velocities and torques.

        Raises SailError where the arm does not answer, and once where it stopped itself or was stopped.
        """
        arm = self._connected()
        try:
            self._see_that_it_is_ours()
            code, states = arm.get_joint_states(is_radian=True)
        except SailError:
            raise
        except Exception as problem:
            raise SailError(f"The xArm at {self._host} does not answer ({said(problem)}).") from problem
        if code not in GOOD:
            raise SailError(f"The xArm at {self._host} does not answer (code {code}): check its cable and control box.")
        # The package pads to seven joints whatever the arm has.
        values = [np.array(row[: self._joints], np.float64) for row in states]
        if self._gripper is not None:
            if not self._latch.fallen:
                self._gripper.check()
            values = [with_gripper(values[0], self._gripper.opening_m), *(with_gripper(row, 0.0) for row in values[1:])]
        return JointState(values[0], time.monotonic(), values[1], values[2])

    def write(self, position: Joints) -> None:
        """Command joint positions, (J,); the first command enables the motors and enters servo mode.

        Raises SailError where the arm stopped itself or was stopped, and from then on until `recover`.
        """
        arm = self._connected()
        checked(position, self._description.size, "an xArm")
        self._latch.check()
        try:
            self._see_that_it_is_ours()
            if not self._in_servo:
                self._enter_servo()
            code = arm.set_servo_angle_j(position[: self._joints].tolist(), is_radian=True)
        except SailError:
            raise
        except Exception as problem:
            raise self._give_up(f"took no command ({said(problem)})") from problem
        self._expect(code, "follow")
        self._held = None
        if self._gripper is not None:
            self._gripper.ask(float(position[self._joints]))

    def stop(self) -> None:
        """Hold where the arm is now, in servo mode; what the gripper holds stays held."""
        if self._arm is None or self._latch.fallen:
            return
        if self._gripper is not None:
            self._gripper.hold()
        if self._in_servo:
            if self._held is None:  # held once, so that a loaded arm does not sag a little with every stop
                self._held = self.read().position[: self._joints]
            self._expect(self._arm.set_servo_angle_j(self._held.tolist(), is_radian=True), "stop")

    def recover(self) -> None:
        """Clear an error of the arm or its gripper, so that the next `write` enters servo mode; nothing moves.

        Raises SailError where the stop button is pressed, or the error stays.
        """
        self._connected()
        try:
            if self._latch.fallen:
                self._clear_errors()
            if self._gripper is not None and self._gripper.failed:
                self._gripper.close()
                self._hand.clean_gripper_error()
                self._gripper = self._start_gripper()
        except SailError:
            raise
        except Exception as problem:
            raise SailError(f"The xArm at {self._host} does not answer ({said(problem)}).") from problem
        self._latch.lift()

    def close(self) -> None:
        """Hold, with the motors on, and disconnect; closing twice is allowed."""
        arm = self._arm
        if arm is None:
            return
        gripper, self._gripper = self._gripper, None
        if gripper is not None:
            gripper.close()
        with contextlib.suppress(Exception):
            self.stop()
        hand, self._hand = self._hand, None
        self._arm, self._in_servo, self._held = None, False, None
        for connection in (hand, arm):
            with contextlib.suppress(Exception):
                connection.disconnect()

    def _connected(self) -> Any:
        if self._arm is None:
            raise SailError(f"The xArm at {self._host} is not connected.")
        return self._arm

    def _see_that_it_is_ready(self) -> None:
        if not self._arm.connected:
            raise SailError(f"The xArm at {self._host} does not answer: check its power, cable and address.")
        if error := self._error():
            raise SailError(
                f"The xArm at {self._host} is in error {error}: look at the arm, release the stop "
                "button and clear the error in UFACTORY Studio."
            )
        kind, size = int(self._arm.device_type), int(self._arm.axis)
        if (kind, size) != (MODELS[self._model].device_type, self._joints):
            raise SailError(f"The arm at {self._host} is {found(kind, size)} and not {self._model}: choose its model.")

    def _enter_servo(self) -> None:
        self._expect(self._arm.motion_enable(enable=True), "enable its motors")
        self._expect(self._arm.set_mode(SERVO_MODE), "enter servo mode")
        self._expect(self._arm.set_state(READY), "get ready")
        if not comes_true(lambda: self._state() < PAUSED, ENTRY_S):
            raise self._give_up(f"did not get ready within {ENTRY_S:g} s (error {self._error()})")
        self._in_servo, self._mode_told = True, False

    def _state(self) -> int:
        """Return the state of the box, asked now; raise ConnectionError where it does not answer."""
        code, state = self._arm.get_state()
        if code not in GOOD:
            raise ConnectionError(f"code {code}")
        return int(state)

    def _error(self) -> int:
        """Return the error of the box, asked now; raise ConnectionError where it does not answer."""
        code, told = self._arm.get_err_warn_code()
        if code not in GOOD:
            raise ConnectionError(f"code {code}")
        return int(told[0])

    def _see_that_it_is_ours(self) -> None:
        """Raise SailError where the arm was stopped, or put into another mode, since it entered servo mode."""
        if not self._in_servo or not (what := self._stopped()):
            return
        if self._arm.state == PAUSED:
            self._arm.set_state(STOPPED)  # or it would go on to where it was sent last as soon as it is resumed
        raise self._give_up(what)

    def _stopped(self) -> str:
        """Return what became of the arm, or an empty string.

        The package's reports, some five a second, cost nothing to read. They may be older than the entry into servo
        mode, so the box itself is asked before they count; the mode counts once they told of servo mode.
        """
        arm, mode = self._arm, self._arm.mode
        self._mode_told = self._mode_told or mode == SERVO_MODE
        if arm.state >= PAUSED or arm.error_code:
            state, error = self._state(), self._error()
            if error:
                return f"stopped itself with error {error}{f', {BUTTONS[error]}' if error in BUTTONS else ''}"
            if state >= PAUSED:
                return f"was {'paused' if state == PAUSED else 'stopped'} elsewhere (state {state})"
        return f"was put into mode {mode} elsewhere" if self._mode_told and mode != SERVO_MODE else ""

    def _clear_errors(self) -> None:
        """Clear errors and warnings; the arm stays stopped until it enters servo mode."""
        self._arm.clean_error()
        self._arm.clean_warn()
        if comes_true(lambda: not self._error(), ENTRY_S):
            return
        error = self._error()
        if error in BUTTONS:
            raise SailError(f"The xArm at {self._host} stays stopped: {BUTTONS[error]}. End that, then clear it again.")
        raise SailError(
            f"The xArm at {self._host} is in error {error} and stays so: look in UFACTORY Studio what it wants."
        )

    def _expect(self, code: int, what: str) -> None:
        if code not in GOOD:
            raise self._give_up(f"did not {what} (code {code}, error {self._arm.error_code})")

    def _give_up(self, what: str) -> SailError:
        """Let go of the arm until a person asks for it, and return the error that says why."""
        self._in_servo, self._held = False, None
        if self._gripper is not None:
            self._gripper.hold()
        return self._latch.fall(f"The xArm at {self._host} {what}: look at the arm, then clear the fault.")

    def _start_gripper(self) -> GripperThread:
        code = self._hand.set_gripper_enable(True)
        if code not in GOOD:
            raise SailError(
                f"The xArm at {self._host} cannot enable its gripper ({self._fault(code)}): see that it is the xArm "
                "Gripper, plugged in and with its fingers free, and try again; without one, set gripper: false."
            )
        return GripperThread(self._move_gripper, self._opening_m, pause_s=0.1)

    def _move_gripper(self, opening_m: float) -> None:
        pulses = round(min(max(opening_m / OPENING_M, 0.0), 1.0) * PULSES)
        code = self._hand.set_gripper_position(pulses, wait=False, wait_motion=False, check_baud=False)
        if code not in GOOD:
            raise RuntimeError(self._fault(code))

    def _opening_m(self) -> float:
        answer = self._hand.get_gripper_position(check_baud=False)
        # The package answers with a bare number where the gripper is in error.
        code, pulses = answer if isinstance(answer, tuple | list) else (answer, None)
        if code not in GOOD or pulses is None:
            raise RuntimeError(self._fault(code))
        return float(pulses) / PULSES * OPENING_M

    def _fault(self, code: int) -> str:
        """Return what the gripper's answer means."""
        return f"its error {self._hand.get_gripper_err_code()[1]}" if code == GRIPPER_FAULT else f"code {code}"


def _description(model: str, serial: str, share: float, gripper: bool) -> ArmDescription:
    kind = MODELS[model]
    size = kind.size

    def joined(arm: Joints, hand: float) -> Joints:
        return with_gripper(arm, hand) if gripper else arm

    names = tuple(f"joint{number}" for number in range(1, size + 1))
    return ArmDescription(
        name=model,
        joint_names=(*names, "gripper") if gripper else names,
        units=("rad",) * size + (("m",) if gripper else ()),
        low=joined(kind.low, 0.0),
        high=joined(kind.high, OPENING_M),
        velocity=slowed(joined(np.full(size, SPEED), 0.1), share, size),
        acceleration=slowed(joined(np.full(size, ACCELERATION), 1.0), share, size),
        jerk=slowed(joined(np.full(size, JERK), 20.0), share, size),
        home=joined(kind.home, OPENING_M),
        serial=serial,
    )
