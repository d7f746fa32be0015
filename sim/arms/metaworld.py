"""The arm of a MetaWorld task, simulated in real time, as an `ArmDriver`.

Its joints are the hand's x, y, z (m, world frame) and the gripper's opening (m). Writing a position puts MetaWorld's
mocap body there, which drags the hand along; MetaWorld's own action moves that body by up to a centimetre, 80 times a
second. So an action d of `sim.metaworld` is the position last written plus d / 100 for each of its repeats.

The gripper's opening is the distance between the fingers, 0 … 0.1 m; a tenth of it is 1 in MetaWorld's proprioception.
Written, it stands for MetaWorld's effort e, from −1 (open) to 1 (close): opening = 0.05 (1 − e). An effort is no place:
fingers that close on nothing, or on something, stop where they stop, and are then read elsewhere than where they were
written to. To keep hold of a thing, write what was written before and not what is read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Observation
from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints, JointState
from sim.arms.cameras import SimulatedCamera, fixed_camera_matrices
from sim.arms.pacing import Clock, Pacer
from sim.arms.painter import read_pose
from sim.metaworld import PHYSICS_HZ, UPSIDE_DOWN, MetaWorldRobot

JOINTS = ("x", "y", "z", "gripper")
ACTION_M = 0.01
"""How far MetaWorld's mocap body goes for an action of 1."""
OPEN_M = 0.1
"""The opening (m) that MetaWorld calls 1."""


def opening_from_effort(effort: float) -> float:
    """Return the opening (m) to write for one of MetaWorld's gripper efforts, −1 (open) … 1 (close)."""
    return OPEN_M * (1 - effort) / 2


def tool_position(position: Joints) -> NDArray[np.float64]:
    """Return where the tool is, float64 (3,) in m, world frame, for positions (4,) of the joints."""
    return position[:3]


def effort_from_opening(opening_m: float) -> float:
    """Return MetaWorld's gripper effort, −1 … 1, that an opening (m) stands for when written."""
    return float(np.clip(1 - 2 * opening_m / OPEN_M, -1, 1))


