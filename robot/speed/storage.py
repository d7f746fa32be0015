"""Measure the store: writing, reading, what training draws from it, listing a large catalogue, and handing on.

What training draws is measured where training draws it: windows of latents for a planner, pairs of frames for inverse
dynamics, transitions for a critic. Where LeRobot is installed, its own reader is measured on the same episodes.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from planners.windows import LatentCache, LatentEpisode, Source, WindowSampler
from policies.augmentation import AugmentationSettings
from policies.frame_set import FrameSource, gather_frames
from policies.frame_training import frame_pair_batches
from robot.core.data import Action, Episode, PlacedPlan, VideoPlan
from robot.core.provenance.machine import describe_machine
from robot.episodes.catalogue import Catalogue
from robot.episodes.dataset import Recordings, Transitions, batches
from robot.episodes.description import Heading
from robot.episodes.lerobot.exporting import export_lerobot
from robot.episodes.store import EpisodeStore, StoredEpisodes
from sim.collect import Request, collect_one

PLAN_EVERY, PLAN_FRAMES = 12, 8
"""A plan of eight frames every twelve steps, as in a run."""
ENOUGH = "≥ 2000"
"""Samples a second with which no network here ever waits."""


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
        learnt = _learnt_from(store, folder / "latents", camera, window_size, frames, batch_size, seconds)
        export_s, _ = _timed(lambda: export_lerobot(map(store.load, store.ids()), folder / "exported"))
        lerobot = _lerobot_windows_per_s(folder / "exported", camera, frames, batch_size, seconds)
        listing_s, rebuild_s = _listing_s(store, folder / "many", listed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    theirs = f"LeRobotDataset: windows of {frames} frames of the same episodes"
    records = [
        *learnt,
        *([_figure(theirs, lerobot, "1/s")] if lerobot else []),
        _figure(f"writing, {steps} steps at {image_size} px", episodes / write_s, "1/s"),
        _figure("processor time to write one", write_cpu_s / episodes, "s", "< 1"),
        _figure("processor time to record a step while it runs", 1e3 * live_cpu_s, "ms"),
        _figure("reading one whole", read_s / episodes, "s"),
        _figure("size of one", size / episodes / 2**20, "MiB"),
        _figure(f"listing {listed} episodes", listing_s, "s", "< 0.5"),
        _figure(f"making the catalogue of {listed} anew", rebuild_s, "s"),
        _figure("exporting to LeRobot", episodes * steps / export_s, "steps/s"),
    ]
    return {"what": "store", "hardware": describe_machine(), "records": records}


def _figure(what: str, value: float, unit: str, target: str = "") -> dict[str, Any]:
    return {"what": what, "value": float(f"{value:.4g}"), "unit": unit, "target": target}


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


class _Averaging:
    """Stand for an autoencoder, with the starter's shape of latents: encoding is no matter of a store."""

    identity = "averaging"

    def encode(self, frames: Tensor) -> Tensor:
        """Return latents, float (N, 8, H / 8, W / 8): means of colours, over and over."""
        means = functional.avg_pool2d(frames.permute(0, 3, 1, 2).float() / 127.5 - 1.0, 8)
        return means[:, [0, 1, 2] * 3][:, :8]

    def decode(self, latents: Tensor) -> Tensor:
        """Refuse: nothing is imagined here."""
        raise NotImplementedError


def _learnt_from(
    store: EpisodeStore, latents: Path, camera: str, size: int, frames: int, batch_size: int, seconds: float
) -> list[dict[str, Any]]:
    """Return how long what training draws from takes to be made ready, and how many samples a second then come."""
    episodes = StoredEpisodes(store, store.ids())

    def encoded() -> list[LatentEpisode]:
        return LatentCache(_Averaging(), camera, latents).get_all(episodes)

    first_s, _ = _timed(encoded)
    again_s, _ = _timed(encoded)
    windows = WindowSampler([Source(encoded())], frames - 1)
    gathering_s, _ = _timed(lambda: gather_frames(episodes, camera=camera, size=size, posed=False))
    source = FrameSource("bench", gather_frames(episodes, camera=camera, size=size, posed=False))
    pairs = frame_pair_batches([source], 2, batch_size, AugmentationSettings())
    caching_s, _ = _timed(lambda: Recordings.gather(store, camera=camera, size=size))
    steps = Transitions(Recordings.gather(store, camera=camera, size=size))
    rng, total = np.random.default_rng(0), sum(map(len, episodes)) + len(episodes)
    epochs = chain.from_iterable(batches(steps, batch_size, epoch) for epoch in count())
    return [
        _figure(
            f"planner: windows of {frames} latents",
            _per_s(lambda: windows.draw(rng, batch_size), seconds),
            "1/s",
            ENOUGH,
        ),
        _figure(f"planner: decoding {total} frames, the first time", first_s, "s"),
        _figure("planner: finding their latents, after that", again_s, "s"),
        _figure(f"inverse dynamics: pairs at {size} px, augmented", _per_s(lambda: pairs(rng), seconds), "1/s"),
        _figure(f"inverse dynamics: decoding {total} frames", gathering_s, "s"),
        _figure(f"critic: transitions at {size} px", _per_s(lambda: next(epochs), seconds), "1/s", ENOUGH),
        _figure(f"critic: decoding {total} frames, the first time", caching_s, "s"),
    ]


def _per_s(draw: Callable[[], Mapping[str, Any]], seconds: float) -> float:
    """Return samples a second of what draws a batch, in this process alone."""
    drawn, began = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began) < seconds or not drawn:
        drawn += len(next(iter(draw().values())))
    return drawn / elapsed_s


def _lerobot_windows_per_s(exported: Path, camera: str, frames: int, batch_size: int, seconds: float) -> float:
    """Return windows a second that LeRobot's own data set gives, in one process; 0 where LeRobot is not installed."""
    if importlib.util.find_spec("lerobot") is None:
        return 0.0
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import DataLoader

    fps = json.loads((exported / "meta" / "info.json").read_text())["fps"]
    key = f"observation.images.{camera}"
    ahead = {key: [2 * number / fps for number in range(frames)]}
    dataset = LeRobotDataset("sail/bench", root=exported, delta_timestamps=ahead, video_backend="pyav")
    loader = iter(DataLoader(dataset, batch_size, shuffle=True))
    return _per_s(lambda: {key: next(loader)[key]}, seconds)


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
