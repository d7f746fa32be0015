"""The controller that the doubles of ur-rtde's modules talk to.

What it takes from the package (ur_rtde 1.6.5; `RTDEControlInterface::sendCommand`, `reconnect` and `reuploadScript`,
and its script for the controller) and from Universal Robots: a thread of the script goes to the latest target over and
over. A protective or a safeguard stop pauses the script, targets and all; whoever resumes it lets it go on to where it
was last sent. While it is paused no command is taken. A connection that was lost is made again by the next command,
which loads a new script and is then carried out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from tests.doubles.body import Body

STOPPED, PLAYING, PAUSED = 1, 2, 4
NORMAL, PROTECTIVE, SAFEGUARD, EMERGENCY = 1, 3, 5, 7
RUNNING, POWER_OFF = 7, 3


@dataclass
class Controller:
    """`program` is what the script's runtime state reads; `target` is where it goes, None before the first command."""

    body: Body = field(default_factory=lambda: Body(6))
    mode: int = RUNNING
    safety: int = NORMAL
    remote: bool = True
    program: int = STOPPED
    target: list[float] | None = None
    scripts: int = 0
    connection: int = 0
    frozen_at: float | None = None
    stopped_s: float = 0.0
    dashboard: bool = True
    heard: list[str] = field(default_factory=list)

    @property
    def stamp(self) -> float:
        return time.monotonic() if self.frozen_at is None else self.frozen_at

    @property
    def able(self) -> bool:
        return self.mode == RUNNING and self.safety in (NORMAL, 2)

    def load(self) -> None:
        """Begin a new script, where the arm may move at all."""
        self.scripts += 1
        self.program, self.target = PLAYING if self.able else STOPPED, None

    def end(self) -> None:
        """End the script; the arm comes to rest where it is."""
        self.program, self.target = STOPPED, None
        self.body.target = self.body.position.copy()

    def follow(self, target: list[float]) -> None:
        self.target = list(target)
        self.body.aim(self.target)

    def pause(self) -> None:
        """Pause the script, as the pendant does."""
        if self.program == PLAYING:
            self.program = PAUSED
            self.body.target = self.body.position.copy()

    def play(self) -> None:
        """Resume a paused script: it goes on to where it was sent last."""
        if self.program == PAUSED and self.able:
            self.program = PLAYING
            if self.target is not None:
                self.body.target = np.array(self.target)
                self.body.settle()

    def halt(self, safety: int) -> None:
        """Stop for safety: a protective or safeguard stop pauses the script, an emergency stop ends it."""
        self.safety, self.stopped_s = safety, time.monotonic()
        self.pause()
        if safety == EMERGENCY:
            self.mode = POWER_OFF
            self.end()

    def unlock(self) -> None:
        """Clear a stop, as a person does on the pendant."""
        self.safety, self.mode = NORMAL, RUNNING

    def drop(self) -> None:
        """Lose the connection for commands, though the controller can be reached again at once."""
        self.connection += 1


controllers: dict[str, Controller] = {}


def controller(host: str) -> Controller:
    if host not in controllers or not controllers[host].body.reachable:
        raise RuntimeError("Timeout connecting to UR dashboard server.")
    return controllers[host]
