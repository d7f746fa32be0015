"""Find which frame of a video belongs to which row of a table, by the time at which each is shown.

A frame too few or too many moves every later one by a place, and a clock that runs differently does so bit by bit:
both leave each frame near some row. So a file is looked at as a whole before any of its episodes is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot.episodes.arrival import UnfitError

TOLERANCE = 0.25
"""Of the time from one frame to the next: how far a frame may be from its row."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """Say which part of a file is an episode's: from `begin_s` on, and before `end_s`."""

    begin_s: float
    end_s: float


class FrameTimes:
    """Hold when the frames of a file are shown, float64 (F,) in order, and which parts of it are whose.

    `fps`: how many rows a second there should be. `rows`: how many the shortest episode has. `tail_s`: how much more
    there may be after the last one. `cut_off`: whether the file is known to have been longer.
    """

    def __init__(
        self,
        shown_s: Floats,
        fps: float,
        windows: Sequence[Window],
        rows: int = 1,
        tail_s: float = 0.0,
        cut_off: bool = False,
    ) -> None:
        self._shown_s = shown_s
        self._fps = fps
        self._begin_s = np.array([window.begin_s for window in windows], np.float64)
        self._end_s = np.array([window.end_s for window in windows], np.float64)
        self._doubt = "" if cut_off else self._miscounted(rows, tail_s)

    def frames(self, window: Window, times_s: Floats) -> NDArray[np.int64]:
        """Return the frame of each row, int64 (N,), of the episode in `window`, whose rows are at `times_s` from there.

        Raises UnfitError where a row has no frame of its own, or which one it is cannot be told.
        """
        if self._doubt:
            raise UnfitError(self._doubt)
        self._check_alone(window)
        step_s, sound_until_s = max(map(self._grid, self._periods_s(times_s)), key=lambda grid: grid[1])
        wanted_s = window.begin_s + times_s
        margin_s = TOLERANCE * step_s
        if wanted_s[-1] >= window.end_s - margin_s:
            raise UnfitError(
                f"its rows go on to {times_s[-1]:.3f} s, its part of the video ends "
                f"{window.end_s - window.begin_s:.3f} s after its beginning"
            )
        first, last = np.searchsorted(self._shown_s, [window.begin_s - margin_s, window.end_s - margin_s])
        chosen = first + _nearest(self._shown_s[first:last], wanted_s, margin_s)
        if last - first > len(times_s) * self._frames_a_row(step_s):
            raise UnfitError(f"its part of the video has {last - first} frames for its {len(times_s)} rows")
        if self._shown_s[chosen[-1]] > sound_until_s:
            raise UnfitError(
                f"the frames of its video are not where {self._fps:g} Hz puts them from {sound_until_s:.3f} s on: "
                "which of them belong to its rows cannot be told"
            )
        return np.asarray(chosen, np.int64)

    def _miscounted(self, rows: int, tail_s: float) -> str:
        """Return what is doubtful about how many frames there are, nothing where all is well."""
        if not len(self._shown_s) or not len(self._end_s):
            return ""
        step_s, _ = self._grid(1 / self._fps)
        excess_s = float(self._shown_s[-1] + step_s - self._end_s.max())
        tail_s = max(tail_s, self._hole_s())
        # As long as an episode, an excess may be one that nobody wants any more.
        if -0.5 / self._fps <= excess_s <= tail_s + 0.5 * step_s or excess_s >= (rows - 0.5) / self._fps:
            return ""
        count = len(self._shown_s)
        rate_hz = (count - 1) / max(float(self._shown_s[-1] - self._shown_s[0]), 1e-6)
        off = f"{abs(excess_s):.3f} s {'less' if excess_s < 0 else 'more'} than its episodes need"
        why = "which frame belongs to which row cannot be told"
        return f"its video has {count} frames at {rate_hz:.4g} Hz, {off}: {why}"

    def _hole_s(self) -> float:
        """Return what lies between one episode and the next, 0 where it is not the same everywhere."""
        order = np.argsort(self._begin_s)
        holes_s = self._begin_s[order][1:] - self._end_s[order][:-1]
        regular = len(holes_s) and holes_s.max() - holes_s.min() < 0.5 / self._fps
        return max(float(holes_s.min()), 0.0) if regular else 0.0

    def _check_alone(self, window: Window) -> None:
        half_s = 0.5 / self._fps
        shared = (self._begin_s < window.end_s - half_s) & (window.begin_s < self._end_s - half_s)
        if shared.sum() > 1:
            raise UnfitError("another episode claims the same part of its video")

    def _periods_s(self, times_s: Floats) -> list[float]:
        """Return how long it may be from one row to the next: as the source says, and as the rows are."""
        own_s = float(times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)
        return [1 / self._fps, own_s] if own_s > 0 else [1 / self._fps]

    def _grid(self, period_s: float) -> tuple[float, float]:
        """Return the time from frame to frame, a whole part of `period_s`, and until when they keep it.

        Gaps of several frames are allowed.
        """
        shown_s = self._shown_s
        if len(shown_s) < 2:
            return period_s, np.inf
        step_s = period_s / max(1, round(period_s / max(float(np.median(np.diff(shown_s))), 1e-6)))
        places = (shown_s - shown_s[0]) / step_s
        astray = np.abs(places - np.round(places)) > TOLERANCE
        astray[1:] |= np.diff(np.round(places)) < 1
        return step_s, float(shown_s[max(int(np.argmax(astray)) - 1, 0)]) if astray.any() else np.inf

    def _frames_a_row(self, step_s: float) -> int:
        return max(1, round(1 / (self._fps * step_s)))


def _nearest(shown_s: Floats, wanted_s: Floats, margin_s: float) -> NDArray[np.int64]:
    """Return the frame shown nearest each time wanted; raise UnfitError where it is too far off or taken already."""
    if not len(shown_s):
        raise UnfitError("its video has no frame in its part")
    after = np.clip(np.searchsorted(shown_s, wanted_s), 0, len(shown_s) - 1)
    before = np.maximum(after - 1, 0)
    chosen = np.where(np.abs(shown_s[before] - wanted_s) <= np.abs(shown_s[after] - wanted_s), before, after)
    off_s = np.abs(shown_s[chosen] - wanted_s)
    far = off_s > margin_s
    if far.any():
        row = int(np.argmax(far))
        off_ms = 1000 * off_s[row]
        raise UnfitError(f"row {row} is at {wanted_s[row]:.3f} s of its video, the nearest frame {off_ms:.0f} ms off")
    again = np.diff(chosen) < 1
    if again.any():
        row = int(np.argmax(again))
        raise UnfitError(f"rows {row} and {row + 1} have only one frame of its video between them")
    found: NDArray[np.int64] = chosen.astype(np.int64)
    return found
