"""The governor: what it is asked never makes it leave the limits, and every state is left as the table says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hardware.arms.franka import FrankaArm
from hardware.server.safety import Governor, SafetySettings
from hardware.server.validation import Proposal
from hardware.wire.commands import Command, Decision
from hardware.wire.reasons import Code, Reason
from hardware.wire.states import State
from robot.core.joints import JointState
from tests.unit.hardware.governed_arms import Bench, bench, check_limits, three_joints

# Shrinking a failure of hundreds of servo periods takes minutes; the failing example says enough.
SLOWLY = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
WAYPOINT = st.tuples(st.floats(-1.5, 1.5), st.floats(-2.5, 1.0), st.floats(-0.05, 0.15))
OFFER = st.tuples(
    st.just("offer"),
    st.lists(st.tuples(st.floats(0.001, 0.3), WAYPOINT), min_size=1, max_size=8),
    st.floats(-0.2, 0.4),
)
SIMPLE = st.sampled_from(["stop", "clear", "arm", "disarm", "home", "silent", "beating", "nonsense", "shoved"])
WAIT = st.tuples(st.just("wait"), st.integers(1, 60))


def carry_out(arm: Bench, operations: list[object]) -> None:
    """Carry out operations, a few servo periods apart."""
    governor = arm.governor
    for operation in operations:
        if isinstance(operation, tuple) and operation[0] == "offer":
            gaps = np.cumsum([gap for gap, _ in operation[1]])
            arm.offer(gaps + operation[2], [point for _, point in operation[1]])
        elif isinstance(operation, tuple):
            arm.step(operation[1])
        elif operation == "stop":
            governor.stop(Reason("a person said so", Code.STOPPED))
        elif operation == "clear":
            governor.clear()
        elif operation == "arm":
            arm.arm()
        elif operation == "disarm":
            governor.disarm()
        elif operation == "home":
            governor.go_home(arm.now_s)
        elif operation == "nonsense":
            arm.offer([0.1], [[np.nan, np.inf, 0.0]])
        elif operation == "shoved":
            governor.fail(Reason("somebody pushed the arm", Code.ASTRAY))
        else:
            arm.beating = operation == "beating"
        arm.step(3)


@SLOWLY
@given(operations=st.lists(st.one_of(OFFER, OFFER, WAIT, SIMPLE), max_size=25))
def test_no_sequence_of_commands_and_silences_leaves_the_limits(operations: list[object]) -> None:
    arm = bench()
    arm.arm()
    carry_out(arm, ["beating", *operations])
    check_limits(arm.sent, three_joints(), arm.governor.period_s)


@SLOWLY
@given(operations=st.lists(st.one_of(OFFER, WAIT), max_size=8), later=st.lists(OFFER, max_size=4))
def test_after_a_stop_the_arm_comes_to_rest_and_stays(operations: list[object], later: list[object]) -> None:
    arm = bench()
    arm.arm()
    carry_out(arm, operations)
    arm.governor.stop(Reason("a person said so", Code.STOPPED))
    carry_out(arm, [*later, "home", "arm", "beating"])
    assert arm.governor.state is State.FAULT
    arm.step(250)
    rest = arm.position
    assert arm.governor.at_rest
    carry_out(arm, [*later, "home", "arm", "disarm"])
    arm.step(50)
    np.testing.assert_array_equal(arm.position, rest)
    assert (arm.governor.state, arm.governor.reason) == (State.FAULT, "a person said so")
    check_limits(arm.sent, three_joints(), arm.governor.period_s)


@settings(SLOWLY, max_examples=8)
@given(points=st.lists(WAYPOINT, min_size=1, max_size=5))
def test_the_tool_stays_in_its_box(points: list[tuple[float, float, float]]) -> None:
    box = SafetySettings(workspace_low=(-0.3, -0.8, -1.0), workspace_high=(0.2, -0.2, 1.0), first_step_s=5.0)
    arm = bench(box, forward=lambda joints: joints)
    arm.arm()
    for point in points:
        arm.offer([0.2], [point])
        arm.step(40)
    arm.step(200)
    sent = np.array(arm.sent)
    assert sent[:, 0].min() >= -0.3 and sent[:, 0].max() <= 0.2
    assert sent[:, 1].min() >= -0.8 and sent[:, 1].max() <= -0.2
    check_limits(sent, three_joints(), arm.governor.period_s)


def test_waypoints_are_reached_when_they_are_due() -> None:
    arm = bench()
    arm.arm()
    arm.step(5)
    start = arm.position.copy()
    goal = np.add(start, [0.2, -0.2, 0.02])
    began_s = arm.now_s
    offsets = np.arange(0.1, 1.01, 0.1)
    way = [start + (goal - start) * (3 * share**2 - 2 * share**3) for share in offsets]
    assert arm.offer(offsets, way).decision is Decision.PASS
    for offset, waypoint in zip(offsets, way, strict=True):
        while arm.now_s + arm.governor.period_s < began_s + offset - 1e-9:
            arm.step()
        np.testing.assert_allclose(arm.position, waypoint, atol=0.006)
    arm.step(60)
    np.testing.assert_array_equal(arm.position, goal)
    assert arm.governor.state is State.HOLDING


def test_a_chunk_that_runs_out_ends_in_a_hold_however_much_hearts_beat() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer([0.2, 0.4], [[0.1, -0.5, 0.04], [0.2, -0.5, 0.04]])
    arm.step(200)
    assert arm.governor.state is State.HOLDING
    at = arm.position
    arm.step(500)
    np.testing.assert_array_equal(arm.position, at)
    np.testing.assert_array_equal(at, [0.2, -0.5, 0.04])


def test_a_seam_between_chunks_is_no_jump() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    for number in range(8):
        # Each chunk disagrees with the one before about where to be.
        side = 0.15 if number % 2 else -0.15
        arm.offer(np.arange(-0.2, 1.0, 0.1), np.tile([side, -0.5, 0.04], (12, 1)))
        arm.step(60)
    check_limits(arm.sent, three_joints(), arm.governor.period_s)
    step = np.abs(np.diff(arm.sent, 2, axis=0)).max(axis=0)
    assert np.all(step <= three_joints().acceleration * arm.governor.period_s**2)


def test_a_later_chunk_keeps_the_waypoints_that_come_before_it() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer([0.2, 0.4], [[0.1, -0.5, 0.04], [0.2, -0.5, 0.04]])
    arm.offer([0.6], [[0.0, -0.5, 0.04]])
    arm.step(50)
    assert arm.position[0] > 0.08
    arm.step(250)
    assert arm.position[0] == 0.0


@pytest.mark.parametrize(
    ("offsets", "positions", "seen_s", "reason"),
    [
        ([0.1], [[np.nan, 0, 0]], None, "finite"),
        ([np.inf], [[0, 0, 0]], None, "finite"),
        ([0.1], [[0, 0]], None, r"\(N, 3\)"),
        ([], np.zeros((0, 3)), None, "1 to 100"),
        ([0.2, 0.1], [[0, -0.5, 0], [0, -0.5, 0]], None, "increase"),
        ([-0.2, -0.1], [[0, -0.5, 0], [0, -0.5, 0]], None, "past"),
        ([0.1], [[0.9, -0.5, 0.04]], None, "shoulder 0.900 rad from where it is, more than 0.500"),
        ([9.0], [[0, -0.5, 0.04]], None, "more than 5 s ahead"),
        ([0.1], [[0, -0.5, 0.04]], 90.0, "observation is 10.00 s old"),
        ([0.1], [[0, -0.5, 0.04]], 101.0, "in the future"),
        ([0.1, 0.2], [[0, -0.5, 0.04], [1e300, -0.5, 0.04]], None, "waypoint 1 has shoulder at 1e\\+300 rad"),
        ([0.1, 0.2], [[0, -0.5, 0.04], [0, -0.5, -5.0]], None, "waypoint 1 has gripper at -5 m, more than 10 times"),
        ([-1e300, 0.2], [[0, -0.5, 0.04]] * 2, None, "in the past"),
        ([-70.0, 0.2], [[0, -0.5, 0.04]] * 2, None, "more than 60 s in the past"),
    ],
)
def test_what_cannot_be_meant_is_rejected(
    offsets: list[float], positions: object, seen_s: float | None, reason: str
) -> None:
    arm = bench()
    arm.arm()
    result = arm.offer(offsets, positions, seen_s)
    assert result.decision is Decision.REJECT
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.reasons[0])
    assert result.reasons[0].code is not Code.NONE
    assert arm.governor.state is State.HOLDING


def test_an_old_sequence_is_rejected_and_a_new_lease_counts_afresh() -> None:
    arm = bench()
    arm.arm()
    times_s, there = np.array([arm.now_s + 0.2]), np.array([[0.1, -0.5, 0.04]])
    assert arm.governor.offer(Command(7, times_s, there), arm.now_s).decision is Decision.PASS
    for number in (7, 6):
        again = arm.governor.offer(Command(number, times_s, there), arm.now_s)
        assert again.decision is Decision.REJECT and "sequence" in again.reasons[0]
    arm.governor.disarm()
    arm.step(100)
    assert arm.arm() == ""
    later_s = np.array([arm.now_s + 0.2])
    assert arm.governor.offer(Command(7, later_s, there), arm.now_s).decision is Decision.REJECT  # the same lease
    arm.governor.lend()
    assert arm.governor.offer(Command(0, later_s, there), arm.now_s).decision is Decision.PASS


def test_an_arm_that_was_moved_by_hand_is_taken_up_where_it_is() -> None:
    arm = bench()
    limits = three_joints()
    for moved in (0.001, 0.01, 0.3):
        arm.arm()
        arm.step(5)
        arm.governor.disarm()
        arm.step(100)
        arm.position = arm.position + moved * (limits.high - limits.low)
        assert arm.arm() == ""
        by_hand = arm.position.copy()
        arm.step()
        off = np.abs(arm.position - by_hand)[:2]  # the gripper keeps its grip
        assert np.all(off <= limits.velocity[:2] * arm.governor.period_s)
        arm.governor.disarm()
        arm.step(100)
        arm.position = limits.home.copy()


def test_a_server_that_ends_takes_no_commands_and_lets_nobody_arm() -> None:
    arm = bench()
    arm.arm()
    arm.governor.end()
    assert arm.offer([0.2], [[0.1, -0.5, 0.04]]).reasons == ("the server ends",)
    assert arm.governor.go_home(arm.now_s) == "the server ends"
    assert arm.governor.go_home(arm.now_s, by_itself=True) == ""
    arm.governor.disarm(Reason("the server ends", Code.ENDING))
    arm.step(100)
    assert arm.arm() == "the server ends"


def test_a_servo_that_hangs_is_a_fault_even_at_rest_and_stays_one() -> None:
    arm = bench()
    arm.arm()
    arm.step(5)
    arm.now_s += 1.5
    arm.step(3)
    assert arm.governor.state is State.FAULT and "late" in arm.governor.reason


def test_what_goes_too_far_or_too_fast_is_clamped_and_said() -> None:
    arm = bench()
    arm.arm()
    far = arm.offer([0.5], [[0.0, 0.2, 0.5]])
    assert far.decision is Decision.CLAMP
    assert far.reasons[0] == "position of gripper"
    assert far.positions[0, 2] == pytest.approx(0.0792)
    fast = arm.offer([0.05], [[0.4, -0.5, 0.04]])
    assert fast.decision is Decision.CLAMP
    assert "velocity of shoulder" in fast.reasons
    passed = arm.offer([1.0], [[0.1, -0.5, 0.04]])
    assert passed.decision is Decision.PASS and passed.reasons == ()


def test_a_waypoint_outside_the_box_is_drawn_back_to_it() -> None:
    box = SafetySettings(workspace_low=(-0.3, -1.0, -1.0), workspace_high=(0.2, 1.0, 1.0))
    arm = bench(box, forward=lambda joints: joints)
    arm.arm()
    result = arm.offer([1.0], [[0.4, -0.5, 0.04]])
    assert result.decision is Decision.CLAMP and "the workspace box" in result.reasons
    assert result.positions[0, 0] == pytest.approx(0.195, abs=1e-3)


@pytest.mark.parametrize("between", ["silent", "stop", "disarm", "home", "shoved", "placed", "other command"])
def test_a_proposal_is_not_put_in_force_after_something_else_came_between(between: str) -> None:
    arm = bench()
    arm.arm()
    arm.step(3)
    proposal = arm.governor.propose(Command(1, np.array([arm.now_s + 2.0]), np.array([[0.1, -0.5, 0.04]])), arm.now_s)
    assert isinstance(proposal, Proposal)
    if between == "silent":
        arm.beating = False
        arm.step(50)
        arm.beating = True
    elif between == "placed":
        arm.governor.place(arm.measured)
    elif between == "other command":
        arm.sequence = 1
        assert arm.offer([1.0], [[0.05, -0.5, 0.04]]).decision is Decision.PASS
    else:
        carry_out(arm, [between])
    arm.step(3)
    result = arm.governor.adopt(arm.governor.fit(proposal), arm.now_s)
    assert result.decision is Decision.REJECT
    assert arm.governor.counts[Decision.REJECT] == 1


def test_waypoints_that_became_past_while_they_were_fitted_are_dropped() -> None:
    arm = bench()
    arm.arm()
    arm.step(3)
    times_s = arm.now_s + np.array([-0.1, 0.05, 0.5])
    proposal = arm.governor.propose(Command(1, times_s, np.tile([0.05, -0.5, 0.04], (3, 1))), arm.now_s)
    assert isinstance(proposal, Proposal)
    arm.step(50)
    result = arm.governor.adopt(arm.governor.fit(proposal), arm.now_s)
    assert result.decision is not Decision.REJECT and result.dropped == 2 and len(result.positions) == 1
    late = arm.governor.propose(Command(2, arm.now_s + np.array([0.05]), np.array([[0.05, -0.5, 0.04]])), arm.now_s)
    assert isinstance(late, Proposal)
    arm.step(50)
    assert "past" in arm.governor.adopt(arm.governor.fit(late), arm.now_s).reasons[0]


def test_silence_first_brakes_and_then_takes_the_lease_away() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer(np.arange(0.2, 4.0, 0.2), [[0.02 * n, -0.5, 0.04] for n in range(1, 20)])
    arm.step(100)
    assert arm.governor.state is State.RUNNING
    arm.beating = False
    arm.step(37)
    assert arm.governor.state is State.RUNNING
    arm.step(2)
    assert arm.governor.state is State.DEGRADED
    assert arm.offer([0.3], [arm.position]).decision is Decision.REJECT
    arm.step(40)
    assert arm.governor.at_rest
    rest = arm.position
    arm.step(60)
    assert arm.governor.state is State.DISARMED
    np.testing.assert_array_equal(arm.position, rest)
    assert arm.releases == 1


def test_a_heart_that_beats_again_in_time_is_forgiven() -> None:
    arm = bench()
    arm.arm()
    arm.beating = False
    arm.step(50)
    assert arm.governor.state is State.DEGRADED
    arm.beating = True
    arm.step()
    assert arm.governor.state is State.HOLDING


def test_an_arm_that_still_moves_is_not_armed() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer([0.3], [[0.4, -0.5, 0.04]])
    arm.step(40)
    arm.governor.disarm()
    arm.step()
    assert "coming to rest" in arm.arm()
    arm.step(100)
    assert arm.arm() == ""
    check_limits(arm.sent, three_joints(), arm.governor.period_s)


def test_an_arm_is_armed_no_sooner_than_it_was_sent_nowhere_for_a_period() -> None:
    """Else it would be sent, from one period to the next, to where it sagged as it was let go."""
    arm = bench()
    arm.arm()
    arm.step(3)
    arm.governor.disarm()
    arm.step()
    assert arm.setpoint.write and arm.setpoint.release
    assert "coming to rest" in arm.arm()
    arm.step()
    assert not arm.setpoint.write
    assert arm.arm() == ""


def test_a_fault_ends_by_an_explicit_clear_alone_and_not_while_the_arm_moves() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer([0.3], [[0.4, -0.5, 0.04]])
    arm.step(40)
    arm.governor.stop(Reason("a person said so", Code.STOPPED))
    arm.step()
    assert "coming to rest" in arm.governor.clear()
    arm.step(400)
    assert "clear it first" in arm.arm()
    assert arm.governor.clear() == ""
    assert arm.governor.state is State.DISARMED
    assert arm.arm() == ""


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (lambda arm: None, "does not say where it is"),
        (lambda arm: JointState(arm.position, arm.now_s - 1.0), "1.00 s old"),
        (lambda arm: JointState(np.add(arm.position, [0.0, 1.0, 0.0]), arm.now_s), "elbow is 1.000 rad from where"),
        (lambda arm: JointState(arm.position * np.nan, arm.now_s), "not finite"),
    ],
)
def test_an_arm_that_is_not_where_it_was_sent_is_a_fault(measured: object, reason: str) -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.governor.step(arm.now_s, measured(arm))  # type: ignore[operator]
    assert arm.governor.state is State.FAULT
    assert reason in arm.governor.reason


def test_a_gripper_that_an_object_keeps_open_is_none() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.governor.step(arm.now_s, JointState(np.add(arm.position, [0.0, 0.0, 0.04]), arm.now_s))
    assert arm.governor.state is State.HOLDING


def test_an_arm_moved_by_hand_starts_from_where_it_is() -> None:
    arm = bench()
    arm.position = np.array([0.7, -1.0, 0.01])
    assert arm.arm() == ""
    arm.step(3)
    np.testing.assert_array_equal(arm.position, [0.7, -1.0, 0.01])


def test_a_scene_that_was_reset_moves_the_set_point_only_if_it_moved_the_arm() -> None:
    arm = bench()
    arm.arm()
    arm.step(3)
    home = arm.position
    assert not arm.governor.place(JointState(np.add(home, [0.005, -0.005, 0.0]), arm.now_s))
    arm.step()
    np.testing.assert_array_equal(arm.position, home)
    assert arm.governor.place(JointState(np.add(home, [0.3, 0.0, 0.0]), arm.now_s))
    arm.step()
    np.testing.assert_allclose(arm.position, np.add(home, [0.3, 0.0, 0.0]))


def test_an_arm_that_is_armed_again_keeps_its_grip() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer([1.0], [[0.0, -0.5, 0.01]])
    arm.step(300)
    shut = arm.position
    arm.governor.disarm()
    arm.step(3)
    arm.position = np.add(shut, [0.3, 0.0, 0.03])  # moved by hand, with a cube of 4 cm between its fingers
    assert arm.arm() == ""
    arm.step(3)
    np.testing.assert_allclose(arm.position, [0.3, -0.5, 0.01], atol=1e-9)


def test_an_arm_outside_its_limits_is_not_armed() -> None:
    arm = bench()
    arm.position = np.array([1.5, -1.0, 0.01])
    assert "shoulder at 1.500 rad lies outside" in arm.arm()


def test_a_servo_that_comes_late_while_the_arm_moves_is_a_fault() -> None:
    arm = bench()
    arm.arm()
    arm.step()
    arm.offer([0.5], [[0.4, -0.5, 0.04]])
    arm.step(20)
    arm.now_s += 0.13
    arm.step()
    assert arm.governor.state is State.FAULT
    assert "late" in arm.governor.reason


def test_the_way_home_is_eased_and_needs_a_heart_unless_the_server_goes_by_itself() -> None:
    for by_itself in (False, True):
        arm = bench()
        arm.position = np.array([0.7, -1.0, 0.01])
        assert "arm it first" in arm.governor.go_home(arm.now_s)
        arm.arm()
        arm.step()
        assert arm.governor.go_home(arm.now_s, by_itself) == ""
        arm.beating = not by_itself
        arm.step(2000)
        np.testing.assert_allclose(arm.position, three_joints().home, atol=1e-9)
        check_limits(arm.sent[2:], three_joints(), arm.governor.period_s)
        speed = np.abs(np.diff(arm.sent[2:], axis=0)).max(axis=0) / arm.governor.period_s
        assert np.all(speed < 0.4 * three_joints().velocity)


def test_an_arm_whose_driver_slows_it_down_still_comes_home_soon() -> None:
    description = FrankaArm("172.16.0.2").description
    arm = Bench(Governor(description))
    arm.position = arm.position - np.array([0, 0, 0, -1.4, 0, 0, 0, 0])
    assert arm.arm() == ""
    assert arm.governor.go_home(arm.now_s) == ""
    arm.step(15 * 250)
    assert arm.governor.at_home
    speed = np.abs(np.diff(arm.sent[1:], axis=0)).max(axis=0) * 250
    assert speed[3] == pytest.approx(0.2, rel=0.05)
    check_limits(arm.sent[2:], description, arm.governor.period_s)


def test_a_home_or_a_way_home_outside_the_box_is_refused_in_words() -> None:
    away = bench(
        SafetySettings(workspace_low=(-1, -0.4, -1), workspace_high=(1, 0.4, 1)), forward=lambda joints: joints
    )
    away.position = np.array([0.0, -0.2, 0.04])
    assert away.arm() == ""
    assert "(0.000, -0.500, 0.040) m when it is at home, outside the workspace box" in away.governor.go_home(away.now_s)
    assert away.governor.state is State.HOLDING

    def round_the_corner(joints: np.ndarray) -> np.ndarray:
        return np.array([joints[0], joints[1] + 4 * joints[0] * (0.8 - joints[0]), 0.0])

    box = SafetySettings(workspace_low=(-1, -1, -1), workspace_high=(1, -0.3, 1))
    winding = bench(box, forward=round_the_corner)
    winding.position = np.array([0.8, -0.5, 0.04])
    assert winding.arm() == ""
    assert "straight way home" in winding.governor.go_home(winding.now_s)


def test_a_box_needs_to_know_where_the_tool_is() -> None:
    box = SafetySettings(workspace_low=(-1, -1, -1), workspace_high=(1, 1, 1))
    with pytest.raises(ValueError, match="forward kinematics"):
        Governor(three_joints(), box)
    with pytest.raises(ValueError, match="both"):
        SafetySettings(workspace_low=(-1, -1, -1))
    with pytest.raises(ValueError, match="silence_s"):
        SafetySettings(silence_s=0.6)


@pytest.mark.parametrize("start", [[1.019, -0.5, 0.04], [-1.019, 0.5249, 0.04], [0.0, -2.024, 0.04]])
def test_an_arm_a_little_outside_its_limits_is_eased_in_at_the_speed_of_the_way_home(start: list[float]) -> None:
    arm = bench()
    description, period_s = three_joints(), arm.governor.period_s
    arm.position = np.array(start)
    assert arm.arm() == ""
    assert arm.governor.state is State.RUNNING
    arm.step()
    np.testing.assert_allclose(arm.position[:2], start[:2], atol=1e-4)
    refused = arm.offer([0.3], [np.clip(start, description.low, description.high)])
    assert refused.decision is Decision.REJECT and refused.reasons[0].code is Code.EASING_IN
    arm.step(1000)
    assert arm.governor.state is State.HOLDING
    np.testing.assert_allclose(arm.position, np.clip(start, description.low, description.high), atol=3e-4)
    assert np.all(arm.position >= description.low) and np.all(arm.position <= description.high)
    sent = np.array(arm.sent[1:])
    speed = np.abs(np.diff(sent, axis=0)).max(axis=0) / period_s
    assert np.all(speed[:2] <= np.maximum(0.27 * description.velocity[:2], 0.2) * (1 + 1e-6))
    beyond = np.maximum(sent - description.high, description.low - sent)
    assert np.all(np.diff(beyond.max(axis=1)) <= 1e-7), "it never goes farther out"
    assert arm.offer([0.3], [[0.9 * start[0], np.clip(start[1], -1.9, 0.4), 0.04]]).decision is not Decision.REJECT


def test_an_arm_that_is_eased_in_can_be_stopped_and_goes_on_after_a_silence() -> None:
    arm = bench()
    arm.position = np.array([1.019, -0.5, 0.04])
    arm.arm()
    arm.step(20)
    arm.beating = False
    arm.step(60)
    assert arm.governor.state is State.DEGRADED and arm.governor.at_rest and arm.position[0] > 1.0
    arm.beating = True
    arm.step(500)
    assert arm.governor.state is State.HOLDING and arm.position[0] <= 1.0
    check_limits(np.array(arm.sent[1:]) - [0.02, 0, 0], three_joints(), arm.governor.period_s)


def test_a_joint_without_torque_is_noticed_at_rest_long_before_it_hangs() -> None:
    fast = replace(three_joints(), velocity=np.array([4.7, 4.7, 0.2]))
    arm = Bench(Governor(fast))
    arm.arm()
    arm.step(10)
    for sag in np.arange(0.0, 1.0, 0.01):
        sunk = JointState(np.subtract(arm.position, [0.0, sag, 0.0]), arm.now_s + arm.governor.period_s)
        arm.governor.step(arm.now_s, sunk)
        if arm.governor.state is State.FAULT:
            break
    assert sag == pytest.approx(0.16, abs=0.011) and arm.governor.reason.code is Code.ASTRAY


def test_an_arm_that_trails_a_fast_motion_by_a_tenth_of_a_second_is_no_fault() -> None:
    fast = replace(three_joints(), velocity=np.array([2.4, 2.4, 0.2]), acceleration=np.array([40.0, 40.0, 2.0]))
    arm = Bench(Governor(replace(fast, jerk=np.array([1500.0, 1500.0, 60.0]))))
    arm.arm()
    arm.step(10)
    way = [[-0.8 * (1 - np.cos(np.pi * share)) / 2 + 0.0, -0.5, 0.04] for share in np.arange(0.1, 1.01, 0.1)]
    assert arm.offer(np.arange(0.05, 0.51, 0.05), way).decision is not Decision.REJECT
    before = [arm.position] * 25
    for _ in range(250):
        arm.now_s += arm.governor.period_s
        arm.governor.beat(arm.now_s)
        arm.position = arm.governor.step(arm.now_s, JointState(before[-25], arm.now_s)).position
        before.append(arm.position)
    assert arm.governor.state is State.HOLDING, arm.governor.reason
    assert np.abs(np.subtract(before[25:], before[:-25]))[:, 0].max() > 0.16


def test_a_reading_of_no_time_that_has_been_is_a_fault() -> None:
    for time_s in (np.nan, 1e9):
        arm = bench()
        arm.arm()
        arm.step()
        arm.governor.step(arm.now_s, JointState(arm.position, time_s))
        assert arm.governor.state is State.FAULT and arm.governor.reason.code is Code.UNREADABLE


def test_what_a_client_calls_itself_changes_no_code() -> None:
    arm = bench()
    arm.arm()
    arm.governor.disarm(Reason("stopped-1 past FAULT has the lease", Code.LENT))
    arm.step(100)
    result = arm.offer([0.2], [[0.1, -0.5, 0.04]])
    assert "stopped-1" in result.reasons[0] and result.reasons[0].code is Code.DISARMED
