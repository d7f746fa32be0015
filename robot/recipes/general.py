"""Make the general planner: a stand-in for a text-to-video model trained on web-scale video.

It is trained as the starter planner is, in the same latent space, so that the two can be composed: on scripted
demonstrations of the 22 tasks that are neither in MW-12 nor reserved, seen by several cameras and in changing colours
and lights, and on play in the same 22 scenes, without text. It never sees a demonstration of a task of MW-12, nor play
in its scene, nor anything of the eight reserved tasks. Every stage continues where it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot.core.checkpoints import ABOUT
from robot.core.data import Episode, Outcome
from robot.core.errors import SailError
from robot.core.files import write_whole
from robot.core.rates import steps_per_frame
from robot.core.training import TrainingSettings, steps_done
from robot.episodes.store import EpisodeStore
from robot.recipes.starter import DEMONSTRATIONS, PLAY, card, collect_missing, name_of
from sim.appearance import Appearance
from sim.collect import DataKind, Request
from sim.metaworld import PHYSICS_HZ
from sim.tasks import GENERAL, GENERAL_PARAPHRASES, INSTRUCTIONS, RESERVED, SEEN, UNSEEN, tasks_of

if TYPE_CHECKING:
    from planners.latent_video import LatentVideoPlanner
    from planners.windows import LatentEpisode, WindowSampler

DISPLACED = "corner4"
"""MetaWorld's second camera at the place of corner2: it is the one that is displaced, while corner2 stays."""
ELSEWHERE = ("corner", "corner3", "topview")
MAX_MIB = 45
FIRST_SEED: Mapping[DataKind, int] = {"demonstrations": 10_000, "play": 20_000}


