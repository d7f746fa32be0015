"""Make the starter weights: collect, then train the autoencoder, the planner and both kinds of inverse dynamics.

The MW-12 protocol: the planner and the inverse dynamics see the eight seen tasks only (25 scripted demonstrations and
40 task-free play episodes each); the autoencoder also sees play, no demonstrations, in the other scenes. The planner
sees play without any text: it teaches how the arm moves and what it looks like everywhere, not what words mean. Every
stage continues where it was killed and is skipped once its result exists.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planners.diffusion import SCHEDULES
from robot.core.checkpoints import ABOUT, WEIGHTS
from robot.core.data import Episode
from robot.core.files import write_whole
from robot.core.training import TrainingSettings
from robot.episodes.store import EpisodeStore, StoredEpisodes
from sim.collect import Request, missing_of, record_missing
from sim.tasks import INSTRUCTIONS, PARAPHRASES, SEEN

DEMONSTRATIONS, PLAY, SCENES = "demonstrations", "play", "scenes"


@dataclass(frozen=True, slots=True)
class StarterSettings:
    """Choose how much to collect and how long to train each of the networks.

    `reversed_share`, 0 … 1: the part of the planner's batches that is demonstrations played backwards, under the words
    for what undoes them. `planner_from`: the folder of a planner to go on from at a quarter of the learning rate, with
    its own noise schedule; empty: fresh weights, with `schedule`. Raises ValueError for a share outside 0 … 1 and an
    unknown schedule.
    """

    data: str = "data/starter"
    work: str = "runs/starter"
    out: str = "starter"
    demonstrations: int = 25
    play: int = 40
    scene_play: int = 3
    play_steps: int = 60
    camera: str = "corner2"
    seed: int = 0
    latent_channels: int = 8
    autoencoder_steps: int = 2000
    detail_steps: int = 1700
    widths: tuple[int, ...] = (128, 192, 224)
    planner_steps: int = 3600
    play_share: float = 0.25
    reversed_share: float = 0.0
    schedule: str = "cosine"
    planner_from: str = ""
    inverse_dynamics_steps: int = 1600
    frame_pair_steps: int = 1600

    def __post_init__(self) -> None:
        if not 0.0 <= self.reversed_share < 1.0:
            raise ValueError(f"reversed_share must lie in 0 … 1 and be below 1, got {self.reversed_share}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}.")


def requests(settings: StarterSettings) -> dict[str, list[Request]]:
    """Return what to collect for each of the three stores; those of evaluation are 100,000 and up."""
    demonstrations = [
        Request(task, "demonstrations", 1000 + index, noise=0.1 if index % 2 else 0.2)
        for task in SEEN
        for index in range(settings.demonstrations)
    ]
    play = [Request(t, "play", 2000 + i, max_steps=settings.play_steps) for t in SEEN for i in range(settings.play)]
    others = [task for task in INSTRUCTIONS if task not in SEEN]
    scenes = [
        Request(t, "play", 3000 + i, max_steps=settings.play_steps) for t in others for i in range(settings.scene_play)
    ]
    return {DEMONSTRATIONS: demonstrations, PLAY: play, SCENES: scenes}


def collect_starter(settings: StarterSettings, progress: Callable[[int, int], None] | None = None) -> None:
    """Collect what is not there yet."""
    collect_missing(settings.data, requests(settings), progress)


def collect_missing(
    data: str | Path,
    wanted: Mapping[str, Sequence[Request]],
    progress: Callable[[int, int], None] | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
) -> bool:
    """Record what of `wanted`, by the name of its store under `data`, is not there yet; return whether all is there.

    It is not where `out_of_time` said so, which is asked before every episode.
    """
    total, done = sum(len(rows) for rows in wanted.values()), 0

    def recorded(*_: object) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    for name, rows in wanted.items():
        store, named = EpisodeStore(Path(data) / name), {name_of(row): row for row in rows}
        done += len(named) - len(missing_of(store, named))
        record_missing(store, named, recorded=recorded, out_of_time=out_of_time)
        if missing_of(store, named):
            return False
    return True


def name_of(request: Request) -> str:
    """Return the id under which the episode asked for is stored."""
    return f"{request.task}-{request.seed:06d}"


def load_all(settings: StarterSettings, *names: str) -> list[Episode]:
    """Return the episodes of the stores named, whose pictures are read when they are asked for."""
    stores = [EpisodeStore(Path(settings.data) / name) for name in names]
    return [episode for store in stores for episode in StoredEpisodes(store, store.ids())]


def card(seed: int, began: float, metrics: Mapping[str, float], data: str) -> dict[str, Any]:
    """Return a model card's facts: data, command, hardware, seed, time and last training figures."""
    return {
        "data": data,
        "command": "make starter",
        "hardware": f"{platform.machine()}, {cores()} cores, {accelerator()}",
        "seed": seed,
        "training_s": round(time.time() - began),
        "metrics": {name: round(value, 6) for name, value in metrics.items()},
    }


