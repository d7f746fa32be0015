"""What every `RewardModel` keeps to: a verdict an episode, and a name that a run is not resumed without."""

from __future__ import annotations

import pytest

from robot.core.protocols import RewardModel
from robot.judges.everything import KeepEverything
from robot.judges.person import Person
from robot.judges.truth import GroundTruth
from tests.fakes import toy_episode

JUDGES: list[RewardModel] = [GroundTruth(), KeepEverything(), Person(lambda question: "s")]


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.source)
def test_it_judges_each_episode_and_says_who_it_is(judge: RewardModel) -> None:
    assert isinstance(judge, RewardModel)
    verdicts = judge.judge([toy_episode([False, True]), toy_episode([True])])
    assert [verdict.source for verdict in verdicts] == [judge.source] * 2
    assert judge.judge([]) == []


def test_no_two_of_them_have_one_identity() -> None:
    assert len({judge.identity for judge in JUDGES}) == len(JUDGES)
