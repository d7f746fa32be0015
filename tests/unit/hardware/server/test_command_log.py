"""The log of commands: valid, bounded, honest about whose a command was, and harmless when the disk is full."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from hardware.arms.kinematic import KinematicArm
from hardware.server.command_log import STRANGERS_A_SECOND, CommandLog
from hardware.server.doors import Door
from hardware.server.server import ArmServer
from hardware.server.validation import rejected
from hardware.wire.clocks import now
from hardware.wire.commands import Command, CommandResult, Decision
from hardware.wire.messages import Message, pack, unpack
from robot.core.errors import SailError
from tests.unit.hardware.serving import armed, served


def command(number: int, value: float = 0.1) -> Command:
    return Command(number, np.array([1.0, 2.0]), np.full((2, 4), value))


def result(asked: Command) -> CommandResult:
    return CommandResult(asked.sequence, Decision.PASS, (), asked.positions)


def lines_of(path: Path) -> list[dict[str, Any]]:
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=no_constants) for line in path.read_text().splitlines() if line]


def test_what_is_not_finite_is_null_and_every_line_is_json(tmp_path: Path) -> None:
    log = CommandLog(tmp_path / "log.jsonl")
    log.add(1.0, "driver", command(1, np.nan), rejected(command(1), "not finite"))
    log.add(2.0, "driver", command(2, -np.inf), result(command(2)))
    log.close()
    first, second = lines_of(tmp_path / "log.jsonl")
    assert first["asked"] == second["asked"] == [[None] * 4] * 2
    assert second["sent"] == [[0.1] * 4] * 2 and second["asked_times_s"] == [1.0, 2.0]


def test_its_files_stay_below_the_limit_and_the_newest_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for run in range(2):
        log = CommandLog(path, limit_bytes=20_000)
        for number in range(200):
            log.add(1.0, "driver", command(1000 * run + number), result(command(1000 * run + number)))
            log.flush()
        log.close()
    assert {one.name for one in tmp_path.iterdir()} == {"log.jsonl", "log.1.jsonl"}
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) <= 20_000
    kept = [line["sequence"] for name in ("log.1.jsonl", "log.jsonl") for line in lines_of(tmp_path / name)]
    assert kept == list(range(kept[0], 1200))


def test_strangers_cannot_push_out_what_the_holder_asked(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = CommandLog(path)
    for number in range(10_000):
        log.add_stranger(1.0, command(number), rejected(command(number), "driver holds the lease"))
    log.add_stranger(2.5, command(7), rejected(command(7), "driver holds the lease"))
    log.close()
    lines = lines_of(path)
    assert len(lines) == STRANGERS_A_SECOND + 1 and lines[-1]["left_out_before"] == 10_000 - STRANGERS_A_SECOND
    assert all(line["client"] is None for line in lines)


class FullDisk:
    """A file that takes a few more bytes, then none until there is room again."""

    def __init__(self, file: Any, left: int) -> None:
        self.file, self.left, self.has_room = file, left, False

    def write(self, data: bytes) -> int:
        if self.has_room:
            return int(self.file.write(data))
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, self.left = data[: self.left], 0
        return int(self.file.write(taken))

    def close(self) -> None:
        self.file.close()


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    arm = KinematicArm()
    with served(arm, log=path) as server, armed(server) as client:
        disk = FullDisk(server.log._file, 40)
        server.log._file = disk  # type: ignore[assignment]
        goal = np.add(arm.description.home, [0.05, 0, 0, 0])
        for _ in range(3):
            assert client.submit(now() + np.array([0.3]), goal[None]).decision is not Decision.REJECT
            server.log.flush()
        assert server.log.lost == 3
        assert server.state[0].value in ("RUNNING", "HOLDING")
        disk.has_room = True
        client.submit(now() + np.array([0.3]), goal[None])
    *_, broken, whole = path.read_text().splitlines()
    assert len(broken) == 40 and json.loads(whole)["sequence"] == 4


def test_a_log_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SailError, match="log="):
        ArmServer(KinematicArm(), port=0, log=tmp_path / "file" / "log.jsonl")


def test_an_intruder_s_commands_are_not_the_holder_s_and_overtaken_ones_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    arm = KinematicArm()
    with served(arm, log=path) as server, armed(server, name="driver") as client:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{client.welcome.command_port}")

        def send(number: int, token: str) -> None:
            body = {"token": token, "sequence": number, "seen_s": None}
            arrays = (now() + np.array([2.0]), np.add(arm.description.home, [0.01, 0, 0, 0])[None])
            socket.send_multipart(pack(Message("command", body, arrays, server.session, number)))

        send(99, "guessed")
        assert unpack(socket.recv_multipart()).body["verdict"] == "reject"
        with server._lock:
            for number in (1, 2, 3, 4):
                send(number, client._token)
        answers = [unpack(socket.recv_multipart()).body for _ in range(4)]
        context.destroy(0)
        overtaken = [answer for answer in answers if "newer" in " ".join(answer["reasons"])]
        assert client.status()["rejected"] == len(overtaken)
    lines = lines_of(path)
    assert [line["client"] for line in lines] == [None] + ["driver"] * 4
    assert sum("a newer command had come" in line["reasons"] for line in lines) == len(overtaken)


def test_a_copy_of_a_command_does_not_overtake_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Door.waiting
    monkeypatch.setattr(Door, "waiting", lambda door: [parts for parts in waiting(door) for _ in range(3)])
    with served(KinematicArm()) as server, armed(server) as client:
        goal = np.add(client.welcome.description.home, [0.01, 0, 0, 0])[None]
        for _ in range(5):
            assert client.submit(now() + np.array([0.5]), goal).decision is not Decision.REJECT
        assert client.status()["rejected"] == 0
