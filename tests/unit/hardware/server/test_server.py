"""The server and its client: leases, stops, silence, faults, keys, and threads that die."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from hardware.arms.kinematic import KinematicArm, PaintedCamera
from hardware.client.client import ArmClient, ArmError, ArmRefusedError, open_line
from hardware.client.heartbeat import Heartbeat
from hardware.client.stopping import send_stop
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.server.servo_record import KEPT, ServoRecord, read_record, sent_positions
from hardware.wire.clocks import ClockOffset, now
from hardware.wire.commands import Decision
from hardware.wire.keys import READ_EVERY_S, authorised_clients, client_keys, make_keys, server_keys
from hardware.wire.messages import Message, pack, unpack
from hardware.wire.reasons import Code
from hardware.wire.states import State
from robot.core.errors import SailError
from robot.core.joints import Joints, JointState
from tests.unit.hardware.governed_arms import check_limits
from tests.unit.hardware.serving import PATIENT, armed, served, until


def way(arm: KinematicArm, *offsets_m: float) -> np.ndarray:
    points = np.tile(arm.description.home, (len(offsets_m), 1))
    points[:, 0] += offsets_m
    return points


def test_waypoints_move_the_arm_and_everyone_sees_it(tmp_path: Path) -> None:
    arm = KinematicArm()
    with served(arm, record=tmp_path / "record.npy", log=tmp_path / "log.jsonl") as server:  # noqa: SIM117
        with ArmClient(server.address, timeout_s=10.0) as watcher, armed(server, name="driver") as client:
            result = client.submit(now() + np.array([0.3, 0.6]), way(arm, 0.05, 0.1))
            assert result.decision is Decision.PASS
            seen = watcher.wait(lambda report: report.at_rest and report.position[0] > 0.0999, 20, "move")
            assert seen.holder == "driver"
            assert seen.applied == result.sequence
            frame = until(lambda: (frame := watcher.frame("front")) and frame.captured_s > seen.time_s and frame)
            assert frame.image.shape == (48, 64, 3)
            beyond = client.submit(now() + np.array([0.5]), way(arm, 0.39999))
            assert beyond.decision is Decision.CLAMP and "position of x" in beyond.reasons
            assert client.submit(now() - np.array([0.5]), way(arm, 0.1)).decision is Decision.REJECT
            assert client.status()["rejected"] == 1
    rows = read_record(tmp_path / "record.npy")
    check_limits(sent_positions(rows, 4), arm.description, server.governor.period_s)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["pass", "clamp", "reject"]
    assert lines[1]["asked"][0][0] == pytest.approx(0.39999) and lines[1]["sent"][0][0] == pytest.approx(0.392)
    assert not arm.connected


def test_one_client_commands_and_others_are_told_who() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server, name="first") as first, ArmClient(server.address) as second:
        with pytest.raises(ArmRefusedError, match="first holds the lease"):
            second.acquire()
        result = second.submit(now() + np.array([0.3]), way(arm, 0.1))
        assert result.decision is Decision.REJECT and "first holds the lease" in result.reasons[0]
        with pytest.raises(ArmRefusedError, match="first holds"):
            second.home()
        first.release()
        second.acquire()
        second.arm()
        assert second.status()["holder"] == "client"


def test_anyone_may_stop_and_only_a_clear_ends_it() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server) as client, ArmClient(server.address, name="bystander") as other:
        client.submit(now() + np.linspace(0.1, 3.0, 30), way(arm, *np.linspace(0.01, 0.3, 30)))
        client.wait(lambda report: report.state is State.RUNNING, 20, "run")
        other.stop()
        seen = until(lambda: (r := client.report) and r.state is State.FAULT and r.at_rest and r)
        assert "bystander" in seen.reason
        rejected = client.submit(now() + np.array([0.3]), way(arm, 0.1))
        assert rejected.decision is Decision.REJECT and "bystander" in rejected.reasons[0]
        with pytest.raises(ArmRefusedError, match="clear it first"):
            client.arm()
        place = arm.position
        until(lambda: arm.stops > 0)
        other.clear()
        client.arm()
        np.testing.assert_array_equal(arm.position, place)


def test_a_stop_is_not_overtaken_by_a_flood_of_commands() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server) as client:
        ending = threading.Event()

        def flood() -> None:
            number = 0
            while not ending.is_set():
                number += 1
                with contextlib.suppress(SailError):
                    client.submit(now() + np.array([0.2]), way(arm, 0.05 * np.sin(number / 50)))

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            client.wait(lambda report: report.state is State.RUNNING, 20, "run")
            client.stop("a person")
            until(lambda: server.state[0] is State.FAULT and server.governor.at_rest)
            place = arm.position
            time.sleep(0.2)
            np.testing.assert_array_equal(arm.position, place)
        finally:
            ending.set()
            thread.join()


def test_a_stop_of_any_release_is_understood_without_a_hello() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server):
        assert [server.ports[name] - server.ports["control"] for name in ("command", "stop", "state")] == [1, 2, 3]
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{server.ports['control'] + 2}")
        socket.send(msgpack.packb({"v": 9, "kind": "stop", "seq": 3, "new": [1]}))
        assert socket.poll(10_000)
        answer = unpack(socket.recv_multipart())
        assert (answer.kind, answer.answers) == ("done", 3)
        until(lambda: server.state[0] is State.FAULT)
        garbage = server.requests.garbage
        socket.send(b"stop!")
        until(lambda: server.requests.garbage == garbage + 1)
        context.destroy(0)


def test_a_stop_is_said_again_in_the_words_of_an_older_server() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    got: list[dict[str, Any]] = []

    def serve() -> None:
        for kind, body in (("refused", {"reason": "no"}), ("done", {"state": "FAULT", "detail": "it rests"})):
            assert socket.poll(10_000)
            parts = socket.recv_multipart()
            got.append(msgpack.unpackb(parts[1]))
            old = {"v": 0, "schema": "old", "session": "", "seq": 0, "answers": 1, "t": 0.0, "kind": kind, "body": body}
            socket.send_multipart([parts[0], msgpack.packb(old)])

    thread = threading.Thread(target=serve)
    thread.start()
    assert send_stop(f"tcp://127.0.0.1:{port - 2}", "a person", timeout_s=10.0).detail == "it rests"
    thread.join(10)
    context.destroy(0)
    assert got[0]["kind"] == got[1]["kind"] == "stop" and (got[1]["v"], got[1]["schema"]) == (0, "old")
    with pytest.raises(ArmError, match="emergency stop"):
        send_stop("tcp://127.0.0.1:9", "a person", timeout_s=0.2)


def test_a_stop_that_gets_lost_is_said_again_on_another_line() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    lines: list[bytes] = []

    def serve() -> None:
        while len(lines) < 2:
            assert socket.poll(10_000)
            lines.append(socket.recv_multipart()[0])
        socket.send_multipart([lines[1], *pack(Message("done", {"state": "FAULT", "detail": "it rests"}))])

    thread = threading.Thread(target=serve)
    thread.start()
    stopped = send_stop(f"tcp://127.0.0.1:{port - 2}", "a person", timeout_s=10.0)
    thread.join(10)
    context.destroy(0)
    assert stopped.detail == "it rests" and lines[0] != lines[1]


def test_a_client_that_falls_silent_loses_the_arm() -> None:
    arm = KinematicArm()
    with served(arm, settings=SafetySettings(late_s=3.0, state_age_s=3.0)) as server:
        client = ArmClient(server.address, timeout_s=10.0)
        client.acquire()
        client.arm()
        client.submit(now() + np.linspace(0.1, 4.0, 40), way(arm, *np.linspace(0.005, 0.2, 40)))
        client.wait(lambda report: report.state is not State.HOLDING, 20, "run")
        client._token = ""  # its heart stops
        until(lambda: server.state[0] is State.DISARMED)
        until(lambda: server.governor.at_rest)
        assert arm.position[0] < 0.15
        states = set(server.record.rows()[:, 3].astype(int))
        assert list(State).index(State.DEGRADED) in states
        with pytest.raises(ArmRefusedError, match="lease"):
            client.arm()
        client.close()


def test_a_slow_planner_keeps_the_lease_but_not_the_motion() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server) as client:
        client.submit(now() + np.array([0.2]), way(arm, 0.05))
        until(lambda: arm.position[0] >= 0.05)
        until(lambda: server.state[0] is State.HOLDING)
        time.sleep(PATIENT.silence_s + 0.5)
        assert server.state[0] is State.HOLDING
        assert client.held
        assert client.submit(now() + np.array([0.3]), way(arm, 0.0)).decision is Decision.PASS


def test_a_heart_beats_on_a_fixed_grid_though_no_answer_comes() -> None:
    context = zmq.Context()
    silent = context.socket(zmq.ROUTER)
    silent.setsockopt(zmq.LINGER, 0)
    port = silent.bind_to_random_port("tcp://127.0.0.1")
    told: list[bool] = []
    heart = Heartbeat(
        lambda: open_line(context, f"tcp://127.0.0.1:{port}", None, 2),
        lambda: "session",
        lambda: "token",
        ClockOffset(),
        lambda token, held: told.append(held),
    )
    heart.start()
    arrived: list[float] = []
    began_s = now()
    while now() - began_s < 1.0:
        if silent.poll(20):
            assert unpack(silent.recv_multipart()[1:]).kind == "beat"
            arrived.append(now())
    heart.end()
    heart.join(5)
    context.destroy(0)
    assert len(arrived) >= 15
    assert np.median(np.diff(arrived)) < 0.07
    assert told and not any(told)


def test_the_newest_command_wins() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server) as client:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{client.welcome.command_port}")
        with server._lock:  # the server cannot decide on any before all have come
            for number, place in ((1, 0.01), (3, 0.03), (2, 0.02)):
                body = {"token": client._token, "sequence": number, "seen_s": None}
                arrays = (now() + np.array([2.0]), way(arm, place))
                socket.send_multipart(pack(Message("command", body, arrays, server.session, number)))
            time.sleep(0.3)
        answers = {}
        for _ in range(3):
            assert socket.poll(10_000)
            message = unpack(socket.recv_multipart())
            answers[message.body["sequence"]] = message.body["verdict"]
        context.destroy(0)
    # The first may have been taken alone, before the others were there.
    assert answers[3] == "pass" and answers[2] == "reject"


class Ponderous:
    """Where a cartesian arm's tool is; any thread but the servo's and the test's own waits for the answer."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def __call__(self, joints: Joints) -> Joints:
        if threading.current_thread().name == "commands":
            self.asked.set()
            self.may_answer.wait(20.0)
        return joints[:3]


