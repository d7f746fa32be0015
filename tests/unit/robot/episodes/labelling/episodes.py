"""Episodes to label that need no simulator: a square that moves, and a plan of where it will go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, Outcome, PlacedPlan, VideoPlan

RATE_HZ = 40.0
SIDE = 48


def picture(place: float, shade: int, side: int = SIDE) -> NDArray[np.uint8]:
    frame = np.full((side, side, 3), 40, np.uint8)
    square = side * 10 // SIDE
    left, top = int(place * (side - square)), (side - square) // 2
    frame[top : top + square, left : left + square] = shade
    return frame


def moving_square(
    steps: int = 24,
    seed: int = 0,
    plans: bool = True,
    cameras: tuple[str, ...] = ("corner2",),
    side: int = SIDE,
) -> Episode:
    """Return an episode whose frame t shows the square at t / steps, in a shade of its own for each seed."""
    shade = 90 + 12 * (seed % 12)
    executed = np.stack([picture(step / steps, shade, side) for step in range(steps + 1)])
    stride = 4
    placed = tuple(
        PlacedPlan(
            start,
            VideoPlan(
                np.stack([picture(min(1.0, (start + stride * (i + 1)) / steps), 200, side) for i in range(4)]),
                stride / RATE_HZ,
                "push the square",
                seed,
                "abc",
            ),
        )
        for start in range(0, steps, 12)
    )
    time = np.linspace(0, 6, steps)
    actions = np.stack([np.sin(time), np.cos(time), 0 * time, np.sign(np.sin(time))], axis=1).astype(np.float32)
    return Episode(
        task="push",
        instruction="push the square",
        robot="fake",
        frames=dict.fromkeys(cameras, executed),
        proprio=np.zeros((steps + 1, 4), np.float32),
        requested=1.2 * actions,
        sent=actions,
        times_s=np.arange(steps + 1) / RATE_HZ,
        outcome=Outcome.TIMEOUT,
        seed=seed,
        plans=placed if plans else (),
    )
