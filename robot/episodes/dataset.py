"""Read a store as PyTorch data sets: transitions for critics, the last frames of episodes for judges.

Each takes one index and gives one sample, or takes several and gives a batch in one go, which is many times faster and
what `batches` does. Frames are decoded once (`robot.episodes.frame_cache`) and come as uint8 (…, S, S, 3); numbers are
float32. Axes: B samples, F frames, S side, Dq proprioception, Da action.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from robot.core.data import Episode, Outcome
from robot.episodes.arbitration import settled, worked_at
from robot.episodes.frame_cache import FOLDER, CachedFrames, FrameCache
from robot.episodes.store import EpisodeStore

Sample = dict[str, Tensor]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Recordings:
    """Hold episodes for training: their frames of one camera, mapped into memory, and their numbers, in memory."""

    ids: tuple[str, ...]
    cached: CachedFrames
    episodes: tuple[Episode, ...]
    judged: NDArray[np.float32]
    """float32 (E,): the probability of success by the verdict that counts, NaN where nobody has judged."""
    worked: tuple[NDArray[np.bool_] | None, ...]
    """Of each episode bool (T,): whether the task was done after each action, see `worked_at`; None: not known."""

    @classmethod
    def gather(
        cls,
        store: EpisodeStore,
        ids: Sequence[str] | None = None,
        camera: str = "corner2",
        size: int = 64,
        cache: str | Path | None = None,
    ) -> Recordings:
        """Return the episodes named (all by default), their frames `size` pixels a side.

        Raises SailError where one is missing, damaged or without that camera, ValueError where there are none.
        """
        names = tuple(store.ids() if ids is None else ids)
        if not names:
            raise ValueError(f"There are no episodes in {store.folder} to train on.")
        read = tuple(store.load(name, plans=False, at_once=False) for name in names)
        cached = FrameCache(store.folder / FOLDER if cache is None else cache, camera, size).get(read)
        episodes = tuple(dataclasses.replace(episode, frames={}) for episode in read)
        labels = [store.labels(name) for name in names]
        verdicts = [settled(said) for said in labels]
        judged = np.array([np.nan if one is None else one.probability for one in verdicts], np.float32)
        done = tuple(worked_at(episode, said) for episode, said in zip(episodes, labels, strict=True))
        return cls(names, cached, episodes, judged, done)


class _Steps(Dataset[Sample]):  # type: ignore[misc]
    """Number the steps of all episodes from 0 on: `per_episode` gives how many count of each."""

    def __init__(self, recordings: Recordings, per_episode: Sequence[int] | Indices) -> None:
        self.recordings = recordings
        self._ends = np.cumsum(np.maximum(np.asarray(per_episode, np.int64), 0))
        self._begins = np.concatenate([[0], self._ends[:-1]])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int | Sequence[int]) -> Sample:
        """Return the sample of an index, or the samples of several stacked along a first axis."""
        wanted = np.atleast_1d(np.asarray(index, np.int64))
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"There are {len(self)} samples; {index} is not one of them.")
        episodes = np.searchsorted(self._ends, wanted, side="right")
        batch = self._batch(episodes, wanted - self._begins[episodes])
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}
        return tensors if np.ndim(index) else {name: values[0] for name, values in tensors.items()}

    @abstractmethod
    def _batch(self, episodes: Indices, steps: Indices) -> dict[str, NDArray[Any]]:
        """Return the samples at these steps, both int64 (B,), of these episodes."""

    def _frames(self, episodes: Indices, steps: Indices) -> NDArray[np.uint8]:
        """Return frames, uint8 (B, …, S, S, 3), at steps (B, …); past an episode's end its last one repeats."""
        cached = self.recordings.cached
        shape = (-1, *[1] * (steps.ndim - 1))
        last = (cached.count[episodes] - 1).reshape(shape)
        places = cached.first[episodes].reshape(shape) + np.clip(steps, 0, last)
        return cached.frames[places]

    def _numbers(self, name: str, episodes: Indices, steps: Indices) -> NDArray[np.float32]:
        """Return float32 (B, D) of a column at steps (B,)."""
        rows = [getattr(self.recordings.episodes[e], name)[s] for e, s in zip(episodes, steps, strict=True)]
        return np.asarray(rows, np.float32)


