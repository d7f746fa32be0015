"""Drive a Universal Robots e-Series arm with ur-rtde, and a Robotiq gripper on its wrist.

Positions are streamed with `servoJ`, which the controller follows with a look-ahead and a gain of its own; that is the
package's documented way. It names three further arguments: speed and acceleration are not used by the maker, and the
time is that of one servo period. The last target stays in force, so an arm whose server dies settles there.

ur-rtde opens a connection for commands, which loads a script into the controller, and another for states. The
connection for states goes on giving the last values when the wire is cut, so its time stamp is watched.

A protective or safeguard stop only pauses the script: once the pendant resumes it, or a light curtain is free again, it
goes on to its last target. So the driver ends the script as soon as it sees such a stop, and loads a new one when a
person asks for it (`recover`). ur-rtde itself connects anew after a lost connection, loads its script and carries out
the command it was given; the driver therefore gives none once the connection is lost.

Limits: Universal Robots, user manuals of the e-Series, "Technical specifications": ±360° for every joint, and the
speeds below. The elbow is kept to ±180°, which is all that the arm's own links leave it. Accelerations and jerks are
not published: those here are ours, about twice what the maker's pendant offers as a default.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

import numpy as np

from hardware.arms.gripper import GripperThread
from hardware.arms.latch import Latch
from hardware.arms.limits import CAUTIOUS, checked, degrees, joints, slowed, with_gripper
from hardware.arms.patience import comes_true
from hardware.arms.robotiq import PORT, STROKES_M, RobotiqGripper
from hardware.arms.ur_pendant import Pendant
from hardware.arms.ur_states import PLAYING, PROTECTIVE, STOPPED, may_move, why_still
from hardware.extras import maker_package, said
from robot.core.errors import SailError, UnknownNameError
from robot.core.joints import ArmDescription, Joints, JointState

ARM_JOINTS: Final = 6
SPEEDS: Final = {
    "ur3e": degrees(180, 180, 180, 360, 360, 360),
    "ur5e": degrees(180, 180, 180, 180, 180, 180),
    "ur10e": degrees(120, 120, 180, 180, 180, 180),
    "ur16e": degrees(120, 120, 180, 180, 180, 180),
}
NAMES: Final = ("base", "shoulder", "elbow", "wrist1", "wrist2", "wrist3")
HOME: Final = degrees(0, -90, 90, -90, -90, 0)
NONE: Final = "none"
STALE_S: Final = 0.1
READY_S: Final = 5.0
"""How long the controller may take to unlock, and to begin a script."""


class URArm:
    """Drive a UR arm at `host`, with the arm in remote control.

    `gripper`: none, robotiq-2f85 or robotiq-2f140. `share` is the part of the maker's speed that may be used.
    `rate_hz` is how often commands come: the governor's servo_hz. `lookahead_s`, 0.03–0.2, and `gain`, 100–2000, are
    the controller's own: more look-ahead is smoother and later. `deceleration_rad_s2` is used to stop. `gripper_port`
    is where the gripper's URCap listens.
    """

    def __init__(
        self,
        host: str,
        model: str = "ur5e",
        serial: str = "",
        gripper: str = NONE,
        share: float = CAUTIOUS,
        rate_hz: float = 250.0,
        lookahead_s: float = 0.05,
        gain: float = 300.0,
        deceleration_rad_s2: float = 8.0,
        gripper_port: int = PORT,
    ) -> None:
        if model not in SPEEDS:
            raise UnknownNameError("UR model", model, tuple(SPEEDS))
        if gripper != NONE and gripper not in STROKES_M:
            raise UnknownNameError("gripper for a UR", gripper, (NONE, *STROKES_M))
        if not 0.03 <= lookahead_s <= 0.2 or not 100.0 <= gain <= 2000.0:
            raise SailError(
                f"A UR takes a lookahead_s of 0.03–0.2 and a gain of 100–2000, got {lookahead_s} and {gain}."
            )
        self._host = host
        self._kind = gripper
        self._rate_hz = rate_hz
        self._servo = (1.0 / rate_hz, lookahead_s, gain)
        self._deceleration = deceleration_rad_s2
        self._gripper_port = gripper_port
        self._description = _description(model, serial, share, gripper)
        self._control: Any = None
        self._receive: Any = None
        self._gripper: GripperThread | None = None
        self._hand: RobotiqGripper | None = None
        self._pendant: Pendant | None = None
        self._servoing = False
        self._stamp = (float("nan"), 0.0)
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
        """Connect and load the maker's script, moving nothing; raise SailError where the arm is not ready."""
        if self._control is not None:
            return
        receive_module = maker_package("rtde_receive", "ur", "A UR arm")
        control_module = maker_package("rtde_control", "ur", "A UR arm")
        try:
            self._receive = receive_module.RTDEReceiveInterface(self._host)
            self._see_that_it_is_ready()
            self._pendant = Pendant(self._host)
            self._control = control_module.RTDEControlInterface(self._host, self._rate_hz)
            self._wait_for_script()
            if self._kind != NONE:
                self._gripper = self._connect_hand()
        except SailError:
            self.close()
            raise
        except Exception as problem:
            self.close()
            raise SailError(
                f"The UR at {self._host} cannot be connected ({said(problem)}): on its pendant enable RTDE and remote "
                "control under Settings, switch to remote control, and release the brakes."
            ) from problem
        self._latch.lift()

    def read(self) -> JointState:
        """Return where the joints are and how fast.

        Raises SailError where the states have stopped coming, and once where the arm stopped itself or was stopped.
        """
        receive = self._connected()
        try:
            alive = receive.isConnected()
            controller_s = float(receive.getTimestamp())
            arm = np.array(receive.getActualQ(), np.float64), np.array(receive.getActualQd(), np.float64)
        except Exception as problem:
            raise SailError(f"The UR at {self._host} does not answer ({said(problem)}).") from problem
        now_s = time.monotonic()
        if controller_s != self._stamp[0]:
            self._stamp = (controller_s, now_s)
        if not alive or arm[0].shape != (ARM_JOINTS,) or now_s - self._stamp[1] > STALE_S:
            silent = f"The UR at {self._host} sends no states any more: check its cable and its pendant."
            # What holds the arm then is the script, which the package loads anew once it has a connection.
            raise self._latch.fall(silent) if self._servoing else SailError(silent)
        self._see_that_it_is_ours()
        if self._gripper is None:
            # When it was read is not later than when the newest state came in.
            return JointState(arm[0], self._stamp[1], arm[1])
        if not self._latch.fallen:
            self._gripper.check()
        return JointState(with_gripper(arm[0], self._gripper.opening_m), self._stamp[1], with_gripper(arm[1], 0.0))

    def write(self, position: Joints) -> None:
        """Command joint positions, (J,).

        Raises SailError where the arm stopped itself or was stopped, and from then on until `recover`.
        """
        self._connected()
        checked(position, self._description.size, "a UR")
        self._latch.check()
        self._see_that_it_is_ours()
        try:
            taken = self._control.servoJ(position[:ARM_JOINTS].tolist(), 0.0, 0.0, *self._servo)
        except Exception as problem:
            raise self._give_up(f"took no command ({said(problem)})") from problem
        if not taken:
            raise self._give_up("took no command")
        self._servoing = True
        if self._gripper is not None:
            self._gripper.ask(float(position[ARM_JOINTS]))

    def stop(self) -> None:
        """Decelerate to a stand and hold there with power; what the gripper holds stays held."""
        if self._control is None or self._latch.fallen:
            return
        if self._gripper is not None:
            self._gripper.hold()
        if self._servoing:
            self._servoing = False
            try:
                taken = self._control.servoStop(self._deceleration)
            except Exception as problem:
                raise self._give_up(f"took no stop ({said(problem)})") from problem
            if not taken:
                raise self._give_up("took no stop")

    def recover(self) -> None:
        """Unlock a protective stop, load the script anew and connect a gripper that failed, moving nothing.

        Raises SailError where that takes somebody at the pendant, or the stop is less than 5 s ago.
        """
        self._connected()
        try:
            if self._latch.fallen:
                self._make_ready()
            if self._gripper is not None and self._gripper.failed:
                self._close_hand()
                self._gripper = self._connect_hand()
        except SailError:
            raise
        except Exception as problem:
            raise SailError(
                f"The UR at {self._host} is not ready again ({said(problem)}): look at its pendant, then clear the "
                "fault again."
            ) from problem
        self._latch.lift()

    def close(self) -> None:
        """Stop, end the maker's script and disconnect; the arm holds its position on its own."""
        with contextlib.suppress(SailError):
            self.stop()
        self._close_hand()
        self._gripper = None
        control, self._control = self._control, None
        if control is not None:
            for end in (control.stopScript, self._end_script, control.disconnect):
                with contextlib.suppress(Exception):  # a controller that is gone has nothing to end
                    end()
        pendant, self._pendant = self._pendant, None
        if pendant is not None:
            pendant.close()
        receive, self._receive = self._receive, None
        if receive is not None:
            with contextlib.suppress(Exception):
                receive.disconnect()

    def _connected(self) -> Any:
        if self._control is None:
            raise SailError(f"The UR at {self._host} is not connected.")
        return self._receive

    def _connect_hand(self) -> GripperThread:
        self._hand = RobotiqGripper(self._host, self._kind, port=self._gripper_port)
        return GripperThread(self._hand.move, self._hand.opening_m, pause_s=0.03)

    def _close_hand(self) -> None:
        if self._gripper is not None:
            self._gripper.close()
        hand, self._hand = self._hand, None
        if hand is not None:
            hand.close()

    def _see_that_it_is_ready(self) -> None:
        if why := why_still(self._receive):
            raise SailError(
                f"The UR at {self._host} {why}: look at the arm, then clear that on its pendant, switch the arm on and "
                "release its brakes."
            )

    def _see_that_it_is_ours(self) -> None:
        """Raise SailError where the arm, or the script that moves it, has been stopped."""
        if self._latch.fallen:
            return
        try:
            what = self._stopped()
        except Exception as problem:
            what = f"does not say its state ({said(problem)})"
        if what:
            raise self._give_up(what)

    def _stopped(self) -> str:
        """Return what became of the arm since its script was loaded, or an empty string."""
        if why := why_still(self._receive):
            return why
        if self._state != PLAYING:
            return "no longer runs its script, which was paused or ended elsewhere"
        return "" if self._control.isConnected() else "lost its connection for commands"

    @property
    def _state(self) -> int:
        return int(self._receive.getRuntimeState())

    def _give_up(self, what: str) -> SailError:
        """Let go of the arm until a person asks for it, and return the error that says why."""
        self._servoing = False
        if self._gripper is not None:
            self._gripper.hold()
        try:
            self._end_script()
        except Exception as problem:
            what += f", and its script could not be ended ({said(problem)}): end it on the pendant, do not resume it"
        return self._latch.fall(f"The UR at {self._host} {what}: look at the arm, then clear the fault.")

    def _end_script(self) -> None:
        """End the script, paused or not: whoever resumes it would let it go on to its last target."""
        if self._pendant is None or not self._receive.isConnected() or self._state == STOPPED:
            return
        try:
            self._pendant.end_program()
        except Exception:
            if not comes_true(lambda: self._state == STOPPED, 0.1):  # it may have ended by itself meanwhile
                raise

    def _make_ready(self) -> None:
        assert self._pendant is not None
        if not comes_true(self._control.isConnected, READY_S):  # the package connects anew by itself, if at all
            raise SailError(f"The UR at {self._host} lost its connection: check its cable, and start the server anew.")
        self._pendant.reconnect()
        self._end_script()
        comes_true(lambda: self._state == STOPPED and not self._control.isProgramRunning(), READY_S)
        if int(self._receive.getSafetyMode()) == PROTECTIVE:
            self._pendant.unlock()
            comes_true(lambda: may_move(self._receive), READY_S)
        self._see_that_it_is_ready()
        self._control.reuploadScript()
        self._wait_for_script()

    def _wait_for_script(self) -> None:
        if not comes_true(lambda: self._state == PLAYING, READY_S):
            raise SailError(
                f"The UR at {self._host} did not begin its script within {READY_S:g} s: see that the pendant is in "
                "remote control."
            )


def _description(model: str, serial: str, share: float, gripper: str) -> ArmDescription:
    has = gripper != NONE
    turn = np.full(ARM_JOINTS, 2 * np.pi)
    turn[2] = np.pi

    def joined(arm: Joints, hand: float) -> Joints:
        return with_gripper(arm, hand) if has else arm

    stroke_m = STROKES_M.get(gripper, 0.0)
    return ArmDescription(
        name=model if not has else f"{model}-{gripper}",
        joint_names=(*NAMES, "gripper") if has else NAMES,
        units=("rad",) * ARM_JOINTS + (("m",) if has else ()),
        low=joined(-turn, 0.0),
        high=joined(turn, stroke_m),
        velocity=slowed(joined(SPEEDS[model], 0.15), share, ARM_JOINTS),
        acceleration=joined(joints(*[3.0] * ARM_JOINTS), 1.0),
        jerk=joined(joints(*[60.0] * ARM_JOINTS), 20.0),
        home=joined(HOME, stroke_m),
        serial=serial,
    )