BOXED = replace(PATIENT, workspace_low=(-0.3, 0.35, 0.05), workspace_high=(0.3, 0.85, 0.35))


def test_a_decision_that_takes_long_keeps_neither_the_servo_nor_a_heart_nor_a_stop_waiting() -> None:
    arm, forward = KinematicArm(), Ponderous()
    with served(arm, settings=BOXED, forward=forward) as server, armed(server) as client:
        results = []
        points = np.tile(arm.description.home, (100, 1))
        points[:, 0] = np.linspace(0.31, 0.39, 100)
        points[0, 0] = 0.05

        def command() -> None:
            results.append(client.submit(now() + np.linspace(0.5, 4.0, 100), points))

        thread = threading.Thread(target=command)
        thread.start()
        try:
            assert forward.asked.wait(20)
            ticks, beat_s = server.servo.counts.ticks, server.governor._beat_s
            until(lambda: server.servo.counts.ticks > ticks + 20, 5)
            until(lambda: server.governor._beat_s > beat_s + 0.2, 5)
            client.stop("a person")
            until(lambda: server.governor.state is State.FAULT, 5)
        finally:
            forward.may_answer.set()
            thread.join(20)
        assert results[0].decision is Decision.REJECT and "stopped by a person" in results[0].reasons[0]


