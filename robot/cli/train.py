"""`sail train`: train one model from episodes on disk; a run that was stopped goes on when asked again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from planners.autoencoder import FrameAutoencoder
from planners.autoencoder_training import train_autoencoder
from planners.diffusion import DiffusionSettings
from planners.diffusion_training import train_adapters, train_planner
from planners.latent_video import LatentVideoPlanner
from planners.lora import LoraSettings
from planners.text import TextEncoder
from planners.windows import LatentCache, Source, WindowSampler, clip_spread
from policies.augmentation import Reconstruct
from policies.frame_pair_network import FramePairShape
from policies.frame_set import FrameSet, FrameSource, gather_frames
from policies.frame_training import train_frame_pair, train_pose_network
from robot.cli.assembly import training_settings
from robot.cli.compose import build, compose, plain
from robot.cli.provenance import hardware
from robot.cli.recorded import (
    Alike,
    check_acts,
    check_camera,
    check_poses,
    check_rate,
    check_recorded,
    check_size,
    simulated_matrix,
    squared,
    step_s,
)
from robot.cli.screen import Screen, bold, meter, print_json, screen
from robot.cli.selection import (
    EXIT_LEFT_OUT,
    StoreEpisodes,
    chosen,
    refuse_beside_store,
    show_left_out,
    stored,
)
from robot.cli.verbs import VERBS, Arguments
from robot.cli.wording import listed
from robot.core.data import Episode, SamplerSettings
from robot.core.errors import SailError
from robot.core.files import FolderLock, write_whole
from robot.core.provenance.revision import program_revision
from robot.core.rates import steps_per_frame
from robot.core.training import STATE
from robot.episodes.frame_cache import FrameCache
from robot.episodes.store import StoredEpisodes
from robot.recipes import general
from robot.recipes.starter import make_starter, requests

TASKS = {"autoencoder": "all", "planner": "seen", "inverse_dynamics": "seen"}
"""Whose recorded episodes each model learns from where nobody says it."""
EPISODES = "episodes.json"
"""Beside a training's state: which episodes of a store it is on."""
FRAME_SIDE = 64
"""Pixels a side of the pictures that inverse dynamics learns from."""
FIT = "square=true takes the middle square of larger ones and shrinks it, as robot=arm does"
Check = Callable[[Episode], None]
"""Raises SailError for an episode that cannot be learnt from."""


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
    console = screen(arguments.as_json)
    with _held(Path(config.output)):
        store = _store(config, arguments, console)
        with meter(console):
            metrics = dict(trainers[arguments.subject](config, card, store))
    left = {} if store is None else store.left
    if arguments.as_json:
        print_json({"output": str(config.output), "metrics": metrics, "left_out": left})
    else:
        told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        console.print(bold(config.output), f": {told}", sep="")
    show_left_out(console, left)
    return EXIT_LEFT_OUT if left else 0


def _held(output: Path) -> AbstractContextManager[object]:
    """Return what holds the folder of a model; of the processes of an `accelerate launch` the first does."""
    is_first = os.environ.get("RANK", "0") == "0"
    return FolderLock(output, "name another folder with output=…") if is_first else nullcontext()


def _store(config: DictConfig, arguments: Arguments, console: Screen) -> StoreEpisodes | None:
    """Return the episodes of the store that is named, None where those that `sail collect` recorded are meant."""
    if not config.store:
        config.tasks = config.tasks or TASKS[arguments.subject]
        _go_on(Path(config.output), "")
        return None
    refuse_beside_store(arguments.overrides)
    store = chosen(config, str(config.tasks), int(config.per_task), (str(config.camera),))
    meant = {"store": str(store.store.folder.resolve()), "episodes": list(store.names)}
    _go_on(Path(config.output), json.dumps({**meant, "camera": str(config.camera), "square": bool(config.square)}))
    console.print(f"{len(store.names)} episodes of {listed(store.tasks)} in {store.store.folder}")
    return store


