"""Drive a Franka (FR3 or Panda) with franky-control.

franky offers no stream of joint positions at 250 Hz: its position motions plan a new trajectory for every target. For
streaming it documents `JointImpedanceTracker`, a joint impedance controller that runs at 1 kHz in franky's own
real-time thread and follows the newest reference. That is what is used here, with a reference velocity beside each
position so that damping does not make the arm lag. It begins with the first command and not before, so that
connecting moves nothing; until then the arm stands on its own brakes or controller. A reflex, or the stop button, ends
the tracker; the next one is made only after `recover`, and begins where the arm then stands.

The hand takes one command at a time and belongs to threads of its own; a stop interrupts it, which libfranka tells by
an exception. It begins once an opening has been asked for unchanged for a moment. Asked to shut, to `SHUT_M` or less,
it grasps with a set force whatever is between the fingers, once; any other opening it moves to, wider or narrower.

Limits: Franka Robotics, Franka Control Interface documentation, "Robot limits", for FR3 and for Panda, and "Franka
Hand" for the gripper. An FR3's velocity limit depends on its joint positions; taken here is the box that the maker
gives as a simpler, smaller choice, inside which the velocity limits are constant. The hand moves at a speed of its own,
whatever the governor's set-point does; the limits of that are ours.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

import numpy as np

from hardware.arms.gripper import GripperThread
from hardware.arms.latch import Latch
from hardware.arms.limits import CAUTIOUS, checked, joints, slowed, with_gripper
from hardware.extras import maker_package, said
from robot.arm import ArmDescription, Joints, JointState
from robot.errors import SailError, UnknownNameError

ARM_JOINTS: Final = 7
MODELS: Final = {
    "fr3": {
        "low": joints(-2.3093, -1.5133, -2.4937, -2.7478, -2.4800, 0.8521, -2.6895),
        "high": joints(2.3093, 1.5133, 2.4937, -0.4461, 2.4800, 4.2094, 2.6895),
        "velocity": joints(2.0, 1.0, 1.5, 1.25, 3.0, 1.5, 3.0),
        "acceleration": joints(*[10.0] * 7),
        "jerk": joints(*[5000.0] * 7),
    },
    "panda": {
        "low": joints(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        "high": joints(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        "velocity": joints(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
        "acceleration": joints(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
        "jerk": joints(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
    },
}
HOME: Final = joints(0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4)
"""The maker's own ready position."""
OPENING_M: Final = 0.08
SHUT_M: Final = 0.005
"""An opening asked for that is no wider means to grasp."""
SETTLE_S: Final = 0.05
HAND_SPEED_M_S: Final = 0.05
"""Half of the maker's greatest speed."""
STIFFNESS: Final = joints(600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
"""N·m/rad, those of the maker's own example of joint impedance control."""


class FrankaArm:
    """Drive a Franka arm and its hand at `host`, the address of its controller.

    `share` is the part of the maker's velocity, acceleration and jerk that may be used. `rate_hz` is how often
    commands come: the governor's servo_hz. Without `realtime` franky also runs without a real-time kernel, with more
    faults. `grasp_force_n`: at most 70 N. `serial` names the arm where there are several; the package does not tell it.
    """

    def __init__(
        self,
        host: str,
        model: str = "fr3",
        serial: str = "",
        share: float = CAUTIOUS,
        rate_hz: float = 250.0,
        gripper: bool = True,
        grasp_force_n: float = 20.0,
        realtime: bool = True,
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("Franka model", model, tuple(MODELS))
        self._host = host
        self._rate_hz = rate_hz
        self._has_gripper = gripper
        self._force_n = grasp_force_n
        self._realtime = realtime
        self._description = _description(model, serial, share, gripper)
        self._franky: Any = None
        self._robot: Any = None
        self._hand: Any = None
        self._gripper: GripperThread | None = None
        self._tracker: Any = None
        self._reference: Joints | None = None
        self._latch = Latch()

    @property
    def description(self) -> ArmDescription:
        """Return the joints and the maker's limits, slowed by `share`."""
        return self._description

    @property
    def rate_hz(self) -> float:
        """Return how many commands a second it expects."""
        return self._rate_hz

    def connect(self) -> None:
        """Connect, clear what stopped the arm before, and move nothing; raise SailError where that fails."""
        if self._robot is not None:
            return
        self._franky = maker_package("franky", "franka", "A Franka arm")
        config = self._franky.RealtimeConfig
        try:
            robot = self._franky.Robot(self._host, realtime_config=config.Enforce if self._realtime else config.Ignore)
            self._clear_errors(robot)
            if self._has_gripper:
                self._gripper = self._connect_hand()
        except SailError:
            raise
        except Exception as problem:
            raise SailError(
                f"The Franka at {self._host} cannot be connected ({said(problem)}): unlock its joints and activate FCI "
                "in Desk, release the stop button, and see that no other program holds the arm."
            ) from problem
        self._robot = robot
        self._latch.lift()

    def read(self) -> JointState:
        """Return where the joints are, with velocities and torques.

        Raises SailError where the arm does not answer, and once where it stopped itself or was stopped.
        """
        robot = self._connected()
        self._see_that_it_is_in_control()
        try:
            state = robot.state
        except Exception as problem:
            raise SailError(f"The Franka at {self._host} does not answer ({said(problem)}).") from problem
        arm = [np.asarray(values, np.float64) for values in (state.q, state.dq, state.tau_J)]
        if self._gripper is None:
            position, velocity, effort = arm
        else:
            if not self._latch.fallen:
                self._gripper.check()
            position = with_gripper(arm[0], self._gripper.opening_m)
            velocity, effort = with_gripper(arm[1], 0.0), with_gripper(arm[2], 0.0)
        return JointState(position, time.monotonic(), velocity, effort)

    def write(self, position: Joints) -> None:
        """Command joint positions, (J,); the first command takes control of the arm where it stands.

        Raises SailError where the arm stopped itself, such as after a collision, and from then on until `recover`.
        """
        robot = self._connected()
        checked(position, self._description.size, "a Franka")
        self._latch.check()
        self._see_that_it_is_in_control()
        arm = position[:ARM_JOINTS].copy()
        velocity = np.zeros(ARM_JOINTS) if self._reference is None else (arm - self._reference) * self._rate_hz
        try:
            if self._tracker is None:
                self._tracker = self._franky.JointImpedanceTracker(robot, stiffness=STIFFNESS)
            # A jump of the reference is the governor's to prevent; its velocity is never told as more than allowed.
            self._tracker.set_target(arm, np.clip(velocity, -self._fastest, self._fastest))
        except Exception as problem:
            raise self._give_up(f"took no command ({said(problem)})") from problem
        self._reference = arm
        if self._gripper is not None:
            opening_m = float(position[ARM_JOINTS])
            self._gripper.ask(opening_m if opening_m > SHUT_M else 0.0)

    def stop(self) -> None:
        """Hold where the arm is now, in its own impedance control; what the hand holds stays held."""
        if self._robot is None or self._latch.fallen:
            return
        if self._gripper is not None:
            self._gripper.hold()
        # Held once: holding the measured position again and again would let a loaded arm sag.
        if self._tracker is None or self._reference is None or not self._tracker.is_running:
            return
        try:
            self._tracker.set_target(np.asarray(self._robot.state.q, np.float64), np.zeros(ARM_JOINTS))
        except Exception as problem:
            raise self._give_up(f"took no stop ({said(problem)})") from problem
        self._reference = None

    def recover(self) -> None:
        """Clear a reflex or a fault of the hand, so that the next `write` begins where the arm stands.

        Raises SailError where that fails.
        """
        robot = self._connected()
        try:
            if self._latch.fallen:
                self._end_tracker()
                self._clear_errors(robot)
            if self._gripper is not None and self._gripper.failed:
                self._gripper.close()
                self._hand = None  # the hand serves one connection at a time
                self._gripper = self._connect_hand()
        except SailError:
            raise
        except Exception as problem:
            raise SailError(
                f"The Franka at {self._host} is not ready again ({said(problem)}): look at it in Desk, and clear the "
                "fault again."
            ) from problem
        self._latch.lift()

    def close(self) -> None:
        """Come to rest, give up control and disconnect; the arm then stands on its own controller and brakes."""
        self._end_tracker()
        gripper, self._gripper = self._gripper, None
        if gripper is not None:
            gripper.close()
        self._hand = self._robot = None

    @property
    def _fastest(self) -> Joints:
        return self._description.velocity[:ARM_JOINTS]

    def _connected(self) -> Any:
        if self._robot is None:
            raise SailError(f"The Franka at {self._host} is not connected.")
        return self._robot

    def _end_tracker(self) -> None:
        """End what holds the arm, coming to rest; an arm that stopped itself is at rest already."""
        tracker, self._tracker = self._tracker, None
        self._reference = None
        if tracker is not None:
            with contextlib.suppress(Exception):  # what ended it before is raised here, and was told
                tracker.stop()

    def _clear_errors(self, robot: Any) -> None:
        if robot.state.robot_mode == self._franky.RobotMode.UserStopped:
            raise SailError(f"The stop button of the Franka at {self._host} is pressed: release it and try again.")
        if robot.has_errors and not robot.recover_from_errors():
            raise SailError(f"The Franka at {self._host} is in error and stays so: look in Desk what it says.")

    def _see_that_it_is_in_control(self) -> None:
        """Raise SailError where the arm ended the tracker, which only a stop of its own or a person's does."""
        if self._tracker is not None and not self._latch.fallen and not self._tracker.is_running:
            raise self._give_up(f"stopped itself or was stopped ({self._why()})")

    def _give_up(self, what: str) -> SailError:
        """Let go of the arm until a person asks for it, and return the error that says why."""
        if self._gripper is not None:
            self._gripper.hold()
        return self._latch.fall(f"The Franka at {self._host} {what}: look what is in its way, then clear the fault.")

    def _connect_hand(self) -> GripperThread:
        hand = self._hand = self._franky.Gripper(self._host)
        return GripperThread(self._move_hand, lambda: float(hand.width), hand.stop, settle_s=SETTLE_S)

    def _move_hand(self, opening_m: float) -> None:
        if opening_m > SHUT_M:
            self._hand.move(opening_m, HAND_SPEED_M_S)
        else:
            self._hand.grasp(0.0, HAND_SPEED_M_S, self._force_n, OPENING_M, OPENING_M)

    def _why(self) -> str:
        """Return what ended the arm's control."""
        try:
            self._robot.join_motion(timeout=0.0)
        except Exception as problem:
            return said(problem)
        return "its control ended"


def _description(model: str, serial: str, share: float, gripper: bool) -> ArmDescription:
    limits = MODELS[model]
    names, units = tuple(f"joint{number}" for number in range(1, ARM_JOINTS + 1)), ("rad",) * ARM_JOINTS
    extra = {"low": 0.0, "high": OPENING_M, "velocity": 0.4, "acceleration": 4.0, "jerk": 80.0}
    values = {key: with_gripper(limit, extra[key]) if gripper else limit for key, limit in limits.items()}
    return ArmDescription(
        name=f"franka-{model}",
        joint_names=(*names, "gripper") if gripper else names,
        units=(*units, "m") if gripper else units,
        low=values["low"],
        high=values["high"],
        velocity=slowed(values["velocity"], share, ARM_JOINTS),
        acceleration=slowed(values["acceleration"], share, ARM_JOINTS),
        jerk=slowed(values["jerk"], share, ARM_JOINTS),
        home=with_gripper(HOME, OPENING_M) if gripper else HOME,
        serial=serial,
    )
