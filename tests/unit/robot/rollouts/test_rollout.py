from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robot.core.data import Episode, Outcome, SamplerSettings
from robot.core.errors import SailError
from robot.core.protocols import InverseDynamics, Planner, Robot, RobotPool
from robot.rollouts.rollout import (
    Attempt,
    RolloutSettings,
    RolloutTimings,
    SingleRobot,
    plan_seed,
    rollout,
)
from tests.fakes import SPEC, Chunks, Rightward, ToyInverseDynamics, ToyPlanner, ToyPool, ToyRobot, toy_policy

SETTINGS = RolloutSettings(max_steps=50, plan_batch=4, ends_by="truth")


def attempts(count: int, **changes: object) -> list[Attempt]:
    return [dataclasses.replace(Attempt(seed, "toy", "go right"), **changes) for seed in range(count)]  # type: ignore[arg-type]


def run(pool: RobotPool, requests: list[Attempt], skill: float = 0.7, **changes: object) -> list[Episode]:
    planner = ToyPlanner({"go right": skill})
    return rollout(pool, toy_policy(planner), requests, dataclasses.replace(SETTINGS, **changes))  # type: ignore[arg-type]


def same(first: Episode, second: Episode) -> bool:
    return (
        first.seed == second.seed
        and first.outcome == second.outcome
        and np.array_equal(first.proprio, second.proprio)
        and np.array_equal(first.frames["top"], second.frames["top"])
        and [p.plan.seed for p in first.plans] == [p.plan.seed for p in second.plans]
        and all(np.array_equal(p.plan.frames, q.plan.frames) for p, q in zip(first.plans, second.plans, strict=True))
    )


def test_the_fakes_keep_the_protocols() -> None:
    assert isinstance(ToyPool(), RobotPool)
    assert isinstance(SingleRobot(ToyRobot()), RobotPool)
    assert isinstance(ToyRobot(), Robot)
    assert isinstance(ToyPlanner(), Planner)
    assert isinstance(ToyInverseDynamics(), InverseDynamics)


@pytest.mark.parametrize("size", [1, 2, 7, 20])
@pytest.mark.parametrize("plan_batch", [1, 3, 100])
def test_an_episode_depends_on_its_attempt_alone(size: int, plan_batch: int) -> None:
    reference = run(SingleRobot(ToyRobot()), attempts(11))
    again = run(ToyPool(size), attempts(11), plan_batch=plan_batch)
    assert all(same(a, b) for a, b in zip(reference, again, strict=True))
    assert {e.outcome for e in reference} == {Outcome.SUCCESS, Outcome.TIMEOUT}


def test_reordered_requests_give_the_same_episodes() -> None:
    reference = run(ToyPool(3), attempts(6))
    backwards = run(ToyPool(3), attempts(6)[::-1])
    assert all(same(a, b) for a, b in zip(reference, backwards[::-1], strict=True))


def test_plan_seeds_differ_by_attempt_and_plan_and_never_change() -> None:
    seeds = {plan_seed(seed, index) for seed in range(40) for index in range(40)}
    assert len(seeds) == 1600
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert plan_seed(3, 2) == 5737856171534892084
    (episode,) = run(ToyPool(1), [attempts(4)[3]], skill=0.0)
    assert [placed.plan.seed for placed in episode.plans] == [plan_seed(3, i) for i in range(len(episode.plans))]


def test_plans_are_placed_every_executed_frames_worth() -> None:
    (episode,) = run(ToyPool(1), attempts(1), skill=0.0)
    # 6 frames of 0.05 s at 40 Hz are 12 steps.
    assert [placed.step for placed in episode.plans] == [0, 12, 24, 36, 48]
    assert len(episode) == 50


def test_a_plan_shorter_than_the_executed_frames_is_executed_whole() -> None:
    (episode,) = rollout(ToyPool(1), toy_policy(ToyPlanner({}, frames=2)), attempts(1), SETTINGS)
    assert [placed.step for placed in episode.plans][:3] == [0, 4, 8]


def test_success_ends_the_episode_at_once() -> None:
    (episode,) = run(ToyPool(1), attempts(1), skill=1.0)
    assert episode.outcome is Outcome.SUCCESS
    assert episode.success is not None
    assert episode.success.tolist() == [False] * (len(episode) - 1) + [True]
    assert episode.proprio[-1, 0] >= 1.0 > episode.proprio[-2, 0]


