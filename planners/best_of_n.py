"""Imagine several plans for every observation and keep the one a scorer prefers.

Axes: B plans, F frames, C latent channels, h and w latent rows and columns, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.around import Around, plan_by
from planners.imagining import Imagining, Weight
from planners.latent_video import LatentVideoPlanner
from planners.scores import ClipDenoiser, VideoScore
from robot.core.data import Episode, Observation, Outcome, SamplerSettings, VideoPlan
from robot.core.protocols import Planner, RewardModel

Preferences = NDArray[np.float64]


class PlanScorer(Protocol):
    """Say how good plans are; only the order of the numbers given in one call counts."""

    def score(self, planner: Planner, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> Preferences:
        """Return a number a plan, float64 (B,), the higher the better; `plans[i]` starts from `observations[i]`.

        `planner` is what made the plans, for scorers that ask it.
        """
        ...


class BestOfN(Around):
    """Sample `candidates` plans an observation in one batch and keep the best. A `Planner`.

    The first candidate has the seed asked for, so that with one candidate the planner comes back bit for bit; the
    others' seeds come from that one. The plan kept bears the seed asked for and this planner's identity.

    `adaptations`: of an adapted planner, those that draw the candidates in turn, `["in_domain", "general"]` every other
    one, so that a plan comes from where the scorer likes it best; none: all from the planner as it is. The scorer asks
    the planner as it is, whose models and strength say by whom plans are judged.
    """

    def __init__(
        self, planner: Planner, scorer: PlanScorer, candidates: int = 4, adaptations: Sequence[str] = ()
    ) -> None:
        if isinstance(candidates, bool) or candidates < 1:
            raise ValueError(f"Best of N needs at least one candidate, got candidates={candidates}.")
        if adaptations and not isinstance(planner, AdaptedPlanner):
            raise ValueError("Only an adapted planner has adaptations: planner@planner.planner=adapted.")
        if len(adaptations) > candidates:
            raise ValueError(f"{len(adaptations)} adaptations need as many candidates, got candidates={candidates}.")
        self.planner = planner
        self.scorer = scorer
        self.candidates = candidates
        self.adaptations = tuple(adaptations)
        self._drawing: list[Planner] = [planner]
        if isinstance(planner, AdaptedPlanner) and adaptations:
            self._drawing = [planner.with_adaptation(each) for each in adaptations]

    @property
    def identity(self) -> str:
        """Return the identity of the planner that the candidates come from and how many there are; plans carry it."""
        names = f" of {', '.join(self.adaptations)}" if self.adaptations else ""
        return self.planner.identity + (f"/best of {self.candidates}{names}" if self.candidates > 1 else "")

    def with_in_domain(self, planner: LatentVideoPlanner) -> BestOfN:
        """Return the same choice among plans of the planner with that part exchanged."""
        inner: Any = self.planner
        return BestOfN(inner.with_in_domain(planner), self.scorer, self.candidates, self.adaptations)

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        """Return the best of the candidates for each observation; see `robot.core.protocols.Planner.plan`."""
        count, number = len(observations), self.candidates
        fitting = len(instructions) == len(seeds) == count and (settings is None or len(settings) == count)
        if number == 1 or count == 0 or not fitting:  # the planner says what does not fit, in the caller's numbers
            return self._drawing[0].plan(observations, instructions, seeds, settings)
        asked = [observation for observation in observations for _ in range(number)]
        words = [instruction for instruction in instructions for _ in range(number)]
        drawn_from = [each for seed in seeds for each in candidate_seeds(seed, number)]
        chosen_settings = None if settings is None else [each for each in settings for _ in range(number)]
        whose = [place % number % len(self._drawing) for place in range(len(asked))]
        plans = plan_by(self._drawing, whose, asked, words, drawn_from, chosen_settings)
        scores = np.asarray(self.scorer.score(self.planner, asked, plans), np.float64)
        if scores.shape != (len(plans),) or not np.isfinite(scores).all():
            raise ValueError(f"The scorer gave no finite number for each of {len(plans)} plans, but {scores.tolist()}.")
        best = scores.reshape(count, number).argmax(1)
        chosen = [plans[row * number + int(column)] for row, column in enumerate(best)]
        named = zip(chosen, seeds, strict=True)
        return [dataclasses.replace(plan, seed=seed, planner=self.identity) for plan, seed in named]


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Return `count` seeds: the one given, then others that follow from it."""
    others = np.random.SeedSequence([seed, 0xBE57]).generate_state(count - 1, np.uint64) if count > 1 else ()
    return [seed, *(int(other >> np.uint64(1)) for other in others)]


