"""How long things take, in steps of a robot."""

from __future__ import annotations


def steps_per_frame(stride_s: float, rate_hz: float) -> int:
    """Return how many robot steps pass between two frames that lie `stride_s` apart, 1 or more.

    Raises ValueError unless that is a whole number, give or take a hundredth, or of many steps a thousandth of them:
    rates and times are measured, and written down rounded.
    """
    exact = stride_s * rate_hz
    steps = round(exact)
    if steps < 1 or abs(steps - exact) > max(0.01, 1e-3 * steps):
        raise ValueError(
            f"A plan's stride of {stride_s:g} s is {exact:.3f} steps of a robot at {rate_hz:g} Hz; "
            "it must be a whole number of steps."
        )
    return steps
