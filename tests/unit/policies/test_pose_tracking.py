"""Laws of pose tracking: it reaches its goals, stays in bounds, holds what it grasps and conforms to the protocol."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies.pose_network import PoseNetwork, PoseNetworkShape, save_pose_network
from policies.pose_tracking import PoseTracking, reject_outliers
from robot.core.data import Observation, VideoPlan
from robot.core.protocols import InverseDynamics

TINY = PoseNetworkShape(size=32, widths=(8, 16, 16, 16), keypoints=8, attended=2, hidden=32)


class PixelReader(PoseNetwork):
    """A double that reads the pose from the first pixel: entry i is its value / 255, opening from the pixel below."""

    def __init__(self) -> None:
        super().__init__(TINY)
        self.calls = 0

    def estimate(
        self, frames: NDArray[np.uint8], batch_size: int = 256, precision: torch.dtype | None = None
    ) -> NDArray[np.float32]:
        self.calls += 1
        poses: NDArray[np.float32] = np.empty((len(frames), 4), np.float32)
        poses[:, :3] = frames[:, 0, 0].astype(np.float32) / 255
        poses[:, 3] = frames[:, 1, 0, 0].astype(np.float32) / 255
        return poses


def picture(pose: NDArray[np.float64], size: int = 8) -> NDArray[np.uint8]:
    frame = np.zeros((size, size, 3), np.uint8)
    frame[0, 0] = np.round(pose[:3] * 255)
    frame[1, 0] = np.round(pose[3] * 255)
    return frame


def observation(pose: list[float] | NDArray[np.float64], size: int = 8) -> Observation:
    pose = np.asarray(pose, np.float64)
    return Observation({"corner2": picture(pose, size)}, pose.astype(np.float32), 0.0)


def plan(poses: list[list[float]], stride_s: float = 0.05, size: int = 8) -> VideoPlan:
    return VideoPlan(np.stack([picture(np.asarray(pose), size) for pose in poses]), stride_s, "reach", 0, "fake")


def tracker(**overrides: object) -> PoseTracking:
    arguments: dict[str, object] = {
        "calibration": 0.0,
        "lead_s": 0.0,
        "median": False,
        "precision": "float32",
    } | overrides
    return PoseTracking(PixelReader(), **arguments)  # type: ignore[arg-type]


def follow(
    tracking: PoseTracking, start: list[float], wanted: VideoPlan, steps: int, pull: float
) -> NDArray[np.float64]:
    """Act on a point mass whose every step moves by 2 cm of the action, times `pull`; return where it went."""
    here = np.asarray(start, np.float64)
    (handle,) = tracking.begin([observation(here)], [wanted])
    path = [here.copy()]
    for step in range(steps):
        (action,) = tracking.act([observation(here)], [handle], [step])
        here[:3] += 0.01 * 2 * pull * action.values[:3]
        path.append(here.copy())
    return np.asarray(path)


def test_pose_tracking_is_inverse_dynamics() -> None:
    assert isinstance(tracker(), InverseDynamics)


@given(
    start=st.tuples(*[st.floats(0.3, 0.7)] * 3),
    goal=st.tuples(*[st.floats(0.3, 0.7)] * 3),
    pull=st.floats(0.7, 1.0),
)
@settings(max_examples=25, deadline=None)
def test_a_constant_goal_is_reached(start: tuple[float, ...], goal: tuple[float, ...], pull: float) -> None:
    """Also by an arm that moves only 70 % of what it is told, as MetaWorld's lags."""
    path = follow(tracker(), [*start, 1.0], plan([[*goal, 1.0]] * 30), 60, pull)
    assert np.abs(path[-1, :3] - goal).max() < 0.004  # a grey level is 3.9 mm here


def test_a_frame_is_reached_when_it_is_due() -> None:
    poses = [[0.4 + 0.02 * frame, 0.5, 0.5, 1.0] for frame in range(1, 7)]
    path = follow(tracker(gain=1.0), [0.4, 0.5, 0.5, 1.0], plan(poses), 12, 1.0)
    for frame, pose in enumerate(poses):
        assert np.abs(path[2 * (frame + 1), :3] - pose[:3]).max() < 0.004


