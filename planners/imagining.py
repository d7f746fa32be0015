"""Imagine through an autoencoder: encode the frames planned from, draw latents of clips, decode them.

Axes: B plans, F frames, C latent channels, h and w latent rows and columns, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from planners.windows import Autoencoder
from planners.words import sampled_for
from robot.core.data import Observation, SamplerSettings, VideoPlan, View

Draw = Callable[[Tensor, Sequence[str], Sequence[int], Sequence[SamplerSettings]], Tensor]
"""`(first_BChw, instructions, seeds, settings) -> latents_BFChw` of plans that share a sampler and a step count."""


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
    """Share what every planner in latent space does around drawing: checks, pictures in, pictures out.

    `camera`: the one planned from. `image_size`: (H, W) of its pictures. `stride_s`: seconds between two frames.
    """

    autoencoder: Autoencoder
    camera: str
    stride_s: float
    settings: SamplerSettings
    image_size: tuple[int, int]
    _device: torch.device
    _bf16: bool

    @property
    def frames(self) -> int:
        """Return how many frames a plan has."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Return a short hash of the weights; plans carry it."""
        raise NotImplementedError

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
        chosen = [self.settings] * len(observations) if settings is None else list(settings)
        return self.imagine(observations, instructions, seeds, chosen, self.draw, self.identity)

    def draw(
        self, first: Tensor, instructions: Sequence[str], seeds: Sequence[int], settings: Sequence[SamplerSettings]
    ) -> Tensor:
        """Return the latents (B, F, C, h, w) of plans that share a sampler and a step count, not decoded.

        `first`, float (B, C, h, w): the latents of the frames planned from.
        """
        raise NotImplementedError

    @torch.no_grad()
    def imagine(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings],
        draw: Draw,
        identity: str,
    ) -> list[VideoPlan]:
        """Return plans as `plan` does, their latents drawn by `draw` and marked with the `identity` of what drew them.

        Frames are encoded and decoded here, whoever draws in between.
        """
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
            latents[members] = draw(
                first[members],
                [instructions[i] for i in members],
                [seeds[i] for i in members],
                [settings[i] for i in members],
            )
        with self.computing():
            frames = self.autoencoder.decode(latents.flatten(0, 1))
        clips = frames.cpu().numpy().reshape(*shape[:2], *images.shape[1:])
        return [
            VideoPlan(clips[i], self.stride_s, instructions[i], seeds[i], identity, settings[i])
            for i in range(len(observations))
        ]

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
