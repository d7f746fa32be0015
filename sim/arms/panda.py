"""The Franka Emika Panda at a table, simulated in real time, as an `ArmDriver`.

The arm's own position controller is the model's: stiff position actuators with gravity compensated. They are told how
fast the target moves as well, as the real one derives from what it is sent, so that the joints follow without lag.
"""

from __future__ import annotations

import importlib.resources
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints, JointState
from sim.arms.cameras import SimulatedCamera, fixed_camera_matrices
from sim.arms.pacing import Clock, Pacer
from sim.arms.painter import read_pose

JOINTS = tuple(f"joint{number}" for number in range(1, 8))
FINGERS = ("left_finger", "right_finger")


def describe_panda() -> ArmDescription:
    """Return the joints and limits that Franka publishes for the Panda and its hand.

    Source: Franka Control Interface documentation, "Robot and interface specifications". The hand's acceleration and
    jerk are not published; moderate ones are taken. Its opening moves at twice a finger's speed.
    """
    return ArmDescription(
        name="panda",
        joint_names=(*JOINTS, "gripper"),
        units=("rad",) * 7 + ("m",),
        low=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973, 0.0]),
        high=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973, 0.08]),
        velocity=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61, 0.1]),
        acceleration=np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0, 1.0]),
        jerk=np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0, 50.0]),
        home=np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4, 0.08]),
        serial="simulated",
    )


def scene_path() -> Path:
    """Return where the scene's model (MJCF) lies."""
    return Path(str(importlib.resources.files("hardware") / "models" / "panda" / "scene.xml"))


