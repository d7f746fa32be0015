"""Open robots when they are needed, and know what they sense before that."""

from __future__ import annotations

from collections.abc import Callable

from robot.core.data import RobotSpec
from robot.core.protocols import Robot, RobotPool
from robot.rollouts.rollout import SingleRobot


class PoolSource:
    """Open one pool at once, to know what the robots sense, and another for each later `make`.

    `open_robots` returns a pool, or one robot.
    """

    def __init__(self, open_robots: Callable[[], Robot | RobotPool]) -> None:
        self._open_robots = open_robots
        self._waiting: RobotPool | None = self._open()
        self.spec: RobotSpec = self._waiting.spec

    def make(self) -> RobotPool:
        """Return an open pool; whoever asked closes it."""
        pool, self._waiting = self._waiting, None
        return pool if pool is not None else self._open()

    def _open(self) -> RobotPool:
        made = self._open_robots()
        return made if isinstance(made, RobotPool) else SingleRobot(made)

    def close(self) -> None:
        """Close the pool that nobody asked for, if there is one."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