def _go_on(output: Path, meant: str) -> None:
    """Note which episodes of a store a training is on; raise SailError where another's state would be gone on with.

    A training that was finished on some is at its end at once, and would say of others what it never saw.
    """
    noted = output / "training" / EPISODES
    before = noted.read_text(encoding="utf-8") if noted.exists() else ""
    if before != meant and (output / "training" / STATE).exists():
        raise SailError(
            f"{output} holds a training on other episodes: give the command that it was begun with to go on with it, "
            "or name another folder with output=… ."
        )
    if meant:
        write_whole(noted, meant.encode())
    else:
        noted.unlink(missing_ok=True)


def refuse_what_is_kept(pairs: Sequence[str]) -> None:
    """Raise SailError for a pair that would change what a planner to fine-tune brings along."""
    kept = ("denoiser", "text", "diffusion", "sampler", "sampling_steps", "guidance_scale")
    for pair in pairs:
        key = pair.partition("=")[0]
        if key.partition(".")[0] in kept:
            raise SailError(f"{key} is the planner's own that from= names, and is kept: leave {pair!r} out.")


def _make_starter(config: DictConfig, as_json: bool) -> int:
    with meter(screen(as_json)) as progress:
        settings = build(config)
        progress.begin("recording episodes", sum(map(len, requests(settings).values())))
        with _held(Path(settings.out)):
            make_starter(settings, lambda done, _: progress.reach(done))
    if as_json:
        print_json({"output": settings.out})
    return 0


def _make_general(config: DictConfig, as_json: bool) -> int:
    console = screen(as_json)
    with meter(console) as progress:
        settings = build(config)
        progress.begin("recording episodes", sum(map(len, general.requests(settings).values())))
        with _held(Path(settings.out)):
            finished = general.make_general(settings, lambda done, _: progress.reach(done))
    if not finished:
        console.print("Time is up: the same command goes on from here.")
    if as_json:
        print_json({"output": settings.out, "finished": finished})
    return 0


def _train_autoencoder(config: DictConfig, card: Mapping[str, Any], store: StoreEpisodes | None) -> Mapping[str, float]:
    size = int(config.image_size)
    fits: Check = partial(check_size, camera=config.camera, size=size, hint=FIT)
    if store is not None:
        store.prepare = partial(_prepared, config, size, [fits])
    kinds = (stored(config, kind) for kind in config.episodes)
    given: Iterable[Episode] = chain.from_iterable(kinds) if store is None else store
    episodes: list[Episode] = []
    for one in given:
        check_size(one, config.camera, size)
        episodes.append(replace(one, frames={config.camera: one.frames[config.camera]}, plans=(), states=None))
    model = FrameAutoencoder(widths=tuple(config.widths), image_size=size)
    settings = training_settings(config, int(config.seed), config.tracker)
    result = train_autoencoder(model, episodes, Path(config.output) / "training", settings, config.camera)
    recorded = {"kinds": list(config.episodes), "tasks": config.tasks, "episodes": len(episodes)}
    data = recorded if store is None else store.card
    model.save(config.output, {**card, "data": data, "figures": result.metrics, "steps": result.steps}, config.half)
    return {**result.metrics, "training_s": result.wall_s}


