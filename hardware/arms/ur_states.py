"""Say in words what a Universal Robots controller reports of itself.

Source: Universal Robots, RTDE guide, "robot_mode", "safety_mode" and "runtime_state".
"""

from __future__ import annotations

from typing import Any, Final

RUNNING: Final = 7
"""What the robot mode reads when the brakes are released."""
NORMAL, REDUCED, PROTECTIVE = 1, 2, 3
STOPS: Final = {
    PROTECTIVE: "is in a protective stop",
    4: "is in recovery mode",
    5: "is in a safeguard stop",
    6: "is stopped by its system's emergency stop",
    7: "is stopped by its emergency stop",
    8: "has a safety violation",
    9: "has a safety fault",
    12: "is in a safeguard stop",
    13: "waits for its enabling switch",
}
STOPPED, PLAYING = 1, 2
"""What the runtime state of a script reads."""


def may_move(receive: Any) -> bool:
    """Return whether the safety system lets the arm move."""
    return int(receive.getSafetyMode()) in (NORMAL, REDUCED)


def why_still(receive: Any) -> str:
    """Return why the arm may not move, in words that follow its name, or an empty string."""
    safety, mode = int(receive.getSafetyMode()), int(receive.getRobotMode())
    if safety not in (NORMAL, REDUCED):
        return STOPS.get(safety, f"is in safety mode {safety}")
    return "" if mode == RUNNING else f"is in robot mode {mode} and not running"
