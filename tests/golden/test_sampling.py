"""What is sampled stays what it was: plain sampling and strength 0 bit for bit, a composition but for rounding.

On another kind of processor or another version of torch networks round otherwise, so there all of it is near.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from planners.diffusion import DiffusionSettings, alphas_cumprod
from tests.golden.sampling import (
    FILE,
    FRAMES,
    KINDS,
    NEGATIVES,
    SCALES,
    SEEDS,
    TEXTS,
    drawn,
    machine,
    one_thread,
    pictures,
    planner,
)

ROUNDING = 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled_stays_what_it_was(kind: str) -> None:
    with np.load(FILE, allow_pickle=False) as golden, one_thread():
        exact = kind != "composed" and str(golden["machine"]) == machine()
        names = {name.removeprefix(f"{kind}: ") for name in golden if name.startswith(f"{kind}: ")}
        for name, found in KINDS[kind]():
            wanted = golden[f"{kind}: {name}"]
            names.remove(name)
            if exact:
                assert np.array_equal(found, wanted), name
            else:
                clips = tuple(range(1, found.ndim))
                far = np.abs(found - wanted).max(clips) / np.maximum(1.0, np.abs(wanted).max(clips))
                assert far.max() <= ROUNDING, name
    assert not names


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
def test_plain_sampling_is_the_textbook_s_bit_for_bit(prediction: str) -> None:
    """The network in one batch with the negative texts of the clips that are guided, guidance, and diffusers' DDIM."""
    diffusion = DiffusionSettings("scaled_linear", prediction, scale=1.3)
    alone = planner(0, diffusion)
    first = alone.encoded(pictures())
    bars = alphas_cumprod(diffusion).double()
    scheduler = DDIMScheduler(
        trained_betas=(1 - bars / torch.cat([torch.ones(1), bars[:-1]])).tolist(),
        prediction_type={"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}[prediction],
        timestep_spacing="trailing",
        clip_sample=False,
    )
    scheduler.set_timesteps(4)
    guided, scale = [0, 2], torch.tensor(SCALES)[[0, 2], None, None, None, None]
    tokens, mask = alone.text_encoder.encode([*TEXTS, *(NEGATIVES[index] for index in guided)])
    noisy = torch.stack([torch.randn(FRAMES, 4, 4, 4, generator=torch.Generator().manual_seed(s)) for s in SEEDS])
    for timestep in scheduler.timesteps:
        batch, frames = torch.cat([noisy, noisy[guided]]), torch.cat([first, first[guided]])
        both = alone.denoiser(batch, torch.full((5,), int(timestep)), frames, tokens, mask)
        prediction_BFCHW, negative = both[:3].clone(), both[3:]
        prediction_BFCHW[guided] = negative + scale * (prediction_BFCHW[guided] - negative)
        noisy = scheduler.step(prediction_BFCHW, timestep, noisy, return_dict=False)[0]
    assert torch.equal(torch.from_numpy(drawn(alone)), noisy / 1.3 + first[:, None])
