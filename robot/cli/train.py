"""`sail train`: train one model from episodes on disk; a run that was stopped goes on when asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from planners.autoencoder import FrameAutoencoder, train_autoencoder
from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.lora import LoraSettings
from planners.text import TextEncoder
from planners.training import train_adapters, train_planner
from planners.windows import LatentCache, Source, WindowSampler, clip_spread
from policies.frame_pair_network import FramePairShape
from policies.frame_set import FrameSource, gather_frames
from policies.training import train_frame_pair, train_pose_network
from robot.cli.assembly import training_settings
from robot.cli.compose import build, compose, plain
from robot.cli.provenance import hardware
from robot.cli.recording import store_of
from robot.cli.screen import bold, meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.data import Episode, SamplerSettings
from robot.errors import SailError
from robot.learn import general
from robot.learn.sail import StoredEpisodes
from robot.learn.starter import make_starter, requests
from robot.revision import program_revision
from sim.metaworld import MetaWorldRobot
from sim.tasks import tasks_of


def run(arguments: Arguments) -> int:
    """Train the model named and say where its weights are and what was measured."""
    config = compose(VERBS["train"].configs[arguments.subject], arguments.overrides)
    if arguments.subject == "starter":
        return _make_starter(config, arguments.as_json)
    if arguments.subject == "general":
        return _make_general(config, arguments.as_json)
    if config.get("from"):
        refuse_what_is_kept(arguments.overrides)
    torch.manual_seed(int(config.seed))
    trainers = {
        "autoencoder": _train_autoencoder,
        "planner": _train_planner,
        "inverse_dynamics": _train_inverse_dynamics,
    }
    card = {
        "command": arguments.command,
        "revision": program_revision(),
        "hardware": hardware(),
        "seed": int(config.seed),
    }
    metrics = dict(trainers[arguments.subject](config, card))
    if arguments.as_json:
        print_json({"output": str(config.output), "metrics": metrics})
    else:
        told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        screen(False).print(bold(config.output), f": {told}", sep="")
    return 0


def refuse_what_is_kept(pairs: Sequence[str]) -> None:
    """Raise SailError for a pair that would change what a planner to fine-tune brings along."""
    kept = ("denoiser", "text", "diffusion", "sampler", "sampling_steps", "guidance_scale")
    for pair in pairs:
        key = pair.partition("=")[0]
        if key.partition(".")[0] in kept:
            raise SailError(f"{key} is the planner's own that from= names, and is kept: leave {pair!r} out.")


def _make_starter(config: DictConfig, as_json: bool) -> int:
    with meter(screen(as_json), every=50) as progress:
        settings = build(config)
        progress.begin("recording episodes", sum(map(len, requests(settings).values())))
        make_starter(settings, lambda done, _: progress.reach(done))
    if as_json:
        print_json({"output": settings.out})
    return 0


def _make_general(config: DictConfig, as_json: bool) -> int:
    console = screen(as_json)
    with meter(console, every=50) as progress:
        settings = build(config)
        progress.begin("recording episodes", sum(map(len, general.requests(settings).values())))
        finished = general.make_general(settings, lambda done, _: progress.reach(done))
    if not finished:
        console.print("Time is up: the same command goes on from here.")
    if as_json:
        print_json({"output": settings.out, "finished": finished})
    return 0


def stored(config: DictConfig, kind: str) -> StoredEpisodes:
    """Return the recorded episodes of a kind that the configuration asks for, read from disk one at a time.

    Raises SailError when there is none, naming the command that records them, and when they were recorded in several
    ways, with other cameras, picture sizes or rates.
    """
    store = store_of(config.data, kind)
    about = {name: store.about(name) for name in store.ids()}
    task_of = {name: str(one["task"]) for name, one in about.items()}
    names = [
        name
        for task in tasks_of(config.tasks)
        for name in [one for one in task_of if task_of[one] == task][: int(config.per_task)]
    ]
    if not names:
        raise SailError(
            f"There are no {kind} of {config.tasks} in {store.folder}: record some with "
            f"`sail collect tasks={config.tasks} {kind}=10`."
        )
    forms = {str(about[name].get("config_hash", "")) for name in names}
    if len(forms) > 1:
        raise SailError(
            f"The {kind} in {store.folder} were recorded in {len(forms)} ways (cameras, image_size, action_repeat), "
            "and one model cannot learn from all: record each in a folder of its own with `sail collect data=…`."
        )
    return StoredEpisodes(store, names)


def _train_autoencoder(config: DictConfig, card: Mapping[str, Any]) -> Mapping[str, float]:
    episodes: list[Episode] = []
    for kind in config.episodes:
        for one in stored(config, kind):
            _check_size(one, config.camera, int(config.image_size))
            episodes.append(_only_pictures(one, config.camera))
    model = FrameAutoencoder(widths=tuple(config.widths), image_size=int(config.image_size))
    settings = training_settings(config, int(config.seed), config.tracker)
    result = train_autoencoder(model, episodes, Path(config.output) / "training", settings, config.camera)
    data = {"kinds": list(config.episodes), "tasks": config.tasks, "episodes": len(episodes)}
    model.save(config.output, {**card, "data": data, "figures": result.metrics, "steps": result.steps}, config.half)
    return {**result.metrics, "training_s": result.wall_s}


def _train_planner(config: DictConfig, card: Mapping[str, Any]) -> Mapping[str, float]:
    if int(config.lora_rank) < 0 or (config.lora_rank and not config["from"]):
        raise SailError(f"lora_rank={config.lora_rank} needs a rank from 1 up, and a planner to sit on: from=FOLDER.")
    autoencoder = build(config.autoencoder)
    base = LatentVideoPlanner.load(config["from"], autoencoder) if config["from"] else None
    text = build(config.text) if base is None else base.text_encoder
    if config.episodes not in ("demonstrations", "suboptimal"):
        raise SailError(f"episodes must be demonstrations or suboptimal, got {config.episodes!r}.")
    episodes = stored(config, config.episodes)
    check_recorded(episodes[0], config.camera, autoencoder.image_size, float(config.rate_hz))
    cache = LatentCache(autoencoder, config.camera, Path(config.data) / "latents")
    frames = int(config.denoiser.frames) if base is None else base.denoiser.frames
    windows = WindowSampler([Source(cache.get_all(episodes))], frames, int(config.stride), float(config.text_drop))
    planner = _fresh_planner(config, windows, autoencoder, text) if base is None else base
    stride_s = float(config.stride) / float(config.rate_hz)
    if abs(planner.stride_s - stride_s) > 1e-6:
        raise SailError(
            f"The planner in {config['from']} imagines frames {planner.stride_s:g} s apart and stride={config.stride} "
            f"gives {stride_s:g} s: set stride={planner.stride_s * float(config.rate_hz):g}."
        )
    settings = training_settings(config, int(config.seed), config.tracker)
    data = {"kind": config.episodes, "tasks": config.tasks, "episodes": len(episodes)}
    card = {**card, "data": data} | ({} if base is None else {"from": base.identity})
    train: Any = train_planner
    if config.lora_rank:
        train = partial(train_adapters, lora=LoraSettings(int(config.lora_rank), float(config.lora_rank)))
    dtype = torch.float16 if config.half else None
    _, metrics = train(
        planner, windows, Path(config.output) / "training", settings, output=config.output, card=card, dtype=dtype
    )
    return dict(metrics)


def _fresh_planner(
    config: DictConfig, windows: WindowSampler, autoencoder: FrameAutoencoder, text: TextEncoder
) -> LatentVideoPlanner:
    return LatentVideoPlanner(
        build(config.denoiser, text_dim=text.dim, latent_channels=autoencoder.latent_channels),
        autoencoder,
        text,
        _diffusion(config, windows),
        config.camera,
        float(config.stride) / float(config.rate_hz),
        SamplerSettings(config.sampler, int(config.sampling_steps), float(config.guidance_scale)),
        (autoencoder.image_size, autoencoder.image_size),
    )


def _diffusion(config: DictConfig, windows: WindowSampler) -> DiffusionSettings:
    """Return the diffusion settings; a scale of `auto` brings the spread of the clips to one."""
    values = plain(config.diffusion)
    if values["scale"] == "auto":
        spread = clip_spread(windows, delta=bool(values["delta"]))
        if not spread > 0:
            raise SailError("Nothing moves in these demonstrations, so there is no spread to scale by: record others.")
        values["scale"] = 1.0 / spread
    elif isinstance(values["scale"], str):
        raise SailError(f"diffusion.scale must be a number above 0 or auto, got {values['scale']!r}.")
    return DiffusionSettings(**values)


def _train_inverse_dynamics(config: DictConfig, card: Mapping[str, Any]) -> Mapping[str, float]:
    if config.kind not in ("pose_tracking", "frame_pair"):
        raise SailError(f"kind must be pose_tracking or frame_pair, got {config.kind!r}.")
    reconstruct = _reconstruction(config)
    shares = {"demonstrations": float(config.demonstrations_share), "play": float(config.play_share)}
    sources, data = [], {}
    for kind, share in shares.items():
        if share > 0:
            episodes = stored(config, kind)
            _check_camera(episodes[0], config.camera)
            frames = gather_frames(
                episodes,
                camera=config.camera,
                world_to_image=_camera_matrix(episodes[0], config.camera),
                reconstruct=reconstruct,
                reconstructed_share=float(config.reconstructed_share),
                seed=int(config.seed),
            )
            sources.append(FrameSource(kind, frames, share))
            data[kind] = {"tasks": config.tasks, "episodes": len(episodes)}
    settings = training_settings(config, int(config.seed), config.tracker)
    dtype = torch.float16 if config.half else None
    card = {**card, "data": data}
    if config.kind == "pose_tracking":
        return train_pose_network(sources, config.output, settings, card=card, dtype=dtype)
    shape = FramePairShape(backbone=config.backbone, step_s=round(step_s(stored(config, next(iter(data)))[0]), 6))
    return train_frame_pair(sources, config.output, settings, shape=shape, card=card, dtype=dtype)


def step_s(episode: Episode) -> float:
    """Return how long a robot step of an episode took, in seconds."""
    return float(np.diff(episode.times_s).mean()) if len(episode) else 0.0


def check_recorded(episode: Episode, camera: str, size: int, rate_hz: float) -> None:
    """Raise SailError, saying what to do, where an episode lacks a camera or has another picture size or rate."""
    _check_rate(episode, rate_hz)
    _check_size(episode, camera, size)


def _check_camera(episode: Episode, camera: str) -> None:
    if camera not in episode.frames:
        raise SailError(f"The episodes have no camera {camera!r}, only {', '.join(sorted(episode.frames))}.")


def _check_size(episode: Episode, camera: str, size: int) -> None:
    _check_camera(episode, camera)
    height, width = episode.frames[camera].shape[1:3]
    if (height, width) != (size, size):
        raise SailError(
            f"The autoencoder takes images of {size}×{size} pixels and the episodes have {height}×{width}: record "
            f"others with `sail collect image_size={size} data=…`, or take another autoencoder."
        )


def _check_rate(episode: Episode, rate_hz: float) -> None:
    took_s = step_s(episode)
    if took_s > 0 and abs(took_s * rate_hz - 1.0) > 0.01:
        raise SailError(
            f"The episodes were recorded at {1 / took_s:g} robot steps a second, not {rate_hz:g}: set "
            f"rate_hz={1 / took_s:g}."
        )


def _reconstruction(config: DictConfig) -> Any:
    if float(config.reconstructed_share) == 0.0:
        return None
    autoencoder = build(config.autoencoder)
    return lambda frames: autoencoder.reconstruct(torch.from_numpy(frames)).numpy()


def _camera_matrix(episode: Episode, camera: str) -> Any:
    """Return where the camera that recorded an episode puts points of the world; it stands still in every scene."""
    robot = MetaWorldRobot(episode.task, (camera,), episode.frames[camera].shape[1])
    try:
        return robot.spec.camera_matrices[camera]
    finally:
        robot.close()


def _only_pictures(episode: Episode, camera: str) -> Episode:
    from dataclasses import replace

    return replace(episode, frames={camera: episode.frames[camera]}, plans=(), states=None)
