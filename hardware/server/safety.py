"""The safety governor: it decides, one servo period at a time, where the arm is sent.

It knows no thread, no socket and no clock: every method is told the time. Whoever runs it calls `step` once a servo
period, on a deadline grid, and writes what comes back. No sequence of commands, silences, stops and clears can make
it leave the limits; see `hardware.server.shaping` for why.

This is no safety-rated emergency stop: it is software on an ordinary computer. Keep the maker's within reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.arms.homing import HOME_SHARE, SHARE, home_speeds
from hardware.server.reference import Reference, eased
from hardware.server.shaping import MotionLimits, Shaper
from hardware.server.validation import Forward, Proposal, fitted, misshapen, rejected
from hardware.wire.commands import Command, CommandResult, Decision, follows
from hardware.wire.reasons import NOTHING, Code, Reason
from hardware.wire.states import ARMED, State
from robot.core.joints import ArmDescription, Joints, JointState

MOST_WAYPOINTS = 100
LONGEST_PERIOD_S = 1.0
EASED_INSIDE = 1e-4
"""Share of its range by which a joint that was outside its limits is brought inside them."""
FUTURE_S = 0.1
"""So far ahead of the servo's grid of deadlines a reading may be."""
MOST_LOOKED_AT = 16
"""At how many places of the way home it is checked against the workspace box, for the servo waits meanwhile."""
COMING_TO_REST = Reason("the arm is still coming to rest: try again in a moment", Code.COMING_TO_REST)
ENDING = Reason("the server ends", Code.ENDING)
MEANWHILE = Reason("the arm was stopped, sent elsewhere or lent anew meanwhile", Code.MEANWHILE)
NOWHERE = Reason("the arm does not say where it is", Code.UNREADABLE)


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """Hold how careful a governor is. Times in seconds.

    `margin`: share of each joint's range kept free at either end of it. `share`: of the hard velocity, acceleration
    and jerk limits that is used. `silence_s`: how long no heartbeat before it brakes; `lease_s`: before it disarms.
    `observation_age_s`: how old an observation may be that a command was planned from. `first_step_s`: a first
    waypoint may be as far off as a joint moves in that time at its limit. `horizon_s`: how far ahead waypoints may
    lie. `following_rad` and `following_m`: how far a joint may be from where it is sent when it rests; when it moves,
    farther by what it is sent in `following_s`, and never by more than `astray_rad` and `astray_m`. `state_age_s`: how
    old a reading may be; `late_s`: how late a servo period may come while the arm moves. `workspace_low` and
    `workspace_high`: corners (m) of the box that the tool must stay in, or None. `home_share`: of the limits, on the
    way home, which is no slower than 0.2 rad/s or 0.05 m/s where the limits allow that. Raises ValueError for what
    makes no sense.
    """

    servo_hz: float = 250.0
    margin: float = 0.01
    share: float = SHARE
    silence_s: float = 0.15
    lease_s: float = 0.5
    observation_age_s: float = 2.0
    first_step_s: float = 0.25
    horizon_s: float = 5.0
    following_s: float = 0.15
    following_rad: float = 0.15
    following_m: float = 0.2
    astray_rad: float = 0.4
    astray_m: float = 0.4
    state_age_s: float = 0.25
    late_s: float = 0.1
    workspace_low: tuple[float, float, float] | None = None
    workspace_high: tuple[float, float, float] | None = None
    workspace_margin_m: float = 0.005
    home_share: float = HOME_SHARE

    def __post_init__(self) -> None:
        if not 20.0 <= self.servo_hz <= 2000.0:
            raise ValueError(f"servo_hz must lie in 20–2000, got {self.servo_hz}.")
        if not 0.0 <= self.margin < 0.25 or not 0.0 < self.share < 1.0 or not 0.0 < self.home_share <= 1.0:
            raise ValueError("margin must lie in 0–0.25, share between 0 and 1, and home_share above 0 and up to 1.")
        if not 0.0 < self.silence_s < self.lease_s:
            raise ValueError("silence_s must be positive and below lease_s.")
        rest = (self.observation_age_s, self.first_step_s, self.horizon_s, self.following_s, self.state_age_s)
        bounds = (self.following_rad, self.following_m, self.astray_rad, self.astray_m, self.late_s)
        if min(*rest, *bounds) <= 0 or self.workspace_margin_m < 0:
            raise ValueError("Ages, distances and horizons must be positive.")
        if (self.workspace_low is None) != (self.workspace_high is None):
            raise ValueError("A workspace box needs both workspace_low and workspace_high.")
        if self.workspace_low is not None and self.workspace_high is not None:
            size = np.subtract(self.workspace_high, self.workspace_low)
            if np.any(size <= 2 * self.workspace_margin_m):
                raise ValueError("Each side of the workspace box must be longer than twice its margin.")