class MetaWorldArm:
    """Simulate one MetaWorld task; physics advances whenever it is read or written, by the time that has passed.

    Written to at MetaWorld's own 80 Hz it does bit for bit what `MetaWorldRobot` does.
    """

    def __init__(
        self,
        task: str,
        cameras: Sequence[str] = ("corner2",),
        image_size: int | tuple[int, int] = 128,
        camera_rate_hz: float = 30.0,
        goal_visible: bool = True,
        seed: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        """Build the scene of `task` at the start that `seed` gives.

        `image_size` is (H, W) in pixels or the side of a square; `goal_visible` says whether pictures show the goal.

        Raises UnknownNameError for an unknown task or camera, RenderingError when nothing can be drawn here.
        """
        self._robot = MetaWorldRobot(task, cameras=())
        import mujoco

        self._mujoco = mujoco
        self._clock = clock
        self._model, self._data = self._robot.scene
        self._pacer = Pacer(self._model.opt.timestep, clock)
        self._steps_an_action = round(1 / (PHYSICS_HZ * self._model.opt.timestep))
        self._hand, self._claws = (
            self._model.body("hand").id,
            [self._model.body(f"{s}claw").id for s in ("left", "right")],
        )
        self._connected = False
        size = (image_size, image_size) if isinstance(image_size, int) else (int(image_size[0]), int(image_size[1]))
        self._cameras = tuple(
            SimulatedCamera(self, name, size, camera_rate_hz, name in UPSIDE_DOWN, goal_visible) for name in cameras
        )
        self.reset(seed)
        self._description = self._describe()

    @property
    def description(self) -> ArmDescription:
        """Return the joints and their limits: the task's workspace, and motion that leaves room for every action.

        MetaWorld's actions change the target's velocity by up to 0.8 m/s an axis from one to the next. What the arm may
        do at most is set so high that a governor that keeps to it follows within some hundredths of a second.
        """
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
    def robot(self) -> MetaWorldRobot:
        """Return the robot whose physics this is, to look at: scripted experts and judges need what it knows."""
        return self._robot

    @property
    def instruction(self) -> str:
        """Return what the task asks for, in words."""
        return self._robot.instruction

    def succeeded(self) -> bool:
        """Return the simulator's ground truth: whether the task has been done since the last reset."""
        return self._robot.succeeded()

    def connect(self) -> None:
        """Let time begin to pass."""
        if not self._connected:
            self._connected = True
            self._pacer.restart()

    def reset(self, seed: int | None = None) -> Observation:
        """Start again as `MetaWorldRobot.reset` does, and return what it observes (no pictures).

        Takes some hundredths of a second, in which time stands still.
        """
        start = self._robot.reset(seed)
        self._target_m = np.array(self._data.mocap_pos[0])
        self._before_m = self._target_m.copy()
        self._effort = -1.0
        self._holding = True
        self._done = 0
        self._position = self._sense()
        self._velocity = np.zeros(4)
        self._pacer.restart()
        self._see()
        return start

    def read(self) -> JointState:
        """Return the hand's place (m, world frame), the opening (m) and the velocity of both (m/s)."""
        now_s = self._advance()
        return JointState(self._position.copy(), now_s, self._velocity.copy())

    def write(self, position: Joints) -> None:
        """Put the mocap body at x, y, z, within the task's workspace, and press the gripper as its opening says.

        Raises ValueError for another shape than (4,) or values that are not finite.
        """
        self._advance()
        if np.shape(position) != (len(JOINTS),) or not np.all(np.isfinite(position)):
            raise ValueError(f"A command to MetaWorld's arm must be {len(JOINTS)} finite positions, got {position}.")
        self._holding = False
        self._target_m = np.clip(position[:3], *self._robot.reach_m)
        self._effort = effort_from_opening(float(position[3]))

    def stop(self) -> None:
        """Hold the hand where it is; the gripper presses as before. Nothing is done before `connect`."""
        if not self._connected:
            return
        self._advance()
        if not self._holding:  # once: the hand rests a little beside its target, and would creep with every stop
            self._target_m = np.clip(self._position[:3], *self._robot.reach_m)
            self._holding = True

    def close(self) -> None:
        """Hold and disconnect; closing twice is allowed. Cameras are closed by whoever opened them."""
        if self._connected:
            self.stop()
            self._connected = False
        self._robot.close()

    def _describe(self) -> ArmDescription:
        low, high = self._robot.reach_m
        return ArmDescription(
            name=f"metaworld/{self._robot.task}",
            joint_names=JOINTS,
            units=("m",) * 4,
            low=np.array([*low, 0.0]),
            high=np.array([*high, OPEN_M]),
            velocity=np.array([1.2, 1.2, 1.2, 2.0]),
            acceleration=np.array([40.0, 40.0, 40.0, 100.0]),
            jerk=np.array([4000.0, 4000.0, 4000.0, 20000.0]),
            home=np.array([*np.clip(self._target_m, low, high), OPEN_M]),
            serial="simulated",
        )

    def _advance(self) -> float:
        """Bring the physics up to now and return now (s); raises SailError where the arm is not connected."""
        if not self._connected:
            raise SailError("MetaWorld's arm is not connected; call connect first.")
        now_s = self._clock()
        steps = self._pacer.due()
        if steps == 0:
            return now_s
        model, data, here = self._model, self._data, self._position
        data.mocap_pos[0] = self._target_m
        data.mocap_quat[0] = (1, 0, 1, 0)  # as MetaWorld's action sets it: the gripper points down
        data.ctrl[:] = (self._effort, -self._effort)
        for _ in range(steps):
            self._mujoco.mj_step(model, data)
            self._done += 1
            if self._done % self._steps_an_action == 0:
                moved = np.clip((self._target_m - self._before_m) / ACTION_M, -1, 1)
                self._robot.sense(np.array([*moved, self._effort], np.float32))
                self._before_m = self._target_m
        self._mujoco.mj_kinematics(model, data)
        self._position = self._sense()
        self._velocity = (self._position - here) / (steps * model.opt.timestep)
        self._see(now_s)
        return now_s

    def _sense(self) -> Joints:
        left, right = self._data.xpos[self._claws]
        opening_m = min(float(np.linalg.norm(right - left)), OPEN_M)
        return np.array([*self._data.xpos[self._hand], opening_m])

    def _see(self, now_s: float | None = None) -> None:
        self._snapshot = (read_pose(self._model, self._data), self._clock() if now_s is None else now_s)