def test_a_lead_makes_up_for_an_arm_that_trails_its_plan() -> None:
    poses = [[0.4 + 0.02 * frame, 0.5, 0.5, 1.0] for frame in range(1, 9)]
    ends = [follow(tracker(lead_s=lead), [0.4, 0.5, 0.5, 1.0], plan(poses), 12, 0.5)[-1, 0] for lead in (0.0, 0.05)]
    wanted = poses[5][0]  # due after 12 steps
    assert abs(ends[1] - wanted) < abs(ends[0] - wanted)
    with pytest.raises(ValueError, match="lead_s must not be negative"):
        tracker(lead_s=-0.1)


def test_the_action_is_the_documented_formula() -> None:
    tracking = tracker()
    (handle,) = tracking.begin([observation([0.4, 0.4, 0.4, 1])], [plan([[0.4, 0.4, 0.4, 1], [0.8, 0.4, 0.4, 1]])])
    goal = round(0.8 * 255) / 255
    here = observation([goal - 0.01, round(0.4 * 255) / 255, round(0.4 * 255) / 255, 1.0])
    first, second = (tracking.act([here], [handle], [step])[0].values for step in (2, 3))
    np.testing.assert_allclose(first, [1.3 * 0.01 / 0.04, 0, 0, -1], atol=1e-5)
    np.testing.assert_allclose(second, [1.3 * 0.01 / 0.02, 0, 0, -1], atol=1e-5)


@given(seed=st.integers(0, 10_000), gain=st.floats(0.1, 50))
@settings(max_examples=30, deadline=None)
def test_commands_never_leave_their_bounds(seed: int, gain: float) -> None:
    rng = np.random.default_rng(seed)
    tracking = tracker(gain=gain, median=True, calibration=1.0)
    (handle,) = tracking.begin([observation(rng.random(4))], [plan(rng.random((5, 4)).tolist())])
    for step in range(14):
        (action,) = tracking.act([observation(rng.random(4))], [handle], [step])
        assert action.values.dtype == np.float32
        assert action.values.shape == (4,)
        assert np.all(np.abs(action.values) <= 1.0)


def test_past_the_last_frame_its_pose_is_held() -> None:
    tracking = tracker()
    (handle,) = tracking.begin([observation([0.5, 0.5, 0.5, 1])], [plan([[0.2, 0.6, 0.6, 1]] * 2)])
    here = observation([0.3, 0.6, 0.6, 1])
    late = [tracking.act([here], [handle], [step])[0].values for step in (4, 50)]
    np.testing.assert_array_equal(late[0], late[1])
    assert late[0][0] == -1.0


def commands(openings: list[float], start: float, **overrides: object) -> list[float]:
    tracking = tracker(**overrides)
    pose = [0.5, 0.5, 0.5]
    (handle,) = tracking.begin([observation([*pose, start])], [plan([[*pose, opening] for opening in openings])])
    here = observation([*pose, start])
    return [float(tracking.act([here], [handle], [2 * frame])[0].values[3]) for frame in range(len(openings))]


def test_the_gripper_follows_imagined_openings() -> None:
    assert commands([1.0, 1.0, 0.5, 0.3], start=1.0) == [-1, -1, 1, 1]
    assert commands([0.3, 0.5, 1.0, 1.0], start=0.3) == [1, 1, -1, -1]


def test_a_gripper_kept_half_open_by_an_object_goes_on_pressing() -> None:
    assert commands([0.5] * 4, start=0.5) == [1] * 4


def test_between_its_thresholds_the_gripper_stays_as_it_was() -> None:
    assert commands([0.8] * 3, start=0.9, closing_drop=0.5) == [-1] * 3
    assert commands([0.8] * 3, start=0.6) == [1] * 3
    assert commands([1.0, 0.8, 0.6, 0.8], start=0.9, closing_drop=0.5) == [-1, -1, 1, 1]


def test_a_gripper_imagined_to_begin_closing_closes() -> None:
    assert commands([0.86] * 2, start=1.0) == [1, 1]


