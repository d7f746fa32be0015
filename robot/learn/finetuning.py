"""What an iteration of the loop trains: the planner and the inverse dynamics, each on a stated mixture.

Both mix demonstrations of seen tasks with what the loop collected, so that nothing is forgotten. What is trained is
put in force at once: `PlannerInForce` and `InverseDynamicsInForce` are what the rollouts hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from planners.backwards import backwards
from planners.diffusion_training import train_planner
from planners.latent_video import LatentVideoPlanner
from planners.tempo import typical_change, unhesitating
from planners.windows import LatentCache, LatentEpisode, Source, WindowSampler
from policies.frame_set import FrameSet, FrameSource, gather_frames
from robot.core.data import Action, Episode, Observation, SamplerSettings, Verdict, VideoPlan, View
from robot.core.protocols import InverseDynamics, Metrics, NeedsView, Planner, ReadsState, Trainable
from robot.core.training import TrainingSettings

FEWEST = 10
"""How many successes are learnt from, however slow they are."""
Episodes = Callable[[], Sequence[Episode]]
"""Gives demonstrations of seen tasks; called when something is first trained, so a run that never trains needs none."""


def kept(episodes: Sequence[Episode], verdicts: Sequence[Verdict], above: float) -> Iterator[Episode]:
    """Yield the episodes whose probability of success exceeds `above`; the others are not even read."""
    chosen = [number for number, verdict in enumerate(verdicts) if verdict.probability > above]
    return (episodes[number] for number in chosen)


def quickest(episodes: Iterable[Episode], quantile: float, fewest: int = FEWEST) -> list[Episode]:
    """Return, in their order, the successes that took no longer than `quantile`, 0 … 1, of them all did.

    An attempt ends with its success, so its length in steps is the time to it. At least the `fewest` quickest stay,
    all of them where there are no more, and so does whatever took as long as the slowest of those.
    """
    successes = list(episodes)
    if len(successes) <= fewest:
        return successes
    steps = np.array([len(episode) for episode in successes])
    limit = max(float(np.quantile(steps, quantile)), float(np.sort(steps)[fewest - 1]))
    return [episode for episode, took in zip(successes, steps, strict=True) if took <= limit]


def trained_part(planner: Planner) -> LatentVideoPlanner | None:
    """Return the part of a planner that is fine-tuned, or None where there is nothing to train."""
    part = planner.in_domain if isinstance(planner, Trainable) else None
    return cast("LatentVideoPlanner | None", part)  # the only kind there is that `train_planner` trains


def drawn(episodes: Sequence[Episode], numbers: Sequence[int], most_frames: float, seed: int) -> Iterator[Episode]:
    """Yield the episodes of those numbers in random order, none any more once `most_frames` frames have come."""
    frames = 0
    for number in np.random.default_rng(seed).permutation(np.asarray(numbers, np.int64)):
        if frames >= most_frames:
            return
        episode = episodes[int(number)]
        frames += len(episode) + 1
        yield episode


class PlannerInForce:
    """Stand for whichever planner was trained last. A `Planner`."""

    def __init__(self, planner: Planner) -> None:
        self.current = planner

    @property
    def identity(self) -> str:
        """Return the identity of the planner in force."""
        return self.current.identity

    @property
    def view(self) -> View:
        """Return what the planner in force needs."""
        return self.current.view if isinstance(self.current, NeedsView) else View()

    @property
    def reads_state(self) -> bool:
        """Return whether the planner in force reads the simulator's state."""
        return isinstance(self.current, ReadsState) and self.current.reads_state

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        """Plan with the planner in force."""
        return self.current.plan(observations, instructions, seeds, settings)


class InverseDynamicsInForce:
    """Stand for whichever inverse dynamics was trained last. An `InverseDynamics`."""

    def __init__(self, inverse_dynamics: InverseDynamics) -> None:
        self.current = inverse_dynamics

    @property
    def identity(self) -> str:
        """Return the identity of the inverse dynamics in force."""
        return self.current.identity

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        """Digest plans with the inverse dynamics in force."""
        return self.current.begin(observations, plans)

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        """Act with the inverse dynamics in force."""
        return self.current.act(observations, handles, steps)


