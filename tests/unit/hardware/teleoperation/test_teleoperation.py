"""A person's hand on the arm: keys of a terminal, a SpaceMouse, and taking over without a jump."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
import time
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest

from hardware.teleoperation.keyboard import KEYS, SPEEDS, Keyboard
from hardware.teleoperation.operator_input import (
    AXES,
    OPEN,
    SHUT,
    Displacements,
    InputDevice,
    OperatorInput,
    StopsAtOnce,
    with_dead_band,
)
from hardware.teleoperation.spacemouse import STALE_S, SpaceMouse
from hardware.teleoperation.takeover import Takeover
from robot.core.data import Action, ActionSpec
from robot.core.errors import SailError
from tests.doubles import pyspacemouse
from tests.doubles.benches import wait_until


def spec(*names: str, low: float = -1.0, high: float = 1.0) -> ActionSpec:
    size = len(names)
    return ActionSpec(names, ("1",) * size, np.full(size, low, np.float32), np.full(size, high, np.float32), 15.0)


FOUR = spec("dx", "dy", "dz", "grip")


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


# Input and actions


@pytest.mark.parametrize("dead_band", [0.0, 0.1, 0.5])
def test_a_dead_band_is_still_inside_and_steady_outside(dead_band: float) -> None:
    values = np.linspace(-1, 1, 401)
    shaped = np.array([with_dead_band(value, dead_band) for value in values])
    assert np.all(shaped[np.abs(values) <= dead_band] == 0)
    np.testing.assert_allclose(shaped, -shaped[::-1], atol=1e-12)
    assert shaped[-1] == pytest.approx(1.0) and np.all(np.diff(shaped) >= 0)
    assert np.max(np.abs(np.diff(shaped))) <= 1.001 * (values[1] - values[0]) / (1 - dead_band)
    assert with_dead_band(3.0, dead_band) == 1.0  # a device that says more than it should


def test_a_wish_becomes_an_action_by_the_names_of_its_entries() -> None:
    robot = spec("dz", "dx", "dyaw", "grip", low=-0.5, high=2.0)
    action = Displacements(robot, share=0.5).action(OperatorInput((1.0, 9.0, -1.0, 0.0, 0.0, 0.5)), grip=SHUT)
    np.testing.assert_allclose(action.values, [-0.25, 1.0, 0.5, 1.0])


def test_nothing_wished_is_no_displacement_whatever_the_limits() -> None:
    robot = spec("dx", "dy", "dz", "grip", low=-0.5, high=2.0)
    np.testing.assert_array_equal(Displacements(robot).action(OperatorInput(), OPEN).values, [0, 0, 0, -0.5])


@pytest.mark.parametrize("names", [("joint1", "joint2", "gripper"), ("dx", "dy", "dz", "lift"), ("dy", "grip")])
def test_a_robot_that_takes_no_displacements_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SailError, match="displacements"):
        Displacements(spec(*names))


# The keyboard


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Give the two ends of a terminal: where keys go in, and where a program reads them."""
    hand, program = os.openpty()
    yield hand, program
    for end in (hand, program):
        with contextlib.suppress(OSError):
            os.close(end)


class Heard(Keyboard):
    """A keyboard that counts how much it has heard."""

    heard = 0

    def _hear(self, text: str) -> None:
        super()._hear(text)
        self.heard += len(text)


@pytest.fixture
def keyboard(terminal: tuple[int, int], clock: Clock) -> Iterator[Heard]:
    keyboard = Heard(terminal[1], press_s=0.12, clock=clock)
    keyboard.open()
    yield keyboard
    keyboard.close()


def press(keyboard: Heard, terminal: tuple[int, int], keys: str) -> None:
    """Press keys and wait until they have been heard."""
    heard = keyboard.heard + len(keys)
    os.write(terminal[0], keys.encode())
    wait_until(lambda: keyboard.heard == heard)


@pytest.mark.parametrize("key", [*KEYS, *(key.upper() for key in KEYS if key.isalpha())])
def test_every_key_moves_its_axis_and_only_for_a_moment(
    key: str, keyboard: Heard, terminal: tuple[int, int], clock: Clock
) -> None:
    assert isinstance(keyboard, StopsAtOnce) and isinstance(keyboard, InputDevice)
    assert keyboard.read() == OperatorInput()
    press(keyboard, terminal, key)
    axis, sign = KEYS[key.lower() if key.isalpha() else key]
    expected = [sign * SPEEDS[1] if name == axis else 0.0 for name in AXES]
    assert list(keyboard.read().motion) == expected
    clock.now_s += 0.11
    assert list(keyboard.read().motion) == expected
    clock.now_s += 0.02
    assert keyboard.read() == OperatorInput()


