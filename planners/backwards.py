"""Training data seen backwards: a demonstration of opening shows closing, which nobody had to demonstrate."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from planners.windows import LatentEpisode
from planners.words import opposites


def backwards(episodes: Iterable[LatentEpisode]) -> tuple[list[LatentEpisode], list[LatentEpisode]]:
    """Return the episodes that can be undone, played backwards: under the usual words for that, and under others.

    Each is in the second list once for every other way to say it. What nothing undoes is in neither.
    """
    usual: list[LatentEpisode] = []
    otherwise: list[LatentEpisode] = []
    for episode in episodes:
        words = opposites(episode.instruction)
        turned = np.ascontiguousarray(episode.latents[::-1])
        usual += [LatentEpisode(turned, said) for said in words[:1]]
        otherwise += [LatentEpisode(turned, said) for said in words[1:]]
    return usual, otherwise
