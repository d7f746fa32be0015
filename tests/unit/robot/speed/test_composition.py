"""What adapting a planner costs: every way is measured, and its time is told apart by who spends it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.compose import PriorStrength
from planners.latent_video import LatentVideoPlanner
from robot.cli.main import main
from robot.speed.composition import WAYS, bench_composition
from tests.unit.robot.cli.test_assembly import save_two_planners
from tests.unit.robot.learn.test_finetuning import make_planner

SLOW_S = 0.03


class Slow(torch.nn.Module):
    """A network that takes its time."""

    def forward(self, latents: Tensor, *_: Tensor) -> Tensor:
        time.sleep(SLOW_S)
        return latents * 0.1


def slow(planner: LatentVideoPlanner) -> LatentVideoPlanner:
    planner._call = Slow()
    return planner


@pytest.mark.slow
def test_each_way_is_measured_and_the_slow_model_is_found() -> None:
    small, general = make_planner(), slow(make_planner())
    planner = AdaptedPlanner(small, general, "in_domain", PriorStrength(0.5), "text")
    told: list[str] = []
    result = bench_composition(planner, batches=(2,), repeats=1, candidates=3, progress=told.append)
    assert result == json.loads(json.dumps(result))
    assert [record["way"] for record in result["records"]] == list(WAYS)
    assert told == [f"{way}, batch of 2" for way in WAYS]
    steps, by_way = small.settings.steps, {record["way"]: record for record in result["records"]}
    for way, record in by_way.items():
        # guidance asks the base model about text and negative text in one batch: one call a step
        assert (record["general_ms"] >= 1000 * SLOW_S * steps) == (way != "in_domain")
        assert (record["in_domain_ms"] > 0) == (way != "general")
        assert min(record["encode_ms"], record["decode_ms"]) > 0
        assert (record["score_ms"] > 0) == (way == "best_of_n")
        assert record["candidates"] == (3 if way == "best_of_n" else 1)
        assert record["rest_ms"] > 0
        assert record["batch"] == 2
    assert planner.general is not None  # what was measured is left as it was
    assert planner.base is small


@pytest.mark.slow
def test_a_model_may_stand_in_for_the_general_one() -> None:
    planner = AdaptedPlanner(make_planner(), None, "in_domain")
    with pytest.raises(ValueError, match="no general model to measure"):
        bench_composition(planner, repeats=1)
    assert len(bench_composition(planner, ways=["in_domain"], batches=[1], repeats=1)["records"]) == 1
    other = make_planner()
    torch.nn.init.normal_(other.denoiser.unet.conv_out.weight)
    result = bench_composition(planner, other, ["pa"], [1], 1)
    assert result["general"] == other.identity
    assert result["parameters"]["general"] == result["parameters"]["in_domain"] > 0


def test_what_cannot_be_measured_is_refused() -> None:
    planner = AdaptedPlanner(make_planner(), None, "in_domain")
    with pytest.raises(ValueError, match="no way to plan both; known are in_domain, general"):
        bench_composition(planner, ways=["both"])
    with pytest.raises(ValueError, match="at least one"):
        bench_composition(planner, repeats=0)


@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["general", "stand-in"])
@pytest.mark.slow
def test_it_is_measured_from_the_command_line(own: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = save_two_planners(tmp_path)
    if not own:
        words = [*words[:3], "planner.general=nowhere", "stand_in=16,32"]
    words = ["bench", "composition", *words, "ways=pa,best_of_n", "batches=1", "repeats=1", "candidates=2"]
    assert main([*words, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["way"] for record in records] == ["pa", "best_of_n"]
    assert all(record["general_ms"] > 0 for record in records)


def test_only_an_adapted_planner_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "composition", "planner=tiny"]) == 2
    assert "leave planner=adapted" in capsys.readouterr().err
