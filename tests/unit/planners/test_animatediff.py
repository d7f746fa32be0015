"""AnimateDiff: what it predicts is what its library's own pipeline does; the first frame counts where it should."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.animatediff import AnimateDiff, Economy
from planners.animatediff_untrained import BETAS, untrained_animatediff
from planners.animatediff_weights import load_animatediff
from planners.autoencoder import FrameAutoencoder
from planners.compose import PriorStrength
from planners.denoisers import StackedUNet
from planners.general import GeneralPlanner
from planners.latent_video import LatentVideoPlanner
from planners.samplers import draw_noise, plan_generators
from robot.core.data import Observation, SamplerSettings
from robot.core.errors import CheckpointError, SailError
from tests.tiny_models import save_tiny_animatediff

SIZE, FRAMES, SEED = 64, 3, 5
WITH_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
TEXT, NEGATIVE = "push it", "bad"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_animatediff(tmp_path_factory.mktemp("animatediff"))


def load(folder: Path, **options: Any) -> AnimateDiff:
    sources = {name: str(folder / name) for name in ("base", "motion_adapter", "sparsectrl")}
    return load_animatediff(**{**sources, "precision": "fp32", "device": "cpu", "say": None, **options})


@pytest.fixture(scope="module")
def loaded(folder: Path) -> AnimateDiff:
    return load(folder)


def in_domain(folder: Path, text_encoder: Any, device: str = "cpu") -> LatentVideoPlanner:
    torch.manual_seed(1)
    denoiser = StackedUNet((16, 16), (False, True), FRAMES, text_dim=text_encoder.dim, heads=2, groups=4)
    torch.nn.init.normal_(denoiser.unet.conv_out.weight, std=0.05)
    autoencoder = FrameAutoencoder.from_diffusers(folder / "base" / "vae", SIZE)
    return LatentVideoPlanner(
        denoiser, autoencoder, text_encoder, image_size=(SIZE, SIZE), precision="fp32", device=device
    )


def pipeline(folder: Path, spacing: str) -> Any:
    """Return the library's own pipeline of the weights in a folder."""
    from diffusers import (
        AnimateDiffSparseControlNetPipeline,
        AutoencoderKL,
        DDIMScheduler,
        MotionAdapter,
        SparseControlNetModel,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTokenizer

    base = folder / "base"
    made = AnimateDiffSparseControlNetPipeline(
        vae=AutoencoderKL.from_pretrained(base / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(base / "unet"),
        motion_adapter=MotionAdapter.from_pretrained(folder / "motion_adapter"),
        controlnet=SparseControlNetModel.from_pretrained(folder / "sparsectrl"),
        scheduler=DDIMScheduler(
            **BETAS, beta_schedule="linear", timestep_spacing=spacing, steps_offset=1, clip_sample=False
        ),
    )
    made.set_progress_bar_config(disable=True)
    return made


def picture(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def known(first_BCHW: Tensor, timestep: int, bars: Tensor) -> Tensor:
    """Return the frame planned from with the noise of a timestep, (B, C, H, W)."""
    noise = torch.randn(first_BCHW.shape[1:], generator=torch.Generator().manual_seed(0))
    return bars[timestep].sqrt() * first_BCHW + (1 - bars[timestep]).sqrt() * noise


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("sampler", "scale", "first_frame"),
    [
        ("ddim-linspace", 2.5, "within"),
        ("ddim-linspace", 2.5, "before"),
        pytest.param("ddim", 2.5, "within", marks=pytest.mark.slow),
        pytest.param("ddim", 1.0, "within", marks=pytest.mark.slow),
    ],
)
def test_with_strength_0_it_samples_what_the_library_s_pipeline_samples(
    folder: Path, text_encoder: Any, sampler: str, scale: float, first_frame: str
) -> None:
    general = load(folder, first_frame=first_frame)
    planner = AdaptedPlanner(in_domain(folder, text_encoder), general, "ipa", PriorStrength(0.0))
    first = planner.in_domain.encoded(picture()[None])
    settings = SamplerSettings(sampler, 4, scale, NEGATIVE)
    ours = planner.draw(first, [TEXT], [SEED], [settings])

    theirs = pipeline(folder, "linspace" if sampler == "ddim-linspace" else "trailing")
    noise = draw_noise(ours.shape, plan_generators([SEED]), torch.device("cpu"))
    bars = theirs.scheduler.alphas_cumprod
    told: dict[str, Any] = {}
    if first_frame == "before":  # the pipeline itself would denoise frame 0: it is told what that is at every step
        theirs.scheduler.set_timesteps(4)
        steps = [int(each) for each in theirs.scheduler.timesteps]
        noise = torch.cat([known(first, steps[0], bars)[:, None], noise], dim=1)

        def tell(_: Any, index: int, __: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
            if index + 1 < len(steps):
                values["latents"][:, :, 0] = known(first, steps[index + 1], bars)
            return values

        told = {"callback_on_step_end": tell}
    from PIL import Image

    wanted = theirs(
        prompt=TEXT,
        negative_prompt=NEGATIVE,
        height=SIZE,
        width=SIZE,
        num_frames=noise.shape[1],
        num_inference_steps=4,
        guidance_scale=scale,
        latents=noise.transpose(1, 2).contiguous(),
        conditioning_frames=[Image.fromarray(picture())],
        controlnet_frame_indices=[0],
        output_type="latent",
        **told,
    ).frames.transpose(1, 2)[:, -FRAMES:]
    assert wanted.std() > 0.1
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


class Spy(torch.nn.Module):
    """A network that remembers what it was asked."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.asked: list[tuple[Tensor, Any, dict[str, Any]]] = []

    def forward(self, sample: Tensor, timestep: Any, **options: Any) -> Any:
        self.asked.append((sample, timestep, options))
        return self.network(sample, timestep, **options)


def test_sparsectrl_is_shown_the_first_frame_and_the_mask_at_frame_0_alone(folder: Path) -> None:
    model = load(folder)
    spy = model.controlnet = Spy(model.controlnet)
    first, noisy = torch.randn(2, 4, 8, 8), torch.randn(2, FRAMES, 4, 8, 8)
    config = spy.network.config
    spy.config = config
    prediction = model.conditioned(first, [TEXT, ""])(noisy, 500)
    assert prediction.shape == noisy.shape
    ((sample, timestep, options),) = spy.asked
    assert timestep == 500 and isinstance(timestep, int)
    torch.testing.assert_close(options["controlnet_cond"][:, :, 0], first)
    assert (options["controlnet_cond"][:, :, 1:] == 0).all()
    assert (options["conditioning_mask"][:, :, 0] == 1).all()
    assert (options["conditioning_mask"][:, :, 1:] == 0).all()
    bars = model.parametrisation.schedule.bars  # type: ignore[union-attr]
    torch.testing.assert_close(sample[:, :, 0], known(first, 500, bars), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sample[:, :, 1:], noisy.transpose(1, 2))


@pytest.mark.parametrize("first_frame", ["before", "within"])
def test_another_first_frame_is_another_prediction_by_sparsectrl_and_by_the_frame_before(
    folder: Path, first_frame: str
) -> None:
    noisy = torch.randn(1, FRAMES, 4, 8, 8)
    one, two = torch.randn(2, 1, 4, 8, 8)

    def change(scale: float) -> float:
        model = load(folder, first_frame=first_frame, conditioning_scale=scale)
        predictions = [model.conditioned(first, [TEXT])(noisy, 400) for first in (one, two)]
        return float((predictions[0] - predictions[1]).abs().mean())

    assert change(1.0) > 1e-3
    # without SparseCtrl only a frame that the U-Net itself sees can tell them apart
    assert (change(0.0) > 1e-4) == (first_frame == "before")


def test_the_text_counts_and_a_timestep_may_lie_between_two(loaded: AnimateDiff) -> None:
    torch.manual_seed(0)
    noisy, first = torch.randn(1, FRAMES, 4, 8, 8), torch.randn(1, 4, 8, 8)
    predict = loaded.conditioned(first, [TEXT])
    assert not torch.equal(predict(noisy, 400), loaded.conditioned(first, ["lift"])(noisy, 400))
    low, middle, high = (predict(noisy, clock) for clock in (400, 400.5, 401))
    assert (middle - (low + high) / 2).abs().mean() < 0.1 * (high - low).abs().mean()


@pytest.mark.parametrize(
    "options",
    [
        {"attention_slicing": "auto"},
        {"attention_slicing": "max"},
        {"offload": "model"},
        {"offload": "sequential"},
    ],
)
def test_economies_of_memory_change_nothing(folder: Path, loaded: AnimateDiff, options: dict[str, Any]) -> None:
    noisy, first = torch.randn(3, FRAMES, 4, 8, 8), torch.randn(3, 4, 8, 8)
    texts = [TEXT, "", "lift"]
    wanted = loaded.conditioned(first, texts)(noisy, 300)
    predict = load(folder, **options).conditioned(first, texts)
    for _ in range(2):
        torch.testing.assert_close(predict(noisy, 300), wanted, rtol=1e-4, atol=1e-4)


def test_clips_may_be_given_one_by_one(folder: Path) -> None:
    noisy, first = torch.randn(3, FRAMES, 4, 8, 8), torch.randn(3, 4, 8, 8)
    predictions = []
    for clips in (4, 2, 1):
        model = load(folder, clips_at_once=clips)
        model.dtype = torch.float64  # in float32 these networks, one pixel small inside, round as the batch is
        for network in model.networks:
            network.double()
        predictions.append(model.conditioned(first, [TEXT, "", "lift"])(noisy, 300))
    torch.testing.assert_close(predictions[1], predictions[0])
    torch.testing.assert_close(predictions[2], predictions[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(folder: Path, loaded: AnimateDiff, precision: str) -> None:
    noisy, first = torch.randn(1, FRAMES, 4, 8, 8), torch.randn(1, 4, 8, 8)
    half = load(folder, precision=precision)
    assert half.identity == loaded.identity
    with torch.autocast("cpu", torch.bfloat16):  # as within a planner that computes in bf16 itself
        prediction = half.conditioned(first, [TEXT])(noisy, 300)
    assert prediction.dtype == torch.float32
    wanted = loaded.conditioned(first, [TEXT])(noisy, 300)
    assert (prediction - wanted).abs().mean() < 0.05 * wanted.abs().mean()


def test_what_cannot_be_asked_is_refused(folder: Path, loaded: AnimateDiff) -> None:
    assert loaded.most_frames == 31
    with pytest.raises(SailError, match="plans of up to 31 frames, not 32"):
        loaded.conditioned(torch.zeros(1, 4, 8, 8), [TEXT])(torch.zeros(1, 32, 4, 8, 8), 1)
    with pytest.raises(SailError, match=r"tokens and CLIP takes 24; say it shorter"):
        loaded.conditioned(torch.zeros(1, 4, 8, 8), ["push it " * 10])
    with pytest.raises(ValueError, match="no first_frame 'after'; known are before, within"):
        untrained_animatediff("tiny", "", device="cpu", first_frame="after")
    for wrong in ({"precision": "int8"}, {"offload": "disk"}, {"attention_slicing": "half"}):
        with pytest.raises(ValueError, match=f"There is no {next(iter(wrong))}"):
            Economy(**wrong)
    with pytest.raises(ValueError, match="at least 1"):
        Economy(clips_at_once=0)
    scribbles = untrained_animatediff("tiny", "", Economy("fp32"), "cpu")
    scribbles.controlnet.register_to_config(use_simplified_condition_embedding=False)
    with pytest.raises(SailError, match="take the one for RGB frames"):
        AnimateDiff(scribbles.unet, scribbles.controlnet, loaded.prompts, loaded.parametrisation, "x", "y")


def test_models_of_two_latent_spaces_are_not_composed(folder: Path, text_encoder: Any) -> None:
    planner = in_domain(folder, text_encoder)
    other = untrained_animatediff("tiny", "anothervae", Economy("fp32"), "cpu")
    with pytest.raises(CheckpointError, match=rf"autoencoder {planner.autoencoder.identity}, .* in that of anothervae"):
        AdaptedPlanner(planner, other)
    with pytest.raises(CheckpointError, match=rf"autoencoder anothervae, not of {planner.autoencoder.identity}"):
        GeneralPlanner(other, planner.autoencoder)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, WITH_CUDA])])
@pytest.mark.parametrize("adaptation", ["pa", "ipa"])
def test_composed_plans_come_from_both(folder: Path, text_encoder: Any, adaptation: str, device: str) -> None:
    small = in_domain(folder, text_encoder, device)
    general = load(folder, device=device)
    observation = Observation({"corner2": picture()}, np.zeros(4, np.float32), 0.0)
    plans = {}
    for strength in (0.0, 0.4):
        planner = AdaptedPlanner(small, general, adaptation, PriorStrength(strength), "text")
        (plans[strength],) = planner.plan([observation], [TEXT], [SEED], [SamplerSettings("ddim", 3, 2.0)])
        assert plans[strength].frames.shape == (FRAMES, SIZE, SIZE, 3)
        assert plans[strength].planner == planner.identity
    assert not np.array_equal(plans[0.0].frames, plans[0.4].frames)
    alone = GeneralPlanner(general, small.autoencoder, FRAMES, image_size=(SIZE, SIZE), precision="fp32", device=device)
    settings = dataclasses.replace(plans[0.0].settings)
    (by_itself,) = alone.plan([observation], [TEXT], [SEED], [settings])
    assert np.array_equal(by_itself.frames, plans[0.0].frames) == (adaptation == "ipa")
    assert by_itself.planner == general.identity
