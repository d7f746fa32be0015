from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.learn.mixture import Mixture

SHARES = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 10.0), min_size=1)


@given(SHARES, st.integers(0, 100), st.integers(0, 2**32))
def test_counts_are_the_share_rounded_up_or_down(shares: dict[str, float], count: int, seed: int) -> None:
    mixture = Mixture(shares)
    sizes = dict.fromkeys(shares, 5)
    counts = mixture.counts(np.random.default_rng(seed), sizes, count)
    assert sum(counts.values()) == count
    for name, share in mixture.proportions(sizes).items():
        assert abs(counts[name] - share * count) < 1 + 1e-6


def test_rounding_is_right_in_the_mean() -> None:
    mixture = Mixture({"seen": 0.3, "new": 0.7})
    rng = np.random.default_rng(0)
    drawn = [mixture.counts(rng, {"seen": 9, "new": 9}, 4)["seen"] for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(1.2, abs=0.03)
    assert set(drawn) == {1, 2}


def test_half_and_half_is_exact() -> None:
    drawn = Mixture({"seen": 1, "new": 1}).draw(np.random.default_rng(1), {"seen": 200, "new": 1}, 16)
    assert Counter(name for name, _ in drawn) == {"seen": 8, "new": 8}
    assert {index for name, index in drawn if name == "new"} == {0}


def test_items_of_a_source_are_drawn_uniformly() -> None:
    drawn = Mixture({"seen": 1, "new": 1}).draw(np.random.default_rng(2), {"seen": 4, "new": 2}, 8000)
    counts = Counter(drawn)
    assert set(counts) == {("seen", i) for i in range(4)} | {("new", i) for i in range(2)}
    assert all(abs(counts["seen", i] - 1000) < 120 for i in range(4))


def test_an_empty_source_gives_its_share_to_the_others() -> None:
    mixture = Mixture({"seen": 0.5, "play": 0.25, "new": 0.25})
    assert mixture.proportions({"seen": 3, "play": 3, "new": 0}) == pytest.approx({"seen": 2 / 3, "play": 1 / 3})
    assert all(name != "new" for name, _ in mixture.draw(np.random.default_rng(0), {"seen": 3, "play": 3}, 50))


def test_a_share_of_zero_is_never_drawn() -> None:
    drawn = Mixture({"seen": 1.0, "new": 0.0}).draw(np.random.default_rng(0), {"seen": 2, "new": 9}, 100)
    assert all(name == "seen" for name, _ in drawn)


def test_the_same_seed_draws_the_same() -> None:
    mixture = Mixture({"seen": 0.4, "new": 0.6})
    first, second = (mixture.draw(np.random.default_rng(5), {"seen": 7, "new": 7}, 30) for _ in range(2))
    assert first == second


def test_bad_mixtures_are_refused() -> None:
    with pytest.raises(ValueError, match="share of 'new'"):
        Mixture({"new": -0.1})
    with pytest.raises(ValueError, match="share of 'new'"):
        Mixture({"new": float("nan")})
    with pytest.raises(ValueError, match="at least one source"):
        Mixture({"new": 0.0})
    with pytest.raises(ValueError, match="every source of the mixture is empty"):
        Mixture({"new": 1.0}).draw(np.random.default_rng(0), {"new": 0}, 3)
    with pytest.raises(ValueError, match="no share for 'old'"):
        Mixture({"new": 1.0}).draw(np.random.default_rng(0), {"old": 3}, 3)
