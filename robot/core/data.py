"""The nouns that every layer speaks: observations, actions, plans, episodes and verdicts.

Only NumPy is imported here, so that a machine wired to an arm can use these types without a
deep-learning library. Everything is a frozen dataclass and validates itself when it is made.
"""

from __future__ import annotations

import enum
import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""An RGB picture: uint8, (H, W, 3), 0–255, upright, row 0 at the top."""

FloatArray = NDArray[np.float32]


def _check_image(image: Image, what: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"{what} must be uint8 (H, W, 3), got {image.dtype} {image.shape}.")


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """Describe an action vector: one name, unit, lower and upper bound per entry, and the rate it is sent at.

    `low` and `high` are float32 (Da,) in the units named; `rate_hz` is how often a robot expects a new action.
    `is_relative`: an action says how far to go from here, a gripper's command (`grip`) aside, and not where.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: FloatArray
    high: FloatArray
    rate_hz: float
    is_relative: bool = False

    def __post_init__(self) -> None:
        size = len(self.names)
        if len(self.units) != size or self.low.shape != (size,) or self.high.shape != (size,):
            raise ValueError(f"An action of {size} entries needs {size} units, lows and highs.")
        if not (np.all(np.isfinite(self.low)) and np.all(self.low < self.high)):
            raise ValueError("Every action bound must be finite with low < high.")

    @property
    def size(self) -> int:
        """Return Da, the number of entries in an action."""
        return len(self.names)

    def clip(self, values: FloatArray) -> FloatArray:
        """Return `values` (Da,) limited to the bounds; raise ValueError for a wrong shape or a value not finite."""
        if values.shape != (self.size,):
            raise ValueError(f"An action must have shape ({self.size},), got {values.shape}.")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"An action must be finite, got {values.tolist()}.")
        return np.clip(values, self.low, self.high).astype(np.float32)


@dataclass(frozen=True, slots=True)
class RobotSpec:
    """Describe a robot: what it calls itself, what it senses and how it is driven.

    `proprio_names` and `proprio_units` name the entries of `Observation.proprio`; `cameras` maps a camera's name to
    its image size (H, W) in pixels; `camera_matrices` maps it, where known, to world_to_image, float64 (3, 4), which
    takes homogeneous world coordinates in metres to homogeneous pixel coordinates (column, row, 1) of that image.
    """

    name: str
    action: ActionSpec
    proprio_names: tuple[str, ...]
    proprio_units: tuple[str, ...]
    cameras: Mapping[str, tuple[int, int]]
    camera_matrices: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """Hold what the robot senses at one instant.

    `images`: camera name → uint8 (H, W, 3) RGB. `proprio`: float32 (Dq,), entries and SI units as in `RobotSpec`.
    `time_s`: seconds on the robot's own monotonic clock. `state`: the simulator's full state, float64 (Ds,), where
    there is a simulator: for exact replay and the oracle planner only, never for a policy.
    """

    images: Mapping[str, Image]
    proprio: FloatArray
    time_s: float
    state: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name, image in self.images.items():
            _check_image(image, f"The image of camera {name!r}")
        if self.proprio.dtype != np.float32 or self.proprio.ndim != 1:
            raise ValueError(f"Proprioception must be float32 (Dq,), got {self.proprio.dtype} {self.proprio.shape}.")


@dataclass(frozen=True, slots=True)
class Action:
    """Hold one command: `values`, float32 (Da,), in the units of the robot's `ActionSpec`."""

    values: FloatArray

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 1:
            raise ValueError(f"An action must be float32 (Da,), got {self.values.dtype} {self.values.shape}.")


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """Hold what, beside the weights and the seed, decides which plan a planner samples.

    `negative_prompt`: what plans are steered away from; `opposite` is the opposite of each instruction
    (`planners.words.sampled_for`), which plans then bear in its place.
    """

    sampler: str = "ddim"
    steps: int = 4
    guidance_scale: float = 2.0
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """Hold imagined future frames.

    `frames`: uint8 (T, H, W, 3) RGB; frame i is imagined for (i + 1) · `stride_s` seconds after the observation
    planned from. `planner` names the model by a hash of its weights.
    """

    frames: NDArray[np.uint8]
    stride_s: float
    instruction: str
    seed: int
    planner: str
    settings: SamplerSettings = SamplerSettings()

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"Plan frames must be uint8 (T, H, W, 3), got {self.frames.dtype} {self.frames.shape}.")
        if not self.stride_s > 0:
            raise ValueError(f"A plan's stride_s must be positive, got {self.stride_s}.")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True)
