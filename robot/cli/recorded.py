"""What training asks of a recorded episode: its camera, the size of its pictures, its rate, and where the camera is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardware.client.views import square_matrix
from policies.pose_network import POSE_NAMES, POSE_SIZE
from robot.core.data import Episode, RecordedFrames, RobotSpec
from robot.core.errors import SailError
from robot.core.pictures import shrink_frames
from robot.episodes.description import usual_rate_hz
from robot.episodes.fit import check_finite

POSE_UNITS = ("m", "m", "m", "1")
RATES_DIFFER = 0.01
SMALLEST_RANGE = 1e-6
"""An entry of the actions that moves less than this does not move."""
METAWORLD = "metaworld/"


def check_recorded(episode: Episode, camera: str, size: int, rate_hz: float) -> None:
    """Raise SailError, saying what to do, where an episode lacks a camera or has another picture size or rate."""
    check_rate(episode, rate_hz)
    check_size(episode, camera, size)


def check_camera(episode: Episode, camera: str) -> None:
    """Raise SailError, naming the cameras there are, where an episode lacks one."""
    if camera not in episode.frames:
        raise SailError(f"The episodes have no camera {camera!r}, only {', '.join(sorted(episode.frames))}.")


def check_size(
    episode: Episode,
    camera: str,
    size: int,
    hint: str = "record others with `sail collect image_size={size} data=…`",
) -> None:
    """Raise SailError, saying what to do, unless an episode has a camera with pictures of `size` × `size` pixels."""
    check_camera(episode, camera)
    height, width = episode.shape(camera)[1:3]
    if (height, width) != (size, size):
        raise SailError(
            f"The autoencoder takes images of {size}×{size} pixels and the episodes have {height}×{width}: "
            f"{hint.format(size=size)}, or take another autoencoder."
        )


def check_rate(episode: Episode, rate_hz: float) -> None:
    """Raise SailError unless an episode was recorded at `rate_hz`, by what it says or by its times."""
    rates = _rates_hz(episode)
    if rates and all(abs(one / rate_hz - 1.0) > RATES_DIFFER for one in rates):
        raise SailError(
            f"The episodes were recorded at {rates[0]:g} robot steps a second, not {rate_hz:g}: set "
            f"rate_hz={rates[0]:g}."
        )


def step_s(episode: Episode) -> float:
    """Return how long a robot step of an episode took, in seconds; 0 where nothing says it.

    Raises SailError where an episode's times contradict the rate it says.
    """
    rates = _rates_hz(episode)
    if len(rates) == 2 and abs(rates[1] / rates[0] - 1.0) > 0.1:
        raise SailError(
            f"Episode {episode.episode_id!r} says {rates[0]:.4g} steps a second, and its times are those of "
            f"{rates[1]:.4g}: which is right is not known."
        )
    return 1.0 / rates[0] if rates else 0.0


def _rates_hz(episode: Episode) -> list[float]:
    """Return the rate that an episode says, and that of its times, as far as there are any."""
    stated = episode.spec.action.rate_hz if episode.spec else None
    return [float(rate) for rate in (stated, usual_rate_hz(episode.times_s)) if rate]


def check_poses(episode: Episode, assumed: bool) -> None:
    """Raise SailError unless proprioception begins with the gripper's place and opening, or that is `assumed`."""
    spec = episode.spec
    names, units = (spec.proprio_names[:POSE_SIZE], spec.proprio_units[:POSE_SIZE]) if spec else ((), ())
    if episode.proprio.shape[1] >= POSE_SIZE and (assumed or (names, units) == (POSE_NAMES, POSE_UNITS)):
        return
    sensed = ", ".join(f"{name} ({unit})" for name, unit in zip(names, units, strict=True)) or "what it does not name"
    raise SailError(
        f"Pose tracking learns the gripper's place from proprioception, {', '.join(POSE_NAMES)} in m, and episode "
        f"{episode.episode_id!r} senses {sensed}: take kind=frame_pair, or say with assume_pose=true that its first "
        "four numbers are that."
    )


def check_acts(episode: Episode) -> None:
    """Raise SailError for an episode in which nothing was done."""
    if not len(episode):
        raise SailError(f"Episode {episode.episode_id!r} holds no action.")


