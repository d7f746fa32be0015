"""Nothing moves until an episode fits the robot: entries, names, units, rate, limits, or a person's word for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from robot.core.data import Action, ActionSpec, Episode, Observation, RobotSpec
from robot.core.errors import SailError
from robot.episodes.easing import Easing
from robot.episodes.fit import Told, check_scene, fitted
from robot.episodes.pace import Pace
from robot.episodes.replay import replay_on
from tests.fakes import SPEC
from tests.unit.robot.episodes.samples import episode

JOINTS = ("shoulder", "elbow")


def joints(
    names: tuple[str, ...] = JOINTS, unit: str = "rad", rate_hz: float = 50.0, limit: float = 3.0, name: str = "arm"
) -> RobotSpec:
    """Describe an arm whose actions are targets for its two joints."""
    limits = np.full(2, limit, np.float32)
    return RobotSpec(name, ActionSpec(names, (unit,) * 2, -limits, limits, rate_hz), names, (unit,) * 2, {})


def displaced(rate_hz: float = 50.0, unit: str = "cm") -> RobotSpec:
    """Describe an arm whose actions displace its hand, and shut it."""
    one = np.ones(3, np.float32)
    action = ActionSpec(("dx", "dy", "grip"), (unit, unit, "1"), -one, one, rate_hz)
    return RobotSpec("hand", action, ("hand_x", "hand_y", "opening"), ("m", "m", "1"), {})


ARM = joints()


class Arm:
    """A robot that goes where it is sent at once, and remembers when it was reset, and what it was sent."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self.pose = np.zeros(len(spec.proprio_names), np.float32)
        self.resets, self.sent = 0, list[np.ndarray[Any, Any]]()

    def reset(self, seed: int | None = None) -> Observation:
        self.resets += 1
        return self.observe()

    def observe(self) -> Observation:
        return Observation({}, self.pose.copy(), len(self.sent) / self.spec.action.rate_hz)

    def act(self, action: Action) -> Action:
        sent = self.spec.action.clip(action.values)
        self.sent.append(sent)
        self.pose = sent.copy()
        return Action(sent)

    def close(self) -> None:
        pass


def recorded(spec: RobotSpec | None, steps: int = 5, first: float = 0.3, rate_hz: float | None = None) -> Episode:
    """Return an episode in which an arm stands still in its first pose, all joints at `first`."""
    size = len(spec.proprio_names) if spec else 2
    pose = np.full(size, first, np.float32)
    rate_hz = rate_hz or (spec.action.rate_hz if spec else 50.0)
    return episode(
        steps,
        proprio=np.tile(pose, (steps + 1, 1)),
        sent=np.tile(pose, (steps, 1)),
        requested=np.tile(pose, (steps, 1)),
        states=None,
        frames={},
        spec=spec,
        times_s=np.arange(steps + 1) / rate_hz,
        episode_id="theirs",
    )


def renamed(spec: RobotSpec, *, unit: str = "", names: tuple[str, ...] = ()) -> RobotSpec:
    """Return a spec with other units, or other names, for actions and proprioception alike."""
    units, called = (unit or spec.action.units[0],) * 2, names or spec.action.names
    action = dataclasses.replace(spec.action, units=units, names=called)
    return dataclasses.replace(spec, action=action, proprio_names=called, proprio_units=units)


def refusal(whole: Episode, robot: Arm, **said: Any) -> str:
    """Return in which words a replay is refused; the robot must not have been touched."""
    with pytest.raises(SailError) as refused:
        replay_on(whole, robot, Pace(50.0, 0.0), 0.01, 0.1, told=Told(**said))
    assert robot.resets == 0 and not robot.sent
    return str(refused.value)


def test_an_episode_in_other_units_does_not_move_a_robot() -> None:
    millimetres = recorded(renamed(joints(unit="m"), unit="mm"), first=300.0)
    said = refusal(millimetres, Arm(joints(unit="m")), units=True, names=True, resample=True)
    assert said == "Episode 'theirs' has its actions in other units than arm: shoulder in mm for m; elbow in mm for m."


