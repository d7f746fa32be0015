"""`sail train`: train one model from episodes on disk; a run that was stopped goes on when asked again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from planners.autoencoder import FrameAutoencoder, train_autoencoder
from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.text import MiniLM
from planners.training import train_planner
from planners.windows import LatentCache, Source, WindowSampler
from policies.frame_pair_network import FramePairShape
from policies.frame_set import FrameSource, gather_frames
from policies.training import train_frame_pair, train_pose_network
from robot.cli.assembly import training_settings
from robot.cli.compose import PROJECT, build, compose
from robot.cli.provenance import hardware
from robot.cli.recording import store_of
from robot.cli.screen import meter, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.data import Episode, SamplerSettings
from robot.errors import SailError
from robot.learn.report import git_revision
from robot.learn.sail import StoredEpisodes
from robot.learn.starter import make_starter, requests
from sim.metaworld import MetaWorldRobot
from sim.tasks import tasks_of


def run(arguments: Arguments) -> int:
    """Train the model named and say where its weights are and what was measured."""
    config = compose(VERBS["train"].configs[arguments.subject], arguments.overrides)
    if arguments.subject == "starter":
        return _make_starter(config, arguments.as_json)
    torch.manual_seed(int(config.seed))
    trainers = {
        "autoencoder": _train_autoencoder,
        "planner": _train_planner,
        "inverse_dynamics": _train_inverse_dynamics,
    }
    card = {
        "command": arguments.command,
        "revision": git_revision(PROJECT),
        "hardware": hardware(),
        "seed": int(config.seed),
    }
    metrics = dict(trainers[arguments.subject](config, card))
    if arguments.as_json:
        print_json({"output": str(config.output), "metrics": metrics})
    else:
        told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        screen(False).print(f"[bold]{config.output}[/]: {told}", soft_wrap=True)
    return 0


def _make_starter(config: DictConfig, as_json: bool) -> int:
    with meter(screen(as_json), every=50) as progress:
        settings = build(config)
        progress.begin("recording episodes", sum(map(len, requests(settings).values())))
        make_starter(settings, lambda done, _: progress.reach(done))
    if as_json:
        print_json({"output": settings.out})
    return 0


def stored(config: DictConfig, kind: str) -> StoredEpisodes:
    """Return the recorded episodes of a kind that the configuration asks for, read from disk one at a time.

    Raises SailError, naming the command that records them, when there is none.
    """
    store = store_of(config.data, kind)
    task_of = {name: str(store.about(name)["task"]) for name in store.ids()}
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
    return StoredEpisodes(store, names)


def _train_autoencoder(config: DictConfig, card: Mapping[str, Any]) -> Mapping[str, float]:
    episodes: list[Episode] = [
        _only_pictures(one, config.camera) for kind in config.episodes for one in stored(config, kind)
    ]
    model = FrameAutoencoder(widths=tuple(config.widths), image_size=int(config.image_size))
    settings = training_settings(config, int(config.seed), config.tracker)
    result = train_autoencoder(model, episodes, Path(config.output) / "training", settings, config.camera)
    data = {"kinds": list(config.episodes), "tasks": config.tasks, "episodes": len(episodes)}
    model.save(config.output, {**card, "data": data, "figures": result.metrics, "steps": result.steps}, config.half)
    return result.metrics


def _train_planner(config: DictConfig, card: Mapping[str, Any]) -> Mapping[str, float]:
    autoencoder = FrameAutoencoder.load(config.autoencoder)
    episodes = stored(config, "demonstrations")
    cache = LatentCache(autoencoder, config.camera, Path(config.data) / "latents")
    windows = WindowSampler(
        [Source(cache.get_all(episodes))], int(config.denoiser.frames), int(config.stride), float(config.text_drop)
    )
    planner = LatentVideoPlanner(
        build(config.denoiser),
        autoencoder,
        MiniLM(int(config.text_length)),
        DiffusionSettings(**config.diffusion),
        config.camera,
        float(config.stride) / float(config.rate_hz),
        SamplerSettings(config.sampler, int(config.sampling_steps), float(config.guidance_scale)),
        (autoencoder.image_size, autoencoder.image_size),
    )
    settings = training_settings(config, int(config.seed), config.tracker)
    data = {"kind": "demonstrations", "tasks": config.tasks, "episodes": len(episodes)}
    _, metrics = train_planner(
        planner,
        windows,
        Path(config.output) / "training",
        settings,
        config.output,
        {**card, "data": data},
        torch.float16 if config.half else None,
    )
    return metrics


def _train_inverse_dynamics(config: DictConfig, card: Mapping[str, Any]) -> Mapping[str, float]:
    if config.kind not in ("pose_tracking", "frame_pair"):
        raise SailError(f"kind must be pose_tracking or frame_pair, got {config.kind!r}.")
    reconstruct = _reconstruction(config)
    shares = {"demonstrations": float(config.demonstrations_share), "play": float(config.play_share)}
    sources, data = [], {}
    for kind, share in shares.items():
        if share > 0:
            episodes = stored(config, kind)
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
    shape = FramePairShape(backbone=config.backbone)
    return train_frame_pair(sources, config.output, settings, shape=shape, card=card, dtype=dtype)


def _reconstruction(config: DictConfig) -> Any:
    if float(config.reconstructed_share) == 0.0:
        return None
    autoencoder = FrameAutoencoder.load(config.autoencoder)
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
