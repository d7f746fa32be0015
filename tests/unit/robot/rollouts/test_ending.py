"""Who ends an attempt, and that nobody but a judge of truth learns what the simulator knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from planners.best_of_n import BestOfN, Judged
from policies.imagine_then_track import ImagineThenTrack
from robot.core.data import Episode, Image, Outcome, Verdict
from robot.core.protocols import ReadsState, SuccessDetector
from robot.episodes.store import EpisodeStore
from robot.judges.asking import judged, reads_truth
from robot.judges.everything import KeepEverything
from robot.judges.person import Person
from robot.judges.truth import GroundTruth
from robot.learn.evaluation import evaluate
from robot.learn.finetuning import PlannerInForce
from robot.learn.sail import SailLoop, SailSettings
from robot.rollouts.rollout import Attempt, RolloutSettings, ending_by, rollout
from sim.oracle import OraclePlanner
from tests.fakes import Chunks, ToyInverseDynamics, ToyLearner, ToyPlanner, ToyPool, toy_episode, toy_policy

SKILLED = {"go right": 0.8}


class Looking:
    """A judge that keeps what it was shown, and likes every other episode."""

    identity = "looking"

    def __init__(self) -> None:
        self.seen: list[Episode] = []

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        self.seen.extend(episodes)
        return [Verdict(float(number % 2), "classifier") for number, _ in enumerate(episodes)]


class Watching(Looking):
    """One that also says, while attempts run, that they have worked once the picture has changed by so much."""

    def __init__(self, by: int = 20) -> None:
        super().__init__()
        self.by = by

    def success(
        self,
        frames: Sequence[Mapping[str, Image]],
        first: Sequence[Mapping[str, Image]],
        instructions: Sequence[str],
    ) -> list[bool]:
        assert set(instructions) == {"go right"}
        return [int(a["top"][0, 0, 0]) - int(b["top"][0, 0, 0]) > self.by for a, b in zip(frames, first, strict=True)]


def knows_nothing(episode: Episode) -> bool:
    """Return whether nothing of the simulator's success is left in an episode."""
    return (
        episode.success is None
        and episode.reward is None
        and episode.states is None
        and episode.outcome is Outcome.TIMEOUT
    )


def test_only_the_judge_of_truth_ends_attempts_by_truth() -> None:
    assert ending_by(GroundTruth()) == "truth"
    assert ending_by(Looking()) == ending_by(KeepEverything()) == ending_by(Person()) == "time"
    assert ending_by(Watching()) == "detector"
    assert isinstance(Watching(), SuccessDetector) and not isinstance(Looking(), SuccessDetector)
    assert reads_truth(GroundTruth()) and not reads_truth(Looking())


def test_a_judge_is_shown_no_success_no_reward_and_no_state() -> None:
    judge = Looking()
    episode = dataclasses.replace(
        toy_episode([False, True]), reward=np.ones(2, np.float32), states=np.ones((3, 2)), episode_id="one"
    )
    judged(judge, [episode])
    assert knows_nothing(judge.seen[0]) and judge.seen[0].episode_id == "one"
    assert judged(GroundTruth(), [episode])[0].success
    stopped = dataclasses.replace(episode, outcome=Outcome.OPERATOR_STOP)
    assert stopped.without_truth().outcome is Outcome.OPERATOR_STOP


@pytest.mark.parametrize("judge", [Looking(), GroundTruth()])
def test_neither_judge_nor_learner_of_a_run_is_told_what_the_simulator_knows(
    judge: Looking | GroundTruth, tmp_path: Path
) -> None:
    planner = ToyPlanner(SKILLED)
    learner = ToyLearner(planner, needs_success=False)
    taught: list[Episode] = []
    update = learner.update

    def watched(episodes: Sequence[Episode], *rest: object) -> dict[str, float]:
        taught.extend([*episodes, episodes[0], *episodes[1:3]])
        return update(episodes, *rest)  # type: ignore[arg-type]

    learner.update = watched  # type: ignore[method-assign,assignment]
    settings = SailSettings("toy", "go right", 1, 6, enough=2.0, rollout=RolloutSettings(max_steps=40))
    store = EpisodeStore(tmp_path / "episodes")
    loop = SailLoop(tmp_path, settings, lambda: ToyPool(3), toy_policy(planner), judge, store, learner)
    records = loop.run()
    stored = [store.load(name) for name in store.ids()]
    assert all(one.success is not None for one in stored)  # it is recorded, for the report
    assert records[0]["success_source"] == "truth" and records[0]["successes"] > 0
    assert len(taught) == 9
    if isinstance(judge, GroundTruth):
        assert any(len(one) < 40 for one in stored) and all(one.success is not None for one in taught)
        return
    assert {len(one) for one in stored} == {40}  # no moment of ending tells anything
    assert {one.outcome for one in stored} == {Outcome.TIMEOUT}
    assert len(judge.seen) == 12 and all(map(knows_nothing, judge.seen))
    assert all(map(knows_nothing, taught))