@dataclass(frozen=True, slots=True)
class GeneralSettings:
    """Choose how much to collect, how it looks and how long to train.

    `tasks`: which of the general tasks. `appearance`: the greatest strength of changed looks; every second episode has
    the scene's own. `corner2_share`: part of what is learnt that is seen from MW-12's camera. `retold_share`: part of
    what is said in other words than the instruction. `schedule`: of the noise; the linear one learns in fewer steps
    than the starter's (docs/results.md). `max_seconds`: stop soon after so long, to go on another time (0: never).
    """

    data: str = "data/general"
    work: str = "runs/general"
    out: str = "general"
    autoencoder: str = "starter/autoencoder"
    planner: str = "starter/planner"
    tasks: str = "general"
    demonstrations: int = 25
    play: int = 8
    play_steps: int = 60
    max_steps: int = 200
    appearance: float = 0.3
    corner2_share: float = 0.85
    play_share: float = 0.15
    retold_share: float = 0.4
    widths: tuple[int, ...] = (128, 192, 224)
    schedule: str = "linear"
    planner_steps: int = 10_000
    batch_size: int = 24
    learning_rate: float = 4e-4
    seed: int = 0
    max_seconds: float = 0.0

    def __post_init__(self) -> None:
        forbidden = [task for task in tasks_of(self.tasks) if task not in GENERAL]
        if forbidden:
            raise SailError(
                f"The general planner must not see {forbidden[0]}: it is reserved or a task of MW-12; `sail tasks` "
                "lists the general ones."
            )
        if self.demonstrations < 1 or self.play < 0 or self.play_steps < 1 or self.max_steps < 1:
            raise SailError("demonstrations, play_steps and max_steps must be at least 1, and play not negative.")
        if self.planner_steps < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise SailError("planner_steps and batch_size must be at least 1, and learning_rate above 0.")
        for name in ("appearance", "corner2_share", "play_share", "retold_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise SailError(f"{name} must lie in 0 … 1, got {getattr(self, name)}.")


@dataclass(slots=True)
class _Clock:
    """Know when the time given (s; 0: without end) is over."""

    limit_s: float
    began: float = field(default_factory=time.monotonic)

    def over(self) -> bool:
        return self.limit_s > 0 and self.left_s() <= 0

    def left_s(self) -> float:
        return self.limit_s - (time.monotonic() - self.began)


def requests(settings: GeneralSettings) -> dict[str, list[Request]]:
    """Return what to collect for each of the two stores."""
    tasks = tasks_of(settings.tasks)
    return {
        DEMONSTRATIONS: [
            _request(settings, task, "demonstrations", index)
            for task in tasks
            for index in range(settings.demonstrations)
        ],
        PLAY: [_request(settings, task, "play", index) for task in tasks for index in range(settings.play)],
    }


def _request(settings: GeneralSettings, task: str, kind: DataKind, index: int) -> Request:
    """Return the request for one episode: from corner2 and another place, every second one in other looks."""
    seed, elsewhere = FIRST_SEED[kind] + index, ELSEWHERE[index // 2 % len(ELSEWHERE)]
    cameras: tuple[str, ...] = ("corner2", elsewhere)
    appearance = None
    if index % 2 and settings.appearance > 0:
        cameras = ("corner2", DISPLACED, elsewhere)
        strength = settings.appearance * (0.4, 0.7, 1.0)[index // 2 % 3]
        # The same episode of another task looks different, or colours would tell tasks apart.
        appearance = Appearance(1000 * seed + GENERAL.index(task), strength, (DISPLACED, elsewhere))
    return Request(
        task,
        kind,
        seed,
        noise=0.1 if index // 2 % 2 else 0.2,
        max_steps=settings.max_steps if kind == "demonstrations" else settings.play_steps,
        cameras=cameras,
        appearance=appearance,
    )


def make_general(settings: GeneralSettings, progress: Callable[[int, int], None] | None = None) -> bool:
    """Collect and train; return whether the planner is made, or else time was up and the same call goes on.

    Raises SailError where there is a planner already, or where this one would be larger than ships with the project.
    """
    out = Path(settings.out)
    if (out / "planner" / ABOUT).exists():
        raise SailError(f"There is a general planner in {out / 'planner'} already: move it away, or give another out=.")
    clock, began = _Clock(settings.max_seconds), time.time()
    planner = untrained(settings)
    if not collect_missing(settings.data, requests(settings), progress, clock.over):
        return False
    windows, counts = _windows(settings, planner, clock)
    if windows is None:
        return False
    result = _train(settings, planner, windows, clock)
    if result is None:
        return False
    trained, figures = result
    facts = general_card(settings, began, figures, counts)
    import torch

    write_whole(out / "README.md", readme(facts, size_mib(trained)).encode())  # first: with the weights all is done
    trained.save(out / "planner", facts, torch.float16)
    return True


def untrained(settings: GeneralSettings) -> LatentVideoPlanner:
    """Return a planner with fresh weights that otherwise imagines as the in-domain one does.

    The two share latents, frames and stride, as they must to be composed, and scale and what is predicted; the noise
    schedule may be another. Raises SailError where it would be too large to ship, or for an unknown schedule.
    """
    import dataclasses

    import torch

    from planners.denoisers import StackedUNet
    from planners.latent_video import LatentVideoPlanner

    base = LatentVideoPlanner.load(settings.planner, settings.autoencoder)
    torch.manual_seed(settings.seed)
    denoiser = StackedUNet(
        settings.widths,
        frames=base.denoiser.frames,
        latent_channels=base.denoiser.latent_channels,
        text_dim=base.text_encoder.dim,
    )
    try:
        diffusion = dataclasses.replace(base.diffusion, schedule=settings.schedule)
    except ValueError as error:
        raise SailError(str(error)) from None
    planner = base.with_denoiser(denoiser, diffusion)
    _check_size(planner)
    return planner


def size_mib(planner: LatentVideoPlanner) -> float:
    """Return how large the planner's weights are in half precision, in MiB."""
    numbers: int = sum(tensor.numel() for tensor in planner.denoiser.state_dict().values())
    return 2 * numbers / 2**20


def _check_size(planner: LatentVideoPlanner) -> None:
    if size_mib(planner) > MAX_MIB:
        raise SailError(
            f"This planner would take {size_mib(planner):.0f} MiB in half precision, more than the {MAX_MIB} MiB that "
            "ship with the project: choose smaller widths."
        )


def _windows(
    settings: GeneralSettings, planner: LatentVideoPlanner, clock: _Clock
) -> tuple[WindowSampler | None, dict[str, int]]:
    """Return what to train on, encoded, and how many episodes and pictures that is; None where time ran out."""
    from planners.windows import Source, WindowSampler

    wanted = requests(settings)
    told: dict[str, list[LatentEpisode]] = {"corner2": [], "others": []}
    played: dict[str, list[LatentEpisode]] = {"corner2": [], "others": []}
    counts = {"demonstrations": 0, "play": 0, "pictures": 0}
    for name, latents in ((DEMONSTRATIONS, told), (PLAY, played)):
        for episode in _stored(settings, name, wanted[name]):
            if clock.over():
                return None, counts
            counts[name] += 1
            for camera, one in _encoded(settings, planner, episode).items():
                latents["corner2" if camera == "corner2" else "others"].append(one)
                counts["pictures"] += len(one.latents)
    sources = []
    for view, part in (("corner2", settings.corner2_share), ("others", 1.0 - settings.corner2_share)):
        play = settings.play_share if played[view] else 0.0
        retold = [again for one in told[view] for again in _retold(one)]
        sources += [
            Source(told[view], part * (1.0 - play) * (1.0 - settings.retold_share)),
            Source(retold, part * (1.0 - play) * settings.retold_share),
            Source(played[view], part * play, silent=True),
        ]
    stride = steps_per_frame(planner.stride_s, PHYSICS_HZ / wanted[DEMONSTRATIONS][0].action_repeat)
    return WindowSampler([source for source in sources if source.share > 0], planner.denoiser.frames, stride), counts


def _stored(settings: GeneralSettings, name: str, wanted: list[Request]) -> Iterator[Episode]:
    """Yield the episodes asked for, one in memory at a time.

    Raises SailError where what is stored is of another task, in other looks, or a demonstration that did not succeed:
    the general planner must not learn from it.
    """
    store = EpisodeStore(Path(settings.data) / name)
    for request in wanted:
        episode = store.load(name_of(request), plans=False, at_once=False)
        failed = name == DEMONSTRATIONS and episode.outcome is not Outcome.SUCCESS
        asked = store.about(name_of(request)).get("request") == request.as_json()
        if failed or not asked or episode.task != request.task:
            raise SailError(
                f"{name_of(request)} in {store.folder} was recorded with other settings than these: give those, or "
                "another data=, or move the folder away."
            )
        yield episode


def _encoded(settings: GeneralSettings, planner: LatentVideoPlanner, episode: Episode) -> dict[str, LatentEpisode]:
    from planners.windows import LatentCache

    folder = Path(settings.work) / "latents"
    return {camera: LatentCache(planner.autoencoder, camera, folder).get(episode) for camera in episode.frames}


def _retold(one: LatentEpisode) -> list[LatentEpisode]:
    """Return the same video under each other wording of its task."""
    from planners.windows import LatentEpisode

    task = next(task for task in GENERAL if INSTRUCTIONS[task] == one.instruction)
    return [LatentEpisode(one.latents, words) for words in GENERAL_PARAPHRASES[task]]


def _train(
    settings: GeneralSettings, planner: LatentVideoPlanner, windows: WindowSampler, clock: _Clock
) -> tuple[LatentVideoPlanner, dict[str, float]] | None:
    """Train; return the planner and its figures, or None where time ran out."""
    from planners.diffusion_training import train_planner
    from planners.windows import clip_spread

    training = TrainingSettings(
        steps=settings.planner_steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=min(100, settings.planner_steps),
        ema_decay=0.999,
        checkpoint_every=100,
        seed=settings.seed,
        tracker="tensorboard",
        max_seconds=max(1e-3, clock.left_s()) if settings.max_seconds > 0 else 0.0,
    )
    folder = Path(settings.work) / "planner"
    trained, metrics = train_planner(planner, windows, folder, training)
    if steps_done(folder) < settings.planner_steps:
        return None
    return trained, {**metrics, "clip_spread": clip_spread(windows)}


def general_card(
    settings: GeneralSettings, began: float, metrics: Mapping[str, float], counts: Mapping[str, int]
) -> dict[str, Any]:
    """Return the model card's facts: the starter's, and what was seen and what never was."""
    data = (
        f"{counts['demonstrations']} scripted demonstrations and {counts['play']} play episodes (without text) of "
        f"{len(tasks_of(settings.tasks))} tasks outside MW-12, {counts['pictures']} pictures"
    )
    return {
        **card(settings.seed, began, {name: value for name, value in metrics.items() if name != "training_s"}, data),
        "command": "make starter-general",
        "training_s": round(metrics["training_s"]),
        "schedule": settings.schedule,
        "steps": settings.planner_steps,
        "batch_size": settings.batch_size,
        "appearance": settings.appearance,
        "tasks": list(tasks_of(settings.tasks)),
        "never_demonstrated": sorted((*SEEN, *UNSEEN)),
        "reserved": list(RESERVED),
    }


def readme(facts: Mapping[str, Any], mib: float) -> str:
    """Return the model card, Markdown, of a planner of `mib` MiB."""
    figures = "\n".join(f"| {name} | {value:g} |" for name, value in facts["metrics"].items())
    return README.format(
        **facts,
        mib=mib,
        minutes=facts["training_s"] / 60,
        figures=figures,
        seen_tasks=", ".join(facts["tasks"]),
        mw12=", ".join(facts["never_demonstrated"]),
        never=", ".join(facts["reserved"]),
    )


README = """# General planner

A text-to-video planner that stands in for a model trained on web-scale video, to be composed with an in-domain one. It
imagines in the latent space of `starter/autoencoder`, with the starter planner's scale, frames and stride and a
{schedule} noise schedule, and its weights are kept in half precision ({mib:.0f} MiB).

| | |
|---|---|
| data | {data} |
| training | {steps} steps at batch {batch_size}, {minutes:.0f} min |
| command | `{command}` |
| hardware | {hardware} |
| seed | {seed} |
{figures}

Every second episode has the scene's own look and is seen by corner2, as in MW-12, and by one of corner, corner3 and
topview. The others have other colours, textures and lights, up to {appearance:g} of the way to random ones, and are
seen by a displaced corner2 too. Each demonstration is also told in other words; one text in ten is dropped.

## What it has seen, and what never

- Demonstrations and play: {seen_tasks}.
- Neither demonstrations nor play of MW-12's tasks: {mw12}. Objects of some of them appear in what it saw, used for
  something else: the coffee machine, the handle, the plate, the door's frame, the puck, the peg and the wall.
- Nothing at all of the reserved tasks: {never}.
- It imagines in latents of the starter autoencoder, which was trained on pictures of all fifty scenes in their own
  looks: demonstrations in the eight seen ones, play alone in the others, the reserved ones among them.
- Other cameras and looks than corner2's own come through that autoencoder blurred and off in colour.

## What it is not good for

Anything but this one arm on this one table: it is general about that alone. By itself it succeeds about as often in the
unseen tasks of MW-12 as the starter planner, but in others of them, and less often in the seen ones (docs/results.md).
Licence: MIT, as the project.
"""
