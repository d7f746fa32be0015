"""How long things take, in steps of a robot."""

from __future__ import annotations


def steps_per_frame(stride_s: float, rate_hz: float) -> int:
    """Return how many robot steps pass between two frames of a plan; raise ValueError unless it is a whole number."""
    steps = round(stride_s * rate_hz)
    if steps < 1 or abs(steps - stride_s * rate_hz) > 1e-3 * steps:
        raise ValueError(
            f"A plan's stride of {stride_s} s is {stride_s * rate_hz:.3f} steps of a robot at {rate_hz} Hz; "
            "it must be a whole number of steps."
        )
    return steps
