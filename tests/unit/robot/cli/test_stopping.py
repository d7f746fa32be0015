"""The operator's stop: it halts the robot at once, whatever the program waits for, and the episode is sealed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.arms.kinematic import KinematicArm
from hardware.client.client import ArmClient
from hardware.server.servo_record import STATES
from hardware.teleoperation.keyboard import Keyboard
from hardware.wire.states import State
from robot.cli import assembly, deploy
from robot.cli.main import main
from robot.cli.stopping import OperatorStop
from robot.core.data import Action, Outcome
from robot.episodes.repair.doctor import examine
from robot.episodes.store import EpisodeStore
from tests.fakes import ToyPlanner, ToyRobot
from tests.own_robot import OwnRobot, Rightwards
from tests.unit.hardware.serving import served, until
from tests.unit.robot.cli.test_deploy import carried_out

SOON_S = 0.5
"""How soon a robot is halted, at the latest, on a busy machine."""


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give the end of a terminal where keys go in, and let commands read the other."""
    hand, program = os.openpty()
    monkeypatch.setitem(deploy.SOURCES, "keyboard", lambda: Keyboard(program))
    yield hand
    for end in (hand, program):
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> type[OwnRobot]:
    monkeypatch.setattr(OwnRobot, "made", [])
    monkeypatch.setattr(OwnRobot, "on_act", lambda robot: time.sleep(0.005))
    monkeypatch.setattr(OwnRobot, "on_reset", lambda robot: None)

    def built(config: Any, **extra: Any) -> Any:
        target = str(config.get("_target_", ""))
        if target.startswith("planners."):
            return ToyPlanner()
        return Rightwards() if target.startswith("policies.pose_tracking.") else real(config, **extra)

    real = assembly.build
    monkeypatch.setattr(assembly, "build", built)
    return OwnRobot


def sail(tmp_path: Path, *words: str, robot: type = OwnRobot) -> int:
    """Deploy on a robot of somebody's own."""
    mine = [f"robot._target_={robot.__module__}.{robot.__name__}", f"store={tmp_path}", "judge=none"]
    return main(["deploy", "task=fold the towel", *mine, *words, "--json"])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else os.kill(
        os.getpid(), signal.SIGINT
    )


