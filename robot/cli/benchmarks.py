"""What `sail bench` measures of models, simulators and stores; all of it needs torch, which an arm does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from planners.adapted import AdaptedPlanner
from planners.denoisers import SpaceTimeUNet, StackedUNet, denoiser_from
from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.scores import VideoScore
from policies.pose_network import load_pose_network
from robot.cli.assembly import instruction_of, models_of, policy_of, rollout_settings, training_settings
from robot.cli.compose import build, plain
from robot.cli.recorded import check_recorded
from robot.cli.screen import meter, screen
from robot.cli.selection import stored
from robot.core.data import SamplerSettings
from robot.core.errors import SailError
from robot.speed.composition import bench_composition
from robot.speed.diffusion import DiffusionBench, bench_diffusion
from robot.speed.planning import bench_planner
from robot.speed.rendering import bench_render
from robot.speed.rollouts import bench_rollouts
from robot.speed.storage import bench_store


def _render(config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    return bench_render(
        config.task, config.camera, list(config.sizes), int(config.frames), int(config.stock_frames), int(config.rounds)
    )


def _planner(config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    planner = build(config.planner)
    size = int(config.image_size)
    return bench_planner(planner, list(config.batches), int(config.repeats), config.camera, size, config.instruction)


def _composition(config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    if not config.stand_in:
        planner, general = build(config.planner), None
    else:
        planner = build(config.planner, adaptation="in_domain")
        general = stand_in(planner.in_domain, list(config.stand_in)) if isinstance(planner, AdaptedPlanner) else None
    if not isinstance(planner, AdaptedPlanner):
        raise SailError("Only an adapted planner is composed of two models: leave planner=adapted.")
    with meter(screen(as_json)) as progress:
        ways, batches = list(config.ways), list(config.batches)
        progress.begin("planning", len(ways) * len(batches))
        return bench_composition(
            planner,
            general,
            ways,
            batches,
            int(config.repeats),
            int(config.candidates),
            instruction=config.instruction,
            progress=progress.advance,
        )


def stand_in(planner: LatentVideoPlanner, widths: Sequence[int]) -> VideoScore:
    """Return an untrained denoiser of `widths`, otherwise as a planner's, in the place of a general model."""
    told = {**planner.denoiser.config, "widths": [int(width) for width in widths]}
    told["attention"] = [index > 0 for index in range(len(widths))]
    return planner.with_denoiser(denoiser_from(told))


def _rollouts(config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    instruction = instruction_of(config)
    models = models_of(config)
    pool = build(config.robot, task=config.task)
    try:
        return bench_rollouts(
            pool,
            policy_of(config, models, pool.spec),
            config.task,
            instruction,
            int(config.rollouts),
            int(config.seed),
            rollout_settings(config),
        )
    finally:
        pool.close()


def _diffusion(config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    autoencoder, text = build(config.autoencoder), build(config.text)
    episodes = stored(config, "demonstrations")
    check_recorded(episodes[0], config.camera, autoencoder.image_size, float(config.rate_hz))
    options = {
        "frames": int(config.frames),
        "latent_channels": autoencoder.latent_channels,
        "text_dim": text.dim,
        "groups": 8,
    }
    with meter(screen(as_json)) as progress:
        shown = ""

        def show(what: str, done: int, total: int, note: str) -> None:
            nonlocal shown
            if what != shown:
                progress.begin(what, total)
                shown = what
            progress.reach(done, note)

        return bench_diffusion(
            episodes,
            autoencoder,
            text,
            {
                "stacked": lambda: StackedUNet(tuple(config.stacked), **options),
                "space_time": lambda: SpaceTimeUNet(tuple(config.space_time), **options),
            },
            DiffusionSettings(**plain(config.baseline)),
            DiffusionBench(
                training_settings(config, int(config.seed)),
                SamplerSettings(config.sampler, int(config.sampling_steps), float(config.guidance_scale)),
                config.camera,
                int(config.frames),
                int(config.stride),
                float(config.rate_hz),
                float(config.text_drop),
                int(config.held_out),
                int(config.windows),
                int(config.samples),
            ),
            Path(config.work),
            Path(config.data) / "latents",
            load_pose_network(config.pose_network)[0] if config.pose_network else None,
            list(config.only),
            show,
        )


def _store(config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    return bench_store(
        config.task,
        int(config.episodes),
        int(config.steps),
        int(config.image_size),
        int(config.window_size),
        int(config.frames),
        int(config.batch_size),
        float(config.seconds),
        int(config.listed),
    )


BENCHMARKS: Mapping[str, Callable[[DictConfig, bool], Mapping[str, Any]]] = {
    "render": _render,
    "planner": _planner,
    "composition": _composition,
    "rollouts": _rollouts,
    "store": _store,
    "diffusion": _diffusion,
}
