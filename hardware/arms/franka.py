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

Limits: see `hardware.arms.franka_models`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hardware.arms.franka_models import ARM_JOINTS, MODELS, OPENING_M, franka_description
from hardware.arms.franka_settings import NO_INERTIA, STIFFNESS, load, numbers
from hardware.arms.gripper import GripperThread
from hardware.arms.latch import Latch
from hardware.arms.limits import CAUTIOUS, checked, with_gripper
from hardware.extras import maker_package, said
from robot.core.errors import SailError, UnknownNameError
from robot.core.joints import ArmDescription, Joints, JointState

SHUT_M: Final = 0.005
"""An opening asked for that is no wider means to grasp."""
SETTLE_S: Final = 0.05
HAND_SPEED_M_S: Final = 0.05
"""Half of the maker's greatest speed."""
GREATEST_FORCE_N: Final = 70.0


class FrankaArm:
    """Drive a Franka arm and its hand at `host`, the address of its controller.

    `share` is the part of the maker's velocity, acceleration and jerk that may be used. `rate_hz` is how often
    commands come: the governor's servo_hz. Without `realtime` franky also runs without a real-time kernel, with more
    faults. `grasp_force_n`: at most 70 N. `serial` names the arm where there are several; the package does not tell it.
    `stiffness`: how firmly each joint follows, (7,) in N·m/rad. `payload_kg`: what the hand carries all the time,
    beside itself, with its centre from the flange, (3,) in m, and its inertia about that, (9,) in kg·m², row by row;
    None leaves what is set. `collision_torque_nm`, at each joint, and `collision_force_n`, at the hand: what is a
    collision and stops the arm. `home_gripper`: whether connecting moves the fingers all their way, to learn it.
    Raises SailError for what makes no sense.
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
        stiffness: Sequence[float] = STIFFNESS,
        payload_kg: float | None = None,
        payload_centre_m: Sequence[float] = (0.0, 0.0, 0.0),
        payload_inertia_kg_m2: Sequence[float] = NO_INERTIA,
        collision_torque_nm: float = 20.0,
        collision_force_n: float = 30.0,
        home_gripper: bool = False,
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("Franka model", model, tuple(MODELS))
        if not 0.0 < grasp_force_n <= GREATEST_FORCE_N:
            raise SailError(
                f"A Franka Hand grasps with up to {GREATEST_FORCE_N:g} N, got grasp_force_n={grasp_force_n}."
            )
        self._host = host
        self._rate_hz = rate_hz
        self._has_gripper = gripper
        self._force_n = grasp_force_n
        self._realtime = realtime
        self._stiffness = numbers("stiffness", stiffness, ARM_JOINTS, least=0.0)
        self._load = load(payload_kg, payload_centre_m, payload_inertia_kg_m2)
        torque, force = numbers(
            "collision_torque_nm and collision_force_n", (collision_torque_nm, collision_force_n), 2, 0
        )
        self._collision = {"default_torque_threshold": torque, "default_force_threshold": force}
        self._homes_gripper = gripper and home_gripper
        self._description = franka_description(model, serial, share, gripper)
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
        """Connect, clear what stopped the arm before, and move nothing but a hand to be homed.

        Raises SailError where that fails.
        """
        if self._robot is not None:
            return
        self._franky = maker_package("franky", "franka", "A Franka arm")
        config = self._franky.RealtimeConfig
        realtime = config.Enforce if self._realtime else config.Ignore
        try:
            robot = self._franky.Robot(self._host, realtime_config=realtime, **self._collision)
            self._clear_errors(robot)
            self._set_load(robot)
            if self._has_gripper:
                self._gripper = self._connect_hand(self._homes_gripper)
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
                self._tracker = self._franky.JointImpedanceTracker(robot, stiffness=self._stiffness)
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

    def _set_load(self, robot: Any) -> None:
        """Tell the arm what it carries, so that it neither sags nor takes the weight for a collision."""
        if self._load is None:
            return
        try:
            robot.set_load(*self._load)
        except Exception as problem:
            raise SailError(
                f"The Franka at {self._host} does not take its payload ({said(problem)}): look at payload_kg, "
                "payload_centre_m and payload_inertia_kg_m2."
            ) from problem

    def _connect_hand(self, homing: bool = False) -> GripperThread:
        hand = self._hand = self._franky.Gripper(self._host)
        if homing and not hand.homing():
            raise SailError(
                f"The hand of the Franka at {self._host} could not be homed: see that its fingers are free."
            )
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
