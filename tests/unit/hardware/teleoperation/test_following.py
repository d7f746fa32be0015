"""An arm that follows another: how joints are paired, how it begins, eases, follows, and stops with a silent leader."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from hardware.arms.feetech import FeetechArm
from hardware.arms.homing import home_speeds
from hardware.arms.kinematic import cartesian
from hardware.teleoperation.following import NEAR, REACH, STILL_S, Following, Pairing
from hardware.teleoperation.leader import SILENT_S, Leader
from hardware.teleoperation.operator_input import OperatorInput
from robot.core.data import Action, ActionSpec
from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints, JointState
from tests.doubles import scservo_sdk
from tests.doubles.benches import BENCHES, Bench, wait_until

NAMES = ("shoulder", "elbow", "gripper")


def leading(low: float = -2.0, high: float = 2.0, names: tuple[str, ...] = NAMES, hand: float = 0.8) -> ArmDescription:
    """Return a leader whose gripper is a trigger that turns by `hand`."""
    size = len(names)
    lows, highs = np.full(size, low), np.full(size, high)
    lows[-1], highs[-1] = 0.0, hand
    return ArmDescription("leader", names, ("rad",) * size, lows, highs, *(np.full(size, 2.0),) * 3, (lows + highs) / 2)


def spec(names: tuple[str, ...] = NAMES, units: tuple[str, ...] = ("rad", "rad", "m")) -> ActionSpec:
    low, high = np.array([-1.0, -1.5, 0.0], np.float32), np.array([1.0, 1.5, 0.08], np.float32)
    return ActionSpec(names, units, low, high, 20.0)


SPEEDS = np.array([0.4, 0.2, 0.05])


class Hand:
    """A leader where a test holds it, and a person who says words."""

    def __init__(self) -> None:
        self.position = np.array([0.0, 0.0, 0.4])
        self.word = ""
        self.open_calls = 0
        self.problem = ""
        self.description = leading()

    def open(self) -> None:
        self.open_calls += 1

    def read(self) -> Joints:
        if self.problem:
            raise SailError(self.problem)
        return self.position.copy()

    def close(self) -> None:
        self.open_calls -= 1


class Keys:
    def __init__(self) -> None:
        self.word = ""

    def open(self) -> None: ...

    def read(self) -> OperatorInput:
        word, self.word = self.word, ""
        return OperatorInput(motion=(1.0, 0, 0, 0, 0, 0), word=word)

    def close(self) -> None: ...


class Bout:
    """A follower that is where it was sent, with a clock that goes on by a twentieth of a second a step."""

    def __init__(self) -> None:
        self.hand, self.keys = Hand(), Keys()
        self.at = np.array([0.0, 0.0, 0.04])
        self.now_s = 100.0
        self.policy: Action | None = None
        self.following = Following(self.hand, spec(), lambda: self.at, SPEEDS, self.keys, lambda: self.now_s)

    def step(self, *, count: int = 1):
        for _ in range(count):
            choice = self.following.choose(self.policy)
            self.following.sent(choice.action)
            self.at = choice.action.values.astype(np.float64)
            self.now_s += 0.05
        return choice

    def rest(self) -> None:
        """Hold the leader still for long enough."""
        self.step(count=round(STILL_S / 0.05) + 2)


@pytest.fixture
def bout() -> Bout:
    return Bout()


# Pairing


def test_joints_are_paired_by_name_within_both_ranges_and_a_gripper_by_its_share() -> None:
    pairing = Pairing(leading(), spec(("elbow", "shoulder", "gripper")))
    np.testing.assert_allclose(pairing.target(np.array([0.5, -0.7, 0.4])), [-0.7, 0.5, 0.04])
    np.testing.assert_allclose(pairing.target(np.array([1.9, -1.9, 0.8])), [-1.0, 1.5, 0.08])
    np.testing.assert_allclose(pairing.target(np.array([0.0, 0.0, -0.3])), [0.0, 0.0, 0.0])
    np.testing.assert_allclose(pairing.target(np.array([0.0, 0.0, 0.2])), [0.0, 0.0, 0.02])


@pytest.mark.parametrize(
    ("leader", "robot", "says"),
    [
        (leading(), spec(("dx", "dy", "grip"), ("cm", "cm", "1")), "robot.actions=joint_positions"),
        (leading(), spec(("shoulder", "wrist", "gripper")), "none for wrist"),
        (leading(), spec(units=("rad", "m", "m")), "none for elbow"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(leader: ArmDescription, robot: ActionSpec, says: str) -> None:
    with pytest.raises(SailError, match=says):
        Pairing(leader, robot)


# Beginning, easing, following


def test_a_leader_that_lies_still_moves_nothing(bout: Bout) -> None:
    bout.hand.position = np.array([0.3, -0.2, 0.1])
    for _ in range(60):
        choice = bout.step()
        assert not choice.intervention and not choice.drop_plan and not bout.following.is_person
        np.testing.assert_allclose(choice.action.values, [0.0, 0.0, 0.04])


def test_the_arm_eases_to_the_leader_and_then_follows_it_at_once(bout: Bout) -> None:
    bout.hand.position = np.array([0.3, -0.2, 0.4])
    bout.rest()
    bout.hand.position = np.array([0.5, -0.3, 0.8])
    first = bout.step()
    assert first.intervention and first.drop_plan and bout.following.is_person
    np.testing.assert_allclose(first.action.values, [0.0, 0.0, 0.04])  # no jump
    assert bout.following.note == "easing to the leader"
    places = [bout.at]
    while bout.following.note:
        assert bout.step().intervention and len(places) < 200
        places.append(bout.at)
    steps = np.abs(np.diff(np.array(places), axis=0))
    assert np.all(steps <= SPEEDS * 0.05 + 1e-6)
    assert len(places) * 0.05 == pytest.approx(0.3 / 0.2, abs=0.35)  # as fast as the slowest joint may
    np.testing.assert_allclose(bout.at, [0.5, -0.3, 0.08], atol=NEAR["rad"])
    for shoulder in (0.6, 0.75, 0.4, 0.1):
        bout.hand.position[0] = shoulder
        bout.hand.position[2] = 0.2
        assert not bout.step().drop_plan
        np.testing.assert_allclose(bout.at, [shoulder, -0.3, 0.02], atol=1e-6)


def test_a_leader_too_far_off_moves_nothing_and_is_told_by_how_much(bout: Bout) -> None:
    bout.hand.position = np.array([0.0, 1.2, 0.4])
    bout.rest()
    bout.hand.position[1] = 1.3
    choice = bout.step()
    assert not choice.intervention
    assert bout.following.note == "bring the leader nearer: its elbow is 1.30 rad from the arm's"
    bout.hand.position[1] = 0.7
    assert bout.step().intervention


def test_a_leader_that_was_put_down_again_waits_to_be_moved(bout: Bout) -> None:
    """Bumped once, too far off to begin: it does not begin when the policy happens to bring the arm near."""
    bout.hand.position = np.array([0.0, 1.2, 0.4])
    bout.rest()
    bout.hand.position[1] = 1.25
    bout.step()
    bout.rest()
    assert bout.following.note == ""
    bout.at = np.array([0.0, 1.2, 0.04])
    bout.policy = Action(bout.at.astype(np.float32))
    bout.step(count=20)
    assert not bout.following.is_person


def test_a_leader_that_leaps_is_eased_to_again(bout: Bout) -> None:
    bout.rest()
    bout.hand.position[0] = 0.1
    bout.step(count=20)
    assert bout.following.note == ""
    bout.hand.position[0] = 0.1 + REACH["rad"] + 0.05
    before = bout.at
    bout.step()
    assert np.abs(bout.at - before)[0] <= SPEEDS[0] * 0.05 + 1e-6 and "leapt" in bout.following.note
    bout.step(count=60)
    np.testing.assert_allclose(bout.at[0], 0.95, atol=NEAR["rad"])


def test_somebody_who_is_late_is_not_made_up_for_by_a_leap(bout: Bout) -> None:
    bout.rest()
    bout.hand.position[0] = 0.7
    bout.step()
    bout.now_s += 5.0
    before = bout.at
    bout.step()
    assert np.abs(bout.at - before)[0] <= SPEEDS[0] * 0.1 + 1e-6


def test_taking_over_from_a_policy_begins_where_the_arm_was_sent_and_ends_with_a_word(bout: Bout) -> None:
    bout.policy = Action(np.array([0.2, 0.2, 0.05], np.float32))
    bout.rest()
    assert bout.step().action is bout.policy
    bout.hand.position[0] = 0.1
    choice = bout.step()
    assert choice.drop_plan and choice.intervention
    np.testing.assert_allclose(choice.action.values, [0.2, 0.2, 0.05])
    bout.step(count=40)
    bout.step(count=200)  # a hand that rests has not let go
    assert bout.following.is_person
    bout.keys.word = "hand back"
    choice = bout.step()
    assert choice.drop_plan and choice.intervention and choice.word == "hand back"
    bout.hand.position[0] = -0.3  # the leader is put down
    assert bout.step().action is bout.policy
    bout.step(count=5)
    assert not bout.following.is_person
    bout.rest()
    bout.hand.position[0] = -0.2
    assert bout.step().intervention


def test_words_pass_through_and_keys_move_nothing(bout: Bout) -> None:
    for word in ("success", "stop"):
        bout.keys.word = word
        assert bout.step().word == word
    np.testing.assert_allclose(bout.at, [0.0, 0.0, 0.04])


def test_what_was_really_sent_is_what_it_goes_on_from(bout: Bout) -> None:
    bout.rest()
    bout.hand.position[0] = 0.7
    bout.step(count=3)
    held = Action(np.array([0.0, 0.0, 0.04], np.float32))  # at the edge of a box, say
    for _ in range(30):
        bout.following.choose(None)
        bout.following.sent(held)
        bout.now_s += 0.05
    choice = bout.following.choose(None)
    assert choice.action.values[0] <= SPEEDS[0] * 0.05 + 1e-6


def test_a_leader_that_falls_silent_is_not_passed_over(bout: Bout) -> None:
    bout.rest()
    bout.hand.problem = "The leader has been silent for 0.31 s."
    with pytest.raises(SailError, match="silent"):
        bout.following.choose(None)


def test_it_eases_as_fast_as_the_arm_goes_home() -> None:
    description = cartesian()
    np.testing.assert_allclose(home_speeds(description), 0.9 * 0.3 * description.velocity)
    slow = leading()
    np.testing.assert_allclose(home_speeds(slow), np.full(3, 0.9 * 0.3 * 2.0))


# The leader itself


class Arm:
    """A driver that is read, and counts what is done to it."""

    def __init__(self) -> None:
        self.description = leading()
        self.position = np.array([0.1, 0.2, 0.3])
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.problem = ""
        self.hangs = threading.Event()
        self.limp = True

    def _note(self, what: str) -> None:
        self.threads.add(threading.get_ident())
        if what not in self.calls:
            self.calls.append(what)

    def connect(self) -> None:
        self._note("connect")
        if self.problem:
            raise SailError(self.problem)

    def is_limp(self) -> bool:
        return self.limp

    def read(self) -> JointState:
        self._note("read")
        if self.problem:
            raise SailError(self.problem)
        while self.hangs.is_set():
            time.sleep(0.005)
        return JointState(self.position, time.monotonic())

    def write(self, position: Joints) -> None:
        self._note("write")

    def stop(self) -> None:
        self._note("stop")

    def close(self) -> None:
        self._note("close")


@pytest.fixture
def arm() -> Iterator[Arm]:
    arm = Arm()
    yield arm
    arm.hangs.clear()


def test_a_leader_is_read_from_one_thread_and_never_commanded(arm: Arm) -> None:
    leader = Leader(arm)
    with pytest.raises(SailError, match="not open"):
        leader.read()
    leader.open()
    leader.open()
    np.testing.assert_array_equal(leader.read(), arm.position)
    arm.position = np.array([0.5, 0.2, 0.3])
    wait_until(lambda: leader.read()[0] == 0.5)
    leader.close()
    leader.close()
    assert arm.calls == ["connect", "read", "close"]
    assert len(arm.threads) == 1 and threading.get_ident() not in arm.threads
    with pytest.raises(SailError, match="not open"):
        leader.read()


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_leader_that_says_nothing_any_more_is_silent(arm: Arm, how: str) -> None:
    leader = Leader(arm)
    leader.open()
    if how == "fails":
        arm.problem = "The so101 at /dev/ttyACM1 does not answer."
    else:
        arm.hangs.set()
    began_s = time.monotonic()

    def silent() -> str:
        try:
            leader.read()
        except SailError as error:
            return str(error)
        return ""

    wait_until(lambda: bool(silent()))
    assert time.monotonic() - began_s >= SILENT_S - 0.05
    assert "The leader has been silent for" in silent() and silent().endswith(".")
    assert ("does not answer" in silent()) == (how == "fails")
    arm.problem = ""
    arm.hangs.clear()
    wait_until(lambda: not silent())
    leader.close()


def test_a_leader_that_is_missing_or_holds_itself_up_is_told(arm: Arm) -> None:
    arm.limp = False
    with pytest.raises(SailError, match="has torque and cannot be moved by hand"):
        Leader(arm).open()
    arm.problem = "There is no arm."
    with pytest.raises(SailError, match="There is no arm"):
        Leader(arm).open()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES["feetech"](tmp_path):
        with bench.installed():
            yield bench


def test_an_so101_leads_without_torque(bench: Bench) -> None:
    bus = scservo_sdk._buses["/dev/arm"]
    driver = bench.make()
    assert isinstance(driver, FeetechArm)
    leader = Leader(driver)
    leader.open()
    bus.place(1, 2500)
    wait_until(lambda: abs(leader.read()[0] - (2500 - 2048) * 2 * np.pi / 4096) < 1e-9)
    leader.close()
    assert not bus.energised() and bus.commands == 0
    bus.servos[3][40] = 1
    with pytest.raises(SailError, match="has torque and cannot be moved by hand"):
        Leader(bench.make()).open()
    with patch.dict(sys.modules, {"scservo_sdk": None}), pytest.raises(SailError, match="pip install"):
        Leader(bench.make()).open()
