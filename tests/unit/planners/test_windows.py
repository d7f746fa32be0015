"""Laws of the planner's training data."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planners.windows import LatentCache, LatentEpisode, Source, WindowSampler, clip_spread, encode_frames
from robot.episodes.store import EpisodeStore, StoredEpisodes


def counting(length: int, instruction: str, start: int = 0) -> LatentEpisode:
    """Return an episode whose latents hold the number of their frame."""
    latents = np.broadcast_to(np.arange(start, start + length + 1).reshape(-1, 1, 1, 1), (length + 1, 4, 2, 2))
    return LatentEpisode(latents.astype(np.float16), instruction)


def test_windows_are_strided_and_say_what_lies_past_the_end() -> None:
    sampler = WindowSampler([Source([counting(9, "go")])], frames=4, stride=2)
    batch = sampler.draw(np.random.default_rng(0), 200)
    first, future = batch["first"][:, 0, 0, 0], batch["future"][:, :, 0, 0, 0]
    due = first[:, None] + np.array([2, 4, 6, 8])
    assert batch["first"].shape == (200, 4, 2, 2)
    assert batch["future"].shape == (200, 4, 4, 2, 2)
    assert batch["future"].dtype == np.float32
    assert set(first) == set(range(8))  # after frames 8 and 9 nothing follows two steps later
    assert np.array_equal(future, np.minimum(due, 9))
    assert np.array_equal(batch["known"], due <= 9)


def test_an_episode_too_short_for_a_window_is_shown_but_teaches_nothing() -> None:
    batch = WindowSampler([Source([counting(1, "go")])], frames=4, stride=2).draw(np.random.default_rng(0), 8)
    assert not batch["known"].any()


def test_a_half_life_draws_windows_by_how_soon_success_came() -> None:
    short, long = counting(12, "go"), counting(60, "go", 1000)
    sampler = WindowSampler([Source([short, long], half_life=10)], frames=4, stride=2)
    batch = sampler.draw(np.random.default_rng(0), 20_000)
    first = batch["first"][:, 0, 0, 0]
    counts = {start: int((first == start).sum()) for start in (0, 10, 1038, 1048, 1058)}
    # The last start of both counts alike, whatever their lengths; ten frames earlier counts half, twenty a quarter.
    assert 0.8 < counts[10] / counts[1058] < 1.25
    assert 0.4 < counts[0] / counts[10] < 0.6
    assert 0.4 < counts[1048] / counts[1058] < 0.6
    assert 0.17 < counts[1038] / counts[1058] < 0.33


def test_without_a_half_life_every_episode_counts_alike() -> None:
    sampler = WindowSampler([Source([counting(5, "go"), counting(60, "go", 1000)])], frames=4, stride=2)
    first = sampler.draw(np.random.default_rng(0), 4000)["first"][:, 0, 0, 0]
    assert 0.45 < np.mean(first >= 1000) < 0.55


def test_a_half_life_must_be_positive() -> None:
    with pytest.raises(ValueError, match="half-life"):
        WindowSampler([Source([counting(9, "go")], half_life=0.0)])


def test_silent_episodes_are_shown_without_a_text() -> None:
    sampler = WindowSampler([Source([counting(9, "go")]), Source([counting(9, "play", 100)], silent=True)])
    batch = sampler.draw(np.random.default_rng(0), 200)
    assert sampler.texts == ("", "go")
    assert set(batch["text"][batch["first"][:, 0, 0, 0] >= 100]) == {0}


def test_texts_follow_their_episodes_and_are_dropped_at_the_stated_rate() -> None:
    sampler = WindowSampler([Source([counting(3, "go", 100), counting(3, "come", 200)])], text_drop=0.1)
    batch = sampler.draw(np.random.default_rng(0), 4000)
    said = np.array(sampler.texts)[batch["text"]]
    first = batch["first"][:, 0, 0, 0]
    assert sampler.texts[0] == ""
    assert 0.08 < np.mean(said == "") < 0.12
    assert set(said[first < 150]) == {"", "go"}
    assert set(said[first > 150]) == {"", "come"}


def test_sources_are_mixed_by_their_shares_whatever_their_sizes() -> None:
    old = Source([counting(3, "go", 0) for _ in range(50)], share=1.0)
    new = Source([counting(3, "come", 100)], share=3.0)
    batch = WindowSampler([old, new]).draw(np.random.default_rng(0), 4000)
    assert 0.72 < np.mean(batch["first"][:, 0, 0, 0] >= 100) < 0.78


def test_the_same_seed_draws_the_same_windows() -> None:
    sampler = WindowSampler([Source([counting(30, "go"), counting(30, "come", 50)])])
    one, two = (sampler.draw(np.random.default_rng(7), 16) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "at least one source"),
        ([Source([], 1.0)], "is empty"),
        ([Source([counting(2, "go")], -1.0)], "positive share"),
    ],
)
def test_impossible_sources_are_refused(sources: list[Source], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowSampler(sources)


def test_an_empty_source_without_a_share_is_left_out() -> None:
    sampler = WindowSampler([Source([counting(2, "go")]), Source([], 0.0)])
    assert sampler.texts == ("", "go")


def test_spread_measures_the_change() -> None:
    still = LatentEpisode(np.ones((9, 4, 2, 2), np.float16), "stay")
    assert clip_spread(WindowSampler([Source([still])])) == 0
    assert clip_spread(WindowSampler([Source([counting(60, "go")])])) > 1


class CountingAutoencoder:
    """Count how many frames are encoded."""

    def __init__(self, inner: Any, identity: str) -> None:
        self.inner, self.identity, self.frames = inner, identity, 0

    def encode(self, frames: Any) -> Any:
        self.frames += len(frames)
        return self.inner.encode(frames)

    def decode(self, latents: Any) -> Any:
        return self.inner.decode(latents)


def test_episodes_are_encoded_once_a_folder_and_autoencoder(
    tmp_path: Path, autoencoder: Any, make_episode: Any
) -> None:
    episode = make_episode(length=11)
    first = CountingAutoencoder(autoencoder, "a")
    cache = LatentCache(first, folder=tmp_path, batch=5)
    latents = cache.get(episode).latents
    assert cache.get(episode).latents is latents
    assert (latents.shape, latents.dtype) == ((12, 4, 8, 8), np.float16)
    again = CountingAutoencoder(autoencoder, "a")
    assert np.array_equal(LatentCache(again, folder=tmp_path).get(episode).latents, latents)
    other = CountingAutoencoder(autoencoder, "b")
    LatentCache(other, folder=tmp_path).get(episode)
    assert (first.frames, again.frames, other.frames) == (12, 0, 12)


def test_an_id_used_again_for_other_frames_reads_nothing_stale(
    tmp_path: Path, autoencoder: Any, make_episode: Any
) -> None:
    first, second = (dataclasses.replace(make_episode(seed=seed), episode_id="same") for seed in (0, 1))
    cache = LatentCache(autoencoder, folder=tmp_path)
    assert not np.array_equal(cache.get(first).latents, cache.get(second).latents)
    again = CountingAutoencoder(autoencoder, "pooling")
    renamed = dataclasses.replace(second, episode_id="other")
    assert np.array_equal(
        LatentCache(again, folder=tmp_path).get(renamed).latents, LatentCache(autoencoder).get(second).latents
    )
    assert again.frames == 0


def test_recorded_frames_are_not_decoded_where_their_latents_are_there(
    tmp_path: Path, autoencoder: Any, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EpisodeStore(tmp_path / "store")
    for seed in range(2):
        store.add(make_episode(seed=seed, length=5), episode_id=f"e{seed}")
    episodes = StoredEpisodes(store, store.ids())
    first = LatentCache(autoencoder, folder=tmp_path / "latents").get_all(episodes)
    for name, one in zip(store.ids(), first, strict=True):
        assert np.array_equal(one.latents, encode_frames(autoencoder, store.load(name).frames["corner2"]))

    def no_video(*_: object) -> None:
        raise AssertionError("a video was decoded")

    monkeypatch.setattr("robot.episodes.store.read_video", no_video)
    again = LatentCache(autoencoder, folder=tmp_path / "latents").get_all(episodes)
    assert all(np.array_equal(one.latents, other.latents) for one, other in zip(first, again, strict=True))
    monkeypatch.undo()
    shutil.rmtree(store.path("e0"))  # and recorded anew, under its old id
    store.add(make_episode(seed=7, length=5), episode_id="e0")
    anew = LatentCache(autoencoder, folder=tmp_path / "latents").get(episodes[0])
    assert np.array_equal(anew.latents, encode_frames(autoencoder, store.load("e0").frames["corner2"]))
    assert not np.array_equal(anew.latents, first[0].latents)


def test_a_damaged_cache_file_is_written_anew(tmp_path: Path, autoencoder: Any, make_episode: Any) -> None:
    episode = make_episode()
    latents = LatentCache(autoencoder, folder=tmp_path).get(episode).latents
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", whole[:-30]):
        path.write_bytes(damage)
        assert np.array_equal(LatentCache(autoencoder, folder=tmp_path).get(episode).latents, latents)
        assert path.read_bytes() == whole


def test_a_missing_camera_is_named(autoencoder: Any, make_episode: Any) -> None:
    with pytest.raises(ValueError, match="no camera 'wrist', only corner2"):
        LatentCache(autoencoder, camera="wrist").get(make_episode())