class PlannerLearner:
    """Fine-tune a latent video planner, or that part of a planner, on successes and demonstrations. A `Learner`.

    Only the part is saved; `load` reads it again. Around it the planner stays what it is.

    A success is an episode whose probability of it exceeds `keep_above`. `seen` gives the demonstrations, and
    `seen_share` of every batch comes from them. `stride` (steps) lies between two frames of a window. With
    `unhesitating` a success is shown at the tempo of the demonstrations and without what led nowhere (see
    `planners.tempo`); without demonstrations at all, as it went.
    `half_life` (steps; as `stride`, by default for 40 steps a second): see `planners.windows.Source`.
    `attempted_share` of every batch is whatever was attempted, failures too, without a text: what guidance then steers
    away from is what the arm does anyway, and what it steers towards is what worked (Frans et al. 2025, Diffusion
    guidance is a controllable policy improvement operator, §4: the stronger the guidance, the larger the step of policy
    improvement). `latents`: a folder in which encoded demonstrations are kept between runs.

    `quickest`, above 0 … 1: of the successes only those are shown with their words that took no longer than this
    quantile of them (see the function of this name); the others still count as attempted. `reversed_share` of every
    batch is demonstrations of seen tasks, and successes at any task whose opposite was attempted too, played backwards
    under the words for what undoes them (see `planners.backwards`). It is none where nothing can be undone.
    """

    def __init__(
        self,
        planner: PlannerInForce,
        load: Callable[[Path], LatentVideoPlanner],
        seen: Episodes,
        settings: TrainingSettings,
        seen_share: float = 0.25,
        stride: int = 2,
        unhesitating: bool = True,
        half_life: float = 40.0,
        text_drop: float = 0.1,
        latents: Path | None = None,
        keep_above: float = 0.5,
        attempted_share: float = 0.25,
        quickest: float = 1.0,
        reversed_share: float = 0.0,
    ) -> None:
        part = trained_part(planner.current)
        if part is None:
            raise ValueError(
                f"Only a latent video planner can be fine-tuned, not a {type(planner.current).__name__}: "
                "set learner.planner.train=false."
            )
        if not 0.0 <= seen_share < 1.0:
            raise ValueError(f"seen_share must lie in 0 … 1 and leave room for what is new, got {seen_share}.")
        if not 0.0 <= attempted_share < 1.0 - seen_share:
            raise ValueError(
                f"attempted_share must lie in 0 … 1 and leave room beside seen_share for successes, got "
                f"{attempted_share} beside {seen_share}."
            )
        if not 0.0 < quickest <= 1.0:
            raise ValueError(f"quickest is a quantile, above 0 and at most 1, got {quickest}.")
        if not 0.0 <= reversed_share < 1.0 - seen_share - attempted_share:
            raise ValueError(
                f"reversed_share must lie in 0 … 1 and leave room beside seen_share and attempted_share for successes, "
                f"got {reversed_share} beside {seen_share} and {attempted_share}."
            )
        self._in_force = planner
        self._starter = planner.current
        self._load = load
        self._seen = seen
        self._settings = settings
        self._quickest = quickest
        self._reversed_share = reversed_share
        self._seen_share = seen_share
        self._attempted_share = attempted_share
        self._stride = stride
        self._unhesitating = unhesitating
        self._half_life = half_life
        self._alike: float | None = None
        self._text_drop = text_drop
        self._keep_above = keep_above
        self._cache = LatentCache(part.autoencoder, part.camera, latents)

    @property
    def needs_success(self) -> bool:
        """Return True: a planner learns what to imagine from what worked."""
        return True

    def restore(self, folder: Path | None) -> None:
        """Put the planner saved in `folder` in force; None stands for the starter."""
        self._in_force.current = self._starter if folder is None else self._around(self._load(folder))

    def update(self, episodes: Sequence[Episode], verdicts: Sequence[Verdict], folder: Path, seed: int) -> Metrics:
        """Fine-tune the planner in force on the successes, save it in `folder` and put it in force.

        Among the metrics `successes` is how many of them were shown, and `shown` the part of the frames of all
        successes that was left to learn from.
        """
        base = trained_part(self._in_force.current)
        assert base is not None
        worked = list(kept(episodes, verdicts, self._keep_above))
        frames = sum(len(episode) + 1 for episode in worked)
        successes = [self._shown(episode) for episode in quickest(worked, self._quickest)]
        undone = self._undone(successes, {episode.instruction for episode in episodes})
        rest = 1.0 - self._seen_share - self._attempted_share - (self._reversed_share if undone else 0.0)
        sources = [Source(successes, rest, half_life=self._half_life)]
        if self._seen_share > 0:
            sources.append(Source(self._cache.get_all(self._seen()), self._seen_share))
        if self._attempted_share > 0:
            sources.append(Source(self._cache.get_all(episodes), self._attempted_share, silent=True))
        if undone:
            sources.append(Source(undone, self._reversed_share))
        windows = WindowSampler(sources, base.denoiser.frames, self._stride, self._text_drop)
        improved, metrics = train_planner(
            base, windows, folder / "training", replace(self._settings, seed=seed), folder
        )
        self._in_force.current = self._around(improved)
        shown = sum(len(one.latents) for one in successes) / frames
        return {**metrics, "successes": float(len(successes)), "shown": shown}

    def _undone(self, successes: Sequence[LatentEpisode], asked: set[str]) -> list[LatentEpisode]:
        """Return what is shown backwards: seen demonstrations, and successes whose opposite is `asked` for."""
        if self._reversed_share == 0:
            return []
        usual, otherwise = backwards(self._cache.get_all(self._seen()))
        own, _ = backwards(successes)
        return [*usual, *otherwise, *(one for one in own if one.instruction in asked)]

    def _around(self, part: LatentVideoPlanner) -> Planner:
        assert isinstance(self._starter, Trainable)
        return self._starter.with_in_domain(part)

    def _shown(self, episode: Episode) -> LatentEpisode:
        """Return the latents of a success, without its hesitation where that is wanted."""
        latents = self._cache.get(episode)
        if not self._unhesitating:
            return latents
        if self._alike is None:
            self._alike = typical_change([one.latents for one in self._cache.get_all(self._seen())])
        if self._alike == 0.0:  # no demonstrations: even frames that are quite the same are shown as they came
            return latents
        return replace(latents, latents=latents.latents[unhesitating(latents.latents, self._alike)])


