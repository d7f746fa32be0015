"""Who drives the simulated arm when data is collected: scripted experts (noisy, failing, suboptimal) and play."""

from __future__ import annotations

import warnings
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Action
from sim.metaworld import MetaWorldRobot

FailureKind = Literal["none", "offset", "freeze", "drop"]
FAILURE_KINDS: tuple[FailureKind, ...] = ("offset", "freeze", "drop")
WORKSPACE_LOW_M = np.array([-0.35, 0.42, 0.06])
WORKSPACE_HIGH_M = np.array([0.35, 0.85, 0.40])


class Driver(Protocol):
    """Choose the next action of a simulated arm, with access to what no policy may see."""

    def act(self, robot: MetaWorldRobot) -> Action:
        """Return the next action."""
        ...


class ScriptedExpert:
    """Drive a task with MetaWorld's scripted policy, optionally disturbed.

    `noise` is the standard deviation of Gaussian noise on the three displacements (the action's own unit, 1 = full
    speed). `failure` makes an attempt go wrong on purpose: `offset` aims beside the object, `freeze` stops half-way,
    `drop` opens the gripper half-way.
    """

    def __init__(self, task: str, seed: int, noise: float = 0.0, failure: FailureKind = "none") -> None:
        from metaworld.policies import ENV_POLICY_MAP

        if noise < 0:
            raise ValueError(f"Expert noise must not be negative, got {noise}.")
        self._policy: Any = ENV_POLICY_MAP[f"{task}-v3"]()
        self._rng = np.random.default_rng([seed, 0xE])
        self._noise = noise
        self._failure = failure
        direction = self._rng.normal(size=3)
        self._offset_m = 0.12 * direction / np.linalg.norm(direction)
        self._turns_at = int(self._rng.integers(8, 20))
        self._step = 0

    def act(self, robot: MetaWorldRobot) -> Action:
        """Return the expert's action for the scene as it is, disturbed as configured."""
        observation = robot.privileged()
        if self._failure == "offset":
            observation[:3] += self._offset_m
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # some policies warn that their actions will be clipped
            values = np.asarray(self._policy.get_action(observation), np.float64)
        values[:3] += self._rng.normal(scale=self._noise, size=3) if self._noise else 0.0
        if self._step >= self._turns_at:
            if self._failure == "freeze":
                values[:3] = 0.0
            elif self._failure == "drop":
                values[3] = -1.0
        self._step += 1
        return Action(np.clip(values, -1, 1).astype(np.float32))


class Suboptimal:
    """Do what the scripted expert would in three steps of ten, and anything in the others.

    It is the data of SAIL's suboptimal start: 70 % random and 30 % expert actions (Luo et al., 2025). Random ones are
    uniform in −1 … 1, the gripper's too.
    """

    RANDOM_SHARE = 0.7

    def __init__(self, task: str, seed: int, noise: float = 0.0) -> None:
        self._expert = ScriptedExpert(task, seed, noise)
        self._rng = np.random.default_rng([seed, 0x5])

    def act(self, robot: MetaWorldRobot) -> Action:
        """Return the expert's action, or a random one."""
        wanted = self._expert.act(robot)
        if self._rng.random() >= self.RANDOM_SHARE:
            return wanted
        return Action(self._rng.uniform(-1.0, 1.0, wanted.values.shape).astype(np.float32))


class Play:
    """Wander between random reachable waypoints, opening and closing the gripper: motion without a task."""

    def __init__(self, seed: int, speed: float = 1.0) -> None:
        self._rng = np.random.default_rng([seed, 0xA])
        self._speed = speed
        self._goal_m: NDArray[np.float64] = np.zeros(3)
        self._grip = -1.0
        self._left = 0

    def act(self, robot: MetaWorldRobot) -> Action:
        """Return the action towards the present waypoint; a new one is drawn when it is reached or time is up."""
        here_m = robot.proprio()[:3].astype(np.float64)
        if self._left == 0 or np.linalg.norm(self._goal_m - here_m) < 0.015:
            low = np.maximum(WORKSPACE_LOW_M, np.asarray(robot.reach_m[0]))
            high = np.minimum(WORKSPACE_HIGH_M, np.asarray(robot.reach_m[1]))
            self._goal_m = self._rng.uniform(low, high)
            self._grip = float(self._rng.choice([-1.0, 1.0]))
            self._left = int(self._rng.integers(8, 25))
        self._left -= 1
        move = np.clip((self._goal_m - here_m) / 0.02, -1, 1) * self._speed
        move += self._rng.normal(scale=0.1, size=3)
        return Action(np.clip([*move, self._grip], -1, 1).astype(np.float32))
