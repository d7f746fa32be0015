"""Which frame belongs to which row: by time, each its own, and none where that cannot be told."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.episodes.arrival import UnfitError
from robot.episodes.lerobot.frame_times import FrameTimes, Window

FPS = 30.0


def windows(lengths: list[int], hole: int = 0) -> list[Window]:
    """Return where episodes of these many rows lie, one after the other, with so many frames between."""
    begins = np.cumsum([0, *(length + hole for length in lengths)])
    return [Window(begin / FPS, (begin + length) / FPS) for begin, length in zip(begins[:-1], lengths, strict=True)]


def times(rows: int) -> np.ndarray:
    return (np.arange(rows) / FPS).astype(np.float32).astype(np.float64)


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    density=st.integers(1, 4),
    jitter=st.floats(0, 0.2),
    hole=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_every_row_has_its_own_frame_whatever_the_jitter(
    lengths: list[int], density: int, jitter: float, hole: int, seed: int
) -> None:
    frames = (sum(lengths) + hole * (len(lengths) - 1)) * density
    step_s = 1 / FPS / density
    shown_s = (np.arange(frames) + np.random.default_rng(seed).uniform(-jitter, jitter, frames) / 2) * step_s
    placed = windows(lengths, hole)
    found = FrameTimes(shown_s, FPS, placed, min(lengths))
    for window, length in zip(placed, lengths, strict=True):
        first = round(window.begin_s * FPS) * density
        assert found.frames(window, times(length)).tolist() == list(range(first, first + length * density, density))


@given(
    lengths=st.lists(st.integers(2, 30), min_size=1, max_size=40),
    rate=st.floats(0.8, 1.25).filter(lambda rate: abs(rate - 1) > 1e-3),
)
def test_a_clock_that_drifts_never_gives_another_s_frame(lengths: list[int], rate: float) -> None:
    shown_s = np.arange(sum(lengths)) / (FPS * rate)
    placed = windows(lengths)
    found = FrameTimes(shown_s, FPS, placed, min(lengths))
    first = 0
    for window, length in zip(placed, lengths, strict=True):
        with contextlib.suppress(UnfitError):
            assert found.frames(window, times(length)).tolist() == list(range(first, first + length))
        first += length


@given(lengths=st.lists(st.integers(2, 20), min_size=1, max_size=6), data=st.data())
def test_a_frame_that_is_missing_costs_its_episode_alone_where_it_leaves_a_gap(
    lengths: list[int], data: st.DataObject
) -> None:
    total = sum(lengths)
    lost = data.draw(st.integers(0, total - 2)) if total > 2 else 0
    shown_s = np.delete(np.arange(total) / FPS, lost)
    placed = windows(lengths)
    found = FrameTimes(shown_s, FPS, placed, min(lengths))
    first = 0
    for window, length in zip(placed, lengths, strict=True):
        if first <= lost < first + length:
            with pytest.raises(UnfitError):
                found.frames(window, times(length))
        else:
            expected = np.arange(first, first + length) - (lost < first)
            assert found.frames(window, times(length)).tolist() == expected.tolist()
        first += length


@given(lengths=st.lists(st.integers(3, 20), min_size=1, max_size=6), change=st.sampled_from([-2, -1, 1, 2]))
def test_a_count_that_does_not_fit_costs_all(lengths: list[int], change: int) -> None:
    shown_s = np.arange(sum(lengths) + change) / FPS
    placed = windows(lengths)
    found = FrameTimes(shown_s, FPS, placed, min(lengths))
    for window, length in zip(placed, lengths, strict=True):
        with pytest.raises(UnfitError, match="cannot be told"):
            found.frames(window, times(length))


def test_what_is_known_to_be_cut_off_is_right_as_far_as_it_goes() -> None:
    placed = windows([5, 6])
    found = FrameTimes(np.arange(7) / FPS, FPS, placed, 5, cut_off=True)
    assert found.frames(placed[0], times(5)).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UnfitError, match="ms off"):
        found.frames(placed[1], times(6))


def test_a_tail_that_is_known_of_is_no_excess() -> None:
    placed = windows([5])
    shown_s = np.arange(6) / FPS
    with pytest.raises(UnfitError, match="more than its episodes need"):
        FrameTimes(shown_s, FPS, placed, 5).frames(placed[0], times(5))
    assert FrameTimes(shown_s, FPS, placed, 5, tail_s=1 / FPS).frames(placed[0], times(5)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shown", [[], [0.0]])
def test_a_video_of_nothing_or_one_frame_is_no_trouble(shown: list[float]) -> None:
    placed = windows([2])
    with pytest.raises(UnfitError):
        FrameTimes(np.array(shown), FPS, placed, 2).frames(placed[0], times(2))