def test_unless_truth_ends_it_an_episode_runs_to_its_end_whose_moment_says_nothing() -> None:
    (episode,) = run(ToyPool(1), attempts(1), skill=1.0, ends_by="time")
    assert len(episode) == 50
    assert episode.outcome is Outcome.TIMEOUT
    assert episode.success is not None and episode.success.any()  # it is recorded all the same, for reports
    assert RolloutSettings().ends_by == "time"


def test_the_action_recorded_as_sent_is_the_clipped_one() -> None:
    (episode,) = run(ToyPool(1), attempts(1), skill=1.0)
    assert np.all(episode.requested[:, 0] == 2.0)
    assert np.all(episode.sent[:, 0] == 1.0)
    np.testing.assert_allclose(np.diff(episode.proprio[:, 0]), 0.1, atol=1e-6)


def test_nobody_knowing_success_gives_no_flags_and_a_timeout() -> None:
    (episode,) = run(ToyPool(1, knows_truth=False), attempts(1), skill=1.0)
    assert episode.success is None
    assert episode.outcome is Outcome.TIMEOUT
    assert len(episode) == 50


def test_a_robot_without_succeeded_knows_no_truth() -> None:
    class Arm(ToyRobot):
        succeeded = None  # type: ignore[assignment]

    (episode,) = run(SingleRobot(Arm()), attempts(1), skill=1.0)
    assert episode.success is None


@pytest.mark.parametrize("raising", [False, True])
def test_a_robot_that_breaks_leaves_a_fault_and_the_others_go_on(raising: bool) -> None:
    reference = run(ToyPool(1), attempts(8))
    # Alone in its pool where the whole call raises, for then nobody knows which robot it was.
    episodes = run(ToyPool(1 if raising else 3, breaks={4: 5}, raising=raising), attempts(8))
    assert episodes[4].outcome is Outcome.INFRASTRUCTURE_FAULT
    assert len(episodes[4]) == 5
    assert all(same(a, b) for a, b in zip(reference, episodes, strict=True) if a.seed != 4)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_attempt_that_met_a_fault_is_begun_again_from_its_seed_and_not_for_ever(times: int) -> None:
    class Flaky(ToyPool):
        """Break in the attempt of seed 4, at step 5, so many times."""

        def act(self, actions):  # type: ignore[no-untyped-def]
            answers = super().act(actions)
            for number in list(answers):
                if self.robots[number].seed == 4 and self.robots[number].steps == 6 and self.left > 0:
                    self.left -= 1
                    del answers[number]
            return answers

        left = times

    reference = run(ToyPool(1), attempts(8))
    timings = RolloutTimings()
    seen: list[int] = []
    episodes = rollout(
        Flaky(3),
        toy_policy(ToyPlanner({"go right": 0.7})),
        attempts(8),
        SETTINGS,
        lambda index, *_: seen.append(index),
        timings=timings,
    )
    assert timings.retries == min(times, 2)
    assert sorted(seen) == list(range(8))  # a try that was given up is handed to nobody
    assert (episodes[4].outcome is Outcome.INFRASTRUCTURE_FAULT) is (times == 3)
    assert all(same(a, b) for a, b in zip(reference, episodes, strict=True) if times < 3 or a.seed != 4)


def test_without_retries_the_first_fault_is_the_end() -> None:
    settings = dataclasses.replace(SETTINGS, retries=0)
    timings = RolloutTimings()
    pool = ToyPool(1, breaks={0: 5})
    (episode,) = rollout(pool, toy_policy(), attempts(1), settings, timings=timings)
    assert episode.outcome is Outcome.INFRASTRUCTURE_FAULT
    assert timings.retries == 0
    with pytest.raises(ValueError, match="retries must not be negative"):
        dataclasses.replace(SETTINGS, retries=-1)


def test_a_robot_that_breaks_before_it_moved_still_gives_an_episode() -> None:
    (episode,) = run(ToyPool(1, breaks={0: 0}), attempts(1))
    assert episode.outcome is Outcome.INFRASTRUCTURE_FAULT
    assert episode.sent.shape == (0, 2)
    assert episode.proprio.shape == (1, 2)


def test_a_robot_that_cannot_be_reset_leaves_its_attempts_to_the_others() -> None:
    reference = run(ToyPool(1), attempts(8))
    episodes = run(ToyPool(3, dead=[1]), attempts(8))
    assert all(same(a, b) for a, b in zip(reference, episodes, strict=True))


def test_no_robot_left_is_one_clear_sentence() -> None:
    with pytest.raises(SailError, match=r"No robot of 'toy' can be reset.*robot [01] does not answer"):
        run(ToyPool(2, dead=[0, 1]), attempts(3))


