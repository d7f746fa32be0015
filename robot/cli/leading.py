"""Make the arm that leads another, out of the settings `leader` of a command."""

from __future__ import annotations

import sys

import numpy as np
from omegaconf import DictConfig

from hardware.arms.homing import LEAST_HOME_SPEED
from hardware.teleoperation.following import Following, Leadable
from hardware.teleoperation.leader import Leader
from hardware.teleoperation.operator_input import InputDevice
from robot.cli.compose import build, compose
from robot.core.errors import SailError
from robot.core.joints import Joints
from robot.core.protocols import ArmDriver, Robot

LEADER = "leader"
"""What the device is called in `takeover=leader`."""


def following(config: DictConfig, robot: Robot, keys: InputDevice) -> Following:
    """Return what lets a robot follow the leader that `config` describes; nothing is connected yet.

    `keys` say the words, where there is a terminal to press them at.
    """
    leader = Leader(leader_driver(config))
    has_terminal = sys.stdin is not None and sys.stdin.isatty()
    return Following(
        leader, robot.spec.action, lambda: place_of(robot), speeds_of(robot), keys if has_terminal else None
    )


def leader_driver(config: DictConfig) -> ArmDriver:
    """Return the driver of the leader: an option of `sail arm serve arm=…`, at a port of its own."""
    words = [f"arm={config.arm}", "safety.servo_hz=100"]  # it is only read
    driver = compose("arm_serve", words).arm.get("driver")
    if driver is None:
        raise SailError(f"leader.arm={config.arm} is no arm that a hand can move: choose so101, widowx or franka.")
    pairs = [f"{key}={config[key]}" for key in ("port", "calibration") if key in driver]
    pairs += [str(pair) for pair in config.settings]
    made = build(compose("arm_serve", [*words, *(f"arm.driver.{pair}" for pair in pairs)]).arm.driver)
    if not isinstance(made, ArmDriver):
        raise SailError(f"leader.arm={config.arm} makes no driver of an arm.")
    return made


def place_of(robot: Robot) -> Joints:
    """Return where a robot driven by joint positions was sent last, or is, float64 (Da,), in its actions' order."""
    if isinstance(robot, Leadable):
        return robot.sent_positions()
    names, observation = robot.spec.proprio_names, robot.observe()
    return np.array([observation.proprio[names.index(name)] for name in robot.spec.action.names], np.float64)


def speeds_of(robot: Robot) -> Joints:
    """Return how fast a robot eases to its leader, float64 (Da,): as it goes home, where its limits are known."""
    if isinstance(robot, Leadable):
        return robot.easing_speeds()
    return np.array([LEAST_HOME_SPEED.get(unit, 0.0) for unit in robot.spec.action.units])
