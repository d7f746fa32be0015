"""The thread that a slow gripper has to itself: what it skips, what it waits for, and what ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hardware.arms.gripper import PATIENCE_S, GripperThread
from hardware.arms.robotiq import RobotiqGripper
from robot.core.errors import SailError
from tests.doubles import robotiq
from tests.doubles.benches import wait_until


class Hand:
    """A hand whose moves last until they are let go on or stopped; a stop makes them raise."""

    def __init__(self) -> None:
        self.moves: list[float] = []
        self.opening_m = 0.08
        self.done = threading.Event()
        self.stopped = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.stops = 0

    def move(self, opening_m: float) -> None:
        self.moves.append(opening_m)
        self.stopped.clear()
        wait_until(lambda: self.done.is_set() or self.stopped.is_set())
        if self.stopped.is_set():
            raise RuntimeError("Command aborted!")
        self.opening_m = opening_m

    def stop(self) -> None:
        self.stops += 1
        assert self.may_answer.wait(20)
        self.stopped.set()

    def measure(self) -> float:
        return self.opening_m


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def start(hand: Hand) -> Iterator[Callable[..., GripperThread]]:
    started: list[GripperThread] = []

    def begin(**options: float) -> GripperThread:
        started.append(GripperThread(hand.move, hand.measure, hand.stop, pause_s=0.01, **options))
        return started[-1]

    yield begin
    hand.may_answer.set()
    hand.done.set()
    for gripper in started:
        gripper.close()


def test_a_move_that_a_stop_cut_short_is_no_fault(hand: Hand, start) -> None:
    gripper = start()
    for attempt in range(3):
        gripper.ask(0.01 + attempt / 100)
        wait_until(lambda attempt=attempt: len(hand.moves) == attempt + 1)
        gripper.hold()
        wait_until(lambda: not gripper._moving)
        gripper.check()
    hand.done.set()
    gripper.ask(0.05)
    wait_until(lambda: gripper.opening_m == 0.05)
    assert hand.stops == 3


def test_a_stop_that_waits_for_its_answer_holds_nobody_up(hand: Hand, start) -> None:
    gripper = start()
    gripper.ask(0.01)
    wait_until(lambda: gripper._moving)
    hand.may_answer.clear()
    began_s = time.monotonic()
    gripper.hold()
    gripper.ask(0.06)
    gripper.check()
    assert time.monotonic() - began_s < 0.5
    wait_until(lambda: hand.stops == 1)
    hand.done.set()
    time.sleep(0.1)
    assert hand.moves == [0.01]  # what comes next must not be cut short by a stop that was meant for this one
    hand.may_answer.set()
    wait_until(lambda: gripper.opening_m == 0.06)


def test_a_stop_where_nothing_moves_lets_go_of_nothing(hand: Hand, start) -> None:
    hand.done.set()
    gripper = start()
    gripper.ask(0.0)
    wait_until(lambda: gripper.opening_m == 0.0)
    gripper.hold()
    time.sleep(0.05)
    assert hand.stops == 0


def test_what_failed_is_said(start, hand: Hand) -> None:
    gripper = start()
    gripper.ask(0.03)
    wait_until(lambda: gripper._moving)
    hand.stopped.set()  # by somebody else
    wait_until(lambda: gripper.failed)
    with pytest.raises(SailError, match=r"failed on its way to 0\.030 m \(Command aborted!\)"):
        gripper.check()
    asked = iter([0.08])
    silent = GripperThread(lambda opening_m: None, lambda: next(asked), pause_s=0.01)
    wait_until(lambda: silent.failed)
    with pytest.raises(SailError, match=r"failed when asked for its opening"):
        silent.ask(0.0)
    silent.close()


def test_an_opening_that_the_governor_leads_to_in_steps_is_begun_once(hand: Hand, start) -> None:
    hand.done.set()
    gripper = start(settle_s=0.05)
    for step in range(60):
        gripper.ask(0.08 - 0.08 * step / 59)
        time.sleep(0.004)
    wait_until(lambda: gripper.opening_m == 0.0)
    time.sleep(0.1)
    assert hand.moves == [0.0]


def test_an_opening_that_never_settles_is_followed_all_the_same(hand: Hand, start) -> None:
    hand.done.set()
    gripper = start(settle_s=0.05)
    end_s = time.monotonic() + 3 * PATIENCE_S
    while time.monotonic() < end_s:
        gripper.ask(0.04)
        time.sleep(0.01)
        gripper.ask(0.05)
        time.sleep(0.01)
    assert 2 <= len(hand.moves) <= 4


def test_robotiqs_gripper_does_not_go_where_it_was_sent_before() -> None:
    """Whoever activates it anew leaves it waiting for a go, with the position that was asked for last."""
    served = robotiq.Gripper()
    served.wanted = 255
    gripper = RobotiqGripper("127.0.0.1", "robotiq-2f85", port=served.port)
    assert (served.values["POS"], served.values["GTO"]) == (0, 1)
    gripper.move(0.0)
    assert served.values["POS"] == 255
    gripper.close()
    again = RobotiqGripper("127.0.0.1", "robotiq-2f85", port=served.port)  # one that grips is not told to let go
    assert (served.values["POS"], served.wanted) == (255, 255)
    again.close()
    served.close()


def test_robotiqs_gripper_that_lost_its_power_is_not_thought_to_move() -> None:
    served = robotiq.Gripper()
    gripper = RobotiqGripper("127.0.0.1", "robotiq-2f85", port=served.port)
    served.values["STA"] = 0
    with pytest.raises(SailError, match="activate it on the pendant"):
        gripper.move(0.0)
    gripper.close()
    served.close()