class View:
    """Say what a planner looks at and how its plans are paced; None stands for anything.

    `image_size`: (H, W) in pixels of the pictures of `camera`. `frames` of a plan, `stride_s` seconds apart.
    """

    camera: str | None = None
    image_size: tuple[int, int] | None = None
    stride_s: float | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """Hold what a policy means to do from the observation it was asked about on.

    `steps`: robot steps after which it wants to be asked anew, 1 or more. `horizon`: for how many it can be acted on at
    all, such as while the next intent is being made; 0 stands for `steps`. `plan`: what it imagined, where it imagines.
    `handle`: the policy's own. Raises ValueError for numbers that make no sense.
    """

    steps: int
    horizon: int = 0
    plan: VideoPlan | None = None
    handle: object = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "horizon", self.horizon or self.steps)
        if not 1 <= self.steps <= self.horizon:
            raise ValueError(f"An intent holds for 1 step or more of its {self.horizon}, got {self.steps}.")


@dataclass(frozen=True, slots=True)
class Step:
    """Hold one transition as it was recorded: what was seen, what was asked for and what was really sent."""

    observation: Observation
    requested: Action
    sent: Action


@dataclass(frozen=True, slots=True)
class Feedback:
    """Hold what one robot of a pool answers to an action.

    `success` is the simulator's ground truth after the action, None where nobody knows (a physical arm).
    """

    sent: Action
    observation: Observation
    success: bool | None = None


class Beginning(enum.StrEnum):
    """Say how an episode began: its robot was reset with the episode's seed, or went on from where it was."""

    SEED = "seed"
    CONTINUED = "where the last one ended"


class Outcome(enum.StrEnum):
    """Say how an episode ended. A judge's opinion of it is a `Verdict`, kept apart."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    INFRASTRUCTURE_FAULT = "infrastructure fault"
    OPERATOR_STOP = "operator stop"


@dataclass(frozen=True, slots=True)
class PlacedPlan:
    """Hold a plan together with the step of the episode at which it began to be executed."""

    step: int
    plan: VideoPlan


class RecordedFrames(Mapping[str, NDArray[np.uint8]]):
    """Hold pictures that stay where they lie until they are asked for, by camera: uint8 (T+1, H, W, 3) RGB.

    Those of a camera are read once, and raise SailError where they cannot be.
    """

    @abstractmethod
    def shape(self, camera: str) -> tuple[int, ...]:
        """Return (T+1, H, W, 3) of a camera's pictures without reading them; raise KeyError for another camera."""

    @abstractmethod
    def mark(self, camera: str) -> str:
        """Return what names a camera's pictures without reading them: other pictures have another mark."""

    def __contains__(self, camera: object) -> bool:
        return camera in tuple(self)