def test_a_command_that_is_decided_on_while_the_arm_changes_hands_is_rejected() -> None:
    arm, forward = KinematicArm(), Ponderous()
    with (
        served(arm, settings=BOXED, forward=forward) as server,
        armed(server, name="first") as first,
        ArmClient(server.address, name="second", timeout_s=10.0) as second,
    ):
        results = []
        submit = threading.Thread(
            target=lambda: results.append(first.submit(now() + np.array([1.0, 3.0]), way(arm, 0.05, 0.1)))
        )
        submit.start()
        try:
            assert forward.asked.wait(20)
            first.release()
            second.acquire()
            second.arm()
        finally:
            forward.may_answer.set()
            submit.join(20)
        assert results[0].decision is Decision.REJECT and "lent anew" in results[0].reasons[0]
        assert server.state[0] is State.HOLDING


def test_a_reset_draws_the_scene_and_leaves_the_arm_where_it_is_then() -> None:
    arm = KinematicArm()
    with served(arm) as server, armed(server) as client:
        client.submit(now() + np.array([0.3]), way(arm, 0.1))
        client.wait(lambda report: report.at_rest and report.position[0] > 0.099, 20, "move")
        client.reset(5)
        shade = arm.shade
        client.reset(6)
        assert shade != arm.shade
        client.wait(lambda report: report.at_home, 20, "be home")
        assert client.submit(now() + np.array([0.3]), way(arm, 0.1)).decision is Decision.PASS


