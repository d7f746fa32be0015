"""Turns: whose plan it is follows from the robot's clock alone, and each is what that adaptation would have drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planners.adapted import AdaptedPlanner
from planners.best_of_n import BestOfN, TextAlignment
from planners.compose import PriorStrength
from planners.latent_video import LatentVideoPlanner
from planners.turns import Turns
from robot.core.data import SamplerSettings

SETTINGS = SamplerSettings(steps=2, guidance_scale=1.5)


@pytest.fixture
def adapted(make_denoiser: Any, autoencoder: Any, text_encoder: Any) -> AdaptedPlanner:
    in_domain, general = (
        LatentVideoPlanner(
            make_denoiser(seed=seed),
            autoencoder,
            text_encoder,
            settings=SETTINGS,
            image_size=(32, 32),
            precision="fp32",
            device="cpu",
        )
        for seed in (0, 1)
    )
    return AdaptedPlanner(in_domain, general, "pa", PriorStrength(1.0))


def test_a_plan_is_drawn_by_whom_the_clock_says(adapted: AdaptedPlanner, make_observation: Any) -> None:
    turns = Turns(adapted, ["in_domain", "general", "ipa"], 2.0)
    times = [0.0, 1.99, 2.0, 4.5, 6.0, 7.9999999]  # the last but rounding at the end of the second's turn
    whose = ["in_domain", "in_domain", "general", "ipa", "in_domain", "general"]
    seen = [replace(make_observation(number), time_s=time) for number, time in enumerate(times)]
    words = ["push", "pull"] * 3
    settings = [SETTINGS, replace(SETTINGS, steps=1)] * 3
    plans = turns.plan(seen, words, range(6), settings)
    for number, name in enumerate(whose):
        alone = adapted.with_adaptation(name)
        (wanted,) = alone.plan(seen[number : number + 1], [words[number]], [number], [settings[number]])
        found = plans[number]
        assert (found.instruction, found.seed, found.settings) == (words[number], number, settings[number])
        assert found.planner == turns.identity
        others = [
            adapted.with_adaptation(other).plan(
                seen[number : number + 1], [words[number]], [number], [settings[number]]
            )
            for other in {"in_domain", "general", "ipa"} - {name}
        ]
        assert np.abs(found.frames.astype(int) - wanted.frames).max() <= 1  # in a batch of another size
        assert min(np.abs(found.frames.astype(int) - other.frames).max() for (other,) in others) > 1
    assert turns.plan([], [], []) == []


def test_it_says_what_its_planners_say_and_trains_the_in_domain_one(
    adapted: AdaptedPlanner, make_denoiser: Any
) -> None:
    turns = Turns(adapted)
    in_domain, general = adapted.in_domain.identity, adapted.with_adaptation("general").identity
    assert turns.identity == f"{in_domain}/{general}/turns of 2.8 s"
    assert turns.view == adapted.view and turns.view.camera == "corner2" and turns.adaptation == "in_domain/general"
    assert turns.in_domain is adapted.in_domain
    tuned = adapted.in_domain.with_denoiser(make_denoiser(seed=3))
    after = turns.with_in_domain(tuned)
    assert after.identity == f"{tuned.identity}/{general}/turns of 2.8 s" != turns.identity
    assert Turns(adapted, ["general"]).adaptation == "general"


def test_the_best_of_several_plans_of_turns_is_judged_by_their_models(
    adapted: AdaptedPlanner, make_observation: Any
) -> None:
    seen = [replace(make_observation(number), time_s=3.0 * number) for number in range(2)]
    best = BestOfN(Turns(adapted), TextAlignment([0.0]), 2)
    plans = best.plan(seen, ["push", "pull"], [0, 1])
    assert [plan.planner for plan in plans] == [f"{Turns(adapted).identity}/best of 2"] * 2


def test_what_cannot_take_turns_is_refused(adapted: AdaptedPlanner, make_observation: Any) -> None:
    with pytest.raises(ValueError, match="Only an adapted planner has adaptations to take turns"):
        Turns(adapted.in_domain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="There is no adaptation 'both'; known are pa, ipa"):
        Turns(adapted, ["in_domain", "both"])
    for nobody in ([], "pa"):
        with pytest.raises(ValueError, match="need a list of adaptations"):
            Turns(adapted, nobody)
    for turn_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="turn_s must be a positive number"):
            Turns(adapted, turn_s=turn_s)
    with pytest.raises(ValueError, match="1 observations need as many .* got 2, 1"):
        Turns(adapted).plan([make_observation()], ["push", "pull"], [0])
