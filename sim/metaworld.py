"""One MetaWorld v3 task as a `Robot`.

Proprioception is the gripper's position (m, world frame) and its opening (0 closed – 1 open). An action is a
displacement of the gripper's target, in units of one centimetre a physics action, and a gripper command
(−1 opens, 1 closes). One `act` repeats its action `action_repeat` times (Adapt2Act repeats it twice).
The goal never enters the observation as numbers; `goal_visible` decides whether its marker is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Action, ActionSpec, Observation, RobotSpec
from robot.core.errors import UnknownNameError
from sim.appearance import Appearance, Looks
from sim.rendering import OffscreenRenderer, RenderSettings, camera_matrix, choose_backend
from sim.tasks import PHYSICS_HZ as PHYSICS_HZ
from sim.tasks import check_task, instruction

CAMERA_POSITIONS_M: Mapping[str, tuple[float, float, float]] = {"corner2": (0.75, 0.075, 0.7)}
"""Cameras moved from MetaWorld's own place, as in the papers (Adapt2Act, SAIL)."""
UPSIDE_DOWN = frozenset({"corner", "corner2", "corner3", "corner4"})
PROPRIO_NAMES = ("gripper_x", "gripper_y", "gripper_z", "gripper_opening")
PROPRIO_UNITS = ("m", "m", "m", "1")
MAX_PHYSICS_STEPS = 1_000_000


def action_spec(action_repeat: int) -> ActionSpec:
    """Return MetaWorld's action: three displacements and a gripper command, all in −1 … 1."""
    return ActionSpec(
        names=("dx", "dy", "dz", "grip"),
        units=("cm", "cm", "cm", "1"),
        low=np.full(4, -1, np.float32),
        high=np.full(4, 1, np.float32),
        rate_hz=PHYSICS_HZ / action_repeat,
        is_relative=True,
    )


