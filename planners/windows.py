"""Training data of a planner: clips of latents cut from episodes, drawn from several sources by stated shares.

Axes: N frames, B windows, F frames of a plan, C latent channels, H and W latent rows and columns.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from planners.autoencoder import Autoencoder
from robot.core.data import Episode
from robot.core.files import write_whole
from robot.core.training import resolve_precision

EMPTY_TEXT = 0
"""Index of the empty text in `WindowSampler.texts`."""


@dataclass(frozen=True, slots=True)
class LatentEpisode:
    """Hold an episode as the planner's training sees it: `latents`, float16 (T+1, C, H, W), and what the task is."""

    latents: NDArray[np.float16]
    instruction: str

    def __post_init__(self) -> None:
        if self.latents.dtype != np.float16 or self.latents.ndim != 4 or len(self.latents) == 0:
            raise ValueError(f"Latents must be float16 (T+1, C, H, W), got {self.latents.dtype} {self.latents.shape}.")


class LatentCache:
    """Encode episodes once: in memory, and where a `folder` is given in one .npz a episode as well.

    The file's name is a hash of the frames' mark (`Episode.mark`) and of the autoencoder's identity, so that nothing
    stale is ever read: an episode recorded anew may bear the id of the old one. Frames that were recorded are not even
    decoded where their latents are there.
    """

    def __init__(
        self, autoencoder: Autoencoder, camera: str = "corner2", folder: str | Path | None = None, batch: int = 32
    ) -> None:
        self._autoencoder = autoencoder
        self._camera = camera
        self._folder = None if folder is None else Path(folder)
        self._batch = batch
        self._memory: dict[str, LatentEpisode] = {}

    def get(self, episode: Episode) -> LatentEpisode:
        """Return the latents of one episode, encoding it where it was never met before.

        Raises ValueError where the episode has no frames of the camera.
        """
        if self._camera not in episode.frames:
            raise ValueError(
                f"Episode {episode.episode_id or episode.task!r} has no camera {self._camera!r}, only "
                f"{', '.join(sorted(episode.frames))}."
            )
        name = self._name(episode)
        if name not in self._memory:
            path = None if self._folder is None else self._folder / f"{name}.npz"
            latents = None if path is None else _read(path, episode.shape(self._camera)[0])
            if latents is None:
                latents = encode_frames(self._autoencoder, episode.frames[self._camera], self._batch)
                if path is not None:
                    _write(path, latents)
            self._memory[name] = LatentEpisode(latents, episode.instruction)
        return self._memory[name]

    def get_all(self, episodes: Iterable[Episode]) -> list[LatentEpisode]:
        """Return the latents of several episodes, in their order."""
        return [self.get(episode) for episode in episodes]

    def _name(self, episode: Episode) -> str:
        parts = [self._camera, episode.mark(self._camera), self._autoencoder.identity, episode.instruction]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@torch.no_grad()
def encode_frames(autoencoder: Autoencoder, frames: NDArray[np.uint8], batch: int = 32) -> NDArray[np.float16]:
    """Return the latents, float16 (N, C, H, W), of frames, uint8 (N, H, W, 3), encoded `batch` at a time.

    Computes in bfloat16 where that is fast, as a planner does.
    """
    device = next(autoencoder.parameters()).device if isinstance(autoencoder, nn.Module) else torch.device("cpu")
    with torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision("auto", device)):
        parts = [
            autoencoder.encode(torch.from_numpy(np.ascontiguousarray(frames[start : start + batch]))).float().cpu()
            for start in range(0, len(frames), batch)
        ]
    return torch.cat(parts).numpy().astype(np.float16)


