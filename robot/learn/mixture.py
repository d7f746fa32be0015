"""Mix what was shown with what was found: draw training items from several sources in a stated ratio.

Fine-tuning on a task's own successes alone forgets the seen tasks; half and half keeps both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mixture:
    """Hold the share of each source in what is drawn, such as `{"seen": 0.5, "new": 0.5}`.

    Shares are not negative, finite, not all zero, and need not add up to one. Raises ValueError otherwise.
    """

    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        bad = [name for name, share in self.shares.items() if not (math.isfinite(share) and share >= 0)]
        if bad:
            raise ValueError(f"The share of {bad[0]!r} in a mixture must be 0 or more, got {self.shares[bad[0]]}.")
        if not any(share > 0 for share in self.shares.values()):
            raise ValueError("A mixture needs at least one source with a share above 0.")

    def proportions(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Return the share, adding up to one, of each source that has items (`sizes`: items per source).

        A source without items gives its share to the others. Raises ValueError when every source with a share is
        empty, or when `sizes` names a source the mixture does not know.
        """
        unknown = sorted(set(sizes) - set(self.shares))
        if unknown:
            raise ValueError(f"The mixture has no share for {unknown[0]!r}; it knows {', '.join(self.shares)}.")
        present = {name: share for name, share in self.shares.items() if share > 0 and sizes.get(name, 0) > 0}
        total = sum(present.values())
        if not total > 0:
            raise ValueError("There is nothing to draw from: every source of the mixture is empty.")
        return {name: share / total for name, share in present.items()}

    def counts(self, rng: np.random.Generator, sizes: Mapping[str, int], count: int) -> dict[str, int]:
        """Return how many of `count` items come from each source: the exact share, rounded up or down at random.

        The rounding is systematic sampling: no source is ever a whole item or more off its share, and none is off in
        the mean.
        """
        proportions = self.proportions(sizes)
        edges = np.floor(np.cumsum([0.0, *proportions.values()]) * count + rng.random() + 1e-9).astype(np.int64)
        edges[-1] = edges[0] + count
        return {name: int(many) for name, many in zip(proportions, np.diff(edges), strict=True)}

    def draw(self, rng: np.random.Generator, sizes: Mapping[str, int], count: int) -> list[tuple[str, int]]:
        """Return `count` items as (source, index 0 … sizes[source] − 1), uniform within a source, in random order."""
        drawn = [
            (name, int(index))
            for name, many in self.counts(rng, sizes, count).items()
            for index in rng.integers(0, sizes[name], many)
        ]
        rng.shuffle(drawn)
        return drawn
