"""Attempts are written down while they run: sealed as they end, set aside when begun again, left when stopped."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robot.core.data import Episode, Outcome
from robot.core.errors import SailError
from robot.core.protocols import Recording
from robot.episodes.description import Origin
from robot.episodes.repair.doctor import examine
from robot.episodes.store import EpisodeStore
from robot.episodes.video import VideoWriter
from robot.episodes.writer import EpisodeWriter
from robot.rollouts.recording import recorder
from robot.rollouts.rollout import Attempt, RolloutSettings, RolloutTimings, rollout
from tests.fakes import SPEC, ToyPlanner, ToyPool, toy_policy
from tests.unit.robot.episodes.samples import assert_same

IDS = [f"attempt-{number}" for number in range(6)]
SETTINGS = RolloutSettings(max_steps=30)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def run(store: EpisodeStore, pool: ToyPool, **more: Any) -> list[Episode]:
    return rollout(
        pool,
        toy_policy(ToyPlanner({"go right": 0.5})),
        [Attempt(seed, "toy", "go right") for seed in range(len(IDS))],
        SETTINGS,
        config_hash="c0ffee",
        record=recorder(store, IDS, SPEC, "c0ffee", Origin("mine", 2)),
        **more,
    )


class Flaky(ToyPool):
    """Break in the attempt of seed 4, at step 5, so many times."""

    def __init__(self, size: int, times: int) -> None:
        super().__init__(size)
        self.left = times

    def act(self, actions: Any) -> Any:
        answers = super().act(actions)
        for number in list(answers):
            if self.robots[number].seed == 4 and self.robots[number].steps == 6 and self.left > 0:
                self.left -= 1
                del answers[number]
        return answers


def hidden(store: EpisodeStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir() if path.name[0] == ".")


def test_a_writer_is_a_recording(tmp_path: Path) -> None:
    with_heading = recorder(EpisodeStore(tmp_path), ["a"], SPEC)(0, Attempt(0, "toy", "go right"))
    assert isinstance(with_heading, Recording)
    assert isinstance(with_heading, EpisodeWriter)
    with_heading.leave()


@pytest.mark.parametrize("knows_truth", [True, False])
def test_what_is_stored_is_what_the_rollout_gives_back(tmp_path: Path, knows_truth: bool) -> None:
    store = EpisodeStore(tmp_path)
    there: list[bool] = []

    def ended(number: int, _: Attempt, episode: Episode) -> None:
        there.append(IDS[number] in store.ids() and episode.episode_id == IDS[number])

    episodes = run(store, ToyPool(3, knows_truth=knows_truth, breaks={2: 0}), on_episode=ended)
    assert store.ids() == IDS and all(there) and len(there) == len(IDS)
    for episode in episodes:
        assert_same(store.load(episode.episode_id), episode)
    assert len(episodes[2]) == 0
    assert episodes[2].outcome is Outcome.INFRASTRUCTURE_FAULT
    about = store.about(IDS[0])
    assert about["origin"] == {"run": "mine", "iteration": 2}
    assert list(examine(tmp_path)) == []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_try_that_broke_is_set_aside_and_only_the_last_one_is_stored(tmp_path: Path, times: int) -> None:
    store = EpisodeStore(tmp_path / "flaky")
    timings = RolloutTimings()
    episodes = run(store, Flaky(3, times), timings=timings)
    assert store.ids() == IDS
    assert hidden(store) == [".set-aside"]
    aside = [path.name for path in (store.folder / ".set-aside").iterdir()]
    assert len(aside) == timings.retries == min(times, 2)
    assert all(name.startswith("attempt-4-") for name in aside)
    for episode in episodes:
        assert_same(store.load(episode.episode_id), episode)
    if times == 3:
        assert episodes[4].outcome is Outcome.INFRASTRUCTURE_FAULT and len(episodes[4]) == 5
    else:
        sound = EpisodeStore(tmp_path / "sound")
        assert_same(store.load(IDS[4]), run(sound, ToyPool(3))[4])


def test_ctrl_c_leaves_what_there_is_and_the_next_run_is_not_in_its_way(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(store, ToyPool(2, on_act=_at(14, KeyboardInterrupt())))
    assert [finding.remedy[:14] for finding in examine(tmp_path)] == ["its first 12 s"] * 2
    episodes = run(store, ToyPool(2))
    assert store.ids() == IDS
    for episode in episodes:
        assert_same(store.load(episode.episode_id), episode)
    assert list(examine(tmp_path)) == []
    assert len(list((tmp_path / ".set-aside").iterdir())) == 2


def test_a_disk_that_fills_up_in_the_middle_is_no_broken_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, full = VideoWriter.append, _at(40, OSError(errno.ENOSPC, "No space left on device"))

    def write(self: VideoWriter, image: Any) -> None:
        full()
        append(self, image)

    monkeypatch.setattr(VideoWriter, "append", write)
    store, timings = EpisodeStore(tmp_path), RolloutTimings()
    with pytest.raises(SailError, match="No space left"):
        run(store, ToyPool(2), timings=timings)
    assert timings.retries == 0
    monkeypatch.undo()
    assert all("steps are saved" in finding.remedy for finding in examine(tmp_path, repair=True))
    assert store.ids() and all(name.endswith("-recovered") for name in store.ids())


def test_an_id_that_is_taken_is_refused_before_the_robot_moves(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    run(store, ToyPool(2))
    pool = ToyPool(2)
    with pytest.raises(SailError, match="already stored"):
        run(store, pool)
    assert pool.acted == []


def _at(count: int, error: BaseException) -> Callable[[], None]:
    """Return what raises from the `count`-th call on."""
    calls = [0]

    def call() -> None:
        calls[0] += 1
        if calls[0] >= count:
            raise error

    return call
