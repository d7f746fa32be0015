"""Deploying: a robot never waits for a plan, plans are aligned in time, people take over, all of it is recorded."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hardware.teleoperation.operator_input import OperatorInput
from hardware.teleoperation.takeover import Takeover
from policies.imagine_then_track import ImagineThenTrack
from robot.core.data import Action, ActionSpec, Intent, Observation, Outcome, RobotSpec, SamplerSettings, VideoPlan
from robot.core.errors import SailError
from robot.episodes.description import Heading
from robot.episodes.store import EpisodeStore
from robot.rollouts.deploy import Deployed, Deployment, DeploySettings, Telemetry, resting
from robot.rollouts.planning_ahead import PlanningThread, Question
from robot.rollouts.rollout import Attempt

RATE_HZ = 200.0
STRIDE_S = 2 / RATE_HZ
SPEC = RobotSpec(
    name="bench",
    action=ActionSpec(
        ("dx", "dy", "dz", "grip"),
        ("cm",) * 3 + ("1",),
        np.full(4, -1, np.float32),
        np.full(4, 1, np.float32),
        RATE_HZ,
        is_relative=True,
    ),
    proprio_names=("x", "y", "z", "opening"),
    proprio_units=("m", "m", "m", "1"),
    cameras={"top": (16, 16)},
)
ATTEMPT = Attempt(3, "bench", "go on")


class Bench:
    """A robot in real time that moves as it is told and keeps what it was sent."""

    def __init__(self, breaks_at: int = -1, error: Exception | None = None) -> None:
        self.spec = SPEC
        self.acted: list[Action] = []
        self.resets = 0
        self.breaks_at, self.error = breaks_at, error or SailError("The wire is cut.")
        self.on_act = lambda: None
        self.success: bool | None = None

    def reset(self, seed: int | None = None) -> Observation:
        self.resets += 1
        return self.observe()

    def observe(self) -> Observation:
        image = np.full((16, 16, 3), len(self.acted) % 256, np.uint8)
        return Observation({"top": image}, np.zeros(4, np.float32), time.monotonic())

    def act(self, action: Action) -> Action:
        if len(self.acted) == self.breaks_at:
            raise self.error
        time.sleep(1 / RATE_HZ)
        self.acted.append(action)
        self.on_act()
        return Action(self.spec.action.clip(action.values))

    def succeeded(self) -> bool | None:
        return self.success

    def close(self) -> None:
        pass


class Slow:
    """A planner whose plans wait until they are let go; each says from which observation it was made."""

    identity = "slow"

    def __init__(self, free: int = 0, frames: int = 8) -> None:
        self.lock = threading.Semaphore(free)
        self.frames = frames
        self.asked: list[int] = []
        self.error: Exception | None = None

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        self.asked.append(int(observations[0].images["top"][0, 0, 0]))
        assert self.lock.acquire(timeout=30)
        if self.error is not None:
            raise self.error
        frames = np.arange(self.frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
        return [VideoPlan(frames, STRIDE_S, instructions[0], seeds[0], self.identity)]


class Counting:
    """An inverse dynamics whose actions say which step of which plan they are for."""

    identity = "counting"

    def __init__(self) -> None:
        self.plans = 0
        self.steps: list[tuple[int, int]] = []

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        self.plans += 1
        return [self.plans]

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        self.steps.append((int(handles[0]), steps[0]))  # type: ignore[call-overload]
        return [Action(np.array([0.5, 0, 0, 1], np.float32))]


@dataclass
class Hands:
    """A person's device that says what it is told to."""

    inputs: list[OperatorInput] = field(default_factory=list)
    error: Exception | None = None

    def open(self) -> None:
        pass

    def read(self) -> OperatorInput:
        if self.error is not None:
            raise self.error
        return self.inputs.pop(0) if self.inputs else OperatorInput()

    def close(self) -> None:
        pass


def tracking(planner: Slow, inverse_dynamics: Counting | None = None) -> ImagineThenTrack:
    return ImagineThenTrack(planner, inverse_dynamics or Counting(), RATE_HZ)


