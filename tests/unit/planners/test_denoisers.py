"""What every denoiser must do, and what the default one may cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from planners.denoisers import Denoiser, SpaceTimeUNet, StackedUNet, denoiser_from

TINY: dict[str, Any] = {"widths": [16, 16], "frames": 3, "text_dim": 12, "heads": 2, "groups": 4}
KINDS = [StackedUNet, SpaceTimeUNet]


def build(kind: type[Denoiser], **more: Any) -> Denoiser:
    torch.manual_seed(0)
    denoiser = kind(**{**TINY, "attention": [False, True], **more}).eval()
    for parameter in denoiser.parameters():
        if not parameter.any():  # what starts at zero would hide what comes before it
            torch.nn.init.normal_(parameter, std=0.1)
    return denoiser


def inputs(count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(count, 5, dtype=torch.bool)
    mask[:, 3:] = False
    return [
        torch.randn(count, 3, 4, 8, 8, generator=generator),
        torch.randint(0, 1000, (count,), generator=generator),
        torch.randn(count, 4, 8, 8, generator=generator),
        torch.randn(count, 5, 12, generator=generator),
        mask,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_has_the_clips_shape_and_starts_at_zero(kind: type[Denoiser]) -> None:
    given = inputs()
    with torch.no_grad():
        assert build(kind)(*given).shape == given[0].shape
        assert not kind(**TINY, attention=[False, True])(*given).any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_matters_and_masked_tokens_do_not(kind: type[Denoiser]) -> None:
    denoiser, given = build(kind), inputs()
    with torch.no_grad():
        before = denoiser(*given)
        changed = [
            given[0] + 1,
            (given[1] + 300) % 1000,
            given[2] + 1,
            given[3].index_fill(1, torch.tensor([1]), 3.0),
            given[4].index_fill(1, torch.tensor([1]), False),
        ]
        for place, value in enumerate(changed):
            again = denoiser(*(value if place == i else each for i, each in enumerate(given)))
            assert not torch.allclose(again, before, atol=1e-5), f"input {place} does not matter"
        hidden = given[3].index_fill(1, torch.tensor([3, 4]), 9.0)
        assert torch.allclose(denoiser(*given[:3], hidden, given[4]), before, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_in_the_batch_do_not_matter(kind: type[Denoiser]) -> None:
    denoiser, given = build(kind), inputs(3)
    with torch.no_grad():
        together = denoiser(*given)
        alone = denoiser(*(each[1:2] for each in given))
    assert torch.allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_talk_to_each_other(kind: type[Denoiser]) -> None:
    denoiser, given = build(kind), inputs(1)
    with torch.no_grad():
        before = denoiser(*given)[0, 0]
        given[0] = given[0].clone()
        given[0][0, 2] += 1.0
        assert not torch.allclose(denoiser(*given)[0, 0], before, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_rebuilds_the_denoiser(kind: type[Denoiser]) -> None:
    denoiser, given = build(kind), inputs()
    again = denoiser_from(denoiser.config)
    again.load_state_dict(denoiser.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(*given), denoiser(*given))


def test_every_weight_of_the_space_time_kind_is_trained() -> None:
    denoiser = build(SpaceTimeUNet)
    denoiser(*inputs()).square().mean().backward()
    idle = [name for name, parameter in denoiser.named_parameters() if parameter.grad is None]
    assert idle == []


def test_the_default_stays_within_its_budget() -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in StackedUNet().parameters())
    assert count <= 18_000_000


def test_impossible_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="as many attention flags"):
        StackedUNet(widths=(16, 16), attention=(True,))
    with pytest.raises(ValueError, match="no denoiser of kind 'transformer'"):
        denoiser_from({"kind": "transformer"})