class Alike:
    """Refuse episodes of another robot than the first one's.

    That is one with other actions, where models are `acting`, or another rate, where steps are `timed`.
    """

    def __init__(self, timed: bool, acting: bool = True) -> None:
        self._timed, self._acting = timed, acting
        self._first: tuple[Episode, float] | None = None
        self._limits: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def check(self, episode: Episode) -> None:
        """Raise SailError for an episode that is not like the first, or whose numbers are not finite."""
        check_finite(episode)
        took_s = step_s(episode) if self._timed else 0.0
        first, its_s = self._first = self._first or (episode, took_s)
        names = [one.spec.action.names if one.spec else () for one in (first, episode)]
        if self._acting and (first.sent.shape[1] != episode.sent.shape[1] or names[0] != names[1]):
            raise SailError(
                f"Episode {episode.episode_id!r} has {_actions(episode)}, and {first.episode_id!r} "
                f"{_actions(first)}: they are of two robots."
            )
        if abs(took_s - its_s) > RATES_DIFFER * its_s:
            raise SailError(
                f"A step of episode {episode.episode_id!r} took {took_s:.4g} s and one of {first.episode_id!r} "
                f"{its_s:.4g} s: they are of two rates."
            )
        self._limits.append(
            (episode.spec.action.low, episode.spec.action.high)
            if episode.spec is not None
            else (episode.sent.min(axis=0), episode.sent.max(axis=0))
        )

    @property
    def step_s(self) -> float:
        """Return how long a step of the episodes took, in seconds."""
        return round(self._first[1], 6) if self._first else 0.0

    def limits(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the limits of each entry of the actions, low and high; empty where −1…1 are.

        They are those that the episodes say, and of one that says none, what it did.
        """
        low = np.min([low for low, _ in self._limits], axis=0)
        high = np.max([high for _, high in self._limits], axis=0)
        if (low == -1.0).all() and (high == 1.0).all():
            return (), ()
        still = high - low < SMALLEST_RANGE
        return tuple(map(float, low)), tuple(map(float, np.where(still, low + 1.0, high)))


def _actions(episode: Episode) -> str:
    names = episode.spec.action.names if episode.spec else ()
    return f"the actions {', '.join(names)}" if names else f"actions of {episode.sent.shape[1]} numbers"


def squared(episode: Episode, camera: str, side: int | None = None) -> Episode:
    """Return an episode with the middle square of one camera's pictures, shrunk to `side` pixels where one is given.

    That is what `robot=arm` sees of such a camera. Its matrix is that of the square. Raises SailError where the square
    is smaller than `side`.
    """
    check_camera(episode, camera)
    height, width = episode.shape(camera)[1:3]
    edge = min(height, width)
    side = edge if side is None else side
    if edge < side:
        raise SailError(
            f"Pictures of {height}×{width} pixels, as episode {episode.episode_id!r} has them, cannot be shrunk to "
            f"{side}×{side}: take another autoencoder."
        )
    corner = ((height - edge) // 2, (width - edge) // 2)
    return dataclasses.replace(
        episode,
        frames=SquareFrames(episode, camera, corner, edge, side),
        spec=None if episode.spec is None else _squared_spec(episode.spec, camera, corner, edge, side),
    )


class SquareFrames(RecordedFrames):
    """Cut a square of `edge` pixels out of one camera's pictures, and shrink it, when they are asked for."""

    def __init__(self, episode: Episode, camera: str, corner: tuple[int, int], edge: int, side: int) -> None:
        self._episode = episode
        self._camera = camera
        self._rows, self._columns = (slice(first, first + edge) for first in corner)
        self._side = side
        self._made: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter((self._camera,))

    def __getitem__(self, camera: str) -> NDArray[np.uint8]:
        if camera != self._camera:
            raise KeyError(camera)
        if self._made is None:
            square = np.ascontiguousarray(self._episode.frames[camera][:, self._rows, self._columns])
            self._made = shrink_frames(torch.from_numpy(square), self._side).numpy()
        return self._made

    def shape(self, camera: str) -> tuple[int, ...]:
        """Return (T+1, side, side, 3)."""
        return self._episode.shape(camera)[0], self._side, self._side, 3

    def mark(self, camera: str) -> str:
        """Return the mark of the whole pictures, and how large they are made."""
        return f"{self._episode.mark(camera)} square {self._side}"


def _squared_spec(spec: RobotSpec, camera: str, corner: tuple[int, int], edge: int, side: int) -> RobotSpec:
    known = spec.camera_matrices.get(camera)
    matrices = {} if known is None else {camera: square_matrix(known, corner, edge, side)}
    return dataclasses.replace(spec, cameras={camera: (side, side)}, camera_matrices=matrices)


def simulated_matrix(episode: Episode, camera: str) -> NDArray[np.float64] | None:
    """Return where the camera of an episode that does not say it puts points of the world, None where nobody knows.

    Of the simulator's first episodes the simulator still does; a recording of an arm says it or nobody does.
    """
    if episode.spec is not None or not episode.robot.startswith(METAWORLD):
        return None
    height, width = episode.frames[camera].shape[1:3]
    matrix: NDArray[np.float64] | None = _simulated_matrix(episode.robot.removeprefix(METAWORLD), camera, height, width)
    return matrix


@cache
def _simulated_matrix(task: str, camera: str, height: int, width: int) -> Any:
    from sim.metaworld import MetaWorldRobot  # which a machine at an arm may do without

    robot = MetaWorldRobot(task, (camera,), (height, width))
    try:
        return robot.spec.camera_matrices.get(camera)
    finally:
        robot.close()
