"""Files that are whole or not there, lines that several append, and folders that one process alone works in."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from robot.core.errors import HeldError, SailError
from robot.core.files import HELD, FolderLock, Holder, append_lines, whole_lines, write_whole

HOLDING = """
import sys, time
from robot.core.files import FolderLock
with FolderLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Lend a process that holds a folder; it is killed in the end."""
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_file_is_replaced_as_a_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "in" / "state.json"
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    write_whole(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert [one.name for one in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "state.json"
    write_whole(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(call, full)
        with pytest.raises(SailError, match=r"state\.json could not be written \(No space left on device\)"):
            write_whole(path, "new")
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["state.json"]


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SailError, match="could not be written"):
        write_whole(tmp_path / "file" / "state.json", "new")
    with pytest.raises(SailError, match="could not be written"):
        append_lines(tmp_path / "file" / "lines", ["new"])
    with pytest.raises(SailError, match="could not be written"), FolderLock(tmp_path / "file"):
        pass


def test_lines_are_appended_behind_the_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines.jsonl"
    assert whole_lines(path) == []
    append_lines(path, ["one", "two"])
    with path.open("a") as file:
        file.write("to")  # torn by a kill
    assert whole_lines(path) == [b"one", b"two"]
    append_lines(path, ["three"])
    assert path.read_text() == "one\ntwo\nthree\n"


def test_the_second_is_told_who_holds_a_folder_and_what_to_do(tmp_path: Path) -> None:
    with (
        holding(tmp_path / "run") as process,
        pytest.raises(HeldError) as told,
        FolderLock(tmp_path / "run", "give another seed="),
    ):
        pass
    sentence = str(told.value)
    assert f"{tmp_path / 'run'} is in use by process {process.pid}" in sentence
    assert "-c" in sentence and str(tmp_path / "run") in sentence.partition("-c")[2]
    assert time.strftime("since %Y-%m-%dT", time.gmtime()) in sentence
    assert sentence.endswith("Wait until it ends, or stop it, or give another seed=.")


def test_a_kill_lets_go(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / HELD).exists()  # the file stays behind and means nothing
    with FolderLock(tmp_path):
        assert Holder.read(tmp_path / HELD) is not None
    assert not (tmp_path / HELD).exists()


def test_who_may_wait_goes_on_when_the_other_has_ended(tmp_path: Path) -> None:
    said = []
    with holding(tmp_path) as process:

        def end(sentence: str) -> None:
            said.append(sentence)
            process.kill()

        with FolderLock(tmp_path, waiting=end):
            pass
        assert len(said) == 1 and f"process {process.pid}" in said[0]


def test_one_process_cannot_hold_a_folder_twice_and_can_one_after_the_other(tmp_path: Path) -> None:
    for _ in range(2):
        with FolderLock(tmp_path / "run"):
            with pytest.raises(HeldError, match=f"process {os.getpid()}"), FolderLock(tmp_path / "run"):
                pass
            (tmp_path / "run" / "result").write_text("1")
        assert [one.name for one in (tmp_path / "run").iterdir()] == ["result"]


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "deep" / "run"):
        pass
    with FolderLock(tmp_path / "sets" / "new", beside=True):
        assert not (tmp_path / "sets" / "new").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    with holding(tmp_path):
        (tmp_path / HELD).write_text('{"pid": 1')
        with pytest.raises(HeldError, match="in use by another process"), FolderLock(tmp_path):
            pass


def test_a_command_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in str(Holder(1, "elsewhere", "2026-01-01T00:00:00Z", "sail \x1b[2J"))
    assert "on elsewhere" in str(Holder(1, "elsewhere", "2026-01-01T00:00:00Z", "sail"))


RACING = """
import sys
from pathlib import Path
from robot.core.errors import HeldError
from robot.core.files import FolderLock
folder, got = Path(sys.argv[1]), 0
while got < 100:
    try:
        with FolderLock(folder):
            (folder / "inside").open("x").close()
            (folder / "inside").unlink()
            got += 1
    except HeldError:
        pass
"""


def test_no_two_are_ever_inside(tmp_path: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACING, str(tmp_path)]) for _ in range(3)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
