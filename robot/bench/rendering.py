"""Measure frames a second: this project's rendering beside MuJoCo's own renderer left alone, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from robot.bench.machine import describe_machine
from sim.metaworld import MetaWorldRobot
from sim.rendering import choose_backend


def bench_render(
    task: str = "drawer-close",
    camera: str = "corner2",
    sizes: Sequence[int] = (64, 128),
    frames: int = 100,
    stock_frames: int = 10,
    rounds: int = 3,
) -> dict[str, Any]:
    """Return `hardware`, `backend` and one record a picture size (pixels, square).

    A record has `fast_fps` (whole observations, state included), `stock_fps` (`mujoco.Renderer` with its defaults on
    the same scene and camera) and `ratio`. The two take turns, `rounds` times, so that other load on the machine meets
    both; each figure is the median of the rounds, and so is the ratio. Raises ValueError for a count below one.
    """
    if min(frames, stock_frames, rounds, len(sizes)) < 1:
        raise ValueError("A rendering benchmark needs at least one size, frame and round.")
    records = [_measure(task, camera, int(size), frames, stock_frames, rounds) for size in sizes]
    return {"what": "render", "hardware": describe_machine(), "backend": choose_backend(), "records": records}


def _measure(task: str, camera: str, size: int, frames: int, stock_frames: int, rounds: int) -> dict[str, Any]:
    robot = MetaWorldRobot(task, (camera,), size)
    plain = MetaWorldRobot(task, cameras=())
    import mujoco

    model, data = plain.scene
    stock = mujoco.Renderer(model, size, size)

    def draw_stock() -> None:
        stock.update_scene(data, camera=camera)
        stock.render()

    try:
        robot.observe()
        draw_stock()
        pairs = [(_per_second(robot.observe, frames), _per_second(draw_stock, stock_frames)) for _ in range(rounds)]
    finally:
        stock.close()
        robot.close()
        plain.close()
    return {
        "task": task,
        "camera": camera,
        "size_px": size,
        "fast_fps": round(median(fast for fast, _ in pairs), 1),
        "stock_fps": round(median(slow for _, slow in pairs), 1),
        "ratio": round(median(fast / slow for fast, slow in pairs), 1),
    }


def _per_second(draw: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        draw()
    return count / (time.perf_counter() - began)
