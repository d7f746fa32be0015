"""Observe, intend, act: run attempts over a pool of robots in receding horizon and give back episodes.

All robots that are busy are intended for together in one batch, act on their intents side by side, and are intended for
again. There may be more attempts than robots: a robot that has finished takes the next attempt when a round starts.
What an episode becomes depends on its attempt alone, not on how many robots there are: an intent's seed is derived from
the attempt's seed and the intent's number, never from its place in a batch. One that goes on where another ended
depends on that one too.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

import numpy as np

from robot.core.data import (
    Action,
    Beginning,
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
from robot.core.protocols import (
    CountsAnew,
    KnowsSuccess,
    Policy,
    ReadsState,
    Recording,
    RewardModel,
    Robot,
    RobotPool,
    SuccessDetector,
)
from robot.judges.asking import reads_truth

FAULTS = (OSError, EOFError, RuntimeError, SailError)
"""What a pool may raise when a robot breaks. A ValueError is a bad action, the caller's mistake, and goes through."""


Ending = Literal["truth", "detector", "time"]
"""Who ends an attempt before its time is over: the simulator that knows success, who detects it, or nobody."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Ask for one episode of a task.

    `seed` fixes the start and the noise of every intent. `instruction` is what the task is; `spoken` is what the policy
    is told, when exploration borrows other words (empty: the instruction itself). `sampler` overrides the policy's
    own settings. `continues`: the number of the robot that goes on from where its last attempt ended, and is not reset;
    None: any robot, reset with the seed. Raises ValueError for an empty instruction or a negative number.
    """

    seed: int
    task: str
    instruction: str
    spoken: str = ""
    sampler: SamplerSettings | None = None
    continues: int | None = None

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ValueError(f"The instruction of task {self.task!r} is empty: say in words what the robot should do.")
        if self.seed < 0:
            raise ValueError(f"The seed of an attempt must not be negative, got {self.seed}.")
        if self.continues is not None and self.continues < 0:
            raise ValueError(f"Robots are numbered from 0 on, got {self.continues}.")

    @property
    def words(self) -> str:
        """Return what the policy is told."""
        return self.spoken or self.instruction

    @property
    def begins(self) -> Beginning:
        """Return how it begins."""
        return Beginning.SEED if self.continues is None else Beginning.CONTINUED


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Say how an attempt is carried out.

    `max_steps`: actions before an episode times out. `plan_batch`: the most intents asked of the policy at once.
    `ends_by`: see `Ending`; by a detector after so many steps `in_a_row` at which it sees success. `retries`: how often
    an attempt is begun again, from the same seed, when it ended by an infrastructure fault. Raises ValueError when a
    number is not positive (`retries` may be 0).
    """

    max_steps: int = 200
    plan_batch: int = 16
    ends_by: Ending = "time"
    in_a_row: int = 1
    retries: int = 2

    def __post_init__(self) -> None:
        for name, number in (
            ("max_steps", self.max_steps),
            ("plan_batch", self.plan_batch),
            ("in_a_row", self.in_a_row),
        ):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        if self.retries < 0:
            raise ValueError(f"retries must not be negative, got {self.retries}.")
        if self.ends_by not in get_args(Ending):
            raise ValueError(f"Attempts end by {', '.join(get_args(Ending))}, not by {self.ends_by!r}.")


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


def shown(policy: Policy, observation: Observation) -> Observation:
    """Return what a policy is shown of an observation: the simulator's state only where it says that it reads it."""
    reads = isinstance(policy, ReadsState) and policy.reads_state
    return observation if reads or observation.state is None else dataclasses.replace(observation, state=None)


