"""Let an arm follow another that a person moves by hand, joint by joint, and take it over from a policy that way.

The leader takes over when it is moved, after it has been still, and when no joint of it is further from the arm's than
`reach`. The arm first eases to the leader's pose, no faster than it goes home, and only then follows; it does so again
where the leader leaps. Nothing is handed back because the hand rests, for whoever holds a leader holds its weight: the
word "hand back" does that.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

import numpy as np

from hardware.teleoperation.operator_input import InputDevice
from hardware.teleoperation.takeover import Choice
from hardware.wire.commands import GRIPPER
from robot.core.data import Action, ActionSpec
from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints

REACH: Final = {"rad": 0.8, "m": 0.1}
"""How far off the leader's joints may be, per unit, when the arm begins to follow."""
NEAR: Final = {"rad": 0.03, "m": 0.003}
"""How near the arm must have come to follow on; and how far a leader must come to be moved."""
STILL_S: Final = 0.5


class LeaderSource(Protocol):
    """Where a leader is; `hardware.teleoperation.leader.Leader` is one."""

    @property
    def description(self) -> ArmDescription:
        """Return the leader's joints."""
        ...

    def open(self) -> None:
        """Get hold of it."""
        ...

    def read(self) -> Joints:
        """Return where it is; raise SailError where it is silent."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@runtime_checkable
class Leadable(Protocol):
    """What a robot driven by joint positions has beside, that knows where it was sent; float64 (Da,) each."""

    def sent_positions(self) -> Joints:
        """Return where it was sent last; raise SailError where that is not known yet."""
        ...

    def easing_speeds(self) -> Joints:
        """Return how fast each joint may be eased, in its unit a second, all above 0."""
        ...


class Pairing:
    """Turn a leader's joint positions into an arm's, by the names of the joints; a gripper by its share of opening.

    `low` and `high` are the arm's limits. Raises SailError for a robot that is not driven by joint positions, or whose
    joints the leader does not have.
    """

    def __init__(self, leader: ArmDescription, spec: ActionSpec) -> None:
        units = dict(zip(leader.joint_names, leader.units, strict=True))
        if not set(spec.units) <= set(REACH):
            raise SailError(
                f"A leader drives an arm's joints; this robot takes {', '.join(spec.names)}: set "
                "robot.actions=joint_positions."
            )
        strange = [
            name
            for name, unit in zip(spec.names, spec.units, strict=True)
            if name not in units or (units[name] != unit and name != GRIPPER)
        ]
        if strange:
            raise SailError(
                f"The leader, {leader.name}, has the joints {', '.join(leader.joint_names)}, and none for "
                f"{', '.join(strange)}: it must be built like the arm."
            )
        self._places = [leader.joint_names.index(name) for name in spec.names]
        self._is_gripper = np.array([name == GRIPPER for name in spec.names])
        self._leader_low, self._leader_high = leader.low[self._places], leader.high[self._places]
        self.low, self.high = spec.low.astype(np.float64), spec.high.astype(np.float64)

    def target(self, leader: Joints) -> Joints:
        """Return where the arm is to be, float64 (Da,), within its limits, for where the leader is, (J,)."""
        theirs = leader[self._places]
        share = np.clip((theirs - self._leader_low) / (self._leader_high - self._leader_low), 0.0, 1.0)
        wanted = np.where(self._is_gripper, self.low + share * (self.high - self.low), theirs)
        return np.asarray(np.clip(wanted, self.low, self.high), np.float64)


class Stage(enum.Enum):
    """Say how far the arm is in following."""

    IDLE = "idle"
    EASING = "easing"
    FOLLOWING = "following"


class Following:
    """Choose between a policy's action and what the leader does, step by step, as `Takeover` does.

    `where` returns where the arm was sent last, float64 (Da,) in the order of the robot's actions, and `speeds` how
    fast it may ease, (Da,), all above 0. `keys`, where there is a keyboard, says the words; its motions are passed
    over. `note` is what the person is to be told.
    """

    def __init__(
        self,
        leader: LeaderSource,
        spec: ActionSpec,
        where: Callable[[], Joints],
        speeds: Joints,
        keys: InputDevice | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leader, self._spec, self._where, self._speeds = leader, spec, where, speeds
        self._keys, self._clock = keys, clock
        self._pairing = Pairing(leader.description, spec)
        self._reach = np.array([np.inf if name == GRIPPER else REACH[unit] for name, unit in self._named()])
        self._near = np.array([NEAR[unit] for unit in spec.units])
        self._stage = Stage.IDLE
        self._rested: Joints | None = None
        self._last: Joints | None = None
        self._since_s = self._then_s = 0.0
        self._at: Joints = np.zeros(spec.size)
        self.note = ""

    @property
    def is_person(self) -> bool:
        """Return whether the arm is in a person's hand."""
        return self._stage is not Stage.IDLE

    def open(self) -> None:
        """Get hold of the leader and the keyboard; raise SailError where one of them is missing."""
        self._leader.open()
        if self._keys is not None:
            self._keys.open()

    def close(self) -> None:
        """Let go of both; closing twice is allowed."""
        if self._keys is not None:
            self._keys.close()
        self._leader.close()

    def choose(self, policy: Action | None) -> Choice:
        """Return what to do now; `policy` is what the policy would do, None where it has nothing yet.

        Raises SailError where the leader has fallen silent: the arm must then stop.
        """
        target, now_s = self._pairing.target(self._leader.read()), self._clock()
        word = "" if self._keys is None else self._keys.read().word
        if self._stage is Stage.IDLE:
            if self._is_moved(target, now_s) and self._begin(target, now_s):
                return Choice(self._step(target, now_s), True, True, word)
            return Choice(policy if policy is not None else self._rest(), False, False, word)
        if word == "hand back":
            self._stage, self._rested, self._last, self.note = Stage.IDLE, None, None, ""
            return Choice(self._rest(), True, True, word)
        return Choice(self._step(target, now_s), True, False, word)

    def sent(self, action: Action) -> None:
        """Take note of the action that was really sent: following goes on from there."""
        self._at = action.values.astype(np.float64)

    def _named(self) -> list[tuple[str, str]]:
        return list(zip(self._spec.names, self._spec.units, strict=True))

    def _is_moved(self, target: Joints, now_s: float) -> bool:
        """Return whether the leader is elsewhere than where it was still last."""
        if self._last is None or np.any(np.abs(target - self._last) > self._near):
            self._last, self._since_s = target, now_s
        elif now_s - self._since_s >= STILL_S:
            self._rested, self.note = self._last, ""
        return self._rested is not None and bool(np.any(np.abs(target - self._rested) > self._near))

    def _begin(self, target: Joints, now_s: float) -> bool:
        """Begin to ease to the leader, or say which joint is too far off."""
        self._at = self._where()
        off = np.abs(target - self._at)
        far = off > self._reach
        if far.any():
            joint = int(np.argmax(off / self._reach))
            name, unit = self._named()[joint]
            self.note = f"bring the leader nearer: its {name} is {off[joint]:.2f} {unit} from the arm's"
            return False
        self._stage, self._then_s = Stage.EASING, now_s
        self.note = "easing to the leader"
        return True

    def _step(self, target: Joints, now_s: float) -> Action:
        """Return the next action on the way to the leader, or where it is."""
        if self._stage is Stage.FOLLOWING and np.any(np.abs(target - self._at) > self._reach):
            self._stage, self.note = Stage.EASING, "the leader leapt: easing to it"
        if self._stage is Stage.EASING:
            self._at = self._eased(target, now_s)
            if np.all(np.abs(target - self._at) <= self._near):
                self._stage, self.note = Stage.FOLLOWING, ""
        else:
            self._at = target
        self._then_s = now_s
        return Action(self._spec.clip(self._at.astype(np.float32)))

    def _eased(self, target: Joints, now_s: float) -> Joints:
        """Return how far the arm comes towards the leader in the time since the last step, no faster than it may."""
        way = target - self._at
        # Whoever was late does not make up for it by a leap.
        passed_s = min(now_s - self._then_s, 2.0 / self._spec.rate_hz)
        needed_s = float(np.max(np.abs(way) / self._speeds))
        return target if needed_s <= passed_s else self._at + (passed_s / needed_s) * way

    def _rest(self) -> Action:
        return Action(self._spec.clip(self._where().astype(np.float32)))