def test_a_key_held_down_moves_on_and_two_at_once_move_both(
    keyboard: Heard, terminal: tuple[int, int], clock: Clock
) -> None:
    for _ in range(20):
        press(keyboard, terminal, "wa")
        assert keyboard.read().motion[:2] == (SPEEDS[1], SPEEDS[1])
        clock.now_s += 0.033
    press(keyboard, terminal, "s")  # the other way, at once
    assert keyboard.read().motion[0] == -SPEEDS[1]


@pytest.mark.parametrize("capital", [False, True], ids=["small", "capital"])
def test_speed_gripper_and_words(keyboard: Heard, terminal: tuple[int, int], capital: bool) -> None:
    def typed(keys: str) -> OperatorInput:
        press(keyboard, terminal, keys.upper() if capital else keys)
        return keyboard.read()

    assert typed("++++++++w").motion[0] == SPEEDS[-1]
    assert typed("---------w").motion[0] == SPEEDS[0]
    given = typed("gg\n")
    assert given.toggles == 2 and given.word == "hand back"
    for key, word in (("y", "success"), ("n", "failure"), ("?", "unsure"), ("x", "stop"), (" ", "stop")):
        assert typed(key).word == word
    assert typed("xy").word == "stop" and typed(" n").word == "stop"
    given = typed("qz")
    assert given.word == "" and not given.toggles


@pytest.mark.parametrize(
    "key", ["\x1b[15~", "\x1bOP", "\x1b[[A", "\x1b[1;5A", "\x1b[Z", "\x1b[200~", "\x1b[?1;2c"], ids=repr
)
def test_the_end_of_a_key_of_several_bytes_is_no_letter(key: str, keyboard: Heard, terminal: tuple[int, int]) -> None:
    press(keyboard, terminal, f"{key}~~")
    assert keyboard.read() == OperatorInput()


@pytest.mark.parametrize("keys", ["\x1b[Bw", "\x1bOBw"])
def test_a_key_of_several_bytes_may_come_in_pieces(keys: str, keyboard: Heard, terminal: tuple[int, int]) -> None:
    for byte in keys[:-2]:
        press(keyboard, terminal, byte)
        assert not keyboard.read().is_at_hand
    press(keyboard, terminal, keys[-2:])
    assert keyboard.read().motion[0] == SPEEDS[1]  # down, and then the other way


# A letter ends such a key, whose beginning nobody types; anything else is a key by itself.
BEFORE = [(before, key) for before in ("", "w", "\x1b", "é", "wasd+") for key in (" ", "x", "X")]
BEFORE += [(before, " ") for before in ("\x1b[", "\x1bO", "\x1b[1;", "\x1b[[")]


@pytest.mark.parametrize(("before", "key"), BEFORE, ids=repr)
def test_a_stop_is_told_at_once_whatever_came_before(
    key: str, before: str, keyboard: Heard, terminal: tuple[int, int]
) -> None:
    told: list[float] = []
    keyboard.on_stop = lambda: told.append(time.monotonic())
    press(keyboard, terminal, before)
    assert not told
    os.write(terminal[0], key.encode())
    pressed_s = time.monotonic()
    wait_until(lambda: bool(told))  # and nobody has read
    assert told[0] - pressed_s < 1.0
    assert keyboard.read().word == "stop"


def test_the_terminal_is_given_back_as_it_was(terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])
    keyboard = Keyboard(terminal[1])
    keyboard.open()
    keyboard.open()
    during = termios.tcgetattr(terminal[1])
    assert not during[3] & termios.ECHO and not during[3] & termios.ICANON
    assert during[3] & termios.ISIG  # Ctrl-C still ends the program
    keyboard.close()
    keyboard.close()
    assert termios.tcgetattr(terminal[1]) == before
    with pytest.raises(SailError, match="not open"):
        keyboard.read()
    assert not [thread for thread in threading.enumerate() if thread.name == "keyboard"]


def test_it_may_be_opened_again(terminal: tuple[int, int]) -> None:
    keyboard = Heard(terminal[1])
    for _ in range(3):
        keyboard.open()
        press(keyboard, terminal, "w")
        assert keyboard.read().is_at_hand
        keyboard.close()


