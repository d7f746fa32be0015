"""Laws of showing slow attempts at the tempo of demonstrations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.data import Episode, Outcome
from robot.learn.tempo import retimed, travelled, typical_speed

strides = st.lists(st.floats(0.0, 0.05), min_size=1, max_size=60)


@given(strides, st.floats(0.001, 0.03), st.integers(1, 4))
def test_retiming_keeps_both_ends_and_skips_no_more_than_it_may(moved: list[float], speed_m: float, most: int) -> None:
    path = np.concatenate([[0.0], np.cumsum(moved)])
    chosen = retimed(path, speed_m, most)
    gaps = np.diff(chosen)
    assert chosen[0] == 0 and chosen[-1] == len(moved)
    assert gaps.min() >= 1 and gaps.max() <= most
    # Only a single step may be faster than a demonstration, since it cannot be shown in less than one frame.
    assert np.all((path[chosen[1:]] - path[chosen[:-1]] <= speed_m * 1.001) | (gaps == 1))


def test_motion_as_fast_as_a_demonstration_is_left_as_it_is() -> None:
    path = 0.02 * np.arange(11)
    assert np.array_equal(retimed(path, 0.02, 3), np.arange(11))
    assert np.array_equal(retimed(path, 0.015, 3), np.arange(11))


def test_slow_motion_is_shown_faster_and_standing_still_as_fast_as_allowed() -> None:
    assert np.array_equal(retimed(0.005 * np.arange(13), 0.015, 4), np.arange(0, 13, 3))
    assert np.array_equal(retimed(np.zeros(9), 0.015, 2), np.arange(0, 9, 2))


def test_no_speed_up_is_no_change_and_less_than_one_is_refused() -> None:
    assert np.array_equal(retimed(np.zeros(5), 0.01, 1), np.arange(5))
    with pytest.raises(ValueError, match="1 or more"):
        retimed(np.zeros(5), 0.01, 0)


def test_distance_and_speed_come_from_the_gripper() -> None:
    proprio = np.zeros((5, 4), np.float32)
    proprio[:, :3] = [[0, 0, 0], [0.03, 0.04, 0], [0.03, 0.04, 0.01], [0.03, 0.04, 0.01], [0.03, 0.02, 0.01]]
    proprio[:, 3] = 7  # the gripper's opening is no way travelled
    actions = np.zeros((4, 4), np.float32)
    episode = Episode("t", "go", "toy", {}, proprio, actions, actions, np.arange(5.0), Outcome.SUCCESS, 0)
    assert np.allclose(travelled(episode), [0, 0.05, 0.06, 0.06, 0.08])
    assert typical_speed([episode]) == pytest.approx(0.015)
    assert typical_speed([]) == 0.0
