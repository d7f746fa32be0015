"""Keep a driver from taking control of its arm again by itself, once the arm refused or was stopped."""

from __future__ import annotations

from robot.core.errors import SailError


class Latch:
    """Fall for a reason, and stay down until somebody lifts it: `connect`, or `recover` on a person's wish."""

    def __init__(self) -> None:
        self._why = ""

    @property
    def fallen(self) -> bool:
        """Return whether the arm may not be commanded."""
        return bool(self._why)

    def fall(self, why: str) -> SailError:
        """Fall for a reason, in a sentence, and return the error to raise; the first reason stays."""
        self._why = self._why or why
        return SailError(self._why)

    def check(self) -> None:
        """Raise SailError with the first reason where it has fallen."""
        if self._why:
            raise SailError(self._why)

    def lift(self) -> None:
        """Let the arm be commanded again."""
        self._why = ""