def _train_planner(config: DictConfig, card: Mapping[str, Any], store: StoreEpisodes | None) -> Mapping[str, float]:
    if int(config.lora_rank) < 0 or (config.lora_rank and not config["from"]):
        raise SailError(f"lora_rank={config.lora_rank} needs a rank from 1 up, and a planner to sit on: from=FOLDER.")
    autoencoder = build(config.autoencoder)
    base = LatentVideoPlanner.load(config["from"], autoencoder) if config["from"] else None
    text = build(config.text) if base is None else base.text_encoder
    if config.episodes not in ("demonstrations", "suboptimal"):
        raise SailError(f"episodes must be demonstrations or suboptimal, got {config.episodes!r}.")
    episodes = _shown_to_planner(config, autoencoder, text, store)
    cache = LatentCache(autoencoder, config.camera, Path(config.data) / "latents")
    frames = int(config.denoiser.frames) if base is None else base.denoiser.frames
    shown = cache.get_all(episodes) if isinstance(episodes, StoredEpisodes) else list(episodes.taken(cache.get))
    windows = WindowSampler([Source(shown)], frames, int(config.stride), float(config.text_drop))
    planner = _fresh_planner(config, windows, autoencoder, text) if base is None else base
    _check_stride(config, planner)
    _look_through(config, planner)
    settings = training_settings(config, int(config.seed), config.tracker)
    kind = {"kind": config.episodes, "tasks": config.tasks, "episodes": len(episodes)}
    card = {**card, "data": kind if store is None else store.card} | ({} if base is None else {"from": base.identity})
    train: Any = train_planner
    if config.lora_rank:
        train = partial(train_adapters, lora=LoraSettings(int(config.lora_rank), float(config.lora_rank)))
    dtype = torch.float16 if config.half else None
    _, metrics = train(
        planner, windows, Path(config.output) / "training", settings, output=config.output, card=card, dtype=dtype
    )
    return dict(metrics)


def _shown_to_planner(
    config: DictConfig, autoencoder: FrameAutoencoder, text: TextEncoder, store: StoreEpisodes | None
) -> StoredEpisodes | StoreEpisodes:
    """Return the episodes that a planner learns from; raise SailError where they cannot be, as far as that is known."""
    size, rate_hz = int(autoencoder.image_size), float(config.rate_hz)
    if store is None:
        episodes = stored(config, config.episodes)
        check_recorded(episodes[0], config.camera, size, rate_hz)
        return episodes
    try:
        text.encode(store.instructions)
    except ValueError as problem:
        raise SailError(f"{str(problem).rstrip('.')}; or set text.length higher.") from None
    fits: Check = partial(check_size, camera=config.camera, size=size, hint=FIT)
    store.prepare = partial(_prepared, config, size, [check_acts, partial(check_rate, rate_hz=rate_hz), fits])
    return store


def _prepared(config: DictConfig, side: int | None, checks: Sequence[Check], episode: Episode) -> Episode:
    """Return an episode of a store as it is learnt from; raise SailError where it cannot be."""
    seen = squared(episode, config.camera, side) if config.square else episode
    for check in checks:
        check(seen)
    return seen


def _check_stride(config: DictConfig, planner: LatentVideoPlanner) -> None:
    try:
        stride = steps_per_frame(planner.stride_s, float(config.rate_hz))
    except ValueError as problem:
        raise SailError(f"The planner in {config['from']} does not fit rate_hz={config.rate_hz}: {problem}") from None
    if stride != int(config.stride):
        raise SailError(
            f"The planner in {config['from']} imagines frames {planner.stride_s:g} s apart and stride={config.stride} "
            f"gives {float(config.stride) / float(config.rate_hz):g} s: set stride={stride}."
        )


def _look_through(config: DictConfig, planner: LatentVideoPlanner) -> None:
    """Let a planner look through the camera that it is trained on; adapters leave it what it is."""
    if config.lora_rank and planner.camera != config.camera:
        raise SailError(
            f"The planner in {config['from']} looks through camera {planner.camera!r}, and adapters leave it at that: "
            f"set camera={planner.camera}, or lora_rank=0."
        )
    planner.camera = str(config.camera)


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


