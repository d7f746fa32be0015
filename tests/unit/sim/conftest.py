"""Simulators the tests of a module share, since making one takes longer than most tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from robot.core.data import Action
from sim.metaworld import MetaWorldRobot
from sim.rendering import choose_backend

choose_backend()  # before any test module here imports mujoco, which reads the choice once

Make = Callable[..., MetaWorldRobot]


@pytest.fixture(scope="module")
def make_robot() -> Iterator[Make]:
    """Return a function that makes each robot once a module and hands the same one out again."""
    made: dict[Any, MetaWorldRobot] = {}

    def make(task: str, copy: int = 0, **options: Any) -> MetaWorldRobot:
        key = (task, copy, tuple(sorted(options.items())))
        if key not in made:
            made[key] = MetaWorldRobot(task, **options)
        return made[key]

    yield make
    for robot in made.values():
        robot.close()


@pytest.fixture(scope="session")
def random_actions() -> Callable[[int, int], list[Action]]:
    """Return a function of a count and a seed that draws actions within the limits."""

    def draw(count: int, seed: int = 0) -> list[Action]:
        rng = np.random.default_rng(seed)
        return [Action(values) for values in rng.uniform(-1, 1, (count, 4)).astype(np.float32)]

    return draw