@dataclass(frozen=True, slots=True)
class Episode:
    """Hold one whole attempt: T+1 observations and T actions.

    `frames`: camera name → uint8 (T+1, H, W, 3) RGB, `RecordedFrames` where they are still on the disk. `proprio`:
    float32 (T+1, Dq). `requested` and `sent`: float32
    (T, Da), before and after clipping and limits. `times_s`: float64 (T+1,). `states`: float64 (T+1, Ds) full
    simulator states where there are any, else None. `success`: bool (T,), the simulator's ground truth after each
    action where there is one, else None; `reward`: float32 (T,), likewise. `instruction` is what the task is; `spoken`
    is what the planner was told, which differs only when exploration borrowed another instruction. `spec` describes the
    robot, where whoever recorded the episode knew it. `intervention`: bool (T,), whether a person gave the action
    instead of the policy, where somebody could, else None. `begins`: how it began; one that was `continued` has a seed
    too, of what its policy drew. `reversed_of`: the episode that this one is, played backwards
    (`robot.episodes.reversal`), empty where it happened as it is shown.
    """

    task: str
    instruction: str
    robot: str
    frames: Mapping[str, NDArray[np.uint8]]
    proprio: FloatArray
    requested: FloatArray
    sent: FloatArray
    times_s: NDArray[np.float64]
    outcome: Outcome
    seed: int
    spoken: str = ""
    plans: tuple[PlacedPlan, ...] = ()
    states: NDArray[np.float64] | None = None
    success: NDArray[np.bool_] | None = None
    config_hash: str = ""
    episode_id: str = ""
    reward: FloatArray | None = None
    spec: RobotSpec | None = None
    intervention: NDArray[np.bool_] | None = None
    begins: Beginning = Beginning.SEED
    reversed_of: str = ""

    def __post_init__(self) -> None:
        steps = len(self.sent)
        lengths = {f"frames[{name}]": self.shape(name)[0] for name in self.frames}
        lengths |= {"proprio": len(self.proprio), "times_s": len(self.times_s)}
        if self.states is not None:
            lengths["states"] = len(self.states)
        for name, length in lengths.items():
            if length != steps + 1:
                raise ValueError(f"An episode of {steps} actions needs {steps + 1} of {name}, got {length}.")
        if len(self.requested) != steps or any(
            values is not None and len(values) != steps for values in (self.success, self.reward, self.intervention)
        ):
            raise ValueError(f"An episode of {steps} actions needs {steps} requested actions, flags and rewards.")

    def __len__(self) -> int:
        """Return T, the number of actions."""
        return len(self.sent)

    def without_truth(self) -> Episode:
        """Return the episode without what a simulator knows: success, reward, states, and that it ended by success."""
        known = self.success is not None and self.outcome in (Outcome.SUCCESS, Outcome.FAILURE)
        return replace(
            self,
            success=None,
            reward=None,
            states=None,
            outcome=Outcome.TIMEOUT if known else self.outcome,
        )

    def observation(self, step: int) -> Observation:
        """Return the observation before action `step` (0 … T; T is the last one)."""
        images = {name: frames[step] for name, frames in self.frames.items()}
        state = None if self.states is None else self.states[step]
        return Observation(images, self.proprio[step], float(self.times_s[step]), state)

    def shape(self, camera: str) -> tuple[int, ...]:
        """Return (T+1, H, W, 3) of a camera's pictures, which are not read for it."""
        return self.frames.shape(camera) if isinstance(self.frames, RecordedFrames) else self.frames[camera].shape

    def mark(self, camera: str) -> str:
        """Return what names a camera's pictures: of recorded ones without reading them, of others a hash of them."""
        if isinstance(self.frames, RecordedFrames):
            return self.frames.mark(camera)
        frames = np.ascontiguousarray(self.frames[camera])
        return f"{hashlib.sha256(frames.data).hexdigest()} {frames.shape}"

    def camera_matrix(self, camera: str) -> NDArray[np.float64] | None:
        """Return world_to_image, float64 (3, 4), of a camera, see `RobotSpec`; None where nobody knew it."""
        return None if self.spec is None else self.spec.camera_matrices.get(camera)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold a judge's opinion of an episode. Verdicts are appended to an episode, never overwritten.

    `probability`: of success, 0–1. `progress`: float32 (T+1,), 0–1, or None. `source`: who says so
    (`truth`, `classifier`, `vlm`, `person`). `model`: identity of the model, empty where there is none.
    """

    probability: float
    source: str
    model: str = ""
    progress: FloatArray | None = None
    rationale: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"A verdict's probability must lie in 0–1, got {self.probability}.")

    @property
    def success(self) -> bool:
        """Return whether the judge calls the episode a success (probability above one half)."""
        return self.probability > 0.5
