"""Laws of showing a success without its hesitation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from planners.tempo import typical_change, unhesitating

places = st.lists(st.floats(-3.0, 3.0, width=16), min_size=1, max_size=40)


def clip(values: list[float]) -> NDArray[np.float16]:
    """Return a clip whose frames differ by as much as the numbers do."""
    return np.broadcast_to(np.array(values, np.float16)[:, None, None, None], (len(values), 2, 3, 3))


@given(places, st.floats(0.0, 1.0))
def test_both_ends_stay_and_what_is_left_out_lies_between_frames_that_look_alike(
    values: list[float], alike: float
) -> None:
    chosen = unhesitating(clip(values), alike)
    seen = np.array(values, np.float16).astype(np.float64)
    assert chosen[0] == 0 and chosen[-1] == len(values) - 1
    assert np.all(np.diff(chosen) >= 1)
    for here, there in zip(chosen[:-1], chosen[1:], strict=True):
        assert there == here + 1 or abs(seen[there] - seen[here]) <= alike * (1 + 1e-6)
        assert np.all(np.abs(seen[there + 1 :] - seen[here]) > alike * (1 - 1e-6))


@given(places, st.floats(0.0, 1.0))
def test_no_frame_that_is_shown_comes_back_later(values: list[float], alike: float) -> None:
    shown = np.array(values, np.float16).astype(np.float64)[unhesitating(clip(values), alike)]
    for place in range(len(shown) - 2):
        assert np.all(np.abs(shown[place + 2 :] - shown[place]) > alike * (1 - 1e-6))


def test_motion_as_fast_as_a_demonstration_is_left_as_it_is() -> None:
    values = [float(place) for place in range(11)]
    assert np.array_equal(unhesitating(clip(values), 0.9), np.arange(11))


def test_slow_motion_is_shown_faster_and_a_pause_not_at_all() -> None:
    slow = [place / 4 for place in range(13)]
    assert np.array_equal(unhesitating(clip(slow), 0.75), np.arange(0, 13, 3))
    assert np.array_equal(unhesitating(clip([0.0, 1.0, 1.0, 1.0, 1.0, 2.0]), 0.5), [0, 1, 4, 5])


def test_a_detour_is_left_out() -> None:
    there_and_back = [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0]
    assert np.array_equal(unhesitating(clip(there_and_back), 0.5), [0, 6, 7, 8])


def test_a_negative_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        unhesitating(clip([0.0, 1.0]), -0.1)


def test_the_typical_change_is_the_median_over_all_steps() -> None:
    assert typical_change([clip([0.0, 1.0, 3.0]), clip([0.0, 0.5]), clip([7.0])]) == pytest.approx(1.0)
    assert typical_change([]) == 0.0
