"""Say how far each servo may be sent, where a joint may lie outside its calibrated range when torque comes on."""

from __future__ import annotations

import numpy as np

from hardware.arms.calibration import Counts, ServoCalibration


class Reach:
    """Hold between which counts each servo may be sent, int64 (J,) each.

    That is its calibrated range; or, for a joint that lay outside when torque came on, as far as there, and less with
    every command that brings it nearer.
    """

    def __init__(self, calibration: ServoCalibration) -> None:
        self._calibration = calibration
        self.low, self.high = calibration.low, calibration.high

    def begin(self, here: Counts) -> None:
        """Reach as far as the joints are."""
        self.low, self.high = np.minimum(self._calibration.low, here), np.maximum(self._calibration.high, here)

    def of(self, counts: Counts) -> Counts:
        """Return counts, (J,), within reach; where they bring a joint nearer its range, it is not let out again."""
        sent = np.clip(counts, self.low, self.high)
        self.low = np.maximum(self.low, np.minimum(self._calibration.low, sent))
        self.high = np.minimum(self.high, np.maximum(self._calibration.high, sent))
        return sent