class FinetuneFrames(Protocol):
    """Train the network stored in one folder further on frames and write it to another, as those of `policies` do."""

    def __call__(
        self, base: Path, sources: Sequence[FrameSource], folder: Path, settings: TrainingSettings
    ) -> Mapping[str, float]:
        """Return what was measured."""
        ...


@runtime_checkable
class LearnsFromFrames(InverseDynamics, Protocol):
    """An inverse dynamics that says how it is fine-tuned: on frames of its camera, from the folder of its weights."""

    finetune: FinetuneFrames

    @property
    def camera(self) -> str:
        """Return the camera that it looks through."""
        ...

    @property
    def frame_size(self) -> int:
        """Return the side, in pixels, of the squares that it looks at."""
        ...

    @property
    def folder(self) -> Path | None:
        """Return where its weights were loaded from; None where they come from no folder."""
        ...

    def loaded_from(self, folder: Path) -> InverseDynamics:
        """Return the same with the weights that `finetune` wrote to another folder."""
        ...


@dataclass(frozen=True)
class FrameOptions:
    """Say how frames are read from episodes: which camera, at what size, and where the gripper appears.

    `world_to_image`: float64 (3, 4), see `RobotSpec.camera_matrices`, of episodes that do not say it themselves, as
    those of before they did. `reconstruct` passes frames through the
    autoencoder, as imagined ones have been; `reconstructed_share` of the frames are.
    """

    camera: str = "corner2"
    size: int = 64
    world_to_image: NDArray[np.float64] | None = None
    reconstruct: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None
    reconstructed_share: float = 0.5

    def gather(self, episodes: Iterable[Episode], seed: int) -> FrameSet:
        """Return the frames of the episodes, labelled by proprioception."""
        return gather_frames(
            episodes,
            camera=self.camera,
            size=self.size,
            world_to_image=self.world_to_image,
            reconstruct=self.reconstruct,
            reconstructed_share=self.reconstructed_share,
            seed=seed,
        )


