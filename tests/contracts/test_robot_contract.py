"""What every `Robot` keeps to: the fake, the simulator, and an arm at the end of a wire.

An arm is driven in real time: it goes on moving a little after `act` has returned, and no two of its observations bear
the same time. So where a test asks what an arm is, it is first waited for until the arm stands still.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np
import pytest

from hardware.arms.kinematic import KinematicArm, PaintedCamera, cartesian
from hardware.client.actions import ActionFactory, Displacement, JointPositions
from hardware.client.remote import RemoteRobot
from hardware.server.server import ArmServer
from hardware.wire.clocks import now
from robot.core.data import Action, Observation
from robot.core.errors import SailError
from robot.core.protocols import (
    Ageing,
    ArmDriver,
    Camera,
    CountsAnew,
    Haltable,
    KnowsSuccess,
    Previewing,
    Robot,
    SaysCondition,
    TakesAnyWords,
)
from sim.metaworld import MetaWorldRobot
from tests.fakes import ToyRobot
from tests.own_robot import OwnRobot
from tests.unit.hardware.serving import PATIENT, until


class RobotAtTheEndOfAWire(RemoteRobot):
    """An arm together with its server, which this test starts and ends."""

    def __init__(self, driver: ArmDriver, cameras: list[Camera], action: ActionFactory, rate_hz: float) -> None:
        self.server = ArmServer(driver, cameras, port=0, settings=PATIENT).start()
        super().__init__(self.server.address, action=action, rate_hz=rate_hz, state_age_s=1.0, lost_s=10.0, timeout_s=9)

    def close(self) -> None:
        super().close()
        self.server.close()


def kinematic(action: ActionFactory, rate_hz: float) -> Robot:
    arm = KinematicArm(cartesian((-0.2, 0.4, 0.1), (0.2, 0.8, 0.3)))
    return RobotAtTheEndOfAWire(arm, [PaintedCamera(arm)], action, rate_hz)


ROBOTS: dict[str, Callable[[], Robot]] = {
    "fake": ToyRobot,
    "somebody's own": OwnRobot,
    "arm over a wire, displacements": lambda: kinematic(partial(Displacement, metres_per_unit=0.02), 40.0),
    "arm over a wire, joint positions": lambda: kinematic(JointPositions, 20.0),
    "simulator": lambda: MetaWorldRobot("drawer-close", image_size=24),
    "simulator with three cameras": lambda: MetaWorldRobot("reach", ("corner2", "topview", "gripperPOV"), (16, 24), 1),
}


@pytest.fixture(scope="module", params=list(ROBOTS))
def robot(request: pytest.FixtureRequest) -> Iterator[Robot]:
    robot = ROBOTS[request.param]()
    yield robot
    robot.close()
    robot.close()  # closing twice is allowed


def check_observation(robot: Robot, observation: Observation) -> None:
    """Assert that an observation is what the spec says; its own types check themselves."""
    spec = robot.spec
    assert {name: image.shape for name, image in observation.images.items()} == {
        name: (*size, 3) for name, size in spec.cameras.items()
    }
    assert observation.proprio.shape == (len(spec.proprio_names),)
    assert np.all(np.isfinite(observation.proprio))
    assert np.isfinite(observation.time_s)
    if observation.state is not None:
        assert observation.state.dtype == np.float64
        assert observation.state.ndim == 1


def real_time(robot: Robot) -> bool:
    return isinstance(robot, RemoteRobot)


def observed(robot: Robot) -> Observation:
    """Return what a robot observes, once it stands still if it is one that moves in real time."""
    if isinstance(robot, RemoteRobot):
        client = robot.client
        robot.client.wait(lambda report: report.at_rest, 20, "come to rest")
        rested_s = now()
        client.wait(lambda report: report.measured_s > rested_s and report.at_rest, 20, "say where it is")
        until(lambda: all((client.captured_s(name) or 0) > rested_s for name in robot.spec.cameras))
    return robot.observe()


def same(first: Observation, second: Observation, real_time: bool = False) -> bool:
    if real_time:  # an arm comes to rest where it was sent, but for the last micrometres and a pixel's edge
        return np.allclose(first.proprio, second.proprio, rtol=0, atol=1e-4) and all(
            float(np.abs(image.astype(float) - second.images[name]).mean()) < 1.0
            for name, image in first.images.items()
        )
    return (
        np.array_equal(first.proprio, second.proprio)
        and first.time_s == second.time_s
        and first.images.keys() == second.images.keys()
        and all(np.array_equal(image, second.images[name]) for name, image in first.images.items())
        and np.array_equal(np.array(first.state), np.array(second.state))
    )


Capability = TypeVar("Capability")


def as_one(robot: Robot, capability: type[Capability]) -> Capability:
    """Return a robot that has a capability; the others are not asked for it."""
    if not isinstance(robot, capability):
        pytest.skip(f"it is not {capability.__name__}")
    return robot


def where(robot: Robot) -> dict[str, float]:
    """Return where each joint of a robot is, once it stands still."""
    observation = observed(robot)
    if isinstance(robot, RemoteRobot):
        report = robot.client.report
        assert report is not None
        return dict(zip(robot.client.welcome.description.joint_names, map(float, report.position), strict=True))
    return dict(zip(robot.spec.proprio_names, map(float, observation.proprio), strict=True))


def middling(robot: Robot, seed: int = 0) -> Action:
    """Return an action within the limits."""
    spec = robot.spec.action
    share = np.random.default_rng(seed).uniform(0.1, 0.9, spec.size)
    return Action((spec.low + share * (spec.high - spec.low)).astype(np.float32))


def test_it_is_a_robot(robot: Robot) -> None:
    assert isinstance(robot, Robot)


def test_its_spec_is_consistent_and_constant(robot: Robot) -> None:
    spec = robot.spec
    assert spec.name
    assert len(spec.proprio_units) == len(spec.proprio_names)
    assert len(set(spec.proprio_names)) == len(spec.proprio_names)
    assert spec.action.rate_hz > 0
    assert set(spec.camera_matrices) <= set(spec.cameras)
    for matrix in spec.camera_matrices.values():
        assert matrix.shape == (3, 4)
        assert np.all(np.isfinite(matrix))
    robot.reset(1)
    assert robot.spec.name == spec.name
    assert robot.spec.cameras == spec.cameras


def test_it_observes_what_its_spec_says(robot: Robot) -> None:
    check_observation(robot, robot.reset(0))
    robot.act(middling(robot))
    check_observation(robot, robot.observe())


def test_observing_twice_without_acting_changes_nothing(robot: Robot) -> None:
    first = robot.reset(0)
    assert same(first, robot.observe(), real_time(robot))
    robot.act(middling(robot))
    assert same(observed(robot), robot.observe(), real_time(robot))


def test_a_seed_fixes_the_start_and_another_one_changes_it(robot: Robot) -> None:
    first = robot.reset(3)
    robot.act(middling(robot))
    other = robot.reset(4)
    assert same(robot.reset(3), first, real_time(robot))
    assert not same(first, other, real_time(robot))


def test_the_same_actions_from_the_same_start_lead_to_the_same_place(robot: Robot) -> None:
    ends = []
    for _ in range(2):
        robot.reset(5)
        for number in range(3):
            robot.act(middling(robot, number))
        ends.append(observed(robot))
    assert same(*ends, real_time(robot))


def test_time_passes_with_every_action_at_the_stated_rate(robot: Robot) -> None:
    times_s = [robot.reset(0).time_s]
    for _ in range(3):
        robot.act(middling(robot))
        times_s.append(robot.observe().time_s)
    period_s = 1 / robot.spec.action.rate_hz
    if real_time(robot):
        # A busy machine may be late, even to look; but an arm is never driven faster than it says.
        assert times_s[-1] - times_s[0] > 2.7 * period_s
    else:
        np.testing.assert_allclose(np.diff(times_s), period_s, rtol=1e-6)


def test_an_action_within_the_limits_is_sent_as_it_is(robot: Robot) -> None:
    robot.reset(0)
    action = middling(robot)
    np.testing.assert_array_equal(robot.act(action).values, action.values)


def test_it_answers_with_what_it_really_sent(robot: Robot) -> None:
    spec = robot.spec.action
    robot.reset(0)
    beyond = Action((spec.high + 5 * (spec.high - spec.low)).astype(np.float32))
    sent = robot.act(beyond)
    np.testing.assert_array_equal(sent.values, spec.high)
    limited = observed(robot)
    robot.reset(0)
    robot.act(sent)
    assert same(limited, observed(robot), real_time(robot))


def test_an_action_that_does_not_fit_is_refused_and_moves_nothing(robot: Robot) -> None:
    size = robot.spec.action.size
    before = robot.reset(0)
    for values in (np.zeros(size + 1), np.zeros(size - 1), np.full(size, np.nan), np.full(size, np.inf)):
        with pytest.raises(ValueError, match="action"):
            robot.act(Action(values.astype(np.float32)))
    assert same(robot.observe(), before, real_time(robot))


def test_an_action_moves_something(robot: Robot) -> None:
    before = robot.reset(0)
    for _ in range(3):
        robot.act(Action(robot.spec.action.high))
    assert np.abs(observed(robot).proprio - before.proprio).max() > 1e-3


def test_what_was_observed_stays_as_it_was(robot: Robot) -> None:
    held = robot.reset(0)
    kept = {name: image.copy() for name, image in held.images.items()}, held.proprio.copy()
    for _ in range(3):
        robot.act(middling(robot))
        robot.observe()
    for name, image in kept[0].items():
        np.testing.assert_array_equal(held.images[name], image)
    np.testing.assert_array_equal(held.proprio, kept[1])


# What only some can do, and say


def test_what_the_robots_can_do_is_what_is_expected_of_them(robot: Robot) -> None:
    kinds = (Haltable, Ageing, Previewing, KnowsSuccess, SaysCondition)
    can = {kind.__name__ for kind in kinds if isinstance(robot, kind)}
    everything = {kind.__name__ for kind in kinds}
    assert can == (everything if real_time(robot) or isinstance(robot, OwnRobot) else {"KnowsSuccess"})
    assert isinstance(robot, TakesAnyWords) == ("Haltable" in can)


def test_counting_anew_success_is_no_longer_that_of_before_and_nothing_else_changes(robot: Robot) -> None:
    if not isinstance(robot, CountsAnew):
        pytest.skip("it counts from its last reset")
    assert isinstance(robot, KnowsSuccess)
    robot.reset(0)
    robot.act(middling(robot))
    before = robot.observe()
    robot.count_anew()
    after = robot.observe()
    np.testing.assert_array_equal(after.proprio, before.proprio)
    assert after.time_s == before.time_s and robot.succeeded() is False


def test_halted_it_rests_and_takes_no_action_until_the_next_reset(robot: Robot) -> None:
    haltable = as_one(robot, Haltable)
    robot.reset(0)
    for _ in range(3):
        robot.act(Action(robot.spec.action.high))
    haltable.halt()
    rests = observed(robot)
    with pytest.raises(SailError):
        robot.act(middling(robot))
    haltable.halt()  # halting again is allowed
    assert same(observed(robot), rests, real_time(robot))
    robot.reset(0)
    robot.act(middling(robot))


def test_it_may_be_halted_from_another_thread_in_the_midst_of_acting(robot: Robot) -> None:
    haltable = as_one(robot, Haltable)
    robot.reset(0)
    problems: list[SailError] = []

    def act_on() -> None:
        try:
            for _ in range(2000):
                robot.act(middling(robot))
                time.sleep(0.001)
        except SailError as problem:
            problems.append(problem)

    acting = threading.Thread(target=act_on)
    acting.start()
    time.sleep(0.2)
    haltable.halt()
    acting.join(30)
    assert problems and not acting.is_alive()
    rests = observed(robot)
    time.sleep(0.1)
    assert same(observed(robot), rests, real_time(robot))


def test_halted_before_its_first_reset_or_twice_it_raises_nothing() -> None:
    for make in (ROBOTS["somebody's own"], ROBOTS["arm over a wire, displacements"]):
        fresh = make()
        as_one(fresh, Haltable).halt()
        as_one(fresh, Haltable).halt()
        fresh.close()


def test_it_says_how_old_everything_is_that_it_senses(robot: Robot) -> None:
    ageing = as_one(robot, Ageing)
    robot.reset(0)
    robot.observe()
    ages = ageing.ages()
    assert set(robot.spec.cameras) < set(ages)  # and where the robot itself is
    assert all(0.0 <= age_s < 30.0 for age_s in ages.values())


def test_a_preview_moves_nothing_and_is_where_the_robot_then_goes(robot: Robot) -> None:
    previewing = as_one(robot, Previewing)
    robot.reset(0)
    before = observed(robot)
    there = previewing.preview(middling(robot))
    assert all(map(np.isfinite, there.values()))
    assert same(observed(robot), before, real_time(robot))
    robot.act(middling(robot))
    assert where(robot) == pytest.approx(there, abs=1e-3)


def test_success_is_known_or_not(robot: Robot) -> None:
    robot.reset(0)
    assert as_one(robot, KnowsSuccess).succeeded() in (None, False)


def test_its_condition_is_a_few_words(robot: Robot) -> None:
    robot.reset(0)
    condition = as_one(robot, SaysCondition).condition()
    assert isinstance(condition, str) and 0 < len(condition) < 200


def test_whether_any_words_will_do_is_yes_or_no(robot: Robot) -> None:
    assert as_one(robot, TakesAnyWords).takes_any_words is True
