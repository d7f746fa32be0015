"""What does not fit together is refused before the first attempt."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from policies.pose_network import PoseNetwork, PoseNetworkShape
from policies.pose_tracking import PoseTracking
from robot.cli.assembly import check_fit, exploration_of, instruction_of, inverse_dynamics_learner
from robot.cli.compose import compose
from robot.data import RobotSpec
from robot.errors import SailError
from robot.learn.exploration import Arm
from sim.tasks import INSTRUCTIONS
from tests.fakes import SPEC, ToyPlanner


def robot(rate_hz: float = 40.0, camera: str = "top", size: int = 4) -> RobotSpec:
    action = dataclasses.replace(SPEC.action, rate_hz=rate_hz)
    return dataclasses.replace(SPEC, action=action, cameras={camera: (size, size)})


@pytest.mark.parametrize("action_repeat", [1, 2, 4])
def test_a_rate_at_which_frames_are_whole_steps_apart_is_taken(action_repeat: int) -> None:
    check_fit(ToyPlanner(stride_s=0.05), robot(80 / action_repeat))


@pytest.mark.parametrize("action_repeat", [3, 8])
def test_a_rate_at_which_they_are_not_is_one_sentence(action_repeat: int) -> None:
    with pytest.raises(SailError, match=r"whole number of steps: set robot\.action_repeat"):
        check_fit(ToyPlanner(stride_s=0.05), robot(80 / action_repeat))


def test_a_camera_or_a_size_that_the_planner_cannot_take_is_one_sentence() -> None:
    planner: Any = SimpleNamespace(camera="corner2", image_size=(128, 128), stride_s=0.05)
    check_fit(planner, robot(camera="corner2", size=128))
    with pytest.raises(SailError, match=r"camera 'corner2', and the robot has only top: add it to robot\.cameras"):
        check_fit(planner, robot())
    with pytest.raises(SailError, match=r"128×128 pixels and camera 'corner2' gives 64×64: set robot\.image_size=128"):
        check_fit(planner, robot(camera="corner2", size=64))


def test_a_planner_that_says_nothing_of_itself_is_asked_nothing() -> None:
    check_fit(SimpleNamespace(identity="oracle"), robot(26.7))  # type: ignore[arg-type]


def test_an_instruction_of_blanks_is_refused_and_none_is_the_task_s_own() -> None:
    with pytest.raises(SailError, match="instruction is empty"):
        instruction_of(compose("improve", ["instruction=   "]))
    assert instruction_of(compose("improve", ["task=door-close"])) == INSTRUCTIONS["door-close"]


def test_exploration_offers_the_true_instruction_but_not_as_it_is_asked_anyway() -> None:
    config = compose("improve", ["planner.settings.guidance_scale=2.5", "learner.exploration.guidance_scales=1.5,2.5"])
    exploration = exploration_of(config, "close the drawer")
    assert exploration is not None
    own = exploration.bandit.variants("close the drawer")
    assert own == [
        Arm("close the drawer", "", 1.5),
        Arm("close the drawer", "open the drawer", 1.5),
        Arm("close the drawer", "open the drawer", 2.5),
    ]
    config.learner.exploration.true_instruction = False
    without = exploration_of(config, "close the drawer")
    assert without is not None
    assert "close the drawer" not in without.bandit.instructions


def test_inverse_dynamics_without_a_folder_of_weights_cannot_be_fine_tuned() -> None:
    config = compose("improve", ["task=drawer-close", "inverse_dynamics=tiny"])
    shape = PoseNetworkShape(widths=(8, 8, 16, 16), keypoints=8, hidden=16)
    acting: Any = SimpleNamespace(current=PoseTracking(PoseNetwork(shape)))
    with pytest.raises(SailError, match=r"no folder of weights.*inverse_dynamics\.train=false"):
        inverse_dynamics_learner(config, acting, acting, lambda: (), {}, "")
