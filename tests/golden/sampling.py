"""What samplers draw with tiny models of random weights: `python -m tests.golden.sampling` writes sampling.npz anew.

Cases go through planners alone (`draw`, and a scorer's numbers), so that whatever lies beneath may be built otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from planners.adapted import AdaptedPlanner
from planners.animatediff import Economy
from planners.animatediff_untrained import untrained_animatediff
from planners.best_of_n import TextAlignment
from planners.compose import NORMALISATIONS, PriorStrength
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.general import GeneralPlanner
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Flow, Parametrisation
from robot.core.data import Observation, SamplerSettings

FILE = Path(__file__).with_name("sampling.npz")
FRAMES, SIZE = 3, 16
TEXTS, SEEDS = ["push the puck", "open", "turn"], [3, 4, 5]
NEGATIVES, SCALES = ["bad", "", "worse"], [2.5, 1.0, 0.0]


def machine() -> str:
    """Return what the last bits of a network's answer depend on."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


class Pooling:
    """Average 4×4 pixels into a latent of red, green, blue and brightness, in −1…1; decode by repeating pixels."""

    identity = "pooling"

    def encode(self, frames: Tensor) -> Tensor:
        """Return latents (N, 4, h, w)."""
        rgb = functional.avg_pool2d(frames.permute(0, 3, 1, 2).float() / 127.5 - 1, 4)
        return torch.cat([rgb, rgb.mean(1, keepdim=True)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return frames, uint8 (N, H, W, 3)."""
        rgb = functional.interpolate(latents[:, :3].float(), scale_factor=4.0)
        return ((rgb + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


class Words:
    """Give every word random states that depend on the word alone; the empty text is one token."""

    dim = 12
    config: dict[str, Any] = {"kind": "words"}  # noqa: RUF012 (never changed)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states (B, 6, 12) and their mask."""
        states, mask = torch.zeros(len(texts), 6, self.dim), torch.zeros(len(texts), 6, dtype=torch.bool)
        for row, text in enumerate(texts):
            for column, word in enumerate(["", *text.split()]):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
                states[row, column] = torch.from_numpy(np.random.default_rng(seed).normal(size=self.dim)).float()
                mask[row, column] = True
        return states, mask


class Stream:
    """A flow-matching model without weights: it takes clips to be their first frame, a little brighter by the text."""

    identity, latent_space, frames = "stream", "pooling", None
    parametrisation = Parametrisation("flow", Flow())

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Callable[[Tensor, float], Tensor]:
        """Return the model with first frames and texts filled in."""
        said = torch.tensor([len(text) / 50 for text in texts]).reshape(-1, 1, 1, 1, 1)

        def predict(noisy: Tensor, timestep: float) -> Tensor:
            return (noisy - 0.9 * first_BCHW[:, None] - said) / max(timestep / 1000, 1e-3)

        return predict


def planner(seed: int, diffusion: DiffusionSettings, **options: Any) -> LatentVideoPlanner:
    """Return a planner of three frames of 4×4 latents whose last layer is not the zeros it starts from."""
    torch.manual_seed(seed)
    denoiser = StackedUNet(
        widths=(16, 16), attention=(False, True), frames=FRAMES, text_dim=Words.dim, heads=2, groups=4
    )
    torch.nn.init.normal_(denoiser.unet.conv_out.weight, std=0.05)
    return LatentVideoPlanner(
        denoiser, Pooling(), Words(), diffusion, image_size=(SIZE, SIZE), precision="fp32", device="cpu", **options
    )


def pictures() -> NDArray[np.uint8]:
    """Return three pictures of noise to plan from."""
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def drawn(drawing: Any, sampler: str = "ddim", steps: int = 4) -> NDArray[np.float32]:
    """Return the latents (3, F, 4, 4, 4) of three clips: guided, not guided, and of the negative text alone."""
    asked = zip(SCALES, NEGATIVES, strict=True)
    settings = [SamplerSettings(sampler, steps, scale, negative) for scale, negative in asked]
    latents: Tensor = drawing.draw(drawing.encoded(pictures()), TEXTS, SEEDS, settings)
    return latents.numpy()


def plain() -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield what one model draws."""
    for prediction in ("v", "epsilon", "x0"):
        for sampler in ("ddim", "ddim-linspace", "dpm++", "lcm"):
            alone = planner(0, DiffusionSettings("cosine", prediction, scale=1.3))
            yield f"{prediction}, {sampler}", drawn(alone, sampler)
    yield "latents, not changes", drawn(planner(0, DiffusionSettings("scaled_linear", delta=False)))
    yield "zero SNR at the end", drawn(planner(0, DiffusionSettings(zero_terminal_snr=True)), steps=5)
    yield "guided in an interval", drawn(planner(0, DiffusionSettings(), guidance_interval=(0.3, 0.8)), steps=9)
    yield "a flow alone", drawn(GeneralPlanner(Stream(), Pooling(), FRAMES, image_size=(SIZE, SIZE), device="cpu"))
    torch.manual_seed(5)
    diff = untrained_animatediff("tiny", "pooling", Economy("fp32"), "cpu")
    general = GeneralPlanner(diff, Pooling(), FRAMES, image_size=(SIZE, SIZE), precision="fp32", device="cpu")
    yield "AnimateDiff alone", drawn(general, "ddim-linspace", 3)


def two_models() -> tuple[LatentVideoPlanner, LatentVideoPlanner]:
    """Return an in-domain planner and a general one that differ in all that two may differ in."""
    small = planner(0, DiffusionSettings("cosine", "v", scale=1.3), guidance_interval=(0.1, 1.0))
    return small, planner(1, DiffusionSettings("linear", "epsilon", delta=False, scale=1.7))


def without_strength() -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield what a composition draws where the other model does not count."""
    small, general = two_models()
    for adaptation in ("pa", "ipa", "in_domain", "general"):
        for normalisation in NORMALISATIONS:
            for strength in (PriorStrength(0.0), PriorStrength(2.0, "interval", (60.0, 70.0))):
                adapted = AdaptedPlanner(small, general, adaptation, strength, normalisation)
                yield f"{adaptation}, {normalisation}, {strength.shape}", drawn(adapted)
    for adaptation in ("pa", "ipa", "general"):
        yield f"a flow, {adaptation}", drawn(AdaptedPlanner(small, Stream(), adaptation, PriorStrength(0.0)))


def with_strength() -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield what two models draw together, and how the plans of two are scored."""
    small, general = two_models()
    strengths = PriorStrength(0.3), PriorStrength(0.8, "linear"), PriorStrength(0.5, "interval", (-3.0, 0.5))
    for adaptation in ("pa", "ipa"):
        for normalisation in NORMALISATIONS:
            for strength in strengths:
                adapted = AdaptedPlanner(small, general, adaptation, strength, normalisation)
                yield f"{adaptation}, {normalisation}, {strength.shape}", drawn(adapted, steps=6)
        for prediction in ("v", "x0"):
            other = planner(1, DiffusionSettings("scaled_linear", prediction, scale=0.8))
            adapted = AdaptedPlanner(small, other, adaptation, PriorStrength(0.3), "text")
            yield f"{adaptation} with a model of {prediction}", drawn(adapted, "dpm++")
        yield f"{adaptation} with a flow", drawn(AdaptedPlanner(small, Stream(), adaptation, PriorStrength(0.4)))
    seen = [
        Observation({"corner2": np.full((SIZE, SIZE, 3), shade, np.uint8)}, np.zeros(4, np.float32), 0.0)
        for shade in (40, 90, 200)
    ]
    adapted = AdaptedPlanner(small, general, "ipa", PriorStrength(0.5, "linear"), "text")
    plans = adapted.plan(seen, TEXTS, SEEDS, [SamplerSettings(steps=8, guidance_scale=scale) for scale in SCALES])
    yield "text alignment", TextAlignment(draws=2).score(adapted, seen, plans)


KINDS = {"plain": plain, "strength 0": without_strength, "composed": with_strength}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: how a sum is split among several changes its last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def write() -> None:
    """Draw every case and write it down."""
    found = {f"{kind}: {name}": array for kind, cases in KINDS.items() for name, array in cases()}
    np.savez_compressed(FILE, machine=np.array(machine()), **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    write()
