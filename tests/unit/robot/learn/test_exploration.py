from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.core.data import SamplerSettings
from robot.learn.exploration import (
    InstructionBandit,
    Phrasing,
    exploration_share,
    negative_prompts,
    similarity,
)

SEEN = ("press the button", "open the door", "open the drawer", "hit the nail", "push the puck", "reach the goal")


def bandit() -> InstructionBandit:
    return InstructionBandit(("close the door", *SEEN), ("", "open the door"), (1.5, 2.0, 2.5))


def play(
    one: InstructionBandit, rates: dict[str, float], waves: int, size: int, seed: int
) -> list[tuple[Phrasing, bool]]:
    """Let the bandit choose and answer with successes at the rate of each instruction, 0 for others."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(waves):
        wave = [(arm, bool(rng.random() < rates.get(arm.instruction, 0.0))) for arm in one.choose(size, rng)]
        one.update(wave)
        results += wave
    return results


def test_it_concentrates_on_the_instruction_that_works() -> None:
    shares = []
    for seed in range(20):
        results = play(bandit(), {"press the button": 0.6}, waves=20, size=5, seed=seed)
        late = [arm.instruction for arm, _ in results[50:]]
        shares.append(late.count("press the button") / len(late))
    assert np.mean(shares) > 0.7  # by chance: 1/7


def test_a_budget_of_twenty_beats_choosing_blindly() -> None:
    """20 attempts, an arm that works 6 times in 10: blind choice brings 12/7 = 1.7 successes."""
    found = [
        sum(ok for _, ok in play(bandit(), {"press the button": 0.6}, waves=4, size=5, seed=seed)) for seed in range(40)
    ]
    assert np.mean(found) > 2.5


def test_where_nothing_works_every_instruction_keeps_being_tried() -> None:
    tried = Counter(arm.instruction for arm, _ in play(bandit(), {}, waves=28, size=5, seed=1))
    assert set(tried) == {"close the door", *SEEN}
    assert max(tried.values()) < 3 * min(tried.values())


def test_a_success_raises_the_siblings_of_its_arm() -> None:
    one = bandit()
    before = one.rate("press the button")
    one.update([(Phrasing("press the button", "", 2.0), True)])
    assert one.rate("press the button") > before
    assert one.rate("open the door") == before
    rng = np.random.default_rng(0)
    chosen = Counter(one.choose(1, rng)[0] for _ in range(400))
    siblings = {arm for arm in one.variants("press the button") if arm != Phrasing("press the button", "", 2.0)}
    assert siblings <= set(chosen)
    assert sum(chosen[arm] for arm in siblings) > 100
    assert chosen.most_common(1)[0][0] == Phrasing("press the button", "", 2.0)


def test_among_variants_the_one_that_works_is_preferred() -> None:
    one = bandit()
    good, bad = Phrasing("press the button", "open the door", 2.0), Phrasing("press the button", "", 2.0)
    one.update([(good, True)] * 5 + [(bad, False)] * 5)
    rng = np.random.default_rng(0)
    chosen = Counter(one.choose(1, rng)[0] for _ in range(300))
    assert chosen[good] > 8 * chosen[bad]


def test_a_wave_is_spread_out_while_nothing_is_known() -> None:
    def distinct(pending_failure: float) -> float:
        one = InstructionBandit(SEEN, pending_failure=pending_failure)
        return float(
            np.mean([len({a.instruction for a in one.choose(6, np.random.default_rng(s))}) for s in range(200)])
        )

    assert distinct(1.0) > distinct(1e-9) + 0.3


def test_prior_weights_say_what_to_try_first() -> None:
    one = InstructionBandit(SEEN, prior_weights={"hit the nail": 4.0})
    first = Counter(one.choose(1, np.random.default_rng(seed))[0].instruction for seed in range(300))
    assert first.most_common(1)[0][0] == "hit the nail"


def test_what_it_learnt_survives_json() -> None:
    one = bandit()
    play(one, {"press the button": 0.5}, waves=6, size=5, seed=3)
    one.forget(0.3)
    other = bandit()
    other.restore(json.loads(json.dumps(one.state())))
    assert other.state() == one.state()
    assert other.choose(20, np.random.default_rng(9)) == one.choose(20, np.random.default_rng(9))
    assert other.choose(20, np.random.default_rng(9)) != bandit().choose(20, np.random.default_rng(9))


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        bandit().restore({"format": 2, "arms": []})


def test_forgetting_everything_gives_the_prior_back() -> None:
    one = bandit()
    one.update([(Phrasing("press the button"), True)] * 4)
    one.forget(0.0)
    assert one.rate("press the button") == pytest.approx(bandit().rate("press the button"))


def test_no_arm_has_its_own_instruction_as_negative_prompt() -> None:
    arms = bandit().choose(200, np.random.default_rng(0))
    assert all(arm.negative_prompt != arm.instruction for arm in arms)
    assert {arm.guidance_scale for arm in arms} == {1.5, 2.0, 2.5}


@given(st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_falls_as_successes_come(counts: tuple[int, int]) -> None:
    successes, rollouts = counts
    share = exploration_share(successes, rollouts, 0.6, 0.5)
    assert 0.0 <= share <= 0.6
    if successes < rollouts:
        assert exploration_share(successes + 1, rollouts, 0.6, 0.5) <= share
    assert (share == 0.0) == (rollouts > 0 and successes / rollouts >= 0.5)


def test_the_share_by_hand() -> None:
    assert exploration_share(0, 10, 0.67, 0.5) == pytest.approx(0.67)
    assert exploration_share(0, 0, 0.67, 0.5) == pytest.approx(0.67)
    assert exploration_share(2, 10, 0.67, 0.5) == pytest.approx(0.67 * 0.6)
    assert exploration_share(5, 10, 0.67, 0.5) == 0.0
    with pytest.raises(ValueError, match="successes in"):
        exploration_share(3, 2, 0.67, 0.5)


def test_likeness() -> None:
    assert similarity("open the door", "open the door") == 1.0
    assert similarity("close the door", "open the door") == pytest.approx(1 / 3)
    assert similarity("hit the nail", "open a door") == 0.0


def test_negative_prompts_are_nothing_the_opposite_and_the_nearest_seen() -> None:
    assert negative_prompts("close the drawer", SEEN) == ("", "open the drawer")
    assert negative_prompts("push the handle down", SEEN) == ("", "pull the handle down", "push the puck")
    assert negative_prompts("juggle", SEEN) == ("",)


def test_the_true_instruction_is_tried_otherwise_than_it_is_asked_anyway() -> None:
    plain = Phrasing("close the drawer", "", 2.0)
    one = InstructionBandit(("close the drawer", *SEEN), ("", "open the drawer"), (1.5, 2.0, 2.5), without=[plain])
    chosen = {arm for arm in one.choose(600, np.random.default_rng(0)) if arm.instruction == "close the drawer"}
    assert chosen == set(one.variants("close the drawer"))
    assert len(chosen) == 5
    assert plain not in chosen


def test_what_is_asked_anyway_counts_for_its_instruction_but_less() -> None:
    plain, other = Phrasing("close the drawer", "", 2.0), Phrasing("close the drawer", "", 2.5)

    def rate(arm: Phrasing, success: bool, **options: float) -> float:
        one = InstructionBandit(("close the drawer", *SEEN), without=[plain], **options)
        one.update([(arm, success)] * 8)
        return one.rate("close the drawer")

    untried = InstructionBandit(SEEN).rate(SEEN[0])
    assert rate(other, False) < rate(plain, False) < untried < rate(plain, True) < rate(other, True)
    assert rate(plain, False, outside_weight=0.0) == pytest.approx(untried)
    with pytest.raises(ValueError, match="outside_weight"):
        rate(plain, False, outside_weight=2.0)


def test_an_arm_changes_the_sampler_it_is_given_and_nothing_else() -> None:
    arm = Phrasing("press the button", "open the door", 2.5)
    assert arm.sampler(SamplerSettings("dpm", 5, 1.0, "x")) == SamplerSettings("dpm", 5, 2.5, "open the door")


def test_bad_bandits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one instruction"):
        InstructionBandit(())
    with pytest.raises(ValueError, match="each has it as negative prompt too or is not offered"):
        InstructionBandit(("open the door",), ("open the door",))
    with pytest.raises(ValueError, match="prior weight"):
        InstructionBandit(SEEN, prior_weights={"hit the nail": 0.0})
