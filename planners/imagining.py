"""Imagine through an autoencoder: encode the frames planned from, draw latents of clips from noise, decode them.

Axes: B plans, F frames, C latent channels, h and w latent rows and columns, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planners.autoencoder import Autoencoder
from planners.compose import PriorStrength, composed, text_weights
from planners.parametrisation import Parametrisation
from planners.samplers import sample
from planners.scores import ClipDenoiser, VideoScore
from planners.words import sampled_for
from robot.core.data import Observation, SamplerSettings, VideoPlan, View

Weight = Callable[[float], float]
"""`weight(log_snr) -> weight` that a model's text score has at a log-SNR of its own schedule."""


def pick_device(device: str) -> torch.device:
    """Return the device named; "auto" is an accelerator where there is one, else the CPU.

    Raises ValueError where there is no such device.
    """
    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as problem:
            first = str(problem).splitlines()[0]
            raise ValueError(f"There is no device {device!r} here ({first}): say auto or cpu.") from None
        return torch.device(device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


class Imagining:
    """Imagine with one model, or with two whose scores are composed; what is planned with says the subclass.

    `camera`: the one planned from. `image_size`: (H, W) of its pictures. `stride_s`: seconds between two frames.
    `guidance_interval`: the part of the timesteps (low, high in 0–1, 1 the noisiest) in which guidance is applied.
    `strength` and `normalisation`: see `planners.compose`.
    """

    autoencoder: Autoencoder
    camera: str
    stride_s: float
    settings: SamplerSettings
    image_size: tuple[int, int]
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    strength = PriorStrength()
    normalisation = "text"
    _device: torch.device
    _bf16: bool

    @property
    def models(self) -> tuple[VideoScore, VideoScore | None]:
        """Return the model that is sampled from and the one that is added to it, if any."""
        raise NotImplementedError

    @property
    def terms(self) -> Parametrisation:
        """Return in which terms is sampled: those of the model that is sampled from, unless it is a flow."""
        return self.models[0].parametrisation

    @property
    def frames(self) -> int:
        """Return how many frames a plan has."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Return the identities of the models in use, the one added after a plus sign; plans carry it."""
        return "+".join(model.identity for model in self.models if model is not None)

    @property
    def experts(self) -> list[tuple[VideoScore, Weight]]:
        """Return the models in use, each with the weight that its text score has at each noise level."""

        def weight(place: int, own: Parametrisation) -> Weight:
            # The strength goes by the noise levels of what is sampled: those of the same noise on the latents.
            return lambda log_snr: text_weights(
                self.strength.at(own.log_snr_in(log_snr, self.terms)), self.normalisation
            )[place]

        base, other = self.models
        if other is None:
            return [(base, lambda log_snr: 1.0)]
        return [(model, weight(place, model.parametrisation)) for place, model in enumerate((base, other))]

    @property
    def view(self) -> View:
        """Return what is looked at and how plans are paced."""
        return View(self.camera, self.image_size, self.stride_s, self.frames)

    @property
    def device(self) -> torch.device:
        """Return where it computes."""
        return self._device

    @property
    def bf16(self) -> bool:
        """Return whether its networks compute in bfloat16."""
        return self._bf16

    @torch.no_grad()
    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        """Return one plan per observation, in one batch.

        `seeds` fix each plan's noise independently of its place in the batch. `settings` overrides the planner's own
        per plan; plans that share a sampler and a step count are drawn together. The negative prompt `opposite` is the
        opposite of each plan's instruction, which is what the plan then says. Raises ValueError for an empty
        instruction, lengths that differ, a missing camera or an image of another size than the planner's.
        """
        settings = [self.settings] * len(observations) if settings is None else list(settings)
        self._check(observations, instructions, seeds, settings)
        if not observations:
            return []
        settings = [sampled_for(*each) for each in zip(instructions, settings, strict=True)]
        images = np.stack([observation.images[self.camera] for observation in observations])
        first = self.encoded(images)
        groups: dict[tuple[str, int], list[int]] = {}
        for index, each in enumerate(settings):
            groups.setdefault((each.sampler, each.steps), []).append(index)
        shape = (len(observations), self.frames, *first.shape[1:])
        latents = torch.empty(shape, device=self._device)
        for members in groups.values():
            latents[members] = self.draw(
                first[members],
                [instructions[i] for i in members],
                [seeds[i] for i in members],
                [settings[i] for i in members],
            )
        with self.computing():
            frames = self.autoencoder.decode(latents.flatten(0, 1))
        clips = frames.cpu().numpy().reshape(*shape[:2], *images.shape[1:])
        return [
            VideoPlan(clips[i], self.stride_s, instructions[i], seeds[i], self.identity, settings[i])
            for i in range(len(observations))
        ]

    @torch.no_grad()
    def draw(
        self, first: Tensor, instructions: Sequence[str], seeds: Sequence[int], settings: Sequence[SamplerSettings]
    ) -> Tensor:
        """Return the latents (B, F, C, h, w) of plans that share a sampler and a step count, not decoded.

        `first`, float (B, C, h, w): the latents of the frames planned from.
        """
        (model, added), terms = self.models, self.terms
        last = len(terms.bars) - 1
        low, high = (terms.schedule.log_snr(round(end * last)) for end in reversed(self.guidance_interval))
        with self.computing():
            denoise = composed(
                ClipDenoiser(model, first, terms),
                None if added is None else ClipDenoiser(added, first, terms),
                instructions,
                [each.negative_prompt for each in settings],
                [each.guidance_scale for each in settings],
                self.strength,
                self.normalisation,
                (low, high),
            )
            shape = (len(first), self.frames, *first.shape[1:])
            return terms.latents(sample(denoise, terms, shape, seeds, settings[0], first.device), first)

    @torch.no_grad()
    def encoded(self, images_NHWC: NDArray[np.uint8]) -> Tensor:
        """Return the latents, float32 (N, C, h, w), of pictures, uint8 (N, H, W, 3)."""
        with self.computing():
            return self.autoencoder.encode(torch.from_numpy(images_NHWC)).float().to(self._device)

    def computing(self) -> torch.autocast:
        """Return the context, of this planner's precision, in which its networks run."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    def _check(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings],
    ) -> None:
        count = len(observations)
        if not len(instructions) == len(seeds) == len(settings) == count:
            raise ValueError(
                f"{count} observations need as many instructions, seeds and settings, got {len(instructions)}, "
                f"{len(seeds)} and {len(settings)}."
            )
        for instruction in instructions:
            if not instruction.strip():
                raise ValueError("A plan needs an instruction; the one given is empty.")
        for observation in observations:
            if self.camera not in observation.images:
                raise ValueError(f"The observation has no camera {self.camera!r}, only {sorted(observation.images)}.")
            size = observation.images[self.camera].shape[:2]
            if size != self.image_size:
                raise ValueError(
                    f"The planner takes images of {self.image_size[0]}×{self.image_size[1]} pixels, camera "
                    f"{self.camera!r} gave {size[0]}×{size[1]}; set the camera to that size."
                )
