from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robot.core.errors import SailError
from robot.core.protocols import RewardModel
from robot.judges.everything import KeepEverything
from robot.judges.truth import GroundTruth, succeeded
from tests.fakes import toy_episode


def test_truth_is_what_the_simulator_said_at_any_step() -> None:
    episodes = [toy_episode([False, True, False]), toy_episode([False, False]), toy_episode([])]
    verdicts = GroundTruth().judge(episodes)
    assert [verdict.probability for verdict in verdicts] == [1.0, 0.0, 0.0]
    assert {verdict.source for verdict in verdicts} == {"truth"}
    assert [succeeded(episode) for episode in episodes] == [True, False, False]


def test_truth_is_silent_about_an_arm() -> None:
    episode = dataclasses.replace(toy_episode([True]), success=None, robot="panda")
    with pytest.raises(SailError, match="'panda', which knows no ground truth"):
        GroundTruth().judge([episode])


def test_no_filter_keeps_even_a_failure_and_needs_no_truth() -> None:
    failure = toy_episode(np.zeros(3, bool).tolist())
    verdicts = KeepEverything().judge([failure, dataclasses.replace(failure, success=None)])
    assert [(verdict.probability, verdict.source, verdict.success) for verdict in verdicts] == [(1.0, "none", True)] * 2


@pytest.mark.parametrize("judge", [GroundTruth(), KeepEverything()])
def test_judges_keep_the_protocol(judge: RewardModel) -> None:
    assert isinstance(judge, RewardModel)
    assert judge.judge([]) == []
