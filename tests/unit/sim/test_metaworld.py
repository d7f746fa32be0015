"""Laws of the simulated robot: seeds, pictures, actions, and states from which everything repeats bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robot.core.data import Action, Observation
from robot.core.errors import UnknownNameError
from sim.experts import ScriptedExpert
from sim.metaworld import MetaWorldRobot
from sim.tasks import INSTRUCTIONS

Make = Callable[..., MetaWorldRobot]
Draw = Callable[[int, int], list[Action]]

SMALL = {"image_size": 48}
BLIND: dict[str, object] = {"cameras": ()}


def act_all(robot: MetaWorldRobot, actions: list[Action]) -> list[Observation]:
    seen = []
    for action in actions:
        robot.act(action)
        seen.append(robot.observe())
    return seen


def assert_same(first: Observation, second: Observation) -> None:
    assert first.state is not None
    assert second.state is not None
    np.testing.assert_array_equal(first.state, second.state)
    np.testing.assert_array_equal(first.proprio, second.proprio)
    assert first.time_s == second.time_s
    assert first.images.keys() == second.images.keys()
    for name, image in first.images.items():
        np.testing.assert_array_equal(image, second.images[name])


def towards(x: float = 0.0, y: float = 0.0, z: float = 0.0, grip: float = 0.0) -> Action:
    return Action(np.array([x, y, z, grip], np.float32))


def test_a_robot_says_what_it_is(make_robot: Make) -> None:
    spec = make_robot("door-close", **SMALL).spec
    assert spec.name == "metaworld/door-close"
    assert spec.proprio_names == ("gripper_x", "gripper_y", "gripper_z", "gripper_opening")
    assert len(spec.proprio_units) == 4
    assert spec.action.rate_hz == 40.0
    assert spec.cameras == {"corner2": (48, 48)}


def test_a_seed_fixes_the_start_whatever_came_before(make_robot: Make, random_actions: Draw) -> None:
    robot, other = make_robot("window-open", **SMALL), make_robot("window-open", copy=1, **SMALL)
    first = robot.reset(5)
    act_all(robot, random_actions(3, 0))
    different = robot.reset(6)
    again, elsewhere = robot.reset(5), other.reset(5)
    assert_same(first, again)
    assert_same(first, elsewhere)
    assert np.abs(different.images["corner2"].astype(int) - first.images["corner2"]).max() > 30


def test_without_a_seed_the_next_one_is_taken(make_robot: Make) -> None:
    robot = make_robot("door-close", **SMALL)
    ninth = robot.reset(9)
    robot.reset(8)
    assert_same(robot.reset(), ninth)


@pytest.mark.parametrize("task", ["window-open", "push"])
def test_the_first_picture_shows_the_scene_that_follows(make_robot: Make, task: str) -> None:
    """MetaWorld itself draws fixed objects and goal markers of the first frame where the start before had them."""
    robot = make_robot(task, **SMALL)
    for seed in (7, 8):
        start = robot.reset(seed)
        before = robot.privileged()
        assert start.state is not None
        assert_same(robot.restore(start.state), start)  # restoring places everything anew
        robot.act(towards(grip=-1))
        np.testing.assert_allclose(before[:18], robot.privileged()[:18], atol=0.01)


@pytest.mark.parametrize("seed", [-1, 2**53])
def test_a_seed_that_a_state_cannot_hold_is_refused(make_robot: Make, seed: int) -> None:
    with pytest.raises(ValueError, match=r"seed must lie in"):
        make_robot("door-close", **SMALL).reset(seed)


def test_observing_changes_nothing(make_robot: Make, random_actions: Draw) -> None:
    robot = make_robot("door-close", **SMALL)
    robot.reset(1)
    act_all(robot, random_actions(2, 0))
    assert_same(robot.observe(), robot.observe())


def test_an_observation_is_not_changed_by_what_follows(make_robot: Make, random_actions: Draw) -> None:
    robot = make_robot("door-close", **SMALL)
    held = robot.reset(1)
    kept = (held.images["corner2"].copy(), held.proprio.copy(), np.array(held.state))
    act_all(robot, random_actions(3, 0))
    np.testing.assert_array_equal(held.images["corner2"], kept[0])
    np.testing.assert_array_equal(held.proprio, kept[1])
    np.testing.assert_array_equal(held.state, kept[2])


def test_the_gripper_goes_where_it_is_sent(make_robot: Make) -> None:
    robot = make_robot("reach", **BLIND)
    for axis, move in enumerate((towards(x=1), towards(y=1), towards(z=1))):
        start = robot.reset(0).proprio
        for _ in range(6):
            robot.act(move)
        gone_m = robot.proprio()[:3] - start[:3]
        assert gone_m[axis] > 0.02
        assert gone_m[axis] > 3 * np.abs(np.delete(gone_m, axis)).max()


def test_the_opening_is_one_when_open_and_falls_when_closing(make_robot: Make) -> None:
    robot = make_robot("reach", **BLIND)
    start = robot.reset(0)
    assert start.proprio[3] > 0.9
    for _ in range(10):
        robot.act(towards(grip=1))
    assert robot.proprio()[3] < 0.6


def test_action_repeat_doubles_motion_and_halves_the_rate(make_robot: Make) -> None:
    once, twice = make_robot("reach", action_repeat=1, **BLIND), make_robot("reach", action_repeat=2, **BLIND)
    assert once.spec.action.rate_hz == 2 * twice.spec.action.rate_hz == 80.0
    start, other = once.reset(3), twice.reset(3)
    assert_same(start, other)
    for _ in range(5):
        twice.act(towards(x=1, z=0.5))
        once.act(towards(x=1, z=0.5))
        once.act(towards(x=1, z=0.5))
    assert_same(once.observe(), twice.observe())
    assert twice.observe().time_s - start.time_s == pytest.approx(10 / 80)


def test_what_was_sent_is_what_the_limits_allow(make_robot: Make) -> None:
    robot, other = make_robot("reach", **BLIND), make_robot("reach", copy=1, **BLIND)
    robot.reset(0)
    other.reset(0)
    sent = robot.act(towards(x=3, y=-7, grip=2))
    np.testing.assert_array_equal(sent.values, np.array([1, -1, 0, 1], np.float32))
    other.act(sent)
    assert_same(robot.observe(), other.observe())


@pytest.mark.parametrize("values", [[0.0, np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0, 0.0], [0.0] * 3, [0.0] * 5])
def test_an_action_that_does_not_fit_is_refused_and_moves_nothing(make_robot: Make, values: list[float]) -> None:
    robot = make_robot("reach", **BLIND)
    before = robot.reset(0)
    with pytest.raises(ValueError, match="action must"):
        robot.act(Action(np.array(values, np.float32)))
    assert_same(robot.observe(), before)


def test_the_gripper_is_drawn_where_the_camera_matrix_says(make_robot: Make) -> None:
    """Where the picture changes as only the gripper moves, there the gripper is: upright, and the right way round."""
    robot = make_robot("reach", image_size=(96, 128), goal_visible=False)
    matrix = robot.spec.camera_matrices["corner2"]
    robot.reset(0)
    for move in (towards(z=1), towards(x=1), towards(y=1)):
        here = robot.proprio()[:3]
        before = robot.observe().images["corner2"].astype(int)
        for _ in range(6):
            robot.act(move)
        after = robot.observe().images["corner2"].astype(int)
        rows, columns = np.nonzero(np.abs(after - before).sum(axis=2) > 60)
        for place_m in (here, robot.proprio()[:3]):
            column, row, depth = matrix @ np.array([*place_m, 1.0])
            nearest = np.hypot(columns - column / depth, rows - row / depth).min()
            assert depth > 0.3
            assert nearest < 6
    high = matrix @ np.array([0.0, 0.6, 0.4, 1.0])
    low = matrix @ np.array([0.0, 0.6, 0.1, 1.0])
    assert high[1] / high[2] < low[1] / low[2] - 5  # up in the world is up in the picture


def test_several_cameras_of_any_size_draw_the_same_instant(make_robot: Make, random_actions: Draw) -> None:
    robot = make_robot("door-close", cameras=("corner2", "topview", "gripperPOV"), image_size=(40, 56))
    robot.reset(1)
    seen = act_all(robot, random_actions(2, 0))[-1]
    assert set(seen.images) == {"corner2", "topview", "gripperPOV"}
    assert all(image.shape == (40, 56, 3) for image in seen.images.values())
    assert set(robot.spec.camera_matrices) == {"corner2", "topview"}  # the gripper's camera moves with it
    alone = make_robot("door-close", cameras=("corner2",), image_size=(40, 56))
    alone.reset(1)
    np.testing.assert_array_equal(act_all(alone, random_actions(2, 0))[-1].images["corner2"], seen.images["corner2"])


def test_a_hidden_goal_changes_the_picture_and_nothing_else(make_robot: Make, random_actions: Draw) -> None:
    shown, hidden = make_robot("reach", **SMALL), make_robot("reach", goal_visible=False, **SMALL)
    for first, second in (
        (shown.reset(4), hidden.reset(4)),
        *zip(act_all(shown, random_actions(3, 1)), act_all(hidden, random_actions(3, 1)), strict=True),
    ):
        np.testing.assert_array_equal(first.state, second.state)
        np.testing.assert_array_equal(first.proprio, second.proprio)
        changed = np.abs(first.images["corner2"].astype(int) - second.images["corner2"]).sum(axis=2) > 30
        assert 0 < changed.mean() < 0.1


def test_names_and_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="door-close"):
        MetaWorldRobot("door-closed")
    with pytest.raises(UnknownNameError, match="corner2"):
        MetaWorldRobot("reach", cameras=("corner-2",))
    with pytest.raises(ValueError, match="action_repeat"):
        MetaWorldRobot("reach", action_repeat=0)
    with pytest.raises(ValueError, match="image_size must be at least 1"):
        MetaWorldRobot("reach", image_size=0)


def test_a_state_of_another_size_or_not_finite_is_refused(make_robot: Make) -> None:
    robot = make_robot("reach", **BLIND)
    state = robot.reset(0).state
    assert state is not None
    with pytest.raises(ValueError, match="shape"):
        robot.restore(state[:-1])
    with pytest.raises(ValueError, match="finite"):
        robot.restore(np.full_like(state, np.nan))


def check_repeats(robot: MetaWorldRobot, other: MetaWorldRobot, actions: list[Action], expert_steps: int) -> None:
    """Let one robot act from where the expert has brought it, another from the same state restored: all is equal."""
    robot.reset(11)
    expert = ScriptedExpert(robot.task, 0, 0.1)
    for _ in range(expert_steps):
        robot.act(expert.act(robot))
    here, driven, expected = robot.observe(), [], []
    assert here.state is not None
    assert here.state.dtype == np.float64
    assert here.state.ndim == 1
    for number in range(expert_steps + len(actions)):  # the expert goes on, then come the actions given
        action = expert.act(robot) if number < expert_steps else actions[number - expert_steps]
        driven.append(robot.act(action))
        expected.append((robot.state(), robot.privileged(), robot.succeeded()))
    end = robot.observe()
    other.reset(12)
    for action in actions[:3]:
        other.act(action)
    assert_same(other.restore(here.state), here)
    for action, (state, vector, succeeded) in zip(driven, expected, strict=True):
        other.act(action)
        np.testing.assert_array_equal(other.state(), state)
        np.testing.assert_array_equal(other.privileged(), vector)
        assert other.succeeded() == succeeded
    assert_same(other.observe(), end)
    start = robot.reset(13)
    assert start.state is not None
    assert_same(other.restore(start.state), start)


@pytest.mark.parametrize("task", ["drawer-close", "push", "stick-push"])
def test_what_follows_a_restored_state_repeats_bit_for_bit(make_robot: Make, random_actions: Draw, task: str) -> None:
    check_repeats(make_robot(task, **SMALL), make_robot(task, copy=1, **SMALL), random_actions(10, 2), 15)


@pytest.mark.slow
@pytest.mark.parametrize("task", list(INSTRUCTIONS))
def test_all_fifty_tasks_repeat_bit_for_bit(random_actions: Draw, task: str) -> None:
    robot, other = MetaWorldRobot(task, image_size=32), MetaWorldRobot(task, image_size=32)
    check_repeats(robot, other, random_actions(20, 3), 40)
    robot.close()
    other.close()


def test_a_restored_success_is_remembered(make_robot: Make) -> None:
    robot, other = make_robot("drawer-close", **BLIND), make_robot("drawer-close", copy=1, **BLIND)
    robot.reset(2)
    expert = ScriptedExpert("drawer-close", 0)
    for _ in range(100):
        robot.act(expert.act(robot))
        if robot.succeeded():
            break
    assert robot.succeeded()
    other.reset(3)
    assert not other.succeeded()
    other.restore(robot.state())
    assert other.succeeded()
    robot.reset(2)
    assert not robot.succeeded()
    other.restore(robot.state())
    assert not other.succeeded()


def test_closing_twice_is_allowed() -> None:
    robot = MetaWorldRobot("reach", image_size=16)
    robot.close()
    robot.close()
