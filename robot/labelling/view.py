"""Turn an episode into what the label page shows: its description as JSON and its frames as contact sheets.

A sheet holds every frame of a camera in one JPEG, row by row. The page draws single tiles of it, so a step shows
exactly its own frame at once, which seeking in a compressed video does not promise.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from robot.core.data import Episode
from robot.episodes.alignment import imagined_at
from robot.episodes.repair.soundness import is_rate, tells_time, weakness
from robot.episodes.writer import USUAL_RATE_HZ

TALLEST = 480
"""Pixels of a tile's height at most; the page shows some 430."""
PIXELS = 12_000_000
"""Pixels of a sheet at most, 50 MB once it is decoded. Longer episodes are shown smaller; no frame is left out."""
COLUMNS = 16
QUALITY = 92


@dataclass(frozen=True, slots=True)
class Sheet:
    """Hold frames as one JPEG of tiles, `columns` in a row, each `width` × `height` pixels."""

    jpeg: bytes
    columns: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """Hold what the page needs of one episode: `about` as JSON, a sheet a camera, and one of the imagined frames."""

    about: Mapping[str, Any]
    executed: Mapping[str, Sheet]
    imagined: Sheet | None


def make_sheet(frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], pixels: int = PIXELS) -> Sheet:
    """Return uint8 (H, W, 3) RGB frames of one size as a sheet, made smaller where it would pass `pixels`.

    Raises ValueError when there is no frame or the sizes differ.
    """
    if len(frames) == 0 or any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError("A sheet needs at least one frame, and all of one size.")
    height, width = frames[0].shape[:2]
    scale = min(1.0, TALLEST / height, math.sqrt(pixels / (len(frames) * height * width)))
    tile = (max(1, int(width * scale)), max(1, int(height * scale)))
    columns = min(COLUMNS, len(frames))
    sheet = PillowImage.new("RGB", (columns * tile[0], math.ceil(len(frames) / columns) * tile[1]))
    for number, frame in enumerate(frames):
        picture = PillowImage.fromarray(np.ascontiguousarray(frame))
        if picture.size != tile:
            picture = picture.resize(tile, PillowImage.Resampling.BOX)
        sheet.paste(picture, (number % columns * tile[0], number // columns * tile[1]))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return Sheet(file.getvalue(), columns, *tile)


def view_of(episode: Episode) -> EpisodeView:
    """Return the view of an episode; the entries of its actions are numbered where it does not name them.

    What is no number is None there, and times that tell nothing are counted at the rate the robot was to run at.
    """
    episode, wrong = _countable(episode)
    executed = {camera: make_sheet(frames) for camera, frames in episode.frames.items()}
    first, tiles = _plan_tiles(episode)
    imagined = make_sheet(tiles) if tiles else None
    names = [] if episode.spec is None else list(episode.spec.action.names)
    if len(names) != episode.sent.shape[1]:
        names = [f"action {number + 1}" for number in range(episode.sent.shape[1])]
    about = {
        "id": episode.episode_id,
        "task": episode.task,
        "instruction": episode.instruction,
        "spoken": episode.spoken if episode.spoken != episode.instruction else "",
        "robot": episode.robot,
        "seed": episode.seed,
        "outcome": episode.outcome.value,
        "wrong": wrong,
        "steps": len(episode),
        "times_s": [round(float(time - episode.times_s[0]), 4) for time in episode.times_s],
        "plans": [{"step": placed.step, "frames": len(placed.plan)} for placed in episode.plans],
        "shown": [_tile(episode, step, first) for step in range(len(episode) + 1)],
        "action_names": names,
        "sent": _columns(episode.sent),
        "requested": _columns(episode.requested),
        "executed": {camera: _shape(sheet) for camera, sheet in executed.items()},
        "imagined": None if imagined is None else _shape(imagined),
    }
    return EpisodeView(about, executed, imagined)


def _countable(episode: Episode) -> tuple[Episode, str]:
    """Return an episode whose times can be shown, and in words what is wrong with its numbers, nothing where it is."""
    found = weakness(episode)
    wrong = f"it {found.wrong}" if found else ""
    if tells_time(episode):
        return episode, wrong
    asked = episode.spec.action.rate_hz if episode.spec else 0.0
    rate_hz = asked if is_rate(asked) else USUAL_RATE_HZ
    counted = dataclasses.replace(episode, times_s=np.arange(len(episode) + 1) / rate_hz)
    return counted, f"{wrong}; its steps are shown at {rate_hz:g} Hz"


def _plan_tiles(episode: Episode) -> tuple[list[int], list[NDArray[np.uint8]]]:
    """Return the tile at which each plan begins, and all tiles: of each plan the frame it began from, then its own."""
    camera = next(iter(episode.frames), None)
    first: list[int] = []
    tiles: list[NDArray[np.uint8]] = []
    for placed in episode.plans:
        first.append(len(tiles))
        size = placed.plan.frames.shape[1:3]
        began = np.zeros_like(placed.plan.frames[0]) if camera is None else episode.frames[camera][placed.step]
        tiles += [_resized(began, size), *placed.plan.frames]
    return first, tiles


def _resized(frame: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    if frame.shape[:2] == size:
        return frame
    picture = PillowImage.fromarray(np.ascontiguousarray(frame))
    return np.asarray(picture.resize((size[1], size[0]), PillowImage.Resampling.BOX))


def _tile(episode: Episode, step: int, first: Sequence[int]) -> list[int]:
    """Return the plan's number and the tile of the imagined frame that belongs to an observation."""
    number, index = imagined_at(episode, step)
    return [number, -1 if number < 0 else first[number] + index + 1]


def _columns(actions: NDArray[np.float32]) -> list[list[float | None]]:
    return [[round(float(value), 4) if np.isfinite(value) else None for value in column] for column in actions.T]


def _shape(sheet: Sheet) -> dict[str, int]:
    return {"columns": sheet.columns, "width": sheet.width, "height": sheet.height}