class MetaWorldRobot:
    """Simulate the Sawyer arm of one MetaWorld task."""

    def __init__(
        self,
        task: str,
        cameras: Sequence[str] = ("corner2",),
        image_size: int | tuple[int, int] = 128,
        action_repeat: int = 2,
        goal_visible: bool = True,
        render: RenderSettings = RenderSettings(),  # noqa: B008 (frozen)
        appearance: Appearance | None = None,
    ) -> None:
        """Build the scene of `task`; `image_size` is (H, W) in pixels or the side of a square.

        `appearance`: how the scene looks; None is its own look.

        Raises UnknownNameError for an unknown task or camera, RenderingError when nothing can be drawn here.
        """
        check_task(task)
        if action_repeat < 1:
            raise ValueError(f"action_repeat must be at least 1, got {action_repeat}.")
        choose_backend()
        import mujoco

        self.task = task
        self.instruction = instruction(task)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width) < 1:
            raise ValueError(f"image_size must be at least 1 pixel, got {image_size}.")
        self._size = (int(height), int(width))
        self._cameras = tuple(cameras)
        self._repeat = action_repeat
        self._seed = 0
        self._succeeded = False
        self._env = _make_env(task)
        self._mujoco = mujoco
        self._physics_kind = mujoco.mjtState.mjSTATE_INTEGRATION
        self._physics_size: int = mujoco.mj_stateSize(self._env.model, self._physics_kind)
        self._check_cameras(self._cameras)
        for name, position in CAMERA_POSITIONS_M.items():
            self._env.model.camera(name).pos[:] = position
        self._looks = Looks(mujoco, self._env.model)
        self._looks.apply(appearance)
        self._renderer: OffscreenRenderer | None = None
        if self._cameras:
            self._renderer = OffscreenRenderer(self._env.model, self._size, render)
            self._renderer.show_sites(goal_visible)
        self._start(0)
        self._state_size = len(self.state())
        self._spec = self._make_spec()

    @property
    def spec(self) -> RobotSpec:
        """Return names, units, limits, cameras and their matrices."""
        return self._spec

    def reset(self, seed: int | None = None) -> Observation:
        """Start again with object and goal positions drawn from `seed` (the next seed when None).

        Raises ValueError for a seed that is negative or beyond 2⁵³, which a state could not hold.
        """
        self._start(self._seed + 1 if seed is None else int(seed))
        return self.observe()

    def set_appearance(self, appearance: Appearance | None) -> None:
        """Change how the scene looks from now on; None is its own look.

        Physics goes on as if nothing had happened; displaced cameras have other matrices in `spec`.
        """
        self._looks.apply(appearance)
        self._mujoco.mj_camlight(self._env.model, self._env.data)
        self._spec = self._make_spec()

    def look_from(self, cameras: Sequence[str]) -> None:
        """Take pictures with `cameras` from now on.

        Raises UnknownNameError for an unknown camera, ValueError where the robot was built to take no pictures.
        """
        self._check_cameras(cameras)
        if self._renderer is None:
            raise ValueError("This robot was built without cameras and cannot look; build one with cameras.")
        self._cameras = tuple(cameras)
        self._spec = self._make_spec()

    def observe(self) -> Observation:
        """Return pictures, proprioception, simulation time and the full state."""
        data = self._env.data
        images = {
            name: self._renderer.render(data, name, name in UPSIDE_DOWN)
            for name in self._cameras
            if self._renderer is not None
        }
        return Observation(images, self.proprio(), float(data.time), self.state())

    def proprio(self) -> NDArray[np.float32]:
        """Return float32 (4,): gripper x, y, z (m, world frame) and opening (0–1)."""
        return np.asarray(self._vector[:4], np.float32)

    def act(self, action: Action) -> Action:
        """Repeat the clipped action for `action_repeat` physics actions and return it as sent."""
        sent = self._spec.action.clip(action.values)
        for _ in range(self._repeat):
            self._vector, _, _, _, info = self._env.step(sent)
            self._succeeded = self._succeeded or bool(info["success"])
        return Action(sent)

    def sense(self, sent: NDArray[np.float32]) -> None:
        """Take in what has come of physics that was stepped from outside (`scene`), as `act` does after each action.

        `sent`, float32 (4,): the action that the physics carried out; some tasks' success depends on the gripper's.
        """
        env = self._env
        self._mujoco.mj_forward(env.model, env.data)
        bounds = env.sawyer_observation_space
        self._vector = np.clip(np.asarray(env._get_obs(), np.float64), bounds.low, bounds.high, dtype=np.float64)
        _, info = env.evaluate_state(self._vector, sent)
        self._succeeded = self._succeeded or bool(info["success"])

    def succeeded(self) -> bool:
        """Return the simulator's ground truth: whether the task has been done since the last reset or `count_anew`."""
        return self._succeeded

    def count_anew(self) -> None:
        """Let success count from now on, and not from the last reset."""
        self._succeeded = False
        self._env.curr_path_length = 0  # MetaWorld's own count of steps, after so many of which it wants a reset

    @property
    def reach_m(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper corner (m, world frame), each float64 (3,), of where the gripper may go."""
        return np.asarray(self._env.mocap_low, np.float64), np.asarray(self._env.mocap_high, np.float64)

    @property
    def scene(self) -> tuple[Any, Any]:
        """Return the physics itself, mujoco.MjModel and mujoco.MjData, to look at: for benchmarks and viewers."""
        return self._env.model, self._env.data

    def privileged(self) -> NDArray[np.float64]:
        """Return MetaWorld's own observation, float64 (39,), goal included: for scripted experts only."""
        return np.array(self._vector, np.float64)

    def state(self) -> NDArray[np.float64]:
        """Return everything the future depends on: seed, success, last observation and MuJoCo's integration state."""
        ours = [self._seed, float(self._succeeded)]
        return np.concatenate([ours, self._env._prev_obs, self._vector, self._physics()])

    def restore(self, state: NDArray[np.float64]) -> Observation:
        """Put the scene back to a `state()` of the same task; what follows repeats bit for bit.

        The seed in the state redraws what MetaWorld keeps outside MuJoCo (goal, places of fixed objects). Raises
        ValueError when the state is not of this task's size or not finite.
        """
        if state.shape != (self._state_size,):
            raise ValueError(f"A state of {self.task} has shape ({self._state_size},), got {state.shape}.")
        if not np.all(np.isfinite(state)):
            raise ValueError(f"A state of {self.task} must be finite.")
        if int(state[0]) != self._seed:
            self._start(int(state[0]))
        self._succeeded = bool(state[1])
        self._env._prev_obs = state[2:20].copy()
        self._vector = state[20:59].copy()
        self._env.curr_path_length = 0
        self._set_physics(state[59:])
        self._mujoco.mj_forward(self._env.model, self._env.data)
        self._set_physics(state[59:])  # forward kinematics touched the solver's warm start
        return self.observe()

    def close(self) -> None:
        """Free the renderer; closing twice is allowed."""
        if self._renderer is not None:
            self._renderer.close()

    def _start(self, seed: int) -> None:
        if not 0 <= seed < 2**53:
            raise ValueError(f"A seed must lie in 0 … 2⁵³ − 1, got {seed}.")
        self._seed = seed
        self._succeeded = False
        self._env.seed(seed)
        self._env.reset()
        # MetaWorld moves fixed objects and goals in the model last, and leaves what is drawn and sensed where the
        # start before had them; without this the first picture shows another scene than the second.
        self._mujoco.mj_forward(self._env.model, self._env.data)
        self._env._prev_obs = self._env._get_curr_obs_combined_no_goal()
        self._vector = np.asarray(self._env._get_obs(), np.float64)

    def _physics(self) -> NDArray[np.float64]:
        state = np.empty(self._physics_size)
        self._mujoco.mj_getState(self._env.model, self._env.data, state, self._physics_kind)
        return state

    def _set_physics(self, state: NDArray[np.float64]) -> None:
        self._mujoco.mj_setState(self._env.model, self._env.data, state, self._physics_kind)

    def _check_cameras(self, cameras: Sequence[str]) -> None:
        model = self._env.model
        known = tuple(model.camera(index).name for index in range(model.ncam))
        for name in cameras:
            if name not in known:
                raise UnknownNameError("camera", name, known)

    def _make_spec(self) -> RobotSpec:
        model, data = self._env.model, self._env.data
        return RobotSpec(
            name=f"metaworld/{self.task}",
            action=action_spec(self._repeat),
            proprio_names=PROPRIO_NAMES,
            proprio_units=PROPRIO_UNITS,
            cameras=dict.fromkeys(self._cameras, self._size),
            camera_matrices={
                name: camera_matrix(data, model, name, self._size, name in UPSIDE_DOWN)
                for name in self._cameras
                if model.camera(name).bodyid[0] == 0  # a camera on the hand moves: it has no constant matrix
            },
        )


def _make_env(task: str) -> Any:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env: Any = ALL_V3_ENVIRONMENTS[f"{task}-v3"]()
    env._set_task_called = True
    env._freeze_rand_vec = False
    env.seeded_rand_vec = True
    env._partially_observable = False  # the scripted experts read the goal; observations never carry it
    env.__dict__.pop("sawyer_observation_space", None)
    env.max_path_length = MAX_PHYSICS_STEPS
    return env
