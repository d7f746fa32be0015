"""LTX-Video, a flow-matching image-to-video model of diffusers, as the general model of an adapted planner.

Source: HaCohen et al. (2024), "LTX-Video: realtime video latent diffusion", and `LTXImageToVideoPipeline` of diffusers,
whose order of tokens, clock and normalisation this keeps. What it takes to use it is in docs/adaptation-flow.md.

Axes: B clips, F latents of a clip after its first, C latent channels, H and W latent rows and columns (h and w where
pictures of H × W pixels are about, T of them), L tokens, D token-state channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, LTXImageToVideoPipeline
from torch import Tensor

from planners.imagining import pick_device
from planners.parametrisation import Flow, Parametrisation
from planners.scores import Predict
from robot.core.checkpoints import identity_of


class LTXVideoScore:
    """Ask LTX-Video which way noise lies in a clip of latents. A `VideoScore`.

    `frame_rate`: pictures a second of the videos it is to imagine; LTX-Video is told.
    """

    frames: int | None = None  # any number of latents

    def __init__(self, pipeline: LTXImageToVideoPipeline, frame_rate: float = 25.0) -> None:
        """Take the networks of a pipeline, which are frozen; raises ValueError where latents are patched."""
        config = pipeline.transformer.config
        if (config.patch_size, config.patch_size_t) != (1, 1):
            raise ValueError("This example has one token a latent: take an LTX-Video with patches of size 1.")
        for network in (pipeline.transformer, pipeline.text_encoder, pipeline.vae):
            network.eval().requires_grad_(False)
        self.pipeline = pipeline
        self.identity = identity_of(pipeline.transformer.state_dict())
        self.latent_space = identity_of(pipeline.vae.state_dict())
        self.parametrisation = Parametrisation("flow", Flow(pipeline.scheduler.config.num_train_timesteps))
        self.stride_s = pipeline.vae_temporal_compression_ratio / frame_rate
        space = pipeline.vae_spatial_compression_ratio
        self._spacing = (self.stride_s, space, space)  # seconds and pixels between neighbouring tokens
        self._texts: dict[str, tuple[Tensor, Tensor]] = {}

    @classmethod
    def load(
        cls, folder: str | Path, frame_rate: float = 25.0, device: str = "auto", dtype: str = "bfloat16"
    ) -> LTXVideoScore:
        """Read a folder as `LTXImageToVideoPipeline.save_pretrained` writes it; nothing is downloaded or unpickled.

        `dtype`: of all three networks. Identities are those of the weights as they are loaded.
        """
        pipeline = LTXImageToVideoPipeline.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
        )
        return cls(pipeline.to(pick_device(device)), frame_rate)

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the model with first latents and texts filled in: `predict(noisy_BFCHW, timestep) -> velocity_BFCHW`.

        The first latent goes before the noisy ones, at timestep 0 since it bears no noise; the velocity is ε − x0.
        """
        encoded = [self._encoded(text) for text in texts]
        tokens_BLD, mask_BL = (torch.cat(each) for each in zip(*encoded, strict=True))
        transformer = self.pipeline.transformer

        def predict(noisy_BFCHW: Tensor, timestep: float) -> Tensor:
            clip = torch.cat([first_BCHW[:, None], noisy_BFCHW], dim=1).permute(0, 1, 3, 4, 2)  # channels last
            clock = torch.full(clip.shape[:-1], float(timestep), device=transformer.device)
            clock[:, 0] = 0.0
            with torch.autocast(transformer.device.type, enabled=False):  # it computes as it was loaded
                (velocity,) = transformer(
                    hidden_states=clip.flatten(1, 3).to(transformer.device, transformer.dtype),
                    encoder_hidden_states=tokens_BLD,
                    timestep=clock.flatten(1),
                    encoder_attention_mask=mask_BL,
                    num_frames=clip.shape[1],
                    height=clip.shape[2],
                    width=clip.shape[3],
                    rope_interpolation_scale=self._spacing,
                    return_dict=False,
                )
            future = velocity.unflatten(1, clip.shape[1:4]).permute(0, 1, 4, 2, 3)[:, 1:]
            return future.to(noisy_BFCHW.device, noisy_BFCHW.dtype)

        return predict

    def _encoded(self, text: str) -> tuple[Tensor, Tensor]:
        """Return token states (1, L, D) and their mask (1, L) of a text, computed once."""
        if text not in self._texts:
            pipeline = self.pipeline
            found = pipeline.encode_prompt(text, do_classifier_free_guidance=False, device=pipeline.transformer.device)
            self._texts[text] = found[0].to(pipeline.transformer.dtype), found[1]
        return self._texts[text]


class LTXAutoencoder:
    """Encode a picture, or a clip, to the latents that LTX-Video diffuses, normalised per channel, and decode clips.

    The first picture of a clip is a latent of its own; after it each latent stands for `pictures` pictures, 8 in
    LTX-Video. An `Autoencoder` as far as encoding goes: no later latent can be decoded alone.
    """

    def __init__(self, vae: AutoencoderKLLTXVideo) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.identity = identity_of(vae.state_dict())
        self.pictures = int(vae.temporal_compression_ratio)
        self._mean = vae.latents_mean.reshape(-1, 1, 1, 1)
        self._std = vae.latents_std.reshape(-1, 1, 1, 1)

    @torch.no_grad()
    def encode_clips(self, frames_BTHWC: Tensor) -> Tensor:
        """Return latents, float32 (B, 1 + F, C, h, w), of clips, uint8 (B, T, H, W, 3) with T = 1 + `pictures` · F."""
        if frames_BTHWC.shape[1] % self.pictures != 1:
            raise ValueError(f"A clip has 1 + {self.pictures} F pictures, not {frames_BTHWC.shape[1]}.")
        pictures = frames_BTHWC.permute(0, 4, 1, 2, 3).to(self.vae.device, self.vae.dtype) / 127.5 - 1
        latents = self.vae.encode(pictures).latent_dist.mode().float()
        return ((latents - self._mean) / self._std).transpose(1, 2)

    @torch.no_grad()
    def decode_clips(self, latents_BFCHW: Tensor, timestep: float = 0.05) -> Tensor:
        """Return clips, uint8 (B, 1 + `pictures` · F, H, W, 3), of latents (B, 1 + F, C, h, w), the first one's first.

        `timestep`: what the autoencoders from LTX-Video 0.9.1 on are told of the noise that is left.
        """
        latents = (latents_BFCHW.transpose(1, 2).float() * self._std + self._mean).to(self.vae.device, self.vae.dtype)
        told = torch.full((len(latents),), timestep, device=self.vae.device, dtype=self.vae.dtype)
        (pictures,) = self.vae.decode(
            latents, told if self.vae.config.timestep_conditioning else None, return_dict=False
        )
        return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """Return latents, float32 (N, C, h, w), of pictures, uint8 (N, H, W, 3), each the first of its clip."""
        return self.encode_clips(frames[:, None])[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Refuse: raises ValueError."""
        raise ValueError(
            f"A latent of LTX-Video stands for {self.pictures} pictures and is not decoded alone: use decode_clips."
        )
