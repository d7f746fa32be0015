"""Adapters: they begin as nothing, learn beside frozen weights, and come back from their folder as trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planners.denoisers import SpaceTimeUNet
from planners.diffusion_training import train_adapters
from planners.latent_video import LatentVideoPlanner
from planners.lora import LoraSettings, adapter_tensors, merged, save_adapters, with_adapters
from planners.windows import LatentCache, Source, WindowSampler
from robot.core.data import SamplerSettings
from robot.core.errors import CheckpointError, SailError
from robot.core.training import TrainingSettings

SMALL = LoraSettings(rank=2, alpha=2.0)


@pytest.fixture
def peft() -> Any:
    return pytest.importorskip("peft")


def quietly(step: int, total: int, metrics: Any) -> None:
    """Show nothing."""


@pytest.mark.usefixtures("peft")
def test_adapters_learn_beside_frozen_weights_and_load_again(
    make_denoiser: Any, autoencoder: Any, text_encoder: Any, make_episode: Any, make_observation: Any, tmp_path: Path
) -> None:
    planner = LatentVideoPlanner(
        make_denoiser(),
        autoencoder,
        text_encoder,
        settings=SamplerSettings(steps=2),
        image_size=(32, 32),
        precision="fp32",
        device="cpu",
    )
    before = planner.save(tmp_path / "base")
    windows = WindowSampler([Source([LatentCache(autoencoder).get(make_episode(length=6))])], frames=3)
    quick = TrainingSettings(steps=3, batch_size=2, learning_rate=1e-2, warmup_steps=1, ema_decay=0.0, precision="fp32")
    tuned, metrics = train_adapters(
        planner, windows, tmp_path / "state", quick, tmp_path / "adapters", SMALL, progress=quietly
    )
    assert np.isfinite(metrics["loss"])
    assert planner.identity == before != tuned.identity
    assert set(tuned.denoiser.state_dict()) == set(planner.denoiser.state_dict())
    moved = {
        name
        for name, tensor in tuned.denoiser.state_dict().items()
        if not torch.equal(tensor, planner.denoiser.state_dict()[name])
    }
    assert moved
    assert all(any(target in name for target in SMALL.targets) and name.endswith(".weight") for name in moved)
    again = LatentVideoPlanner.load(
        tmp_path / "base", autoencoder, text_encoder, tmp_path / "adapters", precision="fp32", device="cpu"
    )
    assert again.identity == tuned.identity
    plans = [each.plan([make_observation()], ["push"], [0])[0] for each in (tuned, again)]
    assert np.array_equal(plans[0].frames, plans[1].frames)
    assert plans[0].planner == tuned.identity


@pytest.mark.usefixtures("peft")
def test_untrained_adapters_change_nothing_and_fit_their_own_planner_alone(make_denoiser: Any, tmp_path: Path) -> None:
    plain = make_denoiser()
    beside = with_adapters(plain, SMALL)
    given = torch.randn(1, 3, 4, 8, 8), torch.tensor([5]), torch.randn(1, 4, 8, 8)
    words = torch.randn(1, 6, 12), torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(beside(*given, *words), plain(*given, *words))
    trained = {name for name, parameter in beside.named_parameters() if parameter.requires_grad}
    assert trained == set(adapter_tensors(beside)) != set()
    save_adapters(tmp_path, beside, SMALL, "base")
    assert all(torch.equal(a, b) for a, b in zip(
        merged(plain, "base", tmp_path).state_dict().values(), plain.state_dict().values(), strict=True
    ))  # fmt: skip
    with pytest.raises(CheckpointError, match="sit on planner base, not on another"):
        merged(plain, "another", tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    about["config"]["lora"]["rank"] = 3
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="for another architecture"):
        merged(plain, "base", tmp_path)


@pytest.mark.usefixtures("peft")
def test_adapters_sit_on_a_space_time_denoiser_too_on_its_convolutions_along_time_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = SpaceTimeUNet(widths=(16, 16), attention=(False, True), frames=3, text_dim=12, heads=2, groups=4)
    beside = with_adapters(plain, SMALL)
    names = set(adapter_tensors(beside))
    for part in ("down.0.space.conv1", "down.0.time.conv1.2", "down.1.along.block.attn1.to_out.0"):
        assert {f"{part}.lora_A.default.weight", f"{part}.lora_B.default.weight"} <= names
    for name, parameter in beside.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapters(tmp_path, beside, SMALL, "base")
    given = torch.randn(1, 3, 4, 8, 8), torch.tensor([5]), torch.randn(1, 4, 8, 8)
    words = torch.randn(1, 6, 12), torch.ones(1, 6, dtype=torch.bool)
    for network in (plain, beside):
        torch.nn.init.normal_(network.leave[-1].weight, std=0.1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = merged(plain, "base", tmp_path)(*given, *words)
        assert torch.allclose(found, beside.eval()(*given, *words), atol=1e-4)
        assert not torch.allclose(found, plain.eval()(*given, *words), atol=1e-3)
    with pytest.raises(ValueError, match="No layer of this denoiser is called nothing"):
        with_adapters(plain, LoraSettings(targets=("nothing",)))


def test_without_peft_it_says_what_to_install(make_denoiser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(SailError, match=r"pip install 'sail-stack\[lora\]'"):
        with_adapters(make_denoiser(), SMALL)


def test_adapters_of_no_rank_are_refused() -> None:
    with pytest.raises(ValueError, match="rank from 1 up"):
        LoraSettings(rank=0)