class TextAlignment:
    """Prefer plans that a planner's own models find likelier with the text than without it.

    A plan's latents are noised; each model denoises them twice, with the text and with the empty one. Its score is by
    how much the text lowers the squared error of ε, the mean over latents, `log_snrs` (of the model's own schedule) and
    `draws` of noise: an estimate of log p(plan | text) − log p(plan), up to the weights of the noise levels. The noise
    is the same for all plans and both texts. Of several composed models the gains are summed with the weights that
    their text scores have at each noise level while planning. Source: Li et al. (2023), "Your diffusion model is
    secretly a zero-shot classifier", which shares noise between the texts too; there all timesteps are drawn, here a
    few levels are fixed.
    """

    def __init__(
        self, log_snrs: Sequence[float] = (-2.0, 0.0, 2.0), draws: int = 1, seed: int = 0, batch: int = 32
    ) -> None:
        if len(log_snrs) == 0 or draws < 1 or batch < 1:
            raise ValueError("Text alignment needs at least one log-SNR, one draw and one plan a batch.")
        self._log_snrs = [float(each) for each in log_snrs]
        self._draws = draws
        self._seed = seed
        self._batch = batch

    @torch.no_grad()
    def score(self, planner: Planner, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> Preferences:
        """Return the alignment of each plan with its instruction, float64 (B,).

        Of a planner around another one its models are asked. Raises ValueError for one that is no latent video planner.
        """
        while isinstance(planner, Around):
            planner = planner.planner
        if not isinstance(planner, Imagining):
            raise ValueError(
                f"Text alignment asks the models that made the plans, and a {type(planner).__name__} shows none: "
                "take another scorer."
            )
        experts = planner.experts
        found = np.zeros(len(plans))
        for start in range(0, len(plans), self._batch):
            some = slice(start, start + self._batch)
            first = planner.encoded(np.stack([seen.images[planner.camera] for seen in observations[some]]))
            frames = np.stack([plan.frames for plan in plans[some]])
            latents = planner.encoded(frames.reshape(-1, *frames.shape[2:])).unflatten(0, frames.shape[:2])
            texts = [plan.instruction for plan in plans[some]]
            for model, weight in experts:
                found[some] += self.alignment(model, latents, first, texts, weight).double().cpu().numpy()
        return found

    def alignment(
        self,
        model: VideoScore,
        latents_BFChw: Tensor,
        first_BChw: Tensor,
        texts: Sequence[str],
        weight: Weight = lambda log_snr: 1.0,
    ) -> Tensor:
        """Return by how much a text lowers a model's error, (B,), on latents of frames and of the first frame.

        `weight`: how much each noise level counts; where it is 0 the model is not asked.
        """
        terms = model.parametrisation
        clip = terms.clip(latents_BFChw, first_BChw)
        count = len(clip)
        if not any(map(weight, self._log_snrs)):
            return torch.zeros(count, device=clip.device)
        denoise, every = ClipDenoiser(model, first_BChw), range(count)
        generator = torch.Generator().manual_seed(self._seed)
        total = torch.zeros(count, device=clip.device)
        for log_snr in self._log_snrs:
            signal, sigma = terms.schedule.factors(log_snr)
            for _ in range(self._draws):
                noise = torch.randn(clip.shape[1:], generator=generator).to(clip.device)
                if weight(log_snr) == 0.0:
                    continue
                noisy = signal * clip + sigma * noise
                output = denoise(noisy, log_snr, [*every, *every], [*texts, *[""] * count])
                _, epsilon = terms.split(output, torch.cat([noisy, noisy]), log_snr)
                errors = (epsilon - noise).square().flatten(1).mean(1)
                total += weight(log_snr) * (errors[count:] - errors[:count])
        return total / (len(self._log_snrs) * self._draws)


class Judged:
    """Prefer plans that a judge of episodes calls a success, as if what is imagined had happened.

    The judge is shown an episode of the frame planned from and the imagined ones, through `camera`, in which nothing is
    known of the robot but those pictures: a judge that needs more, such as ground truth, cannot be asked.
    """

    def __init__(self, judge: RewardModel, camera: str = "corner2") -> None:
        self._judge = judge
        self._camera = camera

    def score(self, planner: Planner, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> Preferences:
        """Return the judge's probability of success for each plan, float64 (B,).

        Raises SailError, the judge's own, where it cannot judge by pictures alone.
        """
        pairs = zip(observations, plans, strict=True)
        verdicts = self._judge.judge([imagined_episode(seen, plan, self._camera) for seen, plan in pairs])
        return np.array([verdict.probability for verdict in verdicts])


def imagined_episode(observation: Observation, plan: VideoPlan, camera: str) -> Episode:
    """Return a plan as an episode of T = F steps: the frame planned from, then those imagined, and no actions.

    Proprioception stays what it was in `observation`. Raises ValueError where that has no such camera.
    """
    if camera not in observation.images:
        raise ValueError(f"The observation has no camera {camera!r}, only {sorted(observation.images)}.")
    steps = len(plan)
    nothing = np.zeros((steps, 0), np.float32)
    return Episode(
        task=plan.instruction,
        instruction=plan.instruction,
        robot="imagined",
        frames={camera: np.concatenate([observation.images[camera][None], plan.frames])},
        proprio=np.repeat(observation.proprio[None], steps + 1, axis=0),
        requested=nothing,
        sent=nothing,
        times_s=observation.time_s + plan.stride_s * np.arange(steps + 1, dtype=np.float64),
        outcome=Outcome.TIMEOUT,
        seed=plan.seed,
        spoken=plan.instruction,
    )