def ending_by(judge: RewardModel) -> Ending:
    """Return who ends attempts that a judge is to judge: the simulator where it reads the truth, itself if it can.

    Were another judge's attempts to end when the simulator says so, the moment alone would tell it nearly everything.
    """
    if reads_truth(judge):
        return "truth"
    return "detector" if isinstance(judge, SuccessDetector) else "time"


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
        self._is_spent = False  # it has succeeded since its reset, and cannot say so of what came since

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
        self._is_spent = False if seeds else self._is_spent
        return {robot: self._robot.reset(seed) for robot, seed in self._known(seeds)}

    def observe(self, robots: Collection[int]) -> dict[int, Observation]:
        """Observe where the robot is, if it is named; one that cannot count success anew knows it no longer."""
        return {robot: self._here() for robot, _ in self._known(dict.fromkeys(robots))}

    def act(self, actions: Mapping[int, Action]) -> dict[int, Feedback]:
        """Act, then observe."""
        return {robot: self._answer(action) for robot, action in self._known(actions)}

    def close(self) -> None:
        """Close the robot."""
        self._robot.close()

    def _here(self) -> Observation:
        if isinstance(self._robot, CountsAnew):
            self._robot.count_anew()
        self._is_spent = self._knows() is True
        return self._robot.observe()

    def _answer(self, action: Action) -> Feedback:
        sent = self._robot.act(action)
        observation = self._robot.observe()
        return Feedback(sent, observation, None if self._is_spent else self._knows())

    def _knows(self) -> bool | None:
        knows = self._robot.succeeded() if isinstance(self._robot, KnowsSuccess) else None
        return None if knows is None else bool(knows)

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
    detected: int = 0
    outcome: Outcome | None = None

    def record(self, requested: Action, feedback: Feedback) -> None:
        self.requested.append(requested)
        self.sent.append(feedback.sent)
        self.observations.append(feedback.observation)
        self.success.append(feedback.success)
        if self.recording is not None:
            self.recording.step(requested, feedback.sent, feedback.observation, feedback.success)

    def settle(self, settings: RolloutSettings) -> None:
        """Decide whether the attempt ends here, by whoever ends it or by time."""
        done = {"truth": bool(self.success[-1]), "detector": self.detected >= settings.in_a_row, "time": False}
        if done[settings.ends_by]:
            self.outcome = Outcome.SUCCESS
        elif len(self.sent) >= settings.max_steps:
            self.outcome = Outcome.TIMEOUT


