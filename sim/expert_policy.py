"""The scripted expert as a policy without plans: what a task's own success rate is measured against."""

from __future__ import annotations

from collections.abc import Sequence

from robot.core.data import Action, Intent, Observation, SamplerSettings
from robot.core.errors import SailError
from sim.experts import ScriptedExpert
from sim.metaworld import MetaWorldRobot
from sim.tasks import INSTRUCTIONS


class ExpertPolicy:
    """Do what the scripted expert of the task would do, some steps at a time. A `Policy`.

    Its intents are found in a simulator of its own, put into the state that the observation carries: where the robot is
    such a simulator too, what is intended comes true bit for bit.
    """

    identity = "expert"
    method = "expert"
    reads_state = True

    def __init__(self, steps: int = 8, action_repeat: int = 2) -> None:
        """Choose `steps` actions at once, each repeated for `action_repeat` physics actions, as the robot does."""
        if steps < 1:
            raise ValueError(f"The expert must intend at least one step, got {steps}.")
        self._steps, self._repeat = steps, action_repeat
        self._robot: MetaWorldRobot | None = None
        self._tasks = {words: task for task, words in INSTRUCTIONS.items()}

    def begin(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[Intent]:
        """Return the expert's next actions from each observation; nothing is drawn or sampled.

        Raises SailError for an instruction of no task, or an observation without a simulator state; ValueError for
        lengths that differ.
        """
        return [self._intend(*row) for row in zip(observations, instructions, seeds, strict=True)]

    def act(self, observations: Sequence[Observation], intents: Sequence[Intent], steps: Sequence[int]) -> list[Action]:
        """Return the actions intended for these steps."""
        actions = []
        for _, intent, step in zip(observations, intents, steps, strict=True):
            if not isinstance(intent.handle, tuple) or not 0 <= step < intent.horizon:
                raise ValueError("The expert acts on intents from its own `begin`, at steps within their horizon.")
            actions.append(intent.handle[step])
        return actions

    def close(self) -> None:
        """Free the private simulator."""
        if self._robot is not None:
            self._robot.close()

    def _intend(self, observation: Observation, words: str, seed: int) -> Intent:
        if words not in self._tasks:
            raise SailError(f"The expert knows the fifty tasks' own instructions only, not {words!r}.")
        if observation.state is None:
            raise SailError("The expert acts on simulator states, and this robot gives none: choose another policy.")
        robot = self._simulator(self._tasks[words])
        robot.restore(observation.state)
        expert = ScriptedExpert(robot.task, seed)
        actions = []
        for _ in range(self._steps):
            actions.append(expert.act(robot))
            robot.act(actions[-1])
        return Intent(self._steps, handle=tuple(actions))

    def _simulator(self, task: str) -> MetaWorldRobot:
        if self._robot is None or self._robot.task != task:
            self.close()
            self._robot = MetaWorldRobot(task, cameras=(), action_repeat=self._repeat)
        return self._robot