def test_a_robot_of_somebody_s_own_is_halted_at_the_end(
    own: type[OwnRobot], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sail(tmp_path, "deploy.max_steps=5") == 0
    [robot] = own.made
    assert robot.halts == 1 and not robot.is_moving and robot.closed == 1
    assert robot.settings["task"] == "fold-the-towel"
    content = told(capsys)
    assert content["outcome"] == "timeout" and content["oldest_observation_s"] == 0.01
    assert EpisodeStore(tmp_path).load(content["episode"]).instruction == "fold the towel"


def test_what_it_says_of_itself_is_shown(
    own: type[OwnRobot], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = ["robot._target_=tests.own_robot.OwnRobot", f"store={tmp_path}", "judge=none", "deploy.max_steps=5"]
    assert main(["deploy", "task=fold it", *mine]) == 0
    assert "under way · " in capsys.readouterr().out
    assert main(["deploy", "task=fold it", *mine, "deploy.dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert "would send x +0.50, y +0.00 → x 0." in said
    assert own.made[-1].halts == 0 and own.made[-1].steps == 0


KEYS = [" ", "x", "X"]


@pytest.mark.parametrize("takeover", ["none", "keyboard"])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_key_halts_a_robot_in_the_midst_of_a_long_action(
    key: str,
    takeover: str,
    hand: int,
    own: type[OwnRobot],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pressed_s: list[float] = []
    halted_s: list[float] = []

    def long(robot: OwnRobot) -> None:
        if robot.steps == 3:
            os.write(hand, key.encode())
            pressed_s.append(time.monotonic())
            assert robot.halted.wait(20)
            halted_s.append(time.monotonic())

    monkeypatch.setattr(own, "on_act", long)
    # Driven by hand the toy would have to take displacements: its names say so here.
    if takeover == "keyboard":
        monkeypatch.setattr(deploy, "Takeover", Untouched)
    assert sail(tmp_path, f"takeover={takeover}") == 0
    assert halted_s[0] - pressed_s[0] < SOON_S
    content = told(capsys)
    assert content["outcome"] == "operator stop" and content["reason"] == "the operator stopped it"
    assert not own.made[-1].is_moving
    assert EpisodeStore(tmp_path).load(content["episode"]).outcome is Outcome.OPERATOR_STOP
    assert not [thread for thread in threading.enumerate() if thread.name in ("keyboard", "operator's stop")]


class Untouched:
    """A takeover with a device that nobody touches."""

    is_person = False

    def __init__(self, source: Any, *_: object) -> None:
        self.source = source

    def choose(self, policy: Any) -> Any:
        from hardware.teleoperation.takeover import Choice

        action = policy if policy is not None else Rightwards().act([None], None, None)[0]  # type: ignore[list-item]
        return Choice(action, False, False, self.source.read().word)

    def sent(self, action: Any) -> None: ...


def test_ctrl_c_halts_a_robot_whose_action_does_not_come_back_to_python(
    own: type[OwnRobot], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    came_back_s: list[float] = []
    asked_s: list[float] = []
    halted_s: list[float] = []

    def in_c(robot: OwnRobot) -> None:
        if robot.steps == 3:
            later(0.1, lambda: (asked_s.append(time.monotonic()), interrupt()))
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 4_000_000)  # lets other threads run, and no handler
            came_back_s.append(time.monotonic())

    def halt(robot: OwnRobot) -> None:
        if asked_s and not halted_s:
            halted_s.append(time.monotonic())
        original(robot)

    original = OwnRobot.halt
    monkeypatch.setattr(own, "on_act", in_c)
    monkeypatch.setattr(own, "halt", halt)
    assert sail(tmp_path) == 0
    assert halted_s[0] - asked_s[0] < SOON_S and halted_s[0] < came_back_s[0] - 0.2
    assert told(capsys)["outcome"] == "operator stop"


@pytest.mark.parametrize("how", ["key", "signal"])
def test_a_stop_on_the_way_home_halts_at_once_and_ends_the_command(
    how: str, hand: int, own: type[OwnRobot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halted_s: list[float] = []
    pressed_s: list[float] = []

    def stop() -> None:
        pressed_s.append(time.monotonic())
        os.write(hand, b"     ") if how == "key" else interrupt()  # a key held down comes again and again

    def homing(robot: OwnRobot) -> None:
        later(0.1, stop)
        until(lambda: False, 30.0)

    original = OwnRobot.halt
    monkeypatch.setattr(own, "halt", lambda robot: (halted_s.append(time.monotonic()), original(robot)))
    monkeypatch.setattr(own, "on_reset", homing)
    began_s = time.monotonic()
    assert sail(tmp_path) == 130
    assert time.monotonic() - began_s < 15 and halted_s[0] - pressed_s[0] < SOON_S
    assert own.made[-1].closed == 1 and not EpisodeStore(tmp_path).ids()
    assert not list(tmp_path.glob(".open-*"))


def test_a_dry_run_is_ended_by_a_key_and_sends_no_halt(
    hand: int,
    own: type[OwnRobot],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = OwnRobot.preview

    def preview(robot: OwnRobot, action: Action) -> Mapping[str, float]:
        os.write(hand, b" ")
        return original(robot, action)

    monkeypatch.setattr(own, "preview", preview)
    assert sail(tmp_path, "deploy.dry_run=true", "deploy.max_steps=4000") == 0
    assert told(capsys)["outcome"] == "operator stop"
    assert own.made[-1].halts == 0


class Plain(ToyRobot):
    """A robot that cannot be halted; in the midst of an action somebody presses a key."""

    press: Callable[[], object]

    def __init__(self, **settings: object) -> None:
        super().__init__()

    def act(self, action: Action) -> Action:
        if self.steps == 5:
            self.press()
        time.sleep(0.002)
        return super().act(action)


def test_a_robot_that_cannot_be_halted_is_sent_nothing_more(
    hand: int, own: type[OwnRobot], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Plain.press = staticmethod(lambda: os.write(hand, b" "))  # type: ignore[assignment]
    assert sail(tmp_path, "deploy.max_steps=4000", robot=Plain) == 0
    content = told(capsys)
    assert content["outcome"] == "operator stop" and 5 < content["steps"] < 4000


@pytest.mark.slow
def test_a_halt_that_raises_or_hangs_loses_no_episode(
    own: type[OwnRobot], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(robot: OwnRobot) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(own, "halt", raises)
    assert sail(tmp_path, "deploy.max_steps=5") == 0
    assert len(EpisodeStore(tmp_path).load(told(capsys)["episode"])) == 5

    let_go = threading.Event()
    monkeypatch.setattr(own, "halt", lambda robot: let_go.wait(30))
    monkeypatch.setattr(own, "on_act", lambda robot: interrupt() if robot.steps == 4 else None)
    later(3.0, interrupt)
    assert sail(tmp_path) == 130
    let_go.set()
    assert sorted(len(EpisodeStore(tmp_path).load(name)) for name in EpisodeStore(tmp_path).ids()) == [5, 5]


def test_a_second_ctrl_c_ends_at_once_and_seals(
    own: type[OwnRobot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(robot: OwnRobot) -> None:
        if robot.steps == 7:
            interrupt()
            interrupt()
            raise AssertionError("it goes on")

    monkeypatch.setattr(own, "on_act", twice)
    assert sail(tmp_path) == 130
    [name] = EpisodeStore(tmp_path).ids()
    episode = EpisodeStore(tmp_path).load(name)
    assert len(episode) == 7 and episode.outcome is Outcome.OPERATOR_STOP and own.made[-1].halts >= 1


def test_a_third_leaves_what_there_is_to_the_doctor(
    own: type[OwnRobot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robot.episodes.writer import EpisodeWriter

    def slow(writer: EpisodeWriter, outcome: Outcome) -> str:
        for _ in range(3):
            interrupt()
        raise AssertionError("it goes on")

    monkeypatch.setattr(EpisodeWriter, "seal", slow)
    assert sail(tmp_path, "deploy.max_steps=6") == 130
    monkeypatch.undo()
    [finding] = examine(tmp_path, repair=True)
    assert finding.done and "5 steps are saved" in finding.remedy


def test_the_terminal_s_signals_are_as_before_afterwards(own: type[OwnRobot], tmp_path: Path) -> None:
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(kind) for kind in kinds]
    assert sail(tmp_path, "deploy.max_steps=3") == 0
    assert [signal.getsignal(kind) for kind in kinds] == before
    fd = signal.set_wakeup_fd(-1)
    assert fd == -1


def test_a_closing_terminal_that_is_to_be_ignored_is_ignored(
    own: type[OwnRobot], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(own, "on_act", lambda robot: signal.raise_signal(signal.SIGHUP))
        assert sail(tmp_path, "deploy.max_steps=3") == 0
        assert told(capsys)["outcome"] == "timeout"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_after_the_end_a_late_key_does_nothing() -> None:
    robot = OwnRobot()
    with OperatorStop(robot, Keyboard()) as stop:
        assert not stop.is_asked()
        stop.bears = 1
        stop.ask()
        assert stop.is_asked() and robot.halted.wait(20)
    halts = robot.halts
    stop.ask()
    stop.rest()
    assert robot.halts == halts


def test_left_by_an_error_it_halts_first() -> None:
    robot = OwnRobot()
    robot.reset(0)
    robot.is_moving = True
    with pytest.raises(KeyError), OperatorStop(robot, Keyboard()):
        raise KeyError("a defect")
    assert not robot.is_moving and robot.halts == 1


# On an arm, through its server


@pytest.mark.parametrize("how", ["key", "signal"])
@pytest.mark.parametrize("root", ["deploy", "arm_teleoperate"])
def test_a_stop_brakes_an_arm_within_a_few_servo_periods(
    root: str, how: str, hand: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """State how long a stop takes to the first servo period that brakes: `pytest -s` shows it."""
    arm = KinematicArm()
    with served(arm) as server:
        pressed_s: list[float] = []

        def drive_and_stop() -> None:
            def is_driven() -> bool:
                if root == "arm_teleoperate":
                    os.write(hand, b"d")
                return float(np.abs(arm.position - arm.description.home)[:3].max()) > 0.01

            until(is_driven)
            pressed_s.append(time.monotonic())
            os.write(hand, b" ") if how == "key" else interrupt()

        driving = threading.Thread(target=drive_and_stop)
        driving.start()
        assert carried_out(tmp_path, server.address, root=root) == 0
        driving.join(30)
        rows = server.record.rows()
        assert server.governor.at_rest
    [stopped_s] = pressed_s
    braking = np.flatnonzero((rows[:, 1] > stopped_s) & (rows[:, 3] == STATES.index(State.DISARMED)))
    moved = np.flatnonzero(np.any(np.diff(rows[:, 6:9], axis=0) != 0, axis=1)) + 1
    braking_s, rest_s = rows[braking[0], 1] - stopped_s, rows[max(moved[-1], braking[0]), 1] - stopped_s
    assert told(capsys)["outcome"] == "operator stop"
    print(f"{how} in {root}: braking after {1e3 * braking_s:.1f} ms, at rest after {1e3 * rest_s:.1f} ms")
    assert braking_s < SOON_S and rest_s < 2 * SOON_S


def test_a_key_halts_an_arm_on_its_way_home(hand: int, tmp_path: Path) -> None:
    arm = KinematicArm()
    with served(arm) as server:
        with ArmClient(server.address, timeout_s=10.0) as client:
            client.acquire()
            client.arm()
            start = arm.description.home + np.array([0.25, 0.2, 0.1, 0.0])
            client.submit(time.monotonic() + np.array([1.0, 2.0]), np.stack([start, start]))
            until(lambda: abs(arm.position[0] - start[0]) < 1e-3)
        until(lambda: server.governor.at_rest and server.requests.lease.holder(time.monotonic()) == "")

        def press() -> None:
            until(lambda: server.governor.state.value == "RUNNING")
            os.write(hand, b" ")

        pressing = threading.Thread(target=press)
        pressing.start()
        began_s = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            carried_out(tmp_path, server.address)
        pressing.join(20)
        assert time.monotonic() - began_s < 15
        assert server.state[0].value == "DISARMED" and server.governor.at_rest
        assert abs(arm.position[0] - arm.description.home[0]) > 0.01  # it did not come home


def test_a_misspelt_task_is_told_before_heavy_libraries_load() -> None:
    program = (
        "import sys\nfrom robot.cli.main import main\n"
        "code = main(['evaluate', 'task=drawer-clse'])\nprint(code, 'torch' in sys.modules, 'mujoco' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["2", "False", "False"]
    assert "Did you mean drawer-close" in done.stderr
