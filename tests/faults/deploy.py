"""Deploy on an arm until stopped or killed: `python -m tests.faults.deploy ADDRESS STORE PIPE`.

A line goes to the pipe, a file descriptor, for every step that is recorded. Where standard input is a terminal, it
becomes the one that this process belongs to, whose closing the system tells it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
from typing import Any

from robot.cli import assembly
from robot.cli.main import main
from robot.episodes.writer import EpisodeWriter
from tests.unit.robot.cli.test_deploy import PATIENT, Sideways, Still


def told(pipe: int) -> None:
    """Have every step that was recorded told."""
    step = EpisodeWriter.step

    def recorded(writer: EpisodeWriter, *words: Any, **named: Any) -> None:
        step(writer, *words, **named)
        os.write(pipe, f"{writer.steps}\n".encode())

    EpisodeWriter.step = recorded  # type: ignore[method-assign]


def built(config: Any, **extra: Any) -> Any:
    """Build everything but models, which take seconds to load."""
    target = str(config.get("_target_", ""))
    if target.startswith("planners."):
        return Still()
    return Sideways() if target.startswith("policies.pose_tracking.") else build(config, **extra)


build = assembly.build

if __name__ == "__main__":
    address, store, pipe = sys.argv[1:]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that are run by `nohup` hand on that it is ignored
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    told(int(pipe))
    assembly.build = built
    words = [f"robot.address={address}", f"store={store}", "robot.image_size=48", *PATIENT]
    sys.exit(main(["deploy", "task=slide it to the right", *words, "deploy.max_steps=100000"]))