def rollout(
    pool: RobotPool,
    policy: Policy,
    requests: Sequence[Attempt],
    settings: RolloutSettings | None = None,
    on_episode: OnEpisode | None = None,
    config_hash: str = "",
    timings: RolloutTimings | None = None,
    record: Record | None = None,
    detector: SuccessDetector | None = None,
) -> list[Episode]:
    """Carry out every attempt and return its episode, in the order of `requests`.

    `record`, where given, opens a recording for each try of an attempt; it is written step by step, sealed when the
    episode ends, which then bears the id it was sealed under, set aside when the attempt is begun again after a fault,
    and left as it is when an exception ends the rollout.
    `on_episode` is called the moment an episode has ended, and been sealed, so that nothing finished is lost when the
    process dies. `timings`, where given, is added to. `detector` is asked after every step where attempts end by it.

    A robot that breaks in the middle (see `FAULTS`, or a robot missing from the pool's answer) costs its attempt
    another try, `settings.retries` times, and then leaves an episode with the outcome `infrastructure fault`; the
    others go on. A robot that cannot be reset is left out and its attempt goes to another. An attempt that cannot go on
    where its robot is, or met a fault there, is begun from its seed instead, and its episode says so.
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
        detector,
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
        detector: SuccessDetector | None,
    ) -> None:
        if (settings or RolloutSettings()).ends_by == "detector" and detector is None:
            raise ValueError("Attempts that end by a detector need one.")
        self.pool = pool
        self.policy = policy
        self.settings = settings
        self.on_episode = on_episode
        self.config_hash = config_hash
        self.timings = timings
        self.record = record
        self.detector = detector
        self.running: dict[int, _Running] = {}
        self.fit = list(range(pool.size))
        self.episodes: dict[int, Episode] = {}
        self.waiting: deque[tuple[int, Attempt]] = deque()
        self.faults: Counter[int] = Counter()

    def run(self, requests: Sequence[Attempt]) -> list[Episode]:
        for index, attempt in enumerate(requests):
            if (attempt.continues or 0) >= self.pool.size:
                raise ValueError(f"There is no robot {attempt.continues} of {self.pool.size} to go on where it is.")
            self.waiting.append((index, attempt))
        try:
            while self.waiting or self.running:
                self._start()
                self._intend()
                self._act()
                self.timings.rounds += 1
        finally:
            for running in self.running.values():  # there are any only where an exception ends it all
                if running.recording is not None:
                    running.recording.leave()
        return [self.episodes[index] for index in range(len(requests))]

    def _start(self) -> None:
        """Give idle robots the next attempts; put the attempt of a robot that cannot begin it back in the queue."""
        began = time.perf_counter()
        while taken := self._assigned():
            anew = {robot: attempt.seed for robot, (_, attempt) in taken.items() if attempt.continues is None}
            first, problem = self._ask(self.pool.reset, anew)
            first |= self._ask(self.pool.observe, dict.fromkeys(taken.keys() - anew.keys(), 0))[0]
            for robot, (index, attempt) in reversed(taken.items()):
                if robot in first:
                    self._begin(robot, index, attempt, first[robot])
                    continue
                self.waiting.appendleft((index, dataclasses.replace(attempt, continues=None)))
                if robot in anew:
                    self.fit.remove(robot)
            if not self.fit:
                raise SailError(f"No robot of {self.pool.spec.name!r} can be reset any more: {problem}") from problem
        self.timings.resetting_s += time.perf_counter() - began

    def _assigned(self) -> dict[int, tuple[int, Attempt]]:
        """Take the next attempts out of the queue, each with an idle robot; one that goes on somewhere waits for it."""
        idle = [robot for robot in self.fit if robot not in self.running]
        taken: dict[int, tuple[int, Attempt]] = {}
        left: deque[tuple[int, Attempt]] = deque()
        while self.waiting:
            index, attempt = self.waiting.popleft()
            if attempt.continues is not None and attempt.continues not in self.fit:
                attempt = dataclasses.replace(attempt, continues=None)
            robot = next((one for one in idle if attempt.continues in (None, one)), None)
            if robot is None:
                left.append((index, attempt))
            else:
                idle.remove(robot)
                taken[robot] = (index, attempt)
        self.waiting = left
        return taken

    def _begin(self, robot: int, index: int, attempt: Attempt, first: Observation) -> None:
        running = self.running[robot] = _Running(index, attempt, [first])
        if self.record is not None:
            running.recording = self.record(index, attempt)
            running.recording.observe(first)

    @staticmethod
    def _ask(
        ask: Callable[[dict[int, int]], dict[int, Observation]], named: dict[int, int]
    ) -> tuple[dict[int, Observation], Exception | None]:
        """Ask robots for a first observation together; where that fails, one by one: none takes another with it."""
        if not named:
            return {}, None
        try:
            return ask(named), None
        except FAULTS as problem:
            if len(named) == 1:
                return {}, problem
        first: dict[int, Observation] = {}
        last: Exception | None = None
        for robot, value in named.items():
            try:
                first |= ask({robot: value})
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
            [shown(self.policy, running.observations[-1]) for running in batch],
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
                [shown(self.policy, running.observations[-1]) for running, _ in busy.values()],
                [intent for _, intent in busy.values()],
                [step] * len(busy),
            )
            asked = dict(zip(busy, actions, strict=True))
            try:
                answers = self.pool.act(asked)
            except FAULTS:
                answers = {}
            for robot, answer in answers.items():
                self.running[robot].record(asked[robot], answer)
            self._detect([self.running[robot] for robot in answers])
            for robot, (running, _) in busy.items():
                if robot in answers:
                    running.settle(self.settings)
                else:
                    running.outcome = Outcome.INFRASTRUCTURE_FAULT
                if running.outcome is not None:
                    self._finish(robot)
            self.timings.steps += len(answers)
            step += 1
        self.timings.acting_s += time.perf_counter() - began

    def _detect(self, acted: Sequence[_Running]) -> None:
        """Ask whoever detects success, in one batch, and count for how many steps in a row it has been seen."""
        if self.settings.ends_by != "detector" or self.detector is None or not acted:
            return
        seen = self.detector.success(
            [running.observations[-1].images for running in acted],
            [running.observations[0].images for running in acted],
            [running.attempt.instruction for running in acted],
        )
        for running, is_done in zip(acted, seen, strict=True):
            running.detected = running.detected + 1 if is_done else 0

    def _finish(self, robot: int) -> None:
        running = self.running[robot]
        recording = running.recording
        if running.outcome is Outcome.INFRASTRUCTURE_FAULT and self.faults[running.index] < self.settings.retries:
            # It waits for whichever robot is idle next; its seed makes it the same attempt there, unless it went on
            # from where another had ended: that place is lost.
            self.faults[running.index] += 1
            self.timings.retries += 1
            if recording is not None:
                recording.set_aside()
            del self.running[robot]
            self.waiting.append((running.index, dataclasses.replace(running.attempt, continues=None)))
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
        begins=attempt.begins,
    )
