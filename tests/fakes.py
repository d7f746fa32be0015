"""A toy world for tests: robots in a plane, a planner that knows what it was taught, learners that teach it.

A robot starts near x = 0 and succeeds at x ≥ 1. A plan points right or left; how often right is the planner's skill at
the words it hears. Nothing here needs torch, and everything is a function of seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.imagine_then_track import ImagineThenTrack
from robot.core.data import (
    Action,
    ActionSpec,
    Episode,
    Feedback,
    Intent,
    Observation,
    Outcome,
    RobotSpec,
    SamplerSettings,
    Verdict,
    VideoPlan,
    View,
)
from robot.core.protocols import InverseDynamics

SPEC = RobotSpec(
    name="toy",
    action=ActionSpec(
        names=("x", "y"),
        units=("1", "1"),
        low=np.full(2, -1.0, np.float32),
        high=np.full(2, 1.0, np.float32),
        rate_hz=40.0,
    ),
    proprio_names=("x", "y"),
    proprio_units=("m", "m"),
    cameras={"top": (4, 4)},
)
STEP_M = 0.1


class ToyRobot:
    """A point in the plane that an action moves by at most 0.1 m per axis."""

    def __init__(self) -> None:
        self.spec = SPEC
        self.closed = 0
        self.seed: int | None = None
        self.steps = 0
        self.position = np.zeros(2, np.float32)
        self.done = False

    def reset(self, seed: int | None = None) -> Observation:
        self.seed = seed
        self.steps = 0
        self.done = False
        self.position = np.random.default_rng(seed).uniform(-0.2, 0.2, 2).astype(np.float32)
        return self.observe()

    def observe(self) -> Observation:
        image = np.zeros((4, 4, 3), np.uint8)
        image[0, 0, :2] = np.clip(128 + 40 * self.position, 0, 255).astype(np.uint8)
        return Observation({"top": image}, self.position.copy(), self.steps / 40.0, self.position.astype(np.float64))

    def act(self, action: Action) -> Action:
        sent = Action(SPEC.action.clip(action.values))
        self.position = self.position + STEP_M * sent.values
        self.steps += 1
        self.done = self.done or bool(self.position[0] >= 1.0)
        return sent

    def succeeded(self) -> bool:
        return self.done

    def count_anew(self) -> None:
        self.done = False

    def close(self) -> None:
        self.closed += 1


class ToyPool:
    """Several toy robots.

    `breaks` maps an attempt's seed to the step at which its robot drops out; `dead` robots
    cannot be reset; `raising` makes `act` raise for all instead of leaving one robot out.
    """

    def __init__(
        self,
        size: int = 3,
        breaks: Mapping[int, int] | None = None,
        dead: Sequence[int] = (),
        raising: bool = False,
        knows_truth: bool = True,
        on_act: Callable[[], None] | None = None,
    ) -> None:
        self.robots = [ToyRobot() for _ in range(size)]
        self.breaks = dict(breaks or {})
        self.dead = tuple(dead)
        self.raising = raising
        self.knows_truth = knows_truth
        self.on_act = on_act
        self.acted: list[int] = []

    @property
    def spec(self) -> RobotSpec:
        return SPEC

    @property
    def size(self) -> int:
        return len(self.robots)

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        for number in seeds:
            if number in self.dead:
                raise RuntimeError(f"robot {number} does not answer")
        return {number: self.robots[number].reset(seed) for number, seed in seeds.items()}

    def observe(self, robots: Collection[int]) -> dict[int, Observation]:
        for number in robots:
            self.robots[number].count_anew()
        return {number: self.robots[number].observe() for number in robots if number not in self.dead}

    def act(self, actions: Mapping[int, Action]) -> dict[int, Feedback]:
        if self.on_act is not None:
            self.on_act()
        self.acted.append(len(actions))
        answers = {}
        for number, action in actions.items():
            robot = self.robots[number]
            if self.breaks.get(robot.seed or 0) == robot.steps:
                if self.raising:
                    raise ConnectionError("the wire is cut")
                continue
            sent = robot.act(action)
            answers[number] = Feedback(sent, robot.observe(), robot.succeeded() if self.knows_truth else None)
        return answers

    def close(self) -> None:
        for robot in self.robots:
            robot.close()


class ToyPlanner:
    """Point right with the probability of its skill at the instruction, left otherwise.

    `skills` maps an instruction to that probability, 0 for others. It keeps what it was asked in `asked`.
    """

    def __init__(self, skills: Mapping[str, float] | None = None, frames: int = 8, stride_s: float = 0.05) -> None:
        self.skills = dict(skills or {})
        self.frames = frames
        self.stride_s = stride_s
        self.asked: list[tuple[list[str], list[int], list[SamplerSettings] | None]] = []

    @property
    def identity(self) -> str:
        return json.dumps(self.skills, sort_keys=True)

    @property
    def view(self) -> View:
        return View(stride_s=self.stride_s, frames=self.frames)

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        assert len(observations) == len(instructions) == len(seeds)
        assert settings is None or len(settings) == len(seeds)
        self.asked.append((list(instructions), list(seeds), None if settings is None else list(settings)))
        plans = []
        for number, (instruction, seed) in enumerate(zip(instructions, seeds, strict=True)):
            rng = np.random.default_rng(seed)
            right = rng.random() < self.skills.get(instruction, 0.0)
            frames = rng.integers(0, 256, (self.frames, 4, 4, 3), dtype=np.uint8)
            frames[:, 0, 0, 0] = 255 if right else 0
            sampler = SamplerSettings() if settings is None else settings[number]
            plans.append(VideoPlan(frames, self.stride_s, instruction, seed, self.identity, sampler))
        return plans


class ToyInverseDynamics:
    """Go where the plan points, asking for twice of what the robot can do."""

    identity = "toy"

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        return [2.0 if plan.frames[0, 0, 0, 0] else -2.0 for plan in plans]

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        return [Action(np.array([handle, 0.0], np.float32)) for handle in handles]


def toy_policy(
    planner: ToyPlanner | None = None,
    inverse_dynamics: InverseDynamics | None = None,
    execute_frames: int = 6,
) -> ImagineThenTrack:
    """Return the policy of a toy planner, of one without any skill unless given."""
    return ImagineThenTrack(
        planner if planner is not None else ToyPlanner(),
        inverse_dynamics if inverse_dynamics is not None else ToyInverseDynamics(),
        SPEC.action.rate_hz,
        execute_frames,
    )


class Rightward:
    """A policy without plans that looks at every step, as behaviour cloning does: right of 0.5 m it goes slower."""

    identity = "rightward"

    def begin(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[Intent]:
        return [Intent(1000) for _ in zip(observations, instructions, seeds, strict=True)]

    def act(self, observations: Sequence[Observation], intents: Sequence[Intent], steps: Sequence[int]) -> list[Action]:
        ahead = [0.5 if observation.proprio[0] > 0.5 else 1.0 for observation in observations]
        return [Action(np.array([speed, 0.0], np.float32)) for speed in ahead]


class Chunks:
    """A policy without plans that draws eight actions at once and executes five, as a Diffusion Policy does."""

    identity = "chunks"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def begin(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[Intent]:
        self.asked.extend(zip(instructions, seeds, strict=True))
        drawn = [np.random.default_rng(seed).uniform(0.2, 1.0, (8, 2)).astype(np.float32) for seed in seeds]
        return [Intent(5, 8, handle=chunk) for chunk, _ in zip(drawn, observations, strict=True)]

    def act(self, observations: Sequence[Observation], intents: Sequence[Intent], steps: Sequence[int]) -> list[Action]:
        chosen: list[Any] = [intent.handle for intent in intents]
        return [Action(chunk[step].copy()) for chunk, step in zip(chosen, steps, strict=True)]


class ToyLearner:
    """Raise a planner's skill at the true instruction with every success, in resumable steps.

    The skill after `update` is a function of the skill before, of the successes' actions and of the seed, so that a run
    that mixed up its data or its seeds would differ. `on_step` is called between steps, for a test to kill the process
    there.
    """

    def __init__(
        self, planner: ToyPlanner, needs_success: bool = True, on_step: Callable[[int], None] | None = None
    ) -> None:
        self.planner = planner
        self.starter = dict(planner.skills)
        self.needs_success = needs_success
        self.on_step = on_step
        self.updates: list[tuple[int, int]] = []
        self.seeds: list[int] = []

    def restore(self, folder: Path | None) -> None:
        self.planner.skills = dict(self.starter) if folder is None else json.loads((folder / "model.json").read_text())

    def update(
        self, episodes: Sequence[Episode], verdicts: Sequence[Verdict], folder: Path, seed: int
    ) -> dict[str, float]:
        assert len(episodes) == len(verdicts)
        successes = [episodes[number] for number, verdict in enumerate(verdicts) if verdict.success]
        self.updates.append((len(successes), len(episodes)))
        self.seeds.append(seed)
        folder.mkdir(parents=True, exist_ok=True)
        progress = folder / "progress.json"
        done, skills = json.loads(progress.read_text()) if progress.exists() else (0, self.planner.skills)
        for step, episode in enumerate(successes):
            if step < done:
                continue
            before = skills.get(episode.instruction, 0.0)
            skills[episode.instruction] = min(
                0.95, before + 0.02 + 1e-3 * float(abs(episode.proprio[0, 0])) + seed / 2**41
            )
            progress.write_text(json.dumps([step + 1, skills]))
            if self.on_step is not None:
                self.on_step(step)
        self.planner.skills = skills
        (folder / "model.json").write_text(json.dumps(skills))
        return {"skill": max(skills.values(), default=0.0)}


def toy_episode(success: Sequence[bool], task: str = "toy", seed: int = 0) -> Episode:
    """Return an episode of as many steps as there are success flags, in which the robot stands still."""
    steps = len(success)
    return Episode(
        task=task,
        instruction="go right",
        robot=SPEC.name,
        frames={"top": np.zeros((steps + 1, 4, 4, 3), np.uint8)},
        proprio=np.zeros((steps + 1, 2), np.float32),
        requested=np.zeros((steps, 2), np.float32),
        sent=np.zeros((steps, 2), np.float32),
        times_s=np.arange(steps + 1) / 40.0,
        outcome=Outcome.SUCCESS if any(success) else Outcome.TIMEOUT,
        seed=seed,
        spoken="go right",
        success=np.array(success, dtype=np.bool_),
    )
