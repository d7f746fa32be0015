"""From the command line: an in-domain planner trained in Stable Diffusion's space, then adapted by AnimateDiff."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from planners.adapted import AdaptedPlanner
from planners.animatediff import AnimateDiff
from planners.best_of_n import TextAlignment
from planners.general import GeneralPlanner
from robot.cli.compose import build, compose
from robot.cli.main import main
from robot.core.data import Observation
from robot.core.errors import SailError
from tests.tiny_models import save_tiny_animatediff
from tests.unit.robot.cli.test_train import SIZE, record, trained


def general_pairs(folder: Path) -> list[str]:
    sources = [f"planner.general.{name}={folder / name}" for name in ("base", "motion_adapter", "sparsectrl", "lora")]
    return [*sources, "planner.general.precision=fp32", "planner.device=cpu", "planner.settings.steps=2"]


def planned(planner: Any, text: str = "push it") -> Any:
    seen = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    (plan,) = planner.plan([Observation({"corner2": seen}, np.zeros(4, np.float32), 0.0)], [text], [0])
    assert plan.frames.shape == (8, SIZE, SIZE, 3)
    assert plan.planner == planner.identity
    return plan


@pytest.mark.slow
def test_a_planner_trained_in_stable_diffusion_s_space_is_adapted_by_animatediff(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_animatediff(tmp_path / "weights")
    record(tmp_path, "demonstrations", instruction="go up", steps=10)
    vae = folder / "base" / "vae"
    in_domain = trained(
        capsys,
        *("planner", f"data={tmp_path}", "steps=2", "batch_size=2", f"output={tmp_path / 'planner-sd'}"),
        *("autoencoder=stable_diffusion", f"autoencoder.folder={vae}", f"autoencoder.image_size={SIZE}"),
        *("denoiser.widths=16,16", "denoiser.attention=false,true"),
    )
    own = [f"planner.planner={in_domain}", f"planner.autoencoder={vae}", "planner.precision=fp32"]
    words = ["planner=adapted_animatediff", *own, *general_pairs(folder)]
    plans = {}
    for adaptation in ("in_domain", "pa", "ipa", "general"):
        planner = build(compose("improve", [*words, f"planner.adaptation={adaptation}"]).planner)
        assert isinstance(planner, AdaptedPlanner)
        assert (planner.general is None) == (adaptation == "in_domain")  # it is not read where it is not needed
        plans[adaptation] = planned(planner)
    assert plans["pa"].planner == f"{plans['in_domain'].planner}+{plans['general'].planner}"
    assert "is ready on cpu" in capsys.readouterr().err
    frames = [plan.frames for plan in plans.values()]
    assert not any(np.array_equal(one, two) for place, one in enumerate(frames) for two in frames[place + 1 :])

    other = save_tiny_animatediff(tmp_path / "other", seed=1)
    with pytest.raises(SailError, match=r"in one latent space only: .* take two of the same"):
        build(compose("improve", [*words, f"planner.general.base={other / 'base'}"]).planner)


@pytest.mark.parametrize("name", ["animatediff", "animatelcm"])
def test_a_general_model_plans_alone(name: str, tmp_path: Path) -> None:
    folder = save_tiny_animatediff(tmp_path / "weights")
    words = [f"planner={name}", *general_pairs(folder), "planner.general.lora_file=diffusion_pytorch_model.safetensors"]
    words.append("planner.settings.negative_prompt=bad")  # the tiny tokenizer spells, and has few places
    space = [f"planner.general.autoencoder={folder / 'base'}", f"planner.autoencoder={folder / 'base' / 'vae'}"]
    planner = build(
        compose("improve", [*words, *space, f"planner.image_size={SIZE}", "planner.precision=fp32"]).planner
    )
    assert isinstance(planner, GeneralPlanner)
    assert planner.settings.sampler == {"animatediff": "ddim-linspace", "animatelcm": "lcm"}[name]
    plan = planned(planner)
    seen = Observation({"corner2": plan.frames[0]}, np.zeros(4, np.float32), 0.0)
    assert np.isfinite(TextAlignment().score(planner, [seen], [plan])).all()  # so best_of_n can choose among its plans


def test_missing_weights_are_one_sentence_at_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    folder = save_tiny_animatediff(tmp_path / "weights")
    words = ["planner=animatediff", "planner.general.offline=true", f"planner.autoencoder={folder / 'base' / 'vae'}"]
    assert main(["bench", "planner", *words]) == 2
    said = capsys.readouterr().err
    assert "hf download sd-legacy/stable-diffusion-v1-5" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("around", ["", "best_of_n", "turns"])
def test_what_names_missing_weights_is_a_key_there_is_whatever_planner_is_around(
    around: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    inner = "planner@planner.planner" if around else "planner"
    words = [*([f"planner={around}"] if around else []), f"{inner}=animatediff"]
    place = inner.rpartition("@")[2]
    config = compose("improve", [*words, f"{place}.general.offline=true"])
    with pytest.raises(SailError) as refused:
        build(OmegaConf.select(config, place).general)()
    named = re.findall(r"(planner\.[\w.]+)=FOLDER", str(refused.value))
    assert f"{place}.general.base" in named
    compose("improve", [*words, f"{place}.general.base={tmp_path}"])


@pytest.mark.slow
def test_untrained_animatediff_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "planner=animatediff_random",
        "planner.size=tiny",
        f"planner.image_size={SIZE}",
        "planner.settings.steps=2",
    ]
    small = ["planner.denoiser.widths=16,32,32", "planner.device=cpu", "planner.economy.precision=fp32"]
    assert main(["bench", "composition", *words, *small, "ways=pa,general", "batches=1", "repeats=1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for record_ in result["records"]:
        assert min(record_[f"{part}_ms"] for part in ("encode", "general", "decode")) > 0
    assert result["meta"]["parameters"]["general"] > 100_000


def test_the_full_size_is_stable_diffusion_s() -> None:
    import torch
    from diffusers import UNetMotionModel

    from planners.animatediff_untrained import SHAPES, build_autoencoder, build_parts

    with torch.device("meta"):
        flat, adapter, sparse = build_parts(SHAPES["full"])
        vae = build_autoencoder(SHAPES["full"])
        moving = UNetMotionModel.from_unet2d(flat, adapter, load_weights=False)
    count = {
        "flat": flat, "adapter": adapter, "sparse": sparse, "vae": vae, "moving": moving
    }  # fmt: skip
    millions = {name: round(sum(each.numel() for each in made.parameters()) / 1e6) for name, made in count.items()}
    assert (millions["flat"], millions["vae"]) == (860, 84)
    assert millions["moving"] == millions["flat"] + millions["adapter"]
    assert millions["adapter"] == 417 and millions["sparse"] == 497  # 1.67 and 1.99 GB, as on the hub
    assert AnimateDiff.frames is None