def _train_inverse_dynamics(
    config: DictConfig, card: Mapping[str, Any], store: StoreEpisodes | None
) -> Mapping[str, float]:
    if config.kind not in ("pose_tracking", "frame_pair"):
        raise SailError(f"kind must be pose_tracking or frame_pair, got {config.kind!r}.")
    autoencoder = build(config.autoencoder) if float(config.reconstructed_share) else None
    robots = Alike(timed=config.kind == "frame_pair")
    if store is None:
        sources = _frames_recorded(config, autoencoder)
        data: dict[str, object] = {one.name: {"tasks": config.tasks, "episodes": _count(one)} for one in sources}
    else:
        sources = [FrameSource("store", _frames_of_store(config, autoencoder, store, robots), 1.0)]
        data = store.card
    settings = training_settings(config, int(config.seed), config.tracker)
    dtype = torch.float16 if config.half else None
    card = {**card, "data": data}
    if config.kind == "pose_tracking":
        return train_pose_network(sources, config.output, settings, card=card, dtype=dtype)
    shape = FramePairShape(backbone=config.backbone, chunk=int(config.stride))
    if store is None:
        shape = replace(shape, step_s=round(step_s(stored(config, sources[0].name)[0]), 6))
    else:
        low, high = robots.limits()
        size = sources[0].frames.actions.shape[1]
        shape = replace(shape, step_s=robots.step_s, action_size=size, low=low, high=high)
    return train_frame_pair(sources, config.output, settings, shape=shape, card=card, dtype=dtype)


def _count(source: FrameSource) -> int:
    return int(source.frames.episodes[-1]) + 1


def _frames_recorded(config: DictConfig, autoencoder: FrameAutoencoder | None) -> list[FrameSource]:
    """Return what `sail collect` recorded, by the shares of its kinds."""
    shares = {"demonstrations": float(config.demonstrations_share), "play": float(config.play_share)}
    sources = []
    for kind, share in shares.items():
        if share > 0:
            episodes = stored(config, kind)
            check_camera(episodes[0], config.camera)
            sources.append(FrameSource(kind, _gathered(config, episodes, autoencoder), share))
    if not sources:
        raise SailError("There is nothing to learn from: demonstrations_share and play_share are both 0.")
    return sources


def _frames_of_store(
    config: DictConfig, autoencoder: FrameAutoencoder | None, store: StoreEpisodes, robots: Alike
) -> FrameSet:
    """Return what the episodes of a store show, all of one robot."""
    size = None if autoencoder is None else int(autoencoder.image_size)
    posed = config.kind == "pose_tracking"
    checks: list[Check] = [check_acts]
    if size is not None:
        checks.append(partial(check_size, camera=config.camera, size=size, hint=f"{FIT}, set reconstructed_share=0"))
    if posed:
        checks.append(partial(check_poses, assumed=bool(config.assume_pose)))
    store.prepare = partial(_prepared, config, size, [*checks, robots.check])
    return _gathered(config, store, autoencoder, posed)


def _gathered(
    config: DictConfig,
    episodes: StoredEpisodes | StoreEpisodes,
    autoencoder: FrameAutoencoder | None,
    posed: bool = True,
) -> FrameSet:
    """Return the frames of episodes; where none passes through an autoencoder, they are decoded once for all time."""
    cache = FrameCache(Path(config.data) / "frames", config.camera, FRAME_SIDE) if autoencoder is None else None

    def found(episode: Episode) -> Episode:
        if cache is None:
            episode.frames[config.camera]  # decoded here, so that one that is damaged is left out
        else:
            cache.of(episode)
        return episode

    return gather_frames(
        episodes.taken(found) if isinstance(episodes, StoreEpisodes) else episodes,
        camera=config.camera,
        size=FRAME_SIDE,
        world_to_image=partial(simulated_matrix, camera=config.camera),
        reconstruct=None if autoencoder is None else reconstruction(autoencoder),
        reconstructed_share=float(config.reconstructed_share),
        seed=int(config.seed),
        posed=posed,
        shrunk=None if cache is None else cache.of,
    )


def reconstruction(autoencoder: FrameAutoencoder) -> Reconstruct:
    """Return what passes pictures through an autoencoder and back."""
    return lambda frames: autoencoder.reconstruct(torch.from_numpy(frames)).numpy()
