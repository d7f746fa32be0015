"""An episode taken at another rate goes the same way in the same time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robot.core.data import Episode
from robot.core.errors import SailError
from robot.episodes.resampling import resampled
from tests.fakes import SPEC
from tests.unit.robot.episodes.samples import episode
from tests.unit.robot.episodes.test_fit import displaced, joints


def turning(steps: int = 40) -> Episode:
    """Return an episode of joints that turn evenly, by 0.02 rad a step."""
    pose = np.repeat(0.02 * np.arange(steps + 1, dtype=np.float32)[:, None], 2, axis=1)
    return episode(steps, proprio=pose, sent=pose[:-1] + 0.02, requested=pose[1:], spec=joints(), episode_id="theirs")


def pushing(step: float, steps: int = 40) -> Episode:
    """Return an episode whose hand is displaced by `step` each time, and shut halfway through."""
    sent = np.zeros((steps, 3), np.float32)
    sent[:, 0], sent[:, 1] = step, -step
    sent[:, 2] = np.where(np.arange(steps) < steps // 2, -1.0, 1.0)
    proprio = np.zeros((steps + 1, 3), np.float32)
    return episode(steps, proprio=proprio, sent=sent, requested=sent, spec=displaced(), episode_id="theirs")


def test_at_its_own_rate_an_episode_stays_what_it_was() -> None:
    for whole in (turning(), pushing(0.3)):
        same = resampled(whole, 50.0, 50.0)
        np.testing.assert_allclose(same.sent, whole.sent, atol=1e-6)
        np.testing.assert_allclose(same.proprio, whole.proprio, atol=1e-6)
        assert all(np.array_equal(same.frames[name], frames) for name, frames in whole.frames.items())


@pytest.mark.parametrize("rate_hz", [20.0, 37.0, 125.0])
def test_targets_are_those_of_the_time(rate_hz: float) -> None:
    whole = resampled(turning(), 50.0, rate_hz)
    assert len(whole) == int(40 * rate_hz / 50) and len(whole.proprio) == len(whole) + 1
    seconds = np.arange(len(whole) + 1) / rate_hz
    np.testing.assert_allclose(whole.times_s, seconds)
    np.testing.assert_allclose(whole.proprio[:, 0], seconds * 50 * 0.02, atol=1e-5)  # one radian a second
    inside = seconds[:-1] <= 39 / 50
    np.testing.assert_allclose(whole.sent[inside, 1], (seconds[:-1] * 50 + 1)[inside] * 0.02, atol=1e-5)
    assert whole.states is None and whole.success is None and whole.intervention is None and whole.plans == ()


@pytest.mark.parametrize("rate_hz", [25.0, 125.0])
def test_displacements_add_up_to_the_same_way(rate_hz: float) -> None:
    whole = pushing(0.3)
    other = resampled(whole, 50.0, rate_hz)
    np.testing.assert_allclose(other.sent[:, :2].sum(axis=0), whole.sent[:, :2].sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(other.sent[:, 0], 0.3 * 50 / rate_hz, rtol=1e-4)
    half = len(other) // 2
    assert set(other.sent[:half, 2]) == {-1.0} and set(other.sent[half:, 2]) == {1.0}  # held, never in between


def test_a_step_that_would_have_to_go_farther_than_the_robot_does_is_refused() -> None:
    with pytest.raises(SailError, match=r"too fast for 20 steps a second: a step would need dx of 1\.5, and -1 to 1"):
        resampled(pushing(0.6), 50.0, 20.0)


def test_what_actions_mean_must_be_known() -> None:
    nameless = episode(5, spec=SPEC, episode_id="theirs")
    with pytest.raises(SailError, match="do not say whether they are targets or displacements"):
        resampled(nameless, 40.0, 20.0)


def test_the_shortest_episode_keeps_its_step() -> None:
    whole = turning(1)
    assert len(resampled(whole, 50.0, 20.0)) == 1
    empty = dataclasses.replace(
        whole,
        sent=whole.sent[:0],
        requested=whole.sent[:0],
        proprio=whole.proprio[:1],
        times_s=whole.times_s[:1],
        frames={},
        states=None,
        success=None,
        reward=None,
        intervention=None,
    )
    assert len(resampled(empty, 50.0, 20.0)) == 0