class Transitions(_Steps):
    """Single steps with their reward: what Cal-QL learns from.

    A sample: `frame`, `next_frame`, uint8 (S, S, 3); `proprio`, `next_proprio`, float32 (Dq,); `action`, float32 (Da,);
    `reward`, float32: the recorded one, or else 1 from the first success on and 0 before, or, where nobody knows, 0;
    `done`, float32: 1 once it has succeeded (running out of time is no end), and 1 at the last step of a failure;
    `to_go`, float32: the return, which is the sum of the rewards from here to the first step that is done, each a step
    later counting `discount` of the one before. What is recorded after a success is beyond the end: of rewards of 0
    and 1 the return is 1 at the first success, and never more.
    """

    def __init__(self, recordings: Recordings, discount: float = 0.99) -> None:
        if not 0.0 <= discount <= 1.0:
            raise ValueError(f"The discount must lie in 0–1, got {discount}.")
        super().__init__(recordings, [len(episode) for episode in recordings.episodes])
        known = list(zip(recordings.episodes, recordings.worked, strict=True))
        self._rewards = [_rewards(episode, worked) for episode, worked in known]
        self._done = [_done(episode, worked) for episode, worked in known]
        self._to_go = [_to_go(*steps, discount) for steps in zip(self._rewards, self._done, strict=True)]

    def _batch(self, episodes: Indices, steps: Indices) -> dict[str, NDArray[Any]]:
        both = self._frames(episodes, np.stack([steps, steps + 1], axis=1))

        def pick(values: list[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.array([values[e][s] for e, s in zip(episodes, steps, strict=True)], np.float32)

        return {
            "frame": both[:, 0],
            "next_frame": both[:, 1],
            "proprio": self._numbers("proprio", episodes, steps),
            "next_proprio": self._numbers("proprio", episodes, steps + 1),
            "action": self._numbers("sent", episodes, steps),
            "reward": pick(self._rewards),
            "done": pick(self._done),
            "to_go": pick(self._to_go),
        }


class EndFrames(_Steps):
    """The last `frames` frames of each episode, `stride` steps apart, and what was said of it: what judges learn from.

    A sample: `frames`, uint8 (F, S, S, 3), oldest first, the first of the episode repeated where it is short;
    `success`, float32: the probability by the verdict that counts, NaN where nobody has judged; `episode`, int64.
    """

    def __init__(self, recordings: Recordings, frames: int = 1, stride: int = 1) -> None:
        if frames < 1 or stride < 1:
            raise ValueError(f"End frames need frames ≥ 1 and stride ≥ 1, got {frames} and {stride}.")
        super().__init__(recordings, np.ones(len(recordings.ids), np.int64))
        self._back = np.arange(frames - 1, -1, -1, dtype=np.int64) * stride

    def _batch(self, episodes: Indices, steps: Indices) -> dict[str, NDArray[Any]]:
        last = self.recordings.cached.count[episodes] - 1
        frames = self._frames(episodes, last[:, None] - self._back)
        return {"frames": frames, "success": self.recordings.judged[episodes], "episode": episodes}


def batches(dataset: _Steps, size: int, seed: int = 0, workers: int = 0) -> DataLoader[Sample]:
    """Return a loader of shuffled batches of `size` samples; the seed decides the order of every epoch."""
    order = RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))
    sampler: Any = BatchSampler(order, size, drop_last=False)
    return DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=workers)


def _rewards(episode: Episode, worked: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    if episode.reward is not None:
        return np.asarray(episode.reward, np.float32)
    if worked is not None:
        return np.maximum.accumulate(worked).astype(np.float32)
    return np.zeros(len(episode), np.float32)


def _done(episode: Episode, worked: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    done = np.zeros(len(episode), np.float32)
    if worked is not None:
        done = np.maximum.accumulate(worked).astype(np.float32)
    if episode.outcome is Outcome.FAILURE:
        done[-1:] = 1.0
    return done


def _to_go(rewards: NDArray[np.float32], done: NDArray[np.float32], discount: float) -> NDArray[np.float32]:
    total, sums = 0.0, np.zeros(len(rewards), np.float32)
    for step in range(len(rewards) - 1, -1, -1):
        total = float(rewards[step]) + discount * total * (1.0 - float(done[step]))
        sums[step] = total
    return sums
