from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from robot.cli.main import main
from robot.core.errors import SailError
from robot.rollouts.rollout import Attempt, RolloutSettings, SingleRobot, rollout
from sim.expert_policy import ExpertPolicy
from sim.experts import ScriptedExpert
from sim.metaworld import MetaWorldRobot
from sim.tasks import instruction

TASK = "drawer-close"


def test_what_it_intends_is_what_the_expert_would_do_step_by_step() -> None:
    robot = MetaWorldRobot(TASK, image_size=16)
    attempt = Attempt(4, TASK, instruction(TASK))
    (episode,) = rollout(SingleRobot(robot), ExpertPolicy(), [attempt], RolloutSettings(max_steps=30))
    robot.reset(4)
    expert = ScriptedExpert(TASK, 0)
    followed = []
    for _ in range(30):
        followed.append(robot.act(expert.act(robot)).values)
    np.testing.assert_array_equal(episode.sent, followed)
    assert episode.plans == ()


def test_what_it_cannot_act_on_is_one_sentence() -> None:
    robot, policy = MetaWorldRobot(TASK, cameras=()), ExpertPolicy()
    observation = robot.reset(0)
    with pytest.raises(SailError, match="fifty tasks"):
        policy.begin([observation], ["dance"], [0])
    blind = type(observation)(observation.images, observation.proprio, 0.0)
    with pytest.raises(SailError, match="choose another policy"):
        policy.begin([blind], [instruction(TASK)], [0])
    (intent,) = policy.begin([observation], [instruction(TASK)], [0])
    with pytest.raises(ValueError, match="within their horizon"):
        policy.act([observation], [intent], [intent.horizon])
    with pytest.raises(ValueError, match="at least one step"):
        ExpertPolicy(0)
    policy.close()


@pytest.mark.slow
def test_it_is_evaluated_and_deployed_in_the_loop_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["policy=expert", f"task={TASK}", "robot.image_size=16", "robot.size=2", "robot.workers=1", "--json"]
    assert main(["evaluate", *small, "rollouts=2"]) == 0
    [record] = json.loads(capsys.readouterr().out)["records"]
    assert (record["method"], record["successes"]) == ("expert", 2)
    assert max(record["steps"]) < 60
    assert main(["evaluate", *small, "rollouts=2", "judge=none", "max_steps=60"]) == 0
    [record] = json.loads(capsys.readouterr().out)["records"]
    assert record["steps"] == [60, 60]  # where another judges, no attempt ends by the simulator's success
    where = [f"runs={tmp_path}", f"data={tmp_path}", "iterations=0", "rollouts=2", "learner=frozen"]
    assert main(["improve", *small, *where]) == 0
    [record] = json.loads(capsys.readouterr().out)["iterations"]
    assert record["successes"] == 2 and record["planner"] == "expert"