def deployed(robot: Bench, planner: Slow, policy: Counting | None = None, **options: object) -> Deployed:
    known = {name: options.pop(name) for name in ("max_steps", "dry_run", "ends_by") if name in options}
    settings = DeploySettings(**({"max_steps": 40} | known))  # type: ignore[arg-type]
    deployment = Deployment(robot, tracking(planner, policy), settings, **options)  # type: ignore[arg-type]
    return deployment.run(ATTEMPT, robot.reset(0))


def test_a_plan_that_has_run_out_is_followed_by_rest_and_never_by_more_of_it() -> None:
    robot, planner, policy = Bench(), Slow(free=1), Counting()
    result = deployed(robot, planner, policy)
    assert result.outcome is Outcome.TIMEOUT
    moved = [bool(action.values[0]) for action in robot.acted]
    assert moved == [True] * 16 + [False] * 24  # eight frames of two steps each, and then it holds
    assert all(action.values[3] == 1 for action in robot.acted)  # … with the gripper as it was
    assert policy.steps == [(1, step) for step in range(16)]
    assert result.telemetry.starved == 24
    planner.lock.release()


def test_the_robot_goes_on_with_the_last_plan_while_the_next_is_made() -> None:
    robot, planner, policy = Bench(), Slow(free=1), Counting()
    # The second plan comes in the middle of the first, once it has been asked for.
    robot.on_act = lambda: planner.lock.release() if len(robot.acted) == 14 else None  # type: ignore[assignment]
    result = deployed(robot, planner, policy, max_steps=16)
    assert result.telemetry.starved == 0
    assert [bool(action.values[0]) for action in robot.acted] == [True] * 16
    planner.lock.release()


def test_frames_that_are_past_when_a_plan_comes_are_dropped() -> None:
    robot, planner, policy = Bench(), Slow(free=1), Counting()
    robot.on_act = lambda: planner.lock.release() if len(robot.acted) == 14 else None  # type: ignore[assignment]
    result = deployed(robot, planner, policy, max_steps=30)
    seconds = [step for plan, step in policy.steps if plan == 2]
    first_of_second = next(number for number, (plan, _) in enumerate(policy.steps) if plan == 2)
    # What had been done since the observation that the plan was made from is not done again.
    assert seconds[0] == first_of_second - planner.asked[1] > 0
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))
    # A third plan may have been asked for; it never comes, so that it drops nothing.
    assert result.telemetry.dropped_frames == seconds[0] // 2 > 0
    planner.lock.release()


def test_a_robot_that_holds_lets_no_frame_pass() -> None:
    robot, planner, policy = Bench(), Slow(free=1), Counting()
    # The second plan comes long after the first has run out: much later than a plan lasts.
    robot.on_act = lambda: planner.lock.release() if len(robot.acted) == 60 else None  # type: ignore[assignment]
    result = deployed(robot, planner, policy, max_steps=75)
    assert result.telemetry.late_plans == 0 and result.telemetry.plans == 2
    assert next(step for plan, step in policy.steps if plan == 2) == 16 - planner.asked[1]
    planner.lock.release()


def test_where_planning_takes_longer_than_a_plan_the_robot_rests_before_it_asks() -> None:
    robot, planner, policy = Bench(), Slow(free=1), Counting()
    robot.on_act = lambda: planner.lock.release() if len(robot.acted) % 40 == 0 else None  # type: ignore[assignment]
    deployed(robot, planner, policy, max_steps=140)
    # The first plan was quick; from the second on it is known that they are slow.
    firsts = [next(step for plan, step in policy.steps if plan == number) for number in range(3, policy.plans + 1)]
    assert firsts and all(first == 0 for first in firsts)
    planner.lock.release()


def test_a_dry_run_chooses_actions_and_sends_none() -> None:
    robot, planner, policy = Bench(), Slow(free=99), Counting()
    seen: list[Telemetry] = []
    deployment = Deployment(
        robot,
        tracking(planner, policy),
        DeploySettings(max_steps=12, dry_run=True),
        on_tick=lambda one: seen.append(one),
    )
    result = deployment.run(ATTEMPT, robot.observe())
    assert robot.acted == [] and robot.resets == 0
    assert result.telemetry.steps == 12 and len(policy.steps) > 0
    assert seen[-1].action is not None and seen[-1].action.values.tolist() == [0.5, 0, 0, 1]