def test_calibration_takes_off_what_the_network_gets_wrong_now() -> None:
    class Shifted(PixelReader):
        def estimate(
            self, frames: NDArray[np.uint8], batch_size: int = 256, precision: torch.dtype | None = None
        ) -> NDArray[np.float32]:
            shifted: NDArray[np.float32] = super().estimate(frames) + np.float32([0.03, -0.02, 0.01, 0])
            return shifted

    start, goal = observation([0.4, 0.4, 0.4, 1]), plan([[0.6, 0.4, 0.4, 1]] * 3)
    errors = []
    for calibration in (0.0, 0.5, 1.0):
        tracking = PoseTracking(Shifted(), calibration=calibration, precision="float32")
        (handle,) = tracking.begin([start], [goal])
        errors.append(np.abs(handle.positions_m - [0.6, 0.4, 0.4]).max())  # type: ignore[attr-defined]
    assert errors[0] == pytest.approx(0.03, abs=1e-4)
    assert errors[1] == pytest.approx(0.015, abs=2.1e-3)  # half of what rounding to grey levels added is there too
    assert errors[2] < 4.1e-3


def test_rejecting_outliers_keeps_steady_motion_and_drops_a_spike() -> None:
    start = np.zeros(4, np.float32)
    steady = np.linspace(0.1, 0.8, 8, dtype=np.float32)[:, None] * np.float32([1, -1, 2, 0.5])
    np.testing.assert_array_equal(reject_outliers(steady, start), steady)
    spiked = steady.copy()
    spiked[3, 0] += 5.0
    assert np.abs(reject_outliers(spiked, start) - steady).max() <= 0.1 + 1e-6


def test_all_plans_are_read_in_one_call_and_each_gets_its_own_targets() -> None:
    tracking = tracker(calibration=1.0)
    starts = [observation([0.1 * number, 0.5, 0.5, 1]) for number in range(1, 4)]
    plans = [plan([[0.2 * number, 0.4, 0.4, 1]] * 4) for number in range(1, 4)]
    handles = tracking.begin(starts, plans)
    assert tracking.network.calls == 1  # type: ignore[attr-defined]
    for number, handle in enumerate(handles, start=1):
        np.testing.assert_allclose(handle.positions_m[:, 0], 0.2 * number, atol=0.005)  # type: ignore[attr-defined]


def test_plans_of_another_size_than_the_camera_s_are_read_too() -> None:
    (handle,) = tracker(calibration=1.0).begin(
        [observation([0.5] * 4, size=16)], [plan([[0.2, 0.4, 0.6, 1]] * 3, size=8)]
    )
    np.testing.assert_allclose(handle.positions_m[2], [0.2, 0.4, 0.6], atol=0.005)  # type: ignore[attr-defined]


def test_a_plan_of_another_stride_is_followed_at_its_own_pace() -> None:
    start = [observation([0.5] * 4)]
    slow = plan([[0.5] * 4] * 2, stride_s=0.1)
    assert tracker().begin(start, [slow])[0].stride == 4  # type: ignore[attr-defined]
    assert tracker(frames_stride=3).begin(start, [slow])[0].stride == 3  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="whole number of steps"):
        tracker().begin(start, [plan([[0.5] * 4], stride_s=0.03)])


def test_bad_calls_are_refused() -> None:
    tracking = tracker()
    here = observation([0.5] * 4)
    with pytest.raises(ValueError, match="one plan an observation"):
        tracking.begin([here], [])
    with pytest.raises(ValueError, match="from its own `begin`"):
        tracking.act([here], ["handle"], [0])
    with pytest.raises(ValueError, match="proprioception"):
        tracking.begin([Observation({}, np.zeros(2, np.float32), 0.0)], [plan([[0.5] * 4])])
    with pytest.raises(ValueError, match="no camera 'corner2'"):
        tracker(calibration=1.0).begin([Observation({}, np.zeros(4, np.float32), 0.0)], [plan([[0.5] * 4])])


@pytest.mark.parametrize(
    "wrong", [{"gain": 0.0}, {"precision": "int3"}, {"calibration": 2.0}, {"close_below": 0.9}, {"frames_stride": 0}]
)
def test_bad_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - five different sentences
        tracker(**wrong)


def test_loaded_tracking_names_its_weights_and_acts_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(TINY)
    save_pose_network(tmp_path, network)
    loaded = PoseTracking.load(tmp_path, gain=1.1)
    assert loaded.identity
    starts, plans = [observation([0.5] * 4, 32)], [plan([[0.4] * 4] * 3, size=32)]
    ours = PoseTracking(network, gain=1.1).begin(starts, plans)[0]
    theirs = loaded.begin(starts, plans)[0]
    np.testing.assert_array_equal(ours.positions_m, theirs.positions_m)  # type: ignore[attr-defined]
