"""What is each maker's own: how an arm refuses, how a gripper takes its time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from hardware.arms.franka import FrankaArm
from hardware.arms.gripper import GripperThread
from hardware.arms.robotiq import RobotiqGripper
from hardware.arms.ur import URArm
from hardware.arms.xarm import XArm
from robot.core.errors import SailError
from tests.doubles import franky, robotiq, ur, xarm_wrapper
from tests.doubles.benches import BENCHES, Bench, wait_until


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [name], indirect=True)


# Every arm


@pytest.mark.parametrize(
    ("make", "joints"),
    [
        (lambda: FrankaArm("arm", "panda"), 8),
        (lambda: FrankaArm("arm", gripper=False), 7),
        (lambda: URArm("arm", "ur10e"), 6),
        (lambda: URArm("arm", "ur3e", gripper="robotiq-2f140"), 7),
        (lambda: XArm("arm", "xarm6"), 7),
        (lambda: XArm("arm", "xarm7", gripper=False), 7),
    ],
)
def test_models_and_grippers_have_their_own_descriptions(make, joints: int) -> None:
    assert make().description.size == joints


def test_a_share_slows_the_arm_and_not_its_gripper() -> None:
    whole, part = FrankaArm("arm", share=1.0).description, FrankaArm("arm", share=0.25).description
    np.testing.assert_allclose(part.velocity[:-1], 0.25 * whole.velocity[:-1])
    np.testing.assert_allclose(part.jerk[:-1], 0.25 * whole.jerk[:-1])
    assert part.velocity[-1] == whole.velocity[-1]
    np.testing.assert_array_equal(part.high, whole.high)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_beyond_the_makers_limits_is_refused(share: float) -> None:
    with pytest.raises(SailError, match="share"):
        FrankaArm("arm", share=share)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FrankaArm("arm", "fr4"),
        lambda: URArm("arm", "ur5"),
        lambda: URArm("arm", gripper="hand"),
        lambda: XArm("arm", "xarm8"),
    ],
)
def test_an_unknown_model_is_refused_with_the_known_ones(make) -> None:
    with pytest.raises(SailError, match="There is no"):
        make()


def test_the_second_module_a_package_needs_is_named_where_that_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "franky.py").write_text("import websockets_that_is_not_there\n")
    with patch.dict(sys.modules), patch.object(sys, "path", [str(tmp_path), *sys.path]):
        sys.modules.pop("franky", None)
        with pytest.raises(SailError, match="websockets_that_is_not_there"):
            FrankaArm("arm").connect()


# Franka


@on("franka")
def test_a_franka_is_told_the_velocity_of_its_path_and_never_more_than_allowed(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    start = driver.read().position
    step = np.append(np.full(7, 0.0004), 0.0)
    for number in range(4):
        driver.write(start + number * step)
    told = [velocity for _, velocity in franky._arms["arm"].targets]
    np.testing.assert_array_equal(told[0], 0.0)
    np.testing.assert_allclose(told[1:], 0.1, atol=1e-9)  # 0.4 mrad every 4 ms
    driver.write(start + 10.0 * np.append(np.ones(7), 0.0))
    assert np.all(np.abs(franky._arms["arm"].targets[-1][1]) <= driver.description.velocity[:7])
    driver.stop()
    np.testing.assert_array_equal(franky._arms["arm"].targets[-1][1], 0.0)
    driver.close()


@on("franka")
def test_a_franka_that_stopped_itself_takes_no_command_and_says_why(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    driver.write(driver.read().position)
    arm = franky._arms["arm"]
    arm.reflex()
    commands = bench.commands()
    with pytest.raises(SailError, match="cartesian_reflex"):
        driver.write(bench.where())
    driver.stop()
    assert bench.commands() == commands
    driver.close()
    driver.connect()  # a person connects anew, having looked
    assert not arm.errors
    driver.write(bench.where())
    driver.close()


@on("franka")
def test_a_franka_grasps_when_it_closes_and_keeps_hold_over_a_stop(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    arm = franky._arms["arm"]
    arm.blocked_at = 0.03
    closed = driver.read().position
    closed[-1] = 0.0
    driver.write(closed)
    wait_until(lambda: bool(arm.grasps))
    wait_until(lambda: abs(driver.read().position[-1] - 0.03) < 1e-9)
    driver.write(closed)
    driver.stop()
    driver.write(closed)
    assert len(arm.grasps) == 1
    assert arm.grasps[0][2] > 0.0
    driver.close()


@on("franka")
def test_a_slow_hand_holds_up_no_command_and_a_stop_ends_its_move(bench: Bench) -> None:
    arm = franky._arms["arm"]
    arm.slow = threading.Event()
    driver = bench.make()
    driver.connect()
    position = driver.read().position
    position[-1] = 0.01
    driver.write(position)
    wait_until(lambda: driver._gripper._moving)
    for _ in range(50):
        driver.write(position)
        driver.read()
    assert bench.commands() == 51
    driver.stop()
    wait_until(arm.slow.is_set)
    assert arm.width == 0.08
    driver.close()


# The gripper's thread


def test_a_gripper_takes_the_newest_opening_and_skips_those_between() -> None:
    free, moves = threading.Event(), []

    def move(opening_m: float) -> None:
        moves.append(opening_m)
        assert free.wait(20)

    gripper = GripperThread(move, lambda: 0.08)
    gripper.ask(0.05)
    wait_until(lambda: moves == [0.05])
    for opening_m in (0.04, 0.03, 0.02):
        gripper.ask(opening_m)
    free.set()
    wait_until(lambda: len(moves) == 2)
    assert moves == [0.05, 0.02]
    gripper.close()


def test_a_gripper_that_fails_is_told_of_at_the_next_chance() -> None:
    def move(opening_m: float) -> None:
        raise RuntimeError("no answer")

    gripper = GripperThread(move, lambda: 0.08)
    gripper.ask(0.01)

    def failed() -> bool:
        try:
            gripper.check()
        except SailError:
            return True
        return False

    wait_until(failed)
    with pytest.raises(SailError, match="no answer"):
        gripper.ask(0.02)
    gripper.close()


def test_robotiqs_gripper_speaks_its_protocol() -> None:
    served = robotiq.Gripper()
    gripper = RobotiqGripper("127.0.0.1", "robotiq-2f85", speed=100, force=50, port=served.port)
    assert (served.values["SPE"], served.values["FOR"], served.values["GTO"]) == (100, 50, 1)
    assert gripper.opening_m() == 0.085
    for opening_m, count in ((0.0, 255), (0.085, 0), (0.2, 0), (-1.0, 255), (0.0425, 128)):
        gripper.move(opening_m)
        assert served.values["POS"] == count
    gripper.close()
    gripper.close()
    served.close()


def test_robotiqs_gripper_is_not_moved_before_a_person_activated_it() -> None:
    served = robotiq.Gripper(active=False)
    with pytest.raises(SailError, match="activate it on the pendant"):
        RobotiqGripper("127.0.0.1", "robotiq-2f85", port=served.port)
    assert not any(line.startswith("SET") for line in served.heard)
    served.close()


# UR


@on("ur")
@pytest.mark.parametrize(
    ("change", "says"),
    [({"mode": 3}, "release its brakes"), ({"safety": 3}, "protective stop"), ({"remote": False}, "remote control")],
)
def test_a_ur_that_is_not_ready_says_what_to_do_on_its_pendant(bench: Bench, change: dict, says: str) -> None:
    for name, value in change.items():
        setattr(ur.controllers["127.0.0.1"], name, value)
    with pytest.raises(SailError, match=says):
        bench.make().connect()


@on("ur")
def test_a_ur_in_a_protective_stop_takes_no_command(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    driver.write(driver.read().position)
    ur.controllers["127.0.0.1"].halt(ur.PROTECTIVE)
    with pytest.raises(SailError, match="protective stop"):
        driver.write(bench.where())
    driver.close()


@on("ur")
def test_a_ur_whose_states_stand_still_is_noticed_though_the_package_still_answers(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    first = driver.read()
    ur.controllers["127.0.0.1"].frozen_at = 12.0
    driver.read()  # one state may repeat
    time.sleep(0.12)
    with pytest.raises(SailError, match="no states any more"):
        driver.read()
    ur.controllers["127.0.0.1"].frozen_at = None
    assert driver.read().time_s > first.time_s
    driver.close()
    assert ur.controllers["127.0.0.1"].program == ur.STOPPED


def test_a_ur_refuses_a_look_ahead_or_gain_its_controller_would_not_take() -> None:
    for wrong in ({"lookahead_s": 0.01}, {"gain": 5000.0}):
        with pytest.raises(SailError, match="lookahead_s"):
            URArm("arm", **wrong)


# xArm


@on("xarm")
def test_an_xarm_in_error_or_of_another_model_is_refused(bench: Bench) -> None:
    box = xarm_wrapper._boxes["arm"]
    box.error = 23
    with pytest.raises(SailError, match="error 23"):
        bench.make().connect()
    box.error = 0
    with pytest.raises(SailError, match="is an xArm 7 .* and not xarm6"):
        XArm("arm", "xarm6").connect()


@on("xarm")
def test_an_xarm_gets_power_with_the_first_command_and_not_before(bench: Bench) -> None:
    box = xarm_wrapper._boxes["arm"]
    driver = bench.make()
    driver.connect()
    driver.read()
    assert not box.enabled
    driver.write(driver.read().position)
    assert box.enabled and box.mode == 1
    box.error = 31
    with pytest.raises(SailError, match="error 31"):
        driver.write(bench.where())
    driver.close()