class InverseDynamicsLearner:
    """Fine-tune an inverse dynamics on what was collected and on seen demonstrations. A `Learner`.

    `starter` is the folder its training began from, `load` reads a folder, `finetune` trains one into another.
    `learn_from`: `rollouts`, everything attempted, since a pose or an action needs no success; or `successes`,
    whose probability of success exceeds `keep_above`. `most_frames`: of more than that, episodes are drawn at random
    until there are as many: passing frames through the autoencoder takes longer than learning from them.
    """

    def __init__(
        self,
        inverse_dynamics: InverseDynamicsInForce,
        starter: Path,
        load: Callable[[Path], InverseDynamics],
        finetune: FinetuneFrames,
        seen: Episodes,
        settings: TrainingSettings,
        frames: FrameOptions,
        seen_share: float = 0.5,
        learn_from: Literal["rollouts", "successes"] = "rollouts",
        keep_above: float = 0.5,
        most_frames: float = 6000,
    ) -> None:
        if not most_frames > 0:
            raise ValueError(f"Inverse dynamics needs some frames to learn from: most_frames is {most_frames}.")
        if learn_from not in ("rollouts", "successes"):
            raise ValueError(f"learn_from must be 'rollouts' or 'successes', got {learn_from!r}.")
        if not 0.0 <= seen_share < 1.0:
            raise ValueError(f"seen_share must lie in 0 … 1 and leave room for what is new, got {seen_share}.")
        self._in_force = inverse_dynamics
        self._first = inverse_dynamics.current
        self._starter = starter
        self._base = starter
        self._load = load
        self._finetune = finetune
        self._seen = seen
        self._seen_frames: FrameSet | None = None
        self._settings = settings
        self._frames = frames
        self._seen_share = seen_share
        self._learn_from = learn_from
        self._keep_above = keep_above
        self._most_frames = most_frames

    @property
    def needs_success(self) -> bool:
        """Return whether there is nothing to learn without a success."""
        return self._learn_from == "successes"

    def restore(self, folder: Path | None) -> None:
        """Put the inverse dynamics saved in `folder` in force; None stands for the starter."""
        self._base = self._starter if folder is None else folder
        self._in_force.current = self._first if folder is None else self._load(folder)

    def update(self, episodes: Sequence[Episode], verdicts: Sequence[Verdict], folder: Path, seed: int) -> Metrics:
        """Fine-tune the inverse dynamics in force, save it in `folder` and put it in force."""
        successes = self._learn_from == "successes"
        numbers = [n for n, one in enumerate(verdicts) if not successes or one.probability > self._keep_above]
        new = drawn(episodes, numbers, self._most_frames, seed)
        sources = [FrameSource("new", self._frames.gather(new, seed), 1.0 - self._seen_share)]
        if self._seen_share > 0:
            if self._seen_frames is None:
                # Kept for all updates, so its seed is none of theirs: a resumed run must gather the same.
                self._seen_frames = self._frames.gather(self._seen(), self._settings.seed)
            sources.append(FrameSource("seen", self._seen_frames, self._seen_share))
        metrics = self._finetune(self._base, sources, folder, replace(self._settings, seed=seed))
        self._in_force.current = self._load(folder)
        self._base = folder
        return dict(metrics)


def reconstruction(planner: LatentVideoPlanner, batch: int = 32) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return a function that passes frames, uint8 (N, H, W, 3), through a planner's autoencoder and back."""

    def reconstruct(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        parts = []
        with torch.no_grad():
            for start in range(0, len(frames), batch):
                part = torch.from_numpy(np.ascontiguousarray(frames[start : start + batch]))
                parts.append(planner.autoencoder.decode(planner.autoencoder.encode(part)).cpu().numpy())
        return np.concatenate(parts) if parts else frames

    return reconstruct