def accelerator() -> str:
    """Return the name of the accelerator that training runs on, or "no GPU"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def cores() -> int:
    """Return how many cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_autoencoder(settings: StarterSettings) -> None:
    """Train the autoencoder on every scene."""
    from planners.autoencoder import FrameAutoencoder
    from planners.autoencoder_training import train_autoencoder

    out = Path(settings.out) / "autoencoder"
    if (out / "model.json").exists():
        return
    began = time.time()
    import torch

    torch.manual_seed(settings.seed)
    model = FrameAutoencoder(latent_channels=settings.latent_channels)
    episodes = load_all(settings, DEMONSTRATIONS, PLAY, SCENES)
    for name, steps, rate in (
        ("autoencoder", settings.autoencoder_steps, 1e-3),
        ("autoencoder-detail", settings.detail_steps, 8e-4),
    ):
        training = TrainingSettings(
            steps=steps,
            batch_size=8,
            learning_rate=rate,
            warmup_steps=100,
            ema_decay=0.995,
            checkpoint_every=100,
            seed=settings.seed,
            tracker="tensorboard",
        )
        detail = name.endswith("detail")
        folder = Path(settings.work) / name
        result = train_autoencoder(model, episodes, folder, training, settings.camera, detail=detail)
    data = "demonstrations and play in the eight seen scenes, play only in the other 42"
    model.save(out, card(settings.seed, began, result.metrics, data), half=True)


def make_planner(settings: StarterSettings) -> None:
    """Train the in-domain planner on the demonstrations of the eight seen tasks, each said in two ways."""
    import torch

    from planners.autoencoder import FrameAutoencoder
    from planners.backwards import backwards
    from planners.denoisers import StackedUNet
    from planners.diffusion import DiffusionSettings
    from planners.diffusion_training import train_planner
    from planners.latent_video import LatentVideoPlanner
    from planners.text import MiniLM
    from planners.windows import LatentCache, LatentEpisode, Source, WindowSampler, clip_spread

    out = Path(settings.out) / "planner"
    if (out / "model.json").exists():
        return
    began = time.time()
    autoencoder = FrameAutoencoder.load(Path(settings.out) / "autoencoder")
    cache = LatentCache(autoencoder, settings.camera, Path(settings.work) / "latents")
    told = cache.get_all(load_all(settings, DEMONSTRATIONS))
    words = {INSTRUCTIONS[task]: PARAPHRASES[task][0] for task in SEEN}
    retold = [LatentEpisode(episode.latents, words[episode.instruction]) for episode in told]
    played = cache.get_all(load_all(settings, PLAY))
    shown = 1.0 - settings.play_share
    forwards = 1.0 - settings.reversed_share
    sources = [
        Source(told, 0.8 * shown * forwards),
        Source(retold, 0.2 * shown * forwards),
        Source(played, settings.play_share * forwards, silent=True),
    ]
    if settings.reversed_share > 0:
        usual, otherwise = backwards(told)
        sources += [Source(usual, 0.8 * settings.reversed_share), Source(otherwise, 0.2 * settings.reversed_share)]
    windows = WindowSampler(sources)
    if settings.planner_from:
        planner = LatentVideoPlanner.load(settings.planner_from, autoencoder)
    else:
        diffusion = DiffusionSettings(settings.schedule, "v", scale=1.0 / clip_spread(windows))
        torch.manual_seed(settings.seed)
        denoiser = StackedUNet(settings.widths, latent_channels=settings.latent_channels)
        planner = LatentVideoPlanner(denoiser, autoencoder, MiniLM(), diffusion, settings.camera)
    further, began_from = bool(settings.planner_from), planner.identity
    training = TrainingSettings(
        steps=settings.planner_steps,
        batch_size=24,
        learning_rate=1e-4 if further else 4e-4,
        warmup_steps=50 if further else 100,
        ema_decay=0.995 if further else 0.999,
        checkpoint_every=100,
        seed=settings.seed,
        tracker="tensorboard",
    )
    planner, metrics = train_planner(planner, windows, Path(settings.work) / "planner", training)
    data = "25 scripted demonstrations and 40 play episodes (without text) of each of the eight seen tasks"
    if settings.reversed_share > 0:
        turned = sorted({one.instruction for one in usual})
        data += f", and of the demonstrations that can be undone, played backwards as {', '.join(turned)}"
    if further:
        data += f"; begun from planner {began_from}"
    planner.save(out, card(settings.seed, began, metrics, data), torch.float16)


