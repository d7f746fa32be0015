"""`sail label` from the outside: it serves until it is interrupted, and says bad input in one sentence."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from robot.cli import main as front
from robot.cli.label import open_port
from robot.core.errors import SailError
from robot.episodes.store import EpisodeStore
from tests.unit.robot.episodes.labelling.episodes import moving_square

ROOT = Path(__file__).parents[4]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "episodes"
    EpisodeStore(folder).add(moving_square(), [], "push-0")
    return folder


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert front.main(["label", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no store" in complaint(capsys, f"store={tmp_path / 'gone'}")


def test_no_store_named_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "There is no run in runs" in complaint(capsys)


def test_an_empty_store_and_a_task_that_it_does_not_hold(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no episodes: there is nothing to label" in complaint(capsys, f"store={tmp_path / 'empty'}")
    assert "holds no episodes of door-close" in complaint(capsys, f"store={store}", "task=door-close")
    assert "Did you mean push?" in complaint(capsys, f"store={store}", "task=pusg")


def test_a_port_that_is_taken_or_none(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port} is taken" in complaint(capsys, f"store={store}", f"port={port}")
    assert "port must lie in 0–65535" in complaint(capsys, f"store={store}", "port=70000")
    with pytest.raises(SailError, match="port must lie"):
        open_port(-1)


def test_it_listens_on_the_loopback_address_alone() -> None:
    with open_port(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_it_serves_at_a_random_address_until_ctrl_c(store: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "robot.cli.main",
        "label",
        f"store={store}",
        "browser=false",
        "person=ada",
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    tokens = set()
    for _ in range(2):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            where = urlsplit(told["address"])
            connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=20)
            label = {"id": "0123456789abcdef", "field": "quality", "value": 4}
            headers = {"Content-Type": "application/json"}
            body = json.dumps({"labels": [{**label, "id": f"{len(tokens):016x}"}]})
            connection.request("POST", f"{where.path}episodes/push-0/labels", body, headers)
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
            assert "One record was added" in process.stderr.read()
        assert told["episodes"] == 1 and told["person"] == "ada"
        tokens.add(where.path)
    assert len(tokens) == 2 and all(len(token) > 30 for token in tokens)
    assert [label.value for label in EpisodeStore(store).labels("push-0")] == [4, 4]