@dataclass(frozen=True, slots=True)
class Setpoint:
    """Hold what one servo period is to do: float64 (J,) each.

    `write`: whether to send `position` to the arm. `release`: whether to tell the arm to hold by itself, once.
    `asked`: where the command in force wanted the arm; `sequence` is that command's, −1 where there is none.
    """

    position: Joints
    velocity: Joints
    acceleration: Joints
    asked: Joints
    state: State
    write: bool
    release: bool
    sequence: int


class Governor:
    """Lead one arm within its limits; see the module's docstring."""

    def __init__(
        self, description: ArmDescription, settings: SafetySettings | None = None, forward: Forward | None = None
    ) -> None:
        """Take an arm's limits; `forward` gives the tool's position, float64 (3,) in m, for joint positions (J,).

        Raises ValueError for a workspace box without `forward`.
        """
        self.description = description
        self.settings = settings or SafetySettings()
        self.period_s = 1.0 / self.settings.servo_hz
        spare = self.settings.margin * (description.high - description.low)
        share = self.settings.share
        self.low, self.high = description.low + spare, description.high - spare
        self.limits = MotionLimits(
            self.low,
            self.high,
            share * description.velocity,
            share * description.acceleration,
            share * description.jerk,
        )
        self._forward = forward
        self._boxed = self.settings.workspace_low is not None
        if self._boxed and forward is None:
            raise ValueError("A workspace box needs forward kinematics: say where the tool is for joint positions.")
        self._shaper = Shaper(
            MotionLimits(
                description.low, description.high, self.limits.velocity, self.limits.acceleration, self.limits.jerk
            ),
            self.period_s,
            self._in_box if self._boxed else None,
        )
        self._shaper.place(description.home)
        self._follows = follows(description)
        self._slack = 0.01 * (description.high - description.low)
        settings = self.settings
        self._strays = np.array(
            [settings.following_rad if unit == "rad" else settings.following_m for unit in description.units]
        )
        self._most_astray = np.array(
            [settings.astray_rad if unit == "rad" else settings.astray_m for unit in description.units]
        )
        self._pace: Joints = np.zeros(description.size)
        # How far off a set-point may be taken up again: no further than the arm may move in one period.
        self._give = np.minimum(self._slack, self.period_s * self.limits.velocity)
        self.home = np.clip(description.home, self.low, self.high)
        self.state = State.DISARMED
        self.reason: Reason = NOTHING
        self.sequence = -1
        self.faults = 0
        self.counts = dict.fromkeys(Decision, 0)
        self.generation = 0
        self._reference: Reference | None = None
        self._applied = -1
        self._by_itself = False
        self._beat_s = 0.0
        self._stepped_s: float | None = None
        self._released = True
        # Whether the last period sent the arm nowhere: it held by itself before it was last read.
        self._unwritten = True
        self._stop: Reason | None = None
        self._ending = False

    # What the arm is asked.

    def arm(self, now_s: float, measured: JointState) -> Reason:
        """Let the arm be moved from where it is; return why not, or nothing.

        An arm that is a little outside its limits is first eased in to them, at the speed of the way home.
        """
        if self.state is State.FAULT:
            return Reason(f"the arm is in FAULT ({self.reason}): clear it first", self._why_in_fault())
        if self.state in ARMED:
            return NOTHING
        if self._ending:
            return ENDING
        if not (self._shaper.at_rest and self._unwritten):
            return COMING_TO_REST
        if problem := self._misplaced(measured, now_s):
            return problem
        self._go_on_from(measured)
        self.state, self.reason, self._applied = State.HOLDING, NOTHING, -1
        self._beat_s, self._stepped_s = now_s, None
        self._reference, self._by_itself, self._released = None, False, False
        self._pace = np.zeros(self.description.size)
        self.generation += 1
        if self._is_outside:
            self._ease_in(now_s)
        return NOTHING

    def lend(self) -> None:
        """Begin to count commands anew, for a client that has just been lent the arm."""
        self.sequence = -1
        self.generation += 1

    def end(self) -> None:
        """Take no more commands and let nobody arm again; what is under way goes on until it is stopped."""
        self._ending = True

    def disarm(self, reason: Reason = NOTHING) -> None:
        """Come to rest and take no more commands; a fault stays a fault."""
        if self.state is not State.FAULT:
            self.state, self.reason = State.DISARMED, reason
        self._reference, self._by_itself = None, False
        self.generation += 1

    def beat(self, now_s: float) -> None:
        """Take note that whoever holds the lease is alive."""
        self._beat_s = max(self._beat_s, now_s)
        if self.state is State.DEGRADED:
            self.state, self.reason = State.HOLDING, NOTHING
            if self._is_outside:
                self._ease_in(now_s)

    def go_home(self, now_s: float, by_itself: bool = False) -> Reason:
        """Ease the arm to its home position; return why not, or nothing.

        `by_itself`: go there whether or not anybody's heart beats, as when the server ends.
        """
        if self.state not in (State.HOLDING, State.RUNNING):
            return Reason(f"{self._state_and_why()}: arm it first", self._why_unready())
        if self._ending and not by_itself:
            return ENDING
        times_s, positions = self._eased_to(self.home, now_s)
        if problem := self._leaves_box(positions):
            return problem
        self._follow(times_s[1:], positions[1:], now_s)
        self._by_itself = by_itself
        self.generation += 1
        return NOTHING

    def stop(self, reason: Reason) -> None:
        """Brake at the next step and be in FAULT; may be called from any thread, at any time, and never waits."""
        if self._stop is None:
            self._stop = reason

    def clear(self) -> Reason:
        """Leave FAULT for DISARMED; return why not, or nothing."""
        if self.state is not State.FAULT:
            return NOTHING
        if problem := self.not_clearable:
            return problem
        self.state, self.reason = State.DISARMED, NOTHING
        return NOTHING

    @property
    def not_clearable(self) -> Reason:
        """Return why a fault cannot be cleared now, or nothing."""
        resting = self._stop is None and self._shaper.at_rest and self._released
        return NOTHING if resting else COMING_TO_REST

    def place(self, measured: JointState, afresh: bool = False) -> bool:
        """Go on at rest from where the arm is, after something else may have moved it; return whether it had.

        `afresh`: it is not known where the arm was sent before.
        """
        if afresh:
            self._shaper.place(self._taken_up(measured))
        moved = afresh or self._go_on_from(measured)
        self._reference, self._stepped_s = None, None
        if self.state is State.RUNNING:
            self.state = State.HOLDING
        self.generation += 1
        return moved

    def _go_on_from(self, measured: JointState) -> bool:
        """Take the arm to be where it is if somebody has moved it, and return whether that is so.

        A difference as small as gravity makes is no reason for a new set-point, which would be a jump.
        """
        here = self._taken_up(measured)
        # A gripper that holds something is open wider than it was sent, and must not let go of it.
        here = np.where(self._follows, here, np.minimum(here, self._shaper.position))
        moved = not np.all(np.abs(here - self._shaper.position) <= self._give)
        if moved:
            self._shaper.place(here)
        return moved

    def _taken_up(self, measured: JointState) -> Joints:
        """Return where a motion begins, (J,): where the arm is, be it outside its limits, which would else be a jump.

        What a gripper reads beyond its limits is how it is calibrated, and nothing that moves.
        """
        position, description = measured.position, self.description
        inside = np.clip(position, description.low, description.high)
        return np.asarray(np.where(self._follows, position, inside), np.float64)

    @property
    def _is_outside(self) -> bool:
        """Return whether the arm is sent to where it could not be sent to."""
        position, description = self._shaper.position, self.description
        return bool(np.any((position < description.low) | (position > description.high)))

    def _ease_in(self, now_s: float) -> None:
        """Lead the arm from outside its limits to the nearest place within, at the speed of the way home."""
        inside = EASED_INSIDE * (self.description.high - self.description.low)
        within = np.clip(self._shaper.position, self.description.low + inside, self.description.high - inside)
        times_s, positions = self._eased_to(within, now_s)
        self._follow(times_s[1:], positions[1:], now_s)

    def _eased_to(self, goal: Joints, now_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return waypoints, times (M,) and positions (M, J), of a slow straight way from where the arm will rest."""
        velocity = home_speeds(self.description, self.settings.share, self.settings.home_share)
        acceleration = self.settings.home_share * self.limits.acceleration
        return eased(self._shaper.stopping_position, goal, velocity, acceleration, now_s)

    def offer(self, command: Command, now_s: float) -> CommandResult:
        """Take a command or refuse it, and say which: `propose`, `fit` and `adopt` in one."""
        proposal = self.propose(command, now_s)
        return proposal if isinstance(proposal, CommandResult) else self.adopt(self.fit(proposal), now_s)

    def propose(self, command: Command, now_s: float, generation: int | None = None) -> Proposal | CommandResult:
        """Return a command with the arm as it is now, to be fitted to the limits, or the result that rejects it.

        Quick: whoever holds a lock that the servo needs may call it. `generation`: what it was when the command was
        found to be the holder's, now where it is None.
        """
        generation = self.generation if generation is None else generation
        ahead = command.times_s > now_s if command.times_s.ndim == 1 else np.zeros(0, bool)
        if problem := self._unready() or self._unfit(command, now_s) or self._unreachable(command, ahead, now_s):
            return self._counted(rejected(command, problem))
        start = self._shaper.position, self._shaper.velocity
        return Proposal(command, generation, now_s, start, command.times_s[ahead], command.positions[ahead])

    def fit(self, proposal: Proposal) -> Proposal:
        """Return a proposal with its waypoints within limits and box; takes its time, and changes nothing here.

        Without the lock: a hundred waypoints outside a box take tenths of a second, in which a servo must not wait.
        """
        margin_m = self.settings.workspace_margin_m
        allowed = (lambda joints: self._in_box(joints, margin_m)) if self._boxed else None
        return fitted(proposal, self.low, self.high, self.limits, allowed, self.description.joint_names)

    def adopt(self, proposal: Proposal, now_s: float) -> CommandResult:
        """Put a fitted proposal in force if what it was made for still holds, and return the result.

        Quick, as `propose` is. Waypoints that have become past meanwhile are dropped.
        """
        command, ahead = proposal.command, proposal.times_s > now_s
        if problem := self._unready():
            return self._counted(rejected(command, problem))
        if proposal.generation != self.generation:
            return self._counted(rejected(command, MEANWHILE))
        times_s, positions = proposal.times_s[ahead], proposal.positions[ahead]
        if problem := self._repeated(command) or self._too_far(positions):
            return self._counted(rejected(command, problem))
        self._follow(times_s, positions, now_s)
        self.sequence = self._applied = command.sequence
        decision = Decision.CLAMP if proposal.reasons else Decision.PASS
        dropped = len(command.times_s) - len(times_s)
        return self._counted(CommandResult(command.sequence, decision, proposal.reasons, positions, dropped))

    # What the arm does.

    def step(self, now_s: float, measured: JointState | None) -> Setpoint:
        """Move on by one servo period; `measured` is where the arm is, None where it did not say."""
        self._watch(now_s, measured)
        asked = self._advance(now_s)
        self._remember_pace()
        write = self.state in ARMED or not self._released
        release = False
        if self.state not in ARMED and not self._released and self._shaper.at_rest:
            self._released = release = True
        self._stepped_s, self._unwritten = now_s, not write
        shaper = self._shaper
        sequence = self._applied if self._reference is not None else -1
        return Setpoint(
            shaper.position, shaper.velocity, shaper.acceleration, asked, self.state, write, release, sequence
        )

    def fail(self, reason: Reason) -> None:
        """Be in FAULT, from the servo's own thread; the first reason stays."""
        if self.state is not State.FAULT:
            self.state, self.reason = State.FAULT, reason
            self.faults += 1
        self._reference, self._by_itself = None, False
        self.generation += 1

    @property
    def said(self) -> tuple[State, Reason]:
        """Return the state and its reason; a stop that the next step will carry out counts already."""
        stop = self._stop
        return (self.state, self.reason) if stop is None or self.state is State.FAULT else (State.FAULT, stop)

    @property
    def at_rest(self) -> bool:
        """Return whether the arm is sent nowhere else than where it is."""
        return self._shaper.at_rest

    @property
    def at_home(self) -> bool:
        """Return whether the arm rests at home."""
        return self.at_rest and bool(np.allclose(self._shaper.position, self.home, rtol=0, atol=1e-6))

    @property
    def longest_brake_s(self) -> float:
        """Return how long the arm takes at most to come to rest, in s: from full speed and full acceleration."""
        limits = self.limits
        return float((limits.velocity / limits.acceleration + 2 * limits.acceleration / limits.jerk).max())

    @property
    def applied(self) -> int:
        """Return the sequence number of the command in force, or of the last one; −1 before the first."""
        return self._applied

    def _advance(self, now_s: float) -> Joints:
        if self._reference is None or self.state is not State.RUNNING:
            self._shaper.brake()
            return self._shaper.position
        # The set-point of the period before is reached now, and the next one a period from now.
        self._shaper.pursue(*self._reference.at(now_s))
        asked = self._reference.at(now_s + self.period_s)[0]
        if now_s >= self._reference.end_s and self._shaper.at_rest:
            self.state, self._reference, self._by_itself = State.HOLDING, None, False
        return asked

    def _watch(self, now_s: float, measured: JointState | None) -> None:
        """Look for what must end a motion before the next step is taken."""
        if self._stop is not None:
            self.fail(self._stop)
            self._stop = None
        if self.state not in ARMED:
            return
        if measured is None:
            self.fail(NOWHERE)
        elif problem := self._astray(measured, now_s):
            self.fail(problem)
        elif self._stepped_s is not None and now_s - self._stepped_s > self._longest_s():
            late_s = now_s - self._stepped_s - self.period_s
            self.fail(Reason(f"a servo period came {late_s:.3f} s late", Code.LATE))
        silence_s = now_s - self._beat_s
        if self.state not in ARMED or self._by_itself or silence_s < self.settings.silence_s:
            return
        if silence_s >= self.settings.lease_s:
            self.disarm(Reason("the heartbeat ceased", Code.SILENT))
        elif self.state is not State.DEGRADED:
            self.state = State.DEGRADED
            self.reason = Reason(f"no heartbeat for {self.settings.silence_s:g} s", Code.SILENT)
            self._reference = None
            self.generation += 1

    def _longest_s(self) -> float:
        """Return how long a servo period may last: less while the arm moves."""
        late_s = self.settings.late_s
        return max(late_s, LONGEST_PERIOD_S) if self._shaper.at_rest else late_s

    def _astray(self, measured: JointState, now_s: float) -> Reason:
        if problem := self._old(measured, now_s):
            return problem
        if not np.all(np.isfinite(measured.position)):
            return Reason("the arm reads a position that is not finite", Code.UNREADABLE)
        off = np.abs(measured.position - self._shaper.position)
        beyond = self._follows & (off > self._may_stray)
        if not beyond.any():
            return NOTHING
        joint = int(np.argmax(beyond))
        unit = self.description.units[joint]
        where = f"{off[joint]:.3f} {unit} from where it was sent, more than {self._may_stray[joint]:.3f}"
        return Reason(f"{self.description.joint_names[joint]} is {where}", Code.ASTRAY)

    @property
    def _may_stray(self) -> Joints:
        """Return how far each joint may be from where it is sent, (J,): farther where it was sent fast of late."""
        allowed: Joints = np.minimum(self._strays + self.settings.following_s * self._pace, self._most_astray)
        return allowed

    def _remember_pace(self) -> None:
        """Take note of how fast the joints are sent; it is forgotten as fast as an arm catches up."""
        kept = 1.0 - self.period_s / (2 * self.settings.following_s)
        self._pace = np.maximum(np.abs(self._shaper.velocity), max(kept, 0.0) * self._pace)

    def _old(self, measured: JointState, now_s: float) -> Reason:
        age_s = now_s - measured.time_s
        if -FUTURE_S <= age_s <= self.settings.state_age_s:
            return NOTHING
        if not age_s > 0:
            return Reason("the arm's reading is of no time that has been", Code.UNREADABLE)
        return Reason(f"the arm's last reading is {age_s:.2f} s old", Code.UNREADABLE)

    def _misplaced(self, measured: JointState, now_s: float) -> Reason:
        position, description = measured.position, self.description
        if position.shape != (description.size,) or not np.all(np.isfinite(position)):
            return NOWHERE
        if problem := self._old(measured, now_s):
            return problem
        outside = (position < description.low - self._slack) | (position > description.high + self._slack)
        if np.any(outside & self._follows):
            joint = int(np.argmax(outside & self._follows))
            return Reason(
                f"{description.joint_names[joint]} at {position[joint]:.3f} {description.units[joint]} lies outside "
                f"{description.low[joint]:.3f} … {description.high[joint]:.3f}: move the arm by hand first",
                Code.OUTSIDE,
            )
        if self._boxed and not self._in_box(position):
            return Reason("the tool is outside the workspace box: move the arm by hand first", Code.OUTSIDE)
        return NOTHING

    def _leaves_box(self, positions: NDArray[np.float64]) -> Reason:
        """Return why a way home, (M, J), does not stay in the workspace box, or nothing."""
        if not self._boxed:
            return NOTHING
        assert self._forward is not None
        low, high = self.settings.workspace_low, self.settings.workspace_high
        box = f"the workspace box from {low} to {high} m"
        if not self._in_box(self.home):
            x, y, z = (float(place) for place in self._forward(self.home))
            return Reason(
                f"its tool is at ({x:.3f}, {y:.3f}, {z:.3f}) m when it is at home, outside {box}: set "
                "safety.workspace_low and safety.workspace_high so that they hold it",
                Code.OUTSIDE,
            )
        for step in np.linspace(0, len(positions) - 1, MOST_LOOKED_AT).round().astype(int):
            if not self._in_box(positions[step]):
                return Reason(f"the straight way home from here leaves {box}: move the arm by hand first", Code.OUTSIDE)
        return NOTHING

    def _in_box(self, joints: Joints, margin_m: float = 0.0) -> bool:
        assert self._forward is not None
        assert self.settings.workspace_low is not None
        assert self.settings.workspace_high is not None
        tool = self._forward(joints)
        low, high = self.settings.workspace_low, self.settings.workspace_high
        return all(low[i] + margin_m <= tool[i] <= high[i] - margin_m for i in range(3))

    def _counted(self, result: CommandResult) -> CommandResult:
        self.counts[result.decision] += 1
        return result

    def _unready(self) -> Reason:
        """Return why no command can be taken now, or nothing."""
        if self.state not in (State.HOLDING, State.RUNNING):
            return Reason(self._state_and_why(), self._why_unready())
        if self._stop is not None:
            return Reason(f"the arm is being stopped ({self._stop})", self._stop.code)
        if self._is_outside:
            return Reason("the arm is eased in to its limits: try again in a moment", Code.EASING_IN)
        return ENDING if self._ending else NOTHING

    def _state_and_why(self) -> str:
        return f"the arm is {self.state}{f' ({self.reason})' if self.reason else ''}"

    def _why_unready(self) -> Code:
        """Return the code of a state in which no command can be taken."""
        if self.state is State.FAULT:
            return self._why_in_fault()
        return Code.DEGRADED if self.state is State.DEGRADED else Code.DISARMED

    def _why_in_fault(self) -> Code:
        """Return the code of a fault, that of a stop which somebody asked for being another."""
        return Code.STOPPED if self.reason.code is Code.STOPPED else Code.FAULT

    def _unfit(self, command: Command, now_s: float) -> Reason:
        """Return what is wrong with a command in itself and its age, or nothing."""
        settings = self.settings
        if problem := misshapen(command, self.description, MOST_WAYPOINTS, now_s) or self._repeated(command):
            return problem
        if command.seen_s is None:
            return NOTHING
        age_s = now_s - command.seen_s
        if age_s > settings.observation_age_s:
            most_s = settings.observation_age_s
            return Reason(f"its observation is {age_s:.2f} s old, more than {most_s:g} s", Code.OBSERVATION)
        if age_s < -0.1:
            return Reason(f"its observation lies {-age_s:.2f} s in the future", Code.OBSERVATION)
        return NOTHING

    def _repeated(self, command: Command) -> Reason:
        if command.sequence > self.sequence:
            return NOTHING
        before = f"is not above {self.sequence}, which came before"
        return Reason(f"sequence {command.sequence} {before}", Code.SEQUENCE)

    def _unreachable(self, command: Command, ahead: NDArray[np.bool_], now_s: float) -> Reason:
        """Return what is wrong with when and where a command begins and ends, or nothing."""
        if command.times_s[-1] > now_s + self.settings.horizon_s:
            return Reason(f"its last waypoint lies more than {self.settings.horizon_s:g} s ahead", Code.TOO_FAR)
        return self._too_far(command.positions[ahead])

    def _too_far(self, positions: NDArray[np.float64]) -> Reason:
        """Return why the waypoints that are left, (M, J), cannot follow on where the arm is, or nothing."""
        if not len(positions):
            return Reason("every waypoint of it is past", Code.PAST)
        description, reach_s = self.description, self.settings.first_step_s
        off = np.abs(positions[0] - self._shaper.position)
        far = self._follows & (off > reach_s * description.velocity)
        if not far.any():
            return NOTHING
        joint = int(np.argmax(far))
        return Reason(
            f"its first waypoint has {description.joint_names[joint]} {off[joint]:.3f} {description.units[joint]} "
            f"from where it is, more than {reach_s * description.velocity[joint]:.3f}",
            Code.TOO_FAR,
        )

    def _follow(self, times_s: NDArray[np.float64], positions: NDArray[np.float64], now_s: float) -> None:
        """Put waypoints in force from where the arm is now; of those before, keep the ones that come first."""
        shaper = self._shaper
        start_s = now_s
        if self._stepped_s is not None:
            # The arm is where the shaper says one period after that was written.
            start_s = max(now_s, min(self._stepped_s + self.period_s, float(times_s[0]) - 1e-4))
        parts_s, parts = [np.array([start_s])], [shaper.position[None]]
        if self._reference is not None and self.state is State.RUNNING:
            kept_s, kept = self._reference.after(start_s, float(times_s[0]) - 1e-6)
            parts_s.append(kept_s)
            parts.append(kept)
        self._reference = Reference(
            np.concatenate([*parts_s, times_s]), np.concatenate([*parts, positions]), shaper.velocity
        )
        self._by_itself = False
        self.state = State.RUNNING
