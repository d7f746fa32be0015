"""What every double of an arm stands on: a body that follows its target, more or less at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Body:
    """Hold joints, float64 (J,), that come `share` of the way to their target with every command.

    `sag` is how far below its target a loaded body hangs; `halted` is whether somebody stopped it.
    """

    def __init__(self, size: int) -> None:
        self.position = np.zeros(size)
        self.target = np.zeros(size)
        self.share = 1.0
        self.sag = 0.0
        self.commands = 0
        self.reachable = True
        self.halted = False

    def place(self, position: NDArray[np.float64]) -> None:
        """Put the body somewhere, as a hand would."""
        self.position = np.array(position, np.float64)
        self.target = self.position.copy()

    def aim(self, target: NDArray[np.float64]) -> None:
        """Take a command and follow it a little."""
        self.commands += 1
        self.target = np.array(target, np.float64)
        self.settle()

    def halt(self) -> None:
        """Stop where it is, as by a button that no driver knows of."""
        self.halted = True
        self.target = self.position.copy()

    def settle(self) -> None:
        """Let some time pass."""
        self.position = self.position + self.share * (self.target - self.sag - self.position)
