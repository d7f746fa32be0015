"""Data sets give what the episodes hold, decode once, and are fast enough not to hold training back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robot.core.data import Outcome, Verdict
from robot.core.errors import SailError
from robot.core.pictures import shrink_frames
from robot.episodes.dataset import EndFrames, FramePairs, FrameWindows, Recordings, Transitions, batches
from robot.episodes.frame_cache import FrameCache
from robot.episodes.store import EpisodeStore
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


def test_windows_hold_the_frames_and_say_where_they_repeat_the_last(store: EpisodeStore) -> None:
    windows = FrameWindows(gathered(store), frames=3, stride=2)
    assert len(windows) == 7 + 4
    assert np.array_equal(windows[1]["frames"], frames_of(store, "a")[[1, 3, 5]])
    assert np.array_equal(windows[5]["frames"], frames_of(store, "a")[[5, 6, 6]])
    last = windows[-1]
    assert np.array_equal(last["frames"], frames_of(store, "b")[[3, 3, 3]])
    assert (int(last["episode"]), int(last["step"])) == (1, 3)
    assert [windows[number]["known"].tolist() for number in (1, 2, 3, 6, 7)] == [
        [True, True, True],
        [True, True, True],  # the last frame itself is known
        [True, True, False],
        [True, False, False],
        [True, True, False],  # the first of the next episode
    ]
    batch = windows[[1, 10]]
    assert batch["frames"].shape == (2, 3, 8, 8, 3) and batch["frames"].dtype == torch.uint8
    assert torch.equal(batch["frames"][0], windows[1]["frames"])
    with pytest.raises(IndexError):
        windows[11]


def test_frames_are_shrunk_as_in_use(store: EpisodeStore) -> None:
    small = FrameWindows(gathered(store, 4), frames=1)[0]["frames"]
    assert torch.equal(small, shrink_frames(torch.from_numpy(frames_of(store, "a")[:1]), 4))


def test_pairs_hold_the_action_between(store: EpisodeStore) -> None:
    pairs = FramePairs(gathered(store), ahead=2)
    assert len(pairs) == 5 + 2
    sample, whole = pairs[6], store.load("b")
    assert np.array_equal(sample["before"], whole.frames["top"][1])
    assert np.array_equal(sample["after"], whole.frames["top"][3])
    assert np.array_equal(sample["action"], whole.sent[1]) and np.array_equal(sample["proprio"], whole.proprio[1])
    assert np.array_equal(sample["proprio_after"], whole.proprio[3])
    assert len(FramePairs(gathered(store), ahead=5)) == 2  # one episode is too short


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
    load = EpisodeStore.load

    def watched(self: EpisodeStore, name: str, plans: bool = True, cameras: object = None) -> object:
        if cameras != ():
            decoded.append(name)
        return load(self, name, plans, cameras)  # type: ignore[arg-type]

    monkeypatch.setattr(EpisodeStore, "load", watched)
    recordings = gathered(store)
    assert decoded == ["c"]
    monkeypatch.undo()
    for name, first, count in zip(recordings.ids, recordings.cached.first, recordings.cached.count, strict=True):
        assert np.array_equal(recordings.cached.frames[first : first + count], frames_of(store, name))


def test_a_cache_that_a_kill_or_a_stranger_damaged_is_mended(store: EpisodeStore) -> None:
    cache = FrameCache(store, "top", 8)
    cache.get(["a", "b"])
    index, frames = (store.folder / ".cache" / f"top-8.{end}" for end in ("jsonl", "frames"))
    rows, whole = index.read_text(), frames.read_bytes()
    for content, kept in ((rows[:-9], None), (rows, 100), (rows, 1500), ("nonsense\n" + rows, None), ("", None)):
        index.write_text(content)
        frames.write_bytes(whole[:kept])
        got = cache.get(["b", "a"])
        assert np.array_equal(got.frames[got.first[0] :][:4], frames_of(store, "b"))
        assert np.array_equal(got.frames[got.first[1] :][:7], frames_of(store, "a"))


def test_an_episode_that_was_made_anew_is_decoded_anew(store: EpisodeStore) -> None:
    gathered(store)
    store.path("a").rename(store.folder.parent / "old")
    store.add(episode(6, seed=77), episode_id="a")
    os.utime(store.path("a") / "episode.json", (1, 1))
    assert np.array_equal(FrameWindows(gathered(store), frames=1)[3]["frames"][0], frames_of(store, "a")[3])


def test_what_is_missing_is_told(store: EpisodeStore) -> None:
    with pytest.raises(SailError, match="no camera 'wrist', only top"):
        Recordings.gather(store, camera="wrist", size=8)
    with pytest.raises(SailError, match="no episode 'gone'"):
        Recordings.gather(store, ["gone"], "top", 8)
    with pytest.raises(ValueError, match="no episodes"):
        Recordings.gather(EpisodeStore(store.folder / "nowhere"), camera="top")


def test_batches_cover_an_epoch_in_an_order_of_the_seed(store: EpisodeStore) -> None:
    windows = FrameWindows(gathered(store), frames=2)

    def order(seed: int) -> list[tuple[int, int]]:
        rows = list(batches(windows, 4, seed))
        assert [len(row["step"]) for row in rows] == [4, 4, 3]
        return [(int(e), int(s)) for row in rows for e, s in zip(row["episode"], row["step"], strict=True)]

    first = order(0)
    assert len(set(first)) == 11 and first == order(0) != order(1)


@pytest.mark.slow
def test_windows_come_fast_enough(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    for seed in range(4):
        store.add(episode(100, seed=seed, size=64))
    windows = FrameWindows(Recordings.gather(store, camera="top", size=64))
    began, count = time.process_time(), 0
    for epoch in range(5):
        count += sum(len(batch["step"]) for batch in batches(windows, 32, epoch))
    assert count / (time.process_time() - began) > 2000
