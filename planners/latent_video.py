"""Plan by latent video diffusion: encode the frame, draw a clip of latents for the text, decode it.

Axes: B plans, F frames, C latent channels, h and w latent rows and columns, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from planners.autoencoder import Autoencoder, FrameAutoencoder
from planners.denoisers import Denoiser, denoiser_from
from planners.diffusion import DiffusionSettings
from planners.imagining import Imagining, pick_device
from planners.lora import merged
from planners.parametrisation import Parametrisation
from planners.samplers import build_scheduler
from planners.scores import Predict
from planners.text import TextEncoder, text_encoder_from
from robot.core.checkpoints import identity_of, load_into, load_model, save_model
from robot.core.data import SamplerSettings
from robot.core.errors import CheckpointError
from robot.core.training import Precision, resolve_precision

KIND = "latent-video-planner"


class LatentVideoPlanner(Imagining):
    """Imagine the next seconds of a task as video, in the latent space of an autoencoder. A `Planner`.

    It is a `VideoScore`, too: its denoiser's score can be composed with another's.

    `camera`: the one planned from. `stride_s`: seconds between two frames of a plan. `settings`: how plans are sampled
    unless a call says otherwise. `image_size`: (H, W) the denoiser was trained on. `guidance_interval`: the part of
    the timesteps (low, high in 0–1, 1 the noisiest) in which guidance is applied. `precision`: auto, bf16 or fp32.
    `compile`: let torch compile the denoiser (slow first plan). `device`: a torch device, or auto.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        diffusion: DiffusionSettings = DiffusionSettings(),  # noqa: B008 (frozen)
        camera: str = "corner2",
        stride_s: float = 0.05,
        settings: SamplerSettings = SamplerSettings(),  # noqa: B008 (frozen)
        image_size: tuple[int, int] = (128, 128),
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        precision: Precision = "auto",
        compile: bool = False,
        device: str = "auto",
    ) -> None:
        if precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"There is no precision {precision!r}; known are auto, bf16 and fp32.")
        if not 0 <= guidance_interval[0] <= guidance_interval[1] <= 1:
            raise ValueError(f"guidance_interval must be two rising numbers in 0–1, got {guidance_interval}.")
        self.parametrisation = Parametrisation.of(diffusion)
        build_scheduler(self.parametrisation, settings)  # raises for settings that cannot work
        self._device = pick_device(device)
        self._bf16 = resolve_precision(precision, self._device)
        self.denoiser = denoiser.eval().to(self._device)
        self.autoencoder = autoencoder.to(self._device) if isinstance(autoencoder, FrameAutoencoder) else autoencoder
        self.text_encoder = text_encoder
        self.diffusion = diffusion
        self.camera = camera
        self.stride_s = stride_s
        self.settings = settings
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.guidance_interval = guidance_interval
        self._call: Callable[..., Tensor] = torch.compile(denoiser) if compile else denoiser
        self._identity = ""
        self._options: dict[str, Any] = {
            "guidance_interval": guidance_interval,
            "precision": precision,
            "compile": compile,
            "device": device,
        }

    @classmethod
    def load(
        cls,
        planner: str | Path,
        autoencoder: str | Path | Autoencoder,
        text_encoder: TextEncoder | None = None,
        adapters: str | Path | None = None,
        **overrides: Any,
    ) -> LatentVideoPlanner:
        """Build a planner from the folder its training saved and its autoencoder (or that one's folder).

        `adapters`: a folder of low-rank adapters trained on it, which are added into its weights (see `planners.lora`).
        `overrides` replace constructor arguments. Raises CheckpointError where the weights do not fit the stored
        architecture or were trained in another autoencoder's latent space.
        """
        stored = load_model(planner, KIND)
        config = stored.config
        if isinstance(autoencoder, (str, Path)):
            autoencoder = FrameAutoencoder.load(autoencoder, int(config.get("image_size", [512])[0]))
        if config.get("autoencoder") != autoencoder.identity:
            raise CheckpointError(
                f"The planner in {planner} works in the latent space of autoencoder {config.get('autoencoder')}, not "
                f"of {autoencoder.identity}; give it the one it was trained with."
            )
        try:
            denoiser = denoiser_from(config["denoiser"])
            arguments: dict[str, Any] = {
                "diffusion": DiffusionSettings(**config["diffusion"]),
                "camera": config["camera"],
                "stride_s": config["stride_s"],
                "settings": SamplerSettings(**config["sampling"]),
                "image_size": tuple(config["image_size"]),
            }
        except (KeyError, TypeError, ValueError) as problem:
            raise CheckpointError(
                f"The planner in {planner} is described in a way this version does not read ({problem}); "
                "use the version it was made with, or train it again."
            ) from None
        load_into(denoiser, stored.tensors, planner)
        if adapters:
            denoiser = merged(denoiser, stored.identity, adapters)
        loaded = cls(
            denoiser, autoencoder, text_encoder or text_encoder_from(config["text"]), **(arguments | overrides)
        )
        loaded._identity = "" if adapters else stored.identity
        return loaded

    def save(self, folder: str | Path, card: Mapping[str, Any] | None = None, dtype: torch.dtype | None = None) -> str:
        """Write the denoiser and what `load` needs into `folder`; return the identity it will have when loaded.

        `dtype` is what the weights are stored in; None keeps them as they are.
        """
        tensors = {name: tensor.detach().cpu() for name, tensor in self.denoiser.state_dict().items()}
        return save_model(folder, KIND, self.config, tensors, card, dtype)

    @property
    def config(self) -> dict[str, Any]:
        """Return everything but the weights, as plain values for JSON."""
        return {
            "denoiser": self.denoiser.config,
            "diffusion": asdict(self.diffusion),
            "text": self.text_encoder.config,
            "autoencoder": self.autoencoder.identity,
            "camera": self.camera,
            "stride_s": self.stride_s,
            "image_size": list(self.image_size),
            "sampling": asdict(self.settings),
        }

    @property
    def identity(self) -> str:
        """Return a short hash of the denoiser's weights; plans carry it."""
        if not self._identity:
            self._identity = identity_of(self.denoiser.state_dict())
        return self._identity

    @property
    def frames(self) -> int:
        """Return how many frames a plan has."""
        return self.denoiser.frames

    @property
    def latent_space(self) -> str:
        """Return the identity of the autoencoder."""
        return self.autoencoder.identity

    @property
    def models(self) -> tuple[LatentVideoPlanner, None]:
        """Return the planner itself, with nothing added."""
        return self, None

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the denoiser with first frames and texts filled in; it computes in the planner's precision."""
        tokens, mask = (each.to(self._device) for each in self.text_encoder.encode(texts))

        def predict(noisy_BFCHW: Tensor, timestep: float) -> Tensor:
            clock = torch.full((len(noisy_BFCHW),), timestep, device=noisy_BFCHW.device)  # whole ones are int64
            with self.computing():
                return self._call(noisy_BFCHW, clock, first_BCHW, tokens, mask)

        return predict

    @property
    def in_domain(self) -> LatentVideoPlanner:
        """Return what is fine-tuned on successes: the planner itself."""
        return self

    def with_in_domain(self, planner: LatentVideoPlanner) -> LatentVideoPlanner:
        """Return the planner that is in force once `planner` has been fine-tuned: that one."""
        return planner

    def loaded_from(self, folder: str | Path) -> LatentVideoPlanner:
        """Return a planner saved in `folder`, with this one's autoencoder, text encoder, sampling and device."""
        return LatentVideoPlanner.load(
            folder, self.autoencoder, self.text_encoder, settings=self.settings, **self._options
        )

    def with_denoiser(self, denoiser: Denoiser, diffusion: DiffusionSettings | None = None) -> LatentVideoPlanner:
        """Return the same planner with other weights, and the diffusion they are trained for where it is another."""
        return self._with(denoiser, self.autoencoder, diffusion)

    def with_autoencoder(self, autoencoder: Autoencoder) -> LatentVideoPlanner:
        """Return the same planner around another object for the same autoencoder, such as one that is timed."""
        same = self._with(self.denoiser, autoencoder)
        same._identity = self._identity
        return same

    def _with(
        self, denoiser: Denoiser, autoencoder: Autoencoder, diffusion: DiffusionSettings | None = None
    ) -> LatentVideoPlanner:
        return LatentVideoPlanner(
            denoiser,
            autoencoder,
            self.text_encoder,
            diffusion or self.diffusion,
            self.camera,
            self.stride_s,
            self.settings,
            self.image_size,
            **self._options,
        )
