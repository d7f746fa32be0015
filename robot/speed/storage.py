"""Measure the store: writing, reading whole, windows for training, listing a large catalogue, and handing on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robot.core.data import Action, Episode, PlacedPlan, VideoPlan
from robot.core.provenance.machine import describe_machine
from robot.episodes.catalogue import Catalogue
from robot.episodes.dataset import FrameWindows, Recordings, batches
from robot.episodes.description import Heading
from robot.episodes.lerobot.exporting import export_lerobot
from robot.episodes.store import EpisodeStore
from sim.collect import Request, collect_one

PLAN_EVERY, PLAN_FRAMES = 12, 8
"""A plan of eight frames every twelve steps, as in a run."""


def bench_store(
    task: str = "drawer-close",
    episodes: int = 40,
    steps: int = 100,
    image_size: int = 128,
    window_size: int = 64,
    frames: int = 9,
    batch_size: int = 32,
    seconds: float = 3.0,
    listed: int = 10_000,
) -> dict[str, Any]:
    """Return `hardware` and one record a figure: `what`, `value`, `unit` and `target` (empty where none was set).

    Episodes are recorded in the simulator with plans made of their own frames, and kept in a folder that is removed
    afterwards. Raises ValueError for a count below one.
    """
    if min(episodes, steps, frames, batch_size, listed) < 1:
        raise ValueError("A benchmark of the store needs at least one episode, step, frame, sample and entry.")
    recorded = [_recorded(task, steps, image_size, seed) for seed in range(min(episodes, 4))]
    camera = next(iter(recorded[0].frames))
    folder = Path(tempfile.mkdtemp(prefix="sail-bench-"))
    try:
        store = EpisodeStore(folder / "store")
        write_s, write_cpu_s = _timed(lambda: [store.add(recorded[n % len(recorded)]) for n in range(episodes)])
        size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
        live_cpu_s = _recording_cpu_s(EpisodeStore(folder / "live"), recorded)
        read_s, _ = _timed(lambda: [store.load(name) for name in store.ids()])
        first_s, _ = _timed(lambda: Recordings.gather(store, camera=camera, size=window_size))
        windows = _windows_per_s(store, camera, window_size, frames, batch_size, seconds)
        export_s, _ = _timed(lambda: export_lerobot(map(store.load, store.ids()), folder / "exported"))
        listing_s, rebuild_s = _listing_s(store, folder / "many", listed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    total = episodes * steps
    windowed, written = f"windows of {frames} frames at {window_size} px", f"writing, {steps} steps at {image_size} px"
    records: list[dict[str, Any]] = [
        {
            "what": windowed,
            "value": windows,
            "unit": "1/s",
            "target": "≥ 2000",
        },
        {"what": f"first epoch: decoding {total} frames", "value": first_s, "unit": "s", "target": ""},
        {
            "what": written,
            "value": episodes / write_s,
            "unit": "1/s",
            "target": "",
        },
        {"what": "processor time to write one", "value": write_cpu_s / episodes, "unit": "s", "target": "< 1"},
        {
            "what": "processor time to record a step while it runs",
            "value": 1e3 * live_cpu_s,
            "unit": "ms",
            "target": "",
        },
        {"what": "reading one whole", "value": read_s / episodes, "unit": "s", "target": ""},
        {"what": "size of one", "value": size / episodes / 2**20, "unit": "MiB", "target": ""},
        {"what": f"listing {listed} episodes", "value": listing_s, "unit": "s", "target": "< 0.5"},
        {"what": f"making the catalogue of {listed} anew", "value": rebuild_s, "unit": "s", "target": ""},
        {"what": "exporting to LeRobot", "value": total / export_s, "unit": "steps/s", "target": ""},
    ]
    for record in records:
        record["value"] = float(f"{record['value']:.4g}")
    return {"what": "store", "hardware": describe_machine(), "records": records}


def _recorded(task: str, steps: int, image_size: int, seed: int) -> Episode:
    episode = collect_one(Request(task, "play", seed, max_steps=steps, image_size=image_size))
    frames = next(iter(episode.frames.values()))
    plans = tuple(
        PlacedPlan(step, VideoPlan(frames[step + 1 : step + 1 + PLAN_FRAMES], 0.05, episode.instruction, step, "bench"))
        for step in range(0, len(episode), PLAN_EVERY)
    )
    return dataclasses.replace(episode, plans=plans)


def _recording_cpu_s(store: EpisodeStore, recorded: Sequence[Episode]) -> float:
    """Return seconds of processor time that a step takes which is written down as it happens, plans and sealing in."""
    began, steps = time.process_time(), 0
    for number, episode in enumerate(recorded):
        plans = {placed.step: placed.plan for placed in episode.plans}
        with store.record(Heading.of(episode), f"live-{number}") as writer:
            writer.observe(episode.observation(0))
            for step in range(len(episode)):
                if step in plans:
                    writer.plan(plans[step])
                sent = Action(episode.sent[step])
                writer.step(Action(episode.requested[step]), sent, episode.observation(step + 1))
            writer.seal(episode.outcome)
        steps += len(episode)
    return (time.process_time() - began) / steps


def _windows_per_s(store: EpisodeStore, camera: str, size: int, frames: int, batch_size: int, seconds: float) -> float:
    """Return windows a second after the first epoch, in this process alone."""
    windows = FrameWindows(Recordings.gather(store, camera=camera, size=size), frames)
    for _ in batches(windows, batch_size):
        pass
    count, epoch, began = 0, 1, time.perf_counter()
    while True:
        for batch in batches(windows, batch_size, epoch):
            count += len(batch["step"])
            elapsed_s = time.perf_counter() - began
            if elapsed_s >= seconds:
                return count / elapsed_s
        epoch += 1


def _listing_s(store: EpisodeStore, folder: Path, count: int) -> tuple[float, float]:
    """Return seconds to list `count` episodes, and to do so without a catalogue; their videos are left out."""
    about = store.about(store.ids()[0])
    for number in range(count):
        path = folder / f"e{number:06d}"
        path.mkdir(parents=True)
        (path / "episode.json").write_text(json.dumps(about | {"episode_id": path.name}))
    os.sync()
    rebuild_s, _ = _timed(lambda: Catalogue(folder).entries())
    listing_s, _ = _timed(lambda: Catalogue(folder).entries())
    return listing_s, rebuild_s


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that work takes on the clock and on the processor."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu
