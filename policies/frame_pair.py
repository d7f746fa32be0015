"""Predict the actions from the frame seen now to the next imagined one, a chunk at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.frame_pair_network import FramePairNetwork, load_frame_pair
from policies.frame_training import finetune_frame_pair
from policies.pose_tracking import PRECISIONS
from robot.core.checkpoints import identity_of
from robot.core.data import Action, Observation, VideoPlan
from robot.core.rates import steps_per_frame


@dataclass(slots=True)
class FramePairChunks:
    """Hold a plan's frames, uint8 (T, H, W, 3), and the chunks predicted so far: frame index → float32 (A, D)."""

    frames: NDArray[np.uint8]
    stride: int
    chunks: dict[int, NDArray[np.float32]] = field(default_factory=dict)


class FramePair:
    """Turn plans into actions by asking what leads from the current frame to the next imagined one.

    A chunk of actions is predicted where execution reaches the start of a frame's stride, for all robots at once, and
    played out step by step; within it nothing is looked at. Actions are clipped to the network's limits, such as −1…1.
    """

    method = "frame_pair"
    finetune = staticmethod(finetune_frame_pair)

    def __init__(
        self,
        network: FramePairNetwork,
        *,
        identity: str = "",
        camera: str = "corner2",
        step_s: float = 0.025,
        frames_stride: int | None = None,
        precision: str = "bfloat16",
    ) -> None:
        """Take a trained network; `frames_stride` (steps between frames) overrides what a plan's `stride_s` says.

        Raises ValueError where a robot step, `step_s`, is not what it was in training.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"Precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
        if not step_s > 0 or (frames_stride is not None and frames_stride < 1):
            raise ValueError("step_s must be positive and frames_stride at least 1.")
        if abs(step_s - network.shape.step_s) > 0.01 * step_s:
            raise ValueError(
                f"The frame-pair network was trained at robot steps of {network.shape.step_s:g} s and cannot act at "
                f"steps of {step_s:g} s: set robot.action_repeat as it was in training, or train another."
            )
        self.network = network.eval()
        self.folder: Path | None = None
        self._loading: dict[str, Any] = {}
        self.identity = identity or identity_of(network.state_dict())
        self.camera, self._step_s, self._frames_stride = camera, step_s, frames_stride
        self._precision = PRECISIONS[precision]

    @classmethod
    def load(cls, folder: str | Path, **overrides: Any) -> FramePair:
        """Return a frame pair with the network stored in `folder`; `overrides` are arguments of the constructor.

        Raises CheckpointError when the folder holds no frame-pair network of this version.
        """
        network, identity = load_frame_pair(folder)
        loaded = cls(network, identity=identity, **overrides)
        loaded.folder, loaded._loading = Path(folder), overrides
        return loaded

    def loaded_from(self, folder: str | Path) -> FramePair:
        """Return the same with the weights stored in another folder, such as `finetune` wrote; see `load`."""
        return type(self).load(folder, **self._loading)

    @property
    def frame_size(self) -> int:
        """Return the side, in pixels, of the squares that the network looks at."""
        return self.network.shape.size

    def begin(self, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> list[object]:
        """Return one handle a plan.

        Raises ValueError when the lengths differ or a plan's stride is not the network's chunk.
        """
        if len(observations) != len(plans):
            raise ValueError(f"There must be one plan an observation, got {len(plans)} for {len(observations)}.")
        handles: list[object] = []
        for plan in plans:
            stride = self._frames_stride or steps_per_frame(plan.stride_s, 1.0 / self._step_s)
            if stride != self.network.shape.chunk:
                raise ValueError(
                    f"The frame-pair network predicts {self.network.shape.chunk} actions a frame, "
                    f"but the plan's frames are {stride} steps apart."
                )
            handles.append(FramePairChunks(plan.frames, stride))
        return handles

    def act(self, observations: Sequence[Observation], handles: Sequence[object], steps: Sequence[int]) -> list[Action]:
        """Return one action an observation, float32 (D,); past a plan's end, its last frame stays the goal.

        Raises ValueError for a handle that `begin` did not make, a negative step, or lengths that differ.
        """
        missing: list[tuple[FramePairChunks, int, NDArray[np.uint8]]] = []
        wanted: list[tuple[FramePairChunks, int, int]] = []
        for observation, handle, step in zip(observations, handles, steps, strict=True):
            if not isinstance(handle, FramePairChunks) or step < 0:
                raise ValueError("A frame pair acts on handles from its own `begin`, at steps of 0 or more.")
            chunk, place = divmod(step, handle.stride)
            wanted.append((handle, chunk, place))
            if chunk not in handle.chunks:
                missing.append((handle, chunk, self._picture(observation)))
        self._predict(missing)
        return [Action(handle.chunks[chunk][place]) for handle, chunk, place in wanted]

    def _predict(self, missing: Sequence[tuple[FramePairChunks, int, NDArray[np.uint8]]]) -> None:
        """Fill in chunks, all those whose pictures have the same sizes in one batch."""
        shapes = [(now.shape, handle.frames.shape[1:]) for handle, _, now in missing]
        for shape in sorted(set(shapes)):
            group = [entry for entry, its in zip(missing, shapes, strict=True) if its == shape]
            now = np.stack([picture for _, _, picture in group])
            goal = np.stack([handle.frames[min(chunk, len(handle.frames) - 1)] for handle, chunk, _ in group])
            limits = self.network.shape
            actions = self.network.predict(now, goal, self._precision)
            actions = np.clip(actions, limits.low or (-1.0,), limits.high or (1.0,)).astype(np.float32)
            for (handle, chunk, _), values in zip(group, actions, strict=True):
                handle.chunks[chunk] = values

    def _picture(self, observation: Observation) -> NDArray[np.uint8]:
        if self.camera not in observation.images:
            raise ValueError(f"There is no camera {self.camera!r}, only {sorted(observation.images)}.")
        return observation.images[self.camera]