class Mortal(KinematicArm):
    """An arm whose wire can be cut, or whose driver ends its thread."""

    cut = False
    deadly = False

    def write(self, position: Joints) -> None:
        if self.deadly:
            raise SystemExit("the driver gave up")
        super().write(position)

    def read(self) -> JointState:
        if self.cut:
            raise SailError("The cable is out.")
        return super().read()


def test_an_arm_that_cannot_be_read_is_a_fault_until_it_is_cleared() -> None:
    arm = Mortal()
    with served(arm) as server, armed(server) as client:
        arm.cut = True
        until(lambda: server.state == (State.FAULT, "the arm cannot be read: The cable is out."))
        until(lambda: server.governor.not_clearable.code is Code.NONE)
        client.clear()
        report = client.status()
        assert (report["state"], report["healthy"], report["code"]) == ("DISARMED", False, "unreadable")
        assert "The cable is out." in report["reason"]
        seen = until(lambda: (report := client.report) and report.state is State.DISARMED and report)
        later = until(lambda: (report := client.report) and report.time_s > seen.time_s + 0.1 and report)
        assert later.measured_s == seen.measured_s, "a state that was not read does not get younger"
        with pytest.raises(ArmRefusedError, match="does not say where it is"):
            client.arm()
        arm.cut = False
        until(lambda: server.servo.moment.measured is not None)  # type: ignore[union-attr]
        assert client.status()["healthy"]
        client.arm()


class Sulking(KinematicArm):
    """An arm that stops itself, and can be made ready again unless something is in its way."""

    sulks = blocked = False
    recovered = 0

    def write(self, position: Joints) -> None:
        if self.sulks:
            raise SailError("The arm is in a protective stop.")
        super().write(position)

    def recover(self) -> None:
        assert threading.current_thread().name == "servo"
        if self.blocked:
            raise SailError("The arm cannot be made ready: its stop button is pressed.")
        self.sulks = False
        self.recovered += 1


def test_a_clear_makes_an_arm_ready_that_stopped_itself_and_nothing_else_does() -> None:
    arm = Sulking()
    with served(arm) as server, armed(server) as client:
        arm.sulks = arm.blocked = True
        until(lambda: server.state[0] is State.FAULT and client.report is not None)
        assert server.state[1].code is Code.UNWRITABLE
        until(lambda: server.governor.not_clearable.code is Code.NONE)
        with pytest.raises(ArmRefusedError, match="clear it first"):
            client.arm()
        with pytest.raises(ArmRefusedError, match="stop button is pressed"):
            client.clear()
        assert server.state[0] is State.FAULT and arm.sulks and arm.recovered == 0
        arm.blocked = False
        client.clear()
        assert server.state[0] is State.DISARMED and arm.recovered == 1
        client.arm()
        assert client.submit(now() + np.array([0.3]), way(arm, 0.01)).decision is Decision.PASS


class Kept:
    """A door that keeps what is sent through it."""

    parts: Sequence[bytes] = ()

    def send(self, parts: Sequence[bytes]) -> None:
        self.parts = parts


