"""AnimateDiff's architecture with random weights: what it costs does not depend on them, and small it is for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planners.adapted import AdaptedPlanner
from planners.animatediff import AnimateDiff, Economy
from planners.animatediff_weights import dtype_for, quiet_diffusers
from planners.autoencoder import FrameAutoencoder
from planners.compose import PriorStrength
from planners.denoisers import Denoiser
from planners.imagining import pick_device
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Discrete, Parametrisation
from planners.prompts import RandomPrompts
from planners.text import MiniLM
from robot.core.data import SamplerSettings
from robot.core.training import Precision

DOWN = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
UP = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
THRIFTLESS = Economy()
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


@dataclass(frozen=True, slots=True)
class Shape:
    """Hold how wide the networks are; the defaults are Stable Diffusion 1.5's, of 4 latent channels in both shapes.

    All widths must be multiples of `groups`, those of the group norms, and of the U-Net well above it: SparseCtrl sees
    nothing in frames but the first, and the norm of one channel that is constant there would only magnify rounding.
    `mid_block`: whether there are motion modules in the middle of the U-Net, as AnimateLCM has and AnimateDiff v1-5-3
    has not.
    """

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    text_dim: int = 768
    tokens: int = 77
    autoencoder_widths: tuple[int, ...] = (128, 256, 512, 512)
    groups: int = 32
    mid_block: bool = False


SHAPES = {"full": Shape(), "tiny": Shape((32, 32, 32, 32), 1, 2, 16, 24, (8, 8, 8, 8), 4)}


def shape_named(size: str) -> Shape:
    """Return a shape by its name; raise ValueError for one that there is not."""
    if size not in SHAPES:
        raise ValueError(f"There is no size {size!r} of AnimateDiff; known are {', '.join(SHAPES)}.")
    return SHAPES[size]


def build_parts(shape: Shape) -> tuple[Any, Any, Any]:
    """Return a `UNet2DConditionModel`, a `MotionAdapter` and a `SparseControlNetModel`, as `diffusers` begins them.

    The library begins SparseCtrl with zeros where it touches the U-Net, so that it changes nothing yet.
    """
    from diffusers import MotionAdapter, SparseControlNetModel, UNet2DConditionModel

    flat = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=shape.widths,
        layers_per_block=shape.layers,
        down_block_types=DOWN,
        up_block_types=UP,
        attention_head_dim=shape.heads,
        cross_attention_dim=shape.text_dim,
        norm_num_groups=shape.groups,
    )
    adapter = MotionAdapter(
        block_out_channels=shape.widths,
        motion_layers_per_block=shape.layers,
        motion_num_attention_heads=shape.heads,
        motion_norm_num_groups=shape.groups,
        use_motion_mid_block=shape.mid_block,
    )
    sparse = SparseControlNetModel(
        block_out_channels=shape.widths,
        layers_per_block=shape.layers,
        attention_head_dim=shape.heads,
        cross_attention_dim=shape.text_dim,
        motion_num_attention_heads=shape.heads,
        norm_num_groups=shape.groups,
    )
    return flat, adapter, sparse


def build_autoencoder(shape: Shape) -> Any:
    """Return an `AutoencoderKL` of Stable Diffusion's architecture."""
    from diffusers import AutoencoderKL

    levels = len(shape.autoencoder_widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.autoencoder_widths,
        layers_per_block=shape.layers,
        norm_num_groups=shape.groups,
        sample_size=512,
        scaling_factor=0.18215,
    )


def build_terms() -> Parametrisation:
    """Return what AnimateDiff predicts, at noise by betas in a straight line."""
    from diffusers import DDIMScheduler

    return Parametrisation("epsilon", Discrete(DDIMScheduler(**BETAS, beta_schedule="linear").alphas_cumprod))


def untrained_animatediff(
    size: str,
    latent_space: str,
    economy: Economy = THRIFTLESS,
    device: str = "auto",
    first_frame: str = "before",
) -> AnimateDiff:
    """Return AnimateDiff of a size, `full` or `tiny`, with random weights."""
    from diffusers import UNetMotionModel

    shape, target = shape_named(size), pick_device(device)
    dtype = dtype_for(economy.precision, target)
    flat, adapter, sparse = build_parts(shape)
    with quiet_diffusers():
        unet = UNetMotionModel.from_unet2d(flat, adapter).to(dtype)
        sparse = sparse.to(dtype)
    return AnimateDiff(
        unet,
        sparse,
        RandomPrompts(shape.text_dim, shape.tokens),
        build_terms(),
        f"animatediff {size} untrained",
        latent_space,
        first_frame,
        economy=economy,
        device=target,
    )


def untrained_adapted(
    denoiser: Denoiser,
    size: str = "full",
    image_size: int = 512,
    adaptation: str = "pa",
    strength: float = 0.1,
    settings: SamplerSettings = SamplerSettings(),  # noqa: B008 (frozen)
    economy: Economy = THRIFTLESS,
    precision: Precision = "auto",
    device: str = "auto",
) -> AdaptedPlanner:
    """Return an in-domain planner and AnimateDiff in Stable Diffusion's latent space, all of it with random weights."""
    autoencoder = FrameAutoencoder.around(build_autoencoder(shape_named(size)), image_size)
    in_domain = LatentVideoPlanner(
        denoiser,
        autoencoder,
        MiniLM(),
        settings=settings,
        image_size=(image_size, image_size),
        precision=precision,
        device=device,
    )
    general = untrained_animatediff(size, autoencoder.identity, economy, device)
    return AdaptedPlanner(in_domain, general, adaptation, PriorStrength(strength), "text")
