"""Latents played backwards, under the words for what undoes them."""

from __future__ import annotations

import numpy as np

from planners.backwards import backwards
from planners.windows import LatentEpisode


def test_what_can_be_undone_is_shown_backwards_in_all_the_words_for_it() -> None:
    latents = np.arange(3 * 4, dtype=np.float16).reshape(3, 1, 2, 2)
    told = [LatentEpisode(latents, words) for words in ("open the door", "hammer the nail", "put the ring on the peg")]
    usual, otherwise = backwards(told)
    assert [one.instruction for one in usual] == ["close the door", "take the ring off the peg"]
    assert [one.instruction for one in otherwise] == ["push the door shut"]
    assert all(np.array_equal(one.latents, latents[::-1]) for one in (*usual, *otherwise))
    assert np.array_equal(told[0].latents, latents)