def test_numbers_that_are_none_end_no_thread() -> None:
    class Timeless(KinematicArm):
        time_s = 0.0

        def read(self) -> JointState:
            state = super().read()
            return JointState(state.position, self.time_s or state.time_s)

    arm = Timeless()
    with served(arm) as server, ArmClient(server.address, timeout_s=10.0) as client:
        for time_s in (float("nan"), float("inf")):
            arm.time_s = time_s
            until(lambda: not client.status()["healthy"])
            arm.time_s = 0.0
            until(lambda: client.status()["healthy"])
        feed = server._feeds[0]
        feed.captured_s = float("nan")
        assert client.status()["camera_ages_s"][0] >= 0
        door = Kept()
        server._send(door, b"nobody", Message("time", {"received_s": float("nan")}), 1)  # type: ignore[arg-type]
        assert unpack(door.parts[1:]).body["code"] == Code.DEFECT
        assert client.status()["healthy"]


def test_a_command_that_nobody_can_mean_is_rejected_and_logged(tmp_path: Path) -> None:
    arm = KinematicArm()
    with served(arm, log=tmp_path / "log.jsonl") as server, armed(server) as client:
        result = client.submit(now() + np.array([0.3, 0.6]), np.array([way(arm, 0.01)[0], np.full(4, 1e300)]))
        assert result.decision is Decision.REJECT and result.reasons[0].code is Code.MALFORMED
        time.sleep(0.1)
        np.testing.assert_array_equal(arm.position, arm.description.home)
        with ArmClient(server.address, timeout_s=10.0) as stranger:
            assert stranger.submit(now() + np.array([1e300]), np.full((1, 4), -1e300)).decision is Decision.REJECT
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["decision"] for line in lines] == ["reject", "reject"]
    assert lines[0]["asked"][1][0] == 1e300


def test_a_servo_thread_that_dies_is_a_fault_that_nothing_clears() -> None:
    arm = Mortal()
    with served(arm) as server, armed(server) as client:
        arm.deadly = True
        until(lambda: not server.servo.is_alive())
        assert server.state[0] is State.FAULT
        assert arm.stops > 0
        for ask in (client.arm, client.clear):
            with pytest.raises(ArmRefusedError, match="servo thread has died"):
                ask()
        assert client.submit(now() + np.array([0.3]), way(arm, 0.1)).decision is Decision.REJECT
        assert client.status()["healthy"] is False


@pytest.mark.parametrize("name", ["requests", "commands", "stop", "publishing", "doors"])
def test_another_thread_of_the_server_that_dies_is_a_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = KinematicArm()

    class Sick(dict[str, float]):
        def __setitem__(self, key: str, value: float) -> None:
            if key == name:
                raise SystemExit
            super().__setitem__(key, value)

    with served(arm) as server, armed(server):
        server._beats = Sick(server._beats)
        until(lambda: server.governor.state is State.FAULT)
        assert f"thread for {name} has died" in server.governor.reason
        assert "died" in server.governor.reason


def test_a_mismatch_is_refused_with_both_values_named() -> None:
    with served() as server:
        with pytest.raises(ArmRefusedError, match="'panda#7' and this is 'kinematic#test'"):
            ArmClient(server.address, robot="panda#7")
        with pytest.raises(ArmRefusedError, match="calibration 'abc' and this is ''"):
            ArmClient(server.address, calibration="abc")
        ArmClient(server.address, robot="kinematic#test").close()


class Charted(PaintedCamera):
    """A camera whose lens was measured."""

    def __init__(self, arm: KinematicArm) -> None:
        super().__init__(arm, "side", (48, 64), 20.0)
        self.intrinsics = (60.5, 61.5, 31.5, 23.5)


def test_a_hello_tells_the_cameras_rates_and_lenses_and_answers_are_numbered() -> None:
    arm = KinematicArm()
    with (
        served(arm, cameras=[PaintedCamera(arm), Charted(arm)]) as server,
        ArmClient(server.address, timeout_s=10.0) as client,
    ):
        welcome = client.welcome
        assert welcome.cameras == {"front": (48, 64), "side": (48, 64)}
        assert welcome.camera_rates_hz == {"front": 30.0, "side": 20.0}
        assert welcome.intrinsics == {"side": (60.5, 61.5, 31.5, 23.5)}
        assert (welcome.servo_hz, welcome.state_hz) == (250.0, 100.0)
        numbers = [client.ask("clock").sequence for _ in range(5)] + [client.ask("status").sequence]
        assert numbers[0] > 0 and np.all(np.diff(numbers) > 0)
        until(lambda: 15 < client.status()["camera_rates_hz"][1] < 25)