@pytest.mark.parametrize("unit", ["unknown", ""])
def test_units_that_are_not_known_are_taken_for_the_robot_s_only_where_somebody_says_so(unit: str) -> None:
    theirs = recorded(dataclasses.replace(renamed(joints(), unit="x"), proprio_units=(unit, unit)))
    theirs = dataclasses.replace(theirs, spec=renamed(joints(), unit=unit or "unknown"))
    said = refusal(theirs, Arm(joints()))
    assert "does not say in which units its actions are (shoulder, on arm in rad; elbow, on arm in rad)" in said
    assert said.endswith("assume_units=true says that they are the robot's.")
    robot = Arm(joints())
    report = replay_on(theirs, robot, Pace(50.0, 0.0), 0.01, 0.1, told=Told(units=True))
    assert report.passed and report.eased > 0 and set(report.rms) == set(JOINTS)


def test_other_names_are_the_robot_s_only_where_somebody_says_so() -> None:
    theirs = recorded(renamed(joints(), names=("shoulder.pos", "elbow.pos")))
    said = refusal(theirs, Arm(joints()), units=True)
    assert "has other actions than arm: shoulder.pos for shoulder; elbow.pos for elbow; assume_names=true" in said
    turned = recorded(renamed(joints(), names=("elbow", "shoulder")))
    assert "elbow for shoulder; shoulder for elbow" in refusal(turned, Arm(joints()))
    assert fitted(theirs, ARM, 0.01, Told(names=True)).spec is ARM
    sensed = dataclasses.replace(joints(), proprio_names=("state_0", "elbow"))
    assert "other proprioception than arm: state_0 for shoulder" in refusal(recorded(sensed), Arm(joints()))


def test_of_an_episode_that_describes_no_robot_nothing_is_known() -> None:
    nameless = recorded(None)
    assert "an entry without a name for shoulder" in refusal(nameless, Arm(joints()))
    assert "does not say in which units" in refusal(nameless, Arm(joints()), names=True)
    assert fitted(nameless, ARM, 0.01, Told(names=True, units=True)).spec is ARM
    standing = dataclasses.replace(nameless, times_s=np.zeros(6))
    with pytest.raises(SailError, match="How fast episode 'theirs' was recorded is not known: say it with rate_hz="):
        fitted(standing, ARM, 0.01, Told(names=True, units=True))


def test_another_rate_is_refused_or_resampled_where_somebody_says_so() -> None:
    slower = recorded(joints(rate_hz=20.0), steps=8)
    said = refusal(slower, Arm(joints()))
    assert "was recorded at 20 steps a second and arm runs at 50: let it run at the same rate" in said
    robot, beat = Arm(joints()), Pace(20.0, 0.0)
    report = replay_on(slower, robot, beat, 0.01, 0.1, told=Told(resample=True))
    assert report.passed and report.steps == report.total == 20 and beat.rate_hz == 50.0
    assert fitted(slower, ARM, 0.01, Told(rate_hz=50.0)).times_s.tolist() == slower.times_s.tolist()


def test_a_rate_that_the_times_contradict_is_asked_about() -> None:
    late = recorded(joints(), steps=8, rate_hz=30.0)
    said = refusal(late, Arm(joints()))
    assert "says 50 steps a second, and its times are those of 30: say which is right with rate_hz=50 or" in said
    assert len(fitted(late, ARM, 0.01, Told(rate_hz=50.0))) == 8
    assert "recorded at 30 steps a second and arm runs at 50" in refusal(late, Arm(joints()), rate_hz=30.0)
    pausing = late.times_s.copy()
    pausing[:] = np.arange(9) / 50.0
    pausing[4:] += 1.0  # it stood still while the next plan was made
    assert fitted(dataclasses.replace(late, times_s=pausing), ARM, 0.01).spec is ARM
    equal = dataclasses.replace(late, times_s=np.full(9, 1.7e9))
    assert fitted(equal, ARM, 0.01).spec is ARM


