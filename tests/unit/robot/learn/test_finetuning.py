"""What an iteration trains: put in force at once, restored exactly, and never at the cost of the starter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planners.adapted import AdaptedPlanner
from planners.autoencoder import FrameAutoencoder
from planners.compose import PriorStrength
from planners.denoisers import StackedUNet
from planners.latent_video import LatentVideoPlanner
from planners.windows import EMPTY_TEXT, LatentCache, WindowSampler
from policies.frame_training import finetune_pose_network
from policies.pose_network import PoseNetwork, PoseNetworkShape, save_pose_network
from policies.pose_tracking import PoseTracking
from robot.core.data import Episode, Outcome, Verdict
from robot.core.training import TrainingSettings
from robot.learn import finetuning
from robot.learn.finetuning import (
    FrameOptions,
    InverseDynamicsInForce,
    InverseDynamicsLearner,
    PlannerInForce,
    PlannerLearner,
    kept,
    quickest,
    reconstruction,
    trained_part,
)

SIZE = 32
SETTINGS = TrainingSettings(steps=2, batch_size=4, learning_rate=1e-2, warmup_steps=1, ema_decay=0.0, precision="fp32")
GOOD, BAD = Verdict(0.9, "truth"), Verdict(0.2, "truth")


class Words:
    """Encode every text as its length."""

    dim = 8
    config: dict[str, Any] = {"kind": "words"}  # noqa: RUF012

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        states = torch.stack([torch.full((2, 8), len(text) / 10) for text in texts])
        return states, torch.ones(len(texts), 2, dtype=torch.bool)


def make_planner() -> LatentVideoPlanner:
    torch.manual_seed(0)
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), text_dim=8, heads=2, groups=4)
    autoencoder = FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=SIZE).eval()
    return LatentVideoPlanner(denoiser, autoencoder, Words(), image_size=(SIZE, SIZE), precision="fp32")


def make_episode(seed: int, steps: int = 6) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        task="door-close",
        instruction="close the door",
        robot="fake",
        frames={"corner2": rng.integers(0, 256, (steps + 1, SIZE, SIZE, 3), np.uint8)},
        proprio=rng.uniform(0, 1, (steps + 1, 4)).astype(np.float32),
        requested=np.zeros((steps, 4), np.float32),
        sent=np.zeros((steps, 4), np.float32),
        times_s=np.arange(steps + 1) * 0.025,
        outcome=Outcome.SUCCESS,
        seed=seed,
        episode_id=f"e{seed}",
    )


def make_planner_learner(in_force: PlannerInForce, asked: list[int], **options: Any) -> PlannerLearner:
    starter = trained_part(in_force.current)
    assert starter is not None

    def seen() -> Sequence[Episode]:
        asked.append(1)
        return [make_episode(100)]

    load = partial(_load_planner, starter=starter)
    return PlannerLearner(in_force, load, seen, SETTINGS, **options)


def _load_planner(folder: Path, starter: LatentVideoPlanner) -> LatentVideoPlanner:
    return LatentVideoPlanner.load(folder, starter.autoencoder, starter.text_encoder, precision="fp32")


def weights(planner: Any) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in planner.denoiser.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def test_a_trained_planner_is_in_force_at_once_and_the_starter_stays_as_it_was(tmp_path: Path) -> None:
    in_force, asked = PlannerInForce(make_planner()), []
    starter, before = in_force.current, weights(in_force.current)
    learner = make_planner_learner(in_force, asked, unhesitating=False)
    assert asked == []
    metrics = learner.update([make_episode(1), make_episode(2)], [GOOD, BAD], tmp_path / "a", 5)
    assert asked == [1]
    assert np.isfinite(metrics["loss"])
    trained = weights(in_force.current)
    assert not same(trained, before)
    assert same(weights(starter), before)

    learner.restore(None)
    assert in_force.current is starter
    learner.restore(tmp_path / "a")
    assert same(weights(in_force.current), trained)


def test_an_update_that_was_finished_but_not_written_down_gives_the_same_planner(tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        in_force = PlannerInForce(make_planner())
        make_planner_learner(in_force, []).update([make_episode(1)], [GOOD], tmp_path / "a", 5)
        results.append(weights(in_force.current))
    assert same(*results)


def test_of_an_adapted_planner_the_in_domain_half_is_trained_saved_and_restored(tmp_path: Path) -> None:
    small, general = make_planner(), make_planner()
    torch.nn.init.normal_(general.denoiser.unet.conv_out.weight, std=0.05)
    adapted = AdaptedPlanner(small, general, "ipa", PriorStrength(0.4), "text", finetuned="")
    in_force, known = PlannerInForce(adapted), weights(general)
    learner = make_planner_learner(in_force, [])
    learner.update([make_episode(1), make_episode(2)], [GOOD, BAD], tmp_path / "a", 5)
    acting = in_force.current
    assert isinstance(acting, AdaptedPlanner)
    assert (acting.adaptation, acting.strength, acting.normalisation) == ("ipa", PriorStrength(0.4), "text")
    assert acting.general is adapted.general
    assert same(weights(general), known)
    assert not same(weights(acting.in_domain), weights(small))
    assert acting.identity.split("+") == [general.identity, acting.in_domain.identity]

    stored = small.loaded_from(tmp_path / "a")  # the folder holds the half alone
    assert same(weights(stored), weights(acting.in_domain))
    learner.restore(None)
    assert in_force.current is adapted
    learner.restore(tmp_path / "a")
    assert in_force.current.identity == acting.identity
    learner.update([make_episode(1)], [GOOD], tmp_path / "b", 6)  # and it goes on from there
    assert in_force.current.identity != acting.identity


def test_a_planner_loaded_again_samples_and_computes_as_before(tmp_path: Path) -> None:
    starter = make_planner()
    starter.save(tmp_path)
    again = starter.loaded_from(tmp_path)
    assert again.config == starter.config
    assert again._options == starter._options
    assert again.autoencoder is starter.autoencoder


@pytest.mark.parametrize("learn_from", ["rollouts", "successes"])
def test_a_trained_inverse_dynamics_is_in_force_and_goes_on_from_there(tmp_path: Path, learn_from: Any) -> None:
    shape = PoseNetworkShape(size=SIZE, widths=(8, 8, 16, 16), keypoints=4, attended=2, hidden=16)
    torch.manual_seed(0)
    save_pose_network(tmp_path / "starter", PoseNetwork(shape))
    load = partial(PoseTracking.load, precision="float32")
    in_force = InverseDynamicsInForce(load(tmp_path / "starter"))
    starter = in_force.current
    frames = FrameOptions(size=SIZE, reconstruct=reconstruction(make_planner()))
    learner = InverseDynamicsLearner(
        in_force,
        tmp_path / "starter",
        load,
        finetune_pose_network,
        lambda: [make_episode(100)],
        SETTINGS,
        frames,
        learn_from=learn_from,
    )
    assert learner.needs_success is (learn_from == "successes")
    identities = [in_force.current.identity]  # type: ignore[attr-defined]
    for name in ("a", "b"):
        metrics = learner.update([make_episode(1), make_episode(2)], [GOOD, BAD], tmp_path / name, 5)
        assert np.isfinite(metrics["loss"])
        identities.append(in_force.current.identity)  # type: ignore[attr-defined]
    assert len(set(identities)) == 3
    learner.restore(tmp_path / "a")
    assert in_force.current.identity == identities[1]  # type: ignore[attr-defined]
    learner.restore(None)
    assert in_force.current is starter


def test_only_a_latent_video_planner_can_be_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="learner.planner.train=false"):
        PlannerLearner(PlannerInForce(object()), make_planner, list, SETTINGS)  # type: ignore[arg-type]


def test_shares_that_leave_nothing_new_are_refused() -> None:
    with pytest.raises(ValueError, match="seen_share"):
        PlannerLearner(PlannerInForce(make_planner()), make_planner, list, SETTINGS, seen_share=1.0)  # type: ignore[arg-type]


def test_failures_are_shown_without_words_and_successes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []

    def watch(planner: Any, windows: WindowSampler, *_: Any) -> tuple[Any, dict[str, float]]:
        shown.append(windows.draw(np.random.default_rng(0), 200))
        return planner, {}

    monkeypatch.setattr(finetuning, "train_planner", watch)
    good, bad = make_episode(1, 1), make_episode(2, 1)
    learner = make_planner_learner(PlannerInForce(make_planner()), [], seen_share=0.25, attempted_share=0.25)
    learner.update([good, bad], [GOOD, BAD], tmp_path / "a", 5)
    cache = LatentCache(make_planner().autoencoder)
    firsts = {name: cache.get(one).latents[0].astype(np.float32) for name, one in (("good", good), ("bad", bad))}
    texts = {
        name: {int(t) for t, seen in zip(shown[0]["text"], shown[0]["first"], strict=True) if np.array_equal(seen, one)}
        for name, one in firsts.items()
    }
    assert texts == {"bad": {EMPTY_TEXT}, "good": {EMPTY_TEXT, 1}}


@pytest.mark.parametrize("demonstrated", [True, False])
def test_a_success_is_shown_without_its_pause_where_there_are_demonstrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demonstrated: bool
) -> None:
    shown: list[WindowSampler] = []

    def watch(planner: Any, windows: WindowSampler, *_: Any) -> tuple[Any, dict[str, float]]:
        shown.append(windows)
        return planner, {}

    monkeypatch.setattr(finetuning, "train_planner", watch)
    went = make_episode(1, 7)
    went.frames["corner2"][2:6] = went.frames["corner2"][2]  # it stands still
    starter = make_planner()
    every = LatentCache(starter.autoencoder).get(went).latents
    # frames of noise, all about as far from each other: a tenth of that lies well between them and no change at all
    alike = 0.1 * float(np.sqrt(np.mean(np.square(every[1].astype(np.float32) - every[0].astype(np.float32)))))
    monkeypatch.setattr(finetuning, "typical_change", lambda clips: alike if clips else 0.0)
    seen = [make_episode(100)] if demonstrated else []
    learner = PlannerLearner(
        PlannerInForce(starter),
        lambda _: starter,
        lambda: seen,
        SETTINGS,
        seen_share=0.0,
        stride=1,
        attempted_share=0.0,
    )
    metrics = learner.update([went], [GOOD], tmp_path / "a", 5)
    assert metrics["shown"] == (6 / 8 if demonstrated else 1.0)
    wanted = every[[0, 1, 2, 5, 6, 7]] if demonstrated else every
    (source,) = shown[0]._sources
    assert np.array_equal(source.episodes[0].latents, wanted)


def test_an_attempted_share_that_leaves_nothing_for_successes_is_refused() -> None:
    with pytest.raises(ValueError, match="attempted_share"):
        make_planner_learner(PlannerInForce(make_planner()), [], seen_share=0.5, attempted_share=0.5)


def test_no_more_episodes_are_read_than_there_are_frames_to_learn_from() -> None:
    episodes = [make_episode(number) for number in range(8)]  # of seven frames each
    few = [one.seed for one in finetuning.drawn(episodes, [1, 3, 5, 7], 10, seed=0)]
    assert len(few) == 2 and set(few) < {1, 3, 5, 7}
    assert few == [one.seed for one in finetuning.drawn(episodes, [1, 3, 5, 7], 10, seed=0)]
    assert few != [one.seed for one in finetuning.drawn(episodes, [1, 3, 5, 7], 10, seed=1)]
    everything = [one.seed for one in finetuning.drawn(episodes, [1, 3, 5, 7], np.inf, seed=0)]
    assert sorted(everything) == [1, 3, 5, 7]


def test_only_what_is_kept_is_read() -> None:
    class Stored(list[Episode]):
        def __init__(self, episodes: Sequence[Episode]) -> None:
            super().__init__(episodes)
            self.read: list[int] = []

        def __getitem__(self, index: Any) -> Any:
            self.read.append(index)
            return super().__getitem__(index)

    stored = Stored([make_episode(number) for number in range(4)])
    verdicts = [Verdict(probability, "classifier") for probability in (0.7, 0.6, 0.2, 0.9)]
    assert [episode.seed for episode in kept(stored, verdicts, 0.65)] == [0, 3]
    assert stored.read == [0, 3]


def test_a_planner_learns_from_what_exceeds_the_threshold_and_nothing_else(tmp_path: Path) -> None:
    results = []
    episodes = [make_episode(1), make_episode(2)]
    for name, probabilities, keep_above in (("a", (0.9, 0.1), 0.5), ("b", (0.9, 0.7), 0.8), ("c", (0.9, 0.7), 0.5)):
        in_force = PlannerInForce(make_planner())
        learner = make_planner_learner(in_force, [], keep_above=keep_above)
        learner.update(episodes, [Verdict(one, "classifier") for one in probabilities], tmp_path / name, 5)
        results.append(weights(in_force.current))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_quickest_successes_are_shown_and_never_fewer_than_ten() -> None:
    slow = [make_episode(seed, steps=5 + 3 * seed) for seed in range(20)][::-1]
    assert quickest(slow, 1.0) == slow
    assert quickest(slow[:9], 0.1) == slow[:9]
    half = quickest(slow, 0.5)
    assert half == slow[10:]
    assert quickest(slow, 0.1) == half  # ten at least
    assert quickest(slow, 0.75) == slow[5:]
    alike = [make_episode(seed) for seed in range(20)]
    assert quickest(alike, 0.25) == alike  # nothing tells them apart


def test_slow_successes_are_attempted_without_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    def spy(planner: Any, windows: WindowSampler, *_: Any) -> Any:
        shown.append(windows)
        return planner, {"loss": 0.0}

    monkeypatch.setattr(finetuning, "train_planner", spy)
    learner = make_planner_learner(PlannerInForce(make_planner()), [], quickest=0.5, unhesitating=False)
    episodes = [make_episode(seed, steps=4 + seed) for seed in range(20)]
    metrics = learner.update(episodes, [GOOD] * 20, tmp_path / "a", 5)
    successes, _, attempted = shown[0]._sources
    assert [len(one.latents) for one in successes.episodes] == [5 + seed for seed in range(10)]
    assert (len(attempted.episodes), attempted.silent) == (20, True)
    assert metrics["successes"] == 10
    assert metrics["shown"] == pytest.approx(sum(range(5, 15)) / sum(range(5, 25)))


def test_what_was_seen_is_shown_backwards_and_a_success_where_its_opposite_is_attempted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    def spy(planner: Any, windows: WindowSampler, *_: Any) -> Any:
        shown.append(windows)
        return planner, {"loss": 0.0}

    monkeypatch.setattr(finetuning, "train_planner", spy)
    learner = make_planner_learner(PlannerInForce(make_planner()), [], reversed_share=0.2, unhesitating=False)
    closing = make_episode(1)
    learner.update([closing], [GOOD], tmp_path / "a", 5)
    seen, undone = shown[0]._sources[1], shown[0]._sources[3]
    assert [one.instruction for one in undone.episodes] == ["open the door", "pull the door open"]
    for one in undone.episodes:
        assert np.array_equal(one.latents, seen.episodes[0].latents[::-1])
    assert shown[0]._shares[3] == pytest.approx(0.2)

    opening = replace(make_episode(2), instruction="open the door")
    learner.update([closing, opening], [GOOD, BAD], tmp_path / "b", 5)
    own = shown[1]._sources[3].episodes[2:]
    assert [one.instruction for one in own] == ["open the door"]  # closing, played backwards; nothing opened it
    assert np.array_equal(own[0].latents, shown[1]._sources[0].episodes[0].latents[::-1])


@pytest.mark.parametrize(("options", "named"), [({"quickest": 0.0}, "quickest"), ({"reversed_share": 0.5}, "reversed")])
def test_a_share_that_cannot_be_is_refused(options: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_planner_learner(PlannerInForce(make_planner()), [], **options)