def test_a_person_takes_over_and_the_steps_are_marked(tmp_path: Path) -> None:
    robot, planner = Bench(), Slow(free=99)
    push = OperatorInput(motion=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    hands = Hands([OperatorInput()] * 3)
    takeover = Takeover(hands, SPEC.action, release_s=0.02, ease_s=0.0)

    def person() -> None:
        if len(robot.acted) == 5:
            hands.inputs = [push] * 6

    robot.on_act = person  # type: ignore[assignment]
    store = EpisodeStore(tmp_path)
    recording = store.record(Heading("bench", "go on", SPEC.name, 3, spec=SPEC), "one")
    result = deployed(robot, planner, takeover=takeover, recording=recording, max_steps=60)
    recording.seal(result.outcome)
    episode = store.load("one")
    assert episode.intervention is not None and len(episode) == 60
    given = episode.intervention
    assert not given[:5].any() and given[5:11].all() and not given[-10:].any()
    assert np.all(episode.sent[5:11, 1] == 1.0) and np.all(episode.sent[:5, 1] == 0.0)
    assert result.telemetry.interventions == given.sum()
    assert np.all(episode.sent[:, 3] == 1.0)  # nobody touched the gripper
    # The policy plans anew after it has the robot back, from an observation that came after.
    assert any(placed.step > np.flatnonzero(given)[-1] for placed in episode.plans)


def test_what_is_recorded_begins_with_the_first_action_and_holds_the_frames_that_counted(tmp_path: Path) -> None:
    robot, planner, policy = Bench(), Slow(free=1), Counting()
    robot.on_act = lambda: planner.lock.release() if len(robot.acted) == 14 else None  # type: ignore[assignment]
    store = EpisodeStore(tmp_path)
    recording = store.record(Heading("bench", "go on", SPEC.name, 3, spec=SPEC), "one")
    result = deployed(robot, planner, policy, recording=recording, max_steps=20)
    recording.seal(result.outcome)
    episode = store.load("one")
    assert len(episode) == 20 and episode.intervention is None and episode.outcome is Outcome.TIMEOUT
    assert episode.plans[0].step == 0 and len(episode.plans[0].plan) == 8
    second = episode.plans[1]
    began = next(number for number, (plan, _) in enumerate(policy.steps) if plan == 2)
    assert second.step == began
    past = (began - planner.asked[1]) // 2
    assert second.plan.frames[:, 0, 0, 0].tolist() == list(range(past, 8))
    planner.lock.release()


@pytest.mark.parametrize("when", [0, 4])
def test_the_operator_s_stop_ends_it_within_a_step(when: int) -> None:
    robot, planner = Bench(), Slow(free=99)
    result = deployed(robot, planner, is_stopped=lambda: len(robot.acted) >= when)
    assert result.outcome is Outcome.OPERATOR_STOP
    assert len(robot.acted) == when


def test_a_robot_that_breaks_ends_it_as_a_fault_that_says_why() -> None:
    result = deployed(Bench(breaks_at=5), Slow(free=99))
    assert result.outcome is Outcome.INFRASTRUCTURE_FAULT and result.reason == "The wire is cut."
    assert result.telemetry.steps == 6


def test_a_stop_that_somebody_else_asked_for_is_an_operator_s_stop() -> None:
    error = SailError("stopped by `sail arm stop`")
    error.by_operator = True  # type: ignore[attr-defined]
    assert deployed(Bench(breaks_at=5, error=error), Slow(free=99)).outcome is Outcome.OPERATOR_STOP


def test_a_device_that_is_gone_ends_it_as_a_fault() -> None:
    takeover = Takeover(Hands(error=SailError("The SpaceMouse is gone.")), SPEC.action)
    result = deployed(Bench(), Slow(free=99), takeover=takeover)
    assert result.outcome is Outcome.INFRASTRUCTURE_FAULT and "gone" in result.reason


def test_a_planner_that_fails_ends_it_as_a_fault_and_a_defect_goes_through() -> None:
    planner = Slow(free=99)
    planner.error = SailError("The weights are damaged.")
    assert deployed(Bench(), planner).reason == "The weights are damaged."
    planner.error = KeyError("a defect")
    with pytest.raises(KeyError):
        deployed(Bench(), planner)


def test_a_planner_that_never_answers_is_not_waited_for_for_ever() -> None:
    robot, planner = Bench(), Slow()
    deployment = Deployment(robot, tracking(planner), DeploySettings(patience_s=0.2))
    result = deployment.run(ATTEMPT, robot.observe())
    assert result.outcome is Outcome.INFRASTRUCTURE_FAULT and "no plan for 0.2 s" in result.reason
    assert robot.acted == []
    planner.lock.release()


@pytest.mark.parametrize("ends_by", ["truth", "time"])
def test_success_of_the_scene_ends_it_where_truth_does(ends_by: str) -> None:
    robot = Bench()
    robot.success = False
    robot.on_act = lambda: setattr(robot, "success", len(robot.acted) >= 7)  # type: ignore[assignment]
    result = deployed(robot, Slow(free=99), max_steps=12, ends_by=ends_by)
    outcome, steps = (Outcome.SUCCESS, 7) if ends_by == "truth" else (Outcome.TIMEOUT, 12)
    assert result.outcome is outcome and len(robot.acted) == steps


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("success", Outcome.SUCCESS), ("failure", Outcome.FAILURE), ("stop", Outcome.OPERATOR_STOP)],
)
def test_a_person_s_word_ends_it(word: str, outcome: Outcome) -> None:
    takeover = Takeover(Hands([OperatorInput(), OperatorInput(), OperatorInput(word=word)]), SPEC.action)
    result = deployed(Bench(), Slow(free=99), takeover=takeover)
    assert (result.outcome, result.said) == (outcome, word)


