"""The kinematics of a UR against its Denavit–Hartenberg table, multiplied out here, and against known poses."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.arms.ur import URArm
from hardware.arms.ur_kinematics import ALPHAS, LENGTHS_M, ur_kinematics
from hardware.client.actions import Displacement
from robot.core.errors import SailError
from tests.unit.hardware.client.test_remote import welcome_of


def multiplied(model: str, joints: np.ndarray) -> np.ndarray:
    """Return flange to base, (4, 4), as the product of the table's transformations."""
    pose = np.eye(4)
    for theta, a, d, alpha in zip(joints, LENGTHS_M[model]["a"], LENGTHS_M[model]["d"], ALPHAS, strict=True):
        c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array([[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]])
    return pose


@pytest.mark.parametrize("model", LENGTHS_M)
def test_the_flange_is_where_the_table_has_it(model: str) -> None:
    arm = ur_kinematics(model)
    for joints in np.random.default_rng(0).uniform(-3.0, 3.0, (20, 6)):
        pose, wanted = arm.forward(joints), multiplied(model, joints)
        np.testing.assert_allclose(pose.position, wanted[:3, 3], atol=1e-9)
        np.testing.assert_allclose(pose.rotation, wanted[:3, :3], atol=1e-9)


def test_stretched_out_and_upright_it_is_as_long_as_its_links() -> None:
    arm = ur_kinematics("ur5e")
    np.testing.assert_allclose(arm.forward(np.zeros(6)).position, [-0.8172, -0.2329, 0.0628], atol=1e-4)
    upright = arm.forward(np.array([0, -np.pi / 2, 0, -np.pi / 2, 0, 0]))
    assert upright.position[2] == pytest.approx(0.1625 + 0.425 + 0.3922 + 0.0997, abs=1e-6)
    held = ur_kinematics("ur5e", 0.145).forward(np.zeros(6))
    assert np.linalg.norm(held.position - arm.forward(np.zeros(6)).position) == pytest.approx(0.145)


def test_a_displacement_moves_the_tool_as_asked_and_keeps_it_upright() -> None:
    description = URArm("arm", "ur5e", gripper="robotiq-2f85").description
    arm = ur_kinematics("ur5e", 0.145)
    kind = Displacement(welcome_of(description), 20.0, metres_per_unit=0.01, kinematics=arm)
    kind.begin(description.home)
    goal = kind.target(np.array([1.0, -1.0, 0.5, -1.0], np.float32), description.home)
    np.testing.assert_allclose(kind.tool(goal) - kind.tool(description.home), [0.01, -0.01, 0.005], atol=1e-4)
    turned = arm.forward(description.home[:-1]).rotation.T @ arm.forward(goal[:-1]).rotation
    np.testing.assert_allclose(turned, np.eye(3), atol=1e-3)


def test_other_models_are_named() -> None:
    with pytest.raises(SailError, match="ur5e"):
        ur_kinematics("ur5")
