"""The controller that the doubles of ur-rtde's two modules talk to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.doubles.body import Body


@dataclass
class Controller:
    body: Body = field(default_factory=lambda: Body(6))
    mode: int = 7
    safety: int = 1
    remote: bool = True
    scripts: int = 0
    frozen_at: float | None = None

    @property
    def stamp(self) -> float:
        return time.monotonic() if self.frozen_at is None else self.frozen_at


controllers: dict[str, Controller] = {}


def controller(host: str) -> Controller:
    if host not in controllers or not controllers[host].body.reachable:
        raise RuntimeError("Timeout connecting to UR dashboard server.")
    return controllers[host]
