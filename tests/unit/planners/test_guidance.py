"""Laws of classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from planners.compose import Denoise, composed
from planners.diffusion import DiffusionSettings
from planners.parametrisation import Parametrisation
from planners.scores import ClipDenoiser, Predict, VideoScore

TERMS = Parametrisation.of(DiffusionSettings())
TEXTS, NEGATIVES = ["push", "pull it", "go"], ["", "not so", "badly done"]


class Recorder:
    """Answer with a number per text and remember how large the batches were; of a model, what guidance asks for."""

    parametrisation = TERMS

    def __init__(self) -> None:
        self.batches: list[int] = []

    def conditioned(self, first: Tensor, texts: Sequence[str]) -> Predict:
        said = torch.tensor([float(sum(map(ord, text))) / 100 for text in texts]).reshape(-1, 1, 1, 1, 1)

        def predict(latents: Tensor, timestep: float) -> Tensor:
            self.batches.append(len(latents))
            return latents * 0.1 + said + first[:, None] + timestep / 1000

        return predict


def guided(
    model: Recorder, first: Tensor, scales: list[float], negatives: Sequence[str] = NEGATIVES, **options: Any
) -> Denoise:
    count, denoiser = len(first), ClipDenoiser(cast(VideoScore, model), first)
    denoise = composed(denoiser, None, TEXTS[:count], negatives[:count], scales, **options)
    return lambda noisy, timestep: denoise(noisy, TERMS.schedule.log_snr(timestep))


def inputs(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 2, 2, generator=generator), torch.randn(count, 2, 4, 2, 2, generator=generator)


def single(first: Tensor, latents: Tensor, texts: Sequence[str]) -> Tensor:
    return Recorder().conditioned(first, texts[: len(first)])(latents, 500)


def test_scale_one_is_the_conditional_prediction_and_costs_half() -> None:
    model, (first, latents) = Recorder(), inputs(3)
    found = guided(model, first, [1.0, 1.0, 1.0])(latents, 500)
    assert model.batches == [3]
    assert torch.equal(found, single(first, latents, TEXTS))


def test_scale_zero_is_the_negative_prediction() -> None:
    first, latents = inputs(2)
    found = guided(Recorder(), first, [0.0, 0.0])(latents, 500)
    assert torch.allclose(found, single(first, latents, NEGATIVES), atol=1e-6)


def test_scales_differ_inside_a_batch_and_only_guided_clips_pay() -> None:
    model, (first, latents) = Recorder(), inputs(3)
    scales = [2.5, 1.0, 0.5]
    found = guided(model, first, scales)(latents, 500)
    assert model.batches == [5]
    conditional, negative = single(first, latents, TEXTS), single(first, latents, NEGATIVES)
    for index, scale in enumerate(scales):
        expected = negative[index] + scale * (conditional[index] - negative[index])
        assert torch.allclose(found[index], expected, atol=1e-5)


def test_a_negative_text_that_says_the_same_changes_nothing() -> None:
    first, latents = inputs(2)
    found = guided(Recorder(), first, [7.0, 3.0], TEXTS)(latents, 500)
    assert torch.allclose(found, single(first, latents, TEXTS), atol=1e-4)


def test_outside_the_interval_there_is_no_guidance() -> None:
    model, (first, latents) = Recorder(), inputs(2)
    interval = TERMS.schedule.log_snr(600), TERMS.schedule.log_snr(300)
    denoise = guided(model, first, [2.0, 2.0], interval=interval)
    for timestep in (299, 300, 600, 601):
        denoise(latents, timestep)
    assert model.batches == [2, 4, 4, 2]


def test_one_scale_a_clip_is_asked_for() -> None:
    with pytest.raises(ValueError, match="guidance scales, got 2, 2 and 1"):
        guided(Recorder(), inputs(2)[0], [1.0])
