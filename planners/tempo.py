"""Show a success without its hesitation: at the tempo of demonstrations and without what led nowhere.

An arm that follows imagined videos trails them, pauses where it meets something, and wanders until a plan happens to
work. A planner that learns from such attempts as they went imagines ever slower motion, round after round: most frames
of a success may show an arm that hangs beside what it is to touch. So what lies between two moments that look alike is
left out, as in a loop-erased walk (Lawler 1980), and moments look alike where they differ by no more than two frames of
a demonstration do; what remains is as fast as a demonstration and no faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def typical_change(clips: Sequence[NDArray[np.float16]]) -> float:
    """Return the median over all steps of all clips, each float16 (T+1, C, H, W), of how far a step changes the latent.

    How far is the root mean square of the difference. 0 without a single step.
    """
    changes = [_distances(clip[1:], clip[:-1]) for clip in clips if len(clip) > 1]
    return float(np.median(np.concatenate(changes))) if changes else 0.0


def unhesitating(latents: NDArray[np.float16], alike: float) -> NDArray[np.int64]:
    """Return which frames, int64 (N,), of latents, float16 (T+1, C, H, W), show what happened without hesitation.

    From each chosen frame the latest one comes next that differs from it by `alike` or less (root mean square), where
    there is one; else the one just after it. The first frame and the last are always chosen. Raises ValueError where
    `alike` is negative.
    """
    if not alike >= 0:
        raise ValueError(f"Frames look alike at a difference of 0 or more, got {alike}.")
    chosen = [0]
    while (here := chosen[-1]) < len(latents) - 1:
        near = np.flatnonzero(_distances(latents[here + 1 :], latents[here]) <= alike)
        chosen.append(here + 1 + (int(near[-1]) if len(near) else 0))
    return np.array(chosen, np.int64)


def _distances(many: NDArray[np.float16], other: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return the root mean square difference, float64 (N,), of latents (N, C, H, W) from one other or as many."""
    difference = many.astype(np.float32) - other.astype(np.float32)
    return np.asarray(np.sqrt(np.mean(np.square(difference), axis=(1, 2, 3))), np.float64)
