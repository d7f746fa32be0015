"""Deploy a policy on one robot: plan in the background, act at the robot's rate, let a person take over, record it all.

The robot is never kept waiting for a plan, which is what the policy intends, imagined as video or not. While one is
being made, it goes on with the rest of the last, up to its horizon; where that has run out, it holds. A new plan is
aligned in time to the observation it was made from: its steps for the moves that were made meanwhile are dropped, and
so are its frames. While the robot holds the world holds too, and no frame passes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from robot.core.data import Action, Intent, Observation, Outcome, RobotSpec, VideoPlan
from robot.core.protocols import KnowsSuccess, Policy, Recording, Robot, SaysWhoStopped
from robot.core.rates import steps_per_frame
from robot.rollouts.planning_ahead import PlanningThread, Question, ReadyIntent
from robot.rollouts.rollout import FAULTS, Attempt, Ending, plan_seed, shown

STOPPED = "the operator stopped it"
PERSON, POLICY, NOBODY = "person", "policy", "nobody"
GRIP = "grip"
OPEN = -1.0
ENDING_WORDS = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "unsure": Outcome.TIMEOUT}
"""What a person may say at any time to end an episode, and how it then ended."""


class Choice(Protocol):
    """What is done at a step, whose it is, and what a person said; see `hardware.teleoperation.takeover.Choice`."""

    @property
    def action(self) -> Action:
        """Return the action."""
        ...

    @property
    def intervention(self) -> bool:
        """Return whether a person gave it, or the robot waits for the person."""
        ...

    @property
    def drop_plan(self) -> bool:
        """Return whether what was planned no longer counts."""
        ...

    @property
    def word(self) -> str:
        """Return what the person said beside motion."""
        ...


class Chooser(Protocol):
    """What lets a person take over; `hardware.teleoperation.takeover.Takeover` is one."""

    @property
    def is_person(self) -> bool:
        """Return whether the robot is in a person's hand."""
        ...

    def choose(self, policy: Action | None) -> Choice:
        """Return what to do now, where the policy would do `policy`."""
        ...

    def sent(self, action: Action) -> None:
        """Take note of what was really sent."""
        ...


@dataclass(frozen=True, slots=True)
class DeploySettings:
    """Say how an episode is carried out.

    `max_steps`: actions before it times out. `replan_frames`: how many frames of a plan, or steps of one that shows no
    frames, are left at least when the next is asked for; more where planning takes longer. `ends_by`: `truth`
    where it ends as soon as the robot's scene says success. `patience_s`: how long one plan may take. `dry_run`: choose
    actions and send none. Raises ValueError for numbers that make no sense.
    """

    max_steps: int = 600
    replan_frames: int = 2
    ends_by: Ending = "time"
    patience_s: float = 60.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.replan_frames < 0 or not self.patience_s > 0:
            raise ValueError("max_steps must be at least 1, replan_frames at least 0 and patience_s positive.")


@dataclass(slots=True)
class Telemetry:
    """Hold what is to be said of an episode as it goes, times in seconds.

    `starved`: steps at which the robot held because no plan was ready. `late_plans`: plans whose frames were all past
    when they came. `dropped_frames`: past frames of the plans carried out. `interventions`: steps that a person gave.
    `action` is the latest, as sent or, in a dry run, as it would be sent. `driver` is who has the robot: `PERSON`,
    `POLICY`, or `NOBODY` while it holds because there is no plan, or no hand on what drives it.
    """

    steps: int = 0
    plans: int = 0
    late_plans: int = 0
    dropped_frames: int = 0
    starved: int = 0
    interventions: int = 0
    elapsed_s: float = 0.0
    latency_p50_s: float = math.nan
    latency_p95_s: float = math.nan
    observation_age_s: float = math.nan
    oldest_observation_s: float = 0.0
    driver: str = NOBODY
    is_planning: bool = False
    action: Action | None = None
    state: str = ""

    def as_json(self) -> dict[str, float | int | None]:
        """Return the figures, None for what is not known."""
        names = ("steps", "plans", "late_plans", "dropped_frames", "starved", "interventions")
        figures: dict[str, float | int | None] = {name: getattr(self, name) for name in names}
        for name in ("elapsed_s", "latency_p50_s", "latency_p95_s", "oldest_observation_s"):
            value = getattr(self, name)
            figures[name] = round(value, 4) if math.isfinite(value) else None
        return figures


