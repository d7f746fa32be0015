"""Plan with a general text-to-video model alone: no in-domain model beside it, nothing of it trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from planners.autoencoder import Autoencoder, FrameAutoencoder
from planners.diffusion import DiffusionSettings
from planners.imagining import Imagining, pick_device
from planners.parametrisation import Flow, Parametrisation
from planners.samplers import build_scheduler
from planners.scores import VideoScore, model_from, stride_of
from robot.core.data import SamplerSettings
from robot.core.errors import CheckpointError
from robot.core.training import Precision, resolve_precision

FOR_FLOWS = Parametrisation.of(DiffusionSettings("cosine", "v", delta=False))


class GeneralPlanner(Imagining):
    """Imagine with any `VideoScore` and its autoencoder. A `Planner`.

    `frames`: of a plan. `precision`: of the autoencoder, auto, bf16 or fp32; the model computes in its own. A
    flow-matching model is sampled in terms of v under a cosine schedule. The others: see `LatentVideoPlanner`.
    """

    method = "zero_shot_general"

    def __init__(
        self,
        general: VideoScore,
        autoencoder: Autoencoder,
        frames: int = 8,
        camera: str = "corner2",
        stride_s: float = 0.05,
        settings: SamplerSettings = SamplerSettings(),  # noqa: B008 (frozen)
        image_size: tuple[int, int] = (512, 512),
        precision: Precision = "auto",
        device: str = "auto",
    ) -> None:
        """Put a model and an autoencoder together; raises CheckpointError where they do not belong together."""
        if general.latent_space != autoencoder.identity:
            raise CheckpointError(
                f"The general model {general.identity} works in the latent space of autoencoder "
                f"{general.latent_space}, not of {autoencoder.identity}; give it its own."
            )
        if general.frames not in (None, frames):
            raise CheckpointError(
                f"The general model {general.identity} imagines {general.frames} frames, not {frames}."
            )
        own_s = stride_of(general)
        if own_s is not None and not math.isclose(own_s, stride_s, rel_tol=1e-6):
            raise CheckpointError(
                f"The general model {general.identity} imagines frames {own_s:g} s apart, not {stride_s:g} s: set "
                "stride_s to that."
            )
        self._device = pick_device(device)
        self._bf16 = resolve_precision(precision, self._device)
        self.autoencoder = autoencoder.to(self._device) if isinstance(autoencoder, FrameAutoencoder) else autoencoder
        self.general = general
        self._frames = int(frames)
        self.camera = camera
        self.stride_s = stride_s
        self.settings = settings
        self.image_size = (int(image_size[0]), int(image_size[1]))
        build_scheduler(self.terms, settings)  # raises for settings that cannot work

    @classmethod
    def load(
        cls,
        general: VideoScore | Callable[[], VideoScore],
        autoencoder: str | Path | Autoencoder,
        image_size: int = 512,
        **options: Any,
    ) -> GeneralPlanner:
        """Build from a model, or what makes one, and the folder of its autoencoder, for square pictures.

        `options` are the constructor's. Raises ValueError for what is no model and makes none, CheckpointError where
        the two do not belong together.
        """
        side = int(image_size)
        if isinstance(autoencoder, (str, Path)):
            autoencoder = FrameAutoencoder.load(autoencoder, side)
        return cls(model_from(general), autoencoder, image_size=(side, side), **options)

    @property
    def frames(self) -> int:
        """Return how many frames a plan has."""
        return self._frames

    @property
    def models(self) -> tuple[VideoScore, None]:
        """Return the general model, with nothing added."""
        return self.general, None

    @property
    def terms(self) -> Parametrisation:
        """Return in which terms is sampled: the model's own, for a flow v under a cosine schedule."""
        terms = self.general.parametrisation
        return FOR_FLOWS if isinstance(terms.schedule, Flow) else terms
