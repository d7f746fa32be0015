"""The simulated Panda follows what it is sent, keeps to what Franka publishes, and can do things at its table."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from robot.core.joints import Joints
from sim.arms.panda import JOINTS, SimulatedPanda, describe_panda, scene_path

PERIOD_S = 0.004


class Table:
    """Move the simulated hand about in straight lines, by damped least squares on the model's Jacobian."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.arm = SimulatedPanda(clock=lambda: self.now_s)
        self.arm.connect()
        self._model = self.arm.model
        self._data = mujoco.MjData(self._model)
        self._places = [self._model.joint(name).qposadr[0] for name in JOINTS]
        self._down: NDArray[np.float64] | None = None

    def begin(self, seed: int) -> None:
        self.arm.reset(seed)
        self.target = self.arm.read().position.copy()
        self._down = None

    def go(self, place_m: tuple[float, float, float], opening_m: float, speed_m_s: float = 0.4) -> None:
        """Bring the tool to a place (arm's base frame), the hand turned as it was at home."""
        here = self._tool()[0]
        count = max(1, round(float(np.linalg.norm(place_m - here)) / (speed_m_s * PERIOD_S)))
        for number in range(1, count + 1):
            self._servo(here + (place_m - here) * number / count, opening_m)
        for _ in range(150):
            self._servo(np.asarray(place_m), opening_m)

    def _servo(self, wanted_m: NDArray[np.float64], opening_m: float) -> None:
        place_m, turned = self._tool()
        self._down = turned if self._down is None else self._down
        off = 0.5 * sum(np.cross(turned[:, axis], self._down[:, axis]) for axis in range(3))
        linear, angular = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, linear, angular, self._model.site("tool").id)
        jacobian = np.vstack([linear, angular])[:, [self._model.joint(name).dofadr[0] for name in JOINTS]]
        error = np.concatenate([wanted_m - place_m, off])
        self.target[:7] += jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
        self.target[7] += np.clip(opening_m - self.target[7], -0.1 * PERIOD_S, 0.1 * PERIOD_S)
        self.arm.write(self.target)
        self.now_s += PERIOD_S
        self.arm.read()

    def _tool(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        self._data.qpos[self._places] = self.target[:7]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        site = self._data.site("tool")
        return site.xpos.copy(), site.xmat.reshape(3, 3).copy()


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.arm.close()


def test_the_model_has_the_limits_that_are_described() -> None:
    model, description = mujoco.MjModel.from_xml_path(str(scene_path())), describe_panda()
    for number, name in enumerate(JOINTS):
        np.testing.assert_allclose(
            model.joint(name).range, [description.low[number], description.high[number]], atol=1e-6
        )
    fingers = sum(model.joint(name).range[1] for name in ("left_finger", "right_finger"))
    assert fingers == pytest.approx(description.high[7])


def test_the_arm_weighs_what_a_panda_does_and_is_small_on_disk() -> None:
    model = mujoco.MjModel.from_xml_path(str(scene_path()))
    assert 15 < model.body("link0").subtreemass[0] < 20
    assert sum(path.stat().st_size for path in scene_path().parent.rglob("*")) < 1_000_000
    assert (scene_path().parent / "LICENSE").read_text().strip().startswith("Apache License")


def test_the_joints_follow_a_fast_smooth_motion_without_lag(table: Table) -> None:
    """All joints at once, at four fifths of their speed: they trail by less than half a servo period's way."""
    table.begin(0)
    description, arm = table.arm.description, table.arm
    pulse = 2 * np.pi * 0.5
    swing: Joints = 0.8 * description.velocity / pulse
    swing[7] = 0.03
    farthest = np.zeros(8)
    sent = arm.read().position
    for number in range(1000):
        farthest = np.maximum(farthest, np.abs(arm.read().position - sent))
        wave = 0.5 - 0.5 * np.cos(pulse * number * PERIOD_S)
        sent = description.home + np.array([1, 1, 1, 1, 1, 1, 1, -1]) * swing * wave
        arm.write(sent)
        table.now_s += PERIOD_S
    assert np.all(farthest < 0.5 * description.velocity * PERIOD_S)


def test_the_tool_is_where_it_is_seen(table: Table) -> None:
    """At home, published figures place it: 0.307 m ahead, 0.487 m up, in the middle."""
    table.begin(0)
    arm = table.arm
    place_m = arm.tool_position(arm.description.home)
    np.testing.assert_allclose(place_m, [0.307, 0.0, 0.487], atol=1e-3)
    assert arm.camera_matrices.keys() == {"front"}  # the other moves with the hand
    column, row, depth = arm.camera_matrices["front"] @ np.array([*place_m, 1.0])
    assert 1 < depth < 2
    assert 0 < column / depth < 127 and 0 < row / depth < 64


def test_gravity_does_not_pull_it_down_and_is_felt(table: Table) -> None:
    table.begin(0)
    arm = table.arm
    for _ in range(500):
        arm.write(arm.description.home)
        table.now_s += PERIOD_S
    state = arm.read()
    np.testing.assert_allclose(state.position[:7], arm.description.home[:7], atol=1e-3)
    assert np.abs(state.effort[:4]).max() > 10  # N·m: what holds the arm up is what its sensors would say


def test_a_jump_of_the_target_is_met_with_no_more_than_the_motors_have(table: Table) -> None:
    table.begin(0)
    arm, far = table.arm, table.arm.description.home.copy()
    far[:7] += 0.5
    for _ in range(50):
        arm.write(far)
        table.now_s += PERIOD_S
        assert np.all(np.abs(arm.read().effort[:7]) <= np.array([87.0] * 4 + [12.0] * 3) + 30)  # 30: gravity
    assert np.all(np.isfinite(arm.read().position))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_the_cube_can_be_lifted(table: Table, seed: int) -> None:
    table.begin(seed)
    cube = table.arm.objects()
    assert cube["cube_z"] == pytest.approx(0.02, abs=0.005)
    x_m, y_m = cube["cube_x"], cube["cube_y"]
    table.go((x_m, y_m, 0.15), 0.08)
    table.go((x_m, y_m, 0.02), 0.08)
    table.go((x_m, y_m, 0.02), 0.0)
    table.go((x_m, y_m, 0.20), 0.0)
    assert table.arm.objects()["cube_z"] > 0.15
    assert table.arm.read().position[7] > 0.03  # the cube is between the fingers


def test_the_drawer_can_be_closed_and_the_button_pressed(table: Table) -> None:
    table.begin(4)
    before = table.arm.objects()
    assert before["drawer"] > 0.08
    assert before["button"] < 0.002
    front_m = 0.42 - 0.1 - before["drawer"]
    table.go((0.52, front_m - 0.12, 0.25), 0.0)
    table.go((0.52, front_m - 0.12, 0.10), 0.0)
    table.go((0.52, 0.28, 0.10), 0.0)
    assert table.arm.objects()["drawer"] < 0.02
    table.go((0.52, 0.0, 0.25), 0.0)
    table.go((0.55, -0.35, 0.15), 0.0)
    table.go((0.55, -0.35, 0.05), 0.0)
    assert table.arm.objects()["button"] > 0.01
    table.go((0.55, -0.35, 0.15), 0.0)
    assert table.arm.objects()["button"] < 0.002