def _read(path: Path, frames: int) -> NDArray[np.float16] | None:
    """Return cached latents, or None where there are none or the file is damaged (it will be written anew)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            latents = stored["latents"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    whole = latents.ndim == 4 and len(latents) == frames and latents.dtype == np.float16
    return np.asarray(latents, np.float16) if whole else None


def _write(path: Path, latents: NDArray[np.float16]) -> None:
    """Write latents so that a reader sees the whole file or none."""
    content = io.BytesIO()
    np.savez(content, latents=latents)
    write_whole(path, content.getvalue())


@dataclass(frozen=True, slots=True)
class Source:
    """Hold episodes and the share of every batch that comes from them (shares are relative to their sum).

    `silent` episodes are always shown with the empty text, such as play.

    `half_life` (frames; infinite: every episode counts alike) is for episodes that end in success: a window counts by
    how soon after its start the success came, half as much for every half-life, which is that moment's discounted
    return. Long wanderings before a success then teach little, and so does a start from which nothing was left to do.
    """

    episodes: Sequence[LatentEpisode]
    share: float = 1.0
    silent: bool = False
    half_life: float = math.inf


class WindowSampler:
    """Draw windows: a first latent, the latents of the next `frames` frames `stride` steps apart, and a text.

    A window may start at any frame of an episode but its last few, so that something follows. Past the episode's end
    its last frame repeats and is marked as not known: an episode stops at success, and a planner that took that for
    standing still would learn to stop short of it. Each window's source is drawn by share, its episode uniformly in
    there, or, where the source has a half-life, the window by its weight. With chance `text_drop` the text is the empty
    one. `texts[i]` is what text index i means.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        frames: int = 8,
        stride: int = 2,
        text_drop: float = 0.1,
        texts: Sequence[str] | None = None,
    ) -> None:
        self._sources = [source for source in sources if source.share > 0]
        if not self._sources or any(source.share < 0 for source in sources):
            raise ValueError("Training a planner needs at least one source of episodes with a positive share.")
        if any(not source.episodes for source in self._sources):
            raise ValueError("A source of episodes with a positive share is empty; leave it out or give it episodes.")
        if frames < 1 or stride < 1 or not 0 <= text_drop <= 1:
            raise ValueError("Windows need frames ≥ 1, stride ≥ 1 and text_drop in 0–1.")
        total = sum(source.share for source in self._sources)
        self._shares = np.array([source.share / total for source in self._sources])
        self.frames = frames
        if any(not source.half_life > 0 for source in self._sources):
            raise ValueError("A source's half-life must be a positive number of frames.")
        self._offsets = np.arange(1, frames + 1) * stride
        self._chances = [_chances(source, stride) for source in self._sources]
        self._text_drop = text_drop
        spoken = [source for source in self._sources if not source.silent]
        said = {episode.instruction for source in spoken for episode in source.episodes}
        self.texts: tuple[str, ...] = ("", *(sorted(said - {""}) if texts is None else texts))
        self._index = {text: index for index, text in enumerate(self.texts)}
        if said - set(self._index):
            raise ValueError(f"No text index for the instruction {sorted(said - set(self._index))[0]!r}.")

    def draw(self, rng: np.random.Generator, count: int) -> dict[str, NDArray[np.generic]]:
        """Return a batch of windows.

        `first`, float32 (B, C, H, W); `future`, float32 (B, F, C, H, W); `known`, bool (B, F), false where the episode
        was over; and `text`, int64 (B,).
        """
        firsts, futures, known, texts, offsets = [], [], [], [], self._offsets
        for chosen in rng.choice(len(self._sources), size=count, p=self._shares):
            source, chances = self._sources[chosen], self._chances[chosen]
            episode, start = chances.draw(rng, source.episodes)
            last = len(episode.latents) - 1
            firsts.append(episode.latents[start])
            futures.append(episode.latents[np.minimum(start + offsets, last)])
            known.append(start + offsets <= last)
            dropped = rng.random() < self._text_drop
            texts.append(EMPTY_TEXT if dropped or source.silent else self._index[episode.instruction])
        return {
            "first": np.stack(firsts).astype(np.float32),
            "future": np.stack(futures).astype(np.float32),
            "known": np.stack(known),
            "text": np.array(texts, np.int64),
        }


@dataclass(frozen=True, slots=True)
class _Chances:
    """Hold how likely each window of a source is: that of each episode, and the starts within it."""

    episode: NDArray[np.float64]
    starts: tuple[int, ...]
    half_life: float

    def draw(self, rng: np.random.Generator, episodes: Sequence[LatentEpisode]) -> tuple[LatentEpisode, int]:
        """Draw an episode and the frame at which a window starts."""
        if math.isinf(self.half_life):
            number = int(rng.integers(len(episodes)))
            return episodes[number], int(rng.integers(self.starts[number]))
        number = int(rng.choice(len(episodes), p=self.episode))
        weights = _returns(self.starts[number], self.half_life)
        return episodes[number], int(rng.choice(self.starts[number], p=weights / weights.sum()))


def _returns(starts: int, half_life: float) -> NDArray[np.float64]:
    """Return the weight of each start, float64 (starts,): 1 at the last one, half of it a half-life before."""
    return np.asarray(np.exp2(-np.arange(starts)[::-1] / half_life), np.float64)


def _chances(source: Source, stride: int) -> _Chances:
    """Return how windows of a source are drawn whose second frame lies `stride` steps after the first."""
    starts = tuple(max(1, len(episode.latents) - stride) for episode in source.episodes)
    weights = np.array([1.0 if math.isinf(source.half_life) else _returns(n, source.half_life).sum() for n in starts])
    return _Chances(weights / weights.sum(), starts, source.half_life)


def clip_spread(sampler: WindowSampler, count: int = 512, seed: int = 0, delta: bool = True) -> float:
    """Return the standard deviation of the change from the first latent over `count` windows.

    Without `delta` it is that of the latents themselves. One over this is a natural `DiffusionSettings.scale`.
    """
    batch = sampler.draw(np.random.default_rng(seed), count)
    future = np.asarray(batch["future"], np.float32)
    clip = future - np.asarray(batch["first"], np.float32)[:, None] if delta else future
    known = np.asarray(batch["known"], np.bool_)
    return float(clip[known].std()) if known.any() else 0.0
