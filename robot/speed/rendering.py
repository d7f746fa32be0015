"""Measure frames a second: this project's rendering beside MuJoCo's own renderer left alone, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from robot.core.data import Action
from robot.core.provenance.machine import describe_machine
from sim.metaworld import MetaWorldRobot
from sim.rendering import choose_backend


def bench_render(
    task: str = "drawer-close",
    camera: str = "corner2",
    sizes: Sequence[int] = (64, 96, 128),
    frames: int = 100,
    stock_frames: int = 10,
    rounds: int = 5,
) -> dict[str, Any]:
    """Return `hardware`, `backend` and one record a picture size (pixels, square).

    A record has `fast_fps` (whole observations, state included), `stock_fps` (`mujoco.Renderer` with its defaults),
    `ratio`, and `ratio_low` and `ratio_high`, the least and the greatest of the rounds; the others are medians of the
    rounds. Both draw the same moving arm: before every picture it takes a random step, which is not timed. Within a
    round one picture of stock follows a few of ours, so that other load on the machine meets both alike. Raises
    ValueError for a count below one and for fewer frames than stock frames.
    """
    if min(frames, stock_frames, rounds, len(sizes)) < 1:
        raise ValueError("A rendering benchmark needs at least one size, frame and round.")
    if frames < stock_frames:
        raise ValueError(f"A rendering benchmark draws at least as many frames as stock frames, got {frames}.")
    records = [_measure(task, camera, int(size), frames, stock_frames, rounds) for size in sizes]
    return {"what": "render", "hardware": describe_machine(), "backend": choose_backend(), "records": records}


def _measure(task: str, camera: str, size: int, frames: int, stock_frames: int, rounds: int) -> dict[str, Any]:
    robot = MetaWorldRobot(task, (camera,), size)
    plain = MetaWorldRobot(task, cameras=())  # a model whose render settings nobody has touched
    import mujoco

    stock = mujoco.Renderer(plain.scene[0], size, size)
    rng = np.random.default_rng(0)

    def move() -> None:
        robot.act(Action(rng.uniform(-1, 1, 4).astype(np.float32)))

    def draw_stock() -> None:
        stock.update_scene(robot.scene[1], camera=camera)
        stock.render()

    fast_fps, stock_fps = [], []
    try:
        robot.observe()
        draw_stock()
        for _ in range(rounds):
            ours, theirs = _Stopwatch(move, robot.observe), _Stopwatch(move, draw_stock)
            for number in range(stock_frames):
                theirs.run()
                for _ in range(frames * (number + 1) // stock_frames - frames * number // stock_frames):
                    ours.run()
            fast_fps.append(ours.per_second)
            stock_fps.append(theirs.per_second)
    finally:
        stock.close()
        robot.close()
        plain.close()
    ratios = [fast / slow for fast, slow in zip(fast_fps, stock_fps, strict=True)]
    return {
        "task": task,
        "camera": camera,
        "size_px": size,
        "fast_fps": round(median(fast_fps), 1),
        "stock_fps": round(median(stock_fps), 1),
        "ratio": round(median(ratios), 1),
        "ratio_low": round(min(ratios), 1),
        "ratio_high": round(max(ratios), 1),
    }


@dataclass(slots=True)
class _Stopwatch:
    """Time one kind of picture, not what is done before each."""

    before: Callable[[], object]
    draw: Callable[[], object]
    times_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        self.before()
        began = time.perf_counter()
        self.draw()
        self.times_s.append(time.perf_counter() - began)

    @property
    def per_second(self) -> float:
        return len(self.times_s) / sum(self.times_s)
