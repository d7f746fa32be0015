"""Best of N: the preferred candidate is kept, and text alignment knows which plan goes with which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.best_of_n import BestOfN, Judged, TextAlignment, candidate_seeds
from planners.compose import PriorStrength
from planners.diffusion import PREDICTIONS, DiffusionSettings
from planners.imagining import Imagining, Weight
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Parametrisation
from planners.scores import Predict, VideoScore
from robot.core.data import Episode, Observation, SamplerSettings, Verdict, VideoPlan, View
from robot.core.errors import SailError
from robot.core.protocols import Planner
from robot.judges.truth import GroundTruth

SETTINGS = SamplerSettings(steps=2, guidance_scale=1.5)


class Brightness:
    """Prefer bright plans."""

    def __init__(self) -> None:
        self.seen: list[tuple[Sequence[Observation], Sequence[VideoPlan]]] = []

    def score(self, planner: Planner, observations: Sequence[Observation], plans: Sequence[VideoPlan]) -> Any:
        self.seen.append((observations, plans))
        return np.array([plan.frames.mean() for plan in plans])


@pytest.fixture
def planner(tiny_denoiser: Any, autoencoder: Any, text_encoder: Any) -> LatentVideoPlanner:
    return LatentVideoPlanner(
        tiny_denoiser,
        autoencoder,
        text_encoder,
        settings=SETTINGS,
        image_size=(32, 32),
        precision="fp32",
        device="cpu",
    )


def test_the_plan_that_scores_highest_of_each_observation_s_own_is_kept(
    planner: LatentVideoPlanner, make_observation: Any
) -> None:
    scorer, seen, words = Brightness(), [make_observation(0), make_observation(1)], ["push", "pull"]
    settings = [SETTINGS, replace(SETTINGS, steps=1)]
    best = BestOfN(planner, scorer, 3).plan(seen, words, [3, 4], settings)
    ((observations, plans),) = scorer.seen
    assert len(plans) == 6
    for row in range(2):
        own = plans[3 * row : 3 * row + 3]
        assert all(observation is seen[row] for observation in observations[3 * row : 3 * row + 3])
        assert [plan.seed for plan in own] == candidate_seeds(3 + row, 3)
        assert {plan.instruction for plan in own} == {words[row]}
        assert {plan.settings for plan in own} == {settings[row]}
        assert best[row].frames.mean() == max(plan.frames.mean() for plan in own)
        assert (best[row].seed, best[row].planner) == (3 + row, f"{planner.identity}/best of 3")


def test_one_candidate_is_the_planner_itself_bit_for_bit(planner: LatentVideoPlanner, make_observation: Any) -> None:
    scorer, seen = Brightness(), [make_observation(0)]
    (plan,) = BestOfN(planner, scorer, 1).plan(seen, ["push"], [3])
    assert np.array_equal(plan.frames, planner.plan(seen, ["push"], [3])[0].frames)
    assert scorer.seen == []
    assert candidate_seeds(3, 1) == candidate_seeds(3, 4)[:1] == [3]
    assert len({*candidate_seeds(3, 8), *candidate_seeds(4, 8)}) == 16


def test_it_says_of_itself_what_its_planner_does_and_trains_what_that_trains(
    planner: LatentVideoPlanner, make_denoiser: Any
) -> None:
    best = BestOfN(AdaptedPlanner(planner, planner, "pa", PriorStrength(0.5), finetuned=""), Brightness(), 5)
    assert best.view == planner.view and best.view.camera == "corner2" and best.adaptation == "pa"
    assert best.in_domain is planner
    tuned = best.with_in_domain(planner.with_denoiser(make_denoiser(seed=3)))
    assert (tuned.candidates, tuned.scorer) == (5, best.scorer)
    assert tuned.identity == f"{tuned.in_domain.identity}+{planner.identity}/best of 5"
    assert BestOfN(best, Brightness()).in_domain is planner
    assert BestOfN(object(), Brightness()).view == View()  # type: ignore[arg-type]
    assert BestOfN(object(), Brightness()).in_domain is None  # type: ignore[arg-type]


class Knowing:
    """A model that knows where each text leads: a clip of one value, which it expects without noise around it."""

    identity, latent_space, frames = "knowing", "pooling", None
    leads = {"up": 1.0, "down": -1.0, "": 0.0}  # noqa: RUF012 (never changed)

    def __init__(self, prediction: str) -> None:
        self.parametrisation = Parametrisation.of(DiffusionSettings(prediction=prediction, delta=False))

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        x0 = torch.tensor([self.leads[text] for text in texts]).reshape(-1, 1, 1, 1, 1)

        def predict(noisy: Tensor, timestep: float) -> Tensor:
            terms = self.parametrisation
            log_snr = terms.schedule.log_snr(timestep)
            a, s = terms.schedule.factors(log_snr)
            clip = x0.expand_as(noisy)
            return terms.join(clip, (noisy - a * clip) / s, log_snr)

        return predict


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_text_alignment_is_the_difference_of_errors_of_the_noise(prediction: str) -> None:
    """With x0 known to be m, ε is off by (a/s)(m − z): for z = m the gain is (a/s)² m², whatever the noise."""
    model, log_snr = Knowing(prediction), 0.5
    latents = torch.stack([torch.full((2, 4, 3, 3), value) for value in (1.0, -1.0, 0.0)])
    scorer = TextAlignment([log_snr], draws=2)
    found = scorer.alignment(model, latents, torch.zeros(3, 4, 3, 3), ["up", "up", "up"])
    ratio = float(np.exp(log_snr))
    # |z|² − |m − z|² for z = m, −m and 0
    assert found.tolist() == pytest.approx([ratio, -3 * ratio, -ratio], rel=1e-3)


def test_text_alignment_prefers_the_plan_that_goes_with_the_words(
    planner: LatentVideoPlanner, make_observation: Any
) -> None:
    class Shown(Imagining):
        """A planner whose models are chosen here."""

        autoencoder, camera, _device, _bf16 = planner.autoencoder, planner.camera, planner.device, planner.bf16
        experts = [(Knowing("v"), lambda log_snr: 1.0), (Knowing("epsilon"), lambda log_snr: 0.5)]  # noqa: RUF012

    seen = [make_observation(seed) for seed in range(4)]
    plans = [
        VideoPlan(np.full((3, 32, 32, 3), value, np.uint8), 0.05, words, 0, "x")
        for words in ("up", "down")
        for value in (250, 5)
    ]
    scores = TextAlignment(batch=3).score(Shown(), seen, plans)
    assert scores[0] > 0 > scores[1]
    assert scores[3] > 0 > scores[2]
    single = TextAlignment().score(Shown(), seen[:1], plans[:1])
    assert single[0] == pytest.approx(scores[0], rel=1e-4)  # it does not depend on the neighbours


def test_text_alignment_weighs_both_composed_models(planner: LatentVideoPlanner, make_observation: Any) -> None:
    seen = [make_observation(seed) for seed in range(2)]
    plans = planner.plan(seen, ["push", "pull"], [0, 1])
    scorer = TextAlignment([0.0])
    alone = scorer.score(planner, seen, plans)
    assert alone.std() > 0
    for strength in (0.0, 0.5):
        both = AdaptedPlanner(planner, planner, "pa", PriorStrength(strength), "none")
        assert scorer.score(both, seen, plans) == pytest.approx((1 + strength) * alone, rel=1e-4)


def test_text_alignment_counts_a_composed_model_where_it_counts_in_planning(
    planner: LatentVideoPlanner, make_observation: Any
) -> None:
    """The strength goes by the base model's log-SNR; another scale is the same noise at another log-SNR."""
    seen = [make_observation(seed) for seed in range(2)]
    plans = planner.plan(seen, ["push", "pull"], [0, 1])
    low, high = (
        TextAlignment([-2.0, 2.0]).score(only, seen, plans) for only in (Only(planner, -2.0), Only(planner, 2.0))
    )
    assert low.std() > 0 < high.std()
    early = AdaptedPlanner(planner, planner, "pa", PriorStrength(0.5, "interval", (-3.0, 0.0)), "none")
    assert TextAlignment([-2.0, 2.0]).score(early, seen, plans) == pytest.approx(1.5 * low + high, rel=1e-4)
    normal = AdaptedPlanner(planner, planner, "pa", PriorStrength(0.5, "interval", (-3.0, 0.0)), "text")
    assert TextAlignment([-2.0, 2.0]).score(normal, seen, plans) == pytest.approx(low + high, rel=1e-4)
    never = AdaptedPlanner(planner, planner, "pa", PriorStrength(0.5, "interval", (8.0, 9.0)))
    assert TextAlignment([-2.0, 2.0]).score(never, seen, plans) == pytest.approx(low + high, rel=1e-4)
    doubled = planner.with_denoiser(planner.denoiser, replace(planner.diffusion, scale=2.0))
    strength = PriorStrength(0.5, "interval", (-1.0, 1.0))
    ((_, own), (_, other)) = AdaptedPlanner(planner, doubled, "pa", strength, "none").experts
    shift = 2 * np.log(2.0)  # the same log-SNR of a clip twice as large is half the noise on the latents
    assert [own(at) for at in (-2.0, 0.0, 2.0)] == [1.0, 1.0, 1.0]
    assert [other(at - shift) for at in (-1.1, -0.9, 0.9, 1.1)] == [0.0, 0.5, 0.5, 0.0]