def test_whether_a_scene_is_solved_is_asked_by_the_servo_alone() -> None:
    asked: set[str] = set()

    class Solved(KinematicArm):
        def succeeded(self) -> bool:
            asked.add(threading.current_thread().name)
            return True

    with served(Solved()) as server, ArmClient(server.address, timeout_s=10.0) as client:
        until(lambda: client.report is not None and client.report.succeeded)
    assert asked == {"servo"}


@pytest.mark.slow
def test_only_clients_whose_keys_are_known_get_in(tmp_path: Path) -> None:
    _, server_secret = make_keys(tmp_path / "server", "arm")
    server_public = tmp_path / "server" / "arm.key"
    known, stranger = (make_keys(tmp_path / name, name) for name in ("known", "stranger"))
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "known.key").write_bytes(known[0].read_bytes())
    assert list(authorised_clients(tmp_path / "clients").values()) == ["known"]
    with served(keys=server_keys(server_secret, tmp_path / "clients")) as server:
        with ArmClient(server.address, keys=client_keys(known[1], server_public), timeout_s=10.0) as client:
            client.acquire()
            client.arm()
            until(lambda: client.report is not None and client.frame("front") is not None)
        with pytest.raises(ArmError, match="keys fit"):
            ArmClient(server.address, keys=client_keys(stranger[1], server_public), timeout_s=0.5)
        (tmp_path / "clients" / "stranger.key").write_bytes(stranger[0].read_bytes())
        time.sleep(READ_EVERY_S + 0.1)
        ArmClient(server.address, keys=client_keys(stranger[1], server_public), timeout_s=10.0).close()
        (tmp_path / "clients" / "stranger.key").unlink()
        time.sleep(READ_EVERY_S + 0.1)
        with pytest.raises(ArmError, match="keys fit"):
            ArmClient(server.address, keys=client_keys(stranger[1], server_public), timeout_s=0.5)
        with pytest.raises(ArmError, match="keys fit"):
            ArmClient(server.address, timeout_s=0.5)
        with pytest.raises(ArmError, match="keys fit"):
            ArmClient(server.address, keys=client_keys(known[1], stranger[0]), timeout_s=0.5)


def test_nobody_at_the_address_is_said_in_time() -> None:
    began_s = now()
    with pytest.raises(ArmError, match="does not answer"):
        ArmClient("tcp://127.0.0.1:9", timeout_s=0.3)
    assert now() - began_s < 10
    with pytest.raises(ArmError, match="tcp://HOST:PORT"):
        ArmClient("here")


def test_a_client_of_a_server_that_was_started_again_says_hello_by_itself_and_arms_nothing() -> None:
    arm = KinematicArm()
    with served(arm) as server:
        port = server.ports["control"]
        client = ArmClient(server.address, timeout_s=10.0)
        client.acquire()
        client.arm()
        old = until(lambda: client.frame("front"))
        session = client.welcome.session
    again = KinematicArm()
    with ArmServer(again, [PaintedCamera(again)], port=port, settings=PATIENT) as server:
        until(lambda: client.welcome.session == server.session != session)
        seen = until(lambda: client.report)
        assert seen.state is State.DISARMED and not client.held
        until(lambda: (frame := client.frame("front")) and frame.captured_s > old.captured_s)
        with pytest.raises(ArmRefusedError, match="lease is over") as refused:
            client.arm()
        assert refused.value.code is Code.NO_LEASE and server.state[0] is State.DISARMED
        client.acquire()
        client.arm()
        result = client.submit(now() + np.array([0.3]), way(again, 0.01))
        assert result.decision is Decision.PASS
        until(lambda: again.position[0] > 0.0099)
    client.close()


def test_a_request_to_a_server_that_was_started_again_is_said_again_to_the_new_run() -> None:
    with served() as server:
        client = ArmClient(server.address, timeout_s=10.0, watch=False)
        port = server.ports["control"]
    arm = KinematicArm()
    with ArmServer(arm, [PaintedCamera(arm)], port=port, settings=PATIENT) as server:
        client.acquire()
        assert client.status()["holder"] == "client"
    client.close()