def test_a_pose_outside_the_limits_is_refused_wherever_it_comes() -> None:
    assert refusal(recorded(joints(), first=3.5), Arm(joints())) == (
        "The first pose of the episode has shoulder at 3.5 rad, outside the limits of arm, which are -3 to 3 rad."
    )
    later = recorded(joints())
    later.sent[3, 1] = -4.0
    assert "Step 3 of the episode has elbow at -4 rad" in refusal(later, Arm(joints()))
    barely = recorded(joints(), first=3.005)  # measured beyond its limit by less than the tolerance
    assert replay_on(barely, Arm(joints()), Pace(50.0, 0.0), 0.01, 0.5).passed


@pytest.mark.parametrize(("part", "said"), [("sent", "action"), ("proprio", "pose")])
def test_numbers_that_are_none_are_refused_before_anything_moves(part: str, said: str) -> None:
    whole = recorded(joints())
    getattr(whole, part)[2, 1] = np.nan
    assert f"The {said} of step 2 of episode 'theirs' is not finite" in refusal(whole, Arm(joints()))


def test_easing_is_announced_before_the_first_step_and_refused_where_it_takes_long() -> None:
    robot, heard = Arm(joints()), list[Easing]()

    def announce(easing: Easing) -> None:
        assert robot.resets == 1 and not robot.sent
        heard.append(easing)

    far = recorded(joints())
    far.proprio[:, 1] = -0.8
    far.sent[:, 1] = -0.8
    report = replay_on(far, robot, Pace(50.0, 0.0), 0.01, 0.1, announce=announce)
    assert report.passed
    (easing,) = heard
    assert (easing.entry, easing.unit) == ("elbow", "rad") and easing.distance == pytest.approx(0.8)
    assert easing.duration_s == pytest.approx(1.875 * 0.8 / 0.1, abs=0.02) and easing.steps == report.eased
    stuck = Arm(joints())
    with pytest.raises(SailError, match=r"would take 15 s: elbow is 0\.8 rad away.*ease_longest_s=16"):
        replay_on(far, stuck, Pace(50.0, 0.0), 0.01, 0.1, announce=heard.append, longest_easing_s=14.0)
    assert not stuck.sent and len(heard) == 1
    near = recorded(joints(), first=0.005)
    replay_on(near, Arm(joints()), Pace(50.0, 0.0), 0.01, 0.1, announce=heard.append)
    assert len(heard) == 1  # there was nothing to ease


@pytest.mark.parametrize(("speed", "lasts"), [(0.5, 11.25), (1.0, 5.625), (4.0, 5.625)])
def test_time_that_runs_faster_does_not_ease_faster(speed: float, lasts: float) -> None:
    now, heard = [0.0], list[Easing]()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    robot = Arm(joints())
    beat = Pace(50.0, speed, None, lambda: now[0], sleep)
    whole = recorded(joints(), steps=1)
    replay_on(whole, robot, beat, 0.01, 0.1, announce=heard.append)
    taken_s = now[0] - 1 / 50.0 / speed  # but for the one step
    assert heard[0].duration_s == pytest.approx(lasts, abs=0.05)
    assert taken_s == pytest.approx(lasts, rel=0.02)
    path = np.array(robot.sent[:-1])
    assert np.abs(np.diff(path, axis=0)).max() * 50.0 * speed < 0.105  # rad a second, whatever the speed of time


def test_a_simulator_must_be_like_the_one_that_recorded() -> None:
    whole = episode(5, states=np.zeros((6, 7)))
    check_scene(whole, SPEC)
    check_scene(dataclasses.replace(whole, spec=None), SPEC)
    action = SPEC.action
    others = {
        "nearest that its simulator does is 26.67": dataclasses.replace(action, rate_hz=80 / 3),
        "other units than toy: x in 1 for cm": dataclasses.replace(action, units=("cm", "1")),
        "other actions than toy: x for dx": dataclasses.replace(action, names=("dx", "y")),
    }
    for says, other in others.items():
        with pytest.raises(SailError, match=says):
            check_scene(whole, dataclasses.replace(SPEC, action=other))
    with pytest.raises(SailError, match="it is another robot"):
        check_scene(dataclasses.replace(whole, proprio=np.zeros((6, 3), np.float32)), SPEC)
    assert whole.states is not None
    whole.states[3, 0] = np.inf
    with pytest.raises(SailError, match="The simulator state of step 3"):
        check_scene(whole, SPEC)
