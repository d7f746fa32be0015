"""`sail arm`: serve an arm in a process of its own, look at it, stop it, clear it, and make keys."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from hardware.arms.kinematic import KinematicArm, cartesian
from hardware.client.client import ArmClient
from hardware.client.stopping import send_stop
from hardware.server.server import ArmServer
from hardware.wire.messages import Message, pack
from robot.cli.arm import status_line
from robot.cli.compose import build, compose
from robot.cli.main import main
from robot.cli.serving import safety_settings
from robot.cli.stop import asked, is_stop
from robot.core.errors import SailError
from robot.core.text import visible
from tests.faults.driving import free_ports
from tests.hostile import HOSTILE, IDS, obeyed
from tests.unit.hardware.serving import served, until


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert main(["arm", *words, "--json", "timeout_s=10.0"]) == 0
    content: dict[str, object] = json.loads(capsys.readouterr().out)
    return content


def test_an_arm_is_served_stopped_cleared_and_let_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "robot.cli.main", "arm", "serve", "robot=kinematic", "port=0", "--json"]
    command += ["safety.silence_s=1.0", "safety.lease_s=4.0", "safety.late_s=3.0", "safety.state_age_s=3.0"]
    command += [f"log={tmp_path / 'log.jsonl'}", "realtime=false"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None and server.stderr is not None
        assert select.select([server.stdout], [], [], 60)[0]
        text = ""
        while "}" not in text:
            text += server.stdout.readline()
        address = f"address={json.loads(text)['address']}"
        status = said(capsys, "status", address)
        assert status["state"] == "DISARMED"
        assert status["joints"] == {"x": 0.0, "y": 0.6, "z": 0.2, "gripper": 0.04}
        assert main(["arm", "status", address]) == 0
        told = capsys.readouterr().out
        assert "y 0.600 m" in told and "serial number test, calibration kept in the arm" in told
        assert " of 30 Hz, " in told and "ms old, 0 lost" in told
        with ArmClient(json.loads(text)["address"], timeout_s=10.0, watch=False) as client:
            client.acquire()
            client.arm()
            assert said(capsys, "status", address)["state"] == "HOLDING"
            stopped = said(capsys, "stop", address)
            assert stopped["state"] == "FAULT" and "sail arm stop" in str(stopped["reason"])
            until(lambda: client.status()["at_rest"])
            assert said(capsys, "clear", address)["state"] == "DISARMED"
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=30)
        assert server.returncode == 0
        assert "no safety-rated emergency stop" in " ".join(told.split())
        for part in ("serial number test", "calibration kept in the arm", "camera front: 128×128 (H×W) at 30 Hz"):
            assert part in told
        assert "holds by itself" in told
    finally:
        server.kill()
        server.communicate()
    assert main(["arm", "status", address, "timeout_s=0.3"]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_a_stop_is_sent_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    context = zmq.Context()
    order: list[str] = []
    sockets = {}
    first = context.socket(zmq.ROUTER)
    port = first.bind_to_random_port("tcp://127.0.0.1")
    sockets[first] = "hello"
    stops = context.socket(zmq.ROUTER)
    stops.bind(f"tcp://127.0.0.1:{port + 2}")
    sockets[stops] = "stop"
    poller = zmq.Poller()
    ending = threading.Event()

    def serve() -> None:
        while not ending.is_set():
            for socket, _ in poller.poll(20):
                parts = socket.recv_multipart()
                order.append(sockets[socket])
                if socket is stops:
                    done = Message(
                        "done", {"state": "FAULT", "detail": "the arm \x1b[31mcomes to rest"}, (), "", 0, 1, 0.0
                    )
                    socket.send_multipart([parts[0], *pack(done)])

    for socket in sockets:
        socket.setsockopt(zmq.LINGER, 0)
        poller.register(socket, zmq.POLLIN)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert main(["arm", "stop", f"address=tcp://127.0.0.1:{port}", "timeout_s=1.0"]) == 0
    finally:
        ending.set()
        thread.join(10)
        context.destroy(0)
    told = " ".join(capsys.readouterr().out.split())
    assert order[0] == "stop" and "hello" in order
    assert "The server has the stop: the arm \\x1b[31mcomes to rest" in told and "Look at it" in told


def test_a_stop_loads_nothing_but_sockets_before_it_is_sent() -> None:
    code = (
        "import sys, robot.cli.main as front, robot.cli.stop as quick\n"
        "def sent(address, reason, keys, timeout_s):\n"
        "    places = {name: getattr(module, '__file__', None) or '' for name, module in sys.modules.items()}\n"
        "    print(address, timeout_s, *sorted({n.split('.')[0] for n, p in places.items() if 'site-packages' in p}))\n"
        "    print(*sorted(name for name in places if name.split('.')[0] in ('robot', 'hardware')))\n"
        "    sys.exit()\n"
        "quick.send_stop = sent\n"
        "front.main(sys.argv[1:])\n"
    )
    words = ["arm", "stop", "timeout_s=3", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    asked, ours = done.stdout.splitlines()
    address, timeout_s, *packages = asked.split()
    assert (address, timeout_s) == ("tcp://127.0.0.1:7710", "3.0")
    assert {name for name in packages if not name.startswith(("__editable__", "_distutils"))} == {"msgpack", "zmq"}
    quick = {"clocks", "envelope", "lines", "reasons", "stopping"}
    assert {
        name.split(".")[-1] for name in ours.split() if name.count(".") == 2 and name.startswith("hardware.")
    } == quick
    assert "robot.cli.verbs" not in ours and "robot.core.data" not in ours


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        (["arm", "stop"], True),
        (["arm", "--json", "stop", "address=tcp://10.0.0.2:7710", "key=a", "server_key=b", "timeout_s=1"], True),
        (["arm", "stop", "--help"], False),
        (["arm", "stop", "adress=tcp://10.0.0.2:7710"], False),
        (["arm", "stop", "stop"], False),
        (["arm", "stop", "now"], False),
        (["arm", "status"], False),
        (["deploy", "stop"], False),
    ],
)
def test_a_stop_in_plain_form_goes_the_quick_way(words: list[str], plain: bool) -> None:
    assert is_stop(words) == plain


def test_settings_of_a_stop_are_those_of_the_file_unless_they_are_given() -> None:
    config = compose("arm_ask", ())
    assert asked(["arm", "stop"]) == (config.address, config.key, config.server_key, config.timeout_s, False)
    given = asked(["arm", "stop", "address='tcp://[::1]:1'", "key=null", 'server_key="a=b"', "--json"])
    assert given == ("tcp://[::1]:1", "", "a=b", 2.0, True)


def test_nobody_who_answers_a_stop_is_said_with_what_to_press(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arm", "stop", "address=tcp://127.0.0.1:9", "timeout_s=0.2"]) == 2
    told = capsys.readouterr().err
    assert "press the arm's own emergency stop" in told and told.count("\n") == 1


def test_keys_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["arm", "keys", f"folder={tmp_path}", "name=laptop"]
    assert main(words) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"laptop.key", "laptop.key_secret"}
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("serve", "host=0.0.0.0"), "sail arm keys"),
        (("serve", "key=some.key_secret"), "clients="),
        (("serve", "arm=nonsense"), "kinematic"),
        (("serve", "safety.silence_s=2.0"), "silence_s"),
        (("serve", "encoding=png"), "raw, jpeg"),
        (("status", "address=here"), "tcp://HOST:PORT"),
        (("status", "key=some.key_secret"), "server_key="),
        (("status", "timeout_s=-1"), "timeout_s must be"),
        (("stop", "address=here"), "tcp://HOST:PORT"),
        (("stop", "address=tcp://10.0.0.2:65534"), "65533"),
        (("stop", "key=some.key_secret"), "server_key="),
        (("stop", "key=some.key_secret", "server_key=some.key"), "sail arm keys"),
        (("stop", "timeout_s=soon"), "timeout_s must be"),
        (("stop", "timeout_s=nan"), "timeout_s must be"),
        (("stop", "adress=tcp://127.0.0.1:7710"), "address"),
        (("stop", "now"), "KEY=VALUE"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["arm", *words, *(["log="] if words[0] == "serve" else [])]) == 2
    told = capsys.readouterr().err
    assert reason in told and told.count("\n") == 1


def test_a_workspace_box_is_read_from_the_settings() -> None:
    words = ["safety.workspace_low=[0.2,-0.3,0]", "safety.workspace_high=[0.6,0.3,0.5]"]
    settings = safety_settings(compose("arm_serve", words).safety)
    assert settings.workspace_low == (0.2, -0.3, 0.0) and settings.workspace_high == (0.6, 0.3, 0.5)
    with pytest.raises(SailError, match="three numbers"):
        safety_settings(compose("arm_serve", ["safety.workspace_low=[1,2]"]).safety)


@pytest.mark.parametrize(("arm", "key"), [("franka", "rate_hz"), ("ur", "rate_hz"), ("sim", "servo_hz")])
def test_a_driver_is_told_how_often_commands_come(arm: str, key: str) -> None:
    config = compose("arm_serve", [f"arm={arm}", "safety.servo_hz=125"])
    assert config.arm.driver[key] == 125
    if arm != "sim":
        setup = build(config.arm)
        assert setup.driver.rate_hz == 125
        ArmServer(setup.driver, port=0, settings=safety_settings(config.safety))
        with pytest.raises(SailError, match="expects 125 commands a second, and safety.servo_hz is 250"):
            ArmServer(setup.driver, port=0)


def test_the_settings_shipped_are_the_governor_s_own() -> None:
    from hardware.server.safety import SafetySettings

    assert safety_settings(compose("arm_serve").safety) == SafetySettings()
    assert set(compose("arm_serve").safety) == {field.name for field in dataclasses.fields(SafetySettings)}


@pytest.mark.parametrize("stopped_by", ["ctrl-s", "nobody reads"])
@pytest.mark.slow
def test_a_terminal_that_takes_nothing_holds_up_neither_status_nor_stop_nor_the_end(
    stopped_by: str, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "robot.cli.main", "arm", "serve", "robot=kinematic", f"port={free_ports(8)}"]
    command += ["log=", "realtime=false", "safety.silence_s=1.0", "safety.lease_s=4.0", "safety.late_s=3.0"]
    port = int(command[6].partition("=")[2])
    server = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    try:
        shown = b""
        while b"Ctrl-C ends the server" not in shown:
            assert select.select([ours], [], [], 60)[0], shown
            shown += os.read(ours, 65536)
        if stopped_by == "ctrl-s":
            os.write(ours, b"\x13")
        with ArmClient(f"tcp://127.0.0.1:{port}", timeout_s=10.0) as client:
            client.acquire()
            client.arm()
            # Every complaint is a line for a terminal that takes none.
            for number in range(30):
                client.stop(f"person {number} " + "x" * 1500)
                time.sleep(0.1)
                with contextlib.suppress(SailError):  # it may still come to rest
                    client.clear()
            time.sleep(3.0)
            assert client.status()["healthy"]
            assert "the last" in str(send_and_ask(client, port)["reason"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
        os.close(ours)
        os.close(theirs)


def send_and_ask(client: ArmClient, port: int) -> dict[str, object]:
    send_stop(f"tcp://127.0.0.1:{port}", "the last", timeout_s=10.0)
    return until(lambda: (report := dict(client.status()))["state"] == "FAULT" and report)


# What a client calls itself, and why it stops, is shown to the person at the server's terminal.


class Terminal:
    """Be a terminal for another process, and keep what it was sent."""

    def __init__(self) -> None:
        self._ours, self.theirs = os.openpty()
        self.shown = ""

    def read(self) -> str:
        while select.select([self._ours], [], [], 0.05)[0]:
            try:
                said = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                break
            self.shown += said.decode("utf-8", "backslashreplace")
        return self.shown

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def screen() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@contextmanager
def serving(terminal: Terminal | None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server whose words go to a terminal, or to a pipe, and give its address."""
    command = [sys.executable, "-m", "robot.cli.main", "arm", "serve", "arm=kinematic", "port=0", "--json", "log="]
    command += ["realtime=false", "safety.silence_s=1.0", "safety.lease_s=4.0"]
    words = terminal.theirs if terminal is not None else subprocess.PIPE
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, env=environment)
    try:
        assert server.stdout is not None
        text = ""
        while "}" not in text:
            line = server.stdout.readline()
            assert line, "the server has ended"
            text += line
        yield server, json.loads(text)["address"]
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("on_terminal", [False, True], ids=["pipe", "terminal"])
def test_no_text_from_a_client_ends_the_server_or_reaches_its_terminal(on_terminal: bool, screen: Terminal) -> None:
    name, reason = "lab [/dev/arm0] \x1b[2J\u202e", "[/x] \x1b]0;title\x07\nforged \x9b2J"
    terminal = screen if on_terminal else None
    with serving(terminal) as (server, address):
        with ArmClient(address, name=name, timeout_s=10.0, watch=False) as client:
            client.acquire()
            client.arm()
            send_stop(address, reason, timeout_s=10.0)  # from somebody who has said neither hello nor who they are
            until(lambda: client.status()["state"] == "FAULT")
            began_s = time.monotonic()
            while time.monotonic() < began_s + 1.0:  # the line is drawn four times a second
                assert server.poll() is None, "the server has ended"
                assert client.status()["state"] == "FAULT"
                if terminal is not None:
                    terminal.read()
                else:
                    time.sleep(0.05)
            assert client.status()["holder"] == name
        server.send_signal(signal.SIGTERM)
        if terminal is None:
            _, shown = server.communicate(timeout=30)
        else:
            until(lambda: terminal.read() and server.poll() is not None)
            shown = terminal.read()
            assert f"FAULT (stopped by {visible(reason)})" in shown and f"held by {visible(name)}" in shown
        assert server.returncode == 0
        assert "holds by itself" in shown and not obeyed(shown)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_the_line_of_an_arm_s_state_says_who_and_why_in_one_line(text: str) -> None:
    with served() as server:
        report = server.requests.report().body | {"reason": text, "holder": text}
    line = status_line(report)
    assert line == visible(line) and len(line) < 700
    assert line.startswith(f"DISARMED ({visible(text, 200)}) · held by {visible(text, 200)} · commands 0 passed")
    assert "servo periods late · oldest picture" in line


def test_what_a_server_says_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "lab [/dev/arm0] \x1b[2J\n"
    with served(KinematicArm(dataclasses.replace(cartesian(), name=hostile, calibration=hostile))) as server:
        address = f"address={server.address}"
        send_stop(server.address, "[/x]", timeout_s=10.0)
        for words in (["status"], ["stop"], ["clear"]):
            assert main(["arm", *words, address, "timeout_s=10.0"]) == 0
            shown = capsys.readouterr().out
            assert f"{visible(hostile)}, serial number" in shown and not obeyed(shown)
            assert ("FAULT (stopped by [/x])" in shown) is (words != ["clear"])
        assert main(["arm", "status", address, "timeout_s=10.0", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["robot"] == hostile