def test_another_arm_at_the_same_address_is_not_taken_for_the_one_before() -> None:
    with served() as server:
        client = ArmClient(server.address, timeout_s=10.0, watch=False)
        port = server.ports["control"]
    other = KinematicArm(replace(KinematicArm().description, serial="another"))
    with (
        ArmServer(other, [PaintedCamera(other)], port=port, settings=PATIENT),
        pytest.raises(ArmError, match="another arm"),
    ):
        client.acquire()
    client.close()


def test_a_camera_that_fails_is_opened_again_and_never_stops_the_arm() -> None:
    arm = KinematicArm()

    class Loose(PaintedCamera):
        out = False

        def read(self):  # type: ignore[no-untyped-def]
            if self.out:
                raise SailError("The camera's plug is out.")
            return super().read()

    camera = Loose(arm)
    with served(arm, cameras=[camera], encoding="jpeg") as server, armed(server) as client:
        first = until(lambda: client.frame("front"))
        camera.out = True
        until(lambda: "plug" in server._feeds[0].problem)
        assert server.state[0] is State.HOLDING
        camera.out = False
        until(lambda: client.frame("front").number > first.number + 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("on_exit", ["hold", "park"])
def test_at_the_end_the_arm_comes_to_rest_or_goes_home(on_exit: str, tmp_path: Path) -> None:
    arm = KinematicArm()
    with served(arm, on_exit=on_exit, record=tmp_path / "record.npy") as server:
        client = ArmClient(server.address, timeout_s=10.0)
        client.acquire()
        client.arm()
        client.submit(now() + np.linspace(0.1, 4.0, 40), way(arm, *np.linspace(0.005, 0.2, 40)))
        until(lambda: arm.position[0] > 0.02)
    home = np.allclose(arm.position, arm.description.home, atol=1e-6)
    assert home == (on_exit == "park")
    assert arm.stops > 0 and not arm.connected
    check_limits(sent_positions(read_record(tmp_path / "record.npy"), 4), arm.description, server.governor.period_s)
    client.close()


def test_a_camera_that_blocks_keeps_no_server_from_ending() -> None:
    arm = KinematicArm()
    camera = PaintedCamera(arm)
    with served(arm, cameras=[camera]) as server:
        [feed] = server._feeds
        until(lambda: feed.frames > 0)
        camera.frozen = True
        time.sleep(0.1)
    assert feed.is_alive()
    assert not arm.connected
    camera.frozen = False
    feed.join(10)
    assert not feed.is_alive()


@pytest.mark.slow
def test_an_arm_whose_driver_takes_long_to_disconnect_is_waited_for() -> None:
    class Slow(KinematicArm):
        def close(self) -> None:
            time.sleep(4.0)
            super().close()

    arm = Slow()
    with served(arm):
        assert arm.connected
    assert not arm.connected


def test_what_an_earlier_server_recorded_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "record.npy"
    for _ in range(8):
        record = ServoRecord(4, 10, path)
        record._rows[0, 0] = 1
    assert len(list(tmp_path.glob("record-*.npy"))) == KEPT
    assert all(read_record(one).shape == (1, 18) for one in tmp_path.iterdir())
    with pytest.raises(SailError, match="record="):
        ServoRecord(4, 10, tmp_path / "record.npy" / "no folder")


def test_an_arm_that_is_missing_is_one_sentence() -> None:
    class Absent(KinematicArm):
        def connect(self) -> None:
            raise SailError("There is no arm at 10.0.0.2: see whether it is powered.")

    with pytest.raises(SailError, match=r"no arm at 10\.0\.0\.2"):
        ArmServer(Absent(), port=0).start()


def test_a_server_starts_in_under_a_second_and_without_torch() -> None:
    import subprocess
    import sys

    program = (
        "import time, sys; t = time.perf_counter()\n"
        "from hardware.server.server import ArmServer\n"
        "from hardware.arms.kinematic import KinematicArm, PaintedCamera\n"
        "arm = KinematicArm(); server = ArmServer(arm, [PaintedCamera(arm)], port=0).start()\n"
        "took = time.perf_counter() - t; server.close()\n"
        "assert 'torch' not in sys.modules; print(took, time.process_time())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # Processor time, since other work on this machine is no fault of the server's.
    assert float(told.stdout.split()[1]) < 1.0