def test_a_terminal_that_goes_away_is_told(keyboard: Heard, terminal: tuple[int, int]) -> None:
    os.close(terminal[0])

    def is_told() -> bool:
        try:
            keyboard.read()
        except SailError as problem:
            return "terminal was closed" in str(problem)
        return False

    wait_until(is_told)


def test_no_terminal_is_told_in_one_sentence() -> None:
    read, write = os.pipe()
    with pytest.raises(SailError, match="needs a terminal"):
        Keyboard(read).open()
    os.close(read)
    os.close(write)


def test_a_command_in_the_background_leaves_the_terminal_alone(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = termios.tcgetattr(terminal[1])
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    with pytest.raises(SailError, match="in the background"):
        Keyboard(terminal[1]).open()
    assert termios.tcgetattr(terminal[1]) == before


# The SpaceMouse


@pytest.fixture
def device() -> Iterator[pyspacemouse.SpaceMouseDevice]:
    device = pyspacemouse.SpaceMouseDevice()
    pyspacemouse._connected.append(device)
    with patch.dict(sys.modules, {"pyspacemouse": pyspacemouse}):
        yield device
    pyspacemouse._connected.clear()


def test_a_spacemouse_moves_beyond_its_dead_band(device: pyspacemouse.SpaceMouseDevice, clock: Clock) -> None:
    mouse = SpaceMouse(dead_band=0.2, speed=0.5, clock=clock)
    assert isinstance(mouse, InputDevice)
    mouse.open()
    device._state.x, device._state.yaw, device._state.z, device._state.t = 1.0, -0.6, 0.19, 1.0
    wait_until(lambda: mouse.read().is_at_hand)
    assert mouse.read().motion == pytest.approx((0.5, 0.0, 0.0, 0.0, 0.0, -0.25))
    clock.now_s += STALE_S + 0.1  # pulled out while pushed: the last push does not last
    assert not mouse.read().is_at_hand
    mouse.close()
    mouse.close()
    with pytest.raises(SailError, match="not open"):
        mouse.read()


def test_its_buttons_count_once_a_press(device: pyspacemouse.SpaceMouseDevice) -> None:
    mouse = SpaceMouse(turns=False)
    mouse.open()
    toggles, words = 0, []

    def seen() -> tuple[int, list[str]]:
        nonlocal toggles
        given = mouse.read()
        toggles += given.toggles
        if given.word:
            words.append(given.word)
        return toggles, words

    device._state.buttons = [1, 0]
    wait_until(lambda: seen()[0] == 1)
    time.sleep(0.05)
    assert seen() == (1, [])
    device._state.buttons = [0, 1]
    wait_until(lambda: seen() == (1, ["hand back"]))
    device._state.buttons = [1, 0]
    wait_until(lambda: seen()[0] == 2)
    mouse.close()


@pytest.mark.parametrize(("what", "value"), [("x", float("nan")), ("yaw", None), ("buttons", ["?"])])
def test_what_a_spacemouse_cannot_feel_moves_nothing_and_is_told(
    what: str, value: object, device: pyspacemouse.SpaceMouseDevice
) -> None:
    mouse = SpaceMouse()
    mouse.open()
    setattr(device._state, what, value)

    def is_told() -> bool:
        try:
            return not all(map(np.isfinite, mouse.read().motion))
        except SailError as error:
            return "gone" in str(error)

    wait_until(is_told)
    with pytest.raises(SailError, match="gone"):
        mouse.read()
    mouse.close()


def test_a_spacemouse_that_is_missing_or_pulled_out_is_told(device: pyspacemouse.SpaceMouseDevice) -> None:
    mouse = SpaceMouse()
    mouse.open()
    device._gone = True

    def is_told() -> bool:
        try:
            mouse.read()
        except SailError as error:
            return "gone" in str(error)
        return False

    wait_until(is_told)
    mouse.close()
    pyspacemouse._connected.clear()
    with pytest.raises(SailError, match="plug it in"):
        SpaceMouse().open()
    with patch.dict(sys.modules, {"pyspacemouse": None}), pytest.raises(SailError, match=r"sail-stack\[spacemouse\]"):
        SpaceMouse().open()


# Taking over


class Hand:
    """A person whose input a test sets; a toggle or a word is said once."""

    def __init__(self) -> None:
        self.given = OperatorInput()

    def open(self) -> None: ...

    def read(self) -> OperatorInput:
        given, self.given = self.given, OperatorInput(self.given.motion)
        return given

    def close(self) -> None: ...


POLICY = Action(np.array([0.8, -0.6, 0.4, 0.3], np.float32))
PUSH = OperatorInput((0.0, 1.0, 0.0, 0.0, 0.0, 0.0))


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def takeover(hand: Hand, clock: Clock) -> Takeover:
    return Takeover(hand, FOUR, release_s=1.0, ease_s=0.4, clock=clock)


def test_without_a_hand_the_policy_acts_and_nobody_intervenes(takeover: Takeover) -> None:
    choice = takeover.choose(POLICY)
    assert choice.action is POLICY and not choice.intervention and not choice.drop_plan
    takeover.sent(POLICY)
    waiting = takeover.choose(None)  # no plan yet: rest, with the gripper as it is
    np.testing.assert_allclose(waiting.action.values, [0, 0, 0, 0.3])
    assert not waiting.intervention


def test_a_takeover_begins_where_the_arm_was_sent_and_gently(takeover: Takeover, hand: Hand, clock: Clock) -> None:
    """The commanded place, a sum of displacements, neither jumps nor changes speed by more than easing allows."""
    place, places = np.zeros(3), []
    for step in range(40):
        hand.given = PUSH if step >= 10 else OperatorInput()
        choice = takeover.choose(POLICY if not takeover.is_person else None)
        assert choice.intervention == (step >= 10)
        assert choice.drop_plan == (step == 10)
        takeover.sent(choice.action)
        place = place + choice.action.values[:3]
        places.append(place)
        assert choice.action.values[3] == pytest.approx(0.3)  # the gripper lets nothing fall
        clock.now_s += 1 / 15
    moves = np.diff(np.array(places), axis=0)
    np.testing.assert_array_equal(moves[9], 0.0)  # the first step of the person stays where the arm was sent
    ease = moves[9:17, 1]
    assert np.all(np.diff(ease) <= (1 / 15) / 0.4 + 1e-6) and np.all(np.diff(ease) >= 0)
    np.testing.assert_allclose(moves[-1], [0, 1, 0])


def test_after_release_the_plan_is_dropped_once_and_the_policy_acts_again(
    takeover: Takeover, hand: Hand, clock: Clock
) -> None:
    takeover.choose(POLICY)
    takeover.sent(POLICY)
    hand.given = PUSH
    takeover.choose(POLICY)
    hand.given = OperatorInput()
    dropped = []
    for _ in range(30):
        clock.now_s += 0.1
        choice = takeover.choose(POLICY)
        dropped.append(choice.drop_plan)
        if takeover.is_person or choice.drop_plan:
            np.testing.assert_array_equal(choice.action.values[:3], 0.0)
            assert choice.intervention
        else:
            assert choice.action is POLICY and not choice.intervention
    assert sum(dropped) == 1 and dropped.index(True) in (9, 10)


def test_a_person_may_hand_back_at_once(takeover: Takeover, hand: Hand, clock: Clock) -> None:
    hand.given = PUSH
    takeover.choose(POLICY)
    clock.now_s += 0.05
    hand.given = OperatorInput(word="hand back")
    choice = takeover.choose(POLICY)
    assert choice.drop_plan and choice.intervention and choice.word == "hand back"
    assert takeover.choose(POLICY).action is POLICY


def test_the_gripper_changes_sides_when_asked_from_where_it_is(takeover: Takeover, hand: Hand) -> None:
    shut = Action(np.array([0, 0, 0, SHUT], np.float32))
    takeover.sent(shut)
    hand.given = OperatorInput(toggles=1)
    choice = takeover.choose(POLICY)
    assert choice.intervention and choice.action.values[3] == OPEN
    takeover.sent(choice.action)
    hand.given = OperatorInput(toggles=2)
    assert takeover.choose(POLICY).action.values[3] == OPEN
    hand.given = OperatorInput(toggles=1)
    assert takeover.choose(POLICY).action.values[3] == SHUT


def test_words_pass_through(takeover: Takeover, hand: Hand) -> None:
    hand.given = OperatorInput(word="stop")
    choice = takeover.choose(POLICY)
    assert choice.word == "stop" and choice.action is POLICY  # what to do about it is the caller's to say


def test_a_device_that_is_gone_is_not_passed_over(clock: Clock) -> None:
    class Gone(Hand):
        def read(self) -> OperatorInput:
            raise SailError("The SpaceMouse is gone.")

    with pytest.raises(SailError, match="gone"):
        Takeover(Gone(), FOUR, clock=clock).choose(POLICY)
