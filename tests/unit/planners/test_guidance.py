"""Laws of classifier-free guidance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from planners.guidance import guided


class Recorder:
    """Answer with a number per text and remember how large the batches were."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, latents: Tensor, timesteps: Tensor, first: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        self.batches.append(len(latents))
        said = (tokens.sum(-1) * mask).sum(-1).reshape(-1, 1, 1, 1, 1)
        return latents * 0.1 + said + first[:, None] + timesteps.reshape(-1, 1, 1, 1, 1) / 1000


def arguments(count: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "first_BCHW": torch.randn(count, 4, 2, 2, generator=generator),
        "tokens_BLD": torch.randn(count, 5, 3, generator=generator),
        "mask_BL": torch.ones(count, 5, dtype=torch.bool),
        "negative_tokens_BLD": torch.randn(count, 5, 3, generator=generator),
        "negative_mask_BL": torch.ones(count, 5, dtype=torch.bool),
    }


def single(call: Recorder, given: dict[str, Any], latents: Tensor, negative: bool) -> Tensor:
    tokens = given["negative_tokens_BLD" if negative else "tokens_BLD"]
    mask = given["negative_mask_BL" if negative else "mask_BL"]
    return call(latents, torch.full((len(latents),), 500), given["first_BCHW"], tokens, mask)


def test_scale_one_is_the_conditional_prediction_and_costs_half() -> None:
    call, given, latents = Recorder(), arguments(3), torch.randn(3, 2, 4, 2, 2)
    found = guided(call, **given, scales=[1.0, 1.0, 1.0])(latents, 500)
    assert call.batches == [3]
    assert torch.equal(found, single(call, given, latents, negative=False))


def test_scale_zero_is_the_negative_prediction() -> None:
    call, given, latents = Recorder(), arguments(2), torch.randn(2, 2, 4, 2, 2)
    found = guided(call, **given, scales=[0.0, 0.0])(latents, 500)
    assert torch.allclose(found, single(call, given, latents, negative=True), atol=1e-6)


def test_scales_differ_inside_a_batch_and_only_guided_clips_pay() -> None:
    call, given, latents = Recorder(), arguments(3), torch.randn(3, 2, 4, 2, 2)
    scales = [2.5, 1.0, 0.5]
    found = guided(call, **given, scales=scales)(latents, 500)
    assert call.batches == [5]
    conditional = single(call, given, latents, negative=False)
    negative = single(call, given, latents, negative=True)
    for index, scale in enumerate(scales):
        expected = negative[index] + scale * (conditional[index] - negative[index])
        assert torch.allclose(found[index], expected, atol=1e-5)


def test_a_negative_text_that_says_the_same_changes_nothing() -> None:
    call, given, latents = Recorder(), arguments(2), torch.randn(2, 2, 4, 2, 2)
    given["negative_tokens_BLD"] = given["tokens_BLD"]
    found = guided(call, **given, scales=[7.0, 3.0])(latents, 500)
    assert torch.allclose(found, single(call, given, latents, negative=False), atol=1e-5)


def test_outside_the_interval_there_is_no_guidance() -> None:
    call, given, latents = Recorder(), arguments(2), torch.randn(2, 2, 4, 2, 2)
    denoise = guided(call, **given, scales=[2.0, 2.0], interval=(300, 600))
    for timestep in (299, 300, 600, 601):
        denoise(latents, timestep)
    assert call.batches == [2, 4, 4, 2]


def test_one_scale_a_clip_is_asked_for() -> None:
    with pytest.raises(ValueError, match="as many guidance scales"):
        guided(Recorder(), **arguments(2), scales=[1.0])
