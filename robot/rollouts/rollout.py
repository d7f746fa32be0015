"""Observe, intend, act: run attempts over a pool of robots in receding horizon and give back episodes.

All robots that are busy are intended for together in one batch, act on their intents side by side, and are intended for
again. There may be more attempts than robots: a robot that has finished takes the next attempt when a round starts.
What an episode becomes depends on its attempt alone, not on how many robots there are: an intent's seed is derived from
the attempt's seed and the intent's number, never from its place in a batch.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from robot.core.data import (
    Action,
    Episode,
    Feedback,
    Intent,
    Observation,
    Outcome,
    PlacedPlan,
    RobotSpec,
    SamplerSettings,
)
from robot.core.errors import SailError
from robot.core.protocols import KnowsSuccess, Policy, Recording, Robot, RobotPool

FAULTS = (OSError, EOFError, RuntimeError, SailError)
"""What a pool may raise when a robot breaks. A ValueError is a bad action, the caller's mistake, and goes through."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Ask for one episode of a task.

    `seed` fixes the start and the noise of every intent. `instruction` is what the task is; `spoken` is what the policy
    is told, when exploration borrows other words (empty: the instruction itself). `sampler` overrides the policy's
    own settings. Raises ValueError for an empty instruction or a negative seed.
    """

    seed: int
    task: str
    instruction: str
    spoken: str = ""
    sampler: SamplerSettings | None = None

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ValueError(f"The instruction of task {self.task!r} is empty: say in words what the robot should do.")
        if self.seed < 0:
            raise ValueError(f"The seed of an attempt must not be negative, got {self.seed}.")

    @property
    def words(self) -> str:
        """Return what the policy is told."""
        return self.spoken or self.instruction


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Say how an attempt is carried out.

    `max_steps`: actions before an episode times out. `plan_batch`: the most intents asked of the policy at once.
    `stop_on_success`: end an episode when the pool reports success. `retries`: how often an attempt is begun again,
    from the same seed, when it ended by an infrastructure fault. Raises ValueError when a number is not positive
    (`retries` may be 0).
    """

    max_steps: int = 200
    plan_batch: int = 16
    stop_on_success: bool = True
    retries: int = 2

    def __post_init__(self) -> None:
        for name in ("max_steps", "plan_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.retries < 0:
            raise ValueError(f"retries must not be negative, got {self.retries}.")


@dataclass(slots=True)
class RolloutTimings:
    """Add up where the time of rollouts went: `planning_s` (until intents are there), `acting_s`, and counts."""

    planning_s: float = 0.0
    acting_s: float = 0.0
    resetting_s: float = 0.0
    plans: int = 0
    steps: int = 0
    rounds: int = 0
    retries: int = 0


Named = TypeVar("Named")

OnEpisode = Callable[[int, Attempt, Episode], None]
"""Called as each episode ends with its attempt's index among the requests."""

Record = Callable[[int, Attempt], Recording]
"""Called as a robot begins an attempt, with its index among the requests; returns where it is written down."""


def plan_seed(attempt_seed: int, index: int) -> int:
    """Return the seed of intent `index` (0, 1, …) of the attempt with this seed: 0 … 2⁶³ − 1, the same everywhere."""
    word = np.random.SeedSequence([attempt_seed, index]).generate_state(1, np.uint64)[0]
    return int(word) >> 1


class SingleRobot:
    """Present one `Robot` as a pool of one.

    Success comes from the robot where it knows (`KnowsSuccess`); None stands for not knowing.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot

    @property
    def spec(self) -> RobotSpec:
        """Return the robot's own spec."""
        return self._robot.spec

    @property
    def size(self) -> int:
        """Return 1."""
        return 1

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        """Reset the robot if it is named (number 0)."""
        return {robot: self._robot.reset(seed) for robot, seed in self._known(seeds)}

    def act(self, actions: Mapping[int, Action]) -> dict[int, Feedback]:
        """Act, then observe."""
        return {robot: self._answer(action) for robot, action in self._known(actions)}

    def close(self) -> None:
        """Close the robot."""
        self._robot.close()

    def _answer(self, action: Action) -> Feedback:
        sent = self._robot.act(action)
        observation = self._robot.observe()
        knows = self._robot.succeeded() if isinstance(self._robot, KnowsSuccess) else None
        return Feedback(sent, observation, None if knows is None else bool(knows))

    @staticmethod
    def _known(named: Mapping[int, Named]) -> Iterator[tuple[int, Named]]:
        for robot, value in named.items():
            if robot != 0:
                raise ValueError(f"A pool of one robot has no robot {robot}.")
            yield robot, value


@dataclass(slots=True)
class _Running:
    """Hold an episode in the making."""

    index: int
    attempt: Attempt
    observations: list[Observation]
    requested: list[Action] = field(default_factory=list)
    sent: list[Action] = field(default_factory=list)
    success: list[bool | None] = field(default_factory=list)
    plans: list[PlacedPlan] = field(default_factory=list)
    recording: Recording | None = None
    intents: int = 0
    intent: Intent | None = None
    outcome: Outcome | None = None

    def record(self, requested: Action, feedback: Feedback, settings: RolloutSettings) -> None:
        self.requested.append(requested)
        self.sent.append(feedback.sent)
        self.observations.append(feedback.observation)
        self.success.append(feedback.success)
        if self.recording is not None:
            self.recording.step(requested, feedback.sent, feedback.observation, feedback.success)
        if feedback.success and settings.stop_on_success:
            self.outcome = Outcome.SUCCESS
        elif len(self.sent) >= settings.max_steps:
            self.outcome = Outcome.SUCCESS if any(self.success) else Outcome.TIMEOUT


def rollout(
    pool: RobotPool,
    policy: Policy,
    requests: Sequence[Attempt],
    settings: RolloutSettings | None = None,
    on_episode: OnEpisode | None = None,
    config_hash: str = "",
    timings: RolloutTimings | None = None,
    record: Record | None = None,
) -> list[Episode]:
    """Carry out every attempt and return its episode, in the order of `requests`.

    `record`, where given, opens a recording for each try of an attempt; it is written step by step, sealed when the
    episode ends, which then bears the id it was sealed under, set aside when the attempt is begun again after a fault,
    and left as it is when an exception ends the rollout.
    `on_episode` is called the moment an episode has ended, and been sealed, so that nothing finished is lost when the
    process dies. `timings`, where given, is added to.

    A robot that breaks in the middle (see `FAULTS`, or a robot missing from the pool's answer) costs its attempt
    another try, `settings.retries` times, and then leaves an episode with the outcome `infrastructure fault`; the
    others go on. A robot that cannot be reset is left out and its attempt goes to another.
    Raises SailError when no robot is left, ValueError when an action or a plan does not fit the robot.
    """
    crew = _Crew(
        pool,
        policy,
        settings or RolloutSettings(),
        on_episode,
        config_hash,
        timings if timings is not None else RolloutTimings(),
        record,
    )
    return crew.run(requests)


class _Crew:
    """Keep the robots of a pool busy, round by round."""

    def __init__(
        self,
        pool: RobotPool,
        policy: Policy,
        settings: RolloutSettings,
        on_episode: OnEpisode | None,
        config_hash: str,
        timings: RolloutTimings,
        record: Record | None,
    ) -> None:
        self.pool = pool
        self.policy = policy
        self.settings = settings
        self.on_episode = on_episode
        self.config_hash = config_hash
        self.timings = timings
        self.record = record
        self.running: dict[int, _Running] = {}
        self.fit = list(range(pool.size))
        self.episodes: dict[int, Episode] = {}
        self.waiting: deque[tuple[int, Attempt]] = deque()
        self.faults: Counter[int] = Counter()

    def run(self, requests: Sequence[Attempt]) -> list[Episode]:
        self.waiting.extend(enumerate(requests))
        try:
            while self.waiting or self.running:
                self._start(self.waiting)
                self._intend()
                self._act()
                self.timings.rounds += 1
        finally:
            for running in self.running.values():  # there are any only where an exception ends it all
                if running.recording is not None:
                    running.recording.leave()
        return [self.episodes[index] for index in range(len(requests))]

    def _start(self, waiting: deque[tuple[int, Attempt]]) -> None:
        """Give idle robots the next attempts; put the attempt of a robot that cannot be reset back in the queue."""
        began = time.perf_counter()
        while waiting:
            idle = [robot for robot in self.fit if robot not in self.running]
            taken = {robot: waiting.popleft() for robot in idle[: len(waiting)]}
            if not taken:
                break
            first, problem = self._reset({robot: attempt.seed for robot, (_, attempt) in taken.items()})
            for robot, (index, attempt) in reversed(taken.items()):
                if robot in first:
                    self._begin(robot, index, attempt, first[robot])
                else:
                    waiting.appendleft((index, attempt))
                    self.fit.remove(robot)
            if not self.fit:
                raise SailError(f"No robot of {self.pool.spec.name!r} can be reset any more: {problem}") from problem
        self.timings.resetting_s += time.perf_counter() - began

    def _begin(self, robot: int, index: int, attempt: Attempt, first: Observation) -> None:
        running = self.running[robot] = _Running(index, attempt, [first])
        if self.record is not None:
            running.recording = self.record(index, attempt)
            running.recording.observe(first)

    def _reset(self, seeds: Mapping[int, int]) -> tuple[dict[int, Observation], Exception | None]:
        """Reset together; where that fails, one by one, so that a broken robot takes no other with it."""
        try:
            return self.pool.reset(seeds), None
        except FAULTS as problem:
            if len(seeds) == 1:
                return {}, problem
        first: dict[int, Observation] = {}
        last: Exception | None = None
        for robot, seed in seeds.items():
            try:
                first |= self.pool.reset({robot: seed})
            except FAULTS as problem:
                last = problem
        return first, last

    def _intend(self) -> None:
        """Ask the policy what it intends for every busy robot, in as few batches as `plan_batch` allows."""
        began = time.perf_counter()
        plain = [running for _, running in sorted(self.running.items()) if running.attempt.sampler is None]
        special = [running for _, running in sorted(self.running.items()) if running.attempt.sampler is not None]
        size = self.settings.plan_batch
        for group in (plain, special):
            for start in range(0, len(group), size):
                self._intend_batch(group[start : start + size])
        self.timings.planning_s += time.perf_counter() - began

    def _intend_batch(self, batch: list[_Running]) -> None:
        samplers = [running.attempt.sampler for running in batch if running.attempt.sampler is not None]
        intents = self.policy.begin(
            [running.observations[-1] for running in batch],
            [running.attempt.words for running in batch],
            [plan_seed(running.attempt.seed, running.intents) for running in batch],
            samplers or None,
        )
        for running, intent in zip(batch, intents, strict=True):
            running.intents += 1
            running.intent = intent
            if intent.plan is not None:
                self.timings.plans += 1
                running.plans.append(PlacedPlan(len(running.sent), intent.plan))
                if running.recording is not None:
                    running.recording.plan(intent.plan)

    def _act(self) -> None:
        """Carry out one round: each robot its intent for as long as that holds, until all are through or have ended."""
        began = time.perf_counter()
        step = 0
        while busy := {
            robot: (running, running.intent)
            for robot, running in sorted(self.running.items())
            if running.intent is not None and step < running.intent.steps
        }:
            actions = self.policy.act(
                [running.observations[-1] for running, _ in busy.values()],
                [intent for _, intent in busy.values()],
                [step] * len(busy),
            )
            asked = dict(zip(busy, actions, strict=True))
            try:
                answers = self.pool.act(asked)
            except FAULTS:
                answers = {}
            for robot, (running, _) in busy.items():
                if robot in answers:
                    running.record(asked[robot], answers[robot], self.settings)
                else:
                    running.outcome = Outcome.INFRASTRUCTURE_FAULT
                if running.outcome is not None:
                    self._finish(robot)
            self.timings.steps += len(answers)
            step += 1
        self.timings.acting_s += time.perf_counter() - began

    def _finish(self, robot: int) -> None:
        running = self.running[robot]
        recording = running.recording
        if running.outcome is Outcome.INFRASTRUCTURE_FAULT and self.faults[running.index] < self.settings.retries:
            # It waits for whichever robot is idle next; its seed makes it the same attempt there.
            self.faults[running.index] += 1
            self.timings.retries += 1
            if recording is not None:
                recording.set_aside()
            del self.running[robot]
            self.waiting.append((running.index, running.attempt))
            return
        episode = _sealed(running, self.pool.spec, self.config_hash)
        if recording is not None:
            episode = dataclasses.replace(episode, episode_id=recording.seal(episode.outcome))
        del self.running[robot]
        self.episodes[running.index] = episode
        if self.on_episode is not None:
            self.on_episode(running.index, running.attempt, episode)


def _sealed(running: _Running, spec: RobotSpec, config_hash: str) -> Episode:
    """Put together the episode of an attempt that has ended."""
    seen = running.observations
    states = [observation.state for observation in seen if observation.state is not None]
    truth = [flag for flag in running.success if flag is not None]
    attempt = running.attempt

    def stacked(actions: list[Action]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        rows = [action.values for action in actions]
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), spec.action.size)

    return Episode(
        task=attempt.task,
        instruction=attempt.instruction,
        robot=spec.name,
        frames={name: np.stack([observation.images[name] for observation in seen]) for name in seen[0].images},
        proprio=np.stack([observation.proprio for observation in seen]),
        requested=stacked(running.requested),
        sent=stacked(running.sent),
        times_s=np.array([observation.time_s for observation in seen], dtype=np.float64),
        outcome=running.outcome or Outcome.INFRASTRUCTURE_FAULT,
        seed=attempt.seed,
        spoken=attempt.words,
        plans=tuple(running.plans),
        states=np.stack(states) if len(states) == len(seen) else None,
        success=np.array(truth, dtype=np.bool_) if len(truth) == len(running.sent) else None,
        config_hash=config_hash,
        spec=spec,
    )
