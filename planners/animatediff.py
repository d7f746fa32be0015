"""AnimateDiff with SparseCtrl on the first frame, as a model whose score can be composed with another's.

A U-Net of Stable Diffusion with motion modules predicts the noise on a clip of latents; SparseCtrl tells it, in latents
too, what some of the frames look like, here the first. Sources: Guo et al. (2023), "AnimateDiff"; Guo et al. (2023),
"SparseCtrl"; conditioned as `AnimateDiffSparseControlNetPipeline` of the `diffusers` library conditions it, with one
deviation: the frame's latents are the mean of the autoencoder's posterior, which that pipeline draws from.

Where the first frame is. A plan has the F frames *after* the one planned from; AnimateDiff's clip begins *with* it.
With `first_frame="before"` the networks see F + 1 frames: before the F noisy ones stands the frame planned from, to
which noise of the same timestep is added, always the same draw ε₀. That is a frame 0 as in training, and under DDIM the
path of a frame that is known; what is predicted about it is left out. So frame i of a plan is frame i + 1 to
AnimateDiff and frame i to the in-domain model. With `first_frame="within"`, the pipeline's own way, the networks see
the F frames alone and SparseCtrl says that the first of them looks like the frame planned from: plans then begin with a
copy of it.

Time. AnimateDiff knows no seconds between frames (its films had 8 a second), an in-domain planner's are `stride_s`
apart. Frames are matched by their number: how far things move from one to the next is for the mixture to settle.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns, L tokens, D token-state channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from planners.parametrisation import Parametrisation
from planners.prompts import Prompts
from planners.scores import Predict
from robot.core.errors import SailError

FIRST_FRAMES = ("before", "within")
SLICINGS = ("none", "auto", "max")
OFFLOADS = ("none", "model", "sequential")
PRECISIONS = ("auto", "fp16", "bf16", "fp32")


@dataclass(frozen=True, slots=True)
class Economy:
    """Choose how AnimateDiff's networks spend memory and time; only `precision` changes what comes out.

    `precision`: auto, fp16, bf16 or fp32; auto is fp16 on an accelerator, on a CPU bf16 where that is fast. Slicing
    computes attention in parts: `auto` in two, `max` one head at a time. Offloading keeps weights in the machine's own
    memory: `model` has one network at a time on the accelerator, `sequential` one layer. `clips_at_once`: clips given
    to the networks together, of which guidance needs two a plan.
    """

    precision: str = "auto"
    attention_slicing: str = "none"
    offload: str = "none"
    clips_at_once: int = 4

    def __post_init__(self) -> None:
        for name, value, known in (
            ("precision", self.precision, PRECISIONS),
            ("attention_slicing", self.attention_slicing, SLICINGS),
            ("offload", self.offload, OFFLOADS),
        ):
            if value not in known:
                raise ValueError(f"There is no {name} {value!r}; known are {', '.join(known)}.")
        if self.clips_at_once < 1:
            raise ValueError(f"clips_at_once must be at least 1, got {self.clips_at_once}.")


class AnimateDiff:
    """Predict the noise on clips of Stable Diffusion's latents, from a text and the first frame. A `VideoScore`.

    `unet` is a `UNetMotionModel`, `controlnet` a `SparseControlNetModel` that takes latents, both in the dtype they are
    to compute in; they are moved to `device`. `conditioning_scale`: how much SparseCtrl counts. `latent_space`: the
    identity of the autoencoder. The rest is said at the top of this file and in `Economy`.
    """

    frames = None  # any number up to what the motion modules have places for, which is checked when asked

    def __init__(
        self,
        unet: Any,
        controlnet: Any,
        prompts: Prompts,
        parametrisation: Parametrisation,
        identity: str,
        latent_space: str,
        first_frame: str = "before",
        conditioning_scale: float = 1.0,
        economy: Economy = Economy(),
        device: torch.device | None = None,
    ) -> None:
        if first_frame not in FIRST_FRAMES:
            raise ValueError(f"There is no first_frame {first_frame!r}; known are {', '.join(FIRST_FRAMES)}.")
        if not controlnet.config.use_simplified_condition_embedding:
            raise SailError(
                "This SparseCtrl takes pictures of another kind, such as scribbles: take the one for RGB frames, "
                "guoyww/animatediff-sparsectrl-rgb."
            )
        self.device = device or torch.device("cpu")
        self.unet = unet.eval().requires_grad_(False)
        self.controlnet = controlnet.eval().requires_grad_(False)
        self.prompts = prompts
        self.parametrisation = parametrisation
        self.identity = identity
        self.latent_space = latent_space
        self.first_frame = first_frame
        self.conditioning_scale = float(conditioning_scale)
        self.economy = economy
        self.dtype: torch.dtype = unet.dtype
        slice_attention(self.networks, economy.attention_slicing)
        place(self.networks, economy.offload, self.device)

    @property
    def networks(self) -> tuple[Any, Any]:
        """Return SparseCtrl and the U-Net, in the order in which they are asked."""
        return self.controlnet, self.unet

    @property
    def most_frames(self) -> int:
        """Return how many frames a plan can have."""
        places = min(int(network.config.motion_max_seq_length) for network in self.networks)
        return places - 1 if self.first_frame == "before" else places

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the model with first frames and texts filled in; raises SailError for clips it has no places for."""
        states_BLD = self.prompts.encode(texts).to(self.device, self.dtype)
        first = first_BCHW.detach().float().to(self.device)
        drawn_CHW = torch.randn(first.shape[1:], generator=torch.Generator().manual_seed(0)).to(self.device)
        schedule = self.parametrisation.schedule

        @torch.no_grad()
        def predict(noisy_BFCHW: Tensor, timestep: float) -> Tensor:
            count = noisy_BFCHW.shape[1]
            if count > self.most_frames:
                raise SailError(
                    f"This AnimateDiff has places for plans of up to {self.most_frames} frames, not {count}: compose "
                    "it with an in-domain planner of fewer."
                )
            clip = noisy_BFCHW.float().to(self.device)
            if self.first_frame == "before":
                signal, sigma = schedule.factors(schedule.log_snr(timestep))
                clip = torch.cat([(signal * first + sigma * drawn_CHW)[:, None], clip], dim=1)
            size = self.economy.clips_at_once
            parts = zip(clip.split(size), first.split(size), states_BLD.split(size), strict=True)
            epsilon = torch.cat([self._ask(*part, timestep) for part in parts])
            return epsilon[:, -count:].to(noisy_BFCHW.device)

        return predict

    def _ask(self, clip_BFCHW: Tensor, first_BCHW: Tensor, states_BLD: Tensor, timestep: float) -> Tensor:
        """Return the predicted noise, float32 (B, F, C, H, W), on a clip whose frame 0 is to look like `first_BCHW`."""
        sample_BCFHW = clip_BFCHW.transpose(1, 2).to(self.dtype)
        frames = sample_BCFHW.shape[2]
        states = states_BLD.repeat_interleave(frames, dim=0)
        condition = torch.zeros_like(sample_BCFHW)
        condition[:, :, 0] = first_BCHW.to(self.dtype)
        mask = torch.zeros_like(sample_BCFHW[:, :1])
        mask[:, :, 0] = 1
        # the planner around may compute in bf16; these networks have a precision of their own
        with torch.autocast(self.device.type, enabled=False):
            down, middle = self.controlnet(
                sample_BCFHW,
                timestep,
                encoder_hidden_states=states,
                controlnet_cond=condition,
                conditioning_mask=mask,
                conditioning_scale=self.conditioning_scale,
                guess_mode=False,
                return_dict=False,
            )
            (epsilon,) = self.unet(
                sample_BCFHW,
                timestep,
                encoder_hidden_states=states,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )
        return epsilon.float().transpose(1, 2)


def slice_attention(networks: Sequence[Any], slicing: str) -> None:
    """Make every attention layer compute in slices: `auto` in two, `max` one head at a time; `none` as it is."""
    from diffusers.models.attention_processor import Attention

    if slicing == "none":
        return
    for network in networks:
        for module in network.modules():
            if isinstance(module, Attention):
                module.set_attention_slice(1 if slicing == "max" else max(1, module.sliceable_head_dim // 2))


def place(networks: Sequence[Any], offload: str, device: torch.device) -> None:
    """Move networks to a device, or have `accelerate` move them there as they are needed: see `Economy`."""
    from accelerate import cpu_offload, cpu_offload_with_hook

    if offload == "model":
        hooks = [cpu_offload_with_hook(network, device)[1] for network in networks]
        for hook, before in zip(hooks, [hooks[-1], *hooks[:-1]], strict=True):
            hook.hook.prev_module_hook = before  # in a ring: whoever is asked sends away who was asked last
        return
    for network in networks:
        if offload == "sequential":
            cpu_offload(network, device)
        else:
            network.to(device)