def test_an_evaluation_ends_by_its_judge() -> None:
    whole = RolloutSettings(max_steps=40)
    truth = evaluate(ToyPool(3), toy_policy(ToyPlanner(SKILLED)), "toy", "go right", range(8), whole)
    assert min(truth["steps"]) < 40
    judge = Looking()
    asked = dataclasses.replace(whole, ends_by="truth")  # what is asked for cannot make it leak
    other = evaluate(ToyPool(3), toy_policy(ToyPlanner(SKILLED)), "toy", "go right", range(8), asked, judge=judge)
    assert set(other["steps"]) == {40} and all(map(knows_nothing, judge.seen))


@pytest.mark.parametrize("in_a_row", [1, 4])
def test_who_detects_success_ends_attempts_once_it_has_seen_it_so_often(in_a_row: int) -> None:
    settings = RolloutSettings(max_steps=40, ends_by="detector", in_a_row=in_a_row)
    attempts = [Attempt(seed, "toy", "go right") for seed in range(5)]
    policy = toy_policy(ToyPlanner({"go right": 1.0}))
    episodes = rollout(ToyPool(2), policy, attempts, settings, detector=Watching())
    for episode in episodes:
        moved = episode.frames["top"][:, 0, 0, 0].astype(int) - int(episode.frames["top"][0, 0, 0, 0]) > 20
        assert episode.outcome is Outcome.SUCCESS
        assert len(episode) == int(np.argmax(moved)) + in_a_row - 1
    never = rollout(ToyPool(2), policy, attempts, settings, detector=Watching(1000))
    assert {(len(one), one.outcome) for one in never} == {(40, Outcome.TIMEOUT)}


def test_detection_is_interrupted_by_a_step_that_does_not_show_it() -> None:
    class Blinking(Watching):
        asked = 0

        def success(self, frames, first, instructions):  # type: ignore[no-untyped-def]
            self.asked += 1
            return [self.asked % 3 != 0] * len(frames)

    settings = RolloutSettings(max_steps=20, ends_by="detector", in_a_row=3)
    (episode,) = rollout(ToyPool(1), toy_policy(), [Attempt(0, "toy", "go right")], settings, detector=Blinking())
    assert episode.outcome is Outcome.TIMEOUT


def test_what_cannot_end_an_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="not by 'luck'"):
        RolloutSettings(ends_by="luck")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in_a_row must be at least 1"):
        RolloutSettings(in_a_row=0)
    with pytest.raises(ValueError, match="end by a detector need one"):
        rollout(ToyPool(1), toy_policy(), [], RolloutSettings(ends_by="detector"))


@pytest.mark.parametrize("reads", [True, False])
def test_only_a_policy_that_says_so_is_shown_the_simulator_s_state(reads: bool) -> None:
    class Nosy(Chunks):
        reads_state = reads
        states: ClassVar[list[object]] = []

        def begin(self, observations, *rest):  # type: ignore[no-untyped-def]
            self.states.extend(observation.state for observation in observations)
            return super().begin(observations, *rest)

        def act(self, observations, *rest):  # type: ignore[no-untyped-def]
            self.states.extend(observation.state for observation in observations)
            return super().act(observations, *rest)

    (episode,) = rollout(ToyPool(1), Nosy(), [Attempt(0, "toy", "go right")], RolloutSettings(max_steps=7))
    assert Nosy.states and all((state is not None) == reads for state in Nosy.states)
    assert episode.states is not None  # it is recorded all the same
    assert all(seen.state is None for seen in (episode.without_truth().observation(0),))


def test_a_planner_that_reads_states_is_shown_them_wherever_it_stands() -> None:
    oracle = OraclePlanner()
    for planner in (oracle, PlannerInForce(oracle), BestOfN(oracle, scorer=Judged(GroundTruth()), candidates=1)):
        policy = ImagineThenTrack(planner, ToyInverseDynamics(), 40.0)
        assert isinstance(policy, ReadsState) and policy.reads_state
    assert not toy_policy().reads_state