@dataclass(frozen=True, slots=True)
class Deployed:
    """Say how an episode ended: its outcome, why in a sentence, and what a person said of it, where one did."""

    outcome: Outcome
    reason: str
    telemetry: Telemetry
    said: str = ""


@dataclass(slots=True)
class _Course:
    """Hold the intent in force and its next step."""

    intent: Intent
    step: int

    @property
    def steps(self) -> int:
        """Return for how many steps it can be acted on."""
        return self.intent.horizon


@dataclass(slots=True)
class Deployment:
    """Carry out one episode on one robot. `policy` None: a person drives, and every action is the person's.

    `recording`: where it is written down; None for a dry run. `takeover`: lets a person take over. `is_stopped` is
    asked at every step, and true is the operator's stop; so is whatever breaks once it is true, as a robot that was
    halted takes no more actions. `state` says what state the robot is in, `age_s` how old, in s, what was last sensed
    is. `on_tick` is told of every step.
    """

    robot: Robot
    policy: Policy | None
    settings: DeploySettings = DeploySettings()
    recording: Recording | None = None
    takeover: Chooser | None = None
    is_stopped: Callable[[], bool] = lambda: False
    state: Callable[[], str] = lambda: ""
    age_s: Callable[[Observation], float] = lambda observation: math.nan
    on_tick: Callable[[Telemetry], None] = lambda telemetry: None
    telemetry: Telemetry = field(default_factory=Telemetry)
    _planning: PlanningThread | None = field(default=None, init=False)
    _course: _Course | None = field(default=None, init=False)
    _moves: int = field(default=0, init=False)
    _questions: int = field(default=0, init=False)
    _last: Action | None = field(default=None, init=False)
    _began: bool = field(default=False, init=False)
    _pending: tuple[Action, Action, bool] | None = field(default=None, init=False)
    _steps_a_frame: int = field(default=1, init=False)
    _adopted: VideoPlan | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.policy is None and self.takeover is None:
            raise ValueError("Without a policy somebody must drive: give a takeover.")

    @property
    def has_begun(self) -> bool:
        """Return whether an action was chosen, and so the recording was begun."""
        return self._began

    def run(self, attempt: Attempt, first: Observation) -> Deployed:
        """Carry out an attempt from the first observation on, until it ends, one way or another.

        What breaks on the way, be it the robot, the wire, a camera, a person's device or the policy, ends it as an
        infrastructure fault. An error that is a defect of the program goes through. Bringing the robot to rest and
        sealing the recording is the caller's.
        """
        began_s = time.monotonic()
        if self.policy is not None:
            self._planning = PlanningThread(self.policy)
        observation = first
        try:
            while True:
                ended = self._tick(attempt, observation)
                if ended is None:
                    observation, ended = self._sense(observation)
                self._measure(began_s, observation)
                if ended is not None:
                    return ended
        except FAULTS as problem:
            self._measure(began_s, observation)
            if self.is_stopped():
                return self._ended(Outcome.OPERATOR_STOP, STOPPED)
            stopped = isinstance(problem, SaysWhoStopped) and problem.by_operator
            outcome = Outcome.OPERATOR_STOP if stopped else Outcome.INFRASTRUCTURE_FAULT
            return self._ended(outcome, str(problem))
        finally:
            if self._planning is not None:
                self._planning.close(0.5)  # a daemon: a plan that still takes long ends with the process

    def _tick(self, attempt: Attempt, observation: Observation) -> Deployed | None:
        """Decide what is done now and do it; `self._pending` is recorded with the observation after it."""
        self._pending = None
        self.telemetry.driver = NOBODY
        if self.is_stopped():
            return self._ended(Outcome.OPERATOR_STOP, STOPPED)
        if self.telemetry.steps >= self.settings.max_steps:
            return self._ended(Outcome.TIMEOUT, f"{self.settings.max_steps} steps are over")
        self._plan(attempt, observation)
        chosen = self._chosen(observation)
        starved = self.policy is not None and chosen is None
        person = False
        if self.takeover is not None:
            choice = self.takeover.choose(chosen)
            if choice.drop_plan:
                self._drop()
            if choice.word == "stop":
                return self._ended(Outcome.OPERATOR_STOP, STOPPED, choice.word)
            if choice.word in ENDING_WORDS:
                return self._ended(ENDING_WORDS[choice.word], f"a person said {choice.word}", choice.word)
            person = choice.intervention
            if person or self.policy is None:
                action: Action | None = choice.action
                starved = False
                if not person and not self._began:
                    action = None  # a demonstration begins with the first motion
            else:
                action = chosen
        else:
            action = chosen
        moving = action is not None
        if person or moving:
            self.telemetry.driver = PERSON if person else POLICY if self.policy is not None else NOBODY
        if action is None and self._began:
            action = self._resting(observation)
        if starved and self._began:
            self.telemetry.starved += 1
        if action is None:
            self._wait()
            return None
        self._begin(observation)
        if moving and self._course is not None and not person:
            self._course.step += 1
        if moving:
            self._moves += 1
        self.telemetry.action = action
        self.telemetry.steps += 1
        if self.settings.dry_run:
            self._last = action
            time.sleep(1.0 / self.robot.spec.action.rate_hz)
            return None
        sent = self.robot.act(action)
        self._last = sent
        if self.takeover is not None:
            self.takeover.sent(sent)
        self.telemetry.interventions += person
        self._pending = (action, sent, person or self.policy is None)
        return None

    def _sense(self, before: Observation) -> tuple[Observation, Deployed | None]:
        """Observe, and record the step that was made."""
        observation = self.robot.observe()
        if self._pending is None:
            return observation, None
        asked, sent, person = self._pending
        success = self.robot.succeeded() if isinstance(self.robot, KnowsSuccess) else None
        if self.recording is not None:
            intervention = person if self.takeover is not None else None
            self.recording.step(asked, sent, observation, success, intervention=intervention)
        if success and self.settings.ends_by == "truth":
            return observation, self._ended(Outcome.SUCCESS, "the scene says success")
        return observation, None

    def _plan(self, attempt: Attempt, observation: Observation) -> None:
        """Take the plan that is ready, and ask for the next where it is time to."""
        planning = self._planning
        if planning is None:
            return
        ready = planning.take()
        if ready is not None:
            self._adopt(ready)
        if self.takeover is not None and self.takeover.is_person:
            return
        if planning.busy_s > self.settings.patience_s:
            raise TimeoutError(f"The planner has given no plan for {self.settings.patience_s:g} s.")
        if not planning.is_busy and self._is_time_to_ask(planning):
            seed = plan_seed(attempt.seed, self._questions)
            if planning.ask(Question(shown(planning.policy, observation), attempt.words, seed, self._moves)):
                self._questions += 1

    def _is_time_to_ask(self, planning: PlanningThread) -> bool:
        """Return whether a plan asked for now would be there when the present one ends, but not much sooner.

        Asked from too early an observation, much of a plan is past when it comes. Where planning takes longer than a
        whole plan lasts, nothing would be left of it: then the robot comes to rest first.
        """
        course = self._course
        if course is None:
            return True
        left = course.steps - course.step
        needed = math.ceil(planning.usual_latency_s * self.robot.spec.action.rate_hz) + 1
        if needed >= course.steps:
            return left <= 0
        kept = self.settings.replan_frames * self._steps_a_frame
        return left <= min(max(needed, kept), course.steps // 2)

    def _adopt(self, ready: ReadyIntent) -> None:
        """Put a plan in force from the step that is due now on."""
        intent, plan = ready.intent, ready.intent.plan
        rate_hz = self.robot.spec.action.rate_hz
        self._steps_a_frame = 1 if plan is None else steps_per_frame(plan.stride_s, rate_hz)
        made = self._moves - ready.question.moves
        self.telemetry.plans += 1
        if made >= intent.horizon:
            self.telemetry.late_plans += 1
            return
        self._course = _Course(intent, made)
        self._adopted = None
        if plan is None:
            return
        dropped = made // self._steps_a_frame
        self.telemetry.dropped_frames += dropped
        self._adopted = dataclasses.replace(plan, frames=plan.frames[dropped:])
        if self._began and self.recording is not None:
            self.recording.plan(self._adopted)

    def _chosen(self, observation: Observation) -> Action | None:
        """Return what the policy does by the plan in force, None where there is none or it has run out."""
        course = self._course
        if course is None or self.policy is None or course.step >= course.steps:
            return None
        return self.policy.act([shown(self.policy, observation)], [course.intent], [course.step])[0]

    def _drop(self) -> None:
        """Let what was planned, and what is being planned, come to nothing."""
        self._course = None
        if self._planning is not None:
            self._planning.forget()

    def _begin(self, observation: Observation) -> None:
        """Let the recording begin with the first action, and not with the wait for a first plan."""
        if self._began:
            return
        self._began = True
        if self.recording is not None:
            self.recording.observe(observation)
            if self._course is not None and self._adopted is not None:
                self.recording.plan(self._adopted)

    def _resting(self, observation: Observation) -> Action | None:
        return resting(self.robot.spec, observation, self._last)

    def _wait(self) -> None:
        """Let a period pass, or less where a plan becomes ready."""
        period_s = 1.0 / self.robot.spec.action.rate_hz
        if self._planning is None:
            time.sleep(period_s)
            return
        ready = self._planning.take(period_s)
        if ready is not None:
            self._adopt(ready)

    def _measure(self, began_s: float, observation: Observation) -> None:
        telemetry = self.telemetry
        telemetry.elapsed_s = time.monotonic() - began_s
        telemetry.observation_age_s = self.age_s(observation)
        if math.isfinite(telemetry.observation_age_s):
            telemetry.oldest_observation_s = max(telemetry.oldest_observation_s, telemetry.observation_age_s)
        if self._planning is not None:
            telemetry.is_planning = self._planning.is_busy
            if latencies := list(self._planning.latencies_s):
                telemetry.latency_p50_s, telemetry.latency_p95_s = map(float, np.percentile(latencies, (50, 95)))
        telemetry.state = self.state()
        self.on_tick(telemetry)

    def _ended(self, outcome: Outcome, reason: str, said: str = "") -> Deployed:
        return Deployed(outcome, reason, self.telemetry, said)


def resting(spec: RobotSpec, observation: Observation, last: Action | None) -> Action | None:
    """Return the action that leaves a robot where it is, None where that cannot be told from its spec.

    For one driven by displacements it is none at all, with the gripper as it was `last` sent; for one driven by the
    positions that it senses, where it was sent last, or is.
    """
    names = spec.action.names
    if spec.action.is_relative:
        grip = OPEN if last is None else float(last.values[names.index(GRIP)]) if GRIP in names else OPEN
        return Action(np.array([grip if name == GRIP else 0.0 for name in names], np.float32))
    if last is not None and set(names) <= set(spec.proprio_names):
        return last
    if set(names) <= set(spec.proprio_names):
        places = [spec.proprio_names.index(name) for name in names]
        return Action(spec.action.clip(observation.proprio[places]))
    return None
