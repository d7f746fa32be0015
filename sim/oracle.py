"""A planner that imagines nothing: it shows what the scripted expert would really do from here.

Following it measures the execution ceiling of an inverse dynamics: what success true videos would give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Observation, SamplerSettings, VideoPlan
from robot.core.errors import SailError
from sim.experts import ScriptedExpert
from sim.metaworld import PHYSICS_HZ, MetaWorldRobot
from sim.tasks import INSTRUCTIONS


class OraclePlanner:
    """Plan by simulating the task's scripted expert from the state carried by the observation."""

    identity = "oracle"
    method = "oracle_{inverse_dynamics}"
    reads_state = True

    def __init__(
        self, frames: int = 8, stride: int = 2, camera: str = "corner2", image_size: int = 128, action_repeat: int = 2
    ) -> None:
        """Plan `frames` frames, one every `stride` steps of `action_repeat` physics actions."""
        self._frames, self._stride, self._camera = frames, stride, camera
        self._image_size, self._repeat = image_size, action_repeat
        self._robot: MetaWorldRobot | None = None
        self._tasks = {words: task for task, words in INSTRUCTIONS.items()}

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        """Return the true future of each observation under the expert of the task its instruction names.

        Raises SailError for an instruction of no task, or an observation without a simulator state; ValueError for an
        empty instruction or lengths that differ.
        """
        if not len(observations) == len(instructions) == len(seeds):
            raise ValueError("Observations, instructions and seeds must be equally many.")
        if not all(words.strip() for words in instructions):
            raise ValueError("A plan needs an instruction; the one given is empty.")
        return [self._plan(*row) for row in zip(observations, instructions, seeds, strict=True)]

    def close(self) -> None:
        """Free the private simulator."""
        if self._robot is not None:
            self._robot.close()

    def _plan(self, observation: Observation, words: str, seed: int) -> VideoPlan:
        if words not in self._tasks:
            raise SailError(f"The oracle knows the fifty tasks' own instructions only, not {words!r}.")
        if observation.state is None:
            raise SailError("The oracle plans from simulator states, and this robot gives none; use another planner.")
        robot = self._simulator(self._tasks[words])
        robot.restore(observation.state)
        expert = ScriptedExpert(robot.task, seed)
        frames: list[NDArray[np.uint8]] = []
        for _ in range(self._frames):
            for _ in range(self._stride):
                robot.act(expert.act(robot))
            frames.append(np.asarray(robot.observe().images[self._camera]))
        stride_s = self._stride * self._repeat / PHYSICS_HZ
        return VideoPlan(np.stack(frames), stride_s, words, seed, self.identity)

    def _simulator(self, task: str) -> MetaWorldRobot:
        if self._robot is None or self._robot.task != task:
            self.close()
            self._robot = MetaWorldRobot(task, (self._camera,), self._image_size, self._repeat)
        return self._robot