def test_a_bad_action_is_not_taken_for_a_broken_robot() -> None:
    class Mad(ToyInverseDynamics):
        def act(self, observations, handles, steps):  # type: ignore[no-untyped-def]
            return [type(a)(a.values * np.float32("nan")) for a in super().act(observations, handles, steps)]

    with pytest.raises(ValueError, match="finite"):
        rollout(ToyPool(1), toy_policy(None, Mad()), attempts(1), SETTINGS)


def test_borrowed_words_reach_the_planner_and_the_true_ones_the_episode() -> None:
    sampler = SamplerSettings(guidance_scale=2.5, negative_prompt="go left")
    requests = [*attempts(2), *attempts(1, spoken="press the button", sampler=sampler)]
    planner = ToyPlanner({})
    episodes = rollout(ToyPool(3), toy_policy(planner), requests, SETTINGS)
    assert [(e.instruction, e.spoken) for e in episodes] == [
        ("go right", "go right"),
        ("go right", "go right"),
        ("go right", "press the button"),
    ]
    assert episodes[2].plans[0].plan.settings == sampler
    assert {tuple(words): settings for words, _, settings in planner.asked} == {
        ("go right", "go right"): None,
        ("press the button",): [sampler],
    }


def test_all_busy_robots_plan_in_one_batch_up_to_the_cap() -> None:
    planner = ToyPlanner({})
    rollout(ToyPool(6), toy_policy(planner), attempts(6), SETTINGS)
    assert [len(words) for words, _, _ in planner.asked][:4] == [4, 2, 4, 2]


def test_finished_episodes_are_handed_over_as_they_end() -> None:
    seen: list[int] = []

    def note(index: int, attempt: Attempt, episode: Episode) -> None:
        assert attempt.seed == episode.seed == index
        seen.append(index)

    episodes = rollout(ToyPool(2), toy_policy(ToyPlanner({"go right": 0.7})), attempts(5), SETTINGS, note)
    assert sorted(seen) == list(range(5))
    assert [episode.seed for episode in episodes] == list(range(5))


def test_timings_count_plans_and_steps() -> None:
    timings = RolloutTimings()
    episodes = rollout(ToyPool(2), toy_policy(ToyPlanner({"go right": 0.7})), attempts(5), SETTINGS, timings=timings)
    assert timings.plans == sum(len(episode.plans) for episode in episodes)
    assert timings.steps == sum(len(episode) for episode in episodes)
    assert timings.planning_s > 0
    assert timings.acting_s > 0


def test_states_are_recorded() -> None:
    (episode,) = run(ToyPool(1), attempts(1), skill=1.0)
    assert episode.states is not None
    np.testing.assert_allclose(episode.states, episode.proprio)


def test_no_attempts_give_no_episodes() -> None:
    assert run(ToyPool(2), []) == []


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="instruction of task 'toy' is empty"):
        Attempt(0, "toy", "  ")
    with pytest.raises(ValueError, match="must not be negative"):
        Attempt(-1, "toy", "go")
    with pytest.raises(ValueError, match="plan_batch must be at least 1"):
        RolloutSettings(plan_batch=0)


def test_the_pool_of_one_knows_no_other_robot() -> None:
    with pytest.raises(ValueError, match="no robot 1"):
        SingleRobot(ToyRobot()).reset({1: 0})
    assert SingleRobot(ToyRobot()).spec is SPEC


def test_a_policy_without_plans_is_asked_anew_after_the_steps_it_executes() -> None:
    policy = Chunks()
    timings = RolloutTimings()
    episodes = rollout(ToyPool(2), policy, attempts(3), SETTINGS, timings=timings)
    assert all(episode.plans == () and episode.outcome is Outcome.SUCCESS for episode in episodes)
    assert timings.plans == 0 and timings.steps == sum(map(len, episodes))
    for seed, episode in enumerate(episodes):
        own = [plan_seed(seed, number) for number in range(-(-len(episode) // 5))]
        assert sorted(one for _, one in policy.asked if one in own) == sorted(own)
        chunk = np.random.default_rng(own[1]).uniform(0.2, 1.0, (8, 2)).astype(np.float32)
        np.testing.assert_array_equal(episode.sent[5:10], chunk[:5])


def test_a_policy_that_looks_at_every_step_sees_what_came_of_the_last() -> None:
    (episode,) = rollout(ToyPool(1), Rightward(), attempts(1), SETTINGS)
    assert episode.outcome is Outcome.SUCCESS
    np.testing.assert_array_equal(episode.sent[:, 0], np.where(episode.proprio[:-1, 0] > 0.5, 0.5, 1.0))