class SimulatedPanda:
    """Simulate the Panda; physics advances whenever it is read or written, by the time that has passed."""

    def __init__(
        self,
        cameras: Sequence[str] = ("front", "wrist"),
        image_size: int | tuple[int, int] = 128,
        camera_rate_hz: float = 30.0,
        servo_hz: float = 250.0,
        seed: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        """Load the scene.

        `image_size` is (H, W) in pixels or the side of a square. Targets are expected `servo_hz` times a second and
        reached one such period after they were written. `seed` fixes where the objects are at first. Raises
        UnknownNameError for an unknown camera.
        """
        if servo_hz <= 0:
            raise ValueError(f"servo_hz must be positive, got {servo_hz}.")
        import mujoco

        self._mujoco = mujoco
        self._clock = clock
        self._period_s = 1 / servo_hz
        self._description = describe_panda()
        self._model: Any = mujoco.MjModel.from_xml_path(str(scene_path()))
        self._data: Any = mujoco.MjData(self._model)
        self._imagined = threading.local()
        self._pacer = Pacer(self._model.opt.timestep, clock)
        joint_ids = [self._model.joint(name).id for name in (*JOINTS, *FINGERS)]
        self._places = self._model.jnt_qposadr[joint_ids]
        self._speeds = self._model.jnt_dofadr[joint_ids]
        kp, kv = self._model.actuator_gainprm[:, 0], -self._model.actuator_biasprm[:, 2]
        self._lead_s = kv / kp  # a position actuator told this much ahead damps motion relative to the target's
        self._connected = False
        self._seed = seed
        self._goal: Joints
        self._hold(self._description.home)
        size = (image_size, image_size) if isinstance(image_size, int) else (int(image_size[0]), int(image_size[1]))
        self._cameras = tuple(SimulatedCamera(self, name, size, camera_rate_hz) for name in cameras)
        self.reset(seed)

    @property
    def description(self) -> ArmDescription:
        """Return the joints and their limits."""
        return self._description

    @property
    def cameras(self) -> tuple[SimulatedCamera, ...]:
        """Return the scene's cameras that were asked for, not yet open."""
        return self._cameras

    @property
    def camera_matrices(self) -> dict[str, NDArray[np.float64]]:
        """Return world_to_image, float64 (3, 4), of each camera that stands still; see `camera_matrix`."""
        return fixed_camera_matrices(self._model, self._data, self._cameras)

    @property
    def model(self) -> Any:
        """Return the physics' own mujoco.MjModel."""
        return self._model

    @property
    def snapshot(self) -> tuple[NDArray[np.float64], float]:
        """Return the latest pose for a camera and when it was so (the clock, s); other threads may ask."""
        return self._snapshot

    @property
    def rate_hz(self) -> float:
        """Return how many commands a second it expects."""
        return 1 / self._period_s

    def connect(self) -> None:
        """Let time begin to pass."""
        if not self._connected:
            self._connected = True
            self._pacer.restart()

    def reset(self, seed: int | None = None) -> None:
        """Put the arm back to its home, at rest, and the objects where `seed` says (the next seed when None)."""
        self._seed = self._seed + 1 if seed is None else int(seed)
        rng = np.random.default_rng(self._seed)
        model, data = self._model, self._data
        self._mujoco.mj_resetData(model, data)
        home = self._description.home
        data.qpos[self._places] = [*home[:7], home[7] / 2, home[7] / 2]
        data.joint("drawer").qpos[:] = rng.uniform(0.09, 0.14)
        turn_rad = rng.uniform(-np.pi / 4, np.pi / 4)
        middle_m = rng.uniform([0.38, -0.16], [0.52, 0.06])
        data.joint("cube").qpos[:] = [*middle_m, 0.02, np.cos(turn_rad / 2), 0.0, 0.0, np.sin(turn_rad / 2)]
        self._mujoco.mj_forward(model, data)
        self._hold(home)
        self._pacer.restart()
        self._see()

    def read(self) -> JointState:
        """Return the joints now: positions (rad, opening in m), velocities and efforts (N·m, N)."""
        now_s = self._advance()
        data = self._data
        q, v = data.qpos[self._places], data.qvel[self._speeds]
        effort = np.append(data.qfrc_actuator[self._speeds[:7]], data.actuator_force[7])
        return JointState(_with_opening(q), now_s, _with_opening(v), effort)

    def write(self, position: Joints) -> None:
        """Command joint positions, float64 (8,), in rad and the opening in m, for one servo period from now.

        Raises ValueError for another shape or values that are not finite.
        """
        self._advance()
        if np.shape(position) != self._goal.shape or not np.all(np.isfinite(position)):
            raise ValueError(f"A command to the Panda must be {self._goal.size} finite positions, got {position}.")
        self._holding = False
        self._from = self._reference()
        # By what was asked for, not by when it came: the target's speed does not jitter with the servo's timing.
        limit = self._description.velocity
        self._speed = np.clip((position - self._goal) / self._period_s, -limit, limit)
        self._goal = np.clip(position, self._description.low, self._description.high)
        self._since_s = self._data.time

    def stop(self) -> None:
        """Hold where the arm is, with power, and the fingers as they press; nothing is done before `connect`."""
        if not self._connected:
            return
        self._advance()
        if not self._holding:  # once: the arm hangs a little below its target, and would sink with every stop
            self._hold(np.append(self._data.qpos[self._places[:7]], self._goal[7]))

    def tool_position(self, position: Joints) -> NDArray[np.float64]:
        """Return where the tool is, float64 (3,) in m, base frame, for joint positions (8,); any thread may ask."""
        imagined = getattr(self._imagined, "data", None)
        if imagined is None:
            imagined = self._imagined.data = self._mujoco.MjData(self._model)
        imagined.qpos[self._places[:7]] = position[:7]
        self._mujoco.mj_kinematics(self._model, imagined)
        return np.array(imagined.site("tool").xpos)

    def objects(self) -> dict[str, float]:
        """Return how far the drawer is open and the button pressed (m), and where the cube is (m, arm's base)."""
        data = self._data
        x_m, y_m, z_m = data.body("cube").xpos
        return {
            "drawer": float(data.joint("drawer").qpos[0]),
            "button": float(data.joint("button").qpos[0]),
            "cube_x": float(x_m),
            "cube_y": float(y_m),
            "cube_z": float(z_m),
        }

    def close(self) -> None:
        """Hold and disconnect; closing twice is allowed. Cameras are closed by whoever opened them."""
        if self._connected:
            self.stop()
            self._connected = False

    def _hold(self, position: Joints) -> None:
        self._from = self._goal = np.array(position)
        self._speed = np.zeros_like(self._goal)
        self._since_s = float(self._data.time)
        self._holding = True

    def _reference(self) -> Joints:
        """Return the target now: on the straight way from the one before, which takes a servo period."""
        done = min(1.0, (self._data.time - self._since_s) / self._period_s)
        return np.asarray(self._from + done * (self._goal - self._from))

    def _advance(self) -> float:
        """Bring the physics up to now and return now (s); raises SailError where the arm is not connected."""
        if not self._connected:
            raise SailError("The simulated Panda is not connected; call connect first.")
        now_s = self._clock()
        steps = self._pacer.due()
        data = self._data
        for _ in range(steps):
            # The next target may come up to a period late before the arm is let believe that its target stands still.
            moving = data.time - self._since_s < 2 * self._period_s
            data.ctrl[:] = self._reference() + (self._lead_s * self._speed if moving else 0.0)
            self._mujoco.mj_step(self._model, data)
        if steps:
            self._see(now_s)
        return now_s

    def _see(self, now_s: float | None = None) -> None:
        self._snapshot = (read_pose(self._model, self._data), self._clock() if now_s is None else now_s)


def _with_opening(values: NDArray[np.float64]) -> Joints:
    """Return seven joints and the sum of both fingers, float64 (8,), from seven joints and each finger, (9,)."""
    return np.append(values[:7], values[7] + values[8])
