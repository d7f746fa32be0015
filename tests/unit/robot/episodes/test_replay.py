"""Replays: the same states again bit for bit, deadlines that do not drift, and no jump at the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from robot.core.data import Action, ActionSpec, Episode, Observation, Outcome, RobotSpec
from robot.core.errors import SailError
from robot.episodes.clips import side_by_side, write_clip
from robot.episodes.easing import drives_of, minimum_jerk
from robot.episodes.pace import Pace
from robot.episodes.replay import FirstOfPool, replay_actions, replay_on, replay_states
from robot.episodes.store import EpisodeStore
from tests.fakes import ToyPool, ToyRobot
from tests.unit.robot.episodes.samples import episode
from tests.unit.robot.episodes.test_fit import displaced


class Time:
    """A clock that moves when somebody sleeps, and by `work_s` at each look at it."""

    def __init__(self, work_s: float = 0.0) -> None:
        self.now_s, self.work_s = 100.0, work_s
        self.slept: list[float] = []

    def clock(self) -> float:
        self.now_s += self.work_s
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Wishes:
    def __init__(self, wishes: Sequence[str]) -> None:
        self.wishes = list(wishes)

    def poll(self) -> str:
        return self.wishes.pop(0) if self.wishes else ""


def pace(speed: float = 0.0, wishes: Sequence[str] = ()) -> Pace:
    return Pace(40.0, speed, Wishes(wishes))


class Scene(ToyRobot):
    """A toy robot that can be put back to a state."""

    def restore(self, state: np.ndarray) -> Observation:
        self.position = state.astype(np.float32)
        return self.observe()


def recorded(steps: int = 30, seed: int = 3) -> Episode:
    robot, rng = Scene(), np.random.default_rng(seed)
    seen, actions = [robot.reset(seed)], []
    for _ in range(steps):
        actions.append(robot.act(Action(rng.uniform(-2, 2, 2).astype(np.float32))).values)
        seen.append(robot.observe())
    return Episode(
        task="toy",
        instruction="go",
        robot="toy",
        frames={"top": np.stack([one.images["top"] for one in seen])},
        proprio=np.stack([one.proprio for one in seen]),
        requested=np.array(actions),
        sent=np.array(actions),
        times_s=np.array([one.time_s for one in seen]),
        states=np.stack([one.state for one in seen if one.state is not None]),
        outcome=Outcome.TIMEOUT,
        seed=seed,
        episode_id="mine",
        spec=robot.spec,
    )


def test_the_simulator_repeats_states_and_actions_exactly() -> None:
    whole = recorded()
    for carry_out in (replay_states, replay_actions):
        watched: list[int] = []
        report = carry_out(whole, Scene(), pace(), lambda step, _, seen=watched: seen.append(step))  # type: ignore[misc]
        assert report.passed and report.exact is True and report.steps == report.total == 30
        assert watched == list(range(31)) and max(report.largest.values()) == 0.0


def test_a_replay_that_differs_does_not_pass() -> None:
    whole = recorded()
    assert whole.states is not None
    states = whole.states.copy()
    states[20, 0] = np.nextafter(states[20, 0], 9)
    report = replay_actions(dataclasses.replace(whole, states=states), Scene(), pace())
    assert report.exact is False and not report.passed and "not the recorded" in report.why
    with pytest.raises(SailError, match="holds no simulator states"):
        replay_actions(dataclasses.replace(whole, states=None), Scene(), pace())


def test_a_stopped_replay_does_not_pass() -> None:
    report = replay_actions(recorded(), Scene(), pace(wishes=["", "", "", "stop"]))
    assert report.steps == 3 and not report.passed and "stopped" in report.why


def test_a_robot_is_reset_to_the_seed_and_compared_within_a_tolerance() -> None:
    whole = recorded()
    report = replay_on(whole, FirstOfPool(ToyPool(1)), pace(), 1e-6, 0.1)
    assert report.passed and report.mode == "robot" and report.exact is True and report.eased == 0
    off = dataclasses.replace(whole, proprio=whole.proprio + np.linspace(0, 0.2, 31, dtype=np.float32)[:, None])
    failed = replay_on(off, ToyRobot(), pace(), 0.01, 0.1)
    assert not failed.passed and failed.end["x"] == pytest.approx(0.2, abs=1e-3)
    assert failed.rms["x"] == pytest.approx(0.2 / np.sqrt(3), rel=0.05) and "beyond the tolerance" in failed.why
    assert failed.as_json()["clamped"] == {"x": 0, "y": 0}
    clamped = replay_on(dataclasses.replace(whole, sent=2 * whole.sent), ToyRobot(), pace(), 9.0, 0.1)
    assert clamped.clamped["x"] == np.sum(np.abs(2 * whole.sent[:, 0]) > 1)


def test_another_robot_is_refused() -> None:
    whole = recorded()
    with pytest.raises(SailError, match="takes 2 numbers an action"):
        replay_on(dataclasses.replace(whole, sent=np.zeros((30, 3), np.float32)), ToyRobot(), pace(), 0.1, 0.1)
    with pytest.raises(SailError, match="another robot"):
        replay_on(dataclasses.replace(whole, proprio=np.zeros((31, 3), np.float32)), ToyRobot(), pace(), 0.1, 0.1)
    far = dataclasses.replace(whole, proprio=whole.proprio + 5)
    with pytest.raises(SailError, match="do not say what they drive"):
        replay_on(far, ToyRobot(), pace(), 0.1, 0.1)


class Arm:
    """A robot whose actions are targets for its joints, or displacements of its hand."""

    def __init__(self, displaced: bool) -> None:
        names = ("dx", "dy") if displaced else ("shoulder", "elbow")
        unit = "cm" if displaced else "rad"
        limits = np.full(2, 1.0 if displaced else 9.0, np.float32)
        sensed = ("hand_x", "hand_y") if displaced else names
        action = ActionSpec(names, (unit, unit), -limits, limits, 50.0)
        self.spec = RobotSpec("arm", action, sensed, ("m", "m") if displaced else ("rad", "rad"), {})
        self.displaced = displaced
        self.pose = np.zeros(2, np.float32)
        self.path = [self.pose.copy()]

    def reset(self, seed: int | None = None) -> Observation:
        return self.observe()

    def observe(self) -> Observation:
        return Observation({}, self.pose.copy(), len(self.path) / 50.0)

    def act(self, action: Action) -> Action:
        sent = self.spec.action.clip(action.values)
        self.pose = (self.pose + 0.01 * sent) if self.displaced else sent.copy()
        self.path.append(self.pose.copy())
        return Action(sent)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("displaced", [False, True])
def test_the_first_pose_is_reached_without_a_jump(displaced: bool) -> None:
    arm = Arm(displaced)
    first = np.array([0.3, -0.2], np.float32)
    still = np.zeros((5, 2), np.float32) if displaced else np.tile(first, (5, 1))
    whole = episode(
        5,
        proprio=np.tile(first, (6, 1)),
        sent=still,
        requested=still,
        states=None,
        frames={},
        spec=arm.spec,
        times_s=np.arange(6) / 50,
    )
    report = replay_on(whole, arm, pace(), 0.01, 0.1)
    assert report.passed and report.eased > 50
    path = np.array(arm.path[: report.eased + 1])
    speed = np.abs(np.diff(path, axis=0)).max(axis=1) * 50
    assert speed.max() < 0.12 and speed[0] < 0.01  # begins at rest and never exceeds what was asked for
    assert np.abs(path[-1] - first).max() <= 0.01


def test_how_a_robot_is_driven_is_read_off_its_names() -> None:
    assert [drive.sensed for drive in drives_of(Arm(True).spec)] == [0, 1]
    assert drives_of(Arm(True).spec)[0].worth == pytest.approx(0.01)
    assert [drive.worth for drive in drives_of(Arm(False).spec)] == [0, 0]
    assert drives_of(ToyRobot().spec) == ()
    assert [drive.worth for drive in drives_of(displaced(unit="2 cm"))] == pytest.approx([0.02, 0.02])
    assert [drive.worth for drive in drives_of(displaced(unit="mm"))] == pytest.approx([0.001, 0.001])
    assert drives_of(displaced(unit="rad")) == () and drives_of(displaced(unit="unknown")) == ()
    two = dataclasses.replace(displaced(), proprio_names=("hand_x", "tool_x", "hand_y"), proprio_units=("m",) * 3)
    assert [drive.sensed for drive in drives_of(two)] == [2]  # which x is displaced is not known
    assert (minimum_jerk(0.0), minimum_jerk(0.5), minimum_jerk(1.0)) == (0.0, 0.5, 1.0)


def test_deadlines_are_absolute() -> None:
    time = Time(work_s=0.001)
    beat = Pace(40.0, 1.0, None, time.clock, time.sleep)
    for _ in range(200):
        time.now_s += 0.01  # what a step costs
        assert beat.wait()
    assert time.now_s - 100.0 == pytest.approx(5.0, abs=0.01)
    assert max(beat.late_s) < 0.005


def test_a_late_step_does_not_delay_the_others() -> None:
    time = Time()
    beat = Pace(10.0, 1.0, None, time.clock, time.sleep)
    beat.wait()
    time.now_s += 0.35
    for _ in range(4):
        beat.wait()
    assert time.now_s == pytest.approx(100.5)


def test_a_person_pauses_slows_and_stops() -> None:
    time = Time()
    beat = Pace(
        10.0, 1.0, Wishes(["", "pause", "", "", "pause", "slower", "", "faster", "stop"]), time.clock, time.sleep
    )
    beat.wait()
    assert time.now_s == pytest.approx(100.1)
    beat.wait()  # paused for three looks, then goes on at its own speed
    assert time.now_s == pytest.approx(100.1 + 3 * 0.02 + 0.1) and beat.speed == 1.0
    beat.wait()
    assert beat.speed == 0.5 and time.slept[-1] == pytest.approx(0.2)
    beat.wait()
    beat.wait()
    assert beat.speed == 1.0 and time.slept[-1] == pytest.approx(0.1)
    assert not beat.wait() and beat.stopped


def test_a_pace_must_move() -> None:
    with pytest.raises(ValueError, match="positive rate"):
        Pace(0.0)
    for rate_hz, speed in ((float("nan"), 1.0), (float("inf"), 1.0), (40.0, float("nan"))):
        with pytest.raises(ValueError, match="positive rate"):
            Pace(rate_hz, speed)


@pytest.mark.parametrize("end", ["gif", "mp4"])
def test_clips_can_be_played(tmp_path: Path, end: str) -> None:
    import av

    whole = episode(20, size=16)
    pictures = [side_by_side(whole.observation(step).images) for step in range(21)]
    assert pictures[0].shape == (384, 384, 3)
    path = write_clip(tmp_path / f"a.{end}", pictures, 40.0)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == (11 if end == "gif" else 21)
    with pytest.raises(SailError, match=r"\.gif or \.mp4"):
        write_clip(tmp_path / "a.txt", pictures, 40.0)
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(SailError, match="could not be written"):
        write_clip(tmp_path / "b.mp4", pictures, 40.0)


def test_what_was_stored_replays_exactly(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(dataclasses.replace(recorded(), episode_id=""))
    assert replay_actions(store.load(name), Scene(), pace()).passed