def make_inverse_dynamics(settings: StarterSettings, kind: str = "pose_tracking") -> None:
    """Train an inverse dynamics (`pose_tracking` or `frame_pair`) on demonstrations and play of the eight seen tasks.

    Half of the frames are replaced with what the autoencoder makes of them, since plans are decoded pictures.
    """
    import torch

    from planners.autoencoder import FrameAutoencoder, precision_context
    from policies.frame_set import FrameSource, gather_frames
    from policies.frame_training import train_frame_pair, train_pose_network

    folder = Path(settings.out) / {"pose_tracking": "inverse_dynamics", "frame_pair": "frame_pair"}[kind]
    if (folder / "model.json").exists():
        return
    began = time.time()
    autoencoder = FrameAutoencoder.load(Path(settings.out) / "autoencoder")

    def reconstruct(frames: Any) -> Any:
        with precision_context(autoencoder, "auto"):
            return autoencoder.reconstruct(torch.as_tensor(frames)).numpy()

    sources = []
    for name, share in ((DEMONSTRATIONS, 0.5), (PLAY, 0.5)):
        episodes = load_all(settings, name)
        frames = gather_frames(episodes, camera=settings.camera, reconstruct=reconstruct, seed=settings.seed)
        sources.append(FrameSource(name, frames, share))
    training = TrainingSettings(
        steps=settings.inverse_dynamics_steps if kind == "pose_tracking" else settings.frame_pair_steps,
        batch_size=64,
        learning_rate=1e-3,
        warmup_steps=100,
        ema_decay=0.998,
        checkpoint_every=250,
        seed=settings.seed,
        tracker="tensorboard",
    )
    data = "25 demonstrations and 40 play episodes of each of the eight seen tasks"
    train = train_pose_network if kind == "pose_tracking" else train_frame_pair
    work = Path(settings.work) / kind
    metrics = train(sources, work, training, dtype=torch.float16)
    write_card(work, folder, card(settings.seed, began, metrics, data))


def write_card(trained: Path, folder: Path, facts: Mapping[str, Any]) -> None:
    """Copy a trained model, but not its training state, to `folder` with its card."""
    about = json.loads((trained / ABOUT).read_text())
    write_whole(folder / WEIGHTS, (trained / WEIGHTS).read_bytes())
    write_whole(folder / ABOUT, json.dumps(about | {"card": dict(facts)}, indent=2).encode())


def make_starter(settings: StarterSettings, progress: Callable[[int, int], None] | None = None) -> None:
    """Collect and train everything the starter weights need."""
    collect_starter(settings, progress)
    make_autoencoder(settings)
    make_planner(settings)
    make_inverse_dynamics(settings, "pose_tracking")
    make_inverse_dynamics(settings, "frame_pair")
