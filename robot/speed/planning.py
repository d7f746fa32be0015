"""Measure how long a planner thinks: one plan alone, and a plan's share of a batch."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from planners.latent_video import LatentVideoPlanner
from robot.core.data import Observation
from robot.core.protocols import Planner
from robot.core.provenance.machine import describe_machine

PARTS = ("denoiser", "autoencoder", "text_encoder")


def bench_planner(
    planner: Planner | str | Path = "starter",
    batches: Sequence[int] = (1, 8),
    repeats: int = 10,
    camera: str = "corner2",
    image_size: int | tuple[int, int] = 128,
    instruction: str = "close the drawer",
) -> dict[str, Any]:
    """Return `hardware`, `parameters` by part, `precision`, and one record a batch size.

    `planner` is one, or a folder that holds `planner/` and `autoencoder/`. A record has the median and the 95th
    percentile of `repeats` batches, `p50_ms` and `p95_ms`, after two to warm up, and the same divided by the batch
    size, `plan_p50_ms` and `plan_p95_ms`. Encoding, decoding and the text encoder's cache are included, as in a run.
    Raises ValueError for a count below one.
    """
    if min(repeats, *batches) < 1:
        raise ValueError("A planner benchmark needs at least one repeat and batches of at least one plan.")
    if isinstance(planner, (str, Path)):
        planner = LatentVideoPlanner.load(Path(planner) / "planner", Path(planner) / "autoencoder")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    records = [measure_planner(planner, int(batch), repeats, camera, size, instruction) for batch in batches]
    for record in records:
        del record["mean_ms"]
    return {
        "what": "planner",
        "hardware": describe_machine(),
        "planner": planner.identity,
        "parameters": {part: count_parameters(getattr(planner, part)) for part in PARTS if hasattr(planner, part)},
        "precision": "bf16" if getattr(planner, "_bf16", False) else "fp32",
        "records": records,
    }


def count_parameters(part: object) -> int:
    """Return how many numbers are learnt in a module, or in the modules that a part holds."""
    import torch

    if isinstance(part, torch.nn.Module):
        return sum(parameter.numel() for parameter in part.parameters())
    held = vars(part).values() if hasattr(part, "__dict__") else ()
    return sum(count_parameters(value) for value in held if isinstance(value, torch.nn.Module))


def measure_planner(
    planner: Planner,
    batch: int,
    repeats: int,
    camera: str,
    size: tuple[int, int],
    instruction: str,
    warmed_up: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Return one record of `bench_planner`, and the mean `mean_ms` of a batch; call `warmed_up` before what counts."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (batch, *size, 3), np.uint8)
    observations = [Observation({camera: picture}, np.zeros(4, np.float32), 0.0) for picture in pictures]
    times_ms = []
    frames = 0
    for repeat in range(repeats + 2):
        gc.collect()
        if repeat == 2 and warmed_up is not None:
            warmed_up()
        began = time.perf_counter()
        plans = planner.plan(observations, [instruction] * batch, [batch * repeat + each for each in range(batch)])
        if repeat >= 2:
            times_ms.append(1000 * (time.perf_counter() - began))
        frames = len(plans[0])
    median_ms, late_ms = np.percentile(times_ms, [50, 95])
    settings = plans[0].settings
    return {
        "batch": batch,
        "frames": frames,
        "sampler": settings.sampler,
        "sampler_steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "mean_ms": float(np.mean(times_ms)),
        "p50_ms": round(float(median_ms), 1),
        "p95_ms": round(float(late_ms), 1),
        "plan_p50_ms": round(float(median_ms) / batch, 1),
        "plan_p95_ms": round(float(late_ms) / batch, 1),
    }
