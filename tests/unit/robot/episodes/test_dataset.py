"""Data sets give what the episodes hold, decode once, and are fast enough not to hold training back."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robot.core.data import Outcome, Verdict
from robot.core.errors import SailError
from robot.core.pictures import shrink_frames
from robot.episodes.dataset import EndFrames, Recordings, Transitions, batches
from robot.episodes.frame_cache import FrameCache
from robot.episodes.store import EpisodeStore, StoredEpisodes
from robot.episodes.video import VideoFacts, read_video
from tests.unit.robot.episodes.samples import episode


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    made = EpisodeStore(tmp_path / "store")
    made.add(episode(6, seed=1), [Verdict(1.0, "truth")], "a")
    made.add(episode(3, seed=2, outcome=Outcome.FAILURE, success=np.zeros(3, np.bool_), reward=None), (), "b")
    return made


def gathered(store: EpisodeStore, size: int = 8) -> Recordings:
    return Recordings.gather(store, camera="top", size=size)


def frames_of(store: EpisodeStore, name: str) -> np.ndarray:
    return store.load(name).frames["top"]


def test_frames_are_shrunk_as_in_use(store: EpisodeStore) -> None:
    small = Transitions(gathered(store, 4))[0]["frame"]
    assert torch.equal(small, shrink_frames(torch.from_numpy(frames_of(store, "a")[:1]), 4)[0])


def test_several_at_once_are_those_one_by_one_and_others_are_none(store: EpisodeStore) -> None:
    steps = Transitions(gathered(store))
    batch = steps[[1, -1]]
    assert batch["frame"].shape == (2, 8, 8, 3) and batch["frame"].dtype == torch.uint8
    for name, values in batch.items():
        assert torch.equal(values[0], steps[1][name]) and torch.equal(values[1], steps[8][name])
    with pytest.raises(IndexError):
        steps[9]


def test_transitions_hold_rewards_ends_and_returns(store: EpisodeStore) -> None:
    steps = Transitions(gathered(store), discount=0.5)
    assert len(steps) == 6 + 3
    whole = store.load("a")
    assert whole.reward is not None
    for index in range(6):
        sample = steps[index]
        assert np.array_equal(sample["frame"], whole.frames["top"][index])
        assert np.array_equal(sample["next_frame"], whole.frames["top"][index + 1])
        assert float(sample["reward"]) == whole.reward[index] and float(sample["done"]) == float(index == 5)
        expected = sum(0.5**ahead * float(value) for ahead, value in enumerate(whole.reward[index:]))
        assert float(sample["to_go"]) == pytest.approx(expected, rel=1e-5)
    failed = steps[[6, 7, 8]]
    assert failed["reward"].tolist() == [0, 0, 0] and failed["done"].tolist() == [0, 0, 1]


def test_a_return_ends_with_the_first_success(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    success = np.array([False, False, True, True, True, True])
    store.add(episode(6, success=success, reward=None), episode_id="a")
    store.add(episode(6, success=success, reward=np.array([0.5, -1, 2, 7, 7, 7], np.float32)), episode_id="b")
    store.add(episode(3, success=np.zeros(3, np.bool_), reward=np.ones(3, np.float32)), episode_id="c")
    steps = Transitions(gathered(store), discount=0.5)[list(range(15))]
    # Worked out with a pencil: a half and a half of it before the success, and nothing from the steps kept after it.
    assert steps["to_go"][:6].tolist() == [0.25, 0.5, 1, 1, 1, 1]
    assert steps["to_go"][6:12].tolist() == [0.5, 0, 2, 7, 7, 7]
    assert steps["to_go"][12:].tolist() == [1.75, 1.5, 1]  # it never ended: what was seen of it is all there is


def test_what_a_person_said_is_what_a_critic_is_told(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(episode(3, reward=None), [Verdict(0.0, "person")], "called a failure")
    unseen = episode(3, reward=None, success=None, outcome=Outcome.TIMEOUT)
    store.add(unseen, [Verdict(1.0, "person")], "called a success")
    steps = Transitions(gathered(store))[list(range(6))]
    assert steps["reward"].tolist() == [0, 0, 0, 0, 0, 1] == steps["done"].tolist()


def test_end_frames_carry_the_verdict_that_counts(store: EpisodeStore) -> None:
    ends = EndFrames(gathered(store), frames=3, stride=2)
    assert len(ends) == 2
    assert np.array_equal(ends[0]["frames"], frames_of(store, "a")[[2, 4, 6]])
    assert np.array_equal(ends[1]["frames"], frames_of(store, "b")[[0, 1, 3]])
    assert float(ends[0]["success"]) == 1.0 and torch.isnan(ends[1]["success"])
    store.append_verdict("b", Verdict(0.25, "person"))
    assert float(EndFrames(gathered(store))[1]["success"]) == 0.25


def test_frames_are_decoded_once_and_new_ones_appended(store: EpisodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered(store)
    store.append_verdict("a", Verdict(0.0, "person"))
    store.add(episode(2, seed=9), episode_id="c")
    decoded: list[str] = []
    read = read_video

    def watched(folder: Path, facts: VideoFacts) -> np.ndarray:
        decoded.append(folder.name)
        return read(folder, facts)

    monkeypatch.setattr("robot.episodes.store.read_video", watched)
    recordings = gathered(store)
    assert decoded == ["c"]
    monkeypatch.undo()
    for name, first, count in zip(recordings.ids, recordings.cached.first, recordings.cached.count, strict=True):
        assert np.array_equal(recordings.cached.frames[first : first + count], frames_of(store, name))


def test_a_cache_that_a_kill_or_a_stranger_damaged_is_mended(store: EpisodeStore) -> None:
    cache, episodes = FrameCache(store.folder / ".cache", "top", 8), StoredEpisodes(store, ["a", "b"])
    cache.get(episodes)
    index, frames = (store.folder / ".cache" / f"top-8.{end}" for end in ("jsonl", "frames"))
    rows, whole = index.read_text(), frames.read_bytes()
    for content, kept in ((rows[:-9], None), (rows, 100), (rows, 1500), ("nonsense\n" + rows, None), ("", None)):
        index.write_text(content)
        frames.write_bytes(whole[:kept])
        got = cache.get([episodes[1], episodes[0]])
        assert np.array_equal(got.frames[got.first[0] :][:4], frames_of(store, "b"))
        assert np.array_equal(got.frames[got.first[1] :][:7], frames_of(store, "a"))


def test_an_episode_that_was_made_anew_is_decoded_anew(store: EpisodeStore) -> None:
    gathered(store)
    store.path("a").rename(store.folder.parent / "old")
    store.add(episode(6, seed=77), episode_id="a")
    assert np.array_equal(Transitions(gathered(store))[3]["frame"], frames_of(store, "a")[3])


def test_what_is_missing_is_told(store: EpisodeStore) -> None:
    with pytest.raises(SailError, match="no camera 'wrist', only top"):
        Recordings.gather(store, camera="wrist", size=8)
    with pytest.raises(SailError, match="no episode 'gone'"):
        Recordings.gather(store, ["gone"], "top", 8)
    with pytest.raises(ValueError, match="no episodes"):
        Recordings.gather(EpisodeStore(store.folder / "nowhere"), camera="top")


def test_batches_cover_an_epoch_in_an_order_of_the_seed(store: EpisodeStore) -> None:
    steps = Transitions(gathered(store))
    numbers = {bytes(steps[number]["proprio"].numpy().data): number for number in range(9)}

    def order(seed: int) -> list[int]:
        rows = list(batches(steps, 4, seed))
        assert [len(row["proprio"]) for row in rows] == [4, 4, 1]
        return [numbers[bytes(one.numpy().data)] for row in rows for one in row["proprio"]]

    first = order(0)
    assert sorted(first) == list(range(9)) and first == order(0) != order(1)


@pytest.mark.slow
def test_steps_come_fast_enough(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    for seed in range(4):
        store.add(episode(100, seed=seed, size=64))
    steps = Transitions(Recordings.gather(store, camera="top", size=64))
    began, count = time.process_time(), 0
    for epoch in range(5):
        count += sum(len(batch["reward"]) for batch in batches(steps, 32, epoch))
    assert count / (time.process_time() - began) > 2000