class Only(Imagining):
    """A planner whose model counts at one noise level alone."""

    def __init__(self, planner: LatentVideoPlanner, log_snr: float) -> None:
        self.autoencoder, self.camera = planner.autoencoder, planner.camera
        self._device, self._bf16 = planner.device, planner.bf16
        self._planner, self._log_snr = planner, log_snr

    @property
    def experts(self) -> list[tuple[VideoScore, Weight]]:
        return [(self._planner, lambda at: float(at == self._log_snr))]


class Watching:
    """A judge of pictures: success when the last frame is brighter than the first."""

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        rise = [float(one.frames["corner2"][-1].mean() - one.frames["corner2"][0].mean()) for one in episodes]
        return [Verdict(1 / (1 + np.exp(-each / 50)), "classifier") for each in rise]


def test_a_judge_sees_the_frame_planned_from_and_what_is_imagined(make_observation: Any) -> None:
    seen = [make_observation(0)] * 2
    plans = [VideoPlan(np.full((3, 32, 32, 3), value, np.uint8), 0.05, "push", 0, "x") for value in (0, 255)]
    dark, bright = Judged(Watching()).score(object(), seen, plans)  # type: ignore[arg-type]
    assert dark < 0.5 < bright
    with pytest.raises(SailError, match="knows no ground truth: choose another judge"):
        Judged(GroundTruth()).score(object(), seen, plans)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no camera 'wrist'"):
        Judged(Watching(), "wrist").score(object(), seen, plans)  # type: ignore[arg-type]


