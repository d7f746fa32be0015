"""What is logged, and what a defect leaves behind, is text as well."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from robot.cli.logs import LogFormatter, show_defect
from tests.hostile import HOSTILE, IDS, obeyed

hostile = pytest.mark.parametrize("text", HOSTILE, ids=IDS)


@hostile
def test_a_record_is_one_entry_and_nothing_in_it_is_obeyed(text: str) -> None:
    try:
        raise OSError(f"the servo said {text}")
    except OSError as problem:
        raised = (type(problem), problem, problem.__traceback__)
    record = logging.LogRecord("sail.arm", logging.WARNING, __file__, 1, "the bus: %s", (text,), raised)
    lines = LogFormatter("2026 %(message)s").format(record).split("\n")
    assert lines[0].startswith("2026 the bus: ") and all(line.startswith("  ") for line in lines[1:])
    assert not obeyed("\n".join(lines)) and "\r" not in "".join(lines)


@hostile
def test_a_traceback_shows_what_was_said_as_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError(f"the servo said {text}")
    except RuntimeError as problem:
        show_defect(type(problem), problem, problem.__traceback__)
    told = capsys.readouterr().err
    assert told.startswith("Traceback") and "RuntimeError: the servo said " in told and not obeyed(told)


def test_a_process_of_ours_is_guarded_from_its_start() -> None:
    program = (
        "import logging, threading\nfrom robot.cli import main, verbs\n"
        "def run(verb, arguments):\n"
        "    logging.getLogger('maker').warning('logged \\x1b[2J')\n"
        "    thread = threading.Thread(target=lambda: [].index('thread \\x1b[2J'), name='\\x1b]0;x\\x07')\n"
        "    thread.start(); thread.join()\n"
        "    raise RuntimeError('raised \\x1b[2J')\n"
        "verbs.Verb.run = run\nmain.sys.argv = ['sail', 'doctor']\nmain.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "\x1b" not in done.stderr and "\x07" not in done.stderr
    assert r"logged \x1b[2J" in done.stderr and r"RuntimeError: raised \x1b[2J" in done.stderr
    assert r"Exception in thread \x1b]0;x\x07:" in done.stderr and "ValueError" in done.stderr
