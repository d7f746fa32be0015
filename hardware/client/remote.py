"""An arm at the end of a wire as a `Robot`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hardware.arms.homing import home_speeds
from hardware.client.actions import ActionFactory, JointPositions
from hardware.client.client import ArmClient, ArmError, ArmRefusedError, StoppedError
from hardware.client.views import SquareView
from hardware.wire.clocks import now
from hardware.wire.commands import CommandResult, Decision, follows
from hardware.wire.keys import ClientKeys
from hardware.wire.reasons import NOTHING, Code, told_reason
from hardware.wire.reports import ArmReport, Frame
from hardware.wire.states import State
from robot.core.data import Action, Observation, RobotSpec
from robot.core.errors import UnknownNameError
from robot.core.joints import Joints

LONGEST_DELAY_S = 0.15
"""Each way; a lease that lasts half a second bears no more."""
FIRST_PICTURE_S = 15.0
"""How long a reset waits for the first picture of every camera."""


class StaleError(ArmError):
    """Say that a camera or the arm has been silent for too long: an attempt cannot go on."""


class RemoteRobot:
    """Drive an arm through its server.

    It works in real time. `act` sends the arm on its way and returns when the next action is due, `rate_hz` times a
    second on a grid of deadlines; the arm then still has the last part of the way before it, so that the next action
    takes over in full motion. Where no action follows, the arm comes to rest where it was sent.

    `observe` gives what is newest, and waits while a camera is older than `camera_age_s` or the arm's state older than
    `state_age_s`, both beside what the wire itself takes (`delay_s`): no plan is made from such. What is older than
    `lost_s` raises StaleError. `Observation.time_s` is when the arm was where it says, on this machine's monotonic
    clock.

    `cameras` are looked through, all that the arm has where it is empty. `image_size`: the side in pixels of the square
    that is taken of their pictures; None: whole pictures as they come.

    `action` makes the kind of action, `JointPositions` or `Displacement`. `reset` homes the arm and,
    where the server has a scene to reset, has it drawn from the seed.

    `takes_any_words`: whether any words will do as its task.
    """

    takes_any_words = True

    def __init__(
        self,
        address: str = "tcp://127.0.0.1:7710",
        *,
        action: ActionFactory = JointPositions,
        rate_hz: float = 20.0,
        name: str = "robot",
        keys: ClientKeys | None = None,
        robot: str = "",
        calibration: str = "",
        cameras: Sequence[str] = (),
        image_size: int | None = None,
        camera_age_s: float = 0.2,
        state_age_s: float = 0.05,
        lost_s: float = 1.0,
        lead: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        """Say hello to the server; `lead`: how many more periods than one an action's waypoint lies ahead."""
        if not (rate_hz > 0 and lead >= 0 and 0 < state_age_s <= lost_s and 0 < camera_age_s <= lost_s):
            raise ValueError("rate_hz and ages must be positive, lead at least 0, and lost_s the largest age.")
        self.client = ArmClient(
            address, name=name, keys=keys, robot=robot, calibration=calibration, timeout_s=timeout_s
        )
        try:
            welcome = self.client.welcome
            self._kind = action(welcome, rate_hz)
            names = tuple(cameras) or tuple(welcome.cameras)
            for camera in names:
                if camera not in welcome.cameras:
                    raise UnknownNameError(f"camera of {welcome.description.name}", camera, list(welcome.cameras))
            sizes = {camera: welcome.cameras[camera] for camera in names}
            self._views = {
                camera: SquareView(size, image_size) for camera, size in sizes.items() if image_size is not None
            }
            matrices = {camera: welcome.matrices[camera] for camera in names if camera in welcome.matrices}
            self._spec = RobotSpec(
                welcome.description.name,
                self._kind.spec,
                self._kind.proprio_names,
                self._kind.proprio_units,
                {camera: self._views[camera].size if self._views else size for camera, size in sizes.items()},
                {camera: self._views[camera].matrix(m) if self._views else m for camera, m in matrices.items()},
            )
        except BaseException:
            self.client.close()
            raise
        self._period_s, self._lead = 1.0 / rate_hz, lead
        self._camera_age_s, self._state_age_s, self._lost_s = camera_age_s, state_age_s, lost_s
        self._velocity = welcome.description.velocity
        self._follows = follows(welcome.description)
        self._born_s = now()
        self._due_s: float | None = None
        self._seen_s: float | None = None
        self._not_before_s = float("-inf")
        self._going_to: Joints = welcome.description.home.copy()
        self._seed = 0
        self.starved = 0
        self.clamped = 0
        self._closed = False

    @property
    def spec(self) -> RobotSpec:
        """Return what the arm senses and how it is driven."""
        return self._spec

    def reset(self, seed: int | None = None) -> Observation:
        """Take the lease, arm and home the arm, have a simulated scene drawn from the seed, and observe.

        Raises StoppedError for an arm in FAULT: it is cleared by a person, with `sail arm clear`.
        """
        client = self.client
        if not client.held:
            client.acquire()
        status = client.status()
        if status["state"] == State.FAULT:
            reason = told_reason(status["reason"], status["code"])
            raise StoppedError(f"The arm is in FAULT ({reason}): see why, then `sail arm clear`.", reason.code)
        client.arm()
        client.home()
        if client.welcome.can_reset:
            self._seed = self._seed + 1 if seed is None else int(seed)
            client.reset(self._seed)
        asked_s = now()
        report = client.wait(lambda report: report.time_s > asked_s and report.at_rest, 5.0, "come to rest")
        self._kind.begin(report.sent)
        self._going_to = report.sent
        self._not_before_s = asked_s
        self._due_s = None
        # A camera may take seconds to open, and a new scene as long to be drawn for the first time.
        until_s = now() + FIRST_PICTURE_S
        while self._stale() and now() < until_s:
            time.sleep(0.005)
        return self.observe()

    def observe(self) -> Observation:
        """Return the newest pictures and state; raise StaleError where they stay away."""
        began_s = now()
        while problem := self._stale():
            if max(self.ages().values()) > self._lost_s or now() - began_s > 2 * self._lost_s:
                raise StaleError(f"{problem}: nothing newer came, so the attempt ends; see to the arm and its cameras.")
            time.sleep(0.002)
        report, frames = self.latest()
        assert report is not None
        self._seen_s = min([report.measured_s, *(frame.captured_s for frame in frames.values())])
        images = {
            name: self._views[name].of(frame.image) if self._views else frame.image for name, frame in frames.items()
        }
        return Observation(images, self._kind.proprio(report.position), report.measured_s)

    def latest(self) -> tuple[ArmReport | None, Mapping[str, Frame]]:
        """Return what came last, however old, without waiting; cameras that have sent nothing are left out."""
        frames = {name: self.client.frame(name) for name in self._spec.cameras}
        return self.client.report, {name: frame for name, frame in frames.items() if frame is not None}

    def ages(self) -> dict[str, float]:
        """Return how old, in s, what came last is: the arm's under `state`, each camera's under its name.

        What has never come is as old as this client.
        """
        report, at_s = self.client.report, now()
        seen = {name: self.client.captured_s(name) for name in self._spec.cameras}
        return {"state": at_s - (self._born_s if report is None else report.measured_s)} | {
            name: at_s - (self._born_s if captured_s is None else captured_s) for name, captured_s in seen.items()
        }

    def act(self, action: Action) -> Action:
        """Send the arm on, wait until the next action is due, and return the action as it was really sent.

        That is what was put in force after all that clamps: limits of the action and of the joints, the workspace box,
        and how far the arm is led from where it is. A displacement is cut where it would lead the arm by more than its
        joints come at full speed in three periods, and so says what is moved; a joint position too far to be reached in
        time stays the goal in force, and is what is returned. What acceleration and jerk limits delay, by some
        hundredths of a second, and where the arm itself trails behind, no answer tells: the next observations do.

        Raises ValueError for one of the wrong size or not finite, StoppedError where the arm is in FAULT,
        ArmRefusedError where the server rejected it.
        """
        values = self._spec.action.clip(action.values)
        report = self.client.report
        if report is None:
            raise StaleError("The arm has not said where it is yet: reset it first.")
        started_s = now()
        if self._due_s is None:
            self._due_s = started_s
        elif started_s > self._due_s + self._period_s:
            # Whoever decides on actions was too slow: the grid of deadlines begins anew here.
            self.starved += 1
            self._due_s = started_s
        asked = self._kind.target(values, report.position)
        if self._kind.is_relative:
            asked = self._within_reach(asked, report)
        result = self._send(asked, report)
        sent = Action(self._kind.sent(values, asked, result.positions[-1]))
        self._going_to = result.positions[-1]
        self._seen_s = None
        self._due_s += self._period_s
        if (left_s := self._due_s - now()) > 0:
            time.sleep(left_s)
        return sent

    def sent_positions(self) -> Joints:
        """Return where the joints were sent last, float64 (J,); raise StaleError where the arm has not said it yet."""
        report = self.client.report
        if report is None:
            raise StaleError("The arm has not said where it is yet.")
        return report.sent

    def easing_speeds(self) -> Joints:
        """Return how fast the joints go home by default, float64 (J,), in their units a second."""
        return home_speeds(self.client.welcome.description)

    def succeeded(self) -> bool | None:
        """Return a simulated scene's ground truth since its last reset; None where nobody knows, as on a real arm."""
        report = self.client.report
        return None if report is None else report.succeeded

    def submit(
        self, times_s: NDArray[np.float64], positions: NDArray[np.float64], seen_s: float | None = None
    ) -> CommandResult:
        """Ask the arm to pass through a chunk of waypoints, without waiting, and return the result.

        `times_s`: float64 (N,), on this machine's monotonic clock. `positions`: float64 (N, J). `seen_s`: when the
        observation that they were planned from was made.
        """
        result = self.client.submit(times_s, positions, seen_s)
        if result.decision is not Decision.REJECT:
            self._going_to = result.positions[-1]
            self._kind.begin(self._going_to)
        return result

    def halt(self, timeout_s: float = 2.0) -> None:
        """Bring the arm to rest, where it holds and takes no more commands until the next reset.

        Never raises: where the server does not answer, the silence brings the arm to rest.
        """
        with contextlib.suppress(ArmError):
            if self.client.held:
                self.client.disarm()
                self.client.wait(lambda report: report.at_rest, timeout_s, "come to rest")

    def preview(self, action: Action) -> Mapping[str, float]:
        """Return where each joint would be sent from here by an action, in its unit, sending nothing."""
        report = self.client.report
        if report is None:
            raise StaleError("The arm has not said where it is yet.")
        self._kind.begin(report.position)
        asked = self._kind.target(self._spec.action.clip(action.values), report.position)
        return dict(zip(self.client.welcome.description.joint_names, map(float, asked), strict=True))

    @property
    def delay_s(self) -> float:
        """Return how long a message takes to or from the server, in s, as far as that is allowed for: 0.15 s.

        What is sensed is as much older when it is here, and a waypoint is that much nearer when it is there.
        """
        return min(self.client.clock.error_s, LONGEST_DELAY_S) if self.client.clock.known else 0.0

    def condition(self) -> str:
        """Return the state of the arm's governor, with its reason where there is one."""
        report = self.client.report
        if report is None:
            return "unknown"
        return f"{report.state} ({report.reason})" if report.reason else str(report.state)

    def close(self) -> None:
        """Give the lease back, whereupon the arm comes to rest and holds; closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self.client.close()

    def _within_reach(self, asked: Joints, report: ArmReport) -> Joints:
        """Return joint positions, (J,), no farther on the way to those asked for than the arm comes in its time.

        That is until this action's waypoint is due, and a period more: so far an arm that keeps up trails behind when
        it speeds up, or when somebody was late.
        """
        start = self._start(report)
        behind_s = min(max(now() - report.time_s, 0.0), self._state_age_s)
        reach = self._velocity * (self._period_s * (2 + self._lead) + behind_s)
        share = 1.0 / max(1.0, float((np.abs(asked - start) / reach)[self._follows].max(initial=0.0)))
        return np.where(self._follows, start + share * (asked - start), asked) if share < 1.0 else asked

    def _start(self, report: ArmReport) -> Joints:
        """Return where the way of the next action begins, (J,)."""
        return self._going_to if report.at_rest else report.sent

    def _send(self, asked: Joints, report: ArmReport) -> CommandResult:
        """Send the arm to joint positions by way of waypoints that it can reach in time."""
        start = self._start(report)
        ahead_s = self._period_s * (1 + self._lead)
        needed_s = float((np.abs(asked - start) / (0.8 * self._velocity))[self._follows].max(initial=0.0))
        duration_s = min(max(ahead_s, needed_s), 4.5)
        count = max(int(np.ceil(duration_s / max(ahead_s, 0.1))), 1)
        shares = np.arange(1, count + 1) / count
        waypoints = start + shares[:, None] * (asked - start)
        waypoints[-1] = asked
        problem = NOTHING
        for _ in range(3):
            assert self._due_s is not None
            first_s = max(self._due_s, now() + self.delay_s)
            result = self.client.submit(first_s + shares * duration_s, waypoints, self._seen_s)
            if result.decision is not Decision.REJECT:
                self.clamped += result.decision is Decision.CLAMP
                return result
            problem = result.reasons[0]
            if problem.code in (Code.FAULT, Code.STOPPED):
                raise StoppedError(f"The arm does not move: {problem}. `sail arm clear` clears it.", problem.code)
            if problem.code not in (Code.PAST, Code.DEGRADED, Code.EASING_IN):
                break
            time.sleep(self._period_s / 4)
        raise ArmRefusedError(f"The arm did not take an action: {problem}.", problem.code)

    def _stale(self) -> str:
        """Return what is too old to plan from, or an empty string."""
        report, at_s = self.client.report, now()
        if report is None:
            return "The arm does not say where it is"
        delay_s = self.delay_s
        if report.measured_s < self._not_before_s or at_s - report.measured_s > self._state_age_s + delay_s:
            return f"The arm's state is {at_s - report.measured_s:.2f} s old"
        for name in self._spec.cameras:
            captured_s = self.client.captured_s(name)
            if captured_s is None:
                return f"Camera {name!r} sends nothing"
            if captured_s < self._not_before_s or at_s - captured_s > self._camera_age_s + delay_s:
                return f"The picture of camera {name!r} is {at_s - captured_s:.2f} s old"
        return ""
