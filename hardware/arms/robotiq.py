"""Talk to a Robotiq 2F gripper on a UR's wrist over the text protocol that Robotiq's URCap serves.

Source: Robotiq, 2F-85 and 2F-140 instruction manuals, "Control over the URCap's socket": variables ACT (activate), GTO
(go, to the latest POS set), POS (0 open – 255 closed; read, it is where the fingers are), SPE (speed), FOR (force), STA
(3 when active), each read with GET and set with SET.
"""

from __future__ import annotations

import socket
from typing import Final

from robot.core.errors import SailError

PORT: Final = 63352
STROKES_M: Final = {"robotiq-2f85": 0.085, "robotiq-2f140": 0.140}
CLOSED: Final = 255
ACTIVE: Final = 3


class RobotiqGripper:
    """Hold a connection to the gripper at a UR's address; it must have been activated, which moves it, on the pendant.

    `speed` and `force`: 0–255 each. Raises SailError where there is no such gripper, or it is not active.
    """

    def __init__(
        self, host: str, kind: str, speed: int = 128, force: int = 60, port: int = PORT, timeout_s: float = 1.0
    ) -> None:
        self._stroke_m = STROKES_M[kind]
        self._where = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout_s)
        except OSError as problem:
            raise SailError(
                f"The gripper's socket at {self._where} does not answer ({problem}): install Robotiq's URCap on the "
                "pendant and activate the gripper there."
            ) from None
        try:
            self._see_that_it_is_active()
            self._set(SPE=speed, FOR=force)
            if not self._get("GTO"):  # or it would go where it was sent last as soon as it may
                self._set(POS=self._get("POS"), GTO=1)
        except BaseException:
            self._socket.close()
            raise

    def opening_m(self) -> float:
        """Return how far the fingers are apart in m."""
        return (1.0 - self._get("POS") / CLOSED) * self._stroke_m

    def move(self, opening_m: float) -> None:
        """Ask for an opening in m and return at once; raise SailError where the gripper lost power since."""
        self._see_that_it_is_active()
        share = min(max(opening_m / self._stroke_m, 0.0), 1.0)
        self._set(POS=round((1.0 - share) * CLOSED))

    def close(self) -> None:
        """Let go of the connection; the gripper keeps holding what it holds. Closing twice is allowed."""
        self._socket.close()

    def _see_that_it_is_active(self) -> None:
        if self._get("STA") != ACTIVE:
            raise SailError(
                f"The gripper at {self._where} is not active: activate it on the pendant, with its fingers clear."
            )

    def _get(self, name: str) -> int:
        answer = self._ask(f"GET {name}").split()
        if len(answer) != 2 or answer[0] != name or not answer[1].isdecimal():
            raise SailError(f"The gripper at {self._where} answered {' '.join(answer)!r} to GET {name}.")
        return int(answer[1])

    def _set(self, **values: int) -> None:
        words = " ".join(f"{name} {value}" for name, value in values.items())
        if (answer := self._ask(f"SET {words}")) != "ack":
            raise SailError(f"The gripper at {self._where} answered {answer!r} to SET {words}.")

    def _ask(self, words: str) -> str:
        """Send a line and return the answer, a few bytes that come in one piece."""
        try:
            self._socket.sendall(f"{words}\n".encode("ascii"))
            answer = self._socket.recv(1024)
        except OSError as problem:
            raise SailError(f"The gripper at {self._where} does not answer ({problem}).") from None
        if not answer:
            raise SailError(f"The gripper at {self._where} closed its connection.")
        return answer.decode("ascii", errors="replace").strip()
