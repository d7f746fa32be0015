"""Follow the gripper of an imagined video: read its pose from every frame, then go there in a closed loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from policies.frame_training import finetune_pose_network
from policies.pose_network import POSE_SIZE, PoseNetwork, load_pose_network
from robot.core.checkpoints import identity_of
from robot.core.data import Action, Observation, VideoPlan
from robot.core.rates import steps_per_frame

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class PoseTargets:
    """Hold where a plan wants the gripper: one row a frame of the plan.

    `positions_m`: float32 (T, 3), x, y, z in the world. `closing`: bool (T,), whether the gripper is to be held shut.
    `stride`: robot steps from one frame to the next; frame i is due at step (i + 1) · stride.
    """

    positions_m: NDArray[np.float32]
    closing: NDArray[np.bool_]
    stride: int


class PoseTracking:
    """Turn plans into actions with a pose network and a proportional controller that sees proprioception.

    Proprioception must begin with the gripper's x, y, z (m, world) and opening (0 shut … 1 open); actions are
    displacements in −1…1 of `metres_per_unit` for each of `action_repeat` physics actions a step, then the gripper
    (−1 opens, 1 shuts). At step s, with n steps left until the imagined frame is due,
    `a = clip(gain · (goal − here) / (metres_per_unit · action_repeat · n), −1, 1)`. A gain above 1 makes up for an arm
    that lags behind its commands.

    `lead_s` looks that much ahead in the plan: at step s the arm heads for where the gripper is to be `lead_s` later.
    An arm under proportional control trails a moving goal by a constant time, and attempts that are slower than their
    plans teach the planner to plan ever slower.

    The gripper: what an object keeps from shutting stays half open (openings of 0.4–0.6 on MetaWorld's handles and
    pucks, 0.3 on nothing, 1 open), and a grasp needs force all the while. So an imagined opening below `close_below`,
    or one that has fallen by more than `closing_drop` since the plan began, shuts it; an opening above `open_above`
    opens it; between them it stays as it was, which at a plan's beginning is what the real opening says.

    `median` removes a frame whose pose disagrees with both its neighbours. `calibration` (0–1) reads the frame that was
    really seen at a plan's beginning too and takes that share of its known error off all the plan's poses: errors in
    a strange scene are much the same from frame to frame.
    """

    method = "pose_tracking"
    finetune = staticmethod(finetune_pose_network)

    def __init__(
        self,
        network: PoseNetwork,
        *,
        identity: str = "",
        camera: str = "corner2",
        step_s: float = 0.025,
        frames_stride: int | None = None,
        action_repeat: int = 2,
        metres_per_unit: float = 0.01,
        gain: float = 1.3,
        lead_s: float = 0.05,
        median: bool = True,
        calibration: float = 0.5,
        close_below: float = 0.75,
        open_above: float = 0.85,
        closing_drop: float = 0.1,
        precision: str = "bfloat16",
    ) -> None:
        """Take a trained network; `frames_stride` (steps between frames) overrides what a plan's `stride_s` says."""
        if precision not in PRECISIONS:
            raise ValueError(f"Precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
        if not (gain > 0 and step_s > 0 and metres_per_unit > 0 and action_repeat >= 1):
            raise ValueError("Gain, step_s, metres_per_unit and action_repeat must be positive.")
        if not lead_s >= 0:
            raise ValueError(f"lead_s must not be negative, got {lead_s}.")
        if not 0.0 <= calibration <= 1.0 or not close_below <= open_above:
            raise ValueError("Calibration must lie in 0–1 and close_below must not exceed open_above.")
        if frames_stride is not None and frames_stride < 1:
            raise ValueError(f"frames_stride must be at least 1, got {frames_stride}.")
        self.network = network.eval()
        self.folder: Path | None = None
        self._loading: dict[str, Any] = {}
        self.identity = identity or identity_of(network.state_dict())
        self.camera, self._step_s, self._frames_stride = camera, step_s, frames_stride
        self._action_repeat, self._metres_per_unit, self._gain = action_repeat, metres_per_unit, gain
        self._lead = round(lead_s / step_s)
        self._median, self._calibration = median, calibration
        self._close_below, self._open_above, self._closing_drop = close_below, open_above, closing_drop
        self._precision = PRECISIONS[precision]

    @classmethod
    def load(cls, folder: str | Path, **overrides: Any) -> PoseTracking:
        """Return pose tracking with the network stored in `folder`; `overrides` are arguments of the constructor.

        Raises CheckpointError when the folder holds no pose network of this version.
        """
        network, identity = load_pose_network(folder)
        loaded = cls(network, identity=identity, **overrides)
        loaded.folder, loaded._loading = Path(folder), overrides
        return loaded

    def loaded_from(self, folder: str | Path) -> PoseTracking:
        """Return the same with the weights stored in another folder, such as `finetune` wrote; see `load`."""
        return type(self).load(folder, **self._loading)

    @property
    def frame_size(self) -> int:
        """Return the side, in pixels, of the squares that the network looks at."""
        return self.network.shape.size

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        """Read all frames of all plans in one batch and return one `PoseTargets` a plan.

        Raises ValueError when the lengths differ or an observation lacks the camera or the gripper's pose.
        """
        if len(observations) != len(plans):
            raise ValueError(f"There must be one plan an observation, got {len(plans)} for {len(observations)}.")
        starts = [self._here(observation) for observation in observations]
        seen: list[NDArray[np.uint8]] = []
        if self._calibration > 0:
            seen = [self._picture(observation)[None] for observation in observations]
        poses = self._estimate([plan.frames for plan in plans] + seen)
        handles: list[object] = []
        for number, (start, plan) in enumerate(zip(starts, plans, strict=True)):
            wanted = poses[number].copy()
            if self._median:
                wanted = reject_outliers(wanted, start)
            if seen:
                wanted[:, :3] -= self._calibration * (poses[len(plans) + number][0, :3] - start[:3])
            stride = self._frames_stride or steps_per_frame(plan.stride_s, 1.0 / self._step_s)
            closing = self._closing(wanted[:, 3], float(start[3]))
            handles.append(PoseTargets(wanted[:, :3], closing, stride))
        return handles

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        """Return one action an observation, float32 (4,) in −1…1; after a plan's last frame, hold its pose.

        Raises ValueError for a handle that `begin` did not make, a negative step, or lengths that differ.
        """
        actions = []
        for observation, handle, step in zip(observations, handles, steps, strict=True):
            if not isinstance(handle, PoseTargets) or step < 0:
                raise ValueError("Pose tracking acts on handles from its own `begin`, at steps of 0 or more.")
            ahead = step + self._lead
            frame = min(ahead // handle.stride, len(handle.positions_m) - 1)
            steps_left = max((frame + 1) * handle.stride - ahead, 1)
            offset_m = handle.positions_m[frame] - self._here(observation)[:3]
            reach_m = self._metres_per_unit * self._action_repeat * steps_left
            values = np.empty(4, np.float32)
            values[:3] = np.clip(self._gain * offset_m / reach_m, -1.0, 1.0)
            values[3] = 1.0 if handle.closing[frame] else -1.0
            actions.append(Action(values))
        return actions

    def _closing(self, openings: NDArray[np.float32], start: float) -> NDArray[np.bool_]:
        """Return for each frame, bool (T,), whether to shut the gripper, from imagined openings and the real one."""
        closing = start < self._close_below
        result = np.zeros(len(openings), np.bool_)
        for frame, opening in enumerate(openings):
            if opening < self._close_below or opening < start - self._closing_drop:
                closing = True
            elif opening > self._open_above:
                closing = False
            result[frame] = closing
        return result

    def _estimate(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return the poses in several stacks of pictures; stacks of one size are read together."""
        results: list[NDArray[np.float32]] = [np.zeros((0, POSE_SIZE), np.float32)] * len(pictures)
        for shape in sorted({stack.shape[1:] for stack in pictures}):
            places = [place for place, stack in enumerate(pictures) if stack.shape[1:] == shape]
            poses = self.network.estimate(np.concatenate([pictures[place] for place in places]), 256, self._precision)
            ends = np.cumsum([len(pictures[place]) for place in places])[:-1]
            for place, part in zip(places, np.split(poses, ends), strict=True):
                results[place] = part
        return results

    def _here(self, observation: Observation) -> NDArray[np.float32]:
        if len(observation.proprio) < POSE_SIZE:
            raise ValueError(f"Pose tracking needs {POSE_SIZE} proprioception entries, got {len(observation.proprio)}.")
        return observation.proprio[:POSE_SIZE]

    def _picture(self, observation: Observation) -> NDArray[np.uint8]:
        if self.camera not in observation.images:
            raise ValueError(f"There is no camera {self.camera!r}, only {sorted(observation.images)}.")
        return observation.images[self.camera]


def reject_outliers(poses: NDArray[np.float32], start: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `poses`, float32 (T, 4), each entry the median of itself and its two neighbours in time.

    `start`, float32 (4,), comes before the first; the last stays as it is. Steady motion passes unchanged.
    """
    if len(poses) < 2:
        return poses
    before = np.concatenate([start[None], poses[:-1]])
    after = np.concatenate([poses[1:], poses[-1:]])
    middle: NDArray[np.float32] = np.median(np.stack([before, poses, after]), axis=0).astype(np.float32)
    return middle
