"""Episodes on disk: a round trip bit for bit, appended verdicts, and damage told in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot.data import Episode, Outcome, PlacedPlan, SamplerSettings, Verdict, VideoPlan
from robot.episodes.store import EpisodeStore
from robot.errors import SailError


def episode(steps: int = 3, task: str = "reach", seed: int = 5) -> Episode:
    rng = np.random.default_rng(seed)
    plan = VideoPlan(
        frames=rng.integers(0, 256, (2, 8, 8, 3), np.uint8),
        stride_s=0.05,
        instruction="reach the goal",
        seed=9,
        planner="abc",
        settings=SamplerSettings(guidance_scale=2.5, negative_prompt="open the door"),
    )
    return Episode(
        task=task,
        instruction="reach the goal",
        spoken="push the puck",
        robot="fake",
        frames={"corner2": rng.integers(0, 256, (steps + 1, 8, 8, 3), np.uint8)},
        proprio=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        requested=rng.normal(size=(steps, 4)).astype(np.float32),
        sent=rng.normal(size=(steps, 4)).astype(np.float32),
        times_s=np.arange(steps + 1) / 40,
        states=rng.normal(size=(steps + 1, 7)),
        success=np.array([False] * (steps - 1) + [True]),
        outcome=Outcome.SUCCESS,
        seed=seed,
        plans=(PlacedPlan(0, plan), PlacedPlan(2, plan)),
        config_hash="c0ffee",
    )


def test_an_episode_reads_back_bit_for_bit(tmp_path: Path) -> None:
    store, original = EpisodeStore(tmp_path), episode()
    loaded = store.load(store.add(original))
    for name in ("proprio", "requested", "sent", "times_s", "states", "success"):
        assert np.array_equal(getattr(loaded, name), getattr(original, name))
        assert getattr(loaded, name).dtype == getattr(original, name).dtype
    assert np.array_equal(loaded.frames["corner2"], original.frames["corner2"])
    for name in ("task", "instruction", "spoken", "robot", "outcome", "seed", "config_hash"):
        assert getattr(loaded, name) == getattr(original, name)
    assert [placed.step for placed in loaded.plans] == [0, 2]
    assert np.array_equal(loaded.plans[1].plan.frames, original.plans[1].plan.frames)
    assert loaded.plans[0].plan.settings == original.plans[0].plan.settings


def test_ids_are_distinct_sorted_and_filtered(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    names = [store.add(episode()), store.add(episode()), store.add(episode(task="push"))]
    assert len(set(names)) == 3 and store.ids() == sorted(names)
    assert store.ids("push") == [names[2]]
    assert EpisodeStore(tmp_path / "nothing").ids() == []


def test_an_id_is_never_overwritten(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(episode(), episode_id="one")
    with pytest.raises(SailError, match="already stored"):
        store.add(episode(seed=6), episode_id="one")
    assert store.load("one").seed == 5


def test_verdicts_are_appended(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode(), [Verdict(1.0, "truth")])
    store.append_verdict(name, Verdict(0.25, "person", progress=np.array([0, 0.5], np.float32), rationale="slipped"))
    first, second = store.verdicts(name)
    assert first == Verdict(1.0, "truth")
    assert (second.probability, second.source, second.rationale) == (0.25, "person", "slipped")
    assert second.progress is not None and second.progress.tolist() == [0, 0.5]


@pytest.mark.parametrize("name", ["../elsewhere", "", ".", "..", ".hidden", "a/b"])
def test_ids_stay_inside_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(SailError, match="not an episode's id"):
        EpisodeStore(tmp_path / "store").load(name)


def test_missing_and_damaged_episodes(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    with pytest.raises(SailError, match="no episode 'gone'"):
        store.load("gone")
    name = store.add(episode())
    steps = tmp_path / name / "steps.npz"
    steps.write_bytes(steps.read_bytes()[:100])
    with pytest.raises(SailError, match="damaged"):
        store.load(name)
    (tmp_path / name / "episode.json").write_text("{")
    with pytest.raises(SailError, match="not JSON"):
        store.load(name)


def test_a_half_written_episode_is_not_listed(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode())
    (tmp_path / f".writing-{name}-1").mkdir()
    (tmp_path / f".writing-{name}-1" / "episode.json").write_text("{}")
    assert store.ids() == [name]


def test_a_verdict_cut_off_while_written_is_dropped(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    name = store.add(episode(), [Verdict(1.0, "truth")])
    with (tmp_path / name / "verdicts.jsonl").open("a") as file:
        file.write('{"probability": 0.')
    assert store.verdicts(name) == [Verdict(1.0, "truth")]
    store.append_verdict(name, Verdict(0.5, "person"))
    assert [verdict.source for verdict in store.verdicts(name)] == ["truth", "person"]
