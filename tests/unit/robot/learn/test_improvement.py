"""SAIL is put together from plain arguments, with the same defaults as on the command line."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robot.cli.compose import build, compose
from robot.core.data import SamplerSettings
from robot.core.errors import SailError
from robot.learn.finetuning import PlannerInForce
from robot.learn.improvement import InverseDynamicsTuning, PlannerTuning, improvement
from robot.learn.sail import SailSettings
from robot.rollouts.rollout import RolloutSettings
from tests.fakes import ToyInverseDynamics, ToyPlanner, ToyPool

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "docs" / "examples" / "improve.py"
SETTINGS = SailSettings("toy", "go right", iterations=1, rollouts=3, rollout=RolloutSettings(max_steps=10))


def test_a_loop_runs_from_models_and_robots(tmp_path: Path) -> None:
    pools: list[ToyPool] = []

    def robots() -> ToyPool:
        pools.append(ToyPool(2))
        return pools[-1]

    models = ToyPlanner({"go right": 1.0}), ToyInverseDynamics()
    with improvement(tmp_path, SETTINGS, robots, *models, planner_tuning=None, inverse_dynamics_tuning=None) as loop:
        records = loop.run()
    assert [record["rollouts"] for record in records] == [3, 3]
    assert len(loop.store.ids()) == 6


def test_robots_that_were_opened_to_be_asked_are_closed_where_the_parts_do_not_fit(tmp_path: Path) -> None:
    closed: list[bool] = []

    class Pool(ToyPool):
        def close(self) -> None:
            closed.append(True)
            super().close()

    parts = SETTINGS, lambda: Pool(1), ToyPlanner(), ToyInverseDynamics()
    refused = pytest.raises(SailError, match="A ToyInverseDynamics cannot be fine-tuned")
    with refused, improvement(tmp_path, *parts):
        pass
    assert closed == [True]


def test_a_planner_samples_as_it_is_set_to_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    planner = build(compose("improve", ["planner=tiny"]).planner)
    planner.settings = SamplerSettings(steps=3, guidance_scale=1.7)
    parts: tuple[Any, ...] = (lambda: ToyPool(1), planner, ToyInverseDynamics())
    with improvement(tmp_path, SETTINGS, *parts, inverse_dynamics_tuning=None) as loop:
        assert loop.settings.sampler == planner.settings
    told = dataclasses.replace(SETTINGS, sampler=SamplerSettings(steps=5))
    with improvement(tmp_path, told, *parts, inverse_dynamics_tuning=None) as loop:
        assert loop.settings.sampler == told.sampler


@pytest.mark.parametrize(
    ("part", "tuning"), [("planner", PlannerTuning()), ("inverse_dynamics", InverseDynamicsTuning())]
)
def test_what_is_usual_here_is_usual_on_the_command_line(part: str, tuning: Any) -> None:
    node = compose("improve").learner[part]
    own = {field.name for field in dataclasses.fields(tuning)} - {"training"}
    assert {name: getattr(tuning, name) for name in own} == {name: node[name] for name in own}
    trained = dataclasses.asdict(tuning.training)
    named = set(trained) & set(node)
    assert {name: trained[name] for name in named} == {name: node[name] for name in named}
    assert {"steps", "learning_rate", "batch_size"} <= named


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="half_life_s=0 must be a positive number"):
        PlannerTuning(half_life_s=0)
    assert PlannerTuning().learner(PlannerInForce(ToyPlanner()), list, 20.0) is None


def test_the_example_in_the_documents_is_short() -> None:
    lines = EXAMPLE.read_text().split('"""', 2)[2].strip().splitlines()
    assert len([line for line in lines if line and not line.startswith(("import ", "from "))]) <= 15


@pytest.mark.slow
def test_the_example_in_the_documents_runs(tmp_path: Path) -> None:
    program = EXAMPLE.read_text().replace("iterations=2, rollouts=20", "iterations=0, rollouts=1")
    program = program.replace("runs/from-python", str(tmp_path / "run"))
    (tmp_path / "improve.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "improve.py")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("0 0 of 1", "0 1 of 1")
