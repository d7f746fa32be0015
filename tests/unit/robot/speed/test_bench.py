"""The benchmarks return the figures they promise, measured on what they say."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from robot.core.data import Observation, SamplerSettings, VideoPlan
from robot.core.provenance.machine import describe_machine, peak_memory_mib, usable_cores
from robot.rollouts.rollout import RolloutSettings
from robot.speed.planning import bench_planner, count_parameters
from robot.speed.rendering import bench_render
from robot.speed.rollouts import bench_rollouts
from tests.fakes import ToyPlanner, ToyPool, toy_policy


def test_the_machine_is_described_in_plain_values() -> None:
    machine = describe_machine()
    assert machine == json.loads(json.dumps(machine))
    assert machine["cpu"]
    assert machine["cores"] == usable_cores() >= 1
    assert machine["torch"] == torch.__version__
    assert machine["torch_threads"] == torch.get_num_threads()
    assert machine["memory_gib"] > 0.5


def test_peak_memory_counts_every_process_and_never_falls() -> None:
    before = peak_memory_mib([os.getpid()])
    block = np.ones(100 * 2**20, np.uint8)
    held = peak_memory_mib([os.getpid()])
    del block
    assert before > 10
    assert peak_memory_mib([os.getpid()]) >= 0.98 * held  # the kernel counts per thread and adds up now and then
    assert peak_memory_mib([os.getpid(), os.getpid()]) == pytest.approx(2 * peak_memory_mib([os.getpid()]), rel=0.02)
    assert peak_memory_mib([2**22 + 1]) > 10  # no such process: this one's


def test_rendering_is_faster_than_stock_and_draws_the_same_moving_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    from sim.rendering import OffscreenRenderer, choose_backend

    choose_backend()
    import mujoco

    fast: list[np.ndarray] = []
    stock: list[np.ndarray] = []

    class Watched(mujoco.Renderer):
        def render(self, *arguments: Any, **options: Any) -> np.ndarray:
            stock.append(super().render(*arguments, **options))
            return stock[-1]

    class WatchedFast(OffscreenRenderer):
        def render(self, *arguments: Any, **options: Any) -> np.ndarray:
            fast.append(super().render(*arguments, **options))
            return fast[-1]

    monkeypatch.setattr(mujoco, "Renderer", Watched)
    monkeypatch.setattr("sim.metaworld.OffscreenRenderer", WatchedFast)
    result = bench_render("drawer-close", sizes=(32,), frames=5, stock_frames=2, rounds=2)
    (record,) = result["records"]
    assert result == json.loads(json.dumps(result))
    assert record["size_px"] == 32
    assert record["fast_fps"] > record["stock_fps"] > 0
    assert record["ratio"] > 2
    assert record["ratio_low"] <= record["ratio"] <= record["ratio_high"]
    assert (len(fast), len(stock)) == (1 + 2 * 5, 1 + 2 * 2)
    assert fast[0].shape == stock[0].shape == (32, 32, 3)
    # stock's picture shows the camera as it is mounted, ours upright
    seen, expected = fast[-1].astype(float), stock[-1][::-1, ::-1].astype(float)
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.8
    assert np.abs(fast[-1].astype(float) - fast[1]).mean() > 0.5


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bench_render(frames=0)
    with pytest.raises(ValueError, match="as many frames"):
        bench_render(frames=2, stock_frames=3)
    with pytest.raises(ValueError, match="at least one"):
        bench_planner(ToyPlanner(), batches=(1, 0))
    with pytest.raises(ValueError, match="at least one"):
        bench_rollouts(ToyPool(), toy_policy(), "toy", "go right", rollouts=0)


class SlowPlanner(ToyPlanner):
    """A planner that takes 10 ms a plan and as much again for every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = torch.nn.Linear(3, 4)
        self.text_encoder = type("Text", (), {})()
        self.text_encoder.model = torch.nn.Linear(2, 2, bias=False)

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        assert all(observation.images["top"].shape == (4, 6, 3) for observation in observations)
        time.sleep(0.01 * (1 + len(seeds)))
        return super().plan(observations, instructions, seeds, settings)


@pytest.mark.slow
def test_a_plan_in_a_batch_is_a_share_of_it() -> None:
    planner = SlowPlanner()
    result = bench_planner(planner, (1, 4), repeats=3, camera="top", image_size=(4, 6), instruction="go right")
    assert result == json.loads(json.dumps(result))
    assert result["parameters"] == {"denoiser": 16, "text_encoder": 4}
    assert result["precision"] == "fp32"
    alone, together = result["records"]
    assert (alone["batch"], together["batch"]) == (1, 4)
    assert alone["p95_ms"] >= alone["p50_ms"] == alone["plan_p50_ms"] >= 20
    assert together["p50_ms"] >= 50
    assert together["plan_p50_ms"] == pytest.approx(together["p50_ms"] / 4, abs=0.1)
    assert together["frames"] == 8
    assert len(planner.asked) == 2 * (3 + 2)
    seeds = [seed for _, batch, _ in planner.asked[5:] for seed in batch]
    assert len(set(seeds)) == len(seeds)


def test_parameters_are_counted_in_modules_and_their_holders() -> None:
    assert count_parameters(torch.nn.Linear(2, 3)) == 9
    assert count_parameters(object()) == 0


def test_rollouts_are_timed_and_counted() -> None:
    pool = ToyPool(2)
    result = bench_rollouts(
        pool,
        toy_policy(ToyPlanner({"go right": 1.0})),
        "toy",
        "go right",
        rollouts=3,
        settings=RolloutSettings(max_steps=20),
    )
    assert result == json.loads(json.dumps(result))
    (record,) = result["records"]
    assert (record["rollouts"], record["steps"], record["robots"], record["successes"]) == (3, 60, 2, 3)
    assert record["plans"] == 3 * 2
    split = record["planning_s"] + record["acting_s"] + record["resetting_s"]
    assert split <= record["wall_s"] + 0.02
    assert record["steps_per_s"] > 0
    assert record["peak_memory_mib"] > 10
    assert pool.robots[0].closed == 0


def test_the_longest_attempts_are_measured_unless_said_otherwise() -> None:
    result = bench_rollouts(ToyPool(1), toy_policy(ToyPlanner({"go right": 1.0})), "toy", "go right", 1)
    assert result["records"][0]["steps"] == 200