def test_a_demonstration_begins_with_the_first_motion_and_is_all_the_person_s(tmp_path: Path) -> None:
    robot = Bench()
    push = OperatorInput(motion=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    inputs = [*[OperatorInput()] * 4, *[push] * 5, *[OperatorInput()] * 3, OperatorInput(word="success")]
    takeover = Takeover(Hands(inputs), SPEC.action, ease_s=0)
    store = EpisodeStore(tmp_path)
    recording = store.record(Heading("bench", "go on", SPEC.name, 3, spec=SPEC), "one")
    result = Deployment(robot, None, recording=recording, takeover=takeover).run(ATTEMPT, robot.observe())
    recording.seal(result.outcome)
    episode = store.load("one")
    assert episode.sent[:, 0].tolist() == [1] * 5 + [0] * 3
    assert episode.intervention is not None and episode.intervention.all()
    assert result.said == "success" and result.telemetry.starved == 0


def drivers(robot: Bench, planner: Slow | None, takeover: Takeover | None, max_steps: int = 40) -> list[str]:
    """Return who was said to drive, tick by tick."""
    said: list[str] = []
    deployment = Deployment(
        robot,
        None if planner is None else tracking(planner),
        DeploySettings(max_steps=max_steps),
        takeover=takeover,
        on_tick=lambda telemetry: said.append(telemetry.driver),
    )
    deployment.run(ATTEMPT, robot.observe())
    return said


def test_nobody_drives_until_a_plan_is_there_nor_when_it_has_run_out() -> None:
    robot, planner = Bench(), Slow(free=0)
    threading.Timer(0.2, planner.lock.release).start()
    said = drivers(robot, planner, None)
    assert said[:3] == ["nobody"] * 3  # it waits for its first plan
    assert said.count("policy") == 16  # eight frames of two steps each
    assert said[-10:] == ["nobody"] * 10 and "person" not in said
    planner.lock.release()


def test_in_teleoperation_a_person_drives_or_nobody() -> None:
    push = OperatorInput(motion=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    hands = Hands([*[OperatorInput()] * 4, *[push] * 5, *[OperatorInput()] * 300])
    said = drivers(Bench(), None, Takeover(hands, SPEC.action, release_s=0.1, ease_s=0))
    assert said[:4] == ["nobody"] * 4 and said[4:9] == ["person"] * 5
    assert said[-5:] == ["nobody"] * 5 and "policy" not in said  # the hand is off


def test_a_takeover_is_said_and_given_back() -> None:
    push = OperatorInput(motion=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    robot, hands = Bench(), Hands()

    def person() -> None:
        if len(robot.acted) == 5:
            hands.inputs = [push] * 6

    robot.on_act = person  # type: ignore[assignment]
    said = drivers(robot, Slow(free=99), Takeover(hands, SPEC.action, release_s=0.02, ease_s=0.0), 60)
    order = [who for number, who in enumerate(said) if not number or said[number - 1] != who]
    assert [who for who in order if who != "nobody"] == ["policy", "person", "policy"]


def test_nobody_drives_is_refused() -> None:
    with pytest.raises(ValueError, match="somebody must drive"):
        Deployment(Bench(), None)


def test_rest_is_no_displacement_or_the_place_it_was_sent_to() -> None:
    observation = Observation({}, np.array([0.1, 0.2, 0.3, 0.4], np.float32), 0.0)
    last = Action(np.array([0.5, 0.5, 0.5, 1.0], np.float32))
    assert resting(SPEC, observation, last).values.tolist() == [0, 0, 0, 1]  # type: ignore[union-attr]
    assert resting(SPEC, observation, None).values.tolist() == [0, 0, 0, -1]  # type: ignore[union-attr]
    names = ActionSpec(("y", "x"), ("m", "m"), np.full(2, -1, np.float32), np.full(2, 1, np.float32), 20.0)
    places = RobotSpec("places", names, SPEC.proprio_names, SPEC.proprio_units, {})
    there = resting(places, observation, None)
    assert there is not None
    np.testing.assert_allclose(there.values, [0.2, 0.1])
    odd = RobotSpec("odd", names, ("a", "b"), ("1", "1"), {})
    assert resting(odd, observation, None) is None


def test_an_answer_to_a_forgotten_question_is_never_given() -> None:
    planner = Slow()
    thread = PlanningThread(tracking(planner))
    observation = Bench().observe()
    assert thread.ask(Question(observation, "go on", 0, 0))
    assert not thread.ask(Question(observation, "go on", 1, 0))  # one at a time
    thread.forget()
    planner.lock.release()
    deadline_s = time.monotonic() + 20
    while thread.is_busy and time.monotonic() < deadline_s:
        time.sleep(0.002)
    assert thread.take(0.05) is None
    assert thread.ask(Question(observation, "go on", 2, 7))
    planner.lock.release()
    ready = thread.take(20)
    assert ready is not None and ready.question.moves == 7
    thread.close()
    assert not thread.ask(Question(observation, "go on", 3, 0))


class Drawing:
    """A policy without plans: eight actions at once, whose first number says which step of which intent it is for."""

    identity = "drawing"

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.begun = 0

    def begin(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[Intent]:
        time.sleep(self.takes_s)
        self.begun += 1
        return [Intent(4, 8, handle=self.begun)]

    def act(self, observations: Sequence[Observation], intents: Sequence[Intent], steps: Sequence[int]) -> list[Action]:
        assert isinstance(intents[0].handle, int) and steps[0] < intents[0].horizon
        return [Action(np.array([intents[0].handle / 100, steps[0] / 10, 0, 1], np.float32))]


def test_a_policy_without_plans_is_asked_ahead_too_and_goes_on_with_the_rest_of_the_last(tmp_path: Path) -> None:
    robot, policy, store = Bench(), Drawing(takes_s=2 / RATE_HZ), EpisodeStore(tmp_path)
    heading = Heading("bench", "go on", "bench", 3, spec=SPEC)
    recording = store.record(heading, "one")
    result = Deployment(robot, policy, DeploySettings(max_steps=40), recording).run(ATTEMPT, robot.reset(0))
    recording.seal(result.outcome)
    assert result.outcome is Outcome.TIMEOUT and result.telemetry.plans == policy.begun >= 5
    assert result.telemetry.dropped_frames == 0  # it shows no frames
    moved = [action for action in robot.acted if action.values[0] > 0]
    assert len(moved) >= 20
    for before, after in itertools.pairwise(moved):
        if before.values[0] == after.values[0]:  # the same intent: the next of its steps, and none twice
            assert after.values[1] == pytest.approx(before.values[1] + 0.1)
    episode = store.load("one")
    assert episode.plans == () and len(episode) == 40