def test_what_cannot_work_is_refused(planner: LatentVideoPlanner, make_observation: Any) -> None:
    with pytest.raises(ValueError, match="at least one candidate, got candidates=0"):
        BestOfN(planner, Brightness(), 0)
    with pytest.raises(ValueError, match="at least one log-SNR"):
        TextAlignment([])
    with pytest.raises(ValueError, match="1 observations need as many .* got 1, 1 and 2"):
        BestOfN(planner, Brightness(), 4).plan([make_observation()], ["push"], [0], [SETTINGS] * 2)
    with pytest.raises(ValueError, match="a object shows none"):
        TextAlignment().score(object(), [], [])  # type: ignore[arg-type]

    class Broken:
        def score(self, *_: Any) -> Any:
            return np.array([np.nan, 1.0])

    with pytest.raises(ValueError, match="no finite number for each of 2 plans"):
        BestOfN(planner, Broken(), 2).plan([make_observation()], ["push"], [0])


def test_adaptations_draw_candidates_in_turn(
    planner: LatentVideoPlanner, make_denoiser: Any, make_observation: Any
) -> None:
    adapted = AdaptedPlanner(planner, planner.with_denoiser(make_denoiser(seed=1)), "pa", PriorStrength(1.0))
    seen, words, seeds = [make_observation(seed) for seed in range(2)], ["push", "pull"], [3, 4]
    asked: list[list[VideoPlan]] = []

    class Keeping:
        """Prefer one place, and remember what there was to choose from."""

        def __init__(self, place: int) -> None:
            self.place = place

        def score(self, _: Any, observations: Sequence[Any], plans: Sequence[VideoPlan]) -> Any:
            asked.append(list(plans))
            return np.array([float(number % 3 == self.place) for number in range(len(plans))])

    for place, adaptation in enumerate(["in_domain", "general", "in_domain"]):
        best = BestOfN(adapted, Keeping(place), 3, ["in_domain", "general"])
        kept = best.plan(seen, words, seeds)
        drawn = [candidate_seeds(seed, 3)[place] for seed in seeds]
        wanted = adapted.with_adaptation(adaptation).plan(seen, words, drawn)
        assert all(np.array_equal(a.frames, b.frames) for a, b in zip(kept, wanted, strict=True))
        assert {plan.planner for plan in kept} == {f"{adapted.identity}/best of 3 of in_domain, general"}
    assert [plan.instruction for plan in asked[0]] == ["push"] * 3 + ["pull"] * 3
    assert best.with_in_domain(planner).adaptations == ("in_domain", "general")
    with pytest.raises(ValueError, match="Only an adapted planner has adaptations"):
        BestOfN(planner, Keeping(0), 3, ["general"])
    with pytest.raises(ValueError, match="need as many candidates"):
        BestOfN(adapted, Keeping(0), 1, ["in_domain", "general"])
