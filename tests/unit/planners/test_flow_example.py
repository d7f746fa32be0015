"""The worked example of docs/adaptation-flow.md: LTX-Video keeps to the seam and gives what its own pipeline gives."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.compose import PriorStrength, composed
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.diffusion_training import train_planner
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Discrete, Parametrisation
from planners.samplers import draw_noise, plan_generators, sample
from planners.scores import ClipDenoiser, VideoScore
from robot.core.data import SamplerSettings
from robot.core.errors import CheckpointError
from robot.core.training import TrainingSettings

DOCS = Path(__file__).parents[3] / "docs"
TEXTS, NEGATIVES = ["push the puck", "open"], ["", "bad"]
WORDS = ("push", "open", "the", "puck", "bad")
FRAMES = 2  # latents of a clip after its first: 16 pictures
STEPS, SCALE, RATE = 4, 3.0, 20.0
SETTINGS = SamplerSettings(steps=3, guidance_scale=2.0)


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ltx_video_example", DOCS / "examples" / "ltx_video.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load_example()


def build_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def build_pipeline() -> Any:
    """Return LTX-Video's architecture with few channels and random weights: 8 px and 8 pictures a latent."""
    import diffusers
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        patch_size=1,
    )
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 1.5)
    # Without spread, so that what the pipeline draws from the posterior is its mean.
    vae.encoder.conv_out.conv.weight.data[-1] = 0.0
    vae.encoder.conv_out.conv.bias.data[-1] = -40.0
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=16,
    )
    text = T5Config(
        vocab_size=3 + len(WORDS),
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=1,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )
    pipeline = diffusers.LTXImageToVideoPipeline(
        scheduler=scheduler,
        vae=vae.eval(),
        text_encoder=T5EncoderModel(text).eval(),
        tokenizer=build_tokenizer(),
        transformer=transformer.eval(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return build_pipeline()


@pytest.fixture
def score(pipeline: Any) -> Any:
    return EXAMPLE.LTXVideoScore(pipeline, RATE)


@pytest.fixture
def autoencoder(pipeline: Any) -> Any:
    return EXAMPLE.LTXAutoencoder(pipeline.vae)


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def run_pipeline(pipeline: Any, **options: Any) -> Tensor:
    """Return the latents that the pipeline itself draws, (B, 1 + F, C, h, w)."""
    images = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2) / 255
    packed = pipeline(
        image=images,
        prompt=TEXTS,
        negative_prompt=NEGATIVES,
        height=32,
        width=32,
        num_frames=1 + 8 * FRAMES,
        frame_rate=RATE,
        num_inference_steps=STEPS,
        guidance_scale=SCALE,
        output_type="latent",
        return_dict=False,
        **options,
    )[0]
    return packed.unflatten(1, (1 + FRAMES, 4, 4)).permute(0, 1, 4, 2, 3)


class OnTheSide:
    """An in-domain text encoder whose words are their lengths."""

    dim = 4
    config = {"kind": "lengths"}  # noqa: RUF012 (never changed)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([float(len(text)) for text in texts])
        return torch.sin(lengths[:, None, None] * torch.arange(1, 5)).expand(-1, 2, -1), torch.ones(
            len(texts), 2, dtype=torch.bool
        )


def build_in_domain(autoencoder: Any) -> LatentVideoPlanner:
    torch.manual_seed(1)
    denoiser = StackedUNet(
        widths=(16, 16), attention=(False, True), frames=FRAMES, latent_channels=8, text_dim=4, heads=2, groups=4
    )
    return LatentVideoPlanner(
        denoiser,
        autoencoder,
        OnTheSide(),
        stride_s=8 / RATE,
        settings=SETTINGS,
        image_size=(32, 32),
        precision="fp32",
        device="cpu",
    )


class ClipWindows:
    """Windows for training in the space of an autoencoder that compresses time: every clip is encoded as a whole."""

    frames = FRAMES
    texts = ("", *TEXTS)

    def __init__(self, autoencoder: Any) -> None:
        clips = torch.from_numpy(np.stack([pictures(1 + 8 * FRAMES, seed) for seed in range(4)]))
        self._latents = autoencoder.encode_clips(clips).numpy()

    def draw(self, rng: np.random.Generator, count: int) -> dict[str, NDArray[Any]]:
        chosen = rng.integers(0, len(self._latents), count)
        clips = self._latents[chosen]
        known = np.ones((count, FRAMES), bool)
        return {"first": clips[:, 0], "future": clips[:, 1:], "known": known, "text": 1 + chosen % 2}


@pytest.fixture
def in_domain(autoencoder: Any, tmp_path: Path) -> LatentVideoPlanner:
    """Return a tiny planner trained for a few steps on clips in LTX-Video's latent space."""
    quick = TrainingSettings(steps=3, batch_size=2, learning_rate=1e-2, warmup_steps=1, ema_decay=0.0, precision="fp32")
    windows: Any = ClipWindows(autoencoder)
    trained, metrics = train_planner(
        build_in_domain(autoencoder), windows, tmp_path / "state", quick, progress=lambda *_: None
    )
    assert np.isfinite(metrics["loss"])
    return trained


def test_it_keeps_to_the_seam(score: Any, pipeline: Any) -> None:
    assert isinstance(score, VideoScore)
    assert score.stride_s == pytest.approx(8 / RATE)
    assert score.latent_space == EXAMPLE.LTXAutoencoder(pipeline.vae).identity != score.identity


@torch.no_grad()
def test_stepped_by_diffusers_it_gives_the_pipeline_s_own_latents(score: Any, autoencoder: Any, pipeline: Any) -> None:
    """From the same pictures, texts and seeds, with the pipeline's scheduler and guidance."""
    wanted = run_pipeline(pipeline, generator=plan_generators([3, 4]))
    first = autoencoder.encode(torch.from_numpy(pictures(2)))
    assert torch.allclose(wanted[:, 0], first, atol=1e-5)
    noisy = replayed_noise([3, 4])
    denoise = composed(ClipDenoiser(score, first), None, TEXTS, NEGATIVES, [SCALE] * 2)
    scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(timesteps=pipeline.scheduler.timesteps.tolist(), sigmas=sigmas_before_shift(), mu=shift())
    assert torch.allclose(scheduler.sigmas, pipeline.scheduler.sigmas)
    for timestep in scheduler.timesteps:
        velocity = denoise(noisy, score.parametrisation.schedule.log_snr(float(timestep)))
        noisy = scheduler.step(velocity, timestep, noisy, return_dict=False)[0]
    assert torch.allclose(noisy, wanted[:, 1:], atol=1e-4)


def replayed_noise(seeds: Sequence[int]) -> Tensor:
    """Return the noise (B, F, C, h, w) the pipeline draws: after the posterior's, and channels before frames."""
    drawn = []
    for generator in plan_generators(seeds):
        torch.randn(1, 8, 1, 4, 4, generator=generator)
        drawn.append(torch.randn(1, 8, 1 + FRAMES, 4, 4, generator=generator)[:, :, 1:])
    return torch.cat(drawn).transpose(1, 2)


def sigmas_before_shift() -> list[float]:
    return np.linspace(1.0, 1 / STEPS, STEPS).tolist()


def shift() -> float:
    from diffusers.pipelines.ltx.pipeline_ltx_image2video import calculate_shift

    return float(calculate_shift((1 + FRAMES) * 4 * 4, 1024, 4096, 0.95, 2.05))


@torch.no_grad()
def test_through_our_own_sampler_with_strength_0_it_gives_the_pipeline_s_own_latents(
    score: Any, autoencoder: Any, in_domain: LatentVideoPlanner, pipeline: Any
) -> None:
    """DDIM at a flow's noise levels takes the flow's own steps, whatever terms the flow is asked in."""
    first = autoencoder.encode(torch.from_numpy(pictures(2)))
    shape = (2, FRAMES, *first.shape[1:])
    noise = draw_noise(shape, plan_generators([3, 4]), torch.device("cpu"))
    whole = torch.cat([first[:, None], noise], dim=1)
    wanted = run_pipeline(pipeline, latents=whole.permute(0, 1, 3, 4, 2).flatten(1, 3))
    sigmas = pipeline.scheduler.sigmas[:-1].double().flip(0)
    bars = (1 - sigmas).square() / ((1 - sigmas).square() + sigmas.square())
    terms = Parametrisation("v", Discrete(bars))
    flow, other = ClipDenoiser(score, first, terms), ClipDenoiser(in_domain, first, terms)
    denoise = composed(flow, other, TEXTS, NEGATIVES, [SCALE] * 2, PriorStrength(0.0))
    found = sample(denoise, terms, shape, [3, 4], SamplerSettings(steps=STEPS))
    assert torch.allclose(found, wanted[:, 1:], atol=3e-3)


@torch.no_grad()
def test_each_clip_hears_its_own_first_frame_and_text(score: Any, autoencoder: Any) -> None:
    first = autoencoder.encode(torch.from_numpy(pictures(2)))
    noisy = torch.randn(2, FRAMES, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    base = score.conditioned(first, TEXTS)(noisy, 600.0)
    other = score.conditioned(torch.stack([first[0], first[0]]), TEXTS)(noisy, 600.0)
    assert torch.allclose(other[0], base[0], atol=1e-6)
    changed = (other[1] - base[1]).abs().flatten(1).amax(1)
    assert (changed > 1e-3).all()  # every later latent hears of it
    told = score.conditioned(first, [TEXTS[0], "puck"])(noisy, 600.0)
    assert torch.allclose(told[0], base[0], atol=1e-6)
    assert not torch.allclose(told[1], base[1], atol=1e-4)
    assert not torch.allclose(score.conditioned(first, TEXTS)(noisy, 300.0), base, atol=1e-4)


def test_another_latent_space_is_refused_and_both_are_named(score: Any, in_domain: LatentVideoPlanner) -> None:
    class Pooling:
        identity = "pooling"
        encode = decode = None

    strangers: Any = Pooling()
    with pytest.raises(
        CheckpointError, match=f"autoencoder pooling, .* {score.identity} in that of {score.latent_space}"
    ):
        AdaptedPlanner(in_domain.with_autoencoder(strangers), score)
    with pytest.raises(CheckpointError, match=r"imagines frames 0.4 s apart, .* 0.32 s"):
        AdaptedPlanner(in_domain, EXAMPLE.LTXVideoScore(score.pipeline, 25.0))


@pytest.mark.parametrize("adaptation", ["pa", "ipa", "general"])
def test_composed_with_a_planner_of_its_space_it_imagines_clips(
    score: Any, autoencoder: Any, in_domain: LatentVideoPlanner, adaptation: str
) -> None:
    first = autoencoder.encode(torch.from_numpy(pictures(2)))
    asked: Any = (first, TEXTS, [3, 4], [replace(SETTINGS, guidance_scale=1.0), SETTINGS])
    own = in_domain.draw(*asked)
    silent, mixed = (
        AdaptedPlanner(in_domain, score, adaptation, PriorStrength(strength), "text").draw(*asked)
        for strength in (0.0, 0.5)
    )
    assert torch.equal(silent, own) == (adaptation == "pa")
    assert torch.equal(mixed, silent) == (adaptation == "general")
    assert bool(mixed.isfinite().all())
    clip = autoencoder.decode_clips(torch.cat([first[:, None], mixed], dim=1))
    assert (clip.shape, clip.dtype) == ((2, 1 + 8 * FRAMES, 32, 32, 3), torch.uint8)


def test_its_autoencoder_is_causal_and_decodes_no_latent_alone(
    score: Any, autoencoder: Any, in_domain: LatentVideoPlanner, make_observation: Any
) -> None:
    clip = torch.from_numpy(pictures(1 + 8 * FRAMES))[None]
    latents = autoencoder.encode_clips(clip)
    assert latents.shape == (1, 1 + FRAMES, 8, 4, 4)
    assert torch.allclose(latents[:, 0], autoencoder.encode(clip[:, 0]), atol=1e-5)
    with pytest.raises(ValueError, match="has 1 \\+ 8 F pictures, not 8"):
        autoencoder.encode_clips(clip[:, :8])
    with pytest.raises(ValueError, match="stands for 8 pictures and is not decoded alone: use decode_clips"):
        AdaptedPlanner(in_domain, score).plan([make_observation()], ["open"], [0])


def test_it_is_loaded_from_a_pipeline_s_folder(score: Any, pipeline: Any, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    loaded = EXAMPLE.LTXVideoScore.load(tmp_path, RATE, device="cpu", dtype="float32")
    assert (loaded.identity, loaded.latent_space, loaded.stride_s) == (
        score.identity,
        score.latent_space,
        score.stride_s,
    )


def test_the_document_shows_the_code_under_test_and_its_other_lines_run(
    score: Any, autoencoder: Any, in_domain: LatentVideoPlanner
) -> None:
    document = (DOCS / "adaptation-flow.md").read_text(encoding="utf-8")
    shown, used = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    assert len(shown.splitlines()) > 20
    assert shown in (DOCS / "examples" / "ltx_video.py").read_text(encoding="utf-8")
    names: dict[str, Any] = {
        "torch": torch,
        "picture": pictures(1)[0],
        "AdaptedPlanner": AdaptedPlanner,
        "PriorStrength": PriorStrength,
        "LTXAutoencoder": EXAMPLE.LTXAutoencoder,
        # The two folders that the document names are not here.
        "LTXVideoScore": SimpleNamespace(load=lambda folder, frame_rate: score),
        "LatentVideoPlanner": SimpleNamespace(load=lambda folder, autoencoder: in_domain),
    }
    exec(used, names)
    assert names["autoencoder"].identity == autoencoder.identity
    assert names["clip"].shape == (1, 1 + 8 * FRAMES, 32, 32, 3)


def test_the_in_domain_planner_differs_from_what_it_began_as(autoencoder: Any, in_domain: LatentVideoPlanner) -> None:
    assert in_domain.diffusion == DiffusionSettings()
    assert in_domain.identity != build_in_domain(autoencoder).identity
